//! Upkeep: work that nobody waits for. One registry of tasks, one runner (in `mnemon`); the
//! store keeps who runs what, under fenced leases, and does the database's part.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::dead_letters::LetterState;
use crate::error::Result;
use crate::ids::Fence;

/// A task of the database's part of upkeep.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Task {
    /// Folds what writes noted about words into the counts that BM25 reads.
    TextCounts,
    /// Cuts memories into words anew, after the language was changed, in batches.
    Words,
    /// Removes memories whose time is over, in batches.
    ExpiredMemories,
    /// Embeds memories that the active set has no vector of, by the model of the process that runs
    /// it.
    Embeddings,
    /// Makes event partitions ahead of time.
    EventPartitions,
    /// Archives and removes the months of the event log that are older than it is kept.
    EventRetention,
    /// Indexes the words of new events, where searching events is switched on.
    EventSearch,
    /// Removes receipts of steps older than [`crate::limits::RECEIPTS_KEPT`], in batches.
    Receipts,
    /// Frees the space that taken and acknowledged dead letters leave behind.
    DeadLetters,
    /// Removes turns whose time is over, in batches.
    ExpiredTurns,
    /// Has summaries written of the sessions that have them due.
    Summaries,
    /// Removes threads that were without activity for as long as they are kept, in batches.
    ExpiredThreads,
    /// Turns questions that no oracle answered in time back into contested claims.
    ExpiredAdjudications,
    /// Puts questions about contested claims to the oracle of the process that runs it.
    OracleQuestions,
    /// Moves unindexed vectors in bulk into indexed segments, and merges those.
    VectorSegments,
}

impl Task {
    /// Every task, in the order a full run takes.
    pub const ALL: [Self; 15] = [
        Self::Words,
        Self::TextCounts,
        Self::ExpiredMemories,
        Self::Embeddings,
        Self::EventPartitions,
        Self::EventRetention,
        Self::EventSearch,
        Self::Receipts,
        Self::DeadLetters,
        Self::ExpiredTurns,
        Self::Summaries,
        Self::ExpiredThreads,
        Self::ExpiredAdjudications,
        Self::OracleQuestions,
        Self::VectorSegments,
    ];

    /// The task's name: `text-counts`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TextCounts => "text-counts",
            Self::Words => "words",
            Self::ExpiredMemories => "expired-memories",
            Self::Embeddings => "embeddings",
            Self::EventPartitions => "event-partitions",
            Self::EventRetention => "event-retention",
            Self::EventSearch => "event-search",
            Self::Receipts => "receipts",
            Self::DeadLetters => "dead-letters",
            Self::ExpiredTurns => "expired-turns",
            Self::Summaries => "summaries",
            Self::ExpiredThreads => "expired-threads",
            Self::ExpiredAdjudications => "expired-adjudications",
            Self::OracleQuestions => "oracle-questions",
            Self::VectorSegments => "vector-segments",
        }
    }

    /// How often it is due.
    pub const fn interval(self) -> Duration {
        match self {
            Self::TextCounts | Self::Summaries | Self::EventSearch => Duration::from_secs(5),
            Self::DeadLetters | Self::OracleQuestions | Self::VectorSegments => {
                Duration::from_secs(2)
            }
            Self::Words
            | Self::ExpiredMemories
            | Self::Embeddings
            | Self::ExpiredTurns
            | Self::ExpiredThreads
            | Self::ExpiredAdjudications => Duration::from_mins(1),
            Self::EventPartitions | Self::EventRetention | Self::Receipts => {
                Duration::from_hours(1)
            }
        }
    }

    /// Rows one batch handles: a batch is one transaction.
    pub const fn batch(self) -> u32 {
        match self {
            Self::TextCounts | Self::Receipts => 2_000,
            Self::EventSearch => 1_000,
            Self::Words | Self::ExpiredMemories | Self::ExpiredTurns => 500,
            Self::VectorSegments => crate::limits::SEGMENT_COPY,
            Self::ExpiredThreads => 20,
            Self::ExpiredAdjudications => 100,
            Self::OracleQuestions => crate::limits::ORACLE_AT_ONCE,
            Self::Embeddings => crate::limits::REEMBED_BATCH,
            Self::EventPartitions | Self::EventRetention | Self::DeadLetters | Self::Summaries => 1,
        }
    }

    /// Whether one batch may take so long (a model's answer, an index, a month's file) that other
    /// tasks must not wait for it.
    pub const fn takes_long(self) -> bool {
        matches!(
            self,
            Self::Embeddings | Self::EventRetention | Self::Summaries | Self::VectorSegments
        )
    }

    /// How long a process holds the task without a sign of life.
    pub const fn lease(self) -> Duration {
        match self {
            // One call of a summariser lies between two signs of life.
            Self::Summaries => crate::limits::SUMMARY_LEASE,
            // A month is taken out between two signs of life.
            Self::EventRetention => crate::limits::RETENTION_LEASE,
            // So does one batch of an embedder.
            Self::Embeddings => crate::limits::FILL_LEASE,
            _ => Duration::from_secs(30),
        }
    }
}

/// A process's right to run a task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskLease {
    /// Which task.
    pub task: Task,
    /// Larger for every new holder.
    pub fence: Fence,
    /// When it ends unless a batch renews it.
    pub expires_at: DateTime<Utc>,
}

/// What one batch did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Batch {
    /// Rows handled.
    pub rows: u64,
    /// Whether more is waiting.
    pub more: bool,
}

/// How a task stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskStatus {
    /// The task's name.
    pub name: String,
    /// Who holds it now.
    pub holder: Option<String>,
    /// When it last finished.
    pub last_run: Option<DateTime<Utc>>,
    /// Runs that failed in a row.
    pub errors: u32,
    /// The last failure.
    pub last_error: Option<String>,
    /// Rows waiting, as far as the store knows.
    pub lag: u64,
}

/// How much waits in the queues of all tenants, each counted up to
/// [`crate::limits::DEPTH_MAX`]: what metrics show.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Depths {
    /// Dead letters by state, every state once.
    pub dead_letters: Vec<(LetterState, u64)>,
}

impl Depths {
    /// Fills up the states that a store found nothing in.
    pub fn of(found: impl Fn(LetterState) -> u64) -> Self {
        Self { dead_letters: LetterState::ALL.map(|state| (state, found(state))).into() }
    }
}

/// The database's side of upkeep.
///
/// # Contract
///
/// - A task is held by one process at a time; a takeover gets a larger fence, and a batch under
///   an older fence is refused with [`crate::Error::Fenced`], its work rolled back.
/// - A batch is one transaction and renews the lease; a killed run resumes where it stopped.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Takes a task if it is due (or `force`) and nobody holds it.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Unavailable`] and [`crate::Error::Backend`] only.
    async fn claim(&self, task: Task, holder: &str, force: bool) -> Result<Option<TaskLease>>;

    /// Does one batch under a lease.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Fenced`] when a newer holder exists; nothing was written.
    async fn batch(&self, lease: &TaskLease) -> Result<Batch>;

    /// Gives a task back and notes how it went.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Fenced`] when a newer holder exists.
    async fn finish(&self, lease: &TaskLease, failure: Option<&str>) -> Result<()>;

    /// How every task stands.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Unavailable`] and [`crate::Error::Backend`] only.
    async fn status(&self) -> Result<Vec<TaskStatus>>;

    /// How much waits in the queues of all tenants.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Unavailable`] and [`crate::Error::Backend`] only.
    async fn depths(&self) -> Result<Depths>;
}
