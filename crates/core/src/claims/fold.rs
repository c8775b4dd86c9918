//! What is believed: a pure fold over a line, at a point of both axes of time.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use super::belief::{Belief, BeliefStatus, Believed, Marker, Staleness};
use super::currency::{CurrencyState, currency};
use super::interval::ValidTime;
use super::model::{Cardinality, Claim, ClaimId, Disposition, Provenance};
use super::rules::Rules;

/// A claim with what the ledger says of it, as known at the time asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Recorded {
    /// The claim.
    pub claim: Claim,
    /// Its latest disposition.
    pub disposition: Disposition,
    /// The earliest end set later and not reopened.
    pub bound: Option<DateTime<Utc>>,
    /// How often it came back from this memory's own recall.
    pub re_entries: u32,
}

impl Recorded {
    /// `[start, min(end, bound))`.
    pub fn window(&self) -> ValidTime {
        let mut window = self.claim.valid_time;
        let bound = self.bound.filter(|bound| window.end.is_none_or(|end| *bound < end));
        if let Some(bound) = bound {
            window.end = Some(bound);
            // The bound is another claim's start, or a moment: not as coarse as the end was.
            window.end_granularity = None;
        }
        window
    }

    /// Whether something else ended it: without a trusted window it is out then.
    fn is_ended(&self) -> bool {
        self.disposition == Disposition::Superseded || self.bound.is_some()
    }

    /// Whether it may count at some valid time, if its window is trusted.
    pub fn may_count(&self) -> bool {
        let window = self.window();
        !self.disposition.is_out()
            && !window.is_empty()
            && (!self.is_ended() || window.start.is_some())
    }
}

/// A claim that counts, with the window it holds for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Standing<'a> {
    /// The claim with what the ledger says.
    pub recorded: &'a Recorded,
    /// `[start, min(end, bound))`.
    pub window: ValidTime,
}

impl<'a> Standing<'a> {
    /// The claim.
    pub fn claim(&self) -> &'a Claim {
        &self.recorded.claim
    }

    /// Its latest disposition.
    pub fn disposition(&self) -> Disposition {
        self.recorded.disposition
    }

    /// Whether it stands below the others: it contests and overturns nothing.
    pub fn is_weak(&self) -> bool {
        self.claim().provenance == Provenance::ModelDerived
            || self.disposition() == Disposition::PendingLowConfidence
    }
}

/// The claims of a line that count, in canonical order: by start where it is trusted, else by
/// transaction time; then transaction time; then id. Arrival order does not matter.
pub fn live<'a>(line: &'a [Recorded], rules: &Rules) -> Vec<Standing<'a>> {
    let threshold = rules.valid_time_confidence_threshold;
    let mut standing: Vec<Standing<'a>> = line
        .iter()
        .filter(|recorded| recorded.may_count())
        .map(|recorded| Standing { recorded, window: recorded.window() })
        .filter(|standing| !standing.recorded.is_ended() || standing.window.is_trusted(threshold))
        .collect();
    standing.sort_by_key(|standing| place(standing.claim(), rules));
    standing
}

/// A claim's place in canonical order.
pub fn place(claim: &Claim, rules: &Rules) -> (DateTime<Utc>, DateTime<Utc>, ClaimId) {
    let trusted = claim.valid_time.is_trusted(rules.valid_time_confidence_threshold);
    let start = claim.valid_time.start.filter(|_| trusted);
    (start.unwrap_or(claim.recorded_at), claim.recorded_at, claim.id)
}

/// When a line is read, on both axes, and from when its freshness is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// What was known then; `None`: the agent knows nothing yet.
    pub as_of: Option<DateTime<Utc>>,
    /// What was true then.
    pub valid_at: DateTime<Utc>,
    /// How fresh it looked then.
    pub seen_at: DateTime<Utc>,
}

