//! Blobs: what a thread's values are kept as, each under the hash of what it means, compressed where
//! that is smaller and encrypted where there are keys.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;

use serde::{Deserialize, Serialize};
use zstd::bulk::{Compressor, Decompressor};

use super::manifest::corrupt;
use super::pack::CUT_MAX;
use super::seal::{Context, Opener, Seal};
use super::thread::Thread;
use super::value::ChannelValue;
use crate::error::{Error, Result};
use crate::limits;

/// A blob's key: the hash of its content.
pub type Key = [u8; 32];

/// What a blob's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i16)]
pub enum Codec {
    /// The content as it is.
    Plain = 0,
    /// The content, compressed.
    Zstd = 1,
    /// The keys of a value's parts, one after the other.
    List = 2,
}

impl Codec {
    /// The codec of a number at rest.
    pub const fn of(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::Plain),
            1 => Some(Self::Zstd),
            2 => Some(Self::List),
            _ => None,
        }
    }
}

/// Bytes at rest under their key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blob {
    /// The hash of the content.
    pub key: Key,
    /// A [`Codec`], as a number.
    pub codec: i16,
    /// The content, encoded.
    pub bytes: Vec<u8>,
}

/// A value among the blobs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// What the bytes are.
    pub type_tag: String,
    /// The key of its blob, in lower-case hex.
    pub hash: String,
    /// How many bytes.
    pub size: usize,
    /// The key it is encrypted under; `None`: it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key_id: Option<String>,
}

impl Stored {
    /// A value under a key.
    pub fn at(type_tag: String, key: &Key, size: usize, key_id: Option<String>) -> Self {
        let hash = blake3::Hash::from_bytes(*key).to_hex().to_string();
        Self { type_tag, hash, size, key_id }
    }

    /// The key of its blob.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] naming thread and channel when it is none.
    pub fn key(&self, thread: &Thread, channel: &str) -> Result<Key> {
        let hash = blake3::Hash::from_hex(&self.hash)
            .map_err(|_| corrupt(thread, channel, "its hash is not 64 hex digits"))?;
        if self.size > limits::CHECKPOINT_BYTES {
            return Err(corrupt(thread, channel, "its size is over the limit of a checkpoint"));
        }
        Ok(*hash.as_bytes())
    }
}

/// Under which keys the parts of one value are kept.
pub(super) struct Hashing<'a> {
    pub(super) seal: Option<&'a Seal>,
    pub(super) context: &'a Context,
}

impl Hashing<'_> {
    pub(super) fn part(&self, content: &[u8]) -> Key {
        match self.seal {
            None => *blake3::hash(content).as_bytes(),
            Some(seal) => seal.hash(b"part", self.context, content),
        }
    }

    /// A list's key can be no content's: it is hashed under another name.
    pub(super) fn list(&self, keys: &[u8]) -> Key {
        match self.seal {
            None => blake3::derive_key("mnemon 2026-11 checkpoint value of several parts", keys),
            Some(seal) => seal.hash(b"list", self.context, keys),
        }
    }
}

const LEVEL: i32 = 1;
/// Contents shorter than this are not worth the try.
const COMPRESS_FROM: usize = 128;

pub(super) fn encode(key: Key, content: &[u8], seal: Option<&Seal>) -> Result<Blob> {
    let (codec, bytes) = compress(content)?;
    let bytes = match seal {
        None => bytes,
        Some(seal) => seal.close(&part_of(&key, codec), &bytes),
    };
    Ok(Blob { key, codec: codec as i16, bytes })
}

