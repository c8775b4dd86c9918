//! Putting a checkpoint: the thread's row is locked, core decides against what stands there, and
//! one statement moves the head and writes what is new.

use std::collections::HashSet;
use std::time::Duration;

use mnemon_core::checkpoints::manifest::Manifest;
use mnemon_core::checkpoints::pack::{Blob, Key, Packed};
use mnemon_core::checkpoints::place::{Plan, Standing, plan};
use mnemon_core::checkpoints::{CheckpointId, Head, Placed, Put, Thread};
use mnemon_core::locks::Guard;
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Fence, Result, limits};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};
use uuid::Uuid;

use super::heads::Seen;
use super::read;
use crate::error::Fault;
use crate::row;

pub(super) const MANIFEST: &str = "a checkpoint's manifest";

/// How often a thread is looked for that others start and delete meanwhile.
const ROUNDS: usize = 8;

/// Puts a checkpoint on its thread, inside the caller's transaction; how the thread stands then.
pub(super) async fn under_lock(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<Put>,
    guards: &[Guard],
) -> Result<(Placed, Seen), Fault> {
    let thread = &packed.given().thread;
    for _ in 0..ROUNDS {
        let (standing, present) = match lock(conn, scope, thread).await? {
            Some(row) => {
                let (parent, present) = look(conn, scope, packed, &row.head_id).await?;
                (Some(row.standing(parent)), present)
            }
            None => (None, HashSet::new()),
        };
        let renewed = renew(conn, scope, packed, standing.as_ref()).await?;
        let packed = renewed.as_ref().unwrap_or(packed);
        let plan = plan(standing.as_ref(), packed, scope.user, guards, Uuid::now_v7())?;
        let blobs = packed.blobs(&present)?;
        let written = match standing {
            Some(_) => follow(conn, scope, packed, &plan, &blobs, None).await?,
            None => start(conn, scope, packed, &plan, &blobs).await?,
        };
        if let Some(stamp) = written {
            let owner = match standing {
                Some(standing) => standing.owner,
                None => scope.user.map(str::to_owned),
            };
            return Ok(Seen::written(packed, plan, stamp, owner, present));
        }
    }
    let key = thread.to_string();
    Err(Error::Conflict { kind: "thread", key, expected: None, actual: None }.into())
}

/// What a put builds on.
pub(super) struct Parent {
    pub(super) manifest: Manifest,
    pub(super) key_id: Option<String>,
}

/// A thread's row.
#[derive(Clone)]
pub(super) struct Locked {
    pub(super) head_id: String,
    pub(super) version: i64,
    pub(super) user_id: Option<String>,
    pub(super) fence_key: Option<String>,
    pub(super) fence: Option<i64>,
}

impl Locked {
    pub(super) fn standing(self, parent: Option<Parent>) -> Standing {
        let (parent, parent_key) = match parent {
            Some(parent) => (Some(parent.manifest), parent.key_id),
            None => (None, None),
        };
        Standing {
            fence: self.guard(),
            head: Head { id: CheckpointId(self.head_id), version: self.version },
            owner: self.user_id,
            parent,
            parent_key,
        }
    }

    /// A row as a put under this fence leaves it.
    pub(super) fn written(placed: &Placed, owner: Option<String>, fence: Option<Guard>) -> Self {
        let (fence_key, fence) = fence.map(|guard| (guard.key, guard.fence.0)).unzip();
        Self {
            head_id: placed.id.0.clone(),
            version: placed.version,
            user_id: owner,
            fence_key,
            fence,
        }
    }

    /// The fence its head was written under.
    pub(super) fn guard(&self) -> Option<Guard> {
        let (key, fence) = (self.fence_key.clone()?, self.fence?);
        Some(Guard { key, fence: Fence(fence) })
    }
}

async fn lock(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    thread: &Thread,
) -> Result<Option<Locked>, Fault> {
    let found = sqlx::query_as!(
        Locked,
        r#"
        select head_id, version, user_id, fence_key, fence
        from mnemon.threads
        where tenant = $1 and thread_id = $2 and namespace = $3
        for no key update
        "#,
        scope.tenant,
        thread.thread_id,
        thread.namespace,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found)
}

