//! Questions to an oracle: rows of the same transaction as the claim they are about.

use std::time::Duration;

use chrono::{DateTime, Utc};
use mnemon_core::claims::change::{Change, Closed, Question};
use mnemon_core::claims::resolve::expire;
use mnemon_core::claims::{
    Asked, ClaimId, HandleId, Line, PendingAdjudication, Provenance, Undelivered, Verdict, pending,
};
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Error, Paged, Scope, limits};
use rusqlite::{Connection, Row, params};
use serde_json::json;

use super::rows::micros;
use super::write::time_of_write;
use super::{agent, change, head, lines};
use crate::error::Done;
use crate::open::now;
use crate::row;

pub(crate) mod sql {
    macro_rules! question {
        () => {
            "select handle_id, challenger, incumbents, request, queued_at, expires_at, status, \
             delivered_at, attempts, last_error from claim_questions "
        };
    }

    crate::sql::statements! {
        INSERT = "insert into claim_questions (tenant, agent_id, handle_id, subject, predicate, \
            challenger, incumbents, request, status, queued_at, expires_at, attempts, \
            next_attempt_at, user_id) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'queued', ?9, ?10, 0, ?11, ?12)";
        CLOSE = "update claim_questions set status = ?4, verdict = ?5, evidence_provenance = ?6, \
            because = ?7, resolved_at = ?8 where tenant = ?1 and agent_id = ?2 and handle_id = ?3";
        GET = concat!(question!(), "where tenant = ?1 and agent_id = ?2 and handle_id = ?3");
        OF_LINE = concat!(
            question!(), "where tenant = ?1 and agent_id = ?2 and status = 'queued' \
            and subject = ?3 and predicate = ?4 order by queued_at, handle_id"
        );
        OPEN = concat!(
            question!(), "where tenant = ?1 and agent_id = ?2 and status = 'queued' \
            and (queued_at, handle_id) > (?3, ?4) order by queued_at, handle_id limit ?5"
        );
        TAKE = "select tenant, agent_id, handle_id, request, attempts from claim_questions \
            where status = 'queued' and delivered_at is null and next_attempt_at <= ?1 \
            and (expires_at is null or expires_at > ?1) order by next_attempt_at limit ?2";
        TAKEN = "update claim_questions set attempts = attempts + 1, next_attempt_at = ?4 \
            where tenant = ?1 and agent_id = ?2 and handle_id = ?3";
        DELIVERED = "update claim_questions set delivered_at = ?4, last_error = null \
            where tenant = ?1 and agent_id = ?2 and handle_id = ?3 and status = 'queued'";
        LATER = "update claim_questions set next_attempt_at = ?4, \
            last_error = coalesce(?5, last_error) \
            where tenant = ?1 and agent_id = ?2 and handle_id = ?3 and status = 'queued'";
        UNDELIVERED = "select count(*) from claim_questions \
            where status = 'queued' and delivered_at is null and next_attempt_at <= ?1";
        EXPIRED = "select tenant, agent_id, handle_id from claim_questions \
            where status = 'queued' and expires_at is not null and expires_at <= ?1 \
            and (?2 is null or tenant = ?2) and (?3 is null or agent_id = ?3) \
            order by expires_at limit ?4";
        EXPIRED_COUNT = "select count(*) from claim_questions \
            where status = 'queued' and expires_at is not null and expires_at <= ?1";
        /// Claims that wait for an answer to no question.
        ORPHANS = "select n.claim_id from claim_current n where n.tenant = ?1 and n.agent_id = ?2 \
            and n.disposition = 'QueuedForAdjudication' \
            and n.disposition in ('Contested', 'QueuedForAdjudication') and not exists (\
            select 1 from claim_questions q where q.tenant = n.tenant \
            and q.agent_id = n.agent_id and q.challenger = n.claim_id and q.status = 'queued')";
    }
}

const WHAT: &str = "a question";

