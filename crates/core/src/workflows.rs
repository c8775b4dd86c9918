//! Workflows: runs whose status moves by legal transitions only, saved by compare-and-set; what
//! they follow (definitions), every try of them (executions), and the jobs that belong to them.
//!
//! ```text
//! initializing ──▶ running ──▶ completed
//!                  ▲ │  ▲ └──▶ cancelled     (from every status that is not final)
//!                  │ ▼  └───┐
//!                paused    failed            (from every status that is not final)
//! ```
//!
//! A run's *execution* begins when it starts to run (again after a failure) and ends when it
//! completes, fails or is cancelled; pauses are part of it ([`execution`]).

mod definition;
mod execution;
mod run;

use async_trait::async_trait;

use crate::error::Result;
use crate::locks::Guard;
use crate::page::{Page, Paged};
use crate::scope::Scope;

pub use definition::{
    Definition, DefinitionAbout, DefinitionFilter, DefinitionInfo, DefinitionSaved, Format,
    NewDefinition, Parameter, after_definition,
};
pub use execution::{
    Execution, Job, RunStats, Turn, WorkflowStats, after_execution, after_job, check_link,
    execution,
};
pub use run::{
    RunFilter, RunInfo, RunStatus, SaveRun, WorkflowRun, after_run, check_id, decide, decide_state,
};

/// The workflows of a store.
///
/// # Contract
///
/// - Of two saves on one version exactly one wins; the other is [`crate::Error::Conflict`].
/// - Only legal transitions are written; each opens or closes an execution in the same
///   transaction.
/// - A definition's versions are never rewritten. Deleting it leaves the history of the runs that
///   followed it.
/// - A job belongs to one run. Deleting a run deletes its executions and its jobs' links.
#[async_trait]
pub trait Workflows: Send + Sync {
    /// Saves a run on the version it was loaded at; answers the new version.
    ///
    /// # Errors
    ///
    /// As [`decide`]; [`crate::Error::NotFound`] for a run that the scope does not see;
    /// [`crate::Error::Fenced`] under a stale guard; [`crate::Error::ScopeRequired`].
    async fn save(&self, scope: &Scope, run: SaveRun, guard: Option<&Guard>) -> Result<i64>;

    /// Moves a run to a status, whatever version it stands at; answers the new version. The run's
    /// error becomes `error`.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for an illegal transition; [`crate::Error::NotFound`];
    /// [`crate::Error::Fenced`] under a stale guard; [`crate::Error::ScopeRequired`].
    async fn update_state(
        &self,
        scope: &Scope,
        id: &str,
        status: RunStatus,
        error: Option<&str>,
        guard: Option<&Guard>,
    ) -> Result<i64>;

    /// Loads a run.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    async fn load(&self, scope: &Scope, id: &str) -> Result<WorkflowRun>;

    /// Lists runs, without their states, the newest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] as [`after_run`]; [`crate::Error::ScopeRequired`].
    async fn list(&self, scope: &Scope, filter: &RunFilter, page: &Page) -> Result<Paged<RunInfo>>;

    /// Removes a run with its executions and its jobs' links.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    async fn delete(&self, scope: &Scope, id: &str) -> Result<()>;

    /// How long a run took, how often it was tried, and its counters.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    #[doc(alias = "get_stats")]
    async fn run_stats(&self, scope: &Scope, id: &str) -> Result<RunStats>;

    /// How many runs there are, and how they stand.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] as [`RunFilter::check`]; [`crate::Error::ScopeRequired`].
    async fn stats(&self, scope: &Scope, filter: &RunFilter) -> Result<WorkflowStats>;

    /// A run's executions, the newest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`] for a run that is not there; [`crate::Error::Invalid`] as
    /// [`after_execution`]; [`crate::Error::ScopeRequired`].
    async fn executions(&self, scope: &Scope, id: &str, page: &Page) -> Result<Paged<Execution>>;

    /// The executions of the runs that followed a definition, the newest first; also of one that
    /// was deleted since.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] as [`after_execution`]; [`crate::Error::ScopeRequired`].
    #[doc(alias = "get_history")]
    async fn history(
        &self,
        scope: &Scope,
        definition: &str,
        page: &Page,
    ) -> Result<Paged<Execution>>;

    /// Notes that a job belongs to a run. Again is a no-op.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`] for a run that is not there; [`crate::Error::AlreadyExists`] for
    /// a job of another run; [`crate::Error::Invalid`] as [`check_link`];
    /// [`crate::Error::ScopeRequired`].
    async fn link_job(&self, scope: &Scope, id: &str, job: &str) -> Result<()>;

    /// The run that a job belongs to.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    async fn run_of_job(&self, scope: &Scope, job: &str) -> Result<String>;

    /// A run's jobs, by name.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`] for a run that is not there; [`crate::Error::Invalid`] as
    /// [`after_job`]; [`crate::Error::ScopeRequired`].
    async fn jobs(&self, scope: &Scope, id: &str, page: &Page) -> Result<Paged<Job>>;

    /// Saves a definition: other content than the newest version's is a new version, the same is
    /// not; what is said about it is replaced.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] as [`NewDefinition::check`]; [`crate::Error::Conflict`] on
    /// another version than expected; [`crate::Error::NotFound`] for a definition of that id that
    /// the scope does not see; [`crate::Error::ScopeRequired`].
    async fn save_definition(
        &self,
        scope: &Scope,
        definition: NewDefinition,
    ) -> Result<DefinitionSaved>;

    /// A definition: its newest version, or the one asked for.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    async fn definition(&self, scope: &Scope, id: &str, version: Option<u32>)
    -> Result<Definition>;

    /// Lists definitions by id, without their contents.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] as [`after_definition`]; [`crate::Error::ScopeRequired`].
    async fn definitions(
        &self,
        scope: &Scope,
        filter: &DefinitionFilter,
        page: &Page,
    ) -> Result<Paged<DefinitionInfo>>;

    /// Replaces what is said about a definition; its content and version stay.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::Invalid`] as [`DefinitionAbout::check`];
    /// [`crate::Error::ScopeRequired`].
    #[doc(alias = "update_metadata")]
    async fn describe_definition(
        &self,
        scope: &Scope,
        id: &str,
        about: DefinitionAbout,
    ) -> Result<()>;

    /// Removes a definition with all of its versions.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    async fn delete_definition(&self, scope: &Scope, id: &str) -> Result<()>;
}
