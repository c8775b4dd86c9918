//! Cases for durable consumers: shares, places that only move forward under the newest fence,
//! failures that end in a dead letter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use mnemon::Mnemon;
use mnemon::events::{Append, Consumer, ConsumerOptions, EventFilter, Handed, NewEvent, part_of};
use mnemon_core::consumers::{Failure, part_key, queue};
use mnemon_core::locks::{Guard, Lease};
use mnemon_core::{Cursor, Fence, Page, Scope, Store};
use serde_json::json;

use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme, ada};
use crate::events::log::rest;

const GROUP: &str = "mailer";
const MINUTE: Duration = Duration::from_mins(1);

async fn write(store: &dyn Store, scope: &Scope, streams: usize, each: usize) {
    let events = || (0..each).map(|n| NewEvent::new("a.b", json!({ "n": n }))).collect();
    let append = |n| Append { stream: format!("s{n}"), events: events(), expected_version: None };
    let done = store.events().append_many(scope, (0..streams).map(append).collect()).await;
    assert!(done.expect("is answered").iter().all(Result::is_ok));
}

fn options() -> ConsumerOptions {
    ConsumerOptions {
        lease: Duration::from_secs(20),
        retry: Duration::from_millis(1),
        bury_at: 3,
        ..ConsumerOptions::default()
    }
}

fn consumer(db: &Mnemon) -> Consumer {
    db.consumer(&acme(), GROUP, options()).expect("a member")
}

async fn next(consumer: &mut Consumer) -> Handed {
    let handed = tokio::time::timeout(MINUTE, consumer.next()).await;
    handed.expect("something is handed out in time").expect("the database answers")
}

pub(crate) async fn every_event_is_handed_out_in_the_order_of_its_stream(ctx: &Ctx) {
    let db = Mnemon::over(ctx.store());
    write(ctx.store().as_ref(), &acme(), 9, 7).await;
    write(ctx.store().as_ref(), &Scope::tenant("globex"), 2, 2).await;
    let mut mailer = consumer(&db);
    let mut heads: BTreeMap<String, i64> = BTreeMap::new();
    for _ in 0..9 * 7 {
        let handed = next(&mut mailer).await;
        let head = heads.entry(handed.event.stream.clone()).or_insert(0);
        assert_eq!(handed.event.version, *head + 1);
        assert_eq!(handed.part, part_of(&handed.event.stream, 16));
        *head += 1;
        mailer.commit(&handed).await.expect("holds its partition");
    }
    assert_eq!(mailer.parts().len(), 16);
    mailer.leave().await.expect("leaves");

    write(ctx.store().as_ref(), &acme(), 1, 1).await;
    let mut later = consumer(&db);
    let handed = next(&mut later).await;
    assert_eq!((handed.event.stream.as_str(), handed.event.version), ("s0", 8));
    let nothing = tokio::time::timeout(Duration::from_millis(200), later.next()).await;
    assert!(nothing.is_err(), "what was committed is not handed out again: {nothing:?}");
}

pub(crate) async fn what_is_not_committed_is_handed_out_again(ctx: &Ctx) {
    let db = Mnemon::over(ctx.store());
    write(ctx.store().as_ref(), &acme(), 1, 3).await;
    let mut first = consumer(&db);
    let one = next(&mut first).await;
    first.commit(&one).await.expect("holds it");
    assert_eq!(next(&mut first).await.event.version, 2);
    // It dies: nobody gives its partitions back.
    drop(first);
    ctx.move_clock(TimeDelta::seconds(30)).await;

    let mut second = consumer(&db);

    assert_eq!(next(&mut second).await.event.version, 2);
    assert_eq!(next(&mut second).await.event.version, 3);
}

pub(crate) async fn members_share_the_partitions(ctx: &Ctx) {
    let (db, other) = (Mnemon::over(ctx.store()), Mnemon::over(ctx.another().await));
    let seen: Arc<Mutex<BTreeMap<(String, i64), u32>>> = Arc::default();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    // What one member leaves, another that still runs would take.
    let stopped = Arc::new(tokio::sync::Barrier::new(4));
    let members: Vec<_> = (0..4_usize)
        .map(|n| {
            let (db, seen) = ([&db, &other][n % 2].clone(), Arc::clone(&seen));
            let (stop, stopped) = (Arc::clone(&stop), Arc::clone(&stopped));
            tokio::spawn(async move {
                let options = ConsumerOptions { lease: Duration::from_secs(3), ..options() };
                let mut member = db.consumer(&acme(), GROUP, options).expect("a member");
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let handed =
                        tokio::time::timeout(Duration::from_millis(100), member.next()).await;
                    let Ok(handed) = handed else { continue };
                    let handed = handed.expect("the database answers");
                    let key = (handed.event.stream.clone(), handed.event.version);
                    *seen.lock().expect("no panic").entry(key).or_insert(0) += 1;
                    // Whoever lost the partition in between did it for nothing.
                    let done = member.commit(&handed).await;
                    assert!(done.is_ok() || done.is_err_and(|error| error.code() == "fenced"));
                }
                let parts = member.parts();
                stopped.wait().await;
                member.leave().await.expect("leaves");
                parts
            })
        })
        .collect();
    for _ in 0..5 {
        write(ctx.store().as_ref(), &acme(), 20, 3).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let all = || seen.lock().expect("no panic").len();
    tokio::time::timeout(MINUTE, async {
        while all() < 300 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("every event is handled");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut held = BTreeSet::new();
    for member in members {
        for part in member.await.expect("no panic") {
            assert!(held.insert(part), "partition {part} has one holder");
        }
    }
    let (whole, _) = rest(ctx.store().as_ref(), &acme(), &EventFilter::default(), None, 500).await;
    assert_eq!(whole.len(), 300);
    other.close().await;
}

pub(crate) async fn the_last_failure_buries_the_event(ctx: &Ctx) {
    let db = Mnemon::over(ctx.store());
    write(ctx.store().as_ref(), &ada(), 1, 2).await;
    let mut mailer = consumer(&db);
    for expected in 1..=3 {
        let handed = next(&mut mailer).await;
        assert_eq!(handed.event.version, 1, "nothing behind it goes first");
        let failed = mailer.fail(&handed, format!("failure {expected}")).await.expect("is noted");
        assert_eq!((failed.failures, failed.buried), (expected, expected == 3));
    }
    let handed = next(&mut mailer).await;
    assert_eq!(handed.event.version, 2);
    let once = mailer.fail(&handed, "another event").await.expect("is noted");
    assert_eq!((once.failures, once.buried), (1, false), "each event has its own count");

    let letters = ctx.store();
    let name = queue(GROUP);
    let found = letters.dead_letters().take(&acme(), &name, 10, MINUTE).await.expect("is answered");
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].item["stream"].as_str(), found[0].item["version"].as_i64()),
        (Some("s0"), Some(1))
    );
    assert_eq!(found[0].error, "failure 3");
    assert_eq!(found[0].item["data"], json!({ "n": 0 }));
}

