//! Dead letters in SQLite: one row per item and one per attempt; a take moves `visible_at` and
//! counts the delivery.

use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::dead_letters::{
    Burial, Buried, DeadLetter, DeadLetters, Delivery, DeliveryReceipt, after, check_take,
};
use mnemon_core::locks::Guard;
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Facet, Page, Paged, Result, Scope};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Done;
use crate::memories::rows::time;
use crate::open::now;
use crate::store::SqliteStore;
use crate::{locks, row};

pub(crate) mod sql {
    crate::sql::statements! {
        /// Again is one more attempt, visible at once; an item that the scope does not see stays.
        BURY = "insert into dead_letters (tenant, queue, item_id, attempts, reprocess_eligible, \
            manual_review_required, delivery, visible_at, buried_at, user_id, agent_id, \
            session_id, run_id, error_signature, error, item) \
            values (?1, ?2, ?3, 1, ?4, ?5, 0, ?6, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
            on conflict (tenant, queue, item_id) do update set attempts = attempts + 1, \
            reprocess_eligible = ?4, manual_review_required = ?5, delivery = delivery + 1, \
            visible_at = ?6, error_signature = ?11, error = ?12, item = ?13 \
            where (?7 is null or user_id = ?7) and (?8 is null or agent_id = ?8) \
            returning attempts";
        ATTEMPT = "insert into dead_letter_attempts (tenant, queue, item_id, attempt, at, user_id, \
            agent_id, run_id, error_signature, error) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        READY = "select item_id from dead_letters where tenant = ?1 and queue = ?2 \
            and visible_at <= ?3 and reprocess_eligible = 1 and manual_review_required = 0 \
            and (?4 is null or user_id = ?4) and (?5 is null or agent_id = ?5) \
            order by visible_at, buried_at, item_id limit ?6";
        TAKE = "update dead_letters set visible_at = ?4, delivery = delivery + 1 \
            where tenant = ?1 and queue = ?2 and item_id = ?3 \
            returning delivery, item, error, attempts, buried_at";
        DELIVERED = "select delivery, visible_at from dead_letters \
            where tenant = ?1 and queue = ?2 and item_id = ?3 \
            and (?4 is null or user_id = ?4) and (?5 is null or agent_id = ?5)";
        /// From a place to the end of a queue, or of all: every blob is above every text.
        LIST = "select queue, item_id, item, error, error_signature, attempts, \
            reprocess_eligible, manual_review_required, buried_at, visible_at \
            from dead_letters where tenant = ?1 and (queue, item_id) > (?2, ?3) \
            and queue <= coalesce(?4, x'') \
            and (?5 is null or user_id = ?5) and (?6 is null or agent_id = ?6) \
            order by queue, item_id limit ?7";
        FORGET = "delete from dead_letters where tenant = ?1 and queue = ?2 and item_id = ?3";
        FORGET_ATTEMPTS = "delete from dead_letter_attempts \
            where tenant = ?1 and queue = ?2 and item_id = ?3";
    }
}

#[async_trait]
impl DeadLetters for SqliteStore {
    async fn bury(&self, scope: &Scope, burial: Burial, guard: Option<&Guard>) -> Result<Buried> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        burial.check()?;
        locks::check_guard(guard)?;
        let (scope, guard) = (scope.clone(), guard.cloned());
        self.write("burying a dead letter", move |conn| {
            let scope = scope.admit(Facet::DeadLetters)?;
            locks::guard(conn, &scope, guard.as_ref())?;
            bury(conn, &scope, &burial)
        })
        .await
    }

    async fn take(
        &self,
        scope: &Scope,
        queue: &str,
        count: u32,
        visibility: Duration,
    ) -> Result<Vec<Delivery>> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        check_take(queue, count, visibility)?;
        let (scope, queue) = (scope.clone(), queue.to_owned());
        self.write("taking dead letters", move |conn| {
            take(conn, &scope.admit(Facet::DeadLetters)?, &queue, count, visibility)
        })
        .await
    }

    async fn ack(&self, scope: &Scope, receipt: &DeliveryReceipt) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        receipt.check()?;
        let (scope, receipt) = (scope.clone(), receipt.clone());
        self.write("acknowledging a dead letter", move |conn| {
            ack(conn, &scope.admit(Facet::DeadLetters)?, &receipt)
        })
        .await
    }

    async fn list(
        &self,
        scope: &Scope,
        queue: Option<&str>,
        page: &Page,
    ) -> Result<Paged<DeadLetter>> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        let after = after(queue, page)?;
        let (scope, queue, limit) = (scope.clone(), queue.map(str::to_owned), page.limit);
        self.read("listing dead letters", move |conn| {
            list(conn, &scope.admit(Facet::DeadLetters)?, queue.as_deref(), &after, limit)
        })
        .await
    }
}

