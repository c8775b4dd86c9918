//! Memories: free text that is found again by its words and its meaning.
//!
//! The record, the question, the evidence of every hit, and the [`Memories`] trait a store
//! implements. How text is cut into lexemes is in [`text`], how it is scored in [`bm25`], how the
//! two branches become one list in [`fuse`], how memories fade in [`decay`], how they are connected
//! in [`graph`], whose vectors these are and how a model is changed in [`sets`].

pub mod bm25;
pub mod decay;
pub mod domain;
mod filter;
pub mod fuse;
pub mod graph;
mod patch;
mod question;
mod record;
pub mod sets;
mod stats;
pub mod text;
pub mod vector;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use decay::{Due, Rating, Review, ReviewEvent, Scheduling};
pub use domain::{Classified, Domain, NewDomain};
pub use filter::{Comparison, MemoryFilter, MetadataTest};
pub use fuse::Fusion;
pub use graph::{Edge, Neighbor, NewEdge};
pub use patch::MemoryPatch;
pub use question::{Hit, Recall};
pub use record::{Memory, Namespace, NewMemory, Visibility};
pub use sets::{
    EmbeddingSet, EmbeddingSets, FillLease, Filled, Filling, Lacking, ModelVector, SetCounts,
    SetId, SetState, SetsReport, Switch,
};
pub use stats::{MemoryStats, NamespaceCount, Swept};
pub use text::{Language, Wording};
pub use vector::ModelSignature;

#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::ids::MemoryId;
#[cfg(doc)]
use crate::limits;
use crate::page::{Page, Paged};
use crate::scope::Scope;

/// What `remember` did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Remembered {
    /// The memory's id: the existing one when equal content was already there.
    pub id: MemoryId,
    /// Whether a row was written.
    pub created: bool,
}

/// The memories of a store.
///
/// # Contract
///
/// - Every method is one atomic operation: callers see all of it or none.
/// - Visibility is applied in SQL by every verb, by-id ones included. A scope with a user sees
///   its own memories, unowned ones, `tenant` ones, and those shared with one of its groups; a
///   scope without a user sees the whole tenant. An agent in the scope restricts to its memories.
///   What is not visible is [`Error::NotFound`], never forbidden.
/// - Expired memories (`expires_at` at or before the store's clock) are invisible to every verb.
/// - Equal content of the same owner, agent and namespace is one memory unless
///   [`NewMemory::allow_duplicate`] is set; a repeated `request_id` answers the first outcome.
/// - Lists are ordered newest first by id; filters apply before limits.
/// - Recall's two branches are ordered and bounded, fused by [`fuse`], ties broken by id.
/// - A scope with a user changes and deletes what it owns and unowned memories, not what others
///   share with it: that is [`Error::NotFound`], too.
/// - Reading strengthens nothing. A review writes its event and the new state together; the event
///   outlives the memory.
/// - An edge belongs to the memory it starts from and is seen by who sees both its ends.
#[async_trait]
pub trait Memories: Send + Sync {
    /// Writes one memory, or finds the equal one.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a field over its limit, a private memory without a user, an
    /// unusable vector; [`Error::AlreadyExists`] when `key` is taken by other content;
    /// [`Error::ScopeRequired`].
    async fn remember(&self, scope: &Scope, memory: NewMemory) -> Result<Remembered> {
        let mut done = self.remember_many(scope, vec![memory]).await?;
        Ok(done.pop().expect("one memory in, one outcome out"))
    }

    /// Writes up to [`limits::REMEMBER_BATCH`] memories in one transaction: all or none.
    /// Outcomes come in the order given; equal content within the batch is one memory.
    ///
    /// # Errors
    ///
    /// As [`Memories::remember`]; [`Error::Invalid`] names the entry: `memories[3].content`.
    async fn remember_many(
        &self,
        scope: &Scope,
        memories: Vec<NewMemory>,
    ) -> Result<Vec<Remembered>>;

    /// Reads a memory by id.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is none in this scope; [`Error::ScopeRequired`].
    async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Memory>;

    /// Reads a memory by the caller's key in a namespace. Of several visible ones the nearest:
    /// the scope's own user's first, then unowned ones, then those others share; the newest of
    /// them.
    ///
    /// # Errors
    ///
    /// As [`Memories::get`].
    async fn by_key(&self, scope: &Scope, namespace: &Namespace, key: &str) -> Result<Memory>;

