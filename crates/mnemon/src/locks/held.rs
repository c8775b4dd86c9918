//! A lock that is held for as long as its guard lives: renewed at a third of its time, and loud
//! about losing it.

use std::time::Duration;

use mnemon_core::locks::{Guard, Lease};
use mnemon_core::{Result, Scope};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::engine::Mnemon;

/// A key that is held until this is dropped or lost.
///
/// Writes stay safe without looking: they carry [`HeldLock::guard`] and are refused once a newer
/// holder exists. [`HeldLock::lost`] is for work that should stop early.
pub struct HeldLock {
    db: Mnemon,
    scope: Scope,
    guard: Guard,
    standing: watch::Receiver<Standing>,
    renewal: JoinHandle<()>,
}

/// What is known of a held lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// Ours until then at least, by our own clock.
    Ours(Instant),
    /// Somebody else may have it.
    Lost,
}

impl Mnemon {
    /// Takes a key, waiting up to `timeout`, and holds it until the guard is dropped.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mnemon::Result<()> {
    /// use std::time::Duration;
    ///
    /// use mnemon::{Mnemon, Scope};
    ///
    /// let db = Mnemon::open("sqlite::memory:").await?;
    /// let scope = Scope::tenant("acme").agent("planner");
    /// let ttl = Duration::from_secs(30);
    /// let held = db.hold(&scope, "thread-7", "worker-1", ttl, Duration::ZERO).await?;
    ///
    /// assert!(!held.is_lost());
    /// assert!(db.locks().acquire(&scope, "thread-7", "worker-2", ttl).await.is_err());
    /// held.release().await?;
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "sqlite"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// [`mnemon_core::Error::Held`] when the time is up; [`mnemon_core::Error::Invalid`]; [`mnemon_core::Error::ScopeRequired`].
    pub async fn hold(
        &self,
        scope: &Scope,
        key: &str,
        holder: &str,
        ttl: Duration,
        timeout: Duration,
    ) -> Result<HeldLock> {
        let (lease, asked) = self.locks().wait_from(scope, key, holder, ttl, timeout).await?;
        Ok(self.keep(scope.clone(), &lease, ttl, asked + ttl))
    }

    fn keep(&self, scope: Scope, lease: &Lease, ttl: Duration, ends: Instant) -> HeldLock {
        let guard = lease.guard();
        let (tell, standing) = watch::channel(Standing::Ours(ends));
        let renewal =
            tokio::spawn(renew(self.clone(), scope.clone(), guard.clone(), ttl, ends, tell));
        HeldLock { db: self.clone(), scope, guard, standing, renewal }
    }
}

impl HeldLock {
    /// What writes carry.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Whether it is lost, as far as can be known here: a renewal was refused, or its time is over
    /// by our own clock and none was answered. Asks nobody.
    pub fn is_lost(&self) -> bool {
        match *self.standing.borrow() {
            Standing::Ours(ends) => ends <= Instant::now(),
            Standing::Lost => true,
        }
    }

    /// Ready at once when it is lost; pending while it is held. A lock that was taken away is
    /// noticed at the next renewal, within a third of its time.
    pub async fn lost(&mut self) {
        // An error means that the renewal ended, which it does only when it is lost.
        let _ = self.standing.wait_for(|standing| *standing == Standing::Lost).await;
    }

    /// Gives the key back and waits for it.
    ///
    /// # Errors
    ///
    /// [`mnemon_core::Error::Fenced`] when a newer holder exists.
    pub async fn release(self) -> Result<()> {
        self.renewal.abort();
        // Dropping it gives it back once more, which is a no-op.
        self.db.locks().release(&self.scope, &self.guard).await
    }
}

impl Drop for HeldLock {
    /// Gives the key back in the background, where there is a runtime; else it expires.
    fn drop(&mut self) {
        if self.renewal.is_finished() {
            return;
        }
        self.renewal.abort();
        let (db, scope, guard) = (self.db.clone(), self.scope.clone(), self.guard.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = db.locks().release(&scope, &guard).await {
                    tracing::debug!(%error, lock.key = %guard.key, "a dropped lock was not given back");
                }
            });
        }
    }
}

/// Renews until it is told otherwise, or until nobody answered for a whole ttl.
async fn renew(
    db: Mnemon,
    scope: Scope,
    guard: Guard,
    ttl: Duration,
    mut ends: Instant,
    tell: watch::Sender<Standing>,
) {
    loop {
        tokio::time::sleep_until((ends - ttl + ttl / 3).max(Instant::now())).await;
        let asked = Instant::now();
        let answer = tokio::time::timeout_at(ends, db.locks().renew(&scope, &guard, ttl)).await;
        match answer {
            Ok(Ok(_)) => {
                ends = asked + ttl;
                tell.send_replace(Standing::Ours(ends));
            }
            // Nobody answered; there may be time to ask again.
            Ok(Err(error)) if error.is_retryable() && Instant::now() + ttl / 10 < ends => {
                tokio::time::sleep(ttl / 10).await;
            }
            Ok(Err(_)) | Err(_) => break,
        }
    }
    tracing::warn!(lock.key = %guard.key, lock.fence = %guard.fence, "a lock was lost");
    // Whoever dropped the guard does not care any more.
    let _ = tell.send(Standing::Lost);
}