fn list(
    conn: &Connection,
    scope: &Admitted<'_>,
    queue: Option<&str>,
    (after_queue, after_item): &(String, String),
    limit: u32,
) -> Done<Paged<DeadLetter>> {
    let mut statement = conn.prepare_cached(sql::LIST)?;
    let mut rows = statement.query(params![
        scope.tenant,
        after_queue,
        after_item,
        queue,
        scope.user,
        scope.agent,
        limit + 1,
    ])?;
    let mut letters = Vec::new();
    while let Some(row) = rows.next()? {
        letters.push(DeadLetter {
            queue: row.get(0)?,
            item_id: row.get(1)?,
            item: row::json(row, 2, "a dead letter")?,
            error: row.get(3)?,
            error_signature: row.get(4)?,
            attempts: row.get(5)?,
            reprocess_eligible: row.get(6)?,
            manual_review_required: row.get(7)?,
            buried_at: row::time(row, 8)?,
            visible_at: row::time(row, 9)?,
        });
    }
    Ok(Paged::cut(letters, limit, DeadLetter::cursor))
}

/// Keeps a failure with its attempt.
pub(crate) fn bury(conn: &Connection, scope: &Admitted<'_>, burial: &Burial) -> Done<Buried> {
    let (now, signature) = (now(conn)?, burial.signature());
    let attempts: Option<u32> = conn
        .prepare_cached(sql::BURY)?
        .query_row(
            params![
                scope.tenant,
                burial.queue,
                burial.item_id,
                burial.reprocess_eligible,
                burial.manual_review_required,
                now,
                scope.user,
                scope.agent,
                scope.session,
                scope.run,
                signature,
                burial.error,
                burial.item.to_string(),
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(attempts) = attempts else {
        return Err(Error::not_found("dead letter", name(&burial.queue, &burial.item_id)).into());
    };
    conn.prepare_cached(sql::ATTEMPT)?.execute(params![
        scope.tenant,
        burial.queue,
        burial.item_id,
        attempts,
        now,
        scope.user,
        scope.agent,
        scope.run,
        signature,
        burial.error,
    ])?;
    Ok(Buried { attempts })
}

fn name(queue: &str, item_id: &str) -> String {
    format!("{queue}/{item_id}")
}

fn take(
    conn: &Connection,
    scope: &Admitted<'_>,
    queue: &str,
    count: u32,
    visibility: Duration,
) -> Done<Vec<Delivery>> {
    let now = now(conn)?;
    let visible_at = now + i64::try_from(visibility.as_micros()).expect("at most a week");
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

/// Removes an item that is dealt with, with its attempts.
pub(crate) fn ack(conn: &Connection, scope: &Admitted<'_>, receipt: &DeliveryReceipt) -> Done<()> {
    let key = [scope.tenant, receipt.queue.as_str(), receipt.item_id.as_str()];
    let found: Option<(i64, i64)> = conn
        .prepare_cached(sql::DELIVERED)?
        .query_row(params![key[0], key[1], key[2], scope.user, scope.agent], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let name = name(&receipt.queue, &receipt.item_id);
    let Some((delivery, visible_at)) = found else {
        return Err(Error::not_found("dead letter", name).into());
    };
    // From then on others may take it, whether they have or not.
    if delivery != receipt.delivery || visible_at <= now(conn)? {
        return Err(Error::Fenced { key: name }.into());
    }
    conn.prepare_cached(sql::FORGET_ATTEMPTS)?.execute(key)?;
    conn.prepare_cached(sql::FORGET)?.execute(key)?;
    Ok(())
}
