//! Checkpoints in SQLite: a head per thread, manifests that inherit, values by their content.

pub(crate) mod copy;
pub(crate) mod put;
pub(crate) mod read;
pub(crate) mod remove;
pub(crate) mod writes;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::checkpoints::pack::{Carrier, Packed};
use mnemon_core::checkpoints::seal::Sealing;
use mnemon_core::checkpoints::{
    Checkpoint, CheckpointFilter, CheckpointId, CheckpointInfo, Checkpoints, KeyProvider, Placed,
    Policy, Pruned, Put, PutWrites, Thread, ThreadFilter, ThreadInfo, prune, thread,
};
use mnemon_core::locks::Guard;
use mnemon_core::{Error, Facet, Page, Paged, Result, Scope};

use crate::locks;
use crate::store::SqliteStore;

pub(crate) use put::put;

#[async_trait]
impl Checkpoints for SqliteStore {
    fn seal_with(&self, keys: Option<Arc<dyn KeyProvider>>) {
        *self.sealing.write().unwrap_or_else(PoisonError::into_inner) = Sealing::with(keys);
    }

    async fn put(&self, scope: &Scope, put: Put, guard: Option<&Guard>) -> Result<Placed> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        put.check()?;
        locks::check_guard(guard)?;
        let packed = self.pack(scope, put).await?;
        let (scope, guard) = (scope.clone(), guard.cloned());
        self.write("putting a checkpoint", move |conn| {
            let scope = scope.admit(Facet::Checkpoints)?;
            locks::guard(conn, &scope, guard.as_ref())?;
            self::put(conn, &scope, &packed, guard.as_slice())
        })
        .await
    }

    async fn put_writes(
        &self,
        scope: &Scope,
        writes: PutWrites,
        guard: Option<&Guard>,
    ) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        writes.check()?;
        locks::check_guard(guard)?;
        let packed = self.pack(scope, writes).await?;
        let (scope, guard) = (scope.clone(), guard.cloned());
        self.write("putting pending writes", move |conn| {
            let scope = scope.admit(Facet::Checkpoints)?;
            locks::guard(conn, &scope, guard.as_ref())?;
            writes::put(conn, &scope, &packed, guard.as_slice())
        })
        .await
    }

    async fn get(
        &self,
        scope: &Scope,
        thread: &Thread,
        id: Option<&CheckpointId>,
    ) -> Result<Checkpoint> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        thread.check()?;
        if let Some(id) = id {
            id.check("id")?;
        }
        let which = id.cloned().map_or(read::Which::Newest, read::Which::Id);
        self.get_which(scope, thread, which).await
    }

    async fn get_version(
        &self,
        scope: &Scope,
        thread: &Thread,
        version: i64,
    ) -> Result<Checkpoint> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        thread.check()?;
        self.get_which(scope, thread, read::Which::Version(version)).await
    }

    async fn history(
        &self,
        scope: &Scope,
        thread: &Thread,
        page: &Page,
    ) -> Result<Paged<CheckpointInfo>> {
        self.alive()?;
        thread.check()?;
        let filter = CheckpointFilter {
            namespace: Some(thread.namespace.clone()),
            ..CheckpointFilter::of(&thread.thread_id)
        };
        self.list(scope, &filter, page).await
    }

    async fn list(
        &self,
        scope: &Scope,
        filter: &CheckpointFilter,
        page: &Page,
    ) -> Result<Paged<CheckpointInfo>> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        filter.check()?;
        page.check()?;
        let (scope, filter, page) = (scope.clone(), filter.clone(), page.clone());
        let sealing = self.sealing();
        self.read("listing checkpoints", move |conn| {
            read::list(conn, &scope.admit(Facet::Checkpoints)?, &sealing, &filter, &page)
        })
        .await
    }

    async fn list_threads(
        &self,
        scope: &Scope,
        filter: &ThreadFilter,
        page: &Page,
    ) -> Result<Paged<ThreadInfo>> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        filter.check()?;
        page.check()?;
        let (scope, filter, page) = (scope.clone(), filter.clone(), page.clone());
        self.read("listing threads", move |conn| {
            read::threads(conn, &scope.admit(Facet::Checkpoints)?, &filter, &page)
        })
        .await
    }

    async fn set_ttl(&self, scope: &Scope, thread: &Thread, ttl: Option<Duration>) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        thread.check()?;
        thread::check_ttl(ttl)?;
        let (scope, thread) = (scope.clone(), thread.clone());
        self.write("setting a thread's time", move |conn| {
            put::set_ttl(conn, &scope.admit(Facet::Checkpoints)?, &thread, ttl)
        })
        .await
    }

    async fn unfence(&self, scope: &Scope, thread: &Thread) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        thread.check()?;
        let (scope, thread) = (scope.clone(), thread.clone());
        self.write("unfencing a thread", move |conn| {
            put::unfence(conn, &scope.admit(Facet::Checkpoints)?, &thread)
        })
        .await
    }

    async fn copy_thread(&self, scope: &Scope, from: &str, to: &str) -> Result<u64> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        thread::check_id(from)?;
        thread::check_id(to)?;
        let (scope, from, to) = (scope.clone(), from.to_owned(), to.to_owned());
        let sealing = self.sealing();
        self.write("copying a thread", move |conn| {
            copy::copy(conn, &scope.admit(Facet::Checkpoints)?, &sealing, &from, &to)
        })
        .await
    }

    async fn delete_thread(
        &self,
        scope: &Scope,
        thread_id: &str,
        namespace: Option<&str>,
    ) -> Result<u64> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        Thread::new(thread_id).namespace(namespace.unwrap_or_default()).check()?;
        let what = remove::What::of(&Policy::Delete);
        let namespace = namespace.map(str::to_owned);
        let gone = self.remove(scope, vec![thread_id.to_owned()], namespace, what, false).await?;
        match gone.threads {
            0 => Err(Error::not_found("thread", thread_id)),
            _ => Ok(gone.checkpoints),
        }
    }

    async fn prune(
        &self,
        scope: &Scope,
        thread_ids: &[String],
        policy: &Policy,
        dry_run: bool,
    ) -> Result<Pruned> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        policy.check(thread_ids)?;
        let what = remove::What::of(policy);
        self.remove(scope, thread_ids.to_vec(), None, what, dry_run).await
    }

    async fn delete_for_runs(&self, scope: &Scope, runs: &[String]) -> Result<Pruned> {
        self.alive()?;
        scope.admit(Facet::Checkpoints)?;
        prune::check_runs(runs)?;
        let (scope, runs) = (scope.clone(), runs.to_vec());
        self.write("deleting checkpoints of runs", move |conn| {
            remove::runs(conn, &scope.admit(Facet::Checkpoints)?, &runs)
        })
        .await
    }
}

