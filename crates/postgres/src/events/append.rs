//! Appending to a stream. Without ids of the caller's it is one statement, in which the head's
//! row is locked and moved; with ids the head is locked first, so that what is read after it
//! includes every earlier append.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use mnemon_core::events::{Append, Appended, Known, NewEvent, SYSTEM_STREAM, place};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, EventId, limits};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};
use uuid::Uuid;

use super::copy;
use crate::error::Fault;

/// An append with an id for each event; sent again, it carries the same ones.
pub(crate) struct Prepared {
    append: Append,
    /// Of every event, given or made.
    ids: Vec<Uuid>,
    /// Whether many events may go through COPY, which row-level security does not allow.
    copy: bool,
}

impl Prepared {
    pub(crate) fn of(append: Append) -> Self {
        let ids = append.events.iter().map(|event| id(event.id)).collect();
        Self { append, ids, copy: false }
    }

    /// The same, through COPY where there is enough of it.
    pub(crate) fn by_copy(mut self, allowed: bool) -> Self {
        self.copy = allowed && self.append.events.len() >= limits::EVENT_COPY;
        self
    }

    /// Whether it is one statement that is whole in itself.
    pub(crate) fn is_one_statement(&self) -> bool {
        self.is_new() && !self.copy
    }

    /// The stream.
    pub(crate) fn stream(&self) -> &str {
        &self.append.stream
    }

    /// Where the stream is expected to stand.
    pub(crate) fn expected_version(&self) -> Option<i64> {
        self.append.expected_version
    }

    /// Every event with its id.
    pub(crate) fn events(&self) -> impl Iterator<Item = (&NewEvent, Uuid)> {
        self.append.events.iter().zip(self.ids.iter().copied())
    }

    /// Whether no event can be there already, when this is sent for the first time.
    pub(crate) fn is_new(&self) -> bool {
        self.append.events.iter().all(|event| event.id.is_none())
    }
}

fn id(given: Option<EventId>) -> Uuid {
    given.map_or_else(Uuid::now_v7, |id| id.0)
}

/// Appends inside the caller's transaction.
pub(crate) async fn append(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    prepared: &Prepared,
) -> Result<Appended, Fault> {
    if prepared.is_one_statement() {
        return unseen(conn, scope, prepared).await;
    }
    seen(conn, scope, prepared).await
}

/// Appends events none of which can be there: one statement, whole in itself.
pub(crate) async fn unseen(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    prepared: &Prepared,
) -> Result<Appended, Fault> {
    let append = &prepared.append;
    let new: Vec<(&NewEvent, Uuid)> = prepared.events().collect();
    if let Some(stream_version) =
        insert(conn, scope, &append.stream, append.expected_version, &new).await?
    {
        let first = stream_version - i64::try_from(new.len()).unwrap_or(i64::MAX) + 1;
        return Ok(Appended { versions: (first..=stream_version).collect(), stream_version });
    }
    // The stream stands elsewhere: say where.
    let head = query_scalar!(
        "select version from mnemon.event_streams where tenant = $1 and stream = $2",
        scope.tenant,
        append.stream,
    )
    .fetch_optional(conn)
    .await?
    .unwrap_or(0);
    place(append, head, &[])?;
    // It came there just now.
    let key = append.stream.clone();
    Err(Error::Conflict { kind: "stream", key, expected: None, actual: None }.into())
}

/// Appends what is not there yet, looking under the head's lock for every id.
pub(crate) async fn seen(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    prepared: &Prepared,
) -> Result<Appended, Fault> {
    let append = &prepared.append;
    lock(conn, scope, &append.stream).await?;
    let head = head(conn, scope, &append.stream).await?.map_or(0, |head| head.version);
    let found = known(conn, scope, &prepared.ids).await?;
    let known: Vec<Option<Known>> = prepared.ids.iter().map(|id| found.get(id).cloned()).collect();
    let placed = place(append, head, &known)?;
    let new: Vec<(&NewEvent, Uuid)> = append
        .events
        .iter()
        .zip(prepared.ids.iter().copied())
        .zip(&known)
        .filter_map(|(event, known)| known.is_none().then_some(event))
        .collect();
    if new.is_empty() {
        return Ok(placed);
    }
    if prepared.copy {
        copy::copy(conn, scope, &append.stream, &new).await?;
    } else {
        insert(conn, scope, &append.stream, None, &new).await?;
    }
    Ok(placed)
}

/// A stream's head.
pub(super) struct Head {
    pub(super) version: i64,
    pub(super) recorded_at: DateTime<Utc>,
}

/// Reads a stream's head.
pub(super) async fn head(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    stream: &str,
) -> Result<Option<Head>, Fault> {
    let head = query_as!(
        Head,
        "select version, recorded_at from mnemon.event_streams where tenant = $1 and stream = $2",
        scope.tenant,
        stream,
    )
    .fetch_optional(conn)
    .await?;
    Ok(head)
}

