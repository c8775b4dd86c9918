//! Encryption at rest: values and metadata are kept under a key of their tenant, and each in the
//! one place it was written for.
//!
//! - Content is XChaCha20-Poly1305. What it is bound to (tenant, thread, channel or the place of a
//!   pending write; for metadata its checkpoint and manifest) is associated data, or goes into
//!   the key under which a part is stored: a row that was put in another's place does not open.
//! - Keys of parts are keyed blake3, so that nobody without the key can tell whether a thread
//!   holds a text he knows. Within a thread and channel equal parts still have equal keys.
//! - Nonces are keyed hashes of everything that is encrypted: the same content in the same place
//!   is the same bytes, and two different ones have the same nonce as rarely as two hashes meet.
//! - Names are not secret: channels, type tags, tasks, ids, versions and sizes stay readable.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde_json::Value;

use super::data_key::Use;
pub use super::data_key::{DataKey, KeyProvider};
use super::manifest::Manifest;
use super::pack::Key;
use super::thread::Thread;
use crate::error::{Error, Result};

/// Whether a handle encrypts, and with whose keys.
#[derive(Clone, Default)]
pub struct Sealing(Option<Arc<dyn KeyProvider>>);

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Sealing(on)" } else { "Sealing(off)" })
    }
}

impl Sealing {
    /// With these keys; `None`: nothing is encrypted.
    pub fn with(keys: Option<Arc<dyn KeyProvider>>) -> Self {
        Self(keys)
    }

    /// Whether it encrypts.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// What closes a thread's values from now on; `None`: nothing does.
    ///
    /// # Errors
    ///
    /// The provider's.
    pub fn seal(&self, tenant: &str, thread: &Thread) -> Result<Option<Arc<Seal>>> {
        let Some(keys) = &self.0 else { return Ok(None) };
        Ok(Some(Arc::new(Seal::of(&keys.current(tenant)?, tenant, thread))))
    }

    /// What opens a thread's values.
    pub fn opener<'a>(&'a self, tenant: &'a str, thread: &'a Thread) -> Opener<'a> {
        Opener { keys: self.0.as_deref(), tenant, thread }
    }
}

/// Opens what is kept of a thread.
#[derive(Clone, Copy)]
pub struct Opener<'a> {
    keys: Option<&'a dyn KeyProvider>,
    tenant: &'a str,
    pub(super) thread: &'a Thread,
}

impl fmt::Debug for Opener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("thread", self.thread).finish_non_exhaustive()
    }
}

impl Opener<'_> {
    /// The seal of what was written under a key; `None`: it is not encrypted, and need not be.
    ///
    /// # Errors
    ///
    /// [`Error::Sealed`] when the key is not known, when there are no keys, and for what is not
    /// encrypted where it should be.
    pub fn seal(&self, key_id: Option<&str>) -> Result<Option<Seal>> {
        match (self.keys, key_id) {
            (None, None) => Ok(None),
            (keys, key_id) => {
                check(self.thread, keys.is_some(), key_id)?;
                let (Some(keys), Some(id)) = (keys, key_id) else { return Ok(None) };
                let key = keys.key(self.tenant, id)?;
                let key =
                    key.ok_or_else(|| refused(self.thread, key_id, "is not among the keys"))?;
                Ok(Some(Seal::of(&key, self.tenant, self.thread)))
            }
        }
    }

    /// A checkpoint's metadata.
    ///
    /// # Errors
    ///
    /// As [`Opener::seal`]; [`Error::Corrupt`] when it, the manifest or the place in the thread is
    /// not what was put.
    pub fn metadata(&self, at_rest: AtRest, bound: &Bound<'_>) -> Result<Value> {
        let Some(seal) = self.seal(at_rest.key_id.as_deref())? else {
            return Ok(at_rest.metadata);
        };
        let what = format!("the metadata of checkpoint {}", bound.id);
        let fail = |broken: Broken| broken.into_error(&seal, self.thread, &what);
        let sealed = at_rest.sealed.ok_or_else(|| fail(Broken::Changed))?;
        let open = seal.open(&bound.bytes(), &sealed).map_err(fail)?;
        serde_json::from_slice(&open).map_err(|_| fail(Broken::Changed))
    }
}

