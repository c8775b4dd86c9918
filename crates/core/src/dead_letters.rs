//! Dead letters: what failed, kept with every attempt until somebody takes, fixes or prunes it.
//!
//! An item is in one of five states, read off four facts ([`state`]):
//!
//! ```text
//!            bury                take                    ack
//! (nothing) ─────▶ ready ──────────────▶ in flight ──────────────▶ (nothing)
//!                  ▲   ▲                  │  │
//!                  │   └── its time ends ─┘  │ nack(delay)
//!                  └────── delayed ◀─────────┘
//! ```
//!
//! *review* (a person must look first) and *rejected* (not to be tried again) are never taken;
//! [`DeadLetters::retry_all`] makes items ready, those two only when it is told to.

mod filter;
mod letter;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::limits;
use crate::locks::Guard;
use crate::page::{Page, Paged};
use crate::scope::Scope;

pub use filter::{LetterFilter, Prune, Retry, after};
pub use letter::{
    Attempt, Burial, Buried, CURSOR, DeadLetter, Delivery, DeliveryReceipt, LetterState,
    LetterStats, Signature, after_attempt, state,
};

/// Rows that one call over many items handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Handled {
    /// How many items.
    pub items: u64,
    /// Whether others are waiting: call again.
    pub more: bool,
}

/// Checks a queue's name.
///
/// # Errors
///
/// [`Error::Invalid`] when blank, over [`limits::STREAM_BYTES`] or holding a NUL.
pub fn check_queue(queue: &str) -> Result<()> {
    limits::name("queue", queue, limits::STREAM_BYTES)
}

/// Checks an item's name.
///
/// # Errors
///
/// [`Error::Invalid`] naming the field and the limit.
pub fn check_item(queue: &str, item_id: &str) -> Result<()> {
    check_queue(queue)?;
    limits::name("item_id", item_id, limits::ITEM_ID_BYTES)
}

/// Checks how many items are taken, and for how long.
///
/// # Errors
///
/// [`Error::Invalid`] naming the field and the limit.
pub fn check_take(queue: &str, count: u32, visibility: Duration) -> Result<()> {
    check_queue(queue)?;
    if !(1..=limits::PAGE_MAX).contains(&count) {
        return Err(Error::invalid(
            "count",
            format!("is {count}; it goes from 1 to {}", limits::PAGE_MAX),
        ));
    }
    check_visibility(visibility)
}

/// Checks for how long an item is kept out of others' sight.
///
/// # Errors
///
/// [`Error::Invalid`] for nothing or more than [`limits::VISIBILITY_MAX`].
pub fn check_visibility(visibility: Duration) -> Result<()> {
    if visibility.as_micros() == 0 || visibility > limits::VISIBILITY_MAX {
        return Err(Error::invalid(
            "visibility",
            format!("is {visibility:?}; it goes up to {:?}", limits::VISIBILITY_MAX),
        ));
    }
    Ok(())
}

/// Checks how long an item that is given back waits.
///
/// # Errors
///
/// [`Error::Invalid`] for more than [`limits::VISIBILITY_MAX`].
pub fn check_delay(delay: Duration) -> Result<()> {
    if delay > limits::VISIBILITY_MAX {
        return Err(Error::invalid(
            "delay",
            format!("is {delay:?}; the limit is {:?}", limits::VISIBILITY_MAX),
        ));
    }
    Ok(())
}

/// Why a receipt is not honoured: the item is gone or not visible, or somebody else has it, or
/// its time is over.
pub fn refused(receipt: &DeliveryReceipt, there: bool) -> Error {
    if there {
        Error::Fenced { key: receipt.name() }
    } else {
        Error::not_found("dead letter", receipt.name())
    }
}

