//! Pending writes: what tasks of a superstep have done before their checkpoint is put. They are
//! kept beside the checkpoint they build on, in the order in which they are applied.

use serde::{Deserialize, Serialize};

use super::put::CheckpointId;
use super::thread::Thread;
use super::value::ChannelValue;
use crate::error::{Error, Result};
use crate::limits;

/// Channels whose writes have a place of their own, which a later write takes over: a task has
/// one error, one interrupt.
pub const SPECIAL: [(&str, i32); 4] =
    [("__error__", -1), ("__scheduled__", -2), ("__interrupt__", -3), ("__resume__", -4)];

/// A write of a task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWrite {
    /// The channel it is for.
    pub channel: String,
    /// What is written.
    pub value: ChannelValue,
}

/// What a task has done on top of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutWrites {
    /// The thread.
    pub thread: Thread,
    /// The checkpoint they build on.
    pub checkpoint: CheckpointId,
    /// The task.
    pub task_id: String,
    /// Its place among the tasks of the superstep: writes are ordered by it first.
    #[serde(default)]
    pub task_path: String,
    /// The writes, in order.
    pub writes: Vec<NewWrite>,
}

impl PutWrites {
    /// Writes of a task, none yet.
    pub fn new(thread: Thread, checkpoint: CheckpointId, task_id: impl Into<String>) -> Self {
        Self {
            thread,
            checkpoint,
            task_id: task_id.into(),
            task_path: String::new(),
            writes: Vec::new(),
        }
    }

    /// The same with one more write.
    #[must_use]
    pub fn write(mut self, channel: impl Into<String>, value: ChannelValue) -> Self {
        self.writes.push(NewWrite { channel: channel.into(), value });
        self
    }

    /// The same at a place among the tasks.
    #[must_use]
    pub fn at(mut self, task_path: impl Into<String>) -> Self {
        self.task_path = task_path.into();
        self
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        self.thread.check()?;
        self.checkpoint.check("checkpoint")?;
        limits::name("task_id", &self.task_id, limits::LABEL_BYTES)?;
        limits::label("task_path", &self.task_path, limits::TASK_PATH_BYTES)?;
        limits::count("writes", self.writes.len(), limits::CHANNELS_MAX)?;
        let mut size = 0;
        for write in &self.writes {
            limits::name("writes.channel", &write.channel, limits::LABEL_BYTES)?;
            limits::name("writes.type_tag", &write.value.type_tag, limits::LABEL_BYTES)?;
            size += write.value.bytes.len();
        }
        if size > limits::CHECKPOINT_BYTES {
            return Err(Error::invalid(
                "writes",
                format!("hold {size} bytes; the limit is {}", limits::CHECKPOINT_BYTES),
            ));
        }
        Ok(())
    }

    /// The place of the write at this index.
    pub(super) fn idx(&self, at: usize) -> i32 {
        let channel = &self.writes[at].channel;
        match SPECIAL.iter().find(|(name, _)| name == channel) {
            Some((_, place)) => *place,
            None => i32::try_from(at).unwrap_or(i32::MAX),
        }
    }

    /// The place of every write, and which it is: a place of its own of [`SPECIAL`], or how many
    /// writes went before it. Of two special ones in one call the later one stays.
    pub fn places(&self) -> Vec<(i32, usize)> {
        let mut places: Vec<(i32, usize)> = Vec::with_capacity(self.writes.len());
        for at in 0..self.writes.len() {
            let place = self.idx(at);
            if place < 0 {
                places.retain(|(taken, _)| *taken != place);
            }
            places.push((place, at));
        }
        places
    }
}

/// A pending write of a checkpoint. A checkpoint has them in the order of `task_path`, `task_id`
/// and `idx`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingWrite {
    /// The task's place among the tasks of the superstep.
    pub task_path: String,
    /// The task.
    pub task_id: String,
    /// The place among the task's writes; below zero: special ([`SPECIAL`]).
    pub idx: i32,
    /// The channel it is for.
    pub channel: String,
    /// What is written.
    pub value: ChannelValue,
}

/// Puts pending writes in the order in which they are applied.
pub fn sort(writes: &mut [PendingWrite]) {
    writes.sort_by(|one, other| {
        (&one.task_path, &one.task_id, one.idx).cmp(&(&other.task_path, &other.task_id, other.idx))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_channels_have_places_of_their_own() {
        let value = |text: &str| ChannelValue { type_tag: "t".into(), bytes: text.into() };
        let writes = PutWrites::new(Thread::new("t"), CheckpointId("c".into()), "task")
            .write("a", value("1"))
            .write("__error__", value("2"))
            .write("b", value("3"))
            .write("__error__", value("4"));

        assert_eq!(writes.places(), [(0, 0), (2, 2), (-1, 3)]);
    }
}
