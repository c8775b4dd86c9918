//! Versioned thread state.

pub use mnemon_core::checkpoints::*;
use mnemon_core::locks::Guard;
use mnemon_core::{Page, Paged, Result, Scope};

use crate::engine::Inner;

/// Versioned thread state of an open Mnemon; see [`crate::Mnemon::checkpoints`].
pub struct Checkpoints<'a> {
    pub(crate) inner: &'a Inner,
}

impl Checkpoints<'_> {
    /// Puts a checkpoint on a thread: only changed channels travel.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Conflict`] when the newest is not the expected one; [`crate::Error::NotFound`]
    /// for an unknown parent; [`crate::Error::Fenced`]; [`crate::Error::Invalid`];
    /// [`crate::Error::ScopeRequired`].
    pub async fn put(&self, scope: &Scope, put: Put, guard: Option<&Guard>) -> Result<Placed> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().put(scope, put, guard).await;
        self.inner.watched(scope, outcome).await
    }

    /// The newest checkpoint of a thread, or the one named.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::Corrupt`]; [`crate::Error::ScopeRequired`].
    pub async fn get(
        &self,
        scope: &Scope,
        thread: &Thread,
        id: Option<&CheckpointId>,
    ) -> Result<Checkpoint> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().get(scope, thread, id).await;
        self.inner.watched(scope, outcome).await
    }

    /// A thread's checkpoints, newest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a foreign cursor; [`crate::Error::ScopeRequired`].
    pub async fn history(
        &self,
        scope: &Scope,
        thread: &Thread,
        page: &Page,
    ) -> Result<Paged<CheckpointInfo>> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().history(scope, thread, page).await;
        self.inner.watched(scope, outcome).await
    }
}
