//! Memories on PostgreSQL: every method is one call through the link; what it does is a function
//! over a connection, so that a step can do the same inside its own transaction.

mod accesses;
mod domains;
mod graph;
mod insert;
pub(crate) mod language;
pub(crate) mod nearest;
mod read;
mod recall;
mod remember;
mod rows;
mod scheduling;
mod stats;
pub(crate) mod terms;
pub(crate) mod together;
pub(crate) mod update;
mod ways;
pub(crate) mod write;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::memories::graph::{check_depth, check_type};
use mnemon_core::memories::{
    Classified, Domain, Due, Edge, Hit, Language, Memories, Memory, MemoryFilter, MemoryPatch,
    MemoryStats, ModelSignature, Namespace, NamespaceCount, Neighbor, NewDomain, NewEdge,
    NewMemory, Recall, Remembered, Review, ReviewEvent, Scheduling, Swept, Wording, domain, vector,
};
use mnemon_core::scope::Facet;
use mnemon_core::upkeep::{Task, Upkeep as _};
use mnemon_core::{Error, MemoryId, Page, Paged, Result, Scope, limits};
use uuid::Uuid;

use crate::link::{Call, Retry, work};
use crate::store::PostgresStore;
use crate::{models, segments};

#[async_trait]
impl Memories for PostgresStore {
    async fn remember(&self, scope: &Scope, memory: NewMemory) -> Result<Remembered> {
        let mut done = self.write(scope, vec![memory], false).await?;
        done.pop().ok_or_else(|| Error::corrupt("a write's outcome", "is missing"))
    }

    async fn remember_many(
        &self,
        scope: &Scope,
        memories: Vec<NewMemory>,
    ) -> Result<Vec<Remembered>> {
        scope.admit(Facet::Memories)?;
        limits::count("memories", memories.len(), limits::REMEMBER_BATCH)?;
        if memories.is_empty() {
            return Ok(Vec::new());
        }
        self.write(scope, memories, true).await
    }

    async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Memory> {
        let scope = &scope.admit(Facet::Memories)?;
        let call = reading("reading a memory", scope.tenant);
        self.link.run(call, |conn| work(async move { read::get(conn, scope, id).await })).await
    }

    async fn by_key(&self, scope: &Scope, namespace: &Namespace, key: &str) -> Result<Memory> {
        let scope = &scope.admit(Facet::Memories)?;
        limits::name("key", key, limits::MEMORY_KEY_BYTES)?;
        let call = reading("reading a memory", scope.tenant);
        self.link
            .run(call, |conn| work(async move { read::by_key(conn, scope, namespace, key).await }))
            .await
    }

    async fn update(&self, scope: &Scope, id: MemoryId, patch: MemoryPatch) -> Result<Memory> {
        let scope = &scope.admit(Facet::Memories)?;
        patch.check()?;
        // Changing it twice leaves what changing it once does.
        let (call, patch) = (reading("changing a memory", scope.tenant), &patch);
        self.link
            .transaction(call, |conn| {
                work(async move { update::update(conn, scope, id, patch).await })
            })
            .await
    }

    async fn delete(&self, scope: &Scope, id: MemoryId) -> Result<()> {
        let scope = &scope.admit(Facet::Memories)?;
        // A repeat after a lost answer would report the deleted memory as not found.
        let call =
            Call { doing: "deleting a memory", tenant: Some(scope.tenant), retry: Retry::Never };
        self.link.run(call, |conn| work(async move { read::delete(conn, scope, id).await })).await
    }

    async fn list(
        &self,
        scope: &Scope,
        filter: &MemoryFilter,
        page: &Page,
    ) -> Result<Paged<Memory>> {
        let scope = &scope.admit(Facet::Memories)?;
        filter.check()?;
        page.check()?;
        let call = reading("listing memories", scope.tenant);
        if !filter.has_labels() {
            return self
                .link
                .run(call, |conn| work(async move { read::list(conn, scope, filter, page).await }))
                .await;
        }
        self.link
            .snapshot(call, "", |conn| {
                work(async move { read::list(conn, scope, filter, page).await })
            })
            .await
    }

