//! Reading events: a stream by its versions, the log by its positions, and lists by time.
//!
//! The log is read below the snapshot's horizon: a row whose transaction is smaller was written by
//! one that has ended, so nothing can come to stand before it any more.

use chrono::{DateTime, Utc};
use mnemon_core::events::{Event, EventFilter, Position, Slice, Start, ahead, version_gone};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, EventId, Paged, Result};
use serde_json::Value;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Postgres, QueryBuilder, Row as _, query_as, query_scalar};
use uuid::Uuid;

use crate::error::Fault;

/// The list that cursors of a stream belong to.
const STREAM: &str = "events";
/// The list that cursors of [`list`] belong to.
const LIST: &str = "event_list";

/// What every reader needs of an event, in SQL.
const COLUMNS: &str = "e.id, e.stream, e.version, e.kind, e.data, e.correlation_id, e.user_id, \
    e.agent_id, e.occurred_at, e.recorded_at, e.epoch, e.tx::text::int8 as tx";

pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) stream: String,
    pub(super) version: i64,
    pub(super) kind: String,
    pub(super) data: Value,
    pub(super) correlation_id: Option<String>,
    pub(super) user_id: Option<String>,
    pub(super) agent_id: Option<String>,
    pub(super) occurred_at: DateTime<Utc>,
    pub(super) recorded_at: DateTime<Utc>,
    pub(super) epoch: i64,
    pub(super) tx: i64,
}

impl Row {
    /// Reads [`COLUMNS`].
    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            stream: row.try_get("stream")?,
            version: row.try_get("version")?,
            kind: row.try_get("kind")?,
            data: row.try_get("data")?,
            correlation_id: row.try_get("correlation_id")?,
            user_id: row.try_get("user_id")?,
            agent_id: row.try_get("agent_id")?,
            occurred_at: row.try_get("occurred_at")?,
            recorded_at: row.try_get("recorded_at")?,
            epoch: row.try_get("epoch")?,
            tx: row.try_get("tx")?,
        })
    }

    pub(super) fn event(self, tenant: &str) -> Event {
        let position =
            Position::of(tenant, self.epoch, self.tx, self.stream.as_str(), self.version);
        Event {
            id: EventId(self.id),
            stream: self.stream,
            version: self.version,
            position,
            kind: self.kind,
            data: self.data,
            correlation_id: self.correlation_id,
            user: self.user_id,
            agent: self.agent_id,
            occurred_at: self.occurred_at,
            recorded_at: self.recorded_at,
        }
    }
}

/// The version behind which a page of a stream begins.
pub(super) fn version(cursor: &Cursor) -> Result<i64> {
    let [version] = cursor.parts::<1>(STREAM)?;
    version
        .parse()
        .map_err(|_| Error::invalid("page.cursor", format!("is not a cursor of {STREAM}")))
}

/// A page of a stream, of one event more than asked.
pub(super) fn page(events: Vec<Event>, limit: u32) -> Paged<Event> {
    Paged::cut(events, limit, |event| Cursor::of(STREAM, &[&event.version.to_string()]))
}

/// Refuses a place in a stream behind which something is gone. Asked after reading: whatever was
/// missing then was told before it went.
pub(super) async fn check_kept(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    stream: &str,
    after: i64,
) -> Result<(), Fault> {
    let first = query_scalar!(
        "select first_kept from mnemon.event_streams where tenant = $1 and stream = $2",
        scope.tenant,
        stream,
    )
    .fetch_optional(conn)
    .await?
    .unwrap_or(1);
    if after < first - 1 {
        let next = Cursor::of(STREAM, &[&(first - 1).to_string()]);
        return Err(version_gone(stream, first, next).into());
    }
    Ok(())
}

/// The events of a stream after a version, one more than asked. A user and an agent in the scope
/// filter.
pub(super) async fn stream(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    stream: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<Event>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select id, stream, version, kind, data, correlation_id, user_id, agent_id, occurred_at,
               recorded_at, epoch, tx::text::int8 as "tx!"
        from mnemon.events
        where tenant = $1 and stream = $2 and version > $3
          and ($4::text is null or user_id = $4)
          and ($5::text is null or agent_id = $5)
        order by version
        limit $6
        "#,
        scope.tenant,
        stream,
        after,
        scope.user,
        scope.agent,
        i64::from(limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.event(scope.tenant)).collect())
}

