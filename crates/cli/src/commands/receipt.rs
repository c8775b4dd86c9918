//! `mnemon receipt ID`: whether a step happened, and what it did.

use clap::Args;
use mnemon::steps::Outcome;
use mnemon::{Error, Receipt, RequestId};

use super::remember::request_id;
use super::{Done, show};
use crate::context::Context;

#[derive(Args)]
pub(crate) struct ReceiptArgs {
    /// The step's id; its user and agent are part of its name
    #[arg(value_name = "ID", value_parser = request_id)]
    step: RequestId,
}

impl ReceiptArgs {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let db = context.open().await?;
        let scope = context.scope(&db);
        let found = db.receipt(&scope, &self.step).await;
        db.close().await;
        let found = found?.ok_or_else(|| Error::not_found("receipt", &self.step))?;
        Ok(context.output.result(&found, || full(&found))?)
    }
}

fn full(receipt: &Receipt) -> String {
    let mut lines =
        vec![format!("{} committed {}", receipt.step_id, show::moment(receipt.committed_at))];
    for (place, outcome) in (1..).zip(&receipt.outcomes) {
        lines.push(format!("{place:>3}  {}", did(outcome)));
    }
    lines.join("\n")
}

fn did(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Remember(done) if done.created => format!("memory {}", done.id),
        Outcome::Remember(done) => format!("memory {}, known before", done.id),
        Outcome::Assert(done) => format!("claim {}, {}", done.id, done.disposition.as_str()),
        Outcome::Turn(done) => format!("turn {}", done.seq),
        Outcome::Checkpoint(done) => format!("checkpoint {}, version {}", done.id, done.version),
        Outcome::Events(done) => {
            let versions: Vec<String> = done.versions.iter().map(ToString::to_string).collect();
            format!("events at version {}", versions.join(", "))
        }
        Outcome::Workflow { version } => format!("workflow run at version {version}"),
        Outcome::Bury(done) => format!("dead letter, attempt {}", done.attempts),
        Outcome::Ack => "dead letter dealt with".to_owned(),
        _ => "something this version does not know; --json shows it".to_owned(),
    }
}
