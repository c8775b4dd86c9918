//! The memories of a failing store.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::memories::{
    Classified, Domain, Due, Edge, Hit, Language, Memories, Memory, MemoryFilter, MemoryPatch,
    MemoryStats, ModelSignature, Namespace, NamespaceCount, Neighbor, NewDomain, NewEdge,
    NewMemory, Recall, Remembered, Review, ReviewEvent, Scheduling, Swept, Wording,
};
use mnemon_core::{MemoryId, Page, Paged, Result, Scope};

use super::FailingStore;

#[async_trait]
impl Memories for FailingStore {
    async fn remember(&self, scope: &Scope, memory: NewMemory) -> Result<Remembered> {
        self.call(self.inner.memories().remember(scope, memory)).await
    }

    async fn remember_many(
        &self,
        scope: &Scope,
        memories: Vec<NewMemory>,
    ) -> Result<Vec<Remembered>> {
        self.call(self.inner.memories().remember_many(scope, memories)).await
    }

    async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Memory> {
        self.call(self.inner.memories().get(scope, id)).await
    }

    async fn by_key(&self, scope: &Scope, namespace: &Namespace, key: &str) -> Result<Memory> {
        self.call(self.inner.memories().by_key(scope, namespace, key)).await
    }

    async fn delete(&self, scope: &Scope, id: MemoryId) -> Result<()> {
        self.call(self.inner.memories().delete(scope, id)).await
    }

    async fn list(
        &self,
        scope: &Scope,
        filter: &MemoryFilter,
        page: &Page,
    ) -> Result<Paged<Memory>> {
        self.call(self.inner.memories().list(scope, filter, page)).await
    }

    async fn recall(&self, scope: &Scope, question: &Recall) -> Result<Vec<Hit>> {
        self.call(self.inner.memories().recall(scope, question)).await
    }

    async fn count(&self, scope: &Scope) -> Result<u64> {
        self.call(self.inner.memories().count(scope)).await
    }

    async fn update(&self, scope: &Scope, id: MemoryId, patch: MemoryPatch) -> Result<Memory> {
        self.call(self.inner.memories().update(scope, id, patch)).await
    }

    async fn list_namespaces(
        &self,
        scope: &Scope,
        root: &Namespace,
        page: &Page,
    ) -> Result<Paged<NamespaceCount>> {
        self.call(self.inner.memories().list_namespaces(scope, root, page)).await
    }

    async fn stats(&self, scope: &Scope) -> Result<MemoryStats> {
        self.call(self.inner.memories().stats(scope)).await
    }

    async fn sweep(&self, scope: &Scope) -> Result<Swept> {
        self.call(self.inner.memories().sweep(scope)).await
    }

    async fn review(&self, scope: &Scope, id: MemoryId, review: Review) -> Result<Scheduling> {
        self.call(self.inner.memories().review(scope, id, review)).await
    }

    async fn scheduling(&self, scope: &Scope, id: MemoryId) -> Result<Option<Scheduling>> {
        self.call(self.inner.memories().scheduling(scope, id)).await
    }

    async fn update_scheduling(&self, scope: &Scope, state: Scheduling) -> Result<()> {
        self.call(self.inner.memories().update_scheduling(scope, state)).await
    }

    async fn due(
        &self,
        scope: &Scope,
        before: Option<DateTime<Utc>>,
        page: &Page,
    ) -> Result<Paged<Due>> {
        self.call(self.inner.memories().due(scope, before, page)).await
    }

    async fn reviews(
        &self,
        scope: &Scope,
        id: MemoryId,
        page: &Page,
    ) -> Result<Paged<ReviewEvent>> {
        self.call(self.inner.memories().reviews(scope, id, page)).await
    }

    async fn add_edge(&self, scope: &Scope, edge: NewEdge) -> Result<Edge> {
        self.call(self.inner.memories().add_edge(scope, edge)).await
    }

    async fn edges(
        &self,
        scope: &Scope,
        id: MemoryId,
        edge_type: Option<&str>,
        page: &Page,
    ) -> Result<Paged<Edge>> {
        self.call(self.inner.memories().edges(scope, id, edge_type, page)).await
    }

    async fn remove_edge(
        &self,
        scope: &Scope,
        source: MemoryId,
        target: MemoryId,
        edge_type: Option<&str>,
    ) -> Result<u64> {
        self.call(self.inner.memories().remove_edge(scope, source, target, edge_type)).await
    }

    async fn neighbors(&self, scope: &Scope, id: MemoryId, depth: u32) -> Result<Vec<Neighbor>> {
        self.call(self.inner.memories().neighbors(scope, id, depth)).await
    }

    async fn domains(&self, scope: &Scope, page: &Page) -> Result<Paged<Domain>> {
        self.call(self.inner.memories().domains(scope, page)).await
    }

    async fn domain(&self, scope: &Scope, id: &str) -> Result<Domain> {
        self.call(self.inner.memories().domain(scope, id)).await
    }

    async fn upsert_domain(&self, scope: &Scope, domain: NewDomain) -> Result<Domain> {
        self.call(self.inner.memories().upsert_domain(scope, domain)).await
    }

    async fn delete_domain(&self, scope: &Scope, id: &str) -> Result<()> {
        self.call(self.inner.memories().delete_domain(scope, id)).await
    }

    async fn set_domain_from_tag(&self, scope: &Scope, id: &str, tag: &str) -> Result<Domain> {
        self.call(self.inner.memories().set_domain_from_tag(scope, id, tag)).await
    }

    async fn classify(&self, scope: &Scope, vector: &[f32], limit: u32) -> Result<Vec<Classified>> {
        self.call(self.inner.memories().classify(scope, vector, limit)).await
    }

    async fn registered_model(&self) -> Result<Option<ModelSignature>> {
        self.call(self.inner.memories().registered_model()).await
    }

    async fn wording(&self) -> Result<Wording> {
        self.call(self.inner.memories().wording()).await
    }

    async fn register_language(&self, language: Language) -> Result<()> {
        self.call(self.inner.memories().register_language(language)).await
    }

    async fn change_language(&self, to: Language) -> Result<Wording> {
        self.call(self.inner.memories().change_language(to)).await
    }

    async fn register_model(&self, model: &ModelSignature) -> Result<()> {
        self.call(self.inner.memories().register_model(model)).await
    }
}
