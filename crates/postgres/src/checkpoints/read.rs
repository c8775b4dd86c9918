//! Reading a checkpoint: everything of it in one round trip.

use chrono::{DateTime, Utc};
use mnemon_core::checkpoints::manifest::Manifest;
use mnemon_core::checkpoints::pack::{Blobs, Key, Stored};
use mnemon_core::checkpoints::seal::{AtRest, Bound, Context, Opener, Sealing};
use mnemon_core::checkpoints::{
    Checkpoint, CheckpointId, CheckpointInfo, PendingWrite, Thread, writes,
};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Result};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};

use super::put::MANIFEST;
use crate::error::Fault;
use crate::row;

/// Which checkpoint of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which<'a> {
    Newest,
    Id(&'a CheckpointId),
    Version(i64),
}

impl Which<'_> {
    fn not_found(self, thread: &Thread) -> Error {
        match self {
            Self::Newest => Error::not_found("thread", thread),
            Self::Id(id) => Error::not_found("checkpoint", id),
            Self::Version(version) => {
                Error::not_found("checkpoint", format!("version {version} of {thread}"))
            }
        }
    }
}

/// A checkpoint with its channels and pending writes. Another user's thread is not found.
pub(super) async fn get(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    sealing: &Sealing,
    thread: &Thread,
    which: Which<'_>,
) -> Result<Checkpoint, Fault> {
    let id = match which {
        Which::Newest => None,
        Which::Id(id) => Some(id.0.clone()),
        Which::Version(version) => {
            let id = of_version(conn, scope, thread, version).await?;
            Some(id.ok_or_else(|| which.not_found(thread))?)
        }
    };
    // Most checkpoints have one value in one part and no pending writes: that is one row of four
    // lookups. What others have more is read by functions, in the same round trip.
    let found = query_as!(
        Found,
        r#"
        select c.id, c.parent_id, c.version, c.superstep, c.metadata, c.run_id, c.created_at,
               c.manifest, c.key_id, c.sealed,
               k.hash as "hash?", k.codec as "codec?", k.bytes as "bytes?",
               case when w.there or k.codec = 2 or cardinality(c.hashes) > 1 or c.hashes is null
                   then mnemon.checkpoint_values($1, $2, $3, c.id, c.hashes, c.manifest, k.hash)
               end as "more?: Vec<Vec<u8>>",
               case when w.there then mnemon.checkpoint_pending($1, $2, $3, c.id)
               end as "writes?"
        -- The id is asked for first: as a join, a server that knows no statistics yet would read
        -- every checkpoint of the thread and compare.
        from mnemon.checkpoints c
        left join lateral (
            select k.hash, k.codec, k.bytes
            from mnemon.checkpoint_chunks k
            where k.tenant = $1 and k.thread_id = $2 and k.namespace = $3 and k.hash = c.hashes[1]
            limit 1) k on true
        left join lateral (
            select true as there
            from mnemon.checkpoint_writes w
            where w.tenant = $1 and w.thread_id = $2 and w.namespace = $3
              and w.checkpoint_id = c.id
            limit 1) w on true
        where c.tenant = $1 and c.thread_id = $2 and c.namespace = $3
          and c.id = (
              select coalesce($4, t.head_id)
              from mnemon.threads t
              where t.tenant = $1 and t.thread_id = $2 and t.namespace = $3
                and ($5::text is null or t.user_id is null or t.user_id = $5))
        "#,
        scope.tenant,
        thread.thread_id,
        thread.namespace,
        id,
        scope.user,
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| which.not_found(thread))?;
    Ok(found.checkpoint(sealing, scope.tenant, thread)?)
}

/// A checkpoint with everything of it, as one row.
struct Found {
    id: String,
    parent_id: Option<String>,
    version: i64,
    superstep: Option<i64>,
    metadata: Value,
    run_id: Option<String>,
    created_at: DateTime<Utc>,
    manifest: Value,
    key_id: Option<String>,
    sealed: Option<Vec<u8>>,
    /// The first value's blob.
    hash: Option<Vec<u8>>,
    codec: Option<i16>,
    bytes: Option<Vec<u8>>,
    /// The others: hash, codec and bytes after one another.
    more: Option<Vec<Vec<u8>>>,
    writes: Option<Value>,
}

