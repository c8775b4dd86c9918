//! A question to the memories, and what each hit says of itself.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Edge, Fusion, Memory, MemoryFilter, ModelSignature, vector};
use crate::error::{Error, Result};
use crate::limits;

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
    /// The model that made the vector, where that is known: its set is searched, and no other.
    #[serde(skip)]
    pub model: Option<Arc<ModelSignature>>,
    /// Hits wanted, 1 to [`limits::RECALL_MAX`].
    pub limit: u32,
    /// Which memories are considered; applied before the limit.
    pub filter: MemoryFilter,
    /// The least cosine similarity of a hit that only the vector found, −1 to 1.
    pub min_similarity: Option<f32>,
    /// How the branches become one list.
    pub fusion: Fusion,
    /// Activation spreads from the hits along the edges, this many hops (1 to
    /// [`limits::SPREAD_DEPTH`]); what it reaches competes with the hits.
    pub spread: Option<u32>,
    /// Notes one access event with all the hits. Reading alone strengthens nothing.
    pub reinforce: bool,
}

impl Default for Recall {
    fn default() -> Self {
        Self {
            text: None,
            embedding: None,
            model: None,
            limit: limits::RECALL_DEFAULT,
            filter: MemoryFilter::default(),
            min_similarity: None,
            fusion: Fusion::default(),
            spread: None,
            reinforce: false,
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
    /// [`limits::RECALL_MAX`], an unusable vector, a depth of 0 or over
    /// [`limits::SPREAD_DEPTH`], a filter over its limits.
    pub fn check(&self) -> Result<()> {
        if self.text.is_none() && self.embedding.is_none() {
            return Err(Error::invalid("recall", "has neither text nor embedding"));
        }
        within("limit", self.limit, limits::RECALL_MAX)?;
        if let Some(depth) = self.spread {
            within("spread", depth, limits::SPREAD_DEPTH)?;
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
        self.fusion.check()?;
        self.filter.check()
    }

    /// Hits each branch fetches: [`limits::OVERFETCH`] × the limit, at least
    /// [`limits::OVERFETCH_MIN`].
    pub fn branch_limit(&self) -> u32 {
        (self.limit * limits::OVERFETCH).max(limits::OVERFETCH_MIN)
    }
}

/// Checks a number that goes from 1 to a limit.
pub(super) fn within(field: &'static str, number: u32, most: u32) -> Result<()> {
    if (1..=most).contains(&number) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("is {number}; it goes from 1 to {most}")))
}

/// One memory found, with the evidence why.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[doc(alias = "SearchResult")]
pub struct Hit {
    /// The memory.
    pub memory: Memory,
    /// The fused score; larger is better; comparable within one answer only.
    pub score: f64,
    /// Its place by words, from 1; absent beyond the bound of their branch.
    pub text_rank: Option<u32>,
    /// Its BM25 score.
    #[doc(alias = "fts_score")]
    pub text_score: Option<f64>,
    /// Its place by vector, from 1.
    pub vector_rank: Option<u32>,
    /// Its cosine similarity to the question, −1 to 1.
    #[doc(alias = "vector_score")]
    pub similarity: Option<f64>,
    /// How likely it is still recalled, 0 to 1; absent for a memory never reviewed.
    pub retrievability: Option<f64>,
    /// The edge that activation came by, when that is what placed it here.
    pub via_edge: Option<Edge>,
}
