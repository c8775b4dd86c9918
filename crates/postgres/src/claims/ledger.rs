//! The ledger: gapless per agent, chained by hash; payloads stand beside the chain.

use chrono::{DateTime, Utc};
use mnemon_core::claims::audit::{AuditQuery, AuditVerdict, Auditor, BrokenEntry, Sealed};
use mnemon_core::claims::ledger::{GENESIS, Head};
use mnemon_core::claims::{ClaimId, LedgerEntry};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, limits};
use serde_json::Value;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Postgres, QueryBuilder, Row as _, query, query_scalar};

use super::agent;
use crate::error::Fault;
use crate::row;

const WHAT: &str = "a ledger entry";

/// Locks the agent's head until the transaction ends, making it where there is none; answers it
/// with the clock. What is read after it includes every earlier write of the agent.
pub(super) async fn lock(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
) -> Result<(Option<Head>, DateTime<Utc>), Fault> {
    if let Some(found) = locked(conn, scope).await? {
        return Ok(found);
    }
    query!(
        r#"
        insert into mnemon.claim_agents (tenant, agent_id, last_time, ledger_seq, ledger_hash)
        values ($1, $2, mnemon.now(), 0, $3)
        on conflict (tenant, agent_id) do nothing
        "#,
        scope.tenant,
        agent(scope)?,
        GENESIS.as_slice(),
    )
    .execute(&mut *conn)
    .await?;
    let found = locked(conn, scope).await?;
    Ok(found.ok_or_else(|| Error::corrupt("an agent's ledger", "its head went away"))?)
}

async fn locked(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
) -> Result<Option<(Option<Head>, DateTime<Utc>)>, Fault> {
    let found = query!(
        r#"
        select last_time, ledger_seq, ledger_hash, mnemon.now() as "now!"
        from mnemon.claim_agents
        where tenant = $1 and agent_id = $2
        for no key update
        "#,
        scope.tenant,
        agent(scope)?,
    )
    .fetch_optional(conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let head = Head {
        last_time: found.last_time,
        seq: found.ledger_seq,
        hash: row::hash(&found.ledger_hash, "an agent's ledger")?,
    };
    Ok(Some(((head.seq > 0).then_some(head), found.now)))
}

/// What keeps a digest from being guessed.
pub(super) fn salt() -> Result<[u8; 16], Fault> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)
        .map_err(|error| Error::backend("asking the system for a salt", error))?;
    Ok(salt)
}

/// How often a claim came back since then.
pub(super) async fn re_entries_since(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    claim: ClaimId,
    since: DateTime<Utc>,
) -> Result<u32, Fault> {
    let count = query_scalar!(
        r#"
        select count(*) as "count!" from mnemon.claim_ledger
        where tenant = $1 and agent_id = $2 and claim_id = $3 and recorded_at > $4
          and kind in ('RecallReEntryDetected', 'Quarantined')
        "#,
        scope.tenant,
        agent(scope)?,
        claim.0,
        since,
    )
    .fetch_one(conn)
    .await?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// A page of what is asked for, one more than asked. Put together so that every filter given finds
/// its index.
pub(super) async fn list(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    asked: &AuditQuery,
    after: i64,
    limit: u32,
) -> Result<Vec<LedgerEntry>, Fault> {
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(
        "select l.seq, l.kind, l.claim_id, l.disposition, p.payload, l.recorded_at, l.digest, \
         l.hash from mnemon.claim_ledger l left join mnemon.claim_ledger_payloads p \
         on p.tenant = l.tenant and p.agent_id = l.agent_id and p.seq = l.seq where l.tenant = ",
    );
    sql.push_bind(scope.tenant).push(" and l.agent_id = ").push_bind(agent(scope)?);
    let (beyond, order) = if asked.oldest_first {
        (" and l.seq > ", " order by l.seq limit ")
    } else {
        (" and l.seq < ", " order by l.seq desc limit ")
    };
    sql.push(beyond).push_bind(after);
    if let Some(claim) = asked.claim {
        sql.push(" and l.claim_id = ").push_bind(claim.0);
    }
    if let Some(kind) = asked.kind {
        sql.push(" and l.kind = ").push_bind(kind.as_str());
    }
    if let Some(disposition) = asked.disposition {
        sql.push(" and l.disposition = ").push_bind(disposition.as_str());
    }
    if let Some(from) = asked.from {
        sql.push(" and l.recorded_at >= ").push_bind(from);
    }
    if let Some(until) = asked.until {
        sql.push(" and l.recorded_at < ").push_bind(until);
    }
    sql.push(order).push_bind(i64::from(limit) + 1);
    let rows = sql.build().fetch_all(conn).await?;
    rows.iter().map(entry).collect()
}

fn entry(found: &PgRow) -> Result<LedgerEntry, Fault> {
    let payload: Option<String> = found.try_get("payload")?;
    let payload: Option<Value> = payload
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error: serde_json::Error| Error::corrupt(WHAT, error.to_string()))?;
    Ok(LedgerEntry {
        seq: found.try_get("seq")?,
        kind: row::named(found.try_get("kind")?, WHAT)?,
        claim: ClaimId(found.try_get("claim_id")?),
        disposition: row::named(found.try_get("disposition")?, WHAT)?,
        payload,
        recorded_at: found.try_get("recorded_at")?,
        digest: row::hash(found.try_get("digest")?, WHAT)?,
        hash: row::hash(found.try_get("hash")?, WHAT)?,
    })
}

