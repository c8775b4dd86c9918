//! Portable copies: a memory out, a memory in.

use std::time::Duration;

use mnemon_core::turns::summarize::waiting;
use mnemon_core::turns::{Export, Imported, Place, Strategy, Summary, Turn, TurnDefaults};
use mnemon_core::{Error, RequestId, limits};
use rusqlite::{Connection, params};
use serde_json::json;

use super::append::{micros, queue, sql as append};
use super::{read, remove};
use crate::error::Done;
use crate::open::now;

pub(crate) mod sql {
    crate::sql::statements! {
        PLACE = "insert into turn_sessions (tenant, user_id, session_id, run_key, kind, seq, \
            covered_seq, strategy, budget_tokens, full_zone_turns, retention, created_at, \
            active_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12) \
            on conflict (tenant, user_id, session_id, run_key, kind) do update set \
            seq = ?6, covered_seq = ?7, active_at = ?12 returning retention";
        SUMMARY = "insert into turn_summaries (tenant, user_id, session_id, run_key, kind, \
            seq_from, seq_to, extends, tokens, at, summary, holder) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    }
}

/// A memory as it stands in this transaction.
pub(super) fn export(
    conn: &Connection,
    place: &Place<'_>,
    defaults: &TurnDefaults,
) -> Done<Export> {
    let head = read::head(conn, place)?;
    let strategy = head.map_or(defaults.settings.strategy, |head| head.strategy);
    let mut turns: Vec<Turn> = Vec::new();
    let mut bytes = 0;
    loop {
        let after = turns.last().map_or(0, |turn| turn.seq);
        let page = read::following(conn, place, after, limits::PAGE_MAX)?;
        if page.is_empty() {
            break;
        }
        for turn in &page {
            let sides = [&turn.user_message, &turn.assistant_response];
            bytes += sides.into_iter().flatten().map(String::len).sum::<usize>();
        }
        if bytes > limits::TURN_EXPORT_BYTES {
            let most = limits::TURN_EXPORT_BYTES;
            return Err(Error::invalid("export", format!("is over {most} bytes")).into());
        }
        turns.extend(page);
    }
    Ok(Export::new(strategy, turns, read::chain(conn, place, 0, u32::MAX)?))
}

/// Replaces what a memory holds.
pub(super) fn import(
    conn: &Connection,
    place: &Place<'_>,
    export: &Export,
    retention: Option<Duration>,
) -> Done<Imported> {
    let standing = read::head(conn, place)?.map(|head| head.strategy);
    if let Some(strategy) = standing
        && strategy.name() != export.strategy.name()
    {
        let (copy, key) = (export.strategy.name(), strategy.name());
        let reason = format!("is {copy}; this memory's is {key}");
        return Err(Error::invalid("strategy", reason).into());
    }
    remove::clear(conn, place)?;
    let now = now(conn)?;
    let covered = export.summaries.last().map_or(0, |summary| summary.seq_to);
    let strategy = standing.unwrap_or(export.strategy);
    let retention: Option<i64> = conn.prepare_cached(sql::PLACE)?.query_row(
        params![
            place.tenant,
            place.user,
            place.session,
            place.run,
            place.kind,
            export.last(),
            covered,
            strategy.name(),
            strategy.budget_tokens(),
            strategy.full_zone_turns(),
            retention.map(micros),
            now,
        ],
        |row| row.get(0),
    )?;
    let expires_at = retention.map(|retention| now.saturating_add(retention));
    export.turns.iter().try_for_each(|turn| add_turn(conn, place, turn, expires_at))?;
    export.summaries.iter().try_for_each(|link| add_summary(conn, place, link, None))?;
    wait(conn, place, export.last(), covered, strategy, now)?;
    Ok(Imported { turns: export.turns.len() as u64, summaries: export.summaries.len() as u64 })
}

fn wait(
    conn: &Connection,
    place: &Place<'_>,
    seq: i64,
    covered: i64,
    strategy: Strategy,
    now: i64,
) -> Done<()> {
    if waiting(seq, covered, strategy) > 0 { queue(conn, place, now) } else { Ok(()) }
}

fn add_turn(
    conn: &Connection,
    place: &Place<'_>,
    turn: &Turn,
    expires_at: Option<i64>,
) -> Done<()> {
    conn.prepare_cached(append::APPEND)?.execute(params![
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        turn.seq,
        turn.request_id.as_ref().map(RequestId::as_str),
        turn.tokens,
        turn.at.timestamp_micros(),
        expires_at,
        turn.agent,
        turn.run,
        turn.digest.as_ref().map(|digest| json!(digest).to_string()),
        json!(turn.artifacts_shown).to_string(),
        json!(turn.artifacts_hidden).to_string(),
        turn.metadata.to_string(),
        turn.user_message,
        turn.assistant_response,
    ])?;
    Ok(())
}

/// Adds a link to the chain.
pub(super) fn add_summary(
    conn: &Connection,
    place: &Place<'_>,
    link: &Summary,
    holder: Option<&str>,
) -> Done<()> {
    conn.prepare_cached(sql::SUMMARY)?.execute(params![
        place.tenant,
        place.user,
        place.session,
        place.run,
        place.kind,
        link.seq_from,
        link.seq_to,
        link.extends,
        link.tokens,
        link.at.timestamp_micros(),
        link.text,
        holder,
    ])?;
    Ok(())
}
