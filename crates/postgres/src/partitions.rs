//! Partitions of the event log: one a month (UTC), made ahead of time, each created apart and
//! then attached, so that writers are not held up.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use mnemon_core::events::{Import, Month};
use mnemon_core::{Error, Result, limits};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, query, query_scalar};

use crate::error::Fault;
use crate::link::{Call, Retry, work};
use crate::store::PostgresStore;

/// The advisory lock under which partitions are made.
const LOCK: &str = "mnemon.partitions";

/// The partition's name.
pub(crate) fn table(month: Month) -> String {
    let (year, number) = month.parts();
    format!("events_y{year:04}m{number:02}")
}

/// The statements that make a month's partition: numbers stand in them, nothing else.
pub(crate) fn ddl(month: Month) -> String {
    let table = table(month);
    let first = |month: Month| format!("{} 00:00:00+00", month.start().format("%Y-%m-%d"));
    let (from, to) = (first(month), first(month.next()));
    format!(
        "create table mnemon.{table} (like mnemon.events including all excluding indexes);\n\
         comment on table mnemon.{table} is 'Events recorded from {from} to {to}.';\n\
         alter table mnemon.events attach partition mnemon.{table} for values from ('{from}') to ('{to}');\n\
         select mnemon.guard('mnemon.{table}');"
    )
}

/// The months whose partitions must be there: this one and those ahead.
pub(crate) fn wanted(now: DateTime<Utc>) -> Vec<Month> {
    let ahead = limits::PARTITIONS_AHEAD as usize;
    std::iter::successors(Some(Month::of(now)), |month| Some(month.next()))
        .take(1 + ahead)
        .collect()
}

