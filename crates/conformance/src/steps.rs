//! Cases for steps: every facet together or not at all, exactly once under an id.

pub(crate) mod bad_input;
pub(crate) mod random;

use std::sync::Arc;

use chrono::TimeDelta;
use mnemon_core::checkpoints::{ChannelValue, ExpectedHead, Put, Thread};
use mnemon_core::claims::NewClaim;
use mnemon_core::dead_letters::Burial;
use mnemon_core::events::{Append, NewEvent};
use mnemon_core::locks::Guard;
use mnemon_core::memories::NewMemory;
use mnemon_core::steps::{Outcome, Receipt, Step, Write};
use mnemon_core::turns::NewTurn;
use mnemon_core::upkeep::Task;
use mnemon_core::workflows::SaveRun;
use mnemon_core::{Error, Fence, RequestId, Scope, limits};
use serde_json::{Value, json};

use crate::check::{Dice, fails_as, refused};
use crate::ctx::{Ctx, acme};

/// Tables that a step of [`full`] writes one row of each.
const TABLES: [&str; 9] = [
    "receipts",
    "memories",
    "events",
    "turns",
    "claims",
    "claim_ledger",
    "checkpoints",
    "workflow_runs",
    "dead_letters",
];

fn scope() -> Scope {
    acme().user("ada").agent("planner").session("s")
}

fn id(text: &str) -> RequestId {
    RequestId::parse(text).expect("a name")
}

fn remember(text: &str) -> Write {
    let memory = NewMemory { allow_duplicate: true, ..NewMemory::new(text) };
    Write::Remember(Box::new(memory))
}

fn event(stream: &str) -> Write {
    let events = vec![NewEvent::new("a.b", json!({ "secret": "payload" }))];
    Write::Events(Append { stream: stream.into(), events, expected_version: None })
}

fn turn(text: &str) -> Write {
    Write::Turn(Box::new(NewTurn::new(text, "ok")))
}

fn checkpoint(thread: &str, expected_head: ExpectedHead) -> Write {
    let put = Put { expected_head, ..Put::new(Thread::new(thread)) };
    Write::Checkpoint(Box::new(put.channel("c", ChannelValue::json(&json!("secret payload")))))
}

fn run(name: &str, expected_version: i64) -> Write {
    Write::Workflow(Box::new(SaveRun { expected_version, ..SaveRun::new(name, "test") }))
}

/// A write of every facet.
fn full(step: &str) -> Step {
    Step::new(id(step))
        .write(remember("secret payload"))
        .write(event("stream"))
        .write(turn("secret payload"))
        .write(Write::Assert(Box::new(NewClaim::new("s", "p", "secret payload"))))
        .write(checkpoint("t", ExpectedHead::Empty))
        .write(run("r", 0))
        .write(Write::Bury(Box::new(Burial::new("q", "i", json!("secret payload"), "secret"))))
}

async fn assert_rows(ctx: &Ctx, expected: i64) {
    for table in TABLES {
        assert_eq!(ctx.rows(table).await, expected, "{table}");
    }
}

async fn commit(ctx: &Ctx, step: Step) -> Receipt {
    ctx.steps().commit(&scope(), step).await.expect("a plain step is committed")
}

pub(crate) async fn a_step_writes_every_facet_together(ctx: &Ctx) {
    let before = ctx.now().await;

    let receipt = commit(ctx, full("one")).await;

    assert_rows(ctx, 1).await;
    assert!(!receipt.replayed && !receipt.differs && receipt.committed_at >= before);
    let [
        Outcome::Remember(memory),
        Outcome::Events(events),
        Outcome::Turn(turn),
        Outcome::Assert(claim),
        Outcome::Checkpoint(placed),
        Outcome::Workflow { version: 1 },
        Outcome::Bury(buried),
    ] = &receipt.outcomes[..]
    else {
        panic!("outcomes stand in the order given: {:?}", receipt.outcomes);
    };
    assert!(memory.created && claim.created && turn.created && turn.seq == 1);
    assert_eq!((events.versions.as_slice(), events.stream_version), ([1].as_slice(), 1));
    assert_eq!((placed.version, buried.attempts), (1, 1));
    assert_eq!(ctx.memories().get(&scope(), memory.id).await.expect("is there").id, memory.id);
    let newest = ctx.checkpoints().get(&scope(), &Thread::new("t"), None).await;
    assert_eq!(newest.expect("is there").id, placed.id);
}

