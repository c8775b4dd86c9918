//! Events in SQLite: versions are taken in the head's update, so that they have no gaps.

pub(crate) mod append;

use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::events::{Append, Appended, Event, Events, SYSTEM_STREAM};
use mnemon_core::locks::Guard;
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, EventId, Facet, Page, Paged, Result, Scope, limits};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use uuid::Uuid;

use crate::error::Done;
use crate::memories::rows;
use crate::open::now;
use crate::store::SqliteStore;
use crate::{locks, row};

pub(crate) mod sql {
    crate::sql::statements! {
        LAST_OF_KIND = "select recorded_at from events \
            where tenant = ?1 and stream = ?2 and kind = ?3 order by version desc limit 1";
        /// The next version, and a time that is never before the last one's.
        ADVANCE = "insert into event_streams (tenant, stream, version, recorded_at, first_kept) \
            values (?1, ?2, 1, ?3, 1) \
            on conflict (tenant, stream) do update set version = version + 1, \
            recorded_at = max(recorded_at, excluded.recorded_at) returning version, recorded_at";
        APPEND = "insert into events (tenant, stream, version, id, kind, agent_id, user_id, \
            session_id, run_id, occurred_at, recorded_at, data) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        /// A user or an agent in the scope filters.
        READ = "select version, id, kind, data, recorded_at, occurred_at, correlation_id, \
            user_id, agent_id from events \
            where tenant = ?1 and stream = ?2 and version > ?3 \
            and (?4 is null or user_id = ?4) \
            and (?5 is null or agent_id = ?5) order by version limit ?6";
    }
}

const CURSOR: &str = "events";

#[async_trait]
impl Events for SqliteStore {
    async fn append(
        &self,
        scope: &Scope,
        append: Append,
        guard: Option<&Guard>,
    ) -> Result<Appended> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        append.check()?;
        locks::check_guard(guard)?;
        let (scope, guard) = (scope.clone(), guard.cloned());
        self.write("appending events", move |conn| {
            let scope = scope.admit(Facet::Events)?;
            locks::guard(conn, &scope, guard.as_ref())?;
            append::append(conn, &scope, &append)
        })
        .await
    }

    async fn note(
        &self,
        scope: &Scope,
        kind: &'static str,
        data: Value,
        at_most_every: Duration,
    ) -> Result<Option<i64>> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        limits::json("data", &data, limits::EVENT_BYTES)?;
        let scope = scope.clone();
        self.write("writing an event", move |conn| {
            note(conn, &scope.admit(Facet::Events)?, kind, &data, at_most_every)
        })
        .await
    }

    async fn read(&self, scope: &Scope, stream: &str, page: &Page) -> Result<Paged<Event>> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        limits::name("stream", stream, limits::STREAM_BYTES)?;
        page.check()?;
        let after = match &page.cursor {
            Some(cursor) => parsed(cursor)?,
            None => 0,
        };
        let (scope, stream, limit) = (scope.clone(), stream.to_owned(), page.limit);
        SqliteStore::read(self, "reading events", move |conn| {
            read(conn, &scope.admit(Facet::Events)?, &stream, after, limit)
        })
        .await
    }
}

fn parsed(cursor: &Cursor) -> Result<i64> {
    let [version] = cursor.parts::<1>(CURSOR)?;
    version.parse().map_err(|_| Error::invalid("page.cursor", "holds no version"))
}

/// Notes an event of Mnemon's own, unless one of its kind is too young.
pub(crate) fn note(
    conn: &Connection,
    scope: &Admitted<'_>,
    kind: &str,
    data: &Value,
    at_most_every: Duration,
) -> Done<Option<i64>> {
    let now = now(conn)?;
    let last: Option<i64> = conn
        .prepare_cached(sql::LAST_OF_KIND)?
        .query_row([scope.tenant, SYSTEM_STREAM, kind], |row| row.get(0))
        .optional()?;
    let pause = i64::try_from(at_most_every.as_micros()).unwrap_or(i64::MAX);
    // Without a pause every note is taken, also when the clock went backwards.
    if pause > 0 && last.is_some_and(|last| now.saturating_sub(last) < pause) {
        return Ok(None);
    }
    let (version, recorded_at): (i64, i64) = conn
        .prepare_cached(sql::ADVANCE)?
        .query_row(params![scope.tenant, SYSTEM_STREAM, now], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    conn.prepare_cached(sql::APPEND)?.execute(params![
        scope.tenant,
        SYSTEM_STREAM,
        version,
        Uuid::now_v7().as_bytes(),
        kind,
        scope.agent,
        scope.user,
        scope.session,
        scope.run,
        now,
        recorded_at,
        data.to_string(),
    ])?;
    Ok(Some(version))
}

fn read(
    conn: &Connection,
    scope: &Admitted<'_>,
    stream: &str,
    after: i64,
    limit: u32,
) -> Done<Paged<Event>> {
    let mut statement = conn.prepare_cached(sql::READ)?;
    let mut found = statement.query(params![
        scope.tenant,
        stream,
        after,
        scope.user,
        scope.agent,
        limit + 1
    ])?;
    let mut events = Vec::new();
    while let Some(row) = found.next()? {
        let id = EventId(rows::id(row, 1)?);
        let data = row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?;
        events.push(Event {
            id,
            stream: stream.to_owned(),
            version: row.get(0)?,
            kind: row.get(2)?,
            data: serde_json::from_str(data)
                .map_err(|error| Error::corrupt(format!("event {id}"), error.to_string()))?,
            correlation_id: row.get(6)?,
            user: row.get(7)?,
            agent: row.get(8)?,
            occurred_at: row::time(row, 5)?,
            recorded_at: row::time(row, 4)?,
        });
    }
    Ok(Paged::cut(events, limit, |event| Cursor::of(CURSOR, &[&event.version.to_string()])))
}