    async fn recall(&self, scope: &Scope, question: &Recall) -> Result<Vec<Hit>> {
        let scope = &scope.admit(Facet::Memories)?;
        question.check()?;
        let call = reading("recalling memories", scope.tenant);
        let settings = segments::search_settings(question.branch_limit());
        let known = &*self.known;
        let hits = self
            .link
            .snapshot(call, &settings, |conn| {
                work(async move { recall::recall(conn, scope, question, known).await })
            })
            .await?;
        if question.reinforce && !hits.is_empty() {
            let ids: &Vec<Uuid> = &hits.iter().map(|hit| hit.memory.id.0).collect();
            let (call, event) = (reading("noting an access", scope.tenant), Uuid::now_v7());
            self.link
                .run(call, |conn| {
                    work(async move { accesses::note(conn, scope, event, ids).await })
                })
                .await?;
        }
        Ok(hits)
    }

    async fn count(&self, scope: &Scope) -> Result<u64> {
        let scope = &scope.admit(Facet::Memories)?;
        let call = reading("counting memories", scope.tenant);
        self.link.run(call, |conn| work(async move { read::count(conn, scope).await })).await
    }

    async fn list_namespaces(
        &self,
        scope: &Scope,
        root: &Namespace,
        page: &Page,
    ) -> Result<Paged<NamespaceCount>> {
        let scope = &scope.admit(Facet::Memories)?;
        page.check()?;
        let call = reading("listing namespaces", scope.tenant);
        self.link
            .run(call, |conn| work(async move { stats::namespaces(conn, scope, root, page).await }))
            .await
    }

    async fn stats(&self, scope: &Scope) -> Result<MemoryStats> {
        let scope = &scope.admit(Facet::Memories)?;
        let call = reading("counting memories", scope.tenant);
        self.link
            .snapshot(call, "", |conn| work(async move { stats::stats(conn, scope).await }))
            .await
    }

    async fn sweep(&self, scope: &Scope) -> Result<Swept> {
        let scope = &scope.admit(Facet::Memories)?;
        let call = reading("sweeping memories", scope.tenant);
        self.link
            .transaction(call, |conn| work(async move { stats::sweep(conn, scope).await }))
            .await
    }

    async fn review(&self, scope: &Scope, id: MemoryId, review: Review) -> Result<Scheduling> {
        let scope = &scope.admit(Facet::Memories)?;
        // Every attempt writes the same event, so a repeat finds its own.
        let event = review.id.map_or_else(Uuid::now_v7, |id| id.0);
        let review = &review;
        let call = reading("reviewing a memory", scope.tenant);
        self.link
            .transaction(call, |conn| {
                work(async move { scheduling::review(conn, scope, id, review, event).await })
            })
            .await
    }

    async fn scheduling(&self, scope: &Scope, id: MemoryId) -> Result<Option<Scheduling>> {
        let scope = &scope.admit(Facet::Memories)?;
        let call = reading("reading a scheduling", scope.tenant);
        self.link
            .run(call, |conn| work(async move { scheduling::get(conn, scope, id).await }))
            .await
    }

    async fn update_scheduling(&self, scope: &Scope, state: Scheduling) -> Result<()> {
        let scope = &scope.admit(Facet::Memories)?;
        state.check()?;
        let state = &state;
        let call = reading("writing a scheduling", scope.tenant);
        self.link
            .transaction(call, |conn| {
                work(async move { scheduling::set(conn, scope, state).await })
            })
            .await
    }

    async fn due(
        &self,
        scope: &Scope,
        before: Option<DateTime<Utc>>,
        page: &Page,
    ) -> Result<Paged<Due>> {
        let scope = &scope.admit(Facet::Memories)?;
        page.check()?;
        let call = reading("listing due memories", scope.tenant);
        self.link
            .run(call, |conn| work(async move { scheduling::due(conn, scope, before, page).await }))
            .await
    }

