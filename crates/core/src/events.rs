//! Events: what happened, in streams with gapless versions.
//!
//! A stream is read by its versions; all streams of a tenant together by [`Position`], in an order
//! that no late commit can change behind a reader's back.

mod append;
mod archive;
mod filter;
mod position;
mod search;
mod stats;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;
use crate::ids::EventId;
use crate::limits;
use crate::locks::Guard;
use crate::page::{Cursor, Page, Paged};
use crate::scope::Scope;

pub use append::{Append, Appended, Checked, Import, Imported, Known, NewEvent, Refused, place};
pub use archive::{
    ArchivePlace, Archived, Archives, Extent, Fit, Month, MonthOfLog, Retired, Standing, fit,
};
pub use filter::EventFilter;
pub use position::{Position, Start, ahead, hint_of, part_of, version_gone};
pub use search::{Sought, document};
pub use stats::{Horizon, KindStats, StreamStats};

/// The stream of a tenant on which Mnemon itself reports.
pub const SYSTEM_STREAM: &str = "mnemon.system";

/// A call was refused because its scope was incomplete.
pub const SCOPE_REJECTED: &str = "scope.rejected";

/// A lock was taken away from its holder.
pub const LOCK_FORCED: &str = "locks.forced";

/// A session's summarising became healthy, or less so.
pub const TURNS_HEALTH_CHANGED: &str = "turns.health_changed";

/// So much waits for a failing summariser that it is tried less often.
pub const TURNS_SUMMARIZING_PAUSED: &str = "turns.summarizing_paused";

/// A person was told that recall is keyword search until a model is set.
pub const KEYWORDS_ONLY_TOLD: &str = "memories.keywords_only_told";

/// One event of a stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// Its stream.
    pub stream: String,
    /// Its place in the stream, from 1, without gaps.
    pub version: i64,
    /// Its place among all events of its tenant.
    pub position: Position,
    /// What happened: `scope.rejected`.
    pub kind: String,
    /// The details.
    pub data: Value,
    /// What it belongs to.
    pub correlation_id: Option<String>,
    /// The user of the scope it was written in.
    pub user: Option<String>,
    /// The agent of the scope it was written in.
    pub agent: Option<String>,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// When it was written, by the store's clock.
    pub recorded_at: DateTime<Utc>,
}

/// Checks how many events are read at once.
///
/// # Errors
///
/// [`crate::Error::Invalid`] unless it is 1 to [`limits::READ_MAX`].
pub fn check_limit(limit: u32) -> Result<()> {
    if (1..=limits::READ_MAX).contains(&limit) {
        return Ok(());
    }
    let reason = format!("is {limit}; it goes from 1 to {}", limits::READ_MAX);
    Err(crate::Error::invalid("limit", reason))
}

/// A piece of the log in the order of positions.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Slice {
    /// The events.
    pub events: Vec<Event>,
    /// Where the next piece starts; always given, also when nothing was found.
    pub next: Cursor,
    /// Whether everything readable was read.
    pub caught_up: bool,
    /// Whether there is more that is committed but not readable yet: an older transaction is open.
    pub pending: bool,
}

/// How often something may have been appended, as a store counts it in one process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark(pub u64);

/// The events of a store.
///
/// # Contract
///
/// - Versions of a stream start at 1 and have no gaps, whatever the number of writers.
/// - Nothing of one tenant is visible in another.
/// - An event id appended again to its stream is the first time; on another stream it is
///   [`crate::Error::AlreadyExists`].
/// - Reading the log from a cursor shows every event once, those of a stream in the order of
///   their versions, whatever the order of commits. What a cursor has passed never grows.
#[async_trait]
pub trait Events: Send + Sync {
    /// Appends events to a stream: all or none.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::Conflict`] when the stream does not stand at
    /// `expected_version`; [`crate::Error::AlreadyExists`]; [`crate::Error::Fenced`] under a
    /// stale guard; [`crate::Error::ScopeRequired`].
    async fn append(
        &self,
        scope: &Scope,
        append: Append,
        guard: Option<&Guard>,
    ) -> Result<Appended>;

