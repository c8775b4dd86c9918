//! Runs: what is saved, which transitions are legal, which runs a list is about.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::limits;
use crate::page::{Cursor, Page};

/// How a run stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Being set up.
    Initializing,
    /// At work.
    Running,
    /// Stopped on purpose; goes on later.
    Paused,
    /// Done.
    Completed,
    /// Stopped by an error; may be tried again.
    Failed,
    /// Given up.
    Cancelled,
}

impl RunStatus {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Initializing,
        Self::Running,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The name at rest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a run in it is at its end, unless it failed and is tried again.
    pub const fn ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Whether a run may go from here to there. Staying is always legal; completed and cancelled
    /// are final; a failed run may run again.
    pub const fn may_become(self, next: Self) -> bool {
        use RunStatus::{Cancelled, Completed, Failed, Initializing, Paused, Running};
        matches!(
            (self, next),
            (Initializing, Initializing | Running | Failed | Cancelled)
                | (Running, Running | Paused | Completed | Failed | Cancelled)
                | (Paused, Paused | Running | Failed | Cancelled)
                | (Failed, Failed | Running | Cancelled)
                | (Completed, Completed)
                | (Cancelled, Cancelled)
        )
    }
}

impl std::str::FromStr for RunStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| Error::invalid("status", format!("is {text:?}, not a run's status")))
    }
}

/// A run to save.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaveRun {
    /// The run's id, the caller's.
    pub id: String,
    /// What kind of workflow.
    pub kind: String,
    /// The repository it works on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub repo: Option<String>,
    /// How it stands.
    pub status: RunStatus,
    /// Its state.
    #[serde(default)]
    pub state: Value,
    /// Anything of the caller's: a JSON object.
    #[serde(default = "empty")]
    pub metadata: Value,
    /// Counts of the caller's, by name.
    #[serde(default)]
    pub counters: BTreeMap<String, i64>,
    /// Durations of the caller's in milliseconds, by name.
    #[serde(default)]
    pub timings_ms: BTreeMap<String, u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// The definition it follows; it need not be kept here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub definition: Option<String>,
    /// Which version of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub definition_version: Option<u32>,
    /// The version this save builds on: 0 for a new run.
    pub expected_version: i64,
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

impl SaveRun {
    /// A new run.
    pub fn new(id: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            kind: kind.into(),
            repo: None,
            status: RunStatus::Initializing,
            state: Value::Null,
            metadata: empty(),
            counters: BTreeMap::new(),
            timings_ms: BTreeMap::new(),
            error: None,
            definition: None,
            definition_version: None,
            expected_version: 0,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        check_id(&self.id)?;
        limits::name("run.kind", &self.kind, limits::LABEL_BYTES)?;
        if let Some(repo) = &self.repo {
            limits::name("run.repo", repo, limits::RUN_ID_BYTES)?;
        }
        if !self.metadata.is_object() {
            return Err(Error::invalid("run.metadata", "is not a JSON object"));
        }
        limits::json("run.metadata", &self.metadata, limits::METADATA_BYTES)?;
        limits::json("run.state", &self.state, limits::RUN_STATE_BYTES)?;
        named("run.counters", &self.counters)?;
        named("run.timings_ms", &self.timings_ms)?;
        if self.timings_ms.values().any(|time| i64::try_from(*time).is_err()) {
            return Err(Error::invalid("run.timings_ms", "holds a time beyond 64 bits"));
        }
        limits::label("run.error", self.error.as_deref().unwrap_or_default(), limits::ERROR_BYTES)?;
        if let Some(definition) = &self.definition {
            limits::name("run.definition", definition, limits::RUN_ID_BYTES)?;
        }
        match self.definition_version {
            Some(_) if self.definition.is_none() => {
                return Err(Error::invalid("run.definition_version", "is of no definition"));
            }
            Some(version) if version == 0 || i32::try_from(version).is_err() => {
                return Err(Error::invalid("run.definition_version", format!("is {version}")));
            }
            _ => {}
        }
        if self.expected_version < 0 {
            return Err(Error::invalid("run.expected_version", "is negative"));
        }
        Ok(())
    }
}

/// Checks what is named: how many, and each name.
fn named<T>(field: &'static str, values: &BTreeMap<String, T>) -> Result<()> {
    limits::count(field, values.len(), limits::RUN_COUNTERS)?;
    values.keys().try_for_each(|name| limits::name(field, name, limits::LABEL_BYTES))
}

/// Checks a run's id.
///
/// # Errors
///
/// [`Error::Invalid`] naming the field and the limit.
pub fn check_id(id: &str) -> Result<()> {
    limits::name("run.id", id, limits::RUN_ID_BYTES)
}

/// A run as it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorkflowRun {
    /// Its id.
    pub id: String,
    /// What kind of workflow.
    pub kind: String,
    /// The repository it works on.
    pub repo: Option<String>,
    /// How it stands.
    pub status: RunStatus,
    /// Its state.
    pub state: Value,
    /// The caller's JSON object.
    pub metadata: Value,
    /// Counts of the caller's, by name.
    pub counters: BTreeMap<String, i64>,
    /// Durations of the caller's in milliseconds, by name.
    pub timings_ms: BTreeMap<String, u64>,
    /// Why it failed.
    pub error: Option<String>,
    /// The definition it follows.
    pub definition: Option<String>,
    /// Which version of it.
    pub definition_version: Option<u32>,
    /// Executions so far.
    pub executions: u32,
    /// From 1, by one at each save.
    pub version: i64,
    /// The user of the scope that started it.
    pub user: Option<String>,
    /// The agent of the scope that started it.
    pub agent: Option<String>,
    /// The session of the scope that started it.
    pub session: Option<String>,
    /// When it was first saved.
    pub started_at: DateTime<Utc>,
    /// When it was last saved.
    pub updated_at: DateTime<Utc>,
    /// When it completed, failed or was cancelled; absent while it has not.
    pub completed_at: Option<DateTime<Utc>>,
}

