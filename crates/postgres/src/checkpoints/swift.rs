//! Putting a checkpoint of short values in one statement, without a transaction around it.
//!
//! What it decides is `place::plan` as far as that says yes: a thread that is there and nobody's
//! fenced, the expected head, an id above it, a parent that is there and not encrypted. Whatever else it finds, it
//! writes nothing, and the put goes the long way, where core decides and says why.

use mnemon_core::checkpoints::pack::Packed;
use mnemon_core::checkpoints::{CheckpointId, ExpectedHead, Placed, Put};
use mnemon_core::limits;
use mnemon_core::scope::Admitted;
use serde_json::{Map, Value};
use sqlx::postgres::PgConnection;
use sqlx::query;

use super::heads::Seen;
use super::put::{Columns, Locked, MANIFEST};
use crate::error::Fault;
use crate::row;

/// Whether one statement may do.
pub(super) fn suits(packed: &Packed<Put>) -> bool {
    // What encrypted metadata is bound to is known only when the manifest is.
    !packed.is_cut()
        && packed.key_id().is_none()
        && packed.given().expected_head != ExpectedHead::Empty
}

/// The changed channels as a manifest has them, but for their versions.
fn contents(packed: &Packed<Put>) -> Value {
    let entry = |(name, content): (&String, _)| {
        (name.clone(), serde_json::to_value(content).expect("a manifest is JSON"))
    };
    packed.contents().map(entry).collect::<Map<_, _>>().into()
}

/// Puts the checkpoint under `id`, or writes nothing and answers `None`.
#[expect(clippy::too_many_lines, reason = "it is one statement")]
pub(super) async fn put(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<Put>,
    id: &CheckpointId,
) -> Result<Option<(Placed, Seen)>, Fault> {
    let put = packed.given();
    let expected = match &put.expected_head {
        ExpectedHead::Is(head) => Some(head.0.as_str()),
        ExpectedHead::Any | ExpectedHead::Empty => None,
    };
    let blobs = packed.blobs(&std::collections::HashSet::new())?;
    let blobs = Columns::of(&blobs);
    let removed: Vec<String> = put.removed.iter().cloned().collect();
    let changed: Vec<String> = put.channels.keys().cloned().collect();
    let versions = put.channel_versions.as_ref();
    let versions = versions.map(|all| serde_json::to_value(all).expect("versions are JSON"));
    let placed = query!(
        r#"
        with stand as materialized (
            select t.xmin as stamp, c.id as parent, c.manifest, mnemon.now() as at
            from mnemon.threads t
            left join lateral (
                -- The limit keeps it apart: as a plain join it could read the whole thread.
                select p.id, p.manifest, p.key_id
                from mnemon.checkpoints p
                where p.tenant = $1 and p.thread_id = $2 and p.namespace = $3
                  and p.id = coalesce($4, t.head_id) and not $5
                limit 1) c on true
            where t.tenant = $1 and t.thread_id = $2 and t.namespace = $3
              and t.fence_key is null
              and ($6::text is null or t.user_id is null or t.user_id = $6)
              and ($7::text is null or t.head_id = $7)
              and t.head_id < $8
              and ($5 or c.id is not null)
              and c.key_id is null
        ), head as (
            -- A row that somebody changed meanwhile has another stamp: nothing is written.
            update mnemon.threads t
            set head_id = $8, version = t.version + 1,
                ttl = coalesce($9, t.ttl),
                active_at = case when s.at - t.active_at >= make_interval(secs => $10)
                            then s.at else t.active_at end,
                expires_at = case
                    when $9::float8 is not null then s.at + make_interval(secs => $9 + $10)
                    when s.at - t.active_at >= make_interval(secs => $10)
                        then s.at + make_interval(secs => t.ttl + $10)
                    else t.expires_at end
            from stand s
            where t.tenant = $1 and t.thread_id = $2 and t.namespace = $3 and t.xmin = s.stamp
            returning t.user_id, t.version, s.at, s.parent, coalesce(s.manifest, '{}') as manifest,
                      t.xmin::text as stamp
        ), kept as (
            insert into mnemon.checkpoint_chunks
                (tenant, thread_id, namespace, hash, user_id, codec, bytes)
            select $1, $2, $3, g.hash, h.user_id, g.codec, g.bytes
            from head h, unnest($11::bytea[], $12::int2[], $13::bytea[]) as g (hash, codec, bytes)
            on conflict (tenant, thread_id, namespace, hash) do nothing
        )
        insert into mnemon.checkpoints
            (tenant, thread_id, namespace, version, id, parent_id, superstep, user_id, agent_id,
             session_id, run_id, created_at, metadata, hashes, manifest)
        select $1, $2, $3, h.version, $8, h.parent, $14, h.user_id, $15, $16, $17, h.at, $18,
               -- Where nothing is inherited they are those that travel; else they are looked up.
               case when h.manifest - $20::text[] - $22::text[] = '{}' then $11 end,
               case when $19::jsonb is null then
                   (h.manifest - $20::text[]) || coalesce((
                       select jsonb_object_agg(e.key, e.value || jsonb_build_object('version',
                           case when jsonb_typeof(h.manifest -> e.key -> 'version') = 'number'
                                then least((h.manifest -> e.key ->> 'version')::numeric + 1,
                                           9223372036854775807)
                                else 1 end))
                       from jsonb_each($21::jsonb) e), '{}')
               else
                   coalesce((
                       select jsonb_object_agg(v.key, case
                           when $21 ? v.key
                               then ($21 -> v.key) || jsonb_build_object('version', v.value)
                           when h.manifest -> v.key -> 'version' = v.value
                               then h.manifest -> v.key
                           else jsonb_build_object('version', v.value) end)
                       from jsonb_each($19) v), '{}')
               end
        from head h
        returning version, parent_id, user_id, manifest,
                  (select h.stamp from head h) as "stamp!"
        "#,
        scope.tenant,
        put.thread.thread_id,
        put.thread.namespace,
        put.parent.as_ref().map(|parent| parent.0.as_str()),
        put.root,
        scope.user,
        expected,
        id.0,
        put.ttl.map(|ttl| ttl.as_secs_f64()),
        limits::ACTIVE_EVERY.as_secs_f64(),
        &blobs.keys as &[&[u8]],
        &blobs.codecs,
        &blobs.bytes as &[&[u8]],
        put.superstep,
        scope.agent,
        scope.session,
        scope.run,
        put.metadata,
        versions,
        &removed,
        contents(packed),
        &changed,
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = placed else { return Ok(None) };
    let parent = row.parent_id.map(CheckpointId);
    let placed = Placed { id: id.clone(), parent, version: row.version };
    let seen = Seen {
        row: Locked::written(&placed, row.user_id, None),
        stamp: row.stamp,
        manifest: Some(row::json(row.manifest, MANIFEST)?),
        key_id: None,
        present: packed.keys().into_iter().collect(),
    };
    Ok(Some((placed, seen)))
}
