//! Cases for the invariants and for the defects of the system before that the others do not show.

use std::sync::Arc;

use chrono::TimeDelta;
use mnemon_core::claims::{
    AsOf, BeliefStatus, Cardinality, Confidence, Criticality, CurrencyState, Disposition, External,
    IngestClaimRequest, Line, Marker, NewClaim, Provenance, Rules, ValidTime,
};
use mnemon_core::{RequestId, Store};
use serde_json::json;

use super::{believed, ceo, dated, planner, say, valid_at};
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme};

/// W9: a new claim is compared with every live one, not with the first.
pub(crate) async fn a_claim_is_compared_with_every_live_one(ctx: &Ctx) {
    let ada = say(ctx, dated("ada", "2019", Some("2020"))).await;
    let bob = say(ctx, dated("bob", "2020", None)).await;

    let cat = say(ctx, dated("cat", "2019-06", Some("2021"))).await;

    assert_eq!(cat.disposition, Disposition::Contested);
    assert_eq!(cat.contested_with, [ada.id, bob.id]);
    let again = say(ctx, dated("ada", "2021", None)).await;
    assert_eq!(again.contested_with, [bob.id], "said before, but of another time");
}

/// W6: cardinality decides; an edge may say otherwise.
pub(crate) async fn members_of_a_set_may_exclude_each_other(ctx: &Ctx) {
    let of_set = |value: &str| NewClaim { cardinality: Cardinality::SetValued, ..ceo(value) };
    let red = say(ctx, of_set("red")).await;
    say(ctx, of_set("blue")).await;
    assert_eq!(believed(ctx, AsOf::default()).await.status, BeliefStatus::Resolved);

    let green = say(ctx, NewClaim { excludes: vec![red.id], ..of_set("green") }).await;

    assert_eq!(green.contested_with, [red.id]);
    let belief = believed(ctx, AsOf::default()).await;
    assert_eq!((belief.status, belief.alternatives.len()), (BeliefStatus::Contested, 3));
    assert_eq!(ctx.rows("claim_edges").await, 1);
}

pub(crate) async fn an_unknown_cardinality_is_decided_like_a_functional_one(ctx: &Ctx) {
    let unknown = |value: &str| NewClaim { cardinality: Cardinality::Unknown, ..ceo(value) };
    say(ctx, unknown("ada")).await;

    assert_eq!(say(ctx, unknown("bob")).await.disposition, Disposition::Contested);
}

/// W11: a start to come is fine; it is believed when its window opens.
pub(crate) async fn what_begins_later_is_believed_when_it_begins(ctx: &Ctx) {
    let next_week = ctx.now().await + TimeDelta::days(7);
    let window =
        ValidTime { start: Some(next_week), valid_time_confidence: 1.0, ..ValidTime::default() };
    let ada = say(ctx, NewClaim { valid_time: window, ..ceo("ada") }).await;

    assert_eq!(ada.disposition, Disposition::CommittedCheap);
    assert_eq!(believed(ctx, AsOf::default()).await.status, BeliefStatus::NoBelief);
    ctx.move_clock(TimeDelta::days(8)).await;
    assert_eq!(believed(ctx, AsOf::default()).await.primary.expect("it began").claim, ada.id);
}

/// I11, W7: a belief ages and is refreshed by being said again; it never disappears for its age.
pub(crate) async fn a_belief_ages_until_it_is_said_again(ctx: &Ctx) {
    say(ctx, ceo("ada")).await;
    let state = async || {
        let belief = believed(ctx, AsOf::default()).await;
        let primary = belief.primary.expect("it never disappears");
        (primary.currency_signal.state, belief.staleness.is_stale)
    };
    assert_eq!(state().await, (CurrencyState::Fresh, false));
    ctx.move_clock(TimeDelta::days(31)).await;
    assert_eq!(state().await, (CurrencyState::AgingUnconfirmed, false));
    ctx.move_clock(TimeDelta::days(60)).await;
    assert_eq!(state().await, (CurrencyState::Decayed, true));

    say(ctx, ceo("ada")).await;

    assert_eq!(state().await, (CurrencyState::Fresh, false));
    let primary = believed(ctx, AsOf::default()).await.primary.expect("one value");
    assert!((primary.currency_signal.strength - 1.0).abs() < 0.01);
}

