//! Upkeep on PostgreSQL: leases are one statement with compare-and-set; a batch locks its task's
//! row first, so that an older holder's work rolls back.

use async_trait::async_trait;
use mnemon_core::upkeep::{Batch, Depths, Task, TaskLease, TaskStatus, Upkeep};
use mnemon_core::{Error, Fence, Result, limits};
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as};

use crate::claims::questions;
use crate::error::Fault;
use crate::events::{epoch, search};
use crate::link::{Call, Retry, work};
use crate::memories::language;
use crate::store::PostgresStore;
use crate::{checkpoints, dead_letters, partitions, rls, segments, steps, turns};

#[async_trait]
impl Upkeep for PostgresStore {
    async fn claim(&self, task: Task, holder: &str, force: bool) -> Result<Option<TaskLease>> {
        self.link
            .maintenance()
            .run(call("claiming an upkeep task", Retry::Never), |conn| {
                work(async move { claim(conn, task, holder, force).await })
            })
            .await
    }

    async fn batch(&self, lease: &TaskLease) -> Result<Batch> {
        let call = call("running an upkeep task", Retry::Idempotent);
        let link = self.link.maintenance();
        if lease.task == Task::VectorSegments {
            let done = segments::batch(link, lease).await?;
            self.pressure.look(link).await;
            return Ok(done);
        }
        let done =
            link.transaction(call, |conn| work(async move { batch(conn, lease).await })).await?;
        if lease.task != Task::DeadLetters {
            return Ok(done);
        }
        // VACUUM runs in no transaction. Under a lease that is over it does no harm.
        let rows =
            link.run(call, |conn| work(async move { dead_letters::shrink(conn).await })).await?;
        Ok(Batch { rows, more: false })
    }

    async fn finish(&self, lease: &TaskLease, failure: Option<&str>) -> Result<()> {
        self.link
            .maintenance()
            .run(call("finishing an upkeep task", Retry::Never), |conn| {
                work(async move { finish(conn, lease, failure).await })
            })
            .await
    }

    async fn status(&self) -> Result<Vec<TaskStatus>> {
        let call = call("reading upkeep's state", Retry::Idempotent);
        self.link.maintenance().run(call, |conn| work(async move { status(conn).await })).await
    }

    async fn depths(&self) -> Result<Depths> {
        let call = call("measuring the queues", Retry::Idempotent);
        self.link.maintenance().run(call, |conn| work(async move { depths(conn).await })).await
    }
}