    /// Changes a memory. `updated_at` moves when the content changes and only then; the words, the
    /// counts and the vector follow in the same transaction. New content without a vector leaves
    /// the memory without one.
    ///
    /// # Errors
    ///
    /// As [`Memories::get`], and for a memory that is not the scope's to change;
    /// [`Error::Invalid`] for a field over its limit or a patch that
    /// changes nothing; [`Error::AlreadyExists`] when another memory
    /// of the owner has the new content.
    async fn update(&self, scope: &Scope, id: MemoryId, patch: MemoryPatch) -> Result<Memory>;

    /// Deletes a memory with its text, vectors and terms; a scope with a user deletes what it
    /// owns and unowned ones, not what others share with it.
    ///
    /// # Errors
    ///
    /// As [`Memories::get`].
    async fn delete(&self, scope: &Scope, id: MemoryId) -> Result<()>;

    /// Lists memories, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor or a filter over its limits;
    /// [`Error::ScopeRequired`].
    async fn list(
        &self,
        scope: &Scope,
        filter: &MemoryFilter,
        page: &Page,
    ) -> Result<Paged<Memory>>;

    /// Finds memories by words, by vector, or both, best first.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] as [`Recall::check`], or for a vector of another dimension than the
    /// registered model's; [`Error::ModelMismatch`] for a vector of a named model that has no set
    /// to be searched here; [`Error::Setup`] when a vector is given and the database has no
    /// vector support; [`Error::ScopeRequired`].
    #[doc(alias = "search")]
    async fn recall(&self, scope: &Scope, question: &Recall) -> Result<Vec<Hit>>;

    /// How many memories the scope sees.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeRequired`].
    async fn count(&self, scope: &Scope) -> Result<u64>;

    /// Finds by words alone: recall's text branch.
    ///
    /// # Errors
    ///
    /// As [`Memories::recall`].
    async fn fts_search(&self, scope: &Scope, text: &str, limit: u32) -> Result<Vec<Hit>> {
        self.recall(scope, &Recall { limit, ..Recall::text(text) }).await
    }

    /// Finds by vector alone: recall's vector branch.
    ///
    /// # Errors
    ///
    /// As [`Memories::recall`].
    async fn vector_search(&self, scope: &Scope, vector: &[f32], limit: u32) -> Result<Vec<Hit>> {
        self.recall(scope, &Recall { limit, ..Recall::vector(vector) }).await
    }

