//! Leases with fencing tokens: one live holder per key; a new holder always gets a larger fence.
//!
//! The row outlives release, so that the fence keeps growing. Any facet write may carry a
//! [`Guard`] and is refused with [`Error::Fenced`] when a newer holder exists, in the same
//! transaction.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::Fence;
use crate::limits;
use crate::page::{Page, Paged};
use crate::scope::Scope;

/// The right to a key until a time, under a number that only grows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// What is held.
    pub key: String,
    /// Who holds it.
    pub holder: String,
    /// Larger for every new holder of the key.
    #[doc(alias = "token")]
    pub fence: Fence,
    /// When this holder got it.
    pub acquired_at: DateTime<Utc>,
    /// When it ends unless it is renewed, by the store's clock.
    pub expires_at: DateTime<Utc>,
}

impl Lease {
    /// What a write carries to be refused once a newer holder exists.
    pub fn guard(&self) -> Guard {
        Guard { key: self.key.clone(), fence: self.fence }
    }
}

/// A condition on a write: the fence of the key is still this one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// The lock's key.
    pub key: String,
    /// The number its holder was given.
    pub fence: Fence,
}

/// A lock's row as a store found it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// The holder; `None` once released.
    pub holder: Option<String>,
    /// The last number given.
    pub fence: Fence,
    /// When the last lease ends or ended.
    pub expires_at: DateTime<Utc>,
}

/// What becomes of a request for a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A new holder under this fence.
    Grant(Fence),
    /// The same holder goes on under its fence.
    Renew(Fence),
    /// Somebody else holds it until then.
    Refuse {
        /// When that lease ends.
        until: DateTime<Utc>,
    },
}

/// Decides a request. The stores' one-statement form is held against this by a property test.
///
/// ```
/// use chrono::DateTime;
/// use mnemon_core::Fence;
/// use mnemon_core::locks::{Verdict, decide};
///
/// assert_eq!(decide(None, "a", DateTime::UNIX_EPOCH), Verdict::Grant(Fence(1)));
/// ```
pub fn decide(current: Option<&Held>, holder: &str, now: DateTime<Utc>) -> Verdict {
    let Some(current) = current else {
        return Verdict::Grant(Fence(1));
    };
    match &current.holder {
        Some(held_by) if current.expires_at > now && held_by == holder => {
            Verdict::Renew(current.fence)
        }
        Some(_) if current.expires_at > now => Verdict::Refuse { until: current.expires_at },
        _ => Verdict::Grant(Fence(current.fence.0 + 1)),
    }
}

/// Checks a lock's key.
///
/// # Errors
///
/// [`Error::Invalid`] when blank, over [`limits::LOCK_KEY_BYTES`] or holding a NUL.
pub fn check_key(key: &str) -> Result<()> {
    limits::name("lock.key", key, limits::LOCK_KEY_BYTES)
}

/// Checks a holder's name.
///
/// # Errors
///
/// [`Error::Invalid`] when blank, over [`limits::SCOPE_NAME_BYTES`] or holding a NUL.
pub fn check_holder(holder: &str) -> Result<()> {
    limits::name("lock.holder", holder, limits::SCOPE_NAME_BYTES)
}

/// Checks how long a lease may last.
///
/// # Errors
///
/// [`Error::Invalid`] outside [`limits::LEASE_MIN`] to [`limits::LEASE_MAX`].
pub fn check_ttl(ttl: Duration) -> Result<()> {
    if (limits::LEASE_MIN..=limits::LEASE_MAX).contains(&ttl) {
        return Ok(());
    }
    Err(Error::invalid(
        "lock.ttl",
        format!(
            "is {} ms; it goes from {} ms to {} s",
            ttl.as_millis(),
            limits::LEASE_MIN.as_millis(),
            limits::LEASE_MAX.as_secs()
        ),
    ))
}

/// The locks of a store.
///
/// # Contract
///
/// - At most one live holder per tenant and key, by the database's clock.
/// - A new holder's fence is larger than every one before it, across release, expiry and
///   `force_release`, and however the clock moves.
/// - `acquire`, `renew` and `release` are one round trip each, and idempotent for one holder.
/// - A takeover waits for an open transaction that was admitted under the old fence; the
///   holder's own renewal does not.
#[async_trait]
pub trait Locks: Send + Sync {
    /// Takes the key, or goes on holding it. `holder` must be unique to who asks: the same
    /// holder asking again gets the same lease, renewed.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] with the time when somebody else holds it; [`Error::Invalid`];
    /// [`Error::ScopeRequired`].
    async fn acquire(&self, scope: &Scope, key: &str, holder: &str, ttl: Duration)
    -> Result<Lease>;

    /// Holds on for `ttl` from now. An expired lease that nobody took over is renewed.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a newer holder exists, or the lease was released.
    async fn renew(&self, scope: &Scope, guard: &Guard, ttl: Duration) -> Result<Lease>;

    /// Gives the key back; again is a no-op.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a newer holder exists.
    async fn release(&self, scope: &Scope, guard: &Guard) -> Result<()>;

    /// The live lease of a key, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeRequired`]; [`Error::Invalid`].
    async fn get(&self, scope: &Scope, key: &str) -> Result<Option<Lease>>;

    /// Live leases, by key.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeRequired`]; [`Error::Invalid`] for a foreign cursor.
    async fn list(&self, scope: &Scope, page: &Page) -> Result<Paged<Lease>>;

    /// Takes the key away from whoever holds it and raises the fence; noted as
    /// [`crate::events::LOCK_FORCED`] on the tenant's system stream in the same transaction.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for a key that never was held; [`Error::ScopeRequired`].
    async fn force_release(&self, scope: &Scope, key: &str) -> Result<Fence>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(by: Option<&str>, fence: i64, until_s: i64) -> Held {
        Held {
            holder: by.map(str::to_owned),
            fence: Fence(fence),
            expires_at: DateTime::from_timestamp(until_s, 0).unwrap(),
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_live_lease_refuses_others_and_renews_its_own() {
        let current = held(Some("a"), 7, 100);

        assert_eq!(decide(Some(&current), "b", at(99)), Verdict::Refuse { until: at(100) });
        assert_eq!(decide(Some(&current), "a", at(99)), Verdict::Renew(Fence(7)));
    }

    #[test]
    fn an_expired_lease_raises_the_fence_even_for_its_old_holder() {
        let current = held(Some("a"), 7, 100);

        assert_eq!(decide(Some(&current), "a", at(100)), Verdict::Grant(Fence(8)));
        assert_eq!(decide(Some(&current), "b", at(100)), Verdict::Grant(Fence(8)));
    }

    #[test]
    fn a_released_key_keeps_its_fence_growing() {
        assert_eq!(decide(Some(&held(None, 7, 100)), "b", at(1)), Verdict::Grant(Fence(8)));
    }
}
