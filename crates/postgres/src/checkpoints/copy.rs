//! Copying a thread, row by row inside the database.

use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Result};
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};

use crate::error::Fault;

/// Copies a thread under a new id, inside the caller's transaction; how many checkpoints.
pub(super) async fn copy(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
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
    rows(conn, scope, from, to, &namespaces).await
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
             session_id, run_id, created_at, metadata, manifest)
        select $1, $3, namespace, version, id, parent_id, superstep, coalesce($4, user_id),
               agent_id, session_id, run_id, created_at, metadata, manifest
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
