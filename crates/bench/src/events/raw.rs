//! The limits: the same rows into the same table, with the same indexes and durability, by one
//! prepared statement a commit; and by COPY. The head's row, which gives versions, is left out.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use mnemon::events::NewEvent;
use rusqlite::{Connection, params};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, query};
use uuid::Uuid;

use super::Failed;
use crate::target::Target;

/// Whose rows they are.
pub(super) const TENANT: &str = "raw";
const UNNEST: &str = "insert into mnemon.events (tenant, stream, version, id, kind, correlation_id, \
    agent_id, user_id, data, occurred_at, recorded_at, tx, epoch) \
    select $1, $2, $3 + g.n, g.id, g.kind, g.correlation_id, 'planner', 'ada', g.data, \
    clock_timestamp(), clock_timestamp(), pg_current_xact_id(), 1 \
    from unnest($4::uuid[], $5::text[], $6::jsonb[], $7::text[]) \
    with ordinality as g (id, kind, data, correlation_id, n)";
const COPY: &str = "copy mnemon.events (tenant, stream, version, id, kind, correlation_id, \
    agent_id, user_id, data, occurred_at, recorded_at, tx, epoch) from stdin";
const INSERT: &str = "insert into events (tenant, stream, version, id, kind, correlation_id, \
    agent_id, user_id, occurred_at, recorded_at, data) \
    values (?1, ?2, ?3, ?4, ?5, ?6, 'planner', 'ada', ?7, ?7, ?8)";

/// The raw side of one database.
pub(super) enum Raw {
    Sqlite(Connection),
    Postgres(PgConnection),
}

fn id(event: &NewEvent) -> Uuid {
    event.id.expect("given").0
}

fn micros() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

impl Raw {
    pub(super) async fn open(target: &Target) -> Result<Self, Failed> {
        if let Some(database) = target.server() {
            return Ok(Self::Postgres(PgConnection::connect(database.url()).await?));
        }
        let path: PathBuf = target.file().ok_or("neither a file nor a server")?;
        let conn = Connection::open(path)?;
        conn.pragma_update(None, "synchronous", "full")?;
        conn.pragma_update(None, "foreign_keys", true)?;
        conn.pragma_update(None, "cache_size", -8 * 1024)?;
        Ok(Self::Sqlite(conn))
    }

    /// One batch in one commit; the seconds it took.
    pub(super) async fn batch(
        &mut self,
        stream: &str,
        after: i64,
        events: &[NewEvent],
    ) -> Result<f64, Failed> {
        let begun = Instant::now();
        match self {
            Self::Sqlite(conn) => inserts(conn, stream, after, events)?,
            Self::Postgres(conn) => unnest(conn, stream, after, events).await?,
        }
        Ok(begun.elapsed().as_secs_f64())
    }

    /// One batch by COPY, where there is one.
    pub(super) async fn copy(
        &mut self,
        stream: &str,
        after: i64,
        events: &[NewEvent],
    ) -> Result<Option<f64>, Failed> {
        let Self::Postgres(conn) = self else { return Ok(None) };
        let begun = Instant::now();
        let mut tx = conn.begin().await?;
        let (own, now): (String, String) =
            sqlx::query_as("select pg_current_xact_id()::text, clock_timestamp()::text")
                .fetch_one(&mut *tx)
                .await?;
        let mut text = String::new();
        for (version, event) in (after + 1..).zip(events) {
            let data = event.data.to_string().replace('\\', "\\\\");
            writeln!(
                text,
                "{TENANT}\t{stream}\t{version}\t{}\t{}\t{}\tplanner\tada\t{data}\t{now}\t{now}\t{own}\t1",
                id(event),
                event.kind,
                event.correlation_id.as_deref().unwrap_or("\\N"),
            )?;
        }
        let mut sink = tx.copy_in_raw(COPY).await?;
        sink.send(text.as_bytes()).await?;
        sink.finish().await?;
        tx.commit().await?;
        Ok(Some(begun.elapsed().as_secs_f64()))
    }
}

async fn unnest(
    conn: &mut PgConnection,
    stream: &str,
    after: i64,
    events: &[NewEvent],
) -> Result<(), Failed> {
    let ids: Vec<Uuid> = events.iter().map(id).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    let data: Vec<&Value> = events.iter().map(|event| &event.data).collect();
    let correlations: Vec<Option<&str>> =
        events.iter().map(|event| event.correlation_id.as_deref()).collect();
    query(UNNEST)
        .bind(TENANT)
        .bind(stream)
        .bind(after)
        .bind(&ids)
        .bind(&kinds)
        .bind(data.iter().map(|value| sqlx::types::Json(*value)).collect::<Vec<_>>())
        .bind(&correlations)
        .execute(conn)
        .await?;
    Ok(())
}

fn inserts(conn: &Connection, stream: &str, after: i64, events: &[NewEvent]) -> Result<(), Failed> {
    conn.execute_batch("begin immediate")?;
    let mut insert = conn.prepare_cached(INSERT)?;
    let now = micros();
    for (version, event) in (after + 1..).zip(events) {
        insert.execute(params![
            TENANT,
            stream,
            version,
            id(event).as_bytes(),
            event.kind,
            event.correlation_id,
            now,
            event.data.to_string(),
        ])?;
    }
    drop(insert);
    conn.execute_batch("commit")?;
    Ok(())
}
