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

/// Appends events to one stream.
pub(crate) fn append(conn: &Connection, scope: &Admitted<'_>, append: &Append) -> Done<Appended> {
    let stream = append.stream.as_str();
    let head: Option<(i64, i64)> = conn
        .prepare_cached(sql::HEAD)?
        .query_row([scope.tenant, stream], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (version, last) = head.unwrap_or((0, i64::MIN));
    let known = append
        .events
        .iter()
        .map(|event| known(conn, scope, event))
        .collect::<Done<Vec<Option<Known>>>>()?;
    let placed = place(append, version, &known)?;
    if placed.stream_version == version {
        return Ok(placed);
    }
    let recorded_at = now(conn)?.max(last);
    conn.prepare_cached(sql::MOVE)?.execute(params![
        scope.tenant,
        stream,
        placed.stream_version,
        recorded_at
    ])?;
    let mut insert = conn.prepare_cached(sql::INSERT)?;
    for (event, place) in append.events.iter().zip(&placed.versions) {
        if *place <= version {
            continue;
        }
        insert.execute(params![
            scope.tenant,
            stream,
            place,
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
    }
    Ok(placed)
}

/// Where an event with a caller's id stands already.
fn known(conn: &Connection, scope: &Admitted<'_>, event: &NewEvent) -> Done<Option<Known>> {
    let Some(id) = event.id else { return Ok(None) };
    let found = conn
        .prepare_cached(sql::KNOWN)?
        .query_row(params![scope.tenant, id.0.as_bytes()], |row| {
            Ok(Known { stream: row.get(0)?, version: row.get(1)? })
        })
        .optional()?;
    Ok(found)
}
