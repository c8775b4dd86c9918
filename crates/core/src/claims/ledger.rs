//! The ledger: what happened to an agent's claims, gapless and chained by hash.
//!
//! An entry's hash is `blake3(previous ‖ header ‖ digest)` with `digest = blake3(salt ‖ payload)`;
//! salt and payload stand beside the chain, so that erasing both leaves every hash verifiable.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::change::Entry;
use super::model::{ClaimId, Disposition};

/// The hash before an agent's first entry.
pub const GENESIS: [u8; 32] = [0; 32];

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident),+ $(,)?) => {
        /// What happened.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum LedgerKind { $($(#[$doc])* $variant),+ }

        impl LedgerKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name at rest.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }
    };
}

kinds! {
    /// A claim was written.
    ClaimCommitted,
    /// A claim's window was closed.
    ValidityAsserted,
    /// An oracle is asked about a claim.
    AdjudicationRequested,
    /// A conflict is over, or an oracle could not tell.
    AdjudicationResolved,
    /// Nobody answered in time.
    AdjudicationExpired,
    /// A claim came back from this memory's own recall; nothing was written but this.
    RecallReEntryDetected,
    /// It came back too often; nothing was written but this.
    Quarantined,
    /// A claim it stands on fell.
    DependentFlaggedPendingReview,
    /// A claim was shown to a model.
    ServedAsInjected,
    /// A claim was taken back.
    Retracted,
    /// A claim was taken up again.
    Reinstated,
    /// Payloads were erased.
    Erased,
}

impl LedgerKind {
    /// Whether the entry decides how its claim stands, or only notes something.
    pub const fn decides(self) -> bool {
        !matches!(
            self,
            Self::RecallReEntryDetected | Self::Quarantined | Self::ServedAsInjected | Self::Erased
        )
    }
}

impl std::fmt::Display for LedgerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for LedgerKind {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        let found = Self::ALL.iter().find(|kind| kind.as_str() == text);
        found.copied().ok_or_else(|| {
            crate::Error::invalid("ledger kind", format!("is {text:?}, which is not known"))
        })
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

/// The digest of a payload, byte for byte as it is kept, under its salt.
pub fn digest(salt: &[u8], payload: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(salt).update(payload.as_bytes());
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

/// An agent's head: what its next entry follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The last transaction time.
    pub last_time: DateTime<Utc>,
    /// The newest entry.
    pub seq: i64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// An entry as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// What the chain covers besides the payload.
    pub header: Header,
    /// Keeps the digest from being guessed.
    pub salt: [u8; 16],
    /// JSON, byte for byte as it was digested.
    pub payload: String,
    /// The digest of both.
    pub digest: [u8; 32],
    /// The entry's hash.
    pub hash: [u8; 32],
}

impl Written {
    /// An entry behind a head, which moves. `salt` is random: core draws none itself.
    pub fn behind(
        head: &mut Option<Head>,
        entry: &Entry,
        at: DateTime<Utc>,
        salt: [u8; 16],
    ) -> Self {
        let (seq, previous) = head.map_or((1, GENESIS), |head| (head.seq + 1, head.hash));
        let header = Header {
            seq,
            kind: entry.kind,
            claim: entry.claim,
            disposition: entry.disposition,
            recorded_at: at,
        };
        let payload = entry.payload.to_string();
        let digest = digest(&salt, &payload);
        let hash = chain(&previous, &header, &digest);
        *head = Some(Head { last_time: at, seq, hash });
        Self { header, salt, payload, digest, hash }
    }
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
