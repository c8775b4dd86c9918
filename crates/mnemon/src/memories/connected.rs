//! How memories are connected: edges and domains.

use mnemon_core::memories::{Classified, Domain, Edge, Neighbor, NewDomain, NewEdge};
use mnemon_core::{Error, MemoryId, Page, Paged, Result, Scope, limits};

use super::Memories;
use crate::embed::vectors;

impl Memories<'_> {
    /// Connects a memory that the scope may change with one that it sees. The same edge again takes
    /// the new weight.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for either end; [`Error::Invalid`] as [`NewEdge::check`];
    /// [`Error::ScopeRequired`].
    pub async fn add_edge(self, scope: &Scope, edge: NewEdge) -> Result<Edge> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().add_edge(scope, edge).await;
        self.inner.watched(scope, outcome).await
    }

    /// The edges of a memory in either direction, of one type or all.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    pub async fn edges(
        self,
        scope: &Scope,
        id: MemoryId,
        edge_type: Option<&str>,
        page: &Page,
    ) -> Result<Paged<Edge>> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().edges(scope, id, edge_type, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Removes the edge of a type from one memory to another, or all between them in that direction;
    /// answers how many.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is none, or its source is not the scope's to change.
    pub async fn remove_edge(
        self,
        scope: &Scope,
        source: MemoryId,
        target: MemoryId,
        edge_type: Option<&str>,
    ) -> Result<u64> {
        self.inner.ready()?;
        let outcome =
            self.inner.store.memories().remove_edge(scope, source, target, edge_type).await;
        self.inner.watched(scope, outcome).await
    }

    /// The memories within some hops, strongest path first; the start is not among them.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Invalid`] for a depth outside 1 to [`limits::GRAPH_DEPTH`].
    pub async fn neighbors(self, scope: &Scope, id: MemoryId, depth: u32) -> Result<Vec<Neighbor>> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().neighbors(scope, id, depth).await;
        self.inner.watched(scope, outcome).await
    }

    /// The domains the scope sees, by id.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    pub async fn domains(self, scope: &Scope, page: &Page) -> Result<Paged<Domain>> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().domains(scope, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// One domain: the scope's own before an unowned one.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::ScopeRequired`].
    pub async fn domain(self, scope: &Scope, id: &str) -> Result<Domain> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().domain(scope, id).await;
        self.inner.watched(scope, outcome).await
    }

    /// Writes a domain, or replaces the owner's of the same id.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] as [`NewDomain::check`], or for a centroid that is none of the registered
    /// model's; [`Error::ModelMismatch`] as [`Memories::classify`]; [`Error::ScopeRequired`].
    pub async fn upsert_domain(self, scope: &Scope, domain: NewDomain) -> Result<Domain> {
        self.inner.ready()?;
        if domain.centroid.is_some() {
            self.still_registered().await?;
        }
        let outcome = self.inner.store.memories().upsert_domain(scope, domain).await;
        self.inner.watched(scope, outcome).await
    }

    /// Deletes a domain. Memories keep its name.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::ScopeRequired`].
    pub async fn delete_domain(self, scope: &Scope, id: &str) -> Result<()> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().delete_domain(scope, id).await;
        self.inner.watched(scope, outcome).await
    }

    /// Puts every memory with a tag that the scope may change into a domain, makes the domain when it
    /// is missing, and moves its centroid to the middle of those memories' vectors.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a blank tag or id; [`Error::NotFound`] when no memory has the tag.
    pub async fn set_domain_from_tag(self, scope: &Scope, id: &str, tag: &str) -> Result<Domain> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().set_domain_from_tag(scope, id, tag).await;
        self.inner.watched(scope, outcome).await
    }

    /// The domains nearest to a vector of the registered model, best first.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an unusable vector or limit; [`Error::ModelMismatch`] when the database
    /// went over to another model than this handle's; [`Error::ScopeRequired`].
    pub async fn classify(
        self,
        scope: &Scope,
        vector: &[f32],
        limit: u32,
    ) -> Result<Vec<Classified>> {
        self.inner.ready()?;
        self.still_registered().await?;
        let outcome = self.inner.store.memories().classify(scope, vector, limit).await;
        self.inner.watched(scope, outcome).await
    }

    /// Refuses to take a vector for one of the registered model after the database went over to
    /// another one.
    async fn still_registered(self) -> Result<()> {
        let Some(own) = self.inner.models.own() else { return Ok(()) };
        match self.inner.store.memories().registered_model().await? {
            Some(registered) if registered != *own.signature() => {
                Err(Error::ModelMismatch { registered, offered: own.signature().clone() })
            }
            _ => Ok(()),
        }
    }

    /// The domains nearest to a text, by the model that is set.
    ///
    /// # Errors
    ///
    /// As [`Memories::classify`]; [`Error::Setup`] when no model is set; an embedder's own.
    pub async fn classify_text(
        self,
        scope: &Scope,
        text: &str,
        limit: u32,
    ) -> Result<Vec<Classified>> {
        self.inner.ready()?;
        limits::name("text", text, limits::RECALL_TEXT_BYTES)?;
        let embedder = self.inner.models.own().ok_or_else(|| {
            Error::setup("no model is set", "set one (`[embedder] model`, or `--model`)")
        })?;
        let vector = vectors(embedder.as_ref(), &[text]).await?.pop().unwrap_or_default();
        self.classify(scope, &vector, limit).await
    }
}
