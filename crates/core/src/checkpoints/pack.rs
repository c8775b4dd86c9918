//! Values as a thread keeps them: blobs by content. A long value is cut where its content says
//! ([`fastcdc`]), so that one that changed a little shares all but a few blobs with what it was.
//!
//! The key of a blob is the hash of what it means; what is read is checked against it. A value of
//! several parts is a tree of two levels: the value's blob lists the keys of its parts, and its
//! own key is the hash of that list.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use fastcdc::v2020::FastCDC;
use serde::{Deserialize, Serialize};

use super::manifest::{self, Content, Manifest, corrupt};
use super::put::Put;
use super::thread::Thread;
use super::value::ChannelValue;
use super::writes::PutWrites;
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
}

impl Stored {
    /// A value under a key.
    pub fn at(type_tag: String, key: &Key, size: usize) -> Self {
        Self { type_tag, hash: blake3::Hash::from_bytes(*key).to_hex().to_string(), size }
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

/// What values travel in.
pub trait Carrier {
    /// Its values, in an order of its own.
    fn values(&self) -> Vec<&ChannelValue>;
    /// Whether a value stays out of the blobs.
    fn readable(&self, value: &ChannelValue) -> bool;
}

impl Carrier for Put {
    fn values(&self) -> Vec<&ChannelValue> {
        self.channels.values().collect()
    }

    fn readable(&self, value: &ChannelValue) -> bool {
        self.readable && manifest::readable(value).is_some()
    }
}

impl Carrier for PutWrites {
    fn values(&self) -> Vec<&ChannelValue> {
        self.writes.iter().map(|write| &write.value).collect()
    }

    fn readable(&self, _value: &ChannelValue) -> bool {
        false
    }
}

/// Something with values, and what is computed from them alone before any lock is taken: how
/// they are cut, and under which keys they are kept.
#[derive(Clone, Debug)]
pub struct Packed<T> {
    given: T,
    stored: Vec<Option<Stored>>,
    /// By key, each once.
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
struct Piece {
    key: Key,
    content: PieceContent,
}

#[derive(Clone, Debug)]
enum PieceContent {
    List(Vec<u8>),
    /// A part of the value at this place.
    Part(usize, Range<usize>),
}

impl<T: Carrier> Packed<T> {
    /// Cuts and hashes every value.
    pub fn of(given: T) -> Self {
        let mut pieces = Vec::new();
        let stored = given
            .values()
            .into_iter()
            .enumerate()
            .map(|(at, value)| (!given.readable(value)).then(|| cut(at, value, &mut pieces)))
            .collect();
        // Values may share parts.
        pieces.sort_unstable_by_key(|piece| piece.key);
        pieces.dedup_by_key(|piece| piece.key);
        Self { given, stored, pieces }
    }

    /// How many bytes the values have together.
    pub fn size(given: &T) -> usize {
        given.values().iter().map(|value| value.bytes.len()).sum()
    }

    /// What it was made of.
    pub fn given(&self) -> &T {
        &self.given
    }

    /// Where each value is kept, in the carrier's order; `None` for one that is not a blob.
    pub fn stored(&self) -> &[Option<Stored>] {
        &self.stored
    }

    /// Whether a value is stored in parts.
    pub fn is_cut(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece.content, PieceContent::List(_)))
    }

    /// The keys of all blobs, in order.
    pub fn keys(&self) -> Vec<Key> {
        self.pieces.iter().map(|piece| piece.key).collect()
    }

    /// The blobs that are not among `present`, encoded, in the order of their keys.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] when compression fails.
    pub fn blobs(&self, present: &HashSet<Key>) -> Result<Vec<Blob>> {
        let values = self.given.values();
        let absent = self.pieces.iter().filter(|piece| !present.contains(&piece.key));
        absent
            .map(|piece| match &piece.content {
                PieceContent::List(keys) => {
                    let codec = Codec::List as i16;
                    Ok(Blob { key: piece.key, codec, bytes: keys.clone() })
                }
                PieceContent::Part(at, range) => {
                    encode(piece.key, &values[*at].bytes[range.clone()])
                }
            })
            .collect()
    }
}

impl Packed<Put> {
    /// Every changed channel with where its value is.
    pub fn contents(&self) -> impl Iterator<Item = (&String, Content)> {
        self.given.channels.iter().zip(&self.stored).map(|((name, value), stored)| {
            let content = match stored {
                Some(stored) => Content::Stored(stored.clone()),
                None => Content::Readable { json: value.as_json().unwrap_or_default() },
            };
            (name, content)
        })
    }
}

impl Packed<Put> {
    /// Whether a manifest holds every value that travels.
    pub fn is_in(&self, manifest: &Manifest) -> bool {
        self.contents().all(|(name, content)| {
            manifest.0.get(name).is_some_and(|entry| entry.content.as_ref() == Some(&content))
        })
    }
}

/// A pending write as a store keeps it.
#[derive(Clone, Copy, Debug)]
pub struct WriteRow<'a> {
    /// Its place among the task's writes.
    pub idx: i32,
    /// The channel it is for.
    pub channel: &'a str,
    /// What the bytes are.
    pub type_tag: &'a str,
    /// The key of its value.
    pub key: Key,
    /// How many bytes the value has.
    pub size: i64,
}

