//! Reading checkpoints: one with everything of it in one round trip, lists in pages.

use chrono::{DateTime, Utc};
use mnemon_core::checkpoints::manifest::Manifest;
use mnemon_core::checkpoints::pack::{Blobs, Key, Stored};
use mnemon_core::checkpoints::seal::{AtRest, Bound, Context, Opener, Sealing};
use mnemon_core::checkpoints::thread::Place;
use mnemon_core::checkpoints::{
    Checkpoint, CheckpointFilter, CheckpointId, CheckpointInfo, PendingWrite, Thread, ThreadFilter,
    ThreadInfo, writes,
};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Page, Paged, Result, limits};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};

use super::put::MANIFEST;
use crate::error::Fault;
use crate::row;

/// The lists that cursors of this facet belong to.
const LIST: &str = "checkpoints";
const THREADS: &str = "threads";

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
    // Most checkpoints have one value in one part: it comes by a join, and everything that would
    // have to be gathered is gathered only where there is more.
    let found = query_as!(
        Found,
        r#"
        select c.id, c.parent_id, c.version, c.superstep, c.metadata, c.run_id, c.created_at,
               c.manifest, c.key_id, c.sealed,
               k.hash as "hash?", k.codec as "codec?", k.bytes as "bytes?",
               case when cardinality(h.hashes) > 1 or k.codec = 2 or w.hashes is not null then
                   array(
                       with named as materialized (
                           select n.hash, n.codec, n.bytes
                           from mnemon.checkpoint_chunks n
                           where n.tenant = $1 and n.thread_id = $2 and n.namespace = $3
                             and n.hash = any (h.hashes || coalesce(w.hashes, '{}'))
                       )
                       select n.hash || int2send(n.codec) || n.bytes
                       from named n
                       where n.hash <> k.hash or k.hash is null
                       union all
                       select p.hash || int2send(p.codec) || p.bytes
                       from mnemon.checkpoint_chunks p
                       where p.tenant = $1 and p.thread_id = $2 and p.namespace = $3
                         and p.hash = any (array(
                             select substring(n.bytes from at for 32)
                             from named n, generate_series(1, octet_length(n.bytes), 32) as at
                             where n.codec = 2)))
               end as "more?: Vec<Vec<u8>>",
               w.writes as "writes?"
        -- The id is asked for first: as a join, a server that knows no statistics yet would read
        -- every checkpoint of the thread and compare.
        from mnemon.checkpoints c
        cross join lateral (
            select coalesce(c.hashes, array(
                select decode(e.value ->> 'hash', 'hex')
                from jsonb_each(c.manifest) e where e.value ? 'hash')) as hashes) h
        left join lateral (
            select k.hash, k.codec, k.bytes
            from mnemon.checkpoint_chunks k
            where k.tenant = $1 and k.thread_id = $2 and k.namespace = $3 and k.hash = h.hashes[1]
            limit 1) k on true
        left join lateral (
            select array_agg(w.hash) as hashes,
                   jsonb_agg(jsonb_build_object(
                       'task_path', w.task_path, 'task_id', w.task_id, 'idx', w.idx,
                       'channel', w.channel, 'type_tag', w.type_tag,
                       'hash', encode(w.hash, 'hex'), 'size', w.size,
                       'key_id', w.key_id)) as writes
            from mnemon.checkpoint_writes w
            where w.tenant = $1 and w.thread_id = $2 and w.namespace = $3
              and w.checkpoint_id = c.id) w on true
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

/// A checkpoint as a list reads it.
struct Row {
    thread_id: String,
    namespace: String,
    id: String,
    parent_id: Option<String>,
    version: i64,
    superstep: Option<i64>,
    metadata: Value,
    run_id: Option<String>,
    created_at: DateTime<Utc>,
    key_id: Option<String>,
    sealed: Option<Vec<u8>>,
    /// Of encrypted ones, whose metadata is bound to it.
    manifest: Option<Value>,
}

impl Row {
    fn info(self, sealing: &Sealing, tenant: &str) -> Result<CheckpointInfo> {
        let thread = Thread { thread_id: self.thread_id, namespace: self.namespace };
        let manifest = self.manifest.map(|manifest| row::json(manifest, MANIFEST)).transpose()?;
        let bound = Bound {
            id: &self.id,
            parent: self.parent_id.as_deref(),
            version: self.version,
            superstep: self.superstep,
            manifest: &manifest.unwrap_or_default(),
        };
        let at_rest = AtRest { metadata: self.metadata, sealed: self.sealed, key_id: self.key_id };
        let metadata = sealing.opener(tenant, &thread).metadata(at_rest, &bound)?;
        Ok(CheckpointInfo {
            thread,
            id: CheckpointId(self.id),
            parent: self.parent_id.map(CheckpointId),
            version: self.version,
            superstep: self.superstep,
            metadata,
            run: self.run_id,
            created_at: self.created_at,
        })
    }
}

/// Checkpoints in pages of rows, until the page is full or enough was looked at.
pub(super) async fn list(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    sealing: &Sealing,
    filter: &CheckpointFilter,
    page: &Page,
) -> Result<Paged<CheckpointInfo>, Fault> {
    let mut place = page.cursor.as_ref().map(|cursor| Place::of(cursor, LIST)).transpose()?;
    let mut items: Vec<CheckpointInfo> = Vec::new();
    let wanted = page.limit as usize;
    let size = if filter.metadata.is_empty() { page.limit + 1 } else { limits::PAGE_MAX };
    let mut scanned = 0;
    loop {
        let rows = rows(conn, scope, filter, place.as_ref(), size).await?;
        let last = rows.len() < size as usize;
        scanned += size;
        for row in rows {
            if items.len() == wanted {
                // One more is there: the page ends at the last one taken.
                let next = items.last().map(|info| Place::of_checkpoint(info).cursor(LIST));
                return Ok(Paged { items, next });
            }
            let info = row.info(sealing, scope.tenant)?;
            place = Some(Place::of_checkpoint(&info));
            if filter.met(&info.metadata) {
                items.push(info);
            }
        }
        if last {
            return Ok(Paged { items, next: None });
        }
        if scanned >= limits::CHECKPOINTS_SCANNED {
            return Ok(Paged { items, next: place.map(|place| place.cursor(LIST)) });
        }
    }
}

async fn rows(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    filter: &CheckpointFilter,
    after: Option<&Place>,
    size: u32,
) -> Result<Vec<Row>, Fault> {
    Ok(query_as!(
        Row,
        r#"
        select c.thread_id, c.namespace, c.id, c.parent_id, c.version, c.superstep, c.metadata,
               c.run_id, c.created_at, c.key_id, c.sealed,
               case when c.key_id is not null then c.manifest end as manifest
        from mnemon.checkpoints c
        where c.tenant = $1
          and ($2::text is null or c.user_id is null or c.user_id = $2)
          and ($3::text is null or c.thread_id = $3)
          and ($4::text is null or c.namespace = $4)
          and ($5::text is null or c.run_id = $5)
          and ($6::text is null or c.id < $6)
          and ($7::text is null or (c.thread_id, c.namespace) >= ($7, $8::text))
          and ($7::text is null or (c.thread_id, c.namespace) > ($7, $8::text) or c.version < $9)
        order by c.thread_id, c.namespace, c.version desc
        limit $10
        "#,
        scope.tenant,
        scope.user,
        filter.thread_id,
        filter.namespace,
        filter.run,
        filter.before.as_ref().map(|id| id.0.as_str()),
        after.map(|place| place.thread.thread_id.as_str()),
        after.map(|place| place.thread.namespace.as_str()),
        after.map(|place| place.number),
        i64::from(size),
    )
    .fetch_all(conn)
    .await?)
}

/// Threads, last active first.
pub(super) async fn threads(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    filter: &ThreadFilter,
    page: &Page,
) -> Result<Paged<ThreadInfo>, Fault> {
    let after = page.cursor.as_ref().map(|cursor| Place::of(cursor, THREADS)).transpose()?;
    let active = after.as_ref().map(|place| DateTime::from_timestamp_micros(place.number));
    let active = active.map(|at| at.ok_or_else(no_place)).transpose()?;
    let rows = query!(
        r#"
        select thread_id, namespace, user_id, head_id, version, active_at, created_at, expires_at,
               fence_key
        from mnemon.threads
        where tenant = $1
          and ($2::text is null or user_id is null or user_id = $2)
          and ($3::text is null or namespace = $3)
          and ($4::timestamptz is null or active_at <= $4)
          and ($4::timestamptz is null or active_at < $4
               or (thread_id, namespace) > ($5::text, $6::text))
        order by active_at desc, thread_id, namespace
        limit $7
        "#,
        scope.tenant,
        scope.user,
        filter.namespace,
        active,
        after.as_ref().map(|place| place.thread.thread_id.as_str()),
        after.as_ref().map(|place| place.thread.namespace.as_str()),
        i64::from(page.limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    let found = rows.into_iter().map(|row| ThreadInfo {
        thread: Thread { thread_id: row.thread_id, namespace: row.namespace },
        user: row.user_id,
        head: CheckpointId(row.head_id),
        version: row.version,
        active_at: row.active_at,
        created_at: row.created_at,
        expires_at: row.expires_at,
        fenced_by: row.fence_key,
    });
    Ok(Paged::cut(found.collect(), page.limit, |info| {
        let number = info.active_at.timestamp_micros();
        Place { thread: info.thread.clone(), number }.cursor(THREADS)
    }))
}

fn no_place() -> Error {
    Error::invalid("page.cursor", "holds no place of this list")
}
