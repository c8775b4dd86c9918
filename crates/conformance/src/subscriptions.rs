//! Cases for subscriptions: nothing skipped, nothing twice, streams in order, whatever writers,
//! readers and the database do. The machinery is the library's; it runs over any store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mnemon::Mnemon;
use mnemon::events::{Append, Event, EventFilter, NewEvent, Subscription, Told};
use mnemon_core::{Cursor, Facet, Result, Scope, Store, limits};
use serde_json::json;

use crate::check::{Dice, fails_as, refused};
use crate::ctx::{Ctx, acme, ada, bob};
use crate::events::log::{assert_in_order, rest};
use crate::failing::{FailingStore, Fault, When};

/// A wait for what comes; far longer than any takes.
const LONG: Duration = Duration::from_mins(1);

fn append(stream: &str, count: usize) -> Append {
    let event = |n| NewEvent::new(["a.one", "a.two"][n % 2], json!({ "n": n }));
    Append {
        stream: stream.into(),
        events: (0..count).map(event).collect(),
        expected_version: None,
    }
}

async fn write(store: &dyn Store, scope: &Scope, stream: &str, count: usize) {
    store.events().append(scope, append(stream, count), None).await.expect("an append is taken");
}

/// Writes, and waits until it can be read: on a shared server somebody else's transaction may hold
/// the horizon for a moment, and a subscriber has caught up before it then.
async fn write_readable(store: &dyn Store, scope: &Scope, stream: &str, count: usize) {
    write(store, scope, stream, count).await;
    rest(store, scope, &EventFilter::default(), None, limits::READ_MAX).await;
}

fn subscribe(db: &Mnemon, scope: &Scope, from: Option<&Cursor>) -> Subscription {
    db.events().subscribe(scope, EventFilter::default(), from).expect("a subscription")
}

/// What is said next; a case that waits for ever says so.
pub(crate) async fn next(subscription: &mut Subscription) -> Result<Told> {
    tokio::time::timeout(LONG, subscription.next()).await.expect("something is said in time")
}

/// The next events, whatever else is said meanwhile.
pub(crate) async fn events(subscription: &mut Subscription, count: usize) -> Vec<Event> {
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        if let Told::Event(event) = next(subscription).await.expect("it goes on") {
            found.push(*event);
        }
    }
    found
}

async fn caught_up(subscription: &mut Subscription) {
    match next(subscription).await.expect("it goes on") {
        Told::CaughtUp => {}
        other => panic!("expected to have caught up, got {other:?}"),
    }
}

pub(crate) async fn a_subscription_tells_what_is_there_and_then_what_comes(ctx: &Ctx) {
    let (store, other) = (ctx.store(), ctx.another().await);
    let db = Mnemon::over(store.clone());
    write_readable(store.as_ref(), &acme(), "s", 700).await;

    let mut all = subscribe(&db, &acme(), None);
    let before = events(&mut all, 700).await;
    caught_up(&mut all).await;
    for writer in [&store, &other, &store] {
        write(writer.as_ref(), &acme(), "t", 2).await;
        let new = events(&mut all, 2).await;
        assert!(new.iter().all(|event| event.stream == "t"));
    }

    assert_in_order(&before);
    let place = all.cursor();
    drop(all);
    write_readable(other.as_ref(), &acme(), "t", 3).await;
    let mut again = subscribe(&db, &acme(), Some(&place));
    let rest = events(&mut again, 3).await;
    assert_eq!(rest.iter().map(|event| event.version).collect::<Vec<_>>(), [7, 8, 9]);
    caught_up(&mut again).await;
    other.close().await;
}

pub(crate) async fn an_empty_log_is_caught_up_at_once(ctx: &Ctx) {
    let db = Mnemon::over(ctx.store());
    let mut all = subscribe(&db, &acme(), None);
    caught_up(&mut all).await;
    let mut new = subscribe(&db, &acme(), Some(&all.cursor()));
    caught_up(&mut new).await;

    write(ctx.store().as_ref(), &acme(), "s", 1).await;

    for subscription in [&mut all, &mut new] {
        assert_eq!(events(subscription, 1).await[0].version, 1);
    }
}