impl Packed<PutWrites> {
    /// The writes, each at its place.
    ///
    /// # Errors
    ///
    /// None that a value cut here can cause.
    pub fn rows(&self) -> Result<Vec<WriteRow<'_>>> {
        let row = |(idx, at): (i32, usize)| {
            let (write, stored) = (&self.given.writes[at], &self.stored[at]);
            let stored = stored.as_ref().expect("writes are never kept readable");
            Ok(WriteRow {
                idx,
                channel: &write.channel,
                type_tag: &stored.type_tag,
                key: stored.key(&self.given.thread, &write.channel)?,
                size: i64::try_from(stored.size).unwrap_or(i64::MAX),
            })
        };
        self.given.places().into_iter().map(row).collect()
    }
}

/// Values from this length on are cut.
const CUT_FROM: usize = 16 * 1024;
const CUT_MIN: u32 = 2 * 1024;
const CUT_AVERAGE: u32 = 8 * 1024;
const CUT_MAX: u32 = 32 * 1024;

fn cut(at: usize, value: &ChannelValue, pieces: &mut Vec<Piece>) -> Stored {
    let bytes = &value.bytes;
    let key = if bytes.len() <= CUT_FROM {
        let key = value.hash();
        pieces.push(Piece { key, content: PieceContent::Part(at, 0..bytes.len()) });
        key
    } else {
        let mut keys = Vec::new();
        for part in FastCDC::new(bytes, CUT_MIN, CUT_AVERAGE, CUT_MAX) {
            let range = part.offset..part.offset + part.length;
            let key = *blake3::hash(&bytes[range.clone()]).as_bytes();
            keys.extend_from_slice(&key);
            pieces.push(Piece { key, content: PieceContent::Part(at, range) });
        }
        let key = list_key(&keys);
        pieces.push(Piece { key, content: PieceContent::List(keys) });
        key
    };
    Stored::at(value.type_tag.clone(), &key, bytes.len())
}

/// A list's key can be no content's: it is hashed under another name.
fn list_key(keys: &[u8]) -> Key {
    blake3::derive_key("mnemon 2026-11 checkpoint value of several parts", keys)
}

const LEVEL: i32 = 1;
/// Contents shorter than this are not worth the try.
const COMPRESS_FROM: usize = 128;

