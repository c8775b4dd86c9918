//! What a step is refused for, or is not: contradictions, ids at and over their limit, versions
//! and vectors that others would write.

use mnemon_core::checkpoints::{ExpectedHead, Put, Thread};
use mnemon_core::dead_letters::{Burial, DeliveryReceipt};
use mnemon_core::memories::NewMemory;
use mnemon_core::steps::{Receipt, Step, Write};
use mnemon_core::{RequestId, limits};
use serde_json::Value;

use super::{assert_rows, checkpoint, commit, event, full, id, run, scope, turn};
use crate::check::{fails_as, model, refused};
use crate::ctx::Ctx;

fn bury(queue: &str, item: &str) -> Write {
    Write::Bury(Box::new(Burial::new(queue, item, Value::Null, "e")))
}

fn ack(queue: &str, item: &str) -> Write {
    Write::Ack(DeliveryReceipt { queue: queue.into(), item_id: item.into(), delivery: 1 })
}

fn put(thread_id: &str, namespace: &str) -> Write {
    let thread = Thread { thread_id: thread_id.into(), namespace: namespace.into() };
    Write::Checkpoint(Box::new(Put::new(thread)))
}

pub(crate) async fn two_writes_that_decide_the_same_are_refused(ctx: &Ctx) {
    for (one, other) in [
        (put("t", ""), checkpoint("t", ExpectedHead::Empty)),
        (put("t", "n"), put("t", "n")),
        (run("r", 0), run("r", 1)),
        (bury("q", "i"), bury("q", "i")),
        (bury("q", "i"), ack("q", "i")),
        (ack("q", "i"), ack("q", "i")),
    ] {
        let step = Step::new(id("x")).write(one).write(event("s")).write(other);
        let reason = refused(ctx.steps().commit(&scope(), step).await, "step.writes[2]");
        assert!(reason.contains("writes[0]"), "{reason}");
    }
    assert_rows(ctx, 0).await;

    // What only looks alike is no contradiction.
    let step = Step::new(id("x"))
        .write(put("t/n", ""))
        .write(put("t", "n"))
        .write(bury("q", "i"))
        .write(bury("qi", ""))
        .write(turn("one"));
    refused(ctx.steps().commit(&scope(), step).await, "step.writes[3].item_id");
    let step = Step::new(id("x"))
        .write(put("t/n", ""))
        .write(put("t", "n"))
        .write(bury("q", "i"))
        .write(bury("i", "q"))
        .write(turn("one"))
        .write(turn("two"))
        .write(event("s"))
        .write(event("s"));
    assert!(!commit(ctx, step).await.replayed);
    assert_eq!(ctx.rows("checkpoints").await, 2);
}

pub(crate) async fn an_id_may_be_as_long_as_its_limit(ctx: &Ctx) {
    for wrong in [String::new(), " ".into(), "a\0".into(), "i".repeat(limits::REQUEST_ID_BYTES + 1)]
    {
        let reason = refused(RequestId::parse(wrong.clone()), "request_id");
        let json = serde_json::json!({ "id": wrong, "writes": [] }).to_string();
        assert!(refused(Step::from_json(&json), "step").contains(&reason), "{reason}");
    }
    let longest = id(&"é".repeat(limits::REQUEST_ID_BYTES / 2));

    let first = commit(ctx, Step::new(longest.clone()).write(turn("x"))).await;

    let asked = ctx.steps().receipt(&scope(), &longest).await.expect("is asked");
    assert_eq!(asked, Some(Receipt { replayed: true, ..first }));
}

pub(crate) async fn json_of_a_step_says_the_same(ctx: &Ctx) {
    let step = full("one")
        .guard(mnemon_core::locks::Guard { key: "k".into(), fence: mnemon_core::Fence(1) });
    let json = serde_json::to_string(&step).expect("plain data");
    assert_eq!(Step::from_json(&json).expect("what was written is read"), step);
    let first = commit(ctx, full("one")).await;

    let read = Step::from_json(&serde_json::to_string(&full("one")).expect("plain data"));
    let again = commit(ctx, read.expect("what was written is read").strict()).await;

    assert_eq!(again, Receipt { replayed: true, ..first });
    for (wrong, said) in [
        (json.replace("\"turn\"", "\"telepathy\""), "telepathy"),
        (json.replace("\"strict\"", "\"struct\""), "struct"),
        (json.replace("\"stream\":", "\"streem\":"), "stre"),
        ("{".to_owned(), "EOF"),
    ] {
        let reason = refused(Step::from_json(&wrong), "step");
        assert!(reason.contains(said), "{reason}");
    }
}

/// Whoever sends it again may have another model, or none: what it says is the same.
pub(crate) async fn another_vector_makes_no_other_step(ctx: &Ctx) {
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    let step = |embedding: Option<Vec<f32>>| {
        let memory = NewMemory { embedding, ..NewMemory::new("the launch is on 3 May") };
        Step::new(id("one")).write(Write::Remember(Box::new(memory))).write(turn("x"))
    };
    let first = commit(ctx, step(Some(vec![1.0, 0.0]))).await;
    let other = ctx.another().await;

    for embedding in [Some(vec![0.0, 1.0]), None, Some(vec![1.0; 3])] {
        let again = other.steps().commit(&scope(), step(embedding.clone()).strict()).await;
        let again = again.unwrap_or_else(|error| panic!("{embedding:?}: {error:?}"));
        assert_eq!(again, Receipt { replayed: true, ..first.clone() }, "{embedding:?}");
    }

    assert_eq!(ctx.rows("memories").await, 1);
    other.close().await;
}

pub(crate) async fn a_used_id_under_a_stale_version_answers_the_first_receipt(ctx: &Ctx) {
    let step = Step::new(id("one")).write(run("r", 0)).write(checkpoint("t", ExpectedHead::Empty));
    let first = commit(ctx, step.clone()).await;

    let again = commit(ctx, step.clone()).await;
    assert_eq!(again, Receipt { replayed: true, ..first }, "versions are not asked again");
    let other = Step { id: id("two"), ..step };
    fails_as(ctx.steps().commit(&scope(), other).await, "conflict");
    assert_eq!(ctx.steps().receipt(&scope(), &id("two")).await.expect("is asked"), None);
    assert_eq!((ctx.rows("checkpoints").await, ctx.rows("workflow_runs").await), (1, 1));
}
