//! What is believed: a pure fold over a line, at a point of both axes of time.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::adjudicate::Rules;
use super::interval::ValidTime;
use super::model::{Cardinality, Claim, ClaimId, Criticality, Disposition, Provenance};

/// A claim with what the ledger says of it, as known at the time asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Recorded {
    /// The claim.
    pub claim: Claim,
    /// Its latest disposition.
    pub disposition: Disposition,
    /// Ends of its window set later, not reopened.
    pub bounds: Vec<DateTime<Utc>>,
}

/// A claim that counts, with the window it holds for.
#[derive(Clone, PartialEq, Debug)]
pub struct Standing<'a> {
    /// The claim.
    pub claim: &'a Claim,
    /// Its latest disposition.
    pub disposition: Disposition,
    /// `[start, min(end, every bound))`.
    pub window: ValidTime,
}

/// The claims of a line that count, in canonical order: by start where it is trusted, else by
/// transaction time; then transaction time; then id. Arrival order does not matter.
pub fn live<'a>(line: &'a [Recorded], rules: Rules) -> Vec<Standing<'a>> {
    let threshold = rules.valid_time_confidence_threshold;
    let mut standing: Vec<Standing<'a>> = line
        .iter()
        .filter(|recorded| !recorded.disposition.is_out())
        .map(|recorded| Standing {
            claim: &recorded.claim,
            disposition: recorded.disposition,
            window: effective(recorded),
        })
        // Without a trusted window a superseded or bounded claim is out altogether.
        .filter(|standing| {
            let ended = standing.disposition == Disposition::Superseded
                || standing.window.end != standing.claim.valid_time.end;
            !ended || standing.window.is_trusted(threshold)
        })
        .collect();
    standing.sort_by_key(|standing| {
        let claim = standing.claim;
        let start = standing.window.start.filter(|_| standing.window.is_trusted(threshold));
        (start.unwrap_or(claim.recorded_at), claim.recorded_at, claim.id)
    });
    standing
}

fn effective(recorded: &Recorded) -> ValidTime {
    let mut window = recorded.claim.valid_time;
    window.end = recorded.bounds.iter().copied().chain(window.end).min();
    window
}

/// How a line stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum BeliefStatus {
    /// One value (or, set-valued, several side by side).
    Resolved,
    /// Several values about the same time; none is picked.
    Contested,
    /// One value, without any date.
    TimingUncertain,
    /// Nothing is believed then.
    NoBelief,
}

/// A claim as believed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Believed {
    /// The claim.
    pub claim: ClaimId,
    /// What it says.
    pub value: Value,
    /// Where it comes from.
    pub provenance: Provenance,
    /// When it holds, later bounds included.
    pub valid_time: ValidTime,
    /// How sure the source was.
    pub value_confidence: f32,
    /// When it was written.
    pub recorded_at: DateTime<Utc>,
    /// Other live claims that say the same.
    pub corroboration_count: u32,
    /// When it was last said.
    pub last_refreshed_at: DateTime<Utc>,
}

/// What is believed about a line.
#[doc(alias = "BeliefProjection")]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Belief {
    /// How the line stands.
    pub status: BeliefStatus,
    /// The value; empty while contested.
    pub primary: Option<Believed>,
    /// While contested all candidates; else what stands beside or below.
    pub alternatives: Vec<Believed>,
    /// The greatest of the live claims.
    pub criticality: Option<Criticality>,
    /// The transaction time this was read at: asking for it again gives the same.
    pub as_of: Option<DateTime<Utc>>,
    /// The valid time this was read at.
    pub valid_at: DateTime<Utc>,
}

/// Folds a line, as known at `as_of` (the caller loads no later rows), at `valid_at`.
pub fn fold(
    line: &[Recorded],
    as_of: Option<DateTime<Utc>>,
    valid_at: DateTime<Utc>,
    rules: Rules,
) -> Belief {
    let threshold = rules.valid_time_confidence_threshold;
    let here: Vec<Standing<'_>> = live(line, rules)
        .into_iter()
        // An untrusted window decides nothing: such a claim holds whenever asked.
        .filter(|standing| {
            !standing.window.is_trusted(threshold) || standing.window.contains(valid_at)
        })
        .collect();
    let (inferred, outside): (Vec<_>, Vec<_>) = here
        .iter()
        .partition::<Vec<&Standing<'_>>, _>(|s| s.claim.provenance == Provenance::ModelDerived);
    // Inferences stand below; alone, they are all there is.
    let (candidates, below) =
        if outside.is_empty() { (inferred, Vec::new()) } else { (outside, inferred) };
    let values = by_value(&candidates);
    let set_valued = candidates.iter().all(|s| s.claim.cardinality == Cardinality::SetValued);
    let mut belief = Belief {
        status: BeliefStatus::NoBelief,
        primary: None,
        alternatives: Vec::new(),
        criticality: here.iter().map(|standing| standing.claim.criticality).max(),
        as_of,
        valid_at,
    };
    match values.as_slice() {
        [] => {}
        [only] => {
            belief.status = status_of_one(only);
            belief.primary = Some(believed(only));
        }
        many if set_valued => {
            belief.status = BeliefStatus::Resolved;
            belief.alternatives = many.iter().map(|value| believed(value)).collect();
        }
        many => {
            belief.status = BeliefStatus::Contested;
            belief.alternatives = many.iter().map(|value| believed(value)).collect();
        }
    }
    belief.alternatives.extend(by_value(&below).iter().map(|value| believed(value)));
    belief
}

fn status_of_one(claims: &[&Standing<'_>]) -> BeliefStatus {
    let dated = claims.iter().any(|s| s.window.start.is_some() || s.window.end.is_some());
    if dated { BeliefStatus::Resolved } else { BeliefStatus::TimingUncertain }
}

/// Groups claims that say the same, in canonical order of their first.
fn by_value<'s, 'a>(standing: &[&'s Standing<'a>]) -> Vec<Vec<&'s Standing<'a>>> {
    let mut groups: Vec<Vec<&'s Standing<'a>>> = Vec::new();
    for &claim in standing {
        match groups.iter_mut().find(|group| group[0].claim.value == claim.claim.value) {
            Some(group) => group.push(claim),
            None => groups.push(vec![claim]),
        }
    }
    groups
}

fn believed(claims: &[&Standing<'_>]) -> Believed {
    let first = claims[0];
    Believed {
        claim: first.claim.id,
        value: first.claim.value.clone(),
        provenance: first.claim.provenance,
        valid_time: first.window,
        value_confidence: first.claim.value_confidence,
        recorded_at: first.claim.recorded_at,
        corroboration_count: u32::try_from(claims.len() - 1).unwrap_or(u32::MAX),
        last_refreshed_at: claims
            .iter()
            .map(|standing| standing.claim.recorded_at)
            .max()
            .expect("a group has a claim"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::model::{External, Line};

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
                recorded_at: at,
            },
            disposition: Disposition::CommittedCheap,
            bounds: Vec::new(),
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        super::super::interval::parse_date("at", text).unwrap().0
    }

    fn belief(line: &[Recorded], valid_at: &str) -> Belief {
        fold(line, None, at(valid_at), Rules::default())
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
        assert_eq!(belief.primary.unwrap().corroboration_count, 1);
    }

    #[test]
    fn a_superseded_window_still_answers_for_its_time() {
        let mut old = recorded(1, "ada", Some("2019"), None);
        old.disposition = Disposition::Superseded;
        old.bounds = vec![at("2021")];
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
}
