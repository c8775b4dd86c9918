//! What is kept of a failure, and what is handed out.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{check_item, check_queue};
use crate::error::{Error, Result};
use crate::limits;
use crate::page::{Cursor, Page};

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
    /// Anything else about this attempt, such as the step that failed or a stack: a JSON object,
    /// kept with the attempt.
    #[serde(skip_serializing_if = "is_empty", default = "empty")]
    pub detail: Value,
    /// Anything of the caller's about the item: a JSON object. The newest burial's is kept.
    #[serde(skip_serializing_if = "is_empty", default = "empty")]
    pub metadata: Value,
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

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty)
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
            detail: empty(),
            metadata: empty(),
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
        check_item(&self.queue, &self.item_id)?;
        limits::json("item", &self.item, limits::ITEM_BYTES)?;
        limits::label("error", &self.error, limits::ERROR_BYTES)?;
        limits::label("error_signature", self.signature(), limits::ERROR_BYTES)?;
        object("detail", &self.detail)?;
        object("metadata", &self.metadata)
    }
}

fn object(field: &'static str, value: &Value) -> Result<()> {
    if !value.is_object() {
        return Err(Error::invalid(field, "is not a JSON object"));
    }
    limits::json(field, value, limits::METADATA_BYTES)
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
        check_item(&self.queue, &self.item_id)
    }

    /// The item's name, for messages: `queue/item`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.queue, self.item_id)
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

/// How an item stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LetterState {
    /// May be taken.
    Ready,
    /// Given back, and waiting for its delay.
    Delayed,
    /// A worker has it.
    InFlight,
    /// A person must look first.
    Review,
    /// Not to be tried again.
    Rejected,
}

impl LetterState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Ready, Self::Delayed, Self::InFlight, Self::Review, Self::Rejected];

    /// The state's name: `in_flight`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::InFlight => "in_flight",
            Self::Review => "review",
            Self::Rejected => "rejected",
        }
    }
}

impl std::str::FromStr for LetterState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| Error::invalid("state", format!("is {text:?}, not an item's state")))
    }
}

/// Reads an item's state off its facts. A worker's item stays in its hands until its time is
/// over, whatever was said about it meanwhile.
pub fn state(
    taken: bool,
    visible_at: DateTime<Utc>,
    reprocess_eligible: bool,
    manual_review_required: bool,
    now: DateTime<Utc>,
) -> LetterState {
    let waiting = visible_at > now;
    match (taken && waiting, reprocess_eligible, manual_review_required) {
        (true, _, _) => LetterState::InFlight,
        (_, false, _) => LetterState::Rejected,
        (_, _, true) => LetterState::Review,
        _ if waiting => LetterState::Delayed,
        _ => LetterState::Ready,
    }
}

/// A dead letter in a list.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its queue.
    pub queue: String,
    /// Its id, unique in its queue.
    pub item_id: String,
    /// How it stands.
    pub state: LetterState,
    /// The item.
    pub item: Value,
    /// The caller's JSON object.
    pub metadata: Value,
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
    /// The user of the scope that buried it first.
    pub user: Option<String>,
    /// The agent of the scope that buried it first.
    pub agent: Option<String>,
    /// When it was first buried.
    pub buried_at: DateTime<Utc>,
    /// From when on it may be taken; later than now: somebody works on it, or it is delayed.
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

/// One failure of an item.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// Which, from 1.
    pub attempt: u32,
    /// When it was noted.
    pub at: DateTime<Utc>,
    /// Why.
    pub error: String,
    /// What failures of one cause share.
    pub error_signature: String,
    /// What else was said of it.
    pub detail: Value,
    /// The user of the scope.
    pub user: Option<String>,
    /// The agent of the scope.
    pub agent: Option<String>,
    /// The run of the scope.
    pub run: Option<String>,
}

const ATTEMPTS: &str = "dead_letter_attempts";

impl Attempt {
    /// Where a page that ends with it goes on.
    pub fn cursor(&self) -> Cursor {
        Cursor::of(ATTEMPTS, &[&self.attempt.to_string()])
    }
}

/// The attempt below which a page begins.
///
/// # Errors
///
/// [`Error::Invalid`] for a limit out of range or a foreign cursor.
pub fn after_attempt(page: &Page) -> Result<i32> {
    page.check()?;
    let Some(cursor) = &page.cursor else { return Ok(i32::MAX) };
    let [number] = cursor.parts::<1>(ATTEMPTS)?;
    number.parse().map_err(|_| Error::invalid("page.cursor", "holds no number"))
}

/// How many failed for one cause.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Signature {
    /// What they share.
    pub signature: String,
    /// How many.
    pub items: u64,
}

/// What a queue holds, or all of them.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LetterStats {
    /// Items.
    pub total: u64,
    /// Of them by state; a state without items is not there.
    pub by_state: BTreeMap<LetterState, u64>,
    /// By attempts noted.
    #[doc(alias = "items_by_retry_count")]
    pub by_attempts: BTreeMap<u32, u64>,
    /// The most frequent causes, the most frequent first, [`limits::LETTER_SIGNATURES`] at most.
    pub by_signature: Vec<Signature>,
    /// When the oldest was first buried.
    pub oldest: Option<DateTime<Utc>>,
    /// When the newest was first buried.
    pub newest: Option<DateTime<Utc>>,
}

impl LetterStats {
    /// Attempts of an item on average; 0 without items.
    #[doc(alias = "average_retry_count")]
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    pub fn average_attempts(&self) -> f64 {
        let attempts: u64 =
            self.by_attempts.iter().map(|(attempts, items)| u64::from(*attempts) * items).sum();
        if self.total == 0 { 0.0 } else { attempts as f64 / self.total as f64 }
    }

    /// Items in a state.
    pub fn count(&self, state: LetterState) -> u64 {
        self.by_state.get(&state).copied().unwrap_or_default()
    }
}

/// Checks the queue of a call that may be about all of them.
pub(super) fn check_optional(queue: Option<&str>) -> Result<()> {
    queue.map_or(Ok(()), check_queue)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_workers_item_is_in_flight_until_its_time_is_over() {
        let now = DateTime::UNIX_EPOCH;
        let (later, before) = (now + TimeDelta::seconds(1), now - TimeDelta::seconds(1));

        assert_eq!(state(true, later, false, true, now), LetterState::InFlight);
        assert_eq!(state(true, now, true, false, now), LetterState::Ready);
        assert_eq!(state(false, later, true, false, now), LetterState::Delayed);
        assert_eq!(state(true, before, true, true, now), LetterState::Review);
        assert_eq!(state(false, before, false, true, now), LetterState::Rejected);
    }

    #[test]
    fn an_average_is_over_items() {
        let stats = LetterStats {
            total: 3,
            by_attempts: BTreeMap::from([(1, 2), (4, 1)]),
            ..LetterStats::default()
        };

        assert!((stats.average_attempts() - 2.0).abs() < f64::EPSILON);
        assert!(LetterStats::default().average_attempts().abs() < f64::EPSILON);
    }
}
