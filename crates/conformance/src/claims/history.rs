//! Cases for a line's history, valid times, granularity and what each disposition means at read.

use chrono::TimeDelta;
use mnemon_core::claims::{
    AsOf, BeliefStatus, Cardinality, Granularity, HistoryEntry, HistoryStatus, Line, NewClaim,
    Provenance, Rules,
};
use mnemon_core::{Cursor, Page};
use serde_json::json;

use super::{believed, ceo, dated, planner, say, valid_at};
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme};

fn line() -> Line {
    Line::parse("acme", "ceo").expect("a line")
}

async fn history(ctx: &Ctx, when: AsOf) -> Vec<HistoryEntry> {
    let found = ctx.claims().history(&planner(), &line(), when, &Page::default()).await;
    found.expect("is read").entries
}

fn told(entries: &[HistoryEntry]) -> Vec<(String, HistoryStatus)> {
    entries.iter().map(|e| (e.value.as_str().unwrap_or("?").to_owned(), e.status)).collect()
}

/// Ada until 2019, Bob until 2021, Cat since; written in another order.
async fn three_windows(ctx: &Ctx) {
    say(ctx, dated("cat", "2021", None)).await;
    say(ctx, dated("ada", "2017", Some("2019"))).await;
    say(ctx, dated("bob", "2019", Some("2021"))).await;
}

pub(crate) async fn an_empty_line_has_no_history(ctx: &Ctx) {
    assert_eq!(history(ctx, AsOf::default()).await, []);
    assert_eq!(believed(ctx, AsOf::default()).await.status, BeliefStatus::NoBelief);
}

pub(crate) async fn a_single_claim_is_its_whole_history(ctx: &Ctx) {
    let ada = say(ctx, dated("ada", "2020", None)).await;

    let entries = history(ctx, AsOf::default()).await;

    assert_eq!(entries.len(), 1);
    let entry = &entries[0];
    assert_eq!((entry.claim, entry.status), (ada.id, HistoryStatus::Current));
    assert_eq!((entry.disposition, entry.recorded_at), (ada.disposition, ada.recorded_at));
    assert_eq!(entry.valid_until_display(), None, "an open end stays open");
}

pub(crate) async fn a_succession_is_told_in_the_order_of_its_windows(ctx: &Ctx) {
    three_windows(ctx).await;

    let entries = history(ctx, AsOf::default()).await;

    let expected = [
        ("ada", HistoryStatus::Past),
        ("bob", HistoryStatus::Past),
        ("cat", HistoryStatus::Current),
    ];
    let expected: Vec<_> = expected.map(|(value, status)| (value.to_owned(), status)).into();
    assert_eq!(told(&entries), expected);
    assert_eq!(entries[0].valid_until_display().as_deref(), Some("2019"), "its own end");
}

pub(crate) async fn what_is_current_in_a_history_is_what_is_believed(ctx: &Ctx) {
    three_windows(ctx).await;
    for date in ["2016", "2018", "2019", "2020-12-31", "2021", "2030"] {
        let belief = valid_at(ctx, date).await;
        let when = AsOf::parse(None, Some(date)).expect("a date");
        let current: Vec<_> = history(ctx, when)
            .await
            .into_iter()
            .filter(|entry| entry.status == HistoryStatus::Current)
            .map(|entry| entry.claim)
            .collect();

        let primary: Vec<_> = belief.primary.iter().map(|believed| believed.claim).collect();
        assert_eq!(current, primary, "at {date}");
    }
}

pub(crate) async fn a_history_says_why_a_claim_counts_no_more(ctx: &Ctx) {
    let ada = say(ctx, ceo("ada")).await;
    say(ctx, ceo("bob")).await;
    say(ctx, dated("eve", "2090", None)).await;
    let guess = NewClaim { provenance: Provenance::ModelDerived, ..ceo("dan") };
    say(ctx, guess).await;
    ctx.claims().retract(&planner(), ada.id, "a mistake").await.expect("is retracted");

    let told = told(&history(ctx, AsOf::default()).await);

    let status = |value: &str| told.iter().find(|(v, _)| v == value).map(|(_, status)| *status);
    assert_eq!(status("ada"), Some(HistoryStatus::Invalidated));
    assert_eq!(status("bob"), Some(HistoryStatus::Current));
    assert_eq!(status("dan"), Some(HistoryStatus::Below));
    assert_eq!(status("eve"), Some(HistoryStatus::Future));
}

