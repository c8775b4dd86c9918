//! A month leaves: readers are told, its partition is detached beside running readers and writers,
//! and the table is dropped once it is known to hold what was archived and nothing else.
//!
//! Each part can be repeated, so that what was interrupted goes on: a detaching that stopped half
//! way is finalised, and a table that was left detached is compared again.

use mnemon_core::events::{Extent, Month, Retired};
use mnemon_core::{Error, Result, limits};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, query, query_as, query_scalar};

use super::{Standing, call, changed, extent, standings};
use crate::error::{Fault, code, sql};
use crate::link::work;
use crate::partitions::table;
use crate::store::PostgresStore;

/// `lock_not_available`: somebody used the log for longer than the lock timeout.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// Streams whose heads are held at once while readers are told.
const HEADS: i64 = 1_000;
/// What is being done, for errors.
const DOING: &str = "removing a month of the event log";

/// Removes a month that holds exactly this.
pub(super) async fn retire(store: &PostgresStore, month: Month, wanted: Extent) -> Result<Retired> {
    let link = store.link.maintenance();
    let look = link.run(call(DOING), |conn| work(async move { look(conn, month).await })).await?;
    let Some((standing, found)) = look else { return Ok(Retired::default()) };
    if found != wanted {
        return Err(changed(month, wanted, found));
    }
    tell(store, month).await?;
    if standing != Standing::Detached {
        detach(store, month).await?;
        // What was written into it until then would go unarchived.
        let found =
            link.run(call(DOING), |conn| work(async move { extent(conn, month).await })).await?;
        if found != wanted {
            return Err(changed(month, wanted, found));
        }
    }
    forget_words(store, month).await?;
    let drop = format!("drop table mnemon.{}", table(month));
    let drop = drop.as_str();
    link.run(call(DOING), |conn| {
        work(async move {
            // A name of ours, made of numbers.
            conn.execute(AssertSqlSafe(drop.to_owned())).await?;
            Ok(())
        })
    })
    .await?;
    Ok(Retired { events: wanted.events, more: false })
}

