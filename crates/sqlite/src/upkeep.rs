//! Upkeep in SQLite: fenced claims in a table, and the one task that has work here, removing
//! memories whose time is over. Word counts are exact in every transaction, and events are not
//! partitioned, so those tasks find nothing.

use async_trait::async_trait;
use mnemon_core::upkeep::{Batch, Depths, Task, TaskLease, TaskStatus, Upkeep};
use mnemon_core::{Error, Fence, Result, limits};
use rusqlite::{Connection, OptionalExtension, params};

use crate::checkpoints::remove;
use crate::claims::questions;
use crate::error::Done;
use crate::events::search;
use crate::memories::{language, rows, write};
use crate::open::now;
use crate::store::SqliteStore;
use crate::{dead_letters, sets, steps, turns};

pub(crate) mod sql {
    crate::sql::statements! {
        /// Takes a task that nobody holds and that is due; the fence grows with every holder.
        CLAIM = "insert into upkeep_tasks (name, holder, fence, expires_at, errors) \
            values (?1, ?2, 1, ?3 + ?4, 0) \
            on conflict (name) do update set holder = excluded.holder, fence = fence + 1, \
            expires_at = excluded.expires_at \
            where (holder is null or expires_at <= ?3) \
            and (?6 or last_run is null or last_run <= ?3 - ?5) returning fence";
        RENEW = "update upkeep_tasks set expires_at = ?3 where name = ?1 and fence = ?2 \
            and holder is not null";
        FINISH = "update upkeep_tasks set holder = null, expires_at = null, last_run = ?3, \
            errors = case when ?4 is null then 0 else errors + 1 end, last_error = ?4 \
            where name = ?1 and fence = ?2 and holder is not null";
        STATUS = "select holder, last_run, errors, last_error, expires_at from upkeep_tasks \
            where name = ?1";
        EXPIRED = "select memory from memories where expires_at is not null and expires_at <= ?1 \
            order by expires_at limit ?2";
        EXPIRED_COUNT = "select count(*) from memories \
            where expires_at is not null and expires_at <= ?1";
    }
}

#[async_trait]
impl Upkeep for SqliteStore {
    async fn claim(&self, task: Task, holder: &str, force: bool) -> Result<Option<TaskLease>> {
        self.alive()?;
        let holder = holder.to_owned();
        self.write("claiming an upkeep task", move |conn| claim(conn, task, &holder, force)).await
    }

    async fn batch(&self, lease: &TaskLease) -> Result<Batch> {
        self.alive()?;
        let lease = lease.clone();
        self.write("running an upkeep task", move |conn| batch(conn, &lease)).await
    }

    async fn finish(&self, lease: &TaskLease, failure: Option<&str>) -> Result<()> {
        self.alive()?;
        let lease = lease.clone();
        let failure = failure
            .map(|text| text[..text.floor_char_boundary(limits::UPKEEP_ERROR_BYTES)].to_owned());
        self.write("finishing an upkeep task", move |conn| {
            let changed = conn.prepare_cached(sql::FINISH)?.execute(params![
                lease.task.name(),
                lease.fence.0,
                now(conn)?,
                failure
            ])?;
            held(&lease, changed)
        })
        .await
    }

    async fn status(&self) -> Result<Vec<TaskStatus>> {
        self.alive()?;
        self.read("reading the upkeep tasks", status).await
    }