pub(crate) async fn every_knob_of_currency_is_read(ctx: &Ctx) {
    say(ctx, ceo("ada")).await;
    ctx.move_clock(TimeDelta::days(10)).await;
    let signal = async |rules: Rules| {
        ctx.claims().configure(rules);
        let belief = believed(ctx, AsOf::default()).await;
        belief.primary.expect("one value").currency_signal
    };
    let day = std::time::Duration::from_hours(24);
    let plain = signal(Rules::default()).await;
    let aging = signal(Rules { aging_after: 5 * day, ..Rules::default() }).await;
    let decayed =
        signal(Rules { aging_after: 5 * day, decayed_after: 9 * day, ..Rules::default() }).await;
    let faster = signal(Rules { currency_decay_rate_per_day: 0.5, ..Rules::default() }).await;
    let boosted =
        signal(Rules { corroboration_count_for_currency_boost: 0, ..Rules::default() }).await;

    assert_eq!(plain.state, CurrencyState::Fresh);
    assert_eq!(aging.state, CurrencyState::AgingUnconfirmed);
    assert_eq!(decayed.state, CurrencyState::Decayed);
    assert!(faster.strength < plain.strength && plain.strength < boosted.strength);
}

pub(crate) async fn both_caps_of_derivation_are_read(ctx: &Ctx) {
    let root = say(ctx, NewClaim::new("x", "root", 1)).await.id;
    let derived = |value: &str| NewClaim { derived_from: vec![root], ..ceo(value) };
    say(ctx, ceo("ada")).await;
    ctx.claims().configure(Rules {
        derivation_depth_cap_overturn: 0,
        derivation_depth_cap_boost: 0,
        ..Rules::default()
    });

    let deep = say(ctx, derived("bob")).await;
    let echo = say(ctx, derived("ada")).await;

    assert_eq!(deep.disposition, Disposition::PendingLowConfidence);
    assert_eq!(echo.disposition, Disposition::CommittedCheap);
    let belief = believed(ctx, AsOf::default()).await;
    let primary = belief.primary.expect("what is derived too deeply contests nothing");
    assert_eq!(primary.value, "ada");
    assert_eq!(primary.currency_signal.corroboration_count, 0, "nor refreshes it");
    assert_eq!(belief.markers, [Marker::LowDerivationAnchor]);
    assert_eq!(belief.alternatives.len(), 1, "it stands below");
}

/// I4: where a claim comes from is set once, and comes back.
pub(crate) async fn every_field_of_a_claim_comes_back(ctx: &Ctx) {
    for (n, provenance) in [
        Provenance::External(External::UserAsserted),
        Provenance::External(External::ExternalFirstHand),
        Provenance::ModelDerived,
    ]
    .into_iter()
    .enumerate()
    {
        let claim = NewClaim {
            provenance,
            criticality: Criticality::Critical,
            value_confidence: 0.25,
            valid_time: ValidTime {
                valid_time_confidence: 0.75,
                ..dated("x", "2020-03", Some("2040")).valid_time
            },
            ..NewClaim::new("acme", format!("p{n}"), json!({ "deep": [1, 2.5, "x", null] }))
        };
        let written = say(ctx, claim.clone()).await;
        let line = claim.line().expect("a line");

        let belief = ctx.claims().belief(&planner(), &line, AsOf::default()).await;
        let primary = belief.expect("is read").primary.expect("one value");

        assert_eq!((primary.provenance, primary.criticality), (provenance, claim.criticality));
        assert_eq!((&primary.value, primary.valid_time), (&claim.value, claim.valid_time));
        let confidence = Confidence { value_confidence: 0.25, valid_time_confidence: 0.75 };
        assert_eq!((primary.confidence, primary.claim), (confidence, written.id));
    }
}

/// W23: how sure a source is of a window is said once, or twice the same.
pub(crate) async fn a_request_that_says_two_confidences_is_refused(ctx: &Ctx) {
    let request = |window: f32, said: f32| IngestClaimRequest {
        subject: "acme".into(),
        predicate: "ceo".into(),
        value: json!("ada"),
        provenance: Provenance::External(External::UserAsserted),
        cardinality: Cardinality::Functional,
        valid_time: Some(ValidTime {
            valid_time_confidence: window,
            ..dated("x", "2020", None).valid_time
        }),
        confidence: Confidence { value_confidence: 1.0, valid_time_confidence: said },
        criticality: Criticality::Medium,
        derived_from: Vec::new(),
        request_id: None,
    };

    refused(NewClaim::try_from(request(0.9, 1.0)), "confidence.valid_time_confidence");

    let claim = NewClaim::try_from(request(0.9, 0.9)).expect("the same twice");
    assert_eq!(say(ctx, claim).await.disposition, Disposition::CommittedCheap);
    let belief = valid_at(ctx, "2021").await.primary.expect("one value");
    assert!((belief.confidence.valid_time_confidence - 0.9).abs() < f32::EPSILON);
}