pub(crate) async fn a_repeat_answers_the_first_receipt(ctx: &Ctx) {
    assert_eq!(ctx.steps().receipt(&scope(), &id("one")).await.expect("is asked"), None);
    let first = commit(ctx, full("one")).await;
    ctx.move_clock(TimeDelta::hours(1)).await;

    let again = commit(ctx, full("one")).await;
    let other = ctx.another().await;
    let elsewhere = other.steps().commit(&scope(), full("one").strict()).await;
    let asked = ctx.steps().receipt(&scope(), &id("one")).await.expect("is asked");

    let replayed = Receipt { replayed: true, ..first };
    assert_eq!(again, replayed);
    assert_eq!(elsewhere.expect("an equal payload"), replayed);
    assert_eq!(asked, Some(replayed));
    assert_rows(ctx, 1).await;
    other.close().await;
}

pub(crate) async fn a_differing_repeat_says_so_and_strictly_is_refused(ctx: &Ctx) {
    let first = commit(ctx, full("one")).await;
    let differing = Step::new(id("one")).write(turn("another answer"));

    let lenient = commit(ctx, differing.clone()).await;
    let strict = ctx.steps().commit(&scope(), differing.strict()).await;

    assert_eq!(lenient, Receipt { replayed: true, differs: true, ..first });
    assert!(matches!(strict, Err(Error::StepReused { id }) if id == "one"));
    assert_rows(ctx, 1).await;
}

pub(crate) async fn a_refused_write_leaves_nothing(ctx: &Ctx) {
    let nobody = mnemon_core::claims::ClaimId(uuid::Uuid::from_u128(7));
    let orphan = NewClaim { derived_from: vec![nobody], ..NewClaim::new("s", "q", 1) };
    let stale = Append {
        stream: "other".into(),
        events: vec![NewEvent::new("a.b", Value::Null)],
        expected_version: Some(3),
    };
    let head = ExpectedHead::Is(mnemon_core::checkpoints::CheckpointId("none".into()));
    let receipt = mnemon_core::dead_letters::DeliveryReceipt {
        queue: "q".into(),
        item_id: "x".into(),
        delivery: 1,
    };
    for (bad, code) in [
        (Write::Assert(Box::new(orphan)), "not_found"),
        (Write::Events(stale), "conflict"),
        (checkpoint("other", head), "conflict"),
        (run("other", 7), "conflict"),
        (Write::Ack(receipt), "not_found"),
    ] {
        let outcome = ctx.steps().commit(&scope(), full("one").write(bad)).await;
        fails_as(outcome, code);
        assert_rows(ctx, 0).await;
    }
    assert_eq!(ctx.steps().receipt(&scope(), &id("one")).await.expect("is asked"), None);
    let receipt = commit(ctx, full("one")).await;
    assert!(!receipt.replayed, "a refused step did not use its id up");
    let Outcome::Events(events) = &receipt.outcomes[1] else { panic!("events come second") };
    assert_eq!(events.versions, [1], "nor a version");
}

