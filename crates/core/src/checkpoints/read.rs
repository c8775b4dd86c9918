//! Checkpoints as they are read, how two differ, and what a channel was made of.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::{Content, Manifest};
use super::pack::Blobs;
use super::put::CheckpointId;
use super::seal::{Context, Opener};
use super::thread::Thread;
use super::value::{ChannelValue, ChannelVersion};
use super::writes::PendingWrite;
use crate::error::Result;

/// A checkpoint as it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Where.
    pub thread: Thread,
    /// Its id.
    pub id: CheckpointId,
    /// What it builds on; it may have been pruned.
    pub parent: Option<CheckpointId>,
    /// From 1, without gaps in its thread but for what was removed.
    pub version: i64,
    /// `LangGraph`'s super-step number.
    pub superstep: Option<i64>,
    /// The caller's JSON object.
    pub metadata: Value,
    /// Every channel that has a value, inherited ones included.
    pub channels: BTreeMap<String, ChannelValue>,
    /// Every channel's version, of those without a value too.
    pub channel_versions: BTreeMap<String, ChannelVersion>,
    /// What tasks have done on top of it, in the order in which it is applied.
    pub pending_writes: Vec<PendingWrite>,
    /// The run of the scope that put it.
    pub run: Option<String>,
    /// When it was put.
    pub created_at: DateTime<Utc>,
}

/// A checkpoint in a list: everything but its channels and pending writes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CheckpointInfo {
    /// Where.
    pub thread: Thread,
    /// Its id.
    pub id: CheckpointId,
    /// What it builds on; it may have been pruned.
    pub parent: Option<CheckpointId>,
    /// Its version.
    pub version: i64,
    /// `LangGraph`'s super-step number.
    pub superstep: Option<i64>,
    /// The caller's JSON object.
    pub metadata: Value,
    /// The run of the scope that put it.
    pub run: Option<String>,
    /// When it was put.
    pub created_at: DateTime<Utc>,
}

impl CheckpointInfo {
    /// The whole checkpoint, its values put together and verified.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Corrupt`] naming thread and channel; [`crate::Error::Sealed`].
    pub fn with(
        self,
        manifest: &Manifest,
        blobs: &Blobs,
        opener: &Opener<'_>,
        pending_writes: Vec<PendingWrite>,
    ) -> Result<Checkpoint> {
        let channels = manifest.values(opener, blobs)?;
        Ok(Checkpoint {
            thread: self.thread,
            id: self.id,
            parent: self.parent,
            version: self.version,
            superstep: self.superstep,
            metadata: self.metadata,
            channels,
            channel_versions: manifest.versions(),
            pending_writes,
            run: self.run,
            created_at: self.created_at,
        })
    }
}

impl Manifest {
    /// Every channel's value, put together and verified.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Corrupt`] naming thread and channel; [`crate::Error::Sealed`].
    pub fn values(
        &self,
        opener: &Opener<'_>,
        blobs: &Blobs,
    ) -> Result<BTreeMap<String, ChannelValue>> {
        let mut values = BTreeMap::new();
        for (name, entry) in &self.0 {
            let value = match &entry.content {
                None => continue,
                Some(Content::Readable { json }) => {
                    opener.seal(None)?;
                    ChannelValue::json(json)
                }
                Some(Content::Stored(stored)) => {
                    blobs.value(stored, opener, &Context::channel(name), name)?
                }
            };
            values.insert(name.clone(), value);
        }
        Ok(values)
    }
}

/// How a channel differs between two checkpoints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// Only the second has it.
    Added {
        /// Its value there.
        after: ChannelValue,
    },
    /// Only the first has it.
    Removed {
        /// Its value there.
        before: ChannelValue,
    },
    /// Both have it, with other values.
    Changed {
        /// Its value in the first.
        before: ChannelValue,
        /// Its value in the second.
        after: ChannelValue,
    },
}

/// What differs from one checkpoint to another, by channel.
///
/// ```
/// use std::collections::BTreeMap;
/// use mnemon_core::checkpoints::{ChannelValue, Change, diff};
/// use serde_json::json;
///
/// let value = |n: i32| ChannelValue::json(&json!(n));
/// let before = BTreeMap::from([("a".to_owned(), value(1)), ("b".to_owned(), value(2))]);
/// let after = BTreeMap::from([("a".to_owned(), value(1)), ("b".to_owned(), value(3))]);
///
/// let changes = diff(&before, &after);
/// assert_eq!(changes.len(), 1);
/// assert_eq!(changes["b"], Change::Changed { before: value(2), after: value(3) });
/// ```
pub fn diff(
    before: &BTreeMap<String, ChannelValue>,
    after: &BTreeMap<String, ChannelValue>,
) -> BTreeMap<String, Change> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| match (before.get(name).cloned(), after.get(name).cloned()) {
        (Some(before), Some(after)) if before == after => None,
        (Some(before), Some(after)) => Some(Change::Changed { before, after }),
        (Some(before), None) => Some(Change::Removed { before }),
        (None, Some(after)) => Some(Change::Added { after }),
        (None, None) => None,
    };
    names.into_iter().filter_map(|name| Some((name.clone(), change(name)?))).collect()
}

/// What a channel of a checkpoint is made of: the value at its nearest ancestor that has one, and
/// what was written to it since then.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ChannelHistory {
    /// The value it starts from; `None`: no ancestor has one.
    pub seed: Option<ChannelValue>,
    /// The writes since then, oldest first. Those of the checkpoint itself are not among them:
    /// they are still pending.
    pub writes: Vec<PendingWrite>,
}

/// Gathers what channels are made of, ancestor by ancestor, newest first.
#[derive(Debug)]
pub struct Gathering {
    open: BTreeSet<String>,
    found: BTreeMap<String, ChannelHistory>,
}

impl Gathering {
    /// Nothing gathered yet.
    pub fn of(channels: &[String]) -> Self {
        Self {
            open: channels.iter().cloned().collect(),
            found: channels.iter().map(|name| (name.clone(), ChannelHistory::default())).collect(),
        }
    }

    /// Whether an older ancestor would add anything.
    pub fn is_complete(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes in the next older ancestor.
    pub fn add(&mut self, ancestor: &Checkpoint) {
        for write in ancestor.pending_writes.iter().rev() {
            if self.open.contains(&write.channel)
                && let Some(history) = self.found.get_mut(&write.channel)
            {
                history.writes.push(write.clone());
            }
        }
        for (name, history) in &mut self.found {
            if let Some(value) = ancestor.channels.get(name)
                && self.open.remove(name)
            {
                history.seed = Some(value.clone());
            }
        }
    }

    /// What was found, the writes oldest first.
    pub fn end(mut self) -> BTreeMap<String, ChannelHistory> {
        for history in self.found.values_mut() {
            history.writes.reverse();
        }
        self.found
    }
}
