//! Many items at once, a batch a call.

use mnemon_core::dead_letters::{Handled, LetterFilter, Prune, Retry};
use mnemon_core::limits;
use mnemon_core::scope::Admitted;
use rusqlite::{Connection, named_params, params};

use super::filter::{Asked, Named};
use super::read::absent;
use crate::error::Done;
use crate::open::now;

pub(crate) mod sql {
    use crate::dead_letters::filter::{asked, state};

    crate::sql::statements! {
        /// Items whose workers did not come back; their receipts are worth nothing.
        RELEASE = concat!(
            "update dead_letters set taken = 0, delivery = delivery + 1 \
             where rowid in (select rowid from dead_letters where ", asked!(),
            " and taken = 1 and visible_at <= :now order by queue, item_id limit :limit)"
        );
        RETRY = concat!(
            "update dead_letters set visible_at = :now, taken = 0, delivery = delivery + 1, \
             reprocess_eligible = 1, manual_review_required = 0 \
             where rowid in (select rowid from dead_letters where ", asked!(), " and ", state!(),
            " in ('delayed', case when :reviewed then 'review' end, \
             case when :reviewed then 'rejected' end) order by queue, item_id limit :limit)"
        );
        OLD = concat!(
            "select queue, item_id from dead_letters where ", asked!(),
            " and buried_at <= :old and not (taken = 1 and visible_at > :now) \
             order by queue, item_id limit :limit"
        );
        OLD_COUNT = concat!(
            "select count(*) from dead_letters where ", asked!(),
            " and buried_at <= :old and not (taken = 1 and visible_at > :now)"
        );
        SEEN = "select 1 from dead_letters where tenant = ?1 and queue = ?2 and item_id = ?3 \
            and (?4 is null or user_id = ?4) and (?5 is null or agent_id = ?5)";
        /// All tenants, a bounded number of items.
        DEPTHS = concat!(
            "select ", state!(), " as state, count(*) from (select taken, visible_at, \
             reprocess_eligible, manual_review_required from dead_letters limit :limit) \
             group by state"
        );
        FORGET = "delete from dead_letters where tenant = ?1 and queue = ?2 and item_id = ?3";
        FORGET_ATTEMPTS = "delete from dead_letter_attempts \
            where tenant = ?1 and queue = ?2 and item_id = ?3";
    }
}

/// Items of all tenants by the name of their state, up to [`limits::DEPTH_MAX`] of them in all.
pub(crate) fn depths(conn: &Connection) -> Done<Vec<(String, u64)>> {
    let found = conn
        .prepare_cached(sql::DEPTHS)?
        .query_map(named_params! { ":now": now(conn)?, ":limit": limits::DEPTH_MAX }, |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

const MOST: u32 = limits::LETTER_BATCH;

fn handled(rows: usize) -> Handled {
    Handled { items: rows as u64, more: rows == MOST as usize }
}

fn update(
    conn: &Connection,
    sql: &'static str,
    asked: &Asked<'_>,
    more: &[Named<'_>],
) -> Done<Handled> {
    let mut values = asked.values();
    values.push((":limit", &MOST));
    values.extend_from_slice(more);
    Ok(handled(conn.prepare_cached(sql)?.execute(values.as_slice())?))
}

/// Marks items as ready whose workers did not come back.
pub(super) fn release(
    conn: &Connection,
    scope: &Admitted<'_>,
    queue: Option<&str>,
) -> Done<Handled> {
    let filter = LetterFilter { queue: queue.map(str::to_owned), ..LetterFilter::default() };
    update(conn, sql::RELEASE, &Asked::by(scope, &filter, now(conn)?), &[])
}

/// Makes a batch of items ready.
pub(super) fn retry(conn: &Connection, scope: &Admitted<'_>, retry: &Retry) -> Done<Handled> {
    let asked = Asked::by(scope, &retry.filter, now(conn)?);
    update(conn, sql::RETRY, &asked, &[(":reviewed", &retry.reviewed)])
}

/// Removes a batch of old items with their attempts, or counts them all.
pub(super) fn prune(conn: &Connection, scope: &Admitted<'_>, prune: &Prune) -> Done<Handled> {
    let now = now(conn)?;
    let old = now.saturating_sub(i64::try_from(prune.older_than.as_micros()).unwrap_or(i64::MAX));
    let asked = Asked::by(scope, &prune.filter, now);
    let mut values = asked.values();
    values.push((":old", &old));
    if prune.dry_run {
        let items: i64 =
            conn.prepare_cached(sql::OLD_COUNT)?.query_row(values.as_slice(), |row| row.get(0))?;
        return Ok(Handled { items: items.unsigned_abs(), more: false });
    }
    values.push((":limit", &MOST));
    let found: Vec<(String, String)> = conn
        .prepare_cached(sql::OLD)?
        .query_map(values.as_slice(), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (queue, item) in &found {
        forget(conn, scope, queue, item)?;
    }
    Ok(handled(found.len()))
}

/// Removes one item with its attempts.
pub(super) fn delete(conn: &Connection, scope: &Admitted<'_>, queue: &str, item: &str) -> Done<()> {
    let seen = conn.prepare_cached(sql::SEEN)?.exists(params![
        scope.tenant,
        queue,
        item,
        scope.user,
        scope.agent
    ])?;
    if seen { forget(conn, scope, queue, item) } else { Err(absent(queue, item)) }
}

/// Removes an item that the scope is known to see, with its attempts.
pub(super) fn forget(conn: &Connection, scope: &Admitted<'_>, queue: &str, item: &str) -> Done<()> {
    let key = [scope.tenant, queue, item];
    conn.prepare_cached(sql::FORGET_ATTEMPTS)?.execute(key)?;
    conn.prepare_cached(sql::FORGET)?.execute(key)?;
    Ok(())
}