    async fn depths(&self) -> Result<Depths> {
        self.alive()?;
        self.read("measuring the queues", depths).await
    }
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn claim(conn: &Connection, task: Task, holder: &str, force: bool) -> Done<Option<TaskLease>> {
    let (now, lease) = (now(conn)?, micros(task.lease()));
    let fence: Option<i64> = conn
        .prepare_cached(sql::CLAIM)?
        .query_row(
            params![task.name(), holder, now, lease, micros(task.interval()), force],
            |row| row.get(0),
        )
        .optional()?;
    let Some(fence) = fence else { return Ok(None) };
    Ok(Some(TaskLease { task, fence: Fence(fence), expires_at: rows::time(now + lease)? }))
}

/// One batch. Renewing the lease is the check: no row, no right.
fn batch(conn: &Connection, lease: &TaskLease) -> Done<Batch> {
    let now = now(conn)?;
    let until = now + micros(lease.task.lease());
    let changed = conn.prepare_cached(sql::RENEW)?.execute(params![
        lease.task.name(),
        lease.fence.0,
        until
    ])?;
    held(lease, changed)?;
    match lease.task {
        Task::Words => language::batch(conn, lease.task.batch()),
        Task::ExpiredMemories => remove_expired(conn, lease.task.batch(), now),
        Task::Receipts => {
            let most = lease.task.batch();
            let swept = steps::sweep(conn, most, now)?;
            Ok(Batch { rows: swept as u64, more: swept == most as usize })
        }
        Task::ExpiredTurns => {
            let most = lease.task.batch();
            let gone = turns::remove::expire(conn, most, now)?;
            Ok(Batch { rows: gone as u64, more: gone == most as usize })
        }
        Task::EventSearch => search::fill(conn, lease.task.batch()),
        Task::ExpiredThreads => remove::sweep(conn, lease.task.batch(), now),
        Task::ExpiredAdjudications => {
            let most = lease.task.batch();
            let rows = questions::sweep(conn, None, most)?;
            Ok(Batch { rows, more: rows == u64::from(most) })
        }
        _ => Ok(Batch::default()),
    }
}

fn held(lease: &TaskLease, changed: usize) -> Done<()> {
    match changed {
        0 => Err(Error::Fenced { key: lease.task.name().to_owned() }.into()),
        _ => Ok(()),
    }
}

fn remove_expired(conn: &Connection, most: u32, now: i64) -> Done<Batch> {
    let expired: Vec<i64> = conn
        .prepare_cached(sql::EXPIRED)?
        .query_map(params![now, most], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for memory in &expired {
        write::remove(conn, *memory)?;
    }
    Ok(Batch { rows: expired.len() as u64, more: expired.len() == most as usize })
}

/// How every task stands, whether it ever ran or not.
pub(crate) fn status(conn: &Connection) -> Done<Vec<TaskStatus>> {
    let now = now(conn)?;
    Task::ALL.into_iter().map(|task| status_of(conn, task, now)).collect()
}

fn depths(conn: &Connection) -> Done<Depths> {
    let letters = dead_letters::depths(conn)?;
    Ok(Depths::of(|state| {
        letters.iter().find(|(name, _)| name == state.as_str()).map_or(0, |(_, items)| *items)
    }))
}

fn status_of(conn: &Connection, task: Task, now: i64) -> Done<TaskStatus> {
    let lag: i64 = match task {
        Task::ExpiredMemories => {
            conn.prepare_cached(sql::EXPIRED_COUNT)?.query_row([now], |row| row.get(0))?
        }
        Task::Words => language::waiting(conn)?,
        Task::Embeddings => sets::backlog(conn)?,
        Task::Receipts => steps::old(conn, now)?,
        Task::ExpiredTurns => turns::remove::expired(conn, now)?,
        Task::Summaries => turns::summarize::waiting(conn, now)?,
        Task::EventSearch => search::waiting(conn)?,
        Task::ExpiredThreads => remove::expired(conn, now)?,
        Task::ExpiredAdjudications => questions::expired(conn, now)?,
        Task::OracleQuestions => questions::undelivered(conn, now)?,
        _ => 0,
    };
    let mut status = TaskStatus {
        name: task.name().to_owned(),
        holder: None,
        last_run: None,
        errors: 0,
        last_error: None,
        lag: u64::try_from(lag).unwrap_or(0),
    };
    let mut statement = conn.prepare_cached(sql::STATUS)?;
    let mut rows_found = statement.query([task.name()])?;
    if let Some(row) = rows_found.next()? {
        let expires_at: Option<i64> = row.get(4)?;
        status.holder = row.get::<_, Option<String>>(0)?.filter(|_| expires_at > Some(now));
        status.last_run = row.get::<_, Option<i64>>(1)?.map(rows::time).transpose()?;
        status.errors = row.get(2)?;
        status.last_error = row.get(3)?;
    }
    Ok(status)
}
