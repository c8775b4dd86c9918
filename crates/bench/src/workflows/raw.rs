//! The limit: `UPDATE … WHERE version = …` of the same rows by prepared statements, after a read of
//! the version, as a save comes after a load.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};

use super::{Failed, TENANT, WRITERS, pick};
use crate::target::Target;

const POSTGRES: &str = "update mnemon.workflow_runs set version = version + 1, \
    updated_at = clock_timestamp(), state = $4 where tenant = $1 and id = $2 and version = $3";
const POSTGRES_VERSION: &str =
    "select version from mnemon.workflow_runs where tenant = $1 and id = $2";
const POSTGRES_FILL: &str = "insert into mnemon.workflow_runs (tenant, id, kind, status, version, \
    execution, started_at, updated_at, counters, timings, metadata, state) \
    select $1, 'r' || n, 'build', case when n % 50 = 0 then 'running' else 'completed' end, 1, 1, \
    mnemon.now() - make_interval(secs => n), mnemon.now(), '{}', '{}', '{}', \
    jsonb_build_object('text', repeat('x', 200)) from generate_series(1, $2::int) as n";
const SQLITE: &str = "update workflow_runs set version = version + 1, updated_at = ?4, state = ?5 \
    where tenant = ?1 and id = ?2 and version = ?3";
const SQLITE_VERSION: &str = "select version from workflow_runs where tenant = ?1 and id = ?2";
const SQLITE_FILL: &str = "insert into workflow_runs (tenant, id, kind, status, version, \
    execution, started_at, updated_at, counters, timings, metadata, state) \
    with recursive n (n) as (select 1 union all select n + 1 from n where n < ?2) \
    select ?1, 'r' || n, 'build', case when n % 50 = 0 then 'running' else 'completed' end, 1, 1, \
    1790000000000000 - n * 1000000, 1790000000000000, '{}', '{}', '{}', \
    json_object('text', ?3) from n";

/// The raw side of one database.
pub(super) enum Raw {
    /// In a file: one connection behind one mutex is faster than several that poll for its lock.
    File(PathBuf),
    /// On a server: a connection per writer.
    Server(String),
}

impl Raw {
    pub(super) fn of(target: &Target) -> Result<Self, Failed> {
        match target.server() {
            Some(database) => Ok(Self::Server(database.url().to_owned())),
            None => Ok(Self::File(target.file().ok_or("neither a file nor a server")?)),
        }
    }

    /// Puts runs into the table.
    pub(super) async fn fill(&self, runs: u32) -> Result<(), Failed> {
        match self {
            Self::File(path) => {
                let conn = open(path)?;
                conn.execute(SQLITE_FILL, params![TENANT, runs, "x".repeat(200)])?;
                conn.execute_batch("analyze; pragma wal_checkpoint(truncate)")?;
            }
            Self::Server(url) => {
                let mut conn = PgConnection::connect(url).await?;
                let fill = sqlx::query(POSTGRES_FILL).bind(TENANT).bind(runs.cast_signed());
                fill.execute(&mut conn).await?;
                conn.execute("vacuum analyze mnemon.workflow_runs").await?;
                conn.execute("checkpoint").await?;
                conn.close().await?;
            }
        }
        Ok(())
    }

    /// Times of the updates, in milliseconds.
    pub(super) async fn saves(&self, runs: u32, time: Duration) -> Result<Vec<f64>, Failed> {
        let until = Instant::now() + time;
        let mut writers = Vec::new();
        match self {
            Self::File(path) => {
                let conn = Arc::new(Mutex::new(open(path)?));
                for writer in 0..WRITERS {
                    let conn = Arc::clone(&conn);
                    let save = move || sqlite(&conn, writer, runs, until);
                    writers.push(tokio::task::spawn_blocking(save));
                }
            }
            Self::Server(url) => {
                for writer in 0..WRITERS {
                    writers.push(tokio::spawn(postgres(url.clone(), writer, runs, until)));
                }
            }
        }
        let mut all = Vec::new();
        for writer in writers {
            all.extend(writer.await??);
        }
        Ok(all)
    }
}

fn open(path: &Path) -> Result<Connection, Failed> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(Duration::from_secs(30))?;
    conn.pragma_update(None, "synchronous", "full")?;
    conn.pragma_update(None, "cache_size", -8 * 1024)?;
    Ok(conn)
}

async fn postgres(url: String, writer: u32, runs: u32, until: Instant) -> Result<Vec<f64>, Failed> {
    let mut conn = PgConnection::connect(&url).await?;
    let (mut times, mut turn) = (Vec::new(), 0);
    while Instant::now() < until {
        let id = format!("r{}", pick(writer, turn, runs));
        let version = sqlx::query_scalar(POSTGRES_VERSION).bind(TENANT).bind(&id);
        let version: i64 = version.fetch_one(&mut conn).await?;
        let state = json!({ "text": "z".repeat(200) });
        let since = Instant::now();
        let raw = sqlx::query(POSTGRES).bind(TENANT).bind(&id).bind(version).bind(state);
        raw.execute(&mut conn).await?;
        times.push(since.elapsed().as_secs_f64() * 1_000.0);
        turn += 1;
    }
    conn.close().await?;
    Ok(times)
}

fn sqlite(
    conn: &Mutex<Connection>,
    writer: u32,
    runs: u32,
    until: Instant,
) -> Result<Vec<f64>, Failed> {
    let (mut times, mut turn) = (Vec::new(), 0);
    while Instant::now() < until {
        let id = format!("r{}", pick(writer, turn, runs));
        let lock = || conn.lock().unwrap_or_else(PoisonError::into_inner);
        let version: i64 = lock()
            .prepare_cached(SQLITE_VERSION)?
            .query_row(params![TENANT, id], |row| row.get(0))?;
        let state = json!({ "text": "z".repeat(200) }).to_string();
        // The wait for the file's one writer is part of a save.
        let since = Instant::now();
        lock().prepare_cached(SQLITE)?.execute(params![TENANT, id, version, turn, state])?;
        times.push(since.elapsed().as_secs_f64() * 1_000.0);
        turn += 1;
    }
    Ok(times)
}