/// The log after a place, as far as it can be read now. One statement, so that rows and horizon
/// are of one snapshot.
pub(super) async fn log(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    filter: &EventFilter,
    start: &Start,
    limit: u32,
) -> Result<Slice, Fault> {
    let after = &start.after;
    let mut sql = QueryBuilder::<Postgres>::new(
        "with h as materialized (
             select m.epoch, pg_snapshot_xmin(s.now) as xmin, pg_snapshot_xmax(s.now) as xmax
             from mnemon.meta m, (select pg_current_snapshot() as now) s
         ), p as materialized (
             select exists (select from mnemon.events p
                            where p.epoch = h.epoch and p.tx >= h.xmin and p.tenant = ",
    );
    sql.push_bind(scope.tenant);
    sql.push(
        ") as pending from h
         ), g as materialized (
             select o.epoch as g_epoch, o.tx::text::int8 as g_tx, o.stream as g_stream,
                    o.version as g_version
             from mnemon.event_gone o where o.tenant = ",
    );
    sql.push_bind(scope.tenant);
    sql.push(
        " order by o.epoch desc, o.tx desc, o.stream collate \"C\" desc, o.version desc limit 1
         )
         select h.epoch as h_epoch, h.xmin::text::int8 as h_xmin, h.xmax::text::int8 as h_xmax,
                p.pending, g.*, e.*
         from h cross join p left join g on true left join lateral (select ",
    )
    .push(COLUMNS);
    if filter.stream.is_none() && filter.correlation_id.is_none() {
        in_order(&mut sql, scope, filter, after, limit);
    } else {
        few(&mut sql, scope, filter, after, limit);
    }
    sql.push(") e on true");
    let rows = sql.build().fetch_all(conn).await?;
    let first = rows.first().ok_or_else(|| Error::corrupt("meta", "has no row"))?;
    let (epoch, horizon): (i64, i64) = (first.try_get("h_epoch")?, first.try_get("h_xmin")?);
    if after.is_ahead(epoch, first.try_get("h_xmax")?) {
        return Err(ahead().into());
    }
    let gone = gone(first, scope.tenant)?;
    start.check(gone.as_ref())?;
    let pending = first.try_get("pending")?;
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        // Without an event there is one row, of the horizon alone.
        if row.try_get::<Option<Uuid>, _>("id")?.is_some() {
            events.push(Row::of(row)?.event(scope.tenant));
        }
    }
    events.sort_by(|a, b| a.position.cmp(&b.position));
    let caught_up = events.len() < limit as usize;
    let last = events.last().map_or(after, |event| &event.position);
    let end = Position::of(scope.tenant, epoch, horizon, "", 0);
    let next = if caught_up && end > *last { end } else { last.clone() };
    Ok(Slice { events, next: start.then(next, gone.as_ref()), caught_up, pending })
}

/// What can be most of the log: by the index of places, whatever the planner thinks.
fn in_order(
    sql: &mut QueryBuilder<Postgres>,
    scope: &Admitted<'_>,
    filter: &EventFilter,
    after: &Position,
    limit: u32,
) {
    let given = |parts: [Option<&str>; 2]| {
        let parts: Vec<String> = parts.into_iter().flatten().map(str::to_owned).collect();
        (!parts.is_empty()).then_some(parts)
    };
    let kinds = (!filter.kinds.is_empty()).then(|| filter.kinds.clone());
    sql.push(" from mnemon.event_page(").push_bind(scope.tenant).push(", ");
    sql.push_bind(after.epoch).push(", ").push_bind(after.tx.to_string()).push("::text::xid8, ");
    sql.push_bind(after.stream.as_str()).push(", ").push_bind(after.version);
    sql.push(", h.epoch, h.xmin, ");
    sql.push_bind(given([scope.user, filter.user.as_deref()])).push(", ");
    sql.push_bind(given([scope.agent, filter.agent.as_deref()])).push(", ");
    sql.push_bind(kinds).push(", ").push_bind(filter.from).push(", ").push_bind(filter.to);
    sql.push(", ").push_bind(i32::try_from(limit).unwrap_or(i32::MAX)).push(") e");
}

/// What a stream or a correlation narrows down: by whatever index fits it.
fn few(
    sql: &mut QueryBuilder<Postgres>,
    scope: &Admitted<'_>,
    filter: &EventFilter,
    after: &Position,
    limit: u32,
) {
    sql.push(" from mnemon.events e where e.tenant = ").push_bind(scope.tenant);
    sql.push(" and (e.epoch, e.tx, e.stream collate \"C\", e.version) > (")
        .push_bind(after.epoch)
        .push(", ")
        .push_bind(after.tx.to_string())
        .push("::text::xid8, ")
        .push_bind(after.stream.as_str())
        .push(", ")
        .push_bind(after.version)
        .push(") and (e.epoch, e.tx) < (h.epoch, h.xmin)");
    narrow(sql, scope, filter);
    sql.push(" order by e.epoch, e.tx, e.stream collate \"C\", e.version limit ")
        .push_bind(i64::from(limit));
}

