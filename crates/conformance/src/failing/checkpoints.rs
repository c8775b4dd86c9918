//! The failing store's checkpoints.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::checkpoints::{
    Checkpoint, CheckpointFilter, CheckpointId, CheckpointInfo, Checkpoints, KeyProvider, Placed,
    Policy, Pruned, Put, PutWrites, Thread, ThreadFilter, ThreadInfo,
};
use mnemon_core::locks::Guard;
use mnemon_core::{Page, Paged, Result, Scope};

use super::FailingStore;

#[async_trait]
impl Checkpoints for FailingStore {
    fn seal_with(&self, keys: Option<Arc<dyn KeyProvider>>) {
        self.inner.checkpoints().seal_with(keys);
    }

    async fn put(&self, scope: &Scope, put: Put, guard: Option<&Guard>) -> Result<Placed> {
        self.call(self.inner.checkpoints().put(scope, put, guard)).await
    }

    async fn put_writes(
        &self,
        scope: &Scope,
        writes: PutWrites,
        guard: Option<&Guard>,
    ) -> Result<()> {
        self.call(self.inner.checkpoints().put_writes(scope, writes, guard)).await
    }

    async fn get(
        &self,
        scope: &Scope,
        thread: &Thread,
        id: Option<&CheckpointId>,
    ) -> Result<Checkpoint> {
        self.call(self.inner.checkpoints().get(scope, thread, id)).await
    }

    async fn get_version(
        &self,
        scope: &Scope,
        thread: &Thread,
        version: i64,
    ) -> Result<Checkpoint> {
        self.call(self.inner.checkpoints().get_version(scope, thread, version)).await
    }

    async fn history(
        &self,
        scope: &Scope,
        thread: &Thread,
        page: &Page,
    ) -> Result<Paged<CheckpointInfo>> {
        self.call(self.inner.checkpoints().history(scope, thread, page)).await
    }

    async fn list(
        &self,
        scope: &Scope,
        filter: &CheckpointFilter,
        page: &Page,
    ) -> Result<Paged<CheckpointInfo>> {
        self.call(self.inner.checkpoints().list(scope, filter, page)).await
    }

    async fn list_threads(
        &self,
        scope: &Scope,
        filter: &ThreadFilter,
        page: &Page,
    ) -> Result<Paged<ThreadInfo>> {
        self.call(self.inner.checkpoints().list_threads(scope, filter, page)).await
    }

    async fn set_ttl(&self, scope: &Scope, thread: &Thread, ttl: Option<Duration>) -> Result<()> {
        self.call(self.inner.checkpoints().set_ttl(scope, thread, ttl)).await
    }

    async fn unfence(&self, scope: &Scope, thread: &Thread) -> Result<()> {
        self.call(self.inner.checkpoints().unfence(scope, thread)).await
    }

    async fn copy_thread(&self, scope: &Scope, from: &str, to: &str) -> Result<u64> {
        self.call(self.inner.checkpoints().copy_thread(scope, from, to)).await
    }

    async fn delete_thread(
        &self,
        scope: &Scope,
        thread_id: &str,
        namespace: Option<&str>,
    ) -> Result<u64> {
        self.call(self.inner.checkpoints().delete_thread(scope, thread_id, namespace)).await
    }

    async fn prune(
        &self,
        scope: &Scope,
        thread_ids: &[String],
        policy: &Policy,
        dry_run: bool,
    ) -> Result<Pruned> {
        self.call(self.inner.checkpoints().prune(scope, thread_ids, policy, dry_run)).await
    }

    async fn delete_for_runs(&self, scope: &Scope, runs: &[String]) -> Result<Pruned> {
        self.call(self.inner.checkpoints().delete_for_runs(scope, runs)).await
    }
}
