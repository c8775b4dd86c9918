//! Putting a checkpoint: core decides against what stands there, and what is new is written.

use std::collections::HashSet;
use std::time::Duration;

use mnemon_core::checkpoints::manifest::Manifest;
use mnemon_core::checkpoints::pack::{Blob, Key, Packed};
use mnemon_core::checkpoints::place::{Plan, Standing, plan};
use mnemon_core::checkpoints::{CheckpointId, Head, Placed, Put, Thread};
use mnemon_core::locks::Guard;
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Fence, limits};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;
use uuid::Uuid;

use super::read::blobs;
use crate::error::Done;
use crate::open::now;
use crate::row;

pub(crate) mod sql {
    crate::sql::statements! {
        HEAD = "select head_id, version, user_id, fence_key, fence, ttl, active_at, expires_at \
            from threads where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        MANIFEST = "select manifest, key_id from checkpoints \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and id = ?4";
        HAS = "select 1 from checkpoint_chunks \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and hash = ?4";
        KEEP = "insert into checkpoint_chunks (tenant, thread_id, namespace, hash, user_id, codec, \
            bytes, key_id) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
            on conflict (tenant, thread_id, namespace, hash) do nothing";
        INSERT = "insert into checkpoints (tenant, thread_id, namespace, version, id, parent_id, \
            superstep, user_id, agent_id, session_id, run_id, created_at, metadata, manifest, \
            key_id, sealed) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, \
            ?15, ?16)";
        START = "insert into threads (tenant, thread_id, namespace, user_id, agent_id, session_id, \
            head_id, version, generation, fence_key, fence, ttl, active_at, expires_at, created_at) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10, ?11, ?12, ?13, ?12)";
        MOVE = "update threads set head_id = ?4, version = ?5, fence_key = ?6, fence = ?7, \
            ttl = ?8, active_at = ?9, expires_at = ?10 \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        SET_TTL = "update threads set ttl = ?5, expires_at = ?6 \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 \
            and (?4 is null or user_id is null or user_id = ?4)";
        UNFENCE = "update threads set fence_key = null, fence = null \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 \
            and (?4 is null or user_id is null or user_id = ?4)";
    }
}

/// Puts a checkpoint on its thread.
pub(crate) fn put(
    conn: &Connection,
    scope: &Admitted<'_>,
    packed: &Packed<Put>,
    guards: &[Guard],
) -> Done<Placed> {
    let put = packed.given();
    let key = key(scope, &put.thread);
    let current = current(conn, key, put)?;
    let standing = current.as_ref().map(|current| &current.standing);
    let renewed = renew(conn, key, packed, standing)?;
    let packed = renewed.as_ref().unwrap_or(packed);
    let plan = plan(standing, packed, scope.user, guards, Uuid::now_v7())?;
    let owner = match &current {
        Some(current) => current.standing.owner.as_deref(),
        None => scope.user,
    };
    let present = present(conn, key, &packed.keys())?;
    keep(conn, key, owner, &packed.blobs(&present)?, packed.key_id())?;
    let now = now(conn)?;
    conn.prepare_cached(sql::INSERT)?.execute(params![
        key[0],
        key[1],
        key[2],
        plan.placed.version,
        plan.placed.id.0,
        plan.placed.parent.as_ref().map(|parent| &parent.0),
        put.superstep,
        owner,
        scope.agent,
        scope.session,
        scope.run,
        now,
        plan.at_rest.metadata.to_string(),
        json!(plan.manifest).to_string(),
        plan.at_rest.key_id,
        plan.at_rest.sealed,
    ])?;
    match current {
        Some(current) => follow(conn, key, &current.life.next(put.ttl, now), &plan)?,
        None => start(conn, key, scope, &Life::new(put.ttl, now), &plan)?,
    }
    Ok(plan.placed)
}

/// The three parts of a thread's key.
pub(super) fn key<'a>(scope: &Admitted<'a>, thread: &'a Thread) -> [&'a str; 3] {
    [scope.tenant, thread.thread_id.as_str(), thread.namespace.as_str()]
}

/// A thread as it was found.
struct Current {
    standing: Standing,
    life: Life,
}

/// How long a thread is kept, in microseconds.
struct Life {
    ttl: Option<i64>,
    active_at: i64,
    expires_at: Option<i64>,
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// When a thread is over: a minute beyond its time, for the last activity moves once a minute.
fn over(ttl: Option<i64>, now: i64) -> Option<i64> {
    ttl.map(|ttl| now.saturating_add(ttl).saturating_add(micros(limits::ACTIVE_EVERY)))
}

impl Life {
    fn new(ttl: Option<Duration>, now: i64) -> Self {
        let ttl = ttl.map(micros);
        Self { ttl, active_at: now, expires_at: over(ttl, now) }
    }

