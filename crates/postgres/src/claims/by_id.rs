//! Claims by their ids, and how each stands.

use chrono::{DateTime, Utc};
use mnemon_core::Error;
use mnemon_core::claims::fold::Recorded;
use mnemon_core::claims::{Claim, ClaimId};
use mnemon_core::scope::Admitted;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as};
use uuid::Uuid;

use super::agent;
use super::rows::{Row, WHAT, claim, column, recorded};
use crate::error::Fault;

/// How a claim stands, without the claim.
pub(super) struct Stands<'a> {
    pub(super) scope: &'a Admitted<'a>,
    pub(super) claim: Uuid,
    pub(super) disposition: String,
    pub(super) bound_at: Option<DateTime<Utc>>,
    pub(super) re_entries: i32,
}

/// The claims that stand so, in the same order; claims never change.
pub(super) async fn standing_so(
    conn: &mut PgConnection,
    all: &[Stands<'_>],
) -> Result<Vec<Recorded>, Fault> {
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let rows = query_as!(
        Row,
        r#"
        select c.id, c.subject, c.predicate, c.value, c.cardinality, c.provenance, c.valid_start,
               c.valid_end, c.valid_time_confidence, c.start_granularity, c.end_granularity,
               c.value_confidence, c.criticality, c.derivation_depth, c.excludes, c.recorded_at,
               k.disposition as "disposition!", k.bound_at as "bound_at?",
               k.re_entries::bigint as "re_entries!"
        from unnest((select $1::text[]), (select $2::text[]), (select $3::uuid[]),
                    (select $4::text[]), (select $5::timestamptz[]), (select $6::integer[]))
            with ordinality
            as k (tenant, agent_id, id, disposition, bound_at, re_entries, place)
        cross join lateral (
            select c.* from mnemon.claims c
            where c.tenant = k.tenant and c.agent_id = k.agent_id and c.id = k.id
            offset 0
        ) c
        order by k.place
        "#,
        &column(all, |one| one.scope.tenant) as &[&str],
        &column(all, |one| one.scope.agent) as &[Option<&str>],
        &column(all, |one| one.claim),
        &column(all, |one| one.disposition.as_str()) as &[&str],
        &column(all, |one| one.bound_at) as &[Option<DateTime<Utc>>],
        &column(all, |one| one.re_entries),
    )
    .fetch_all(conn)
    .await?;
    if rows.len() < all.len() {
        let gone = all.iter().zip(&rows).find(|(one, row)| one.claim != row.id);
        let gone = gone.map_or_else(|| all.last(), |(one, _)| Some(one)).map(|one| one.claim);
        return Err(
            Error::corrupt(WHAT, format!("{} is not there", gone.unwrap_or_default())).into()
        );
    }
    Ok(recorded(rows)?)
}

/// Those of these ids that are there, in no order.
async fn claims(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    ids: &[Uuid],
) -> Result<Vec<Claim>, Fault> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = query_as!(
        Row,
        r#"
        select c.id, c.subject, c.predicate, c.value, c.cardinality, c.provenance, c.valid_start,
               c.valid_end, c.valid_time_confidence, c.start_granularity, c.end_granularity,
               c.value_confidence, c.criticality, c.derivation_depth, c.excludes, c.recorded_at,
               '' as "disposition!", null::timestamptz as "bound_at?", 0::bigint as "re_entries!"
        from mnemon.claims c
        where c.tenant = $1 and c.agent_id = $2 and c.id = any ($3)
        "#,
        scope.tenant,
        agent(scope)?,
        ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(claim).collect::<Result<_, _>>()?)
}

/// All of these ids.
pub(super) async fn named(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    ids: &[ClaimId],
) -> Result<Vec<Claim>, Fault> {
    let plain: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let found = claims(conn, scope, &plain).await?;
    match ids.iter().find(|id| !found.iter().any(|claim| claim.id == **id)) {
        Some(missing) => Err(Error::not_found("claim", missing).into()),
        None => Ok(found),
    }
}

/// A claim as it stands now.
pub(super) async fn standing(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: ClaimId,
) -> Result<Recorded, Fault> {
    let found = standings(conn, scope, &[id.0]).await?.pop();
    found.ok_or_else(|| Error::not_found("claim", id).into())
}

/// Claims as they stand now.
async fn standings(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    ids: &[Uuid],
) -> Result<Vec<Recorded>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select c.id, c.subject, c.predicate, c.value, c.cardinality, c.provenance, c.valid_start,
               c.valid_end, c.valid_time_confidence, c.start_granularity, c.end_granularity,
               c.value_confidence, c.criticality, c.derivation_depth, c.excludes, c.recorded_at,
               s.disposition as "disposition!",
               s.bound_at as "bound_at?", s.re_entries as "re_entries!"
        from mnemon.claims c
        cross join lateral mnemon.claim_standing(c.tenant, c.agent_id, c.id, 'infinity') s
        where c.tenant = $1 and c.agent_id = $2 and c.id = any ($3)
        "#,
        scope.tenant,
        agent(scope)?,
        ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(recorded(rows)?)
}

/// What stands on claims that fall.
pub(super) async fn dependents(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    fallen: &[ClaimId],
) -> Result<Vec<(ClaimId, Recorded)>, Fault> {
    let fallen: Vec<Uuid> = fallen.iter().map(|claim| claim.0).collect();
    let edges = query!(
        "select target_id, claim_id from mnemon.claim_edges
         where tenant = $1 and agent_id = $2 and target_id = any ($3) and kind = 'DependsOn'
         order by target_id, claim_id",
        scope.tenant,
        agent(scope)?,
        &fallen,
    )
    .fetch_all(&mut *conn)
    .await?;
    if edges.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = edges.iter().map(|edge| edge.claim_id).collect();
    let standings = standings(conn, scope, &ids).await?;
    let of = |id: Uuid| standings.iter().find(|recorded| recorded.claim.id.0 == id).cloned();
    Ok(edges
        .into_iter()
        .filter_map(|edge| Some((ClaimId(edge.target_id), of(edge.claim_id)?)))
        .collect())
}
