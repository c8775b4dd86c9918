//! What becomes of claims that are there: taken back, taken up again, judged, put in order. Pure
//! decisions over a line, answered as a [`Change`].

mod order;
mod verdict;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::adjudicate::{Ask, ask_about};
use super::change::{Change, Closed};
use super::conflict::Side;
use super::fold::{Recorded, Standing, live};
use super::ledger::LedgerKind;
use super::model::{ClaimId, Disposition, Line};
use super::pending::{
    AdjudicationResponse, HandleId, OverturnReason, PendingAdjudication, PendingStatus,
};
use super::rules::Rules;
use crate::error::{Error, Result};
use crate::limits;
use crate::scope::Admitted;

pub use order::reconcile;
pub use verdict::{expire, verdict};

/// A write about claims that are there already.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
#[non_exhaustive]
pub enum ClaimWrite {
    /// Takes a claim back: it counts no more.
    Retract {
        /// Which.
        claim: ClaimId,
        /// Why.
        reason: String,
    },
    /// Takes a claim up again, with the window it was written with.
    Reinstate {
        /// Which.
        claim: ClaimId,
        /// Why.
        reason: String,
    },
    /// Asks the oracle again about a contested line.
    Escalate {
        /// Which.
        line: Line,
    },
    /// Answers a question.
    Adjudicate {
        /// The answer.
        response: AdjudicationResponse,
    },
    /// Puts contested lines in order where time alone does it, and asks about the rest.
    Reconcile {
        /// Which; empty: all of the agent's.
        lines: Vec<Line>,
    },
}

impl ClaimWrite {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Retract { reason, .. } | Self::Reinstate { reason, .. } => {
                limits::name("reason", reason, limits::CLAIM_REASON_BYTES)
            }
            Self::Escalate { line } => {
                Line::parse(line.subject.as_str(), line.predicate.as_str()).map(drop)
            }
            Self::Adjudicate { response } => response.check(),
            Self::Reconcile { lines } => {
                limits::count("lines", lines.len(), limits::RECONCILE_LINES)?;
                lines.iter().try_for_each(|l| {
                    Line::parse(l.subject.as_str(), l.predicate.as_str()).map(drop)
                })
            }
        }
    }
}

/// A line as a decision about it needs it: everything that may count, and its open questions.
#[derive(Clone, PartialEq, Debug)]
pub struct LineState {
    /// Which line.
    pub line: Line,
    /// Every claim that may count.
    pub claims: Vec<Recorded>,
    /// Its open questions.
    pub open: Vec<PendingAdjudication>,
}

/// Takes a claim back. Again does nothing.
pub fn retract(
    state: &LineState,
    target: &Recorded,
    reason: &str,
    at: DateTime<Utc>,
    rules: &Rules,
) -> Change {
    let mut change = Change::new(at);
    if target.disposition == Disposition::Invalidated {
        return change;
    }
    let payload = json!({ "reason": reason });
    change.note(target, LedgerKind::Retracted, Disposition::Invalidated, payload);
    close_questions(&mut change, state, target.claim.id);
    settle(&mut change, state, rules);
    change
}

/// Takes a claim up again. One that counts as it was written stays as it is.
pub fn reinstate(target: &Recorded, reason: &str, at: DateTime<Utc>) -> Change {
    let mut change = Change::new(at);
    let fallen = target.disposition.is_out() || target.disposition == Disposition::Superseded;
    if !fallen && target.bound.is_none() {
        return change;
    }
    let payload = json!({ "reason": reason });
    change.note(target, LedgerKind::Reinstated, Disposition::Reinstated, payload);
    if target.bound.is_some() {
        change.reopen(target);
    }
    change
}

