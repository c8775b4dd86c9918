//! A checkpoint's manifest: which value every channel has, by hash. Inherited from the parent, so
//! that only changed channels travel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ChannelValue, Put, Thread};
use crate::error::{Error, Result};
use crate::limits;

/// One channel's value, by hash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// From 1, by one whenever the channel changes.
    pub version: i64,
    /// What the bytes are.
    pub type_tag: String,
    /// blake3 of the bytes, in lower-case hex.
    pub hash: String,
    /// How many bytes.
    pub size: usize,
}

impl Entry {
    /// The key under which the bytes are stored.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] naming thread and channel when the hash is none.
    pub fn key(&self, thread: &Thread, channel: &str) -> Result<[u8; 32]> {
        let hash = blake3::Hash::from_hex(&self.hash)
            .map_err(|_| corrupt(thread, channel, "its hash is not 64 hex digits"))?;
        if self.size > limits::CHECKPOINT_BYTES {
            return Err(corrupt(thread, channel, "its size is over the limit of a checkpoint"));
        }
        Ok(*hash.as_bytes())
    }

    /// The value, if these bytes are what was put.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] naming thread and channel when size or hash differ.
    pub fn verified(&self, thread: &Thread, channel: &str, bytes: Vec<u8>) -> Result<ChannelValue> {
        let value = ChannelValue { type_tag: self.type_tag.clone(), bytes };
        if value.bytes.len() != self.size || value.hash() != self.key(thread, channel)? {
            return Err(corrupt(thread, channel, "its bytes are not those that were put"));
        }
        Ok(value)
    }
}

/// [`Error::Corrupt`] for a channel's stored value.
pub fn corrupt(thread: &Thread, channel: &str, reason: &str) -> Error {
    Error::corrupt(format!("channel {channel} of thread {thread}"), reason)
}

/// Every channel of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest(pub BTreeMap<String, Entry>);

impl Manifest {
    /// The manifest of a checkpoint on top of this one.
    #[must_use]
    pub fn next(&self, put: &Put) -> Self {
        let mut channels = self.0.clone();
        channels.retain(|name, _| !put.removed.contains(name));
        for (name, value) in &put.channels {
            let entry = Entry {
                version: self.0.get(name).map_or(0, |entry| entry.version) + 1,
                type_tag: value.type_tag.clone(),
                hash: blake3::Hash::from_bytes(value.hash()).to_hex().to_string(),
                size: value.bytes.len(),
            };
            channels.insert(name.clone(), entry);
        }
        Self(channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> ChannelValue {
        ChannelValue { type_tag: "json".into(), bytes: text.into() }
    }

    #[test]
    fn what_did_not_change_is_inherited() {
        let thread = Thread::new("t");
        let first = Put::new(thread.clone()).channel("a", value("1")).channel("b", value("2"));
        let mut second = Put::new(thread).channel("a", value("3"));
        second.removed.insert("b".into());

        let before = Manifest::default().next(&first);
        let after = before.next(&second);

        assert_eq!(before.0["b"].version, 1);
        assert_eq!(after.0.len(), 1);
        assert_eq!(after.0["a"].version, 2);
    }

    #[test]
    fn other_bytes_are_corrupt_and_named() {
        let put = Put::new(Thread::new("t")).channel("a", value("1"));
        let manifest = Manifest::default().next(&put);
        let entry = &manifest.0["a"];

        assert!(entry.verified(&put.thread, "a", b"1".to_vec()).is_ok());
        let error = entry.verified(&put.thread, "a", b"2".to_vec()).unwrap_err();
        assert!(error.to_string().starts_with("channel a of thread t is corrupt"), "{error}");
    }
}
