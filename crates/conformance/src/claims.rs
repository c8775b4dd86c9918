//! Cases for claims: what is believed, what is contested, and the ledger that says why.

pub(crate) mod asking;
pub(crate) mod audit;
pub(crate) mod history;
pub(crate) mod oracle;
pub(crate) mod questions;
pub(crate) mod random;
pub(crate) mod resolving;
pub(crate) mod sound;
pub(crate) mod together;

use std::sync::Arc;

use chrono::TimeDelta;
use mnemon_core::claims::ledger::{GENESIS, LedgerKind};
use mnemon_core::claims::{
    AsOf, Asserted, AuditQuery, Belief, BeliefStatus, Cardinality, ClaimId, Disposition, Line,
    NewClaim, Provenance, ValidTime,
};
use mnemon_core::{Error, Page, RequestId, Scope, limits};
use serde_json::{Value, json};

use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme};

pub(crate) fn planner() -> Scope {
    acme().agent("planner")
}

pub(super) fn ceo(value: impl Into<Value>) -> NewClaim {
    NewClaim::new("acme", "ceo", value)
}

pub(super) fn dated(value: &str, from: &str, until: Option<&str>) -> NewClaim {
    let valid_time = ValidTime::parse(Some(from), until).expect("a window");
    NewClaim { valid_time, ..ceo(value) }
}

pub(super) async fn say(ctx: &Ctx, claim: NewClaim) -> Asserted {
    ctx.claims().assert(&planner(), claim, None).await.expect("a plain claim is written")
}

pub(super) async fn believed(ctx: &Ctx, when: AsOf) -> Belief {
    let line = Line::parse("acme", "ceo").expect("a line");
    ctx.claims().belief(&planner(), &line, when).await.expect("a belief is read")
}

pub(super) async fn valid_at(ctx: &Ctx, date: &str) -> Belief {
    let (at, _) = mnemon_core::claims::interval::parse_date("at", date).expect("a date");
    believed(ctx, AsOf { valid_at: Some(at), as_of: None }).await
}

pub(crate) async fn a_lone_claim_is_believed(ctx: &Ctx) {
    let none = believed(ctx, AsOf::default()).await;
    assert_eq!((none.status, none.primary, none.as_of), (BeliefStatus::NoBelief, None, None));

    let asserted = say(ctx, dated("ada", "2020", Some("2021-06"))).await;

    assert!(asserted.created && asserted.disposition == Disposition::CommittedCheap);
    let belief = valid_at(ctx, "2020-05").await;
    let primary = belief.primary.expect("it is believed");
    assert_eq!(belief.status, BeliefStatus::Resolved);
    assert_eq!((primary.claim, primary.value), (asserted.id, json!("ada")));
    assert_eq!(primary.valid_time, dated("ada", "2020", Some("2021-06")).valid_time);
    assert_eq!(primary.recorded_at, asserted.recorded_at);
    assert_eq!(belief.as_of, Some(asserted.recorded_at));
    assert_eq!(valid_at(ctx, "2021-06").await.status, BeliefStatus::NoBelief, "its end is out");
}

pub(crate) async fn two_values_about_the_same_time_are_contested(ctx: &Ctx) {
    let ada = say(ctx, ceo("ada")).await;
    let bob = say(ctx, ceo("bob")).await;
    let cat = say(ctx, ceo("cat")).await;

    assert_eq!(bob.disposition, Disposition::Contested);
    assert_eq!(bob.contested_with, [ada.id]);
    assert_eq!(cat.contested_with, [ada.id, bob.id], "every incumbent is named");
    let belief = believed(ctx, AsOf::default()).await;
    assert_eq!((belief.status, &belief.primary), (BeliefStatus::Contested, &None));
    assert_eq!(belief.alternatives.len(), 3);
}

pub(crate) async fn saying_the_same_again_corroborates(ctx: &Ctx) {
    let first = say(ctx, ceo(json!({ "name": "ada", "since": 2020 }))).await;
    let again = say(ctx, ceo(json!({ "since": 2020, "name": "ada" }))).await;

    assert_eq!(again.disposition, Disposition::CommittedCheap);
    assert!(again.contested_with.is_empty() && again.id != first.id);
    let belief = believed(ctx, AsOf::default()).await;
    let primary = belief.primary.expect("one value");
    assert_eq!(belief.status, BeliefStatus::TimingUncertain, "no date was given");
    assert_eq!((primary.claim, primary.currency_signal.corroboration_count), (first.id, 1));
    assert_eq!(primary.currency_signal.last_refreshed_at, again.recorded_at);
}