impl WorkflowRun {
    /// What saves it again on the version it was loaded at, ready to be changed.
    pub fn to_save(&self) -> SaveRun {
        SaveRun {
            id: self.id.clone(),
            kind: self.kind.clone(),
            repo: self.repo.clone(),
            status: self.status,
            state: self.state.clone(),
            metadata: self.metadata.clone(),
            counters: self.counters.clone(),
            timings_ms: self.timings_ms.clone(),
            error: self.error.clone(),
            definition: self.definition.clone(),
            definition_version: self.definition_version,
            expected_version: self.version,
        }
    }
}

/// A run in a list: everything but its state.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its id.
    pub id: String,
    /// What kind of workflow.
    pub kind: String,
    /// The repository it works on.
    pub repo: Option<String>,
    /// How it stands.
    pub status: RunStatus,
    /// The caller's JSON object.
    pub metadata: Value,
    /// Why it failed.
    pub error: Option<String>,
    /// The definition it follows.
    pub definition: Option<String>,
    /// Executions so far.
    pub executions: u32,
    /// From 1, by one at each save.
    pub version: i64,
    /// The user of the scope that started it.
    pub user: Option<String>,
    /// The agent of the scope that started it.
    pub agent: Option<String>,
    /// When it was first saved.
    pub started_at: DateTime<Utc>,
    /// When it was last saved.
    pub updated_at: DateTime<Utc>,
    /// When it completed, failed or was cancelled.
    pub completed_at: Option<DateTime<Utc>>,
}

/// The query whose pages a cursor of runs belongs to.
const CURSOR: &str = "workflow_runs";

impl RunInfo {
    /// Where a page that ends with it goes on.
    pub fn cursor(&self) -> Cursor {
        Cursor::of(CURSOR, &[&self.started_at.timestamp_micros().to_string(), &self.id])
    }
}

/// Which runs; every part that is there must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunFilter {
    /// In this status.
    #[doc(alias = "state")]
    pub status: Option<RunStatus>,
    /// Of this kind.
    pub kind: Option<String>,
    /// On this repository.
    #[doc(alias = "worktree_name")]
    pub repo: Option<String>,
    /// Following this definition.
    pub definition: Option<String>,
    /// Started then or later.
    pub after: Option<DateTime<Utc>>,
    /// Started then or earlier.
    pub before: Option<DateTime<Utc>>,
}

impl RunFilter {
    /// Those in a status.
    pub fn status(status: RunStatus) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        let given = |field, text: &Option<String>, max| match text {
            Some(text) => limits::name(field, text, max),
            None => Ok(()),
        };
        given("filter.kind", &self.kind, limits::LABEL_BYTES)?;
        given("filter.repo", &self.repo, limits::RUN_ID_BYTES)?;
        given("filter.definition", &self.definition, limits::RUN_ID_BYTES)
    }
}

/// The start (microseconds) and id below which a page of runs begins.
///
/// # Errors
///
/// [`Error::Invalid`] as [`RunFilter::check`], for a limit out of range or a foreign cursor.
pub fn after_run(filter: &RunFilter, page: &Page) -> Result<Option<(DateTime<Utc>, String)>> {
    filter.check()?;
    page.check()?;
    let Some(cursor) = &page.cursor else { return Ok(None) };
    let [at, id] = cursor.parts::<2>(CURSOR)?;
    Ok(Some((moment(at)?, id.to_owned())))
}

/// A time of a cursor.
pub(super) fn moment(text: &str) -> Result<DateTime<Utc>> {
    text.parse()
        .ok()
        .and_then(DateTime::from_timestamp_micros)
        .ok_or_else(|| Error::invalid("page.cursor", "holds no time"))
}

/// Decides a save: the version it gets.
///
/// # Errors
///
/// [`Error::Conflict`] when the run stands at another version than expected;
/// [`Error::Invalid`] for an illegal transition.
pub fn decide(current: Option<(i64, RunStatus)>, save: &SaveRun) -> Result<i64> {
    let actual = current.map_or(0, |(version, _)| version);
    if actual != save.expected_version {
        return Err(Error::Conflict {
            kind: "workflow run",
            key: save.id.clone(),
            expected: Some(save.expected_version),
            actual: Some(actual),
        });
    }
    if let Some((_, status)) = current {
        legal(status, save.status)?;
    }
    Ok(actual + 1)
}

/// Decides a move to a status: the version the run gets.
///
/// # Errors
///
/// [`Error::Invalid`] for an illegal transition.
pub fn decide_state((version, status): (i64, RunStatus), next: RunStatus) -> Result<i64> {
    legal(status, next)?;
    Ok(version + 1)
}

fn legal(status: RunStatus, next: RunStatus) -> Result<()> {
    if status.may_become(next) {
        return Ok(());
    }
    let reason = format!("cannot go from {} to {}", status.as_str(), next.as_str());
    Err(Error::invalid("run.status", reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_status_stays() {
        for last in [RunStatus::Completed, RunStatus::Cancelled] {
            for next in RunStatus::ALL {
                assert_eq!(last.may_become(next), last == next);
            }
        }
    }

    #[test]
    fn a_stale_version_is_a_conflict_that_names_both() {
        let save = SaveRun { expected_version: 1, ..SaveRun::new("r", "k") };

        let error = decide(Some((2, RunStatus::Initializing)), &save).unwrap_err();

        assert_eq!(error.to_string(), "workflow run r changed: expected version 1, found 2");
    }
}
