//! A store: one object with one object-safe trait per facet.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::checkpoints::Checkpoints;
use crate::claims::Claims;
use crate::consumers::Consumers;
use crate::dead_letters::DeadLetters;
use crate::error::Result;
use crate::events::{Archives, Events};
use crate::locks::Locks;
use crate::memories::{EmbeddingSets, Memories};
use crate::steps::Steps;
use crate::turns::Turns;
use crate::upkeep::Upkeep;
use crate::workflows::Workflows;

/// Which database a store stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Backend {
    /// One embedded file.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

/// A durable store. Cheap to share behind an `Arc`.
///
/// # Contract
///
/// - Every facet method is one atomic operation.
/// - After [`Store::close`] every call answers [`crate::Error::Closed`] at once, even while
///   running calls drain.
/// - An error or a panic of one call leaves the store usable for the next.
#[async_trait]
pub trait Store: Send + Sync {
    /// Which database this is.
    fn backend(&self) -> Backend;

    /// Free-text memories.
    fn memories(&self) -> &dyn Memories;

    /// The vectors of memories, one set per model.
    fn embedding_sets(&self) -> &dyn EmbeddingSets;

    /// The event log.
    fn events(&self) -> &dyn Events;

    /// The months of the event log, for whoever runs the installation.
    fn archives(&self) -> &dyn Archives;

    /// Groups of processes that share the event log.
    fn consumers(&self) -> &dyn Consumers;

    /// Leases with fences.
    fn locks(&self) -> &dyn Locks;

    /// Versioned thread state.
    fn checkpoints(&self) -> &dyn Checkpoints;

    /// What was said.
    fn turns(&self) -> &dyn Turns;

    /// What is believed.
    fn claims(&self) -> &dyn Claims;

    /// Workflow runs.
    fn workflows(&self) -> &dyn Workflows;

    /// What failed.
    fn dead_letters(&self) -> &dyn DeadLetters;

    /// Writes to any of them together, exactly once.
    fn steps(&self) -> &dyn Steps;

    /// Leases and reports of the upkeep tasks, and the work they do in the database.
    fn upkeep(&self) -> &dyn Upkeep;

    /// Asks the database whether it answers, and how fast.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Unavailable`] when it does not; [`crate::Error::Closed`].
    async fn health(&self) -> Result<StoreHealth>;

    /// Looks the installation over: one finding per check, good or bad.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Unavailable`] when the database does not answer.
    async fn doctor(&self) -> Result<Vec<Finding>>;

    /// Refuses new calls, waits for running ones, releases every connection.
    async fn close(&self);
}

/// How a database answered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StoreHealth {
    /// Which database.
    pub backend: Backend,
    /// The server's or library's version.
    pub server_version: String,
    /// The schema's version.
    pub schema_version: i64,
    /// The round trip of one small query, in microseconds.
    pub latency_us: u64,
    /// The store's clock.
    pub now: DateTime<Utc>,
    /// Connections open.
    pub connections: u32,
    /// Of them idle.
    pub idle: u32,
    /// Callers waiting for one.
    pub waiting: u32,
    /// `closed`, `open` or `half-open`: the circuit breaker; always `closed` when embedded.
    pub breaker: String,
}

/// How serious a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Works, but look at it.
    Warning,
    /// Something does not work.
    Error,
}

/// One thing `doctor` looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at: `schema`, `pgvector`, `clock`.
    pub check: String,
    /// How it is.
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fix: Option<String>,
}

impl Finding {
    /// A check that passed.
    pub fn ok(check: impl Into<String>, message: impl Into<String>) -> Self {
        Self { check: check.into(), severity: Severity::Ok, message: message.into(), fix: None }
    }

    /// A check that passed only just, and what to do.
    pub fn warning(
        check: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            check: check.into(),
            severity: Severity::Warning,
            message: message.into(),
            fix: Some(fix.into()),
        }
    }

    /// A check that failed, and what to do.
    pub fn error(
        check: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Error, ..Self::warning(check, message, fix) }
    }
}
