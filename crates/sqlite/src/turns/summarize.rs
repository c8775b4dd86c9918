//! Summaries: the right to write the next one, and what follows from the outcome.

use std::time::Duration;

use mnemon_core::events::{TURNS_HEALTH_CHANGED, TURNS_SUMMARIZING_PAUSED};
use mnemon_core::scope::Admitted;
use mnemon_core::turns::health::{Ended, is_paused, next, pause};
use mnemon_core::turns::summarize::{batch, is_free, summary_tokens};
use mnemon_core::turns::{Assignment, Attempt, Due, Key, Place, Standing, Summary, TurnDefaults};
use mnemon_core::{Error, Fence, Scope, limits};
use rusqlite::{Connection, params};
use serde_json::json;

use super::append::{micros, unqueue};
use super::copy::add_summary;
use super::read::{self, Head};
use crate::error::Done;
use crate::events;
use crate::memories::rows;
use crate::open::now;

pub(crate) mod sql {
    crate::sql::statements! {
        HOLD = concat!(
            "update turn_sessions set holder = ?6, fence = ?7, lease_until = ?8 where ", at_key!()
        );
        WRITTEN = concat!("select 1 from turn_summaries where ", at_key!(), " and seq_to = ?7 and holder = ?6");
        SETTLE = concat!(
            "update turn_sessions set holder = null, lease_until = null, covered_seq = ?6, \
             health = ?7, failures = ?8, paused = ?9, last_error = ?10 where ", at_key!()
        );
        COVER = concat!("update turn_sessions set covered_seq = ?6 where ", at_key!());
        DEFER = concat!("update turn_backlog set due_at = ?6 where ", at_key!());
        DUE = "select tenant, user_id, session_id, run_key, kind from turn_backlog \
            where due_at <= ?1 order by due_at limit ?2";
        WAITING = "select count(*) from turn_backlog where due_at <= ?1";
    }
}

/// Takes the right to write the next summary, with what goes into it.
pub(super) fn take(conn: &Connection, place: &Place<'_>, holder: &str) -> Done<Option<Assignment>> {
    let Some(head) = read::head(conn, place)? else { return Ok(None) };
    let now = now(conn)?;
    let ours = head.holder.as_deref() == Some(holder);
    let until = head.lease_until.map(rows::time).transpose()?;
    if !ours
        && head.holder.is_some()
        && !is_free(until, rows::time(now)?)
        && let Some(until) = until
    {
        return Err(Error::Held { key: format!("the summary of {}", place.kind), until }.into());
    }
    let waiting = head.waiting();
    if waiting == 0 {
        unqueue(conn, place)?;
        return Ok(None);
    }
    let most = u32::try_from(waiting).unwrap_or(u32::MAX).min(limits::SUMMARY_BATCH_TURNS);
    let last = head.covered + waiting;
    let mut turns = batch(read::following(conn, place, head.covered, most)?);
    turns.retain(|turn| turn.seq <= last);
    if turns.is_empty() {
        // Their time was over before anybody summarised them.
        let Place { tenant, user, session, run, kind } = *place;
        let at = params![tenant, user, session, run, kind, last];
        conn.prepare_cached(sql::COVER)?.execute(at)?;
        unqueue(conn, place)?;
        return Ok(None);
    }
    let fence = if ours { head.fence } else { head.fence + 1 };
    conn.prepare_cached(sql::HOLD)?.execute(params![
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        holder,
        fence,
        now.saturating_add(micros(limits::SUMMARY_LEASE)),
    ])?;
    Ok(Some(Assignment {
        holder: holder.to_owned(),
        fence: Fence(fence),
        previous: read::newest_summary(conn, place)?,
        turns,
        max_tokens: summary_tokens(head.strategy),
    }))
}