thread_local! {
    /// Making one anew takes longer than compressing a part with it.
    static PACKER: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn packed(content: &[u8]) -> io::Result<Vec<u8>> {
    PACKER.with_borrow_mut(|packer| match packer {
        Some(packer) => packer.compress(content),
        None => packer.insert(Compressor::new(LEVEL)?).compress(content),
    })
}

fn unpacked(bytes: &[u8], most: usize) -> io::Result<Vec<u8>> {
    UNPACKER.with_borrow_mut(|unpacker| match unpacker {
        Some(unpacker) => unpacker.decompress(bytes, most),
        None => unpacker.insert(Decompressor::new()?).decompress(bytes, most),
    })
}

fn compress(content: &[u8]) -> Result<(Codec, Vec<u8>)> {
    if content.len() >= COMPRESS_FROM {
        let packed =
            packed(content).map_err(|error| Error::backend("compressing a channel", error))?;
        if packed.len() < content.len() {
            return Ok((Codec::Zstd, packed));
        }
    }
    Ok((Codec::Plain, content.to_vec()))
}

/// What an encrypted part is bound to, besides its thread.
fn part_of(key: &Key, codec: Codec) -> Vec<u8> {
    let codec = (codec as i16).to_le_bytes();
    [b"part".as_slice(), key, &codec].concat()
}

/// Blobs as they were read, to put values together from.
#[derive(Clone, Debug, Default)]
pub struct Blobs(HashMap<Key, (i64, Vec<u8>)>);

impl Blobs {
    /// Takes in a blob.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when its key is not 32 bytes.
    pub fn add(&mut self, thread: &Thread, key: &[u8], codec: i64, bytes: Vec<u8>) -> Result<()> {
        let key: Key = key.try_into().map_err(|_| {
            Error::corrupt(format!("a value of thread {thread}"), "its key is not 32 bytes")
        })?;
        self.0.insert(key, (codec, bytes));
        Ok(())
    }

    /// The keys of a value's parts, of one that has several.
    pub fn parts(&self, key: &Key) -> Option<Vec<Key>> {
        match self.0.get(key) {
            Some((codec, bytes)) if Codec::of(*codec) == Some(Codec::List) => {
                Some(bytes.as_chunks::<32>().0.to_vec())
            }
            _ => None,
        }
    }

    /// A value, verified: that of a channel, or of a pending write for one.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] naming thread and channel when a part is missing or is not what was put
    /// there; [`Error::Sealed`] without the key.
    pub fn value(
        &self,
        stored: &Stored,
        opener: &Opener<'_>,
        context: &Context,
        channel: &str,
    ) -> Result<ChannelValue> {
        let thread = opener.thread;
        let fail = |reason: &str| Err(corrupt(thread, channel, reason));
        let seal = &opener.seal(stored.key_id.as_deref())?;
        let hashing = Hashing { seal: seal.as_ref(), context };
        let key = stored.key(thread, channel)?;
        let bytes = match self.parts(&key) {
            None => self.content(&key, stored.size, &hashing, thread, channel)?,
            Some(parts) => {
                if hashing.list(parts.as_flattened()) != key {
                    return fail("its parts are not those that were put");
                }
                let mut bytes = Vec::with_capacity(stored.size);
                for part in &parts {
                    bytes.extend(self.content(
                        part,
                        CUT_MAX as usize,
                        &hashing,
                        thread,
                        channel,
                    )?);
                    if bytes.len() > stored.size {
                        return fail("it is longer than what was put");
                    }
                }
                bytes
            }
        };
        if bytes.len() != stored.size {
            return fail("its bytes are not those that were put");
        }
        Ok(ChannelValue { type_tag: stored.type_tag.clone(), bytes })
    }

    fn content(
        &self,
        key: &Key,
        most: usize,
        hashing: &Hashing<'_>,
        thread: &Thread,
        channel: &str,
    ) -> Result<Vec<u8>> {
        let Some((codec, bytes)) = self.0.get(key) else {
            return Err(corrupt(thread, channel, "its bytes are missing"));
        };
        let codec = match Codec::of(*codec) {
            Some(codec @ (Codec::Plain | Codec::Zstd)) => codec,
            Some(Codec::List) | None => {
                return Err(corrupt(thread, channel, &format!("its codec is {codec}")));
            }
        };
        let opened = match hashing.seal {
            None => None,
            Some(seal) => Some(seal.open(&part_of(key, codec), bytes).map_err(|broken| {
                broken.into_error(seal, thread, &format!("channel {channel}"))
            })?),
        };
        let bytes = opened.as_deref().unwrap_or(bytes);
        let content = match codec {
            Codec::Zstd => unpacked(bytes, most)
                .map_err(|error| corrupt(thread, channel, &error.to_string()))?,
            Codec::Plain | Codec::List => bytes.to_vec(),
        };
        if hashing.part(&content) != *key {
            return Err(corrupt(thread, channel, "its bytes are not those that were put"));
        }
        Ok(content)
    }
}
