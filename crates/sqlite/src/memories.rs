//! Memories in SQLite: checks before the hop, one transaction behind it.

pub(crate) mod accesses;
mod codes;
pub(crate) mod domains;
mod filter;
pub(crate) mod functions;
pub(crate) mod graph;
pub(crate) mod held;
pub(crate) mod language;
pub(crate) mod narrow;
pub(crate) mod nearest;
pub(crate) mod read;
pub(crate) mod recall;
pub(crate) mod rows;
pub(crate) mod scheduling;
pub(crate) mod stats;
pub(crate) mod update;
pub(crate) mod vectors;
mod words;
pub(crate) mod write;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::memories::graph::{check_depth, check_type};
use mnemon_core::memories::{
    Classified, Domain, Due, Edge, Hit, Language, Memories, Memory, MemoryFilter, MemoryPatch,
    MemoryStats, ModelSignature, Namespace, NamespaceCount, Neighbor, NewDomain, NewEdge,
    NewMemory, Recall, Remembered, Review, ReviewEvent, Scheduling, Swept, Wording, domain, vector,
};
use mnemon_core::{Facet, MemoryId, Page, Paged, Result, Scope, limits};
use uuid::Uuid;

use crate::models;
use crate::store::SqliteStore;
use write::Prepared;

/// Texts longer than this together are cut into words on another thread.
const PREPARE_INLINE_BYTES: usize = 16 * 1024;

#[async_trait]
impl Memories for SqliteStore {
    async fn remember(&self, scope: &Scope, memory: NewMemory) -> Result<Remembered> {
        self.alive()?;
        memory.check(&scope.admit(Facet::Memories)?)?;
        let mut done = self.remember_checked(scope, vec![memory], write::Naming::Single).await?;
        Ok(done.pop().expect("one memory in, one outcome out"))
    }

    async fn remember_many(
        &self,
        scope: &Scope,
        memories: Vec<NewMemory>,
    ) -> Result<Vec<Remembered>> {
        self.alive()?;
        let admitted = scope.admit(Facet::Memories)?;
        limits::count("memories", memories.len(), limits::REMEMBER_BATCH)?;
        for (at, memory) in memories.iter().enumerate() {
            memory.check(&admitted).map_err(|error| write::Naming::Batch.name(at, error))?;
        }
        if memories.is_empty() {
            return Ok(Vec::new());
        }
        self.remember_checked(scope, memories, write::Naming::Batch).await
    }

