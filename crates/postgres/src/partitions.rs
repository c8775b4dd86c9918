//! Partitions of the event log: one a month (UTC), made ahead of time, each created apart and
//! then attached, so that writers are not held up.

use std::fmt;

use chrono::{DateTime, Datelike as _, Utc};
use futures_util::future::BoxFuture;
use mnemon_core::events::Import;
use mnemon_core::{Error, Result, limits};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, query, query_scalar};

use crate::error::Fault;
use crate::link::{Call, Retry, work};
use crate::store::PostgresStore;

/// The advisory lock under which partitions are made.
const LOCK: &str = "mnemon.partitions";

/// A month of the event log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Month {
    year: i32,
    month: u32,
}

impl Month {
    fn of(time: DateTime<Utc>) -> Self {
        Self { year: time.year(), month: time.month() }
    }

    fn next(self) -> Self {
        match self.month {
            12 => Self { year: self.year + 1, month: 1 },
            month => Self { month: month + 1, ..self },
        }
    }

    /// Its first moment, as a literal.
    fn start(self) -> String {
        format!("{:04}-{:02}-01 00:00:00+00", self.year, self.month)
    }

    /// The statements that make its partition: numbers stand in them, nothing else.
    pub(crate) fn ddl(self) -> String {
        let (from, to) = (self.start(), self.next().start());
        format!(
            "create table mnemon.{self} (like mnemon.events including all excluding indexes);\n\
             comment on table mnemon.{self} is 'Events recorded from {from} to {to}.';\n\
             alter table mnemon.events attach partition mnemon.{self} for values from ('{from}') to ('{to}');\n\
             select mnemon.guard('mnemon.{self}');"
        )
    }
}

/// The partition's name.
impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "events_y{:04}m{:02}", self.year, self.month)
    }
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
    months.retain(|month| !names.contains(&month.to_string()));
    Ok(months)
}

/// Whether this month's partition is there: without it no event can be written.
pub(crate) async fn has_current(conn: &mut PgConnection) -> Result<bool, Fault> {
    let month = Month::of(now(conn).await?);
    let name = format!("mnemon.{month}");
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
        let times = import.events.iter().map(|imported| imported.recorded_at);
        let mut months: Vec<Month> = times.map(Month::of).collect();
        months.sort_unstable();
        months.dedup();
        let months = &months;
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
                    lacking(conn, months.clone()).await
                })
            })
            .await?;
        if missing.is_empty() {
            return Ok(());
        }
        let missing = &missing;
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
    conn.execute(AssertSqlSafe(month.ddl())).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_ends_in_january() {
        let december = DateTime::from_timestamp(1_798_700_000, 0).unwrap();

        let names: Vec<String> = wanted(december).iter().map(ToString::to_string).collect();

        assert_eq!(names[..2], ["events_y2026m12", "events_y2027m01"]);
        assert_eq!(names.len(), 1 + limits::PARTITIONS_AHEAD as usize);
    }
}
