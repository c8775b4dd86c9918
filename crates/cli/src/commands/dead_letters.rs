//! `mnemon dead-letters list|show|retry|prune|stats`: what failed, why, and what becomes of it.

use std::time::Duration;

use clap::{Args, Subcommand};
use mnemon::Page;
use mnemon::dead_letters::{
    Attempt, DeadLetter, LetterFilter, LetterState, LetterStats, Prune, Retry,
};
use serde_json::json;

use super::confirm::{confirm, span};
use super::page::{self, PageArgs};
use super::{Done, show};
use crate::context::Context;

#[derive(Subcommand)]
pub(crate) enum DeadLetters {
    /// What failed, by queue and item
    List(List),
    /// One item with its newest attempts
    Show(Show),
    /// Make items ready that wait for their delay or for a person's word
    Retry(RetryArgs),
    /// Remove what failed long ago
    Prune(PruneArgs),
    /// How many there are, in which state, why, and since when
    Stats(Stats),
}

/// Which items.
#[derive(Args)]
pub(crate) struct Which {
    /// This queue only
    queue: Option<String>,
    // Not a doc comment: what a person types has no backticks.
    #[arg(long, help = "In this state: ready, delayed, in_flight, review, rejected")]
    state: Option<LetterState>,
    /// Failed last for this cause, word for word
    #[arg(long, value_name = "TEXT")]
    signature: Option<String>,
    /// With at least so many attempts
    #[arg(long, value_name = "N")]
    min_attempts: Option<u32>,
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Args)]
pub(crate) struct Show {
    /// The queue
    queue: String,
    /// The item
    item: String,
}

#[derive(Args)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    which: Which,
    /// A person has looked: also what waits for that, and what was not to be tried again
    #[arg(long)]
    reviewed: bool,
}

#[derive(Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    which: Which,
    /// First buried at least so long ago: 90s, 15m, 12h, 30d
    #[arg(long, value_name = "SPAN", value_parser = span)]
    older_than: Duration,
    /// Only say how many
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Args)]
pub(crate) struct Stats {
    /// This queue only
    queue: Option<String>,
}

impl Which {
    fn filter(&self) -> LetterFilter {
        LetterFilter {
            queue: self.queue.clone(),
            error_signature: self.signature.clone(),
            state: self.state,
            min_attempts: self.min_attempts,
            ..LetterFilter::default()
        }
    }
}

impl DeadLetters {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        if let Self::Prune(prune) = self
            && !prune.dry_run
        {
            confirm(prune.yes, "removing dead letters destroys what they hold")?;
        }
        let db = context.open().await?;
        let (scope, output) = (context.scope(&db), context.output);
        match self {
            Self::List(list) => {
                let (filter, page) = (list.which.filter(), list.page.page());
                let found = db.dead_letters().list(&scope, &filter, &page).await;
                db.close().await;
                page::print(output, &found?, &["queue", "item", "failed"], |letter| {
                    [letter.queue.clone(), item(letter), failed(letter)]
                })?;
            }
            Self::Show(one) => {
                let letters = db.dead_letters();
                let found = letters.get(&scope, &one.queue, &one.item).await;
                let page = Page::default();
                let attempts = letters.attempts(&scope, &one.queue, &one.item, &page).await;
                db.close().await;
                let (letter, attempts) = (found?, attempts?.items);
                let value = json!({ "letter": letter, "attempts": attempts });
                output.result(&value, || full(&letter, &attempts))?;
            }
            Self::Retry(retry) => {
                let which = Retry { filter: retry.which.filter(), reviewed: retry.reviewed };
                let items = db.dead_letters().retry_all(&scope, &which).await;
                db.close().await;
                let items = items?;
                output.result(&json!({ "ready": items }), || {
                    format!("{} made ready", counted(items))
                })?;
                if items == 0 {
                    output.notice(retry.nothing());
                }
            }
            Self::Prune(prune) => {
                let (filter, older_than) = (prune.which.filter(), prune.older_than);
                let policy = Prune { filter, older_than, dry_run: prune.dry_run };
                let items = db.dead_letters().prune(&scope, &policy).await;
                db.close().await;
                let (items, dry_run) = (items?, prune.dry_run);
                output.result(&json!({ "items": items, "dry_run": dry_run }), || {
                    let done = if dry_run { "would be removed" } else { "removed" };
                    format!("{} {done}", counted(items))
                })?;
            }
            Self::Stats(stats) => {
                let found = db.dead_letters().stats(&scope, stats.queue.as_deref()).await;
                db.close().await;
                let found = found?;
                output.result(&found, || counts(&found))?;
            }
        }
        Ok(())
    }
}

