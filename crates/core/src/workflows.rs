//! Workflow runs: state with legal transitions only, saved by compare-and-set.
//!
//! The slice that stands: save and load a run.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::limits;
use crate::locks::Guard;
use crate::scope::Scope;

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
            expected_version: 0,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::name("run.id", &self.id, limits::RUN_ID_BYTES)?;
        limits::name("run.kind", &self.kind, limits::LABEL_BYTES)?;
        if let Some(repo) = &self.repo {
            limits::name("run.repo", repo, limits::RUN_ID_BYTES)?;
        }
        if !self.metadata.is_object() {
            return Err(Error::invalid("run.metadata", "is not a JSON object"));
        }
        limits::json("run.metadata", &self.metadata, limits::METADATA_BYTES)?;
        limits::json("run.state", &self.state, limits::RUN_STATE_BYTES)?;
        if self.expected_version < 0 {
            return Err(Error::invalid("run.expected_version", "is negative"));
        }
        Ok(())
    }
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
    match current {
        Some((_, status)) if !status.may_become(save.status) => Err(Error::invalid(
            "run.status",
            format!("cannot go from {} to {}", status.as_str(), save.status.as_str()),
        )),
        _ => Ok(actual + 1),
    }
}

/// The workflow runs of a store.
///
/// # Contract
///
/// - Of two saves on one version exactly one wins; the other is [`Error::Conflict`].
/// - Only legal transitions are written.
#[async_trait]
pub trait Workflows: Send + Sync {
    /// Saves a run on the version it was loaded at; answers the new version.
    ///
    /// # Errors
    ///
    /// As [`decide`]; [`Error::Fenced`] under a stale guard; [`Error::ScopeRequired`].
    async fn save(&self, scope: &Scope, run: SaveRun, guard: Option<&Guard>) -> Result<i64>;

    /// Loads a run.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::ScopeRequired`].
    async fn load(&self, scope: &Scope, id: &str) -> Result<WorkflowRun>;
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