/// What each may see, in the log and live.
pub(crate) async fn a_subscriber_is_told_what_its_scope_and_filter_admit(ctx: &Ctx) {
    let (store, db) = (ctx.store(), Mnemon::over(ctx.store()));
    let writers =
        [acme(), ada(), bob(), ada().agent("x"), acme().agent("x"), Scope::tenant("globex")];
    let readers = [acme(), ada(), bob().agent("x"), Scope::tenant("globex"), Scope::tenant("none")];
    let filters = [
        EventFilter::default(),
        EventFilter::default().kind("a.two"),
        EventFilter::default().stream("s1").agent("x"),
    ];
    let mut subscriptions = Vec::new();
    for (reader, filter) in readers.iter().flat_map(|r| filters.iter().map(move |f| (r, f))) {
        let subscription = db.events().subscribe(reader, filter.clone(), None).expect("subscribes");
        subscriptions.push((reader, filter, subscription));
    }
    for round in 0..2 {
        for (n, writer) in writers.iter().enumerate() {
            write(store.as_ref(), writer, &format!("s{}", n % 2), 2).await;
        }
        for (reader, filter, subscription) in &mut subscriptions {
            let tenant = Scope::tenant(reader.tenant.as_str());
            let (whole, _) =
                rest(store.as_ref(), &tenant, &EventFilter::default(), None, 500).await;
            let admitted = reader.admit(Facet::Events).expect("complete");
            let meant: Vec<Event> =
                whole.into_iter().filter(|event| filter.admits(&admitted, event)).collect();
            let each = meant.len() / 2;

            let told = events(subscription, if round == 0 { meant.len() } else { each }).await;

            let expected = if round == 0 { &meant[..] } else { &meant[each..] };
            assert_eq!(told, expected, "{filter:?} by {reader:?}");
            if round == 0 {
                caught_up(subscription).await;
            }
        }
    }
}

pub(crate) async fn a_slow_subscriber_falls_back_and_loses_nothing(ctx: &Ctx) {
    let (store, db) = (ctx.store(), Mnemon::over(ctx.store()));
    let (mut slow, mut never, mut quick) = (
        subscribe(&db, &acme(), None),
        subscribe(&db, &acme(), None),
        subscribe(&db, &acme(), None),
    );
    for subscription in [&mut slow, &mut never, &mut quick] {
        caught_up(subscription).await;
    }
    let count = limits::SUBSCRIPTION_BUFFER + 500;

    let mut told = Vec::new();
    for _ in 0..3 {
        write(store.as_ref(), &acme(), "s", count / 3).await;
        told.extend(events(&mut quick, count / 3).await);
    }

    let mut late = events(&mut slow, count).await;
    assert_eq!(late, told, "all of it, in the same order");
    write(store.as_ref(), &acme(), "s", 1).await;
    late.extend(events(&mut slow, 1).await);
    assert_in_order(&late);
    drop(never);
}

pub(crate) async fn bad_subscriptions_are_refused_and_closing_ends_them(ctx: &Ctx) {
    let (store, db) = (ctx.another().await, Mnemon::over(ctx.store()));
    let all = EventFilter::default();
    let (_, theirs) = {
        write(store.as_ref(), &Scope::tenant("globex"), "s", 1).await;
        rest(store.as_ref(), &Scope::tenant("globex"), &all, None, 5).await
    };
    let garbage = "garbage".parse::<Cursor>().expect("any text");
    for cursor in [theirs, garbage] {
        refused(db.events().subscribe(&acme(), all.clone(), Some(&cursor)), "cursor");
    }
    let blank = EventFilter::default().stream(" ");
    refused(db.events().subscribe(&acme(), blank, None), "filter.stream");
    fails_as(db.events().subscribe(&Scope::default(), all.clone(), None), "scope_required");

    let closing = Mnemon::over(store);
    let mut live = subscribe(&closing, &acme(), None);
    caught_up(&mut live).await;
    let waiting = tokio::spawn(async move { next(&mut live).await.map(drop) });
    closing.close().await;
    fails_as(waiting.await.expect("no panic"), "closed");
    fails_as(closing.events().subscribe(&acme(), all, None), "closed");
}

pub(crate) async fn a_store_that_fails_interrupts_and_nothing_is_lost(ctx: &Ctx) {
    for after in 0..6 {
        let fault = Fault { after, times: 3, when: When::AnswerLost };
        let failing = Arc::new(FailingStore::new(ctx.store(), fault));
        let db = Mnemon::over(failing);
        let scope = Scope::tenant(format!("tenant{after}"));
        write_readable(ctx.store().as_ref(), &scope, "s", 600).await;
        let mut all = subscribe(&db, &scope, None);
        let (mut told, mut interrupted, mut resumed) = (Vec::new(), 0, 0);
        while told.len() < 650 {
            match next(&mut all).await.expect("it goes on") {
                Told::Event(event) => told.push(*event),
                Told::Interrupted(error) => {
                    assert!(error.is_retryable());
                    interrupted += 1;
                }
                Told::Resumed => resumed += 1,
                Told::CaughtUp if told.len() == 600 => {
                    write(ctx.store().as_ref(), &scope, "s", 50).await;
                }
                other => assert!(matches!(other, Told::CaughtUp), "{other:?}"),
            }
        }
        assert_in_order(&told);
        assert_eq!(interrupted, resumed, "after {after}");
    }
}