/// Values up to this size together are cut and hashed on the caller's thread.
const INLINE_BYTES: usize = 32 * 1024;

impl SqliteStore {
    /// Cuts and hashes where nobody else waits for it.
    async fn pack<T>(&self, scope: &Scope, given: T) -> Result<Packed<T>>
    where
        T: Carrier + Clone + Send + Sync + 'static,
    {
        let (sealing, tenant) = (self.sealing(), scope.tenant.clone());
        if Packed::size(&given) <= INLINE_BYTES {
            return Packed::sealed(given, &sealing, &tenant);
        }
        let cut = move |_: &_| Ok(Packed::sealed(given.clone(), &sealing, &tenant)?);
        self.read("cutting a checkpoint's values", cut).await
    }

    /// The keys of this handle.
    pub(crate) fn sealing(&self) -> Sealing {
        self.sealing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn get_which(
        &self,
        scope: &Scope,
        thread: &Thread,
        which: read::Which,
    ) -> Result<Checkpoint> {
        let (scope, thread, sealing) = (scope.clone(), thread.clone(), self.sealing());
        self.read("reading a checkpoint", move |conn| {
            read::get(conn, &scope.admit(Facet::Checkpoints)?, &sealing, &thread, &which)
        })
        .await
    }

    async fn remove(
        &self,
        scope: &Scope,
        thread_ids: Vec<String>,
        namespace: Option<String>,
        what: remove::What,
        dry_run: bool,
    ) -> Result<Pruned> {
        let scope = scope.clone();
        self.write("removing checkpoints", move |conn| {
            let scope = scope.admit(Facet::Checkpoints)?;
            if dry_run {
                return remove::try_out(conn, &scope, &thread_ids, &what);
            }
            remove::remove(conn, &scope, &thread_ids, namespace.as_deref(), &what)
        })
        .await
    }
}
