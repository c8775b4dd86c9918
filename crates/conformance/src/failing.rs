//! A store that fails after N calls: for tests of everything that must resume.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use mnemon_core::Store;
//! use mnemon_conformance::{FailingStore, Fault, When};
//!
//! # fn example(store: Arc<dyn Store>) {
//! // The third call is done, but its answer is lost; all later ones work.
//! let store = FailingStore::new(store, Fault { after: 2, times: 1, when: When::AnswerLost });
//! # }
//! ```

mod checkpoints;
mod facets;
mod memories;
mod sets;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::checkpoints::Checkpoints;
use mnemon_core::claims::Claims;
use mnemon_core::consumers::Consumers;
use mnemon_core::dead_letters::DeadLetters;
use mnemon_core::events::{
    Append, Appended, ArchivePlace, Archived, Archives, Event, EventFilter, Events, Extent,
    Horizon, Import, Mark, Month, MonthOfLog, Retired, Slice, StreamStats,
};
use mnemon_core::locks::{Guard, Locks};
use mnemon_core::memories::{EmbeddingSets, Memories};
use mnemon_core::steps::Steps;
use mnemon_core::store::{Backend, Finding, StoreHealth};
use mnemon_core::turns::Turns;
use mnemon_core::upkeep::{Batch, Depths, Task, TaskLease, TaskStatus, Upkeep};
use mnemon_core::workflows::Workflows;
use mnemon_core::{Cursor, Error, Page, Paged, Result, Scope, Store};
use serde_json::Value;
use uuid::Uuid;

/// At which point of a call the failure strikes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// Before the database was asked: nothing is written.
    Refused,
    /// After the database did it: written, but the caller hears of a failure.
    AnswerLost,
}

/// Which calls fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Calls that work first.
    pub after: u64,
    /// Calls that then fail; [`u64::MAX`] for good.
    pub times: u64,
    /// At which point.
    pub when: When,
}

/// A store of which some calls answer [`Error::Unavailable`]. Facet calls, `health` and `doctor`
/// count; `close` never fails.
pub struct FailingStore {
    inner: Arc<dyn Store>,
    fault: Fault,
    calls: AtomicU64,
}

impl FailingStore {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn Store>, fault: Fault) -> Self {
        Self { inner, fault, calls: AtomicU64::new(0) }
    }

    /// Calls made so far, failed ones included.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn call<T>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let last = self.fault.after.saturating_add(self.fault.times);
        if !(self.fault.after..last).contains(&call) {
            return work.await;
        }
        if self.fault.when == When::AnswerLost {
            work.await?;
        }
        Err(Error::Unavailable {
            what: format!("call {} was made to fail", call + 1),
            retry_after: Some(Duration::ZERO),
        })
    }
}

#[async_trait]
impl Store for FailingStore {
    fn backend(&self) -> Backend {
        self.inner.backend()
    }

    fn memories(&self) -> &dyn Memories {
        self
    }

    fn embedding_sets(&self) -> &dyn EmbeddingSets {
        self
    }

    fn events(&self) -> &dyn Events {
        self
    }

    fn archives(&self) -> &dyn Archives {
        self
    }

    fn consumers(&self) -> &dyn Consumers {
        self
    }

    fn locks(&self) -> &dyn Locks {
        self
    }

    fn checkpoints(&self) -> &dyn Checkpoints {
        self
    }

    fn turns(&self) -> &dyn Turns {
        self
    }

    fn claims(&self) -> &dyn Claims {
        self
    }

    fn workflows(&self) -> &dyn Workflows {
        self
    }

    fn dead_letters(&self) -> &dyn DeadLetters {
        self
    }

    fn steps(&self) -> &dyn Steps {
        self
    }

    fn upkeep(&self) -> &dyn Upkeep {
        self
    }

    async fn health(&self) -> Result<StoreHealth> {
        self.call(self.inner.health()).await
    }

