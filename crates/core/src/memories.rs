//! Memories: free text that is found again by its words and its meaning.
//!
//! The record, the question, the evidence of every hit, and the [`Memories`] trait a store
//! implements. How text is cut into lexemes is in [`text`], how it is scored in [`bm25`], how the
//! two branches become one list in [`fuse`].

pub mod bm25;
pub mod fuse;
mod record;
pub mod text;
pub mod vector;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use fuse::Fusion;
pub use record::{Memory, Namespace, NewMemory, Visibility};
pub use vector::ModelSignature;

use crate::error::{Error, Result};
use crate::ids::MemoryId;
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

/// Which memories a list or a recall considers. Empty fields do not filter.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryFilter {
    /// This namespace and those below it: `work` finds `work/plans`, not `workshop`.
    pub namespace: Option<Namespace>,
    /// Any of these tags.
    pub tags: Vec<String>,
    /// Any of these node types.
    pub node_types: Vec<String>,
    /// Created at or after.
    pub created_from: Option<DateTime<Utc>>,
    /// Created before.
    pub created_to: Option<DateTime<Utc>>,
}

impl MemoryFilter {
    /// Checks every field against its limit.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field.
    pub fn check(&self) -> Result<()> {
        limits::count("filter.tags", self.tags.len(), limits::TAGS_MAX)?;
        for tag in &self.tags {
            limits::name("filter.tags", tag, limits::LABEL_BYTES)?;
        }
        limits::count("filter.node_types", self.node_types.len(), limits::TAGS_MAX)?;
        for node_type in &self.node_types {
            limits::name("filter.node_types", node_type, limits::NODE_TYPE_BYTES)?;
        }
        match (self.created_from, self.created_to) {
            (Some(from), Some(to)) if from >= to => {
                Err(Error::invalid("filter.created_to", "is not after created_from"))
            }
            _ => Ok(()),
        }
    }
}

/// A question to the memories: by words, by a vector, or both.
///
/// ```
/// use mnemon_core::memories::Recall;
///
/// let question = Recall { limit: 5, ..Recall::text("when is the launch?") };
/// assert!(question.check().is_ok());
/// assert!(Recall::default().check().is_err(), "neither text nor vector is a caller's bug");
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[doc(alias = "SearchQuery")]
pub struct Recall {
    /// What to find, in words: any of them, rarest first; `"a phrase"`, `-without`.
    pub text: Option<String>,
    /// What to find, as a vector of the registered model.
    pub embedding: Option<Vec<f32>>,
    /// Hits wanted, 1 to [`limits::RECALL_MAX`].
    pub limit: u32,
    /// Which memories are considered; applied before the limit.
    pub filter: MemoryFilter,
    /// The least cosine similarity of a hit that only the vector found, −1 to 1.
    pub min_similarity: Option<f32>,
    /// How the branches become one list.
    pub fusion: Fusion,
}

impl Default for Recall {
    fn default() -> Self {
        Self {
            text: None,
            embedding: None,
            limit: limits::RECALL_DEFAULT,
            filter: MemoryFilter::default(),
            min_similarity: None,
            fusion: Fusion::default(),
        }
    }
}

impl Recall {
    /// A question in words.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// A question as a vector of the registered model.
    pub fn vector(embedding: impl Into<Vec<f32>>) -> Self {
        Self { embedding: Some(embedding.into()), ..Self::default() }
    }

    /// Checks the question.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field: neither text nor vector, a limit of 0 or over
    /// [`limits::RECALL_MAX`], an unusable vector, a filter over its limits.
    pub fn check(&self) -> Result<()> {
        if self.text.is_none() && self.embedding.is_none() {
            return Err(Error::invalid("recall", "has neither text nor embedding"));
        }
        if !(1..=limits::RECALL_MAX).contains(&self.limit) {
            return Err(Error::invalid(
                "limit",
                format!("is {}; it goes from 1 to {}", self.limit, limits::RECALL_MAX),
            ));
        }
        if let Some(text) = &self.text {
            limits::label("text", text, limits::RECALL_TEXT_BYTES)?;
        }
        if let Some(embedding) = &self.embedding {
            vector::check("embedding", embedding)?;
        }
        if self.min_similarity.is_some_and(|least| !(-1.0..=1.0).contains(&least)) {
            return Err(Error::invalid("min_similarity", "is not between -1 and 1"));
        }
        self.filter.check()
    }

    /// Hits each branch fetches: [`limits::OVERFETCH`] × the limit, at least
    /// [`limits::OVERFETCH_MIN`].
    pub fn branch_limit(&self) -> u32 {
        (self.limit * limits::OVERFETCH).max(limits::OVERFETCH_MIN)
    }
}

/// One memory found, with the evidence why.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hit {
    /// The memory.
    pub memory: Memory,
    /// The fused score; larger is better; comparable within one answer only.
    pub score: f64,
    /// Its place by words, from 1.
    pub text_rank: Option<u32>,
    /// Its BM25 score.
    pub text_score: Option<f64>,
    /// Its place by vector, from 1.
    pub vector_rank: Option<u32>,
    /// Its cosine similarity to the question, −1 to 1.
    pub similarity: Option<f64>,
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
    /// registered model's; [`Error::Setup`] when a vector is given and the database has no
    /// vector support; [`Error::ScopeRequired`].
    #[doc(alias = "search")]
    async fn recall(&self, scope: &Scope, question: &Recall) -> Result<Vec<Hit>>;

    /// How many memories the scope sees.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeRequired`].
    async fn count(&self, scope: &Scope) -> Result<u64>;

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
}
