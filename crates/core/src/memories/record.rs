//! A memory as it stands, and as it is given.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ModelVector, vector};
use crate::error::{Error, Result};
use crate::ids::{MemoryId, RequestId};
use crate::limits;
use crate::scope::Admitted;

/// Who may see a memory besides its owner and the tenant's services.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Nobody else.
    Private,
    /// Members of the groups in `shared_with`.
    Shared,
    /// Everyone in the tenant.
    Tenant,
}

impl Visibility {
    /// The name at rest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Shared => "shared",
            Self::Tenant => "tenant",
        }
    }
}

impl FromStr for Visibility {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "private" => Ok(Self::Private),
            "shared" => Ok(Self::Shared),
            "tenant" => Ok(Self::Tenant),
            other => Err(Error::invalid(
                "visibility",
                format!("is {other:?}; it is private, shared or tenant"),
            )),
        }
    }
}

/// A path that groups memories: `''`, `work`, `work/plans`.
///
/// ```
/// use mnemon_core::memories::Namespace;
///
/// let plans = Namespace::parse("work/plans")?;
/// assert_eq!(plans.as_str(), "work/plans");
/// assert!(Namespace::parse("work//plans").is_err());
/// # Ok::<(), mnemon_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(String);

impl Namespace {
    /// Checks a path of parts joined by `/`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a blank part, or over [`limits::NAMESPACE_BYTES`] bytes or
    /// [`limits::NAMESPACE_PARTS`] parts.
    pub fn parse(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if text.is_empty() {
            return Ok(Self(text));
        }
        limits::label("namespace", &text, limits::NAMESPACE_BYTES)?;
        limits::count("namespace", text.split('/').count(), limits::NAMESPACE_PARTS)?;
        if text.split('/').any(|part| part.trim().is_empty()) {
            return Err(Error::invalid("namespace", "has a blank part"));
        }
        Ok(Self(text))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Namespace {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(text)
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> Self {
        namespace.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A memory to write. Times and scores that are not given stay empty.
///
/// ```
/// use mnemon_core::memories::NewMemory;
///
/// let memory = NewMemory { tags: vec!["launch".into()], ..NewMemory::new("The launch is on 3 May") };
/// assert_eq!(memory.node_type, "fact");
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewMemory {
    /// The text, non-blank, at most [`limits::MEMORY_CONTENT_BYTES`] bytes.
    pub content: String,
    /// The caller's name for it, unique per owner, agent and namespace.
    pub key: Option<String>,
    /// Where it belongs.
    pub namespace: Namespace,
    /// Who may see it; absent: `private` with a user in the scope, `tenant` without.
    pub visibility: Option<Visibility>,
    /// The groups it is shared with, for [`Visibility::Shared`].
    pub shared_with: Vec<String>,
    /// What kind of thing it is: `fact` unless said.
    pub node_type: String,
    /// Labels, searched with the text.
    pub tags: Vec<String>,
    /// Anything of the caller's: a JSON object.
    pub metadata: Value,
    /// The code base it is about.
    pub codebase: Option<String>,
    /// Where it came from.
    pub source: Option<String>,
    /// Domains it belongs to.
    pub domains: Vec<String>,
    /// A score per domain, 0 to 1.
    pub domain_scores: BTreeMap<String, f64>,
    /// True from.
    pub valid_from: Option<DateTime<Utc>>,
    /// True until.
    pub valid_until: Option<DateTime<Utc>>,
    /// Invisible from this time on.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it came to be, for imports; the store's clock otherwise.
    pub created_at: Option<DateTime<Utc>>,
    /// The same request again answers the first outcome.
    pub request_id: Option<RequestId>,
    /// Write a row even when equal content is there.
    pub allow_duplicate: bool,
    /// Its vector by the registered model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Vec<f32>>,
    /// Its vectors by models named, each for the set of its model; what a handle adds.
    #[serde(skip)]
    pub vectors: Vec<ModelVector>,
}

impl Default for NewMemory {
    fn default() -> Self {
        Self {
            content: String::new(),
            key: None,
            namespace: Namespace::default(),
            visibility: None,
            shared_with: Vec::new(),
            node_type: "fact".to_owned(),
            tags: Vec::new(),
            metadata: Value::Object(serde_json::Map::new()),
            codebase: None,
            source: None,
            domains: Vec::new(),
            domain_scores: BTreeMap::new(),
            valid_from: None,
            valid_until: None,
            expires_at: None,
            created_at: None,
            request_id: None,
            allow_duplicate: false,
            embedding: None,
            vectors: Vec::new(),
        }
    }
}

impl NewMemory {
    /// A memory of a text.
    pub fn new(content: impl Into<String>) -> Self {
        Self { content: content.into(), ..Self::default() }
    }

    /// The visibility it will have: as given, or `private` with a user and `tenant` without.
    pub fn visibility_for(&self, scope: &Admitted<'_>) -> Visibility {
        self.visibility.unwrap_or(match scope.user {
            Some(_) => Visibility::Private,
            None => Visibility::Tenant,
        })
    }

    /// The hash that equal content shares: blake3 of the text, 32 bytes.
    pub fn content_hash(&self) -> [u8; 32] {
        *blake3::hash(self.content.as_bytes()).as_bytes()
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self, scope: &Admitted<'_>) -> Result<()> {
        limits::name("content", &self.content, limits::MEMORY_CONTENT_BYTES)?;
        self.check_visibility(scope)?;
        self.check_labels()?;
        if !self.metadata.is_object() {
            return Err(Error::invalid("metadata", "is not a JSON object"));
        }
        limits::json("metadata", &self.metadata, limits::METADATA_BYTES)?;
        self.check_scores()?;
        if let (Some(from), Some(until)) = (self.valid_from, self.valid_until)
            && from >= until
        {
            return Err(Error::invalid("valid_until", "is not after valid_from"));
        }
        match &self.embedding {
            Some(embedding) => vector::check("embedding", embedding),
            None => Ok(()),
        }
    }

    fn check_visibility(&self, scope: &Admitted<'_>) -> Result<()> {
        let visibility = self.visibility_for(scope);
        if visibility == Visibility::Private && scope.user.is_none() {
            return Err(Error::invalid("visibility", "is private, but the scope has no user"));
        }
        if visibility == Visibility::Shared && self.shared_with.is_empty() {
            return Err(Error::invalid("shared_with", "is empty, but the visibility is shared"));
        }
        if visibility != Visibility::Shared && !self.shared_with.is_empty() {
            return Err(Error::invalid(
                "shared_with",
                "is given, but the visibility is not shared",
            ));
        }
        limits::count("shared_with", self.shared_with.len(), limits::SCOPE_GROUPS)?;
        each("shared_with", &self.shared_with, limits::SCOPE_NAME_BYTES)
    }

    fn check_labels(&self) -> Result<()> {
        limits::name("node_type", &self.node_type, limits::NODE_TYPE_BYTES)?;
        for (field, text, max) in [
            ("key", &self.key, limits::MEMORY_KEY_BYTES),
            ("codebase", &self.codebase, limits::LABEL_BYTES),
            ("source", &self.source, limits::LABEL_BYTES),
        ] {
            if let Some(text) = text {
                limits::name(field, text, max)?;
            }
        }
        limits::count("tags", self.tags.len(), limits::TAGS_MAX)?;
        each("tags", &self.tags, limits::LABEL_BYTES)?;
        limits::count("domains", self.domains.len(), limits::DOMAINS_MAX)?;
        each("domains", &self.domains, limits::LABEL_BYTES)
    }

    fn check_scores(&self) -> Result<()> {
        limits::count("domain_scores", self.domain_scores.len(), limits::DOMAINS_MAX)?;
        for (domain, score) in &self.domain_scores {
            limits::name("domain_scores", domain, limits::LABEL_BYTES)?;
            if !(0.0..=1.0).contains(score) {
                return Err(Error::invalid("domain_scores", "holds a score outside 0 to 1"));
            }
        }
        Ok(())
    }
}

fn each(field: &'static str, texts: &[String], max: usize) -> Result<()> {
    texts.iter().try_for_each(|text| limits::name(field, text, max))
}

/// A memory as it stands. No vector travels with it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// Its id.
    pub id: MemoryId,
    /// Whose installation.
    pub tenant: String,
    /// Its owner; unowned memories are visible to every user of the tenant.
    pub user: Option<String>,
    /// The agent that wrote it.
    pub agent: Option<String>,
    /// The session it was written in.
    pub session: Option<String>,
    /// The run it was written in.
    pub run: Option<String>,
    /// The caller's name for it.
    pub key: Option<String>,
    /// Where it belongs.
    pub namespace: Namespace,
    /// Who may see it.
    pub visibility: Visibility,
    /// The groups it is shared with.
    pub shared_with: Vec<String>,
    /// The text.
    pub content: String,
    /// What kind of thing it is.
    pub node_type: String,
    /// Labels.
    pub tags: Vec<String>,
    /// The caller's JSON object.
    pub metadata: Value,
    /// The code base it is about.
    pub codebase: Option<String>,
    /// Where it came from.
    pub source: Option<String>,
    /// Domains it belongs to.
    pub domains: Vec<String>,
    /// A score per domain.
    pub domain_scores: BTreeMap<String, f64>,
    /// True from.
    pub valid_from: Option<DateTime<Utc>>,
    /// True until.
    pub valid_until: Option<DateTime<Utc>>,
    /// Invisible from this time on.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was written (or came to be, for imports).
    pub created_at: DateTime<Utc>,
    /// When its content last changed.
    pub updated_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::{Facet, Scope};

    #[test]
    fn a_private_memory_needs_a_user() {
        let scope = Scope::tenant("t");
        let memory = NewMemory { visibility: Some(Visibility::Private), ..NewMemory::new("x") };

        let error = memory.check(&scope.admit(Facet::Memories).unwrap()).unwrap_err();

        assert_eq!(error.to_string(), "visibility: is private, but the scope has no user");
    }

    #[test]
    fn content_over_its_limit_names_the_limit() {
        let scope = Scope::tenant("t");
        let memory = NewMemory::new("x".repeat(limits::MEMORY_CONTENT_BYTES + 1));

        let error = memory.check(&scope.admit(Facet::Memories).unwrap()).unwrap_err();

        assert_eq!(error.to_string(), "content: is 65537 bytes; the limit is 65536");
    }
}
