//! What is SQLite's own in locks, claims and steps: the one-statement lock against core's
//! decision, triggers, one chain from many writers, receipts swept.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use common::Place;
use mnemon_core::checkpoints::{ExpectedHead, Put, Thread};
use mnemon_core::claims::{AuditQuery, NewClaim};
use mnemon_core::locks::{Guard, Held, Verdict, decide};
use mnemon_core::steps::{Outcome, Step, Write};
use mnemon_core::turns::{Key, NewTurn};
use mnemon_core::upkeep::Task;
use mnemon_core::{Error, Fence, Page, RequestId, Scope, Store, limits};
use mnemon_sqlite::{Clock, Location, Options, SqliteStore};

/// A store whose clock stands still until it is moved; the number is microseconds.
async fn with_clock() -> (SqliteStore, Arc<AtomicI64>) {
    let micros = Arc::new(AtomicI64::new(1_000_000_000));
    let read = Arc::clone(&micros);
    let clock = Clock::from_fn(move || time(read.load(Ordering::SeqCst)));
    let options = Options { clock, ..Options::new(Location::Memory) };
    (SqliteStore::open(options).await.unwrap(), micros)
}

fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap()
}

/// Numbers that look random and are the same everywhere (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// What core says of one key, step by step.
#[derive(Default)]
struct Model {
    held: Option<Held>,
    acquired_at: DateTime<Utc>,
}

impl Model {
    fn is_newest(&self, fence: Fence) -> Option<&Held> {
        self.held.as_ref().filter(|held| held.fence == fence)
    }
}

