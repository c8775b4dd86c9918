//! Receipts: the proof that a step happened, and its id's lock while it happens.

use chrono::{DateTime, Utc};
use mnemon_core::scope::Admitted;
use mnemon_core::steps::{Outcome, Receipt};
use mnemon_core::upkeep::Batch;
use mnemon_core::{Error, RequestId, Result, limits};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};
use uuid::Uuid;

use super::prepare::Prepared;
use crate::error::Fault;
use crate::row;

/// How often a receipt is looked for that upkeep removes meanwhile.
const ROUNDS: usize = 3;

/// Takes the step's id, or answers who had it. A second writer of the id waits here for the first.
pub(super) async fn claim(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    prepared: &Prepared,
) -> Result<Option<Kept>, Fault> {
    for _ in 0..ROUNDS {
        let done = query!(
            r#"
            insert into mnemon.receipts
                (tenant, user_id, agent_id, step_id, fingerprint, outcomes, committed_at, call_id)
            values ($1, $2, $3, $4, $5, '[]', mnemon.now(), $6)
            on conflict (tenant, user_id, agent_id, step_id) do nothing
            "#,
            scope.tenant,
            scope.user.unwrap_or_default(),
            scope.agent.unwrap_or_default(),
            prepared.step.id.as_str(),
            prepared.fingerprint.as_slice(),
            prepared.call,
        )
        .execute(&mut *conn)
        .await?;
        if done.rows_affected() == 1 {
            return Ok(None);
        }
        if let Some(kept) = kept(conn, scope, &prepared.step.id).await? {
            return Ok(Some(kept));
        }
    }
    let key = prepared.step.id.to_string();
    Err(Error::Conflict { kind: "step", key, expected: None, actual: None }.into())
}

/// Completes the receipt; when.
pub(super) async fn keep(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &RequestId,
    outcomes: &[Outcome],
) -> Result<DateTime<Utc>, Fault> {
    let outcomes: Value = serde_json::to_value(outcomes).expect("outcomes are JSON");
    let at = query_scalar!(
        r#"
        update mnemon.receipts
        set outcomes = $5, committed_at = mnemon.now()
        where tenant = $1 and user_id = $2 and agent_id = $3 and step_id = $4
        returning committed_at
        "#,
        scope.tenant,
        scope.user.unwrap_or_default(),
        scope.agent.unwrap_or_default(),
        id.as_str(),
        outcomes,
    )
    .fetch_one(conn)
    .await?;
    Ok(at)
}

/// A receipt as a repeat answers it, with what the step was and which call wrote it.
pub(super) struct Kept {
    pub(super) fingerprint: [u8; 32],
    pub(super) call: Uuid,
    pub(super) receipt: Receipt,
}

pub(super) async fn kept(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &RequestId,
) -> Result<Option<Kept>, Fault> {
    let found = query!(
        "select fingerprint, outcomes, committed_at, call_id from mnemon.receipts
         where tenant = $1 and user_id = $2 and agent_id = $3 and step_id = $4",
        scope.tenant,
        scope.user.unwrap_or_default(),
        scope.agent.unwrap_or_default(),
        id.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let kept = kept_of(id, &found.fingerprint, found.outcomes, found.committed_at, found.call_id)?;
    Ok(Some(kept))
}

/// A receipt from its row.
pub(super) fn kept_of(
    id: &RequestId,
    fingerprint: &[u8],
    outcomes: Value,
    committed_at: DateTime<Utc>,
    call: Uuid,
) -> Result<Kept> {
    const WHAT: &str = "a receipt";
    let outcomes = row::json(outcomes, WHAT)?;
    let receipt =
        Receipt { step_id: id.clone(), committed_at, outcomes, replayed: true, differs: false };
    Ok(Kept { fingerprint: row::hash(fingerprint, WHAT)?, call, receipt })
}

/// Removes a batch of receipts that were kept long enough.
pub(crate) async fn sweep(conn: &mut PgConnection, size: u32) -> Result<Batch, Fault> {
    let done = query!(
        r#"
        delete from mnemon.receipts r
        where (r.tenant, r.user_id, r.agent_id, r.step_id) in (
            select tenant, user_id, agent_id, step_id from mnemon.receipts
            where committed_at <= (select mnemon.now()) - make_interval(secs => $2)
            limit $1
            for update skip locked
        )
        "#,
        i64::from(size),
        limits::RECEIPTS_KEPT.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    let rows = done.rows_affected();
    Ok(Batch { rows, more: rows == u64::from(size) })
}
