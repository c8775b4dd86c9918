//! What a caller says: a claim to write, in the short form and as mempill's request.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::interval::ValidTime;
use super::model::{Cardinality, ClaimId, Confidence, Criticality, External, Line, Provenance};
use crate::error::{Error, Result};
use crate::ids::RequestId;
use crate::limits;

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
    /// Claims it stands on: when one of them falls, this one is flagged for review.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub depends_on: Vec<ClaimId>,
    /// Claims of its own line that it cannot be true beside, where a line may have many values.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub excludes: Vec<ClaimId>,
    /// How long an oracle may take over it, in seconds; absent: as configured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub adjudication_ttl_seconds: Option<u64>,
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
            depends_on: Vec::new(),
            excludes: Vec::new(),
            adjudication_ttl_seconds: None,
            request_id: None,
        }
    }

    /// The same, true from then on: "2020", "2020-03", "2020-03-15" or RFC 3339. How precise the
    /// date is shows in how it is written.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another form, or a start that is not before the end.
    ///
    /// ```
    /// use mnemon_core::claims::{Granularity, NewClaim};
    ///
    /// let claim = NewClaim::new("acme", "ceo", "ada").valid_from("2020-03")?.valid_until("2024")?;
    /// assert_eq!(claim.valid_time.start_granularity, Some(Granularity::Month));
    /// # Ok::<(), mnemon_core::Error>(())
    /// ```
    pub fn valid_from(mut self, date: &str) -> Result<Self> {
        let parsed = ValidTime::parse(Some(date), None)?;
        self.valid_time.start = parsed.start;
        self.valid_time.start_granularity = parsed.start_granularity;
        self.valid_time.valid_time_confidence = 1.0;
        self.valid_time.check()?;
        Ok(self)
    }

    /// The same, true until then; see [`NewClaim::valid_from`].
    ///
    /// # Errors
    ///
    /// As [`NewClaim::valid_from`].
    pub fn valid_until(mut self, date: &str) -> Result<Self> {
        let parsed = ValidTime::parse(None, Some(date))?;
        self.valid_time.end = parsed.end;
        self.valid_time.end_granularity = parsed.end_granularity;
        self.valid_time.valid_time_confidence = 1.0;
        self.valid_time.check()?;
        Ok(self)
    }

    /// Its line.
    ///
    /// # Errors
    ///
    /// As [`Line::parse`].
    pub fn line(&self) -> Result<Line> {
        Line::parse(self.subject.clone(), self.predicate.clone())
    }

    /// Every claim that it names, each once.
    pub fn named(&self) -> Vec<ClaimId> {
        let mut named: Vec<ClaimId> = self
            .derived_from
            .iter()
            .chain(&self.depends_on)
            .chain(&self.excludes)
            .copied()
            .collect();
        named.sort_unstable();
        named.dedup();
        named
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
        limits::count("depends_on", self.depends_on.len(), limits::CLAIM_PARENTS)?;
        limits::count("excludes", self.excludes.len(), limits::CLAIM_PARENTS)?;
        if self.provenance == Provenance::RecallReEntry && self.derived_from.len() != 1 {
            return Err(Error::invalid("derived_from", "names exactly the claim that is repeated"));
        }
        if let Some(seconds) = self.adjudication_ttl_seconds {
            check_ttl("adjudication_ttl_seconds", Duration::from_secs(seconds))?;
        }
        Ok(())
    }
}

/// Checks how long an oracle may take.
pub(super) fn check_ttl(field: &'static str, ttl: Duration) -> Result<()> {
    if ttl.is_zero() || ttl > limits::ADJUDICATION_TTL_MAX {
        let days = limits::ADJUDICATION_TTL_MAX.as_secs() / 86_400;
        return Err(Error::invalid(field, format!("is not between 1 second and {days} days")));
    }
    Ok(())
}

/// A claim in mempill's words; the agent is the scope's.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestClaimRequest {
    /// Who or what.
    pub subject: String,
    /// Which property.
    pub predicate: String,
    /// What it is; anything but null.
    pub value: Value,
    /// Where it comes from.
    pub provenance: Provenance,
    /// How many values the line may have.
    #[serde(default = "unknown")]
    pub cardinality: Cardinality,
    /// When it holds.
    #[serde(default)]
    pub valid_time: Option<ValidTime>,
    /// How sure the source was.
    pub confidence: Confidence,
    /// How much depends on it.
    #[serde(default = "medium")]
    pub criticality: Criticality,
    /// Claims it was derived from.
    #[serde(default)]
    pub derived_from: Vec<ClaimId>,
    /// The same request again answers the first outcome.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<RequestId>,
}

fn unknown() -> Cardinality {
    Cardinality::Unknown
}

impl TryFrom<IngestClaimRequest> for NewClaim {
    type Error = Error;

    /// How sure the source was of the window may be said in two places; both must say the same,
    /// so that neither is lost.
    fn try_from(request: IngestClaimRequest) -> Result<Self> {
        let said = request.confidence.valid_time_confidence;
        let valid_time = match request.valid_time {
            None => ValidTime { valid_time_confidence: said, ..ValidTime::default() },
            // NaN differs from everything, itself included: refused below or by the check.
            Some(window) if window.valid_time_confidence.total_cmp(&said).is_eq() => window,
            Some(window) => {
                return Err(Error::invalid(
                    "confidence.valid_time_confidence",
                    format!("is {said}, but the window's is {}", window.valid_time_confidence),
                ));
            }
        };
        Ok(Self {
            cardinality: request.cardinality,
            provenance: request.provenance,
            valid_time,
            value_confidence: request.confidence.value_confidence,
            criticality: request.criticality,
            derived_from: request.derived_from,
            request_id: request.request_id,
            ..Self::new(request.subject, request.predicate, request.value)
        })
    }
}
