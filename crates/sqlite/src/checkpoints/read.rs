//! Reading checkpoints: one with everything of it, lists in pages.

use mnemon_core::checkpoints::manifest::Manifest;
use mnemon_core::checkpoints::pack::{Blobs, Key, Stored};
use mnemon_core::checkpoints::seal::{AtRest, Bound, Context, Sealing};
use mnemon_core::checkpoints::thread::Place;
use mnemon_core::checkpoints::{
    Checkpoint, CheckpointFilter, CheckpointId, CheckpointInfo, PendingWrite, Thread, ThreadFilter,
    ThreadInfo, writes,
};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Page, Paged, limits};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use super::put::key;
use crate::error::Done;
use crate::open::snapshot;
use crate::row;

pub(crate) mod sql {
    crate::sql::statements! {
        /// The newest, or the one named. Another user's thread is not found.
        GET = "select c.thread_id, c.namespace, c.id, c.parent_id, c.version, c.superstep, \
            c.metadata, c.run_id, c.created_at, c.key_id, c.sealed, c.manifest from threads t join checkpoints c \
            on c.tenant = t.tenant and c.thread_id = t.thread_id and c.namespace = t.namespace \
            and c.id = coalesce(?4, t.head_id) \
            where t.tenant = ?1 and t.thread_id = ?2 and t.namespace = ?3 \
            and (?5 is null or t.user_id is null or t.user_id = ?5)";
        VERSION = "select id from checkpoints \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and version = ?4";
        CHUNK = "select codec, bytes from checkpoint_chunks \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and hash = ?4";
        WRITES = "select task_path, task_id, idx, channel, type_tag, hash, size, key_id \
            from checkpoint_writes \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and checkpoint_id = ?4";
        LIST = "select c.thread_id, c.namespace, c.id, c.parent_id, c.version, c.superstep, \
            c.metadata, c.run_id, c.created_at, c.key_id, c.sealed, \
            case when c.key_id is not null then c.manifest end from checkpoints c where c.tenant = ?1 \
            and (?2 is null or c.user_id is null or c.user_id = ?2) \
            and (?3 is null or c.thread_id = ?3) and (?4 is null or c.namespace = ?4) \
            and (?5 is null or c.run_id = ?5) and (?6 is null or c.id < ?6) \
            and (?7 is null or (c.thread_id, c.namespace) > (?7, ?8) \
                or (c.thread_id = ?7 and c.namespace = ?8 and c.version < ?9)) \
            order by c.thread_id, c.namespace, c.version desc limit ?10";
        /// Of one namespace of one thread.
        HISTORY = "select c.thread_id, c.namespace, c.id, c.parent_id, c.version, c.superstep, \
            c.metadata, c.run_id, c.created_at, c.key_id, c.sealed, \
            case when c.key_id is not null then c.manifest end from checkpoints c \
            where c.tenant = ?1 and c.thread_id = ?3 and c.namespace = ?4 \
            and (?2 is null or c.user_id is null or c.user_id = ?2) \
            and (?5 is null or c.run_id = ?5) and (?6 is null or c.id < ?6) \
            and c.version < ?7 order by c.version desc limit ?8";
        THREADS = "select thread_id, namespace, user_id, head_id, version, active_at, created_at, \
            expires_at, fence_key from threads where tenant = ?1 \
            and (?2 is null or user_id is null or user_id = ?2) \
            and (?3 is null or namespace = ?3) \
            and (?4 is null or active_at < ?4 \
                or (active_at = ?4 and (thread_id, namespace) > (?5, ?6))) \
            order by active_at desc, thread_id, namespace limit ?7";
    }
}

/// The lists that cursors of this facet belong to.
const LIST: &str = "checkpoints";
const THREADS: &str = "threads";

/// Which checkpoint of a thread.
#[derive(Clone, Debug)]
pub(super) enum Which {
    Newest,
    Id(CheckpointId),
    Version(i64),
}

impl Which {
    fn not_found(&self, thread: &Thread) -> Error {
        match self {
            Self::Newest => Error::not_found("thread", thread),
            Self::Id(id) => Error::not_found("checkpoint", id),
            Self::Version(version) => {
                Error::not_found("checkpoint", format!("version {version} of {thread}"))
            }
        }
    }
}

