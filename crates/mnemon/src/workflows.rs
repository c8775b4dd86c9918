//! Workflow runs.

use mnemon_core::locks::Guard;
pub use mnemon_core::workflows::*;
use mnemon_core::{Result, Scope};

use crate::engine::Inner;

/// Workflow runs of an open Mnemon; see [`crate::Mnemon::workflows`].
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
}