pub(crate) async fn dated_windows_that_do_not_overlap_succeed_each_other(ctx: &Ctx) {
    say(ctx, dated("ada", "2019", Some("2020"))).await;
    let bob = say(ctx, dated("bob", "2020", None)).await;

    assert_eq!(bob.disposition, Disposition::CommittedCheap);
    let value = |belief: Belief| belief.primary.expect("one value").value;
    assert_eq!(value(valid_at(ctx, "2019-06").await), "ada");
    assert_eq!(value(valid_at(ctx, "2020").await), "bob");
    assert_eq!(valid_at(ctx, "2018").await.status, BeliefStatus::NoBelief);
    let cat = say(ctx, dated("cat", "2021", None)).await;
    assert_eq!(cat.disposition, Disposition::Contested, "an open window overlaps");
}

pub(crate) async fn an_inference_never_contests(ctx: &Ctx) {
    let guess = |value: &str| NewClaim { provenance: Provenance::ModelDerived, ..ceo(value) };
    let early = say(ctx, guess("eve")).await;
    let ada = say(ctx, ceo("ada")).await;
    let late = say(ctx, guess("bob")).await;

    assert_eq!(early.disposition, Disposition::CommittedInferred);
    assert_eq!(ada.disposition, Disposition::CommittedCheap);
    assert_eq!((late.disposition, late.contested_with), (Disposition::CommittedInferred, vec![]));
    let belief = believed(ctx, AsOf::default()).await;
    assert_eq!(belief.primary.expect("the outside claim").value, "ada");
    assert_eq!(belief.alternatives.len(), 2, "inferences stand below");
}

pub(crate) async fn a_set_has_many_values(ctx: &Ctx) {
    for value in ["ada", "bob"] {
        let claim = NewClaim { cardinality: Cardinality::SetValued, ..ceo(value) };
        assert_eq!(say(ctx, claim).await.disposition, Disposition::CommittedCheap);
    }

    let belief = believed(ctx, AsOf::default()).await;

    assert_eq!((belief.status, belief.alternatives.len()), (BeliefStatus::Resolved, 2));
}

pub(crate) async fn a_re_entry_writes_only_to_the_ledger(ctx: &Ctx) {
    let first = say(ctx, ceo("ada")).await;
    let again = NewClaim {
        provenance: Provenance::RecallReEntry,
        derived_from: vec![first.id],
        ..ceo("ada")
    };

    let re_entry = say(ctx, again).await;

    assert_eq!((re_entry.id, re_entry.created), (first.id, false));
    assert_eq!(re_entry.disposition, first.disposition);
    assert_eq!((ctx.rows("claims").await, ctx.rows("claim_ledger").await), (1, 2));
    let ledger = ctx
        .claims()
        .query_audit(&planner(), &AuditQuery::oldest_first(), &Page::default())
        .await
        .expect("is read")
        .items;
    assert_eq!(ledger[1].kind, LedgerKind::RecallReEntryDetected);
    assert_eq!(ledger[1].claim, first.id);
    let primary = believed(ctx, AsOf::default()).await.primary.expect("one value");
    assert_eq!(primary.currency_signal.corroboration_count, 0, "its own echo corroborates nothing");
}

pub(crate) async fn a_bogus_reference_is_not_found(ctx: &Ctx) {
    let first = say(ctx, ceo("ada")).await;
    let re_entry = |from: ClaimId, claim: NewClaim| NewClaim {
        provenance: Provenance::RecallReEntry,
        derived_from: vec![from],
        ..claim
    };
    let nobody = ClaimId(uuid::Uuid::from_u128(7));
    let other_line = NewClaim::new("acme", "cto", "ada");
    let other_agent = acme().agent("other");

    let claims = ctx.claims();
    for claim in [
        NewClaim { derived_from: vec![nobody], ..ceo("bob") },
        re_entry(nobody, ceo("ada")),
        re_entry(first.id, ceo("bob")),
        re_entry(first.id, other_line),
    ] {
        fails_as(claims.assert(&planner(), claim, None).await, "not_found");
    }
    let theirs = NewClaim { derived_from: vec![first.id], ..ceo("bob") };
    fails_as(claims.assert(&other_agent, theirs, None).await, "not_found");
    assert_eq!((ctx.rows("claims").await, ctx.rows("claim_ledger").await), (1, 1));
}

