//! Summaries: the right to write the next one, and what follows from the outcome.

use std::time::Duration;

use mnemon_core::events::{TURNS_HEALTH_CHANGED, TURNS_SUMMARIZING_PAUSED};
use mnemon_core::scope::Admitted;
use mnemon_core::turns::health::{Ended, is_paused, next, pause};
use mnemon_core::turns::summarize::{batch, is_free, summary_tokens};
use mnemon_core::turns::{Assignment, Attempt, Due, Key, Place, Standing, Summary, TurnDefaults};
use mnemon_core::{Error, Fence, Scope, limits};
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};
use uuid::Uuid;

use super::append::unqueue;
use super::copy::add_summary;
use super::read::{self, Head};
use crate::error::Fault;
use crate::events;

/// Takes the right to write the next summary, with what goes into it.
pub(super) async fn take(
    conn: &mut PgConnection,
    place: &Place<'_>,
    holder: &str,
) -> Result<Option<Assignment>, Fault> {
    read::lock(conn, place).await?;
    let Some(head) = read::head(conn, place).await? else { return Ok(None) };
    let ours = head.holder.as_deref() == Some(holder);
    if !ours
        && head.holder.is_some()
        && !is_free(head.lease_until, head.now)
        && let Some(until) = head.lease_until
    {
        return Err(Error::Held { key: format!("the summary of {}", place.kind), until }.into());
    }
    let waiting = head.waiting();
    if waiting == 0 {
        unqueue(conn, place).await?;
        return Ok(None);
    }
    let most = waiting.min(i64::from(limits::SUMMARY_BATCH_TURNS));
    let last = head.covered + waiting;
    let mut turns = batch(read::following(conn, place, head.covered, most).await?);
    turns.retain(|turn| turn.seq <= last);
    if turns.is_empty() {
        // Their time was over before anybody summarised them.
        cover(conn, place, last).await?;
        unqueue(conn, place).await?;
        return Ok(None);
    }
    let fence = if ours { head.fence } else { head.fence + 1 };
    hold(conn, place, holder, fence).await?;
    Ok(Some(Assignment {
        holder: holder.to_owned(),
        fence: Fence(fence),
        previous: read::newest_summary(conn, place).await?,
        turns,
        max_tokens: summary_tokens(head.strategy),
    }))
}

