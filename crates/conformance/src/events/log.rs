//! Cases for reading the log of all streams, and for lists and figures of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use mnemon_core::events::{Append, Event, EventFilter, Mark, NewEvent, Position};
use mnemon_core::{Cursor, EventId, Facet, Page, Scope, Store, limits};
use serde_json::json;
use uuid::Uuid;

use crate::check::{Dice, fails_as, refused};
use crate::ctx::{Ctx, acme, ada, bob};

/// Waits for an append at the most; far longer than any takes.
const LONG: Duration = Duration::from_secs(20);

fn event(kind: &str, n: usize) -> NewEvent {
    NewEvent::new(kind, json!({ "n": n }))
}

async fn write(store: &dyn Store, scope: &Scope, stream: &str, events: Vec<NewEvent>) {
    let append = Append { stream: stream.into(), events, expected_version: None };
    store.events().append(scope, append, None).await.expect("an append is taken");
}

/// The log after a cursor, until everything committed was read; and where it ends.
pub(crate) async fn rest(
    store: &dyn Store,
    scope: &Scope,
    filter: &EventFilter,
    after: Option<Cursor>,
    size: u32,
) -> (Vec<Event>, Cursor) {
    let (mut all, mut after) = (Vec::new(), after);
    loop {
        let slice = store.events().read_all(scope, filter, after.as_ref(), size).await;
        let slice = slice.expect("the log is read");
        assert!(slice.events.len() <= size as usize);
        all.extend(slice.events);
        if slice.caught_up && !slice.pending {
            return (all, slice.next);
        }
        after = Some(slice.next);
    }
}

/// Every event once, streams in the order of their versions, positions growing.
#[track_caller]
pub(crate) fn assert_in_order(events: &[Event]) {
    let mut versions: BTreeMap<&str, i64> = BTreeMap::new();
    for event in events {
        let last = versions.entry(&event.stream).or_insert(0);
        assert_eq!(event.version, *last + 1, "{} has no gap and no double", event.stream);
        *last = event.version;
    }
    assert!(events.windows(2).all(|pair| pair[0].position < pair[1].position), "positions grow");
}

pub(crate) async fn the_log_is_read_in_one_order_from_any_cursor(ctx: &Ctx) {
    let store = ctx.store();
    for n in 0..12 {
        let stream = ["b", "a", "c:d"][n % 3];
        write(store.as_ref(), &acme(), stream, vec![event("k", n), event("l", n)]).await;
    }
    write(store.as_ref(), &Scope::tenant("globex"), "a", vec![event("k", 99)]).await;

    let all = EventFilter::default();
    let (found, end) = rest(store.as_ref(), &acme(), &all, None, 5).await;

    assert_eq!(found.len(), 24);
    assert_in_order(&found);
    for (at, event) in found.iter().enumerate() {
        let from = Some(event.position.cursor());
        let (after, _) = rest(store.as_ref(), &acme(), &all, from, limits::READ_MAX).await;
        assert_eq!(after, found[at + 1..], "from every event's own place");
    }
    let (none, again) = rest(store.as_ref(), &acme(), &all, Some(end), 5).await;
    assert_eq!(none, []);
    write(store.as_ref(), &acme(), "a", vec![event("k", 100)]).await;
    let (new, _) = rest(store.as_ref(), &acme(), &all, Some(again), 5).await;
    assert_eq!(new.len(), 1, "the end of the log is a place, too");
    assert_eq!((new[0].stream.as_str(), new[0].version), ("a", 9));
}

pub(crate) async fn a_cursor_of_another_tenant_or_garbage_is_refused(ctx: &Ctx) {
    let store = ctx.store();
    let globex = Scope::tenant("globex");
    write(store.as_ref(), &acme(), "s", vec![event("k", 1)]).await;
    write(store.as_ref(), &globex, "s", vec![event("k", 1)]).await;
    let all = EventFilter::default();
    let (_, theirs) = rest(store.as_ref(), &globex, &all, None, 5).await;

    let garbage = ["log", "log:", "log:x:1:1:1:s", "events:1", "rubbish", "log:0:-1:0:0:"];
    let garbage = garbage.map(|text| text.parse::<Cursor>().expect("any text"));
    for cursor in garbage.into_iter().chain([theirs]) {
        let outcome = ctx.events().read_all(&acme(), &all, Some(&cursor), 5).await;
        refused(outcome, "cursor");
    }
    for limit in [0, limits::READ_MAX + 1] {
        refused(ctx.events().read_all(&acme(), &all, None, limit).await, "limit");
    }
    let foreign = Page { cursor: "log:1".parse().ok(), limit: 5 };
    refused(ctx.events().list(&acme(), &all, &foreign).await, "page.cursor");
    let long = EventFilter::default().kind("k".repeat(limits::LABEL_BYTES + 1));
    refused(ctx.events().read_all(&acme(), &long, None, 5).await, "filter.kinds");
    refused(
        ctx.events().count(&acme(), &EventFilter::default().stream(" ")).await,
        "filter.stream",
    );
    let now = ctx.now().await;
    let turned =
        EventFilter { from: Some(now), to: Some(now - TimeDelta::hours(1)), ..all.clone() };
    refused(ctx.events().list(&acme(), &turned, &Page::default()).await, "filter.to");
    refused(ctx.events().aggregate(&acme(), " ").await, "stream");
}