fn question(row: &Row<'_>) -> Done<PendingAdjudication> {
    Ok(PendingAdjudication {
        handle_id: HandleId(row::id(row, 0)?),
        challenger: ClaimId(row::id(row, 1)?),
        incumbents: row::json(row, 2, WHAT)?,
        request: row::json(row, 3, WHAT)?,
        queued_at: row::time(row, 4)?,
        expires_at: row::moment(row, 5)?,
        status: row::named(row, 6, WHAT)?,
        delivered_at: row::moment(row, 7)?,
        attempts: row.get(8)?,
        last_error: row.get(9)?,
    })
}

pub(super) fn insert(
    conn: &Connection,
    scope: &Admitted<'_>,
    question: &Question,
    at: DateTime<Utc>,
) -> Done<()> {
    let request = &question.request;
    conn.prepare_cached(sql::INSERT)?.execute(params![
        scope.tenant,
        agent(scope)?,
        request.handle_id.0.as_bytes(),
        request.subject_line.subject,
        request.subject_line.predicate,
        question.challenger.0.as_bytes(),
        json!(question.incumbents).to_string(),
        json!(request).to_string(),
        micros(at),
        request.expires_at.map(micros),
        // The agent's time may run ahead of the clock's.
        now(conn)?,
        scope.user,
    ])?;
    Ok(())
}

pub(super) fn close(
    conn: &Connection,
    scope: &Admitted<'_>,
    closed: &Closed,
    at: DateTime<Utc>,
) -> Done<()> {
    conn.prepare_cached(sql::CLOSE)?.execute(params![
        scope.tenant,
        agent(scope)?,
        closed.handle.0.as_bytes(),
        closed.status.as_str(),
        closed.verdict.map(Verdict::as_str),
        closed.evidence.map(Provenance::as_str),
        closed.because,
        micros(at),
    ])?;
    Ok(())
}

pub(super) fn get(
    conn: &Connection,
    scope: &Admitted<'_>,
    handle: HandleId,
) -> Done<PendingAdjudication> {
    let mut statement = conn.prepare_cached(sql::GET)?;
    let mut rows = statement.query(params![scope.tenant, agent(scope)?, handle.0.as_bytes()])?;
    match rows.next()? {
        Some(row) => question(row),
        None => Err(Error::not_found("open adjudication", handle).into()),
    }
}

/// The open questions about a line.
pub(super) fn of_line(
    conn: &Connection,
    scope: &Admitted<'_>,
    line: &Line,
) -> Done<Vec<PendingAdjudication>> {
    let mut statement = conn.prepare_cached(sql::OF_LINE)?;
    let key = params![scope.tenant, agent(scope)?, line.subject, line.predicate];
    let mut rows = statement.query(key)?;
    let mut open = Vec::new();
    while let Some(row) = rows.next()? {
        open.push(question(row)?);
    }
    Ok(open)
}

/// A page of the open questions, oldest first.
pub(super) fn list(
    conn: &Connection,
    scope: &Admitted<'_>,
    (at, handle): (i64, HandleId),
    limit: u32,
) -> Done<Paged<PendingAdjudication>> {
    let mut statement = conn.prepare_cached(sql::OPEN)?;
    let key = params![scope.tenant, agent(scope)?, at, handle.0.as_bytes(), limit + 1];
    let mut rows = statement.query(key)?;
    let mut open = Vec::new();
    while let Some(row) = rows.next()? {
        open.push(question(row)?);
    }
    Ok(Paged::cut(open, limit, pending::cursor))
}

/// Takes questions that are to be put now.
pub(super) fn take(conn: &Connection, most: u32, visibility: Duration) -> Done<Vec<Undelivered>> {
    let now = now(conn)?;
    let until = now.saturating_add(i64::try_from(visibility.as_micros()).unwrap_or(i64::MAX));
    let mut statement = conn.prepare_cached(sql::TAKE)?;
    let mut rows = statement.query(params![now, most])?;
    let mut taken = Vec::new();
    while let Some(row) = rows.next()? {
        let key = (row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?);
        let attempts: u32 = row.get(4)?;
        let asked = Undelivered { request: row::json(row, 3, WHAT)?, attempts: attempts + 1 };
        taken.push((key, asked));
    }
    let mut mark = conn.prepare_cached(sql::TAKEN)?;
    for ((tenant, agent, handle), _) in &taken {
        mark.execute(params![tenant, agent, handle, until])?;
    }
    Ok(taken.into_iter().map(|(_, asked)| asked).collect())
}

