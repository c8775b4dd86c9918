//! Cases for locks: one live holder per key, fences that only grow, guards on every write.

pub(crate) mod random;

use std::time::Duration;

use chrono::TimeDelta;
use mnemon_core::events::{Append, LOCK_FORCED, NewEvent, SYSTEM_STREAM};
use mnemon_core::locks::{Guard, Lease};
use mnemon_core::{Error, Fence, Page, Scope, limits};
use serde_json::{Value, json};

use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme, ada};

const TTL: Duration = Duration::from_mins(1);

async fn taken(ctx: &Ctx, key: &str, holder: &str) -> Lease {
    ctx.locks().acquire(&acme(), key, holder, TTL).await.expect("the key is free")
}

async fn pass(ctx: &Ctx, seconds: i64) {
    ctx.move_clock(TimeDelta::seconds(seconds)).await;
}

pub(crate) async fn a_free_key_is_granted_and_a_held_one_refused(ctx: &Ctx) {
    let before = ctx.now().await;
    let lease = taken(ctx, "k", "a").await;

    let held = ctx.locks().acquire(&acme(), "k", "b", TTL).await;

    assert_eq!((lease.key.as_str(), lease.holder.as_str(), lease.fence), ("k", "a", Fence(1)));
    assert!(lease.acquired_at >= before);
    assert_eq!(lease.expires_at, lease.acquired_at + TTL);
    assert!(
        matches!(held, Err(Error::Held { key, until }) if key == "k" && until == lease.expires_at)
    );
    assert_eq!(ctx.locks().get(&acme(), "k").await.expect("is read"), Some(lease));
    assert_eq!(ctx.locks().get(&acme(), "other").await.expect("is read"), None);
}

pub(crate) async fn the_same_holder_goes_on_under_its_fence(ctx: &Ctx) {
    let first = taken(ctx, "k", "a").await;
    pass(ctx, 10).await;

    let again = taken(ctx, "k", "a").await;

    assert_eq!((again.fence, again.acquired_at), (first.fence, first.acquired_at));
    assert!(again.expires_at > first.expires_at);
}

pub(crate) async fn an_expired_lease_is_taken_over_under_a_larger_fence(ctx: &Ctx) {
    let first = taken(ctx, "k", "a").await;
    pass(ctx, 61).await;
    assert_eq!(ctx.locks().get(&acme(), "k").await.expect("is read"), None, "it is over");

    let second = taken(ctx, "k", "b").await;

    assert!(second.fence > first.fence);
    fails_as(ctx.locks().renew(&acme(), &first.guard(), TTL).await, "fenced");
    fails_as(ctx.locks().release(&acme(), &first.guard()).await, "fenced");
    pass(ctx, 61).await;
    let own = taken(ctx, "k", "b").await;
    assert!(own.fence > second.fence, "its old holder gets a new fence, too");
}

pub(crate) async fn a_fence_outlives_release_expiry_and_force(ctx: &Ctx) {
    let mut last = Fence(0);
    for round in 0..4 {
        let lease = taken(ctx, "k", &format!("holder {round}")).await;
        assert!(lease.fence > last, "round {round}");
        last = lease.fence;
        match round % 3 {
            0 => ctx.locks().release(&acme(), &lease.guard()).await.expect("it is ours"),
            1 => pass(ctx, 61).await,
            _ => last = ctx.locks().force_release(&acme(), "k").await.expect("it is there"),
        }
    }
    ctx.move_clock(TimeDelta::hours(-2)).await;
    ctx.locks().force_release(&acme(), "k").await.expect("it is there");
    assert!(taken(ctx, "k", "late").await.fence > last, "however the clock moves");
}

pub(crate) async fn a_renewal_needs_the_newest_fence(ctx: &Ctx) {
    let lease = taken(ctx, "k", "a").await;
    pass(ctx, 90).await;

    let renewed = ctx.locks().renew(&acme(), &lease.guard(), TTL).await.expect("nobody took it");

    assert_eq!((renewed.fence, renewed.holder.as_str()), (lease.fence, "a"));
    assert_eq!(renewed.acquired_at, lease.acquired_at);
    fails_as(ctx.locks().acquire(&acme(), "k", "b", TTL).await, "held");
    let never = Guard { key: "never".into(), fence: Fence(1) };
    fails_as(ctx.locks().renew(&acme(), &never, TTL).await, "fenced");
    ctx.locks().release(&acme(), &lease.guard()).await.expect("it is ours");
    fails_as(ctx.locks().renew(&acme(), &lease.guard(), TTL).await, "fenced");
}

