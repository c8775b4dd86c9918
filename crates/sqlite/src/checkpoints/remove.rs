//! Removing: checkpoints by policy or by run, whole threads, threads whose time is over. What no
//! remaining checkpoint or write names goes in the same transaction.

use std::collections::HashSet;

use mnemon_core::checkpoints::manifest::Manifest;
use mnemon_core::checkpoints::pack::{Codec, Key};
use mnemon_core::checkpoints::{Policy, Pruned, Thread};
use mnemon_core::scope::Admitted;
use mnemon_core::upkeep::Batch;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Done;
use crate::row;

pub(crate) mod sql {
    crate::sql::statements! {
        OPEN = "savepoint trial";
        UNDO = "rollback to trial";
        CLOSE = "release trial";
        THREADS = "select namespace from threads where tenant = ?1 and thread_id = ?2 \
            and (?3 is null or namespace = ?3) \
            and (?4 is null or user_id is null or user_id = ?4) order by namespace";
        OF_RUN = "select distinct thread_id from checkpoints where tenant = ?1 and run_id = ?2 \
            and (?3 is null or user_id is null or user_id = ?3)";
        EXPIRED = "select tenant, thread_id, namespace from threads \
            where expires_at is not null and expires_at <= ?1 order by expires_at limit ?2";
        EXPIRED_COUNT = "select count(*) from threads \
            where expires_at is not null and expires_at <= ?1";
        KEEP_LATEST = "delete from checkpoints \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and version < (\
            select k.version from checkpoints k \
            where k.tenant = ?1 and k.thread_id = ?2 and k.namespace = ?3 \
            order by k.version desc limit 1 offset ?4 - 1) returning id";
        OLDER_THAN = "delete from checkpoints \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and created_at < ?4 \
            and version < (select max(k.version) from checkpoints k \
            where k.tenant = ?1 and k.thread_id = ?2 and k.namespace = ?3) returning id";
        OF_THE_RUN = "delete from checkpoints \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and run_id = ?4 returning id";
        NEWEST = "select id from checkpoints \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 order by version desc limit 1";
        MOVE = "update threads set generation = generation + 1, head_id = ?4 \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        WRITES_OF = "delete from checkpoint_writes \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and checkpoint_id = ?4";
        MANIFESTS = "select manifest from checkpoints \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        WRITTEN = "select hash from checkpoint_writes \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        LISTS = "select hash, bytes from checkpoint_chunks \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and codec = ?4";
        CHUNKS = "select hash from checkpoint_chunks \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        DROP = "delete from checkpoint_chunks \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and hash = ?4";
        DROP_THREAD = "delete from threads \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        DROP_CHECKPOINTS = "delete from checkpoints \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        DROP_WRITES = "delete from checkpoint_writes \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        DROP_CHUNKS = "delete from checkpoint_chunks \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3";
    }
}

/// What of a thread goes.
#[derive(Clone, Debug)]
pub(super) enum What {
    KeepLatest(u32),
    /// Microseconds.
    OlderThan(i64),
    Everything,
    Run(String),
}

impl What {
    pub(super) fn of(policy: &Policy) -> Self {
        match policy {
            Policy::KeepLatest(number) => Self::KeepLatest(*number),
            Policy::OlderThan(time) => Self::OlderThan(time.timestamp_micros()),
            Policy::Delete => Self::Everything,
        }
    }
}

/// What a removal would remove: it is done, counted, and undone.
pub(super) fn try_out(
    conn: &Connection,
    scope: &Admitted<'_>,
    thread_ids: &[String],
    what: &What,
) -> Done<Pruned> {
    conn.execute_batch(sql::OPEN)?;
    let pruned = remove(conn, scope, thread_ids, None, what);
    conn.execute_batch(sql::UNDO)?;
    conn.execute_batch(sql::CLOSE)?;
    pruned
}

