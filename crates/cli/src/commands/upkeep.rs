//! `mnemon upkeep --once|--status`: the work that nobody waits for.

use clap::Args;
use mnemon::{Mnemon, Task, TaskReport, TaskStatus, UpkeepOptions};
use serde_json::json;

use super::{Done, show};
use crate::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Upkeep {
    /// Run every task that is due to its end
    #[arg(long, required_unless_present = "status", conflicts_with = "status")]
    once: bool,
    /// Show how every task stands
    #[arg(long)]
    status: bool,
    /// This task only, due or not; may be given several times
    #[arg(long, value_name = "TASK", value_parser = task, requires = "once")]
    only: Vec<Task>,
    /// Also what is not due yet
    #[arg(long, requires = "once")]
    force: bool,
}

fn task(name: &str) -> Result<Task, String> {
    Task::ALL.into_iter().find(|task| task.name() == name).ok_or_else(|| {
        let known: Vec<&str> = Task::ALL.iter().map(|task| task.name()).collect();
        format!("known are {}", known.join(", "))
    })
}

impl Upkeep {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let db = context.open().await?;
        let done = if self.status {
            status(&db, context.output).await
        } else {
            self.once(&db, context.output).await
        };
        db.close().await;
        done
    }

    async fn once(&self, db: &Mnemon, output: &Output) -> Done {
        let force = self.force || !self.only.is_empty();
        let options = UpkeepOptions { only: self.only.clone(), force };
        let report = db.upkeep(&options).await?;
        output
            .result(&report, || report.tasks.iter().map(sentence).collect::<Vec<_>>().join("\n"))?;
        if report.failed() { Err(Failure::Reported(exit::FAILED)) } else { Ok(()) }
    }
}

fn sentence(task: &TaskReport) -> String {
    use mnemon::Outcome::{Done, Failed, Fenced, Left, Paused};
    let name = task.task.name();
    match task.outcome {
        Done => format!("{name}: done, {} rows in {} batches", task.rows, task.batches),
        Paused => format!("{name}: {} rows done, more is waiting", task.rows),
        Left => format!("{name}: not due, or another process has it"),
        Fenced => format!("{name}: another process took it over"),
        Failed => format!("{name}: failed: {}", task.error.as_deref().unwrap_or("unknown")),
        _ => format!("{name}: {}", task.outcome.name()),
    }
}

async fn status(db: &Mnemon, output: &Output) -> Done {
    let tasks = db.upkeep_status().await?;
    if output.json {
        return Ok(output.json(&json!({ "tasks": tasks }))?);
    }
    let mut table = show::table(&["task", "last run", "waiting", "held by", "errors"]);
    for task in &tasks {
        table.add_row(row(task));
    }
    Ok(output.line(table.to_string())?)
}

fn row(task: &TaskStatus) -> [String; 5] {
    let errors = match (&task.last_error, task.errors) {
        (Some(error), 1..) => format!("{} in a row, last: {error}", task.errors),
        _ => "none".to_owned(),
    };
    [
        task.name.clone(),
        task.last_run.map_or("never".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string()),
        task.lag.to_string(),
        task.holder.clone().unwrap_or_else(|| "nobody".to_owned()),
        errors,
    ]
}
