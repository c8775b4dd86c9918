//! From hand to hand: take, acknowledge, give back, ask for more time. A receipt is honoured while
//! its delivery is the newest, is still out, and its time is not over.

use std::time::Duration;

use chrono::{DateTime, Utc};
use mnemon_core::Error;
use mnemon_core::dead_letters::{Delivery, DeliveryReceipt, refused};
use mnemon_core::scope::Admitted;
use rusqlite::{Connection, OptionalExtension, params};

use super::sweep;
use crate::error::Done;
use crate::memories::rows::time;
use crate::open::now;
use crate::row;

pub(crate) mod sql {
    crate::sql::statements! {
        READY = "select item_id from dead_letters where tenant = ?1 and queue = ?2 \
            and visible_at <= ?3 and reprocess_eligible = 1 and manual_review_required = 0 \
            and (?4 is null or user_id = ?4) and (?5 is null or agent_id = ?5) \
            order by visible_at, buried_at, item_id limit ?6";
        TAKE = "update dead_letters set visible_at = ?4, delivery = delivery + 1, taken = 1 \
            where tenant = ?1 and queue = ?2 and item_id = ?3 \
            returning delivery, item, error, attempts, buried_at";
        DELIVERED = "select delivery = ?4 and taken and visible_at > ?5 from dead_letters \
            where tenant = ?1 and queue = ?2 and item_id = ?3 \
            and (?6 is null or user_id = ?6) and (?7 is null or agent_id = ?7)";
        MOVE = "update dead_letters set visible_at = ?4, taken = ?5 \
            where tenant = ?1 and queue = ?2 and item_id = ?3";
    }
}

fn later(now: i64, by: Duration) -> i64 {
    now + i64::try_from(by.as_micros()).expect("at most a week")
}

/// Takes what is ready.
pub(super) fn take(
    conn: &Connection,
    scope: &Admitted<'_>,
    queue: &str,
    count: u32,
    visibility: Duration,
) -> Done<Vec<Delivery>> {
    let now = now(conn)?;
    let visible_at = later(now, visibility);
    let ready: Vec<String> = conn
        .prepare_cached(sql::READY)?
        .query_map(params![scope.tenant, queue, now, scope.user, scope.agent, count], |row| {
            row.get(0)
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut statement = conn.prepare_cached(sql::TAKE)?;
    let mut deliveries = Vec::with_capacity(ready.len());
    for item_id in ready {
        let mut rows = statement.query(params![scope.tenant, queue, item_id, visible_at])?;
        let row = rows.next()?.ok_or_else(|| Error::not_found("dead letter", &item_id))?;
        deliveries.push(Delivery {
            item: row::json(row, 1, "a dead letter")?,
            error: row.get(2)?,
            attempts: row.get(3)?,
            buried_at: row::time(row, 4)?,
            visible_at: time(visible_at)?,
            receipt: DeliveryReceipt { queue: queue.to_owned(), item_id, delivery: row.get(0)? },
        });
    }
    Ok(deliveries)
}

/// Fails unless the receipt is honoured.
fn honoured(
    conn: &Connection,
    scope: &Admitted<'_>,
    receipt: &DeliveryReceipt,
    now: i64,
) -> Done<()> {
    let good: Option<bool> = conn
        .prepare_cached(sql::DELIVERED)?
        .query_row(
            params![
                scope.tenant,
                receipt.queue,
                receipt.item_id,
                receipt.delivery,
                now,
                scope.user,
                scope.agent
            ],
            |row| row.get(0),
        )
        .optional()?;
    match good {
        Some(true) => Ok(()),
        found => Err(refused(receipt, found.is_some()).into()),
    }
}

/// Removes an item that is dealt with, with its attempts.
pub(crate) fn ack(conn: &Connection, scope: &Admitted<'_>, receipt: &DeliveryReceipt) -> Done<()> {
    honoured(conn, scope, receipt, now(conn)?)?;
    sweep::forget(conn, scope, &receipt.queue, &receipt.item_id)
}

/// Gives an item back.
pub(super) fn nack(
    conn: &Connection,
    scope: &Admitted<'_>,
    receipt: &DeliveryReceipt,
    delay: Duration,
) -> Done<DateTime<Utc>> {
    moved(conn, scope, receipt, delay, false)
}

/// Sets when an item's time is over.
pub(super) fn extend(
    conn: &Connection,
    scope: &Admitted<'_>,
    receipt: &DeliveryReceipt,
    visibility: Duration,
) -> Done<DateTime<Utc>> {
    moved(conn, scope, receipt, visibility, true)
}

fn moved(
    conn: &Connection,
    scope: &Admitted<'_>,
    receipt: &DeliveryReceipt,
    by: Duration,
    taken: bool,
) -> Done<DateTime<Utc>> {
    let now = now(conn)?;
    honoured(conn, scope, receipt, now)?;
    let until = later(now, by);
    conn.prepare_cached(sql::MOVE)?.execute(params![
        scope.tenant,
        receipt.queue,
        receipt.item_id,
        until,
        taken
    ])?;
    Ok(time(until)?)
}