/// The parent's manifest, and which of the values are there already. A statement of its own: the
/// one that waited for the lock sees what was there before.
async fn look(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<Put>,
    head: &str,
) -> Result<(Option<Parent>, HashSet<Key>), Fault> {
    let put = packed.given();
    let keys = packed.keys();
    let keys: Vec<&[u8]> = keys.iter().map(<[u8; 32]>::as_slice).collect();
    let found = query!(
        r#"
        select c.manifest as "manifest?", c.key_id as "key_id?",
               array(select k.hash from mnemon.checkpoint_chunks k
                     where k.tenant = $1 and k.thread_id = $2 and k.namespace = $3
                       and k.hash = any ($5)) as "present!"
        from (select) one
        left join mnemon.checkpoints c
          on c.tenant = $1 and c.thread_id = $2 and c.namespace = $3 and c.id = $4
        "#,
        scope.tenant,
        put.thread.thread_id,
        put.thread.namespace,
        put.parent.as_ref().map_or(head, |parent| parent.0.as_str()),
        &keys as &[&[u8]],
    )
    .fetch_one(conn)
    .await?;
    let key_id = found.key_id;
    let parent = found
        .manifest
        .map(|manifest| row::json(manifest, MANIFEST).map(|manifest| Parent { manifest, key_id }))
        .transpose()?;
    let present =
        found.present.iter().map(|key| row::hash(key, "a value")).collect::<Result<_>>()?;
    Ok((parent, present))
}

/// The put with what it inherits under another key than its own, read and brought under its own.
async fn renew(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<Put>,
    standing: Option<&Standing>,
) -> Result<Option<Packed<Put>>, Fault> {
    let Some(parent) = standing.and_then(|standing| standing.parent.as_ref()) else {
        return Ok(None);
    };
    let stale = packed.stale(parent);
    if stale.is_empty() {
        return Ok(None);
    }
    let thread = &packed.given().thread;
    let keys = stale.iter().map(|(name, stored)| stored.key(thread, name));
    let keys = keys.collect::<Result<Vec<Key>>>()?;
    let blobs = read::blobs(conn, scope, thread, &keys).await?;
    Ok(Some(packed.renew(&stale, &blobs)?))
}

/// Blobs as columns.
pub(super) struct Columns<'a> {
    pub(super) keys: Vec<&'a [u8]>,
    pub(super) codecs: Vec<i16>,
    pub(super) bytes: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(blobs: &'a [Blob]) -> Self {
        Self {
            keys: blobs.iter().map(|blob| blob.key.as_slice()).collect(),
            codecs: blobs.iter().map(|blob| blob.codec).collect(),
            bytes: blobs.iter().map(|blob| blob.bytes.as_slice()).collect(),
        }
    }
}

fn text(id: Option<&CheckpointId>) -> Option<&str> {
    id.map(|id| id.0.as_str())
}

fn hashes(packed: &Packed<Put>, plan: &Plan) -> Result<Vec<Vec<u8>>> {
    let keys = plan.manifest.keys(&packed.given().thread)?;
    Ok(keys.iter().map(|key| key.to_vec()).collect())
}

fn json(manifest: &Manifest) -> Value {
    serde_json::to_value(manifest).expect("a manifest is JSON")
}

/// Moves the head and writes the checkpoint and what is new of its values, in one statement.
/// The row's new stamp; `None` when it is not the one of `stamp` any more.
pub(super) async fn follow(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<Put>,
    plan: &Plan,
    blobs: &[Blob],
    stamp: Option<&str>,
) -> Result<Option<String>, Fault> {
    let (put, placed) = (packed.given(), &plan.placed);
    let blobs = Columns::of(blobs);
    let stamp = query_scalar!(
        r#"
        with clock as materialized (
            select mnemon.now() as at
        ), head as (
            update mnemon.threads t
            set head_id = $5, version = $4,
                fence_key = $13, fence = $14,
                ttl = coalesce($15, t.ttl),
                active_at = case when c.at - t.active_at >= make_interval(secs => $16)
                            then c.at else t.active_at end,
                expires_at = case
                    when $15::float8 is not null then c.at + make_interval(secs => $15 + $16)
                    when c.at - t.active_at >= make_interval(secs => $16)
                        then c.at + make_interval(secs => t.ttl + $16)
                    else t.expires_at end
            from clock c
            where t.tenant = $1 and t.thread_id = $2 and t.namespace = $3
              and ($20::text is null or t.xmin = $20::text::xid)
            returning t.user_id, c.at, t.xmin::text as stamp
        ), kept as (
            insert into mnemon.checkpoint_chunks
                (tenant, thread_id, namespace, hash, user_id, codec, bytes, key_id)
            select $1, $2, $3, g.hash, h.user_id, g.codec, g.bytes, $21
            from head h, unnest($17::bytea[], $18::int2[], $19::bytea[]) as g (hash, codec, bytes)
            on conflict (tenant, thread_id, namespace, hash) do nothing
        )
        insert into mnemon.checkpoints
            (tenant, thread_id, namespace, version, id, parent_id, superstep, user_id, agent_id,
             session_id, run_id, created_at, metadata, manifest, key_id, sealed,
             hashes)
        select $1, $2, $3, $4, $5, $6, $7, h.user_id, $8, $9, $10, h.at, $11, $12, $21, $22, $23
        from head h
        returning (select h.stamp from head h) as "stamp!"
        "#,
        scope.tenant,
        put.thread.thread_id,
        put.thread.namespace,
        placed.version,
        placed.id.0,
        text(placed.parent.as_ref()),
        put.superstep,
        scope.agent,
        scope.session,
        scope.run,
        plan.at_rest.metadata,
        json(&plan.manifest),
        plan.fence.as_ref().map(|guard| guard.key.as_str()),
        plan.fence.as_ref().map(|guard| guard.fence.0),
        put.ttl.map(|ttl| ttl.as_secs_f64()),
        limits::ACTIVE_EVERY.as_secs_f64(),
        &blobs.keys as &[&[u8]],
        &blobs.codecs,
        &blobs.bytes as &[&[u8]],
        stamp,
        plan.at_rest.key_id,
        plan.at_rest.sealed,
        &hashes(packed, plan)?,
    )
    .fetch_optional(conn)
    .await?;
    Ok(stamp)
}

