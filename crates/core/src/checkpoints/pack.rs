//! Values as a thread keeps them: blobs by content. A long value is cut where its content says
//! ([`fastcdc`]), so that one that changed a little shares all but a few blobs with what it was.
//!
//! The key of a blob is the hash of what it means; what is read is checked against it. A value of
//! several parts is a tree of two levels: the value's blob lists the keys of its parts, and its
//! own key is the hash of that list.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZero;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use fastcdc::v2020::FastCDC;

pub use super::blob::{Blob, Blobs, Codec, Key, Stored};
use super::blob::{Hashing, encode};
pub use super::carrier::Carrier;
use super::manifest::{Content, Manifest};
use super::place::Placed;
use super::put::Put;
use super::seal::{self, AtRest, Bound, Context, Seal, Sealing};
use super::value::ChannelValue;
use super::writes::PutWrites;
use crate::error::{Error, Result};

/// Something with values, and what is computed from them alone before any lock is taken: how
/// they are cut, and under which keys they are kept.
#[derive(Clone, Debug)]
pub struct Packed<T> {
    given: T,
    /// What encrypts them.
    seal: Option<Arc<Seal>>,
    /// What opens what stands there already, and whose it is.
    sealing: Sealing,
    tenant: String,
    stored: Vec<Option<Stored>>,
    /// Values of channels that are inherited from under another key.
    renewed: Vec<(String, ChannelValue, Stored)>,
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

impl PieceContent {
    fn len(&self) -> usize {
        match self {
            Self::List(keys) => keys.len(),
            Self::Part(_, range) => range.len(),
        }
    }
}

impl<T: Carrier> Packed<T> {
    /// Cuts and hashes every value.
    pub fn of(given: T) -> Self {
        Self::cut(given, None, Sealing::default(), String::new())
    }

    /// The same under the tenant's key, where there are keys.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for values that SQL should be able to read; the key provider's.
    pub fn sealed(given: T, sealing: &Sealing, tenant: &str) -> Result<Self> {
        let seal = sealing.seal(tenant, given.thread())?;
        if seal.is_some() && given.values().into_iter().any(|value| given.readable(value)) {
            return Err(Error::invalid("readable", "is not possible while encryption is on"));
        }
        Ok(Self::cut(given, seal, sealing.clone(), tenant.to_owned()))
    }

    fn cut(given: T, seal: Option<Arc<Seal>>, sealing: Sealing, tenant: String) -> Self {
        let mut pieces = Vec::new();
        let contexts = given.contexts();
        let stored = given
            .values()
            .into_iter()
            .zip(&contexts)
            .enumerate()
            .map(|(at, (value, context))| {
                let hashing = Hashing { seal: seal.as_deref(), context };
                (!given.readable(value)).then(|| cut(at, value, &hashing, &mut pieces))
            })
            .collect();
        let renewed = Vec::new();
        let mut packed = Self { given, seal, sealing, tenant, stored, renewed, pieces };
        packed.order();
        packed
    }

    /// Values may share parts.
    fn order(&mut self) {
        self.pieces.sort_unstable_by_key(|piece| piece.key);
        self.pieces.dedup_by_key(|piece| piece.key);
    }

    /// The key everything is encrypted under; `None`: nothing is.
    pub fn key_id(&self) -> Option<&str> {
        self.seal.as_deref().map(Seal::key_id)
    }

    /// Refuses to build on what is encrypted where this is not, and the other way round.
    ///
    /// # Errors
    ///
    /// [`Error::Sealed`].
    pub fn check_base(&self, key_id: Option<&str>) -> Result<()> {
        seal::check(self.given.thread(), self.seal.is_some(), key_id)
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
        let absent = self.pieces.iter().filter(|piece| !present.contains(&piece.key));
        let absent: Vec<&Piece> = absent.collect();
        let size: usize = absent.iter().map(|piece| piece.content.len()).sum();
        if size < HALVED_FROM || *CORES < 2 {
            return self.encoded(&absent);
        }
        let (ours, theirs) = absent.split_at(absent.len() / 2);
        std::thread::scope(|scope| {
            let theirs = scope.spawn(|| self.encoded(theirs));
            let mut blobs = self.encoded(ours)?;
            blobs.extend(theirs.join().expect("encoding does not panic")?);
            Ok(blobs)
        })
    }

