//! The limit: a lease written into its row and taken out again, by two prepared updates, each its
//! own transaction.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::{HOLDER, TENANT, TTL, key, rate};
use crate::target::Target;

type Failed = Box<dyn std::error::Error>;

const POSTGRES_TAKE: &str = "update mnemon.locks set fence = fence + 1, holder = $3, \
    acquired_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => $4) \
    where tenant = $1 and key = $2";
const POSTGRES_GIVE: &str = "update mnemon.locks set holder = null where tenant = $1 and key = $2";
const SQLITE_TAKE: &str = "update locks set fence = fence + 1, holder = ?3, acquired_at = ?4, \
    expires_at = ?4 + ?5 where tenant = ?1 and key = ?2";
const SQLITE_GIVE: &str = "update locks set holder = null where tenant = ?1 and key = ?2";

/// The raw side of one database.
pub(super) enum Raw {
    /// One connection behind one mutex: faster than several that poll for the file's lock.
    Sqlite(Arc<Mutex<Connection>>),
    /// A connection per writer.
    Postgres(String),
}

impl Raw {
    /// Opens the file as Mnemon does, or names the server's database.
    pub(super) fn open(target: &Target) -> Result<Self, Failed> {
        if let Some(database) = target.server() {
            return Ok(Self::Postgres(database.url().to_owned()));
        }
        let path: PathBuf = target.file().ok_or("neither a file nor a server")?;
        let conn = Connection::open(path)?;
        conn.busy_timeout(Duration::from_secs(10))?;
        conn.pragma_update(None, "synchronous", "full")?;
        conn.pragma_update(None, "foreign_keys", true)?;
        conn.pragma_update(None, "cache_size", -8 * 1024)?;
        Ok(Self::Sqlite(Arc::new(Mutex::new(conn))))
    }

    /// Pairs a second of `writers`.
    pub(super) async fn run(&self, writers: usize, time: Duration) -> Result<f64, Failed> {
        let mut connections = Vec::new();
        if let Self::Postgres(url) = self {
            for _ in 0..writers {
                connections.push(PgConnection::connect(url).await?);
            }
        }
        let begun = Instant::now();
        let until = begun + time;
        let tasks: Vec<_> = match self {
            Self::Postgres(_) => connections
                .into_iter()
                .enumerate()
                .map(|(writer, conn)| tokio::spawn(postgres(conn, writer, until)))
                .collect(),
            Self::Sqlite(conn) => (0..writers)
                .map(|writer| {
                    let conn = Arc::clone(conn);
                    tokio::task::spawn_blocking(move || sqlite(&conn, writer, until))
                })
                .collect(),
        };
        let mut pairs = 0;
        for task in tasks {
            pairs += task.await?.map_err(|error| error.to_string())?;
        }
        Ok(rate(pairs, begun))
    }
}

type Done = Result<usize, Box<dyn std::error::Error + Send + Sync>>;

async fn postgres(mut conn: PgConnection, writer: usize, until: Instant) -> Done {
    let (key, mut done) = (key("raw", writer), 0);
    while Instant::now() < until {
        sqlx::query(POSTGRES_TAKE)
            .bind(TENANT)
            .bind(&key)
            .bind(HOLDER)
            .bind(TTL.as_secs_f64())
            .execute(&mut conn)
            .await?;
        sqlx::query(POSTGRES_GIVE).bind(TENANT).bind(&key).execute(&mut conn).await?;
        done += 1;
    }
    conn.close().await?;
    Ok(done)
}

fn sqlite(conn: &Mutex<Connection>, writer: usize, until: Instant) -> Done {
    let (key, mut done) = (key("raw", writer), 0);
    let ttl = i64::try_from(TTL.as_micros())?;
    while Instant::now() < until {
        // Let go between the two, as others may come between acquire and release.
        conn.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .prepare_cached(SQLITE_TAKE)?
            .execute(params![TENANT, key, HOLDER, i64::try_from(done)?, ttl])?;
        conn.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .prepare_cached(SQLITE_GIVE)?
            .execute(params![TENANT, key])?;
        done += 1;
    }
    Ok(done)
}
