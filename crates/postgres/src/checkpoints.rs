//! Checkpoints on PostgreSQL: a head per thread on whose row its writers queue, manifests that
//! inherit, values by their content.

mod ahead;
mod copy;
mod heads;
mod list;
mod put;
mod read;
mod remove;
mod swift;
mod within;
mod writes;

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
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Error, Page, Paged, Result, Scope};
use uuid::Uuid;

use crate::link::{Call, Retry, work};
use crate::locks;
use crate::store::PostgresStore;

pub(crate) use heads::Heads;
pub(crate) use remove::{expired, sweep};
pub(crate) use within::Within;

#[async_trait]
impl Checkpoints for PostgresStore {
    fn seal_with(&self, keys: Option<Arc<dyn KeyProvider>>) {
        *self.sealing.write().unwrap_or_else(PoisonError::into_inner) = Sealing::with(keys);
    }

    async fn put(&self, scope: &Scope, put: Put, guard: Option<&Guard>) -> Result<Placed> {
        let scope = &scope.admit(Facet::Checkpoints)?;
        put.check()?;
        locks::check_guard(guard)?;
        let packed = &self.pack(scope, put).await?;
        if guard.is_none()
            && let Some(placed) = self.put_alone(scope, packed).await?
        {
            return Ok(placed);
        }
        let guards = guard.map_or(&[][..], std::slice::from_ref);
        // A repeat after a lost answer would be one more version.
        let call = calling("putting a checkpoint", scope, Retry::Never);
        self.link
            .transaction(call, |conn| {
                work(async move {
                    locks::guard(conn, scope, guards).await?;
                    let (placed, _) = put::under_lock(conn, scope, packed, guards).await?;
                    Ok(placed)
                })
            })
            .await
    }

    async fn put_writes(
        &self,
        scope: &Scope,
        writes: PutWrites,
        guard: Option<&Guard>,
    ) -> Result<()> {
        let scope = &scope.admit(Facet::Checkpoints)?;
        writes.check()?;
        locks::check_guard(guard)?;
        let packed = &self.pack(scope, writes).await?;
        let guards = guard.map_or(&[][..], std::slice::from_ref);
        let call = calling("putting pending writes", scope, Retry::Idempotent);
        self.link
            .transaction(call, |conn| {
                work(async move {
                    locks::guard(conn, scope, guards).await?;
                    writes::put(conn, scope, packed, guards).await
                })
            })
            .await
    }

    async fn get(
        &self,
        scope: &Scope,
        thread: &Thread,
        id: Option<&CheckpointId>,
    ) -> Result<Checkpoint> {
        let scope = &scope.admit(Facet::Checkpoints)?;
        thread.check()?;
        if let Some(id) = id {
            id.check("id")?;
        }
        let which = id.map_or(read::Which::Newest, read::Which::Id);
        let sealing = &self.sealing();
        let call = calling("reading a checkpoint", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| {
                work(async move { read::get(conn, scope, sealing, thread, which).await })
            })
            .await
    }

    async fn get_version(
        &self,
        scope: &Scope,
        thread: &Thread,
        version: i64,
    ) -> Result<Checkpoint> {
        let scope = &scope.admit(Facet::Checkpoints)?;
        thread.check()?;
        let which = read::Which::Version(version);
        let sealing = &self.sealing();
        let call = calling("reading a checkpoint", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| {
                work(async move { read::get(conn, scope, sealing, thread, which).await })
            })
            .await
    }

    async fn history(
        &self,
        scope: &Scope,
        thread: &Thread,
        page: &Page,
    ) -> Result<Paged<CheckpointInfo>> {
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
        let scope = &scope.admit(Facet::Checkpoints)?;
        filter.check()?;
        page.check()?;
        let sealing = &self.sealing();
        let call = calling("listing checkpoints", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| {
                work(async move { list::list(conn, scope, sealing, filter, page).await })
            })
            .await
    }

    async fn list_threads(
        &self,
        scope: &Scope,
        filter: &ThreadFilter,
        page: &Page,
    ) -> Result<Paged<ThreadInfo>> {
        let scope = &scope.admit(Facet::Checkpoints)?;
        filter.check()?;
        page.check()?;
        let call = calling("listing threads", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| work(async move { list::threads(conn, scope, filter, page).await }))
            .await
    }

    async fn set_ttl(&self, scope: &Scope, thread: &Thread, ttl: Option<Duration>) -> Result<()> {
        let scope = &scope.admit(Facet::Checkpoints)?;
        thread.check()?;
        thread::check_ttl(ttl)?;
        let call = calling("setting a thread's time", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| work(async move { put::set_ttl(conn, scope, thread, ttl).await }))
            .await
    }

    async fn unfence(&self, scope: &Scope, thread: &Thread) -> Result<()> {
        let scope = &scope.admit(Facet::Checkpoints)?;
        thread.check()?;
        let call = calling("unfencing a thread", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| work(async move { put::unfence(conn, scope, thread).await }))
            .await
    }