pub(crate) async fn a_release_is_a_no_op_the_second_time(ctx: &Ctx) {
    let lease = taken(ctx, "k", "a").await;

    ctx.locks().release(&acme(), &lease.guard()).await.expect("it is ours");
    ctx.locks().release(&acme(), &lease.guard()).await.expect("again is a no-op");

    assert_eq!(ctx.locks().get(&acme(), "k").await.expect("is read"), None);
    let next = taken(ctx, "k", "b").await;
    fails_as(ctx.locks().release(&acme(), &lease.guard()).await, "fenced");
    assert_eq!(ctx.locks().get(&acme(), "k").await.expect("is read"), Some(next));
}

pub(crate) async fn a_forced_release_is_noted(ctx: &Ctx) {
    fails_as(ctx.locks().force_release(&acme(), "k").await, "not_found");
    let lease = taken(ctx, "k", "a").await;

    let fence = ctx.locks().force_release(&acme(), "k").await.expect("it is there");

    assert!(fence > lease.fence);
    fails_as(ctx.locks().renew(&acme(), &lease.guard(), TTL).await, "fenced");
    let events = ctx.events().read(&acme(), SYSTEM_STREAM, &Page::default()).await;
    let events = events.expect("the stream is read").items;
    assert_eq!(events.len(), 1, "what found nothing noted nothing");
    assert_eq!(events[0].kind, LOCK_FORCED);
    assert_eq!(events[0].data["key"], "k");
    assert_eq!(events[0].data["holder"], "a");
    assert_eq!(events[0].data["fence"], json!(fence));
    assert!(taken(ctx, "k", "b").await.fence > fence);
}

pub(crate) async fn live_leases_are_listed_by_key(ctx: &Ctx) {
    for key in ["b", "a:1", "d", "c", "gone"] {
        taken(ctx, key, "a").await;
    }
    let gone = Guard { key: "gone".into(), fence: Fence(1) };
    ctx.locks().release(&acme(), &gone).await.expect("it is ours");

    let first = ctx.locks().list(&acme(), &Page::first(3)).await.expect("a page");
    let rest = Page { limit: 3, cursor: first.next.clone() };
    let rest = ctx.locks().list(&acme(), &rest).await.expect("a page");

    let keys = |leases: &[Lease]| leases.iter().map(|l| l.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&first.items), ["a:1", "b", "c"]);
    assert_eq!((keys(&rest.items), rest.next), (vec!["d".to_owned()], None));
    pass(ctx, 61).await;
    let none = ctx.locks().list(&acme(), &Page::default()).await.expect("a page");
    assert!(none.items.is_empty(), "what expired is not live");
}

pub(crate) async fn a_tenants_keys_are_its_own(ctx: &Ctx) {
    let globex = Scope::tenant("globex");
    let ours = taken(ctx, "k", "a").await;

    let theirs = ctx.locks().acquire(&globex, "k", "b", TTL).await.expect("theirs is free");
    ctx.locks().release(&globex, &theirs.guard()).await.expect("theirs");

    assert_eq!(ctx.locks().get(&acme(), "k").await.expect("is read"), Some(ours.clone()));
    ctx.locks().release(&acme(), &ours.guard()).await.expect("ours");
    for _ in 0..3 {
        let lease = taken(ctx, "k", "a").await;
        ctx.locks().release(&acme(), &lease.guard()).await.expect("ours");
    }
    let newest = taken(ctx, "k", "a").await;
    fails_as(ctx.locks().renew(&globex, &newest.guard(), TTL).await, "fenced");
    let append = one_event("s");
    let foreign = ctx.events().append(&globex, append, Some(&newest.guard())).await;
    fails_as(foreign, "fenced");
}

