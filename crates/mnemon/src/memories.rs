//! The memories of an open Mnemon: text is embedded here, outside any connection, and refused
//! scopes are noted.

mod backlog;
mod connected;
mod decay;
mod language;
mod recalled;
mod reembed;

#[cfg(doc)]
use mnemon_core::Error;
use mnemon_core::memories::{
    Hit, Memory, MemoryFilter, MemoryPatch, MemoryStats, ModelSignature, Namespace, NamespaceCount,
    NewMemory, Recall, Remembered, Swept,
};
use mnemon_core::{Facet, MemoryId, Page, Paged, Result, Scope, limits};

use crate::engine::Inner;

pub(crate) use backlog::Backlog;
pub use language::Relanguaged;
pub use recalled::Recalled;
pub use reembed::{Reembed, ReembedProgress, ReembedReport};

/// The memories of an open Mnemon; see [`crate::Mnemon::memories`].
///
/// What is visible to whom, and what counts as the same memory, is the contract of
/// [`mnemon_core::memories::Memories`].
#[derive(Clone, Copy)]
pub struct Memories<'a> {
    pub(crate) inner: &'a Inner,
}

impl Memories<'_> {
    /// Writes one memory, or finds the equal one. While the model does not answer it is kept without
    /// a vector, found by its words, and embedded by upkeep later.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a field over its limit, a private memory without a user, an
    /// unusable vector; [`Error::AlreadyExists`] when `key` is taken by other content;
    /// [`Error::ScopeRequired`]; an embedder's own.
    pub async fn remember(self, scope: &Scope, memory: NewMemory) -> Result<Remembered> {
        self.inner.ready()?;
        let mut one = [memory];
        self.embed(scope, &mut one).await?;
        let [memory] = one;
        let outcome = self.inner.store.memories().remember(scope, memory).await;
        self.inner.watched(scope, outcome).await
    }

    /// Writes up to [`limits::REMEMBER_BATCH`] memories in one transaction: all or none.
    /// Outcomes come in the order given; equal content within the batch is one memory.
    ///
    /// # Errors
    ///
    /// As [`Memories::remember`]; [`Error::Invalid`] names the entry: `memories[3].content`.
    pub async fn remember_many(
        self,
        scope: &Scope,
        mut memories: Vec<NewMemory>,
    ) -> Result<Vec<Remembered>> {
        self.inner.ready()?;
        self.embed(scope, &mut memories).await?;
        let outcome = self.inner.store.memories().remember_many(scope, memories).await;
        self.inner.watched(scope, outcome).await
    }

    /// Gives every memory without a vector one. What the store will refuse is left alone, so that
    /// no model is asked in vain and the store says what is wrong.
    async fn embed(self, scope: &Scope, memories: &mut [NewMemory]) -> Result<()> {
        let models = &self.inner.models;
        if !models.any() {
            return Ok(());
        }
        let Ok(admitted) = scope.admit(Facet::Memories) else { return Ok(()) };
        if memories.len() > limits::REMEMBER_BATCH
            || memories.iter().any(|memory| memory.check(&admitted).is_err())
        {
            return Ok(());
        }
        let texts: Vec<&str> = memories
            .iter()
            .filter(|memory| memory.embedding.is_none())
            .map(|memory| memory.content.as_str())
            .collect();
        let vectors = models.embed(&texts).await?;
        self.inner.ready()?;
        let mut vectors = vectors.into_iter();
        for memory in memories {
            // What a caller brings is of the model that the handle was opened with.
            memory.vectors = match memory.embedding.take() {
                Some(vector) => models.given(vector).into_iter().collect(),
                None => vectors.next().unwrap_or_default(),
            };
        }
        Ok(())
    }

    /// Reads a memory by id.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is none in this scope; [`Error::ScopeRequired`].
    pub async fn get(self, scope: &Scope, id: MemoryId) -> Result<Memory> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().get(scope, id).await;
        self.inner.watched(scope, outcome).await
    }

    /// Reads a memory by the caller's key in a namespace.
    ///
    /// # Errors
    ///
    /// As [`Memories::get`].
    pub async fn by_key(self, scope: &Scope, namespace: &Namespace, key: &str) -> Result<Memory> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().by_key(scope, namespace, key).await;
        self.inner.watched(scope, outcome).await
    }

    /// Changes a memory; new content is embedded. `updated_at` moves when the content changes.
    ///
    /// # Errors
    ///
    /// As [`Memories::get`], and for a memory that is not the scope's to change;
    /// [`Error::Invalid`] for a field over its limit or a patch that changes nothing;
    /// [`Error::AlreadyExists`] when another memory of the owner has the new content; an
    /// embedder's own.
    pub async fn update(
        self,
        scope: &Scope,
        id: MemoryId,
        mut patch: MemoryPatch,
    ) -> Result<Memory> {
        self.inner.ready()?;
        let models = &self.inner.models;
        if let (Some(content), None) = (&patch.content, &patch.embedding)
            && scope.admit(Facet::Memories).is_ok()
            && limits::name("content", content, limits::MEMORY_CONTENT_BYTES).is_ok()
        {
            patch.vectors = models.embed(&[content]).await?.pop().unwrap_or_default();
            self.inner.ready()?;
        } else if models.any()
            && let Some(vector) = patch.embedding.take()
        {
            patch.vectors = models.given(vector).into_iter().collect();
        }
        let outcome = self.inner.store.memories().update(scope, id, patch).await;
        self.inner.watched(scope, outcome).await
    }

    /// Deletes a memory with its text, vectors and terms; a scope with a user deletes what it
    /// owns and unowned ones, not what others share with it.
    ///
    /// # Errors
    ///
    /// As [`Memories::get`].
    pub async fn delete(self, scope: &Scope, id: MemoryId) -> Result<()> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().delete(scope, id).await;
        self.inner.watched(scope, outcome).await
    }

    /// Lists memories, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor or a filter over its limits;
    /// [`Error::ScopeRequired`].
    pub async fn list(
        self,
        scope: &Scope,
        filter: &MemoryFilter,
        page: &Page,
    ) -> Result<Paged<Memory>> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().list(scope, filter, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// How many memories the scope sees.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeRequired`].
    pub async fn count(self, scope: &Scope) -> Result<u64> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().count(scope).await;
        self.inner.watched(scope, outcome).await
    }

    /// Finds by words alone; nothing is embedded.
    ///
    /// # Errors
    ///
    /// As [`Memories::recall`].
    pub async fn fts_search(self, scope: &Scope, text: &str, limit: u32) -> Result<Vec<Hit>> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().fts_search(scope, text, limit).await;
        self.inner.watched(scope, outcome).await
    }

    /// Finds by a vector of the registered model alone.
    ///
    /// # Errors
    ///
    /// As [`Memories::recall`].
    pub async fn vector_search(
        self,
        scope: &Scope,
        vector: &[f32],
        limit: u32,
    ) -> Result<Vec<Hit>> {
        self.inner.ready()?;
        self.recall(scope, &Recall { limit, ..Recall::vector(vector) }).await
    }

    /// The namespaces in which the scope sees memories, by name; those at or below `root`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    pub async fn list_namespaces(
        self,
        scope: &Scope,
        root: &Namespace,
        page: &Page,
    ) -> Result<Paged<NamespaceCount>> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().list_namespaces(scope, root, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// What the scope sees, counted.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeRequired`].
    pub async fn stats(self, scope: &Scope) -> Result<MemoryStats> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().stats(scope).await;
        self.inner.watched(scope, outcome).await
    }

    /// Removes memories of the scope's whose time is over, and vectors that are another text's.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeRequired`].
    pub async fn sweep(self, scope: &Scope) -> Result<Swept> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().sweep(scope).await;
        self.inner.watched(scope, outcome).await
    }

    /// The model whose embeddings this database holds, if one is registered.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] and [`Error::Backend`] only.
    pub async fn registered_model(self) -> Result<Option<ModelSignature>> {
        self.inner.ready()?;
        self.inner.store.memories().registered_model().await
    }
}