pub(crate) async fn both_sides_of_a_contest_are_said_to_be(ctx: &Ctx) {
    say(ctx, ceo("ada")).await;
    say(ctx, ceo("bob")).await;

    let told = told(&history(ctx, AsOf::default()).await);

    assert!(told.iter().all(|(_, status)| *status == HistoryStatus::Contested), "{told:?}");
}

pub(crate) async fn a_history_is_read_as_of_any_time(ctx: &Ctx) {
    let ada = say(ctx, ceo("ada")).await;
    say(ctx, ceo("bob")).await;
    let then = AsOf { as_of: Some(ada.recorded_at), valid_at: None };
    let before = AsOf { as_of: Some(ada.recorded_at - TimeDelta::microseconds(1)), valid_at: None };

    assert_eq!(told(&history(ctx, then).await), [("ada".to_owned(), HistoryStatus::Current)]);
    assert_eq!(history(ctx, before).await, []);
}

pub(crate) async fn a_history_comes_in_pages(ctx: &Ctx) {
    for n in 0..7 {
        let claim =
            dated(&format!("v{n}"), &format!("20{:02}", 40 - n), Some(&format!("20{}", 41 - n)));
        say(ctx, claim).await;
    }
    let (mut page, mut values) = (Page::first(3), Vec::new());
    loop {
        let piece = ctx.claims().history(&planner(), &line(), AsOf::default(), &page).await;
        let piece = piece.expect("a page is read");
        values.extend(piece.entries.into_iter().map(|entry| entry.value));
        let Some(next) = piece.next else { break };
        page.cursor = Some(next);
    }

    assert_eq!(values, ["v6", "v5", "v4", "v3", "v2", "v1", "v0"].map(|v| json!(v)));
    let foreign = Page { limit: 1, cursor: Some(Cursor::of("events", &["1"])) };
    let read = ctx.claims().history(&planner(), &line(), AsOf::default(), &foreign).await;
    refused(read, "page.cursor");
    fails_as(
        ctx.claims().history(&acme(), &line(), AsOf::default(), &Page::default()).await,
        "scope_required",
    );
}

pub(crate) async fn each_window_answers_for_its_time(ctx: &Ctx) {
    three_windows(ctx).await;

    for (date, value) in [("2017", "ada"), ("2018-12-31", "ada"), ("2019", "bob"), ("2022", "cat")]
    {
        let belief = valid_at(ctx, date).await;
        assert_eq!(belief.primary.expect("one value").value, value, "at {date}");
        assert_eq!(belief.status, BeliefStatus::Resolved);
    }
    assert_eq!(valid_at(ctx, "2016-12-31").await.status, BeliefStatus::NoBelief, "before all");
}

pub(crate) async fn the_axes_of_time_are_independent(ctx: &Ctx) {
    let ada = say(ctx, dated("ada", "2017", Some("2019"))).await;
    say(ctx, dated("bob", "2019", None)).await;
    let known_then = AsOf::parse(None, Some("2018")).expect("a date");
    let known_then = AsOf { as_of: Some(ada.recorded_at), ..known_then };
    let not_yet =
        AsOf { valid_at: AsOf::parse(None, Some("2020")).expect("a date").valid_at, ..known_then };

    assert_eq!(believed(ctx, known_then).await.primary.expect("known").value, "ada");
    assert_eq!(believed(ctx, not_yet).await.status, BeliefStatus::NoBelief, "bob was not known");
    assert_eq!(valid_at(ctx, "2020").await.primary.expect("is now").value, "bob");
}

pub(crate) async fn without_a_valid_time_now_is_meant(ctx: &Ctx) {
    three_windows(ctx).await;

    let belief = believed(ctx, AsOf::default()).await;

    assert_eq!(belief.primary.expect("one value").value, "cat");
    assert!((ctx.now().await - belief.valid_at).num_hours().abs() < 1, "the store's own clock");
}

