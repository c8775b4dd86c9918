//! Listing, reading and counting dead letters.

use mnemon_core::dead_letters::{Attempt, DeadLetter, LetterFilter, LetterStats, Signature, state};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Paged, limits};
use rusqlite::{Connection, Row, params};

use super::filter::Asked;
use crate::error::{Done, Fault};
use crate::memories::rows::time;
use crate::open::now;
use crate::row;

pub(crate) mod sql {
    use crate::dead_letters::filter::{asked, state};

    crate::sql::statements! {
        /// From a place to the end of a queue, or of all.
        LIST = concat!(
            "select queue, item_id, item, metadata, error, error_signature, attempts, \
             reprocess_eligible, manual_review_required, taken, user_id, agent_id, buried_at, \
             visible_at from dead_letters where ", asked!(),
            " and (queue, item_id) > (:from_queue, :from_item) order by queue, item_id limit :limit"
        );
        GET = "select queue, item_id, item, metadata, error, error_signature, attempts, \
            reprocess_eligible, manual_review_required, taken, user_id, agent_id, buried_at, \
            visible_at from dead_letters where tenant = ?1 and queue = ?2 and item_id = ?3 \
            and (?4 is null or user_id = ?4) and (?5 is null or agent_id = ?5)";
        ATTEMPTS = "select attempt, at, error, error_signature, detail, user_id, agent_id, run_id \
            from dead_letter_attempts where tenant = ?1 and queue = ?2 and item_id = ?3 \
            and attempt < ?4 order by attempt desc limit ?5";
        COUNTS = concat!(
            "select ", state!(), " as state, attempts, count(*), min(buried_at), max(buried_at) \
             from dead_letters where tenant = :tenant and (:queue is null or queue = :queue) \
             and (:user is null or user_id = :user) and (:agent is null or agent_id = :agent) \
             group by state, attempts"
        );
        CAUSES = "select error_signature, count(*) as items from dead_letters \
            where tenant = ?1 and (?2 is null or queue = ?2) \
            and (?3 is null or user_id = ?3) and (?4 is null or agent_id = ?4) \
            group by error_signature order by items desc, error_signature limit ?5";
    }
}

fn letter(row: &Row<'_>, now: i64) -> Done<DeadLetter> {
    const WHAT: &str = "a dead letter";
    let (eligible, review, taken) = (row.get(7)?, row.get(8)?, row.get(9)?);
    let visible_at = row::time(row, 13)?;
    Ok(DeadLetter {
        queue: row.get(0)?,
        item_id: row.get(1)?,
        state: state(taken, visible_at, eligible, review, time(now)?),
        item: row::json(row, 2, WHAT)?,
        metadata: row::json(row, 3, WHAT)?,
        error: row.get(4)?,
        error_signature: row.get(5)?,
        attempts: row.get(6)?,
        reprocess_eligible: eligible,
        manual_review_required: review,
        user: row.get(10)?,
        agent: row.get(11)?,
        buried_at: row::time(row, 12)?,
        visible_at,
    })
}

/// From a place to the end of the queue, or of all.
pub(super) fn list(
    conn: &Connection,
    scope: &Admitted<'_>,
    filter: &LetterFilter,
    (queue, item): &(String, String),
    limit: u32,
) -> Done<Paged<DeadLetter>> {
    let (now, most) = (now(conn)?, limit + 1);
    let asked = Asked::by(scope, filter, now);
    let mut values = asked.values();
    values.push((":from_queue", queue));
    values.push((":from_item", item));
    values.push((":limit", &most));
    let mut statement = conn.prepare_cached(sql::LIST)?;
    let mut rows = statement.query(values.as_slice())?;
    let mut letters = Vec::new();
    while let Some(row) = rows.next()? {
        letters.push(letter(row, now)?);
    }
    Ok(Paged::cut(letters, limit, DeadLetter::cursor))
}

/// One item.
pub(super) fn get(
    conn: &Connection,
    scope: &Admitted<'_>,
    queue: &str,
    item: &str,
) -> Done<DeadLetter> {
    let mut statement = conn.prepare_cached(sql::GET)?;
    let mut rows = statement.query(params![scope.tenant, queue, item, scope.user, scope.agent])?;
    match rows.next()? {
        Some(row) => letter(row, now(conn)?),
        None => Err(absent(queue, item)),
    }
}

pub(super) fn absent(queue: &str, item: &str) -> Fault {
    Error::not_found("dead letter", format!("{queue}/{item}")).into()
}

/// An item's attempts below one, newest first. Who sees the item sees all of them.
pub(super) fn attempts(
    conn: &Connection,
    scope: &Admitted<'_>,
    (queue, item): (&str, &str),
    below: i32,
    limit: u32,
) -> Done<Paged<Attempt>> {
    get(conn, scope, queue, item)?;
    let mut statement = conn.prepare_cached(sql::ATTEMPTS)?;
    let mut rows = statement.query(params![scope.tenant, queue, item, below, limit + 1])?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        attempts.push(Attempt {
            attempt: row.get(0)?,
            at: row::time(row, 1)?,
            error: row.get(2)?,
            error_signature: row.get(3)?,
            detail: row::json(row, 4, "an attempt")?,
            user: row.get(5)?,
            agent: row.get(6)?,
            run: row.get(7)?,
        });
    }
    Ok(Paged::cut(attempts, limit, Attempt::cursor))
}

/// Counts by state, attempts and cause.
pub(super) fn stats(
    conn: &Connection,
    scope: &Admitted<'_>,
    queue: Option<&str>,
) -> Done<LetterStats> {
    let mut stats = LetterStats::default();
    let mut statement = conn.prepare_cached(sql::COUNTS)?;
    let mut rows = statement.query(rusqlite::named_params! {
        ":tenant": scope.tenant, ":queue": queue, ":user": scope.user, ":agent": scope.agent,
        ":now": now(conn)?,
    })?;
    while let Some(row) = rows.next()? {
        let items = row.get::<_, i64>(2)?.unsigned_abs();
        let (oldest, newest) = (row::time(row, 3)?, row::time(row, 4)?);
        stats.total += items;
        *stats.by_state.entry(row::named(row, 0, "a dead letter")?).or_default() += items;
        *stats.by_attempts.entry(row.get(1)?).or_default() += items;
        stats.oldest = Some(stats.oldest.map_or(oldest, |at| at.min(oldest)));
        stats.newest = Some(stats.newest.map_or(newest, |at| at.max(newest)));
    }
    let most = limits::LETTER_SIGNATURES;
    stats.by_signature = conn
        .prepare_cached(sql::CAUSES)?
        .query_map(params![scope.tenant, queue, scope.user, scope.agent, most], |row| {
            let items = row.get::<_, i64>(1)?.unsigned_abs();
            Ok(Signature { signature: row.get(0)?, items })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(stats)
}