    async fn doctor(&self) -> Result<Vec<Finding>> {
        self.call(self.inner.doctor()).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl Events for FailingStore {
    async fn append(
        &self,
        scope: &Scope,
        append: Append,
        guard: Option<&Guard>,
    ) -> Result<Appended> {
        self.call(self.inner.events().append(scope, append, guard)).await
    }

    async fn append_many(
        &self,
        scope: &Scope,
        appends: Vec<Append>,
    ) -> Result<Vec<Result<Appended>>> {
        self.call(self.inner.events().append_many(scope, appends)).await
    }

    async fn import(&self, scope: &Scope, import: Import) -> Result<Appended> {
        self.call(self.inner.events().import(scope, import)).await
    }

    async fn note(
        &self,
        scope: &Scope,
        kind: &'static str,
        data: Value,
        at_most_every: Duration,
    ) -> Result<Option<i64>> {
        self.call(self.inner.events().note(scope, kind, data, at_most_every)).await
    }

    async fn read(&self, scope: &Scope, stream: &str, page: &Page) -> Result<Paged<Event>> {
        self.call(self.inner.events().read(scope, stream, page)).await
    }

    async fn read_all(
        &self,
        scope: &Scope,
        filter: &EventFilter,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Slice> {
        self.call(self.inner.events().read_all(scope, filter, after, limit)).await
    }

    async fn list(&self, scope: &Scope, filter: &EventFilter, page: &Page) -> Result<Paged<Event>> {
        self.call(self.inner.events().list(scope, filter, page)).await
    }

    async fn count(&self, scope: &Scope, filter: &EventFilter) -> Result<u64> {
        self.call(self.inner.events().count(scope, filter)).await
    }

    async fn search(
        &self,
        scope: &Scope,
        text: &str,
        filter: &EventFilter,
        page: &Page,
    ) -> Result<Paged<Event>> {
        self.call(self.inner.events().search(scope, text, filter, page)).await
    }

    async fn aggregate(&self, scope: &Scope, stream: &str) -> Result<StreamStats> {
        self.call(self.inner.events().aggregate(scope, stream)).await
    }

    async fn moved(&self, scope: &Scope, mark: Mark, at_most: Duration) -> Result<Mark> {
        self.call(self.inner.events().moved(scope, mark, at_most)).await
    }

    async fn horizon(&self) -> Result<Horizon> {
        self.call(self.inner.events().horizon()).await
    }

    async fn restored(&self) -> Result<i64> {
        self.call(self.inner.events().restored()).await
    }
}

#[async_trait]
impl Archives for FailingStore {
    async fn log_id(&self) -> Result<Uuid> {
        self.call(self.inner.archives().log_id()).await
    }

    async fn months(&self, before: DateTime<Utc>) -> Result<Vec<MonthOfLog>> {
        self.call(self.inner.archives().months(before)).await
    }

    async fn read_month(
        &self,
        month: Month,
        after: Option<&ArchivePlace>,
        limit: u32,
    ) -> Result<Vec<Archived>> {
        self.call(self.inner.archives().read_month(month, after, limit)).await
    }

    async fn retire(&self, month: Month, extent: Extent) -> Result<Retired> {
        self.call(self.inner.archives().retire(month, extent)).await
    }

    async fn put_back(&self, log: Uuid, events: Vec<Archived>) -> Result<u64> {
        self.call(self.inner.archives().put_back(log, events)).await
    }
}

#[async_trait]
impl Upkeep for FailingStore {
    async fn claim(&self, task: Task, holder: &str, force: bool) -> Result<Option<TaskLease>> {
        self.call(self.inner.upkeep().claim(task, holder, force)).await
    }

    async fn batch(&self, lease: &TaskLease) -> Result<Batch> {
        self.call(self.inner.upkeep().batch(lease)).await
    }

    async fn finish(&self, lease: &TaskLease, failure: Option<&str>) -> Result<()> {
        self.call(self.inner.upkeep().finish(lease, failure)).await
    }

    async fn status(&self) -> Result<Vec<TaskStatus>> {
        self.call(self.inner.upkeep().status()).await
    }

    async fn depths(&self) -> Result<Depths> {
        self.call(self.inner.upkeep().depths()).await
    }
}
