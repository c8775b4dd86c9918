//! Archived events come back: to the places they had where this is the log they left, at the end
//! of their streams where it never had them.

use std::collections::BTreeMap;

use mnemon_core::Error;
use mnemon_core::events::{Archived, Fit, Month, Standing, fit};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Done;

pub(crate) mod sql {
    crate::sql::statements! {
        HEAD = "select version, first_kept from event_streams where tenant = ?1 and stream = ?2";
        THERE = "select id from events where tenant = ?1 and stream = ?2 and version = ?3";
        INSERT = "insert into events (position, tenant, stream, version, id, kind, correlation_id, \
            agent_id, user_id, session_id, run_id, occurred_at, recorded_at, data) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        MOVE = "insert into event_streams (tenant, stream, version, recorded_at, first_kept) \
            values (?1, ?2, ?3, ?4, ?5) on conflict (tenant, stream) do update set \
            version = excluded.version, recorded_at = max(recorded_at, excluded.recorded_at)";
        /// A stream begins earlier once nothing is missing in between.
        BEGIN = "update event_streams as h set first_kept = b.first from (select min(e.version) as \
            first, count(*) as events from events e join event_streams k on k.tenant = e.tenant \
            and k.stream = e.stream where e.tenant = ?1 and e.stream = ?2 \
            and e.version < k.first_kept) b where h.tenant = ?1 and h.stream = ?2 \
            and b.first + b.events = h.first_kept";
        RETURN = "update event_gone set events = events - ?3 where tenant = ?1 and month = ?2 \
            and removal = (select o.removal from event_gone o where o.tenant = ?1 and o.month = ?2 \
            order by o.events desc limit 1)";
        NOT_GONE = "delete from event_gone where tenant = ?1 and events <= 0";
        /// What is back is searched again.
        AGAIN = "update event_search_place set position = min(position, ?1 - 1)";
    }
}

/// Puts back what is not there; how many.
pub(super) fn put_back(conn: &Connection, events: &[Archived], same_log: bool) -> Done<u64> {
    let mut streams: BTreeMap<(&str, &str), Vec<&Archived>> = BTreeMap::new();
    for event in events {
        streams.entry((&event.tenant, &event.stream)).or_default().push(event);
    }
    let (mut written, mut lowest) = (0, i64::MAX);
    let mut back: BTreeMap<(&str, String), i64> = BTreeMap::new();
    for ((tenant, stream), mut events) in streams {
        events.sort_by_key(|event| event.version);
        let stands = head(conn, tenant, stream)?;
        let versions: Vec<i64> = events.iter().map(|event| event.version).collect();
        let fits = fit(stream, stands, &versions, same_log)?;
        let mut head_moves = None;
        for (event, fit) in events.into_iter().zip(fits) {
            if is_there(conn, event)? || fit == Fit::Kept {
                continue;
            }
            let number = (fit == Fit::Before).then_some(event.tx);
            insert(conn, event, number)?;
            written += 1;
            if fit == Fit::After {
                let first = head_moves.map_or(event.version, |(first, _, _)| first);
                let at = event.recorded_at.timestamp_micros();
                head_moves = Some((first, event.version, at));
            } else {
                let month = Month::of(event.recorded_at).to_string();
                *back.entry((tenant, month)).or_default() += 1;
                lowest = lowest.min(event.tx);
            }
        }
        if let Some((first, version, at)) = head_moves {
            let first = if stands.version == 0 { first } else { stands.first_kept };
            conn.prepare_cached(sql::MOVE)?.execute(params![tenant, stream, version, at, first])?;
        }
        conn.prepare_cached(sql::BEGIN)?.execute([tenant, stream])?;
    }
    for ((tenant, month), events) in back {
        conn.prepare_cached(sql::RETURN)?.execute(params![tenant, month, events])?;
        conn.prepare_cached(sql::NOT_GONE)?.execute([tenant])?;
    }
    if lowest < i64::MAX {
        conn.prepare_cached(sql::AGAIN)?.execute([lowest])?;
    }
    Ok(written)
}

fn head(conn: &Connection, tenant: &str, stream: &str) -> Done<Standing> {
    let found = conn
        .prepare_cached(sql::HEAD)?
        .query_row([tenant, stream], |row| {
            Ok(Standing { version: row.get(0)?, first_kept: row.get(1)? })
        })
        .optional()?;
    Ok(found.unwrap_or(Standing { version: 0, first_kept: 1 }))
}

/// Whether it is there already; refused when another event has its place.
fn is_there(conn: &Connection, event: &Archived) -> Done<bool> {
    let found: Option<Vec<u8>> = conn
        .prepare_cached(sql::THERE)?
        .query_row(params![event.tenant, event.stream, event.version], |row| row.get(0))
        .optional()?;
    match found {
        Some(id) if id != event.id.0.as_bytes() => {
            let key = format!("{}@{}", event.stream, event.version);
            Err(Error::AlreadyExists { kind: "event", key }.into())
        }
        found => Ok(found.is_some()),
    }
}

fn insert(conn: &Connection, event: &Archived, number: Option<i64>) -> Done<()> {
    conn.prepare_cached(sql::INSERT)?.execute(params![
        number,
        event.tenant,
        event.stream,
        event.version,
        event.id.0.as_bytes(),
        event.kind,
        event.correlation_id,
        event.agent,
        event.user,
        event.session,
        event.run,
        event.occurred_at.timestamp_micros(),
        event.recorded_at.timestamp_micros(),
        event.data.to_string(),
    ])?;
    Ok(())
}
