//! Searching events by their words, and filling the table that serves it.

use chrono::{DateTime, Utc};
use mnemon_core::events::{Event, EventFilter, Position, Sought, Start, document};
use mnemon_core::scope::Admitted;
use mnemon_core::upkeep::Batch;
use mnemon_core::{Facet, Paged, Scope};
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as};

use super::read::{self, Place, Row};
use crate::error::Fault;
use crate::memories::terms;

/// Events that hold what is sought, the last recorded first.
pub(super) async fn search(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    sought: &Sought,
    filter: &EventFilter,
    after: Option<&Place>,
    limit: u32,
) -> Result<Paged<Event>, Fault> {
    let given = |parts: [Option<&str>; 2]| {
        let parts: Vec<String> = parts.into_iter().flatten().map(str::to_owned).collect();
        (!parts.is_empty()).then_some(parts)
    };
    let users = given([scope.user, filter.user.as_deref()]);
    let agents = given([scope.agent, filter.agent.as_deref()]);
    let kinds = (!filter.kinds.is_empty()).then(|| filter.kinds.clone());
    let rows = query_as!(
        Row,
        r#"
        select id as "id!", stream as "stream!", version as "version!", kind as "kind!",
               data as "data!", correlation_id, user_id, agent_id, occurred_at as "occurred_at!",
               recorded_at as "recorded_at!", epoch as "epoch!", tx::text::int8 as "tx!"
        from mnemon.event_matches($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        order by recorded_at desc, stream collate "C" desc, version desc
        "#,
        scope.tenant,
        terms::all(&sought.required, &sought.excluded),
        users.as_deref(),
        agents.as_deref(),
        filter.stream,
        kinds.as_deref(),
        filter.correlation_id,
        filter.from,
        filter.to,
        after.map(|place| place.recorded_at),
        after.map(|place| place.stream.as_str()),
        after.map(|place| place.version),
        i32::try_from(limit).unwrap_or(i32::MAX).saturating_add(1),
    )
    .fetch_all(conn)
    .await?;
    let events = rows.into_iter().map(|row| row.event(scope.tenant)).collect();
    Ok(read::listed(events, limit))
}

/// Indexes the next readable events of the first tenant that has any. The order of the log is
/// followed below its horizon, so that no late commit is missed.
pub(crate) async fn fill(conn: &mut PgConnection, size: u32) -> Result<Batch, Fault> {
    let Some((tenant, after)) = next(conn).await? else { return Ok(Batch::default()) };
    let scope = Scope::tenant(tenant.as_str());
    let scope = scope.admit(Facet::Events)?;
    let start = Start { after, kept: true };
    let slice = read::log(conn, &scope, &EventFilter::default(), &start, size).await?;
    insert(conn, &tenant, &slice.events).await?;
    let end = Position::after(&tenant, Some(&slice.next))?;
    query!(
        r#"
        insert into mnemon.event_search_places as p (tenant, epoch, tx, stream, version)
        values ($1, $2, $3::text::xid8, $4, $5)
        on conflict (tenant) do update
        set epoch = excluded.epoch, tx = excluded.tx, stream = excluded.stream,
            version = excluded.version
        "#,
        tenant,
        end.epoch,
        end.tx.to_string(),
        end.stream,
        end.version,
    )
    .execute(conn)
    .await?;
    // There may be other tenants, too: the next batch looks.
    Ok(Batch { rows: slice.events.len() as u64, more: !slice.events.is_empty() })
}

/// The first tenant with readable events behind its place, and that place. Tenants are found one
/// by one in the heads' key, not by reading all heads.
async fn next(conn: &mut PgConnection) -> Result<Option<(String, Position)>, Fault> {
    let found = query!(
        r#"
        with recursive h as materialized (
            select m.epoch, pg_snapshot_xmin(pg_current_snapshot()) as xmin from mnemon.meta m
        ), t (tenant) as (
            (select s.tenant from mnemon.event_streams s order by s.tenant limit 1)
            union all
            select (select s.tenant from mnemon.event_streams s where s.tenant > t.tenant
                    order by s.tenant limit 1)
            from t where t.tenant is not null
        )
        select t.tenant as "tenant!", coalesce(p.epoch, 0) as "epoch!",
               coalesce(p.tx::text::int8, 0) as "tx!", coalesce(p.stream, '') as "stream!",
               coalesce(p.version, 0) as "version!"
        from t cross join h
        left join mnemon.event_search_places p on p.tenant = t.tenant
        where t.tenant is not null
          and exists (
              select from mnemon.events e
              where e.tenant = t.tenant
                and (e.epoch, e.tx, e.stream collate "C", e.version)
                    > (coalesce(p.epoch, 0), coalesce(p.tx, '0'::xid8), coalesce(p.stream, ''),
                       coalesce(p.version, 0))
                and (e.epoch, e.tx) < (h.epoch, h.xmin))
        limit 1
        "#
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|row| {
        let place = Position::of(&row.tenant, row.epoch, row.tx, row.stream, row.version);
        (row.tenant, place)
    }))
}

async fn insert(conn: &mut PgConnection, tenant: &str, events: &[Event]) -> Result<(), Fault> {
    let streams: Vec<String> = events.iter().map(|event| event.stream.clone()).collect();
    let versions: Vec<i64> = events.iter().map(|event| event.version).collect();
    let times: Vec<DateTime<Utc>> = events.iter().map(|event| event.recorded_at).collect();
    let users: Vec<Option<String>> = events.iter().map(|event| event.user.clone()).collect();
    let words = |event: &Event| terms::vector(&document(&event.kind, &event.data), tenant);
    let vectors: Vec<String> = events.iter().map(words).collect();
    query!(
        r#"
        insert into mnemon.event_words (tenant, stream, version, recorded_at, user_id, terms)
        select $1, g.stream, g.version, g.recorded_at, g.user_id, g.terms::tsvector
        from unnest($2::text[], $3::int8[], $4::timestamptz[], $5::text[], $6::text[])
                 with ordinality as g (stream, version, recorded_at, user_id, terms, n)
        order by g.n
        on conflict (tenant, stream, version) do nothing
        "#,
        tenant,
        &streams,
        &versions,
        &times,
        &users as &[Option<String>],
        &vectors,
    )
    .execute(conn)
    .await?;
    Ok(())
}