/// W13: a repeated request answers the first outcome, its question included.
pub(crate) async fn a_repeated_request_asks_no_second_question(ctx: &Ctx) {
    ctx.claims().configure(Rules { oracle: true, ..Rules::default() });
    say(ctx, ceo("ada")).await;
    let bob = NewClaim { request_id: RequestId::parse("r").ok(), ..ceo("bob") };

    let first = say(ctx, bob.clone()).await;
    let again = say(ctx, bob).await;

    assert!(first.handle.is_some() && first.created && !again.created);
    assert_eq!((again.handle, again.disposition), (first.handle, first.disposition));
    assert_eq!(ctx.rows("claim_questions").await, 1);
}

/// W3, I9: of two claims at once that contradict each other, one at most is believed.
pub(crate) async fn conflicting_pairs_are_never_both_cheap(ctx: &Ctx) {
    const PAIRS: usize = 40;
    let stores: [Arc<dyn Store>; 2] = [ctx.store(), ctx.another().await];
    let writers: Vec<_> = (0..8_usize)
        .map(|writer| {
            let store = Arc::clone(&stores[writer % 2]);
            tokio::spawn(async move {
                let mut cheap = Vec::new();
                for pair in (writer / 2..PAIRS).step_by(4) {
                    let claim = NewClaim::new("pair", format!("{pair}"), writer % 2);
                    let done = store.claims().assert(&planner(), claim, None).await;
                    if done.expect("no deadlock").disposition == Disposition::CommittedCheap {
                        cheap.push(pair);
                    }
                }
                cheap
            })
        })
        .collect();
    let mut cheap = Vec::new();
    for writer in writers {
        cheap.extend(writer.await.expect("no panic"));
    }
    cheap.sort_unstable();

    assert_eq!(cheap, (0..PAIRS).collect::<Vec<_>>());
    let verdict = ctx.claims().verify_audit(&planner()).await.expect("is verified");
    assert_eq!((verdict.entries, verdict.broken), (ctx.rows("claims").await, None));
    assert_eq!(verdict.entries, 80, "none is lost");
    stores[1].close().await;
}

/// I10, W16: reading again at what was answered gives the same, whatever was written since.
pub(crate) async fn a_reading_can_be_repeated_exactly(ctx: &Ctx) {
    ctx.claims().configure(Rules { oracle: true, ..Rules::default() });
    say(ctx, dated("ada", "2019", None)).await;
    let bob = say(ctx, dated("bob", "2021", None)).await;
    let first = believed(ctx, AsOf::default()).await;
    let response = mnemon_core::claims::AdjudicationResponse::new(
        bob.handle.expect("an oracle is asked"),
        mnemon_core::claims::Verdict::Affirm,
    );
    ctx.claims().submit_adjudication(&planner(), response).await.expect("is answered");
    ctx.claims().retract(&planner(), bob.id, "no").await.expect("is retracted");
    ctx.move_clock(TimeDelta::days(400)).await;

    let again = AsOf { as_of: first.as_of, valid_at: Some(first.valid_at) };

    assert_eq!(believed(ctx, again).await, first);
    assert_ne!(believed(ctx, AsOf::default()).await.status, first.status);
}

/// W22: whoever is not the agent finds nothing to repeat, derive from, or answer.
pub(crate) async fn another_agents_claims_are_not_there(ctx: &Ctx) {
    let ada = say(ctx, ceo("ada")).await;
    let other = acme().agent("other");
    let claims = ctx.claims();
    let on = |derived_from, depends_on, excludes| NewClaim {
        derived_from,
        depends_on,
        excludes,
        ..ceo("bob")
    };
    for claim in [
        on(vec![ada.id], vec![], vec![]),
        on(vec![], vec![ada.id], vec![]),
        on(vec![], vec![], vec![ada.id]),
    ] {
        fails_as(claims.assert(&other, claim, None).await, "not_found");
    }
    let line = Line::parse("acme", "ceo").expect("a line");
    let belief = claims.belief(&other, &line, AsOf::default()).await.expect("is read");
    assert_eq!(belief.status, BeliefStatus::NoBelief);
    assert_eq!(ctx.rows("claims").await, 1);
}
