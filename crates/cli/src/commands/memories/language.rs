//! `mnemon memories language`: what words are cut in, and going over to another language.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use mnemon::{Builder, Language, Mnemon, Relanguaged, Wording};

use crate::commands::Done;
use crate::context::Context;
use crate::progress::Progress;

#[derive(Args)]
pub(crate) struct LanguageArgs {
    /// Go over to this one: every memory of every tenant is cut anew, and found all the while
    #[arg(value_name = "LANGUAGE", value_parser = known())]
    to: Option<Language>,
}

fn known() -> impl clap::builder::TypedValueParser<Value = Language> {
    PossibleValuesParser::new(Language::NAMES).try_map(|name| name.parse::<Language>())
}

impl LanguageArgs {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let mut config = context.config.clone();
        config.upkeep.enabled = false;
        // The configuration may say already what the database is to become.
        config.memories.language = None;
        let db = Builder::from(config).words_only().open().await?;
        let done = self.with(&db, context).await;
        db.close().await;
        done
    }

    async fn with(&self, db: &Mnemon, context: &Context<'_>) -> Done {
        let Some(to) = self.to else {
            let wording = db.memories().wording().await?;
            return Ok(context.output.result(&wording, || stands(wording))?);
        };
        let mut bar = Progress::start(context.output, "memories cut anew", None);
        let mut done = 0;
        let report = db
            .memories()
            .change_language(to, |memories| {
                bar.add(memories - done);
                done = memories;
            })
            .await;
        bar.finish();
        let report = report?;
        Ok(context.output.result(&report, || sentence(report))?)
    }
}

fn stands(wording: Wording) -> String {
    match wording.before {
        None => wording.language.to_string(),
        Some(before) => format!(
            "{}; some memories are still cut in {before}: `mnemon memories language {}` goes on",
            wording.language, wording.language
        ),
    }
}

fn sentence(report: Relanguaged) -> String {
    format!(
        "{}: {} memories cut anew. Where a configuration names a language, it is to name this one",
        report.language, report.memories
    )
}
