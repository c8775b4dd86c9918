//! Checkpoints: versioned thread state. Only changed channels travel; the rest are inherited; a
//! value that did not change is stored once.
//!
//! The slice that stands: put with compare-and-set, get the newest or by id, history.

pub mod manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::limits;
use crate::locks::Guard;
use crate::page::{Page, Paged};
use crate::scope::Scope;

/// Which thread: an id, and a namespace within it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thread {
    /// The caller's id.
    pub thread_id: String,
    /// A part of the thread, such as a subgraph; `''` is the thread itself.
    #[serde(default)]
    pub namespace: String,
}

impl Thread {
    /// The thread itself.
    pub fn new(thread_id: impl Into<String>) -> Self {
        Self { thread_id: thread_id.into(), namespace: String::new() }
    }

    /// Checks both parts.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::name("thread_id", &self.thread_id, limits::THREAD_BYTES)?;
        limits::label("namespace", &self.namespace, limits::THREAD_BYTES)
    }
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.thread_id),
            namespace => write!(f, "{}/{namespace}", self.thread_id),
        }
    }
}

/// A checkpoint's id: the caller's sortable text, or a `UUIDv7`. Larger is newer in its thread.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckpointId(pub String);

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A channel's value: bytes under a type tag; what they mean is the caller's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelValue {
    /// What the bytes are: `json`, `msgpack`.
    pub type_tag: String,
    /// The value.
    #[serde(with = "hex")]
    pub bytes: Vec<u8>,
}

impl ChannelValue {
    /// A JSON value.
    pub fn json(value: &Value) -> Self {
        Self { type_tag: "json".to_owned(), bytes: value.to_string().into_bytes() }
    }

    /// The key under which its bytes are stored: blake3.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(&self.bytes).as_bytes()
    }
}

/// Bytes as lower-case hex in JSON.
mod hex {
    use std::fmt::Write as _;

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            write!(text, "{byte:02x}").expect("a String takes any text");
        }
        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        if !text.len().is_multiple_of(2) || !text.is_ascii() {
            return Err(D::Error::custom("bytes are an even number of hex digits"));
        }
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16))
            .collect::<Result<_, _>>()
            .map_err(|_| D::Error::custom("bytes are hex digits"))
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
    /// What the newest one must be.
    #[serde(default)]
    pub expected_head: ExpectedHead,
    /// Channels that changed; the parent's others are inherited.
    #[serde(default)]
    pub channels: BTreeMap<String, ChannelValue>,
    /// Channels of the parent that are gone.
    #[serde(default)]
    pub removed: BTreeSet<String>,
    /// `LangGraph`'s super-step number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub superstep: Option<i64>,
    /// Anything of the caller's: a JSON object.
    #[serde(default = "empty")]
    pub metadata: Value,
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
            expected_head: ExpectedHead::Any,
            channels: BTreeMap::new(),
            removed: BTreeSet::new(),
            superstep: None,
            metadata: empty(),
        }
    }

    /// The same with a changed channel.
    #[must_use]
    pub fn channel(mut self, name: impl Into<String>, value: ChannelValue) -> Self {
        self.channels.insert(name.into(), value);
        self
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        self.thread.check()?;
        for (field, id) in [("id", &self.id), ("parent", &self.parent)] {
            if let Some(id) = id {
                limits::name(field, &id.0, limits::CHECKPOINT_ID_BYTES)?;
            }
        }
        if let (Some(id), Some(parent)) = (&self.id, &self.parent)
            && id <= parent
        {
            return Err(Error::invalid("id", format!("is not above its parent {parent}")));
        }
        limits::count("channels", self.channels.len(), limits::CHANNELS_MAX)?;
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
        if let Some(name) = self.removed.iter().find(|name| self.channels.contains_key(*name)) {
            return Err(Error::invalid("removed", format!("names {name}, which also changes")));
        }
        if !self.metadata.is_object() {
            return Err(Error::invalid("metadata", "is not a JSON object"));
        }
        limits::json("metadata", &self.metadata, limits::METADATA_BYTES)
    }
}

/// A thread's newest checkpoint, as a store found it under the thread's lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its id.
    pub id: CheckpointId,
    /// Its version.
    pub version: i64,
}

/// What a put becomes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Placed {
    /// The id it gets.
    pub id: CheckpointId,
    /// What it builds on.
    pub parent: Option<CheckpointId>,
    /// The version it gets: one above the head's.
    pub version: i64,
}