pub(crate) async fn a_stale_guard_leaves_nothing(ctx: &Ctx) {
    let minute = std::time::Duration::from_mins(1);
    let old = ctx.locks().acquire(&scope(), "k", "a", minute).await.expect("is free").guard();
    ctx.move_clock(TimeDelta::minutes(2)).await;
    let new = ctx.locks().acquire(&scope(), "k", "b", minute).await.expect("is free").guard();

    let step = full("one").guard(new.clone());
    let stale = ctx.steps().commit(&scope(), step.clone().guard(old)).await;
    assert!(matches!(stale, Err(Error::Fenced { key }) if key == "k"));
    let foreign = Scope::tenant("globex").user("ada").agent("planner").session("s");
    fails_as(ctx.steps().commit(&foreign, step.clone()).await, "fenced");
    assert_rows(ctx, 0).await;

    commit(ctx, step.clone()).await;
    ctx.locks().force_release(&scope(), "k").await.expect("is there");
    let late = commit(ctx, step).await;
    assert!(late.replayed, "what happened stays told, whoever holds the key now");
}

pub(crate) async fn a_receipt_is_its_scopes(ctx: &Ctx) {
    commit(ctx, full("one")).await;
    for other in [
        Scope { tenant: "globex".into(), ..scope() },
        Scope { user: Some("bob".into()), ..scope() },
        Scope { user: None, ..scope() },
        Scope { agent: Some("other".into()), ..scope() },
        Scope { agent: Some(" ".into()), ..scope() },
    ] {
        let asked = ctx.steps().receipt(&other, &id("one")).await.expect("is asked");
        assert_eq!(asked, None, "{other:?}");
        let step = Step::new(id("one")).write(event("stream"));
        let receipt = ctx.steps().commit(&other, step).await.expect("an id of its own");
        assert!(!receipt.replayed, "{other:?}");
    }
    let session = Scope { session: Some("another".into()), ..scope() };
    let asked = ctx.steps().receipt(&session, &id("one")).await.expect("is asked");
    assert!(asked.is_some(), "a session is no part of it");
    fails_as(ctx.steps().receipt(&Scope::tenant(" "), &id("one")).await, "scope_required");
}

pub(crate) async fn receipts_hold_no_payload(ctx: &Ctx) {
    let receipt = commit(ctx, full("one")).await;

    let text = serde_json::to_string(&receipt).expect("plain data");

    assert!(!text.contains("secret"), "{text}");
}

pub(crate) async fn the_same_id_at_once_is_written_once(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    for round in 0..5 {
        let before = ctx.rows("turns").await;
        let tries: Vec<_> = (0..8)
            .map(|n: usize| {
                let store = Arc::clone(&stores[n % 2]);
                let step = Step::new(id(&format!("step {round}")))
                    .write(turn("once"))
                    .write(event("stream"))
                    .write(remember("once"));
                tokio::spawn(async move { store.steps().commit(&scope(), step).await })
            })
            .collect();
        let mut receipts = Vec::new();
        for outcome in tries {
            receipts.push(outcome.await.expect("no panic").expect("is committed"));
        }
        let wrote = receipts.iter().filter(|receipt| !receipt.replayed).count();
        assert_eq!(wrote, 1, "round {round}");
        let same = |receipt: &Receipt| Receipt { replayed: true, ..receipt.clone() };
        assert!(receipts.iter().all(|receipt| same(receipt) == same(&receipts[0])));
        assert_eq!(ctx.rows("turns").await, before + 1);
    }
    stores[1].close().await;
}

pub(crate) async fn a_step_of_one_append_happens_once(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    for round in 0..5 {
        let tries: Vec<_> = (0..8)
            .map(|n: usize| {
                let store = Arc::clone(&stores[n % 2]);
                let step = Step::new(id(&format!("step {round}"))).write(event("stream"));
                tokio::spawn(async move { store.steps().commit(&scope(), step).await })
            })
            .collect();
        let mut receipts = Vec::new();
        for outcome in tries {
            receipts.push(outcome.await.expect("no panic").expect("is committed"));
        }
        assert_eq!(receipts.iter().filter(|receipt| !receipt.replayed).count(), 1);
        assert!(receipts.iter().all(|receipt| receipt.outcomes == receipts[0].outcomes));
        let Outcome::Events(appended) = &receipts[0].outcomes[0] else { panic!("an append") };
        assert_eq!(appended.versions, [round + 1]);
        assert_eq!(ctx.rows("events").await, round + 1);
    }
    assert_eq!(ctx.rows("receipts").await, 5);
    stores[1].close().await;
}