/// The greatest place of anything that retention took from the tenant.
fn gone(row: &PgRow, tenant: &str) -> Result<Option<Position>, sqlx::Error> {
    let Some(epoch) = row.try_get::<Option<i64>, _>("g_epoch")? else { return Ok(None) };
    let stream: String = row.try_get("g_stream")?;
    let (tx, version) = (row.try_get("g_tx")?, row.try_get("g_version")?);
    Ok(Some(Position::of(tenant, epoch, tx, stream, version)))
}

/// What the scope and the filter ask for.
fn narrow(sql: &mut QueryBuilder<Postgres>, scope: &Admitted<'_>, filter: &EventFilter) {
    fn equal(sql: &mut QueryBuilder<Postgres>, column: &str, value: Option<&str>) {
        if let Some(value) = value {
            // A column's name of this file, and a bound value.
            sql.push(" and e.").push(column).push(" = ").push_bind(value.to_owned());
        }
    }
    equal(sql, "user_id", scope.user);
    equal(sql, "agent_id", scope.agent);
    equal(sql, "user_id", filter.user.as_deref());
    equal(sql, "agent_id", filter.agent.as_deref());
    equal(sql, "stream", filter.stream.as_deref());
    equal(sql, "correlation_id", filter.correlation_id.as_deref());
    match filter.kinds.as_slice() {
        [] => {}
        [kind] => equal(sql, "kind", Some(kind)),
        kinds => {
            sql.push(" and e.kind = any (").push_bind(kinds.to_vec()).push(")");
        }
    }
    if let Some(from) = filter.from {
        sql.push(" and e.recorded_at >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        sql.push(" and e.recorded_at < ").push_bind(to);
    }
}

/// Where a list's page begins: time, stream, version.
pub(super) struct Place {
    pub(super) recorded_at: DateTime<Utc>,
    pub(super) stream: String,
    pub(super) version: i64,
}

pub(super) fn place(cursor: Option<&Cursor>) -> Result<Option<Place>> {
    let Some(cursor) = cursor else { return Ok(None) };
    let foreign = || Error::invalid("page.cursor", format!("is not a cursor of {LIST}"));
    let [micros, version, stream] = cursor.parts::<3>(LIST).map_err(|_| foreign())?;
    let whole = || {
        Some(Place {
            recorded_at: DateTime::from_timestamp_micros(micros.parse().ok()?)?,
            version: version.parse().ok()?,
            stream: stream.to_owned(),
        })
    };
    whole().filter(|place| !place.stream.contains('\0')).map(Some).ok_or_else(foreign)
}

/// Events, the last recorded first.
pub(super) async fn list(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    filter: &EventFilter,
    after: Option<&Place>,
    limit: u32,
) -> Result<Paged<Event>, Fault> {
    let mut sql = QueryBuilder::<Postgres>::new("select ");
    sql.push(COLUMNS).push(" from mnemon.events e where e.tenant = ").push_bind(scope.tenant);
    narrow(&mut sql, scope, filter);
    if let (Some(place), Some(_)) = (after, &filter.stream) {
        sql.push(" and e.version < ").push_bind(place.version);
    }
    if let Some(place) = after {
        sql.push(" and (e.recorded_at, e.stream collate \"C\", e.version) < (")
            .push_bind(place.recorded_at)
            .push(", ")
            .push_bind(place.stream.as_str())
            .push(", ")
            .push_bind(place.version)
            .push(")");
    }
    // Within a stream times never go back: its key serves the order.
    let order = if filter.stream.is_some() {
        " order by e.version desc limit "
    } else {
        " order by e.recorded_at desc, e.stream collate \"C\" desc, e.version desc limit "
    };
    sql.push(order).push_bind(i64::from(limit) + 1);
    let rows = sql.build().fetch_all(conn).await?;
    let events = rows
        .iter()
        .map(|row| Ok(Row::of(row)?.event(scope.tenant)))
        .collect::<Result<Vec<Event>, sqlx::Error>>()?;
    Ok(listed(events, limit))
}

/// A page of a list, of one event more than asked.
pub(super) fn listed(events: Vec<Event>, limit: u32) -> Paged<Event> {
    Paged::cut(events, limit, |event| {
        let micros = event.recorded_at.timestamp_micros().to_string();
        Cursor::of(LIST, &[&micros, &event.version.to_string(), &event.stream])
    })
}

/// How many events there are.
pub(super) async fn count(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    filter: &EventFilter,
) -> Result<u64, Fault> {
    let mut sql =
        QueryBuilder::<Postgres>::new("select count(*) from mnemon.events e where e.tenant = ");
    sql.push_bind(scope.tenant);
    narrow(&mut sql, scope, filter);
    let count: i64 = sql.build_query_scalar().fetch_one(conn).await?;
    Ok(count.unsigned_abs())
}
