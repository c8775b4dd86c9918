//! One reader of the log per tenant and process, whatever the number of subscribers.
//!
//! It starts with the first subscriber that caught up and ends with the last one, or with the
//! first failure: then every subscriber reads for itself until it caught up again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use mnemon_core::events::{EventFilter, Mark, Position, Slice};
use mnemon_core::{Result, Scope, Store, limits};

use super::feed::Feed;
use crate::metrics;

/// The pauses while an older transaction keeps committed events from being read.
const PENDING: Duration = Duration::from_millis(5);
const PENDING_MAX: Duration = Duration::from_millis(100);
/// Events of one read.
const READ: u32 = 1_000;

/// The tails of one handle.
pub(crate) struct Tails {
    store: Weak<dyn Store>,
    running: Mutex<HashMap<String, Vec<Weak<Feed>>>>,
}

impl Tails {
    pub(crate) fn new(store: &Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store: Arc::downgrade(store), running: Mutex::default() })
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Vec<Weak<Feed>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands every event behind the tail's place, now or later, to this feed. Without a tail one
    /// starts at `from`, up to which the subscriber has read.
    pub(super) fn join(self: &Arc<Self>, tenant: &str, feed: &Arc<Feed>, from: Position) {
        let mut running = self.running();
        let starts = !running.contains_key(tenant);
        running.entry(tenant.to_owned()).or_default().push(Arc::downgrade(feed));
        drop(running);
        if starts {
            tokio::spawn(Arc::clone(self).run(tenant.to_owned(), from));
        }
    }

    async fn run(self: Arc<Self>, tenant: String, from: Position) {
        let scope = Scope::tenant(tenant.as_str());
        if let Err(error) = self.follow(&scope, from).await {
            tracing::debug!(%error, "a tail of the event log ended; its subscribers read on");
            for feed in self.running().remove(&tenant).unwrap_or_default() {
                if let Some(feed) = feed.upgrade() {
                    feed.cut();
                }
            }
        }
    }

    /// Follows the log until nobody listens.
    async fn follow(&self, scope: &Scope, mut at: Position) -> Result<()> {
        let (mut mark, mut pause) = (Mark::default(), PENDING);
        loop {
            // The store goes when its handle does, not when the last subscriber does.
            let Some(store) = self.store.upgrade() else {
                return Err(mnemon_core::Error::Closed);
            };
            let events = store.events();
            let after = at.cursor();
            let slice = events.read_all(scope, &EventFilter::default(), Some(&after), READ).await?;
            let Slice { events: found, next, caught_up, pending } = slice;
            at = Position::after(&scope.tenant, Some(&next))?;
            let found: Vec<_> = found.into_iter().map(Arc::new).collect();
            if !self.hand_out(&scope.tenant, &found, &at) {
                return Ok(());
            }
            match (caught_up, pending) {
                (false, _) => pause = PENDING,
                (true, true) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PENDING_MAX);
                }
                (true, false) => {
                    pause = PENDING;
                    drop(store);
                    let Some(moved) = self.moved(scope, mark).await? else { return Ok(()) };
                    mark = moved;
                    // Many commits, one read.
                    tokio::time::sleep(limits::ANNOUNCE_EVERY).await;
                }
            }
        }
    }

    /// Waits, without reading, until something may have been appended; nothing when nobody listens
    /// any more.
    async fn moved(&self, scope: &Scope, mark: Mark) -> Result<Option<Mark>> {
        loop {
            // Asked for again now and then: the store goes when its handle does.
            let Some(store) = self.store.upgrade() else {
                return Err(mnemon_core::Error::Closed);
            };
            let moved = store.events().moved(scope, mark, limits::SUBSCRIPTION_POLL).await?;
            if moved != mark {
                return Ok(Some(moved));
            }
            if !self.has_listeners(&scope.tenant) {
                return Ok(None);
            }
        }
    }

    /// Whether anybody listens; if not, the tail is over.
    fn has_listeners(&self, tenant: &str) -> bool {
        let mut running = self.running();
        let Some(feeds) = running.get_mut(tenant) else { return false };
        feeds.retain(|feed| feed.strong_count() > 0);
        // Under the lock: whoever joins from here on starts another one.
        let over = feeds.is_empty();
        if over {
            running.remove(tenant);
        }
        !over
    }

    /// Whether anybody was there to hand it to; if not, the tail is over.
    fn hand_out(
        &self,
        tenant: &str,
        events: &[Arc<mnemon_core::events::Event>],
        end: &Position,
    ) -> bool {
        if !self.has_listeners(tenant) {
            return false;
        }
        let running = self.running();
        let mut longest = 0;
        for feed in running.get(tenant).into_iter().flatten().filter_map(Weak::upgrade) {
            feed.offer(events, end);
            longest = longest.max(feed.len());
        }
        drop(running);
        metrics::subscription_lag(longest);
        true
    }
}
