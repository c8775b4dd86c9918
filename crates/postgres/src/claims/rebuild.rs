//! Making the current standings anew from claims, bounds and ledger.

use mnemon_core::claims::Rebuilt;
use mnemon_core::claims::fold::Recorded;
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Scope, limits};
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};
use uuid::Uuid;

use super::rows::{Row, recorded};
use super::{agent, change, ledger};
use crate::error::Fault;

/// Every agent of the installation.
pub(super) async fn agents(conn: &mut PgConnection) -> Result<Vec<(String, String)>, Fault> {
    let found = query!("select tenant, agent_id from mnemon.claim_agents order by 1, 2")
        .fetch_all(conn)
        .await?;
    Ok(found.into_iter().map(|row| (row.tenant, row.agent_id)).collect())
}

/// One agent's, under its lock.
pub(super) async fn one(
    conn: &mut PgConnection,
    (tenant, agent_id): &(String, String),
) -> Result<Rebuilt, Fault> {
    let scope = Scope::tenant(tenant.as_str()).agent(agent_id.as_str());
    let scope = &scope.admit(Facet::Claims)?;
    ledger::lock(conn, scope).await?;
    let stray = query!(
        "delete from mnemon.claim_current n where n.tenant = $1 and n.agent_id = $2
           and not exists (
               select from mnemon.claims c
               where c.tenant = n.tenant and c.agent_id = n.agent_id and c.id = n.claim_id
                 and c.subject = n.subject and c.predicate = n.predicate)",
        scope.tenant,
        agent(scope)?,
    )
    .execute(&mut *conn)
    .await?;
    let mut rebuilt = Rebuilt { rows: 0, differed: stray.rows_affected() };
    let mut after = Uuid::nil();
    loop {
        let found = page(conn, scope, after).await?;
        for recorded in &found {
            rebuilt.differed += u64::from(put_right(conn, scope, recorded).await?);
        }
        match found.last() {
            Some(last) if found.len() == limits::PAGE_MAX as usize => after = last.claim.id.0,
            _ => break,
        }
    }
    let rows = query_scalar!(
        r#"select count(*) as "rows!" from mnemon.claim_current
           where tenant = $1 and agent_id = $2"#,
        scope.tenant,
        agent(scope)?,
    )
    .fetch_one(conn)
    .await?;
    rebuilt.rows = rows.unsigned_abs();
    Ok(rebuilt)
}

async fn page(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    after: Uuid,
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
        where c.tenant = $1 and c.agent_id = $2 and c.id > $3
        order by c.id
        limit $4
        "#,
        scope.tenant,
        agent(scope)?,
        after,
        i64::from(limits::PAGE_MAX),
    )
    .fetch_all(conn)
    .await?;
    Ok(recorded(rows)?)
}

/// Writes how a claim stands if it stands otherwise there; whether it did.
async fn put_right(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    recorded: &Recorded,
) -> Result<bool, Fault> {
    let (counts, window) = (recorded.may_count(), recorded.window());
    let claim = &recorded.claim;
    let right = query_scalar!(
        r#"
        select disposition = $6 and valid_time_confidence = $7 and re_entries = $11
               and starts_at = coalesce($8, '-infinity'::timestamptz)
               and ends_at = coalesce($9, 'infinity'::timestamptz)
               and bound_at is not distinct from $10::timestamptz as "right!"
        from mnemon.claim_current
        where tenant = $1 and agent_id = $2 and subject = $3 and predicate = $4 and claim_id = $5
        "#,
        scope.tenant,
        agent(scope)?,
        claim.line.subject,
        claim.line.predicate,
        claim.id.0,
        recorded.disposition.as_str(),
        claim.valid_time.valid_time_confidence,
        window.start,
        window.end.filter(|_| window.start.is_some()),
        recorded.bound,
        i32::try_from(recorded.re_entries).unwrap_or(i32::MAX),
    )
    .fetch_optional(&mut *conn)
    .await?;
    if right.is_none() && !counts || right == Some(true) && counts {
        return Ok(false);
    }
    change::displace(conn, scope, recorded).await?;
    change::put(conn, scope, recorded).await?;
    Ok(true)
}
