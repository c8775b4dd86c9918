//! From hand to hand: take, acknowledge, give back, ask for more time. A receipt is honoured while
//! its delivery is the newest, is still out, and its time is not over.

use std::time::Duration;

use chrono::{DateTime, Utc};
use mnemon_core::dead_letters::{Delivery, DeliveryReceipt, refused};
use mnemon_core::scope::Admitted;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query_as, query_scalar};

use crate::error::Fault;

/// An item in a worker's hands.
struct Taken {
    item_id: String,
    delivery: i64,
    item: Value,
    error: String,
    attempts: i32,
    buried_at: DateTime<Utc>,
    visible_at: DateTime<Utc>,
}

impl Taken {
    fn of(self, queue: &str) -> Delivery {
        Delivery {
            receipt: DeliveryReceipt {
                queue: queue.to_owned(),
                item_id: self.item_id,
                delivery: self.delivery,
            },
            item: self.item,
            error: self.error,
            attempts: self.attempts.unsigned_abs(),
            buried_at: self.buried_at,
            visible_at: self.visible_at,
        }
    }
}

/// Takes what is ready. The index holds what may be taken in the order in which it becomes
/// visible: what others have in hand stands behind the end of the range. Rows are found again by
/// their places in the table, which stand still while they are locked.
pub(super) async fn take(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    queue: &str,
    count: u32,
    visibility: Duration,
) -> Result<Vec<Delivery>, Fault> {
    let taken = match count {
        1 => take_one(conn, scope, queue, visibility).await?,
        _ => take_many(conn, scope, queue, count, visibility).await?,
    };
    Ok(taken.into_iter().map(|taken| taken.of(queue)).collect())
}

/// The queue's first: what a worker does all day.
///
/// Who may see an item is asked by CASE, here and below: of `$3 is null or user_id = $3` the
/// planner expects next to nothing, holds a plan for any scope for dear, and plans anew every time.
async fn take_one(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    queue: &str,
    visibility: Duration,
) -> Result<Vec<Taken>, Fault> {
    let taken = query_as!(
        Taken,
        r#"
        update mnemon.dead_letters d
        set visible_at = mnemon.now() + make_interval(secs => $5), delivery = d.delivery + 1,
            taken = true
        where d.tenant = $1 and d.ctid = (
            select r.ctid
            from mnemon.dead_letters r
            where r.tenant = $1 and r.queue = $2 and r.visible_at <= (select mnemon.now())
              and r.reprocess_eligible and not r.manual_review_required
              and case when $3::text is null then true else r.user_id = $3 end
              and case when $4::text is null then true else r.agent_id = $4 end
            order by r.visible_at, r.buried_at, r.item_id
            limit 1
            for no key update skip locked
        )
        returning d.item_id, d.delivery, d.item, d.error, d.attempts, d.buried_at, d.visible_at
        "#,
        scope.tenant,
        queue,
        scope.user,
        scope.agent,
        visibility.as_secs_f64(),
    )
    .fetch_all(conn)
    .await?;
    Ok(taken)
}

async fn take_many(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    queue: &str,
    count: u32,
    visibility: Duration,
) -> Result<Vec<Taken>, Fault> {
    let taken = query_as!(
        Taken,
        r#"
        with clock as materialized (
            select mnemon.now() as at
        ), ready as materialized (
            select d.ctid as place, d.item_id, d.visible_at
            from mnemon.dead_letters d
            where d.tenant = $1 and d.queue = $2 and d.visible_at <= (select at from clock)
              and d.reprocess_eligible and not d.manual_review_required
              and case when $3::text is null then true else d.user_id = $3 end
              and case when $4::text is null then true else d.agent_id = $4 end
            order by d.visible_at, d.buried_at, d.item_id
            -- Not a parameter: one plan for any count.
            limit (select $5::int8)
            for no key update skip locked
        ), taken as (
            update mnemon.dead_letters d
            set visible_at = c.at + make_interval(secs => $6), delivery = d.delivery + 1,
                taken = true
            from clock c
            where d.ctid = any (array(select place from ready)) and d.tenant = $1
            returning d.item_id, d.delivery, d.item, d.error, d.attempts, d.buried_at,
                      d.visible_at
        )
        select t.item_id, t.delivery, t.item, t.error, t.attempts, t.buried_at, t.visible_at
        from taken t join ready r on r.item_id = t.item_id
        order by r.visible_at, t.buried_at, t.item_id
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
    Ok(taken)
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
              and taken and visible_at > (select mnemon.now())
              and ($5::text is null or user_id = $5) and ($6::text is null or agent_id = $6)
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
    if done == 1 { Ok(()) } else { Err(why(conn, scope, receipt).await?) }
}

/// Gives an item back.
pub(super) async fn nack(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    receipt: &DeliveryReceipt,
    delay: Duration,
) -> Result<DateTime<Utc>, Fault> {
    let until = query_scalar!(
        r#"
        update mnemon.dead_letters d
        set visible_at = c.at + make_interval(secs => $7), taken = false
        from (select mnemon.now() as at) c
        where d.tenant = $1 and d.queue = $2 and d.item_id = $3 and d.delivery = $4
          and d.taken and d.visible_at > c.at
          and ($5::text is null or d.user_id = $5) and ($6::text is null or d.agent_id = $6)
        returning d.visible_at
        "#,
        scope.tenant,
        receipt.queue,
        receipt.item_id,
        receipt.delivery,
        scope.user,
        scope.agent,
        delay.as_secs_f64(),
    )
    .fetch_optional(&mut *conn)
    .await?;
    match until {
        Some(until) => Ok(until),
        None => Err(why(conn, scope, receipt).await?),
    }
}

/// Sets when an item's time is over.
pub(super) async fn extend(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    receipt: &DeliveryReceipt,
    visibility: Duration,
) -> Result<DateTime<Utc>, Fault> {
    let until = query_scalar!(
        r#"
        update mnemon.dead_letters d
        set visible_at = c.at + make_interval(secs => $7)
        from (select mnemon.now() as at) c
        where d.tenant = $1 and d.queue = $2 and d.item_id = $3 and d.delivery = $4
          and d.taken and d.visible_at > c.at
          and ($5::text is null or d.user_id = $5) and ($6::text is null or d.agent_id = $6)
        returning d.visible_at
        "#,
        scope.tenant,
        receipt.queue,
        receipt.item_id,
        receipt.delivery,
        scope.user,
        scope.agent,
        visibility.as_secs_f64(),
    )
    .fetch_optional(&mut *conn)
    .await?;
    match until {
        Some(until) => Ok(until),
        None => Err(why(conn, scope, receipt).await?),
    }
}

/// Why a receipt was not honoured.
async fn why(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    receipt: &DeliveryReceipt,
) -> Result<Fault, Fault> {
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
    Ok(refused(receipt, there).into())
}
