//! How a segment comes to be, in steps that a killed run resumes: written down, filled in batches,
//! indexed, moved in.

use std::time::Duration;

use mnemon_core::upkeep::{Batch, TaskLease};
use mnemon_core::{Error, Result, limits};
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{AssertSqlSafe, Executor as _, QueryBuilder, query, query_scalar};
use uuid::Uuid;

use super::{Segment, can_index, in_use, merge, quiesce, unindexed};
use crate::error::Fault;
use crate::link::{Call, Link, Retry, work};
use crate::models::{self, Set};
use crate::upkeep::renew;

/// Less than the time after which PostgreSQL looks for deadlocks: in one with a caller it is
/// upkeep that gives way.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '400ms'";

/// What a step did, and what is left to do outside its transaction.
enum Step {
    /// There is nothing to do.
    Idle,
    /// Rows handled; there may be more.
    Did(u64),
    /// A segment is filled and wants its index.
    Index(Segment),
    /// Rows left a table that now wants to be vacuumed.
    Moved(u64, String),
}

/// One step for any set, under the lease of the task.
pub(crate) async fn batch(link: &Link, lease: &TaskLease) -> Result<Batch> {
    step(link, lease, None).await
}

/// Builds segments of one set until no more than [`limits::UNINDEXED_ROWS`] of its vectors are
/// unindexed; the rows indexed. The lease is of [`mnemon_core::upkeep::Task::VectorSegments`].
pub(crate) async fn build_all(link: &Link, lease: &TaskLease, set: i32) -> Result<u64> {
    let mut rows = 0;
    loop {
        let done = step(link, lease, Some(set)).await?;
        rows += done.rows;
        if !done.more {
            return Ok(rows);
        }
    }
}

async fn step(link: &Link, lease: &TaskLease, only: Option<i32>) -> Result<Batch> {
    let call = Call { doing: "making vector segments", tenant: None, retry: Retry::Idempotent };
    let done = link
        .transaction(call, |conn| {
            work(async move {
                conn.execute(LOCK_TIMEOUT).await?;
                renew(conn, lease).await?;
                next(conn, only).await
            })
        })
        .await?;
    match done {
        Step::Idle => Ok(Batch::default()),
        Step::Did(rows) => Ok(Batch { rows, more: true }),
        Step::Index(segment) => {
            index(link, lease, &segment).await?;
            Ok(Batch { rows: 0, more: true })
        }
        Step::Moved(rows, table) => {
            // What left it is still read by every exact scan until then. To cut the file it would
            // wait for its lock under a transaction id, which holds subscribers back.
            let vacuum = format!("vacuum (truncate off) {table}");
            alone(link, lease, "vacuuming unindexed vectors", vacuum).await?;
            Ok(Batch { rows, more: true })
        }
    }
}

/// The most useful step there is.
async fn next(conn: &mut PgConnection, only: Option<i32>) -> Result<Step, Fault> {
    for set in models::sets(conn).await? {
        if !can_index(&set.model) || only.is_some_and(|only| only != set.id) {
            continue;
        }
        let segments = in_use(conn, set.id).await?;
        let open = |segment: &&Segment| {
            matches!(segment.state.as_str(), "opening" | "filling" | "indexing")
        };
        if let Some(segment) = segments.iter().find(open) {
            return advance(conn, &set, segment).await;
        }
        let most = limits::UNINDEXED_ROWS;
        let rows = unindexed(conn, &set, i64::try_from(most).unwrap_or(i64::MAX) + 1).await?;
        if rows > most {
            return begin(conn, &set, &[]).await;
        }
        if only.is_none() {
            let sources = mergeable(conn, &set, &segments).await?;
            if !sources.is_empty() {
                return begin(conn, &set, &sources).await;
            }
            if free_one(conn, &set).await? {
                return Ok(Step::Did(0));
            }
        }
    }
    Ok(Step::Idle)
}

async fn mergeable(
    conn: &mut PgConnection,
    set: &Set,
    segments: &[Segment],
) -> Result<Vec<i32>, Fault> {
    let ready: Vec<(i32, u64)> = segments
        .iter()
        .filter(|segment| segment.state == "ready")
        .map(|segment| (segment.number, segment.rows.unsigned_abs()))
        .collect();
    let idle = query_scalar!(
        r#"select coalesce(max(changed_at) <= mnemon.now() - make_interval(secs => $2), true) as "idle!"
           from mnemon.embedding_segments where set_id = $1 and state = 'ready'"#,
        set.id,
        limits::SEGMENTS_IDLE.as_secs_f64(),
    )
    .fetch_one(conn)
    .await?;
    Ok(merge::choose(&ready, idle))
}

