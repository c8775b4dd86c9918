//! The watch over incomplete scopes: every refusal is counted, some are logged, and a tenant's
//! own are noted on its system stream.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mnemon_core::events::SCOPE_REJECTED;
use mnemon_core::{Facet, Scope, Store, limits};
use serde_json::json;

use crate::metrics;

/// Tenants whose last note is remembered; beyond it the store's own limit still holds.
const TENANTS: usize = 4_096;

/// When a refusal of each facet was last logged, and of each tenant last noted.
#[derive(Default)]
pub(crate) struct Rejections {
    logged: Last<Facet>,
    noted: Last<String>,
}

impl Rejections {
    /// Counts a refusal; logs at most one a minute per facet; with a known tenant appends at most
    /// one event a minute. Nothing is written for an unknown one: who it was cannot be known.
    pub(crate) async fn note(
        &self,
        store: &dyn Store,
        scope: &Scope,
        facet: Facet,
        missing: &'static str,
    ) {
        metrics::scope_rejected(facet);
        if self.logged.claim(&facet, limits::SCOPE_REJECTED_EVERY) {
            tracing::warn!(
                facet = facet.name(),
                missing,
                tenant = scope.tenant,
                "a call was refused: its scope is incomplete (said once a minute)"
            );
        }
        let known = missing != "tenant" && !scope.tenant.trim().is_empty();
        if !known || !self.noted.claim(&scope.tenant, limits::SCOPE_REJECTED_EVERY) {
            return;
        }
        let data = json!({ "facet": facet.name(), "missing": missing });
        let every = limits::SCOPE_REJECTED_EVERY;
        if let Err(error) = store.events().note(scope, SCOPE_REJECTED, data, every).await {
            // The caller is told of the refusal itself; a note that fails must not hide it.
            tracing::debug!(%error, "a refused scope could not be noted");
        }
    }
}

/// When something last happened to a key, for "at most one a minute".
struct Last<K>(Mutex<HashMap<K, Instant>>);

impl<K> Default for Last<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Hash + Eq + Clone> Last<K> {
    /// Whether it may happen now; if so, it has.
    fn claim(&self, key: &K, every: Duration) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if last.get(key).is_some_and(|then| now.duration_since(*then) < every) {
            return false;
        }
        if last.len() >= TENANTS {
            last.retain(|_, then| now.duration_since(*then) < every);
        }
        if last.len() < TENANTS {
            last.insert(key.clone(), now);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "sqlite")]
    use mnemon_core::Error;

    use super::*;

    #[test]
    fn a_second_claim_within_the_time_is_refused() {
        let last = Last::default();

        assert!(last.claim(&1, Duration::from_hours(1)));
        assert!(!last.claim(&1, Duration::from_hours(1)));
        assert!(last.claim(&2, Duration::from_hours(1)), "each key has its own");
        assert!(last.claim(&1, Duration::ZERO));
    }

    #[test]
    fn a_flood_of_keys_is_bounded() {
        let last = Last::default();

        for key in 0..2 * TENANTS {
            assert!(last.claim(&key, Duration::from_hours(1)));
        }

        assert!(last.0.lock().unwrap().len() <= TENANTS);
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn a_known_tenant_gets_one_event_a_minute_and_an_unknown_one_none() {
        use mnemon_core::Page;
        use mnemon_core::events::SYSTEM_STREAM;

        let db = crate::Mnemon::open("sqlite::memory:").await.unwrap();
        let acme = Scope::tenant("acme");
        let rejected =
            || Err::<(), _>(Error::ScopeRequired { facet: Facet::Turns, missing: "user" });

        for _ in 0..3 {
            db.watched(&acme, rejected()).await.unwrap_err();
        }
        let nobody = db.memories().count(&Scope::tenant(" ")).await;

        assert!(matches!(nobody, Err(Error::ScopeRequired { missing: "tenant", .. })));
        let noted = db.events().read(&acme, SYSTEM_STREAM, &Page::default()).await.unwrap();
        assert_eq!(noted.items.len(), 1);
        assert_eq!(noted.items[0].kind, SCOPE_REJECTED);
        assert_eq!(noted.items[0].data, json!({ "facet": "turns", "missing": "user" }));
        let local = db.events().read(&Scope::local(), SYSTEM_STREAM, &Page::default()).await;
        assert_eq!(local.unwrap().items.len(), 0);
    }
}
