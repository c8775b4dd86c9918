//! The ledger: gapless per agent, chained by hash; payloads stand beside the chain.

use chrono::{DateTime, Utc};
use mnemon_core::claims::audit::{AuditQuery, AuditVerdict, Auditor, Sealed};
use mnemon_core::claims::change::Entry;
use mnemon_core::claims::ledger::{Head, Written};
use mnemon_core::claims::{BrokenEntry, ClaimId, Disposition, LedgerEntry, LedgerKind};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Paged, RequestId, limits};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use serde_json::json;

use super::rows::{ALWAYS, FOREVER, micros};
use super::{agent, head};
use crate::error::{Done, Fault};
use crate::row;

pub(crate) mod sql {
    /// An entry with its payload.
    macro_rules! entry {
        () => {
            "select l.seq, l.kind, l.claim_id, l.disposition, p.payload, l.recorded_at, l.digest, \
             l.hash from claim_ledger l left join claim_ledger_payloads p \
             on p.tenant = l.tenant and p.agent_id = l.agent_id and p.seq = l.seq \
             where l.tenant = ?1 and l.agent_id = ?2 "
        };
    }

    /// What both orders filter by, in parameters ?4 to ?8.
    macro_rules! filtered {
        () => {
            "and (?4 is null or l.kind = ?4) and (?5 is null or l.disposition = ?5) \
             and l.recorded_at >= ?6 and l.recorded_at < ?7 "
        };
    }

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
        NEWEST = concat!(
            entry!(), "and l.seq < ?3 ", filtered!(), "order by l.seq desc limit ?8"
        );
        OLDEST = concat!(entry!(), "and l.seq > ?3 ", filtered!(), "order by l.seq limit ?8");
        NEWEST_OF_CLAIM = concat!(
            entry!(), "and l.claim_id = ?9 and l.seq < ?3 ", filtered!(),
            "order by l.seq desc limit ?8"
        );
        OLDEST_OF_CLAIM = concat!(
            entry!(), "and l.claim_id = ?9 and l.seq > ?3 ", filtered!(), "order by l.seq limit ?8"
        );
        SEALED = "select l.seq, l.kind, l.claim_id, l.disposition, null, l.recorded_at, l.digest, \
            l.hash, p.salt, p.payload, c.value from claim_ledger l \
            left join claim_ledger_payloads p \
            on p.tenant = l.tenant and p.agent_id = l.agent_id and p.seq = l.seq \
            left join claims c on l.kind = 'ClaimCommitted' and c.tenant = l.tenant \
            and c.agent_id = l.agent_id and c.id = l.claim_id \
            where l.tenant = ?1 and l.agent_id = ?2 and l.seq > ?3 order by l.seq limit ?4";
        RE_ENTRIES = "select count(*) from claim_ledger where tenant = ?1 and agent_id = ?2 \
            and claim_id = ?3 and recorded_at > ?4 \
            and kind in ('RecallReEntryDetected', 'Quarantined')";
    }
}

/// Appends an entry behind the agent's head and moves the head.
pub(super) fn append(
    conn: &Connection,
    scope: &Admitted<'_>,
    head: &mut Option<Head>,
    at: DateTime<Utc>,
    entry: &Entry,
) -> Done<()> {
    let (tenant, agent) = (scope.tenant, agent(scope)?);
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)
        .map_err(|error| Error::backend("asking the system for a salt", error))?;
    let Written { header, salt, payload, digest, hash } = Written::behind(head, entry, at, salt);
    conn.prepare_cached(sql::APPEND)?.execute(params![
        tenant,
        agent,
        header.seq,
        header.kind.as_str(),
        header.claim.0.as_bytes(),
        header.disposition.as_str(),
        entry.request.as_ref().map(RequestId::as_str),
        json!(entry.contested_with).to_string(),
        scope.user,
        micros(at),
        digest.as_slice(),
        hash.as_slice(),
    ])?;
    conn.prepare_cached(sql::PAYLOAD)?.execute(params![
        tenant,
        agent,
        header.seq,
        scope.user,
        salt.as_slice(),
        payload
    ])?;
    let moved = params![tenant, agent, micros(at), header.seq, hash.as_slice()];
    conn.prepare_cached(sql::MOVE)?.execute(moved)?;
    Ok(())
}

