//! Months of the event log on PostgreSQL: read for an archive, told to readers as gone, detached
//! beside running writers, dropped; and put back.

mod back;
mod leave;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::events::{ArchivePlace, Archived, Archives, Extent, Month, MonthOfLog, Retired};
use mnemon_core::{Error, EventId, Result, limits};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row as _, query, query_as, query_scalar};
use uuid::Uuid;

use crate::error::Fault;
use crate::link::{Call, Retry, work};
use crate::partitions::table;
use crate::store::PostgresStore;

/// How the partition of a month stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Attached,
    /// A detaching was interrupted: readers do not see it any more.
    Detaching,
    /// A table of its own.
    Detached,
}

fn call(doing: &'static str) -> Call<'static> {
    Call { doing, tenant: None, retry: Retry::Idempotent }
}

#[async_trait]
impl Archives for PostgresStore {
    async fn log_id(&self) -> Result<Uuid> {
        let link = self.link.maintenance();
        link.run(call("reading the event log's name"), |conn| {
            work(async move {
                Ok(query_scalar!("select id from mnemon.event_log").fetch_one(conn).await?)
            })
        })
        .await
    }

    async fn months(&self, before: DateTime<Utc>) -> Result<Vec<MonthOfLog>> {
        let link = self.link.maintenance();
        link.run(call("looking for months of the event log"), |conn| {
            work(async move { months(conn, before).await })
        })
        .await
    }

    async fn read_month(
        &self,
        month: Month,
        after: Option<&ArchivePlace>,
        limit: u32,
    ) -> Result<Vec<Archived>> {
        let link = self.link.maintenance();
        link.run(call("reading a month of the event log"), |conn| {
            work(async move { read(conn, month, after, limit).await })
        })
        .await
    }

    async fn retire(&self, month: Month, extent: Extent) -> Result<Retired> {
        leave::retire(self, month, extent).await
    }

    async fn put_back(&self, log: Uuid, events: Vec<Archived>) -> Result<u64> {
        limits::count("archive", events.len(), limits::IMPORT_BATCH)?;
        let same_log = log == self.log_id().await?;
        let mut months: Vec<Month> =
            events.iter().map(|event| Month::of(event.recorded_at)).collect();
        months.sort_unstable();
        months.dedup();
        self.make_months(&months).await?;
        let rows = &back::Rows::of(&events);
        let link = self.link.maintenance();
        link.transaction(call("putting events back"), |conn| {
            work(async move { back::put_back(conn, rows, same_log).await })
        })
        .await
    }
}

/// Every month that has a partition, or what is left of one, and how that stands.
async fn standings(conn: &mut PgConnection) -> Result<Vec<(Month, Standing)>, Fault> {
    let found = query!(
        r#"
        select c.relname::text as "name!", i.inhparent is not null as "attached!",
               coalesce(i.inhdetachpending, false) as "detaching!"
        from pg_class c left join pg_inherits i on i.inhrelid = c.oid
        where c.relnamespace = 'mnemon'::regnamespace and c.relkind = 'r'
          and c.relname ~ '^events_y[0-9]{4}m[0-9]{2}$'
        order by c.relname
        "#
    )
    .fetch_all(conn)
    .await?;
    let standing = |attached, detaching| match (attached, detaching) {
        (false, _) => Standing::Detached,
        (true, true) => Standing::Detaching,
        (true, false) => Standing::Attached,
    };
    let named = |name: &str| {
        let (year, month) = name.strip_prefix("events_y")?.split_once('m')?;
        format!("{year}-{month}").parse::<Month>().ok()
    };
    Ok(found
        .iter()
        .filter_map(|row| Some((named(&row.name)?, standing(row.attached, row.detaching))))
        .collect())
}

/// Months that are no partitions any more and still there.
pub(crate) async fn left_behind(conn: &mut PgConnection) -> Result<Vec<Month>, Fault> {
    let all = standings(conn).await?.into_iter();
    Ok(all
        .filter(|(_, standing)| *standing != Standing::Attached)
        .map(|(month, _)| month)
        .collect())
}

async fn months(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<Vec<MonthOfLog>, Fault> {
    let now = query_scalar!(r#"select mnemon.now() as "now!""#).fetch_one(&mut *conn).await?;
    let end = before.min(now);
    let mut months = Vec::new();
    for (month, _) in standings(conn).await? {
        if month.end() <= end {
            let extent = extent(conn, month).await?;
            // Nothing to archive: what is empty only has to go.
            months.push(MonthOfLog { month, extent, leaving: extent.events == 0 });
        }
    }
    Ok(months)
}

/// What a month's table holds.
async fn extent(conn: &mut PgConnection, month: Month) -> Result<Extent, Fault> {
    // Its own table, not the log between two times: a month may be detached already. The name is
    // ours, of a year and a month.
    let name = table(month);
    let sql = format!("select count(*), coalesce(max(tx)::text::int8, 0) from mnemon.{name}");
    let (events, newest): (i64, i64) = query_as(AssertSqlSafe(sql)).fetch_one(conn).await?;
    Ok(Extent { events: events.unsigned_abs(), newest })
}

/// A piece of a month, whether its table is attached or not.
async fn read(
    conn: &mut PgConnection,
    month: Month,
    after: Option<&ArchivePlace>,
    limit: u32,
) -> Result<Vec<Archived>, Fault> {
    // As in [`extent`].
    let name = table(month);
    let sql = format!(
        "select tenant, stream, version, id, kind, correlation_id, agent_id, user_id, session_id, \
                run_id, data, occurred_at, recorded_at, epoch, tx::text::int8 as tx \
         from mnemon.{name} \
         where $1::text is null or (tenant, stream, version) > ($1, $2, $3) \
         order by tenant, stream, version limit $4"
    );
    let rows = query(AssertSqlSafe(sql))
        .bind(after.map(|place| place.tenant.as_str()))
        .bind(after.map(|place| place.stream.as_str()))
        .bind(after.map(|place| place.version))
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| Ok(archived(row)?)).collect()
}

fn archived(row: &PgRow) -> Result<Archived, sqlx::Error> {
    Ok(Archived {
        tenant: row.try_get("tenant")?,
        stream: row.try_get("stream")?,
        version: row.try_get("version")?,
        id: EventId(row.try_get("id")?),
        kind: row.try_get("kind")?,
        correlation_id: row.try_get("correlation_id")?,
        agent: row.try_get("agent_id")?,
        user: row.try_get("user_id")?,
        session: row.try_get("session_id")?,
        run: row.try_get("run_id")?,
        data: row.try_get("data")?,
        occurred_at: row.try_get("occurred_at")?,
        recorded_at: row.try_get("recorded_at")?,
        epoch: row.try_get("epoch")?,
        tx: row.try_get("tx")?,
    })
}

/// Why a month cannot go: it is not what was archived.
fn changed(month: Month, archived: Extent, found: Extent) -> Error {
    let count = |extent: Extent| i64::try_from(extent.events).ok();
    Error::Conflict {
        kind: "month of the event log",
        key: month.to_string(),
        expected: count(archived),
        actual: count(found),
    }
}
