//! A change to a memory: what is given replaces, what is not given stays.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Memory, ModelVector, NewMemory, Visibility};
use crate::error::{Error, Result};
use crate::scope::{Facet, Scope};

/// A change to a memory. Absent fields stay as they are; of those that may be empty, `Some(None)`
/// (in JSON: `null`) empties.
///
/// ```
/// use mnemon_core::memories::MemoryPatch;
///
/// let patch: MemoryPatch =
///     serde_json::from_str(r#"{"content": "The launch is on 4 May", "source": null}"#).unwrap();
/// assert_eq!(patch.source, Some(None));
/// assert_eq!(patch.tags, None, "tags stay");
/// ```
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryPatch {
    /// The text. A new one moves `updated_at`, and its words, counts and vector follow.
    pub content: Option<String>,
    /// Who may see it.
    pub visibility: Option<Visibility>,
    /// The groups it is shared with.
    pub shared_with: Option<Vec<String>>,
    /// What kind of thing it is.
    pub node_type: Option<String>,
    /// Labels.
    pub tags: Option<Vec<String>>,
    /// The caller's JSON object, as a whole.
    pub metadata: Option<Value>,
    /// The code base it is about.
    #[serde(deserialize_with = "given")]
    pub codebase: Option<Option<String>>,
    /// Where it came from.
    #[serde(deserialize_with = "given")]
    pub source: Option<Option<String>>,
    /// Domains it belongs to.
    pub domains: Option<Vec<String>>,
    /// A score per domain.
    pub domain_scores: Option<BTreeMap<String, f64>>,
    /// True from.
    #[serde(deserialize_with = "given")]
    pub valid_from: Option<Option<DateTime<Utc>>>,
    /// True until.
    #[serde(deserialize_with = "given")]
    pub valid_until: Option<Option<DateTime<Utc>>>,
    /// Invisible from this time on.
    #[serde(deserialize_with = "given")]
    pub expires_at: Option<Option<DateTime<Utc>>>,
    /// The vector of the content as it then is. New content without one leaves the memory
    /// without a vector: the old one is another text's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Vec<f32>>,
    /// Vectors of the content by models named; what a handle adds.
    #[serde(skip)]
    pub vectors: Vec<ModelVector>,
}

/// `null` is a value here; only a field that is not there is absent.
#[expect(clippy::option_option, reason = "absent, emptied, given: three things")]
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl MemoryPatch {
    /// A change of the text alone.
    pub fn content(content: impl Into<String>) -> Self {
        Self { content: Some(content.into()), ..Self::default() }
    }

    /// Checks what can be checked without the memory.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a patch that changes nothing.
    pub fn check(&self) -> Result<()> {
        if *self == Self::default() {
            return Err(Error::invalid("patch", "changes nothing"));
        }
        Ok(())
    }

    /// The memory as it is to be, checked as a new one of the same owner would be.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn apply(self, memory: &Memory) -> Result<NewMemory> {
        let old = memory.clone();
        let changed = NewMemory {
            content: self.content.unwrap_or(old.content),
            key: old.key,
            namespace: old.namespace,
            visibility: Some(self.visibility.unwrap_or(old.visibility)),
            // Groups go with the visibility that had them.
            shared_with: self.shared_with.unwrap_or(match self.visibility {
                Some(Visibility::Private | Visibility::Tenant) => Vec::new(),
                _ => old.shared_with,
            }),
            node_type: self.node_type.unwrap_or(old.node_type),
            tags: self.tags.unwrap_or(old.tags),
            metadata: self.metadata.unwrap_or(old.metadata),
            codebase: self.codebase.unwrap_or(old.codebase),
            source: self.source.unwrap_or(old.source),
            domains: self.domains.unwrap_or(old.domains),
            domain_scores: self.domain_scores.unwrap_or(old.domain_scores),
            valid_from: self.valid_from.unwrap_or(old.valid_from),
            valid_until: self.valid_until.unwrap_or(old.valid_until),
            expires_at: self.expires_at.unwrap_or(old.expires_at),
            created_at: Some(old.created_at),
            request_id: None,
            allow_duplicate: false,
            embedding: self.embedding,
            vectors: self.vectors,
        };
        let owner = Scope { user: old.user, ..Scope::tenant(old.tenant) };
        changed.check(&owner.admit(Facet::Memories)?)?;
        Ok(changed)
    }
}
