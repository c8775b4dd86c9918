//! What brings values: a put, pending writes.

use super::manifest;
use super::put::Put;
use super::seal::Context;
use super::thread::Thread;
use super::value::ChannelValue;
use super::writes::PutWrites;

/// What values travel in.
pub trait Carrier: Sync {
    /// The thread they belong to.
    fn thread(&self) -> &Thread;
    /// Where each value belongs, in the order of [`Carrier::values`].
    fn contexts(&self) -> Vec<Context>;
    /// Its values, in an order of its own.
    fn values(&self) -> Vec<&ChannelValue>;
    /// Whether a value stays out of the blobs.
    fn readable(&self, value: &ChannelValue) -> bool;
}

impl Carrier for Put {
    fn thread(&self) -> &Thread {
        &self.thread
    }

    fn contexts(&self) -> Vec<Context> {
        self.channels.keys().map(|name| Context::channel(name)).collect()
    }

    fn values(&self) -> Vec<&ChannelValue> {
        self.channels.values().collect()
    }

    fn readable(&self, value: &ChannelValue) -> bool {
        self.readable && manifest::readable(value).is_some()
    }
}

impl Carrier for PutWrites {
    fn thread(&self) -> &Thread {
        &self.thread
    }

    fn contexts(&self) -> Vec<Context> {
        let context = |(at, write): (usize, &super::NewWrite)| {
            Context::write(&self.checkpoint.0, &self.task_id, self.idx(at), &write.channel)
        };
        self.writes.iter().enumerate().map(context).collect()
    }

    fn values(&self) -> Vec<&ChannelValue> {
        self.writes.iter().map(|write| &write.value).collect()
    }

    fn readable(&self, _value: &ChannelValue) -> bool {
        false
    }
}
