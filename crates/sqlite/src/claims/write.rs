//! Asserting a claim: one transaction, reads inside it, decided by core.

use mnemon_core::Error;
use mnemon_core::claims::adjudicate::{Rules, decide, next_time};
use mnemon_core::claims::ledger::LedgerKind;
use mnemon_core::claims::{Asserted, Claim, ClaimId, Line, NewClaim, Provenance};
use mnemon_core::scope::Admitted;
use rusqlite::{Connection, params};
use serde_json::json;
use uuid::Uuid;

use super::{Head, agent, claim, head, ledger, provenance_name, read, word_of};
use crate::error::Done;
use crate::memories::rows;
use crate::open::now;
use crate::row;

pub(crate) mod sql {
    use crate::claims::columns;

    crate::sql::statements! {
        GET = concat!(
            "select ", columns!(), " from claims c \
             where c.tenant = ?1 and c.agent_id = ?2 and c.id = ?3"
        );
        /// The first outcome of a request.
        BY_REQUEST = "select l.claim_id, l.disposition, l.contested_with, c.recorded_at \
            from claim_ledger l join claims c \
            on c.tenant = l.tenant and c.agent_id = l.agent_id and c.id = l.claim_id \
            where l.tenant = ?1 and l.agent_id = ?2 and l.request_id = ?3";
        INSERT = "insert into claims (tenant, agent_id, id, subject, predicate, value, \
            cardinality, provenance, valid_start, valid_end, valid_time_confidence, \
            start_granularity, end_granularity, value_confidence, criticality, derivation_depth, \
            user_id, session_id, run_id, recorded_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
            ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";
        EDGE = "insert into claim_edges (tenant, agent_id, claim_id, kind, target_id, user_id, \
            recorded_at) values (?1, ?2, ?3, 'DerivedFrom', ?4, ?5, ?6) on conflict do nothing";
        CURRENT = "insert into claim_current (tenant, agent_id, subject, predicate, claim_id, \
            disposition, user_id) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    }
}

/// Writes a claim, or answers what it repeats.
pub(crate) fn assert(conn: &Connection, scope: &Admitted<'_>, new: &NewClaim) -> Done<Asserted> {
    if let Some(first) = first_outcome(conn, scope, new)? {
        return Ok(first);
    }
    let head = head(conn, scope)?;
    let parents =
        new.derived_from.iter().map(|id| parent(conn, scope, *id)).collect::<Done<Vec<Claim>>>()?;
    let line = new.line()?;
    if new.provenance == Provenance::RecallReEntry {
        return re_entry(conn, scope, new, &line, &parents, head);
    }
    let depth = parents.iter().map(|parent| parent.derivation_depth + 1).max().unwrap_or(0);
    let standing = read::current(conn, scope, &line)?;
    let (disposition, contested_with) = decide(new, &standing, depth, Rules::default());
    let recorded_at = time_of_write(conn, head)?;
    let asserted = Asserted {
        id: ClaimId(Uuid::now_v7()),
        disposition,
        contested_with,
        recorded_at,
        created: true,
    };
    insert(conn, scope, new, depth, &asserted)?;
    let entry = ledger::Entry {
        kind: LedgerKind::ClaimCommitted,
        outcome: &asserted,
        recorded_at,
        request: new.request_id.as_ref(),
        payload: json!({
            "value": new.value,
            "provenance": new.provenance,
            "contested_with": asserted.contested_with,
        }),
    };
    ledger::append(conn, scope, head, &entry)?;
    Ok(asserted)
}

/// The claim comes from this memory itself: nothing is written but that it came.
fn re_entry(
    conn: &Connection,
    scope: &Admitted<'_>,
    new: &NewClaim,
    line: &Line,
    parents: &[Claim],
    head: Option<Head>,
) -> Done<Asserted> {
    let named = new.derived_from.first().map_or_else(String::new, ToString::to_string);
    let repeated = parents
        .first()
        .filter(|claim| claim.line == *line && claim.value == new.value)
        .ok_or_else(|| Error::not_found("claim", named))?;
    let asserted = Asserted {
        id: repeated.id,
        disposition: ledger::disposition(conn, scope, repeated.id)?,
        contested_with: Vec::new(),
        recorded_at: repeated.recorded_at,
        created: false,
    };
    let entry = ledger::Entry {
        kind: LedgerKind::RecallReEntryDetected,
        outcome: &asserted,
        recorded_at: time_of_write(conn, head)?,
        request: new.request_id.as_ref(),
        payload: json!({ "value": new.value }),
    };
    ledger::append(conn, scope, head, &entry)?;
    Ok(asserted)
}

/// Strictly above the agent's last one, however the clock moves.
fn time_of_write(conn: &Connection, head: Option<Head>) -> Done<chrono::DateTime<chrono::Utc>> {
    Ok(next_time(head.map(|head| head.last_time), rows::time(now(conn)?)?))
}

fn first_outcome(
    conn: &Connection,
    scope: &Admitted<'_>,
    new: &NewClaim,
) -> Done<Option<Asserted>> {
    let Some(request) = &new.request_id else { return Ok(None) };
    let mut statement = conn.prepare_cached(sql::BY_REQUEST)?;
    let mut rows = statement.query([scope.tenant, agent(scope)?, request.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Asserted {
        id: ClaimId(row::id(row, 0)?),
        disposition: row::named(row, 1, "a ledger entry")?,
        contested_with: row::json(row, 2, "a ledger entry")?,
        recorded_at: row::time(row, 3)?,
        created: false,
    }))
}

fn parent(conn: &Connection, scope: &Admitted<'_>, id: ClaimId) -> Done<Claim> {
    let mut statement = conn.prepare_cached(sql::GET)?;
    let mut rows = statement.query(params![scope.tenant, agent(scope)?, id.0.as_bytes()])?;
    match rows.next()? {
        Some(row) => claim(row),
        None => Err(Error::not_found("claim", id).into()),
    }
}

fn insert(
    conn: &Connection,
    scope: &Admitted<'_>,
    new: &NewClaim,
    depth: u32,
    asserted: &Asserted,
) -> Done<()> {
    let (tenant, agent) = (scope.tenant, agent(scope)?);
    let (id, recorded_at) = (asserted.id.0.as_bytes(), asserted.recorded_at.timestamp_micros());
    let window = &new.valid_time;
    conn.prepare_cached(sql::INSERT)?.execute(params![
        tenant,
        agent,
        id,
        new.subject,
        new.predicate,
        new.value.to_string(),
        new.cardinality.as_str(),
        provenance_name(new.provenance),
        window.start.map(|at| at.timestamp_micros()),
        window.end.map(|at| at.timestamp_micros()),
        window.valid_time_confidence,
        word_of(window.start_granularity),
        word_of(window.end_granularity),
        new.value_confidence,
        new.criticality.as_str(),
        depth,
        scope.user,
        scope.session,
        scope.run,
        recorded_at,
    ])?;
    let mut edge = conn.prepare_cached(sql::EDGE)?;
    for parent in &new.derived_from {
        edge.execute(params![tenant, agent, id, parent.0.as_bytes(), scope.user, recorded_at])?;
    }
    conn.prepare_cached(sql::CURRENT)?.execute(params![
        tenant,
        agent,
        new.subject,
        new.predicate,
        id,
        asserted.disposition.as_str(),
        scope.user
    ])?;
    Ok(())
}
