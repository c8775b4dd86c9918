//! Reading turns: heads, pages, contexts, summaries, sessions.

use mnemon_core::scope::Admitted;
use mnemon_core::turns::context::{Parts, compose, wants_more};
use mnemon_core::turns::summarize::waiting;
use mnemon_core::turns::{
    Context, Health, Place, SessionInfo, Standing, Strategy, Summary, Turn, TurnDefaults,
};
use mnemon_core::{Cursor, Page, Paged, RequestId, Result};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::Done;
use crate::row;

/// The columns of `turns`, in the order [`turn`] reads them.
macro_rules! columns {
    () => {
        "seq, user_message, assistant_response, digest, artifacts_shown, artifacts_hidden, \
         metadata, tokens, at, agent_id, run_id, request_id"
    };
}

pub(crate) mod sql {
    crate::sql::statements! {
        HEAD = concat!(
            "select seq, strategy, budget_tokens, full_zone_turns, covered_seq, health, failures, \
             paused, last_error, holder, fence, lease_until from turn_sessions where ", at_key!()
        );
        LIST = concat!(
            "select ", columns!(), " from turns where ", at_key!(), " and seq > ?6 \
             order by seq limit ?7"
        );
        NEWEST_FIRST = concat!(
            "select ", columns!(), " from turns where ", at_key!(), " and seq > ?6 \
             order by seq desc"
        );
        FIRST = concat!("select seq from turns where ", at_key!(), " order by seq limit 1");
        SUMMARIES = concat!(
            "select seq_from, seq_to, extends, summary, tokens, at from turn_summaries where ",
            at_key!(), " and seq_to > ?6 order by seq_to limit ?7"
        );
        NEWEST_SUMMARY = concat!(
            "select seq_from, seq_to, extends, summary, tokens, at from turn_summaries where ",
            at_key!(), " order by seq_to desc limit 1"
        );
        SESSIONS = "select session_id, count(*), sum(seq), max(active_at) from turn_sessions \
            where tenant = ?1 and user_id = ?2 and session_id > ?3 \
            group by session_id order by session_id limit ?4";
    }
}

/// The lists that cursors of this facet belong to.
pub(super) const LIST: &str = "turns";
pub(super) const SUMMARIES: &str = "summaries";
pub(super) const SESSIONS: &str = "sessions";

/// Where a page of a list by place begins, and how long it is.
pub(super) fn after(page: &Page, list: &str) -> Result<(i64, u32)> {
    page.check()?;
    let after = match &page.cursor {
        Some(cursor) => row::number_of(cursor, list)?,
        None => 0,
    };
    Ok((after, page.limit))
}

/// The head of a memory.
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) strategy: Strategy,
    pub(super) covered: i64,
    pub(super) health: Health,
    pub(super) failures: u32,
    pub(super) paused: bool,
    pub(super) last_error: Option<String>,
    pub(super) holder: Option<String>,
    pub(super) fence: i64,
    pub(super) lease_until: Option<i64>,
}

impl Head {
    /// Turns that wait for a summary.
    pub(super) fn waiting(&self) -> i64 {
        waiting(self.seq, self.covered, self.strategy)
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            health: self.health,
            failures: self.failures,
            paused: self.paused,
            backlog: self.waiting(),
            covered: self.covered,
            last_error: self.last_error.clone(),
        }
    }
}

pub(super) fn head(conn: &Connection, place: &Place<'_>) -> Done<Option<Head>> {
    let Place { tenant, user, session, run, kind } = *place;
    let mut statement = conn.prepare_cached(sql::HEAD)?;
    let mut rows = statement.query(params![tenant, user, session, run, kind])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let name: String = row.get(1)?;
    Ok(Some(Head {
        seq: row.get(0)?,
        strategy: Strategy::from_columns(&name, row.get(2)?, row.get(3)?)?,
        covered: row.get(4)?,
        health: row::named(row, 5, "a session's health")?,
        failures: row.get(6)?,
        paused: row.get(7)?,
        last_error: row.get(8)?,
        holder: row.get(9)?,
        fence: row.get(10)?,
        lease_until: row.get(11)?,
    }))
}

/// Turns after a place, oldest first, as many as asked.
pub(super) fn following(
    conn: &Connection,
    place: &Place<'_>,
    after: i64,
    most: u32,
) -> Done<Vec<Turn>> {
    let Place { tenant, user, session, run, kind } = *place;
    let mut statement = conn.prepare_cached(sql::LIST)?;
    let mut rows = statement.query(params![tenant, user, session, run, kind, after, most])?;
    let mut turns = Vec::new();
    while let Some(row) = rows.next()? {
        turns.push(turn(row)?);
    }
    Ok(turns)
}

pub(super) fn list(
    conn: &Connection,
    place: &Place<'_>,
    after: i64,
    limit: u32,
) -> Done<Paged<Turn>> {
    let turns = following(conn, place, after, limit + 1)?;
    Ok(Paged::cut(turns, limit, |turn| Cursor::of(LIST, &[&turn.seq.to_string()])))
}

