//! Cases for searching events: words, phrases, what is excluded, filters, pages, and what upkeep
//! does for it.

use chrono::TimeDelta;
use mnemon::Mnemon;
use mnemon::events::{Append, ArchiveOptions, Event, EventFilter, NewEvent, Sought, document};
use mnemon_core::upkeep::Task;
use mnemon_core::{Page, Scope, limits};
use serde_json::{Value, json};

use super::log::rest;
use crate::check::{Dice, fails_as, refused};
use crate::ctx::{Ctx, acme, ada};

async fn write(ctx: &Ctx, scope: &Scope, stream: &str, events: Vec<(&str, Value)>) {
    let events = events.into_iter().map(|(kind, data)| NewEvent::new(kind, data)).collect();
    let append = Append { stream: stream.into(), events, expected_version: None };
    ctx.events().append(scope, append, None).await.expect("an append is taken");
}

/// Indexes everything that can be read.
pub(crate) async fn index(ctx: &Ctx) {
    // On a shared server somebody may hold the horizon for a moment.
    for scope in [acme(), Scope::tenant("globex")] {
        rest(ctx.store().as_ref(), &scope, &EventFilter::default(), None, 500).await;
    }
    let lease = ctx.upkeep().claim(Task::EventSearch, "x", true).await.expect("is answered");
    let lease = lease.expect("nobody holds it");
    while ctx.upkeep().batch(&lease).await.expect("is done").more {}
    ctx.upkeep().finish(&lease, None).await.expect("is given back");
}

async fn found(
    ctx: &Ctx,
    scope: &Scope,
    text: &str,
    filter: &EventFilter,
    size: u32,
) -> Vec<Event> {
    let (mut page, mut all) = (Page::first(size), Vec::new());
    loop {
        let piece = ctx.events().search(scope, text, filter, &page).await.expect("a page");
        assert!(piece.items.len() <= size as usize);
        all.extend(piece.items);
        match piece.next {
            Some(next) => page.cursor = Some(next),
            None => return all,
        }
    }
}

async fn versions(ctx: &Ctx, scope: &Scope, text: &str) -> Vec<i64> {
    let all = found(ctx, scope, text, &EventFilter::default(), 10).await;
    all.iter().map(|event| event.version).collect()
}

pub(crate) async fn events_are_found_by_their_words(ctx: &Ctx) {
    write(
        ctx,
        &ada(),
        "job-7",
        vec![
            ("agent.failed", json!({ "error": "connection to db7 refused", "tries": 3 })),
            ("agent.failed", json!({ "error": "timed out", "step": "cargo test" })),
            ("agent.completed", json!({ "steps": ["cargo test", { "note": "Tests passed" }] })),
        ],
    )
    .await;
    write(ctx, &Scope::tenant("globex"), "g", vec![("a.b", json!("refused, too"))]).await;
    assert!(versions(ctx, &acme(), "refused").await.is_empty(), "upkeep did not run yet");

    index(ctx).await;

    assert_eq!(versions(ctx, &acme(), "refused").await, [1]);
    assert_eq!(versions(ctx, &acme(), "Connections refusing").await, [1]);
    assert_eq!(versions(ctx, &acme(), "tests").await, [3, 2]);
    assert_eq!(versions(ctx, &acme(), "\"cargo test\"").await, [3, 2]);
    assert_eq!(versions(ctx, &acme(), "cargo -passed").await, [2]);
    assert_eq!(versions(ctx, &acme(), "cargo -\"timed out\"").await, [3]);
    assert_eq!(versions(ctx, &acme(), "agent.failed").await, [2, 1]);
    assert_eq!(versions(ctx, &acme(), "failed cargo").await, [2]);
    assert!(versions(ctx, &acme(), "nowhere").await.is_empty());
    assert!(versions(ctx, &acme(), "too").await.is_empty(), "another tenant's");
    assert!(versions(ctx, &acme().user("bob"), "refused").await.is_empty());
    let completed = EventFilter::default().kind("agent.completed");
    assert_eq!(found(ctx, &acme(), "cargo", &completed, 5).await.len(), 1);
    // What is indexed twice is found once.
    index(ctx).await;
    write(ctx, &ada(), "job-7", vec![("agent.failed", json!("refused again"))]).await;
    index(ctx).await;
    assert_eq!(versions(ctx, &acme(), "refused").await, [4, 1]);
}