    async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Memory> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        let scope = scope.clone();
        self.read("reading a memory", move |conn| {
            read::get(conn, &scope.admit(Facet::Memories)?, id)
        })
        .await
    }

    async fn by_key(&self, scope: &Scope, namespace: &Namespace, key: &str) -> Result<Memory> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        limits::name("key", key, limits::MEMORY_KEY_BYTES)?;
        let (scope, namespace, key) = (scope.clone(), namespace.clone(), key.to_owned());
        self.read("reading a memory", move |conn| {
            read::by_key(conn, &scope.admit(Facet::Memories)?, &namespace, &key)
        })
        .await
    }

    async fn update(&self, scope: &Scope, id: MemoryId, patch: MemoryPatch) -> Result<Memory> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        patch.check()?;
        let scope = scope.clone();
        self.write("changing a memory", move |conn| {
            update::update(conn, &scope.admit(Facet::Memories)?, id, &patch)
        })
        .await
    }

    async fn delete(&self, scope: &Scope, id: MemoryId) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        let scope = scope.clone();
        self.write("deleting a memory", move |conn| {
            write::delete(conn, &scope.admit(Facet::Memories)?, id)
        })
        .await
    }

    async fn list(
        &self,
        scope: &Scope,
        filter: &MemoryFilter,
        page: &Page,
    ) -> Result<Paged<Memory>> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        filter.check()?;
        page.check()?;
        let before = read::place(page)?;
        let (scope, filter, limit) = (scope.clone(), filter.clone(), page.limit);
        self.read("listing memories", move |conn| {
            read::list(conn, &scope.admit(Facet::Memories)?, &filter, before, limit)
        })
        .await
    }

    async fn recall(&self, scope: &Scope, question: &Recall) -> Result<Vec<Hit>> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        question.check()?;
        let (reader, asked, index) = (scope.clone(), question.clone(), Arc::clone(&self.index));
        let known = Arc::clone(&self.known);
        let hits = self
            .read("recalling memories", move |conn| {
                known.set(language::wording(conn)?);
                recall::recall(conn, &index, &reader.admit(Facet::Memories)?, &asked)
            })
            .await?;
        if question.reinforce && !hits.is_empty() {
            let ids: Vec<MemoryId> = hits.iter().map(|hit| hit.memory.id).collect();
            let (scope, event) = (scope.clone(), Uuid::now_v7());
            self.write("noting an access", move |conn| {
                accesses::note(conn, &scope.admit(Facet::Memories)?, event, &ids)
            })
            .await?;
        }
        Ok(hits)
    }

    async fn count(&self, scope: &Scope) -> Result<u64> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        let scope = scope.clone();
        self.read("counting memories", move |conn| {
            read::count(conn, &scope.admit(Facet::Memories)?)
        })
        .await
    }

    async fn list_namespaces(
        &self,
        scope: &Scope,
        root: &Namespace,
        page: &Page,
    ) -> Result<Paged<NamespaceCount>> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        page.check()?;
        let after = stats::place(page)?;
        let (scope, root, limit) = (scope.clone(), root.clone(), page.limit);
        self.read("listing namespaces", move |conn| {
            let scope = scope.admit(Facet::Memories)?;
            stats::namespaces(conn, &scope, &root, after.as_deref(), limit)
        })
        .await
    }

    async fn stats(&self, scope: &Scope) -> Result<MemoryStats> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        let scope = scope.clone();
        self.read("counting memories", move |conn| {
            stats::stats(conn, &scope.admit(Facet::Memories)?)
        })
        .await
    }

    async fn sweep(&self, scope: &Scope) -> Result<Swept> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        let scope = scope.clone();
        self.write("sweeping memories", move |conn| {
            stats::sweep(conn, &scope.admit(Facet::Memories)?)
        })
        .await
    }

    async fn review(&self, scope: &Scope, id: MemoryId, review: Review) -> Result<Scheduling> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        let scope = scope.clone();
        let event = review.id.map_or_else(Uuid::now_v7, |id| id.0);
        self.write("reviewing a memory", move |conn| {
            scheduling::review(conn, &scope.admit(Facet::Memories)?, id, &review, event)
        })
        .await
    }

    async fn scheduling(&self, scope: &Scope, id: MemoryId) -> Result<Option<Scheduling>> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        let scope = scope.clone();
        self.read("reading a scheduling", move |conn| {
            scheduling::get(conn, &scope.admit(Facet::Memories)?, id)
        })
        .await
    }

    async fn update_scheduling(&self, scope: &Scope, state: Scheduling) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        state.check()?;
        let scope = scope.clone();
        self.write("writing a scheduling", move |conn| {
            scheduling::set(conn, &scope.admit(Facet::Memories)?, &state)
        })
        .await
    }

    async fn due(
        &self,
        scope: &Scope,
        before: Option<DateTime<Utc>>,
        page: &Page,
    ) -> Result<Paged<Due>> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        page.check()?;
        let after = scheduling::due_place(page)?;
        let (scope, limit) = (scope.clone(), page.limit);
        self.read("listing due memories", move |conn| {
            scheduling::due(conn, &scope.admit(Facet::Memories)?, before, after, limit)
        })
        .await
    }

    async fn reviews(
        &self,
        scope: &Scope,
        id: MemoryId,
        page: &Page,
    ) -> Result<Paged<ReviewEvent>> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        page.check()?;
        let before = scheduling::review_place(page)?;
        let (scope, limit) = (scope.clone(), page.limit);
        self.read("listing reviews", move |conn| {
            scheduling::reviews(conn, &scope.admit(Facet::Memories)?, id, before, limit)
        })
        .await
    }

    async fn add_edge(&self, scope: &Scope, edge: NewEdge) -> Result<Edge> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        edge.check()?;
        let scope = scope.clone();
        self.write("writing an edge", move |conn| {
            graph::add(conn, &scope.admit(Facet::Memories)?, &edge)
        })
        .await
    }

    async fn edges(
        &self,
        scope: &Scope,
        id: MemoryId,
        edge_type: Option<&str>,
        page: &Page,
    ) -> Result<Paged<Edge>> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        edge_type.map_or(Ok(()), check_type)?;
        page.check()?;
        let after = graph::place(page)?;
        let (scope, limit) = (scope.clone(), page.limit);
        let edge_type = edge_type.map(str::to_owned);
        self.read("listing edges", move |conn| {
            let scope = scope.admit(Facet::Memories)?;
            graph::edges(conn, &scope, id, edge_type.as_deref(), after.as_ref(), limit)
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
        self.alive()?;
        scope.admit(Facet::Memories)?;
        edge_type.map_or(Ok(()), check_type)?;
        let (scope, edge_type) = (scope.clone(), edge_type.map(str::to_owned));
        self.write("removing an edge", move |conn| {
            let scope = scope.admit(Facet::Memories)?;
            graph::remove(conn, &scope, source, target, edge_type.as_deref())
        })
        .await
    }

    async fn neighbors(&self, scope: &Scope, id: MemoryId, depth: u32) -> Result<Vec<Neighbor>> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        check_depth(depth)?;
        let scope = scope.clone();
        self.read("walking to neighbours", move |conn| {
            graph::neighbors(conn, &scope.admit(Facet::Memories)?, id, depth)
        })
        .await
    }

    async fn domains(&self, scope: &Scope, page: &Page) -> Result<Paged<Domain>> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        page.check()?;
        let after = domains::place(page)?;
        let (scope, limit) = (scope.clone(), page.limit);
        self.read("listing domains", move |conn| {
            domains::list(conn, &scope.admit(Facet::Memories)?, after.as_ref(), limit)
        })
        .await
    }

    async fn domain(&self, scope: &Scope, id: &str) -> Result<Domain> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        domain::check_id(id)?;
        let (scope, id) = (scope.clone(), id.to_owned());
        self.read("reading a domain", move |conn| {
            domains::get(conn, &scope.admit(Facet::Memories)?, &id)
        })
        .await
    }

    async fn upsert_domain(&self, scope: &Scope, domain: NewDomain) -> Result<Domain> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        domain.check()?;
        let scope = scope.clone();
        self.write("writing a domain", move |conn| {
            domains::upsert(conn, &scope.admit(Facet::Memories)?, &domain)
        })
        .await
    }

    async fn delete_domain(&self, scope: &Scope, id: &str) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        domain::check_id(id)?;
        let (scope, id) = (scope.clone(), id.to_owned());
        self.write("deleting a domain", move |conn| {
            domains::delete(conn, &scope.admit(Facet::Memories)?, &id)
        })
        .await
    }

    async fn set_domain_from_tag(&self, scope: &Scope, id: &str, tag: &str) -> Result<Domain> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        domain::check_id(id)?;
        limits::name("tag", tag, limits::LABEL_BYTES)?;
        let (scope, id, tag) = (scope.clone(), id.to_owned(), tag.to_owned());
        self.write("filling a domain", move |conn| {
            domains::set_from_tag(conn, &scope.admit(Facet::Memories)?, &id, &tag)
        })
        .await
    }

    async fn classify(&self, scope: &Scope, vector: &[f32], limit: u32) -> Result<Vec<Classified>> {
        self.alive()?;
        scope.admit(Facet::Memories)?;
        domain::check_limit(limit)?;
        vector::check("vector", vector)?;
        let (scope, vector) = (scope.clone(), vector.to_vec());
        self.read("classifying a vector", move |conn| {
            domains::classify(conn, &scope.admit(Facet::Memories)?, &vector, limit)
        })
        .await
    }

    async fn registered_model(&self) -> Result<Option<ModelSignature>> {
        self.alive()?;
        self.read("reading the model", |conn| Ok(models::active(conn)?.map(|set| set.model))).await
    }

    async fn wording(&self) -> Result<Wording> {
        self.alive()?;
        let wording = self.read("reading the language", language::wording).await?;
        self.known.set(wording);
        Ok(wording)
    }

    async fn register_language(&self, language: Language) -> Result<()> {
        self.alive()?;
        // Once it is chosen nobody writes.
        if self.read("reading the language", language::chosen).await? != Some(language) {
            self.write("registering a language", move |conn| language::register(conn, language))
                .await?;
        }
        self.wording().await.map(drop)
    }

    async fn change_language(&self, to: Language) -> Result<Wording> {
        self.alive()?;
        let changed =
            self.write("changing the language", move |conn| language::change(conn, to)).await?;
        self.known.set(changed);
        Ok(changed)
    }

    async fn register_model(&self, model: &ModelSignature) -> Result<()> {
        self.alive()?;
        model.check()?;
        let model = model.clone();
        self.write("registering a model", move |conn| models::register(conn, &model)).await
    }
}

impl SqliteStore {
    async fn remember_checked(
        &self,
        scope: &Scope,
        memories: Vec<NewMemory>,
        naming: write::Naming,
    ) -> Result<Vec<Remembered>> {
        let language = self.known.get().language;
        let bytes: usize = memories.iter().map(|memory| memory.content.len()).sum();
        let prepared: Vec<Prepared> = if bytes <= PREPARE_INLINE_BYTES {
            memories.into_iter().map(|memory| Prepared::of(memory, language)).collect()
        } else {
            // Neither the caller's runtime nor the writer should wait for the cutting.
            self.read("analysing memories", move |_| {
                let cut = |memory: &NewMemory| Prepared::of(memory.clone(), language);
                Ok(memories.iter().map(cut).collect())
            })
            .await?
        };
        let scope = scope.clone();
        self.write("writing memories", move |conn| {
            write::remember_all(conn, &scope.admit(Facet::Memories)?, &prepared, naming)
        })
        .await
    }
}
