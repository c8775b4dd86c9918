//! `mnemon workflows runs list|show|pause|resume|cancel`.

use clap::{Args, Subcommand};
use mnemon::workflows::{Execution, RunFilter, RunInfo, RunStats, RunStatus, WorkflowRun};
use mnemon::{Mnemon, Page, Result, Scope};
use serde_json::json;

use crate::commands::confirm::confirm;
use crate::commands::page::{self, PageArgs};
use crate::commands::{Done, show};
use crate::context::Context;

#[derive(Subcommand)]
pub(crate) enum Runs {
    /// Runs, the newest first
    List(List),
    /// One run with its state and its newest executions
    Show(One),
    /// Stop a running one; it goes on with resume
    Pause(One),
    /// Let a paused or failed one run
    Resume(One),
    /// Give one up, for good
    Cancel(Cancel),
}

#[derive(Args)]
pub(crate) struct List {
    /// In this status: initializing, running, paused, completed, failed, cancelled
    #[arg(long)]
    status: Option<RunStatus>,
    /// Of this kind
    #[arg(long)]
    kind: Option<String>,
    /// On this repository
    #[arg(long)]
    repo: Option<String>,
    /// Following this definition
    #[arg(long, value_name = "ID")]
    definition: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Args)]
pub(crate) struct One {
    /// The run's id
    #[arg(value_name = "RUN")]
    id: String,
}

#[derive(Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    one: One,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Runs {
    pub(super) async fn run(&self, context: &Context<'_>) -> Done {
        if let Self::Cancel(cancel) = self {
            confirm(cancel.yes, &format!("run {} cannot go on once cancelled", cancel.one.id))?;
        }
        let db = context.open().await?;
        let scope = context.scope(&db);
        match self {
            Self::List(list) => {
                let found = list.find(&db, &scope).await;
                db.close().await;
                let header = ["run", "status", "about"];
                page::print(context.output, &found?, &header, |run| {
                    [run.id.clone(), run.status.as_str().to_owned(), about(run)]
                })?;
            }
            Self::Show(one) => {
                let found = one.find(&db, &scope).await;
                db.close().await;
                let (run, stats, executions) = found?;
                let value = json!({ "run": run, "stats": stats, "executions": executions });
                context.output.result(&value, || full(&run, &stats, &executions))?;
            }
            Self::Pause(one) => one.go(RunStatus::Paused, &db, &scope, context).await?,
            Self::Resume(one) => one.go(RunStatus::Running, &db, &scope, context).await?,
            Self::Cancel(cancel) => {
                cancel.one.go(RunStatus::Cancelled, &db, &scope, context).await?;
            }
        }
        Ok(())
    }
}

impl List {
    async fn find(&self, db: &Mnemon, scope: &Scope) -> Result<mnemon::Paged<RunInfo>> {
        let filter = RunFilter {
            status: self.status,
            kind: self.kind.clone(),
            repo: self.repo.clone(),
            definition: self.definition.clone(),
            ..RunFilter::default()
        };
        db.workflows().list(scope, &filter, &self.page.page()).await
    }
}

impl One {
    async fn find(
        &self,
        db: &Mnemon,
        scope: &Scope,
    ) -> Result<(WorkflowRun, RunStats, Vec<Execution>)> {
        let workflows = db.workflows();
        let run = workflows.load(scope, &self.id).await?;
        let stats = workflows.run_stats(scope, &self.id).await?;
        let executions = workflows.executions(scope, &self.id, &Page::default()).await?;
        Ok((run, stats, executions.items))
    }

    async fn go(
        &self,
        status: RunStatus,
        db: &Mnemon,
        scope: &Scope,
        context: &Context<'_>,
    ) -> Done {
        let moved = db.workflows().update_state(scope, &self.id, status, None, None).await;
        db.close().await;
        let (version, name) = (moved?, status.as_str());
        let value = json!({ "id": self.id, "status": name, "version": version });
        context.output.result(&value, || format!("{} is {name}", self.id))?;
        Ok(())
    }
}

fn about(run: &RunInfo) -> String {
    let first = show::about([
        Some(run.kind.clone()),
        run.repo.clone(),
        run.definition.as_ref().map(|definition| format!("follows {definition}")),
        Some(format!("started {}", show::moment(run.started_at))),
        tries(run.executions),
        Some(show::value(&run.metadata)),
    ]);
    run.error.as_ref().map_or(first.clone(), |error| format!("{error}\n{first}"))
}

fn tries(executions: u32) -> Option<String> {
    (executions > 1).then(|| format!("{executions} tries"))
}

fn full(run: &WorkflowRun, stats: &RunStats, executions: &[Execution]) -> String {
    let mut lines = vec![
        show::about([
            Some(format!("{} is {}", run.id, run.status.as_str())),
            Some(format!("version {}", run.version)),
            run.error.clone(),
        ]),
        show::about([
            Some(run.kind.clone()),
            run.repo.clone(),
            Some(format!("started {}", show::moment(run.started_at))),
            (stats.jobs > 0).then(|| format!("jobs {}", stats.jobs)),
            Some(show::value(&run.metadata)),
        ]),
    ];
    let numbers: Vec<String> = run
        .counters
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .chain(run.timings_ms.iter().map(|(name, time)| format!("{name} {time} ms")))
        .collect();
    lines.push(numbers.join(" · "));
    lines.push(show::value(&run.state));
    lines.retain(|line| !line.is_empty());
    if !executions.is_empty() {
        let mut table = show::table(&["try", "status", "began", "ended"]);
        for one in executions {
            table.add_row([
                one.execution.to_string(),
                one.status.as_str().to_owned(),
                show::moment(one.started_at),
                one.finished_at.map(show::moment).unwrap_or_default(),
            ]);
        }
        lines.push(table.to_string());
    }
    lines.join("\n")
}
