//! Checkpoints on PostgreSQL: a head per thread on whose row its writers queue, manifests that
//! inherit, values by hash.

mod values;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::checkpoints::manifest::Manifest;
use mnemon_core::checkpoints::{
    Checkpoint, CheckpointId, CheckpointInfo, Checkpoints, Head, Placed, Put, Thread, place,
};
use mnemon_core::locks::Guard;
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Cursor, Error, Page, Paged, Result, Scope, limits};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};
use uuid::Uuid;

use crate::error::Fault;
use crate::link::{Call, Retry, work};
use crate::store::PostgresStore;
use crate::{locks, row};

pub(crate) use values::Prepared;

/// The list that cursors of this facet belong to.
const LIST: &str = "checkpoints";
const MANIFEST: &str = "a checkpoint's manifest";

/// The last activity of a thread moves at the most this often, in seconds.
const ACTIVE_EVERY: f64 = 60.0;

#[async_trait]
impl Checkpoints for PostgresStore {
    async fn put(&self, scope: &Scope, put: Put, guard: Option<&Guard>) -> Result<Placed> {
        let scope = &scope.admit(Facet::Checkpoints)?;
        put.check()?;
        locks::check_guard(guard)?;
        let prepared = &prepare(put).await?;
        // A repeat after a lost answer would be one more version.
        let call =
            Call { doing: "putting a checkpoint", tenant: Some(scope.tenant), retry: Retry::Never };
        self.link
            .transaction(call, |conn| {
                work(async move {
                    locks::guard(conn, scope, guard.map_or(&[], std::slice::from_ref)).await?;
                    self::put(conn, scope, prepared).await
                })
            })
            .await
    }

    async fn get(
        &self,
        scope: &Scope,
        thread: &Thread,
        id: Option<&CheckpointId>,
    ) -> Result<Checkpoint> {
        let scope = &scope.admit(Facet::Checkpoints)?;
        thread.check()?;
        if let Some(id) = id {
            limits::name("id", &id.0, limits::CHECKPOINT_ID_BYTES)?;
        }
        let call = reading("reading a checkpoint", scope);
        self.link.run(call, |conn| work(async move { get(conn, scope, thread, id).await })).await
    }

    async fn history(
        &self,
        scope: &Scope,
        thread: &Thread,
        page: &Page,
    ) -> Result<Paged<CheckpointInfo>> {
        let scope = &scope.admit(Facet::Checkpoints)?;
        thread.check()?;
        page.check()?;
        let below = match &page.cursor {
            Some(cursor) => row::number_of(cursor, LIST)?,
            None => i64::MAX,
        };
        let limit = page.limit;
        let found = self
            .link
            .run(reading("reading a thread's history", scope), |conn| {
                work(async move { history(conn, scope, thread, below, limit).await })
            })
            .await?;
        Ok(Paged::cut(found, limit, |info| Cursor::of(LIST, &[&info.version.to_string()])))
    }
}

fn reading<'a>(doing: &'static str, scope: &Admitted<'a>) -> Call<'a> {
    Call { doing, tenant: Some(scope.tenant), retry: Retry::Idempotent }
}

/// Hashes and compresses; much of it away from the threads that serve connections.
async fn prepare(put: Put) -> Result<Prepared> {
    if Prepared::is_small(&put) {
        return Prepared::of(put);
    }
    tokio::task::spawn_blocking(move || Prepared::of(put))
        .await
        .map_err(|error| Error::backend("compressing a checkpoint", error))?
}

/// Puts a checkpoint on its thread's head, inside the caller's transaction.
pub(crate) async fn put(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    prepared: &Prepared,
) -> Result<Placed, Fault> {
    let (put, thread) = (&prepared.put, &prepared.put.thread);
    let current = head(conn, scope, put).await?;
    if matches!((scope.user, &current.owner), (Some(user), Some(owner)) if user != owner) {
        return Err(Error::not_found("thread", thread).into());
    }
    let placed = place(current.head.as_ref(), put, Uuid::now_v7())?;
    let before = match (&placed.parent, current.manifest) {
        (None, _) => Manifest::default(),
        (Some(_), Some(manifest)) => row::json(manifest, MANIFEST)?,
        (Some(parent), None) => manifest(conn, scope, thread, parent).await?,
    };
    values::keep(conn, scope, current.owner.as_deref(), prepared).await?;
    let after = serde_json::to_value(before.next(put)).expect("a manifest is JSON");
    insert(conn, scope, put, &placed, current.owner.as_deref(), &after).await?;
    Ok(placed)
}

/// A thread as it was found, locked until the transaction ends.
struct Current {
    /// None while it has no checkpoint.
    head: Option<Head>,
    owner: Option<String>,
    /// Of the parent, unless it came only while this waited for the lock.
    manifest: Option<Value>,
}

/// Locks the thread, starting it where it is not there.
async fn head(conn: &mut PgConnection, scope: &Admitted<'_>, put: &Put) -> Result<Current, Fault> {
    if let Some(current) = locked(conn, scope, put).await? {
        return Ok(current);
    }
    query!(
        r#"
        insert into mnemon.threads
            (tenant, thread_id, namespace, user_id, agent_id, session_id, head_id, version,
             active_at, created_at)
        select $1, $2, $3, $4, $5, $6, '', 0, c.at, c.at
        from (select mnemon.now() as at) c
        on conflict (tenant, thread_id, namespace) do nothing
        "#,
        scope.tenant,
        put.thread.thread_id,
        put.thread.namespace,
        scope.user,
        scope.agent,
        scope.session,
    )
    .execute(&mut *conn)
    .await?;
    // Ours, or another writer's who was faster.
    match locked(conn, scope, put).await? {
        Some(current) => Ok(current),
        None => Err(Error::Conflict {
            kind: "thread",
            key: put.thread.to_string(),
            expected: None,
            actual: None,
        }
        .into()),
    }
}