    fn next(&self, ttl: Option<Duration>, now: i64) -> Self {
        let moves = now.saturating_sub(self.active_at) >= micros(limits::ACTIVE_EVERY);
        let active_at = if moves { now } else { self.active_at };
        match ttl.map(micros) {
            Some(ttl) => Self { ttl: Some(ttl), active_at, expires_at: over(Some(ttl), now) },
            None if moves => Self { ttl: self.ttl, active_at, expires_at: over(self.ttl, now) },
            None => Self { ttl: self.ttl, active_at, expires_at: self.expires_at },
        }
    }
}

fn current(conn: &Connection, key: [&str; 3], put: &Put) -> Done<Option<Current>> {
    let mut statement = conn.prepare_cached(sql::HEAD)?;
    let mut rows = statement.query(key)?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let head = Head { id: CheckpointId(row.get(0)?), version: row.get(1)? };
    let (parent, parent_key) = manifest(conn, key, put.parent.as_ref().unwrap_or(&head.id))?;
    let standing = Standing { owner: row.get(2)?, fence: guard(row, 3)?, head, parent, parent_key };
    let life = Life { ttl: row.get(5)?, active_at: row.get(6)?, expires_at: row.get(7)? };
    Ok(Some(Current { standing, life }))
}

/// The fence a thread's head was written under, from two columns.
pub(super) fn guard(row: &rusqlite::Row<'_>, column: usize) -> Done<Option<Guard>> {
    let (key, fence): (Option<String>, Option<i64>) = (row.get(column)?, row.get(column + 1)?);
    Ok(key.zip(fence).map(|(key, fence)| Guard { key, fence: Fence(fence) }))
}

/// What a checkpoint holds, and the key it is encrypted under.
fn manifest(
    conn: &Connection,
    key: [&str; 3],
    id: &CheckpointId,
) -> Done<(Option<Manifest>, Option<String>)> {
    let mut statement = conn.prepare_cached(sql::MANIFEST)?;
    let mut rows = statement.query(params![key[0], key[1], key[2], id.0])?;
    match rows.next()? {
        Some(row) => Ok((Some(row::json(row, 0, "a checkpoint's manifest")?), row.get(1)?)),
        None => Ok((None, None)),
    }
}

/// The put with what it inherits under another key than its own, read and brought under its own.
fn renew(
    conn: &Connection,
    key: [&str; 3],
    packed: &Packed<Put>,
    standing: Option<&Standing>,
) -> Done<Option<Packed<Put>>> {
    let Some(parent) = standing.and_then(|standing| standing.parent.as_ref()) else {
        return Ok(None);
    };
    let stale = packed.stale(parent);
    if stale.is_empty() {
        return Ok(None);
    }
    let thread = &packed.given().thread;
    let keys = stale.iter().map(|(name, stored)| stored.key(thread, name));
    let keys = keys.collect::<mnemon_core::Result<Vec<Key>>>()?;
    let blobs = blobs(conn, key, thread, &keys)?;
    Ok(Some(packed.renew(&stale, &blobs)?))
}

/// Which of these values are there already.
fn present(conn: &Connection, key: [&str; 3], keys: &[Key]) -> Done<HashSet<Key>> {
    let mut statement = conn.prepare_cached(sql::HAS)?;
    let mut present = HashSet::new();
    for hash in keys {
        let found: Option<i64> = statement
            .query_row(params![key[0], key[1], key[2], hash.as_slice()], |row| row.get(0))
            .optional()?;
        if found.is_some() {
            present.insert(*hash);
        }
    }
    Ok(present)
}

/// Keeps what the thread does not have yet. `owner` is the thread's.
pub(super) fn keep(
    conn: &Connection,
    key: [&str; 3],
    owner: Option<&str>,
    blobs: &[Blob],
    key_id: Option<&str>,
) -> Done<()> {
    let mut statement = conn.prepare_cached(sql::KEEP)?;
    for blob in blobs {
        let (hash, bytes) = (blob.key.as_slice(), &blob.bytes);
        let row = params![key[0], key[1], key[2], hash, owner, blob.codec, bytes, key_id];
        statement.execute(row)?;
    }
    Ok(())
}

fn follow(conn: &Connection, key: [&str; 3], life: &Life, plan: &Plan) -> Done<()> {
    conn.prepare_cached(sql::MOVE)?.execute(params![
        key[0],
        key[1],
        key[2],
        plan.placed.id.0,
        plan.placed.version,
        plan.fence.as_ref().map(|guard| &guard.key),
        plan.fence.as_ref().map(|guard| guard.fence.0),
        life.ttl,
        life.active_at,
        life.expires_at,
    ])?;
    Ok(())
}

fn start(
    conn: &Connection,
    key: [&str; 3],
    scope: &Admitted<'_>,
    life: &Life,
    plan: &Plan,
) -> Done<()> {
    conn.prepare_cached(sql::START)?.execute(params![
        key[0],
        key[1],
        key[2],
        scope.user,
        scope.agent,
        scope.session,
        plan.placed.id.0,
        plan.placed.version,
        plan.fence.as_ref().map(|guard| &guard.key),
        plan.fence.as_ref().map(|guard| guard.fence.0),
        life.ttl,
        life.active_at,
        life.expires_at,
    ])?;
    Ok(())
}

/// Sets how long a thread is kept without activity.
pub(super) fn set_ttl(
    conn: &Connection,
    scope: &Admitted<'_>,
    thread: &Thread,
    ttl: Option<Duration>,
) -> Done<()> {
    let key = key(scope, thread);
    let ttl = ttl.map(micros);
    let over = over(ttl, now(conn)?);
    let mut statement = conn.prepare_cached(sql::SET_TTL)?;
    found(statement.execute(params![key[0], key[1], key[2], scope.user, ttl, over])?, thread)
}

/// Lets writers without a guard write again.
pub(super) fn unfence(conn: &Connection, scope: &Admitted<'_>, thread: &Thread) -> Done<()> {
    let key = key(scope, thread);
    let mut statement = conn.prepare_cached(sql::UNFENCE)?;
    found(statement.execute(params![key[0], key[1], key[2], scope.user])?, thread)
}

fn found(rows: usize, thread: &Thread) -> Done<()> {
    match rows {
        0 => Err(Error::not_found("thread", thread).into()),
        _ => Ok(()),
    }
}
