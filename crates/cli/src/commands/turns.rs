//! `mnemon turns`: what was said in a session, what of it a model is given, and what is done
//! with it as a whole.

mod copy;
mod print;

use clap::{Args, Subcommand};
use mnemon::turns::{CONVERSATION, Key, Settings, Strategy};
use mnemon::{Mnemon, Result, Scope};

use super::Done;
use super::page::{self, PageArgs};
use crate::context::Context;

#[derive(Subcommand)]
pub(crate) enum Turns {
    /// What was said, oldest first; needs --user and --session
    List(List),
    /// What a model is given; needs --user and --session
    Context(Which),
    /// How the session's summarising stands
    Health(Which),
    /// The chain of summaries, oldest first
    Summaries(List),
    /// Have everything summarised now that waits for it
    Summarize(Which),
    /// Set which part of the turns a context holds
    Configure(Configure),
    /// Remove what a memory holds; its settings stay
    Clear(Which),
    /// A portable copy, as JSON on stdout or into a file
    Export(copy::Export),
    /// Replace what a memory holds by a copy
    Import(copy::Import),
    /// The sessions of --user
    Sessions(PageArgs),
    /// Remove the session, or every session of --user
    Delete(Delete),
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    page: PageArgs,
}

/// Which memory of the session.
#[derive(Args)]
pub(crate) struct Which {
    /// Which of the session's memories
    #[arg(long, default_value = CONVERSATION)]
    kind: String,
    /// The one of --run, where every run has its own
    #[arg(long)]
    run_scoped: bool,
}

impl Which {
    fn key(&self) -> Key {
        Key { kind: self.kind.clone(), run_scoped: self.run_scoped }
    }
}

#[derive(Args)]
pub(crate) struct Configure {
    #[command(flatten)]
    which: Which,
    /// `none`, `truncation` or `rolling_summary`
    strategy: String,
    /// Tokens of a context
    #[arg(long, value_name = "TOKENS")]
    budget: Option<u32>,
    /// Newest turns that are never summarised
    #[arg(long, value_name = "TURNS")]
    full_zone: Option<u32>,
    /// Days that turns are kept which are appended from now on
    #[arg(long, value_name = "DAYS")]
    keep_days: Option<u32>,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// Every session of --user
    #[arg(long)]
    all_sessions: bool,
}

impl Turns {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let db = context.open().await?;
        let scope = context.scope(&db);
        let done = self.on(context, &db, &scope).await;
        db.close().await;
        done
    }

    async fn on(&self, context: &Context<'_>, db: &Mnemon, scope: &Scope) -> Done {
        let (turns, output) = (db.turns(), context.output);
        match self {
            Self::List(list) => {
                let found = turns.list(scope, list.which.key(), &list.page.page()).await?;
                page::print(output, &found, &["#", "turn"], print::turn)?;
            }
            Self::Context(which) => {
                let found = turns.context(scope, which.key()).await?;
                output.result(&found, || print::context(&found))?;
            }
            Self::Health(which) => {
                let found = turns.health(scope, which.key()).await?;
                output.result(&found, || print::standing(&found))?;
            }
            Self::Summaries(list) => {
                let found = turns.summaries(scope, list.which.key(), &list.page.page()).await?;
                page::print(output, &found, &["turns", "summary"], print::summary)?;
            }
            Self::Summarize(which) => {
                let done = turns.summarize(scope, which.key()).await?;
                output.result(&done, || print::summarized(&done))?;
            }
            Self::Configure(configure) => {
                let settings = configure.settings()?;
                turns.configure(scope, configure.which.key(), settings).await?;
                output.result(&settings, || print::strategy(settings.strategy))?;
            }
            Self::Clear(which) => {
                let removed = turns.clear(scope, which.key()).await?;
                output.result(&removed, || print::removed(&removed))?;
            }
            Self::Export(export) => export.run(context, db, scope).await?,
            Self::Import(import) => import.run(context, db, scope).await?,
            Self::Sessions(wanted) => {
                let found = turns.list_sessions(scope, &wanted.page()).await?;
                let header = ["session", "memories", "turns", "last"];
                page::print(output, &found, &header, print::session)?;
            }
            Self::Delete(delete) => {
                let removed = if delete.all_sessions {
                    turns.delete_user(scope).await?
                } else {
                    turns.delete_session(scope).await?
                };
                output.result(&removed, || print::removed(&removed))?;
            }
        }
        Ok(())
    }
}

impl Configure {
    fn settings(&self) -> Result<Settings> {
        let strategy = Strategy::named(&self.strategy, self.budget, self.full_zone)?;
        let day = std::time::Duration::from_hours(24);
        let retention = self.keep_days.map(|days| day.saturating_mul(days));
        Ok(Settings { strategy, retention })
    }
}
