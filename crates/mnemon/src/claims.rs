//! What is believed.

pub use mnemon_core::claims::*;
use mnemon_core::locks::Guard;
use mnemon_core::{Page, Paged, Result, Scope};

use crate::engine::Inner;

/// What is believed of an open Mnemon; see [`crate::Mnemon::claims`].
pub struct Claims<'a> {
    pub(crate) inner: &'a Inner,
}

impl Claims<'_> {
    /// Writes a claim, decided against every live claim of its line.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::NotFound`]; [`crate::Error::Fenced`];
    /// [`crate::Error::ScopeRequired`].
    pub async fn assert(
        &self,
        scope: &Scope,
        claim: NewClaim,
        guard: Option<&Guard>,
    ) -> Result<Asserted> {
        self.inner.ready()?;
        let outcome = self.inner.store.claims().assert(scope, claim, guard).await;
        self.inner.watched(scope, outcome).await
    }

    /// What is believed about a line, at a point of both axes of time.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn belief(&self, scope: &Scope, line: &Line, when: AsOf) -> Result<Belief> {
        self.inner.ready()?;
        let outcome = self.inner.store.claims().belief(scope, line, when).await;
        self.inner.watched(scope, outcome).await
    }

    /// The agent's ledger, oldest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a foreign cursor; [`crate::Error::ScopeRequired`].
    pub async fn ledger(&self, scope: &Scope, page: &Page) -> Result<Paged<LedgerEntry>> {
        self.inner.ready()?;
        let outcome = self.inner.store.claims().ledger(scope, page).await;
        self.inner.watched(scope, outcome).await
    }
}
