//! What an oracle's answer does, and what its silence does.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{LineState, close_questions, opponents, settle, strong};
use crate::claims::change::{Change, ClaimEdge, Closed, EdgeKind};
use crate::claims::conflict::Side;
use crate::claims::fold::{Recorded, Standing};
use crate::claims::ledger::LedgerKind;
use crate::claims::model::{Disposition, Provenance};
use crate::claims::pending::{
    AdjudicationOutcome, AdjudicationResponse, PendingAdjudication, PendingStatus, Verdict,
};
use crate::claims::rules::Rules;
use crate::error::{Error, Result};

/// Decides an answer to an open question.
///
/// # Errors
///
/// [`Error::NotFound`] when the question is closed or its time is over, or when its challenger
/// stands otherwise by now.
pub fn verdict(
    state: &LineState,
    question: &PendingAdjudication,
    response: &AdjudicationResponse,
    at: DateTime<Utc>,
    rules: &Rules,
) -> Result<Change> {
    let gone = || Error::not_found("open adjudication", response.handle_id);
    let over = question.expires_at.is_some_and(|expires_at| expires_at <= at);
    if question.status != PendingStatus::Queued || over {
        return Err(gone());
    }
    let standing = strong(&state.claims, rules);
    let challenger = standing
        .iter()
        .find(|one| one.claim().id == question.challenger)
        .filter(|one| one.disposition() == Disposition::QueuedForAdjudication)
        .ok_or_else(gone)?;
    let case = Case { challenger, standing: &standing, question, rules };
    let mut change = Change::new(at);
    change.closed.push(Closed {
        handle: question.handle_id,
        status: PendingStatus::Resolved,
        verdict: Some(response.verdict),
        evidence: Some(response.evidence_provenance),
        because: response.because.clone(),
    });
    let payload = json!({
        "handle": question.handle_id,
        "verdict": response.verdict,
        "evidence_provenance": response.evidence_provenance,
        "because": response.because,
    });
    match response.verdict {
        Verdict::Affirm if case.needs_more_than(response.evidence_provenance) => {
            case.unknown(&mut change, &payload);
        }
        Verdict::Affirm => case.affirm(&mut change, state, &payload),
        Verdict::Deny => case.deny(&mut change, state, &payload),
        Verdict::Unknown => case.unknown(&mut change, &payload),
    }
    if change.entries.iter().all(|entry| entry.disposition != Disposition::Contested) {
        settle(&mut change, state, rules);
    }
    change.judged = Some(AdjudicationOutcome {
        handle_id: question.handle_id,
        disposition: change.touch(challenger.recorded).disposition,
        claim_ref: question.challenger,
    });
    Ok(change)
}

struct Case<'c, 'a> {
    challenger: &'c Standing<'a>,
    standing: &'c [Standing<'a>],
    question: &'c PendingAdjudication,
    rules: &'c Rules,
}

impl Case<'_, '_> {
    /// What a model says alone overturns nothing that much depends on.
    fn needs_more_than(&self, evidence: Provenance) -> bool {
        let floor = self.rules.criticality_overturn_floor;
        let critical = |one: &Standing<'_>| one.claim().criticality >= floor;
        evidence == Provenance::ModelDerived
            && opponents(self.challenger, self.standing, self.rules).iter().any(critical)
    }

    /// The challenger stands; what contradicts it gives way: incumbents by succession, other
    /// challengers by denial.
    fn affirm(&self, change: &mut Change, state: &LineState, payload: &Value) {
        let kind = LedgerKind::AdjudicationResolved;
        for loser in opponents(self.challenger, self.standing, self.rules) {
            if loser.disposition() == Disposition::QueuedForAdjudication {
                reject(change, state, &loser, payload);
            } else {
                self.supersede(change, &loser, payload);
            }
        }
        let winner = self.challenger.recorded;
        change.note(winner, kind, Disposition::CommittedCheap, payload.clone());
    }

    /// Closes the loser's window where the winner's begins, when both are trusted, so that it
    /// still answers for its time; otherwise it is over altogether.
    fn supersede(&self, change: &mut Change, loser: &Standing<'_>, payload: &Value) {
        let threshold = self.rules.valid_time_confidence_threshold;
        let trusted =
            |one: &Standing<'_>| one.window.start.filter(|_| one.window.is_trusted(threshold));
        let at = match (trusted(self.challenger), loser.window.start) {
            (Some(winner), Some(_)) if trusted(loser).is_some() => winner,
            // An empty window: it counts at no time.
            (_, Some(start)) => start,
            (_, None) => change.at,
        };
        change.note(
            loser.recorded,
            LedgerKind::AdjudicationResolved,
            Disposition::Superseded,
            payload.clone(),
        );
        change.bound(loser.recorded, at);
        let (from, to) = (self.challenger.claim().id, loser.claim().id);
        change.edges.push(ClaimEdge { from, kind: EdgeKind::Supersedes, to });
    }

    /// The challenger falls, and what only said the same after it.
    fn deny(&self, change: &mut Change, state: &LineState, payload: &Value) {
        let challenger = Side::from(self.challenger);
        let since = self.challenger.claim().recorded_at;
        for one in self.standing {
            let echoes = one.claim().recorded_at >= since
                && challenger.repeats(&Side::from(one), self.rules)
                && !self.question.incumbents.contains(&one.claim().id);
            if echoes {
                reject(change, state, one, payload);
            }
        }
    }

    /// Nobody can tell: all stay, contested, and the line can be asked about again.
    fn unknown(&self, change: &mut Change, payload: &Value) {
        let kind = LedgerKind::AdjudicationResolved;
        let challenger = self.challenger.recorded;
        change.note(challenger, kind, Disposition::Contested, payload.clone());
        for one in opponents(self.challenger, self.standing, self.rules) {
            // Another challenger waits for its own answer.
            if one.disposition() != Disposition::QueuedForAdjudication {
                change.note(one.recorded, kind, Disposition::Contested, payload.clone());
            }
        }
    }
}

fn reject(change: &mut Change, state: &LineState, loser: &Standing<'_>, payload: &Value) {
    let kind = LedgerKind::AdjudicationResolved;
    change.note(loser.recorded, kind, Disposition::Rejected, payload.clone());
    close_questions(change, state, loser.claim().id);
}

/// Nobody answered in time, or nobody is asked: the challenger is contested again.
pub fn expire(
    challenger: &Recorded,
    question: Option<&PendingAdjudication>,
    at: DateTime<Utc>,
) -> Change {
    let mut change = Change::new(at);
    if challenger.disposition == Disposition::QueuedForAdjudication {
        let payload = json!({ "handle": question.map(|question| question.handle_id) });
        let kind = LedgerKind::AdjudicationExpired;
        change.note(challenger, kind, Disposition::Contested, payload);
    }
    if let Some(question) = question {
        change.closed.push(Closed {
            handle: question.handle_id,
            status: PendingStatus::Expired,
            verdict: None,
            evidence: None,
            because: None,
        });
    }
    change
}
