//! Many items at once, a batch a call, and the space that they leave behind.

use mnemon_core::dead_letters::{Handled, Prune, Retry};
use mnemon_core::limits;
use mnemon_core::scope::Admitted;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{Executor as _, QueryBuilder, query, query_scalar};

use super::filter::{IN_FLIGHT, READY, push_filter, push_visible};
use super::read::absent;
use crate::error::Fault;

fn handled(rows: u64) -> Handled {
    Handled { items: rows, more: rows == u64::from(limits::LETTER_BATCH) }
}

/// Marks items as ready whose workers did not come back; their receipts are worth nothing.
pub(super) async fn release(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    queue: Option<&str>,
) -> Result<Handled, Fault> {
    let done = query!(
        r#"
        update mnemon.dead_letters d
        set taken = false, delivery = d.delivery + 1
        where d.tenant = $1 and d.ctid = any (array(
            select l.ctid
            from mnemon.dead_letters l
            where l.tenant = $1 and ($2::text is null or l.queue = $2) and l.taken
              and l.visible_at <= (select mnemon.now())
              and ($3::text is null or l.user_id = $3) and ($4::text is null or l.agent_id = $4)
            order by l.queue, l.item_id
            limit $5
            for no key update skip locked
        ))
        "#,
        scope.tenant,
        queue,
        scope.user,
        scope.agent,
        i64::from(limits::LETTER_BATCH),
    )
    .execute(conn)
    .await?;
    Ok(handled(done.rows_affected()))
}

/// Pushes the condition that picks a batch of the items `d`, locked in the order of their names,
/// by their places in the table.
fn push_batch(
    query: &mut QueryBuilder<Postgres>,
    scope: &Admitted<'_>,
    among: impl FnOnce(&mut QueryBuilder<Postgres>),
) {
    query.push("ctid = any (array(select d.ctid from mnemon.dead_letters d where ");
    push_visible(query, scope);
    among(query);
    query.push(" order by d.queue, d.item_id limit ").push_bind(i64::from(limits::LETTER_BATCH));
    query.push(" for update skip locked)) and tenant = ").push_bind(scope.tenant.to_owned());
}

/// Makes a batch of items ready.
pub(super) async fn retry(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    retry: &Retry,
) -> Result<Handled, Fault> {
    let mut query = QueryBuilder::<Postgres>::new(
        "update mnemon.dead_letters set visible_at = (select mnemon.now()), taken = false, \
         delivery = delivery + 1, reprocess_eligible = true, \
         manual_review_required = false where ",
    );
    push_batch(&mut query, scope, |query| {
        push_filter(query, &retry.filter);
        query.push(" and not ").push(IN_FLIGHT).push(" and not ").push(READY);
        if !retry.reviewed {
            query.push(" and d.reprocess_eligible and not d.manual_review_required");
        }
    });
    let done = query.build().execute(conn).await?;
    Ok(handled(done.rows_affected()))
}

/// Removes a batch of old items with their attempts, or counts them all.
pub(super) async fn prune(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    prune: &Prune,
) -> Result<Handled, Fault> {
    let old = |query: &mut QueryBuilder<Postgres>| {
        push_filter(query, &prune.filter);
        query.push(" and d.buried_at <= (select mnemon.now()) - make_interval(secs => ");
        query.push_bind(prune.older_than.as_secs_f64());
        query.push(") and not ").push(IN_FLIGHT);
    };
    if prune.dry_run {
        let mut query = QueryBuilder::new("select count(*) from mnemon.dead_letters d where ");
        push_visible(&mut query, scope);
        old(&mut query);
        let items: i64 = query.build_query_scalar().fetch_one(conn).await?;
        return Ok(Handled { items: items.unsigned_abs(), more: false });
    }
    let mut query = QueryBuilder::new("with gone as (delete from mnemon.dead_letters where ");
    push_batch(&mut query, scope, old);
    query.push(
        " returning queue, item_id), attempts as (delete from mnemon.dead_letter_attempts a \
         using gone g where a.tenant = ",
    );
    query.push_bind(scope.tenant.to_owned());
    query.push(" and a.queue = g.queue and a.item_id = g.item_id) select count(*) from gone");
    let items: i64 = query.build_query_scalar().fetch_one(conn).await?;
    Ok(handled(items.unsigned_abs()))
}

/// Removes one item with its attempts.
pub(super) async fn delete(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    queue: &str,
    item_id: &str,
) -> Result<(), Fault> {
    let gone = query_scalar!(
        r#"
        with gone as (
            delete from mnemon.dead_letters
            where tenant = $1 and queue = $2 and item_id = $3
              and ($4::text is null or user_id = $4) and ($5::text is null or agent_id = $5)
            returning item_id
        ), attempts as (
            delete from mnemon.dead_letter_attempts a
            using gone g
            where a.tenant = $1 and a.queue = $2 and a.item_id = g.item_id
        )
        select count(*) as "count!" from gone
        "#,
        scope.tenant,
        queue,
        item_id,
        scope.user,
        scope.agent,
    )
    .fetch_one(conn)
    .await?;
    if gone == 1 { Ok(()) } else { Err(absent(queue, item_id)) }
}

/// Dead rows below which the tables are left to autovacuum.
const WORTH_IT: i64 = 2_000;

/// Row versions that takes and acknowledgements left behind, where they are worth removing now
/// and this role may; as the server counts them, a second or so late. A busy queue makes more of
/// them between two rounds of autovacuum than it has rows.
pub(crate) async fn dead_rows(conn: &mut PgConnection) -> Result<u64, Fault> {
    let dead = query_scalar!(
        r#"
        select coalesce(sum(s.n_dead_tup), 0)::bigint as "dead!"
        from pg_stat_user_tables s
        join pg_class c on c.oid = s.relid
        where s.schemaname = 'mnemon' and s.relname in ('dead_letters', 'dead_letter_attempts')
          and s.n_dead_tup >= greatest($1, s.n_live_tup / 4)
          and pg_has_role(c.relowner, 'USAGE')
        "#,
        WORTH_IT,
    )
    .fetch_one(conn)
    .await?;
    Ok(dead.unsigned_abs())
}

/// Items of all tenants by the name of their state, up to [`limits::DEPTH_MAX`] of them in all.
pub(crate) async fn depths(conn: &mut PgConnection) -> Result<Vec<(String, u64)>, Fault> {
    let rows = query!(
        r#"
        select case when d.taken and d.visible_at > d.at then 'in_flight'
                    when not d.reprocess_eligible then 'rejected'
                    when d.manual_review_required then 'review'
                    when d.visible_at > d.at then 'delayed'
                    else 'ready' end as "state!",
               count(*) as "items!"
        from (select taken, visible_at, reprocess_eligible, manual_review_required,
                     (select mnemon.now()) as at
              from mnemon.dead_letters limit $1) d
        group by 1
        "#,
        i64::from(limits::DEPTH_MAX),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.state, row.items.unsigned_abs())).collect())
}

/// Frees the space of dead rows. Outside any transaction; leaves a table alone that somebody else
/// vacuums or changes.
pub(crate) async fn shrink(conn: &mut PgConnection) -> Result<u64, Fault> {
    let dead = dead_rows(conn).await?;
    if dead > 0 {
        conn.execute(
            "vacuum (skip_locked, index_cleanup on) mnemon.dead_letters, \
             mnemon.dead_letter_attempts",
        )
        .await?;
    }
    Ok(dead)
}