/// Refuses what is not encrypted where it should be, and what is where nobody has keys.
pub(super) fn check(thread: &Thread, on: bool, key_id: Option<&str>) -> Result<()> {
    match (on, key_id) {
        (true, None) => {
            let reason = "holds what is not encrypted, and encryption is on".to_owned();
            Err(Error::Sealed { thread: thread.to_string(), key: None, reason })
        }
        (false, Some(_)) => Err(refused(thread, key_id, "is needed, and no keys are configured")),
        _ => Ok(()),
    }
}

fn refused(thread: &Thread, key_id: Option<&str>, reason: &str) -> Error {
    let id = key_id.unwrap_or_default();
    Error::Sealed {
        thread: thread.to_string(),
        key: key_id.map(str::to_owned),
        reason: format!("key {id} {reason}"),
    }
}

/// A checkpoint's metadata as a store keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AtRest {
    /// The metadata; an empty object where it is encrypted.
    pub metadata: Value,
    /// The metadata, encrypted.
    pub sealed: Option<Vec<u8>>,
    /// Under which key.
    pub key_id: Option<String>,
}

impl AtRest {
    /// Metadata that is not encrypted.
    pub fn plain(metadata: Value) -> Self {
        Self { metadata, sealed: None, key_id: None }
    }

    /// Metadata under a seal, bound to its checkpoint.
    pub fn sealed(metadata: &Value, seal: &Seal, bound: &Bound<'_>) -> Self {
        let sealed = seal.close(&bound.bytes(), metadata.to_string().as_bytes());
        let metadata = Value::Object(serde_json::Map::new());
        Self { metadata, sealed: Some(sealed), key_id: Some(seal.key_id.clone()) }
    }
}

/// What a checkpoint's metadata is bound to: its place in the thread, and every value it names.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// Its id.
    pub id: &'a str,
    /// What it builds on.
    pub parent: Option<&'a str>,
    /// Its version.
    pub version: i64,
    /// The super-step number.
    pub superstep: Option<i64>,
    /// What it holds.
    pub manifest: &'a Manifest,
}

impl Bound<'_> {
    fn bytes(&self) -> Vec<u8> {
        let manifest = serde_json::to_vec(self.manifest).expect("a manifest is JSON");
        let superstep = self.superstep.map(|step| step.to_string());
        let mut bytes = Vec::new();
        part(&mut bytes, b"metadata");
        part(&mut bytes, self.id.as_bytes());
        part(&mut bytes, &self.version.to_le_bytes());
        for absent in [self.parent, superstep.as_deref()] {
            part(&mut bytes, if absent.is_some() { b"some" } else { b"none" });
            part(&mut bytes, absent.unwrap_or_default().as_bytes());
        }
        part(&mut bytes, blake3::hash(&manifest).as_bytes());
        bytes
    }
}

/// Where in its thread a value belongs: a channel, or a place among the pending writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Context(Vec<u8>);

impl Context {
    /// A channel of checkpoints.
    pub fn channel(name: &str) -> Self {
        Self::of(&[b"channel", name.as_bytes()])
    }

    /// A pending write.
    pub fn write(checkpoint: &str, task_id: &str, idx: i32, channel: &str) -> Self {
        let (checkpoint, task) = (checkpoint.as_bytes(), task_id.as_bytes());
        Self::of(&[b"write", checkpoint, task, &idx.to_le_bytes(), channel.as_bytes()])
    }

    fn of(parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        for each in parts {
            part(&mut bytes, each);
        }
        Self(bytes)
    }
}

/// Appends a part with its length, so that no two lists of parts are the same bytes.
fn part(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    to.extend_from_slice(bytes);
}

/// A key at work on one thread.
pub struct Seal {
    key_id: String,
    cipher: XChaCha20Poly1305,
    parts: [u8; 32],
    nonces: [u8; 32],
    check: [u8; CHECK],
    /// Tenant, thread and namespace.
    place: Vec<u8>,
}

/// Every sealed text begins with some bytes that tell the key, then the nonce.
const CHECK: usize = 8;
const NONCE: usize = 24;

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Why a sealed text does not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    WrongKey,
    Changed,
}

impl Broken {
    /// Named after what does not open: `channel messages`.
    pub(super) fn into_error(self, seal: &Seal, thread: &Thread, what: &str) -> Error {
        match self {
            Self::WrongKey => {
                refused(thread, Some(&seal.key_id), "is not the one it was written with")
            }
            Self::Changed => Error::corrupt(
                format!("{what} of thread {thread}"),
                "it was changed, or was written for another place",
            ),
        }
    }
}

