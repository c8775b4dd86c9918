//! `mnemon claims audit|verify`: the ledger, and the proof that it is whole.

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use mnemon::claims::{AuditQuery, ClaimId, Disposition, LedgerEntry, LedgerKind};
use mnemon::{Mnemon, Scope};
use serde_json::Value;

use super::super::page::{self, PageArgs};
use super::super::{Done, show};
use super::time;
use crate::exit;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Audit {
    /// About this claim only
    #[arg(long)]
    claim: Option<ClaimId>,
    /// Of this kind only, as the ledger names it
    #[arg(long)]
    kind: Option<LedgerKind>,
    /// With this disposition only, as the ledger names it
    #[arg(long)]
    disposition: Option<Disposition>,
    /// From then on
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<DateTime<Utc>>,
    /// As it was known then
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<DateTime<Utc>>,
    /// Oldest first
    #[arg(long)]
    oldest: bool,
    #[command(flatten)]
    page: PageArgs,
}

impl Audit {
    pub(super) async fn run(&self, output: &Output, db: &Mnemon, scope: &Scope) -> Done {
        let query = AuditQuery {
            claim: self.claim,
            kind: self.kind,
            disposition: self.disposition,
            from: self.from,
            until: self.as_of.map(|known| known + TimeDelta::microseconds(1)),
            oldest_first: self.oldest,
        };
        let found = db.claims().query_audit(scope, &query, &self.page.page()).await?;
        page::print(output, &found, &["#", "when", "what", "claim", "why"], row)?;
        Ok(())
    }
}

fn row(entry: &LedgerEntry) -> [String; 5] {
    [
        entry.seq.to_string(),
        show::moment(entry.recorded_at),
        format!("{}\n→ {}", entry.kind, entry.disposition),
        entry.claim.to_string(),
        entry.payload.as_ref().map_or_else(|| "erased".to_owned(), |why| told(entry, why)),
    ]
}

/// Why, as people say it; what has no words here stays JSON, and `--json` has all of it.
fn told(entry: &LedgerEntry, why: &Value) -> String {
    let text = |key: &str| why.get(key).map(show::value).filter(|text| !text.is_empty());
    match entry.kind {
        LedgerKind::ClaimCommitted => {
            let (subject, predicate) = (text("subject"), text("predicate"));
            let line = show::about([subject, predicate]);
            let against = why.get("contested_with").and_then(Value::as_array).map_or(0, Vec::len);
            let against = (against > 0).then(|| format!("contradicts {against}"));
            let said = format!("{line}: {}", text("value").unwrap_or_default());
            [Some(said), against].into_iter().flatten().collect::<Vec<_>>().join("\n")
        }
        LedgerKind::AdjudicationRequested => {
            text("handle").map_or_else(|| show::value(why), |handle| format!("asked as {handle}"))
        }
        _ => {
            let because = text("because").or_else(|| text("reason"));
            let said = show::about([text("verdict"), because]);
            if said.is_empty() { show::value(why) } else { said }
        }
    }
}

/// Verifies the agent's ledger; a broken one fails the command.
pub(super) async fn verify(output: &Output, db: &Mnemon, scope: &Scope) -> Done {
    let verdict = db.claims().verify_audit(scope).await?;
    output.result(&verdict, || match &verdict.broken {
        None => format!("{} entries, each follows from the one before it", verdict.entries),
        Some(broken) => format!("entry {} is broken: {}", broken.seq, broken.reason),
    })?;
    match verdict.broken {
        None => Ok(()),
        Some(_) => Err(Failure::Reported(exit::FAILED)),
    }
}
