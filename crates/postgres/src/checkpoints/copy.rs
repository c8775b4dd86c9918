//! Copying a thread, row by row inside the database.

use std::collections::HashSet;

use mnemon_core::checkpoints::Thread;
use mnemon_core::checkpoints::moved::Moved;
use mnemon_core::checkpoints::seal::Sealing;
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Result};
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};

use super::put::Columns;
use super::read;
use crate::error::Fault;

/// Copies a thread under a new id, inside the caller's transaction; how many checkpoints.
pub(super) async fn copy(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    sealing: &Sealing,
    from: &str,
    to: &str,
) -> Result<u64, Fault> {
    // Nothing of it is removed while it is copied; writers wait.
    let namespaces = query_scalar!(
        r#"
        select namespace from mnemon.threads
        where tenant = $1 and thread_id = $2
          and ($3::text is null or user_id is null or user_id = $3)
        order by namespace
        for share
        "#,
        scope.tenant,
        from,
        scope.user,
    )
    .fetch_all(&mut *conn)
    .await?;
    if namespaces.is_empty() {
        return Err(Error::not_found("thread", from).into());
    }
    let taken = query_scalar!(
        r#"select exists (select from mnemon.threads where tenant = $1 and thread_id = $2) as "taken!""#,
        scope.tenant,
        to,
    )
    .fetch_one(&mut *conn)
    .await?;
    let made = query!(
        r#"
        insert into mnemon.threads
            (tenant, thread_id, namespace, user_id, agent_id, session_id, head_id, version, ttl,
             active_at, expires_at, created_at)
        select $1, $3, t.namespace, coalesce($4, t.user_id), $5, $6, t.head_id, t.version, t.ttl,
               c.at, c.at + (t.expires_at - t.active_at), c.at
        from (select mnemon.now() as at) c, mnemon.threads t
        where t.tenant = $1 and t.thread_id = $2 and t.namespace = any ($7)
        order by t.namespace
        on conflict (tenant, thread_id, namespace) do nothing
        "#,
        scope.tenant,
        from,
        to,
        scope.user,
        scope.agent,
        scope.session,
        &namespaces,
    )
    .execute(&mut *conn)
    .await?;
    if taken || made.rows_affected() < namespaces.len() as u64 {
        return Err(Error::AlreadyExists { kind: "thread", key: to.to_owned() }.into());
    }
    if sealing.is_on() {
        return anew(conn, scope, sealing, from, to, &namespaces).await;
    }
    let sealed = query_scalar!(
        r#"
        select key_id as "key_id!" from mnemon.checkpoints
        where tenant = $1 and thread_id = $2 and namespace = any ($3) and key_id is not null
        limit 1
        "#,
        scope.tenant,
        from,
        &namespaces,
    )
    .fetch_optional(&mut *conn)
    .await?;
    // Refused: it could not be opened in its new place.
    sealing.opener(scope.tenant, &Thread::new(from)).seal(sealed.as_deref())?;
    rows(conn, scope, from, to, &namespaces).await
}

/// Copies what is encrypted: it is bound to its place, so each checkpoint is opened and closed anew.
async fn anew(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    sealing: &Sealing,
    from: &str,
    to: &str,
    namespaces: &[String],
) -> Result<u64, Fault> {
    let mut copied = 0;
    for namespace in namespaces {
        let (from, to) =
            (Thread::new(from).namespace(namespace), Thread::new(to).namespace(namespace));
        let versions = query_scalar!(
            "select version from mnemon.checkpoints
             where tenant = $1 and thread_id = $2 and namespace = $3 order by version",
            scope.tenant,
            from.thread_id,
            from.namespace,
        )
        .fetch_all(&mut *conn)
        .await?;
        for version in versions {
            let which = read::Which::Version(version);
            let checkpoint = read::get(conn, scope, sealing, &from, which).await?;
            let moved = Moved::of(checkpoint, &to, sealing, scope.tenant)?;
            one(conn, scope, &from, version, &moved).await?;
            copied += 1;
        }
    }
    Ok(copied)
}

