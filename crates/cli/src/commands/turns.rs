//! `mnemon turns list|context`: what was said in a session, and what of it fits a model.

use clap::{Args, Subcommand};
use mnemon::turns::{CONVERSATION, Context as Fitting, Strategy, Turn};

use super::page::{self, PageArgs};
use super::{Done, show};
use crate::context::Context;
use crate::output::shortened;

#[derive(Subcommand)]
pub(crate) enum Turns {
    /// What was said, oldest first; needs --user and --session
    List(List),
    /// What fits a model's context; needs --user and --session
    Context(Kind),
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    kind: Kind,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Args)]
pub(crate) struct Kind {
    /// Which of the session's memories
    #[arg(long, default_value = CONVERSATION)]
    kind: String,
}

/// Characters of a message in a table.
const MESSAGE: usize = 400;

impl Turns {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let db = context.open().await?;
        let scope = context.scope(&db);
        match self {
            Self::List(list) => {
                let found = db.turns().list(&scope, &list.kind.kind, &list.page.page()).await;
                db.close().await;
                page::print(context.output, &found?, &["#", "turn"], row)?;
            }
            Self::Context(kind) => {
                let found = db.turns().context(&scope, &kind.kind).await;
                db.close().await;
                let found = found?;
                context.output.result(&found, || fitting(&found))?;
            }
        }
        Ok(())
    }
}

fn row(turn: &Turn) -> [String; 2] {
    let said = |who: &str, text: &Option<String>| {
        text.as_ref().map(|text| format!("{who}: {}", shortened(text, MESSAGE)))
    };
    let about = show::about([
        Some(show::moment(turn.at)),
        Some(format!("{} tokens", turn.tokens)),
        Some(show::value(&turn.metadata)),
    ]);
    let lines = [
        said("user", &turn.user_message),
        said("assistant", &turn.assistant_response),
        Some(about),
    ];
    [turn.seq.to_string(), lines.into_iter().flatten().collect::<Vec<_>>().join("\n")]
}

fn fitting(found: &Fitting) -> String {
    let budget = match found.strategy {
        Strategy::Truncation { budget_tokens } => format!("truncation to {budget_tokens} tokens"),
        _ => "everything, without a budget".to_owned(),
    };
    let sum = format!("{} turns, {} tokens; {budget}", found.recent_turns.len(), found.tokens);
    if found.recent_turns.is_empty() {
        return sum;
    }
    let mut table = show::table(&["#", "turn"]);
    for turn in &found.recent_turns {
        table.add_row(row(turn));
    }
    format!("{table}\n{sum}")
}