pub(crate) async fn searches_agree_with_the_model(ctx: &Ctx) {
    const WORDS: [&str; 8] =
        ["panda", "red", "snake_case", "the", "running", "café", "o'clock", "東京"];
    let mut dice = Dice::seeded(41);
    for round in 0..12 {
        let scope = [acme(), ada(), ada().agent("x")][round % 3].clone();
        let events = (0..10)
            .map(|_| {
                let mut text = || {
                    let words: Vec<&str> = (0..4).map(|_| *dice.pick(&WORDS)).collect();
                    words.join(" ")
                };
                let data = json!({ "a": text(), "b": [text(), 7], "n": null });
                (["k.one", "k.two"][round % 2], data)
            })
            .collect();
        write(ctx, &scope, &format!("s{}", round % 4), events).await;
        ctx.move_clock(TimeDelta::milliseconds(3)).await;
    }
    index(ctx).await;
    let filters = [
        EventFilter::default(),
        EventFilter::default().kind("k.two").stream("s1"),
        EventFilter { agent: Some("x".into()), ..EventFilter::default() },
    ];
    let texts = [
        "panda",
        "red panda",
        "\"red panda\"",
        "panda -red",
        "panda -\"red panda\"",
        "snake",
        "snake_case",
        "the",
        "running the",
        "cafe o'clock",
        "東京",
        "panda red running cafe",
    ];
    for filter in &filters {
        let mut all = Vec::new();
        let mut page = Page::first(50);
        loop {
            let piece = ctx.events().list(&acme(), filter, &page).await.expect("a page");
            all.extend(piece.items);
            let Some(next) = piece.next else { break };
            page.cursor = Some(next);
        }
        for text in texts {
            let sought = Sought::parse(text).expect("holds a word");
            let fits = |event: &&Event| sought.fits(&document(&event.kind, &event.data));
            let expected: Vec<&Event> = all.iter().filter(fits).collect();
            let size = 1 + u32::try_from(dice.below(20)).expect("small");
            let found = found(ctx, &acme(), text, filter, size).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{text} {filter:?} by {size}");
        }
    }
}

pub(crate) async fn a_bad_search_is_refused(ctx: &Ctx) {
    let all = EventFilter::default();
    let page = Page::first(5);
    refused(ctx.events().search(&acme(), "  ", &all, &page).await, "text");
    refused(ctx.events().search(&acme(), "-only", &all, &page).await, "text");
    let long = "x".repeat(limits::RECALL_TEXT_BYTES + 1);
    refused(ctx.events().search(&acme(), &long, &all, &page).await, "text");
    let blank = EventFilter::default().stream(" ");
    refused(ctx.events().search(&acme(), "x", &blank, &page).await, "filter.stream");
    fails_as(ctx.events().search(&Scope::default(), "x", &all, &page).await, "scope_required");
    let garbage = Page { limit: 5, cursor: Some("garbage".parse().expect("any text")) };
    refused(ctx.events().search(&acme(), "x", &all, &garbage).await, "page.cursor");
    for hostile in ["' | ! & :* <->", "a:b'c\\d", "\u{1f600}", "!!!", "\"unclosed"] {
        let outcome = ctx.events().search(&acme(), hostile, &all, &page).await;
        assert!(outcome.is_ok() || outcome.is_err_and(|error| error.code() == "invalid"));
    }
    fails_as(Mnemon::over(ctx.store()).events().search(&acme(), "x", &all, &page).await, "setup");
}

pub(crate) async fn words_leave_with_their_month(ctx: &Ctx) {
    write(ctx, &acme(), "s", vec![("a.b", json!("red panda"))]).await;
    index(ctx).await;
    let words = if ctx.embedded() { "event_postings" } else { "event_words" };
    assert!(ctx.rows(words).await > 0);
    ctx.move_clock(TimeDelta::days(40)).await;
    write(ctx, &acme(), "s", vec![("a.b", json!("blue whale"))]).await;

    let options = ArchiveOptions { before: ctx.now().await, to: None, dry_run: false };
    let db = Mnemon::over(ctx.store());
    assert_eq!(db.events().archive(&options).await.expect("is removed").events(), 1);

    assert_eq!(ctx.rows(words).await, 0);
    index(ctx).await;
    assert!(versions(ctx, &acme(), "panda").await.is_empty());
    assert_eq!(versions(ctx, &acme(), "whales").await, [2]);
}
