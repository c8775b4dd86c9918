//! Checkpoints in SQLite: a head per thread, manifests that inherit, values by hash.

pub(crate) mod values;

use async_trait::async_trait;
use mnemon_core::checkpoints::manifest::Manifest;
use mnemon_core::checkpoints::{
    Checkpoint, CheckpointId, CheckpointInfo, Checkpoints, Head, Placed, Put, Thread, place,
};
use mnemon_core::locks::Guard;
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, Facet, Page, Paged, Result, Scope, limits};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;
use uuid::Uuid;

use crate::error::Done;
use crate::open::now;
use crate::store::SqliteStore;
use crate::{locks, row};

pub(crate) use values::Prepared;

pub(crate) mod sql {
    crate::sql::statements! {
        HEAD = "select head_id, version, user_id, active_at from threads \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        MANIFEST = "select manifest from checkpoints \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and id = ?4";
        INSERT = "insert into checkpoints (tenant, thread_id, namespace, version, id, parent_id, \
            superstep, user_id, agent_id, session_id, run_id, created_at, metadata, manifest) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        START = "insert into threads (tenant, thread_id, namespace, user_id, agent_id, session_id, \
            head_id, version, active_at, created_at) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)";
        MOVE = "update threads set head_id = ?4, version = ?5, active_at = ?6 \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        /// The newest, or the one named. Another user's thread is not found.
        GET = "select c.id, c.parent_id, c.version, c.superstep, c.metadata, c.created_at, \
            c.run_id, c.manifest from threads t join checkpoints c \
            on c.tenant = t.tenant and c.thread_id = t.thread_id and c.namespace = t.namespace \
            and c.id = coalesce(?4, t.head_id) \
            where t.tenant = ?1 and t.thread_id = ?2 and t.namespace = ?3 \
            and (?5 is null or t.user_id is null or t.user_id = ?5)";
        HISTORY = "select c.id, c.parent_id, c.version, c.superstep, c.metadata, c.created_at \
            from threads t join checkpoints c \
            on c.tenant = t.tenant and c.thread_id = t.thread_id and c.namespace = t.namespace \
            where t.tenant = ?1 and t.thread_id = ?2 and t.namespace = ?3 \
            and (?4 is null or t.user_id is null or t.user_id = ?4) \
            and c.version < ?5 order by c.version desc limit ?6";
    }
}

const CURSOR: &str = "checkpoints";

#[async_trait]
impl Checkpoints for SqliteStore {
    async fn put(&self, scope: &Scope, put: Put, guard: Option<&Guard>) -> Result<Placed> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        put.check()?;
        locks::check_guard(guard)?;
        let prepared = self.prepare_put(put).await?;
        let (scope, guard) = (scope.clone(), guard.cloned());
        self.write("putting a checkpoint", move |conn| {
            let scope = scope.admit(Facet::Checkpoints)?;
            locks::guard(conn, &scope, guard.as_ref())?;
            self::put(conn, &scope, &prepared)
        })
        .await
    }

    async fn get(
        &self,
        scope: &Scope,
        thread: &Thread,
        id: Option<&CheckpointId>,
    ) -> Result<Checkpoint> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        thread.check()?;
        if let Some(id) = id {
            limits::name("id", &id.0, limits::CHECKPOINT_ID_BYTES)?;
        }
        let (scope, thread, id) = (scope.clone(), thread.clone(), id.cloned());
        self.read("reading a checkpoint", move |conn| {
            get(conn, &scope.admit(Facet::Checkpoints)?, &thread, id.as_ref())
        })
        .await
    }

    async fn history(
        &self,
        scope: &Scope,
        thread: &Thread,
        page: &Page,
    ) -> Result<Paged<CheckpointInfo>> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        thread.check()?;
        page.check()?;
        let below = match &page.cursor {
            Some(cursor) => row::number_of(cursor, CURSOR)?,
            None => i64::MAX,
        };
        let (scope, thread, limit) = (scope.clone(), thread.clone(), page.limit);
        self.read("reading a thread's history", move |conn| {
            history(conn, &scope.admit(Facet::Checkpoints)?, &thread, below, limit)
        })
        .await
    }
}

impl SqliteStore {
    /// Hashes and compresses where nobody else waits for it.
    async fn prepare_put(&self, put: Put) -> Result<Prepared> {
        if Prepared::is_small(&put) {
            return Prepared::of(put);
        }
        self.read("compressing a checkpoint", move |_| Ok(Prepared::of(put.clone())?)).await
    }
}

