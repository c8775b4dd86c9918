//! Turns: what was said, appended one by one and never rewritten, and the part of it that fits a
//! model's context.
//!
//! The slice that stands: append, list, and the context of the `none` and `truncation`
//! strategies.

pub mod truncate;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use truncate::Tokens;

use crate::error::{Error, Result};
use crate::ids::RequestId;
use crate::limits;
use crate::locks::Guard;
use crate::page::{Page, Paged};
use crate::scope::Scope;

/// The memory of a session that is meant when none is named.
pub const CONVERSATION: &str = "conversation";

/// Which part of a session's turns a context holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "strategy")]
#[non_exhaustive]
pub enum Strategy {
    /// No turns.
    None,
    /// The newest turns within a budget.
    Truncation {
        /// Tokens they may have together.
        budget_tokens: u32,
    },
}

impl Default for Strategy {
    fn default() -> Self {
        Self::Truncation { budget_tokens: limits::TURN_BUDGET_TOKENS }
    }
}

/// What an assistant did in a turn, in short.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[doc(alias = "TrajectoryDigest")]
pub struct Digest {
    /// Tools it called.
    pub tools: Vec<String>,
    /// What it saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observations: Option<String>,
    /// What it thought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Artifacts it touched.
    pub artifacts: Vec<String>,
}

/// A turn to append. One side may be missing, not both.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewTurn {
    /// Which memory of the session.
    pub kind: String,
    /// What the user said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_message: Option<String>,
    /// What the assistant answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assistant_response: Option<String>,
    /// What it did meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// References to artifacts the user saw.
    pub artifacts_shown: Vec<String>,
    /// References to artifacts kept from the user.
    pub artifacts_hidden: Vec<String>,
    /// Anything of the caller's: a JSON object.
    pub metadata: Value,
    /// Its tokens, when the caller knows; estimated otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// When it was said; the store's clock otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    /// The same request again answers the first outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
}

impl Default for NewTurn {
    fn default() -> Self {
        Self {
            kind: CONVERSATION.to_owned(),
            user_message: None,
            assistant_response: None,
            digest: None,
            artifacts_shown: Vec::new(),
            artifacts_hidden: Vec::new(),
            metadata: Value::Object(serde_json::Map::new()),
            tokens: None,
            at: None,
            request_id: None,
        }
    }
}

impl NewTurn {
    /// A turn with both sides.
    pub fn new(user_message: impl Into<String>, assistant_response: impl Into<String>) -> Self {
        Self {
            user_message: Some(user_message.into()),
            assistant_response: Some(assistant_response.into()),
            ..Self::default()
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        check_kind(&self.kind)?;
        if self.user_message.is_none() && self.assistant_response.is_none() {
            return Err(Error::invalid("turn", "has neither user_message nor assistant_response"));
        }
        for (field, text) in
            [("user_message", &self.user_message), ("assistant_response", &self.assistant_response)]
        {
            if let Some(text) = text {
                limits::label(field, text, limits::TURN_MESSAGE_BYTES)?;
            }
        }
        if let Some(digest) = &self.digest {
            let digest = serde_json::to_value(digest).expect("texts and lists only");
            limits::json("digest", &digest, limits::METADATA_BYTES)?;
        }
        for (field, references) in [
            ("artifacts_shown", &self.artifacts_shown),
            ("artifacts_hidden", &self.artifacts_hidden),
        ] {
            limits::count(field, references.len(), limits::TURN_ARTIFACTS)?;
            references
                .iter()
                .try_for_each(|reference| limits::name(field, reference, limits::LABEL_BYTES))?;
        }
        if !self.metadata.is_object() {
            return Err(Error::invalid("metadata", "is not a JSON object"));
        }
        limits::json("metadata", &self.metadata, limits::METADATA_BYTES)
    }
}

/// Checks the name of a session's memory.
///
/// # Errors
///
/// [`Error::Invalid`] when blank, over [`limits::LABEL_BYTES`] or holding a NUL.
pub fn check_kind(kind: &str) -> Result<()> {
    limits::name("kind", kind, limits::LABEL_BYTES)
}

/// A turn as it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Turn {
    /// Its place in the session's memory, from 1, without gaps.
    pub seq: i64,
    /// What the user said.
    pub user_message: Option<String>,
    /// What the assistant answered.
    pub assistant_response: Option<String>,
    /// What it did meanwhile.
    pub digest: Option<Digest>,
    /// References to artifacts the user saw.
    pub artifacts_shown: Vec<String>,
    /// References to artifacts kept from the user.
    pub artifacts_hidden: Vec<String>,
    /// The caller's JSON object.
    pub metadata: Value,
    /// Its tokens.
    pub tokens: u32,
    /// When it was said.
    pub at: DateTime<Utc>,
}

/// What `append` did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TurnAppended {
    /// The turn's place.
    pub seq: i64,
    /// Whether a row was written.
    pub created: bool,
}

/// What a model is given of a session.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Context {
    /// How it was chosen.
    pub strategy: Strategy,
    /// Turns, oldest first.
    pub recent_turns: Vec<Turn>,
    /// Their tokens together.
    pub tokens: u32,
}

/// The turns of a store.
///
/// # Contract
///
/// - The key is (tenant, user, session, kind); a missing part fails closed.
/// - Rows are appended; replicas and overlapping calls lose nothing, and `seq` has no gaps.
/// - A repeated `request_id` answers the first outcome.
#[async_trait]
pub trait Turns: Send + Sync {
    /// Appends a turn.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]; [`Error::Fenced`] under a stale guard; [`Error::ScopeRequired`].
    async fn append(
        &self,
        scope: &Scope,
        turn: NewTurn,
        guard: Option<&Guard>,
    ) -> Result<TurnAppended>;

    /// Lists turns, oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    async fn list(&self, scope: &Scope, kind: &str, page: &Page) -> Result<Paged<Turn>>;

    /// What fits a model's context by the key's strategy; empty for an unknown key.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeRequired`]; [`Error::Invalid`].
    async fn context(&self, scope: &Scope, kind: &str) -> Result<Context>;
}
