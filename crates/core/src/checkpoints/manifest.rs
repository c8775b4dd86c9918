//! A checkpoint's manifest: which value every channel has. Inherited from the parent, so that
//! only changed channels travel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pack::{Key, Packed, Stored};
use super::{ChannelValue, ChannelVersion, Put, Thread};
use crate::error::{Error, Result};
use crate::limits;

/// One channel of a checkpoint.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its version.
    pub version: ChannelVersion,
    /// Where its value is; `None`: it has a version and no value.
    #[serde(flatten)]
    pub content: Option<Content>,
}

/// Where a channel's value is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Among the thread's blobs.
    Stored(Stored),
    /// Here, as JSON that SQL can read.
    Readable {
        /// The value.
        json: Value,
    },
}

/// [`Error::Corrupt`] for a channel's stored value.
pub fn corrupt(thread: &Thread, channel: &str, reason: &str) -> Error {
    Error::corrupt(format!("channel {channel} of thread {thread}"), reason)
}

/// Every channel of a checkpoint.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest(pub BTreeMap<String, Entry>);

impl Manifest {
    /// The manifest of a checkpoint on top of this one. `packed` holds the put's values.
    #[must_use]
    pub fn next(&self, packed: &Packed<Put>) -> Self {
        let put = packed.given();
        let mut channels = match &put.channel_versions {
            None => self.inherited(put),
            Some(versions) => self.resolved(versions),
        };
        for (name, content) in packed.contents() {
            let version = match put.channel_versions.as_ref().and_then(|all| all.get(name)) {
                Some(version) => version.clone(),
                None => ChannelVersion::after(self.0.get(name).map(|entry| &entry.version)),
            };
            channels.insert(name.clone(), Entry { version, content: Some(content) });
        }
        for (name, stored) in packed.renewed() {
            if let Some(entry) = channels.get_mut(name) {
                entry.content = Some(Content::Stored(stored.clone()));
            }
        }
        Self(channels)
    }

    fn inherited(&self, put: &Put) -> BTreeMap<String, Entry> {
        let kept = self.0.iter().filter(|(name, _)| !put.removed.contains(*name));
        kept.map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    /// What the caller's versions mean here: the parent's value at that version, or none.
    fn resolved(&self, versions: &BTreeMap<String, ChannelVersion>) -> BTreeMap<String, Entry> {
        let resolve = |(name, version): (&String, &ChannelVersion)| {
            let entry = match self.0.get(name) {
                Some(entry) if entry.version == *version => entry.clone(),
                _ => Entry { version: version.clone(), content: None },
            };
            (name.clone(), entry)
        };
        versions.iter().map(resolve).collect()
    }

    /// The keys of the values it names among the thread's blobs.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] naming thread and channel when a key is none.
    pub fn keys(&self, thread: &Thread) -> Result<Vec<Key>> {
        self.0
            .iter()
            .filter_map(|(name, entry)| match &entry.content {
                Some(Content::Stored(stored)) => Some(stored.key(thread, name)),
                _ => None,
            })
            .collect()
    }

    /// Every channel's version.
    pub fn versions(&self) -> BTreeMap<String, ChannelVersion> {
        self.0.iter().map(|(name, entry)| (name.clone(), entry.version.clone())).collect()
    }
}

/// The JSON of a value, where SQL may read it and its bytes come back the same.
pub(super) fn readable(value: &ChannelValue) -> Option<Value> {
    if value.bytes.len() > limits::READABLE_BYTES {
        return None;
    }
    let json = value.as_json()?;
    let text = json.to_string();
    // A server's numbers know no negative zero; a NUL cannot be text there.
    let same = text.as_bytes() == value.bytes && !text.contains("-0.0");
    (same && limits::json("value", &json, limits::READABLE_BYTES).is_ok()).then_some(json)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn value(text: &str) -> ChannelValue {
        ChannelValue { type_tag: "t".into(), bytes: text.into() }
    }

    fn on(manifest: &Manifest, put: Put) -> Manifest {
        manifest.next(&Packed::of(put))
    }

    #[test]
    fn what_did_not_change_is_inherited() {
        let thread = Thread::new("t");
        let first = Put::new(thread.clone()).channel("a", value("1")).channel("b", value("2"));
        let mut second = Put::new(thread).channel("a", value("3"));
        second.removed.insert("b".into());

        let before = on(&Manifest::default(), first);
        let after = on(&before, second);

        assert_eq!(before.0["b"].version, 1.into());
        assert_eq!(after.0.len(), 1);
        assert_eq!(after.0["a"].version, 2.into());
    }

    #[test]
    fn the_caller_s_versions_resolve_against_the_parent() {
        let thread = Thread::new("t");
        let versions = |all: &[(&str, &str)]| {
            Some(all.iter().map(|(name, v)| ((*name).to_owned(), (*v).into())).collect())
        };
        let first = Put {
            channel_versions: versions(&[("a", "1"), ("b", "1")]),
            ..Put::new(thread.clone()).channel("a", value("1")).channel("b", value("2"))
        };
        let second = Put {
            channel_versions: versions(&[("a", "1"), ("b", "2"), ("c", "1")]),
            ..Put::new(thread).channel("c", value("3"))
        };

        let before = on(&Manifest::default(), first);
        let after = on(&before, second);

        assert_eq!(after.0["a"], before.0["a"]);
        assert_eq!(after.0["b"], Entry { version: "2".into(), content: None });
        assert!(after.0["c"].content.is_some());
    }

    #[test]
    fn a_manifest_survives_its_json() {
        let put = Put { readable: true, ..Put::new(Thread::new("t")) }
            .channel("stored", value("1"))
            .channel("json", ChannelValue::json(&serde_json::json!({ "n": 1.5 })));
        let mut manifest = on(&Manifest::default(), put);
        manifest.0.insert("none".into(), Entry { version: 3.into(), content: None });

        let json = serde_json::to_value(&manifest).unwrap();

        assert_eq!(json["json"]["json"]["n"], 1.5);
        assert_eq!(serde_json::from_value::<Manifest>(json).unwrap(), manifest);
        let versions: BTreeMap<String, ChannelVersion> = manifest.versions();
        assert_eq!(versions["none"], 3.into());
    }

    #[test]
    fn only_json_that_comes_back_the_same_is_readable() {
        let json = |text: &str| ChannelValue { type_tag: "json".into(), bytes: text.into() };

        assert!(readable(&json(r#"{"a":1}"#)).is_some());
        for other in [r#"{"b":1,"a":2}"#, "{ }", "-0.0", r#""\u0000""#, "nan", "1e999"] {
            assert!(readable(&json(other)).is_none(), "{other}");
        }
    }
}