pub(super) fn context(
    conn: &Connection,
    place: &Place<'_>,
    defaults: &TurnDefaults,
) -> Done<Context> {
    let head = head(conn, place)?;
    let strategy = head.as_ref().map_or(defaults.settings.strategy, |head| head.strategy);
    let summary = match strategy {
        Strategy::RollingSummary { .. } => newest_summary(conn, place)?,
        _ => None,
    };
    let covered = summary.as_ref().map_or(0, |summary| summary.seq_to);
    let parts = Parts {
        strategy,
        health: head.as_ref().map(|head| head.health).unwrap_or_default(),
        newest_first: newest(conn, place, strategy, covered)?,
        standing: standing(conn, place, head.as_ref(), covered)?,
        summary,
    };
    Ok(compose(parts, defaults.counter.as_ref()))
}

/// How many turns there are after the summary. Places have no gaps, so that the first one says.
fn standing(conn: &Connection, place: &Place<'_>, head: Option<&Head>, covered: i64) -> Done<u64> {
    let Some(head) = head else { return Ok(0) };
    let Place { tenant, user, session, run, kind } = *place;
    let first: Option<i64> = conn
        .prepare_cached(sql::FIRST)?
        .query_row(params![tenant, user, session, run, kind], |row| row.get(0))
        .optional()?;
    let before = first.map_or(head.seq, |first| covered.max(first - 1));
    Ok(u64::try_from(head.seq - before).unwrap_or(0))
}

/// Reads backwards as long as more is wanted; one row is read at a time.
fn newest(
    conn: &Connection,
    place: &Place<'_>,
    strategy: Strategy,
    covered: i64,
) -> Done<Vec<Turn>> {
    let Place { tenant, user, session, run, kind } = *place;
    let mut statement = conn.prepare_cached(sql::NEWEST_FIRST)?;
    let mut rows = statement.query(params![tenant, user, session, run, kind, covered])?;
    let mut turns: Vec<Turn> = Vec::new();
    let mut taken: u32 = 0;
    while wants_more(strategy, turns.len(), taken)
        && let Some(row) = rows.next()?
    {
        let turn = turn(row)?;
        taken = taken.saturating_add(turn.tokens);
        turns.push(turn);
    }
    Ok(turns)
}

pub(super) fn summaries(
    conn: &Connection,
    place: &Place<'_>,
    after: i64,
    limit: u32,
) -> Done<Paged<Summary>> {
    let found = chain(conn, place, after, limit + 1)?;
    Ok(Paged::cut(found, limit, |link| Cursor::of(SUMMARIES, &[&link.seq_to.to_string()])))
}

/// Links after a place, oldest first, as many as asked.
pub(super) fn chain(
    conn: &Connection,
    place: &Place<'_>,
    after: i64,
    most: u32,
) -> Done<Vec<Summary>> {
    let Place { tenant, user, session, run, kind } = *place;
    let mut statement = conn.prepare_cached(sql::SUMMARIES)?;
    let mut rows = statement.query(params![tenant, user, session, run, kind, after, most])?;
    let mut links = Vec::new();
    while let Some(row) = rows.next()? {
        links.push(summary(row)?);
    }
    Ok(links)
}

pub(super) fn newest_summary(conn: &Connection, place: &Place<'_>) -> Done<Option<Summary>> {
    let Place { tenant, user, session, run, kind } = *place;
    let mut statement = conn.prepare_cached(sql::NEWEST_SUMMARY)?;
    let mut rows = statement.query(params![tenant, user, session, run, kind])?;
    rows.next()?.map(summary).transpose()
}

pub(super) fn sessions(
    conn: &Connection,
    scope: &Admitted<'_>,
    after: &str,
    limit: u32,
) -> Done<Paged<SessionInfo>> {
    let mut statement = conn.prepare_cached(sql::SESSIONS)?;
    let mut rows = statement.query(params![scope.tenant, scope.user, after, limit + 1])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(SessionInfo {
            session: row.get(0)?,
            memories: row.get::<_, i64>(1)?.unsigned_abs(),
            turns: row.get::<_, i64>(2)?.unsigned_abs(),
            active_at: row::time(row, 3)?,
        });
    }
    Ok(Paged::cut(found, limit, |info| Cursor::of(SESSIONS, &[&info.session])))
}

fn summary(row: &Row<'_>) -> Done<Summary> {
    Ok(Summary {
        seq_from: row.get(0)?,
        seq_to: row.get(1)?,
        extends: row.get(2)?,
        text: row.get(3)?,
        tokens: row.get(4)?,
        at: row::time(row, 5)?,
    })
}

fn turn(row: &Row<'_>) -> Done<Turn> {
    let digest = match row.get_ref(3)? {
        rusqlite::types::ValueRef::Null => None,
        _ => Some(row::json(row, 3, "a turn's digest")?),
    };
    let request: Option<String> = row.get(11)?;
    Ok(Turn {
        seq: row.get(0)?,
        user_message: row.get(1)?,
        assistant_response: row.get(2)?,
        digest,
        artifacts_shown: row::json(row, 4, "a turn's artifacts")?,
        artifacts_hidden: row::json(row, 5, "a turn's artifacts")?,
        metadata: row::json(row, 6, "a turn's metadata")?,
        tokens: row.get(7)?,
        at: row::time(row, 8)?,
        agent: row.get(9)?,
        run: row.get(10)?,
        request_id: request.map(RequestId::parse).transpose()?,
    })
}
