//! Putting a checkpoint without a transaction around it: one statement looks, core decides, one
//! statement writes if the thread is still as it was seen.

use std::collections::HashSet;

use mnemon_core::checkpoints::pack::{Key, Packed};
use mnemon_core::checkpoints::place::plan;
use mnemon_core::checkpoints::{CheckpointId, Placed, Put};
use mnemon_core::scope::Admitted;
use sqlx::postgres::PgConnection;
use sqlx::query;
use uuid::Uuid;

use super::put::{Locked, MANIFEST, Parent, follow, start};
use crate::error::Fault;
use crate::row;

/// Puts the checkpoint under `id`, or writes nothing and answers `None`: somebody else wrote to the
/// thread meanwhile, or the id must be another one.
pub(super) async fn put(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<Put>,
    id: &CheckpointId,
    fresh: Uuid,
) -> Result<Option<Placed>, Fault> {
    let seen = look(conn, scope, packed).await?;
    let nothing = HashSet::new();
    let present = seen.as_ref().map_or(&nothing, |seen| &seen.present);
    let standing = match &seen {
        None => None,
        Some(seen) => {
            let manifest = seen.manifest.clone();
            let key_id = seen.key_id.clone();
            let parent = manifest
                .map(|manifest| row::json(manifest, MANIFEST))
                .transpose()?
                .map(|manifest| Parent { manifest, key_id });
            if parent.as_ref().is_some_and(|parent| !packed.stale(&parent.manifest).is_empty()) {
                // What it inherits is under an older key, and must be read first.
                return Ok(None);
            }
            Some(seen.row.clone().standing(parent))
        }
    };
    let plan = plan(standing.as_ref(), packed, scope.user, &[], fresh)?;
    if plan.placed.id != *id {
        // Raised above a head that another clock made: sent again it would not be recognised.
        return Ok(None);
    }
    let blobs = packed.blobs(present)?;
    let written = match &seen {
        Some(seen) => follow(conn, scope, packed, &plan, &blobs, Some(&seen.stamp)).await?,
        None => start(conn, scope, packed, &plan, &blobs).await?,
    };
    Ok(written.then_some(plan.placed))
}

/// A thread as it was seen.
struct Seen {
    row: Locked,
    /// Another one as soon as anybody writes to the thread's row, which every put, removal and
    /// setting does: nothing that was seen is gone while it stands.
    stamp: String,
    manifest: Option<serde_json::Value>,
    key_id: Option<String>,
    present: HashSet<Key>,
}

/// The thread, its head's or the parent's manifest, and of the values that change what the parent
/// has of them already. Parts that only older checkpoints have are written again, and are found
/// to be there.
async fn look(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<Put>,
) -> Result<Option<Seen>, Fault> {
    let put = packed.given();
    let changed: Vec<String> = put.channels.keys().cloned().collect();
    let found = query!(
        r#"
        select t.head_id, t.version, t.user_id, t.fence_key, t.fence, t.xmin::text as "stamp!",
               c.manifest as "manifest?", c.key_id as "key_id?",
               array(select k.hash || case when k.codec = 2 then k.bytes else '' end
                     from mnemon.checkpoint_chunks k
                     where k.tenant = $1 and k.thread_id = $2 and k.namespace = $3
                       and k.hash = any (array(
                           select decode(c.manifest -> n.name ->> 'hash', 'hex')
                           from unnest($5::text[]) as n (name)))) as "present!"
        from mnemon.threads t
        -- The limit keeps it apart: as a plain join it could read the whole thread.
        left join lateral (
            select p.manifest, p.key_id
            from mnemon.checkpoints p
            where p.tenant = $1 and p.thread_id = $2 and p.namespace = $3
              and p.id = coalesce($4, t.head_id)
            limit 1) c on true
        where t.tenant = $1 and t.thread_id = $2 and t.namespace = $3
        "#,
        scope.tenant,
        put.thread.thread_id,
        put.thread.namespace,
        put.parent.as_ref().map(|parent| parent.0.as_str()),
        &changed,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|found| Seen {
        row: Locked {
            head_id: found.head_id,
            version: found.version,
            user_id: found.user_id,
            fence_key: found.fence_key,
            fence: found.fence,
        },
        stamp: found.stamp,
        manifest: found.manifest,
        key_id: found.key_id,
        present: found.present.iter().flat_map(|keys| keys.as_chunks::<32>().0).copied().collect(),
    }))
}

/// What a put has become whose answer was lost: its checkpoint, where it stands. A generated id is
/// nobody else's; one of the caller's is this put's when it holds what this put says.
pub(super) async fn landed(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<Put>,
    id: &CheckpointId,
) -> Result<Option<Placed>, Fault> {
    let put = packed.given();
    let found = query!(
        r#"
        select c.version, c.parent_id, c.metadata, c.manifest, c.key_id
        from mnemon.checkpoints c
        where c.tenant = $1 and c.thread_id = $2 and c.namespace = $3 and c.id = $4
          and ($5::text is null or c.user_id is null or c.user_id = $5)
        "#,
        scope.tenant,
        put.thread.thread_id,
        put.thread.namespace,
        id.0,
        scope.user,
    )
    .fetch_optional(conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let manifest = row::json(found.manifest, MANIFEST)?;
    // Encrypted metadata is not read for this: the keys of the values tell as much.
    let says = found.key_id.is_some() || found.metadata == put.metadata;
    let ours = put.id.is_none() || (says && packed.is_in(&manifest));
    Ok(ours.then(|| Placed {
        id: id.clone(),
        parent: found.parent_id.map(CheckpointId),
        version: found.version,
    }))
}
