//! Dead letters on PostgreSQL: one row per item and one per attempt; a take moves `visible_at` and
//! counts the delivery, skipping what others are taking.

use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::dead_letters::{
    Burial, Buried, DeadLetter, DeadLetters, Delivery, DeliveryReceipt, after, check_take,
};
use mnemon_core::locks::Guard;
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Error, Page, Paged, Result, Scope};
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};

use crate::error::Fault;
use crate::link::{Call, Retry, work};
use crate::locks;
use crate::store::PostgresStore;

#[async_trait]
impl DeadLetters for PostgresStore {
    async fn bury(&self, scope: &Scope, burial: Burial, guard: Option<&Guard>) -> Result<Buried> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        burial.check()?;
        locks::check_guard(guard)?;
        // A repeat would be one more attempt.
        let call = calling("burying a dead letter", scope, Retry::Never);
        let burial = &burial;
        self.link
            .transaction(call, |conn| {
                work(async move {
                    locks::guard(conn, scope, guard.map_or(&[], std::slice::from_ref)).await?;
                    bury(conn, scope, burial).await
                })
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
        let scope = &scope.admit(Facet::DeadLetters)?;
        check_take(queue, count, visibility)?;
        // What a lost answer carried comes back when its visibility ends, as a worker's that died.
        let call = calling("taking dead letters", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| {
                work(async move { take(conn, scope, queue, count, visibility).await })
            })
            .await
    }

    async fn ack(&self, scope: &Scope, receipt: &DeliveryReceipt) -> Result<()> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        receipt.check()?;
        // A repeat after a lost answer would report the item as not found.
        let call = calling("acknowledging a dead letter", scope, Retry::Never);
        self.link.run(call, |conn| work(async move { ack(conn, scope, receipt).await })).await
    }

    async fn list(
        &self,
        scope: &Scope,
        queue: Option<&str>,
        page: &Page,
    ) -> Result<Paged<DeadLetter>> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        let after = &after(queue, page)?;
        let call = calling("listing dead letters", scope, Retry::Idempotent);
        let found = self
            .link
            .run(call, |conn| {
                work(async move { list(conn, scope, queue, after, page.limit).await })
            })
            .await?;
        Ok(Paged::cut(found, page.limit, DeadLetter::cursor))
    }
}

/// From a place to the end of the queue, or of all.
async fn list(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    queue: Option<&str>,
    (after_queue, after_item): &(String, String),
    limit: u32,
) -> Result<Vec<DeadLetter>, Fault> {
    let rows = query!(
        r#"
        select queue, item_id, item, error, error_signature, attempts, reprocess_eligible,
               manual_review_required, buried_at, visible_at
        from mnemon.dead_letters
        where tenant = $1 and (queue, item_id) > ($2, $3)
          and queue <= coalesce($4, (select max(queue) from mnemon.dead_letters where tenant = $1))
          and ($5::text is null or user_id = $5) and ($6::text is null or agent_id = $6)
        order by queue, item_id
        limit $7
        "#,
        scope.tenant,
        after_queue,
        after_item,
        queue,
        scope.user,
        scope.agent,
        i64::from(limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| DeadLetter {
            queue: row.queue,
            item_id: row.item_id,
            item: row.item,
            error: row.error,
            error_signature: row.error_signature,
            attempts: row.attempts.unsigned_abs(),
            reprocess_eligible: row.reprocess_eligible,
            manual_review_required: row.manual_review_required,
            buried_at: row.buried_at,
            visible_at: row.visible_at,
        })
        .collect())
}

fn calling<'a>(doing: &'static str, scope: &Admitted<'a>, retry: Retry) -> Call<'a> {
    Call { doing, tenant: Some(scope.tenant), retry }
}

