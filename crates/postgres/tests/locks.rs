//! Locks on PostgreSQL: the statement decides as core does, and a takeover waits for open steps.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/step.rs"]
mod step;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use mnemon_core::locks::{Guard, Held, Locks, Verdict, decide};
use mnemon_core::steps::{Step, Steps};
use mnemon_core::{Error, Fence, Scope, Store};
use mnemon_postgres::{Options, PostgresStore};
use mnemon_testkit::Proxy;
use sqlx::{Connection as _, PgConnection};

use step::{id, remember, scope};

const TTL: Duration = Duration::from_secs(10);

/// A small generator of our own: the same sequence on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statement_decides_as_core_does() {
    for server in common::servers() {
        let common::Fixture { db, store } = common::fixture(&server).await;
        let tenant = Scope::tenant("t");
        let mut now = db.freeze_clock().await;
        let mut model: BTreeMap<String, Held> = BTreeMap::new();
        let mut dice = Dice(7);
        for _ in 0..400 {
            let key = format!("k{}", dice.roll(3));
            let holder = format!("h{}", dice.roll(3));
            match dice.roll(4) {
                0 => {
                    let by = TimeDelta::seconds(i64::try_from(dice.roll(17)).unwrap() - 5);
                    db.move_clock(by).await;
                    now += by;
                }
                1 => {
                    let Some(held) = model.get_mut(&key) else { continue };
                    let guard = Guard { key, fence: held.fence };
                    store.release(&tenant, &guard).await.unwrap();
                    held.holder = None;
                }
                _ => {
                    let verdict = decide(model.get(&key), &holder, now);
                    let found = store.acquire(&tenant, &key, &holder, TTL).await;
                    match verdict {
                        Verdict::Grant(fence) | Verdict::Renew(fence) => {
                            let lease = found.unwrap();
                            assert_eq!((lease.fence, lease.expires_at), (fence, now + TTL));
                            let expires_at = lease.expires_at;
                            model.insert(key, Held { holder: Some(holder), fence, expires_at });
                        }
                        Verdict::Refuse { until } => match found {
                            Err(Error::Held { until: found, .. }) => assert_eq!(found, until),
                            other => panic!("refused until {until}, but {other:?}"),
                        },
                    }
                }
            }
        }
        store.close().await;
    }
}

/// A statement that is prepared is one round trip, and one message more or less is not.
#[tokio::test(flavor = "multi_thread")]
async fn acquire_renew_and_release_are_one_round_trip_each() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let proxy = Proxy::to(&server.address());
        let mut options = Options::new(proxy.url(db.url()));
        options.pool.max_connections = 1;
        let store = PostgresStore::open(&options).await.unwrap();
        let tenant = Scope::tenant("t");
        let (mut counts, mut seen) = ([0; 4], 0);
        // The first round prepares.
        for round in 0..2 {
            let fence = Fence(round + 1);
            let guard = Guard { key: "k".into(), fence };
            let mut count = |at: usize| {
                counts[at] = proxy.messages() - seen;
                seen = proxy.messages();
            };
            store.get(&tenant, "k").await.unwrap();
            count(0);
            store.acquire(&tenant, "k", "a", TTL).await.unwrap();
            count(1);
            store.renew(&tenant, &guard, TTL).await.unwrap();
            count(2);
            store.release(&tenant, &guard).await.unwrap();
            count(3);
        }

        assert_eq!(counts, [counts[0]; 4], "as many messages as one prepared select");
        store.close().await;
    }
}

/// Whether some backend waits for a lock of a row or transaction in this database.
async fn until_somebody_waits(conn: &mut PgConnection, database: &str) {
    let waiting = "select count(*) from pg_stat_activity
                   where datname = $1 and wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waiting).bind(database).fetch_one(&mut *conn).await.unwrap()
        == 0
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_waits_for_an_open_step_and_a_renewal_does_not() {
    for server in common::servers() {
        let common::Fixture { db, store } = common::fixture(&server).await;
        let store = Arc::new(store);
        let tenant = scope("t");
        let lease = store.acquire(&tenant, "k", "a", TTL).await.unwrap();
        let guarded = |step: &str| Step::new(id(step)).write(remember("m")).guard(lease.guard());
        let mut host = common::connect(db.url()).await;
        let mut tx = host.begin().await.unwrap();
        store.commit_in(&mut tx, &tenant, guarded("open")).await.unwrap();

        // The holder goes on while its step is open, and others are told at once.
        store.renew(&tenant, &lease.guard(), TTL).await.unwrap();
        store.acquire(&tenant, "k", "a", TTL).await.unwrap();
        let held = store.acquire(&tenant, "k", "b", TTL).await;
        assert!(matches!(held, Err(Error::Held { .. })), "{held:?}");
        db.move_clock(TimeDelta::seconds(60)).await;
        let (taking, of) = (Arc::clone(&store), tenant.clone());
        let takeover = tokio::spawn(async move { taking.acquire(&of, "k", "b", TTL).await });
        let mut watcher = common::connect(db.admin_url()).await;
        until_somebody_waits(&mut watcher, db.name()).await;
        assert!(!takeover.is_finished());
        tx.commit().await.unwrap();

        let newer = takeover.await.unwrap().unwrap();
        assert!(newer.fence > lease.fence);
        let late = store.commit(&tenant, guarded("late")).await;
        assert!(matches!(late, Err(Error::Fenced { .. })), "{late:?}");
        assert_eq!(store.memories().count(&tenant).await.unwrap(), 1);
        store.close().await;
    }
}
