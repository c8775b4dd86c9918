//! What becomes of a new claim: a pure decision against every live claim of its line.

use chrono::{DateTime, Utc};

use super::fold::{Recorded, Standing, live};
use super::model::{Cardinality, Claim, ClaimId, Disposition, NewClaim, Provenance};

/// How the engine decides; the seed's defaults.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rules {
    /// A window decides something only when its source was at least this sure of it.
    pub valid_time_confidence_threshold: f32,
    /// A claim derived more deeply overturns nothing.
    pub derivation_depth_max: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self { valid_time_confidence_threshold: 0.7, derivation_depth_max: 2 }
    }
}

/// How a new claim stands to the live ones of its line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Relation {
    /// Nothing live contradicts it.
    Free,
    /// A live claim says the same.
    Corroborates(ClaimId),
    /// Trusted windows, disjoint from every other value's.
    Succession,
    /// It contradicts these.
    Conflict(Vec<ClaimId>),
}

/// Compares a new claim with every live claim of its line, by cardinality.
pub fn classify(new: &NewClaim, live: &[Standing<'_>], rules: Rules) -> Relation {
    let claims: Vec<&Claim> = live.iter().map(|standing| standing.claim).collect();
    if let Some(same) = claims.iter().find(|claim| claim.value == new.value) {
        return Relation::Corroborates(same.id);
    }
    let set_valued = new.cardinality == Cardinality::SetValued
        && claims.iter().all(|claim| claim.cardinality == Cardinality::SetValued);
    if claims.is_empty() || set_valued {
        return Relation::Free;
    }
    // A model's inference stands below; an outside claim does not contradict it.
    let opponents: Vec<&Standing<'_>> = live
        .iter()
        .filter(|standing| standing.claim.provenance != Provenance::ModelDerived)
        .filter(|standing| !is_succession(new, standing, rules))
        .collect();
    if opponents.is_empty() {
        let succeeds = live.iter().any(|s| s.claim.provenance != Provenance::ModelDerived);
        return if succeeds { Relation::Succession } else { Relation::Free };
    }
    Relation::Conflict(opponents.iter().map(|standing| standing.claim.id).collect())
}

fn is_succession(new: &NewClaim, standing: &Standing<'_>, rules: Rules) -> bool {
    let threshold = rules.valid_time_confidence_threshold;
    new.valid_time.is_trusted(threshold)
        && standing.window.is_trusted(threshold)
        && new.valid_time.is_disjoint(&standing.window)
}

/// Decides a new claim's disposition without an oracle; the first rule that matches.
pub fn gate(new: &NewClaim, relation: &Relation, depth: u32, rules: Rules) -> Disposition {
    if new.provenance == Provenance::ModelDerived {
        return Disposition::CommittedInferred;
    }
    match relation {
        Relation::Free | Relation::Corroborates(_) | Relation::Succession => {
            Disposition::CommittedCheap
        }
        Relation::Conflict(_) if depth > rules.derivation_depth_max => {
            Disposition::PendingLowConfidence
        }
        Relation::Conflict(_) => Disposition::Contested,
    }
}

/// Decides a new claim against the whole line, without an oracle: its disposition, and the claims
/// it contests (an inference contests none).
pub fn decide(
    new: &NewClaim,
    line: &[Recorded],
    depth: u32,
    rules: Rules,
) -> (Disposition, Vec<ClaimId>) {
    let relation = classify(new, &live(line, rules), rules);
    let disposition = gate(new, &relation, depth, rules);
    match relation {
        Relation::Conflict(with) if disposition != Disposition::CommittedInferred => {
            (disposition, with)
        }
        _ => (disposition, Vec::new()),
    }
}

/// The transaction time of an agent's next write: the clock's, but above the last one by at
/// least a microsecond, so that it strictly increases however the clock moves.
pub fn next_time(last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> DateTime<Utc> {
    match last {
        Some(last) if last >= now => last + chrono::Duration::microseconds(1),
        _ => now,
    }
}