/// Keeps a failure with its attempt. Again is one more attempt, visible at once; an item that the
/// scope does not see stays as it is.
pub(crate) async fn bury(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    burial: &Burial,
) -> Result<Buried, Fault> {
    let attempts = query_scalar!(
        r#"
        with clock as materialized (
            select mnemon.now() as at
        ), item as (
            insert into mnemon.dead_letters as d
                (tenant, queue, item_id, attempts, reprocess_eligible, manual_review_required,
                 delivery, visible_at, buried_at, user_id, agent_id, session_id, run_id,
                 error_signature, error, item)
            select $1, $2, $3, 1, $4, $5, 0, c.at, c.at, $6, $7, $8, $9, $10, $11, $12
            from clock c
            on conflict (tenant, queue, item_id) do update
            set attempts = d.attempts + 1, reprocess_eligible = $4, manual_review_required = $5,
                delivery = d.delivery + 1, visible_at = excluded.visible_at, error_signature = $10,
                error = $11, item = $12
            where ($6::text is null or d.user_id = $6) and ($7::text is null or d.agent_id = $7)
            returning attempts
        )
        insert into mnemon.dead_letter_attempts
            (tenant, queue, item_id, attempt, at, user_id, agent_id, run_id, error_signature, error)
        select $1, $2, $3, i.attempts, c.at, $6, $7, $9, $10, $11
        from item i, clock c
        returning attempt
        "#,
        scope.tenant,
        burial.queue,
        burial.item_id,
        burial.reprocess_eligible,
        burial.manual_review_required,
        scope.user,
        scope.agent,
        scope.session,
        scope.run,
        burial.signature(),
        burial.error,
        burial.item,
    )
    .fetch_optional(conn)
    .await?;
    match attempts {
        Some(attempts) => Ok(Buried { attempts: attempts.unsigned_abs() }),
        None => Err(Error::not_found("dead letter", name(&burial.queue, &burial.item_id)).into()),
    }
}

fn name(queue: &str, item_id: &str) -> String {
    format!("{queue}/{item_id}")
}

async fn take(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    queue: &str,
    count: u32,
    visibility: Duration,
) -> Result<Vec<Delivery>, Fault> {
    let rows = query!(
        r#"
        with clock as materialized (
            select mnemon.now() as at
        ), ready as materialized (
            select d.item_id, d.visible_at, d.buried_at
            from mnemon.dead_letters d
            where d.tenant = $1 and d.queue = $2 and d.visible_at <= (select at from clock)
              and d.reprocess_eligible and not d.manual_review_required
              and ($3::text is null or d.user_id = $3) and ($4::text is null or d.agent_id = $4)
            order by d.visible_at, d.buried_at, d.item_id
            limit $5
            for no key update skip locked
        ), taken as (
            update mnemon.dead_letters d
            set visible_at = c.at + make_interval(secs => $6), delivery = d.delivery + 1
            from ready r, clock c
            where d.tenant = $1 and d.queue = $2 and d.item_id = r.item_id
            returning d.item_id, d.delivery, d.item, d.error, d.attempts, d.buried_at,
                      d.visible_at, r.visible_at as was_visible_at
        )
        select item_id, delivery, item, error, attempts, buried_at, visible_at
        from taken
        order by was_visible_at, buried_at, item_id
        "#,
        scope.tenant,
        queue,
        scope.user,
        scope.agent,
        i64::from(count),
        visibility.as_secs_f64(),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Delivery {
            receipt: DeliveryReceipt {
                queue: queue.to_owned(),
                item_id: row.item_id,
                delivery: row.delivery,
            },
            item: row.item,
            error: row.error,
            attempts: row.attempts.unsigned_abs(),
            buried_at: row.buried_at,
            visible_at: row.visible_at,
        })
        .collect())
}

/// Removes an item that is dealt with, with its attempts.
pub(crate) async fn ack(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    receipt: &DeliveryReceipt,
) -> Result<(), Fault> {
    let done = query_scalar!(
        r#"
        with gone as (
            delete from mnemon.dead_letters
            where tenant = $1 and queue = $2 and item_id = $3 and delivery = $4
              and ($5::text is null or user_id = $5) and ($6::text is null or agent_id = $6)
              -- From then on others may take it, whether they have or not.
              and visible_at > (select mnemon.now())
            returning item_id
        ), attempts as (
            delete from mnemon.dead_letter_attempts a
            using gone g
            where a.tenant = $1 and a.queue = $2 and a.item_id = g.item_id
        )
        select count(*) as "count!" from gone
        "#,
        scope.tenant,
        receipt.queue,
        receipt.item_id,
        receipt.delivery,
        scope.user,
        scope.agent,
    )
    .fetch_one(&mut *conn)
    .await?;
    if done == 1 {
        return Ok(());
    }
    let there = query_scalar!(
        r#"
        select exists (
            select from mnemon.dead_letters
            where tenant = $1 and queue = $2 and item_id = $3
              and ($4::text is null or user_id = $4) and ($5::text is null or agent_id = $5)
        ) as "there!"
        "#,
        scope.tenant,
        receipt.queue,
        receipt.item_id,
        scope.user,
        scope.agent,
    )
    .fetch_one(conn)
    .await?;
    let name = name(&receipt.queue, &receipt.item_id);
    Err(if there { Error::Fenced { key: name } } else { Error::not_found("dead letter", name) }
        .into())
}
