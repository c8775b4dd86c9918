//! Copying a thread, row by row inside the database.

use std::collections::HashSet;

use mnemon_core::Error;
use mnemon_core::checkpoints::Thread;
use mnemon_core::checkpoints::moved::Moved;
use mnemon_core::checkpoints::seal::Sealing;
use mnemon_core::scope::Admitted;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::put::{keep, key};
use super::read::{Which, whole};
use crate::error::Done;
use crate::open::now;

pub(crate) mod sql {
    crate::sql::statements! {
        NAMESPACES = "select namespace from threads where tenant = ?1 and thread_id = ?2 \
            and (?3 is null or user_id is null or user_id = ?3) order by namespace";
        TAKEN = "select exists (select 1 from threads where tenant = ?1 and thread_id = ?2)";
        THREAD = "insert into threads (tenant, thread_id, namespace, user_id, agent_id, \
            session_id, head_id, version, generation, ttl, active_at, expires_at, created_at) \
            select tenant, ?4, namespace, coalesce(?5, user_id), ?6, ?7, head_id, version, 0, ttl, \
            ?8, ?8 + (expires_at - active_at), ?8 from threads \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        CHECKPOINTS = "insert into checkpoints (tenant, thread_id, namespace, version, id, \
            parent_id, superstep, user_id, agent_id, session_id, run_id, created_at, metadata, \
            manifest) select tenant, ?4, namespace, version, id, parent_id, superstep, \
            coalesce(?5, user_id), agent_id, session_id, run_id, created_at, metadata, manifest \
            from checkpoints where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        WRITES = "insert into checkpoint_writes (tenant, thread_id, namespace, checkpoint_id, \
            task_id, idx, task_path, channel, type_tag, hash, size, user_id, run_id, written_at) \
            select tenant, ?4, namespace, checkpoint_id, task_id, idx, task_path, channel, \
            type_tag, hash, size, coalesce(?5, user_id), run_id, written_at from checkpoint_writes \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        CHUNKS = "insert into checkpoint_chunks (tenant, thread_id, namespace, hash, user_id, \
            codec, bytes) select tenant, ?4, namespace, hash, coalesce(?5, user_id), codec, bytes \
            from checkpoint_chunks where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        SEALED = "select key_id from checkpoints \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and key_id is not null limit 1";
        VERSIONS = "select version from checkpoints \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 order by version";
        OWNER = "select user_id from threads where tenant = ?1 and thread_id = ?2 and namespace = ?3";
        /// Of an encrypted one, whose manifest and metadata are closed anew.
        CHECKPOINT = "insert into checkpoints (tenant, thread_id, namespace, version, id, \
            parent_id, superstep, user_id, agent_id, session_id, run_id, created_at, metadata, \
            manifest, key_id, sealed) select tenant, ?4, namespace, version, id, parent_id, \
            superstep, coalesce(?5, user_id), agent_id, session_id, run_id, created_at, ?6, ?7, \
            ?8, ?9 from checkpoints \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and version = ?10";
        WRITE = "insert into checkpoint_writes (tenant, thread_id, namespace, checkpoint_id, \
            task_id, idx, task_path, channel, type_tag, hash, size, user_id, run_id, written_at, \
            key_id) select tenant, ?4, namespace, checkpoint_id, task_id, idx, task_path, channel, \
            type_tag, ?6, size, coalesce(?5, user_id), run_id, written_at, ?7 \
            from checkpoint_writes where tenant = ?1 and thread_id = ?2 and namespace = ?3 \
            and checkpoint_id = ?8 and task_id = ?9 and idx = ?10";
    }
}

/// Copies a thread under a new id; how many checkpoints.
pub(super) fn copy(
    conn: &Connection,
    scope: &Admitted<'_>,
    sealing: &Sealing,
    from: &str,
    to: &str,
) -> Done<u64> {
    let namespaces: Vec<String> = conn
        .prepare_cached(sql::NAMESPACES)?
        .query_map(params![scope.tenant, from, scope.user], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if namespaces.is_empty() {
        return Err(Error::not_found("thread", from).into());
    }
    let taken: bool =
        conn.prepare_cached(sql::TAKEN)?.query_row(params![scope.tenant, to], |row| row.get(0))?;
    if taken {
        return Err(Error::AlreadyExists { kind: "thread", key: to.to_owned() }.into());
    }
    let now = now(conn)?;
    let mut copied = 0;
    for namespace in &namespaces {
        conn.prepare_cached(sql::THREAD)?.execute(params![
            scope.tenant,
            from,
            namespace,
            to,
            scope.user,
            scope.agent,
            scope.session,
            now,
        ])?;
        let (source, target) =
            (Thread::new(from).namespace(namespace), Thread::new(to).namespace(namespace));
        if sealing.is_on() {
            copied += anew(conn, scope, sealing, &source, &target)?;
            continue;
        }
        let sealed: Option<String> = conn
            .prepare_cached(sql::SEALED)?
            .query_row(params![scope.tenant, from, namespace], |row| row.get(0))
            .optional()?;
        // Refused: it could not be opened in its new place.
        sealing.opener(scope.tenant, &source).seal(sealed.as_deref())?;
        let rows = params![scope.tenant, from, namespace, to, scope.user];
        copied += conn.prepare_cached(sql::CHECKPOINTS)?.execute(rows)?;
        conn.prepare_cached(sql::WRITES)?.execute(rows)?;
        conn.prepare_cached(sql::CHUNKS)?.execute(rows)?;
    }
    Ok(copied as u64)
}

/// Copies what is encrypted: it is bound to its place, so each checkpoint is opened and closed anew.
fn anew(
    conn: &Connection,
    scope: &Admitted<'_>,
    sealing: &Sealing,
    from: &Thread,
    to: &Thread,
) -> Done<usize> {
    let (source, target) = (key(scope, from), key(scope, to));
    let versions: Vec<i64> = conn
        .prepare_cached(sql::VERSIONS)?
        .query_map(source, |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let owner: Option<String> =
        conn.prepare_cached(sql::OWNER)?.query_row(target, |row| row.get(0))?;
    let nothing = HashSet::new();
    for version in &versions {
        let checkpoint = whole(conn, scope, sealing, from, &Which::Version(*version))?;
        let id = checkpoint.id.clone();
        let moved = Moved::of(checkpoint, to, sealing, scope.tenant)?;
        let key_id = moved.at_rest.key_id.as_deref();
        let mut blobs = moved.packed.blobs(&nothing)?;
        blobs.extend(moved.writes.blobs(&nothing)?);
        keep(conn, target, owner.as_deref(), &blobs, key_id)?;
        conn.prepare_cached(sql::CHECKPOINT)?.execute(params![
            source[0],
            source[1],
            source[2],
            to.thread_id,
            scope.user,
            moved.at_rest.metadata.to_string(),
            json!(moved.manifest).to_string(),
            key_id,
            moved.at_rest.sealed,
            version,
        ])?;
        let mut statement = conn.prepare_cached(sql::WRITE)?;
        for (task_id, idx, hash) in moved.writes.rows()? {
            statement.execute(params![
                source[0],
                source[1],
                source[2],
                to.thread_id,
                scope.user,
                hash.as_slice(),
                key_id,
                id.0,
                task_id,
                idx,
            ])?;
        }
    }
    Ok(versions.len())
}