/// Asks the oracle again about every conflict of a line that nobody is asked about: the claim that
/// came last challenges what it contradicts. `handles` are for the questions; at most as many are
/// asked as there are.
///
/// # Errors
///
/// [`Error::Setup`] without an oracle; [`Error::NotFound`] when the line is not contested;
/// [`Error::AlreadyExists`] when it is asked about already.
pub fn escalate(
    scope: &Admitted<'_>,
    state: &LineState,
    handles: &[HandleId],
    at: DateTime<Utc>,
    rules: &Rules,
) -> Result<Change> {
    if !rules.oracle {
        return Err(Error::setup(
            "there is no oracle to ask",
            "open with one: `Mnemon::builder(url).oracle(…)`, or `claims.oracle = \"human\"`",
        ));
    }
    let name = format!("{} · {}", state.line.subject, state.line.predicate);
    if !is_contested(&state.claims, rules) {
        return Err(Error::not_found("contested line", name));
    }
    let mut change = Change::new(at);
    ask_all(&mut change, scope, state, handles, rules);
    if change.is_empty() {
        return Err(Error::AlreadyExists { kind: "question about", key: name });
    }
    Ok(change)
}

/// Whether any two live claims of a line contradict each other.
pub fn is_contested(line: &[Recorded], rules: &Rules) -> bool {
    let standing = strong(line, rules);
    standing.iter().any(|one| !opponents(one, &standing, rules).is_empty())
}

/// The live claims of a line that may oppose each other.
fn strong<'a>(line: &'a [Recorded], rules: &Rules) -> Vec<Standing<'a>> {
    let mut standing = live(line, rules);
    standing.retain(|one| !one.is_weak());
    standing
}

/// What a claim contradicts.
fn opponents<'a>(
    claim: &Standing<'a>,
    standing: &[Standing<'a>],
    rules: &Rules,
) -> Vec<Standing<'a>> {
    let side = Side::from(claim);
    standing.iter().filter(|other| side.contradicts(&Side::from(*other), rules)).copied().collect()
}

/// A question about each claim that contradicts earlier ones, unless it is asked about already or
/// an earlier one of the same value is.
fn ask_all(
    change: &mut Change,
    scope: &Admitted<'_>,
    state: &LineState,
    handles: &[HandleId],
    rules: &Rules,
) {
    let mut standing = strong(&state.claims, rules);
    standing.sort_by_key(|one| (one.claim().recorded_at, one.claim().id));
    let mut handles = handles.iter();
    let mut asked: Vec<Standing<'_>> = Vec::new();
    for (at, challenger) in standing.iter().enumerate() {
        let earlier = opponents(challenger, &standing[..at], rules);
        if earlier.is_empty() {
            continue;
        }
        let again = |one: &Standing<'_>| Side::from(one).repeats(&Side::from(challenger), rules);
        let open = challenger.disposition() == Disposition::QueuedForAdjudication;
        if open || asked.iter().any(again) {
            asked.push(*challenger);
            continue;
        }
        let Some(handle) = handles.next() else { return };
        let reason = OverturnReason::Escalated;
        let ask = Ask { handle: *handle, ttl: None, reason, at: change.at };
        ask_about(change, scope, challenger.recorded, &earlier, ask, rules);
        asked.push(*challenger);
    }
}

/// Closes the open questions about a claim that is a challenger no more.
fn close_questions(change: &mut Change, state: &LineState, challenger: ClaimId) {
    for question in state.open.iter().filter(|open| open.challenger == challenger) {
        if change.closed.iter().any(|closed| closed.handle == question.handle_id) {
            continue;
        }
        change.closed.push(Closed {
            handle: question.handle_id,
            status: PendingStatus::Resolved,
            verdict: None,
            evidence: None,
            because: None,
        });
    }
}

/// A contested claim that nothing contradicts any more is contested no more.
fn settle(change: &mut Change, state: &LineState, rules: &Rules) {
    let after = change.after(&state.claims);
    let standing = strong(&after, rules);
    for one in &standing {
        let contested = matches!(
            one.disposition(),
            Disposition::Contested | Disposition::QueuedForAdjudication
        );
        if !contested || !opponents(one, &standing, rules).is_empty() {
            continue;
        }
        let payload = json!({ "because": "nothing contradicts it any more" });
        let kind = LedgerKind::AdjudicationResolved;
        change.note(one.recorded, kind, Disposition::CommittedCheap, payload);
        close_questions(change, state, one.claim().id);
    }
}
