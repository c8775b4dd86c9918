//! What a channel holds: bytes under a type tag, and a version.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pack;

/// A channel's value: bytes under a type tag; what they mean is the caller's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelValue {
    /// What the bytes are: `json`, `msgpack`.
    pub type_tag: String,
    /// The value.
    #[serde(with = "hex")]
    pub bytes: Vec<u8>,
}

impl ChannelValue {
    /// The type tag of JSON values.
    pub const JSON: &'static str = "json";

    /// A JSON value.
    pub fn json(value: &Value) -> Self {
        Self { type_tag: Self::JSON.to_owned(), bytes: value.to_string().into_bytes() }
    }

    /// The JSON value, if it is one.
    pub fn as_json(&self) -> Option<Value> {
        if self.type_tag != Self::JSON {
            return None;
        }
        serde_json::from_slice(&self.bytes).ok()
    }

    /// The key under which its bytes are stored without encryption: blake3.
    pub fn hash(&self) -> pack::Key {
        *blake3::hash(&self.bytes).as_bytes()
    }
}

/// A channel's version: counted by Mnemon, or the caller's own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ChannelVersion {
    /// From 1, by one whenever the channel changes; or a number of the caller's.
    Number(i64),
    /// The caller's.
    Text(String),
}

impl ChannelVersion {
    /// The version after this one, where Mnemon counts.
    pub(super) fn after(before: Option<&Self>) -> Self {
        match before {
            Some(Self::Number(number)) => Self::Number(number.saturating_add(1)),
            Some(Self::Text(_)) | None => Self::Number(1),
        }
    }
}

impl From<i64> for ChannelVersion {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for ChannelVersion {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for ChannelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Bytes as lower-case hex in JSON.
mod hex {
    use std::fmt::Write as _;

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            write!(text, "{byte:02x}").expect("a String takes any text");
        }
        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        if !text.len().is_multiple_of(2) || !text.is_ascii() {
            return Err(D::Error::custom("bytes are an even number of hex digits"));
        }
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16))
            .collect::<Result<_, _>>()
            .map_err(|_| D::Error::custom("bytes are hex digits"))
    }
}