pub(crate) async fn a_step_of_one_append_is_refused_as_any_other(ctx: &Ctx) {
    let append = |step: &str, expected_version, events| {
        let events = vec![NewEvent::new("a.b", json!(1)); events];
        let append = Append { stream: "stream".into(), events, expected_version };
        Step::new(id(step)).write(Write::Events(append))
    };
    let first = commit(ctx, append("one", Some(0), 2)).await;
    let Outcome::Events(appended) = &first.outcomes[0] else { panic!("an append") };
    assert_eq!((appended.versions.as_slice(), appended.stream_version), ([1, 2].as_slice(), 2));

    let stale = ctx.steps().commit(&scope(), append("two", Some(1), 1)).await;
    assert!(matches!(stale, Err(Error::Conflict { kind: "stream", actual: Some(2), .. })));
    assert_eq!(ctx.steps().receipt(&scope(), &id("two")).await.expect("is asked"), None);
    assert_eq!(ctx.rows("events").await, 2);

    let again = commit(ctx, append("one", Some(0), 2)).await;
    assert_eq!(again, Receipt { replayed: true, ..first.clone() });
    let differing = commit(ctx, append("one", None, 1)).await;
    assert_eq!(differing, Receipt { replayed: true, differs: true, ..first });
    let strict = ctx.steps().commit(&scope(), append("one", None, 1).strict()).await;
    assert!(matches!(strict, Err(Error::StepReused { id }) if id == "one"));
    commit(ctx, append("two", Some(2), 1)).await;
    assert_eq!((ctx.rows("events").await, ctx.rows("receipts").await), (3, 2));
}

pub(crate) async fn steps_of_two_handles_make_one_chain(ctx: &Ctx) {
    let other = ctx.another().await;
    let mut parent = None;
    // Each goes on from what it wrote last, then from what the other one wrote.
    for (n, ours) in [true, true, true, false, false, true, false, true, true].iter().enumerate() {
        let store = if *ours { ctx.store() } else { Arc::clone(&other) };
        let put = Put::new(Thread::new("t")).channel("n", ChannelValue::json(&json!(n)));
        let step = Step::new(id(&format!("step {n}"))).write(Write::Checkpoint(Box::new(put)));
        let receipt = store.steps().commit(&scope(), step).await.expect("is committed");
        let Outcome::Checkpoint(placed) = &receipt.outcomes[0] else { panic!("a checkpoint") };
        assert_eq!(placed.version, i64::try_from(n).expect("a small number") + 1);
        assert_eq!(placed.parent, parent);
        let newest = store.checkpoints().get(&scope(), &Thread::new("t"), None).await;
        assert_eq!(newest.expect("is there").id, placed.id);
        parent = Some(placed.id.clone());
    }
    assert_eq!(ctx.rows("checkpoints").await, 9);
    other.close().await;
}

