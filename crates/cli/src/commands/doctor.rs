//! `mnemon doctor`: one line per check, each bad one with its fix. `--rebuild` makes anew what is
//! only derived.

use clap::Args;
use console::style;
use mnemon::claims::Rebuilt;
use mnemon::{Backend, Finding, MigrateMode, Mnemon, Severity};
use serde_json::json;

use super::Done;
use crate::context::Context;
use crate::exit;
use crate::failure::{Failure, Told};
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Doctor {
    /// The database was put back to an earlier state: begin a new epoch of events, and let every
    /// fence grow. Once, as the schema's owner, before anything is written
    #[arg(long)]
    restored: bool,
    /// First make anew what is derived from the ledgers of claims: which of them count now
    #[arg(long)]
    rebuild: bool,
}

impl Doctor {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let place = context.config.url()?.to_string();
        let mut config = context.config.clone();
        config.upkeep.enabled = false;
        // Looking must not change a server's schema. An embedded file has nobody else to ask.
        if !place.starts_with("sqlite:") {
            config.migrate.mode = MigrateMode::Verify;
        }
        let db = match Mnemon::from_config(config).await {
            Ok(db) => db,
            Err(error) => {
                let finding = refusal(&error);
                report(&place, None, &[finding], context.output)?;
                return Err(Failure::Reported(exit::code(&error)));
            }
        };
        if self.restored {
            let epoch = db.store().events().restored().await?;
            context.output.notice(&format!("epoch {epoch} begins; every lease is over"));
        }
        let rebuilt = if self.rebuild { Some(db.claims().rebuild().await) } else { None };
        let findings = db.doctor().await;
        let backend = db.backend();
        db.close().await;
        let mut findings = findings?;
        if let Some(rebuilt) = rebuilt {
            findings.push(claims(rebuilt?));
        }
        report(&place, Some(backend), &findings, context.output)?;
        let worst = findings.iter().map(|finding| finding.severity).max();
        if worst == Some(Severity::Error) { Err(Failure::Reported(exit::FAILED)) } else { Ok(()) }
    }
}

/// What a rebuild found.
fn claims(rebuilt: Rebuilt) -> Finding {
    let message = match rebuilt.differed {
        0 => format!("{} count now, as their ledgers say", rebuilt.rows),
        some => format!("{} count now; {some} stood otherwise and were put right", rebuilt.rows),
    };
    Finding::ok("claims", message)
}

/// What stands in the way of opening, as the only finding there can be.
fn refusal(error: &mnemon::Error) -> Finding {
    let told = Told::of(error);
    let message = std::iter::once(told.what).chain(told.causes).collect::<Vec<_>>().join(": ");
    Finding { check: "open".to_owned(), severity: Severity::Error, message, fix: told.fix }
}

fn report(
    place: &str,
    backend: Option<Backend>,
    findings: &[Finding],
    output: &Output,
) -> std::io::Result<()> {
    if output.json {
        let ok = findings.iter().all(|finding| finding.severity != Severity::Error);
        let value = json!({ "ok": ok, "store": place, "backend": backend, "findings": findings });
        return output.json(&value);
    }
    output.line(format!("{place}\n"))?;
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    for finding in findings {
        let mark = match finding.severity {
            Severity::Ok => style("ok     ").green(),
            Severity::Warning => style("warning").yellow(),
            Severity::Error => style("error  ").red().bold(),
        };
        output.line(format!("{mark}  {:width$}  {}", finding.check, finding.message))?;
        if let Some(fix) = &finding.fix {
            output.line(format!("         {:width$}  → {fix}", ""))?;
        }
    }
    Ok(())
}