impl Found {
    fn blobs(&mut self, thread: &Thread) -> Result<Blobs> {
        let mut blobs = Blobs::default();
        if let (Some(hash), Some(codec), Some(bytes)) =
            (self.hash.take(), self.codec, self.bytes.take())
        {
            blobs.add(thread, &hash, codec.into(), bytes)?;
        }
        for row in self.more.take().iter().flatten() {
            let (hash, rest) = row.split_at_checked(32).ok_or_else(|| cut_short(thread))?;
            let (codec, bytes) = rest.split_first_chunk::<2>().ok_or_else(|| cut_short(thread))?;
            blobs.add(thread, hash, i16::from_be_bytes(*codec).into(), bytes.to_vec())?;
        }
        Ok(blobs)
    }

    fn checkpoint(
        mut self,
        sealing: &Sealing,
        tenant: &str,
        thread: &Thread,
    ) -> Result<Checkpoint> {
        let blobs = self.blobs(thread)?;
        let manifest: Manifest = row::json(self.manifest, MANIFEST)?;
        let opener = &sealing.opener(tenant, thread);
        let bound = Bound {
            id: &self.id,
            parent: self.parent_id.as_deref(),
            version: self.version,
            superstep: self.superstep,
            manifest: &manifest,
        };
        let at_rest = AtRest { metadata: self.metadata, sealed: self.sealed, key_id: self.key_id };
        let metadata = opener.metadata(at_rest, &bound)?;
        let pending = match self.writes {
            Some(writes) => {
                pending(opener, &self.id, row::json(writes, "a checkpoint's writes")?, &blobs)?
            }
            None => Vec::new(),
        };
        let info = CheckpointInfo {
            thread: thread.clone(),
            id: CheckpointId(self.id),
            parent: self.parent_id.map(CheckpointId),
            version: self.version,
            superstep: self.superstep,
            metadata,
            run: self.run_id,
            created_at: self.created_at,
        };
        info.with(&manifest, &blobs, opener, pending)
    }
}

async fn of_version(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    thread: &Thread,
    version: i64,
) -> Result<Option<String>, Fault> {
    Ok(query_scalar!(
        "select id from mnemon.checkpoints
         where tenant = $1 and thread_id = $2 and namespace = $3 and version = $4",
        scope.tenant,
        thread.thread_id,
        thread.namespace,
        version,
    )
    .fetch_optional(conn)
    .await?)
}

fn cut_short(thread: &Thread) -> Error {
    Error::corrupt(format!("a value of thread {thread}"), "its row is cut short")
}

/// Values with their parts.
pub(super) async fn blobs(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    thread: &Thread,
    keys: &[Key],
) -> Result<Blobs, Fault> {
    let keys: Vec<&[u8]> = keys.iter().map(<[u8; 32]>::as_slice).collect();
    let rows = query!(
        r#"
        with named as materialized (
            select k.hash, k.codec, k.bytes
            from mnemon.checkpoint_chunks k
            where k.tenant = $1 and k.thread_id = $2 and k.namespace = $3 and k.hash = any ($4)
        )
        select n.hash as "hash!", n.codec as "codec!", n.bytes as "bytes!" from named n
        union all
        select k.hash, k.codec, k.bytes
        from mnemon.checkpoint_chunks k
        where k.tenant = $1 and k.thread_id = $2 and k.namespace = $3
          and k.hash = any (array(
              select substring(n.bytes from at for 32)
              from named n, generate_series(1, octet_length(n.bytes), 32) as at
              where n.codec = 2))
        "#,
        scope.tenant,
        thread.thread_id,
        thread.namespace,
        &keys as &[&[u8]],
    )
    .fetch_all(conn)
    .await?;
    let mut blobs = Blobs::default();
    for row in rows {
        blobs.add(thread, &row.hash, row.codec.into(), row.bytes)?;
    }
    Ok(blobs)
}

/// A pending write as the statement gives it.
#[derive(serde::Deserialize)]
struct Write {
    task_path: String,
    task_id: String,
    idx: i32,
    channel: String,
    type_tag: String,
    hash: String,
    size: usize,
    key_id: Option<String>,
}

fn pending(
    opener: &Opener<'_>,
    checkpoint: &str,
    found: Vec<Write>,
    blobs: &Blobs,
) -> Result<Vec<PendingWrite>> {
    let mut pending = Vec::with_capacity(found.len());
    for Write { task_path, task_id, idx, channel, type_tag, hash, size, key_id } in found {
        let context = Context::write(checkpoint, &task_id, idx, &channel);
        let stored = Stored { type_tag, hash, size, key_id };
        let value = blobs.value(&stored, opener, &context, &channel)?;
        pending.push(PendingWrite { task_path, task_id, idx, channel, value });
    }
    writes::sort(&mut pending);
    Ok(pending)
}
