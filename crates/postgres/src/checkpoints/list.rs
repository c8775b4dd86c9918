//! Lists: checkpoints and threads, in pages.

use chrono::{DateTime, Utc};
use mnemon_core::checkpoints::seal::{AtRest, Bound, Sealing};
use mnemon_core::checkpoints::thread::Place;
use mnemon_core::checkpoints::{
    CheckpointFilter, CheckpointId, CheckpointInfo, Thread, ThreadFilter, ThreadInfo,
};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Page, Paged, Result, limits};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as};

use super::put::MANIFEST;
use crate::error::Fault;
use crate::row;

/// The lists that cursors of this facet belong to.
const LIST: &str = "checkpoints";
const THREADS: &str = "threads";

/// A checkpoint as a list reads it.
struct Row {
    thread_id: String,
    namespace: String,
    id: String,
    parent_id: Option<String>,
    version: i64,
    superstep: Option<i64>,
    metadata: Value,
    run_id: Option<String>,
    created_at: DateTime<Utc>,
    key_id: Option<String>,
    sealed: Option<Vec<u8>>,
    /// Of encrypted ones, whose metadata is bound to it.
    manifest: Option<Value>,
}

impl Row {
    fn info(self, sealing: &Sealing, tenant: &str) -> Result<CheckpointInfo> {
        let thread = Thread { thread_id: self.thread_id, namespace: self.namespace };
        let manifest = self.manifest.map(|manifest| row::json(manifest, MANIFEST)).transpose()?;
        let bound = Bound {
            id: &self.id,
            parent: self.parent_id.as_deref(),
            version: self.version,
            superstep: self.superstep,
            manifest: &manifest.unwrap_or_default(),
        };
        let at_rest = AtRest { metadata: self.metadata, sealed: self.sealed, key_id: self.key_id };
        let metadata = sealing.opener(tenant, &thread).metadata(at_rest, &bound)?;
        Ok(CheckpointInfo {
            thread,
            id: CheckpointId(self.id),
            parent: self.parent_id.map(CheckpointId),
            version: self.version,
            superstep: self.superstep,
            metadata,
            run: self.run_id,
            created_at: self.created_at,
        })
    }
}

/// Checkpoints in pages of rows, until the page is full or enough was looked at.
pub(super) async fn list(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    sealing: &Sealing,
    filter: &CheckpointFilter,
    page: &Page,
) -> Result<Paged<CheckpointInfo>, Fault> {
    let mut place = page.cursor.as_ref().map(|cursor| Place::of(cursor, LIST)).transpose()?;
    let mut items: Vec<CheckpointInfo> = Vec::new();
    let wanted = page.limit as usize;
    let size = if filter.metadata.is_empty() { page.limit + 1 } else { limits::PAGE_MAX };
    let mut scanned = 0;
    loop {
        let rows = rows(conn, scope, filter, place.as_ref(), size).await?;
        let last = rows.len() < size as usize;
        scanned += size;
        for row in rows {
            if items.len() == wanted {
                // One more is there: the page ends at the last one taken.
                let next = items.last().map(|info| Place::of_checkpoint(info).cursor(LIST));
                return Ok(Paged { items, next });
            }
            let info = row.info(sealing, scope.tenant)?;
            place = Some(Place::of_checkpoint(&info));
            if filter.met(&info.metadata) {
                items.push(info);
            }
        }
        if last {
            return Ok(Paged { items, next: None });
        }
        if scanned >= limits::CHECKPOINTS_SCANNED {
            return Ok(Paged { items, next: place.map(|place| place.cursor(LIST)) });
        }
    }
}

async fn rows(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    filter: &CheckpointFilter,
    after: Option<&Place>,
    size: u32,
) -> Result<Vec<Row>, Fault> {
    Ok(query_as!(
        Row,
        r#"
        select c.thread_id, c.namespace, c.id, c.parent_id, c.version, c.superstep, c.metadata,
               c.run_id, c.created_at, c.key_id, c.sealed,
               case when c.key_id is not null then c.manifest end as manifest
        from mnemon.checkpoints c
        where c.tenant = $1
          and ($2::text is null or c.user_id is null or c.user_id = $2)
          and ($3::text is null or c.thread_id = $3)
          and ($4::text is null or c.namespace = $4)
          and ($5::text is null or c.run_id = $5)
          and ($6::text is null or c.id < $6)
          and ($7::text is null or (c.thread_id, c.namespace) >= ($7, $8::text))
          and ($7::text is null or (c.thread_id, c.namespace) > ($7, $8::text) or c.version < $9)
        order by c.thread_id, c.namespace, c.version desc
        limit $10
        "#,
        scope.tenant,
        scope.user,
        filter.thread_id,
        filter.namespace,
        filter.run,
        filter.before.as_ref().map(|id| id.0.as_str()),
        after.map(|place| place.thread.thread_id.as_str()),
        after.map(|place| place.thread.namespace.as_str()),
        after.map(|place| place.number),
        i64::from(size),
    )
    .fetch_all(conn)
    .await?)
}

/// Threads, last active first.
pub(super) async fn threads(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    filter: &ThreadFilter,
    page: &Page,
) -> Result<Paged<ThreadInfo>, Fault> {
    let after = page.cursor.as_ref().map(|cursor| Place::of(cursor, THREADS)).transpose()?;
    let active = after.as_ref().map(|place| DateTime::from_timestamp_micros(place.number));
    let active = active.map(|at| at.ok_or_else(no_place)).transpose()?;
    let rows = query!(
        r#"
        select thread_id, namespace, user_id, head_id, version, active_at, created_at, expires_at,
               fence_key
        from mnemon.threads
        where tenant = $1
          -- As it is of every thread; said because the index is one for those who say so.
          and created_at > '-infinity'
          and ($2::text is null or user_id is null or user_id = $2)
          and ($3::text is null or namespace = $3)
          and ($4::timestamptz is null or active_at <= $4)
          and ($4::timestamptz is null or active_at < $4
               or (thread_id, namespace) > ($5::text, $6::text))
        order by active_at desc, thread_id, namespace
        limit $7
        "#,
        scope.tenant,
        scope.user,
        filter.namespace,
        active,
        after.as_ref().map(|place| place.thread.thread_id.as_str()),
        after.as_ref().map(|place| place.thread.namespace.as_str()),
        i64::from(page.limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    let found = rows.into_iter().map(|row| ThreadInfo {
        thread: Thread { thread_id: row.thread_id, namespace: row.namespace },
        user: row.user_id,
        head: CheckpointId(row.head_id),
        version: row.version,
        active_at: row.active_at,
        created_at: row.created_at,
        expires_at: row.expires_at,
        fenced_by: row.fence_key,
    });
    Ok(Paged::cut(found.collect(), page.limit, |info| {
        let number = info.active_at.timestamp_micros();
        Place { thread: info.thread.clone(), number }.cursor(THREADS)
    }))
}

fn no_place() -> Error {
    Error::invalid("page.cursor", "holds no place of this list")
}
