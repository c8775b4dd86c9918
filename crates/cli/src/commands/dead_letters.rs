//! `mnemon dead-letters list [QUEUE]`: what failed, why, and whether it will be tried again.

use clap::{Args, Subcommand};
use mnemon::dead_letters::{DeadLetter, LetterFilter};

use super::page::{self, PageArgs};
use super::{Done, show};
use crate::context::Context;

#[derive(Subcommand)]
pub(crate) enum DeadLetters {
    /// What failed, by queue and item
    List(List),
}

#[derive(Args)]
pub(crate) struct List {
    /// This queue only
    queue: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

impl DeadLetters {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let Self::List(list) = self;
        let db = context.open().await?;
        let scope = context.scope(&db);
        let filter = LetterFilter { queue: list.queue.clone(), ..LetterFilter::default() };
        let found = db.dead_letters().list(&scope, &filter, &list.page.page()).await;
        db.close().await;
        let header = ["queue", "item", "failed"];
        Ok(page::print(context.output, &found?, &header, |letter| {
            [letter.queue.clone(), item(letter), failed(letter)]
        })?)
    }
}

fn item(letter: &DeadLetter) -> String {
    let held = show::value(&letter.item);
    if held.is_empty() { letter.item_id.clone() } else { format!("{}\n{held}", letter.item_id) }
}

/// Why, and below it how often, since when, and what stands in the way of another try.
fn failed(letter: &DeadLetter) -> String {
    let times =
        if letter.attempts == 1 { "once".to_owned() } else { format!("{} times", letter.attempts) };
    let about = show::about([
        Some(times),
        Some(format!("first {}", show::moment(letter.buried_at))),
        (!letter.reprocess_eligible).then(|| "not to be tried again".to_owned()),
        letter.manual_review_required.then(|| "a person must look first".to_owned()),
    ]);
    format!("{}\n{about}", letter.error_signature)
}