/// Folds a line, as known at `as_of` (the caller loads no later rows), at `valid_at`.
pub fn fold(line: &[Recorded], moment: Moment, rules: &Rules) -> Belief {
    let threshold = rules.valid_time_confidence_threshold;
    let here: Vec<Standing<'_>> = live(line, rules)
        .into_iter()
        // An untrusted window decides nothing: such a claim holds whenever asked.
        .filter(|standing| {
            !standing.window.is_trusted(threshold) || standing.window.contains(moment.valid_at)
        })
        .collect();
    let (weak, strong): (Vec<_>, Vec<_>) = here.iter().partition(|standing| standing.is_weak());
    // What is weak stands below; alone, it is all there is.
    let (candidates, below) = if strong.is_empty() { (weak, Vec::new()) } else { (strong, weak) };
    let values = by_value(&candidates);
    let told = |claims: &Vec<&Standing<'_>>| believed(claims, moment, rules);
    let mut belief = Belief {
        status: BeliefStatus::NoBelief,
        primary: None,
        alternatives: Vec::new(),
        currency: None,
        criticality: here.iter().map(|standing| standing.claim().criticality).max(),
        staleness: Staleness::default(),
        markers: Vec::new(),
        as_of: moment.as_of,
        valid_at: moment.valid_at,
    };
    match values.as_slice() {
        [] => {}
        [only] => {
            belief.status = status_of_one(only);
            belief.primary = Some(told(only));
        }
        many => {
            let contested = is_contested(&candidates);
            belief.status =
                if contested { BeliefStatus::Contested } else { BeliefStatus::Resolved };
            belief.alternatives = many.iter().map(told).collect();
        }
    }
    belief.currency = belief
        .primary
        .iter()
        .chain(&belief.alternatives)
        .map(|believed| believed.currency_signal.state)
        .max();
    belief.staleness = staleness(belief.currency);
    belief.markers = markers(&candidates, &belief, rules);
    belief.alternatives.extend(by_value(&below).iter().map(told));
    belief
}

