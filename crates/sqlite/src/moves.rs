//! Who hears that something was appended: waiters of this process at once, and what other
//! processes commit by looking at the file's data version, on a connection that does nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use mnemon_core::events::{HINTS, Mark, hint_of};
use mnemon_core::{Result, limits};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::threads::Queue;

pub(crate) mod sql {
    crate::sql::statements! {
        VERSION = "pragma data_version";
    }
}

/// What one process knows about appends.
pub(crate) struct Moves {
    /// Per part of the tenants: how often something may have moved.
    parts: Vec<watch::Sender<u64>>,
    /// One connection, which sees the commits of all others, this process's included.
    watcher: Arc<Queue>,
    /// The file's data version as it was last seen.
    seen: AtomicI64,
    /// One waiter looks at the file for all.
    looking: tokio::sync::Mutex<Instant>,
}

impl Moves {
    pub(crate) fn new(watcher: Arc<Queue>) -> Self {
        Self {
            parts: (0..HINTS).map(|_| watch::Sender::new(1)).collect(),
            watcher,
            seen: AtomicI64::new(-1),
            looking: tokio::sync::Mutex::new(Instant::now()),
        }
    }

    /// A commit of this process appended something of this tenant.
    pub(crate) fn tell(&self, tenant: &str) {
        self.parts[hint_of(tenant) as usize].send_modify(|count| *count += 1);
    }

    /// Waits for something that moved since then.
    pub(crate) async fn wait(&self, tenant: &str, mark: Mark, at_most: Duration) -> Result<Mark> {
        let mut part = self.parts[hint_of(tenant) as usize].subscribe();
        let until = Instant::now() + at_most.min(limits::SUBSCRIPTION_POLL);
        loop {
            tokio::select! {
                biased;
                moved = part.wait_for(|count| *count != mark.0) => {
                    return Ok(Mark(moved.map_or(mark.0, |count| *count)));
                }
                looked = self.look() => looked?,
                () = tokio::time::sleep_until(until) => return Ok(mark),
            }
        }
    }

    /// Looks at the file once its turn has come.
    async fn look(&self) -> Result<()> {
        let mut due = self.looking.lock().await;
        tokio::time::sleep_until(*due).await;
        let version = self
            .watcher
            .run(|conn| Ok(conn.query_row(sql::VERSION, [], |row| row.get::<_, i64>(0))?));
        let version = match version.await? {
            Ok(version) => version,
            // A file that is busy is looked at again.
            Err(fault) if fault.is_busy() => self.seen.load(Ordering::Relaxed),
            Err(fault) => return Err(fault.publish("watching the file", "the database")),
        };
        *due = Instant::now() + limits::FILE_POLL;
        if self.seen.swap(version, Ordering::Relaxed) != version {
            for part in &self.parts {
                part.send_modify(|count| *count += 1);
            }
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        self.watcher.close();
    }
}
