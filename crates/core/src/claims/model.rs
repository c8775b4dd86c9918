//! A claim and its parts; serde names are mempill's, so that its users recognise them.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::interval::ValidTime;
use crate::error::{Error, Result};
use crate::ids::RequestId;
use crate::limits;

/// A claim's id.
#[doc(alias = "ClaimRef")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimId(pub Uuid);

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

/// How sure the source was.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confidence {
    /// Of the value, 0 to 1.
    pub value_confidence: f32,
    /// Of the window, 0 to 1.
    pub valid_time_confidence: f32,
}

/// A claim to assert.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewClaim {
    /// Who or what.
    pub subject: String,
    /// Which property.
    pub predicate: String,
    /// What it is; anything but null.
    pub value: Value,
    /// How many values the line may have.
    #[serde(default = "functional")]
    pub cardinality: Cardinality,
    /// Where it comes from.
    #[serde(default = "user_asserted")]
    pub provenance: Provenance,
    /// When it holds.
    #[serde(default)]
    pub valid_time: ValidTime,
    /// How sure the source was of the value, 0 to 1.
    #[serde(default = "certain")]
    pub value_confidence: f32,
    /// How much depends on it.
    #[serde(default = "medium")]
    pub criticality: Criticality,
    /// Claims it was derived from; for a re-entry, the claim it repeats.
    #[serde(default)]
    pub derived_from: Vec<ClaimId>,
    /// The same request again answers the first outcome.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<RequestId>,
}

fn functional() -> Cardinality {
    Cardinality::Functional
}

fn user_asserted() -> Provenance {
    Provenance::External(External::UserAsserted)
}

fn certain() -> f32 {
    1.0
}

fn medium() -> Criticality {
    Criticality::Medium
}

impl NewClaim {
    /// A user's claim of one value, without a window.
    pub fn new(
        subject: impl Into<String>,
        predicate: impl Into<String>,
        value: impl Into<Value>,
    ) -> Self {
        Self {
            subject: subject.into(),
            predicate: predicate.into(),
            value: value.into(),
            cardinality: functional(),
            provenance: user_asserted(),
            valid_time: ValidTime::default(),
            value_confidence: certain(),
            criticality: medium(),
            derived_from: Vec::new(),
            request_id: None,
        }
    }

    /// Its line.
    ///
    /// # Errors
    ///
    /// As [`Line::parse`].
    pub fn line(&self) -> Result<Line> {
        Line::parse(self.subject.clone(), self.predicate.clone())
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        self.line()?;
        if self.value.is_null() {
            return Err(Error::invalid("value", "is null"));
        }
        limits::json("value", &self.value, limits::CLAIM_VALUE_BYTES)?;
        if !(0.0..=1.0).contains(&self.value_confidence) {
            return Err(Error::invalid("value_confidence", "is not between 0 and 1"));
        }
        self.valid_time.check()?;
        limits::count("derived_from", self.derived_from.len(), limits::CLAIM_PARENTS)?;
        if self.provenance == Provenance::RecallReEntry && self.derived_from.len() != 1 {
            return Err(Error::invalid("derived_from", "names exactly the claim that is repeated"));
        }
        Ok(())
    }
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
    /// When it was written: strictly increasing per agent.
    #[doc(alias = "transaction_time")]
    pub recorded_at: DateTime<Utc>,
}