/// Ends an assignment.
pub(super) fn settle(
    conn: &Connection,
    scope: &Admitted<'_>,
    key: &Key,
    assignment: &Assignment,
    attempt: &Attempt,
    defaults: &TurnDefaults,
) -> Done<Standing> {
    let place = &Place::of(scope, key)?;
    let Place { tenant, user, session, run, kind } = *place;
    let fenced = || Error::Fenced { key: format!("the summary of {kind}") };
    let Some(head) = read::head(conn, place)? else { return Err(fenced().into()) };
    let at = params![tenant, user, session, run, kind, assignment.holder, assignment.seq_to()];
    if matches!(attempt, Attempt::Summarized { .. })
        && conn.prepare_cached(sql::WRITTEN)?.exists(at)?
    {
        return Ok(head.standing());
    }
    if head.holder.as_ref() != Some(&assignment.holder) || head.fence != assignment.fence.0 {
        return Err(fenced().into());
    }
    let now = now(conn)?;
    let after = match attempt {
        Attempt::Abandoned => After::abandoned(head),
        Attempt::Failed { reason } => failed(conn, scope, place, head, reason, defaults)?,
        Attempt::Summarized { text } => {
            let link = Summary {
                seq_from: head.covered + 1,
                seq_to: assignment.seq_to(),
                extends: assignment.previous.as_ref().map(|summary| summary.seq_to),
                tokens: defaults.counter.count(text),
                text: text.clone(),
                at: rows::time(now)?,
            };
            add_summary(conn, place, &link, Some(&assignment.holder))?;
            succeeded(conn, scope, place, head, link.seq_to)?
        }
    };
    keep(conn, place, &after.head)?;
    if after.head.waiting() == 0 {
        unqueue(conn, place)?;
    } else {
        let due_at = now.saturating_add(micros(after.pause));
        let at = params![tenant, user, session, run, kind, due_at];
        conn.prepare_cached(sql::DEFER)?.execute(at)?;
    }
    Ok(after.head.standing())
}

/// A head as it is to be kept, and how long it is left alone.
struct After {
    head: Head,
    pause: Duration,
}

impl After {
    fn abandoned(head: Head) -> Self {
        Self { head, pause: Duration::ZERO }
    }
}

fn failed(
    conn: &Connection,
    scope: &Admitted<'_>,
    place: &Place<'_>,
    mut head: Head,
    reason: &str,
    defaults: &TurnDefaults,
) -> Done<After> {
    let reason = reason[..reason.floor_char_boundary(limits::UPKEEP_ERROR_BYTES)].replace('\0', "");
    change(conn, scope, place, &mut head, Ended::Failed, &reason)?;
    head.last_error = Some(reason);
    let paused = is_paused(head.health, head.waiting(), defaults.backlog_max);
    if paused && !head.paused {
        let data = json!({
            "kind": place.kind,
            "backlog": head.waiting(),
            "backlog_max": defaults.backlog_max,
        });
        events::note(conn, scope, TURNS_SUMMARIZING_PAUSED, &data, Duration::ZERO)?;
    }
    head.paused = paused;
    let pause = pause(head.failures, paused);
    Ok(After { head, pause })
}

fn succeeded(
    conn: &Connection,
    scope: &Admitted<'_>,
    place: &Place<'_>,
    mut head: Head,
    covered: i64,
) -> Done<After> {
    head.covered = covered;
    let more = head.waiting() > 0;
    change(conn, scope, place, &mut head, Ended::Succeeded { more }, "a summary was written")?;
    (head.paused, head.last_error) = (false, None);
    Ok(After { head, pause: Duration::ZERO })
}

/// Moves the health on, noting every state that it enters.
fn change(
    conn: &Connection,
    scope: &Admitted<'_>,
    place: &Place<'_>,
    head: &mut Head,
    ended: Ended,
    reason: &str,
) -> Done<()> {
    let verdict = next(head.health, head.failures, ended);
    head.failures = verdict.failures;
    for new in verdict.entered {
        let prior = std::mem::replace(&mut head.health, new);
        let data = json!({
            "kind": place.kind, "prior": prior, "new": new, "reason": reason,
        });
        events::note(conn, scope, TURNS_HEALTH_CHANGED, &data, Duration::ZERO)?;
    }
    Ok(())
}

fn keep(conn: &Connection, place: &Place<'_>, head: &Head) -> Done<()> {
    conn.prepare_cached(sql::SETTLE)?.execute(params![
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        head.covered,
        head.health.name(),
        head.failures,
        head.paused,
        head.last_error,
    ])?;
    Ok(())
}

/// Memories whose summary is due.
pub(super) fn due(conn: &Connection, limit: u32) -> Done<Vec<Due>> {
    let found = conn
        .prepare_cached(sql::DUE)?
        .query_map(params![now(conn)?, limit], |row| {
            let scope = Scope::tenant(row.get::<_, String>(0)?)
                .user(row.get::<_, String>(1)?)
                .session(row.get::<_, String>(2)?);
            let run: String = row.get(3)?;
            let key = Key { kind: row.get(4)?, run_scoped: !run.is_empty() };
            Ok(Due { scope: if run.is_empty() { scope } else { scope.run(run) }, key })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

/// How many memories' summaries are due.
pub(crate) fn waiting(conn: &Connection, now: i64) -> Done<i64> {
    Ok(conn.prepare_cached(sql::WAITING)?.query_row([now], |row| row.get(0))?)
}
