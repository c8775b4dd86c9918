//! An agent's claims in memory: what changes amount to when they are read from the first on. What
//! stores keep as current standings must equal it; tests compare both.

use chrono::{DateTime, Utc};

use super::adjudicate::Seen;
use super::change::{Change, ClaimEdge, EdgeKind, ValidityAssertion, ValidityKind};
use super::fold::Recorded;
use super::ledger::LedgerKind;
use super::model::{Claim, ClaimId, Disposition, Line};
use super::pending::{HandleId, PendingAdjudication, PendingStatus};
use super::resolve::LineState;

/// Everything an agent wrote, in order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Replay {
    claims: Vec<Claim>,
    notes: Vec<(DateTime<Utc>, ClaimId, LedgerKind, Disposition)>,
    bounds: Vec<(DateTime<Utc>, ValidityAssertion)>,
    edges: Vec<ClaimEdge>,
    questions: Vec<PendingAdjudication>,
}

impl Replay {
    /// Takes in what one write did.
    pub fn apply(&mut self, change: &Change) {
        self.claims.extend(change.claim.clone());
        self.notes.extend(
            change
                .entries
                .iter()
                .map(|entry| (change.at, entry.claim, entry.kind, entry.disposition)),
        );
        self.bounds.extend(change.bounds.iter().map(|bound| (change.at, *bound)));
        self.edges.extend(&change.edges);
        self.questions.extend(change.questions.iter().map(|question| PendingAdjudication {
            handle_id: question.request.handle_id,
            challenger: question.challenger,
            incumbents: question.incumbents.clone(),
            request: question.request.clone(),
            queued_at: change.at,
            expires_at: question.request.expires_at,
            status: PendingStatus::Queued,
            delivered_at: None,
            attempts: 0,
            last_error: None,
        }));
        for closed in &change.closed {
            let question =
                self.questions.iter_mut().find(|question| question.handle_id == closed.handle);
            if let Some(question) = question {
                question.status = closed.status;
            }
        }
    }

    /// Every claim, in the order of writing.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// A question by its handle.
    pub fn question(&self, handle: HandleId) -> Option<&PendingAdjudication> {
        self.questions.iter().find(|question| question.handle_id == handle)
    }

    /// The open questions, oldest first.
    pub fn open(&self) -> Vec<&PendingAdjudication> {
        let open = |question: &&PendingAdjudication| question.status == PendingStatus::Queued;
        self.questions.iter().filter(open).collect()
    }

    /// A claim as it stood then; `None`: as it stands now.
    pub fn standing(&self, id: ClaimId, as_of: Option<DateTime<Utc>>) -> Option<Recorded> {
        let known = |at: DateTime<Utc>| as_of.is_none_or(|as_of| at <= as_of);
        let claim = self.claims.iter().find(|claim| claim.id == id && known(claim.recorded_at))?;
        let notes = || self.notes.iter().filter(|(at, claim, ..)| *claim == id && known(*at));
        let disposition = notes()
            .rev()
            .find(|(_, _, kind, _)| kind.decides())
            .map(|(.., disposition)| *disposition)?;
        let re_entered =
            |kind| matches!(kind, LedgerKind::RecallReEntryDetected | LedgerKind::Quarantined);
        let re_entries = notes().filter(|(_, _, kind, _)| re_entered(*kind)).count();
        let mut bound: Option<DateTime<Utc>> = None;
        for (at, assertion) in &self.bounds {
            if assertion.target_claim != id || !known(*at) {
                continue;
            }
            bound = match assertion.kind {
                ValidityKind::Bound { bound_at } => {
                    Some(bound.map_or(bound_at, |bound| bound.min(bound_at)))
                }
                ValidityKind::Reopen => None,
            };
        }
        let re_entries = u32::try_from(re_entries).unwrap_or(u32::MAX);
        Some(Recorded { claim: claim.clone(), disposition, bound, re_entries })
    }

    /// A line as it stood then; `None`: as it stands now.
    pub fn line(&self, line: &Line, as_of: Option<DateTime<Utc>>) -> Vec<Recorded> {
        self.claims
            .iter()
            .filter(|claim| claim.line == *line)
            .filter_map(|claim| self.standing(claim.id, as_of))
            .collect()
    }

    /// A line as a decision about it needs it.
    pub fn state(&self, line: &Line) -> LineState {
        let open = self.open().into_iter().filter(|open| open.request.subject_line == *line);
        LineState {
            line: line.clone(),
            claims: self.line(line, None).into_iter().filter(Recorded::may_count).collect(),
            open: open.cloned().collect(),
        }
    }

    /// What a decision about a new claim of a line stands on, given its claims that may count.
    pub fn seen<'a>(line: &'a [Recorded], named: &'a [Claim], at: DateTime<Utc>) -> Seen<'a> {
        Seen { line, beyond: false, named, at }
    }

    /// What depends on these claims.
    pub fn dependents(&self, fallen: &[ClaimId]) -> Vec<(ClaimId, Recorded)> {
        self.edges
            .iter()
            .filter(|edge| edge.kind == EdgeKind::DependsOn && fallen.contains(&edge.to))
            .filter_map(|edge| Some((edge.to, self.standing(edge.from, None)?)))
            .collect()
    }
}