/// Writes a segment down, with an empty table.
async fn begin(conn: &mut PgConnection, set: &Set, sources: &[i32]) -> Result<Step, Fault> {
    let free = query_scalar!(
        "update mnemon.embedding_segments
         set state = 'opening', sources = $2, rows = 0, changed_at = mnemon.now()
         where set_id = $1 and number = (
             select min(number) from mnemon.embedding_segments where set_id = $1 and state = 'free')
         returning number",
        set.id,
        sources,
    )
    .fetch_optional(&mut *conn)
    .await?;
    if free.is_none() {
        let number = query_scalar!(
            "insert into mnemon.embedding_segments (set_id, number, state, sources)
             select $1, coalesce(max(number), 0) + 1, 'opening', $2
             from mnemon.embedding_segments where set_id = $1
             returning number",
            set.id,
            sources,
        )
        .fetch_one(&mut *conn)
        .await?;
        models::make_part(conn, set, &super::table(set.id, number), "indexed, in bulk").await?;
    }
    Ok(Step::Did(0))
}

/// Takes an unfinished segment one step further.
async fn advance(conn: &mut PgConnection, set: &Set, segment: &Segment) -> Result<Step, Fault> {
    match segment.state.as_str() {
        "opening" => {
            quiesce(conn, set.id).await?;
            enter(conn, segment, "filling").await?;
            Ok(Step::Did(0))
        }
        "filling" => fill(conn, set, segment).await,
        _ => match is_indexed(conn, segment).await? {
            Some(true) => settle(conn, set, segment).await,
            Some(false) => {
                // What a build that was cut short left behind. One under way keeps its lock.
                // The index's name is made of two numbers.
                let drop = format!("drop index mnemon.{}", segment.index());
                conn.execute(AssertSqlSafe(drop)).await?;
                Ok(Step::Index(segment.clone()))
            }
            None => Ok(Step::Index(segment.clone())),
        },
    }
}

