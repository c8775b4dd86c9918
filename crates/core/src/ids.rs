//! Ids, each with a type of its own, so that a version cannot pass as a fence.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::limits;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|_| Error::invalid($field, "is not a UUID"))
            }
        }
    };
}

uuid_id!(
    /// A memory's id: `UUIDv7` when made by Mnemon, so ids sort by creation.
    MemoryId, "memory id"
);
uuid_id!(
    /// An event's id; the same id appended again is the first event.
    EventId, "event id"
);

/// The number a newer holder of a lock has larger. It only ever grows.
#[doc(alias = "token")]
#[doc(alias = "epoch")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub i64);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The caller's name for one request: the same id again answers the first outcome and writes
/// nothing. Non-blank, at most [`limits::REQUEST_ID_BYTES`] bytes, no NUL.
///
/// ```
/// use mnemon_core::RequestId;
///
/// let id = RequestId::parse("turn-42")?;
/// assert_eq!(id.as_str(), "turn-42");
/// assert!(RequestId::parse("  ").is_err());
/// # Ok::<(), mnemon_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(String);

impl RequestId {
    /// Checks a caller's text.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when blank, too long, or holding a NUL.
    pub fn parse(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        limits::name("request_id", &text, limits::REQUEST_ID_BYTES)?;
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RequestId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(text)
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
