//! Questions to an oracle: rows of the same transaction as the claim they are about.

use std::time::Duration;

use chrono::{DateTime, Utc};
use mnemon_core::claims::adjudicate::next_time;
use mnemon_core::claims::change::{Change, Closed, Question};
use mnemon_core::claims::fold::Recorded;
use mnemon_core::claims::resolve::expire;
use mnemon_core::claims::{
    Asked, ClaimId, HandleId, Line, PendingAdjudication, Provenance, Undelivered, Verdict,
};
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::upkeep::Batch;
use mnemon_core::{Error, Result as CoreResult, Scope, limits};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};
use uuid::Uuid;

use super::{agent, by_id, change, ledger};
use crate::error::Fault;
use crate::row;

const WHAT: &str = "a question";

struct Row {
    handle_id: Uuid,
    challenger: Uuid,
    incumbents: Vec<Uuid>,
    request: Value,
    queued_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    status: String,
    delivered_at: Option<DateTime<Utc>>,
    attempts: i32,
    last_error: Option<String>,
}

impl TryFrom<Row> for PendingAdjudication {
    type Error = Error;

    fn try_from(row: Row) -> CoreResult<Self> {
        Ok(Self {
            handle_id: HandleId(row.handle_id),
            challenger: ClaimId(row.challenger),
            incumbents: row.incumbents.into_iter().map(ClaimId).collect(),
            request: row::json(row.request, WHAT)?,
            queued_at: row.queued_at,
            expires_at: row.expires_at,
            status: row::named(&row.status, WHAT)?,
            delivered_at: row.delivered_at,
            attempts: row.attempts.unsigned_abs(),
            last_error: row.last_error,
        })
    }
}