impl RetryArgs {
    /// Why nothing was made ready, where something was expected.
    fn nothing(&self) -> &'static str {
        if self.reviewed {
            "what is ready already, or in a worker's hands, is left as it is"
        } else {
            "what is ready already, or in a worker's hands, is left as it is; what a person must \
             look at first, or was not to be tried again, needs --reviewed"
        }
    }
}

fn counted(items: u64) -> String {
    if items == 1 { "1 item".to_owned() } else { format!("{items} items") }
}

fn item(letter: &DeadLetter) -> String {
    let held = show::value(&letter.item);
    if held.is_empty() { letter.item_id.clone() } else { format!("{}\n{held}", letter.item_id) }
}

/// Why, and below it how often, since when, and what stands in the way of another try.
fn failed(letter: &DeadLetter) -> String {
    format!("{}\n{}", letter.error_signature, about(letter))
}

fn about(letter: &DeadLetter) -> String {
    let times =
        if letter.attempts == 1 { "once".to_owned() } else { format!("{} times", letter.attempts) };
    show::about([
        Some(times),
        Some(format!("first {}", show::moment(letter.buried_at))),
        standing(letter),
    ])
}

fn standing(letter: &DeadLetter) -> Option<String> {
    Some(match letter.state {
        LetterState::Ready => return None,
        LetterState::Delayed => format!("waits until {}", show::moment(letter.visible_at)),
        LetterState::InFlight => {
            format!("in a worker's hands until {}", show::moment(letter.visible_at))
        }
        LetterState::Rejected => "not to be tried again".to_owned(),
        _ => "a person must look first".to_owned(),
    })
}

fn full(letter: &DeadLetter, attempts: &[Attempt]) -> String {
    let mut lines = vec![
        format!("{} · {}", letter.queue, letter.item_id),
        about(letter),
        show::value(&letter.item),
        show::value(&letter.metadata),
    ];
    lines.retain(|line| !line.is_empty());
    let mut table = show::table(&["attempt", "when", "why"]);
    for attempt in attempts {
        let who = show::about([
            attempt.agent.as_ref().map(|agent| format!("agent {agent}")),
            attempt.run.as_ref().map(|run| format!("run {run}")),
            Some(show::value(&attempt.detail)),
        ]);
        let why = if who.is_empty() {
            attempt.error.clone()
        } else {
            format!("{}\n{who}", attempt.error)
        };
        table.add_row([attempt.attempt.to_string(), show::moment(attempt.at), why]);
    }
    lines.push(table.to_string());
    lines.join("\n")
}

fn counts(stats: &LetterStats) -> String {
    let (Some(oldest), Some(newest)) = (stats.oldest, stats.newest) else {
        return "nothing here".to_owned();
    };
    let kinds = LetterState::ALL.map(|state| match stats.count(state) {
        0 => None,
        items => Some(format!("{items} {}", state.as_str().replace('_', " "))),
    });
    let mut lines = vec![
        format!("{}: {}", counted(stats.total), show::about(kinds)),
        format!(
            "first buried {} to {}, {:.1} attempts each",
            show::moment(oldest),
            show::moment(newest),
            stats.average_attempts()
        ),
    ];
    let mut table = show::table(&["items", "cause"]);
    for cause in &stats.by_signature {
        table.add_row([cause.items.to_string(), cause.signature.clone()]);
    }
    lines.push(table.to_string());
    lines.join("\n")
}