    /// Appends to any number of streams in one commit; each append is decided alone, and one that
    /// is refused leaves the others standing. Appends to one stream happen in the order given.
    ///
    /// # Errors
    ///
    /// Of one append, in its place: as [`Events::append`]. Of all: [`crate::Error::Invalid`] for
    /// more than [`limits::APPENDS`] or [`limits::EVENT_BATCH`] events together;
    /// [`crate::Error::ScopeRequired`].
    async fn append_many(
        &self,
        scope: &Scope,
        appends: Vec<Append>,
    ) -> Result<Vec<Result<Appended>>>;

    /// Appends events that were recorded elsewhere, with the times they had; the months they need
    /// are made. Within a stream times do not go back.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a time before the one before it, before the stream's newest
    /// event, or in the future; otherwise as [`Events::append`].
    async fn import(&self, scope: &Scope, import: Import) -> Result<Appended>;

    /// Appends a note of Mnemon's own to the tenant's [`SYSTEM_STREAM`], unless one of the same
    /// kind is younger than `at_most_every`. Answers the version written, if one was.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`] without a tenant; [`crate::Error::Invalid`] for a payload
    /// over [`crate::limits::EVENT_BYTES`].
    async fn note(
        &self,
        scope: &Scope,
        kind: &'static str,
        data: Value,
        at_most_every: Duration,
    ) -> Result<Option<i64>>;

    /// Reads a stream in order; without a cursor from the oldest event that is kept.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`]; [`crate::Error::Invalid`] for a foreign cursor;
    /// [`crate::Error::Gone`] for one behind which retention removed something.
    async fn read(&self, scope: &Scope, stream: &str, page: &Page) -> Result<Paged<Event>>;

    /// Reads the log of all streams after a cursor, in the order of positions; `limit` is 1 to
    /// [`limits::READ_MAX`]. Without a cursor it begins with the oldest event that is kept.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`]; [`crate::Error::Invalid`] for a cursor of another tenant,
    /// garbage, or one that is ahead of the log; [`crate::Error::Gone`] for one behind which
    /// retention removed something.
    async fn read_all(
        &self,
        scope: &Scope,
        filter: &EventFilter,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Slice>;

    /// Lists events, the last recorded first. Unlike reading it shows what is committed at once,
    /// and a page may miss what is committed meanwhile.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`]; [`crate::Error::Invalid`] for a filter or a foreign cursor.
    #[doc(alias = "query")]
    async fn list(&self, scope: &Scope, filter: &EventFilter, page: &Page) -> Result<Paged<Event>>;

    /// Counts events.
    ///
    /// # Errors
    ///
    /// As [`Events::list`].
    async fn count(&self, scope: &Scope, filter: &EventFilter) -> Result<u64>;

    /// Events that hold every word and phrase of a text and no excluded one, as far as upkeep has
    /// indexed the log ([`crate::upkeep::Task::EventSearch`]); the last recorded first.
    ///
    /// # Errors
    ///
    /// As [`Events::list`]; [`crate::Error::Invalid`] for a text without a word.
    async fn search(
        &self,
        scope: &Scope,
        text: &str,
        filter: &EventFilter,
        page: &Page,
    ) -> Result<Paged<Event>>;

    /// A stream in figures.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`]; [`crate::Error::Invalid`] for the stream's name.
    async fn aggregate(&self, scope: &Scope, stream: &str) -> Result<StreamStats>;

    /// Waits until something may have been appended for the tenant since `mark`, at most so long;
    /// answers the mark to wait from next. Another mark is a hint: reading shows what is there. The
    /// same one says that until about [`crate::limits::SUBSCRIPTION_POLL`] ago nothing was.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`]; [`crate::Error::Closed`].
    async fn moved(&self, scope: &Scope, mark: Mark, at_most: Duration) -> Result<Mark>;

    /// How far the log can be read, for all tenants.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Unavailable`] and [`crate::Error::Backend`] only.
    async fn horizon(&self) -> Result<Horizon>;

    /// Says that the database was put back to an earlier state (a restored backup, a
    /// point-in-time recovery): a new epoch begins, so that cursors of the time before meet every
    /// event that is appended from now on, and every fence grows. Answers the epoch. For whoever
    /// runs the installation, as the schema's owner.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Setup`] when the role may not.
    async fn restored(&self) -> Result<i64>;
}
