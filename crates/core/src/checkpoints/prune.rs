//! Removing by policy: what of a thread goes, and what was removed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits;

/// What of a thread goes. It holds for each namespace of a thread by itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// All but the newest so many, whatever branch they are on.
    KeepLatest(u32),
    /// Checkpoints put before this time; the newest stays, however old it is.
    OlderThan(DateTime<Utc>),
    /// Everything: the thread is gone.
    Delete,
}

impl Policy {
    /// Checks the policy and the threads it is for.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self, thread_ids: &[String]) -> Result<()> {
        limits::count("thread_ids", thread_ids.len(), limits::THREADS_BATCH)?;
        for thread_id in thread_ids {
            super::thread::check_id(thread_id)?;
        }
        match self {
            Self::KeepLatest(0) => {
                Err(Error::invalid("keep_latest", "is 0; delete says that nothing is kept"))
            }
            _ => Ok(()),
        }
    }
}

/// Checks the runs whose checkpoints go.
///
/// # Errors
///
/// [`Error::Invalid`] naming the field and the limit.
pub fn check_runs(runs: &[String]) -> Result<()> {
    limits::count("runs", runs.len(), limits::THREADS_BATCH)?;
    for run in runs {
        limits::name("runs", run, limits::SCOPE_NAME_BYTES)?;
    }
    Ok(())
}

/// What was removed, or with `dry_run` would be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Pruned {
    /// Threads of which nothing is left; each namespace counts.
    pub threads: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Pending writes of those.
    pub writes: u64,
    /// Stored values and parts of values that nothing names any more.
    pub blobs: u64,
}

impl std::ops::AddAssign for Pruned {
    fn add_assign(&mut self, other: Self) {
        self.threads += other.threads;
        self.checkpoints += other.checkpoints;
        self.writes += other.writes;
        self.blobs += other.blobs;
    }
}