pub(crate) async fn a_repeated_request_answers_the_first_outcome(ctx: &Ctx) {
    let named = |claim: NewClaim| NewClaim {
        request_id: Some(RequestId::parse("r1").expect("a name")),
        ..claim
    };
    say(ctx, ceo("ada")).await;
    let first = say(ctx, named(ceo("bob"))).await;
    say(ctx, ceo("cat")).await;

    let again = say(ctx, named(ceo("dan"))).await;

    assert_eq!(again, Asserted { created: false, ..first });
    assert_eq!((ctx.rows("claims").await, ctx.rows("claim_ledger").await), (3, 3));
    let other = ctx.claims().assert(&acme().agent("other"), named(ceo("eve")), None).await;
    assert!(other.expect("another agent's request").created);
}

pub(crate) async fn parents_make_depth_and_depth_decides_nothing(ctx: &Ctx) {
    let mut parent = say(ctx, NewClaim::new("x", "p0", 0)).await.id;
    for depth in 1..=3 {
        let claim = NewClaim {
            derived_from: vec![parent, parent],
            ..NewClaim::new("x", format!("p{depth}"), depth)
        };
        parent = say(ctx, claim).await.id;
    }
    say(ctx, ceo("ada")).await;

    let deep = say(ctx, NewClaim { derived_from: vec![parent], ..ceo("bob") }).await;

    assert_eq!(deep.disposition, Disposition::PendingLowConfidence);
    assert_eq!(ctx.rows("claim_edges").await, 4, "a parent named twice is one");
}

pub(crate) async fn the_ledger_is_gapless_and_chained(ctx: &Ctx) {
    for n in 0..7 {
        say(ctx, ceo(json!({ "n": n, "text": "\u{1f600} ' \\ \"", "x": 1.5 }))).await;
    }

    let (mut page, mut entries) = (Page::first(3), Vec::new());
    loop {
        let piece = ctx
            .claims()
            .query_audit(&planner(), &AuditQuery::oldest_first(), &page)
            .await
            .expect("a page is read");
        entries.extend(piece.items);
        let Some(next) = piece.next else { break };
        page.cursor = Some(next);
    }

    let mut previous = GENESIS;
    for (n, entry) in entries.iter().enumerate() {
        assert_eq!(entry.seq, i64::try_from(n + 1).expect("a small number"));
        assert!(entry.follows(&previous), "entry {}", entry.seq);
        assert_eq!(entry.payload.as_ref().expect("not erased")["value"]["n"], n);
        previous = entry.hash;
    }
    assert_eq!(entries.len(), 7);
    assert!(entries.windows(2).all(|pair| pair[0].recorded_at < pair[1].recorded_at));
}

pub(crate) async fn what_was_known_then_is_known_again(ctx: &Ctx) {
    say(ctx, ceo("ada")).await;
    let then = believed(ctx, AsOf::default()).await;
    say(ctx, ceo("bob")).await;
    let at = |as_of| AsOf { as_of, valid_at: Some(then.valid_at) };

    let again = believed(ctx, at(then.as_of)).await;
    let later = believed(ctx, at(Some(then.valid_at + TimeDelta::days(365)))).await;
    let before = believed(ctx, at(then.as_of.map(|at| at - TimeDelta::microseconds(1)))).await;

    assert_eq!(again, then);
    assert_eq!(later.status, BeliefStatus::Contested);
    assert!(later.as_of < Some(then.valid_at + TimeDelta::days(365)), "no later than known");
    assert_eq!(before.status, BeliefStatus::NoBelief);
}

pub(crate) async fn a_clock_that_goes_backwards_keeps_times_in_order(ctx: &Ctx) {
    let first = say(ctx, ceo("ada")).await;
    ctx.move_clock(TimeDelta::hours(-3)).await;

    let second = say(ctx, ceo("bob")).await;
    let third = say(ctx, ceo("cat")).await;

    assert!(first.recorded_at < second.recorded_at && second.recorded_at < third.recorded_at);
    assert_eq!(believed(ctx, AsOf::default()).await.as_of, Some(third.recorded_at));
}

