//! The ledger: what happened to an agent's claims, gapless and chained by hash.
//!
//! An entry's hash is `blake3(previous ‖ header ‖ digest)` with `digest = blake3(salt ‖ payload)`;
//! salt and payload stand beside the chain, so that erasing both leaves every hash verifiable.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::{ClaimId, Disposition};

/// The hash before an agent's first entry.
pub const GENESIS: [u8; 32] = [0; 32];

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LedgerKind {
    /// A claim was written.
    ClaimCommitted,
    /// A claim came back from this memory's own recall; nothing was written but this.
    RecallReEntryDetected,
}

impl LedgerKind {
    /// The name at rest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClaimCommitted => "ClaimCommitted",
            Self::RecallReEntryDetected => "RecallReEntryDetected",
        }
    }
}

impl std::str::FromStr for LedgerKind {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        match text {
            "ClaimCommitted" => Ok(Self::ClaimCommitted),
            "RecallReEntryDetected" => Ok(Self::RecallReEntryDetected),
            other => Err(crate::Error::invalid("ledger kind", format!("is {other:?}"))),
        }
    }
}

/// What the chain covers of an entry besides its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Its place, from 1.
    pub seq: i64,
    /// What happened.
    pub kind: LedgerKind,
    /// To which claim.
    pub claim: ClaimId,
    /// How the claim stands since.
    pub disposition: Disposition,
    /// When.
    pub recorded_at: DateTime<Utc>,
}

/// The digest of a payload under its salt.
pub fn digest(salt: &[u8; 16], payload: &Value) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(salt).update(payload.to_string().as_bytes());
    *hasher.finalize().as_bytes()
}

/// An entry's hash.
pub fn chain(previous: &[u8; 32], header: &Header, digest: &[u8; 32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(previous)
        .update(&header.seq.to_be_bytes())
        .update(header.kind.as_str().as_bytes())
        .update(&[0])
        .update(header.claim.0.as_bytes())
        .update(header.disposition.as_str().as_bytes())
        .update(&[0])
        .update(&header.recorded_at.timestamp_micros().to_be_bytes())
        .update(digest);
    *hasher.finalize().as_bytes()
}

/// One entry as it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Its place in the agent's ledger, from 1, without gaps.
    pub seq: i64,
    /// What happened.
    pub kind: LedgerKind,
    /// To which claim.
    pub claim: ClaimId,
    /// How the claim stands since.
    pub disposition: Disposition,
    /// Why, in JSON; empty once erased.
    pub payload: Option<Value>,
    /// When.
    pub recorded_at: DateTime<Utc>,
    /// The digest of salt and payload.
    pub digest: [u8; 32],
    /// `blake3(previous ‖ header ‖ digest)`.
    pub hash: [u8; 32],
}

impl LedgerEntry {
    /// Whether the entry follows from the one before it.
    pub fn follows(&self, previous: &[u8; 32]) -> bool {
        let header = Header {
            seq: self.seq,
            kind: self.kind,
            claim: self.claim,
            disposition: self.disposition,
            recorded_at: self.recorded_at,
        };
        chain(previous, &header, &self.digest) == self.hash
    }
}