/// Removes from threads, or from one namespace of theirs, what this scope may see.
pub(super) fn remove(
    conn: &Connection,
    scope: &Admitted<'_>,
    thread_ids: &[String],
    namespace: Option<&str>,
    what: &What,
) -> Done<Pruned> {
    let mut pruned = Pruned::default();
    for thread_id in thread_ids {
        let namespaces: Vec<String> = conn
            .prepare_cached(sql::THREADS)?
            .query_map(params![scope.tenant, thread_id, namespace, scope.user], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for namespace in namespaces {
            let thread = Thread::new(thread_id).namespace(namespace);
            let key = super::put::key(scope, &thread);
            pruned += from_thread(conn, key, &thread, what)?;
        }
    }
    Ok(pruned)
}

/// Removes what these runs put, thread by thread.
pub(super) fn runs(conn: &Connection, scope: &Admitted<'_>, runs: &[String]) -> Done<Pruned> {
    let mut pruned = Pruned::default();
    for run in runs {
        let threads: Vec<String> = conn
            .prepare_cached(sql::OF_RUN)?
            .query_map(params![scope.tenant, run, scope.user], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        pruned += remove(conn, scope, &threads, None, &What::Run(run.clone()))?;
    }
    Ok(pruned)
}

/// Removes a batch of threads whose time is over.
pub(crate) fn sweep(conn: &Connection, size: u32, now: i64) -> Done<Batch> {
    let over: Vec<(String, String, String)> = conn
        .prepare_cached(sql::EXPIRED)?
        .query_map(params![now, size], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (tenant, thread_id, namespace) in &over {
        whole(conn, [tenant, thread_id, namespace])?;
    }
    Ok(Batch { rows: over.len() as u64, more: over.len() == size as usize })
}

/// How many threads are over.
pub(crate) fn expired(conn: &Connection, now: i64) -> Done<i64> {
    Ok(conn.prepare_cached(sql::EXPIRED_COUNT)?.query_row([now], |row| row.get(0))?)
}

fn from_thread(conn: &Connection, key: [&str; 3], thread: &Thread, what: &What) -> Done<Pruned> {
    let ids: Vec<String> = match what {
        What::Everything => return whole(conn, key),
        What::KeepLatest(number) => gone(conn, sql::KEEP_LATEST, key, number)?,
        What::OlderThan(time) => gone(conn, sql::OLDER_THAN, key, time)?,
        What::Run(run) => gone(conn, sql::OF_THE_RUN, key, run)?,
    };
    if ids.is_empty() {
        return Ok(Pruned::default());
    }
    let checkpoints = ids.len() as u64;
    let newest: Option<String> =
        conn.prepare_cached(sql::NEWEST)?.query_row(key, |row| row.get(0)).optional()?;
    let Some(newest) = newest else {
        return Ok(Pruned { checkpoints, ..whole(conn, key)? });
    };
    conn.prepare_cached(sql::MOVE)?.execute(params![key[0], key[1], key[2], newest])?;
    let mut writes = 0;
    let mut statement = conn.prepare_cached(sql::WRITES_OF)?;
    for id in &ids {
        writes += statement.execute(params![key[0], key[1], key[2], id])? as u64;
    }
    let blobs = unnamed(conn, key, thread)?;
    Ok(Pruned { threads: 0, checkpoints, writes, blobs })
}

/// Deletes checkpoints by a statement; which.
fn gone(
    conn: &Connection,
    statement: &str,
    key: [&str; 3],
    by: &dyn rusqlite::ToSql,
) -> Done<Vec<String>> {
    Ok(conn
        .prepare_cached(statement)?
        .query_map(params![key[0], key[1], key[2], by], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?)
}

/// Deletes what no checkpoint and no write of the thread names; how much.
fn unnamed(conn: &Connection, key: [&str; 3], thread: &Thread) -> Done<u64> {
    let mut live: HashSet<Key> = HashSet::new();
    let mut statement = conn.prepare_cached(sql::MANIFESTS)?;
    let mut rows = statement.query(key)?;
    while let Some(row) = rows.next()? {
        let manifest: Manifest = row::json(row, 0, "a checkpoint's manifest")?;
        live.extend(manifest.keys(thread)?);
    }
    let mut statement = conn.prepare_cached(sql::WRITTEN)?;
    let mut rows = statement.query(key)?;
    while let Some(row) = rows.next()? {
        live.insert(row::hash(row, 0, "a pending write")?);
    }
    let mut statement = conn.prepare_cached(sql::LISTS)?;
    let mut rows = statement.query(params![key[0], key[1], key[2], Codec::List as i16])?;
    while let Some(row) = rows.next()? {
        if live.contains(&row::hash(row, 0, "a value")?) {
            let bytes = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            live.extend(bytes.as_chunks::<32>().0);
        }
    }
    let mut dead = Vec::new();
    let mut statement = conn.prepare_cached(sql::CHUNKS)?;
    let mut rows = statement.query(key)?;
    while let Some(row) = rows.next()? {
        let hash = row::hash(row, 0, "a value")?;
        if !live.contains(&hash) {
            dead.push(hash);
        }
    }
    let mut statement = conn.prepare_cached(sql::DROP)?;
    for hash in &dead {
        statement.execute(params![key[0], key[1], key[2], hash.as_slice()])?;
    }
    Ok(dead.len() as u64)
}

/// Deletes a thread with everything of it.
fn whole(conn: &Connection, key: [&str; 3]) -> Done<Pruned> {
    let drop =
        |statement: &str| -> Done<u64> { Ok(conn.prepare_cached(statement)?.execute(key)? as u64) };
    Ok(Pruned {
        threads: drop(sql::DROP_THREAD)?,
        checkpoints: drop(sql::DROP_CHECKPOINTS)?,
        writes: drop(sql::DROP_WRITES)?,
        blobs: drop(sql::DROP_CHUNKS)?,
    })
}
