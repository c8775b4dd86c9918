//! Who hears that something was appended: waiters of this process at once, and what other
//! processes commit by looking at the file's data version, on a connection that does nothing else.
//! When that is another one, it asks which tenants' events are new.

mod waiting;

use std::sync::Arc;
use std::time::Duration;

use mnemon_core::events::Mark;
use mnemon_core::{Result, limits};
use rusqlite::Connection;
use tokio::time::Instant;

use self::waiting::Waiting;
use crate::error::Done;
use crate::threads::Queue;

pub(crate) mod sql {
    crate::sql::statements! {
        VERSION = "pragma data_version";
        /// Numbers follow the commits: whatever was not there at the last look has a greater one.
        NEWER = "select tenant, max(position) from events not indexed where position > ?1 group by tenant";
        NEWEST = "select coalesce(max(position), 0) from events";
    }
}

/// What one process knows about appends.
pub(crate) struct Moves {
    waiting: Waiting,
    /// One connection, which sees the commits of all others, this process's included.
    watcher: Arc<Queue>,
    /// One waiter looks at the file for all.
    looking: tokio::sync::Mutex<Look>,
}

/// When the file is looked at next, and what the last look saw.
struct Look {
    due: Instant,
    seen: Option<Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    version: i64,
    /// The newest event's number.
    newest: i64,
}

/// What a look found.
enum Found {
    /// The file is as it was.
    Nothing,
    Moved(Seen, Vec<String>),
    /// Nothing to compare with, or the file was put back.
    Anything(Seen),
}

impl Moves {
    pub(crate) fn new(watcher: Arc<Queue>) -> Self {
        let look = Look { due: Instant::now(), seen: None };
        Self { waiting: Waiting::default(), watcher, looking: tokio::sync::Mutex::new(look) }
    }

    /// A commit of this process appended something of this tenant.
    pub(crate) fn tell(&self, tenant: &str) {
        self.waiting.tell(tenant);
    }

    /// Waits for something that moved since then.
    pub(crate) async fn wait(&self, tenant: &str, mark: Mark, at_most: Duration) -> Result<Mark> {
        let mut moved = self.waiting.join(tenant);
        let until = Instant::now() + at_most.min(limits::SUBSCRIPTION_POLL);
        loop {
            tokio::select! {
                biased;
                moved = moved.wait_for(|count| *count != mark.0) => {
                    return Ok(Mark(moved.map_or(mark.0, |count| *count)));
                }
                looked = self.look() => looked?,
                () = tokio::time::sleep_until(until) => return Ok(mark),
            }
        }
    }

    /// Looks at the file once its turn has come.
    async fn look(&self) -> Result<()> {
        let mut look = self.looking.lock().await;
        tokio::time::sleep_until(look.due).await;
        let seen = look.seen;
        let found = match self.watcher.run(move |conn| newer(conn, seen)).await? {
            Ok(found) => found,
            // A file that is busy is looked at again.
            Err(fault) if fault.is_busy() => Found::Nothing,
            Err(fault) => return Err(fault.publish("watching the file", "the database")),
        };
        look.due = Instant::now() + limits::FILE_POLL;
        match found {
            Found::Nothing => {}
            Found::Moved(seen, tenants) => {
                look.seen = Some(seen);
                for tenant in &tenants {
                    self.waiting.tell(tenant);
                }
            }
            Found::Anything(seen) => {
                look.seen = Some(seen);
                self.waiting.tell_all();
            }
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        self.watcher.close();
    }
}

/// Whose events are newer than what was seen.
fn newer(conn: &Connection, seen: Option<Seen>) -> Done<Found> {
    // Before the events: what is committed in between changes it once more.
    let version = conn.prepare_cached(sql::VERSION)?.query_row([], |row| row.get(0))?;
    if seen.is_some_and(|seen| seen.version == version) {
        return Ok(Found::Nothing);
    }
    let newest: i64 = conn.prepare_cached(sql::NEWEST)?.query_row([], |row| row.get(0))?;
    let Some(seen) = seen.filter(|seen| seen.newest <= newest) else {
        return Ok(Found::Anything(Seen { version, newest }));
    };
    let mut moved = conn.prepare_cached(sql::NEWER)?;
    let rows = moved.query_map([seen.newest], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(String, i64)> = rows.collect::<Result<_, _>>()?;
    let newest = rows.iter().map(|(_, newest)| *newest).max().unwrap_or(seen.newest);
    let tenants = rows.into_iter().map(|(tenant, _)| tenant).collect();
    Ok(Found::Moved(Seen { version, newest }, tenants))
}