/// Writes one checkpoint with its values and pending writes beside the one it is a copy of.
async fn one(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    from: &Thread,
    version: i64,
    moved: &Moved,
) -> Result<(), Fault> {
    let to = &moved.packed.given().thread;
    let manifest = serde_json::to_value(&moved.manifest).expect("a manifest is JSON");
    query!(
        r#"
        insert into mnemon.checkpoints
            (tenant, thread_id, namespace, version, id, parent_id, superstep, user_id, agent_id,
             session_id, run_id, created_at, metadata, manifest, key_id, sealed)
        select $1, $5, namespace, version, id, parent_id, superstep, coalesce($6, user_id),
               agent_id, session_id, run_id, created_at, $7, $8, $9, $10
        from mnemon.checkpoints
        where tenant = $1 and thread_id = $2 and namespace = $3 and version = $4
        "#,
        scope.tenant,
        from.thread_id,
        from.namespace,
        version,
        to.thread_id,
        scope.user,
        moved.at_rest.metadata,
        manifest,
        moved.at_rest.key_id,
        moved.at_rest.sealed,
    )
    .execute(&mut *conn)
    .await?;
    let nothing = HashSet::new();
    let mut blobs = moved.packed.blobs(&nothing)?;
    blobs.extend(moved.writes.blobs(&nothing)?);
    let blobs = Columns::of(&blobs);
    query!(
        r#"
        insert into mnemon.checkpoint_chunks
            (tenant, thread_id, namespace, hash, user_id, codec, bytes, key_id)
        select $1, $2, $3, g.hash, t.user_id, g.codec, g.bytes, $7
        from unnest($4::bytea[], $5::int2[], $6::bytea[]) as g (hash, codec, bytes),
             mnemon.threads t
        where t.tenant = $1 and t.thread_id = $2 and t.namespace = $3
        on conflict (tenant, thread_id, namespace, hash) do nothing
        "#,
        scope.tenant,
        to.thread_id,
        to.namespace,
        &blobs.keys as &[&[u8]],
        &blobs.codecs,
        &blobs.bytes as &[&[u8]],
        moved.at_rest.key_id,
    )
    .execute(&mut *conn)
    .await?;
    for (task_id, idx, key) in moved.writes.rows()? {
        query!(
            r#"
            insert into mnemon.checkpoint_writes
                (tenant, thread_id, namespace, checkpoint_id, task_id, idx, task_path, channel,
                 type_tag, hash, size, user_id, run_id, written_at, key_id)
            select $1, $7, w.namespace, w.checkpoint_id, w.task_id, w.idx, w.task_path, w.channel,
                   w.type_tag, $8, w.size, coalesce($9, w.user_id), w.run_id, w.written_at, $10
            from mnemon.checkpoint_writes w
            where w.tenant = $1 and w.thread_id = $2 and w.namespace = $3 and w.task_id = $4
              and w.idx = $5 and w.checkpoint_id = (
                  select c.id from mnemon.checkpoints c
                  where c.tenant = $1 and c.thread_id = $2 and c.namespace = $3 and c.version = $6)
            "#,
            scope.tenant,
            from.thread_id,
            from.namespace,
            task_id,
            idx,
            version,
            to.thread_id,
            key.as_slice(),
            scope.user,
            moved.at_rest.key_id,
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

async fn rows(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    from: &str,
    to: &str,
    namespaces: &[String],
) -> Result<u64, Fault> {
    let copied = query!(
        r#"
        insert into mnemon.checkpoints
            (tenant, thread_id, namespace, version, id, parent_id, superstep, user_id, agent_id,
             session_id, run_id, created_at, metadata, manifest, hashes)
        select $1, $3, namespace, version, id, parent_id, superstep, coalesce($4, user_id),
               agent_id, session_id, run_id, created_at, metadata, manifest, hashes
        from mnemon.checkpoints
        where tenant = $1 and thread_id = $2 and namespace = any ($5)
        "#,
        scope.tenant,
        from,
        to,
        scope.user,
        namespaces,
    )
    .execute(&mut *conn)
    .await?;
    query!(
        r#"
        insert into mnemon.checkpoint_writes
            (tenant, thread_id, namespace, checkpoint_id, task_id, idx, task_path, channel,
             type_tag, hash, size, user_id, run_id, written_at)
        select $1, $3, namespace, checkpoint_id, task_id, idx, task_path, channel, type_tag, hash,
               size, coalesce($4, user_id), run_id, written_at
        from mnemon.checkpoint_writes
        where tenant = $1 and thread_id = $2 and namespace = any ($5)
        "#,
        scope.tenant,
        from,
        to,
        scope.user,
        namespaces,
    )
    .execute(&mut *conn)
    .await?;
    query!(
        r#"
        insert into mnemon.checkpoint_chunks
            (tenant, thread_id, namespace, hash, user_id, codec, bytes)
        select $1, $3, namespace, hash, coalesce($4, user_id), codec, bytes
        from mnemon.checkpoint_chunks
        where tenant = $1 and thread_id = $2 and namespace = any ($5)
        "#,
        scope.tenant,
        from,
        to,
        scope.user,
        namespaces,
    )
    .execute(conn)
    .await?;
    Ok(copied.rows_affected())
}
