//! `mnemon reembed --model MODEL`: go over to another model while everything goes on.

use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use mnemon::embed::ModelChoice;
use mnemon::{Builder, Mnemon, Reembed, ReembedReport, SetState};
use serde_json::json;

use super::confirm::confirm;
use super::{Done, show};
use crate::context::Context;
use crate::output::Output;
use crate::progress::Progress;

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct ReembedArgs {
    /// Only count, and estimate how long it would take
    #[arg(long)]
    dry_run: bool,
    /// Drop the vectors of the model before, which cannot be taken back
    #[arg(long)]
    drop_old: bool,
    /// Drop what was filled so far of another model, which gives its change up
    #[arg(long, conflicts_with_all = ["dry_run", "drop_old"])]
    abandon: bool,
    /// Show the embedding sets
    #[arg(long, conflicts_with_all = ["dry_run", "drop_old", "abandon"])]
    status: bool,
    /// Memories embedded at once, 1 to 500
    #[arg(long, value_name = "MEMORIES", default_value_t = mnemon::core::limits::REEMBED_BATCH)]
    batch: u32,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl ReembedArgs {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let mut config = context.config.clone();
        config.upkeep.enabled = false;
        // The database is registered for another model than the one that is asked for.
        let db = Builder::from(config).words_only().open().await?;
        let done = self.with(&db, context).await;
        db.close().await;
        done
    }

    async fn with(&self, db: &Mnemon, context: &Context<'_>) -> Done {
        if self.status {
            return status(db, context.output).await;
        }
        if self.abandon {
            confirm(self.yes, "drops the set that is being filled")?;
            let dropped = db.memories().abandon_reembedding().await?;
            let said = || match dropped {
                0 => "no set was being filled".to_owned(),
                _ => "dropped the set that was being filled".to_owned(),
            };
            return Ok(context.output.result(&json!({ "dropped": dropped }), said)?);
        }
        let registered = db.memories().registered_model().await?;
        let config = &context.config.embedder;
        let choice: ModelChoice = config.model.parse()?;
        let embedder = choice.load(config, registered.as_ref()).await?;
        if !self.dry_run {
            self.ask(db, embedder.signature()).await?;
        }
        let total = self.total(db, embedder.signature()).await?;
        let bar = Progress::start(context.output, "memories embedded", Some(total));
        let bar = Arc::new(Mutex::new((bar, 0)));
        let told = Arc::clone(&bar);
        let mut options = Reembed::to(embedder).batch(self.batch).progress(move |progress| {
            let mut bar = told.lock().unwrap_or_else(PoisonError::into_inner);
            let before = std::mem::replace(&mut bar.1, progress.done);
            bar.0.add(progress.done.saturating_sub(before));
        });
        if self.dry_run {
            options = options.dry_run();
        }
        if self.drop_old {
            options = options.drop_old();
        }
        let report = db.memories().reembed(options).await;
        if let Some(bar) = Arc::into_inner(bar) {
            bar.into_inner().unwrap_or_else(PoisonError::into_inner).0.finish();
        }
        let report = report?;
        Ok(context.output.result(&report, || sentence(&report))?)
    }

    /// Asks before searches go over to another model, or vectors are dropped.
    async fn ask(&self, db: &Mnemon, model: &mnemon::ModelSignature) -> Done {
        let registered = db.memories().registered_model().await?;
        let question = match registered {
            Some(registered) if registered != *model => {
                let drops = if self.drop_old { ", and drops the vectors before" } else { "" };
                format!(
                    "goes over from {} to {}, with which programs open from then on{drops}",
                    registered.name, model.name
                )
            }
            _ if self.drop_old => "drops the vectors of other models".to_owned(),
            _ => return Ok(()),
        };
        confirm(self.yes, &question)
    }

    async fn total(
        &self,
        db: &Mnemon,
        model: &mnemon::ModelSignature,
    ) -> Result<u64, mnemon::Error> {
        let found = db.memories().embedding_sets().await?;
        let set = found.sets.iter().find(|counts| counts.set.model == *model);
        Ok(set.map_or(found.memories, |counts| counts.lacking))
    }
}

fn sentence(report: &ReembedReport) -> String {
    let model = &report.model.name;
    if report.dry_run {
        let seconds = report.estimated_seconds.unwrap_or_default();
        return format!(
            "{} memories would be embedded by {model}, in about {seconds:.0} s; nothing was \
             written",
            report.lacking
        );
    }
    let changed = match report.skipped {
        0 => String::new(),
        skipped => format!("; {skipped} changed meanwhile"),
    };
    let mut text = format!("embedded {} memories by {model}{changed}", report.rows);
    text += if report.switched { "; recall goes by it now" } else { "; recall went by it already" };
    if report.dropped > 0 {
        text += "; dropped the old vectors";
    }
    text
}

async fn status(db: &Mnemon, output: &Output) -> Done {
    let found = db.memories().embedding_sets().await?;
    if output.json {
        return Ok(output.json(&found)?);
    }
    let mut table = show::table(&["set", "model", "state", "vectors", "lacking", "filled by"]);
    for counts in &found.sets {
        let state = match counts.set.state {
            SetState::Active => "active: searched",
            SetState::Filling => "filling",
            SetState::Retired => "retired: --drop-old drops it",
        };
        table.add_row([
            counts.set.id.to_string(),
            counts.set.model.name.clone(),
            state.to_owned(),
            counts.vectors.to_string(),
            counts.lacking.to_string(),
            counts.holder.clone().unwrap_or_else(|| "nobody".to_owned()),
        ]);
    }
    Ok(output.line(table.to_string())?)
}