/// How often a claim came back since then.
pub(super) fn re_entries_since(
    conn: &Connection,
    scope: &Admitted<'_>,
    claim: ClaimId,
    since: DateTime<Utc>,
) -> Done<u32> {
    let values = params![scope.tenant, agent(scope)?, claim.0.as_bytes(), micros(since)];
    Ok(conn.prepare_cached(sql::RE_ENTRIES)?.query_row(values, |row| row.get(0))?)
}

/// A page of what is asked for.
pub(super) fn list(
    conn: &Connection,
    scope: &Admitted<'_>,
    query: &AuditQuery,
    after: i64,
    limit: u32,
) -> Done<Paged<LedgerEntry>> {
    let (kind, disposition) =
        (query.kind.map(LedgerKind::as_str), query.disposition.map(Disposition::as_str));
    let from = query.from.map_or(ALWAYS, micros);
    let until = query.until.map_or(FOREVER, micros);
    let (statement, claim) = match (query.claim, query.oldest_first) {
        (None, false) => (sql::NEWEST, None),
        (None, true) => (sql::OLDEST, None),
        (Some(claim), false) => (sql::NEWEST_OF_CLAIM, Some(claim)),
        (Some(claim), true) => (sql::OLDEST_OF_CLAIM, Some(claim)),
    };
    let agent = agent(scope)?;
    let id = claim.map(|claim| claim.0);
    let id = id.as_ref().map(uuid::Uuid::as_bytes);
    let mut values: Vec<&dyn rusqlite::ToSql> = Vec::with_capacity(9);
    let most = limit + 1;
    values.extend([&scope.tenant as &dyn rusqlite::ToSql, &agent, &after]);
    values.extend([&kind as &dyn rusqlite::ToSql, &disposition, &from, &until, &most]);
    if id.is_some() {
        values.push(&id);
    }
    let mut statement = conn.prepare_cached(statement)?;
    let mut rows = statement.query(values.as_slice())?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(row)?);
    }
    Ok(Paged::cut(entries, limit, |entry| query.cursor(entry)))
}

const WHAT: &str = "a ledger entry";

fn entry(row: &Row<'_>) -> Done<LedgerEntry> {
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

/// Walks the whole ledger, within one reading.
pub(super) fn verify(conn: &Connection, scope: &Admitted<'_>) -> Done<AuditVerdict> {
    let mut auditor = Auditor::default();
    let mut statement = conn.prepare_cached(sql::SEALED)?;
    loop {
        let key = params![scope.tenant, agent(scope)?, auditor.seq(), limits::PAGE_MAX];
        let mut rows = statement.query(key)?;
        let mut found = 0;
        while let Some(row) = rows.next()? {
            found += 1;
            let sealed = match sealed(row) {
                Ok(sealed) => sealed,
                // What cannot be what was written was changed.
                Err(Fault::Refused(error)) => {
                    let broken = BrokenEntry { seq: auditor.seq() + 1, reason: error.to_string() };
                    return Ok(auditor.stop(broken));
                }
                Err(fault) => return Err(fault),
            };
            if let Some(broken) = auditor.take(&sealed) {
                return Ok(auditor.stop(broken));
            }
        }
        if found < limits::PAGE_MAX {
            let head = head(conn, scope)?;
            return Ok(auditor.end(head.map(|head| (head.seq, head.hash))));
        }
    }
}

fn sealed(row: &Row<'_>) -> Done<Sealed> {
    let payload = match row.get::<_, Option<Vec<u8>>>(8)? {
        Some(salt) => Some((salt, row.get(9)?)),
        None => None,
    };
    let claim_value = match row.get_ref(10)? {
        ValueRef::Null => None,
        _ => Some(row::json(row, 10, WHAT)?),
    };
    Ok(Sealed { entry: entry(row)?, payload, claim_value })
}
