//! Appending to a stream. Without ids of the caller's it is one statement, in which the head's
//! row is locked and moved; with ids the head is locked first, so that what is read after it
//! includes every earlier append.

use chrono::{DateTime, Utc};
use mnemon_core::events::{Append, Appended, Known, NewEvent, SYSTEM_STREAM, place};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, EventId};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};
use uuid::Uuid;

use crate::error::Fault;

/// An append with an id for each event; sent again, it carries the same ones.
pub(crate) struct Prepared {
    append: Append,
    /// Of every event, given or made.
    ids: Vec<Uuid>,
}

impl Prepared {
    pub(crate) fn of(append: Append) -> Self {
        let ids = append.events.iter().map(|event| id(event.id)).collect();
        Self { append, ids }
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
    if prepared.is_new() {
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
    let new: Vec<(&NewEvent, Uuid)> =
        append.events.iter().zip(prepared.ids.iter().copied()).collect();
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
    let rows = query!(
        r#"
        select h.version as "head!", e.id as "id?", e.stream as "stream?", e.version as "version?"
        from mnemon.event_streams h
        left join mnemon.events e on e.tenant = h.tenant and e.id = any ($3)
        where h.tenant = $1 and h.stream = $2
        "#,
        scope.tenant,
        append.stream,
        &prepared.ids,
    )
    .fetch_all(&mut *conn)
    .await?;
    let head = rows.first().map_or(0, |row| row.head);
    let known: Vec<Option<Known>> = prepared
        .ids
        .iter()
        .map(|id| {
            let row = rows.iter().find(|row| row.id == Some(*id))?;
            Some(Known { stream: row.stream.clone()?, version: row.version? })
        })
        .collect();
    let placed = place(append, head, &known)?;
    let new: Vec<(&NewEvent, Uuid)> = append
        .events
        .iter()
        .zip(prepared.ids.iter().copied())
        .zip(&known)
        .filter_map(|(event, known)| known.is_none().then_some(event))
        .collect();
    if !new.is_empty() {
        insert(conn, scope, &append.stream, None, &new).await?;
    }
    Ok(placed)
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
        insert into mnemon.event_streams as h (tenant, stream, version, recorded_at, tx)
        values ($1, $2, 0, mnemon.now(), pg_current_xact_id())
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

/// Moves the head and writes the events behind it; the head's version. Nothing when the stream
/// does not stand where it is expected.
async fn insert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    stream: &str,
    expected: Option<i64>,
    events: &[(&NewEvent, Uuid)],
) -> Result<Option<i64>, Fault> {
    let ids: Vec<Uuid> = events.iter().map(|(_, id)| *id).collect();
    let kinds: Vec<String> = events.iter().map(|(event, _)| event.kind.clone()).collect();
    let data: Vec<Value> = events.iter().map(|(event, _)| event.data.clone()).collect();
    let correlations: Vec<Option<String>> =
        events.iter().map(|(event, _)| event.correlation_id.clone()).collect();
    let occurred: Vec<Option<DateTime<Utc>>> =
        events.iter().map(|(event, _)| event.occurred_at).collect();
    let version = query_scalar!(
        r#"
        with head as (
            insert into mnemon.event_streams as h (tenant, stream, version, recorded_at, tx)
            select $1, $2, $3, mnemon.now(), pg_current_xact_id()
            where $4::int8 is null or $4 = 0
               or exists (select from mnemon.event_streams where tenant = $1 and stream = $2)
            on conflict (tenant, stream) do update
            set version = h.version + $3, recorded_at = greatest(h.recorded_at, mnemon.now()),
                tx = greatest(h.tx, pg_current_xact_id())
            where $4::int8 is null or h.version = $4
            returning version, recorded_at, tx
        ), written as (
            insert into mnemon.events
                (tenant, stream, version, id, kind, correlation_id, agent_id, user_id, session_id,
                 run_id, data, occurred_at, recorded_at, tx, epoch)
            select $1, $2, h.version - $3 + g.n, g.id, g.kind, g.correlation_id, $5, $6, $7, $8,
                   g.data, coalesce(g.occurred_at, h.recorded_at), h.recorded_at, h.tx,
                   (select epoch from mnemon.meta)
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
        &ids,
        &kinds,
        &data,
        &correlations as &[Option<String>],
        &occurred as &[Option<DateTime<Utc>>],
    )
    .fetch_optional(conn)
    .await?;
    Ok(version)
}