/// Walks the whole ledger, up to where it stands at the beginning.
pub(super) async fn verify(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
) -> Result<AuditVerdict, Fault> {
    let head = query!(
        "select ledger_seq, ledger_hash from mnemon.claim_agents
         where tenant = $1 and agent_id = $2",
        scope.tenant,
        agent(scope)?,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let head = match head {
        Some(head) => Some((head.ledger_seq, row::hash(&head.ledger_hash, "an agent's ledger")?)),
        None => None,
    };
    let mut auditor = Auditor::default();
    loop {
        let page = sealed(conn, scope, auditor.seq()).await?;
        let last = page.len() < limits::PAGE_MAX as usize;
        for sealed in page {
            // What was written since is for the next time.
            if head.is_some_and(|(seq, _)| auditor.seq() == seq) {
                return Ok(auditor.end(head));
            }
            let Some(sealed) = sealed else {
                let seq = auditor.seq() + 1;
                let reason = "it cannot be read".to_owned();
                return Ok(auditor.stop(BrokenEntry { seq, reason }));
            };
            if let Some(broken) = auditor.take(&sealed) {
                return Ok(auditor.stop(broken));
            }
        }
        if last {
            return Ok(auditor.end(head));
        }
    }
}

/// A page of entries with what their digests cover; `None` for one that cannot be read.
async fn sealed(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    after: i64,
) -> Result<Vec<Option<Sealed>>, Fault> {
    let rows = query!(
        r#"
        select l.seq, l.kind, l.claim_id, l.disposition, l.recorded_at, l.digest, l.hash,
               p.salt as "salt?", p.payload as "payload?", c.value as "value?"
        from mnemon.claim_ledger l
        left join mnemon.claim_ledger_payloads p
          on p.tenant = l.tenant and p.agent_id = l.agent_id and p.seq = l.seq
        left join mnemon.claims c
          on l.kind = 'ClaimCommitted' and c.tenant = l.tenant and c.agent_id = l.agent_id
         and c.id = l.claim_id
        where l.tenant = $1 and l.agent_id = $2 and l.seq > $3
        order by l.seq
        limit $4
        "#,
        scope.tenant,
        agent(scope)?,
        after,
        i64::from(limits::PAGE_MAX),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            Some(Sealed {
                entry: LedgerEntry {
                    seq: row.seq,
                    kind: row.kind.parse().ok()?,
                    claim: ClaimId(row.claim_id),
                    disposition: row.disposition.parse().ok()?,
                    payload: None,
                    recorded_at: row.recorded_at,
                    digest: row.digest.try_into().ok()?,
                    hash: row.hash.try_into().ok()?,
                },
                payload: row.salt.zip(row.payload),
                claim_value: row.value,
            })
        })
        .collect())
}