impl Seal {
    fn of(key: &DataKey, tenant: &str, thread: &Thread) -> Self {
        let mut place = Vec::new();
        for name in [tenant, &thread.thread_id, &thread.namespace] {
            part(&mut place, name.as_bytes());
        }
        let check = key.derived(Use::Check);
        Self {
            key_id: key.id().to_owned(),
            cipher: XChaCha20Poly1305::new(&key.derived(Use::Content).into()),
            parts: key.derived(Use::Parts),
            nonces: key.derived(Use::Nonces),
            check: *check.first_chunk().expect("it has 32 bytes"),
            place,
        }
    }

    /// The id of its key.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The key of a part or of a list of parts.
    pub(super) fn hash(&self, kind: &[u8], within: &Context, content: &[u8]) -> Key {
        let mut head = Vec::with_capacity(self.place.len() + within.0.len() + 32);
        part(&mut head, kind);
        head.extend_from_slice(&self.place);
        part(&mut head, &within.0);
        *blake3::Hasher::new_keyed(&self.parts).update(&head).update(content).finalize().as_bytes()
    }

    /// Closes content, bound to the thread and to `what`.
    pub(super) fn close(&self, what: &[u8], content: &[u8]) -> Vec<u8> {
        let aad = self.bound(what);
        let nonce = blake3::Hasher::new_keyed(&self.nonces).update(&aad).update(content).finalize();
        let nonce: [u8; NONCE] = *nonce.as_bytes().first_chunk().expect("it has 32 bytes");
        let payload = Payload { msg: content, aad: &aad };
        let text = self.cipher.encrypt(&XNonce::from(nonce), payload);
        let text = text.expect("memory takes what a checkpoint may hold");
        [self.check.as_slice(), &nonce, &text].concat()
    }

    /// Opens what [`Seal::close`] closed.
    pub(super) fn open(&self, what: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let (check, rest) = sealed.split_first_chunk::<CHECK>().ok_or(Broken::Changed)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE>().ok_or(Broken::Changed)?;
        if *check != self.check {
            return Err(Broken::WrongKey);
        }
        let payload = Payload { msg: text, aad: &self.bound(what) };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| Broken::Changed)
    }

    fn bound(&self, what: &[u8]) -> Vec<u8> {
        let mut aad = self.place.clone();
        part(&mut aad, what);
        aad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(secret: u8, tenant: &str, thread: &str) -> Seal {
        let key = DataKey::new("k", [secret; 32]).unwrap().of_tenant(tenant);
        Seal::of(&key, tenant, &Thread::new(thread))
    }

    #[test]
    fn what_was_closed_opens_in_its_own_place_only() {
        let closed = seal(1, "a", "t").close(b"here", b"content");

        assert_eq!(seal(1, "a", "t").open(b"here", &closed).unwrap(), b"content");
        assert_eq!(seal(1, "a", "t").open(b"there", &closed), Err(Broken::Changed));
        assert_eq!(seal(1, "a", "u").open(b"here", &closed), Err(Broken::Changed));
        assert_eq!(seal(1, "b", "t").open(b"here", &closed), Err(Broken::WrongKey));
        assert_eq!(seal(2, "a", "t").open(b"here", &closed), Err(Broken::WrongKey));
        for at in 0..closed.len() {
            let mut changed = closed.clone();
            changed[at] ^= 1;
            assert!(seal(1, "a", "t").open(b"here", &changed).is_err(), "byte {at}");
            assert!(seal(1, "a", "t").open(b"here", &closed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn contexts_that_read_alike_are_not_alike() {
        let one = Context::write("c", "ab", 0, "x");
        let other = Context::write("c", "a", 0, "bx");
        let seal = seal(1, "a", "t");

        assert_ne!(seal.hash(b"part", &one, b""), seal.hash(b"part", &other, b""));
        assert_ne!(seal.hash(b"part", &one, b""), seal.hash(b"list", &one, b""));
    }

    #[test]
    fn no_debug_text_tells_a_secret() {
        let key = DataKey::new("k", *b"canary-canary-canary-canary-cana").unwrap();

        assert!(!format!("{key:?} {:?}", seal(1, "a", "t")).contains("canary"));
    }
}
