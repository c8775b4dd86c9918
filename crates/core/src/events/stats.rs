//! What the store knows about a stream without handing out its events.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A stream in figures, over what is kept and what the scope sees.
///
/// An event counts as a success or a failure by the boolean `success` of its data. Its duration
/// is the number `duration_ms` of its data, or `duration` as `[seconds, nanoseconds]` or
/// `{"secs": …, "nanos": …}`.
#[doc(alias = "EventStats")]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StreamStats {
    /// The stream.
    pub stream: String,
    /// The newest version; 0: there is none.
    pub version: i64,
    /// The oldest version still kept.
    pub first_kept: i64,
    /// Events.
    pub events: u64,
    /// Events by kind.
    pub by_kind: BTreeMap<String, u64>,
    /// Events whose data says `"success": true`.
    pub succeeded: u64,
    /// Events whose data says `"success": false`.
    pub failed: u64,
    /// When the first one happened.
    pub first_at: Option<DateTime<Utc>>,
    /// When the last one happened.
    pub last_at: Option<DateTime<Utc>>,
    /// The mean of the durations there are, in milliseconds.
    pub average_duration_ms: Option<f64>,
}

/// The figures of one kind, as a store counts them.
#[derive(Clone, PartialEq, Debug)]
pub struct KindStats {
    /// The kind.
    pub kind: String,
    /// Events.
    pub events: u64,
    /// Successes.
    pub succeeded: u64,
    /// Failures.
    pub failed: u64,
    /// The first.
    pub first_at: Option<DateTime<Utc>>,
    /// The last.
    pub last_at: Option<DateTime<Utc>>,
    /// Events with a duration.
    pub timed: u64,
    /// Their durations together, in milliseconds.
    pub total_ms: f64,
}

impl StreamStats {
    /// Puts the figures of its kinds together.
    pub fn of(
        stream: impl Into<String>,
        version: i64,
        first_kept: i64,
        kinds: Vec<KindStats>,
    ) -> Self {
        let sum = |part: fn(&KindStats) -> u64| kinds.iter().map(part).sum::<u64>();
        let timed = sum(|kind| kind.timed);
        let total: f64 = kinds.iter().map(|kind| kind.total_ms).sum();
        #[expect(clippy::cast_precision_loss, reason = "a count of events")]
        let average_duration_ms = (timed > 0).then(|| total / timed as f64);
        Self {
            stream: stream.into(),
            version,
            first_kept,
            events: sum(|kind| kind.events),
            succeeded: sum(|kind| kind.succeeded),
            failed: sum(|kind| kind.failed),
            first_at: kinds.iter().filter_map(|kind| kind.first_at).min(),
            last_at: kinds.iter().filter_map(|kind| kind.last_at).max(),
            average_duration_ms,
            by_kind: kinds.into_iter().map(|kind| (kind.kind, kind.events)).collect(),
        }
    }
}

/// How far readers of the whole log can read.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Horizon {
    /// The epoch that new events get.
    pub epoch: i64,
    /// Events of this transaction and later ones are not readable yet (SQLite: the newest).
    pub tx: i64,
    /// Since when somebody in the cluster holds it back by an open transaction; zero when nobody does.
    pub age: std::time::Duration,
}