/// How many events the torture writes; the long form is asked for by the environment.
fn torture_events() -> usize {
    let given = std::env::var("MNEMON_TORTURE_EVENTS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(2_400)
}

/// Sixteen writers over eight streams, some of them refused, some stalling; four subscribers that
/// come at random times, go, and come back where they were.
pub(crate) async fn sixteen_writers_and_four_subscribers(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    let total = torture_events();
    let dbs: Vec<Mnemon> = stores.iter().map(|store| Mnemon::over(store.clone())).collect();
    let subscribers: Vec<_> =
        (0..4_usize).map(|n| tokio::spawn(follow(dbs[n % 2].clone(), n as u64, total))).collect();
    let writers: Vec<_> = (0..16_usize)
        .map(|n| tokio::spawn(torment(stores[n % 2].clone(), n as u64, total / 16)))
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }
    let (whole, _) = rest(stores[0].as_ref(), &acme(), &EventFilter::default(), None, 500).await;
    assert_in_order(&whole);
    assert_eq!(whole.len(), total / 16 * 16);
    for subscriber in subscribers {
        let told = subscriber.await.expect("no panic");
        assert_eq!(told.len(), whole.len());
        assert!(told == whole, "nothing skipped, doubled or turned around");
    }
    dbs[1].close().await;
}

/// Writes so many events in batches of its own making.
async fn torment(store: Arc<dyn Store>, seed: u64, total: usize) {
    let mut dice = Dice::seeded(seed);
    let mut left = total;
    while left > 0 {
        if dice.below(4) == 0 {
            tokio::time::sleep(Duration::from_millis(dice.next() % 7)).await;
        }
        let stream = |dice: &mut Dice| format!("s{}", dice.below(8));
        let refused = Append { expected_version: Some(1 << 40), ..append(&stream(&mut dice), 1) };
        let count = (1 + dice.below(6)).min(left);
        let halves = [count / 2, count - count / 2];
        let mut appends: Vec<Append> = halves
            .into_iter()
            .filter(|half| *half > 0)
            .map(|half| append(&stream(&mut dice), half))
            .collect();
        appends.push(refused);
        let done = store.events().append_many(&acme(), appends).await.expect("answered");
        assert!(done.last().is_some_and(Result::is_err), "what expects too much is refused");
        left -= count;
    }
}

/// Follows the log until it was told so many events, now and then from a new subscription.
async fn follow(db: Mnemon, seed: u64, total: usize) -> Vec<Event> {
    let mut dice = Dice::seeded(1_000 + seed);
    tokio::time::sleep(Duration::from_millis(dice.next() % 150)).await;
    let (mut told, wanted) = (Vec::new(), total / 16 * 16);
    let mut all = subscribe(&db, &acme(), None);
    let mut heads: BTreeMap<String, i64> = BTreeMap::new();
    while told.len() < wanted {
        if dice.below(400) == 0 {
            let place = all.cursor();
            all = subscribe(&db, &acme(), Some(&place));
        }
        if let Told::Event(event) = next(&mut all).await.expect("it goes on") {
            let head = heads.entry(event.stream.clone()).or_insert(0);
            assert_eq!(event.version, *head + 1, "of {}", event.stream);
            *head = event.version;
            told.push(*event);
        }
    }
    told
}

/// Callers that gather their appends into common commits get their own versions.
pub(crate) async fn gathered_appends_answer_each_caller(ctx: &Ctx) {
    let db = Mnemon::over(ctx.store());
    let callers: Vec<_> = (0..32_usize)
        .map(|n| {
            let db = db.clone();
            tokio::spawn(async move {
                let scope = if n % 4 == 0 { ada() } else { acme() };
                let mut last = 0;
                for round in 0..10 {
                    let done =
                        db.events().gather(&scope, append(&format!("s{n}"), 1 + round % 2)).await;
                    let done = done.expect("is taken");
                    assert_eq!(done.versions[0], last + 1);
                    last = done.stream_version;
                }
                let stale = Append { expected_version: Some(0), ..append(&format!("s{n}"), 1) };
                fails_as(db.events().gather(&scope, stale).await, "conflict");
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
    let (whole, _) = rest(ctx.store().as_ref(), &acme(), &EventFilter::default(), None, 500).await;
    assert_eq!(whole.len(), 32 * 15);
    assert_in_order(&whole);
    refused(db.events().gather(&acme(), append(" ", 1)).await, "stream");
    fails_as(db.events().gather(&Scope::default(), append("s", 1)).await, "scope_required");
    let over = append("big", limits::EVENT_BATCH + 1);
    refused(db.events().gather(&acme(), over).await, "appends");
}