/// Notes what became of putting a question.
pub(super) fn note(
    conn: &Connection,
    scope: &Admitted<'_>,
    handle: HandleId,
    asked: &Asked,
) -> Done<()> {
    let now = now(conn)?;
    let (tenant, agent, handle) = (scope.tenant, agent(scope)?, handle.0);
    let later =
        |wait: &Duration| now.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
    match asked {
        Asked::Taken => conn.prepare_cached(sql::DELIVERED)?.execute(params![
            tenant,
            agent,
            handle.as_bytes(),
            now
        ])?,
        Asked::Failed { error, retry_after } => {
            let error = &error[..error.floor_char_boundary(limits::UPKEEP_ERROR_BYTES)];
            let values = params![tenant, agent, handle.as_bytes(), later(retry_after), error];
            conn.prepare_cached(sql::LATER)?.execute(values)?
        }
        Asked::Busy { until } => {
            let nothing = None::<&str>;
            let values = params![tenant, agent, handle.as_bytes(), later(until), nothing];
            conn.prepare_cached(sql::LATER)?.execute(values)?
        }
    };
    Ok(())
}

/// How many wait to be put.
pub(crate) fn undelivered(conn: &Connection, now: i64) -> Done<i64> {
    Ok(conn.prepare_cached(sql::UNDELIVERED)?.query_row([now], |row| row.get(0))?)
}

/// How many nobody answered in time.
pub(crate) fn expired(conn: &Connection, now: i64) -> Done<i64> {
    Ok(conn.prepare_cached(sql::EXPIRED_COUNT)?.query_row([now], |row| row.get(0))?)
}

/// Turns unanswered questions whose time is over into contested claims, of one agent or of all.
pub(crate) fn sweep(conn: &Connection, whose: Option<&Admitted<'_>>, most: u32) -> Done<u64> {
    let now = now(conn)?;
    let (tenant, agent_id) = match whose {
        Some(scope) => (Some(scope.tenant), Some(agent(scope)?)),
        None => (None, None),
    };
    let mut over: Vec<(String, String, HandleId)> = Vec::new();
    {
        let mut statement = conn.prepare_cached(sql::EXPIRED)?;
        let mut rows = statement.query(params![now, tenant, agent_id, most])?;
        while let Some(row) = rows.next()? {
            over.push((row.get(0)?, row.get(1)?, HandleId(row::id(row, 2)?)));
        }
    }
    let mut swept = 0;
    for (tenant, agent, handle) in over {
        let scope = Scope::tenant(tenant).agent(agent);
        let scope = scope.admit(Facet::Claims)?;
        let question = get(conn, &scope, handle)?;
        let challenger = lines::standing(conn, &scope, question.challenger)?;
        swept += write(conn, &scope, |at| expire(&challenger, Some(&question), at))?;
    }
    if let Some(scope) = whose {
        swept += orphans(conn, scope)?;
    }
    Ok(swept)
}

/// Claims that wait for no answer are contested again.
fn orphans(conn: &Connection, scope: &Admitted<'_>) -> Done<u64> {
    let mut found = Vec::new();
    {
        let mut statement = conn.prepare_cached(sql::ORPHANS)?;
        let mut rows = statement.query(params![scope.tenant, agent(scope)?])?;
        while let Some(row) = rows.next()? {
            found.push(ClaimId(row::id(row, 0)?));
        }
    }
    let mut swept = 0;
    for id in found {
        let challenger = lines::standing(conn, scope, id)?;
        swept += write(conn, scope, |at| expire(&challenger, None, at))?;
    }
    Ok(swept)
}

fn write(
    conn: &Connection,
    scope: &Admitted<'_>,
    decide: impl FnOnce(DateTime<Utc>) -> Change,
) -> Done<u64> {
    let mut head = head(conn, scope)?;
    let decided = decide(time_of_write(conn, head)?);
    change::apply(conn, scope, &mut head, &decided)?;
    Ok(1)
}