pub(crate) async fn sixteen_writers_in_random_order_do_not_deadlock(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    let minute = std::time::Duration::from_mins(1);
    let mut guards = Vec::new();
    for key in ["a", "b", "c"] {
        guards.push(ctx.locks().acquire(&scope(), key, "us", minute).await.expect("free").guard());
    }
    let writers: Vec<_> = (0..16)
        .map(|writer: usize| {
            let (store, guards) = (Arc::clone(&stores[writer % 2]), guards.clone());
            tokio::spawn(async move {
                let mut dice = Dice::seeded(writer as u64);
                for n in 0..10 {
                    let step = shuffled(&mut dice, &format!("{writer}/{n}"), &guards);
                    let done = store.steps().commit(&scope(), step).await;
                    assert!(!done.expect("no deadlock, no conflict").replayed);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }

    assert_eq!(ctx.rows("receipts").await, 160);
    assert_eq!(ctx.rows("events").await, 480);
    assert_eq!(ctx.rows("checkpoints").await, 320);
    assert_eq!(ctx.rows("claim_ledger").await, 160);
    stores[1].close().await;
}

/// The same resources in another order.
fn shuffled(dice: &mut Dice, name: &str, guards: &[Guard]) -> Step {
    let mut writes = vec![
        event("a"),
        event("b"),
        event("c"),
        checkpoint("one", ExpectedHead::Any),
        checkpoint("two", ExpectedHead::Any),
        turn("hello"),
        Write::Assert(Box::new(NewClaim::new("s", "p", 1))),
        remember("text"),
        Write::Bury(Box::new(Burial::new("q", "i", Value::Null, "e"))),
    ];
    let mut step = Step::new(id(name));
    while !writes.is_empty() {
        step = step.write(writes.swap_remove(dice.below(writes.len())));
    }
    let mut guards = guards.to_vec();
    while !guards.is_empty() {
        step = step.guard(guards.swap_remove(dice.below(guards.len())));
    }
    step
}

pub(crate) async fn a_write_at_fault_is_named(ctx: &Ctx) {
    let with_vector = NewMemory { embedding: Some(vec![1.0]), ..NewMemory::new("text") };
    let step = full("one").write(Write::Remember(Box::new(with_vector)));
    refused(ctx.steps().commit(&scope(), step).await, "step.writes[7].embedding");

    commit(ctx, Step::new(id("start")).write(run("r", 0))).await;
    let back = SaveRun {
        status: mnemon_core::workflows::RunStatus::Completed,
        expected_version: 1,
        ..SaveRun::new("r", "test")
    };
    let step = Step::new(id("two")).write(turn("x")).write(Write::Workflow(Box::new(back)));
    refused(ctx.steps().commit(&scope(), step).await, "step.writes[1].run.status");
    assert_eq!(ctx.rows("turns").await, 0);
}

pub(crate) async fn bad_steps_are_refused(ctx: &Ctx) {
    let steps = ctx.steps();
    refused(steps.commit(&scope(), Step::new(id("x"))).await, "step.writes");
    let many = Step { writes: vec![event("s"); limits::STEP_WRITES + 1], ..Step::new(id("x")) };
    refused(steps.commit(&scope(), many).await, "step.writes");
    let guard = Guard { key: "k".into(), fence: Fence(1) };
    let guarded = Step {
        guards: vec![guard; limits::STEP_GUARDS + 1],
        ..Step::new(id("x")).write(event("s"))
    };
    refused(steps.commit(&scope(), guarded).await, "step.guards");
    let twice = Step::new(id("x")).write(run("r", 0)).write(run("r", 1));
    refused(steps.commit(&scope(), twice).await, "step.writes[1]");
    let empty = NewTurn { user_message: None, assistant_response: None, ..NewTurn::default() };
    let step = Step::new(id("x")).write(event("s")).write(Write::Turn(Box::new(empty)));
    refused(steps.commit(&scope(), step).await, "step.writes[1].turn");
    for missing in [acme(), acme().user("ada"), Scope::tenant("")] {
        fails_as(steps.commit(&missing, full("x")).await, "scope_required");
    }
    assert_rows(ctx, 0).await;
}

pub(crate) async fn old_receipts_are_swept(ctx: &Ctx) {
    commit(ctx, full("old")).await;
    ctx.move_clock(TimeDelta::from_std(limits::RECEIPTS_KEPT).expect("some days")).await;
    commit(ctx, Step::new(id("new")).write(turn("x"))).await;

    let lease = ctx.upkeep().claim(Task::Receipts, "me", true).await.expect("is asked");
    let batch = ctx.upkeep().batch(&lease.expect("nobody holds it")).await.expect("runs");

    assert_eq!((batch.rows, batch.more), (1, false));
    assert_eq!(ctx.steps().receipt(&scope(), &id("old")).await.expect("is asked"), None);
    assert!(ctx.steps().receipt(&scope(), &id("new")).await.expect("is asked").is_some());
}
