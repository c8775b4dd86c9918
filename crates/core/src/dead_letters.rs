//! Dead letters: what failed, kept with every attempt until somebody takes, fixes or prunes it.
//!
//! The slice that stands: bury, take under a visibility time, acknowledge.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::limits;
use crate::locks::Guard;
use crate::page::{Cursor, Page, Paged};
use crate::scope::Scope;

/// A failure to keep.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burial {
    /// The queue, such as a job's name.
    #[doc(alias = "job_id")]
    pub queue: String,
    /// What failed, unique in its queue.
    pub item_id: String,
    /// The item itself.
    pub item: Value,
    /// Why it failed this time.
    pub error: String,
    /// What failures of one cause share; absent: the error's first line.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_signature: Option<String>,
    /// Whether it may be taken again.
    #[serde(default = "yes")]
    pub reprocess_eligible: bool,
    /// Whether a person must look first.
    #[serde(default)]
    pub manual_review_required: bool,
}

fn yes() -> bool {
    true
}

impl Burial {
    /// A failed item of a queue.
    pub fn new(
        queue: impl Into<String>,
        item_id: impl Into<String>,
        item: Value,
        error: impl Into<String>,
    ) -> Self {
        Self {
            queue: queue.into(),
            item_id: item_id.into(),
            item,
            error: error.into(),
            error_signature: None,
            reprocess_eligible: true,
            manual_review_required: false,
        }
    }

    /// The signature given, or the error's first line.
    pub fn signature(&self) -> &str {
        self.error_signature
            .as_deref()
            .unwrap_or_else(|| self.error.lines().next().unwrap_or_default())
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        check_queue(&self.queue)?;
        limits::name("item_id", &self.item_id, limits::ITEM_ID_BYTES)?;
        limits::json("item", &self.item, limits::ITEM_BYTES)?;
        limits::label("error", &self.error, limits::ERROR_BYTES)?;
        limits::label("error_signature", self.signature(), limits::ERROR_BYTES)
    }
}

/// Checks a queue's name.
///
/// # Errors
///
/// [`Error::Invalid`] when blank, over [`limits::STREAM_BYTES`] or holding a NUL.
pub fn check_queue(queue: &str) -> Result<()> {
    limits::name("queue", queue, limits::STREAM_BYTES)
}

/// What `bury` did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Buried {
    /// Attempts noted for the item, this one included.
    pub attempts: u32,
}

/// The right to work on a dead letter until it becomes visible again.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryReceipt {
    /// Its queue.
    pub queue: String,
    /// Its id.
    pub item_id: String,
    /// Which delivery: a later one has a larger number.
    pub delivery: i64,
}

impl DeliveryReceipt {
    /// Checks its names.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        check_queue(&self.queue)?;
        limits::name("item_id", &self.item_id, limits::ITEM_ID_BYTES)
    }
}

/// A dead letter handed out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// What acknowledges it.
    pub receipt: DeliveryReceipt,
    /// The item.
    pub item: Value,
    /// Why it failed last.
    pub error: String,
    /// Attempts noted so far.
    pub attempts: u32,
    /// When it was first buried.
    pub buried_at: DateTime<Utc>,
    /// When others may take it, unless it is acknowledged.
    pub visible_at: DateTime<Utc>,
}

/// A dead letter in a list.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its queue.
    pub queue: String,
    /// Its id, unique in its queue.
    pub item_id: String,
    /// The item.
    pub item: Value,
    /// Why it failed last.
    pub error: String,
    /// What failures of one cause share.
    pub error_signature: String,
    /// Attempts noted so far.
    pub attempts: u32,
    /// Whether it may be taken again.
    pub reprocess_eligible: bool,
    /// Whether a person must look first.
    pub manual_review_required: bool,
    /// When it was first buried.
    pub buried_at: DateTime<Utc>,
    /// From when on it may be taken; later than now: somebody works on it.
    pub visible_at: DateTime<Utc>,
}