/// Decides a put against the thread's head. `fresh` is a new `UUIDv7`; where the clock ran behind
/// it is raised above the head's id, so that newest, greatest version and greatest id agree.
///
/// # Errors
///
/// [`Error::Conflict`] when the head is not the expected one; [`Error::Invalid`] when the
/// caller's id is not above the head's.
pub fn place(head: Option<&Head>, put: &Put, fresh: Uuid) -> Result<Placed> {
    let met = match (&put.expected_head, head) {
        (ExpectedHead::Any, _) | (ExpectedHead::Empty, None) => true,
        (ExpectedHead::Is(id), Some(head)) => *id == head.id,
        (ExpectedHead::Empty, Some(_)) | (ExpectedHead::Is(_), None) => false,
    };
    if !met {
        return Err(Error::Conflict {
            kind: "thread",
            key: put.thread.to_string(),
            expected: None,
            actual: head.map(|head| head.version),
        });
    }
    let parent = put.parent.clone().or_else(|| head.map(|head| head.id.clone()));
    let id = match (&put.id, head) {
        (Some(id), Some(head)) if *id <= head.id => {
            return Err(Error::invalid("id", format!("is not above the newest one, {}", head.id)));
        }
        (Some(id), _) => id.clone(),
        (None, head) => raise(fresh, head.map(|head| &head.id)),
    };
    Ok(Placed { id, parent, version: head.map_or(0, |head| head.version) + 1 })
}

fn raise(fresh: Uuid, head: Option<&CheckpointId>) -> CheckpointId {
    let fresh = CheckpointId(fresh.to_string());
    match head {
        Some(head) if fresh <= *head => match Uuid::parse_str(&head.0) {
            Ok(uuid) => CheckpointId(Uuid::from_u128(uuid.as_u128().wrapping_add(1)).to_string()),
            // A caller's own scheme sorts above every UUID: a longer text is greater.
            Err(_) => CheckpointId(format!("{}.{fresh}", head.0)),
        },
        _ => fresh,
    }
}

/// A checkpoint as it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Where.
    pub thread: Thread,
    /// Its id.
    pub id: CheckpointId,
    /// What it builds on.
    pub parent: Option<CheckpointId>,
    /// From 1, without gaps in its thread.
    pub version: i64,
    /// `LangGraph`'s super-step number.
    pub superstep: Option<i64>,
    /// The caller's JSON object.
    pub metadata: Value,
    /// Every channel, inherited ones included.
    pub channels: BTreeMap<String, ChannelValue>,
    /// The run of the scope that put it.
    pub run: Option<String>,
    /// When it was put.
    pub created_at: DateTime<Utc>,
}

/// A checkpoint in a history: everything but its channels.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CheckpointInfo {
    /// Its id.
    pub id: CheckpointId,
    /// What it builds on.
    pub parent: Option<CheckpointId>,
    /// Its version.
    pub version: i64,
    /// `LangGraph`'s super-step number.
    pub superstep: Option<i64>,
    /// The caller's JSON object.
    pub metadata: Value,
    /// When it was put.
    pub created_at: DateTime<Utc>,
}

/// The checkpoints of a store.
///
/// # Contract
///
/// - Versions of a thread start at 1 and have no gaps; newest = greatest version = greatest id.
/// - Of two puts with the same `expected_head` exactly one wins; the other is [`Error::Conflict`].
/// - A value is stored once per thread however often it recurs; every load verifies its hash.
#[async_trait]
pub trait Checkpoints: Send + Sync {
    /// Puts a checkpoint.
    ///
    /// # Errors
    ///
    /// As [`place`]; [`Error::NotFound`] for an unknown parent; [`Error::Fenced`] under a stale
    /// guard; [`Error::ScopeRequired`].
    async fn put(&self, scope: &Scope, put: Put, guard: Option<&Guard>) -> Result<Placed>;

    /// The newest checkpoint, or the one named.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Corrupt`] naming thread and channel when a stored value does
    /// not meet its hash; [`Error::ScopeRequired`].
    async fn get(
        &self,
        scope: &Scope,
        thread: &Thread,
        id: Option<&CheckpointId>,
    ) -> Result<Checkpoint>;

    /// A thread's checkpoints, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    async fn history(
        &self,
        scope: &Scope,
        thread: &Thread,
        page: &Page,
    ) -> Result<Paged<CheckpointInfo>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(id: &str, version: i64) -> Head {
        Head { id: CheckpointId(id.into()), version }
    }

    #[test]
    fn a_clock_that_ran_behind_does_not_put_the_newest_below_the_head() {
        let head = head("ffffffff-0000-7000-8000-000000000001", 4);
        let put = Put::new(Thread::new("t"));

        let placed = place(Some(&head), &put, Uuid::from_u128(1)).unwrap();

        assert!(placed.id > head.id);
        assert_eq!(placed.version, 5);
        assert_eq!(placed.parent, Some(head.id));
    }

    #[test]
    fn an_id_of_another_scheme_is_followed_by_a_greater_one() {
        let head = head("step-9", 1);

        let placed = place(Some(&head), &Put::new(Thread::new("t")), Uuid::from_u128(1)).unwrap();

        assert!(placed.id > head.id);
    }

    #[test]
    fn another_head_than_expected_is_a_conflict() {
        let put = Put {
            expected_head: ExpectedHead::Is(CheckpointId("a".into())),
            ..Put::new(Thread::new("t"))
        };

        assert!(matches!(
            place(Some(&head("b", 2)), &put, Uuid::from_u128(1)),
            Err(Error::Conflict { actual: Some(2), .. })
        ));
    }
}
