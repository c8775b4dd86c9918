//! Writing a decision: every row of a change, behind the agent's head, and where each claim stands.

use mnemon_core::claims::change::Change;
use mnemon_core::claims::fold::Recorded;
use mnemon_core::claims::ledger::Head;
use mnemon_core::claims::{Claim, ClaimEdge};
use mnemon_core::scope::Admitted;
use rusqlite::{Connection, params};
use serde_json::json;

use super::rows::{micros, span, word_of};
use super::{agent, ledger, questions};
use crate::error::Done;

pub(crate) mod sql {
    crate::sql::statements! {
        INSERT = "insert into claims (tenant, agent_id, id, subject, predicate, value, \
            cardinality, provenance, valid_start, valid_end, valid_time_confidence, \
            start_granularity, end_granularity, value_confidence, criticality, derivation_depth, \
            excludes, user_id, session_id, run_id, recorded_at) values (?1, ?2, ?3, ?4, ?5, ?6, \
            ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)";
        EDGE = "insert into claim_edges (tenant, agent_id, claim_id, kind, target_id, user_id, \
            recorded_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7) on conflict do nothing";
        BOUND = "insert into claim_bounds (tenant, agent_id, claim_id, recorded_at, kind, \
            bound_at, user_id) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        PLACE = "insert into claim_current (tenant, agent_id, subject, predicate, claim_id, \
            disposition, valid_time_confidence, starts_at, ends_at, bound_at, re_entries, \
            user_id) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
            on conflict (tenant, agent_id, subject, predicate, claim_id) do update set \
            disposition = excluded.disposition, ends_at = excluded.ends_at, \
            bound_at = excluded.bound_at, re_entries = excluded.re_entries";
        DISPLACE = "delete from claim_current where tenant = ?1 and agent_id = ?2 \
            and subject = ?3 and predicate = ?4 and claim_id = ?5";
    }
}

/// Writes a change; the agent's head moves behind it.
pub(super) fn apply(
    conn: &Connection,
    scope: &Admitted<'_>,
    head: &mut Option<Head>,
    change: &Change,
) -> Done<()> {
    if let Some(claim) = &change.claim {
        insert(conn, scope, claim)?;
    }
    let (tenant, agent, at) = (scope.tenant, agent(scope)?, micros(change.at));
    for ClaimEdge { from, kind, to } in &change.edges {
        let (from, to) = (from.0.as_bytes(), to.0.as_bytes());
        let values = params![tenant, agent, from, kind.as_str(), to, scope.user, at];
        conn.prepare_cached(sql::EDGE)?.execute(values)?;
    }
    for bound in &change.bounds {
        conn.prepare_cached(sql::BOUND)?.execute(params![
            tenant,
            agent,
            bound.target_claim.0.as_bytes(),
            at,
            bound.kind.as_str(),
            bound.kind.bound_at().map(micros),
            scope.user
        ])?;
    }
    for recorded in &change.standing {
        place(conn, scope, recorded)?;
    }
    for question in &change.questions {
        questions::insert(conn, scope, question, change.at)?;
    }
    for closed in &change.closed {
        questions::close(conn, scope, closed, change.at)?;
    }
    for entry in &change.entries {
        ledger::append(conn, scope, head, change.at, entry)?;
    }
    Ok(())
}

/// Writes where a claim stands among the current ones, or that it no longer does.
pub(super) fn place(conn: &Connection, scope: &Admitted<'_>, recorded: &Recorded) -> Done<()> {
    let (tenant, agent, claim) = (scope.tenant, agent(scope)?, &recorded.claim);
    let id = claim.id.0.as_bytes();
    if !recorded.may_count() {
        return displace(conn, scope, recorded);
    }
    let (starts_at, ends_at) = span(recorded);
    conn.prepare_cached(sql::PLACE)?.execute(params![
        tenant,
        agent,
        claim.line.subject,
        claim.line.predicate,
        id,
        recorded.disposition.as_str(),
        claim.valid_time.valid_time_confidence,
        starts_at,
        ends_at,
        recorded.bound.map(micros),
        recorded.re_entries,
        scope.user,
    ])?;
    Ok(())
}

/// Takes a claim from among the current ones.
pub(super) fn displace(conn: &Connection, scope: &Admitted<'_>, recorded: &Recorded) -> Done<()> {
    let claim = &recorded.claim;
    let (line, id) = (&claim.line, claim.id.0.as_bytes());
    let key = params![scope.tenant, agent(scope)?, line.subject, line.predicate, id];
    conn.prepare_cached(sql::DISPLACE)?.execute(key)?;
    Ok(())
}

fn insert(conn: &Connection, scope: &Admitted<'_>, claim: &Claim) -> Done<()> {
    let window = &claim.valid_time;
    conn.prepare_cached(sql::INSERT)?.execute(params![
        scope.tenant,
        agent(scope)?,
        claim.id.0.as_bytes(),
        claim.line.subject,
        claim.line.predicate,
        claim.value.to_string(),
        claim.cardinality.as_str(),
        claim.provenance.as_str(),
        window.start.map(micros),
        window.end.map(micros),
        window.valid_time_confidence,
        word_of(window.start_granularity),
        word_of(window.end_granularity),
        claim.value_confidence,
        claim.criticality.as_str(),
        claim.derivation_depth,
        json!(claim.excludes).to_string(),
        scope.user,
        scope.session,
        scope.run,
        micros(claim.recorded_at),
    ])?;
    Ok(())
}