    async fn reviews(
        &self,
        scope: &Scope,
        id: MemoryId,
        page: &Page,
    ) -> Result<Paged<ReviewEvent>> {
        let scope = &scope.admit(Facet::Memories)?;
        page.check()?;
        let call = reading("listing reviews", scope.tenant);
        self.link
            .run(call, |conn| work(async move { scheduling::reviews(conn, scope, id, page).await }))
            .await
    }

    async fn add_edge(&self, scope: &Scope, edge: NewEdge) -> Result<Edge> {
        let scope = &scope.admit(Facet::Memories)?;
        edge.check()?;
        let edge = &edge;
        let call = reading("writing an edge", scope.tenant);
        self.link
            .transaction(call, |conn| work(async move { graph::add(conn, scope, edge).await }))
            .await
    }

    async fn edges(
        &self,
        scope: &Scope,
        id: MemoryId,
        edge_type: Option<&str>,
        page: &Page,
    ) -> Result<Paged<Edge>> {
        let scope = &scope.admit(Facet::Memories)?;
        edge_type.map_or(Ok(()), check_type)?;
        page.check()?;
        let call = reading("listing edges", scope.tenant);
        self.link
            .run(call, |conn| {
                work(async move { graph::edges(conn, scope, id, edge_type, page).await })
            })
            .await
    }

    async fn remove_edge(
        &self,
        scope: &Scope,
        source: MemoryId,
        target: MemoryId,
        edge_type: Option<&str>,
    ) -> Result<u64> {
        let scope = &scope.admit(Facet::Memories)?;
        edge_type.map_or(Ok(()), check_type)?;
        // A repeat after a lost answer would not find what it removed.
        let call =
            Call { doing: "removing an edge", tenant: Some(scope.tenant), retry: Retry::Never };
        self.link
            .transaction(call, |conn| {
                work(async move { graph::remove(conn, scope, source, target, edge_type).await })
            })
            .await
    }

    async fn neighbors(&self, scope: &Scope, id: MemoryId, depth: u32) -> Result<Vec<Neighbor>> {
        let scope = &scope.admit(Facet::Memories)?;
        check_depth(depth)?;
        let call = reading("walking to neighbours", scope.tenant);
        self.link
            .run(call, |conn| work(async move { graph::neighbors(conn, scope, id, depth).await }))
            .await
    }

    async fn domains(&self, scope: &Scope, page: &Page) -> Result<Paged<Domain>> {
        let scope = &scope.admit(Facet::Memories)?;
        page.check()?;
        let call = reading("listing domains", scope.tenant);
        self.link
            .run(call, |conn| work(async move { domains::list(conn, scope, page).await }))
            .await
    }

    async fn domain(&self, scope: &Scope, id: &str) -> Result<Domain> {
        let scope = &scope.admit(Facet::Memories)?;
        domain::check_id(id)?;
        let call = reading("reading a domain", scope.tenant);
        self.link.run(call, |conn| work(async move { domains::get(conn, scope, id).await })).await
    }

    async fn upsert_domain(&self, scope: &Scope, domain: NewDomain) -> Result<Domain> {
        let scope = &scope.admit(Facet::Memories)?;
        domain.check()?;
        let domain = &domain;
        let call = reading("writing a domain", scope.tenant);
        self.link
            .transaction(call, |conn| {
                work(async move { domains::upsert(conn, scope, domain).await })
            })
            .await
    }

    async fn delete_domain(&self, scope: &Scope, id: &str) -> Result<()> {
        let scope = &scope.admit(Facet::Memories)?;
        domain::check_id(id)?;
        // A repeat after a lost answer would not find what it removed.
        let call =
            Call { doing: "deleting a domain", tenant: Some(scope.tenant), retry: Retry::Never };
        self.link
            .transaction(call, |conn| work(async move { domains::delete(conn, scope, id).await }))
            .await
    }

