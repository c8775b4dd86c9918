//! Putting a checkpoint without a transaction around it: one statement looks, core decides, one
//! statement writes if the thread is still as it was seen. Where this process wrote last, nobody
//! looks.

use std::collections::HashSet;

use mnemon_core::checkpoints::pack::Packed;
use mnemon_core::checkpoints::place::{Plan, Standing, plan};
use mnemon_core::checkpoints::{CheckpointId, Placed, Put};
use mnemon_core::scope::Admitted;
use sqlx::postgres::PgConnection;
use sqlx::query;
use uuid::Uuid;

use super::heads::Seen;
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
) -> Result<Option<(Placed, Seen)>, Fault> {
    let seen = look(conn, scope, packed).await?;
    if seen.as_ref().is_some_and(|seen| is_stale(packed, seen)) {
        // What it inherits is under an older key, and must be read first.
        return Ok(None);
    }
    let standing = seen.as_ref().map(standing);
    let plan = plan(standing.as_ref(), packed, scope.user, &[], fresh)?;
    write(conn, scope, packed, id, plan, seen).await
}

/// Whether a put builds on what is known of its thread.
pub(super) fn continues(packed: &Packed<Put>, seen: &Seen) -> bool {
    let parent = packed.given().parent.as_ref();
    parent.is_none_or(|parent| parent.0 == seen.row.head_id) && !is_stale(packed, seen)
}

/// The same from what is known of the thread, without a look.
pub(super) async fn go_on(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<Put>,
    id: &CheckpointId,
    fresh: Uuid,
    seen: Seen,
) -> Result<Option<(Placed, Seen)>, Fault> {
    // A refusal must not come from what was true once.
    match plan(Some(&standing(&seen)), packed, scope.user, &[], fresh) {
        Ok(plan) => write(conn, scope, packed, id, plan, Some(seen)).await,
        Err(_) => Ok(None),
    }
}

/// The same inside the caller's transaction, which is sent again as a whole if at all: any id does.
pub(super) async fn go_on_within(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<Put>,
    seen: Seen,
) -> Result<Option<(Placed, Seen)>, Fault> {
    match plan(Some(&standing(&seen)), packed, scope.user, &[], Uuid::now_v7()) {
        Ok(plan) => {
            let id = plan.placed.id.clone();
            write(conn, scope, packed, &id, plan, Some(seen)).await
        }
        Err(_) => Ok(None),
    }
}

fn is_stale(packed: &Packed<Put>, seen: &Seen) -> bool {
    seen.manifest.as_ref().is_some_and(|manifest| !packed.stale(manifest).is_empty())
}

fn standing(seen: &Seen) -> Standing {
    let parent = seen.manifest.clone();
    let parent = parent.map(|manifest| Parent { manifest, key_id: seen.key_id.clone() });
    seen.row.clone().standing(parent)
}

/// Writes what was decided, and says how the thread stands then.
async fn write(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    packed: &Packed<Put>,
    id: &CheckpointId,
    plan: Plan,
    seen: Option<Seen>,
) -> Result<Option<(Placed, Seen)>, Fault> {
    if plan.placed.id != *id {
        // Raised above a head that another clock made: sent again it would not be recognised.
        return Ok(None);
    }
    let nothing = HashSet::new();
    let blobs = packed.blobs(seen.as_ref().map_or(&nothing, |seen| &seen.present))?;
    let stamp = match &seen {
        Some(seen) => follow(conn, scope, packed, &plan, &blobs, Some(&seen.stamp)).await?,
        None => start(conn, scope, packed, &plan, &blobs).await?,
    };
    let Some(stamp) = stamp else { return Ok(None) };
    let (owner, present) = match seen {
        Some(seen) => (seen.row.user_id, seen.present),
        None => (scope.user.map(str::to_owned), nothing),
    };
    Ok(Some(Seen::written(packed, plan, stamp, owner, present)))
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
    let Some(found) = found else { return Ok(None) };
    let manifest = found.manifest.map(|manifest| row::json(manifest, MANIFEST)).transpose()?;
    Ok(Some(Seen {
        row: Locked {
            head_id: found.head_id,
            version: found.version,
            user_id: found.user_id,
            fence_key: found.fence_key,
            fence: found.fence,
        },
        stamp: found.stamp,
        manifest,
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