fn status_of_one(claims: &[&Standing<'_>]) -> BeliefStatus {
    let dated = claims.iter().any(|s| s.window.start.is_some() || s.window.end.is_some());
    if dated { BeliefStatus::Resolved } else { BeliefStatus::TimingUncertain }
}

/// Whether claims with several values, all about one moment, contradict each other: only the
/// members of a set stand side by side, unless one excludes another.
fn is_contested(candidates: &[&Standing<'_>]) -> bool {
    let claims = || candidates.iter().map(|standing| standing.claim());
    if claims().any(|claim| claim.cardinality != Cardinality::SetValued) {
        return true;
    }
    if claims().all(|claim| claim.excludes.is_empty()) {
        return false;
    }
    let values: HashMap<ClaimId, _> = claims().map(|claim| (claim.id, &claim.value)).collect();
    claims().any(|claim| {
        let beside =
            |other: &ClaimId| values.get(other).is_some_and(|value| **value != claim.value);
        claim.excludes.iter().any(beside)
    })
}

/// Groups claims that say the same, in canonical order of their first.
fn by_value<'s, 'a>(standing: &[&'s Standing<'a>]) -> Vec<Vec<&'s Standing<'a>>> {
    let mut groups: Vec<Vec<&'s Standing<'a>>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for &claim in standing {
        // serde_json's map is ordered by key: equal values have equal texts.
        let place = *places.entry(claim.claim().value.to_string()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(claim),
            None => groups.push(vec![claim]),
        }
    }
    groups
}

/// The first of the claims that say the same, refreshed by the others.
pub(super) fn believed(claims: &[&Standing<'_>], moment: Moment, rules: &Rules) -> Believed {
    let first = claims.first().expect("a group has a claim");
    let refreshing = claims
        .iter()
        .skip(1)
        .map(|standing| standing.claim())
        .filter(|claim| claim.derivation_depth <= rules.derivation_depth_cap_boost);
    let others = u32::try_from(refreshing.clone().count()).unwrap_or(u32::MAX);
    let last = refreshing
        .map(|claim| claim.recorded_at)
        .chain([first.claim().recorded_at])
        .max()
        .expect("the first itself");
    let claim = first.claim();
    Believed {
        claim: claim.id,
        value: claim.value.clone(),
        provenance: claim.provenance,
        valid_time: first.window,
        confidence: claim.confidence(),
        criticality: claim.criticality,
        disposition: first.disposition(),
        recorded_at: claim.recorded_at,
        currency_signal: currency(last, others, moment.seen_at, rules),
    }
}

fn staleness(currency: Option<CurrencyState>) -> Staleness {
    if currency != Some(CurrencyState::Decayed) {
        return Staleness::default();
    }
    Staleness { is_stale: true, reason: Some("it was not said again for long".to_owned()) }
}

fn markers(candidates: &[&Standing<'_>], belief: &Belief, rules: &Rules) -> Vec<Marker> {
    let mut markers = BTreeSet::new();
    if belief.status == BeliefStatus::Contested {
        markers.insert(Marker::Contested);
    }
    let set = belief.status == BeliefStatus::Resolved && belief.primary.is_none();
    if set && belief.currency > Some(CurrencyState::Fresh) {
        markers.insert(Marker::AgedSetMember);
    }
    for standing in candidates {
        match standing.disposition() {
            Disposition::QueuedForAdjudication => markers.insert(Marker::PendingConflict),
            Disposition::PendingReview => markers.insert(Marker::PendingReview),
            _ => false,
        };
        if standing.recorded.re_entries > 0 {
            markers.insert(Marker::RecallTainted);
        }
        if standing.claim().derivation_depth > rules.derivation_depth_cap_overturn {
            markers.insert(Marker::LowDerivationAnchor);
        }
    }
    markers.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::model::{Criticality, External, Line};

    fn recorded(n: u128, value: &str, from: Option<&str>, until: Option<&str>) -> Recorded {
        let at = DateTime::from_timestamp(1_000_000 + i64::try_from(n).unwrap(), 0).unwrap();
        Recorded {
            claim: Claim {
                id: ClaimId(uuid::Uuid::from_u128(n)),
                line: Line { subject: "acme".into(), predicate: "ceo".into() },
                value: value.into(),
                cardinality: Cardinality::Functional,
                provenance: Provenance::External(External::UserAsserted),
                valid_time: ValidTime::parse(from, until).unwrap(),
                value_confidence: 1.0,
                criticality: Criticality::Medium,
                derivation_depth: 0,
                excludes: Vec::new(),
                recorded_at: at,
            },
            disposition: Disposition::CommittedCheap,
            bound: None,
            re_entries: 0,
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        super::super::interval::parse_date("at", text).unwrap().0
    }

    fn belief(line: &[Recorded], valid_at: &str) -> Belief {
        let valid_at = at(valid_at);
        fold(line, Moment { as_of: None, valid_at, seen_at: valid_at }, &Rules::default())
    }

    #[test]
    fn a_lone_claim_does_not_hold_outside_its_window() {
        let line = [recorded(1, "ada", Some("2020"), Some("2021"))];

        assert_eq!(belief(&line, "2015").status, BeliefStatus::NoBelief);
        assert_eq!(belief(&line, "2020-06").status, BeliefStatus::Resolved);
        assert_eq!(belief(&line, "2021").status, BeliefStatus::NoBelief);
    }

    #[test]
    fn contested_shows_all_and_picks_none() {
        let line = [recorded(1, "ada", Some("2019"), None), recorded(2, "bob", Some("2020"), None)];

        let belief = belief(&line, "2021");

        assert_eq!(belief.status, BeliefStatus::Contested);
        assert_eq!(belief.primary, None);
        assert_eq!(belief.alternatives.len(), 2);
    }

    #[test]
    fn saying_the_same_again_is_corroboration_not_conflict() {
        let line = [recorded(1, "ada", None, None), recorded(2, "ada", None, None)];

        let belief = belief(&line, "2021");

        assert_eq!(belief.status, BeliefStatus::TimingUncertain);
        assert_eq!(belief.primary.unwrap().currency_signal.corroboration_count, 1);
    }

    #[test]
    fn a_superseded_window_still_answers_for_its_time() {
        let mut old = recorded(1, "ada", Some("2019"), None);
        old.disposition = Disposition::Superseded;
        old.bound = Some(at("2021"));
        let line = [old, recorded(2, "bob", Some("2021"), None)];

        assert_eq!(belief(&line, "2020").primary.unwrap().value, "ada");
        assert_eq!(belief(&line, "2022").primary.unwrap().value, "bob");
    }

    #[test]
    fn arrival_order_does_not_matter() {
        let mut line = vec![
            recorded(1, "ada", Some("2019"), Some("2020")),
            recorded(2, "bob", Some("2020"), None),
            recorded(3, "ada", None, None),
        ];
        let first = belief(&line, "2021");
        line.reverse();

        assert_eq!(first, belief(&line, "2021"));
    }

    #[test]
    fn a_closed_window_without_trust_is_out_altogether() {
        let mut old = recorded(1, "ada", Some("2019"), None);
        old.claim.valid_time.valid_time_confidence = 0.5;
        old.bound = Some(at("2021"));

        assert_eq!(belief(&[old], "2020").status, BeliefStatus::NoBelief);
    }

    #[test]
    fn members_of_a_set_stand_side_by_side_unless_one_excludes_another() {
        let mut line = vec![recorded(1, "red", None, None), recorded(2, "blue", None, None)];
        for recorded in &mut line {
            recorded.claim.cardinality = Cardinality::SetValued;
        }
        assert_eq!(belief(&line, "2021").status, BeliefStatus::Resolved);

        line[1].claim.excludes = vec![line[0].claim.id];

        assert_eq!(belief(&line, "2021").status, BeliefStatus::Contested);
    }

    #[test]
    fn markers_say_what_else_there_is() {
        let mut line = vec![recorded(1, "ada", None, None), recorded(2, "bob", None, None)];
        line[0].re_entries = 1;
        line[0].claim.derivation_depth = 3;
        line[1].disposition = Disposition::QueuedForAdjudication;

        let markers = belief(&line, "2021").markers;

        assert_eq!(
            markers,
            [
                Marker::Contested,
                Marker::PendingConflict,
                Marker::RecallTainted,
                Marker::LowDerivationAnchor
            ]
        );
    }
}