async fn locked(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    put: &Put,
) -> Result<Option<Current>, Fault> {
    let found = query!(
        r#"
        select t.head_id, t.version, t.user_id,
               (select c.manifest from mnemon.checkpoints c
                where c.tenant = $1 and c.thread_id = $2 and c.namespace = $3
                  and c.id = coalesce($4, t.head_id)) as manifest
        from mnemon.threads t
        where t.tenant = $1 and t.thread_id = $2 and t.namespace = $3
        for no key update of t
        "#,
        scope.tenant,
        put.thread.thread_id,
        put.thread.namespace,
        put.parent.as_ref().map(|parent| parent.0.as_str()),
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|row| Current {
        head: (row.version > 0)
            .then_some(Head { id: CheckpointId(row.head_id), version: row.version }),
        owner: row.user_id,
        manifest: row.manifest,
    }))
}

async fn manifest(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    thread: &Thread,
    id: &CheckpointId,
) -> Result<Manifest, Fault> {
    let found = query_scalar!(
        "select manifest from mnemon.checkpoints
         where tenant = $1 and thread_id = $2 and namespace = $3 and id = $4",
        scope.tenant,
        thread.thread_id,
        thread.namespace,
        id.0,
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found("checkpoint", id))?;
    Ok(row::json(found, MANIFEST)?)
}

/// Writes the checkpoint and moves the head, in one statement.
async fn insert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    put: &Put,
    placed: &Placed,
    owner: Option<&str>,
    manifest: &Value,
) -> Result<(), Fault> {
    query!(
        r#"
        with clock as materialized (
            select mnemon.now() as at
        ), head as (
            update mnemon.threads t
            set head_id = $5, version = $4,
                active_at = case when c.at - t.active_at >= make_interval(secs => $14)
                            then c.at else t.active_at end
            from clock c
            where t.tenant = $1 and t.thread_id = $2 and t.namespace = $3
        )
        insert into mnemon.checkpoints
            (tenant, thread_id, namespace, version, id, parent_id, superstep, user_id, agent_id,
             session_id, run_id, created_at, metadata, manifest)
        select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, c.at, $12, $13
        from clock c
        "#,
        scope.tenant,
        put.thread.thread_id,
        put.thread.namespace,
        placed.version,
        placed.id.0,
        placed.parent.as_ref().map(|parent| parent.0.as_str()),
        put.superstep,
        owner,
        scope.agent,
        scope.session,
        scope.run,
        put.metadata,
        manifest,
        ACTIVE_EVERY,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A checkpoint as a statement reads it.
struct Row {
    id: String,
    parent_id: Option<String>,
    version: i64,
    superstep: Option<i64>,
    metadata: Value,
    created_at: DateTime<Utc>,
}

impl From<Row> for CheckpointInfo {
    fn from(row: Row) -> Self {
        Self {
            id: CheckpointId(row.id),
            parent: row.parent_id.map(CheckpointId),
            version: row.version,
            superstep: row.superstep,
            metadata: row.metadata,
            created_at: row.created_at,
        }
    }
}

/// The newest, or the one named. Another user's thread is not found.
async fn get(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    thread: &Thread,
    id: Option<&CheckpointId>,
) -> Result<Checkpoint, Fault> {
    let found = query!(
        r#"
        select c.id, c.parent_id, c.version, c.superstep, c.metadata, c.created_at, c.run_id,
               c.manifest
        from mnemon.threads t
        join mnemon.checkpoints c
          on c.tenant = t.tenant and c.thread_id = t.thread_id and c.namespace = t.namespace
         and c.id = coalesce($4, t.head_id)
        where t.tenant = $1 and t.thread_id = $2 and t.namespace = $3
          and ($5::text is null or t.user_id is null or t.user_id = $5)
        "#,
        scope.tenant,
        thread.thread_id,
        thread.namespace,
        id.map(|id| id.0.as_str()),
        scope.user,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(found) = found else {
        return Err(match id {
            Some(id) => Error::not_found("checkpoint", id),
            None => Error::not_found("thread", thread),
        }
        .into());
    };
    let manifest: Manifest = row::json(found.manifest, MANIFEST)?;
    Ok(Checkpoint {
        thread: thread.clone(),
        id: CheckpointId(found.id),
        parent: found.parent_id.map(CheckpointId),
        version: found.version,
        superstep: found.superstep,
        metadata: found.metadata,
        channels: values::load(conn, scope, thread, &manifest).await?,
        run: found.run_id,
        created_at: found.created_at,
    })
}

async fn history(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    thread: &Thread,
    below: i64,
    limit: u32,
) -> Result<Vec<CheckpointInfo>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select c.id, c.parent_id, c.version, c.superstep, c.metadata, c.created_at
        from mnemon.threads t
        join mnemon.checkpoints c
          on c.tenant = t.tenant and c.thread_id = t.thread_id and c.namespace = t.namespace
        where t.tenant = $1 and t.thread_id = $2 and t.namespace = $3
          and ($4::text is null or t.user_id is null or t.user_id = $4)
          and c.version < $5
        order by c.version desc
        limit $6
        "#,
        scope.tenant,
        thread.thread_id,
        thread.namespace,
        scope.user,
        below,
        i64::from(limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(CheckpointInfo::from).collect())
}
