//! The ledger: gapless per agent, chained by hash; payloads stand beside the chain.

use chrono::{DateTime, Utc};
use mnemon_core::claims::ledger::{GENESIS, Header, LedgerKind, chain, digest};
use mnemon_core::claims::{Asserted, ClaimId, Disposition, LedgerEntry};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, Paged, RequestId};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use serde_json::{Value, json};

use super::{Head, agent};
use crate::error::Done;
use crate::row;

pub(crate) mod sql {
    crate::sql::statements! {
        APPEND = "insert into claim_ledger (tenant, agent_id, seq, kind, claim_id, disposition, \
            request_id, contested_with, user_id, recorded_at, digest, hash) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        PAYLOAD = "insert into claim_ledger_payloads (tenant, agent_id, seq, user_id, salt, \
            payload) values (?1, ?2, ?3, ?4, ?5, ?6)";
        MOVE = "insert into claim_agents (tenant, agent_id, last_time, ledger_seq, ledger_hash) \
            values (?1, ?2, ?3, ?4, ?5) on conflict (tenant, agent_id) do update set \
            last_time = excluded.last_time, ledger_seq = excluded.ledger_seq, \
            ledger_hash = excluded.ledger_hash";
        LATEST = "select disposition from claim_ledger where tenant = ?1 and agent_id = ?2 \
            and claim_id = ?3 order by seq desc limit 1";
        LIST = "select l.seq, l.kind, l.claim_id, l.disposition, p.payload, l.recorded_at, \
            l.digest, l.hash from claim_ledger l left join claim_ledger_payloads p \
            on p.tenant = l.tenant and p.agent_id = l.agent_id and p.seq = l.seq \
            where l.tenant = ?1 and l.agent_id = ?2 and l.seq > ?3 order by l.seq limit ?4";
    }
}

pub(super) const CURSOR: &str = "ledger";

/// An entry to append.
pub(super) struct Entry<'a> {
    pub(super) kind: LedgerKind,
    pub(super) outcome: &'a Asserted,
    pub(super) recorded_at: DateTime<Utc>,
    pub(super) request: Option<&'a RequestId>,
    pub(super) payload: Value,
}

/// Appends an entry behind the agent's head and moves the head.
pub(super) fn append(
    conn: &Connection,
    scope: &Admitted<'_>,
    head: Option<Head>,
    entry: &Entry<'_>,
) -> Done<()> {
    let (tenant, agent) = (scope.tenant, agent(scope)?);
    let (seq, previous) = head.map_or((1, GENESIS), |head| (head.seq + 1, head.hash));
    let header = Header {
        seq,
        kind: entry.kind,
        claim: entry.outcome.id,
        disposition: entry.outcome.disposition,
        recorded_at: entry.recorded_at,
    };
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)
        .map_err(|error| Error::backend("asking the system for a salt", error))?;
    let digest = digest(&salt, &entry.payload);
    let hash = chain(&previous, &header, &digest);
    let at = entry.recorded_at.timestamp_micros();
    conn.prepare_cached(sql::APPEND)?.execute(params![
        tenant,
        agent,
        seq,
        header.kind.as_str(),
        header.claim.0.as_bytes(),
        header.disposition.as_str(),
        entry.request.map(RequestId::as_str),
        json!(entry.outcome.contested_with).to_string(),
        scope.user,
        at,
        digest.as_slice(),
        hash.as_slice(),
    ])?;
    conn.prepare_cached(sql::PAYLOAD)?.execute(params![
        tenant,
        agent,
        seq,
        scope.user,
        salt.as_slice(),
        entry.payload.to_string()
    ])?;
    conn.prepare_cached(sql::MOVE)?.execute(params![tenant, agent, at, seq, hash.as_slice()])?;
    Ok(())
}

/// How a claim stands now.
pub(super) fn disposition(
    conn: &Connection,
    scope: &Admitted<'_>,
    claim: ClaimId,
) -> Done<Disposition> {
    let mut statement = conn.prepare_cached(sql::LATEST)?;
    let mut rows = statement.query(params![scope.tenant, agent(scope)?, claim.0.as_bytes()])?;
    match rows.next()? {
        Some(row) => row::named(row, 0, "a ledger entry"),
        None => Err(Error::corrupt(format!("claim {claim}"), "it has no ledger entry").into()),
    }
}

/// A page, oldest first.
pub(super) fn list(
    conn: &Connection,
    scope: &Admitted<'_>,
    after: i64,
    limit: u32,
) -> Done<Paged<LedgerEntry>> {
    let mut statement = conn.prepare_cached(sql::LIST)?;
    let mut rows = statement.query(params![scope.tenant, agent(scope)?, after, limit + 1])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(row)?);
    }
    Ok(Paged::cut(entries, limit, |entry| Cursor::of(CURSOR, &[&entry.seq.to_string()])))
}

fn entry(row: &Row<'_>) -> Done<LedgerEntry> {
    const WHAT: &str = "a ledger entry";
    let payload = match row.get_ref(4)? {
        ValueRef::Null => None,
        _ => Some(row::json(row, 4, WHAT)?),
    };
    Ok(LedgerEntry {
        seq: row.get(0)?,
        kind: row::named(row, 1, WHAT)?,
        claim: ClaimId(row::id(row, 2)?),
        disposition: row::named(row, 3, WHAT)?,
        payload,
        recorded_at: row::time(row, 5)?,
        digest: row::hash(row, 6, WHAT)?,
        hash: row::hash(row, 7, WHAT)?,
    })
}
