//! What was said.

use mnemon_core::locks::Guard;
pub use mnemon_core::turns::*;
use mnemon_core::{Page, Paged, Result, Scope};

use crate::engine::Inner;

/// What was said of an open Mnemon; see [`crate::Mnemon::turns`].
pub struct Turns<'a> {
    pub(crate) inner: &'a Inner,
}

impl Turns<'_> {
    /// Appends a turn to the session's memory.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::Fenced`]; [`crate::Error::ScopeRequired`].
    pub async fn append(
        &self,
        scope: &Scope,
        turn: NewTurn,
        guard: Option<&Guard>,
    ) -> Result<TurnAppended> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().append(scope, turn, guard).await;
        self.inner.watched(scope, outcome).await
    }

    /// Lists turns, oldest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a foreign cursor; [`crate::Error::ScopeRequired`].
    pub async fn list(&self, scope: &Scope, kind: &str, page: &Page) -> Result<Paged<Turn>> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().list(scope, kind, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// What fits a model's context.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn context(&self, scope: &Scope, kind: &str) -> Result<Context> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().context(scope, kind).await;
        self.inner.watched(scope, outcome).await
    }
}
