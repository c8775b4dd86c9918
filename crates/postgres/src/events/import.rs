//! Events recorded elsewhere, with the times they had; the months they need are made first.

use chrono::{DateTime, Utc};
use mnemon_core::events::{Append, Appended, Import, Known, NewEvent, place};
use mnemon_core::scope::Admitted;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};
use uuid::Uuid;

use super::append::{head, known, lock};
use crate::error::Fault;

/// An import with an id for each event; sent again, it carries the same ones.
pub(crate) struct Prepared {
    import: Import,
    append: Append,
    ids: Vec<Uuid>,
}

impl Prepared {
    pub(crate) fn of(import: Import) -> Self {
        let (append, _) = import.clone().into_append();
        let made = |event: &NewEvent| event.id.map_or_else(Uuid::now_v7, |id| id.0);
        let ids = append.events.iter().map(made).collect();
        Self { import, append, ids }
    }
}

/// Writes what is not there yet, inside the caller's transaction.
pub(crate) async fn import(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    prepared: &Prepared,
) -> Result<Appended, Fault> {
    let append = &prepared.append;
    lock(conn, scope, &append.stream).await?;
    let found = head(conn, scope, &append.stream).await?.filter(|head| head.version > 0);
    let now = query_scalar!(r#"select mnemon.now() as "now!""#).fetch_one(&mut *conn).await?;
    let there = known(conn, scope, &prepared.ids).await?;
    let known: Vec<Option<Known>> = prepared.ids.iter().map(|id| there.get(id).cloned()).collect();
    let placed = place(append, found.as_ref().map_or(0, |head| head.version), &known)?;
    let new: Vec<usize> = (0..known.len()).filter(|at| known[*at].is_none()).collect();
    if new.is_empty() {
        return Ok(placed);
    }
    let fresh = Import {
        stream: append.stream.clone(),
        events: new.iter().map(|at| prepared.import.events[*at].clone()).collect(),
    };
    fresh.check_times(found.map(|head| head.recorded_at), now)?;
    let ids: Vec<Uuid> = new.iter().map(|at| prepared.ids[*at]).collect();
    insert(conn, scope, &fresh, &ids).await?;
    Ok(placed)
}

async fn insert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    import: &Import,
    ids: &[Uuid],
) -> Result<(), Fault> {
    let events = || import.events.iter().map(|imported| &imported.event);
    let kinds: Vec<String> = events().map(|event| event.kind.clone()).collect();
    let data: Vec<Value> = events().map(|event| event.data.clone()).collect();
    let correlations: Vec<Option<String>> =
        events().map(|event| event.correlation_id.clone()).collect();
    let occurred: Vec<Option<DateTime<Utc>>> = events().map(|event| event.occurred_at).collect();
    let recorded: Vec<DateTime<Utc>> =
        import.events.iter().map(|imported| imported.recorded_at).collect();
    query!(
        r#"
        with head as (
            update mnemon.event_streams h
            set version = h.version + $3, recorded_at = $4,
                tx = case when h.epoch = m.epoch then greatest(h.tx, pg_current_xact_id())
                          else pg_current_xact_id() end,
                epoch = m.epoch
            from mnemon.meta m
            where h.tenant = $1 and h.stream = $2
            returning h.version, h.tx, h.epoch
        )
        insert into mnemon.events
            (tenant, stream, version, id, kind, correlation_id, agent_id, user_id, session_id,
             run_id, data, occurred_at, recorded_at, tx, epoch)
        select $1, $2, h.version - $3 + g.n, g.id, g.kind, g.correlation_id, $5, $6, $7, $8,
               g.data, coalesce(g.occurred_at, g.recorded_at), g.recorded_at, h.tx, h.epoch
        from head h,
             unnest($9::uuid[], $10::text[], $11::jsonb[], $12::text[], $13::timestamptz[],
                    $14::timestamptz[])
                 with ordinality as g (id, kind, data, correlation_id, occurred_at, recorded_at, n)
        order by g.n
        "#,
        scope.tenant,
        import.stream,
        i64::try_from(ids.len()).unwrap_or(i64::MAX),
        recorded.last().copied(),
        scope.agent,
        scope.user,
        scope.session,
        scope.run,
        ids,
        &kinds,
        &data,
        &correlations as &[Option<String>],
        &occurred as &[Option<DateTime<Utc>>],
        &recorded,
    )
    .execute(conn)
    .await?;
    Ok(())
}