    /// The namespaces in which the scope sees memories, by name; those at or below `root`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    async fn list_namespaces(
        &self,
        scope: &Scope,
        root: &Namespace,
        page: &Page,
    ) -> Result<Paged<NamespaceCount>>;

    /// What the scope sees, counted.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeRequired`].
    async fn stats(&self, scope: &Scope) -> Result<MemoryStats>;

    /// Removes memories of the scope's whose time is over, and vectors that are another text's;
    /// what upkeep does for everybody, now and for this scope.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeRequired`].
    #[doc(alias = "vacuum")]
    async fn sweep(&self, scope: &Scope) -> Result<Swept>;

    /// Notes how well a memory was recalled: writes the event and the new state together. The same
    /// event id again answers the state of the first time.
    ///
    /// # Errors
    ///
    /// As [`Memories::update`]; [`Error::Invalid`] for a time before the last review or in the
    /// future; [`Error::AlreadyExists`] when the event id is another memory's.
    #[doc(alias = "mark_reviewed")]
    async fn review(&self, scope: &Scope, id: MemoryId, review: Review) -> Result<Scheduling>;

    /// How well a memory is kept; `None`: new, never reviewed.
    ///
    /// # Errors
    ///
    /// As [`Memories::get`].
    async fn scheduling(&self, scope: &Scope, id: MemoryId) -> Result<Option<Scheduling>>;

    /// Sets a memory's state as it is given, for imports; no event is written.
    ///
    /// # Errors
    ///
    /// As [`Memories::update`]; [`Error::Invalid`] as [`Scheduling::check`].
    async fn update_scheduling(&self, scope: &Scope, state: Scheduling) -> Result<()>;

    /// Memories due at or before a time (the store's clock without one), longest due first.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    #[doc(alias = "get_due_memories")]
    async fn due(
        &self,
        scope: &Scope,
        before: Option<DateTime<Utc>>,
        page: &Page,
    ) -> Result<Paged<Due>>;

    /// The reviews of a memory, latest first, also after it was deleted: a scope with a user reads
    /// those of memories that were its own or unowned.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    async fn reviews(&self, scope: &Scope, id: MemoryId, page: &Page)
    -> Result<Paged<ReviewEvent>>;

    /// Connects a memory that the scope may change with one that it sees. The same edge again
    /// takes the new weight.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for either end; [`Error::Invalid`] as [`NewEdge::check`].
    async fn add_edge(&self, scope: &Scope, edge: NewEdge) -> Result<Edge>;

    /// The edges of a memory in either direction, of one type or all, by source, target and type.
    ///
    /// # Errors
    ///
    /// As [`Memories::get`]; [`Error::Invalid`] for a foreign cursor.
    async fn edges(
        &self,
        scope: &Scope,
        id: MemoryId,
        edge_type: Option<&str>,
        page: &Page,
    ) -> Result<Paged<Edge>>;

    /// Removes the edge of a type from one memory to another, or all between them in that
    /// direction; answers how many.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is none, or its source is not the scope's to change.
    async fn remove_edge(
        &self,
        scope: &Scope,
        source: MemoryId,
        target: MemoryId,
        edge_type: Option<&str>,
    ) -> Result<u64>;

    /// The memories within some hops, strongest path first; the start is not among them. At most
    /// [`limits::GRAPH_NODES`].
    ///
    /// # Errors
    ///
    /// As [`Memories::get`]; [`Error::Invalid`] for a depth outside 1 to
    /// [`limits::GRAPH_DEPTH`].
    #[doc(alias = "get_neighbors")]
    async fn neighbors(&self, scope: &Scope, id: MemoryId, depth: u32) -> Result<Vec<Neighbor>>;

    /// The domains the scope sees, by id.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    #[doc(alias = "list_domains")]
    async fn domains(&self, scope: &Scope, page: &Page) -> Result<Paged<Domain>>;

    /// One domain: the scope's own before an unowned one.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::ScopeRequired`].
    #[doc(alias = "get_domain")]
    async fn domain(&self, scope: &Scope, id: &str) -> Result<Domain>;

    /// Writes a domain, or replaces the owner's of the same id.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] as [`NewDomain::check`], or for a centroid of another dimension than the
    /// registered model's, or without a model; [`Error::ScopeRequired`].
    async fn upsert_domain(&self, scope: &Scope, domain: NewDomain) -> Result<Domain>;

    /// Deletes a domain. Memories keep its name.
    ///
    /// # Errors
    ///
    /// As [`Memories::domain`].
    async fn delete_domain(&self, scope: &Scope, id: &str) -> Result<()>;

    /// Puts every memory with a tag that the scope may change into a domain, makes the domain when
    /// it is missing, and moves its centroid to the middle of those memories' vectors.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a blank tag or id; [`Error::NotFound`] when no memory has the tag.
    async fn set_domain_from_tag(&self, scope: &Scope, id: &str, tag: &str) -> Result<Domain>;

    /// The domains nearest to a vector of the registered model, best first; computed in SQL.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an unusable vector or a limit outside 1 to
    /// [`limits::RECALL_MAX`]; [`Error::ScopeRequired`].
    async fn classify(&self, scope: &Scope, vector: &[f32], limit: u32) -> Result<Vec<Classified>>;

    /// The model whose embeddings this database holds, if one is registered.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] and [`Error::Backend`] only.
    async fn registered_model(&self) -> Result<Option<ModelSignature>>;

    /// Registers the model of this database; the same one again is a no-op. Safe for many
    /// processes at once.
    ///
    /// # Errors
    ///
    /// [`Error::ModelMismatch`] when another one is registered; [`Error::Setup`] when the
    /// database has no vector support.
    async fn register_model(&self, model: &ModelSignature) -> Result<()>;

    /// How the words of this database stand.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] and [`Error::Backend`] only.
    async fn wording(&self) -> Result<Wording>;

    /// Settles the language of a database that holds no memory yet and for which nobody chose one;
    /// the same one again is a no-op. Safe for many processes at once.
    ///
    /// # Errors
    ///
    /// [`Error::LanguageMismatch`] when it is another one: one chosen, or the default one that
    /// memories are cut in already.
    async fn register_language(&self, language: Language) -> Result<()>;

    /// Begins to change the language: from now on whatever is written is cut in the new one, by
    /// every handle, and every question is asked in both, until
    /// [`Task::Words`](crate::upkeep::Task::Words) has cut all memories anew. To the language it is
    /// on its way to already: a no-op.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] while a change to another language is not at its end.
    async fn change_language(&self, to: Language) -> Result<Wording>;

    /// Builds indexes over the vectors of a registered model until hardly any is unindexed,
    /// waiting for upkeep where that is at it; the vectors indexed. Nothing where a store compares
    /// all vectors anyway.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for a model that no set of this database is of; [`Error::Setup`] when
    /// the role may not change the schema.
    async fn index_vectors(&self, model: &ModelSignature) -> Result<u64> {
        let _ = model;
        Ok(0)
    }
}
