//! Copying a thread, row by row inside the database.

use mnemon_core::Error;
use mnemon_core::scope::Admitted;
use rusqlite::{Connection, params};

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
    }
}

/// Copies a thread under a new id; how many checkpoints.
pub(super) fn copy(conn: &Connection, scope: &Admitted<'_>, from: &str, to: &str) -> Done<u64> {
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
        let rows = params![scope.tenant, from, namespace, to, scope.user];
        copied += conn.prepare_cached(sql::CHECKPOINTS)?.execute(rows)?;
        conn.prepare_cached(sql::WRITES)?.execute(rows)?;
        conn.prepare_cached(sql::CHUNKS)?.execute(rows)?;
    }
    Ok(copied as u64)
}
