//! Channel values at rest: by hash, once per thread, compressed where that is smaller.

use std::collections::{BTreeMap, HashMap};

use mnemon_core::checkpoints::manifest::{Manifest, corrupt};
use mnemon_core::checkpoints::{ChannelValue, Put, Thread};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Result};
use sqlx::postgres::PgConnection;
use sqlx::query;

use crate::error::Fault;

const PLAIN: i16 = 0;
const ZSTD: i16 = 1;
const LEVEL: i32 = 3;
/// Values shorter than this are not worth the try.
const COMPRESS_FROM: usize = 128;
/// Changes up to this size are compressed on the thread that serves the call.
const INLINE_BYTES: usize = 16 * 1024;

/// A put with what is computed from it alone, before any lock is taken.
pub(crate) struct Prepared {
    pub(crate) put: Put,
    values: Vec<Value>,
}

/// A value as it is stored.
struct Value {
    hash: [u8; 32],
    codec: i16,
    bytes: Vec<u8>,
}

impl Prepared {
    /// Whether preparing it takes no time to speak of.
    pub(crate) fn is_small(put: &Put) -> bool {
        put.channels.values().map(|value| value.bytes.len()).sum::<usize>() <= INLINE_BYTES
    }

    /// Hashes and compresses every changed value.
    pub(crate) fn of(put: Put) -> Result<Self> {
        let mut values: Vec<Value> = put.channels.values().map(Value::of).collect::<Result<_>>()?;
        // Two channels may hold the same.
        values.sort_unstable_by_key(|value| value.hash);
        values.dedup_by_key(|value| value.hash);
        Ok(Self { put, values })
    }
}

impl Value {
    fn of(value: &ChannelValue) -> Result<Self> {
        let hash = value.hash();
        if value.bytes.len() >= COMPRESS_FROM {
            let packed = zstd::bulk::compress(&value.bytes, LEVEL)
                .map_err(|error| Error::backend("compressing a channel", error))?;
            if packed.len() < value.bytes.len() {
                return Ok(Self { hash, codec: ZSTD, bytes: packed });
            }
        }
        Ok(Self { hash, codec: PLAIN, bytes: value.bytes.clone() })
    }
}

/// Stores what the thread does not have yet. `owner` is the thread's.
pub(super) async fn keep(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    owner: Option<&str>,
    prepared: &Prepared,
) -> Result<(), Fault> {
    if prepared.values.is_empty() {
        return Ok(());
    }
    let thread = &prepared.put.thread;
    let hashes: Vec<&[u8]> = prepared.values.iter().map(|value| value.hash.as_slice()).collect();
    let codecs: Vec<i16> = prepared.values.iter().map(|value| value.codec).collect();
    let bytes: Vec<&[u8]> = prepared.values.iter().map(|value| value.bytes.as_slice()).collect();
    query!(
        r#"
        insert into mnemon.checkpoint_chunks
            (tenant, thread_id, namespace, hash, user_id, codec, bytes)
        select $1, $2, $3, g.hash, $4, g.codec, g.bytes
        from unnest($5::bytea[], $6::int2[], $7::bytea[]) as g (hash, codec, bytes)
        on conflict (tenant, thread_id, namespace, hash) do nothing
        "#,
        scope.tenant,
        thread.thread_id,
        thread.namespace,
        owner,
        &hashes as &[&[u8]],
        &codecs,
        &bytes as &[&[u8]],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Loads and verifies every channel.
pub(super) async fn load(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    thread: &Thread,
    manifest: &Manifest,
) -> Result<BTreeMap<String, ChannelValue>, Fault> {
    let keys: BTreeMap<&str, [u8; 32]> = manifest
        .0
        .iter()
        .map(|(name, entry)| Ok((name.as_str(), entry.key(thread, name)?)))
        .collect::<Result<_>>()?;
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let hashes: Vec<&[u8]> = keys.values().map(<[u8; 32]>::as_slice).collect();
    let rows = query!(
        r#"
        select hash, codec, bytes
        from mnemon.checkpoint_chunks
        where tenant = $1 and thread_id = $2 and namespace = $3 and hash = any ($4)
        "#,
        scope.tenant,
        thread.thread_id,
        thread.namespace,
        &hashes as &[&[u8]],
    )
    .fetch_all(conn)
    .await?;
    let found: HashMap<Vec<u8>, (i16, Vec<u8>)> =
        rows.into_iter().map(|row| (row.hash, (row.codec, row.bytes))).collect();
    let mut channels = BTreeMap::new();
    for (name, entry) in &manifest.0 {
        let bytes = match found.get(keys[name.as_str()].as_slice()) {
            Some((PLAIN, bytes)) => bytes.clone(),
            Some((ZSTD, packed)) => zstd::bulk::decompress(packed, entry.size)
                .map_err(|error| corrupt(thread, name, &error.to_string()))?,
            Some((codec, _)) => {
                return Err(corrupt(thread, name, &format!("its codec is {codec}")).into());
            }
            None => return Err(corrupt(thread, name, "its bytes are missing").into()),
        };
        channels.insert(name.clone(), entry.verified(thread, name, bytes)?);
    }
    Ok(channels)
}
