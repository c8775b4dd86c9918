//! The ledger: gapless per agent, chained by hash; payloads stand beside the chain.

use chrono::{DateTime, Utc};
use mnemon_core::Error;
use mnemon_core::claims::ledger::{GENESIS, Header, LedgerKind, chain, digest};
use mnemon_core::claims::{Asserted, ClaimId, Disposition, LedgerEntry};
use mnemon_core::scope::Admitted;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};
use uuid::Uuid;

use super::{Head, agent};
use crate::error::Fault;
use crate::row;

/// The list that its cursors belong to.
pub(super) const LIST: &str = "ledger";
const WHAT: &str = "a ledger entry";

/// An entry to append.
pub(super) struct Entry<'a> {
    pub(super) kind: LedgerKind,
    pub(super) outcome: &'a Asserted,
    pub(super) recorded_at: DateTime<Utc>,
    pub(super) request: Option<&'a str>,
    pub(super) payload: Value,
}

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

/// Appends an entry behind the agent's head and moves the head, in one statement.
pub(super) async fn append(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    head: Option<Head>,
    entry: &Entry<'_>,
) -> Result<(), Fault> {
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
    let contested: Vec<Uuid> = entry.outcome.contested_with.iter().map(|claim| claim.0).collect();
    query!(
        r#"
        with entry as (
            insert into mnemon.claim_ledger
                (tenant, agent_id, seq, kind, claim_id, disposition, request_id, contested_with,
                 user_id, recorded_at, digest, hash)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ), payload as (
            insert into mnemon.claim_ledger_payloads
                (tenant, agent_id, seq, user_id, salt, payload)
            values ($1, $2, $3, $9, $13, $14)
        )
        update mnemon.claim_agents
        set last_time = $10, ledger_seq = $3, ledger_hash = $12
        where tenant = $1 and agent_id = $2
        "#,
        scope.tenant,
        agent(scope)?,
        seq,
        header.kind.as_str(),
        header.claim.0,
        header.disposition.as_str(),
        entry.request,
        &contested,
        scope.user,
        entry.recorded_at,
        digest.as_slice(),
        hash.as_slice(),
        salt.as_slice(),
        entry.payload.to_string(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How a claim stands now.
pub(super) async fn disposition(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    claim: ClaimId,
) -> Result<Disposition, Fault> {
    let found = query_scalar!(
        "select disposition from mnemon.claim_ledger
         where tenant = $1 and agent_id = $2 and claim_id = $3 order by seq desc limit 1",
        scope.tenant,
        agent(scope)?,
        claim.0,
    )
    .fetch_optional(conn)
    .await?;
    match found {
        Some(name) => Ok(row::named(&name, WHAT)?),
        None => Err(Error::corrupt(format!("claim {claim}"), "it has no ledger entry").into()),
    }
}

/// A page, oldest first, one more than asked.
pub(super) async fn list(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    after: i64,
    limit: u32,
) -> Result<Vec<LedgerEntry>, Fault> {
    let rows = query!(
        r#"
        select l.seq, l.kind, l.claim_id, l.disposition, p.payload as "payload?", l.recorded_at,
               l.digest, l.hash
        from mnemon.claim_ledger l
        left join mnemon.claim_ledger_payloads p
          on p.tenant = l.tenant and p.agent_id = l.agent_id and p.seq = l.seq
        where l.tenant = $1 and l.agent_id = $2 and l.seq > $3
        order by l.seq
        limit $4
        "#,
        scope.tenant,
        agent(scope)?,
        after,
        i64::from(limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let payload = row
            .payload
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|error: serde_json::Error| Error::corrupt(WHAT, error.to_string()))?;
        entries.push(LedgerEntry {
            seq: row.seq,
            kind: row::named(&row.kind, WHAT)?,
            claim: ClaimId(row.claim_id),
            disposition: row::named(&row.disposition, WHAT)?,
            payload,
            recorded_at: row.recorded_at,
            digest: row::hash(&row.digest, WHAT)?,
            hash: row::hash(&row.hash, WHAT)?,
        });
    }
    Ok(entries)
}