/// Ninety events of three streams, kinds, users and agents, two hours apart by thirds.
async fn mixed(ctx: &Ctx) -> Vec<Event> {
    let store = ctx.store();
    let mut dice = Dice::seeded(7);
    for third in 0..3 {
        for n in 0..30 {
            let user = dice.pick(&[acme(), ada(), bob()]).clone();
            let scope = if n % 2 == 0 { user } else { user.agent(*dice.pick(&["x", "y"])) };
            let kind = *dice.pick(&["job.done", "job.failed", "note"]);
            let mut new = event(kind, third * 30 + n);
            new.correlation_id = (n % 3 == 0).then(|| format!("c{}", n % 9));
            let stream = ["s", "t", "u"][dice.below(3)];
            write(store.as_ref(), &scope, stream, vec![new]).await;
        }
        ctx.move_clock(TimeDelta::hours(2)).await;
    }
    let (found, _) =
        rest(store.as_ref(), &acme(), &EventFilter::default(), None, limits::READ_MAX).await;
    assert_eq!(found.len(), 90);
    found
}

fn filters(found: &[Event]) -> Vec<EventFilter> {
    let all = EventFilter::default;
    vec![
        all(),
        all().stream("t"),
        all().stream("nowhere"),
        all().kind("note"),
        all().kind("job.done").kind("job.failed"),
        all().correlation("c3"),
        all().agent("x").kind("note"),
        EventFilter { user: Some("ada".into()), ..all() },
        EventFilter { from: Some(found[40].recorded_at), ..all() },
        EventFilter { to: Some(found[40].recorded_at), ..all() }.stream("s"),
        EventFilter { from: Some(found[10].recorded_at), to: Some(found[70].recorded_at), ..all() },
    ]
}

pub(crate) async fn a_filter_finds_what_it_says_and_nothing_else(ctx: &Ctx) {
    let store = ctx.store();
    let found = mixed(ctx).await;
    let readers = [acme(), ada(), bob().agent("x"), acme().agent("y"), acme().user("nobody")];

    for filter in filters(&found) {
        for reader in &readers {
            let admitted = reader.admit(Facet::Events).expect("complete");
            let expected: Vec<Event> =
                found.iter().filter(|event| filter.admits(&admitted, event)).cloned().collect();

            let (read, _) = rest(store.as_ref(), reader, &filter, None, 7).await;
            let count = store.events().count(reader, &filter).await.expect("a count");

            assert_eq!(read, expected, "{filter:?} by {reader:?}");
            assert_eq!(count, expected.len() as u64, "{filter:?} by {reader:?}");
        }
    }
}

pub(crate) async fn lists_are_newest_first_without_gap_or_double(ctx: &Ctx) {
    let found = mixed(ctx).await;
    write(ctx.store().as_ref(), &acme(), "s", (0..9).map(|n| event("many", n)).collect()).await;
    for (filter, expected) in [
        (EventFilter::default(), 99),
        (EventFilter::default().kind("many"), 9),
        (EventFilter { to: Some(found[40].recorded_at), ..EventFilter::default() }, 40),
    ] {
        for size in [1, 8, 500] {
            let mut page = Page::first(size);
            let mut listed = Vec::new();
            loop {
                let piece = ctx.events().list(&acme(), &filter, &page).await.expect("a page");
                assert!(piece.items.len() <= size as usize);
                listed.extend(piece.items);
                let Some(next) = piece.next else { break };
                page.cursor = Some(next);
            }

            assert_eq!(listed.len(), expected);
            let places: Vec<_> = listed
                .iter()
                .map(|event| (event.recorded_at, event.stream.clone(), event.version))
                .collect();
            assert!(places.windows(2).all(|pair| pair[0] > pair[1]), "newest first");
        }
    }
}

