//! A step that appends events and does nothing else, in one statement that is whole in itself.
//!
//! It writes its receipt last, with the versions that the events got: two sendings of one step at
//! the same time meet in the receipt's key, where the later one fails and writes nothing. Whatever
//! is in the way, the step goes the long way, where the receipt comes first.

use chrono::{DateTime, Utc};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Result};
use sqlx::postgres::PgConnection;
use sqlx::query;

use super::prepare::{Prepared, Ready};
use super::receipts::{Kept, kept_of};
use crate::error::Fault;
use crate::events::append;

/// The key in which two sendings of one step meet.
const KEY: &str = "receipts_pkey";

/// The only write of a step that one statement can do.
pub(super) fn append(prepared: &Prepared) -> Option<&append::Prepared> {
    match prepared.writes.as_slice() {
        [(_, Ready::Events(append))]
            if prepared.memories.is_empty()
                && prepared.step.guards.is_empty()
                && append.is_one_statement() =>
        {
            Some(append)
        }
        _ => None,
    }
}

/// Whether another sending of the same step was faster.
pub(super) fn met<T>(done: &Result<T>) -> bool {
    matches!(done, Err(Error::Conflict { kind: "row", key, .. }) if key == KEY)
}

/// Commits the step, or answers its first receipt; `None` where the stream is not as expected.
pub(super) async fn commit(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    prepared: &Prepared,
    append: &append::Prepared,
) -> Result<Option<Kept>, Fault> {
    let columns = append::Columns::of(append.events());
    let found = query!(
        r#"
        with first as materialized (
            select r.fingerprint, r.outcomes, r.committed_at, r.call_id
            from mnemon.receipts r
            where r.tenant = $1 and r.user_id = $14 and r.agent_id = $15 and r.step_id = $16
        ), head as (
            insert into mnemon.event_streams as h (tenant, stream, version, recorded_at, tx, epoch)
            select $1, $2, $3, mnemon.now(), pg_current_xact_id(), (select epoch from mnemon.meta)
            where not exists (select from first)
              and ($4::int8 is null or $4 = 0
                   or exists (select from mnemon.event_streams where tenant = $1 and stream = $2))
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
        ), kept as (
            insert into mnemon.receipts
                (tenant, user_id, agent_id, step_id, fingerprint, outcomes, committed_at, call_id)
            select $1, $14, $15, $16, $17,
                   jsonb_build_array(jsonb_build_object(
                       'write', 'events', 'stream_version', h.version,
                       'versions', array(select generate_series(h.version - $3 + 1, h.version)))),
                   mnemon.now(), $18
            from head h
            returning fingerprint, outcomes, committed_at, call_id
        )
        select fingerprint as "fingerprint!", outcomes as "outcomes!",
               committed_at as "committed_at!", call_id as "call_id!"
        from first
        union all
        select fingerprint, outcomes, committed_at, call_id from kept
        "#,
        scope.tenant,
        append.stream(),
        i64::try_from(columns.ids.len()).unwrap_or(i64::MAX),
        append.expected_version(),
        scope.agent,
        scope.user,
        scope.session,
        scope.run,
        &columns.ids,
        &columns.kinds,
        &columns.data,
        &columns.correlations as &[Option<String>],
        &columns.occurred as &[Option<DateTime<Utc>>],
        scope.user.unwrap_or_default(),
        scope.agent.unwrap_or_default(),
        prepared.step.id.as_str(),
        prepared.fingerprint.as_slice(),
        prepared.call,
    )
    .fetch_optional(conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let id = &prepared.step.id;
    let kept = kept_of(id, &found.fingerprint, found.outcomes, found.committed_at, found.call_id)?;
    Ok(Some(kept))
}