    async fn set_domain_from_tag(&self, scope: &Scope, id: &str, tag: &str) -> Result<Domain> {
        let scope = &scope.admit(Facet::Memories)?;
        domain::check_id(id)?;
        limits::name("tag", tag, limits::LABEL_BYTES)?;
        let call = reading("filling a domain", scope.tenant);
        self.link
            .transaction(call, |conn| {
                work(async move { domains::set_from_tag(conn, scope, id, tag).await })
            })
            .await
    }

    async fn classify(&self, scope: &Scope, vector: &[f32], limit: u32) -> Result<Vec<Classified>> {
        let scope = &scope.admit(Facet::Memories)?;
        domain::check_limit(limit)?;
        vector::check("vector", vector)?;
        let call = reading("classifying a vector", scope.tenant);
        self.link
            .run(call, |conn| {
                work(async move { domains::classify(conn, scope, vector, limit).await })
            })
            .await
    }

    async fn registered_model(&self) -> Result<Option<ModelSignature>> {
        let call = Call { doing: "reading the model", tenant: None, retry: Retry::Idempotent };
        Ok(self
            .link
            .run(call, |conn| work(async move { models::active(conn).await }))
            .await?
            .map(|set| set.model))
    }

    async fn register_model(&self, model: &ModelSignature) -> Result<()> {
        model.check()?;
        let call = Call { doing: "registering a model", tenant: None, retry: Retry::Idempotent };
        // Only the owner may make the set's table; everybody may see that it is there.
        if self
            .link
            .run(call, |conn| work(async move { models::active(conn).await }))
            .await?
            .is_some_and(|set| set.model == *model)
        {
            return Ok(());
        }
        self.link
            .maintenance()
            .transaction(call, |conn| work(async move { models::register(conn, model).await }))
            .await
    }

    async fn wording(&self) -> Result<Wording> {
        let call = Call { doing: "reading the language", tenant: None, retry: Retry::Idempotent };
        let wording =
            self.link.run(call, |conn| work(async move { language::wording(conn).await })).await?;
        self.known.set(wording);
        Ok(wording)
    }

    async fn register_language(&self, language: Language) -> Result<()> {
        let call = Call { doing: "registering a language", tenant: None, retry: Retry::Idempotent };
        // Once it is chosen nobody need be held up, and everybody may see it.
        let chosen =
            self.link.run(call, |conn| work(async move { language::chosen(conn).await })).await?;
        match chosen {
            Some(registered) if registered == language => {}
            Some(registered) => {
                return Err(Error::LanguageMismatch { registered, offered: language });
            }
            None => {
                self.link
                    .maintenance()
                    .transaction(call, |conn| {
                        work(async move { language::register(conn, language).await })
                    })
                    .await?;
            }
        }
        self.wording().await.map(drop)
    }

    async fn change_language(&self, to: Language) -> Result<Wording> {
        let call = Call { doing: "changing the language", tenant: None, retry: Retry::Idempotent };
        let changed = self
            .link
            .maintenance()
            .transaction(call, |conn| work(async move { language::change(conn, to).await }))
            .await?;
        self.known.set(changed);
        Ok(changed)
    }

    async fn index_vectors(&self, model: &ModelSignature) -> Result<u64> {
        let call = Call { doing: "reading the models", tenant: None, retry: Retry::Idempotent };
        let sets =
            self.link.run(call, |conn| work(async move { models::sets(conn).await })).await?;
        let set = sets.into_iter().find(|set| set.model == *model);
        let set = set.ok_or_else(|| Error::not_found("embedding set", model))?;
        let holder = format!("index-{}", Uuid::now_v7().simple());
        let lease = loop {
            match self.claim(Task::VectorSegments, &holder, true).await? {
                Some(lease) => break lease,
                None => tokio::time::sleep(limits::SEGMENT_WAIT).await,
            }
        };
        let built = segments::build_all(self.link.maintenance(), &lease, set.id).await;
        let failure = built.as_ref().err().map(ToString::to_string);
        self.finish(&lease, failure.as_deref()).await?;
        built
    }
}

fn reading<'a>(doing: &'static str, tenant: &'a str) -> Call<'a> {
    Call { doing, tenant: Some(tenant), retry: Retry::Idempotent }
}
