//! Months of the event log in SQLite: read for an archive, told to readers as gone, removed in
//! batches; and put back.

pub(crate) mod back;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::events::{ArchivePlace, Archived, Archives, Extent, Month, MonthOfLog, Retired};
use mnemon_core::{Error, EventId, Result, limits};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::error::Done;
use crate::events::read::Epochs;
use crate::memories::rows;
use crate::open::now;
use crate::row;
use crate::store::SqliteStore;

pub(crate) mod sql {
    crate::sql::statements! {
        LOG = "select id from event_log";
        /// By month: its events and the greatest number.
        MONTHS = "select strftime('%Y-%m', recorded_at / 1000000, 'unixepoch') as month, count(*), \
            max(position) from events where recorded_at < ?1 group by month order by month";
        EXTENT = "select count(*), coalesce(max(position), 0) from events \
            where recorded_at >= ?1 and recorded_at < ?2";
        LEAVING = "select month, upto from event_leaving order by month";
        LEAVES = "select upto from event_leaving where month = ?1";
        LEAVE = "insert into event_leaving (month, upto) values (?1, ?2)";
        LEFT = "delete from event_leaving where month = ?1";
        READ = "select tenant, stream, version, id, kind, correlation_id, agent_id, user_id, \
            session_id, run_id, data, occurred_at, recorded_at, position from events \
            where recorded_at >= ?1 and recorded_at < ?2 \
            and (?3 is null or (tenant, stream, version) > (?3, ?4, ?5)) \
            order by tenant, stream, version limit ?6";
        /// The first version that each stream keeps when a month has gone.
        FIRST_KEPT = "update event_streams as h set first_kept = g.first from (select tenant, stream, \
            max(version) + 1 as first from events where recorded_at >= ?1 and recorded_at < ?2 \
            group by tenant, stream) g where h.tenant = g.tenant and h.stream = g.stream \
            and h.first_kept < g.first";
        /// The greatest place that each tenant loses: the bare columns are of the greatest number.
        GONE = "insert into event_gone (tenant, month, removal, events, position, stream, version) \
            select tenant, ?3, ?4, count(*), max(position), stream, version from events \
            where recorded_at >= ?1 and recorded_at < ?2 group by tenant \
            on conflict (tenant, month, removal) do update set \
            events = event_gone.events + excluded.events";
        REMOVE = "delete from events where position in (select position from events \
            where recorded_at >= ?1 and recorded_at < ?2 and position <= ?3 limit ?4)";
        /// Words that no event holds any more, as far as a look goes.
        FORGET = "delete from event_terms where id in (select t.id from event_terms t \
            where not exists (select 1 from event_postings p where p.term_id = t.id) limit ?1)";
    }
}

#[async_trait]
impl Archives for SqliteStore {
    async fn log_id(&self) -> Result<Uuid> {
        self.alive()?;
        SqliteStore::read(self, "reading the event log's name", log_id).await
    }

    async fn months(&self, before: DateTime<Utc>) -> Result<Vec<MonthOfLog>> {
        self.alive()?;
        SqliteStore::read(self, "looking for months of the event log", move |conn| {
            months(conn, before)
        })
        .await
    }

    async fn read_month(
        &self,
        month: Month,
        after: Option<&ArchivePlace>,
        limit: u32,
    ) -> Result<Vec<Archived>> {
        self.alive()?;
        let after = after.cloned();
        SqliteStore::read(self, "reading a month of the event log", move |conn| {
            read(conn, month, after.as_ref(), limit)
        })
        .await
    }

    async fn retire(&self, month: Month, extent: Extent) -> Result<Retired> {
        self.alive()?;
        self.write("removing a month of the event log", move |conn| retire(conn, month, extent))
            .await
    }

    async fn put_back(&self, log: Uuid, events: Vec<Archived>) -> Result<u64> {
        self.alive()?;
        limits::count("archive", events.len(), limits::IMPORT_BATCH)?;
        self.write("putting events back", move |conn| {
            let same_log = log == log_id(conn)?;
            back::put_back(conn, &events, same_log)
        })
        .await
    }
}

fn log_id(conn: &Connection) -> Done<Uuid> {
    let bytes: Vec<u8> = conn.prepare_cached(sql::LOG)?.query_row([], |row| row.get(0))?;
    Uuid::from_slice(&bytes)
        .map_err(|_| Error::corrupt("the event log's name", "is no 16 bytes").into())
}

/// A month's first moment and the first one after it, in microseconds.
fn bounds(month: Month) -> (i64, i64) {
    (month.start().timestamp_micros(), month.end().timestamp_micros())
}

