//! Removing: checkpoints by policy or by run, whole threads, threads whose time is over. What no
//! remaining checkpoint or write names goes in the same transaction, under the lock of the thread.

use chrono::{DateTime, Utc};
use mnemon_core::checkpoints::{Policy, Pruned, Thread};
use mnemon_core::scope::Admitted;
use mnemon_core::upkeep::Batch;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, query, query_scalar};

use crate::error::Fault;

/// What of a thread goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum What<'a> {
    KeepLatest(u32),
    OlderThan(DateTime<Utc>),
    Everything,
    Runs(&'a [String]),
}

impl What<'_> {
    pub(super) fn of(policy: &Policy) -> Self {
        match policy {
            Policy::KeepLatest(number) => Self::KeepLatest(*number),
            Policy::OlderThan(time) => Self::OlderThan(*time),
            Policy::Delete => Self::Everything,
        }
    }
}

/// What a removal would remove: it is done, counted, and undone.
pub(super) async fn try_out(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    thread_ids: &[String],
    what: What<'_>,
) -> Result<Pruned, Fault> {
    let mut savepoint = conn.begin().await?;
    let pruned = remove(&mut savepoint, scope, thread_ids, None, what).await?;
    savepoint.rollback().await?;
    Ok(pruned)
}

/// Removes from threads, or from one namespace of theirs, what this scope may see.
pub(super) async fn remove(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    thread_ids: &[String],
    namespace: Option<&str>,
    what: What<'_>,
) -> Result<Pruned, Fault> {
    let threads = query!(
        r#"
        select thread_id, namespace from mnemon.threads
        where tenant = $1 and thread_id = any ($2)
          and ($3::text is null or namespace = $3)
          and ($4::text is null or user_id is null or user_id = $4)
        order by thread_id, namespace
        for update
        "#,
        scope.tenant,
        thread_ids,
        namespace,
        scope.user,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut pruned = Pruned::default();
    for row in threads {
        let thread = Thread { thread_id: row.thread_id, namespace: row.namespace };
        pruned += from_thread(conn, scope.tenant, &thread, what).await?;
    }
    Ok(pruned)
}

/// Removes what these runs put, thread by thread.
pub(super) async fn runs(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    runs: &[String],
) -> Result<Pruned, Fault> {
    let threads = query_scalar!(
        r#"
        select distinct thread_id as "thread_id!" from mnemon.checkpoints
        where tenant = $1 and run_id = any ($2)
          and ($3::text is null or user_id is null or user_id = $3)
        "#,
        scope.tenant,
        runs,
        scope.user,
    )
    .fetch_all(&mut *conn)
    .await?;
    remove(conn, scope, &threads, None, What::Runs(runs)).await
}

/// Removes a batch of threads whose time is over; those in use are left to the next batch.
pub(crate) async fn sweep(conn: &mut PgConnection, size: u32) -> Result<Batch, Fault> {
    let threads = query!(
        r#"
        select tenant, thread_id, namespace from mnemon.threads
        where expires_at <= (select mnemon.now())
        order by expires_at
        limit $1
        for update skip locked
        "#,
        i64::from(size),
    )
    .fetch_all(&mut *conn)
    .await?;
    let rows = threads.len() as u64;
    for row in threads {
        let thread = Thread { thread_id: row.thread_id, namespace: row.namespace };
        whole(conn, &row.tenant, &thread).await?;
    }
    Ok(Batch { rows, more: rows == u64::from(size) })
}

/// How many threads are over.
pub(crate) async fn expired(conn: &mut PgConnection) -> Result<u64, Fault> {
    let count = query_scalar!(
        r#"select count(*) as "count!" from mnemon.threads
           where expires_at <= (select mnemon.now())"#
    )
    .fetch_one(conn)
    .await?;
    Ok(count.unsigned_abs())
}

async fn from_thread(
    conn: &mut PgConnection,
    tenant: &str,
    thread: &Thread,
    what: What<'_>,
) -> Result<Pruned, Fault> {
    if matches!(what, What::Everything) {
        return whole(conn, tenant, thread).await;
    }
    let ids = checkpoints(conn, tenant, thread, what).await?;
    if ids.is_empty() {
        return Ok(Pruned::default());
    }
    let head = query_scalar!(
        r#"
        update mnemon.threads t
        set generation = t.generation + 1, head_id = coalesce(c.id, '')
        from (select (select id from mnemon.checkpoints
                      where tenant = $1 and thread_id = $2 and namespace = $3
                      order by version desc limit 1) as id) c
        where t.tenant = $1 and t.thread_id = $2 and t.namespace = $3
        returning t.head_id
        "#,
        tenant,
        thread.thread_id,
        thread.namespace,
    )
    .fetch_one(&mut *conn)
    .await?;
    let gone = ids.len() as u64;
    if head.is_empty() {
        let rest = whole(conn, tenant, thread).await?;
        return Ok(Pruned { checkpoints: gone, ..rest });
    }
    let writes = query!(
        "delete from mnemon.checkpoint_writes
         where tenant = $1 and thread_id = $2 and namespace = $3 and checkpoint_id = any ($4)",
        tenant,
        thread.thread_id,
        thread.namespace,
        &ids,
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    let blobs = unnamed(conn, tenant, thread).await?;
    Ok(Pruned { threads: 0, checkpoints: gone, writes, blobs })
}

/// Deletes the checkpoints; which.
async fn checkpoints(
    conn: &mut PgConnection,
    tenant: &str,
    thread: &Thread,
    what: What<'_>,
) -> Result<Vec<String>, Fault> {
    let (mut keep, mut before, mut of_runs) = (None, None, None);
    match what {
        What::KeepLatest(number) => keep = Some(i64::from(number)),
        What::OlderThan(time) => before = Some(time),
        What::Runs(runs) => of_runs = Some(runs),
        What::Everything => {}
    }
    Ok(query_scalar!(
        r#"
        delete from mnemon.checkpoints c
        where c.tenant = $1 and c.thread_id = $2 and c.namespace = $3
          and ($4::int8 is null or c.version < (
              select k.version from mnemon.checkpoints k
              where k.tenant = $1 and k.thread_id = $2 and k.namespace = $3
              order by k.version desc offset $4 - 1 limit 1))
          and ($5::timestamptz is null or (c.created_at < $5 and c.version < (
              select max(k.version) from mnemon.checkpoints k
              where k.tenant = $1 and k.thread_id = $2 and k.namespace = $3)))
          and ($6::text[] is null or c.run_id = any ($6))
        returning c.id
        "#,
        tenant,
        thread.thread_id,
        thread.namespace,
        keep,
        before,
        of_runs,
    )
    .fetch_all(conn)
    .await?)
}

/// Deletes what no checkpoint and no write of the thread names; how much.
async fn unnamed(conn: &mut PgConnection, tenant: &str, thread: &Thread) -> Result<u64, Fault> {
    let done = query!(
        r#"
        with named as materialized (
            select decode(e.value ->> 'hash', 'hex') as hash
            from mnemon.checkpoints c, jsonb_each(c.manifest) e
            where c.tenant = $1 and c.thread_id = $2 and c.namespace = $3 and e.value ? 'hash'
            union
            select w.hash from mnemon.checkpoint_writes w
            where w.tenant = $1 and w.thread_id = $2 and w.namespace = $3
        ), live as materialized (
            select hash from named
            union
            select substring(k.bytes from at for 32)
            from mnemon.checkpoint_chunks k, generate_series(1, octet_length(k.bytes), 32) as at
            where k.tenant = $1 and k.thread_id = $2 and k.namespace = $3 and k.codec = 2
              and k.hash in (select n.hash from named n)
        )
        delete from mnemon.checkpoint_chunks k
        where k.tenant = $1 and k.thread_id = $2 and k.namespace = $3
          and not exists (select from live l where l.hash = k.hash)
        "#,
        tenant,
        thread.thread_id,
        thread.namespace,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes a thread with everything of it.
async fn whole(conn: &mut PgConnection, tenant: &str, thread: &Thread) -> Result<Pruned, Fault> {
    let gone = query!(
        r#"
        with threads as (
            delete from mnemon.threads
            where tenant = $1 and thread_id = $2 and namespace = $3 returning 1
        ), checkpoints as (
            delete from mnemon.checkpoints
            where tenant = $1 and thread_id = $2 and namespace = $3 returning 1
        ), writes as (
            delete from mnemon.checkpoint_writes
            where tenant = $1 and thread_id = $2 and namespace = $3 returning 1
        ), chunks as (
            delete from mnemon.checkpoint_chunks
            where tenant = $1 and thread_id = $2 and namespace = $3 returning 1
        )
        select (select count(*) from threads) as "threads!",
               (select count(*) from checkpoints) as "checkpoints!",
               (select count(*) from writes) as "writes!",
               (select count(*) from chunks) as "chunks!"
        "#,
        tenant,
        thread.thread_id,
        thread.namespace,
    )
    .fetch_one(conn)
    .await?;
    Ok(Pruned {
        threads: gone.threads.unsigned_abs(),
        checkpoints: gone.checkpoints.unsigned_abs(),
        writes: gone.writes.unsigned_abs(),
        blobs: gone.chunks.unsigned_abs(),
    })
}