/// The database's clock.
async fn now(conn: &mut PgConnection) -> Result<DateTime<Utc>, Fault> {
    Ok(query_scalar!(r#"select mnemon.now() as "now!""#).fetch_one(conn).await?)
}

/// The wanted months that have no partition yet.
pub(crate) async fn missing(conn: &mut PgConnection) -> Result<Vec<Month>, Fault> {
    let months = wanted(now(conn).await?);
    lacking(conn, months).await
}

/// Those of these months that have no partition yet.
async fn lacking(conn: &mut PgConnection, mut months: Vec<Month>) -> Result<Vec<Month>, Fault> {
    let names = query_scalar!(
        r#"select c.relname::text as "name!" from pg_inherits i join pg_class c on c.oid = i.inhrelid
           where i.inhparent = 'mnemon.events'::regclass"#
    )
    .fetch_all(&mut *conn)
    .await?;
    months.retain(|month| !names.contains(&table(*month)));
    Ok(months)
}

/// Whether this month's partition is there: without it no event can be written.
pub(crate) async fn has_current(conn: &mut PgConnection) -> Result<bool, Fault> {
    let month = Month::of(now(conn).await?);
    let name = format!("mnemon.{}", table(month));
    let there = query_scalar!(r#"select to_regclass($1) is not null as "there!""#, name)
        .fetch_one(conn)
        .await?;
    Ok(there)
}

impl PostgresStore {
    /// Runs a call that appends events of a tenant, and tells whoever waits for them.
    pub(crate) async fn writing_events<'a, T>(
        &self,
        tenant: &str,
        call: impl Fn() -> BoxFuture<'a, Result<T>> + Send,
    ) -> Result<T> {
        let outcome = self.with_partition(call).await;
        // Where the answer was lost, it may have been committed.
        if outcome.as_ref().map_or_else(Error::is_retryable, |_| true) {
            self.moves.tell(tenant);
        }
        outcome
    }

    /// Makes the partitions of past months that an import needs.
    pub(crate) async fn months_for(&self, import: &Import) -> Result<()> {
        let times = || import.events.iter().map(|imported| imported.recorded_at);
        let months: &BTreeSet<Month> = &times().map(Month::of).collect();
        let call = Call {
            doing: "making partitions of the event log",
            tenant: None,
            retry: Retry::Idempotent,
        };
        let missing = self
            .link
            .run(call, |conn| {
                work(async move {
                    // Before anything is made for it.
                    import.check_times(None, now(conn).await?)?;
                    lacking(conn, months.iter().copied().collect()).await
                })
            })
            .await?;
        self.make_months(&missing).await
    }

    /// Makes the partitions of these months where there are none.
    pub(crate) async fn make_months(&self, missing: &[Month]) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        let call = Call {
            doing: "making partitions of the event log",
            tenant: None,
            retry: Retry::Idempotent,
        };
        self.link
            .maintenance()
            .run(call, |conn| {
                work(async move {
                    for month in missing {
                        let mut tx = conn.begin().await?;
                        make(&mut tx, *month).await?;
                        tx.commit().await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Runs a call that writes events; where it fails for want of a partition, makes that and
    /// runs the call once more.
    pub(crate) async fn with_partition<'a, T>(
        &self,
        call: impl Fn() -> BoxFuture<'a, Result<T>> + Send,
    ) -> Result<T> {
        match call().await {
            Err(error) if is_missing(&error) => {}
            done => return done,
        }
        let make = Call {
            doing: "making a partition of the event log",
            tenant: None,
            retry: Retry::Idempotent,
        };
        let partitions =
            self.link.maintenance().run(make, |conn| work(async move { ensure(conn).await }));
        if partitions.await? == 0 {
            tracing::info!("another process made the event log's partition");
        }
        call().await.map_err(|error| {
            if is_missing(&error) {
                Error::setup(
                    "the event log has no partition for this month",
                    "run `mnemon upkeep --once --only event-partitions` as the schema's owner",
                )
            } else {
                error
            }
        })
    }
}

/// Whether a call failed because no partition takes its events; nothing of it was written.
fn is_missing(error: &Error) -> bool {
    let Error::Backend { source, .. } = error else { return false };
    let Some(sqlx::Error::Database(cause)) = source.downcast_ref::<sqlx::Error>() else {
        return false;
    };
    // A check's violation, but of no check that has a name.
    cause.code().as_deref() == Some("23514") && cause.constraint().is_none()
}

/// Makes the missing ones, each in a transaction of its own; how many.
pub(crate) async fn ensure(conn: &mut PgConnection) -> Result<u64, Fault> {
    let mut made = 0;
    while let Some(month) = missing(conn).await?.first().copied() {
        let mut tx = conn.begin().await?;
        made += u64::from(make(&mut tx, month).await?);
        tx.commit().await?;
    }
    Ok(made)
}

/// Makes the first missing one inside the caller's transaction; whether more are missing.
pub(crate) async fn make_next(conn: &mut PgConnection) -> Result<(u64, bool), Fault> {
    let months = missing(conn).await?;
    let Some(month) = months.first() else { return Ok((0, false)) };
    let made = make(conn, *month).await?;
    Ok((u64::from(made), months.len() > 1))
}

/// Makes one partition unless another process just did.
async fn make(conn: &mut PgConnection, month: Month) -> Result<bool, Fault> {
    query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", LOCK)
        .execute(&mut *conn)
        .await?;
    if lacking(conn, vec![month]).await?.is_empty() {
        return Ok(false);
    }
    let name = format!("mnemon.{}", table(month));
    let leaving = query_scalar!(r#"select to_regclass($1) is not null as "there!""#, name)
        .fetch_one(&mut *conn)
        .await?;
    if leaving {
        let what = format!("the month {month} of the event log is being archived");
        return Err(Error::Unavailable { what, retry_after: None }.into());
    }
    conn.execute(AssertSqlSafe(ddl(month))).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_ends_in_january() {
        let december = DateTime::from_timestamp(1_798_700_000, 0).unwrap();

        let names: Vec<String> = wanted(december).into_iter().map(table).collect();

        assert_eq!(names[..2], ["events_y2026m12", "events_y2027m01"]);
        assert_eq!(names.len(), 1 + limits::PARTITIONS_AHEAD as usize);
    }
}