pub(crate) async fn a_gap_between_windows_believes_nothing(ctx: &Ctx) {
    say(ctx, dated("ada", "2017", Some("2018"))).await;
    say(ctx, dated("bob", "2019", None)).await;

    assert_eq!(valid_at(ctx, "2018-06").await.status, BeliefStatus::NoBelief);
}

pub(crate) async fn dates_come_back_as_precise_as_they_were_given(ctx: &Ctx) {
    let spans = [
        ("2017", "2018", Granularity::Year),
        ("2018-03", "2018-07", Granularity::Month),
        ("2019-03-15", "2019-03-16", Granularity::Day),
        ("2020-01-01T10:00:00Z", "2020-01-01T11:30:00Z", Granularity::Instant),
    ];
    for (from, until, _) in spans {
        say(ctx, dated(from, from, Some(until))).await;
    }

    for (entry, (from, until, granularity)) in history(ctx, AsOf::default()).await.iter().zip(spans)
    {
        assert_eq!(entry.valid_from_display().as_deref(), Some(from));
        assert_eq!(entry.valid_until_display().as_deref(), Some(until));
        assert_eq!(entry.valid_time.start_granularity, Some(granularity));
    }
}

pub(crate) async fn a_window_that_is_not_trusted_decides_nothing(ctx: &Ctx) {
    let mut vague = dated("ada", "2017", Some("2018"));
    vague.valid_time.valid_time_confidence = 0.69;
    say(ctx, vague).await;

    assert_eq!(valid_at(ctx, "2025").await.primary.expect("it may hold").value, "ada");
    let bob = say(ctx, dated("bob", "2019", None)).await;
    assert_eq!(bob.contested_with.len(), 1, "and it may be about the same time");
    assert_eq!(valid_at(ctx, "2016").await.primary.expect("only ada may hold").value, "ada");
    assert_eq!(valid_at(ctx, "2025").await.status, BeliefStatus::Contested);

    ctx.claims().configure(Rules { valid_time_confidence_threshold: 0.5, ..Rules::default() });

    assert_eq!(valid_at(ctx, "2025").await.primary.expect("trusted now").value, "bob");
    assert_eq!(valid_at(ctx, "2016").await.status, BeliefStatus::NoBelief);
}

pub(crate) async fn a_subject_is_told_by_predicate(ctx: &Ctx) {
    three_windows(ctx).await;
    say(ctx, NewClaim::new("acme", "seat", "paris")).await;
    say(ctx, NewClaim::new("acme", "seat", "rome")).await;
    for colour in ["red", "blue"] {
        let claim = NewClaim::new("acme", "logo: colours", colour);
        say(ctx, NewClaim { cardinality: Cardinality::SetValued, ..claim }).await;
    }
    say(ctx, NewClaim::new("globex", "ceo", "zoe")).await;
    let claims = ctx.claims();

    let (mut page, mut told) = (Page::first(2), Vec::new());
    loop {
        let piece = claims.query_subject(&planner(), "acme", AsOf::default(), &page).await;
        let piece = piece.expect("a page is read");
        told.extend(piece.items);
        let Some(next) = piece.next else { break };
        page.cursor = Some(next);
    }

    let status: Vec<_> = told.iter().map(|t| (t.predicate.as_str(), t.belief.status)).collect();
    assert_eq!(
        status,
        [
            ("ceo", BeliefStatus::Resolved),
            ("logo: colours", BeliefStatus::Resolved),
            ("seat", BeliefStatus::Contested)
        ]
    );
    assert_eq!(told[0].belief.value(), Some(&json!("cat")));
    assert_eq!(told[2].belief.alternatives.len(), 2, "every candidate is shown");
    let when = AsOf::parse(None, Some("2018")).expect("a date");
    let then = claims.query_subject(&planner(), "acme", when, &Page::first(1)).await;
    assert_eq!(then.expect("is read").items[0].belief.value(), Some(&json!("ada")));
    refused(claims.query_subject(&planner(), " ", when, &Page::default()).await, "subject");
    let other = claims.query_subject(&acme().agent("other"), "acme", when, &Page::default()).await;
    assert!(other.expect("is read").items.is_empty());
}