fn questions(rows: Vec<Row>) -> CoreResult<Vec<PendingAdjudication>> {
    rows.into_iter().map(PendingAdjudication::try_from).collect()
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    question: &Question,
    at: DateTime<Utc>,
) -> Result<(), Fault> {
    let request = &question.request;
    let incumbents: Vec<Uuid> = question.incumbents.iter().map(|claim| claim.0).collect();
    query!(
        r#"
        insert into mnemon.claim_questions
            (tenant, agent_id, handle_id, subject, predicate, challenger, incumbents, request,
             status, queued_at, expires_at, attempts, next_attempt_at, user_id)
        values ($1, $2, $3, $4, $5, $6, $7, $8, 'queued', $9, $10, 0, mnemon.now(), $11)
        "#,
        scope.tenant,
        agent(scope)?,
        request.handle_id.0,
        request.subject_line.subject,
        request.subject_line.predicate,
        question.challenger.0,
        &incumbents,
        serde_json::to_value(request).expect("a request is plain data"),
        at,
        request.expires_at,
        scope.user,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn close(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    closed: &Closed,
    at: DateTime<Utc>,
) -> Result<(), Fault> {
    query!(
        r#"
        update mnemon.claim_questions
        set status = $4, verdict = $5, evidence_provenance = $6, because = $7, resolved_at = $8
        where tenant = $1 and agent_id = $2 and handle_id = $3
        "#,
        scope.tenant,
        agent(scope)?,
        closed.handle.0,
        closed.status.as_str(),
        closed.verdict.map(Verdict::as_str),
        closed.evidence.map(Provenance::as_str),
        closed.because,
        at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn get(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    handle: HandleId,
) -> Result<PendingAdjudication, Fault> {
    let found = query_as!(
        Row,
        r#"
        select handle_id, challenger, incumbents, request, queued_at, expires_at, status,
               delivered_at, attempts, last_error
        from mnemon.claim_questions
        where tenant = $1 and agent_id = $2 and handle_id = $3
        "#,
        scope.tenant,
        agent(scope)?,
        handle.0,
    )
    .fetch_optional(conn)
    .await?;
    match found {
        Some(row) => Ok(row.try_into()?),
        None => Err(Error::not_found("open adjudication", handle).into()),
    }
}

/// The open questions about a line.
pub(super) async fn of_line(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    line: &Line,
) -> Result<Vec<PendingAdjudication>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select handle_id, challenger, incumbents, request, queued_at, expires_at, status,
               delivered_at, attempts, last_error
        from mnemon.claim_questions
        where tenant = $1 and agent_id = $2 and status = 'queued'
          and subject = $3 and predicate = $4
        order by queued_at, handle_id
        "#,
        scope.tenant,
        agent(scope)?,
        line.subject,
        line.predicate,
    )
    .fetch_all(conn)
    .await?;
    Ok(questions(rows)?)
}

/// A page of the open questions, oldest first, one more than asked.
pub(super) async fn list(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    (at, handle): (i64, HandleId),
    limit: u32,
) -> Result<Vec<PendingAdjudication>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select handle_id, challenger, incumbents, request, queued_at, expires_at, status,
               delivered_at, attempts, last_error
        from mnemon.claim_questions
        where tenant = $1 and agent_id = $2 and status = 'queued'
          and (queued_at, handle_id) > (coalesce($3, '-infinity'::timestamptz), $4)
        order by queued_at, handle_id
        limit $5
        "#,
        scope.tenant,
        agent(scope)?,
        DateTime::from_timestamp_micros(at),
        handle.0,
        i64::from(limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    Ok(questions(rows)?)
}

/// Takes questions of all tenants that are to be put now; others pass over them.
pub(super) async fn take(
    conn: &mut PgConnection,
    most: u32,
    visibility: Duration,
) -> Result<Vec<Undelivered>, Fault> {
    let rows = query!(
        r#"
        update mnemon.claim_questions q
        set attempts = q.attempts + 1, next_attempt_at = mnemon.now() + make_interval(secs => $2)
        where (q.tenant, q.agent_id, q.handle_id) in (
            select tenant, agent_id, handle_id from mnemon.claim_questions
            where status = 'queued' and delivered_at is null
              and next_attempt_at <= (select mnemon.now())
              and (expires_at is null or expires_at > (select mnemon.now()))
            order by next_attempt_at
            limit $1
            for no key update skip locked
        )
        returning q.request, q.attempts
        "#,
        i64::from(most),
        visibility.as_secs_f64(),
    )
    .fetch_all(conn)
    .await?;
    let mut taken = Vec::with_capacity(rows.len());
    for found in rows {
        let request = row::json(found.request, WHAT)?;
        taken.push(Undelivered { request, attempts: found.attempts.unsigned_abs() });
    }
    Ok(taken)
}

/// Notes what became of putting a question.
pub(super) async fn note(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    handle: HandleId,
    asked: &Asked,
) -> Result<(), Fault> {
    let (delivered, wait, error) = match asked {
        Asked::Taken => (true, Duration::ZERO, None),
        Asked::Failed { error, retry_after } => {
            let error = &error[..error.floor_char_boundary(limits::UPKEEP_ERROR_BYTES)];
            (false, *retry_after, Some(error))
        }
        Asked::Busy { until } => (false, *until, None),
    };
    query!(
        r#"
        update mnemon.claim_questions
        set delivered_at = case when $4 then mnemon.now() else delivered_at end,
            next_attempt_at = mnemon.now() + make_interval(secs => $5),
            last_error = case when $4 then null else coalesce($6, last_error) end
        where tenant = $1 and agent_id = $2 and handle_id = $3 and status = 'queued'
        "#,
        scope.tenant,
        agent(scope)?,
        handle.0,
        delivered,
        wait.as_secs_f64(),
        error,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Turns the agent's unanswered questions whose time is over, and claims that wait for none, into
/// contested claims.
pub(super) async fn sweep(conn: &mut PgConnection, scope: &Admitted<'_>) -> Result<u64, Fault> {
    // The lock first: an answer that is being written is waited for.
    ledger::lock(conn, scope).await?;
    let over = query_scalar!(
        r#"
        select handle_id from mnemon.claim_questions
        where tenant = $1 and agent_id = $2 and status = 'queued'
          and expires_at <= (select mnemon.now())
        order by queued_at, handle_id
        "#,
        scope.tenant,
        agent(scope)?,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut swept = 0;
    for handle in over {
        let question = get(conn, scope, HandleId(handle)).await?;
        let challenger = by_id::standing(conn, scope, question.challenger).await?;
        swept += expired(conn, scope, &challenger, Some(&question)).await?;
    }
    let orphans = query_scalar!(
        r#"
        select n.claim_id from mnemon.claim_current n
        where n.tenant = $1 and n.agent_id = $2
          and n.disposition in ('Contested', 'QueuedForAdjudication')
          and n.disposition = 'QueuedForAdjudication'
          and not exists (
              select from mnemon.claim_questions q
              where q.tenant = n.tenant and q.agent_id = n.agent_id
                and q.challenger = n.claim_id and q.status = 'queued')
        "#,
        scope.tenant,
        agent(scope)?,
    )
    .fetch_all(&mut *conn)
    .await?;
    for orphan in orphans {
        let challenger = by_id::standing(conn, scope, ClaimId(orphan)).await?;
        swept += expired(conn, scope, &challenger, None).await?;
    }
    Ok(swept)
}

async fn expired(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    challenger: &Recorded,
    question: Option<&PendingAdjudication>,
) -> Result<u64, Fault> {
    let (mut head, now) = ledger::lock(conn, scope).await?;
    let at = next_time(head.map(|head| head.last_time), now);
    let decided: Change = expire(challenger, question, at);
    change::apply(conn, scope, &mut head, &decided).await?;
    Ok(1)
}

/// One batch of all agents' unanswered questions; agents are locked in the order of their names.
pub(crate) async fn sweep_all(conn: &mut PgConnection, size: u32) -> Result<Batch, Fault> {
    let agents = query!(
        r#"
        select distinct tenant, agent_id from (
            select tenant, agent_id from mnemon.claim_questions
            where status = 'queued' and expires_at is not null
              and expires_at <= (select mnemon.now())
            order by expires_at
            limit $1
        ) q
        order by tenant, agent_id
        "#,
        i64::from(size),
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut rows = 0;
    for found in agents {
        let scope = Scope::tenant(found.tenant).agent(found.agent_id);
        rows += sweep(conn, &scope.admit(Facet::Claims)?).await?;
    }
    Ok(Batch { rows, more: rows >= u64::from(size) })
}
