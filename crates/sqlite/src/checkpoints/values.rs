//! Channel values at rest: by hash, once per thread, compressed where that is smaller.

use std::collections::BTreeMap;

use mnemon_core::checkpoints::manifest::{Manifest, corrupt};
use mnemon_core::checkpoints::{ChannelValue, Put, Thread};
use mnemon_core::{Error, Result};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Done;

pub(crate) mod sql {
    crate::sql::statements! {
        KEEP = "insert into checkpoint_chunks (tenant, thread_id, namespace, hash, user_id, codec, \
            bytes) values (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
            on conflict (tenant, thread_id, namespace, hash) do nothing";
        LOAD = "select codec, bytes from checkpoint_chunks \
            where tenant = ?1 and thread_id = ?2 and namespace = ?3 and hash = ?4";
    }
}

const PLAIN: i64 = 0;
const ZSTD: i64 = 1;
const LEVEL: i32 = 3;
/// Values shorter than this are not worth the try.
const COMPRESS_FROM: usize = 128;
/// Changes up to this size are compressed on the caller's thread.
const INLINE_BYTES: usize = 16 * 1024;

/// A put with what is computed from it alone, before any lock is taken.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) put: Put,
    pub(super) values: Vec<Value>,
}

/// A value as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Value {
    hash: [u8; 32],
    codec: i64,
    bytes: Vec<u8>,
}

impl Prepared {
    /// Whether preparing it takes no time to speak of.
    pub(crate) fn is_small(put: &Put) -> bool {
        put.channels.values().map(|value| value.bytes.len()).sum::<usize>() <= INLINE_BYTES
    }

    /// Hashes and compresses every changed value.
    pub(crate) fn of(put: Put) -> Result<Self> {
        let values = put.channels.values().map(Value::of).collect::<Result<_>>()?;
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
pub(super) fn keep(
    conn: &Connection,
    key: [&str; 3],
    owner: Option<&str>,
    values: &[Value],
) -> Done<()> {
    let mut statement = conn.prepare_cached(sql::KEEP)?;
    for value in values {
        let (hash, bytes) = (value.hash.as_slice(), &value.bytes);
        statement.execute(params![key[0], key[1], key[2], hash, owner, value.codec, bytes])?;
    }
    Ok(())
}

/// Loads and verifies every channel.
pub(super) fn load(
    conn: &Connection,
    key: [&str; 3],
    thread: &Thread,
    manifest: &Manifest,
) -> Done<BTreeMap<String, ChannelValue>> {
    let mut statement = conn.prepare_cached(sql::LOAD)?;
    let mut channels = BTreeMap::new();
    for (name, entry) in &manifest.0 {
        let hash = entry.key(thread, name)?;
        let found: Option<(i64, Vec<u8>)> = statement
            .query_row(params![key[0], key[1], key[2], hash.as_slice()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let bytes = match found {
            Some((PLAIN, bytes)) => bytes,
            Some((ZSTD, packed)) => zstd::bulk::decompress(&packed, entry.size)
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
