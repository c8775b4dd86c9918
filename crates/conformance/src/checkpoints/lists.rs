//! Cases for lists: threads by activity, checkpoints by what their metadata says, pages without
//! gaps.

use chrono::TimeDelta;
use mnemon_core::checkpoints::{
    CheckpointFilter, CheckpointInfo, Compare, Condition, Put, Thread, ThreadFilter,
};
use mnemon_core::{Cursor, Page, limits};
use serde_json::{Value, json};

use super::{put, text, thread};
use crate::check::refused;
use crate::ctx::{Ctx, acme, ada, bob};

/// Every page of a list.
async fn all(ctx: &Ctx, filter: &CheckpointFilter, size: u32) -> Vec<CheckpointInfo> {
    let mut page = Page::first(size);
    let mut all = Vec::new();
    loop {
        let piece = ctx.checkpoints().list(&acme(), filter, &page).await.expect("a page");
        assert!(piece.items.len() <= size as usize);
        all.extend(piece.items);
        match piece.next {
            Some(cursor) => page.cursor = Some(cursor),
            None => return all,
        }
    }
}

async fn with(ctx: &Ctx, metadata: Value) {
    put(ctx, Put { metadata, ..Put::new(thread()) }).await;
}

fn filter(field: &str, compare: Compare, value: Value) -> CheckpointFilter {
    let condition = Condition { field: field.into(), compare, value };
    CheckpointFilter::of("t").with(condition)
}

async fn versions(ctx: &Ctx, filter: &CheckpointFilter) -> Vec<i64> {
    all(ctx, filter, 50).await.iter().map(|info| info.version).collect()
}

pub(crate) async fn metadata_is_compared_by_type(ctx: &Ctx) {
    for metadata in [
        json!({ "step": 9, "source": "input" }),
        json!({ "step": 10, "source": "loop", "custom": { "a": [1, true] } }),
        json!({ "step": "10", "source": "loop" }),
        json!({ "step": 10.0, "source": "update" }),
        json!({}),
    ] {
        with(ctx, metadata).await;
    }
    let is = |field: &str, value: Value| filter(field, Compare::Equal, value);

    assert_eq!(versions(ctx, &filter("step", Compare::Above, json!(9))).await, [4, 2]);
    assert_eq!(versions(ctx, &filter("step", Compare::AtLeast, json!(9))).await, [4, 2, 1]);
    assert_eq!(versions(ctx, &filter("step", Compare::Below, json!(10))).await, [1]);
    assert_eq!(versions(ctx, &filter("step", Compare::AtMost, json!("10"))).await, [3]);
    assert_eq!(versions(ctx, &is("step", json!(10))).await, [4, 2], "10.0 is 10");
    assert_eq!(versions(ctx, &filter("step", Compare::NotEqual, json!(10))).await, [5, 3, 1]);
    assert_eq!(versions(ctx, &is("source", json!("loop"))).await, [3, 2]);
    assert_eq!(versions(ctx, &is("custom", json!({ "a": [1.0, true] }))).await, [2]);
    let both = is("source", json!("loop")).with(Condition::equal("step", 10));
    assert_eq!(versions(ctx, &both).await, [2], "every condition must hold");
    assert_eq!(versions(ctx, &is("source", json!("nothing"))).await, Vec::<i64>::new());
}

pub(crate) async fn lists_are_cut_by_thread_namespace_run_and_place(ctx: &Ctx) {
    let mut heads = Vec::new();
    for n in 0..4 {
        heads.push(put(ctx, Put { superstep: Some(n), ..Put::new(thread()) }).await.id);
    }
    put(ctx, Put::new(thread().namespace("child:1"))).await;
    let run = acme().run("r1");
    ctx.checkpoints().put(&run, Put::new(Thread::new("u")), None).await.expect("is put");
    let of = |filter: CheckpointFilter| async move {
        let found = all(ctx, &filter, 3).await;
        found.iter().map(|i| (i.thread.to_string(), i.version)).collect::<Vec<_>>()
    };
    let t = |version: i64| ("t".to_owned(), version);
    let child = ("t/child:1".to_owned(), 1);
    let u = ("u".to_owned(), 1);

    let everything = [t(4), t(3), t(2), t(1), child.clone(), u.clone()];
    assert_eq!(of(CheckpointFilter::default()).await, everything);
    assert_eq!(of(CheckpointFilter::of("t")).await, everything[..5]);
    let root = CheckpointFilter { namespace: Some(String::new()), ..CheckpointFilter::of("t") };
    assert_eq!(of(root.clone()).await, everything[..4]);
    let inner =
        CheckpointFilter { namespace: Some("child:1".into()), ..CheckpointFilter::default() };
    assert_eq!(of(inner).await, [child]);
    let of_run = CheckpointFilter { run: Some("r1".into()), ..CheckpointFilter::default() };
    assert_eq!(of(of_run).await, [u]);
    let before = CheckpointFilter { before: Some(heads[2].clone()), ..root };
    assert_eq!(of(before.clone()).await, [t(2), t(1)]);
    let one = ctx.checkpoints().list(&acme(), &before, &Page::first(1)).await.expect("a page");
    assert_eq!((one.items[0].version, one.next.is_some()), (2, true));
    assert_eq!(of(CheckpointFilter::of("nowhere")).await, []);
}

