//! Pending writes: kept beside the checkpoint they build on while its row is held, so that none is
//! left when it goes.

use std::collections::HashSet;

use mnemon_core::checkpoints::pack::Packed;
use mnemon_core::checkpoints::{PutWrites, place};
use mnemon_core::locks::Guard;
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Fence, Result};
use sqlx::postgres::PgConnection;
use sqlx::query;

use super::put::Columns;
use crate::error::Fault;

/// Keeps what a task has done, inside the caller's transaction.
pub(crate) async fn put(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<PutWrites>,
    guards: &[Guard],
) -> Result<(), Fault> {
    let given = packed.given();
    let owner = hold(conn, scope, packed, guards).await?;
    let blobs = packed.blobs(&HashSet::new())?;
    let blobs = Columns::of(&blobs);
    query!(
        r#"
        insert into mnemon.checkpoint_chunks
            (tenant, thread_id, namespace, hash, user_id, codec, bytes, key_id)
        select $1, $2, $3, g.hash, $4, g.codec, g.bytes, $8
        from unnest($5::bytea[], $6::int2[], $7::bytea[]) as g (hash, codec, bytes)
        on conflict (tenant, thread_id, namespace, hash) do nothing
        "#,
        scope.tenant,
        given.thread.thread_id,
        given.thread.namespace,
        owner,
        &blobs.keys as &[&[u8]],
        &blobs.codecs,
        &blobs.bytes as &[&[u8]],
        packed.key_id(),
    )
    .execute(&mut *conn)
    .await?;
    insert(conn, scope, packed, owner.as_deref()).await
}

/// Holds the thread and the checkpoint against removal; whose they are. Tasks of one superstep do
/// not wait for each other.
async fn hold(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<PutWrites>,
    guards: &[Guard],
) -> Result<Option<String>, Fault> {
    let given = packed.given();
    let held = query!(
        r#"
        select t.user_id, t.fence_key, t.fence, c.key_id
        from mnemon.threads t
        join mnemon.checkpoints c
          on c.tenant = t.tenant and c.thread_id = t.thread_id and c.namespace = t.namespace
        where t.tenant = $1 and t.thread_id = $2 and t.namespace = $3 and c.id = $4
          and ($5::text is null or t.user_id is null or t.user_id = $5)
        for key share of t, c
        "#,
        scope.tenant,
        given.thread.thread_id,
        given.thread.namespace,
        given.checkpoint.0,
        scope.user,
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found("checkpoint", &given.checkpoint))?;
    let standing = held.fence_key.zip(held.fence);
    let standing = standing.map(|(key, fence)| Guard { key, fence: Fence(fence) });
    place::fence(standing.as_ref(), guards)?;
    packed.check_base(held.key_id.as_deref())?;
    Ok(held.user_id)
}

async fn insert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<PutWrites>,
    owner: Option<&str>,
) -> Result<(), Fault> {
    let given = packed.given();
    let rows = packed.rows()?;
    let places: Vec<i32> = rows.iter().map(|row| row.idx).collect();
    let channels: Vec<String> = rows.iter().map(|row| row.channel.to_owned()).collect();
    let tags: Vec<String> = rows.iter().map(|row| row.type_tag.to_owned()).collect();
    let keys: Vec<&[u8]> = rows.iter().map(|row| row.key.as_slice()).collect();
    let sizes: Vec<i64> = rows.iter().map(|row| row.size).collect();
    query!(
        r#"
        insert into mnemon.checkpoint_writes as w
            (tenant, thread_id, namespace, checkpoint_id, task_id, task_path, user_id, run_id, idx,
             channel, type_tag, hash, size, written_at, key_id)
        select $1, $2, $3, $4, $5, $6, $7, $8, g.idx, g.channel, g.type_tag, g.hash, g.size, n.at,
               $14
        from (select mnemon.now() as at) n,
             unnest($9::int4[], $10::text[], $11::text[], $12::bytea[], $13::int8[])
                 as g (idx, channel, type_tag, hash, size)
        on conflict (tenant, thread_id, namespace, checkpoint_id, task_id, idx) do update
        set task_path = excluded.task_path, channel = excluded.channel,
            type_tag = excluded.type_tag, hash = excluded.hash, size = excluded.size,
            run_id = excluded.run_id, written_at = excluded.written_at,
            key_id = excluded.key_id
        where w.idx < 0
        "#,
        scope.tenant,
        given.thread.thread_id,
        given.thread.namespace,
        given.checkpoint.0,
        given.task_id,
        given.task_path,
        owner,
        scope.run,
        &places,
        &channels,
        &tags,
        &keys as &[&[u8]],
        &sizes,
        packed.key_id(),
    )
    .execute(conn)
    .await?;
    Ok(())
}