pub(crate) async fn an_agents_claims_are_its_own(ctx: &Ctx) {
    say(ctx, ceo("ada")).await;
    let line = Line::parse("acme", "ceo").expect("a line");
    for other in [acme().agent("other"), Scope::tenant("globex").agent("planner")] {
        let belief = ctx.claims().belief(&other, &line, AsOf::default()).await;
        assert_eq!(belief.expect("is read").status, BeliefStatus::NoBelief);
        let mine = ctx.claims().assert(&other, ceo("bob"), None).await.expect("is written");
        assert_eq!(mine.disposition, Disposition::CommittedCheap);
        let ledger = ctx
            .claims()
            .query_audit(&other, &AuditQuery::default(), &Page::default())
            .await
            .expect("is read");
        assert_eq!(ledger.items.len(), 1);
    }
    let user = planner().user("ada");
    let belief = ctx.claims().belief(&user, &line, AsOf::default()).await.expect("is read");
    assert_eq!(belief.primary.expect("a user only is noted").value, "ada");
    fails_as(
        ctx.claims().query_audit(&acme(), &AuditQuery::default(), &Page::default()).await,
        "scope_required",
    );
    fails_as(ctx.claims().assert(&acme(), ceo("x"), None).await, "scope_required");
    fails_as(ctx.claims().belief(&acme(), &line, AsOf::default()).await, "scope_required");
}

pub(crate) async fn sixteen_writers_never_believe_two_values(ctx: &Ctx) {
    const LINES: usize = 12;
    let stores = [ctx.store(), ctx.another().await];
    let writers: Vec<_> = (0..16)
        .map(|writer: usize| {
            let store = Arc::clone(&stores[writer % 2]);
            tokio::spawn(async move {
                let mut cheap = Vec::new();
                for line in 0..LINES {
                    let claim = NewClaim::new("pair", format!("line {line}"), writer);
                    let done = store.claims().assert(&planner(), claim, None).await;
                    if done.expect("is written").disposition == Disposition::CommittedCheap {
                        cheap.push(line);
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
    assert_eq!(cheap, (0..LINES).collect::<Vec<_>>(), "one value of each line came first");
    assert_eq!(ctx.rows("claim_ledger").await, 192);
    stores[1].close().await;
}

pub(crate) async fn bad_input_is_refused(ctx: &Ctx) {
    let claims = ctx.claims();
    let refuse = async |claim: NewClaim, field: &str| {
        refused(claims.assert(&planner(), claim, None).await, field);
    };
    refuse(NewClaim::new(" ", "p", 1), "subject").await;
    refuse(NewClaim::new("s", "\0", 1), "predicate").await;
    refuse(NewClaim::new("s", "p".repeat(limits::CLAIM_NAME_BYTES + 1), 1), "predicate").await;
    refuse(NewClaim::new("s", "p", Value::Null), "value").await;
    refuse(NewClaim::new("s", "p", "x".repeat(limits::CLAIM_VALUE_BYTES)), "value").await;
    refuse(NewClaim::new("s", "p", json!({ "a": ["\0"] })), "value").await;
    refuse(NewClaim { value_confidence: f32::NAN, ..ceo("x") }, "value_confidence").await;
    let mut window = dated("x", "2020", None);
    window.valid_time.end = window.valid_time.start;
    refuse(window, "valid_time.end").await;
    let re_entry = NewClaim { provenance: Provenance::RecallReEntry, ..ceo("x") };
    refuse(re_entry, "derived_from").await;
    let foreign = Page { limit: 1, cursor: Some(mnemon_core::Cursor::of("events", &["1"])) };
    refused(claims.query_audit(&planner(), &AuditQuery::default(), &foreign).await, "page.cursor");
    let blank = Line { subject: " ".into(), predicate: "p".into() };
    let belief = claims.belief(&planner(), &blank, AsOf::default()).await;
    assert!(matches!(belief, Err(Error::Invalid { .. })));
    assert_eq!(ctx.rows("claims").await, 0);
}