async fn hold(ctx: &Ctx, part: u32, holder: &str) -> Lease {
    let key = part_key(GROUP, part);
    ctx.locks().acquire(&acme(), &key, holder, MINUTE).await.expect("nobody holds it")
}

pub(crate) async fn a_consumer_whose_fence_is_gone_moves_nothing(ctx: &Ctx) {
    let store = ctx.store();
    write(store.as_ref(), &acme(), 1, 2).await;
    let (events, _) = rest(store.as_ref(), &acme(), &EventFilter::default(), None, 5).await;
    let part = part_of("s0", 16);
    let to = |n: usize| events[n].position.cursor();
    let old = hold(ctx, part, "old").await.guard();
    ctx.move_clock(TimeDelta::minutes(2)).await;
    let new = hold(ctx, part, "new").await.guard();

    let consumers = store.consumers();
    fails_as(consumers.advance(&acme(), GROUP, part, &to(0), &old).await, "fenced");
    let failure = Failure {
        group: GROUP.into(),
        part,
        event: events[0].clone(),
        error: "late".into(),
        bury_at: 1,
    };
    fails_as(consumers.failed(&acme(), failure.clone(), &old).await, "fenced");
    assert_eq!(consumers.progress(&acme(), GROUP).await.expect("is read"), []);
    assert_eq!(ctx.rows("dead_letters").await, 0);

    consumers.advance(&acme(), GROUP, part, &to(1), &new).await.expect("holds it");
    consumers.advance(&acme(), GROUP, part, &to(0), &new).await.expect("changes nothing");
    let progress = consumers.progress(&acme(), GROUP).await.expect("is read");
    assert_eq!(progress.len(), 1);
    assert_eq!((progress[0].part, progress[0].place.as_ref()), (part, Some(&to(1))));
    let theirs = Scope::tenant("globex");
    assert_eq!(consumers.progress(&theirs, GROUP).await.expect("is read"), [], "a tenant's own");
}

pub(crate) async fn bad_consumers_are_refused(ctx: &Ctx) {
    let (store, db) = (ctx.store(), Mnemon::over(ctx.store()));
    let bad = |options| db.consumer(&acme(), GROUP, options).map(drop);
    refused(bad(ConsumerOptions { parts: 0, ..options() }), "options.parts");
    refused(bad(ConsumerOptions { parts: 257, ..options() }), "options.parts");
    refused(bad(ConsumerOptions { bury_at: 0, ..options() }), "options.bury_at");
    refused(bad(ConsumerOptions { lease: Duration::ZERO, ..options() }), "lock.ttl");
    refused(db.consumer(&acme(), " ", options()).map(drop), "group");
    fails_as(db.consumer(&Scope::default(), GROUP, options()).map(drop), "scope_required");

    let consumers = store.consumers();
    let garbage = "garbage".parse::<Cursor>().expect("any text");
    let guard = Guard { key: part_key(GROUP, 1), fence: Fence(1) };
    refused(consumers.advance(&acme(), GROUP, 1, &garbage, &guard).await, "cursor");
    write(store.as_ref(), &acme(), 1, 1).await;
    let (_, end) = rest(store.as_ref(), &acme(), &EventFilter::default(), None, 5).await;
    refused(consumers.advance(&acme(), GROUP, 2, &end, &guard).await, "guard.key");
    fails_as(consumers.advance(&acme(), GROUP, 1, &end, &guard).await, "fenced");
    refused(consumers.join(&acme(), "", "m", MINUTE).await, "group");
    refused(consumers.join(&acme(), GROUP, " ", MINUTE).await, "lock.holder");
    fails_as(consumers.progress(&Scope::default(), GROUP).await, "scope_required");
    let list = store.locks().list(&acme(), &Page::default()).await.expect("a page");
    assert_eq!(list.items, []);
}