/// A checkpoint with its channels and pending writes, from one state of the file.
pub(super) fn get(
    conn: &Connection,
    scope: &Admitted<'_>,
    sealing: &Sealing,
    thread: &Thread,
    which: &Which,
) -> Done<Checkpoint> {
    snapshot(conn, || whole(conn, scope, sealing, thread, which))
}

pub(super) fn whole(
    conn: &Connection,
    scope: &Admitted<'_>,
    sealing: &Sealing,
    thread: &Thread,
    which: &Which,
) -> Done<Checkpoint> {
    let key = key(scope, thread);
    let id = match which {
        Which::Newest => None,
        Which::Id(id) => Some(id.clone()),
        Which::Version(version) => {
            let mut statement = conn.prepare_cached(sql::VERSION)?;
            let mut rows = statement.query(params![key[0], key[1], key[2], version])?;
            let row = rows.next()?.ok_or_else(|| which.not_found(thread))?;
            Some(CheckpointId(row.get(0)?))
        }
    };
    let mut statement = conn.prepare_cached(sql::GET)?;
    let named = id.as_ref().map(|id| &id.0);
    let mut rows = statement.query(params![key[0], key[1], key[2], named, scope.user])?;
    let Some(row) = rows.next()? else { return Err(which.not_found(thread).into()) };
    let manifest: Manifest = row::json(row, 11, "a checkpoint's manifest")?;
    let info = info(row, sealing, scope.tenant, &manifest)?;
    let opener = &sealing.opener(scope.tenant, thread);
    let written = written(conn, key, &info.id)?;
    let mut keys = manifest.keys(thread)?;
    for write in &written {
        keys.push(write.stored.key(thread, &write.channel)?);
    }
    let blobs = blobs(conn, key, thread, &keys)?;
    let mut pending = Vec::with_capacity(written.len());
    for Written { task_path, task_id, idx, channel, stored } in written {
        let context = Context::write(&info.id.0, &task_id, idx, &channel);
        let value = blobs.value(&stored, opener, &context, &channel)?;
        pending.push(PendingWrite { task_path, task_id, idx, channel, value });
    }
    writes::sort(&mut pending);
    Ok(info.with(&manifest, &blobs, opener, pending)?)
}

/// A pending write whose value is not read yet.
struct Written {
    task_path: String,
    task_id: String,
    idx: i32,
    channel: String,
    stored: Stored,
}

fn written(conn: &Connection, key: [&str; 3], id: &CheckpointId) -> Done<Vec<Written>> {
    let mut statement = conn.prepare_cached(sql::WRITES)?;
    let mut rows = statement.query(params![key[0], key[1], key[2], id.0])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let hash = row::hash(row, 5, "a pending write")?;
        let size: i64 = row.get(6)?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        found.push(Written {
            task_path: row.get(0)?,
            task_id: row.get(1)?,
            idx: row.get(2)?,
            channel: row.get(3)?,
            stored: Stored::at(row.get(4)?, &hash, size, row.get(7)?),
        });
    }
    Ok(found)
}

/// Values with their parts.
pub(super) fn blobs(
    conn: &Connection,
    key: [&str; 3],
    thread: &Thread,
    keys: &[Key],
) -> Done<Blobs> {
    let mut statement = conn.prepare_cached(sql::CHUNK)?;
    let mut blobs = Blobs::default();
    let mut add = |blobs: &mut Blobs, hash: &Key| -> Done<()> {
        let mut rows = statement.query(params![key[0], key[1], key[2], hash.as_slice()])?;
        if let Some(row) = rows.next()? {
            blobs.add(thread, hash, row.get(0)?, row.get(1)?)?;
        }
        Ok(())
    };
    for hash in keys {
        add(&mut blobs, hash)?;
        for part in blobs.parts(hash).unwrap_or_default() {
            add(&mut blobs, &part)?;
        }
    }
    Ok(blobs)
}