    async fn copy_thread(&self, scope: &Scope, from: &str, to: &str) -> Result<u64> {
        let scope = &scope.admit(Facet::Checkpoints)?;
        thread::check_id(from)?;
        thread::check_id(to)?;
        let sealing = &self.sealing();
        let call = calling("copying a thread", scope, Retry::Never);
        self.link
            .transaction(call, |conn| {
                work(async move { copy::copy(conn, scope, sealing, from, to).await })
            })
            .await
    }

    async fn delete_thread(
        &self,
        scope: &Scope,
        thread_id: &str,
        namespace: Option<&str>,
    ) -> Result<u64> {
        let scope = &scope.admit(Facet::Checkpoints)?;
        Thread::new(thread_id).namespace(namespace.unwrap_or_default()).check()?;
        let ids = &[thread_id.to_owned()];
        let call = calling("deleting a thread", scope, Retry::Never);
        let gone = self
            .link
            .transaction(call, |conn| {
                work(async move {
                    remove::remove(conn, scope, ids, namespace, remove::What::of(&Policy::Delete))
                        .await
                })
            })
            .await?;
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
        let scope = &scope.admit(Facet::Checkpoints)?;
        policy.check(thread_ids)?;
        let call = calling("pruning threads", scope, Retry::Idempotent);
        self.link
            .transaction(call, |conn| {
                work(async move {
                    let what = remove::What::of(policy);
                    if dry_run {
                        return remove::try_out(conn, scope, thread_ids, what).await;
                    }
                    remove::remove(conn, scope, thread_ids, None, what).await
                })
            })
            .await
    }

    async fn delete_for_runs(&self, scope: &Scope, runs: &[String]) -> Result<Pruned> {
        let scope = &scope.admit(Facet::Checkpoints)?;
        prune::check_runs(runs)?;
        let call = calling("deleting checkpoints of runs", scope, Retry::Idempotent);
        self.link
            .transaction(call, |conn| work(async move { remove::runs(conn, scope, runs).await }))
            .await
    }
}

impl PostgresStore {
    /// The keys of this handle.
    pub(crate) fn sealing(&self) -> Sealing {
        self.sealing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Cuts and hashes; much of it away from the threads that serve connections.
    async fn pack<T: Carrier + Send + 'static>(
        &self,
        scope: &Admitted<'_>,
        given: T,
    ) -> Result<Packed<T>> {
        let sealing = self.sealing();
        if Packed::size(&given) <= INLINE_BYTES {
            return Packed::sealed(given, &sealing, scope.tenant);
        }
        let tenant = scope.tenant.to_owned();
        tokio::task::spawn_blocking(move || Packed::sealed(given, &sealing, &tenant))
            .await
            .map_err(|error| Error::backend("cutting a checkpoint's values", error))?
    }

    /// Puts a checkpoint without a transaction; `None` where that needs the thread's lock.
    ///
    /// The id is fixed before anything is sent, so that a put whose answer was lost is recognised
    /// when it is sent again.
    async fn put_alone(
        &self,
        scope: &Admitted<'_>,
        packed: &Packed<Put>,
    ) -> Result<Option<Placed>> {
        let fresh = Uuid::now_v7();
        let id = packed.given().id.clone().unwrap_or_else(|| CheckpointId(fresh.to_string()));
        let (id, thread) = (&id, &packed.given().thread);
        let known = self.heads.take(scope.tenant, thread);
        let mut known = known.filter(|seen| ahead::continues(packed, seen));
        let mut sent = false;
        let call = calling("putting a checkpoint", scope, Retry::Idempotent);
        let done = self
            .link
            .run(call, |conn| {
                let again = std::mem::replace(&mut sent, true);
                let known = known.take();
                work(async move {
                    if again && let Some(placed) = ahead::landed(conn, scope, packed, id).await? {
                        return Ok(Some((placed, None)));
                    }
                    if let Some(known) = known {
                        let done = ahead::go_on(conn, scope, packed, id, fresh, known).await?;
                        if let Some((placed, seen)) = done {
                            return Ok(Some((placed, Some(seen))));
                        }
                        self.heads.share(scope.tenant, thread);
                    }
                    if swift::suits(packed)
                        && let Some((placed, seen)) = swift::put(conn, scope, packed, id).await?
                    {
                        return Ok(Some((placed, Some(seen))));
                    }
                    let done = ahead::put(conn, scope, packed, id, fresh).await?;
                    Ok(done.map(|(placed, seen)| (placed, Some(seen))))
                })
            })
            .await?;
        Ok(done.map(|(placed, seen)| {
            if let Some(seen) = seen {
                self.heads.keep(scope.tenant, thread, seen);
            }
            placed
        }))
    }
}

fn calling<'a>(doing: &'static str, scope: &Admitted<'a>, retry: Retry) -> Call<'a> {
    Call { doing, tenant: Some(scope.tenant), retry }
}

/// Values up to this size together are cut and hashed on the thread that serves the call.
const INLINE_BYTES: usize = 32 * 1024;