/// Where those of these ids stand that are there: complete only under the lock of every stream
/// that they may be appended to.
pub(super) async fn known(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Known>, Fault> {
    let rows = query!(
        "select id, stream, version from mnemon.events where tenant = $1 and id = any ($2)",
        scope.tenant,
        ids,
    )
    .fetch_all(conn)
    .await?;
    let place = |stream, version| Known { stream, version };
    Ok(rows.into_iter().map(|row| (row.id, place(row.stream, row.version))).collect())
}

/// Locks a stream's head until the transaction ends, making it where there is none.
pub(crate) async fn lock(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    stream: &str,
) -> Result<(), Fault> {
    // A condition that never holds leaves the row as it is, but locked.
    query!(
        r#"
        insert into mnemon.event_streams as h (tenant, stream, version, recorded_at, tx, epoch)
        select $1, $2, 0, mnemon.now(), pg_current_xact_id(), (select epoch from mnemon.meta)
        on conflict (tenant, stream) do update set version = h.version where false
        "#,
        scope.tenant,
        stream,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A note of Mnemon's own, inside the caller's transaction; its version.
pub(crate) async fn note(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: Uuid,
    kind: &str,
    data: Value,
) -> Result<i64, Fault> {
    let event = NewEvent::new(kind, data);
    let version = insert(conn, scope, SYSTEM_STREAM, None, &[(&event, id)]).await?;
    Ok(version.expect("without an expected version it is always written"))
}

/// Events as columns.
#[derive(Default)]
pub(crate) struct Columns {
    pub(crate) ids: Vec<Uuid>,
    pub(crate) kinds: Vec<String>,
    pub(crate) data: Vec<Value>,
    pub(crate) correlations: Vec<Option<String>>,
    pub(crate) occurred: Vec<Option<DateTime<Utc>>>,
}

impl Columns {
    pub(crate) fn of<'a>(events: impl Iterator<Item = (&'a NewEvent, Uuid)>) -> Self {
        let mut columns = Self::default();
        for (event, id) in events {
            columns.ids.push(id);
            columns.kinds.push(event.kind.clone());
            columns.data.push(event.data.clone());
            columns.correlations.push(event.correlation_id.clone());
            columns.occurred.push(event.occurred_at);
        }
        columns
    }
}

/// Moves the head and writes the events behind it; the head's version. Nothing when the stream
/// does not stand where it is expected.
async fn insert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    stream: &str,
    expected: Option<i64>,
    events: &[(&NewEvent, Uuid)],
) -> Result<Option<i64>, Fault> {
    let columns = Columns::of(events.iter().copied());
    let version = query_scalar!(
        r#"
        with head as (
            insert into mnemon.event_streams as h (tenant, stream, version, recorded_at, tx, epoch)
            -- As a table, whose size nobody counts, it would have every append planned anew.
            select $1, $2, $3, mnemon.now(), pg_current_xact_id(), (select epoch from mnemon.meta)
            where $4::int8 is null or $4 = 0
               or exists (select from mnemon.event_streams where tenant = $1 and stream = $2)
            on conflict (tenant, stream) do update
            set version = h.version + $3, recorded_at = greatest(h.recorded_at, mnemon.now()),
                tx = case when h.epoch = excluded.epoch then greatest(h.tx, excluded.tx)
                          else excluded.tx end,
                epoch = excluded.epoch
            where $4::int8 is null or h.version = $4
            returning version, recorded_at, tx, epoch
        ), written as (
            insert into mnemon.events
                (tenant, stream, version, id, kind, correlation_id, agent_id, user_id, session_id,
                 run_id, data, occurred_at, recorded_at, tx, epoch)
            select $1, $2, h.version - $3 + g.n, g.id, g.kind, g.correlation_id, $5, $6, $7, $8,
                   g.data, coalesce(g.occurred_at, h.recorded_at), h.recorded_at, h.tx, h.epoch
            from head h,
                 unnest($9::uuid[], $10::text[], $11::jsonb[], $12::text[], $13::timestamptz[])
                     with ordinality as g (id, kind, data, correlation_id, occurred_at, n)
            order by g.n
        )
        select version from head
        "#,
        scope.tenant,
        stream,
        i64::try_from(events.len()).unwrap_or(i64::MAX),
        expected,
        scope.agent,
        scope.user,
        scope.session,
        scope.run,
        &columns.ids,
        &columns.kinds,
        &columns.data,
        &columns.correlations as &[Option<String>],
        &columns.occurred as &[Option<DateTime<Utc>>],
    )
    .fetch_optional(conn)
    .await?;
    Ok(version)
}
