//! Listing, reading and counting dead letters.

use chrono::{DateTime, Utc};
use mnemon_core::dead_letters::{Attempt, DeadLetter, LetterFilter, LetterStats, Signature, state};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, limits};
use serde_json::Value;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{FromRow, QueryBuilder, query, query_scalar};

use super::filter::{push_filter, push_visible};
use crate::error::Fault;
use crate::row;

/// The columns of an item, with the clock they are judged by.
#[derive(FromRow)]
struct Row {
    queue: String,
    item_id: String,
    item: Value,
    metadata: Value,
    error: String,
    error_signature: String,
    attempts: i32,
    reprocess_eligible: bool,
    manual_review_required: bool,
    taken: bool,
    user_id: Option<String>,
    agent_id: Option<String>,
    buried_at: DateTime<Utc>,
    visible_at: DateTime<Utc>,
    now: DateTime<Utc>,
}

const COLUMNS: &str = "select d.queue, d.item_id, d.item, d.metadata, d.error, d.error_signature, \
    d.attempts, d.reprocess_eligible, d.manual_review_required, d.taken, d.user_id, d.agent_id, \
    d.buried_at, d.visible_at, (select mnemon.now()) as now from mnemon.dead_letters d where ";

impl From<Row> for DeadLetter {
    fn from(row: Row) -> Self {
        Self {
            state: state(
                row.taken,
                row.visible_at,
                row.reprocess_eligible,
                row.manual_review_required,
                row.now,
            ),
            queue: row.queue,
            item_id: row.item_id,
            item: row.item,
            metadata: row.metadata,
            error: row.error,
            error_signature: row.error_signature,
            attempts: row.attempts.unsigned_abs(),
            reprocess_eligible: row.reprocess_eligible,
            manual_review_required: row.manual_review_required,
            user: row.user_id,
            agent: row.agent_id,
            buried_at: row.buried_at,
            visible_at: row.visible_at,
        }
    }
}

/// From a place to the end of the queue, or of all.
pub(super) async fn list(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    filter: &LetterFilter,
    (queue, item_id): &(String, String),
    limit: u32,
) -> Result<Vec<DeadLetter>, Fault> {
    let mut query = QueryBuilder::<Postgres>::new(COLUMNS);
    push_visible(&mut query, scope);
    push_filter(&mut query, filter);
    query.push(" and (d.queue, d.item_id) > (").push_bind(queue.clone());
    query.push(", ").push_bind(item_id.clone());
    query.push(") order by d.queue, d.item_id limit ").push_bind(i64::from(limit) + 1);
    let rows: Vec<Row> = query.build_query_as().fetch_all(conn).await?;
    Ok(rows.into_iter().map(DeadLetter::from).collect())
}

/// One item.
pub(super) async fn get(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    queue: &str,
    item_id: &str,
) -> Result<DeadLetter, Fault> {
    let mut query = QueryBuilder::<Postgres>::new(COLUMNS);
    push_visible(&mut query, scope);
    query.push(" and d.queue = ").push_bind(queue.to_owned());
    query.push(" and d.item_id = ").push_bind(item_id.to_owned());
    let row: Option<Row> = query.build_query_as().fetch_optional(conn).await?;
    row.map(DeadLetter::from).ok_or_else(|| absent(queue, item_id))
}

pub(super) fn absent(queue: &str, item_id: &str) -> Fault {
    Error::not_found("dead letter", format!("{queue}/{item_id}")).into()
}

/// An item's attempts below one, newest first.
pub(super) async fn attempts(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    (queue, item_id): (&str, &str),
    below: i32,
    limit: u32,
) -> Result<Vec<Attempt>, Fault> {
    // Who sees the item sees all of its attempts, whoever made them.
    let rows = query!(
        r#"
        select a.attempt, a.at, a.error, a.error_signature, a.detail, a.user_id, a.agent_id,
               a.run_id
        from mnemon.dead_letters d
        join mnemon.dead_letter_attempts a
          on a.tenant = d.tenant and a.queue = d.queue and a.item_id = d.item_id
        where d.tenant = $1 and d.queue = $2 and d.item_id = $3 and a.attempt < $4
          and ($5::text is null or d.user_id = $5) and ($6::text is null or d.agent_id = $6)
        order by a.attempt desc
        limit $7
        "#,
        scope.tenant,
        queue,
        item_id,
        below,
        scope.user,
        scope.agent,
        i64::from(limit) + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    if rows.is_empty() && !exists(conn, scope, queue, item_id).await? {
        return Err(absent(queue, item_id));
    }
    Ok(rows
        .into_iter()
        .map(|row| Attempt {
            attempt: row.attempt.unsigned_abs(),
            at: row.at,
            error: row.error,
            error_signature: row.error_signature,
            detail: row.detail,
            user: row.user_id,
            agent: row.agent_id,
            run: row.run_id,
        })
        .collect())
}

async fn exists(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    queue: &str,
    item_id: &str,
) -> Result<bool, Fault> {
    let there = query_scalar!(
        r#"
        select exists (
            select from mnemon.dead_letters
            where tenant = $1 and queue = $2 and item_id = $3
              and ($4::text is null or user_id = $4) and ($5::text is null or agent_id = $5)
        ) as "there!"
        "#,
        scope.tenant,
        queue,
        item_id,
        scope.user,
        scope.agent,
    )
    .fetch_one(conn)
    .await?;
    Ok(there)
}

/// Counts by state, attempts and cause, in one statement: all of one moment.
pub(super) async fn stats(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    queue: Option<&str>,
) -> Result<LetterStats, Fault> {
    let rows = query!(
        r#"
        select state, attempts as "attempts?", error_signature as "error_signature?",
               items as "items!", oldest as "oldest!",
               newest as "newest!"
        from (
            select s.state, d.attempts, d.error_signature, count(*) as items,
                   min(d.buried_at) as oldest, max(d.buried_at) as newest,
                   row_number() over (
                       partition by grouping(s.state) order by count(*) desc, d.error_signature
                   ) as place
            from mnemon.dead_letters d
            cross join (select mnemon.now() as at) c
            cross join lateral (
                select case
                    when d.taken and d.visible_at > c.at then 'in_flight'
                    when not d.reprocess_eligible then 'rejected'
                    when d.manual_review_required then 'review'
                    when d.visible_at > c.at then 'delayed'
                    else 'ready'
                end as state
            ) s
            where d.tenant = $1 and ($2::text is null or d.queue = $2)
              and ($3::text is null or d.user_id = $3) and ($4::text is null or d.agent_id = $4)
            group by grouping sets ((s.state, d.attempts), (d.error_signature))
        ) counted
        where state is not null or place <= $5
        order by place
        "#,
        scope.tenant,
        queue,
        scope.user,
        scope.agent,
        i64::from(limits::LETTER_SIGNATURES),
    )
    .fetch_all(conn)
    .await?;
    let mut stats = LetterStats::default();
    for row in rows {
        let items = row.items.unsigned_abs();
        if let (Some(state), Some(attempts)) = (row.state, row.attempts) {
            stats.total += items;
            *stats.by_state.entry(row::named(&state, "a dead letter")?).or_default() += items;
            *stats.by_attempts.entry(attempts.unsigned_abs()).or_default() += items;
            stats.oldest = Some(stats.oldest.map_or(row.oldest, |at| at.min(row.oldest)));
            stats.newest = Some(stats.newest.map_or(row.newest, |at| at.max(row.newest)));
        } else if let Some(signature) = row.error_signature {
            stats.by_signature.push(Signature { signature, items });
        }
    }
    Ok(stats)
}