async fn hold(
    conn: &mut PgConnection,
    place: &Place<'_>,
    holder: &str,
    fence: i64,
) -> Result<(), Fault> {
    query!(
        r#"
        update mnemon.turn_sessions
        set holder = $6, fence = $7, lease_until = mnemon.now() + make_interval(secs => $8)
        where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        holder,
        fence,
        limits::SUMMARY_LEASE.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn cover(conn: &mut PgConnection, place: &Place<'_>, last: i64) -> Result<(), Fault> {
    query!(
        r#"
        update mnemon.turn_sessions set covered_seq = $6
        where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        last,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends an assignment.
pub(super) async fn settle(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    place: &Place<'_>,
    assignment: &Assignment,
    attempt: &Attempt,
    defaults: &TurnDefaults,
) -> Result<Standing, Fault> {
    let fenced = || Error::Fenced { key: format!("the summary of {}", place.kind) };
    read::lock(conn, place).await?;
    let Some(head) = read::head(conn, place).await? else { return Err(fenced().into()) };
    let written = matches!(attempt, Attempt::Summarized { .. })
        && is_written(conn, place, assignment).await?;
    if written {
        return Ok(head.standing());
    }
    if head.holder.as_ref() != Some(&assignment.holder) || head.fence != assignment.fence.0 {
        return Err(fenced().into());
    }
    let (head, pause) = match attempt {
        Attempt::Abandoned => (head, Duration::ZERO),
        Attempt::Failed { reason } => failed(conn, scope, place, head, reason, defaults).await?,
        Attempt::Summarized { text } => {
            let link = Summary {
                seq_from: head.covered + 1,
                seq_to: assignment.seq_to(),
                extends: assignment.previous.as_ref().map(|summary| summary.seq_to),
                tokens: defaults.counter.count(text),
                text: text.clone(),
                at: head.now,
            };
            add_summary(conn, place, &link, Some(&assignment.holder)).await?;
            succeeded(conn, scope, place, head, link.seq_to).await?
        }
    };
    keep(conn, place, &head).await?;
    if head.waiting() == 0 {
        unqueue(conn, place).await?;
    } else {
        defer(conn, place, pause).await?;
    }
    Ok(head.standing())
}

/// Whether an attempt's summary is there already: its answer was lost.
async fn is_written(
    conn: &mut PgConnection,
    place: &Place<'_>,
    assignment: &Assignment,
) -> Result<bool, Fault> {
    Ok(query_scalar!(
        r#"
        select exists (
            select from mnemon.turn_summaries
            where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
              and holder = $6 and seq_to = $7
        ) as "written!"
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        assignment.holder,
        assignment.seq_to(),
    )
    .fetch_one(conn)
    .await?)
}

async fn failed(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    place: &Place<'_>,
    mut head: Head,
    reason: &str,
    defaults: &TurnDefaults,
) -> Result<(Head, Duration), Fault> {
    let reason = reason[..reason.floor_char_boundary(limits::UPKEEP_ERROR_BYTES)].replace('\0', "");
    change(conn, scope, place, &mut head, Ended::Failed, &reason).await?;
    head.last_error = Some(reason);
    let paused = is_paused(head.health, head.waiting(), defaults.backlog_max);
    if paused && !head.paused {
        let data = json!({
            "kind": place.kind,
            "backlog": head.waiting(),
            "backlog_max": defaults.backlog_max,
        });
        events::append::note(conn, scope, Uuid::now_v7(), TURNS_SUMMARIZING_PAUSED, data).await?;
    }
    head.paused = paused;
    let pause = pause(head.failures, paused);
    Ok((head, pause))
}

async fn succeeded(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    place: &Place<'_>,
    mut head: Head,
    covered: i64,
) -> Result<(Head, Duration), Fault> {
    head.covered = covered;
    let ended = Ended::Succeeded { more: head.waiting() > 0 };
    change(conn, scope, place, &mut head, ended, "a summary was written").await?;
    (head.paused, head.last_error) = (false, None);
    Ok((head, Duration::ZERO))
}

/// Moves the health on, noting every state that it enters.
async fn change(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    place: &Place<'_>,
    head: &mut Head,
    ended: Ended,
    reason: &str,
) -> Result<(), Fault> {
    let verdict = next(head.health, head.failures, ended);
    head.failures = verdict.failures;
    for new in verdict.entered {
        let prior = std::mem::replace(&mut head.health, new);
        let data = json!({
            "kind": place.kind, "prior": prior, "new": new, "reason": reason,
        });
        events::append::note(conn, scope, Uuid::now_v7(), TURNS_HEALTH_CHANGED, data).await?;
    }
    Ok(())
}

/// Keeps a head, and gives the right back.
async fn keep(conn: &mut PgConnection, place: &Place<'_>, head: &Head) -> Result<(), Fault> {
    query!(
        r#"
        update mnemon.turn_sessions
        set holder = null, lease_until = null, covered_seq = $6, health = $7, failures = $8,
            paused = $9, last_error = $10
        where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        head.covered,
        head.health.name(),
        i64::from(head.failures),
        head.paused,
        head.last_error,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Leaves a memory alone for a while.
async fn defer(conn: &mut PgConnection, place: &Place<'_>, pause: Duration) -> Result<(), Fault> {
    query!(
        r#"
        update mnemon.turn_backlog set due_at = mnemon.now() + make_interval(secs => $6)
        where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
        "#,
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        pause.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Memories whose summary is due.
pub(super) async fn due(conn: &mut PgConnection, limit: u32) -> Result<Vec<Due>, Fault> {
    let rows = query!(
        r#"
        select tenant, user_id, session_id, run_key, kind
        from mnemon.turn_backlog
        where due_at <= (select mnemon.now())
        order by due_at
        limit $1
        "#,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let scope = Scope::tenant(row.tenant).user(row.user_id).session(row.session_id);
            let run_scoped = !row.run_key.is_empty();
            let scope = if run_scoped { scope.run(row.run_key) } else { scope };
            Due { scope, key: Key { kind: row.kind, run_scoped } }
        })
        .collect())
}
