//! A thread that is copied where its values are encrypted: they are bound to their place, so each
//! is opened in the old one and closed in the new one, under the current key.

use super::manifest::{Content, Entry, Manifest};
use super::pack::{Carrier, Key, Packed};
use super::place::Placed;
use super::put::{CheckpointId, Put};
use super::read::Checkpoint;
use super::seal::{AtRest, Context, Sealing};
use super::thread::Thread;
use super::value::ChannelValue;
use super::writes::PendingWrite;
use crate::error::Result;

/// A checkpoint as it is kept in another thread, under the same id.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Its values.
    pub packed: Packed<Put>,
    /// What it holds.
    pub manifest: Manifest,
    /// Its metadata.
    pub at_rest: AtRest,
    /// Its pending writes.
    pub writes: Packed<Carried>,
}

impl Moved {
    /// A checkpoint for another thread.
    ///
    /// # Errors
    ///
    /// The key provider's.
    pub fn of(
        checkpoint: Checkpoint,
        to: &Thread,
        sealing: &Sealing,
        tenant: &str,
    ) -> Result<Self> {
        let placed = Placed {
            id: checkpoint.id.clone(),
            parent: checkpoint.parent,
            version: checkpoint.version,
        };
        let put = Put {
            channels: checkpoint.channels,
            metadata: checkpoint.metadata,
            superstep: checkpoint.superstep,
            ..Put::new(to.clone())
        };
        let carried = Carried {
            thread: to.clone(),
            checkpoint: checkpoint.id,
            writes: checkpoint.pending_writes,
        };
        let packed = Packed::sealed(put, sealing, tenant)?;
        let mut manifest = Manifest::default();
        for (name, version) in checkpoint.channel_versions {
            manifest.0.insert(name, Entry { version, content: None });
        }
        for (name, content) in packed.contents() {
            if let Some(entry) = manifest.0.get_mut(name) {
                entry.content = Some(content);
            }
        }
        debug_assert!(
            manifest.0.values().all(|e| !matches!(e.content, Some(Content::Readable { .. })))
        );
        let at_rest = packed.at_rest(&placed, &manifest);
        Ok(Self { writes: Packed::sealed(carried, sealing, tenant)?, packed, manifest, at_rest })
    }
}

/// Pending writes of a checkpoint, each at the place it has.
#[derive(Clone, Debug)]
pub struct Carried {
    thread: Thread,
    checkpoint: CheckpointId,
    writes: Vec<PendingWrite>,
}

impl Carrier for Carried {
    fn thread(&self) -> &Thread {
        &self.thread
    }

    fn contexts(&self) -> Vec<Context> {
        let context = |write: &PendingWrite| {
            Context::write(&self.checkpoint.0, &write.task_id, write.idx, &write.channel)
        };
        self.writes.iter().map(context).collect()
    }

    fn values(&self) -> Vec<&ChannelValue> {
        self.writes.iter().map(|write| &write.value).collect()
    }

    fn readable(&self, _value: &ChannelValue) -> bool {
        false
    }
}

impl Packed<Carried> {
    /// Task, place and the key of the value of each write.
    ///
    /// # Errors
    ///
    /// None that a value cut here can cause.
    pub fn rows(&self) -> Result<Vec<(&str, i32, Key)>> {
        let given = self.given();
        let stored = given.writes.iter().zip(self.stored());
        stored
            .filter_map(|(write, stored)| Some((write, stored.as_ref()?)))
            .map(|(write, stored)| {
                let key = stored.key(&given.thread, &write.channel)?;
                Ok((write.task_id.as_str(), write.idx, key))
            })
            .collect()
    }
}
