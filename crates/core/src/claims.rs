//! Claims: what an agent believes, append-only and bitemporal. Belief is folded at read;
//! conflicts are shown, never picked silently.
//!
//! The axes of time are in [`interval`], what contradicts what in [`conflict`], the decision about
//! a new claim in [`adjudicate`], those about claims that are there in [`resolve`], the reading of
//! a line in [`fold`], the ledger's chain in [`ledger`]. Every decision answers a
//! [`change::Change`], which a store writes in one transaction.

pub mod adjudicate;
pub mod audit;
mod belief;
pub mod change;
pub mod conflict;
pub mod currency;
pub mod fold;
pub mod history;
pub mod interval;
pub mod ledger;
mod model;
mod new_claim;
pub mod pending;
pub mod replay;
pub mod resolve;
mod rules;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use audit::{AuditQuery, AuditVerdict, BrokenEntry};
pub use belief::{Belief, BeliefStatus, Believed, Marker, Staleness, SubjectBelief};
pub use change::{Changed, ClaimEdge, ClaimOutcome, EdgeKind, ValidityAssertion, ValidityKind};
pub use currency::{CurrencySignal, CurrencyState};
pub use fold::Moment;
pub use history::{History, HistoryEntry, HistoryStatus};
pub use interval::{Granularity, ValidTime};
pub use ledger::{LedgerEntry, LedgerKind};
pub use model::{
    Cardinality, Claim, ClaimId, Confidence, Criticality, Disposition, External, Fact, Line,
    Provenance,
};
pub use new_claim::{IngestClaimRequest, NewClaim};
pub use pending::{
    AdjudicationOutcome, AdjudicationRequest, AdjudicationResponse, Asked, HandleId, Oracle,
    OracleError, OverturnReason, PendingAdjudication, PendingStatus, Verdict,
};
pub use resolve::ClaimWrite;
pub use rules::Rules;

use crate::error::{Error, Result};
use crate::locks::Guard;
use crate::page::{Page, Paged};
use crate::scope::Scope;

/// What became of a claim.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Asserted {
    /// The claim.
    #[serde(alias = "claim_ref")]
    pub id: ClaimId,
    /// How it was taken.
    pub disposition: Disposition,
    /// Every live claim it contradicts.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub contested_with: Vec<ClaimId>,
    /// The question put to the oracle, where one is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub handle: Option<HandleId>,
    /// Its transaction time: strictly increasing per agent.
    pub recorded_at: DateTime<Utc>,
    /// Whether a row was written; a repeated `request_id` writes nothing.
    pub created: bool,
}

/// When to look: both axes of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AsOf {
    /// What was known then (transaction time); absent: all that is known now.
    #[serde(alias = "as_of_tx_time")]
    pub as_of: Option<DateTime<Utc>>,
    /// What was true then (valid time); absent: at `as_of`.
    pub valid_at: Option<DateTime<Utc>>,
}

impl AsOf {
    /// Both times from dates as people write them: "2020", "2020-03", "2020-03-15" or RFC 3339.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another form.
    pub fn parse(as_of: Option<&str>, valid_at: Option<&str>) -> Result<Self> {
        let parse = |field, text: Option<&str>| {
            text.map(|text| Ok::<_, Error>(interval::parse_date(field, text)?.0)).transpose()
        };
        Ok(Self { as_of: parse("as_of", as_of)?, valid_at: parse("valid_at", valid_at)? })
    }

    /// What was true at that time, with all that is known now.
    pub fn valid_at(valid_at: DateTime<Utc>) -> Self {
        Self { as_of: None, valid_at: Some(valid_at) }
    }

    /// Both times of a reading, given the agent's last transaction time (`None`: it has no
    /// claims) and the store's clock. The first is never after the last write, so that reading
    /// again at what is answered gives the same; without any time asked, what holds now is meant.
    /// Freshness is judged from the later of both, but not from a time to come.
    pub fn resolve(&self, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Moment {
        let as_of = last.map(|last| self.as_of.map_or(last, |as_of| as_of.min(last)));
        let valid_at = self.valid_at.or(self.as_of).unwrap_or(now);
        let known = as_of.unwrap_or(valid_at);
        let seen_at = if valid_at > now { known } else { known.max(valid_at) };
        Moment { as_of, valid_at, seen_at }
    }
}

/// A question that was put to no oracle yet.
#[derive(Clone, PartialEq, Debug)]
pub struct Undelivered {
    /// What is asked; tenant and agent included.
    pub request: AdjudicationRequest,
    /// How often it was put before, this time included.
    pub attempts: u32,
}

/// What a rebuild of the current standings found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rebuilt {
    /// Standings that there are now.
    pub rows: u64,
    /// Standings that differed from what claims and ledger say.
    pub differed: u64,
}

