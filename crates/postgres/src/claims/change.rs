//! Writing a decision: every row of a change, behind the agent's head, and where each claim stands.

use chrono::{DateTime, Utc};
use mnemon_core::Error;
use mnemon_core::claims::Claim;
use mnemon_core::claims::change::Change;
use mnemon_core::claims::fold::Recorded;
use mnemon_core::scope::Admitted;
use sqlx::postgres::PgConnection;
use sqlx::query;
use uuid::Uuid;

use super::rows::{WHAT, word_of};
use super::{Head, agent, ledger, questions};
use crate::error::Fault;

/// Writes a change; the agent's head moves behind it.
pub(super) async fn apply(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    head: &mut Option<Head>,
    change: &Change,
) -> Result<(), Fault> {
    if let Some(claim) = &change.claim {
        insert(conn, scope, claim).await?;
    }
    if !change.edges.is_empty() {
        edges(conn, scope, change).await?;
    }
    if !change.bounds.is_empty() {
        bounds(conn, scope, change).await?;
    }
    for recorded in &change.standing {
        place(conn, scope, recorded).await?;
    }
    for question in &change.questions {
        questions::insert(conn, scope, question, change.at).await?;
    }
    for closed in &change.closed {
        questions::close(conn, scope, closed, change.at).await?;
    }
    for entry in &change.entries {
        ledger::append(conn, scope, head, change.at, entry).await?;
    }
    Ok(())
}

async fn edges(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    change: &Change,
) -> Result<(), Fault> {
    let from: Vec<Uuid> = change.edges.iter().map(|edge| edge.from.0).collect();
    let kinds: Vec<String> = change.edges.iter().map(|e| e.kind.as_str().to_owned()).collect();
    let to: Vec<Uuid> = change.edges.iter().map(|edge| edge.to.0).collect();
    query!(
        r#"
        insert into mnemon.claim_edges
            (tenant, agent_id, claim_id, kind, target_id, user_id, recorded_at)
        select $1, $2, g.claim_id, g.kind, g.target_id, $6, $7
        from unnest($3::uuid[], $4::text[], $5::uuid[]) as g (claim_id, kind, target_id)
        on conflict do nothing
        "#,
        scope.tenant,
        agent(scope)?,
        &from,
        &kinds,
        &to,
        scope.user,
        change.at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn bounds(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    change: &Change,
) -> Result<(), Fault> {
    let targets: Vec<Uuid> = change.bounds.iter().map(|bound| bound.target_claim.0).collect();
    let kinds: Vec<String> = change.bounds.iter().map(|b| b.kind.as_str().to_owned()).collect();
    let ends: Vec<Option<DateTime<Utc>>> =
        change.bounds.iter().map(|bound| bound.kind.bound_at()).collect();
    query!(
        r#"
        insert into mnemon.claim_bounds
            (tenant, agent_id, claim_id, recorded_at, kind, bound_at, user_id)
        select $1, $2, g.claim_id, $6, g.kind, g.bound_at, $7
        from unnest($3::uuid[], $4::text[], $5::timestamptz[]) as g (claim_id, kind, bound_at)
        "#,
        scope.tenant,
        agent(scope)?,
        &targets,
        &kinds,
        &ends as &[Option<DateTime<Utc>>],
        change.at,
        scope.user,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes where a claim stands among the current ones, or that it no longer does.
pub(super) async fn place(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    recorded: &Recorded,
) -> Result<(), Fault> {
    if !recorded.may_count() {
        return displace(conn, scope, recorded).await;
    }
    let (claim, window) = (&recorded.claim, recorded.window());
    query!(
        r#"
        insert into mnemon.claim_current
            (tenant, agent_id, subject, predicate, claim_id, disposition, valid_time_confidence,
             starts_at, ends_at, bound_at, re_entries, user_id)
        values ($1, $2, $3, $4, $5, $6, $7, coalesce($8, '-infinity'::timestamptz),
                coalesce($9, 'infinity'::timestamptz), $10, $11, $12)
        on conflict (tenant, agent_id, subject, predicate, claim_id) do update
        set disposition = excluded.disposition, ends_at = excluded.ends_at,
            bound_at = excluded.bound_at, re_entries = excluded.re_entries
        "#,
        scope.tenant,
        agent(scope)?,
        claim.line.subject,
        claim.line.predicate,
        claim.id.0,
        recorded.disposition.as_str(),
        claim.valid_time.valid_time_confidence,
        window.start,
        // Without a start it is about any time.
        window.end.filter(|_| window.start.is_some()),
        recorded.bound,
        i32::try_from(recorded.re_entries).unwrap_or(i32::MAX),
        scope.user,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a claim from among the current ones.
pub(super) async fn displace(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    recorded: &Recorded,
) -> Result<(), Fault> {
    let claim = &recorded.claim;
    query!(
        "delete from mnemon.claim_current where tenant = $1 and agent_id = $2
           and subject = $3 and predicate = $4 and claim_id = $5",
        scope.tenant,
        agent(scope)?,
        claim.line.subject,
        claim.line.predicate,
        claim.id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert(conn: &mut PgConnection, scope: &Admitted<'_>, claim: &Claim) -> Result<(), Fault> {
    let window = &claim.valid_time;
    let depth = i32::try_from(claim.derivation_depth)
        .map_err(|_| Error::corrupt(WHAT, "it is derived more deeply than can be counted"))?;
    let excludes: Vec<Uuid> = claim.excludes.iter().map(|claim| claim.0).collect();
    query!(
        r#"
        insert into mnemon.claims
            (tenant, agent_id, id, subject, predicate, value, cardinality, provenance,
             valid_start, valid_end, valid_time_confidence, start_granularity,
             end_granularity, value_confidence, criticality, derivation_depth, excludes, user_id,
             session_id, run_id, recorded_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                $18, $19, $20, $21)
        "#,
        scope.tenant,
        agent(scope)?,
        claim.id.0,
        claim.line.subject,
        claim.line.predicate,
        claim.value,
        claim.cardinality.as_str(),
        claim.provenance.as_str(),
        window.start,
        window.end,
        window.valid_time_confidence,
        word_of(window.start_granularity),
        word_of(window.end_granularity),
        claim.value_confidence,
        claim.criticality.as_str(),
        depth,
        &excludes,
        scope.user,
        scope.session,
        scope.run,
        claim.recorded_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}