    fn encoded(&self, pieces: &[&Piece]) -> Result<Vec<Blob>> {
        let mut values = self.given.values();
        values.extend(self.renewed.iter().map(|(_, value, _)| value));
        let seal = self.seal.as_deref();
        let blob = |piece: &&Piece| match &piece.content {
            PieceContent::List(keys) => {
                let codec = Codec::List as i16;
                Ok(Blob { key: piece.key, codec, bytes: keys.clone() })
            }
            PieceContent::Part(at, range) => {
                encode(piece.key, &values[*at].bytes[range.clone()], seal)
            }
        };
        pieces.iter().map(blob).collect()
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
    /// The channels it inherits from a parent that are encrypted under another key than its own.
    pub fn stale(&self, parent: &Manifest) -> BTreeMap<String, Stored> {
        let Some(own) = self.key_id() else { return BTreeMap::new() };
        let inherited = |name: &String, version| match &self.given.channel_versions {
            None => !self.given.removed.contains(name),
            Some(versions) => versions.get(name) == Some(version),
        };
        let stale = parent.0.iter().filter_map(|(name, entry)| match &entry.content {
            Some(Content::Stored(stored))
                if stored.key_id.as_deref().is_some_and(|id| id != own)
                    && !self.given.channels.contains_key(name)
                    && inherited(name, &entry.version) =>
            {
                Some((name.clone(), stored.clone()))
            }
            _ => None,
        });
        stale.collect()
    }

    /// The same put, which also brings these inherited values under its own key.
    ///
    /// # Errors
    ///
    /// As [`Blobs::value`].
    pub fn renew(&self, stale: &BTreeMap<String, Stored>, blobs: &Blobs) -> Result<Self> {
        let mut packed = self.clone();
        let opener = self.sealing.opener(&self.tenant, &self.given.thread);
        for (name, stored) in stale {
            let context = &Context::channel(name);
            let value = blobs.value(stored, &opener, context, name)?;
            let at = packed.given.channels.len() + packed.renewed.len();
            let hashing = Hashing { seal: self.seal.as_deref(), context };
            let stored = cut(at, &value, &hashing, &mut packed.pieces);
            packed.renewed.push((name.clone(), value, stored));
        }
        packed.order();
        Ok(packed)
    }

    /// Where inherited values are that [`Packed::renew`] took.
    pub(super) fn renewed(&self) -> impl Iterator<Item = (&String, &Stored)> {
        self.renewed.iter().map(|(name, _, stored)| (name, stored))
    }

    /// The metadata as a store keeps it.
    pub(super) fn at_rest(&self, placed: &Placed, manifest: &Manifest) -> AtRest {
        let put = &self.given;
        let Some(seal) = &self.seal else { return AtRest::plain(put.metadata.clone()) };
        let bound = Bound {
            id: &placed.id.0,
            parent: placed.parent.as_ref().map(|parent| parent.0.as_str()),
            version: placed.version,
            superstep: put.superstep,
            manifest,
        };
        AtRest::sealed(&put.metadata, seal, &bound)
    }

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

/// From so many bytes on two threads compress: a thread with what it compresses by takes as long to
/// make as a few parts.
const HALVED_FROM: usize = 128 * 1024;
static CORES: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, NonZero::get));

/// Values from this length on are cut.
const CUT_FROM: usize = 16 * 1024;
const CUT_MIN: u32 = 8 * 1024;
const CUT_AVERAGE: u32 = 16 * 1024;
pub(super) const CUT_MAX: u32 = 64 * 1024;

fn cut(at: usize, value: &ChannelValue, hashing: &Hashing<'_>, pieces: &mut Vec<Piece>) -> Stored {
    let bytes = &value.bytes;
    let key = if bytes.len() <= CUT_FROM {
        let key = hashing.part(bytes);
        pieces.push(Piece { key, content: PieceContent::Part(at, 0..bytes.len()) });
        key
    } else {
        let mut keys = Vec::new();
        for part in FastCDC::new(bytes, CUT_MIN, CUT_AVERAGE, CUT_MAX) {
            let range = part.offset..part.offset + part.length;
            let key = hashing.part(&bytes[range.clone()]);
            keys.extend_from_slice(&key);
            pieces.push(Piece { key, content: PieceContent::Part(at, range) });
        }
        let key = hashing.list(&keys);
        pieces.push(Piece { key, content: PieceContent::List(keys) });
        key
    };
    let key_id = hashing.seal.map(|seal| seal.key_id().to_owned());
    Stored::at(value.type_tag.clone(), &key, bytes.len(), key_id)
}

#[cfg(test)]
mod tests {
    use super::super::thread::Thread;
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
        let stored = packed.stored()[0].as_ref().unwrap();
        let sealing = seal::Sealing::default();
        found.value(stored, &sealing.opener("", &thread), &Context::channel("a"), "a")
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