/// The dead letters of a store.
///
/// # Contract
///
/// - An item is buried once per queue and id; burying it again notes one more attempt and makes
///   it visible.
/// - A taken item is invisible until `visible_at`; a crashed worker's items come back.
/// - Nothing is lost between take and ack; a late ack, one after the time is over, is
///   [`Error::Fenced`], whether somebody else took the item meanwhile or not.
/// - A queue is taken in the order of `visible_at`, then of burial, then by id.
/// - A call over many items handles [`limits::LETTER_BATCH`] of them in one transaction and says
///   whether there are more.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Keeps a failure.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]; [`Error::NotFound`] for an item of that name that the scope does not
    /// see; [`Error::Fenced`] under a stale guard; [`Error::ScopeRequired`].
    #[doc(alias = "enqueue")]
    async fn bury(&self, scope: &Scope, burial: Burial, guard: Option<&Guard>) -> Result<Buried>;

    /// Takes up to `count` visible, eligible items of a queue, oldest first, for `visibility`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a count of 0 or over [`limits::PAGE_MAX`]; [`Error::ScopeRequired`].
    #[doc(alias = "dequeue")]
    async fn take(
        &self,
        scope: &Scope,
        queue: &str,
        count: u32,
        visibility: Duration,
    ) -> Result<Vec<Delivery>>;

    /// The item is dealt with: it is removed with its attempts.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when its time is over, or it was taken or buried again since;
    /// [`Error::NotFound`] when it is gone.
    #[doc(alias = "mark_processed")]
    async fn ack(&self, scope: &Scope, receipt: &DeliveryReceipt) -> Result<()>;

    /// Gives an item back untreated, for others to take after `delay`; answers when that is. No
    /// attempt is noted: whoever tried and failed buries it again instead.
    ///
    /// # Errors
    ///
    /// As [`DeadLetters::ack`]; [`Error::Invalid`] for a delay over [`limits::VISIBILITY_MAX`].
    async fn nack(
        &self,
        scope: &Scope,
        receipt: &DeliveryReceipt,
        delay: Duration,
    ) -> Result<DateTime<Utc>>;

    /// Keeps an item out of others' sight for `visibility` from now on; answers until when.
    ///
    /// # Errors
    ///
    /// As [`DeadLetters::ack`]; [`Error::Invalid`] as [`check_visibility`].
    async fn extend(
        &self,
        scope: &Scope,
        receipt: &DeliveryReceipt,
        visibility: Duration,
    ) -> Result<DateTime<Utc>>;

    /// Marks items of workers that did not come back as ready; they may be taken with or without
    /// this, in the same order. Of one queue, or of all.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] as [`check_queue`]; [`Error::ScopeRequired`].
    async fn release_expired(&self, scope: &Scope, queue: Option<&str>) -> Result<Handled>;

    /// Makes items ready that wait for their delay, or for a person's word ([`Retry::reviewed`]).
    /// What a worker has in hand stays with it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] as [`LetterFilter::check`]; [`Error::ScopeRequired`].
    async fn retry_all(&self, scope: &Scope, retry: &Retry) -> Result<Handled>;

    /// Lists items by queue and id, whether taken or not.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] as [`after`]; [`Error::ScopeRequired`].
    async fn list(
        &self,
        scope: &Scope,
        filter: &LetterFilter,
        page: &Page,
    ) -> Result<Paged<DeadLetter>>;

    /// One item.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Invalid`] as [`check_item`]; [`Error::ScopeRequired`].
    async fn get(&self, scope: &Scope, queue: &str, item_id: &str) -> Result<DeadLetter>;

    /// An item's attempts, the newest first.
    ///
    /// # Errors
    ///
    /// As [`DeadLetters::get`]; [`Error::Invalid`] for a foreign cursor.
    async fn attempts(
        &self,
        scope: &Scope,
        queue: &str,
        item_id: &str,
        page: &Page,
    ) -> Result<Paged<Attempt>>;

    /// How many there are, in which state, why, and since when. Of one queue, or of all.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] as [`check_queue`]; [`Error::ScopeRequired`].
    async fn stats(&self, scope: &Scope, queue: Option<&str>) -> Result<LetterStats>;

    /// Removes one item with its attempts, taken or not.
    ///
    /// # Errors
    ///
    /// As [`DeadLetters::get`].
    async fn delete(&self, scope: &Scope, queue: &str, item_id: &str) -> Result<()>;

    /// Removes items that were first buried long ago, those that a worker has in hand excepted;
    /// with [`Prune::dry_run`] only counts them (all of them, not a batch).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] as [`LetterFilter::check`]; [`Error::ScopeRequired`].
    #[doc(alias = "purge")]
    async fn prune(&self, scope: &Scope, prune: &Prune) -> Result<Handled>;
}