/// The claims of a store.
///
/// # Contract
///
/// - Claims, what is said later about their windows, edges and ledger are insert-only, enforced by
///   the database.
/// - One agent's writes are in one order: transaction times strictly increase, ledger sequences
///   have no gaps, and reads inside the write see every one before it.
/// - Two different values about the same time are never both believed: both are shown.
/// - The arrival order of claims does not change the belief for the same ledger times.
/// - A question to an oracle stands as a row of the same transaction as its claim.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Sets how this handle decides; the defaults until then.
    fn configure(&self, rules: Rules);

    /// Writes a claim, decided against every live claim of its line.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::NotFound`] for an unknown parent or re-entered
    /// claim; [`crate::Error::Fenced`] under a stale guard; [`crate::Error::ScopeRequired`].
    #[doc(alias = "remember")]
    #[doc(alias = "ingest_claim")]
    async fn assert(
        &self,
        scope: &Scope,
        claim: NewClaim,
        guard: Option<&Guard>,
    ) -> Result<Asserted>;

    /// Writes about claims that are there: takes back, takes up again, judges, asks, puts in order.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::NotFound`] for an unknown claim or a question
    /// that is not open; [`crate::Error::Setup`] for a question without an oracle;
    /// [`crate::Error::Fenced`] under a stale guard; [`crate::Error::ScopeRequired`].
    async fn change(
        &self,
        scope: &Scope,
        write: ClaimWrite,
        guard: Option<&Guard>,
    ) -> Result<Changed>;

    /// What is believed about a line.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    #[doc(alias = "recall")]
    #[doc(alias = "query_memory")]
    async fn belief(&self, scope: &Scope, line: &Line, when: AsOf) -> Result<Belief>;

    /// The same, noting in the ledger that what is answered was shown.
    ///
    /// # Errors
    ///
    /// As [`Claims::belief`].
    async fn belief_served(&self, scope: &Scope, line: &Line, when: AsOf) -> Result<Belief>;

    /// What is believed about everything said of a subject, by predicate.
    ///
    /// # Errors
    ///
    /// As [`Claims::belief`]; [`crate::Error::Invalid`] for a foreign cursor.
    async fn query_subject(
        &self,
        scope: &Scope,
        subject: &str,
        when: AsOf,
        page: &Page,
    ) -> Result<Paged<SubjectBelief>>;

    /// Every claim of a line in canonical order, and how each stands.
    ///
    /// # Errors
    ///
    /// As [`Claims::query_subject`].
    #[doc(alias = "query_history")]
    async fn history(&self, scope: &Scope, line: &Line, when: AsOf, page: &Page)
    -> Result<History>;

    /// The agent's ledger: filtered first, then paged.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a foreign cursor or a bad filter;
    /// [`crate::Error::ScopeRequired`].
    async fn query_audit(
        &self,
        scope: &Scope,
        query: &AuditQuery,
        page: &Page,
    ) -> Result<Paged<LedgerEntry>>;

    /// Walks the agent's ledger and names the first entry that cannot be what was written.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`].
    async fn verify_audit(&self, scope: &Scope) -> Result<AuditVerdict>;

    /// The open questions of an agent, oldest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a foreign cursor; [`crate::Error::ScopeRequired`].
    async fn list_pending_adjudications(
        &self,
        scope: &Scope,
        page: &Page,
    ) -> Result<Paged<PendingAdjudication>>;

    /// Turns the agent's unanswered questions whose time is over, and claims that wait for none,
    /// back into contested claims; how many.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`].
    async fn sweep_expired_adjudications(&self, scope: &Scope) -> Result<u64>;

    /// Takes questions of all tenants that are to be put to the oracle now; nobody else takes them
    /// before `visibility` is over.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Unavailable`] and [`crate::Error::Backend`] only.
    async fn take_undelivered(&self, most: u32, visibility: Duration) -> Result<Vec<Undelivered>>;

    /// Notes what became of putting a question to the oracle. A question that is closed meanwhile
    /// stays so.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`].
    async fn note_asked(&self, scope: &Scope, handle: HandleId, asked: Asked) -> Result<()>;

    /// Makes every agent's current standings anew from claims and ledger.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Unavailable`] and [`crate::Error::Backend`] only.
    async fn rebuild(&self) -> Result<Rebuilt>;

    /// Takes a claim back.
    ///
    /// # Errors
    ///
    /// As [`Claims::change`].
    async fn retract(&self, scope: &Scope, claim: ClaimId, reason: &str) -> Result<Changed> {
        let reason = reason.to_owned();
        self.change(scope, ClaimWrite::Retract { claim, reason }, None).await
    }

    /// Takes a claim up again.
    ///
    /// # Errors
    ///
    /// As [`Claims::change`].
    async fn reinstate(&self, scope: &Scope, claim: ClaimId, reason: &str) -> Result<Changed> {
        let reason = reason.to_owned();
        self.change(scope, ClaimWrite::Reinstate { claim, reason }, None).await
    }

    /// Asks the oracle again about a contested line.
    ///
    /// # Errors
    ///
    /// As [`Claims::change`]; [`crate::Error::AlreadyExists`] when it is asked about already.
    async fn escalate(&self, scope: &Scope, line: &Line) -> Result<Changed> {
        self.change(scope, ClaimWrite::Escalate { line: line.clone() }, None).await
    }

    /// Puts contested lines in order; all of the agent's when none is named.
    ///
    /// # Errors
    ///
    /// As [`Claims::change`].
    async fn reconcile(&self, scope: &Scope, lines: &[Line]) -> Result<Changed> {
        self.change(scope, ClaimWrite::Reconcile { lines: lines.to_vec() }, None).await
    }

    /// Answers a question.
    ///
    /// # Errors
    ///
    /// As [`Claims::change`].
    async fn submit_adjudication(
        &self,
        scope: &Scope,
        response: AdjudicationResponse,
    ) -> Result<AdjudicationOutcome> {
        let handle_id = response.handle_id;
        let changed = self.change(scope, ClaimWrite::Adjudicate { response }, None).await?;
        changed.judged.ok_or_else(|| Error::not_found("open adjudication", handle_id))
    }
}