fn encode(key: Key, content: &[u8]) -> Result<Blob> {
    if content.len() >= COMPRESS_FROM {
        let packed = zstd::bulk::compress(content, LEVEL)
            .map_err(|error| Error::backend("compressing a channel", error))?;
        if packed.len() < content.len() {
            return Ok(Blob { key, codec: Codec::Zstd as i16, bytes: packed });
        }
    }
    Ok(Blob { key, codec: Codec::Plain as i16, bytes: content.to_vec() })
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

    /// A value, verified.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] naming thread and channel when a part is missing or is not what was put.
    pub fn value(&self, stored: &Stored, thread: &Thread, channel: &str) -> Result<ChannelValue> {
        let fail = |reason: &str| Err(corrupt(thread, channel, reason));
        let key = stored.key(thread, channel)?;
        let bytes = match self.parts(&key) {
            None => self.content(&key, stored.size, thread, channel)?,
            Some(parts) => {
                if list_key(parts.as_flattened()) != key {
                    return fail("its parts are not those that were put");
                }
                let mut bytes = Vec::with_capacity(stored.size);
                for part in &parts {
                    bytes.extend(self.content(part, CUT_MAX as usize, thread, channel)?);
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

    fn content(&self, key: &Key, most: usize, thread: &Thread, channel: &str) -> Result<Vec<u8>> {
        let Some((codec, bytes)) = self.0.get(key) else {
            return Err(corrupt(thread, channel, "its bytes are missing"));
        };
        let content = match Codec::of(*codec) {
            Some(Codec::Plain) => bytes.clone(),
            Some(Codec::Zstd) => zstd::bulk::decompress(bytes, most)
                .map_err(|error| corrupt(thread, channel, &error.to_string()))?,
            Some(Codec::List) | None => {
                return Err(corrupt(thread, channel, &format!("its codec is {codec}")));
            }
        };
        if *blake3::hash(&content).as_bytes() != *key {
            return Err(corrupt(thread, channel, "its bytes are not those that were put"));
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        let mut bytes = vec![0; length];
        reader.fill(&mut bytes);
        bytes
    }

    fn put(bytes: Vec<u8>) -> Packed<Put> {
        let value = ChannelValue { type_tag: "b".into(), bytes };
        Packed::of(Put::new(Thread::new("t")).channel("a", value))
    }

    fn read(packed: &Packed<Put>, blobs: Vec<Blob>) -> Result<ChannelValue> {
        let thread = Thread::new("t");
        let mut found = Blobs::default();
        for blob in blobs {
            found.add(&thread, &blob.key, blob.codec.into(), blob.bytes)?;
        }
        found.value(packed.stored()[0].as_ref().unwrap(), &thread, "a")
    }

    #[test]
    fn values_of_every_length_come_back() {
        for length in [0, 1, 127, 128, CUT_FROM, CUT_FROM + 1, 100_000, 1_000_000] {
            for bytes in [noise(1, length), vec![b'x'; length]] {
                let packed = put(bytes.clone());
                let blobs = packed.blobs(&HashSet::new()).unwrap();

                assert_eq!(read(&packed, blobs).unwrap().bytes, bytes, "{length}");
            }
        }
    }

    #[test]
    fn a_small_change_of_a_long_value_needs_few_new_blobs() {
        let before = noise(1, 512 * 1024);
        let present: HashSet<Key> = put(before.clone()).keys().into_iter().collect();
        let edits: [fn(&mut Vec<u8>); 3] = [
            |bytes| bytes.extend(noise(2, 1024)),
            |bytes| bytes[200_000..201_024].copy_from_slice(&noise(3, 1024)),
            |bytes| drop(bytes.splice(5_000..5_000, noise(4, 1024))),
        ];
        for edit in edits {
            let mut after = before.clone();
            edit(&mut after);

            let blobs = put(after).blobs(&present).unwrap();

            let new: usize = blobs.iter().map(|blob| blob.bytes.len()).sum();
            assert!(new < 100_000, "{new} bytes in {} blobs", blobs.len());
        }
    }

    #[test]
    fn a_wrong_byte_a_missing_part_and_another_order_are_corrupt_and_named() {
        let packed = put(noise(1, 100_000));
        let blobs = packed.blobs(&HashSet::new()).unwrap();
        let list = blobs.iter().position(|blob| blob.codec == Codec::List as i16).unwrap();
        let part = (list + 1) % blobs.len();
        for number in 0..5 {
            let mut blobs = blobs.clone();
            match number {
                0 => blobs[part].bytes[7] ^= 1,
                1 => drop(blobs.remove(part)),
                2 => blobs[list].bytes.rotate_left(32),
                3 => blobs[list].bytes.truncate(64),
                _ => blobs[part].codec = 9,
            }

            let error = read(&packed, blobs).unwrap_err();

            let text = error.to_string();
            assert!(text.starts_with("channel a of thread t is corrupt"), "{number}: {text}");
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        let packed = put(b"small".to_vec());
        let bomb = zstd::bulk::compress(&vec![0; 10_000_000], 1).unwrap();
        let blob = Blob { key: packed.keys()[0], codec: Codec::Zstd as i16, bytes: bomb };

        assert!(matches!(read(&packed, vec![blob]), Err(Error::Corrupt { .. })));
    }
}
