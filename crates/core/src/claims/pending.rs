//! Questions to an oracle: what is asked, the port it is asked through, and what it answers.
//!
//! A question is a row written with the claim it is about. It is put to the oracle after that
//! commit, until the oracle has taken it; the answer comes at once or much later, by
//! `submit_adjudication`.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::belief::Believed;
use super::model::{Claim, ClaimId, Criticality, Disposition, External, Line, Provenance};
use crate::error::{Error, Result};
use crate::limits;
use crate::page::{Cursor, Page};

/// A question's id: what its answer names.
#[doc(alias = "handle_id")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HandleId(pub Uuid);

impl fmt::Display for HandleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for HandleId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Uuid::parse_str(text).map(Self).map_err(|_| Error::invalid("handle", "is not a UUID"))
    }
}

/// Why an oracle is asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum OverturnReason {
    /// An outside claim contradicts what is believed.
    ExternalContradiction,
    /// Somebody asks again about a line that stayed contested.
    Escalated,
}

/// What an oracle is asked.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AdjudicationRequest {
    /// What its answer names.
    pub handle_id: HandleId,
    /// Whose installation.
    pub tenant: String,
    /// Whose belief.
    pub agent_id: String,
    /// What it is about.
    pub subject_line: Line,
    /// The first of the incumbents.
    pub incumbent: Option<Believed>,
    /// Everything that the challenger contradicts.
    pub incumbents: Vec<Believed>,
    /// The claim to judge.
    pub challenger: Claim,
    /// The greatest of all of them.
    pub criticality: Criticality,
    /// Why.
    pub reason: OverturnReason,
    /// Until when an answer counts.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What an oracle says of a challenger.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// It is right: what it contradicts gives way.
    Affirm,
    /// It is wrong.
    Deny,
    /// Nobody can tell: the line stays contested, and may be asked about again.
    Unknown,
}

impl Verdict {
    /// The name at rest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Affirm => "Affirm",
            Self::Deny => "Deny",
            Self::Unknown => "Unknown",
        }
    }
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdjudicationResponse {
    /// Which question.
    pub handle_id: HandleId,
    /// What is so.
    pub verdict: Verdict,
    /// What the answer rests on.
    #[serde(default = "said")]
    pub evidence_provenance: Provenance,
    /// Why, in the answerer's words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub because: Option<String>,
}

fn said() -> Provenance {
    Provenance::External(External::UserAsserted)
}

impl AdjudicationResponse {
    /// An answer that rests on what a person says.
    pub fn new(handle_id: HandleId, verdict: Verdict) -> Self {
        Self { handle_id, verdict, evidence_provenance: said(), because: None }
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        match &self.because {
            Some(because) => limits::label("because", because, limits::CLAIM_REASON_BYTES),
            None => Ok(()),
        }
    }
}

/// What an answer did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdjudicationOutcome {
    /// Which question.
    pub handle_id: HandleId,
    /// How the challenger stands since.
    pub disposition: Disposition,
    /// The challenger.
    pub claim_ref: ClaimId,
}

/// How a question stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PendingStatus {
    /// Not answered.
    Queued,
    /// Answered, or no longer a question.
    Resolved,
    /// Nobody answered in time.
    Expired,
}

impl PendingStatus {
    /// The name at rest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Resolved => "resolved",
            Self::Expired => "expired",
        }
    }
}

impl FromStr for PendingStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "queued" => Ok(Self::Queued),
            "resolved" => Ok(Self::Resolved),
            "expired" => Ok(Self::Expired),
            other => Err(Error::invalid("status", format!("is {other:?}, which is not known"))),
        }
    }
}

/// A question as it stands.
#[doc(alias = "PendingAdjudicationRow")]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PendingAdjudication {
    /// What its answer names.
    pub handle_id: HandleId,
    /// The claim to judge.
    pub challenger: ClaimId,
    /// Everything it contradicted when it was asked about.
    pub incumbents: Vec<ClaimId>,
    /// What is asked.
    pub request: AdjudicationRequest,
    /// When it was asked.
    pub queued_at: DateTime<Utc>,
    /// Until when an answer counts.
    pub expires_at: Option<DateTime<Utc>>,
    /// How it stands.
    pub status: PendingStatus,
    /// When the oracle took it.
    pub delivered_at: Option<DateTime<Utc>>,
    /// How often it was put to the oracle.
    pub attempts: u32,
    /// Why the last time failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_error: Option<String>,
}

/// What became of putting a question to an oracle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// The oracle has it.
    Taken,
    /// It failed; to be put again after so long.
    Failed {
        /// Why.
        error: String,
        /// How long to wait.
        retry_after: std::time::Duration,
    },
    /// It is being put still: nobody else should before so long.
    Busy {
        /// How long.
        until: std::time::Duration,
    },
}

/// An oracle's own failure; its text is kept with the question.
pub type OracleError = Box<dyn std::error::Error + Send + Sync>;

/// Who decides what this engine will not: a person, a system of record.
///
/// # Contract
///
/// - It is asked after the claim is committed, outside any transaction, at least once per
///   question: a process that died may have asked before. `handle_id` tells repeats apart.
/// - It may fail: the question is put again, later and later. The writer of the claim never sees
///   the failure.
/// - It may answer at once (`Some`), or take the question (`None`) and answer hours later by
///   `submit_adjudication`. The call itself may take long, too.
#[doc(alias = "OraclePort")]
#[async_trait]
pub trait Oracle: Send + Sync {
    /// Takes a question.
    ///
    /// # Errors
    ///
    /// Whatever went wrong; the question is put again.
    async fn request_adjudication(
        &self,
        request: &AdjudicationRequest,
    ) -> std::result::Result<Option<AdjudicationResponse>, OracleError>;
}

/// The pause before a question is put to an oracle again, after so many attempts.
pub fn pause_after(attempts: u32) -> std::time::Duration {
    let doubled = limits::ORACLE_PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    doubled.min(limits::ORACLE_PAUSE_MAX)
}

/// The list that an agent's questions' cursors belong to.
const LIST: &str = "adjudications";

/// Where a page of an agent's questions goes on: behind this time in microseconds and handle.
///
/// # Errors
///
/// [`Error::Invalid`] for a bad limit or a cursor of another list.
pub fn after(page: &Page) -> Result<(i64, HandleId)> {
    page.check()?;
    let Some(cursor) = &page.cursor else { return Ok((i64::MIN, HandleId(Uuid::nil()))) };
    let [at, handle] = cursor.parts::<2>(LIST)?;
    let at = at.parse().map_err(|_| Error::invalid("page.cursor", "holds no number"))?;
    Ok((at, handle.parse()?))
}

/// A question's place in the list.
pub fn cursor(question: &PendingAdjudication) -> Cursor {
    let at = question.queued_at.timestamp_micros().to_string();
    Cursor::of(LIST, &[&at, &question.handle_id.to_string()])
}
