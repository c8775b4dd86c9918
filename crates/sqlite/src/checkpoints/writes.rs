//! Pending writes: kept beside the checkpoint they build on.

use std::collections::HashSet;

use mnemon_core::Error;
use mnemon_core::checkpoints::pack::Packed;
use mnemon_core::checkpoints::{PutWrites, place};
use mnemon_core::locks::Guard;
use mnemon_core::scope::Admitted;
use rusqlite::{Connection, params};

use super::put::{guard, keep, key};
use crate::error::Done;
use crate::open::now;

pub(crate) mod sql {
    crate::sql::statements! {
        HOLD = "select t.user_id, t.fence_key, t.fence, c.key_id from threads t join checkpoints c \
            on c.tenant = t.tenant and c.thread_id = t.thread_id and c.namespace = t.namespace \
            where t.tenant = ?1 and t.thread_id = ?2 and t.namespace = ?3 and c.id = ?4 \
            and (?5 is null or t.user_id is null or t.user_id = ?5)";
        INSERT = "insert into checkpoint_writes (tenant, thread_id, namespace, checkpoint_id, \
            task_id, idx, task_path, channel, type_tag, hash, size, user_id, run_id, written_at, \
            key_id) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) \
            on conflict (tenant, thread_id, namespace, checkpoint_id, task_id, idx) do update \
            set task_path = excluded.task_path, channel = excluded.channel, \
            type_tag = excluded.type_tag, hash = excluded.hash, size = excluded.size, \
            run_id = excluded.run_id, written_at = excluded.written_at, key_id = excluded.key_id \
            where checkpoint_writes.idx < 0";
    }
}

/// Keeps what a task has done.
pub(crate) fn put(
    conn: &Connection,
    scope: &Admitted<'_>,
    packed: &Packed<PutWrites>,
    guards: &[Guard],
) -> Done<()> {
    let given = packed.given();
    let key = key(scope, &given.thread);
    let owner = hold(conn, scope, packed, guards)?;
    let blobs = packed.blobs(&HashSet::new())?;
    keep(conn, key, owner.as_deref(), &blobs, packed.key_id())?;
    let now = now(conn)?;
    let mut statement = conn.prepare_cached(sql::INSERT)?;
    for row in packed.rows()? {
        statement.execute(params![
            key[0],
            key[1],
            key[2],
            given.checkpoint.0,
            given.task_id,
            row.idx,
            given.task_path,
            row.channel,
            row.type_tag,
            row.key.as_slice(),
            row.size,
            owner,
            scope.run,
            now,
            packed.key_id(),
        ])?;
    }
    Ok(())
}

/// Whose the checkpoint is, if this caller may write on top of it.
fn hold(
    conn: &Connection,
    scope: &Admitted<'_>,
    packed: &Packed<PutWrites>,
    guards: &[Guard],
) -> Done<Option<String>> {
    let given = packed.given();
    let key = key(scope, &given.thread);
    let mut statement = conn.prepare_cached(sql::HOLD)?;
    let mut rows =
        statement.query(params![key[0], key[1], key[2], given.checkpoint.0, scope.user])?;
    let Some(row) = rows.next()? else {
        return Err(Error::not_found("checkpoint", &given.checkpoint).into());
    };
    place::fence(guard(row, 1)?.as_ref(), guards)?;
    packed.check_base(row.get::<_, Option<String>>(3)?.as_deref())?;
    Ok(row.get(0)?)
}