/// The manifest is what encrypted metadata is bound to.
fn info(
    row: &Row<'_>,
    sealing: &Sealing,
    tenant: &str,
    manifest: &Manifest,
) -> Done<CheckpointInfo> {
    let thread = Thread { thread_id: row.get(0)?, namespace: row.get(1)? };
    let id = CheckpointId(row.get(2)?);
    let parent = row.get::<_, Option<String>>(3)?.map(CheckpointId);
    let (version, superstep) = (row.get(4)?, row.get(5)?);
    let parent_id = parent.as_ref().map(|parent| parent.0.as_str());
    let bound = Bound { id: &id.0, parent: parent_id, version, superstep, manifest };
    let at_rest = AtRest {
        metadata: row::json(row, 6, "a checkpoint's metadata")?,
        key_id: row.get(9)?,
        sealed: row.get(10)?,
    };
    let metadata = sealing.opener(tenant, &thread).metadata(at_rest, &bound)?;
    let (run, created_at) = (row.get(7)?, row::time(row, 8)?);
    Ok(CheckpointInfo { thread, id, parent, version, superstep, metadata, run, created_at })
}

/// The manifest of an encrypted checkpoint in a list; of others it is not read.
fn listed(row: &Row<'_>) -> Done<Manifest> {
    if row.get_ref(11)? == ValueRef::Null {
        return Ok(Manifest::default());
    }
    row::json(row, 11, "a checkpoint's manifest")
}

/// Checkpoints, row by row until the page is full or enough was looked at.
pub(super) fn list(
    conn: &Connection,
    scope: &Admitted<'_>,
    sealing: &Sealing,
    filter: &CheckpointFilter,
    page: &Page,
) -> Done<Paged<CheckpointInfo>> {
    let after = page.cursor.as_ref().map(|cursor| Place::of(cursor, LIST)).transpose()?;
    let before = filter.before.as_ref().map(|id| &id.0);
    let most = limits::CHECKPOINTS_SCANNED;
    let mut statement;
    let mut rows;
    if let (Some(thread_id), Some(namespace)) = (&filter.thread_id, &filter.namespace) {
        let below = after.as_ref().map_or(i64::MAX, |place| place.number);
        statement = conn.prepare_cached(sql::HISTORY)?;
        rows = statement.query(params![
            scope.tenant,
            scope.user,
            thread_id,
            namespace,
            filter.run,
            before,
            below,
            most
        ])?;
    } else {
        statement = conn.prepare_cached(sql::LIST)?;
        rows = statement.query(params![
            scope.tenant,
            scope.user,
            filter.thread_id,
            filter.namespace,
            filter.run,
            before,
            after.as_ref().map(|place| &place.thread.thread_id),
            after.as_ref().map(|place| &place.thread.namespace),
            after.as_ref().map(|place| place.number),
            most
        ])?;
    }
    let mut items: Vec<CheckpointInfo> = Vec::new();
    let (mut scanned, mut last) = (0, None);
    while let Some(row) = rows.next()? {
        if items.len() == page.limit as usize {
            let next = items.last().map(|info| Place::of_checkpoint(info).cursor(LIST));
            return Ok(Paged { items, next });
        }
        let info = info(row, sealing, scope.tenant, &listed(row)?)?;
        scanned += 1;
        last = Some(Place::of_checkpoint(&info));
        if filter.met(&info.metadata) {
            items.push(info);
        }
    }
    let next = last.filter(|_| scanned == most).map(|place| place.cursor(LIST));
    Ok(Paged { items, next })
}

/// Threads, last active first.
pub(super) fn threads(
    conn: &Connection,
    scope: &Admitted<'_>,
    filter: &ThreadFilter,
    page: &Page,
) -> Done<Paged<ThreadInfo>> {
    let after = page.cursor.as_ref().map(|cursor| Place::of(cursor, THREADS)).transpose()?;
    let mut statement = conn.prepare_cached(sql::THREADS)?;
    let mut rows = statement.query(params![
        scope.tenant,
        scope.user,
        filter.namespace,
        after.as_ref().map(|place| place.number),
        after.as_ref().map(|place| &place.thread.thread_id),
        after.as_ref().map(|place| &place.thread.namespace),
        page.limit + 1
    ])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(ThreadInfo {
            thread: Thread { thread_id: row.get(0)?, namespace: row.get(1)? },
            user: row.get(2)?,
            head: CheckpointId(row.get(3)?),
            version: row.get(4)?,
            active_at: row::time(row, 5)?,
            created_at: row::time(row, 6)?,
            expires_at: row::moment(row, 7)?,
            fenced_by: row.get(8)?,
        });
    }
    Ok(Paged::cut(found, page.limit, |info| {
        let number = info.active_at.timestamp_micros();
        Place { thread: info.thread.clone(), number }.cursor(THREADS)
    }))
}
