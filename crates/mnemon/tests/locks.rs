//! Locks that are waited for, and locks that are held for as long as their guard lives: renewed,
//! given back, and told of at once when they are lost. Nothing here asserts how long it took: what
//! never happens hangs.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mnemon::locks::Lease;
use mnemon::turns::NewTurn;
use mnemon::{Error, Mnemon, RequestId, Scope, Step, Write};

const HOUR: Duration = Duration::from_hours(1);

async fn open() -> (Mnemon, Scope) {
    let db = Mnemon::builder("sqlite::memory:").background_upkeep(false).open().await.unwrap();
    (db, Scope::tenant("acme").user("ada").session("s"))
}

async fn lease(db: &Mnemon, scope: &Scope) -> Lease {
    db.locks().get(scope, "k").await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_lock_is_renewed_under_its_fence() {
    let (db, scope) = open().await;
    let ttl = Duration::from_secs(3);
    let held = db.hold(&scope, "k", "one", ttl, Duration::ZERO).await.unwrap();
    let first = lease(&db, &scope).await;

    while lease(&db, &scope).await.expires_at == first.expires_at {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    assert_eq!(lease(&db, &scope).await.fence, first.fence);
    assert!(!held.is_lost());
    let step = Step::new(RequestId::parse("s").unwrap())
        .guard(held.guard().clone())
        .write(Write::Turn(Box::new(NewTurn::new("q", "a"))));
    db.commit(&scope, step).await.unwrap();
    held.release().await.unwrap();
    assert_eq!(db.locks().get(&scope, "k").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_a_lock_is_told_and_writes_nothing() {
    let (db, scope) = open().await;
    let ttl = Duration::from_secs(3);
    let mut held = db.hold(&scope, "k", "one", ttl, Duration::ZERO).await.unwrap();
    db.locks().force_release(&scope, "k").await.unwrap();
    let newer = db.locks().acquire(&scope, "k", "two", HOUR).await.unwrap();

    held.lost().await;

    assert!(held.is_lost());
    let turn = NewTurn::new("q", "a");
    let late = db.turns().append(&scope, turn, Some(held.guard())).await;
    assert!(matches!(late, Err(Error::Fenced { .. })), "{late:?}");
    assert!(matches!(held.release().await, Err(Error::Fenced { .. })));
    assert_eq!(lease(&db, &scope).await, newer, "what is lost is not given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_nobody_answers_for_is_lost() {
    let (db, scope) = open().await;
    let mut held =
        db.hold(&scope, "k", "one", Duration::from_secs(1), Duration::ZERO).await.unwrap();

    db.close().await;
    held.lost().await;

    assert!(held.is_lost());
}

#[tokio::test]
async fn a_stalled_holder_knows_by_its_own_clock() {
    let (db, scope) = open().await;
    let ttl = Duration::from_millis(50);
    let held = db.hold(&scope, "k", "one", ttl, Duration::ZERO).await.unwrap();

    // On the only thread of this runtime: no renewal can run meanwhile.
    std::thread::sleep(2 * ttl);

    assert!(held.is_lost(), "nobody had to tell");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_lock_is_given_back() {
    let (db, scope) = open().await;
    let held = db.hold(&scope, "k", "one", HOUR, Duration::ZERO).await.unwrap();
    let taken = db.locks().acquire(&scope, "k", "two", HOUR).await;
    assert!(matches!(taken, Err(Error::Held { .. })), "{taken:?}");

    drop(held);

    // Its lease would last for an hour.
    let next = db.hold(&scope, "k", "two", HOUR, HOUR).await.unwrap();
    assert!(!next.is_lost());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_gets_the_key_when_it_is_free() {
    let (db, scope) = open().await;
    let first = db.locks().acquire(&scope, "k", "one", HOUR).await.unwrap();
    let waiters: Vec<_> = [HOUR, Duration::MAX]
        .into_iter()
        .enumerate()
        .map(|(n, timeout)| {
            let (db, scope) = (db.clone(), scope.clone());
            tokio::spawn(async move {
                let holder = format!("waiter {n}");
                let lease = db.locks().wait(&scope, "k", &holder, HOUR, timeout).await.unwrap();
                db.locks().release(&scope, &lease.guard()).await.unwrap();
                lease.fence
            })
        })
        .collect();

    db.locks().release(&scope, &first.guard()).await.unwrap();

    let mut fences = Vec::new();
    for waiter in waiters {
        fences.push(waiter.await.unwrap());
    }
    fences.sort();
    assert_eq!(fences.iter().map(|fence| fence.0).collect::<Vec<_>>(), [2, 3]);
}

#[tokio::test]
async fn a_wait_that_is_over_says_until_when_it_is_held() {
    let (db, scope) = open().await;
    let first = db.locks().acquire(&scope, "k", "one", HOUR).await.unwrap();

    for timeout in [Duration::ZERO, Duration::from_millis(30)] {
        let late = db.locks().wait(&scope, "k", "two", HOUR, timeout).await;
        assert!(
            matches!(late, Err(Error::Held { until, .. }) if until == first.expires_at),
            "{late:?}"
        );
    }
    let refused = db.locks().wait(&scope, " ", "two", HOUR, HOUR).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
}
