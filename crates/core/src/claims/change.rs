//! What a decision writes: rows for a store to insert in one transaction, nothing decided twice.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fold::Recorded;
use super::ledger::LedgerKind;
use super::model::{Claim, ClaimId, Disposition, Provenance};
use super::pending::{AdjudicationOutcome, AdjudicationRequest, HandleId, PendingStatus, Verdict};
use crate::ids::RequestId;

/// How two claims hang together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum EdgeKind {
    /// The first was derived from the second.
    DerivedFrom,
    /// The first took the second's place.
    Supersedes,
    /// The first stands on the second.
    DependsOn,
    /// Both cannot be true.
    MutualExclusion,
}

impl EdgeKind {
    /// The name at rest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DerivedFrom => "DerivedFrom",
            Self::Supersedes => "Supersedes",
            Self::DependsOn => "DependsOn",
            Self::MutualExclusion => "MutualExclusion",
        }
    }
}

/// An edge to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClaimEdge {
    /// From this claim.
    pub from: ClaimId,
    /// How.
    pub kind: EdgeKind,
    /// To this one.
    pub to: ClaimId,
}

/// What is said later about a claim's window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ValidityKind {
    /// It ends there.
    Bound {
        /// Exclusive.
        bound_at: DateTime<Utc>,
    },
    /// Every end set before is taken back.
    Reopen,
}

impl ValidityKind {
    /// The name at rest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bound { .. } => "Bound",
            Self::Reopen => "Reopen",
        }
    }

    /// The end, where one is set.
    pub const fn bound_at(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Bound { bound_at } => Some(bound_at),
            Self::Reopen => None,
        }
    }
}

/// Something said later about a claim's window: insert-only, like the claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ValidityAssertion {
    /// Which claim.
    pub target_claim: ClaimId,
    /// What is said.
    pub kind: ValidityKind,
}

/// A ledger entry to append.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// What happened.
    pub kind: LedgerKind,
    /// To which claim.
    pub claim: ClaimId,
    /// How the claim stands since.
    pub disposition: Disposition,
    /// The rest of the outcome that a repeated request answers.
    pub contested_with: Vec<ClaimId>,
    /// The request it answers.
    pub request: Option<RequestId>,
    /// Why.
    pub payload: Value,
}

/// A question that is no longer one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Closed {
    /// Which question.
    pub handle: HandleId,
    /// How it stands since.
    pub status: PendingStatus,
    /// What was answered.
    pub verdict: Option<Verdict>,
    /// What the answer rests on.
    pub evidence: Option<Provenance>,
    /// Why.
    pub because: Option<String>,
}

/// A question to put.
#[derive(Clone, PartialEq, Debug)]
pub struct Question {
    /// The claim to judge.
    pub challenger: ClaimId,
    /// What it contradicts.
    pub incumbents: Vec<ClaimId>,
    /// What is asked, its handle included.
    pub request: AdjudicationRequest,
}

/// Everything one write does, in one transaction.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// The transaction time of all of it.
    pub at: DateTime<Utc>,
    /// A claim to insert.
    pub claim: Option<Claim>,
    /// Entries, in order.
    pub entries: Vec<Entry>,
    /// What is said about windows.
    pub bounds: Vec<ValidityAssertion>,
    /// Edges.
    pub edges: Vec<ClaimEdge>,
    /// Every claim touched, as it stands after.
    pub standing: Vec<Recorded>,
    /// Questions to put.
    pub questions: Vec<Question>,
    /// Questions that are closed.
    pub closed: Vec<Closed>,
    /// What an answer did.
    pub judged: Option<AdjudicationOutcome>,
}

