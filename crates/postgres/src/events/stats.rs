//! A stream in figures, and how far the log can be read.

use std::time::Duration;

use mnemon_core::events::{Horizon, KindStats, StreamStats};
use mnemon_core::scope::Admitted;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as};

use crate::error::Fault;

struct Row {
    kind: String,
    events: i64,
    succeeded: i64,
    failed: i64,
    first_at: Option<chrono::DateTime<chrono::Utc>>,
    last_at: Option<chrono::DateTime<chrono::Utc>>,
    timed: i64,
    total_ms: f64,
}

/// A stream in figures.
pub(super) async fn stream(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    stream: &str,
) -> Result<StreamStats, Fault> {
    let head = query!(
        "select version, first_kept from mnemon.event_streams where tenant = $1 and stream = $2",
        scope.tenant,
        stream,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let rows = query_as!(
        Row,
        r#"
        select t.kind, count(*) as "events!",
               count(*) filter (where t.data -> 'success' = 'true'::jsonb) as "succeeded!",
               count(*) filter (where t.data -> 'success' = 'false'::jsonb) as "failed!",
               min(t.occurred_at) as first_at, max(t.occurred_at) as last_at,
               count(t.ms) as "timed!", coalesce(sum(t.ms), 0)::float8 as "total_ms!"
        from (
            select e.kind, e.data, e.occurred_at,
                   case
                       when jsonb_typeof(e.data -> 'duration_ms') = 'number'
                           then (e.data ->> 'duration_ms')::float8
                       when jsonb_typeof(e.data #> '{duration,0}') = 'number'
                            and jsonb_typeof(e.data #> '{duration,1}') = 'number'
                           then (e.data #>> '{duration,0}')::float8 * 1e3
                                + (e.data #>> '{duration,1}')::float8 / 1e6
                       when jsonb_typeof(e.data #> '{duration,secs}') = 'number'
                            and jsonb_typeof(e.data #> '{duration,nanos}') = 'number'
                           then (e.data #>> '{duration,secs}')::float8 * 1e3
                                + (e.data #>> '{duration,nanos}')::float8 / 1e6
                   end as ms
            from mnemon.events e
            where e.tenant = $1 and e.stream = $2
              and ($3::text is null or e.user_id = $3)
              and ($4::text is null or e.agent_id = $4)
        ) t
        group by t.kind
        order by t.kind collate "C"
        "#,
        scope.tenant,
        stream,
        scope.user,
        scope.agent,
    )
    .fetch_all(conn)
    .await?;
    let kinds = rows
        .into_iter()
        .map(|row| KindStats {
            kind: row.kind,
            events: row.events.unsigned_abs(),
            succeeded: row.succeeded.unsigned_abs(),
            failed: row.failed.unsigned_abs(),
            first_at: row.first_at,
            last_at: row.last_at,
            timed: row.timed.unsigned_abs(),
            total_ms: row.total_ms,
        })
        .collect();
    let (version, first_kept) = head.map_or((0, 1), |head| (head.version, head.first_kept));
    Ok(StreamStats::of(stream, version, first_kept, kinds))
}

/// How far the log can be read, and since when an open transaction of anybody in the cluster holds
/// that back. A role without `pg_read_all_stats` sees its own sessions only.
pub(crate) async fn horizon(conn: &mut PgConnection) -> Result<Horizon, Fault> {
    let row = query!(
        r#"
        select m.epoch, pg_snapshot_xmin(pg_current_snapshot())::text::int8 as "tx!",
               greatest(
                   (select extract(epoch from max(mnemon.now() - a.xact_start))
                    from pg_stat_activity a where a.backend_xid is not null),
                   (select extract(epoch from max(mnemon.now() - p.prepared))
                    from pg_prepared_xacts p)
               )::float8 as "age?"
        from mnemon.meta m
        "#
    )
    .fetch_one(conn)
    .await?;
    let age = Duration::try_from_secs_f64(row.age.unwrap_or(0.0).max(0.0)).unwrap_or_default();
    Ok(Horizon { epoch: row.epoch, tx: row.tx, age })
}