#[tokio::test]
async fn random_sequences_of_locks_are_what_core_decides() {
    const HOLDERS: [&str; 3] = ["a", "b", "c"];
    for seed in 0..40 {
        let (store, clock) = with_clock().await;
        let (mut dice, mut model) = (Dice(seed), Model::default());
        let (scope, locks) = (Scope::tenant("t"), store.locks());
        for round in 0..120 {
            let what = format!("seed {seed}, round {round}");
            // Backwards, too; leases last 1 to 4 steps of it.
            let by = i64::try_from(dice.below(5)).unwrap() - 1;
            let now = time(clock.fetch_add(by * 10_000, Ordering::SeqCst) + by * 10_000);
            let ttl = Duration::from_millis(10 * (dice.below(4) + 1));
            let until = now + ttl;
            let newest = model.held.as_ref().map_or(0, |held| held.fence.0);
            let fence = Fence(newest - i64::try_from(dice.below(3) / 2).unwrap());
            let guard = Guard { key: "k".into(), fence };
            match dice.below(8) {
                0..4 => {
                    let holder = HOLDERS[usize::try_from(dice.below(3)).unwrap()];
                    let found = locks.acquire(&scope, "k", holder, ttl).await;
                    let fence = match decide(model.held.as_ref(), holder, now) {
                        Verdict::Refuse { until: expected } => {
                            let held = matches!(found, Err(Error::Held { until, .. }) if until == expected);
                            assert!(held, "{what}: {found:?}");
                            continue;
                        }
                        Verdict::Grant(fence) => {
                            model.acquired_at = now;
                            fence
                        }
                        Verdict::Renew(fence) => fence,
                    };
                    let lease = found.unwrap();
                    assert_eq!((lease.fence, lease.expires_at), (fence, until), "{what}");
                    assert_eq!(
                        (lease.holder.as_str(), lease.acquired_at),
                        (holder, model.acquired_at),
                        "{what}"
                    );
                    model.held =
                        Some(Held { holder: Some(holder.into()), fence, expires_at: until });
                }
                4 | 5 => {
                    let found = locks.renew(&scope, &guard, ttl).await;
                    if let Some(held) = model.is_newest(fence).filter(|held| held.holder.is_some())
                    {
                        assert_eq!(found.unwrap().expires_at, until, "{what}");
                        model.held = Some(Held { expires_at: until, ..held.clone() });
                    } else {
                        assert!(matches!(found, Err(Error::Fenced { .. })), "{what}: {found:?}");
                    }
                }
                6 => {
                    let found = locks.release(&scope, &guard).await;
                    if let Some(held) = model.is_newest(fence) {
                        assert!(found.is_ok(), "{what}");
                        model.held = Some(Held { holder: None, ..held.clone() });
                    } else {
                        assert!(matches!(found, Err(Error::Fenced { .. })), "{what}: {found:?}");
                    }
                }
                _ => {
                    let found = locks.force_release(&scope, "k").await;
                    if let Some(held) = &model.held {
                        let fence = Fence(held.fence.0 + 1);
                        assert_eq!(found.unwrap(), fence, "{what}");
                        model.held = Some(Held { holder: None, fence, ..held.clone() });
                    } else {
                        assert!(matches!(found, Err(Error::NotFound { .. })), "{what}: {found:?}");
                    }
                }
            }
            let live =
                model.held.as_ref().filter(|held| held.holder.is_some() && held.expires_at > now);
            let found = locks.get(&scope, "k").await.unwrap();
            assert_eq!(found.map(|lease| lease.fence), live.map(|held| held.fence), "{what}");
        }
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_on_one_thread_make_one_chain() {
    let store = Arc::new(SqliteStore::open(Options::new(Location::Memory)).await.unwrap());
    let thread = Thread::new("one");
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let (store, thread) = (Arc::clone(&store), thread.clone());
            tokio::spawn(async move {
                for n in 0..100 {
                    while !try_on_head(&store, &thread, writer, n).await {}
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }

    let (mut page, mut chain) = (Page::first(500), Vec::new());
    loop {
        let piece = store.checkpoints().history(&scope(), &thread, &page).await.unwrap();
        chain.extend(piece.items);
        let Some(next) = piece.next else { break };
        page.cursor = Some(next);
    }
    assert_eq!(chain.len(), 1_600);
    for (at, pair) in chain.windows(2).enumerate() {
        assert_eq!(pair[0].parent.as_ref(), Some(&pair[1].id), "no fork");
        assert_eq!(pair[0].version, 1_600 - i64::try_from(at).unwrap());
        assert!(pair[0].id > pair[1].id);
    }
    let turns = store.turns().list(&scope(), &Key::default(), &Page::first(1)).await.unwrap();
    assert_eq!(turns.items[0].seq, 1);
    let context = store.turns().context(&scope(), &Key::default()).await.unwrap();
    assert_eq!(context.recent_turns.last().unwrap().seq, 1_600, "a refused step left no turn");
}

fn scope() -> Scope {
    Scope::tenant("t").user("u").session("s")
}

/// Commits one step on the newest checkpoint; whether it was still the newest.
async fn try_on_head(store: &SqliteStore, thread: &Thread, writer: usize, n: usize) -> bool {
    let expected_head = match store.checkpoints().get(&scope(), thread, None).await {
        Ok(newest) => ExpectedHead::Is(newest.id),
        Err(Error::NotFound { .. }) => ExpectedHead::Empty,
        Err(error) => panic!("{error}"),
    };
    let put = Put { expected_head, ..Put::new(thread.clone()) };
    let step = Step::new(RequestId::parse(format!("{writer}/{n}")).unwrap())
        .write(Write::Turn(Box::new(NewTurn::new("q", "a"))))
        .write(Write::Checkpoint(Box::new(put)));
    match store.steps().commit(&scope(), step).await {
        Ok(receipt) => !receipt.replayed,
        Err(Error::Conflict { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn claims_and_ledger_refuse_changes_without_a_permit() {
    let place = Place::new();
    let store = place.open().await.unwrap();
    let scope = Scope::tenant("t").agent("a");
    let first = store.claims().assert(&scope, NewClaim::new("s", "p", 1), None).await.unwrap();
    let second = NewClaim { derived_from: vec![first.id], ..NewClaim::new("s", "q", 2) };
    store.claims().assert(&scope, second, None).await.unwrap();
    store.close().await;
    let conn = place.raw();

    for table in ["claims", "claim_edges", "claim_ledger", "claim_ledger_payloads"] {
        for change in [format!("delete from {table}"), format!("update {table} set user_id = 'x'")]
        {
            let refused = conn.execute(&change, []).unwrap_err();
            assert!(refused.to_string().contains("is insert-only"), "{change}: {refused}");
        }
    }
    let permit = "insert into erasure_permits (tenant, created_at, reason) values (?1, 0, 'test')";
    conn.execute_batch("begin").unwrap();
    conn.execute(permit, ["another tenant"]).unwrap();
    assert!(conn.execute("delete from claims", []).is_err(), "another tenant's permit");
    conn.execute(permit, ["t"]).unwrap();
    for table in ["claim_edges", "claims", "claim_ledger", "claim_ledger_payloads"] {
        assert!(conn.execute(&format!("delete from {table}"), []).unwrap() > 0, "{table}");
    }
    conn.execute_batch("rollback").unwrap();
}

#[tokio::test]
async fn an_erased_payload_leaves_the_chain_verifiable() {
    let place = Place::new();
    let scope = Scope::tenant("t").agent("a").user("u");
    let store = place.open().await.unwrap();
    for n in 0..3 {
        store.claims().assert(&scope, NewClaim::new("s", "p", n), None).await.unwrap();
    }
    let conn = place.raw();
    conn.execute_batch(
        "begin; insert into erasure_permits (tenant, created_at, reason) values ('t', 0, 'test'); \
         delete from claim_ledger_payloads where seq = 2; delete from erasure_permits; commit;",
    )
    .unwrap();

    let entries = store
        .claims()
        .query_audit(&scope, &AuditQuery::oldest_first(), &Page::default())
        .await
        .unwrap()
        .items;

    assert_eq!(entries[1].payload, None);
    let mut previous = mnemon_core::claims::ledger::GENESIS;
    for entry in &entries {
        assert!(entry.follows(&previous), "entry {}", entry.seq);
        previous = entry.hash;
    }
    assert!(conn.execute("delete from claims", []).is_err(), "the permit is gone");
}

#[tokio::test]
async fn receipts_are_swept_after_their_time_and_not_before() {
    let (store, clock) = with_clock().await;
    let step = |id: &str| {
        Step::new(RequestId::parse(id).unwrap())
            .write(Write::Turn(Box::new(NewTurn::new("q", "a"))))
    };
    store.steps().commit(&scope(), step("old")).await.unwrap();
    let kept = i64::try_from(limits::RECEIPTS_KEPT.as_micros()).unwrap();
    clock.fetch_add(kept, Ordering::SeqCst);
    store.steps().commit(&scope(), step("new")).await.unwrap();

    let lease = store.upkeep().claim(Task::Receipts, "me", true).await.unwrap().unwrap();
    let batch = store.upkeep().batch(&lease).await.unwrap();

    assert_eq!((batch.rows, batch.more), (1, false));
    let kept = |id: &str| RequestId::parse(id).unwrap();
    assert_eq!(store.steps().receipt(&scope(), &kept("old")).await.unwrap(), None);
    let receipt = store.steps().receipt(&scope(), &kept("new")).await.unwrap().unwrap();
    assert!(receipt.replayed && matches!(receipt.outcomes[..], [Outcome::Turn(_)]));
}

#[tokio::test]
async fn a_wrong_byte_of_a_channel_is_corrupt_and_named() {
    use mnemon_core::checkpoints::ChannelValue;
    let place = Place::new();
    let store = place.open().await.unwrap();
    let value = ChannelValue { type_tag: "bytes".into(), bytes: vec![7; 100_000] };
    let put = Put::new(Thread::new("t")).channel("big", value.clone());
    store.checkpoints().put(&scope(), put, None).await.unwrap();
    let loaded = store.checkpoints().get(&scope(), &Thread::new("t"), None).await.unwrap();
    assert_eq!(loaded.channels["big"], value);
    let conn = place.raw();
    let size: i64 = conn
        .query_row("select length(bytes) from checkpoint_chunks", [], |row| row.get(0))
        .unwrap();
    assert!(size < 1_000, "it is stored compressed, in {size} bytes");

    for change in [
        "update checkpoint_chunks set bytes = zeroblob(length(bytes))",
        "update checkpoint_chunks set codec = 0",
        "update checkpoint_chunks set codec = 9",
        "delete from checkpoint_chunks",
    ] {
        conn.execute(change, []).unwrap();
        let error = store.checkpoints().get(&scope(), &Thread::new("t"), None).await.unwrap_err();
        assert!(error.to_string().starts_with("channel big of thread t is corrupt"), "{error}");
    }
}