fn months(conn: &Connection, before: DateTime<Utc>) -> Done<Vec<MonthOfLog>> {
    let end = Month::of(before.min(rows::time(now(conn)?)?)).start().timestamp_micros();
    let mut statement = conn.prepare_cached(sql::LEAVING)?;
    let leaving = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, i64)>>>()?;
    let mut statement = conn.prepare_cached(sql::MONTHS)?;
    let mut found = statement.query([end])?;
    let mut months = Vec::new();
    while let Some(row) = found.next()? {
        let name: String = row.get(0)?;
        let (events, newest): (i64, i64) = (row.get(1)?, row.get(2)?);
        let leaving = leaving.iter().any(|(month, _)| *month == name);
        let extent = Extent { events: events.unsigned_abs(), newest };
        months.push(MonthOfLog { month: name.parse()?, extent, leaving });
    }
    for (name, _) in leaving {
        let month: Month = name.parse()?;
        if !months.iter().any(|one| one.month == month) {
            // All of it is removed; only that it is leaving is still noted.
            months.push(MonthOfLog { month, extent: Extent::default(), leaving: true });
        }
    }
    months.sort_by_key(|one| one.month);
    Ok(months)
}

fn extent(conn: &Connection, month: Month) -> Done<Extent> {
    let (from, to) = bounds(month);
    let (events, newest): (i64, i64) = conn
        .prepare_cached(sql::EXTENT)?
        .query_row([from, to], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Extent { events: events.unsigned_abs(), newest })
}

fn read(
    conn: &Connection,
    month: Month,
    after: Option<&ArchivePlace>,
    limit: u32,
) -> Done<Vec<Archived>> {
    let epochs = Epochs::read(conn)?;
    let (from, to) = bounds(month);
    let mut statement = conn.prepare_cached(sql::READ)?;
    let mut found = statement.query(params![
        from,
        to,
        after.map(|place| place.tenant.as_str()),
        after.map(|place| place.stream.as_str()),
        after.map(|place| place.version),
        limit
    ])?;
    let mut events = Vec::new();
    while let Some(row) = found.next()? {
        events.push(archived(row, &epochs)?);
    }
    Ok(events)
}

fn archived(row: &Row<'_>, epochs: &Epochs) -> Done<Archived> {
    let id = EventId(rows::id(row, 3)?);
    let data = row.get_ref(10)?.as_str().map_err(rusqlite::Error::from)?;
    let number: i64 = row.get(13)?;
    Ok(Archived {
        tenant: row.get(0)?,
        stream: row.get(1)?,
        version: row.get(2)?,
        id,
        kind: row.get(4)?,
        correlation_id: row.get(5)?,
        agent: row.get(6)?,
        user: row.get(7)?,
        session: row.get(8)?,
        run: row.get(9)?,
        data: serde_json::from_str(data)
            .map_err(|error| Error::corrupt(format!("event {id}"), error.to_string()))?,
        occurred_at: row::time(row, 11)?,
        recorded_at: row::time(row, 12)?,
        epoch: epochs.of(number),
        tx: number,
    })
}

/// The first batch of a month that holds exactly this, after readers are told; or the next one.
/// What is written into the month after that stays: its numbers are greater.
fn retire(conn: &Connection, month: Month, wanted: Extent) -> Done<Retired> {
    let (from, to) = bounds(month);
    if to > now(conn)? {
        return Err(Error::invalid("month", format!("{month} has not ended")).into());
    }
    let name = month.to_string();
    let leaves: Option<i64> =
        conn.prepare_cached(sql::LEAVES)?.query_row([&name], |row| row.get(0)).optional()?;
    let upto = if let Some(upto) = leaves {
        upto
    } else {
        let found = extent(conn, month)?;
        if found != wanted {
            return Err(changed(month, wanted, found).into());
        }
        conn.prepare_cached(sql::FIRST_KEPT)?.execute([from, to])?;
        conn.prepare_cached(sql::GONE)?.execute(params![from, to, name, found.newest])?;
        conn.prepare_cached(sql::LEAVE)?.execute(params![name, found.newest])?;
        found.newest
    };
    let removed = conn.prepare_cached(sql::REMOVE)?.execute(params![
        from,
        to,
        upto,
        limits::ARCHIVE_CHUNK
    ])?;
    let more = removed == limits::ARCHIVE_CHUNK as usize;
    if !more {
        conn.prepare_cached(sql::LEFT)?.execute([&name])?;
        conn.prepare_cached(sql::FORGET)?.execute([limits::ARCHIVE_CHUNK])?;
    }
    Ok(Retired { events: removed as u64, more })
}

/// Why a month cannot go: it is not what was archived.
fn changed(month: Month, archived: Extent, found: Extent) -> Error {
    let count = |extent: Extent| i64::try_from(extent.events).ok();
    Error::Conflict {
        kind: "month of the event log",
        key: month.to_string(),
        expected: count(archived),
        actual: count(found),
    }
}
