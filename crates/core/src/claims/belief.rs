//! What a reader is told: a belief with everything that speaks for and against it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::currency::{CurrencySignal, CurrencyState};
use super::interval::ValidTime;
use super::model::{ClaimId, Confidence, Criticality, Disposition, Provenance};

/// How a line stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum BeliefStatus {
    /// One value (or, set-valued, several side by side).
    Resolved,
    /// Several values about the same time; none is picked.
    Contested,
    /// One value, without any date.
    TimingUncertain,
    /// Nothing is believed then.
    NoBelief,
}

/// What else a reader should know of a belief.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Marker {
    /// Several values about the same time.
    Contested,
    /// An oracle was asked and has not answered.
    PendingConflict,
    /// A claim it stands on fell.
    PendingReview,
    /// A member of a set was not said for a while.
    AgedSetMember,
    /// It came back from this memory's own recall.
    RecallTainted,
    /// It was derived too deeply to overturn anything.
    LowDerivationAnchor,
}

/// A claim as believed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Believed {
    /// The claim.
    #[serde(alias = "claim_ref")]
    pub claim: ClaimId,
    /// What it says.
    pub value: Value,
    /// Where it comes from.
    pub provenance: Provenance,
    /// When it holds, later bounds included.
    pub valid_time: ValidTime,
    /// How sure the source was.
    pub confidence: Confidence,
    /// How much depends on it.
    pub criticality: Criticality,
    /// How it stands.
    pub disposition: Disposition,
    /// When it was written.
    #[serde(alias = "transaction_time")]
    pub recorded_at: DateTime<Utc>,
    /// How fresh it is.
    pub currency_signal: CurrencySignal,
}

/// Whether a belief should be asked about again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Staleness {
    /// Whether it should.
    pub is_stale: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// What is believed about a line.
#[doc(alias = "BeliefProjection")]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Belief {
    /// How the line stands.
    pub status: BeliefStatus,
    /// The value; empty while contested.
    pub primary: Option<Believed>,
    /// While contested all candidates; else what stands beside or below.
    pub alternatives: Vec<Believed>,
    /// How the least fresh of what is believed has aged.
    pub currency: Option<CurrencyState>,
    /// The greatest of the live claims.
    pub criticality: Option<Criticality>,
    /// Whether to ask again.
    pub staleness: Staleness,
    /// What else to know.
    pub markers: Vec<Marker>,
    /// The transaction time this was read at: asking for it again gives the same.
    pub as_of: Option<DateTime<Utc>>,
    /// The valid time this was read at.
    pub valid_at: DateTime<Utc>,
}

impl Belief {
    /// The value, where one is believed.
    pub fn value(&self) -> Option<&Value> {
        self.primary.as_ref().map(|believed| &believed.value)
    }
}

/// What is believed about one property of a subject.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SubjectBelief {
    /// Which property.
    pub predicate: String,
    /// What is believed; of a contested line every candidate.
    pub belief: Belief,
}