/// Puts a checkpoint on its thread's head.
pub(crate) fn put(conn: &Connection, scope: &Admitted<'_>, prepared: &Prepared) -> Done<Placed> {
    let (put, thread) = (&prepared.put, &prepared.put.thread);
    let key = [scope.tenant, thread.thread_id.as_str(), thread.namespace.as_str()];
    let current = conn
        .prepare_cached(sql::HEAD)?
        .query_row(key, |row| {
            Ok(Current {
                head: Head { id: CheckpointId(row.get(0)?), version: row.get(1)? },
                owner: row.get(2)?,
                active_at: row.get(3)?,
            })
        })
        .optional()?;
    if current.as_ref().is_some_and(|current| current.is_hidden_from(scope)) {
        return Err(Error::not_found("thread", thread).into());
    }
    let placed = place(current.as_ref().map(|current| &current.head), put, Uuid::now_v7())?;
    let before = match &placed.parent {
        Some(parent) => manifest(conn, key, parent)?,
        None => Manifest::default(),
    };
    let now = now(conn)?;
    let owner = match &current {
        Some(current) => current.owner.as_deref(),
        None => scope.user,
    };
    values::keep(conn, key, owner, &prepared.values)?;
    conn.prepare_cached(sql::INSERT)?.execute(params![
        key[0],
        key[1],
        key[2],
        placed.version,
        placed.id.0,
        placed.parent.as_ref().map(|parent| &parent.0),
        put.superstep,
        owner,
        scope.agent,
        scope.session,
        scope.run,
        now,
        put.metadata.to_string(),
        json!(before.next(put)).to_string(),
    ])?;
    match current {
        Some(current) => {
            let active_at = current.active_at(now);
            conn.prepare_cached(sql::MOVE)?.execute(params![
                key[0],
                key[1],
                key[2],
                placed.id.0,
                placed.version,
                active_at
            ])?;
        }
        None => {
            conn.prepare_cached(sql::START)?.execute(params![
                key[0],
                key[1],
                key[2],
                scope.user,
                scope.agent,
                scope.session,
                placed.id.0,
                placed.version,
                now
            ])?;
        }
    }
    Ok(placed)
}

/// A thread as it was found.
struct Current {
    head: Head,
    owner: Option<String>,
    active_at: i64,
}

/// The last activity of a thread moves at the most this often, in microseconds.
const ACTIVE_EVERY: i64 = 60_000_000;

impl Current {
    /// Another user's; a scope without a user is the whole tenant's.
    fn is_hidden_from(&self, scope: &Admitted<'_>) -> bool {
        matches!((scope.user, &self.owner), (Some(user), Some(owner)) if user != owner)
    }

    fn active_at(&self, now: i64) -> i64 {
        if now.saturating_sub(self.active_at) >= ACTIVE_EVERY { now } else { self.active_at }
    }
}

fn manifest(conn: &Connection, key: [&str; 3], id: &CheckpointId) -> Done<Manifest> {
    let mut statement = conn.prepare_cached(sql::MANIFEST)?;
    let mut rows = statement.query(params![key[0], key[1], key[2], id.0])?;
    match rows.next()? {
        Some(row) => row::json(row, 0, "a checkpoint's manifest"),
        None => Err(Error::not_found("checkpoint", id).into()),
    }
}

fn get(
    conn: &Connection,
    scope: &Admitted<'_>,
    thread: &Thread,
    id: Option<&CheckpointId>,
) -> Done<Checkpoint> {
    let key = [scope.tenant, thread.thread_id.as_str(), thread.namespace.as_str()];
    let mut statement = conn.prepare_cached(sql::GET)?;
    let named = id.map(|id| &id.0);
    let mut rows = statement.query(params![key[0], key[1], key[2], named, scope.user])?;
    let Some(row) = rows.next()? else {
        return Err(match id {
            Some(id) => Error::not_found("checkpoint", id),
            None => Error::not_found("thread", thread),
        }
        .into());
    };
    let manifest: Manifest = row::json(row, 7, "a checkpoint's manifest")?;
    let info = info(row)?;
    Ok(Checkpoint {
        thread: thread.clone(),
        id: info.id,
        parent: info.parent,
        version: info.version,
        superstep: info.superstep,
        metadata: info.metadata,
        channels: values::load(conn, key, thread, &manifest)?,
        run: row.get(6)?,
        created_at: info.created_at,
    })
}

fn history(
    conn: &Connection,
    scope: &Admitted<'_>,
    thread: &Thread,
    below: i64,
    limit: u32,
) -> Done<Paged<CheckpointInfo>> {
    let mut statement = conn.prepare_cached(sql::HISTORY)?;
    let mut rows = statement.query(params![
        scope.tenant,
        thread.thread_id,
        thread.namespace,
        scope.user,
        below,
        limit + 1
    ])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(info(row)?);
    }
    Ok(Paged::cut(found, limit, |info| Cursor::of(CURSOR, &[&info.version.to_string()])))
}

fn info(row: &Row<'_>) -> Done<CheckpointInfo> {
    Ok(CheckpointInfo {
        id: CheckpointId(row.get(0)?),
        parent: row.get::<_, Option<String>>(1)?.map(CheckpointId),
        version: row.get(2)?,
        superstep: row.get(3)?,
        metadata: row::json(row, 4, "a checkpoint's metadata")?,
        created_at: row::time(row, 5)?,
    })
}
