//! The embedding sets of a failing store.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::memories::{
    EmbeddingSet, EmbeddingSets, FillLease, Filled, Filling, Lacking, ModelSignature, SetId,
    SetsReport, Switch,
};
use mnemon_core::{Page, Paged, Result};

use super::FailingStore;

#[async_trait]
impl EmbeddingSets for FailingStore {
    async fn sets(&self) -> Result<SetsReport> {
        self.call(self.inner.embedding_sets().sets()).await
    }

    async fn begin(&self, model: &ModelSignature) -> Result<EmbeddingSet> {
        self.call(self.inner.embedding_sets().begin(model)).await
    }

    async fn claim(&self, set: SetId, holder: &str, lasts: Duration) -> Result<FillLease> {
        self.call(self.inner.embedding_sets().claim(set, holder, lasts)).await
    }

    async fn lacking(&self, set: Option<SetId>, page: &Page) -> Result<Paged<Lacking>> {
        self.call(self.inner.embedding_sets().lacking(set, page)).await
    }

    async fn fill(&self, lease: &FillLease, vectors: Vec<Filling>) -> Result<Filled> {
        self.call(self.inner.embedding_sets().fill(lease, vectors)).await
    }

    async fn switch(&self, lease: &FillLease, since: Option<DateTime<Utc>>) -> Result<Switch> {
        self.call(self.inner.embedding_sets().switch(lease, since)).await
    }

    async fn release(&self, lease: &FillLease, lacking: u64) -> Result<()> {
        self.call(self.inner.embedding_sets().release(lease, lacking)).await
    }

    async fn drop_set(&self, set: SetId) -> Result<()> {
        self.call(self.inner.embedding_sets().drop_set(set)).await
    }
}
