//! Workflow runs, what they follow, every try of them, and their jobs.

use mnemon_core::locks::Guard;
pub use mnemon_core::workflows::*;
use mnemon_core::{Page, Paged, Result, Scope};

use crate::engine::Inner;

/// Workflows of an open Mnemon; see [`crate::Mnemon::workflows`].
pub struct Workflows<'a> {
    pub(crate) inner: &'a Inner,
}

impl Workflows<'_> {
    /// Saves a run on the version it was loaded at; answers the new version.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Conflict`] on another version; [`crate::Error::Invalid`] for an illegal
    /// transition; [`crate::Error::Fenced`]; [`crate::Error::ScopeRequired`].
    pub async fn save(&self, scope: &Scope, run: SaveRun, guard: Option<&Guard>) -> Result<i64> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().save(scope, run, guard).await;
        self.inner.watched(scope, outcome).await
    }

    /// Moves a run to a status, whatever version it stands at; answers the new version.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for an illegal transition; [`crate::Error::NotFound`];
    /// [`crate::Error::Fenced`]; [`crate::Error::ScopeRequired`].
    pub async fn update_state(
        &self,
        scope: &Scope,
        id: &str,
        status: RunStatus,
        error: Option<&str>,
        guard: Option<&Guard>,
    ) -> Result<i64> {
        self.inner.ready()?;
        let workflows = self.inner.store.workflows();
        let outcome = workflows.update_state(scope, id, status, error, guard).await;
        self.inner.watched(scope, outcome).await
    }

    /// Loads a run.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    pub async fn load(&self, scope: &Scope, id: &str) -> Result<WorkflowRun> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().load(scope, id).await;
        self.inner.watched(scope, outcome).await
    }

    /// Lists runs, without their states, the newest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn list(
        &self,
        scope: &Scope,
        filter: &RunFilter,
        page: &Page,
    ) -> Result<Paged<RunInfo>> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().list(scope, filter, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Removes a run with its executions and its jobs' links.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    pub async fn delete(&self, scope: &Scope, id: &str) -> Result<()> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().delete(scope, id).await;
        self.inner.watched(scope, outcome).await
    }

    /// How long a run took, how often it was tried, and its counters.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    pub async fn run_stats(&self, scope: &Scope, id: &str) -> Result<RunStats> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().run_stats(scope, id).await;
        self.inner.watched(scope, outcome).await
    }

    /// How many runs there are, and how they stand.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn stats(&self, scope: &Scope, filter: &RunFilter) -> Result<WorkflowStats> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().stats(scope, filter).await;
        self.inner.watched(scope, outcome).await
    }

    /// A run's executions, the newest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn executions(
        &self,
        scope: &Scope,
        id: &str,
        page: &Page,
    ) -> Result<Paged<Execution>> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().executions(scope, id, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// The executions of the runs that followed a definition, the newest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn history(
        &self,
        scope: &Scope,
        definition: &str,
        page: &Page,
    ) -> Result<Paged<Execution>> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().history(scope, definition, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Notes that a job belongs to a run. Again is a no-op.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::AlreadyExists`] for a job of another run;
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn link_job(&self, scope: &Scope, id: &str, job: &str) -> Result<()> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().link_job(scope, id, job).await;
        self.inner.watched(scope, outcome).await
    }

    /// The run that a job belongs to.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    pub async fn run_of_job(&self, scope: &Scope, job: &str) -> Result<String> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().run_of_job(scope, job).await;
        self.inner.watched(scope, outcome).await
    }

    /// A run's jobs, by name.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn jobs(&self, scope: &Scope, id: &str, page: &Page) -> Result<Paged<Job>> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().jobs(scope, id, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Saves a definition: other content than the newest version's is a new version.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::Conflict`] on another version than expected;
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    pub async fn save_definition(
        &self,
        scope: &Scope,
        definition: NewDefinition,
    ) -> Result<DefinitionSaved> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().save_definition(scope, definition).await;
        self.inner.watched(scope, outcome).await
    }

    /// A definition: its newest version, or the one asked for.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    pub async fn definition(
        &self,
        scope: &Scope,
        id: &str,
        version: Option<u32>,
    ) -> Result<Definition> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().definition(scope, id, version).await;
        self.inner.watched(scope, outcome).await
    }

    /// Lists definitions by id, without their contents.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn definitions(
        &self,
        scope: &Scope,
        filter: &DefinitionFilter,
        page: &Page,
    ) -> Result<Paged<DefinitionInfo>> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().definitions(scope, filter, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Replaces what is said about a definition; its content and version stay.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn describe_definition(
        &self,
        scope: &Scope,
        id: &str,
        about: DefinitionAbout,
    ) -> Result<()> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().describe_definition(scope, id, about).await;
        self.inner.watched(scope, outcome).await
    }

    /// Removes a definition with all of its versions.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    pub async fn delete_definition(&self, scope: &Scope, id: &str) -> Result<()> {
        self.inner.ready()?;
        let outcome = self.inner.store.workflows().delete_definition(scope, id).await;
        self.inner.watched(scope, outcome).await
    }
}