pub(crate) async fn a_stream_in_figures(ctx: &Ctx) {
    let store = ctx.store();
    let first = ctx.now().await - TimeDelta::hours(3);
    let done = |data| NewEvent { occurred_at: Some(first), ..NewEvent::new("job.done", data) };
    let events = vec![
        done(json!({ "success": true, "duration_ms": 100 })),
        done(json!({ "success": true, "duration": [0, 500_000_000] })),
        done(json!({ "success": false, "duration": { "secs": 1, "nanos": 200_000_000 } })),
        NewEvent::new("note", json!({ "success": "yes", "duration_ms": "long" })),
        NewEvent::new("note", json!(["success", true])),
        NewEvent::new("note", json!(null)),
    ];
    write(store.as_ref(), &ada(), "s", events).await;
    write(store.as_ref(), &bob(), "s", vec![NewEvent::new("note", json!({ "success": true }))])
        .await;

    let all = ctx.events().aggregate(&acme(), "s").await.expect("figures");

    assert_eq!((all.version, all.first_kept, all.events), (7, 1, 7));
    assert_eq!((all.succeeded, all.failed), (3, 1));
    assert_eq!(all.by_kind, BTreeMap::from([("job.done".into(), 3), ("note".into(), 4)]));
    let average = all.average_duration_ms.expect("three have a duration");
    assert!((average - 600.0).abs() < 1e-6, "{average}");
    assert_eq!(all.first_at, Some(first));
    assert!(all.last_at > all.first_at);
    let hers = ctx.events().aggregate(&ada(), "s").await.expect("figures");
    assert_eq!((hers.events, hers.succeeded), (6, 2), "a user filters");
    let none = ctx.events().aggregate(&acme(), "nowhere").await.expect("figures");
    assert_eq!((none.version, none.events, none.average_duration_ms), (0, 0, None));
}

