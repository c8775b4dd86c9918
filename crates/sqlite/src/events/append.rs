//! Appending to a stream: versions follow the head; an id that is known is the first event.

use mnemon_core::events::{Append, Appended, Known, NewEvent, place};
use mnemon_core::scope::Admitted;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::error::Done;
use crate::open::now;

pub(crate) mod sql {
    crate::sql::statements! {
        HEAD = "select version, recorded_at from event_streams where tenant = ?1 and stream = ?2";
        KNOWN = "select stream, version from events where tenant = ?1 and id = ?2";
        MOVE = "insert into event_streams (tenant, stream, version, recorded_at, first_kept) \
            values (?1, ?2, ?3, ?4, 1) on conflict (tenant, stream) do update set \
            version = excluded.version, recorded_at = excluded.recorded_at";
        INSERT = "insert into events (tenant, stream, version, id, kind, correlation_id, agent_id, \
            user_id, session_id, run_id, occurred_at, recorded_at, data) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    }
}

/// Where a stream stands.
pub(super) struct Head {
    /// Its newest version; 0: none.
    pub(super) version: i64,
    /// Its newest event's time.
    pub(super) recorded_at: i64,
}

impl Head {
    pub(super) fn read(conn: &Connection, scope: &Admitted<'_>, stream: &str) -> Done<Self> {
        let head = conn
            .prepare_cached(sql::HEAD)?
            .query_row([scope.tenant, stream], |row| {
                Ok(Self { version: row.get(0)?, recorded_at: row.get(1)? })
            })
            .optional()?;
        Ok(head.unwrap_or(Self { version: 0, recorded_at: i64::MIN }))
    }

    pub(super) fn move_to(
        &self,
        conn: &Connection,
        scope: &Admitted<'_>,
        stream: &str,
        version: i64,
        recorded_at: i64,
    ) -> Done<()> {
        conn.prepare_cached(sql::MOVE)?.execute(params![
            scope.tenant,
            stream,
            version,
            recorded_at.max(self.recorded_at)
        ])?;
        Ok(())
    }
}

/// Appends events to one stream.
pub(crate) fn append(conn: &Connection, scope: &Admitted<'_>, append: &Append) -> Done<Appended> {
    let stream = append.stream.as_str();
    let head = Head::read(conn, scope, stream)?;
    let placed = place(append, head.version, &known(conn, scope, append)?)?;
    if placed.stream_version == head.version {
        return Ok(placed);
    }
    let recorded_at = now(conn)?.max(head.recorded_at);
    head.move_to(conn, scope, stream, placed.stream_version, recorded_at)?;
    for (event, version) in append.events.iter().zip(&placed.versions) {
        if *version > head.version {
            insert(conn, scope, stream, event, *version, recorded_at)?;
        }
    }
    Ok(placed)
}

pub(super) fn insert(
    conn: &Connection,
    scope: &Admitted<'_>,
    stream: &str,
    event: &NewEvent,
    version: i64,
    recorded_at: i64,
) -> Done<()> {
    conn.prepare_cached(sql::INSERT)?.execute(params![
        scope.tenant,
        stream,
        version,
        event.id.map_or_else(Uuid::now_v7, |id| id.0).as_bytes(),
        event.kind,
        event.correlation_id,
        scope.agent,
        scope.user,
        scope.session,
        scope.run,
        event.occurred_at.map_or(recorded_at, |at| at.timestamp_micros()),
        recorded_at,
        event.data.to_string(),
    ])?;
    Ok(())
}

/// Where the events with a caller's id stand already.
pub(super) fn known(
    conn: &Connection,
    scope: &Admitted<'_>,
    append: &Append,
) -> Done<Vec<Option<Known>>> {
    let mut statement = conn.prepare_cached(sql::KNOWN)?;
    let mut each = |event: &NewEvent| {
        let Some(id) = event.id else { return Ok(None) };
        let found = statement.query_row(params![scope.tenant, id.0.as_bytes()], |row| {
            Ok(Known { stream: row.get(0)?, version: row.get(1)? })
        });
        Ok(found.optional()?)
    };
    append.events.iter().map(&mut each).collect()
}