/// The query whose pages a cursor of dead letters belongs to.
pub const CURSOR: &str = "dead_letters";

impl DeadLetter {
    /// Where a page that ends with it goes on.
    pub fn cursor(&self) -> Cursor {
        // The queue's length tells where it ends: either name may hold a colon.
        Cursor::of(CURSOR, &[&self.queue.len().to_string(), &self.queue, &self.item_id])
    }
}

/// The queue and id after which a page begins: of one queue, or of all.
///
/// # Errors
///
/// [`Error::Invalid`] as [`check_queue`], for a limit out of range or a foreign cursor.
pub fn after(queue: Option<&str>, page: &Page) -> Result<(String, String)> {
    queue.map_or(Ok(()), check_queue)?;
    page.check()?;
    let Some(cursor) = &page.cursor else {
        return Ok((queue.unwrap_or_default().to_owned(), String::new()));
    };
    let [length, names] = cursor.parts::<2>(CURSOR)?;
    let place = || {
        let (queue, rest) = names.split_at_checked(length.parse().ok()?)?;
        Some((queue.to_owned(), rest.strip_prefix(':')?.to_owned()))
    };
    place()
        .filter(|(of, _)| queue.is_none_or(|queue| queue == of))
        .ok_or_else(|| Error::invalid("page.cursor", "is not of this list"))
}

/// The dead letters of a store.
///
/// # Contract
///
/// - An item is buried once per queue and id; burying it again notes one more attempt and makes
///   it visible.
/// - A taken item is invisible until `visible_at`; a crashed worker's items come back.
/// - Nothing is lost between take and ack; an ack from `visible_at` on is [`Error::Fenced`], also
///   when nobody has taken the item meanwhile: somebody else may be about to.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Keeps a failure.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]; [`Error::Fenced`] under a stale guard; [`Error::ScopeRequired`].
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
    /// [`Error::Fenced`] when its visibility is over, or it was taken or buried again since;
    /// [`Error::NotFound`] when it is gone; [`Error::Invalid`] as [`DeliveryReceipt::check`].
    #[doc(alias = "mark_processed")]
    async fn ack(&self, scope: &Scope, receipt: &DeliveryReceipt) -> Result<()>;

    /// Lists a queue's items, or all of them, by queue and id; whether taken or not.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] as [`after`]; [`Error::ScopeRequired`].
    async fn list(
        &self,
        scope: &Scope,
        queue: Option<&str>,
        page: &Page,
    ) -> Result<Paged<DeadLetter>>;
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
    if visibility.is_zero() || visibility > limits::VISIBILITY_MAX {
        return Err(Error::invalid(
            "visibility",
            format!("is {visibility:?}; it goes up to {:?}", limits::VISIBILITY_MAX),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_after_names_that_hold_colons() {
        let letter = DeadLetter {
            queue: "mail:out".into(),
            item_id: "a:1".into(),
            item: Value::Null,
            error: String::new(),
            error_signature: String::new(),
            attempts: 1,
            reprocess_eligible: true,
            manual_review_required: false,
            buried_at: DateTime::UNIX_EPOCH,
            visible_at: DateTime::UNIX_EPOCH,
        };

        let page = Page { cursor: Some(letter.cursor()), ..Page::default() };

        assert_eq!(after(None, &page).unwrap(), ("mail:out".into(), "a:1".into()));
        assert_eq!(after(Some("mail:out"), &page).unwrap(), ("mail:out".into(), "a:1".into()));
        assert!(after(Some("mail"), &page).is_err());
    }

    #[test]
    fn a_cursor_that_names_no_place_is_refused() {
        for names in ["9:a:b", "1:é:b", "x:a:b", "1:ab"] {
            let cursor = format!("{CURSOR}:{names}").parse().unwrap();

            let page = Page { cursor: Some(cursor), ..Page::default() };
            assert!(after(None, &page).is_err(), "{names}");
        }
    }
}
