//! Versioned thread state.

mod keys;
mod states;

use std::collections::BTreeMap;
use std::time::Duration;

pub use mnemon_core::checkpoints::state::{AgentStateChange, TodoItem, TodoStatus};
pub use mnemon_core::checkpoints::*;
use mnemon_core::locks::Guard;
use mnemon_core::{Page, Paged, Result, Scope};

pub use keys::KeyFile;
pub use states::States;

use crate::engine::Inner;

/// Versioned thread state of an open Mnemon; see [`crate::Mnemon::checkpoints`].
pub struct Checkpoints<'a> {
    pub(crate) inner: &'a Inner,
}

impl Checkpoints<'_> {
    /// Puts a checkpoint on a thread: only changed channels travel.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Conflict`] when the newest is not the expected one; [`crate::Error::NotFound`]
    /// for an unknown parent; [`crate::Error::Fenced`]; [`crate::Error::Invalid`];
    /// [`crate::Error::ScopeRequired`].
    pub async fn put(&self, scope: &Scope, put: Put, guard: Option<&Guard>) -> Result<Placed> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().put(scope, put, guard).await;
        self.inner.watched(scope, outcome).await
    }

    /// The newest checkpoint of a thread, or the one named.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::Corrupt`]; [`crate::Error::ScopeRequired`].
    pub async fn get(
        &self,
        scope: &Scope,
        thread: &Thread,
        id: Option<&CheckpointId>,
    ) -> Result<Checkpoint> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().get(scope, thread, id).await;
        self.inner.watched(scope, outcome).await
    }

    /// The checkpoint of this version.
    ///
    /// # Errors
    ///
    /// As [`Checkpoints::get`].
    pub async fn get_version(
        &self,
        scope: &Scope,
        thread: &Thread,
        version: i64,
    ) -> Result<Checkpoint> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().get_version(scope, thread, version).await;
        self.inner.watched(scope, outcome).await
    }

    /// A thread's checkpoints, newest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a foreign cursor; [`crate::Error::ScopeRequired`].
    pub async fn history(
        &self,
        scope: &Scope,
        thread: &Thread,
        page: &Page,
    ) -> Result<Paged<CheckpointInfo>> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().history(scope, thread, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Checkpoints of any threads that a filter lets through: by thread and namespace, within one
    /// newest first. A page may hold fewer than asked for and still say where the next one starts.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn list(
        &self,
        scope: &Scope,
        filter: &CheckpointFilter,
        page: &Page,
    ) -> Result<Paged<CheckpointInfo>> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().list(scope, filter, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Threads, last active first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn list_threads(
        &self,
        scope: &Scope,
        filter: &ThreadFilter,
        page: &Page,
    ) -> Result<Paged<ThreadInfo>> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().list_threads(scope, filter, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Keeps what a task has done on top of a checkpoint, until the next one is put.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`] when the checkpoint is not there (any more);
    /// [`crate::Error::Fenced`]; [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn put_writes(
        &self,
        scope: &Scope,
        writes: PutWrites,
        guard: Option<&Guard>,
    ) -> Result<()> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().put_writes(scope, writes, guard).await;
        self.inner.watched(scope, outcome).await
    }

    /// Sets how long a thread is kept without activity; `None`: for good.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn set_ttl(
        &self,
        scope: &Scope,
        thread: &Thread,
        ttl: Option<Duration>,
    ) -> Result<()> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().set_ttl(scope, thread, ttl).await;
        self.inner.watched(scope, outcome).await
    }

    /// Lets writers without a guard write again to a thread that was written under one.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    pub async fn unfence(&self, scope: &Scope, thread: &Thread) -> Result<()> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().unfence(scope, thread).await;
        self.inner.watched(scope, outcome).await
    }

    /// Copies a thread with all of its namespaces under a new id; how many checkpoints.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`] for the source, [`crate::Error::AlreadyExists`] for the target;
    /// [`crate::Error::ScopeRequired`].
    pub async fn copy_thread(&self, scope: &Scope, from: &str, to: &str) -> Result<u64> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().copy_thread(scope, from, to).await;
        self.inner.watched(scope, outcome).await
    }

    /// Removes a thread: all of its namespaces, or the one named; how many checkpoints.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    pub async fn delete_thread(
        &self,
        scope: &Scope,
        thread_id: &str,
        namespace: Option<&str>,
    ) -> Result<u64> {
        self.inner.ready()?;
        let outcome =
            self.inner.store.checkpoints().delete_thread(scope, thread_id, namespace).await;
        self.inner.watched(scope, outcome).await
    }

    /// Removes by a policy, or with `dry_run` only says what would go.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn prune(
        &self,
        scope: &Scope,
        thread_ids: &[String],
        policy: &Policy,
        dry_run: bool,
    ) -> Result<Pruned> {
        self.inner.ready()?;
        let outcome =
            self.inner.store.checkpoints().prune(scope, thread_ids, policy, dry_run).await;
        self.inner.watched(scope, outcome).await
    }

    /// Removes the checkpoints that these runs put.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn delete_for_runs(&self, scope: &Scope, runs: &[String]) -> Result<Pruned> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().delete_for_runs(scope, runs).await;
        self.inner.watched(scope, outcome).await
    }

    /// What differs from one checkpoint of a thread to another, by channel.
    ///
    /// # Errors
    ///
    /// As [`Checkpoints::get`].
    pub async fn diff(
        &self,
        scope: &Scope,
        thread: &Thread,
        from: &CheckpointId,
        to: &CheckpointId,
    ) -> Result<BTreeMap<String, Change>> {
        self.inner.ready()?;
        let outcome = self.inner.store.checkpoints().diff(scope, thread, from, to).await;
        self.inner.watched(scope, outcome).await
    }

    /// What channels of a checkpoint are made of: the value at the nearest ancestor that has one,
    /// and the writes since then.
    ///
    /// # Errors
    ///
    /// As [`Checkpoints::get`].
    pub async fn channel_history(
        &self,
        scope: &Scope,
        thread: &Thread,
        id: Option<&CheckpointId>,
        channels: &[String],
    ) -> Result<BTreeMap<String, ChannelHistory>> {
        self.inner.ready()?;
        let outcome =
            self.inner.store.checkpoints().channel_history(scope, thread, id, channels).await;
        self.inner.watched(scope, outcome).await
    }
}
