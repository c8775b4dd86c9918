//! Domains: named regions of what is remembered.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::question::within;
use super::vector;
use crate::error::Result;
use crate::limits;

/// A domain to write. The same id again replaces it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewDomain {
    /// Its id, as memories name it in `domains`.
    pub id: String,
    /// What people call it.
    pub label: String,
    /// Its middle, a vector of the registered model; without, nothing is classified into it.
    pub centroid: Option<Vec<f32>>,
    /// Words that are typical of it.
    pub top_terms: Vec<String>,
}

impl NewDomain {
    /// A domain of a name.
    pub fn new(id: impl Into<String>) -> Self {
        let id = id.into();
        Self { label: id.clone(), id, ..Self::default() }
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        check_id(&self.id)?;
        limits::name("label", &self.label, limits::LABEL_BYTES)?;
        limits::count("top_terms", self.top_terms.len(), limits::DOMAIN_TERMS)?;
        for term in &self.top_terms {
            limits::name("top_terms", term, limits::LABEL_BYTES)?;
        }
        match &self.centroid {
            Some(centroid) => vector::check("centroid", centroid),
            None => Ok(()),
        }
    }
}

/// Checks a domain's id.
///
/// # Errors
///
/// [`crate::Error::Invalid`] when it is blank or over [`limits::LABEL_BYTES`].
pub fn check_id(id: &str) -> Result<()> {
    limits::name("domain", id, limits::LABEL_BYTES)
}

/// Checks how many domains a classification answers.
///
/// # Errors
///
/// [`crate::Error::Invalid`] outside 1 to [`limits::RECALL_MAX`].
pub fn check_limit(limit: u32) -> Result<()> {
    within("limit", limit, limits::RECALL_MAX)
}

/// A domain as it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Domain {
    /// Its id.
    pub id: String,
    /// Its owner; unowned ones are every user's of the tenant.
    pub user: Option<String>,
    /// What people call it.
    pub label: String,
    /// Its middle.
    pub centroid: Option<Vec<f32>>,
    /// Words that are typical of it.
    pub top_terms: Vec<String>,
    /// Memories the scope sees in it.
    pub memory_count: u64,
    /// When it was written first.
    pub created_at: DateTime<Utc>,
}

/// How near a vector is to a domain.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Classified {
    /// The domain.
    pub id: String,
    /// Cosine similarity to its centroid, −1 to 1.
    pub similarity: f64,
}