/// Upkeep works for all tenants.
fn call(doing: &'static str, retry: Retry) -> Call<'static> {
    Call { doing, tenant: None, retry }
}

pub(crate) async fn claim(
    conn: &mut PgConnection,
    task: Task,
    holder: &str,
    force: bool,
) -> Result<Option<TaskLease>, Fault> {
    let row = query!(
        r#"
        insert into mnemon.upkeep_tasks as t (name, holder, fence, expires_at)
        values ($1, $2, 1, mnemon.now() + make_interval(secs => $3))
        on conflict (name) do update
        set holder = excluded.holder, fence = t.fence + 1, expires_at = excluded.expires_at
        where (t.holder is null or t.expires_at <= mnemon.now())
          and ($4 or t.last_run is null or t.last_run + make_interval(secs => $5) <= mnemon.now())
        returning fence, expires_at as "expires_at!"
        "#,
        task.name(),
        holder,
        task.lease().as_secs_f64(),
        force,
        task.interval().as_secs_f64(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| TaskLease { task, fence: Fence(row.fence), expires_at: row.expires_at }))
}

/// Keeps a lease, or says that it is over; its row stays locked until the transaction ends.
pub(crate) async fn renew(conn: &mut PgConnection, lease: &TaskLease) -> Result<(), Fault> {
    let renewed = query!(
        r#"
        update mnemon.upkeep_tasks
        set expires_at = mnemon.now() + make_interval(secs => $3)
        where name = $1 and fence = $2 and holder is not null
        "#,
        lease.task.name(),
        lease.fence.0,
        lease.task.lease().as_secs_f64(),
    )
    .execute(conn)
    .await?;
    if renewed.rows_affected() == 0 {
        return Err(fenced(lease));
    }
    Ok(())
}

async fn batch(conn: &mut PgConnection, lease: &TaskLease) -> Result<Batch, Fault> {
    renew(conn, lease).await?;
    let size = lease.task.batch();
    match lease.task {
        Task::Words => language::batch(conn, size).await,
        Task::TextCounts => fold_counts(conn, size).await,
        Task::ExpiredMemories => remove_expired(conn, size).await,
        Task::EventPartitions => {
            epoch::note_progress(conn).await?;
            let (rows, more) = partitions::make_next(conn).await?;
            Ok(Batch { rows, more })
        }
        Task::Receipts => steps::sweep(conn, size).await,
        Task::ExpiredTurns => turns::remove::expire(conn, size).await,
        // Their work is done outside this transaction: this is a sign of life.
        Task::DeadLetters
        | Task::Summaries
        | Task::OracleQuestions
        | Task::Embeddings
        | Task::EventRetention => Ok(Batch::default()),
        Task::EventSearch => search::fill(conn, size).await,
        Task::ExpiredThreads => checkpoints::sweep(conn, size).await,
        Task::ExpiredAdjudications => questions::sweep_all(conn, size).await,
        task => Err(Error::invalid("task", format!("{} is not known here", task.name())).into()),
    }
}

fn fenced(lease: &TaskLease) -> Fault {
    Error::Fenced { key: format!("upkeep task {}", lease.task.name()) }.into()
}

/// Moves what writes noted into the counts. The lease keeps it to one process, so the order of
/// the rows is for readers of the log only; a reader sees the counts before or after, not between.
/// Nobody updates a delta, so its place in the table stands for it.
async fn fold_counts(conn: &mut PgConnection, size: u32) -> Result<Batch, Fault> {
    let rows = query!(
        r#"
        with taken as (
            delete from mnemon.text_deltas
            where ctid = any (array(select d.ctid from mnemon.text_deltas d order by d.id limit $1))
            returning tenant, terms, documents, words
        ), corpus as (
            insert into mnemon.text_corpus as c (tenant, documents, words)
            select tenant, sum(documents), sum(words) from taken group by tenant order by tenant
            on conflict (tenant) do update
            set documents = c.documents + excluded.documents, words = c.words + excluded.words
        ), changed as (
            select t.tenant, w.term, sum(t.documents) as documents
            from taken t, unnest(t.terms) as w (term)
            group by t.tenant, w.term
            having sum(t.documents) <> 0
        ), terms as (
            insert into mnemon.text_terms as t (tenant, term, documents)
            select tenant, term, documents from changed order by tenant, term
            on conflict (tenant, term) do update set documents = t.documents + excluded.documents
            returning t.tenant, t.term, t.documents
        )
        select (select count(*) from taken) as "taken!",
               coalesce((select array_agg(tenant) from terms where documents <= 0), '{}') as "tenants!",
               coalesce((select array_agg(term) from terms where documents <= 0), '{}') as "terms!"
        "#,
        i64::from(size),
    )
    .fetch_one(&mut *conn)
    .await?;
    // Words that no memory holds any more.
    query!(
        "delete from mnemon.text_terms t using unnest($1::text[], $2::text[]) as g (tenant, term)
         where t.tenant = g.tenant and t.term = g.term and t.documents <= 0",
        &rows.tenants,
        &rows.terms,
    )
    .execute(conn)
    .await?;
    let taken = rows.taken.unsigned_abs();
    Ok(Batch { rows: taken, more: taken == u64::from(size) })
}

/// Removes memories whose time is over; their words leave the counts with them. By their places in
/// the table, which stand still while they are locked: a join would read the whole table.
async fn remove_expired(conn: &mut PgConnection, size: u32) -> Result<Batch, Fault> {
    let done = query!(
        r#"
        with gone as (
            delete from mnemon.memories m
            where m.ctid = any (array(
                select e.ctid from mnemon.memories e
                where e.expires_at <= (select mnemon.now())
                order by e.expires_at
                limit $1
                for update skip locked
            ))
            returning m.tenant, m.user_id, m.terms, m.words
        )
        insert into mnemon.text_deltas (tenant, user_id, terms, documents, words)
        select tenant, user_id, array_remove(tsvector_to_array(terms), '@' || tenant), -1, -words
        from gone
        "#,
        i64::from(size),
    )
    .execute(conn)
    .await?;
    let rows = done.rows_affected();
    Ok(Batch { rows, more: rows == u64::from(size) })
}

pub(crate) async fn finish(
    conn: &mut PgConnection,
    lease: &TaskLease,
    failure: Option<&str>,
) -> Result<(), Fault> {
    let done = query!(
        r#"
        update mnemon.upkeep_tasks
        set holder = null, expires_at = null, last_run = mnemon.now(),
            errors = case when $3::text is null then 0 else errors + 1 end, last_error = $3
        where name = $1 and fence = $2 and holder is not null
        "#,
        lease.task.name(),
        lease.fence.0,
        failure,
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 0 {
        return Err(fenced(lease));
    }
    Ok(())
}

/// What waits in the queues. Under row-level security that is for the owner to see.
async fn depths(conn: &mut PgConnection) -> Result<Depths, Fault> {
    let standing = rls::standing(conn).await?;
    if standing.on && standing.subject {
        return Ok(Depths::of(|_| 0));
    }
    let letters = dead_letters::depths(conn).await?;
    Ok(Depths::of(|state| {
        letters.iter().find(|(name, _)| name == state.as_str()).map_or(0, |(_, items)| *items)
    }))
}

struct Row {
    name: String,
    holder: Option<String>,
    last_run: Option<chrono::DateTime<chrono::Utc>>,
    errors: i32,
    last_error: Option<String>,
    deltas: i64,
    expired: i64,
    receipts: i64,
    turns: i64,
    summaries: i64,
    questions: i64,
    backlog: i64,
    unanswered: i64,
}

/// Every task, those that never ran included.
pub(crate) async fn status(conn: &mut PgConnection) -> Result<Vec<TaskStatus>, Fault> {
    // Under row-level security what waits is for the owner to see, like upkeep itself.
    let standing = rls::standing(conn).await?;
    let sees_all = !(standing.on && standing.subject);
    let names: Vec<String> = Task::ALL.iter().map(|task| task.name().to_owned()).collect();
    let rows = query_as!(
        Row,
        r#"
        select g.name as "name!",
               case when t.expires_at > mnemon.now() then t.holder end as "holder?",
               t.last_run as "last_run?", coalesce(t.errors, 0) as "errors!",
               t.last_error as "last_error?",
               case when $2 then (select count(*) from mnemon.text_deltas) else 0 end as "deltas!",
               case when $2 then (select count(*) from mnemon.memories
                                  where expires_at <= (select mnemon.now()))
                    else 0 end as "expired!",
               case when $2 then (select count(*) from mnemon.receipts
                                  where committed_at <= (select mnemon.now())
                                                        - make_interval(secs => $3))
                    else 0 end as "receipts!",
               case when $2 then (select count(*) from mnemon.turns u
                                  join mnemon.turn_sessions s
                                    using (tenant, user_id, session_id, run_key, kind)
                                  where u.expires_at <= (select mnemon.now())
                                    and (s.strategy <> 'rolling_summary'
                                         or u.seq <= s.covered_seq))
                    else 0 end as "turns!",
               case when $2 then (select count(*) from mnemon.turn_backlog
                                  where due_at <= (select mnemon.now()))
                    else 0 end as "summaries!",
               case when $2 then (select count(*) from mnemon.claim_questions
                                  where status = 'queued' and delivered_at is null
                                    and next_attempt_at <= (select mnemon.now()))
                    else 0 end as "questions!",
               case when $2 then (select count(*) from mnemon.claim_questions
                                  where status = 'queued' and expires_at is not null
                                    and expires_at <= (select mnemon.now()))
                    else 0 end as "unanswered!",
               coalesce((select lacking from mnemon.embedding_sets where state = 'active'), 0)
                   as "backlog!"
        from unnest($1::text[]) with ordinality as g (name, n)
        left join mnemon.upkeep_tasks t on t.name = g.name
        order by g.n
        "#,
        &names,
        sees_all,
        limits::RECEIPTS_KEPT.as_secs_f64(),
    )
    .fetch_all(&mut *conn)
    .await?;
    let partitions = partitions::missing(conn).await?.len() as u64;
    let dead_letters = dead_letters::dead_rows(conn).await?;
    let threads = if sees_all { checkpoints::expired(conn).await? } else { 0 };
    let uncut = if sees_all { language::waiting(conn).await? } else { 0 };
    let vectors = if sees_all { segments::waiting(conn).await? } else { 0 };
    Ok(rows
        .into_iter()
        .map(|row| {
            let lag = match row.name.as_str() {
                name if name == Task::Words.name() => uncut,
                name if name == Task::TextCounts.name() => row.deltas.unsigned_abs(),
                name if name == Task::ExpiredMemories.name() => row.expired.unsigned_abs(),
                name if name == Task::EventPartitions.name() => partitions,
                name if name == Task::Receipts.name() => row.receipts.unsigned_abs(),
                name if name == Task::DeadLetters.name() => dead_letters,
                name if name == Task::ExpiredTurns.name() => row.turns.unsigned_abs(),
                name if name == Task::Summaries.name() => row.summaries.unsigned_abs(),
                name if name == Task::ExpiredThreads.name() => threads,
                name if name == Task::VectorSegments.name() => vectors,
                name if name == Task::Embeddings.name() => row.backlog.unsigned_abs(),
                name if name == Task::OracleQuestions.name() => row.questions.unsigned_abs(),
                name if name == Task::ExpiredAdjudications.name() => row.unanswered.unsigned_abs(),
                _ => 0,
            };
            TaskStatus {
                name: row.name,
                holder: row.holder,
                last_run: row.last_run,
                errors: row.errors.unsigned_abs(),
                last_error: row.last_error,
                lag,
            }
        })
        .collect())
}
