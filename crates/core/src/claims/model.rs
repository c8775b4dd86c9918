//! A claim and its parts; serde names are mempill's, so that its users recognise them.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::interval::ValidTime;
use crate::error::{Error, Result};
use crate::limits;

/// A claim's id.
#[doc(alias = "ClaimRef")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimId(pub Uuid);

impl fmt::Display for Disposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ClaimId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Uuid::parse_str(text).map(Self).map_err(|_| Error::invalid("claim id", "is not a UUID"))
    }
}

/// What a claim is about: a subject and a predicate, matched verbatim.
#[doc(alias = "SubjectLineRef")]
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Who or what.
    pub subject: String,
    /// Which property.
    pub predicate: String,
}

impl Line {
    /// Checks both parts.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when one is blank, over [`limits::CLAIM_NAME_BYTES`] or holds a NUL.
    pub fn parse(subject: impl Into<String>, predicate: impl Into<String>) -> Result<Self> {
        let line = Self { subject: subject.into(), predicate: predicate.into() };
        limits::name("subject", &line.subject, limits::CLAIM_NAME_BYTES)?;
        limits::name("predicate", &line.predicate, limits::CLAIM_NAME_BYTES)?;
        Ok(line)
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $field:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// The name at rest.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    other => Err(Error::invalid($field, format!("is {other:?}, which is not known"))),
                }
            }
        }
    };
}

named!(
    /// How many values a line may have at once.
    Cardinality, "cardinality" {
        /// One at a time: different values about the same time conflict.
        Functional = "Functional",
        /// Many: different values stand side by side.
        SetValued = "SetValued",
        /// Not said; decided like functional.
        Unknown = "Unknown",
    }
);

named!(
    /// How much depends on the claim.
    Criticality, "criticality" {
        /// Little.
        Low = "Low",
        /// The default.
        Medium = "Medium",
        /// Much.
        High = "High",
        /// Everything.
        Critical = "Critical",
    }
);

named!(
    /// How a claim was taken, or what became of it.
    Disposition, "disposition" {
        /// Believed at once.
        CommittedCheap = "CommittedCheap",
        /// Kept as a lower alternative: a model's inference.
        CommittedInferred = "CommittedInferred",
        /// An oracle is asked.
        QueuedForAdjudication = "QueuedForAdjudication",
        /// It contradicts live claims; all are shown.
        Contested = "Contested",
        /// A conflict is being looked into.
        PendingConflict = "PendingConflict",
        /// A claim it depends on changed.
        PendingReview = "PendingReview",
        /// Derived too deeply to decide anything.
        PendingLowConfidence = "PendingLowConfidence",
        /// Kept apart: a flood of repetitions.
        Quarantined = "Quarantined",
        /// Another claim took its place.
        Superseded = "Superseded",
        /// Taken back.
        Invalidated = "Invalidated",
        /// Taken up again.
        Reinstated = "Reinstated",
        /// Refused by the oracle.
        Rejected = "Rejected",
    }
);

impl Disposition {
    /// All twelve.
    pub const ALL: [Self; 12] = [
        Self::CommittedCheap,
        Self::CommittedInferred,
        Self::QueuedForAdjudication,
        Self::Contested,
        Self::PendingConflict,
        Self::PendingReview,
        Self::PendingLowConfidence,
        Self::Quarantined,
        Self::Superseded,
        Self::Invalidated,
        Self::Reinstated,
        Self::Rejected,
    ];

    /// Whether a claim that stands so counts for belief at all.
    pub const fn is_out(self) -> bool {
        matches!(self, Self::Quarantined | Self::Invalidated | Self::Rejected)
    }
}

/// Where an outside claim comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum External {
    /// A user said so.
    UserAsserted,
    /// A system of record said so.
    ExternalFirstHand,
}

/// Where a claim comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "kind")]
#[doc(alias = "ProvenanceLabel")]
pub enum Provenance {
    /// From outside.
    External(External),
    /// From this memory itself, said again: names the claim it repeats.
    RecallReEntry,
    /// Inferred by a model; never contests or overturns an outside claim.
    ModelDerived,
}

impl Provenance {
    /// The name at rest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::External(External::UserAsserted) => "UserAsserted",
            Self::External(External::ExternalFirstHand) => "ExternalFirstHand",
            Self::RecallReEntry => "RecallReEntry",
            Self::ModelDerived => "ModelDerived",
        }
    }
}

impl FromStr for Provenance {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "UserAsserted" => Ok(Self::External(External::UserAsserted)),
            "ExternalFirstHand" => Ok(Self::External(External::ExternalFirstHand)),
            "RecallReEntry" => Ok(Self::RecallReEntry),
            "ModelDerived" => Ok(Self::ModelDerived),
            other => Err(Error::invalid("provenance", format!("is {other:?}, which is not known"))),
        }
    }
}

/// How sure the source was.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confidence {
    /// Of the value, 0 to 1.
    pub value_confidence: f32,
    /// Of the window, 0 to 1.
    pub valid_time_confidence: f32,
}

/// What a claim says, as mempill's users know it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// Who or what.
    pub subject: String,
    /// Which property.
    pub predicate: String,
    /// What it is.
    pub value: Value,
}

/// A claim as it stands: never changed once written.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// Its id.
    pub id: ClaimId,
    /// What it is about.
    #[serde(flatten)]
    pub line: Line,
    /// What it says.
    pub value: Value,
    /// How many values the line may have.
    pub cardinality: Cardinality,
    /// Where it comes from.
    pub provenance: Provenance,
    /// When it holds, as given.
    pub valid_time: ValidTime,
    /// How sure the source was of the value.
    pub value_confidence: f32,
    /// How much depends on it.
    pub criticality: Criticality,
    /// How many derivations lie between it and the outside.
    pub derivation_depth: u32,
    /// Claims of its line that it cannot be true beside.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub excludes: Vec<ClaimId>,
    /// When it was written: strictly increasing per agent.
    #[doc(alias = "transaction_time")]
    pub recorded_at: DateTime<Utc>,
}

impl Claim {
    /// What it says.
    pub fn fact(&self) -> Fact {
        Fact {
            subject: self.line.subject.clone(),
            predicate: self.line.predicate.clone(),
            value: self.value.clone(),
        }
    }

    /// How sure its source was, of the value and of the window.
    pub fn confidence(&self) -> Confidence {
        Confidence {
            value_confidence: self.value_confidence,
            valid_time_confidence: self.valid_time.valid_time_confidence,
        }
    }
}
