//! Checkpoints: versioned thread state. Only changed channels travel; the rest are inherited; a
//! value that changed a little is stored as the little that changed.
//!
//! A thread is a tree of checkpoints: each names the one it builds on, and one that builds on
//! another than the newest is a fork. What tasks do before their checkpoint is put is kept beside
//! it as pending writes.

mod blob;
mod carrier;
mod data_key;
pub mod filter;
pub mod manifest;
pub mod moved;
pub mod pack;
pub mod place;
pub mod prune;
mod put;
mod read;
pub mod seal;
pub mod state;
pub mod thread;
mod value;
pub mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use filter::{CheckpointFilter, Compare, Condition};
pub use place::{Head, Placed, place};
pub use prune::{Policy, Pruned};
pub use put::{CheckpointId, ExpectedHead, Put};
pub use read::{Change, ChannelHistory, Checkpoint, CheckpointInfo, Gathering, diff};
pub use seal::{DataKey, KeyProvider};
pub use state::AgentState;
pub use thread::{Thread, ThreadFilter, ThreadInfo};
pub use value::{ChannelValue, ChannelVersion};
pub use writes::{NewWrite, PendingWrite, PutWrites};

use crate::error::{Error, Result};
use crate::limits;
use crate::locks::Guard;
use crate::page::{Page, Paged};
use crate::scope::Scope;

/// The checkpoints of a store.
///
/// # Contract
///
/// - Versions of a thread start at 1 and have no gaps but those of removed checkpoints;
///   newest = greatest version = greatest id.
/// - Of two puts with the same `expected_head` exactly one wins; the other is [`Error::Conflict`].
/// - A thread whose head was written under a [`Guard`] refuses writers without a guard of that
///   lock, until [`Checkpoints::unfence`].
/// - A value, or a part of one, is stored once per thread however often it recurs; every load
///   verifies it. What nothing names any more goes in the transaction that removes its last name.
/// - With keys, what is not encrypted under one of them is refused ([`Error::Sealed`]), and every
///   put brings what it inherits under the current one.
/// - No pending write is ever without its checkpoint.
/// - A put on a thread that was deleted starts it anew, at version 1.
#[async_trait]
pub trait Checkpoints: Send + Sync {
    /// Sets the keys under which this handle keeps values and metadata from now on; `None`, as it
    /// begins: nothing is encrypted. What the other way wrote is refused either way.
    fn seal_with(&self, keys: Option<Arc<dyn KeyProvider>>);

    /// Puts a checkpoint.
    ///
    /// # Errors
    ///
    /// As [`place::plan`]; [`Error::NotFound`] for an unknown parent; [`Error::Fenced`]
    /// under a stale guard; [`Error::ScopeRequired`].
    async fn put(&self, scope: &Scope, put: Put, guard: Option<&Guard>) -> Result<Placed>;

    /// Keeps what a task has done on top of a checkpoint. Sent again it changes nothing: the first
    /// write at a place stays, but for those of [`writes::SPECIAL`], which the last one takes.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when the checkpoint is not there (any more): no write is left behind;
    /// [`Error::Fenced`]; [`Error::Invalid`]; [`Error::ScopeRequired`].
    async fn put_writes(
        &self,
        scope: &Scope,
        writes: PutWrites,
        guard: Option<&Guard>,
    ) -> Result<()>;

    /// The newest checkpoint, or the one named, with its parent, channels and pending writes.
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

    /// The checkpoint of this version.
    ///
    /// # Errors
    ///
    /// As [`Checkpoints::get`].
    async fn get_version(&self, scope: &Scope, thread: &Thread, version: i64)
    -> Result<Checkpoint>;

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

    /// Checkpoints of any threads: by thread and namespace, within one newest first. At most
    /// [`limits::CHECKPOINTS_SCANNED`] are looked at in one call, so a page may hold fewer than
    /// asked for and still say where the next one starts.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field; [`Error::ScopeRequired`].
    async fn list(
        &self,
        scope: &Scope,
        filter: &CheckpointFilter,
        page: &Page,
    ) -> Result<Paged<CheckpointInfo>>;

    /// Threads, last active first.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    async fn list_threads(
        &self,
        scope: &Scope,
        filter: &ThreadFilter,
        page: &Page,
    ) -> Result<Paged<ThreadInfo>>;

    /// Sets how long a thread is kept without activity, from now on; `None`: for good.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Invalid`]; [`Error::ScopeRequired`].
    async fn set_ttl(&self, scope: &Scope, thread: &Thread, ttl: Option<Duration>) -> Result<()>;

    /// Lets writers without a guard write to a thread again.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::ScopeRequired`].
    async fn unfence(&self, scope: &Scope, thread: &Thread) -> Result<()>;

    /// Copies a thread with all of its namespaces, checkpoints and pending writes under a new id.
    /// The copy is the caller's, or the owner's of what is copied where the caller is the tenant;
    /// it is not fenced.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for the source, [`Error::AlreadyExists`] for the target;
    /// [`Error::ScopeRequired`].
    async fn copy_thread(&self, scope: &Scope, from: &str, to: &str) -> Result<u64>;

    /// Removes a thread: all of its namespaces, or the one named. Answers how many checkpoints
    /// went.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::ScopeRequired`].
    async fn delete_thread(
        &self,
        scope: &Scope,
        thread_id: &str,
        namespace: Option<&str>,
    ) -> Result<u64>;

    /// Removes by a policy, or with `dry_run` only says what would go. Threads that are not there
    /// have nothing to remove.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]; [`Error::ScopeRequired`].
    async fn prune(
        &self,
        scope: &Scope,
        thread_ids: &[String],
        policy: &Policy,
        dry_run: bool,
    ) -> Result<Pruned>;

    /// Removes the checkpoints that these runs put, whatever thread they are in.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]; [`Error::ScopeRequired`].
    async fn delete_for_runs(&self, scope: &Scope, runs: &[String]) -> Result<Pruned>;

    /// What differs from one checkpoint of a thread to another, by channel.
    ///
    /// # Errors
    ///
    /// As [`Checkpoints::get`].
    async fn diff(
        &self,
        scope: &Scope,
        thread: &Thread,
        from: &CheckpointId,
        to: &CheckpointId,
    ) -> Result<BTreeMap<String, Change>> {
        // Checkpoints never change: two reads see what one would.
        let before = self.get(scope, thread, Some(from)).await?;
        let after = self.get(scope, thread, Some(to)).await?;
        Ok(diff(&before.channels, &after.channels))
    }

    /// What channels of a checkpoint are made of: for each the value at the nearest ancestor that
    /// has one, and the writes since then. Forks beside the line of ancestors add nothing.
    ///
    /// # Errors
    ///
    /// As [`Checkpoints::get`], for the checkpoint itself; an ancestor that was pruned ends the
    /// line.
    async fn channel_history(
        &self,
        scope: &Scope,
        thread: &Thread,
        id: Option<&CheckpointId>,
        channels: &[String],
    ) -> Result<BTreeMap<String, ChannelHistory>> {
        limits::count("channels", channels.len(), limits::CHANNELS_MAX)?;
        let mut gathering = Gathering::of(channels);
        let mut next = self.get(scope, thread, id).await?.parent;
        while let Some(parent) = next.filter(|_| !gathering.is_complete()) {
            match self.get(scope, thread, Some(&parent)).await {
                Ok(ancestor) => {
                    gathering.add(&ancestor);
                    next = ancestor.parent;
                }
                Err(Error::NotFound { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(gathering.end())
    }
}
