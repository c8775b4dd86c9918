//! Leases with fences.

mod held;

use std::time::Duration;

pub use mnemon_core::locks::*;
use mnemon_core::{Error, Fence, Page, Paged, Result, Scope, limits};
use tokio::time::Instant;

use crate::engine::Inner;

pub use held::HeldLock;

/// Leases with fences of an open Mnemon; see [`crate::Mnemon::locks`].
pub struct Locks<'a> {
    pub(crate) inner: &'a Inner,
}

impl Locks<'_> {
    /// Takes the key, or goes on holding it; `holder` is unique to who asks.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] with the time when somebody else holds it; [`Error::Invalid`];
    /// [`Error::ScopeRequired`].
    pub async fn acquire(
        &self,
        scope: &Scope,
        key: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease> {
        self.inner.ready()?;
        let outcome = self.inner.store.locks().acquire(scope, key, holder, ttl).await;
        self.inner.watched(scope, outcome).await
    }

    /// Takes the key, waiting up to `timeout` for whoever holds it.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] when the time is up; as [`Locks::acquire`].
    pub async fn wait(
        &self,
        scope: &Scope,
        key: &str,
        holder: &str,
        ttl: Duration,
        timeout: Duration,
    ) -> Result<Lease> {
        self.wait_from(scope, key, holder, ttl, timeout).await.map(|(lease, _)| lease)
    }

    /// The lease, and when it was asked for: by our own clock it ends no later than a ttl after.
    async fn wait_from(
        &self,
        scope: &Scope,
        key: &str,
        holder: &str,
        ttl: Duration,
        timeout: Duration,
    ) -> Result<(Lease, Instant)> {
        // None: for ever.
        let deadline = Instant::now().checked_add(timeout);
        let mut pause = limits::LOCK_WAIT_PAUSE;
        loop {
            let asked = Instant::now();
            match self.acquire(scope, key, holder, ttl).await {
                Ok(lease) => return Ok((lease, asked)),
                Err(Error::Held { .. }) if deadline.is_none_or(|end| asked < end) => {}
                Err(error) => return Err(error),
            }
            // Once more when the time is up.
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            tokio::time::sleep(left.map_or(pause, |left| left.min(pause))).await;
            pause = (pause * 2).min(limits::LOCK_WAIT_PAUSE_MAX);
        }
    }

    /// Holds on for `ttl` from now.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a newer holder exists, or the lease was released.
    pub async fn renew(&self, scope: &Scope, guard: &Guard, ttl: Duration) -> Result<Lease> {
        self.inner.ready()?;
        let outcome = self.inner.store.locks().renew(scope, guard, ttl).await;
        self.inner.watched(scope, outcome).await
    }

    /// Gives the key back; again is a no-op.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a newer holder exists.
    pub async fn release(&self, scope: &Scope, guard: &Guard) -> Result<()> {
        self.inner.ready()?;
        let outcome = self.inner.store.locks().release(scope, guard).await;
        self.inner.watched(scope, outcome).await
    }

    /// The live lease of a key, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]; [`Error::ScopeRequired`].
    pub async fn get(&self, scope: &Scope, key: &str) -> Result<Option<Lease>> {
        self.inner.ready()?;
        let outcome = self.inner.store.locks().get(scope, key).await;
        self.inner.watched(scope, outcome).await
    }

    /// Live leases, by key.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    pub async fn list(&self, scope: &Scope, page: &Page) -> Result<Paged<Lease>> {
        self.inner.ready()?;
        let outcome = self.inner.store.locks().list(scope, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Takes the key away from whoever holds it and raises the fence; noted on the system stream.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for a key that never was held; [`Error::ScopeRequired`].
    pub async fn force_release(&self, scope: &Scope, key: &str) -> Result<Fence> {
        self.inner.ready()?;
        let outcome = self.inner.store.locks().force_release(scope, key).await;
        self.inner.watched(scope, outcome).await
    }
}
