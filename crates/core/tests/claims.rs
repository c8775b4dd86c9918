//! Properties of what is believed, over random histories of one line.
//!
//! `MNEMON_PROPERTY_CASES=100000 cargo test -p mnemon-core --test claims` for the long run.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use mnemon_core::Scope;
use mnemon_core::claims::adjudicate::{Fresh, assertion, re_entry};
use mnemon_core::claims::change::Change;
use mnemon_core::claims::fold::{Recorded, fold, live};
use mnemon_core::claims::interval::ValidTime;
use mnemon_core::claims::replay::Replay;
use mnemon_core::claims::resolve::{
    escalate, is_contested, reconcile, reinstate, retract, verdict,
};
use mnemon_core::claims::{
    AdjudicationResponse, Belief, BeliefStatus, Cardinality, Claim, ClaimId, Criticality,
    Disposition, External, HandleId, Line, Moment, NewClaim, Provenance, Rules, Verdict,
};
use mnemon_core::scope::Facet;
use proptest::prelude::*;
use uuid::Uuid;

/// A few thousand cases in CI, more on request.
fn config() -> ProptestConfig {
    let cases = std::env::var("MNEMON_PROPERTY_CASES").ok();
    let cases: u32 = cases.map_or(2_000, |text| text.parse().expect("a number of cases"));
    // Assumptions may fail as often in a long run as in a short one.
    let max_global_rejects = cases.saturating_mul(4);
    ProptestConfig {
        cases,
        max_global_rejects,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// One thing that happens to the line.
#[derive(Clone, Debug)]
enum Happens {
    Said(Said),
    Repeated(usize),
    Retracted(usize),
    Reinstated(usize),
    Judged(usize, Verdict, bool),
    Reconciled,
    Escalated,
}

#[derive(Clone, Debug)]
struct Said {
    value: u8,
    start: Option<i64>,
    length: Option<i64>,
    trusted: bool,
    cardinality: Cardinality,
    model: bool,
    critical: bool,
    excludes: Option<usize>,
    parent: Option<usize>,
}

impl Said {
    fn claim(&self, before: &[Claim]) -> NewClaim {
        let named = |place: Option<usize>| {
            let found = place.and_then(|place| before.get(place % before.len().max(1)));
            found.map(|claim| claim.id).into_iter().collect::<Vec<ClaimId>>()
        };
        let end = self.start.zip(self.length).map(|(start, length)| at(start + length));
        NewClaim {
            cardinality: self.cardinality,
            provenance: if self.model {
                Provenance::ModelDerived
            } else {
                Provenance::External(External::UserAsserted)
            },
            valid_time: ValidTime {
                start: self.start.map(at),
                end,
                valid_time_confidence: if self.trusted { 1.0 } else { 0.3 },
                ..ValidTime::default()
            },
            criticality: if self.critical { Criticality::Critical } else { Criticality::Low },
            excludes: named(self.excludes),
            derived_from: named(self.parent),
            ..NewClaim::new("s", "p", self.value)
        }
    }
}

fn cardinality() -> impl Strategy<Value = Cardinality> {
    prop_oneof![
        5 => Just(Cardinality::Functional),
        1 => Just(Cardinality::SetValued),
        1 => Just(Cardinality::Unknown),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let rarely = || proptest::option::weighted(0.1, 0_usize..8);
    let window = (proptest::option::of(0_i64..40), proptest::option::of(1_i64..20), any::<bool>());
    (0_u8..3, window, cardinality(), 0_u8..8, any::<bool>(), rarely(), rarely()).prop_map(
        |(value, (start, length, trusted), cardinality, model, critical, excludes, parent)| Said {
            value,
            start,
            length,
            trusted,
            cardinality,
            model: model == 0,
            critical,
            excludes,
            parent,
        },
    )
}

fn happens() -> impl Strategy<Value = Happens> {
    let verdict = prop_oneof![Just(Verdict::Affirm), Just(Verdict::Deny), Just(Verdict::Unknown)];
    prop_oneof![
        8 => said().prop_map(Happens::Said),
        1 => (0_usize..8).prop_map(Happens::Repeated),
        1 => (0_usize..8).prop_map(Happens::Retracted),
        1 => (0_usize..8).prop_map(Happens::Reinstated),
        2 => (0_usize..8, verdict, any::<bool>()).prop_map(|(n, v, m)| Happens::Judged(n, v, m)),
        1 => Just(Happens::Reconciled),
        1 => Just(Happens::Escalated),
    ]
}

fn history() -> impl Strategy<Value = (Vec<Happens>, bool)> {
    (proptest::collection::vec(happens(), 0..14), any::<bool>())
}

/// An agent with one line, decided by core alone.
struct World {
    replay: Replay,
    rules: Rules,
    line: Line,
    clock: i64,
    ids: u128,
    /// Every claim as it stands: what a store keeps.
    kept: Vec<Recorded>,
    changes: Vec<Change>,
}

impl World {
    fn new(oracle: bool) -> Self {
        Self {
            replay: Replay::default(),
            rules: Rules { oracle, ..Rules::default() },
            line: Line::parse("s", "p").unwrap(),
            clock: 100,
            ids: 0,
            kept: Vec::new(),
            changes: Vec::new(),
        }
    }

    fn of(history: &[Happens], oracle: bool) -> Self {
        let mut world = Self::new(oracle);
        for happens in history {
            world.happen(happens);
        }
        world
    }

    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    fn pick(&self, place: usize) -> Option<Recorded> {
        let claims = self.replay.claims();
        let claim = claims.get(place % claims.len().max(1))?;
        self.replay.standing(claim.id, None)
    }

    fn happen(&mut self, happens: &Happens) {
        self.clock += 1;
        let (now, rules) = (at(self.clock), self.rules);
        let scope = Scope::tenant("t").agent("a");
        let scope = &scope.admit(Facet::Claims).unwrap();
        let state = self.replay.state(&self.line);
        let handles: Vec<HandleId> = (0..4).map(|_| HandleId(self.id())).collect();
        let change = match happens {
            Happens::Said(said) => {
                let new = said.claim(self.replay.claims());
                let fresh = Fresh { claim: ClaimId(self.id()), handle: handles[0] };
                let named = self.replay.claims().to_vec();
                let seen = Replay::seen(&state.claims, &named, now);
                assertion(scope, &new, fresh, seen, &rules).ok().map(|decided| decided.change)
            }
            Happens::Repeated(place) => self.pick(*place).map(|repeated| {
                let value = repeated.claim.value.clone();
                let new = NewClaim::new("s", "p", value);
                re_entry(&new, &repeated, 0, now, &rules).unwrap().change
            }),
            Happens::Retracted(place) => {
                self.pick(*place).map(|target| retract(&state, &target, "r", now, &rules))
            }
            Happens::Reinstated(place) => {
                self.pick(*place).map(|target| reinstate(&target, "r", now))
            }
            Happens::Judged(place, answer, model) => {
                let question = state.open.get(place % state.open.len().max(1));
                question.and_then(|question| {
                    let mut response = AdjudicationResponse::new(question.handle_id, *answer);
                    if *model {
                        response.evidence_provenance = Provenance::ModelDerived;
                    }
                    verdict(&state, question, &response, now, &rules).ok()
                })
            }
            Happens::Reconciled => Some(reconcile(scope, &state, &handles, now, &rules)),
            Happens::Escalated => escalate(scope, &state, &handles, now, &rules).ok(),
        };
        let Some(change) = change.filter(|change| !change.is_empty()) else { return };
        for touched in &change.standing {
            match self.kept.iter_mut().find(|kept| kept.claim.id == touched.claim.id) {
                Some(kept) => kept.clone_from(touched),
                None => self.kept.push(touched.clone()),
            }
        }
        self.replay.apply(&change);
        self.changes.push(change);
    }

    fn belief(&self, valid_at: i64) -> Belief {
        fold(&self.replay.line(&self.line, None), moment(valid_at), &self.rules)
    }

    /// The beliefs at these times, as known then; the line is replayed once.
    fn beliefs(
        &self,
        as_of: Option<DateTime<Utc>>,
        times: impl Iterator<Item = i64>,
    ) -> Vec<Belief> {
        let line = self.replay.line(&self.line, as_of);
        times.map(|valid_at| fold(&line, moment(valid_at), &self.rules)).collect()
    }
}

fn moment(valid_at: i64) -> Moment {
    Moment { as_of: None, valid_at: at(valid_at), seen_at: at(valid_at) }
}

/// Valid times at which anything may change.
fn times() -> impl Iterator<Item = i64> {
    (-1..62).step_by(1)
}

proptest! {
    #![proptest_config(config())]

    /// What stores keep of every claim is what its whole history amounts to.
    #[test]
    fn kept_standings_equal_the_fold_of_the_ledger((history, oracle) in history()) {
        let world = World::of(&history, oracle);

        for kept in &world.kept {
            let folded = world.replay.standing(kept.claim.id, None);
            prop_assert_eq!(folded.as_ref(), Some(kept));
        }
        prop_assert_eq!(world.kept.len(), world.replay.claims().len());
    }

    /// Canonical at read: the order in which claims come from a store does not matter.
    #[test]
    fn the_order_of_arrival_does_not_change_a_belief((history, oracle) in history(), seed in any::<u64>()) {
        let world = World::of(&history, oracle);
        let line = world.replay.line(&world.line, None);
        let mut shuffled = line.clone();
        let mut state = seed;
        for i in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(i, usize::try_from(state >> 33).unwrap() % (i + 1));
        }

        for valid_at in times().step_by(7) {
            let moment = moment(valid_at);
            prop_assert_eq!(fold(&shuffled, moment, &world.rules), fold(&line, moment, &world.rules));
        }
    }

    /// Later writes change nothing of what was known then.
    #[test]
    fn what_was_known_then_stays_known((history, oracle) in history(), cut in 0_usize..14) {
        let cut = cut.min(history.len());
        let before = World::of(&history[..cut], oracle);
        let after = World::of(&history, oracle);
        let then = at(before.clock);

        let times = || times().step_by(5);
        prop_assert_eq!(after.beliefs(Some(then), times()), before.beliefs(None, times()));
    }

    /// The same history gives the same belief, however often it is read.
    #[test]
    fn a_fixed_history_gives_one_belief((history, oracle) in history()) {
        let (one, two) = (World::of(&history, oracle), World::of(&history, oracle));

        prop_assert_eq!(&one.changes, &two.changes);
        prop_assert_eq!(one.belief(20), two.belief(20));
    }

    /// Of two values about one moment neither is picked, unless a set holds both.
    #[test]
    fn two_values_about_one_time_are_never_resolved((history, oracle) in history(), valid_at in 0_i64..62) {
        let world = World::of(&history, oracle);
        let line = world.replay.line(&world.line, None);
        let threshold = world.rules.valid_time_confidence_threshold;
        let holding: Vec<_> = live(&line, &world.rules)
            .into_iter()
            .filter(|s| !s.window.is_trusted(threshold) || s.window.contains(at(valid_at)))
            .collect();
        let strong: Vec<_> = holding.iter().filter(|s| !s.is_weak()).collect();
        let counted = if strong.is_empty() { holding.iter().collect() } else { strong };
        let values: BTreeSet<String> =
            counted.iter().map(|s| s.claim().value.to_string()).collect();

        let belief = world.belief(valid_at);

        prop_assert_eq!(belief.primary.is_some(), values.len() == 1);
        prop_assert_eq!(belief.status == BeliefStatus::NoBelief, values.is_empty());
        let functional = counted.iter().any(|s| s.claim().cardinality != Cardinality::SetValued);
        if values.len() > 1 && functional {
            prop_assert_eq!(belief.status, BeliefStatus::Contested);
        }
    }

    /// A claim that is committed cheaply contests nothing that was resolved before (W3, W9).
    #[test]
    fn a_cheap_commit_opens_no_conflict((history, oracle) in history(), last in said()) {
        let mut world = World::of(&history, oracle);
        let before = world.beliefs(None, times());
        let changes = world.changes.len();

        world.happen(&Happens::Said(last));

        let cheap = world.changes.get(changes).is_some_and(|change| {
            matches!(
                change.entries[0].disposition,
                Disposition::CommittedCheap | Disposition::CommittedInferred
            )
        });
        if cheap {
            let after = world.beliefs(None, times());
            for ((time, before), after) in times().zip(before).zip(after) {
                let outside = before.primary.iter().chain(&before.alternatives).any(|b| b.provenance != Provenance::ModelDerived);
                let contested = after.status == BeliefStatus::Contested;
                // Inferences among themselves may differ where nothing else is known.
                let all_inferred = !outside && world.changes[changes].entries[0].disposition == Disposition::CommittedInferred;
                prop_assert!(!contested || before.status == BeliefStatus::Contested || all_inferred, "at {time}: {before:?}");
            }
        }
    }

    /// Reconciling loses no value: whatever was a candidate still is one at some time (W1).
    #[test]
    fn reconciling_loses_no_value((history, oracle) in history()) {
        let mut world = World::of(&history, oracle);
        let values = |world: &World| -> BTreeSet<String> {
            let line = world.replay.line(&world.line, None);
            live(&line, &world.rules).iter().map(|s| s.claim().value.to_string()).collect()
        };
        let before = values(&world);

        world.happen(&Happens::Reconciled);

        prop_assert_eq!(values(&world), before);
    }

    /// Taking a claim back and up again restores what it contributed.
    #[test]
    fn reinstating_undoes_retracting((history, oracle) in history(), which in 0_usize..14, valid_at in 0_i64..62) {
        let mut world = World::of(&history, oracle);
        let Some(target) = world.pick(which) else { return Ok(()) };
        let counted = target.may_count() && target.bound.is_none();
        let weak = target.disposition == Disposition::PendingLowConfidence;
        prop_assume!(counted && !weak);
        let before = world.belief(valid_at);

        world.happen(&Happens::Retracted(which));
        world.happen(&Happens::Reinstated(which));

        let after = world.belief(valid_at);
        prop_assert_eq!(after.status, before.status);
        let values = |belief: &Belief| -> BTreeSet<String> {
            belief.primary.iter().chain(&belief.alternatives).map(|b| b.value.to_string()).collect()
        };
        prop_assert_eq!(values(&after), values(&before));
    }

    /// Affirming leaves the challenger uncontested; denying leaves it out (W12).
    #[test]
    fn a_verdict_decides((history, _) in history(), affirm in any::<bool>()) {
        let mut world = World::of(&history, true);
        let Some(question) = world.replay.open().first().map(|open| (*open).clone()) else { return Ok(()) };
        let answer = if affirm { Verdict::Affirm } else { Verdict::Deny };
        let changes = world.changes.len();

        world.happen(&Happens::Judged(0, answer, false));

        prop_assert_eq!(world.changes.len(), changes + 1);
        let challenger = world.replay.standing(question.challenger, None).unwrap();
        if affirm {
            prop_assert_eq!(challenger.disposition, Disposition::CommittedCheap);
            let line = world.replay.line(&world.line, None);
            let contested = line.iter().filter(|r| r.claim.id != question.challenger).any(|other| {
                is_contested(&[other.clone(), challenger.clone()], &world.rules)
            });
            prop_assert!(!contested, "nothing contradicts the winner any more");
        } else {
            prop_assert_eq!(challenger.disposition, Disposition::Rejected);
        }
        let closed = world.replay.question(question.handle_id).unwrap();
        prop_assert!(closed.status != mnemon_core::claims::PendingStatus::Queued);
    }
}
