//! What contradicts what: a pure comparison of a claim with every live one of its line.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::fold::Standing;
use super::interval::ValidTime;
use super::model::{Cardinality, ClaimId, Provenance};
use super::new_claim::NewClaim;
use super::rules::Rules;

/// One side of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    id: Option<ClaimId>,
    value: &'a Value,
    cardinality: Cardinality,
    window: ValidTime,
    excludes: &'a [ClaimId],
}

impl<'a> From<&Standing<'a>> for Side<'a> {
    fn from(standing: &Standing<'a>) -> Self {
        let claim = standing.claim();
        Self {
            id: Some(claim.id),
            value: &claim.value,
            cardinality: claim.cardinality,
            window: standing.window,
            excludes: &claim.excludes,
        }
    }
}

impl<'a> From<&'a NewClaim> for Side<'a> {
    fn from(new: &'a NewClaim) -> Self {
        Self {
            id: None,
            value: &new.value,
            cardinality: new.cardinality,
            window: new.valid_time,
            excludes: &new.excludes,
        }
    }
}

impl Side<'_> {
    /// Whether both may be about one moment: a window that is not trusted may be about any.
    fn meets(&self, other: &Self, rules: &Rules) -> bool {
        let threshold = rules.valid_time_confidence_threshold;
        let trusted = |side: &Self| side.window.is_trusted(threshold);
        !(trusted(self) && trusted(other) && self.window.is_disjoint(&other.window))
    }

    /// The times that both may be about.
    fn common(
        &self,
        other: &Self,
        rules: &Rules,
    ) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        let threshold = rules.valid_time_confidence_threshold;
        let trusted = [self, other].map(|side| side.window).into_iter();
        let trusted = trusted.filter(|window| window.is_trusted(threshold));
        let start = trusted.clone().filter_map(|window| window.start).max();
        (start, trusted.filter_map(|window| window.end).min())
    }

    /// Whether it is about all of these times.
    fn covers(
        &self,
        (start, end): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
        rules: &Rules,
    ) -> bool {
        let window = self.window;
        !window.is_trusted(rules.valid_time_confidence_threshold)
            || (start.is_some_and(|start| window.start <= Some(start))
                && window.end.is_none_or(|own| end.is_some_and(|end| end <= own)))
    }

    fn excludes(&self, other: &Self) -> bool {
        other.id.is_some_and(|id| self.excludes.contains(&id))
    }

    /// Whether both say the same about one moment.
    pub fn repeats(&self, other: &Self, rules: &Rules) -> bool {
        self.value == other.value && self.meets(other, rules)
    }

    /// Whether both cannot be true.
    pub fn contradicts(&self, other: &Self, rules: &Rules) -> bool {
        let sets = self.cardinality == Cardinality::SetValued
            && other.cardinality == Cardinality::SetValued;
        let beside = sets && !self.excludes(other) && !other.excludes(self);
        self.value != other.value && !beside && self.meets(other, rules)
    }
}

/// How a new claim stands to the live ones of its line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Relation {
    /// Nothing live contradicts it.
    Free,
    /// A live claim says the same, and it contradicts nothing that this one does not.
    Corroborates(ClaimId),
    /// Trusted windows, disjoint from every other value's.
    Succession,
    /// It contradicts these: all of them.
    Conflict(Vec<ClaimId>),
}

impl Relation {
    /// A name for the ledger.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Corroborates(_) => "corroborates",
            Self::Succession => "succession",
            Self::Conflict(_) => "conflict",
        }
    }
}

/// Compares a new claim with every live claim that may be about the same time; `beyond` says
/// whether the line has others. What is weak opposes nothing.
pub fn classify(new: &NewClaim, live: &[Standing<'_>], beyond: bool, rules: &Rules) -> Relation {
    let side = Side::from(new);
    let strong: Vec<&Standing<'_>> = live.iter().filter(|standing| !standing.is_weak()).collect();
    let opponents: Vec<Side<'_>> = strong
        .iter()
        .map(|standing| Side::from(*standing))
        .filter(|other| side.contradicts(other, rules))
        .collect();
    let inferred = new.provenance == Provenance::ModelDerived;
    let equals: Vec<Side<'_>> = live
        .iter()
        .filter(|standing| inferred || !standing.is_weak())
        .map(Side::from)
        .filter(|other| side.repeats(other, rules))
        .collect();
    let known = |opponent: &Side<'_>| {
        let times = side.common(opponent, rules);
        equals.iter().any(|same| same.contradicts(opponent, rules) && same.covers(times, rules))
    };
    match equals.first() {
        // Saying again what is contested already opens no new conflict.
        Some(same) if opponents.iter().all(known) => {
            Relation::Corroborates(same.id.expect("a standing claim has an id"))
        }
        _ if !opponents.is_empty() => {
            Relation::Conflict(opponents.iter().filter_map(|opponent| opponent.id).collect())
        }
        _ if beyond || strong.iter().any(|standing| standing.claim().value != new.value) => {
            let set = new.cardinality == Cardinality::SetValued;
            if set { Relation::Free } else { Relation::Succession }
        }
        _ => Relation::Free,
    }
}
