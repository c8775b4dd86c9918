//! Putting a contested line in order without picking a winner between claims about one time.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::{LineState, ask_all, is_contested, strong};
use crate::claims::change::Change;
use crate::claims::fold::Standing;
use crate::claims::ledger::LedgerKind;
use crate::claims::model::{Cardinality, Disposition};
use crate::claims::pending::HandleId;
use crate::claims::rules::Rules;
use crate::scope::Admitted;

/// Reconciles a line: a conflict that is only windows left open becomes a succession; the rest is
/// put to the oracle, if there is one. What is asked about already is left to the answer.
pub fn reconcile(
    scope: &Admitted<'_>,
    state: &LineState,
    handles: &[HandleId],
    at: DateTime<Utc>,
    rules: &Rules,
) -> Change {
    let mut change = Change::new(at);
    if !is_contested(&state.claims, rules) {
        return change;
    }
    let standing = strong(&state.claims, rules);
    match succession(&standing, rules) {
        Some(ends) => {
            let payload = json!({ "because": "the next one begins; reinstate opens it again" });
            for (one, end) in standing.iter().zip(ends) {
                if let Some(end) = end {
                    let kind = LedgerKind::ValidityAsserted;
                    change.note(one.recorded, kind, Disposition::Superseded, payload.clone());
                    change.bound(one.recorded, end);
                } else if one.disposition() == Disposition::Contested {
                    let payload = json!({ "because": "a succession in time" });
                    let kind = LedgerKind::AdjudicationResolved;
                    change.note(one.recorded, kind, Disposition::CommittedCheap, payload);
                }
            }
        }
        None if rules.oracle => ask_all(&mut change, scope, state, handles, rules),
        None => {}
    }
    change
}

/// Where each window ends in a succession, or `None` when time alone does not make one: every
/// claim is functional, has a trusted start of its own, nobody is asked about it, and overlaps only
/// because it was left open. In the order of the starts.
fn succession(standing: &[Standing<'_>], rules: &Rules) -> Option<Vec<Option<DateTime<Utc>>>> {
    let threshold = rules.valid_time_confidence_threshold;
    let fits = |one: &Standing<'_>| {
        one.claim().cardinality == Cardinality::Functional
            && one.window.is_trusted(threshold)
            && one.disposition() != Disposition::QueuedForAdjudication
    };
    if !standing.iter().all(fits) {
        return None;
    }
    let starts: Vec<DateTime<Utc>> = standing.iter().filter_map(|one| one.window.start).collect();
    let mut ends = Vec::with_capacity(standing.len());
    for (at, one) in standing.iter().enumerate() {
        let next = starts.get(at + 1).copied();
        match (one.window.end, next) {
            _ if next == Some(starts[at]) => return None,
            // Its source said that it reaches into the next one: no mere oversight.
            (Some(end), Some(next)) if end > next => return None,
            (Some(_), _) | (None, None) => ends.push(None),
            (None, Some(next)) => ends.push(Some(next)),
        }
    }
    Some(ends)
}