/// Starts the thread with its first checkpoint. The row's stamp; `None` when somebody else was faster.
pub(super) async fn start(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<Put>,
    plan: &Plan,
    blobs: &[Blob],
) -> Result<Option<String>, Fault> {
    let (put, placed) = (packed.given(), &plan.placed);
    let blobs = Columns::of(blobs);
    let stamp = query_scalar!(
        r#"
        with clock as materialized (
            select mnemon.now() as at
        ), head as (
            insert into mnemon.threads
                (tenant, thread_id, namespace, user_id, agent_id, session_id, head_id, version,
                 fence_key, fence, ttl, active_at, expires_at, created_at)
            select $1, $2, $3, $6, $7, $8, $5, $4, $12, $13, $14::float8, c.at,
                   c.at + make_interval(secs => $14 + $15::float8), c.at
            from clock c
            on conflict (tenant, thread_id, namespace) do nothing
            returning user_id, created_at as at, xmin::text as stamp
        ), kept as (
            insert into mnemon.checkpoint_chunks
                (tenant, thread_id, namespace, hash, user_id, codec, bytes, key_id)
            select $1, $2, $3, g.hash, h.user_id, g.codec, g.bytes, $20
            from head h, unnest($16::bytea[], $17::int2[], $18::bytea[]) as g (hash, codec, bytes)
        )
        insert into mnemon.checkpoints
            (tenant, thread_id, namespace, version, id, superstep, user_id, agent_id,
             session_id, run_id, created_at, metadata, manifest, key_id, sealed,
             hashes)
        select $1, $2, $3, $4, $5, $9, $6, $7, $8, $10, h.at, $11, $19, $20, $21, $22
        from head h
        returning (select h.stamp from head h) as "stamp!"
        "#,
        scope.tenant,
        put.thread.thread_id,
        put.thread.namespace,
        placed.version,
        placed.id.0,
        scope.user,
        scope.agent,
        scope.session,
        put.superstep,
        scope.run,
        plan.at_rest.metadata,
        plan.fence.as_ref().map(|guard| guard.key.as_str()),
        plan.fence.as_ref().map(|guard| guard.fence.0),
        put.ttl.map(|ttl| ttl.as_secs_f64()),
        limits::ACTIVE_EVERY.as_secs_f64(),
        &blobs.keys as &[&[u8]],
        &blobs.codecs,
        &blobs.bytes as &[&[u8]],
        json(&plan.manifest),
        plan.at_rest.key_id,
        plan.at_rest.sealed,
        &hashes(packed, plan)?,
    )
    .fetch_optional(conn)
    .await?;
    Ok(stamp)
}

/// Sets how long a thread is kept without activity.
pub(super) async fn set_ttl(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    thread: &Thread,
    ttl: Option<Duration>,
) -> Result<(), Fault> {
    let done = query!(
        r#"
        update mnemon.threads
        set ttl = $5, expires_at = mnemon.now() + make_interval(secs => $5 + $6::float8)
        where tenant = $1 and thread_id = $2 and namespace = $3
          and ($4::text is null or user_id is null or user_id = $4)
        "#,
        scope.tenant,
        thread.thread_id,
        thread.namespace,
        scope.user,
        ttl.map(|ttl| ttl.as_secs_f64()),
        limits::ACTIVE_EVERY.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    found(done.rows_affected(), thread)
}

/// Lets writers without a guard write again.
pub(super) async fn unfence(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    thread: &Thread,
) -> Result<(), Fault> {
    let done = query!(
        r#"
        update mnemon.threads set fence_key = null, fence = null
        where tenant = $1 and thread_id = $2 and namespace = $3
          and ($4::text is null or user_id is null or user_id = $4)
        "#,
        scope.tenant,
        thread.thread_id,
        thread.namespace,
        scope.user,
    )
    .execute(conn)
    .await?;
    found(done.rows_affected(), thread)
}

fn found(rows: u64, thread: &Thread) -> Result<(), Fault> {
    match rows {
        0 => Err(Error::not_found("thread", thread).into()),
        _ => Ok(()),
    }
}