/// Writers with steps of several streams, readers that never stop: what a reader saw stays what
/// stands before its cursor.
pub(crate) async fn sixteen_writers_and_four_readers_of_the_log(ctx: &Ctx) {
    const EACH: usize = 12;
    let stores = [ctx.store(), ctx.another().await];
    let all = EventFilter::default();
    let writers: Vec<_> = (0..16_usize)
        .map(|writer| {
            let store = Arc::clone(&stores[writer % 2]);
            tokio::spawn(async move {
                let mut dice = Dice::seeded(writer as u64);
                for n in 0..EACH {
                    let appends = (0..=dice.below(3))
                        .map(|_| Append {
                            stream: format!("s{}", dice.below(5)),
                            events: vec![event("k", n)],
                            expected_version: None,
                        })
                        .collect();
                    let done = store.events().append_many(&acme(), appends).await.expect("taken");
                    assert!(done.iter().all(Result::is_ok));
                }
            })
        })
        .collect();
    let readers: Vec<_> = (0..4_usize)
        .map(|reader| {
            let (store, all) = (Arc::clone(&stores[reader % 2]), all.clone());
            tokio::spawn(async move {
                let (mut seen, mut after) = (Vec::new(), None);
                let mut idle = 0;
                while idle < 20 {
                    let slice = store.events().read_all(&acme(), &all, after.as_ref(), 9).await;
                    let slice = slice.expect("the log is read");
                    idle = if slice.events.is_empty() { idle + 1 } else { 0 };
                    if slice.events.is_empty() {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    seen.extend(slice.events);
                    after = Some(slice.next);
                }
                (seen, after)
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }
    let (whole, _) = rest(stores[0].as_ref(), &acme(), &all, None, 100).await;
    assert_in_order(&whole);
    for reader in readers {
        let (mut seen, after) = reader.await.expect("no panic");
        seen.extend(rest(stores[0].as_ref(), &acme(), &all, after, 100).await.0);
        assert_eq!(seen, whole, "nothing skipped, doubled or turned around");
    }
    stores[1].close().await;
}

pub(crate) async fn a_cursor_ahead_of_the_log_is_refused_and_a_new_epoch_cures_it(ctx: &Ctx) {
    let store = ctx.store();
    write(store.as_ref(), &acme(), "s", vec![event("k", 0), event("k", 1)]).await;
    let all = EventFilter::default();
    let before = ctx.events().horizon().await.expect("a horizon");
    // What a reader would hold after the database was put back.
    let ahead = Position::of("acme", before.epoch, before.tx + 1_000_000, "s", 9).cursor();
    refused(ctx.events().read_all(&acme(), &all, Some(&ahead), 5).await, "cursor");

    let epoch = ctx.events().restored().await.expect("a new epoch");
    write(store.as_ref(), &acme(), "s", vec![event("k", 2)]).await;
    write(store.as_ref(), &acme(), "t", vec![event("k", 3)]).await;

    assert_eq!(epoch, before.epoch + 1);
    let (new, _) = rest(store.as_ref(), &acme(), &all, Some(ahead), 5).await;
    assert_eq!(new.len(), 2, "every event of the new epoch, none of the old");
    assert_eq!(new.iter().map(|event| event.position.epoch).collect::<Vec<_>>(), [epoch; 2]);
    let (whole, _) = rest(store.as_ref(), &acme(), &all, None, 5).await;
    assert_eq!(whole.len(), 4, "those of older epochs stay readable");
    assert_in_order(&whole);
}

pub(crate) async fn a_wait_ends_with_an_append_of_any_handle(ctx: &Ctx) {
    let other = ctx.another().await;
    for writer in [ctx.store(), other.clone()] {
        let mut mark = ctx.events().moved(&acme(), Mark::default(), LONG).await.expect("a mark");
        let all = EventFilter::default();
        let (_, end) = rest(ctx.store().as_ref(), &acme(), &all, None, 50).await;
        let store = writer.clone();
        let written =
            tokio::spawn(
                async move { write(store.as_ref(), &acme(), "s", vec![event("k", 1)]).await },
            );
        // Hints may come for nothing; what counts is that the event is seen.
        let seen = async {
            loop {
                mark = ctx.events().moved(&acme(), mark, LONG).await.expect("is answered");
                let (new, _) =
                    rest(ctx.store().as_ref(), &acme(), &all, Some(end.clone()), 50).await;
                if !new.is_empty() {
                    return new.len();
                }
            }
        };
        assert_eq!(tokio::time::timeout(LONG, seen).await.expect("a wait ends"), 1);
        written.await.expect("no panic");
    }
    fails_as(ctx.events().moved(&Scope::default(), Mark::default(), LONG).await, "scope_required");
    other.close().await;
}

pub(crate) async fn a_wait_goes_on_while_another_tenant_writes(ctx: &Ctx) {
    let other = ctx.another().await;
    let globex = Scope::tenant("globex");
    // A hint may come for nothing now and then: not with every write.
    for round in 0..20 {
        let quiet = ctx.events().moved(&globex, Mark::default(), LONG).await.expect("a mark");
        let before = ctx.events().moved(&acme(), Mark::default(), LONG).await.expect("a mark");
        write(other.as_ref(), &acme(), "s", vec![event("k", round)]).await;
        while ctx.events().moved(&acme(), before, LONG).await.expect("is answered") == before {}

        let after = ctx.events().moved(&globex, quiet, Duration::ZERO).await.expect("is answered");
        if after == quiet {
            return other.close().await;
        }
    }
    panic!("every write of one tenant woke who waits for another");
}

/// A model: a list of events in the order in which they were appended.
pub(crate) async fn random_reads_agree_with_the_model(ctx: &Ctx) {
    let store = ctx.store();
    let mut dice = Dice::seeded(42);
    let mut model: Vec<(EventId, String, i64)> = Vec::new();
    let mut heads: BTreeMap<String, i64> = BTreeMap::new();
    let mut known: Vec<(EventId, String)> = Vec::new();
    let mut cursors = vec![(None, 0)];
    for round in 0..150_u32 {
        if dice.below(3) > 0 {
            let stream = format!("s{}", dice.below(4));
            let again =
                (dice.below(4) == 0 && !known.is_empty()).then(|| dice.pick(&known).clone());
            let (id, stream) =
                again.unwrap_or((EventId(Uuid::from_u128(u128::from(round) + 1)), stream));
            let append = Append {
                stream: stream.clone(),
                events: vec![NewEvent { id: Some(id), ..event("k", 0) }],
                expected_version: None,
            };
            let done = store.events().append(&acme(), append, None).await.expect("is taken");
            if !known.iter().any(|(there, _)| *there == id) {
                let head = heads.entry(stream.clone()).or_insert(0);
                *head += 1;
                assert_eq!(done.versions, [*head]);
                model.push((id, stream.clone(), *head));
                known.push((id, stream));
            }
            continue;
        }
        let (after, seen) = dice.pick(&cursors).clone();
        let (read, end) =
            rest(store.as_ref(), &acme(), &EventFilter::default(), after, 1 + round % 7).await;
        let read: Vec<_> =
            read.into_iter().map(|event| (event.id, event.stream, event.version)).collect();
        assert_eq!(read, model[seen..], "one writer: the order of appends");
        cursors.push((Some(end), model.len()));
    }
}
