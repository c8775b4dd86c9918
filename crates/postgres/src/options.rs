//! What the PostgreSQL store is opened with; nothing here prints a secret.

use std::fmt;
use std::time::Duration;

use mnemon_core::limits;
use mnemon_core::migrations::MigrateMode;

/// How to reach a PostgreSQL database and how to use it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Where it is: a `postgres://` URL or libpq's `key=value` form.
    pub url: String,
    /// A connection past any pooler, for migrations and the listener; `url` when absent.
    pub direct_url: Option<String>,
    /// A connection as the owner, for upkeep under row-level security; `url` when absent.
    pub maintenance_url: Option<String>,
    /// The pool.
    pub pool: PoolOptions,
    /// What opening does about an old schema.
    pub migrate: MigrateMode,
}

impl Options {
    /// The defaults, for one connection string.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URLs may hold passwords, wherever in the text: none of it is printed.
        f.debug_struct("Options")
            .field("url", &"…")
            .field("direct_url", &self.direct_url.as_ref().map(|_| "…"))
            .field("maintenance_url", &self.maintenance_url.as_ref().map(|_| "…"))
            .field("pool", &self.pool)
            .field("migrate", &self.migrate)
            .finish()
    }
}

/// How many connections there are, and how long anybody waits for one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolOptions {
    /// The most connections open at once.
    pub max_connections: u32,
    /// Connections kept open when nobody uses them.
    pub min_connections: u32,
    /// How long a call waits for a connection.
    pub acquire_timeout: Duration,
    /// After this long unused a connection is closed.
    pub idle_timeout: Duration,
    /// After this long a connection is replaced.
    pub max_lifetime: Duration,
    /// The longest one statement may run.
    pub statement_timeout: Duration,
    /// Calls that may wait for a connection; one more is refused at once.
    pub max_waiting: u32,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            max_connections: limits::POOL_MAX,
            min_connections: 0,
            acquire_timeout: limits::ACQUIRE_TIMEOUT,
            idle_timeout: limits::IDLE_TIMEOUT,
            max_lifetime: limits::CONNECTION_LIFETIME,
            statement_timeout: limits::STATEMENT_TIMEOUT,
            max_waiting: limits::WAITING_MAX,
        }
    }
}
