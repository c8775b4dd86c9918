//! Cases for events: notes on the system stream, gapless and rare enough.

pub(crate) mod append;
pub(crate) mod archive;
pub(crate) mod import;
pub(crate) mod log;
pub(crate) mod many;
pub(crate) mod search;

use std::time::Duration;

use chrono::TimeDelta;
use mnemon_core::events::{Event, Events, SCOPE_REJECTED, SYSTEM_STREAM};
use mnemon_core::{Cursor, EventId, Page, Scope, limits};
use serde_json::{Value, json};

use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme, ada};

const ALWAYS: Duration = Duration::ZERO;
const MINUTE: Duration = Duration::from_mins(1);

async fn note(ctx: &Ctx, scope: &Scope, kind: &'static str, every: Duration) -> Option<i64> {
    ctx.events().note(scope, kind, json!({}), every).await.expect("a note is taken")
}

/// A tenant's system stream from its start, in pages.
async fn stream(events: &dyn Events, tenant: &Scope, size: u32) -> Vec<Event> {
    let mut page = Page::first(size);
    let mut all = Vec::new();
    loop {
        let piece = events.read(tenant, SYSTEM_STREAM, &page).await.expect("a page is read");
        assert!(piece.items.len() <= size as usize);
        all.extend(piece.items);
        match piece.next {
            Some(cursor) => page.cursor = Some(cursor),
            None => return all,
        }
    }
}

#[track_caller]
fn assert_gapless(events: &[Event]) {
    let versions: Vec<i64> = events.iter().map(|event| event.version).collect();
    let count = i64::try_from(events.len()).expect("a small count");
    assert_eq!(versions, (1..=count).collect::<Vec<_>>());
    let mut ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), events.len(), "no two events share an id");
    assert!(
        events.windows(2).all(|pair| pair[0].recorded_at <= pair[1].recorded_at),
        "times do not go back within a stream"
    );
}

pub(crate) async fn notes_are_read_in_order(ctx: &Ctx) {
    let before = ctx.now().await;
    for (n, kind) in ["a.first", SCOPE_REJECTED, "c.third"].into_iter().enumerate() {
        let data = json!({ "n": n, "text": "\u{1f600} ' \\ \"", "deep": [null, { "x": 1.5 }] });
        let version = ctx.events().note(&ada(), kind, data, ALWAYS).await.expect("is taken");
        assert_eq!(version, i64::try_from(n + 1).ok());
    }

    let found = stream(ctx.events(), &acme(), 10).await;

    assert_gapless(&found);
    assert_eq!(
        found.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(),
        ["a.first", SCOPE_REJECTED, "c.third"]
    );
    let expected = json!({ "n": 2, "text": "\u{1f600} ' \\ \"", "deep": [null, { "x": 1.5 }] });
    assert_eq!(found[2].data, expected);
    assert_eq!(found[2].stream, SYSTEM_STREAM);
    let now = ctx.now().await;
    assert!(found.iter().all(|event| (before..=now).contains(&event.recorded_at)));
}

pub(crate) async fn a_stream_is_its_tenants(ctx: &Ctx) {
    let globex = Scope::tenant("globex");
    assert_eq!(note(ctx, &acme(), "a", ALWAYS).await, Some(1));
    assert_eq!(note(ctx, &acme(), "a", ALWAYS).await, Some(2));
    assert_eq!(note(ctx, &globex, "a", ALWAYS).await, Some(1));

    assert_eq!(stream(ctx.events(), &acme(), 10).await.len(), 2);
    assert_eq!(stream(ctx.events(), &globex, 10).await.len(), 1);
    assert!(stream(ctx.events(), &Scope::tenant("none"), 10).await.is_empty());
    let elsewhere = ctx.events().read(&acme(), "another.stream", &Page::default()).await;
    assert!(elsewhere.expect("a page").items.is_empty());
}

pub(crate) async fn versions_are_gapless_under_sixteen_writers(ctx: &Ctx) {
    let second = ctx.another().await;
    let mut writers = Vec::new();
    for n in 0..16 {
        let store = if n % 2 == 0 { ctx.store() } else { second.clone() };
        writers.push(tokio::spawn(async move {
            for m in 0..25 {
                let data = json!({ "writer": n, "number": m });
                let done = store.events().note(&acme(), "busy", data, ALWAYS).await;
                done.expect("a writer never fails").expect("is written");
            }
        }));
    }
    for writer in writers {
        writer.await.expect("no panic");
    }

    let found = stream(ctx.events(), &acme(), 100).await;

    assert_eq!(found.len(), 400);
    assert_gapless(&found);
    for writer in 0..16 {
        let own = found.iter().filter(|event| event.data["writer"] == json!(writer));
        let numbers: Vec<&Value> = own.map(|event| &event.data["number"]).collect();
        assert_eq!(
            numbers,
            (0..25).map(|n| json!(n)).collect::<Vec<_>>().iter().collect::<Vec<_>>()
        );
    }
}