/// How a month stands and what it holds; nothing when it is gone.
async fn look(conn: &mut PgConnection, month: Month) -> Result<Option<(Standing, Extent)>, Fault> {
    let now = query_scalar!(r#"select mnemon.now() as "now!""#).fetch_one(&mut *conn).await?;
    if month.end() > now {
        return Err(Error::invalid("month", format!("{month} has not ended")).into());
    }
    let all = standings(conn).await?;
    let Some((_, standing)) = all.into_iter().find(|(one, _)| *one == month) else {
        return Ok(None);
    };
    Ok(Some((standing, extent(conn, month).await?)))
}

/// Tells readers before anything goes: the first version that every stream keeps, and the greatest
/// place that every tenant loses. Told again it says the same.
async fn tell(store: &PostgresStore, month: Month) -> Result<()> {
    let link = store.link.maintenance();
    let mut after = None;
    loop {
        let from = &after;
        let last = link
            .transaction(call(DOING), |conn| {
                work(async move { raise_first_kept(conn, month, from.as_ref()).await })
            })
            .await?;
        match last {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    link.transaction(call(DOING), |conn| work(async move { note_gone(conn, month).await })).await
}

/// The heads of the next streams, locked in the order in which writers lock them; the last one.
async fn raise_first_kept(
    conn: &mut PgConnection,
    month: Month,
    after: Option<&(String, String)>,
) -> Result<Option<(String, String)>, Fault> {
    let name = table(month);
    // A name of ours, made of numbers.
    let sql = format!(
        "with g as materialized (
             select tenant, stream, max(version) + 1 as first from mnemon.{name}
             where $1::text is null or (tenant, stream) > ($1, $2)
             group by tenant, stream order by tenant, stream limit $3
         ), h as materialized (
             select h.tenant, h.stream, g.first
             from g join mnemon.event_streams h on h.tenant = g.tenant and h.stream = g.stream
             where h.first_kept < g.first
             order by h.tenant, h.stream for update of h
         ), raised as (
             update mnemon.event_streams s set first_kept = h.first from h
             where s.tenant = h.tenant and s.stream = h.stream
         )
         select tenant, stream from g order by tenant desc, stream desc limit 1"
    );
    Ok(query_as(AssertSqlSafe(sql))
        .bind(after.map(|(tenant, _)| tenant.as_str()))
        .bind(after.map(|(_, stream)| stream.as_str()))
        .bind(HEADS)
        .fetch_optional(conn)
        .await?)
}

async fn note_gone(conn: &mut PgConnection, month: Month) -> Result<(), Fault> {
    let name = table(month);
    // A name of ours, made of numbers; the month as its first day.
    let sql = format!(
        "insert into mnemon.event_gone as g
             (tenant, month, removal, events, epoch, tx, stream, version)
         select distinct on (e.tenant) e.tenant, $1, 'mnemon.{name}'::regclass::oid::int8,
                count(*) over (partition by e.tenant), e.epoch, e.tx, e.stream, e.version
         from mnemon.{name} e
         order by e.tenant, e.epoch desc, e.tx desc, e.stream collate \"C\" desc, e.version desc
         on conflict (tenant, month, removal) do update
         set events = excluded.events, epoch = excluded.epoch, tx = excluded.tx,
             stream = excluded.stream, version = excluded.version"
    );
    query(AssertSqlSafe(sql)).bind(month.start().date_naive()).execute(conn).await?;
    Ok(())
}

/// Detaches on a connection of its own: it runs in no transaction, and the time it waits for those
/// who use the log is limited by a setting of the session, which no pool may see. Whoever uses
/// the log meanwhile is not held up.
async fn detach(store: &PostgresStore, month: Month) -> Result<()> {
    let mut conn = store.ddl.connect().await?;
    if !store.link.maintenance().is_pooled() {
        // A number of ours stands in the statement.
        let limit = limits::DETACH_WAIT.as_millis();
        let set = format!("set lock_timeout = {limit}; set statement_timeout = 0");
        conn.execute(AssertSqlSafe(set)).await.map_err(|error| sql(DOING, error))?;
    }
    let mut outcome = Ok(());
    for attempt in 0..limits::DETACH_ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(limits::DETACH_WAIT / 4 * attempt).await;
        }
        outcome = step(&mut conn, month).await;
        match &outcome {
            Err(Fault::Sql(error)) if code(error).as_deref() == Some(LOCK_NOT_AVAILABLE) => {}
            _ => break,
        }
    }
    // What it says does not matter any more.
    let _ = conn.close().await;
    outcome.map_err(|fault| match fault {
        Fault::Sql(error) if code(&error).as_deref() == Some(LOCK_NOT_AVAILABLE) => {
            let tries = limits::DETACH_ATTEMPTS;
            let what = format!("the month {month} of the event log was in use at {tries} attempts");
            Error::Unavailable { what, retry_after: Some(limits::DETACH_WAIT) }
        }
        Fault::Sql(error) => sql(DOING, error),
        Fault::Core(error) => error,
    })
}

/// Brings the month's partition on to where it is detached. Another one that is half way comes
/// first: there may be one only.
async fn step(conn: &mut PgConnection, month: Month) -> Result<(), Fault> {
    for (one, standing) in standings(conn).await? {
        if standing == Standing::Detaching {
            conn.execute(AssertSqlSafe(detaching(one, "finalize"))).await?;
        }
    }
    if standings(conn).await?.contains(&(month, Standing::Attached)) {
        conn.execute(AssertSqlSafe(detaching(month, "concurrently"))).await?;
    }
    Ok(())
}

/// A statement with a name of ours in it, made of numbers.
fn detaching(month: Month, how: &str) -> String {
    format!("alter table mnemon.events detach partition mnemon.{} {how}", table(month))
}

/// The words of what goes, in batches.
async fn forget_words(store: &PostgresStore, month: Month) -> Result<()> {
    let (from, to) = (month.start(), month.end());
    loop {
        let gone = store
            .link
            .maintenance()
            .run(call(DOING), |conn| {
                work(async move {
                    let done = query!(
                        "delete from mnemon.event_words where ctid = any (array(
                             select w.ctid from mnemon.event_words w
                             where w.recorded_at >= $1 and w.recorded_at < $2 limit $3))",
                        from,
                        to,
                        i64::from(limits::ARCHIVE_CHUNK),
                    )
                    .execute(conn)
                    .await?;
                    Ok(done.rows_affected())
                })
            })
            .await?;
        if gone < u64::from(limits::ARCHIVE_CHUNK) {
            return Ok(());
        }
    }
}