async fn enter(conn: &mut PgConnection, segment: &Segment, state: &str) -> Result<(), Fault> {
    query!(
        "update mnemon.embedding_segments set state = $3, changed_at = mnemon.now()
         where set_id = $1 and number = $2",
        segment.set_id,
        segment.number,
        state,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Copies the next batch, in the order of tenants and ids.
async fn fill(conn: &mut PgConnection, set: &Set, segment: &Segment) -> Result<Step, Fault> {
    let sources: Vec<String> = if segment.sources.is_empty() {
        vec![set.table()]
    } else {
        segment.sources.iter().map(|number| super::table(set.id, *number)).collect()
    };
    let after = last(conn, &segment.table()).await?;
    let to = bound(conn, &sources, &after).await?;
    let mut copied = 0;
    for source in &sources {
        copied += copy(conn, segment, source, &after, to.as_ref()).await?;
    }
    let all = rows(conn, segment).await?;
    let full = segment.sources.is_empty() && all >= u64::from(limits::SEGMENT_ROWS);
    if to.is_some() && copied > 0 && !full {
        return Ok(Step::Did(0));
    }
    query!(
        "update mnemon.embedding_segments
         set state = case when $3::bigint = 0 and sources = '{}' then 'free' else 'indexing' end,
             rows = $3::bigint, changed_at = mnemon.now()
         where set_id = $1 and number = $2",
        segment.set_id,
        segment.number,
        i64::try_from(all).unwrap_or(i64::MAX),
    )
    .execute(conn)
    .await?;
    Ok(Step::Did(0))
}

async fn rows(conn: &mut PgConnection, segment: &Segment) -> Result<u64, Fault> {
    let mut query = QueryBuilder::<Postgres>::new("select count(*) from ");
    // The table's name is made of two numbers.
    query.push(segment.table());
    let rows: i64 = query.build_query_scalar().fetch_one(conn).await?;
    Ok(rows.unsigned_abs())
}

/// A place in the order of copying.
type Place = (String, Uuid);

/// Where the last batch ended; before everything for an empty segment.
async fn last(conn: &mut PgConnection, table: &str) -> Result<Place, Fault> {
    let mut query = QueryBuilder::<Postgres>::new("select tenant, memory_id from ");
    // The table's name is made of numbers.
    query.push(table).push(" order by tenant desc, memory_id desc limit 1");
    let found: Option<Place> = query.build_query_as().fetch_optional(conn).await?;
    Ok(found.unwrap_or_default())
}

/// Where this batch ends; none when it takes all that is left.
async fn bound(
    conn: &mut PgConnection,
    sources: &[String],
    after: &Place,
) -> Result<Option<Place>, Fault> {
    let size = i64::from(limits::SEGMENT_COPY);
    let mut query = QueryBuilder::<Postgres>::new("select tenant, memory_id from (");
    for (n, source) in sources.iter().enumerate() {
        query.push(if n == 0 { "(" } else { " union all (" });
        // The table's name is made of numbers.
        query.push("select tenant, memory_id from ").push(source);
        push_after(&mut query, "", after);
        query.push(" order by tenant, memory_id limit ").push_bind(size).push(")");
    }
    query
        .push(") as ahead order by tenant, memory_id offset ")
        .push_bind(size - 1)
        .push(" limit 1");
    Ok(query.build_query_as().fetch_optional(conn).await?)
}

fn push_after(query: &mut QueryBuilder<Postgres>, alias: &str, after: &Place) {
    query.push(format_args!(" where ({alias}tenant, {alias}memory_id) > ("));
    query.push_bind(after.0.clone()).push(", ").push_bind(after.1).push(")");
}

/// Copies what one source has of the batch, each row under its own and its memory's lock. What
/// somebody else holds stays in the unindexed part for the next segment; from a segment that is
/// merged everything must come.
async fn copy(
    conn: &mut PgConnection,
    segment: &Segment,
    source: &str,
    after: &Place,
    to: Option<&Place>,
) -> Result<u64, Fault> {
    let skip = if segment.sources.is_empty() { " skip locked" } else { "" };
    let mut query = QueryBuilder::<Postgres>::new(
        "with taken as (select e.tenant, e.memory_id, e.user_id, e.content_hash, e.embedding from ",
    );
    // The tables' names are made of numbers.
    query.push(source);
    query.push(" e join mnemon.memories m on m.tenant = e.tenant and m.id = e.memory_id");
    push_after(&mut query, "e.", after);
    if let Some((tenant, id)) = to {
        query.push(" and (e.tenant, e.memory_id) <= (").push_bind(tenant.clone());
        query.push(", ").push_bind(*id).push(")");
    }
    query.push(" order by e.tenant, e.memory_id");
    query.push(format_args!(" for key share of m{skip} for update of e{skip}) insert into "));
    query.push(segment.table());
    query.push(
        " (tenant, memory_id, user_id, content_hash, embedding) \
         select tenant, memory_id, user_id, content_hash, embedding from taken \
         on conflict do nothing",
    );
    Ok(query.build().execute(conn).await?.rows_affected())
}

/// Whether a segment has its index: none, one that was not finished, a good one.
async fn is_indexed(conn: &mut PgConnection, segment: &Segment) -> Result<Option<bool>, Fault> {
    let name = format!("mnemon.{}", segment.index());
    let valid = query_scalar!(
        "select i.indisvalid from pg_index i where i.indexrelid = to_regclass($1)",
        name
    )
    .fetch_optional(conn)
    .await?;
    Ok(valid)
}

/// Builds the index, with signs of life meanwhile.
async fn index(link: &Link, lease: &TaskLease, segment: &Segment) -> Result<()> {
    let (index, table) = (segment.index(), segment.table());
    // Several processes would build it sooner, and take every core of a small machine from those who
    // ask and write meanwhile.
    let workers = if segment.rows.unsigned_abs() <= limits::SEGMENT_SERIAL_ROWS {
        "set (parallel_workers = 0)"
    } else {
        "reset (parallel_workers)"
    };
    // The names are made of two numbers.
    let set = format!("alter table {table} {workers}");
    alone(link, lease, "preparing a vector index", set).await?;
    let create = format!(
        "create index concurrently if not exists {index} on {table} \
         using hnsw (embedding halfvec_cosine_ops) with (m = 16, ef_construction = 64)"
    );
    alone(link, lease, "building a vector index", create).await?;
    let analyze = format!("analyze {table} (tenant, memory_id, user_id)");
    alone(link, lease, "analysing a vector segment", analyze).await?;
    if is_unknown(link).await? {
        let analyze = "analyze mnemon.memories (tenant, user_id, agent_id, visibility, namespace, \
                       node_type, created_at, expires_at)";
        alone(link, lease, "analysing memories", analyze.to_owned()).await?;
    }
    Ok(())
}

/// Whether the planner was told nothing about memories yet: which way a recall goes is asked of
/// it, and a server may take minutes to look at a new table by itself.
async fn is_unknown(link: &Link) -> Result<bool> {
    let call = Call { doing: "looking for statistics", tenant: None, retry: Retry::Idempotent };
    link.run(call, |conn| {
        work(async move {
            let unknown = query_scalar!(
                r#"select reltuples < 0 as "unknown!" from pg_class
                   where oid = 'mnemon.memories'::regclass"#
            );
            Ok(unknown.fetch_one(conn).await?)
        })
    })
    .await
}

/// Runs a statement that is no part of a transaction, keeping the lease.
async fn alone(
    link: &Link,
    lease: &TaskLease,
    doing: &'static str,
    statement: String,
) -> Result<()> {
    let call = Call { doing, tenant: None, retry: Retry::Never };
    let statement = &statement;
    let running = link.run_long(call, limits::SEGMENT_BUILD, |conn| {
        work(async move {
            conn.execute(AssertSqlSafe(statement.clone())).await?;
            Ok(())
        })
    });
    let mut running = Box::pin(running);
    let pause = lease.task.lease() / 3;
    loop {
        match tokio::time::timeout(pause, &mut running).await {
            Ok(done) => return done,
            Err(_) => {
                // Somebody else has it: the statement goes on, and they wait for its lock.
                if let Err(error @ Error::Fenced { .. }) = sign_of_life(link, lease).await {
                    return Err(error);
                }
            }
        }
    }
}

async fn sign_of_life(link: &Link, lease: &TaskLease) -> Result<()> {
    let call = Call { doing: "keeping an upkeep task", tenant: None, retry: Retry::Idempotent };
    let patience = Duration::from_secs(5);
    let kept = link.transaction(call, |conn| work(async move { renew(conn, lease).await }));
    tokio::time::timeout(patience, Box::pin(kept)).await.unwrap_or(Ok(()))
}

/// Moves a filled and indexed segment in: from here on it is searched, and what it was copied from
/// no longer holds its rows.
async fn settle(conn: &mut PgConnection, set: &Set, segment: &Segment) -> Result<Step, Fault> {
    enter(conn, segment, "ready").await?;
    if !segment.sources.is_empty() {
        query!(
            "update mnemon.embedding_segments set state = 'retired', changed_at = mnemon.now()
             where set_id = $1 and number = any ($2)",
            set.id,
            &segment.sources,
        )
        .execute(conn)
        .await?;
        return Ok(Step::Did(segment.rows.unsigned_abs()));
    }
    let mut query = QueryBuilder::<Postgres>::new("delete from ");
    // The tables' names are made of numbers.
    query.push(set.table()).push(" e using ").push(segment.table());
    query.push(" g where g.tenant = e.tenant and g.memory_id = e.memory_id");
    let moved = query.build().execute(conn).await?.rows_affected();
    Ok(Step::Moved(moved, set.table()))
}

/// Empties one merged segment that nobody can be reading any more. Its table is kept to be used
/// again: dropping it would lock all memories for a moment, because it refers to them.
async fn free_one(conn: &mut PgConnection, set: &Set) -> Result<bool, Fault> {
    let number = query_scalar!(
        "update mnemon.embedding_segments
         set state = 'free', sources = '{}', rows = 0, changed_at = mnemon.now()
         where set_id = $1 and number = (
             select min(number) from mnemon.embedding_segments
             where set_id = $1 and state = 'retired'
               and changed_at <= mnemon.now() - make_interval(secs => $2))
         returning number",
        set.id,
        limits::SEGMENT_KEPT.as_secs_f64(),
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(number) = number else { return Ok(false) };
    let (table, set) = (super::table(set.id, number), set.id);
    // The names are made of two numbers.
    let empty =
        format!("truncate {table}; drop index if exists mnemon.embeddings_{set}_seg_{number}_hnsw");
    conn.execute(AssertSqlSafe(empty)).await?;
    Ok(true)
}
