//! The tenants that somebody of this process waits for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mnemon_core::events::hint_of;
use tokio::sync::watch;

/// So many tenants are kept before those that nobody waits for are forgotten.
const KEPT: usize = 64;

/// Which tenants are waited for, and when each last moved.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Grows with whatever is told; a tenant's mark is what it was when the tenant last moved.
    count: u64,
    tenants: HashMap<String, watch::Sender<u64>>,
    /// With so many tenants it is time to forget.
    full: usize,
}

impl Waiting {
    /// The waiters. A panic cannot leave them half changed.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a tenant. One that was not waited for has a mark that nobody had before, so that
    /// nothing which moved meanwhile is missed.
    pub(super) fn join(&self, tenant: &str) -> watch::Receiver<u64> {
        let mut inner = self.inner();
        if let Some(sender) = inner.tenants.get(tenant) {
            return sender.subscribe();
        }
        if inner.tenants.len() >= inner.full {
            inner.tenants.retain(|_, sender| sender.receiver_count() > 0);
            inner.full = KEPT.max(2 * inner.tenants.len());
        }
        inner.count += 1;
        let (sender, receiver) = watch::channel(inner.count);
        inner.tenants.insert(tenant.to_owned(), sender);
        receiver
    }

    /// This tenant moved.
    pub(super) fn tell(&self, tenant: &str) {
        let mut inner = self.inner();
        inner.count += 1;
        if let Some(sender) = inner.tenants.get(tenant) {
            sender.send_replace(inner.count);
        }
    }

    /// Tenants with one of these hints may have moved.
    pub(super) fn hear(&self, hints: &[u32]) {
        self.tell_those(|tenant| hints.contains(&hint_of(tenant)));
    }

    /// Anything may have moved.
    pub(super) fn tell_all(&self) {
        self.tell_those(|_| true);
    }

    fn tell_those(&self, moved: impl Fn(&str) -> bool) {
        let mut inner = self.inner();
        inner.count += 1;
        for (_, sender) in inner.tenants.iter().filter(|(tenant, _)| moved(tenant)) {
            sender.send_replace(inner.count);
        }
    }

    /// Whose place has to be looked at; nobody's while nobody waits. Who reads just now is among
    /// them: it may have begun before the look.
    pub(super) fn tenants(&self) -> Vec<String> {
        let inner = self.inner();
        if inner.tenants.values().all(|sender| sender.receiver_count() == 0) {
            return Vec::new();
        }
        inner.tenants.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_wait_for_what_moved_are_woken() {
        let waiting = Waiting::default();
        let (acme, globex) = (waiting.join("acme"), waiting.join("globex"));
        let (of_acme, of_globex) = (*acme.borrow(), *globex.borrow());

        waiting.tell("acme");
        assert!(*acme.borrow() > of_acme);
        assert_eq!(*globex.borrow(), of_globex);

        waiting.hear(&[hint_of("globex"), 7]);
        assert!(*globex.borrow() > of_globex);

        let of_acme = *acme.borrow();
        waiting.tell_all();
        assert!(*acme.borrow() > of_acme);
    }

    #[test]
    fn who_comes_back_after_being_forgotten_is_woken() {
        let waiting = Waiting::default();
        let mark = *waiting.join("acme").borrow();
        assert_eq!(*waiting.join("acme").borrow(), mark, "kept for a while");
        let stays: Vec<_> = (0..2 * KEPT).map(|n| waiting.join(&format!("t{n}"))).collect();

        waiting.tell("acme");

        assert!(*waiting.join("acme").borrow() > mark);
        assert!(waiting.inner().tenants.len() <= stays.len() + 1);
    }

    #[test]
    fn while_nobody_waits_nobody_is_looked_at() {
        let waiting = Waiting::default();
        drop(waiting.join("acme"));
        assert_eq!(waiting.tenants(), [""; 0]);

        let waits = waiting.join("globex");
        let mut all = waiting.tenants();
        all.sort();

        assert_eq!(all, ["acme", "globex"]);
        drop(waits);
    }
}
