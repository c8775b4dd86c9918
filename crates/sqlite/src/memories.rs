//! Memories in SQLite: checks before the hop, one transaction behind it.

mod filter;
pub(crate) mod read;
pub(crate) mod recall;
pub(crate) mod rows;
mod vectors;
mod words;
pub(crate) mod write;

use async_trait::async_trait;
use mnemon_core::memories::{
    Hit, Memories, Memory, MemoryFilter, ModelSignature, Namespace, NewMemory, Recall, Remembered,
};
use mnemon_core::{Facet, MemoryId, Page, Paged, Result, Scope, limits};

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
        let (scope, question) = (scope.clone(), question.clone());
        self.read("recalling memories", move |conn| {
            recall::recall(conn, &scope.admit(Facet::Memories)?, &question)
        })
        .await
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

    async fn registered_model(&self) -> Result<Option<ModelSignature>> {
        self.alive()?;
        self.read("reading the model", |conn| Ok(models::active(conn)?.map(|set| set.model))).await
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
        let bytes: usize = memories.iter().map(|memory| memory.content.len()).sum();
        let prepared: Vec<Prepared> = if bytes <= PREPARE_INLINE_BYTES {
            memories.into_iter().map(Prepared::of).collect()
        } else {
            // Neither the caller's runtime nor the writer should wait for the cutting.
            self.read("analysing memories", move |_| {
                Ok(memories.iter().cloned().map(Prepared::of).collect())
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