impl Change {
    /// Nothing yet, at a time.
    pub fn new(at: DateTime<Utc>) -> Self {
        Self {
            at,
            claim: None,
            entries: Vec::new(),
            bounds: Vec::new(),
            edges: Vec::new(),
            standing: Vec::new(),
            questions: Vec::new(),
            closed: Vec::new(),
            judged: None,
        }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Notes how a claim stands now, with its ledger entry.
    pub(super) fn note(
        &mut self,
        recorded: &Recorded,
        kind: LedgerKind,
        disposition: Disposition,
        payload: Value,
    ) {
        self.entries.push(Entry {
            kind,
            claim: recorded.claim.id,
            disposition,
            contested_with: Vec::new(),
            request: None,
            payload,
        });
        if kind.decides() {
            self.touch(recorded).disposition = disposition;
        }
    }

    /// Ends a claim's window, at the latest at its end.
    pub(super) fn bound(&mut self, recorded: &Recorded, bound_at: DateTime<Utc>) {
        let kind = ValidityKind::Bound { bound_at };
        self.bounds.push(ValidityAssertion { target_claim: recorded.claim.id, kind });
        let touched = self.touch(recorded);
        touched.bound = Some(touched.bound.map_or(bound_at, |bound| bound.min(bound_at)));
    }

    /// Takes back every end set to a claim's window.
    pub(super) fn reopen(&mut self, recorded: &Recorded) {
        let kind = ValidityKind::Reopen;
        self.bounds.push(ValidityAssertion { target_claim: recorded.claim.id, kind });
        self.touch(recorded).bound = None;
    }

    /// The claim as this change leaves it.
    pub(super) fn touch(&mut self, recorded: &Recorded) -> &mut Recorded {
        let id = recorded.claim.id;
        let place = self.standing.iter().position(|touched| touched.claim.id == id);
        let place = place.unwrap_or_else(|| {
            self.standing.push(recorded.clone());
            self.standing.len() - 1
        });
        &mut self.standing[place]
    }

    /// A line as this change leaves it.
    pub(super) fn after(&self, line: &[Recorded]) -> Vec<Recorded> {
        let mut after: Vec<Recorded> = line.to_vec();
        for recorded in &mut after {
            let id = recorded.claim.id;
            if let Some(touched) = self.standing.iter().find(|touched| touched.claim.id == id) {
                recorded.clone_from(touched);
            }
        }
        after
    }

    /// Claims that this change takes out or ends: what stands on them is to be reviewed.
    pub fn fallen(&self) -> Vec<ClaimId> {
        let falls = |disposition| {
            matches!(
                disposition,
                Disposition::Superseded | Disposition::Invalidated | Disposition::Rejected
            )
        };
        let mut fallen: Vec<ClaimId> = self
            .entries
            .iter()
            .filter(|entry| entry.kind.decides() && falls(entry.disposition))
            .map(|entry| entry.claim)
            .collect();
        fallen.sort_unstable();
        fallen.dedup();
        fallen
    }

    /// Flags what stands on a claim that falls: pairs of the fallen and what depends on it.
    pub fn flag(&mut self, dependents: &[(ClaimId, Recorded)]) {
        for (fallen, dependent) in dependents {
            let touched = |claim: ClaimId| self.standing.iter().any(|one| one.claim.id == claim);
            if dependent.disposition.is_out() || touched(dependent.claim.id) {
                continue;
            }
            // A question about it stays one; its answer decides.
            if dependent.disposition != Disposition::QueuedForAdjudication {
                self.note(
                    dependent,
                    LedgerKind::DependentFlaggedPendingReview,
                    Disposition::PendingReview,
                    json!({ "fallen": fallen }),
                );
            }
        }
    }
}

/// What a write did to claims that were there already.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Changed {
    /// What happened to which claim, in the ledger's order.
    pub outcomes: Vec<ClaimOutcome>,
    /// Questions put to the oracle.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub escalated: Vec<HandleId>,
    /// The transaction time; absent: nothing was to be done.
    pub recorded_at: Option<DateTime<Utc>>,
    /// What an answer did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub judged: Option<AdjudicationOutcome>,
    /// Whether lines are left that one call does not get to.
    #[serde(default)]
    pub more: bool,
}

/// What happened to one claim.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClaimOutcome {
    /// Which.
    pub claim: ClaimId,
    /// What happened.
    pub kind: LedgerKind,
    /// How it stands since.
    pub disposition: Disposition,
    /// Where its window was closed; `reinstate` opens it again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub closed_at: Option<DateTime<Utc>>,
}

impl From<&Change> for Changed {
    fn from(change: &Change) -> Self {
        let closed_at = |claim: ClaimId| {
            let about = |bound: &&ValidityAssertion| bound.target_claim == claim;
            change.bounds.iter().find(about).and_then(|bound| bound.kind.bound_at())
        };
        Self {
            outcomes: change
                .entries
                .iter()
                .map(|entry| ClaimOutcome {
                    claim: entry.claim,
                    kind: entry.kind,
                    disposition: entry.disposition,
                    closed_at: closed_at(entry.claim),
                })
                .collect(),
            escalated: change.questions.iter().map(|question| question.request.handle_id).collect(),
            recorded_at: (!change.is_empty()).then_some(change.at),
            judged: change.judged.clone(),
            more: false,
        }
    }
}

impl Changed {
    /// Takes in what one more decision did.
    pub fn take(&mut self, change: &Change) {
        let done = Self::from(change);
        self.outcomes.extend(done.outcomes);
        self.escalated.extend(done.escalated);
        self.recorded_at = done.recorded_at.or(self.recorded_at);
        self.judged = done.judged.or(self.judged.take());
    }

    /// How a claim stands after the write, where it was touched.
    pub fn disposition_of(&self, claim: ClaimId) -> Option<Disposition> {
        let about = |outcome: &&ClaimOutcome| outcome.claim == claim;
        self.outcomes.iter().rev().find(about).map(|outcome| outcome.disposition)
    }
}
