//! Every try of a run, its jobs, and what is counted.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::run::{RunStatus, check_id, moment};
use crate::error::{Error, Result};
use crate::limits;
use crate::page::{Cursor, Page};

/// What a save does to a run's executions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Nothing.
    None,
    /// One begins.
    Opens,
    /// The one under way ends in the new status.
    Closes,
    /// One begins and ends at once: a run that is saved first when it is over.
    Passes,
}

/// Decides what a transition does to a run's executions; `from` is absent for a new run.
pub const fn execution(from: Option<RunStatus>, to: RunStatus) -> Turn {
    use RunStatus::{Cancelled, Completed, Failed, Initializing, Paused, Running};
    match (from, to) {
        // A new run that already ran, or one that starts, for the first time or once more.
        (None, Running | Paused) | (Some(Initializing | Failed), Running) => Turn::Opens,
        (None, Completed | Failed | Cancelled) => Turn::Passes,
        (Some(Running | Paused), Completed | Failed | Cancelled) => Turn::Closes,
        _ => Turn::None,
    }
}

/// One try of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Execution {
    /// The run.
    pub run: String,
    /// Which try of it, from 1.
    pub execution: u32,
    /// The definition it followed.
    pub definition: Option<String>,
    /// Which version of it.
    pub definition_version: Option<u32>,
    /// [`RunStatus::Running`], or how it ended.
    pub status: RunStatus,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

const CURSOR: &str = "workflow_executions";

impl Execution {
    /// Where a page that ends with it goes on.
    pub fn cursor(&self) -> Cursor {
        let (at, number) = (self.started_at.timestamp_micros(), self.execution);
        Cursor::of(CURSOR, &[&at.to_string(), &number.to_string(), &self.run])
    }

    /// How long it took, pauses included; absent while it runs.
    pub fn duration(&self) -> Option<std::time::Duration> {
        (self.finished_at? - self.started_at).to_std().ok()
    }
}

/// The place below which a page of executions begins: when, of which run, which try.
///
/// # Errors
///
/// [`Error::Invalid`] for a blank or long name (of a run or a definition), a limit out of range or
/// a foreign cursor.
pub fn after_execution(name: &str, page: &Page) -> Result<Option<(DateTime<Utc>, String, i32)>> {
    limits::name("id", name, limits::RUN_ID_BYTES)?;
    page.check()?;
    let Some(cursor) = &page.cursor else { return Ok(None) };
    let [at, number, run] = cursor.parts::<3>(CURSOR)?;
    let number = number.parse().map_err(|_| Error::invalid("page.cursor", "holds no number"))?;
    Ok(Some((moment(at)?, run.to_owned(), number)))
}

/// A job of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The job's id, the caller's.
    pub job: String,
    /// When it was linked.
    pub linked_at: DateTime<Utc>,
}

const JOBS: &str = "workflow_jobs";

impl Job {
    /// Where a page that ends with it goes on.
    pub fn cursor(&self) -> Cursor {
        Cursor::of(JOBS, &[&self.job])
    }
}

/// The job after which a page begins.
///
/// # Errors
///
/// [`Error::Invalid`] as [`check_id`], for a limit out of range or a foreign cursor.
pub fn after_job(id: &str, page: &Page) -> Result<String> {
    check_id(id)?;
    page.check()?;
    let Some(cursor) = &page.cursor else { return Ok(String::new()) };
    let [job] = cursor.parts::<1>(JOBS)?;
    Ok(job.to_owned())
}

/// Checks a run and a job of it.
///
/// # Errors
///
/// [`Error::Invalid`] naming the field and the limit.
pub fn check_link(id: &str, job: &str) -> Result<()> {
    check_id(id)?;
    limits::name("job", job, limits::RUN_ID_BYTES)
}

/// What is counted of one run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunStats {
    /// From its first save to its end, or to its last save while it is under way.
    pub duration_ms: u64,
    /// Executions.
    pub executions: u32,
    /// Of them failed.
    pub failures: u32,
    /// Jobs linked.
    pub jobs: u32,
    /// Saves.
    pub saves: i64,
    /// The caller's counts.
    #[doc(alias = "commands_executed")]
    pub counters: BTreeMap<String, i64>,
    /// The caller's durations in milliseconds.
    pub timings_ms: BTreeMap<String, u64>,
}

/// What is counted of many runs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct WorkflowStats {
    /// Runs.
    pub total: u64,
    /// Of them by status; a status without runs is not there.
    pub by_status: BTreeMap<String, u64>,
    /// From first save to end, on average over those that ended.
    pub average_duration_ms: Option<f64>,
    /// When the oldest was started.
    pub first_started: Option<DateTime<Utc>>,
    /// When the newest was started.
    pub last_started: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legal_life_opens_as_often_as_it_closes() {
        use RunStatus::{Completed, Failed, Initializing, Paused, Running};
        let life = [Initializing, Running, Running, Paused, Running, Failed, Running, Completed];

        let mut turns = vec![execution(None, life[0])];
        turns.extend(life.windows(2).map(|pair| execution(Some(pair[0]), pair[1])));

        let count = |turn| turns.iter().filter(|found| **found == turn).count();
        assert_eq!((count(Turn::Opens), count(Turn::Closes)), (2, 2));
    }

    #[test]
    fn no_transition_leaves_an_execution_open_behind_an_end() {
        for from in RunStatus::ALL {
            for to in RunStatus::ALL.into_iter().filter(|to| from.may_become(*to)) {
                let under_way = matches!(from, RunStatus::Running | RunStatus::Paused);
                let closes = execution(Some(from), to) == Turn::Closes;

                assert_eq!(closes, under_way && to.ended(), "{from:?} to {to:?}");
            }
        }
    }
}
