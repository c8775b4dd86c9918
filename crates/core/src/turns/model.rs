//! What was said: turns to append, turns as they stand, and the memory of a session they belong to.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Strategy;
use super::truncate::{Tokens, tokens_of};
use crate::error::{Error, Result};
use crate::ids::RequestId;
use crate::limits;
use crate::scope::{Admitted, Facet};

/// The memory of a session that is meant when none is named.
pub const CONVERSATION: &str = "conversation";

/// Which memory of a session: sessions may have several independent ones, by kind, and one per
/// run where that is asked for. With the scope's tenant, user and session it is the key of turns.
///
/// ```
/// use mnemon_core::turns::Key;
///
/// assert_eq!(Key::default(), Key::from("conversation"));
/// assert!(Key::from("scratch").run_scoped().run_scoped);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Key {
    /// Its name within the session.
    pub kind: String,
    /// Whether every run of the session has one of its own; otherwise the run is only noted.
    pub run_scoped: bool,
}

impl Default for Key {
    fn default() -> Self {
        Self::from(CONVERSATION)
    }
}

impl From<&str> for Key {
    fn from(kind: &str) -> Self {
        Self { kind: kind.to_owned(), run_scoped: false }
    }
}

impl From<&String> for Key {
    fn from(kind: &String) -> Self {
        Self::from(kind.as_str())
    }
}

impl From<&Self> for Key {
    fn from(key: &Self) -> Self {
        key.clone()
    }
}

impl Key {
    /// The same, one for every run.
    #[must_use]
    pub fn run_scoped(mut self) -> Self {
        self.run_scoped = true;
        self
    }

    /// Checks the name.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when blank, over [`limits::LABEL_BYTES`] or holding a NUL.
    pub fn check(&self) -> Result<()> {
        limits::name("kind", &self.kind, limits::LABEL_BYTES)
    }

    /// The run's part of the key at rest: empty unless there is one memory for every run.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeRequired`] when the run is part of the key and the scope has none.
    pub fn run_of<'a>(&self, scope: &Admitted<'a>) -> Result<&'a str> {
        if !self.run_scoped {
            return Ok("");
        }
        scope.run.ok_or(Error::ScopeRequired { facet: Facet::Turns, missing: "run" })
    }
}

/// A key in full, as stores look for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// Whose.
    pub tenant: &'a str,
    /// The user.
    pub user: &'a str,
    /// The session.
    pub session: &'a str,
    /// The run, where every run has a memory of its own; empty otherwise.
    pub run: &'a str,
    /// Which memory.
    pub kind: &'a str,
}

impl<'a> Place<'a> {
    /// The key of a scope that was admitted for turns.
    ///
    /// # Errors
    ///
    /// As [`Key::check`] and [`Key::run_of`]; [`Error::ScopeRequired`].
    pub fn of(scope: &Admitted<'a>, key: &'a Key) -> Result<Self> {
        key.check()?;
        let missing = |missing| Error::ScopeRequired { facet: Facet::Turns, missing };
        Ok(Self {
            tenant: scope.tenant,
            user: scope.user.ok_or(missing("user"))?,
            session: scope.session.ok_or(missing("session"))?,
            run: key.run_of(scope)?,
            kind: &key.kind,
        })
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
    /// Whether every run of the session has one of its own; see [`Key::run_scoped`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub run_scoped: bool,
    /// The strategy this call counts on: the key's from its first turn on, and a key that has
    /// another one refuses the turn. Absent: the key's own, whichever it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
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
            run_scoped: false,
            strategy: None,
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

    /// Its tokens: as given, or counted.
    pub fn tokens(&self, counter: &dyn Tokens) -> u32 {
        let sides = [self.user_message.as_deref(), self.assistant_response.as_deref()];
        self.tokens.unwrap_or_else(|| tokens_of(counter, sides[0], sides[1]))
    }

    /// The memory it belongs to.
    pub fn key(&self) -> Key {
        Key { kind: self.kind.clone(), run_scoped: self.run_scoped }
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::name("kind", &self.kind, limits::LABEL_BYTES)?;
        if let Some(strategy) = self.strategy {
            strategy.check()?;
        }
        if self.user_message.is_none() && self.assistant_response.is_none() {
            return Err(Error::invalid("turn", "has neither user_message nor assistant_response"));
        }
        for (field, text) in
            [("user_message", &self.user_message), ("assistant_response", &self.assistant_response)]
        {
            text.as_ref()
                .map_or(Ok(()), |text| limits::label(field, text, limits::TURN_MESSAGE_BYTES))?;
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
    /// The agent of the scope it was appended in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent: Option<String>,
    /// The run of the scope it was appended in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<String>,
    /// The request that appended it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<RequestId>,
}

/// What `append` did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TurnAppended {
    /// The turn's place; 0 in a memory that keeps no turns.
    pub seq: i64,
    /// Whether a row was written.
    pub created: bool,
}

/// What a removal took away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Removed {
    /// Memories of sessions.
    pub memories: u64,
    /// Turns.
    pub turns: u64,
    /// Summaries.
    pub summaries: u64,
}

/// A session that has turns, or had some.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionInfo {
    /// The session.
    pub session: String,
    /// Its memories: one a kind, and one a run where they are scoped so.
    pub memories: u64,
    /// Turns appended to them since they were begun or cleared.
    pub turns: u64,
    /// When the last one came.
    pub active_at: DateTime<Utc>,
}
