//! Events: what happened, in streams with gapless versions.
//!
//! The slice that stands: Mnemon's own notes on a tenant's [`SYSTEM_STREAM`], and reading a
//! stream in order.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::ids::EventId;
use crate::limits;
use crate::locks::Guard;
use crate::page::{Page, Paged};
use crate::scope::Scope;

/// The stream of a tenant on which Mnemon itself reports.
pub const SYSTEM_STREAM: &str = "mnemon.system";

/// A call was refused because its scope was incomplete.
pub const SCOPE_REJECTED: &str = "scope.rejected";

/// A lock was taken away from its holder.
pub const LOCK_FORCED: &str = "locks.forced";

/// An event to append.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEvent {
    /// The caller's id, so that appending it again is the first time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<EventId>,
    /// What happened.
    pub kind: String,
    /// The details.
    #[serde(default)]
    pub data: Value,
    /// What it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub correlation_id: Option<String>,
    /// When it happened; the time it is recorded otherwise.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub occurred_at: Option<DateTime<Utc>>,
}

impl NewEvent {
    /// An event of a kind.
    pub fn new(kind: impl Into<String>, data: Value) -> Self {
        Self { id: None, kind: kind.into(), data, correlation_id: None, occurred_at: None }
    }
}

/// Events to append to one stream, together.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Append {
    /// Where.
    #[doc(alias = "job_id")]
    pub stream: String,
    /// What, in order.
    pub events: Vec<NewEvent>,
    /// The version the stream must stand at: 0 for a new one. Not asked when every event of the
    /// append is known already: that is a repeat.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected_version: Option<i64>,
}

impl Append {
    /// Checks every field. The streams whose name begins with `mnemon.` are Mnemon's own.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::name("stream", &self.stream, limits::STREAM_BYTES)?;
        if self.stream.starts_with("mnemon.") {
            return Err(Error::invalid("stream", "begins with mnemon., which is reserved"));
        }
        if self.events.is_empty() {
            return Err(Error::invalid("events", "is empty"));
        }
        limits::count("events", self.events.len(), limits::EVENT_BATCH)?;
        let mut ids = std::collections::BTreeSet::new();
        for (at, event) in self.events.iter().enumerate() {
            event.check().map_err(|error| match error {
                Error::Invalid { field, reason } => {
                    Error::invalid(format!("events[{at}].{field}"), reason)
                }
                other => other,
            })?;
            if event.id.is_some_and(|id| !ids.insert(id)) {
                return Err(Error::invalid(format!("events[{at}].id"), "is given twice"));
            }
        }
        Ok(())
    }
}

/// Where an event stands that a store found by its id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its stream.
    pub stream: String,
    /// Its version there.
    pub version: i64,
}

/// Decides an append to a stream that stands at `head` (0: there is none yet): the version of
/// each event. `known` says, in the order of the events, which ids were found; the others are
/// new and follow the head. Versions above `head` are to be written.
///
/// # Errors
///
/// [`Error::AlreadyExists`] for an id of another stream; [`Error::Conflict`] when something is to
/// be written and the stream does not stand at the expected version.
pub fn place(append: &Append, head: i64, known: &[Option<Known>]) -> Result<Appended> {
    let mut stream_version = head;
    let mut versions = Vec::with_capacity(append.events.len());
    for (at, event) in append.events.iter().enumerate() {
        match known.get(at).and_then(Option::as_ref) {
            Some(known) if known.stream == append.stream => versions.push(known.version),
            Some(_) => {
                let key = event.id.map_or_else(String::new, |id| id.to_string());
                return Err(Error::AlreadyExists { kind: "event", key });
            }
            None => {
                stream_version += 1;
                versions.push(stream_version);
            }
        }
    }
    match append.expected_version {
        Some(expected) if expected != head && stream_version > head => Err(Error::Conflict {
            kind: "stream",
            key: append.stream.clone(),
            expected: Some(expected),
            actual: Some(head),
        }),
        _ => Ok(Appended { versions, stream_version }),
    }
}

impl NewEvent {
    fn check(&self) -> Result<()> {
        limits::name("kind", &self.kind, limits::LABEL_BYTES)?;
        limits::json("data", &self.data, limits::EVENT_BYTES)?;
        match &self.correlation_id {
            Some(id) => limits::name("correlation_id", id, limits::LABEL_BYTES),
            None => Ok(()),
        }
    }
}

/// What an append did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Appended {
    /// The version of each event, in the order given; for an id known before, its first one.
    pub versions: Vec<i64>,
    /// The version the stream stands at.
    pub stream_version: i64,
}
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

/// The events of a store.
///
/// # Contract
///
/// - Versions of a stream start at 1 and have no gaps, whatever the number of writers.
/// - Nothing of one tenant is visible in another.
/// - An event id appended again to its stream is the first time; on another stream it is
///   [`crate::Error::AlreadyExists`].
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

    /// Reads a stream in order.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`]; [`crate::Error::Invalid`] for a foreign cursor.
    async fn read(&self, scope: &Scope, stream: &str, page: &Page) -> Result<Paged<Event>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(events: usize, expected_version: Option<i64>) -> Append {
        let events = (0..events).map(|_| NewEvent::new("k", Value::Null)).collect();
        Append { stream: "s".into(), events, expected_version }
    }

    fn known(stream: &str, version: i64) -> Known {
        Known { stream: stream.into(), version }
    }

    #[test]
    fn new_events_follow_the_head_and_known_ones_keep_their_version() {
        let placed = place(&append(3, None), 7, &[None, Some(known("s", 2)), None]).unwrap();

        assert_eq!(placed, Appended { versions: vec![8, 2, 9], stream_version: 9 });
    }

    #[test]
    fn a_repeat_of_known_events_is_no_conflict() {
        let all_known = [Some(known("s", 1)), Some(known("s", 2))];

        assert_eq!(place(&append(2, Some(0)), 5, &all_known).unwrap().versions, [1, 2]);
        assert!(matches!(
            place(&append(2, Some(0)), 5, &[Some(known("s", 1)), None]),
            Err(Error::Conflict { expected: Some(0), actual: Some(5), .. })
        ));
    }

    #[test]
    fn an_id_of_another_stream_already_exists() {
        let outcome = place(&append(1, None), 0, &[Some(known("other", 1))]);

        assert!(matches!(outcome, Err(Error::AlreadyExists { kind: "event", .. })));
    }

    #[test]
    fn an_id_given_twice_is_refused() {
        let event = NewEvent {
            id: Some(EventId(uuid::Uuid::from_u128(7))),
            ..NewEvent::new("k", Value::Null)
        };
        let append = Append { events: vec![event.clone(), event], ..append(0, None) };

        assert_eq!(append.check().unwrap_err().to_string(), "events[1].id: is given twice");
    }
}
