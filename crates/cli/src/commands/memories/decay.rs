//! `mnemon memories review|reviews|due`

use chrono::{DateTime, Utc};
use clap::Args;
use mnemon::{Mnemon, Rating, Review, Scheduling, Scope};

use super::Which;
use crate::commands::page::{self, PageArgs};
use crate::commands::{Done, show};
use crate::output::Output;

#[derive(Args)]
pub(crate) struct ReviewArgs {
    /// How well it was recalled: again, hard, good or easy (1 to 4)
    #[arg(long, short)]
    rating: Rating,
    /// When, if not now, as 2026-05-03T00:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<DateTime<Utc>>,
    #[command(flatten)]
    which: Which,
}

impl ReviewArgs {
    pub(super) async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let id = self.which.id(db, scope).await?;
        let review = Review { at: self.at, ..Review::new(self.rating) };
        let state = db.memories().review(scope, id, review).await?;
        let due = show::moment(state.next_review);
        Ok(output.result(&state, || format!("reviewed {id}: due {due}, {}", told(&state)))?)
    }
}

/// A state in words.
fn told(state: &Scheduling) -> String {
    let count = |number: u32, one: &str| match number {
        1 => format!("1 {one}"),
        more => format!("{more} {one}s"),
    };
    format!(
        "stability {:.1} days, difficulty {:.1}, {}, {}",
        state.stability,
        state.difficulty,
        count(state.reps, "review"),
        count(state.lapses, "lapse")
    )
}

#[derive(Args)]
pub(crate) struct Reviews {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    page: PageArgs,
}

impl Reviews {
    pub(super) async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let id = self.which.id(db, scope).await?;
        let found = db.memories().reviews(scope, id, &self.page.page()).await?;
        Ok(page::print(output, &found, &["when", "rating", "due then", "after it"], |event| {
            let due = show::moment(event.next.next_review);
            [show::moment(event.at), event.rating.to_string(), due, told(&event.next)]
        })?)
    }
}

#[derive(Args)]
pub(crate) struct DueArgs {
    /// Due at or before this time, if not now
    #[arg(long, value_name = "TIME")]
    before: Option<DateTime<Utc>>,
    #[command(flatten)]
    page: PageArgs,
}

impl DueArgs {
    pub(super) async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let found = db.memories().due(scope, self.before, &self.page.page()).await?;
        Ok(page::print(output, &found, &["due", "memory", "how well it is kept"], |due| {
            let moment = show::moment(due.scheduling.next_review);
            [moment, show::cell(&due.memory), told(&due.scheduling)]
        })?)
    }
}
