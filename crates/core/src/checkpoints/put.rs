//! A checkpoint to put.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::thread::{self, Thread};
use super::value::{ChannelValue, ChannelVersion};
use crate::error::{Error, Result};
use crate::limits;

/// A checkpoint's id: the caller's sortable text, or a `UUIDv7`. Larger is newer in its thread.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckpointId(pub String);

impl CheckpointId {
    /// Checks the text.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self, field: &'static str) -> Result<()> {
        limits::name(field, &self.0, limits::CHECKPOINT_ID_BYTES)
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the newest checkpoint must be for a put to be accepted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedHead {
    /// Whatever it is: forks are allowed, and visible by their parents.
    #[default]
    Any,
    /// The thread has none yet.
    Empty,
    /// This one.
    Is(CheckpointId),
}

/// A checkpoint to put.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// Where.
    pub thread: Thread,
    /// The caller's id, above its parent's; absent: a `UUIDv7` above the head's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<CheckpointId>,
    /// What it builds on; absent: the newest one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<CheckpointId>,
    /// Whether it builds on nothing: no parent, nothing inherited, another tree in the thread.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub root: bool,
    /// What the newest one must be.
    #[serde(default)]
    pub expected_head: ExpectedHead,
    /// Channels that changed; the parent's others are inherited.
    #[serde(default)]
    pub channels: BTreeMap<String, ChannelValue>,
    /// Channels of the parent that are gone.
    #[serde(default)]
    pub removed: BTreeSet<String>,
    /// Every channel of the checkpoint with its version, where the caller counts them: one that
    /// is not named is gone; one whose value does not travel is the parent's at that version, and
    /// where the parent has another version, a channel without a value. Absent: Mnemon counts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub channel_versions: Option<BTreeMap<String, ChannelVersion>>,
    /// `LangGraph`'s super-step number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub superstep: Option<i64>,
    /// Anything of the caller's: a JSON object.
    #[serde(default = "empty")]
    pub metadata: Value,
    /// How long the thread is kept without activity from now on; absent: as it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ttl: Option<Duration>,
    /// Whether JSON values of at most [`limits::READABLE_BYTES`] are kept as JSON that SQL can
    /// read, inside the manifest, instead of as compressed bytes.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub readable: bool,
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

impl Put {
    /// A checkpoint on top of a thread, without channels yet.
    pub fn new(thread: Thread) -> Self {
        Self {
            thread,
            id: None,
            parent: None,
            root: false,
            expected_head: ExpectedHead::Any,
            channels: BTreeMap::new(),
            removed: BTreeSet::new(),
            channel_versions: None,
            superstep: None,
            metadata: empty(),
            ttl: None,
            readable: false,
        }
    }

    /// The same with a changed channel.
    #[must_use]
    pub fn channel(mut self, name: impl Into<String>, value: ChannelValue) -> Self {
        self.channels.insert(name.into(), value);
        self
    }

    /// The same on top of a checkpoint that need not be the newest: a fork.
    #[must_use]
    pub fn on(mut self, parent: CheckpointId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        self.thread.check()?;
        if let Some(id) = &self.id {
            id.check("id")?;
        }
        if let Some(parent) = &self.parent {
            parent.check("parent")?;
        }
        if let ExpectedHead::Is(head) = &self.expected_head {
            head.check("expected_head")?;
        }
        if self.root && self.parent.is_some() {
            return Err(Error::invalid("root", "has no parent, and one is named"));
        }
        if let (Some(id), Some(parent)) = (&self.id, &self.parent)
            && id <= parent
        {
            return Err(Error::invalid("id", format!("is not above its parent {parent}")));
        }
        self.check_channels()?;
        thread::check_ttl(self.ttl)?;
        check_metadata(&self.metadata)
    }

    fn check_channels(&self) -> Result<()> {
        limits::count("channels", self.channels.len(), limits::CHANNELS_MAX)?;
        limits::count("removed", self.removed.len(), limits::CHANNELS_MAX)?;
        let mut size = 0;
        for (name, value) in &self.channels {
            limits::name("channels", name, limits::LABEL_BYTES)?;
            limits::name("channels.type_tag", &value.type_tag, limits::LABEL_BYTES)?;
            size += value.bytes.len();
        }
        if size > limits::CHECKPOINT_BYTES {
            return Err(Error::invalid(
                "channels",
                format!("hold {size} bytes; the limit is {}", limits::CHECKPOINT_BYTES),
            ));
        }
        for name in &self.removed {
            limits::name("removed", name, limits::LABEL_BYTES)?;
            if self.channels.contains_key(name) {
                return Err(Error::invalid("removed", format!("names {name}, which also changes")));
            }
        }
        let Some(versions) = &self.channel_versions else { return Ok(()) };
        limits::count("channel_versions", versions.len(), limits::CHANNELS_MAX)?;
        for (name, version) in versions {
            limits::name("channel_versions", name, limits::LABEL_BYTES)?;
            if let ChannelVersion::Text(text) = version {
                limits::label("channel_versions", text, limits::LABEL_BYTES)?;
            }
        }
        let unnamed = self.channels.keys().find(|name| !versions.contains_key(*name));
        match (unnamed, self.removed.iter().find(|name| versions.contains_key(*name))) {
            (Some(name), _) => Err(Error::invalid(
                "channel_versions",
                format!("does not name {name}, which changes"),
            )),
            (_, Some(name)) => {
                Err(Error::invalid("removed", format!("names {name}, which has a version")))
            }
            (None, None) => Ok(()),
        }
    }
}

/// Checks a checkpoint's metadata.
pub(super) fn check_metadata(metadata: &Value) -> Result<()> {
    if !metadata.is_object() {
        return Err(Error::invalid("metadata", "is not a JSON object"));
    }
    limits::json("metadata", metadata, limits::METADATA_BYTES)
}
