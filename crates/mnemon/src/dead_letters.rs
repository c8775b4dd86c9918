//! What failed.

use std::time::Duration;

pub use mnemon_core::dead_letters::*;
use mnemon_core::locks::Guard;
use mnemon_core::{Page, Paged, Result, Scope};

use crate::engine::Inner;

/// What failed of an open Mnemon; see [`crate::Mnemon::dead_letters`].
pub struct DeadLetters<'a> {
    pub(crate) inner: &'a Inner,
}

impl DeadLetters<'_> {
    /// Keeps a failure; again is one more attempt.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::Fenced`]; [`crate::Error::ScopeRequired`].
    pub async fn bury(
        &self,
        scope: &Scope,
        burial: Burial,
        guard: Option<&Guard>,
    ) -> Result<Buried> {
        self.inner.ready()?;
        let outcome = self.inner.store.dead_letters().bury(scope, burial, guard).await;
        self.inner.watched(scope, outcome).await
    }

    /// Takes up to `count` items of a queue, oldest first, out of others' sight for `visibility`.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn take(
        &self,
        scope: &Scope,
        queue: &str,
        count: u32,
        visibility: Duration,
    ) -> Result<Vec<Delivery>> {
        self.inner.ready()?;
        let outcome = self.inner.store.dead_letters().take(scope, queue, count, visibility).await;
        self.inner.watched(scope, outcome).await
    }

    /// The item is dealt with.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Fenced`] when its visibility is over, or it was taken or buried again since;
    /// [`crate::Error::NotFound`]; [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn ack(&self, scope: &Scope, receipt: &DeliveryReceipt) -> Result<()> {
        self.inner.ready()?;
        let outcome = self.inner.store.dead_letters().ack(scope, receipt).await;
        self.inner.watched(scope, outcome).await
    }

    /// Lists a queue's items, or all of them, by queue and id; whether taken or not.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn list(
        &self,
        scope: &Scope,
        queue: Option<&str>,
        page: &Page,
    ) -> Result<Paged<DeadLetter>> {
        self.inner.ready()?;
        let outcome = self.inner.store.dead_letters().list(scope, queue, page).await;
        self.inner.watched(scope, outcome).await
    }
}