pub(crate) async fn a_note_is_taken_at_most_so_often(ctx: &Ctx) {
    assert_eq!(note(ctx, &acme(), "rare", MINUTE).await, Some(1));
    assert_eq!(note(ctx, &ada(), "rare", MINUTE).await, None);
    assert_eq!(note(ctx, &acme(), "other", MINUTE).await, Some(2), "each kind has its own time");
    assert_eq!(note(ctx, &Scope::tenant("globex"), "rare", MINUTE).await, Some(1));
    ctx.move_clock(TimeDelta::seconds(50)).await;
    assert_eq!(note(ctx, &acme(), "rare", MINUTE).await, None);

    ctx.move_clock(TimeDelta::seconds(20)).await;

    assert_eq!(note(ctx, &acme(), "rare", MINUTE).await, Some(3));
    assert_eq!(note(ctx, &acme(), "rare", MINUTE).await, None);
}

pub(crate) async fn of_sixteen_rare_notes_at_once_one_is_taken(ctx: &Ctx) {
    let second = ctx.another().await;
    let mut writers = Vec::new();
    for n in 0..16 {
        let store = if n % 2 == 0 { ctx.store() } else { second.clone() };
        writers.push(tokio::spawn(async move {
            store.events().note(&acme(), "rare", json!({}), MINUTE).await.expect("never fails")
        }));
    }

    let mut taken = Vec::new();
    for writer in writers {
        taken.extend(writer.await.expect("no panic"));
    }

    assert_eq!(taken, [1]);
    assert_eq!(stream(ctx.events(), &acme(), 10).await.len(), 1);
}

pub(crate) async fn a_clock_that_goes_backwards_keeps_a_stream_in_order(ctx: &Ctx) {
    note(ctx, &acme(), "a", ALWAYS).await;
    ctx.move_clock(TimeDelta::days(-40)).await;
    note(ctx, &acme(), "b", ALWAYS).await;
    ctx.move_clock(TimeDelta::days(80)).await;
    note(ctx, &acme(), "c", ALWAYS).await;

    let found = stream(ctx.events(), &acme(), 1).await;

    assert_eq!(found.len(), 3);
    assert_gapless(&found);
}

pub(crate) async fn a_note_needs_a_tenant_and_a_payload_within_its_limit(ctx: &Ctx) {
    let over = json!("x".repeat(limits::EVENT_BYTES));
    let outcome = ctx.events().note(&acme(), "big", over, ALWAYS).await;
    fails_as(outcome, "invalid");
    let nul = ctx.events().note(&acme(), "nul", json!({ "a": "b\0" }), ALWAYS).await;
    fails_as(nul, "invalid");
    let blank = Scope::tenant(" ");
    fails_as(ctx.events().note(&blank, "a", json!({}), ALWAYS).await, "scope_required");
    let read = ctx.events().read(&blank, SYSTEM_STREAM, &Page::default()).await;
    fails_as(read, "scope_required");
    assert_eq!(ctx.rows("events").await, 0);

    let full = json!("x".repeat(limits::EVENT_BYTES - 2));
    let version = ctx.events().note(&acme(), "full", full.clone(), ALWAYS).await;

    assert_eq!(version.expect("is taken"), Some(1), "a refused note leaves no gap");
    assert_eq!(stream(ctx.events(), &acme(), 10).await[0].data, full);
}

pub(crate) async fn a_foreign_cursor_is_refused(ctx: &Ctx) {
    note(ctx, &acme(), "a", ALWAYS).await;
    for cursor in [
        Cursor::of("memories", &["1"]),
        Cursor::of("events", &["x"]),
        Cursor::of("events", &[""]),
        Cursor::of("events", &["1", "2", "3"]),
        "garbage".parse().expect("any text"),
    ] {
        let page = Page { limit: 10, cursor: Some(cursor) };
        refused(ctx.events().read(&acme(), SYSTEM_STREAM, &page).await, "page.cursor");
    }
    for limit in [0, limits::PAGE_MAX + 1] {
        let outcome = ctx.events().read(&acme(), SYSTEM_STREAM, &Page::first(limit)).await;
        refused(outcome, "page.limit");
    }
}

pub(crate) async fn pages_of_a_stream_have_no_gap_and_no_double(ctx: &Ctx) {
    for _ in 0..23 {
        note(ctx, &acme(), "a", ALWAYS).await;
    }

    for size in [1, 5, 22, 23, 24] {
        let found = stream(ctx.events(), &acme(), size).await;
        assert_eq!(found.len(), 23);
        assert_gapless(&found);
    }
}