pub(crate) async fn of_sixteen_at_once_one_holds(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    for round in 0..5 {
        let tries: Vec<_> = (0..16)
            .map(|n: usize| {
                let store = std::sync::Arc::clone(&stores[n % 2]);
                tokio::spawn(async move {
                    let key = format!("k{round}");
                    store.locks().acquire(&acme(), &key, &format!("holder {n}"), TTL).await
                })
            })
            .collect();
        let mut granted = 0;
        for outcome in tries {
            match outcome.await.expect("no panic") {
                Ok(_) => granted += 1,
                Err(Error::Held { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(granted, 1, "round {round}");
    }
    stores[1].close().await;
}

fn one_event(stream: &str) -> Append {
    let events = vec![NewEvent::new("a.b", Value::Null)];
    Append { stream: stream.into(), events, expected_version: None }
}

pub(crate) async fn a_stale_guard_stops_every_facet(ctx: &Ctx) {
    use mnemon_core::checkpoints::{Put, Thread};
    use mnemon_core::claims::NewClaim;
    use mnemon_core::dead_letters::Burial;
    use mnemon_core::turns::NewTurn;
    use mnemon_core::workflows::SaveRun;
    let scope = ada().agent("planner").session("s");
    let old = taken(ctx, "k", "a").await.guard();
    pass(ctx, 61).await;
    taken(ctx, "k", "b").await;
    let stale = Some(&old);

    fails_as(ctx.events().append(&scope, one_event("s"), stale).await, "fenced");
    fails_as(ctx.turns().append(&scope, NewTurn::new("q", "a"), stale).await, "fenced");
    fails_as(ctx.checkpoints().put(&scope, Put::new(Thread::new("t")), stale).await, "fenced");
    fails_as(ctx.claims().assert(&scope, NewClaim::new("s", "p", 1), stale).await, "fenced");
    fails_as(ctx.workflows().save(&scope, SaveRun::new("r", "k"), stale).await, "fenced");
    let burial = Burial::new("q", "i", Value::Null, "e");
    fails_as(ctx.dead_letters().bury(&scope, burial, stale).await, "fenced");

    for table in ["events", "turns", "checkpoints", "claims", "workflow_runs", "dead_letters"] {
        assert_eq!(ctx.rows(table).await, 0, "{table}");
    }
}

pub(crate) async fn a_guard_holds_until_somebody_newer_comes(ctx: &Ctx) {
    let lease = taken(ctx, "k", "a").await;
    let guard = lease.guard();
    let append = || ctx.events().append(&ADA, one_event("s"), Some(&guard));

    append().await.expect("the holder writes");
    pass(ctx, 61).await;
    append().await.expect("nobody newer came");
    ctx.locks().renew(&acme(), &guard, TTL).await.expect("nobody newer came");
    append().await.expect("the holder writes");
    ctx.locks().release(&acme(), &guard).await.expect("ours");
    fails_as(append().await, "fenced");
    let blank = Guard { key: " ".into(), fence: Fence(1) };
    refused(ctx.events().append(&ada(), one_event("s"), Some(&blank)).await, "lock.key");
}

static ADA: std::sync::LazyLock<Scope> = std::sync::LazyLock::new(ada);

pub(crate) async fn bad_input_is_refused(ctx: &Ctx) {
    let locks = ctx.locks();
    let long = "k".repeat(limits::LOCK_KEY_BYTES + 1);
    for key in ["", " ", "a\0b", &long] {
        refused(locks.acquire(&acme(), key, "a", TTL).await, "lock.key");
        refused(locks.get(&acme(), key).await, "lock.key");
        refused(locks.force_release(&acme(), key).await, "lock.key");
        let guard = Guard { key: key.into(), fence: Fence(1) };
        refused(locks.renew(&acme(), &guard, TTL).await, "lock.key");
        refused(locks.release(&acme(), &guard).await, "lock.key");
    }
    for holder in ["", "\0"] {
        refused(locks.acquire(&acme(), "k", holder, TTL).await, "lock.holder");
    }
    for ttl in [Duration::ZERO, limits::LEASE_MAX + Duration::from_millis(1)] {
        refused(locks.acquire(&acme(), "k", "a", ttl).await, "lock.ttl");
    }
    fails_as(locks.acquire(&Scope::tenant(" "), "k", "a", TTL).await, "scope_required");
    let foreign = Page { limit: 1, cursor: Some(mnemon_core::Cursor::of("events", &["1"])) };
    refused(locks.list(&acme(), &foreign).await, "page.cursor");
    let longest = "k".repeat(limits::LOCK_KEY_BYTES);
    taken(ctx, &longest, "a").await;
}
