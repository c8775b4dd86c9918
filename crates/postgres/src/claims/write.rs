//! Asserting a claim: under the agent's lock, reads inside it, decided by core.

use mnemon_core::Error;
use mnemon_core::RequestId;
use mnemon_core::claims::adjudicate::{Rules, decide, next_time};
use mnemon_core::claims::ledger::LedgerKind;
use mnemon_core::claims::{Asserted, Claim, ClaimId, Line, NewClaim, Provenance};
use mnemon_core::scope::Admitted;
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as};
use uuid::Uuid;

use super::{Head, Row, WHAT, agent, ledger, provenance_name, read, word_of};
use crate::error::Fault;
use crate::row;

/// Writes a claim inside the caller's transaction, or answers what it repeats.
pub(crate) async fn assert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    new: &NewClaim,
) -> Result<Asserted, Fault> {
    let (head, now) = ledger::lock(conn, scope).await?;
    if let Some(first) = first_outcome(conn, scope, new).await? {
        return Ok(first);
    }
    let recorded_at = next_time(head.map(|head| head.last_time), now);
    let parents = parents(conn, scope, new).await?;
    let line = new.line()?;
    if new.provenance == Provenance::RecallReEntry {
        return re_entry(conn, scope, new, &line, &parents, head, recorded_at).await;
    }
    let depth = parents.iter().map(|parent| parent.derivation_depth + 1).max().unwrap_or(0);
    let standing = read::current(conn, scope, &line).await?;
    let (disposition, contested_with) = decide(new, &standing, depth, Rules::default());
    let asserted = Asserted {
        id: ClaimId(Uuid::now_v7()),
        disposition,
        contested_with,
        recorded_at,
        created: true,
    };
    insert(conn, scope, new, depth, &asserted).await?;
    let entry = ledger::Entry {
        kind: LedgerKind::ClaimCommitted,
        outcome: &asserted,
        recorded_at,
        request: new.request_id.as_ref().map(RequestId::as_str),
        payload: json!({
            "value": new.value,
            "provenance": new.provenance,
            "contested_with": asserted.contested_with,
        }),
    };
    ledger::append(conn, scope, head, &entry).await?;
    Ok(asserted)
}

/// The claim comes from this memory itself: nothing is written but that it came.
async fn re_entry(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    new: &NewClaim,
    line: &Line,
    parents: &[Claim],
    head: Option<Head>,
    recorded_at: chrono::DateTime<chrono::Utc>,
) -> Result<Asserted, Fault> {
    let named = new.derived_from.first().map_or_else(String::new, ToString::to_string);
    let repeated = parents
        .first()
        .filter(|claim| claim.line == *line && claim.value == new.value)
        .ok_or_else(|| Error::not_found("claim", named))?;
    let asserted = Asserted {
        id: repeated.id,
        disposition: ledger::disposition(conn, scope, repeated.id).await?,
        contested_with: Vec::new(),
        recorded_at: repeated.recorded_at,
        created: false,
    };
    let entry = ledger::Entry {
        kind: LedgerKind::RecallReEntryDetected,
        outcome: &asserted,
        recorded_at,
        request: new.request_id.as_ref().map(RequestId::as_str),
        payload: json!({ "value": new.value }),
    };
    ledger::append(conn, scope, head, &entry).await?;
    Ok(asserted)
}

async fn first_outcome(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    new: &NewClaim,
) -> Result<Option<Asserted>, Fault> {
    let Some(request) = &new.request_id else { return Ok(None) };
    let found = query!(
        r#"
        select l.claim_id, l.disposition, l.contested_with, c.recorded_at
        from mnemon.claim_ledger l
        join mnemon.claims c
          on c.tenant = l.tenant and c.agent_id = l.agent_id and c.id = l.claim_id
        where l.tenant = $1 and l.agent_id = $2 and l.request_id = $3
        "#,
        scope.tenant,
        agent(scope)?,
        request.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    Ok(Some(Asserted {
        id: ClaimId(found.claim_id),
        disposition: row::named(&found.disposition, "a ledger entry")?,
        contested_with: found.contested_with.into_iter().map(ClaimId).collect(),
        recorded_at: found.recorded_at,
        created: false,
    }))
}

/// The claims that it is derived from, in the order given.
async fn parents(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    new: &NewClaim,
) -> Result<Vec<Claim>, Fault> {
    if new.derived_from.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = new.derived_from.iter().map(|claim| claim.0).collect();
    let rows = query_as!(
        Row,
        r#"
        select c.id, c.subject, c.predicate, c.value, c.cardinality, c.provenance, c.valid_start,
               c.valid_end, c.valid_time_confidence, c.start_granularity, c.end_granularity,
               c.value_confidence, c.criticality, c.derivation_depth, c.recorded_at,
               '' as "disposition!"
        from mnemon.claims c
        where c.tenant = $1 and c.agent_id = $2 and c.id = any ($3)
        "#,
        scope.tenant,
        agent(scope)?,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    let mut found: Vec<Claim> = rows.into_iter().map(Claim::try_from).collect::<Result<_, _>>()?;
    if let Some(missing) =
        new.derived_from.iter().find(|id| !found.iter().any(|claim| claim.id == **id))
    {
        return Err(Error::not_found("claim", missing).into());
    }
    found.sort_by_key(|claim| new.derived_from.iter().position(|id| *id == claim.id));
    Ok(found)
}

/// Writes the claim, its edges and its place among those that count, in one statement.
async fn insert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    new: &NewClaim,
    depth: u32,
    asserted: &Asserted,
) -> Result<(), Fault> {
    let parents: Vec<Uuid> = new.derived_from.iter().map(|claim| claim.0).collect();
    let window = &new.valid_time;
    let depth = i32::try_from(depth)
        .map_err(|_| Error::corrupt(WHAT, "it is derived more deeply than can be counted"))?;
    query!(
        r#"
        with claim as (
            insert into mnemon.claims
                (tenant, agent_id, id, subject, predicate, value, cardinality, provenance,
                 valid_start, valid_end, valid_time_confidence, start_granularity,
                 end_granularity, value_confidence, criticality, derivation_depth, user_id,
                 session_id, run_id, recorded_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                    $18, $19, $20)
        ), edges as (
            insert into mnemon.claim_edges
                (tenant, agent_id, claim_id, kind, target_id, user_id, recorded_at)
            select distinct $1, $2, $3, 'DerivedFrom', g.id, $17, $20
            from unnest($21::uuid[]) as g (id)
        )
        insert into mnemon.claim_current
            (tenant, agent_id, subject, predicate, claim_id, disposition, user_id)
        values ($1, $2, $4, $5, $3, $22, $17)
        "#,
        scope.tenant,
        agent(scope)?,
        asserted.id.0,
        new.subject,
        new.predicate,
        new.value,
        new.cardinality.as_str(),
        provenance_name(new.provenance),
        window.start,
        window.end,
        window.valid_time_confidence,
        word_of(window.start_granularity),
        word_of(window.end_granularity),
        new.value_confidence,
        new.criticality.as_str(),
        depth,
        scope.user,
        scope.session,
        scope.run,
        asserted.recorded_at,
        &parents,
        asserted.disposition.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}