pub(crate) async fn a_filtered_list_pages_without_gap_or_double(ctx: &Ctx) {
    for n in 0..40 {
        with(ctx, json!({ "even": n % 2 == 0 })).await;
    }
    let even = filter("even", Compare::Equal, json!(true));

    for size in [1, 3, 20, 500] {
        let found: Vec<i64> = all(ctx, &even, size).await.iter().map(|info| info.version).collect();
        let expected: Vec<i64> = (0..20).map(|n| 39 - 2 * n).collect();
        assert_eq!(found, expected, "{size} a page");
    }
}

pub(crate) async fn threads_are_listed_last_active_first(ctx: &Ctx) {
    for name in ["a", "b", "c"] {
        put(ctx, Put::new(Thread::new(name))).await;
        ctx.move_clock(TimeDelta::minutes(2)).await;
    }
    put(ctx, Put::new(Thread::new("a"))).await;
    ctx.move_clock(TimeDelta::seconds(30)).await;
    // Within the minute nothing moves: the save stays cheap.
    put(ctx, Put::new(Thread::new("a"))).await;
    put(ctx, Put::new(Thread::new("d").namespace("n"))).await;

    let mut page = Page::first(2);
    let mut found = Vec::new();
    loop {
        let piece = ctx.checkpoints().list_threads(&acme(), &ThreadFilter::default(), &page).await;
        let piece = piece.expect("a page");
        found.extend(piece.items);
        match piece.next {
            Some(cursor) => page.cursor = Some(cursor),
            None => break,
        }
    }

    let names: Vec<String> = found.iter().map(|info| info.thread.to_string()).collect();
    assert_eq!(names, ["d/n", "a", "c", "b"]);
    assert_eq!((found[1].version, found[1].user.as_deref()), (3, None));
    assert!(found[1].active_at < found[0].active_at && found[1].created_at < found[1].active_at);
    let head = ctx.checkpoints().get(&acme(), &Thread::new("a"), None).await.expect("is there").id;
    assert_eq!(found[1].head, head);
    let inner = ThreadFilter { namespace: Some("n".into()) };
    let inner = ctx.checkpoints().list_threads(&acme(), &inner, &Page::default()).await;
    assert_eq!(inner.expect("a page").items.len(), 1);
}

pub(crate) async fn lists_show_what_a_user_may_see(ctx: &Ctx) {
    let checkpoints = ctx.checkpoints();
    for (scope, name) in [(ada(), "ada's"), (bob(), "bob's"), (acme(), "everybody's")] {
        let put = Put::new(Thread::new(name)).channel("a", text("1"));
        checkpoints.put(&scope, put, None).await.expect("is put");
    }

    let seen = checkpoints.list(&ada(), &CheckpointFilter::default(), &Page::default()).await;
    let seen: Vec<String> =
        seen.expect("a page").items.into_iter().map(|info| info.thread.thread_id).collect();
    assert_eq!(seen, ["ada's", "everybody's"]);
    let threads =
        checkpoints.list_threads(&bob(), &ThreadFilter::default(), &Page::default()).await;
    assert_eq!(threads.expect("a page").items.len(), 2);
}

pub(crate) async fn bad_questions_are_refused(ctx: &Ctx) {
    let checkpoints = ctx.checkpoints();
    let page = Page::default();
    let ask = |filter: CheckpointFilter| {
        let page = page.clone();
        async move { checkpoints.list(&acme(), &filter, &page).await }
    };
    refused(ask(CheckpointFilter::of(" ")).await, "thread_id");
    refused(ask(filter("", Compare::Equal, json!(1))).await, "metadata.field");
    refused(ask(filter("a", Compare::Below, json!([]))).await, "metadata.value");
    let many = vec![Condition::equal("a", 1); limits::CONDITIONS_MAX + 1];
    refused(
        ask(CheckpointFilter { metadata: many, ..CheckpointFilter::default() }).await,
        "metadata",
    );
    let run = CheckpointFilter { run: Some(" ".into()), ..CheckpointFilter::default() };
    refused(ask(run).await, "run");
    for (list, cursor) in [
        ("checkpoints", "threads:1:1:a"),
        ("checkpoints", "checkpoints:x"),
        ("threads", "checkpoints:1:1:a"),
    ] {
        let foreign: Cursor = cursor.parse().expect("a text");
        let page = Page { cursor: Some(foreign), ..Page::default() };
        if list == "threads" {
            let found = checkpoints.list_threads(&acme(), &ThreadFilter::default(), &page).await;
            refused(found, "page.cursor");
        } else {
            let found = checkpoints.list(&acme(), &CheckpointFilter::default(), &page).await;
            refused(found, "page.cursor");
        }
    }
}
