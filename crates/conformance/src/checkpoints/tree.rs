//! Cases for the tree of a thread: versions of channels, roots and forks, fences, time to live,
//! what changes between two checkpoints, what a channel is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use mnemon_core::Page;
use mnemon_core::checkpoints::{
    Change, ChannelValue, ChannelVersion, CheckpointId, ExpectedHead, Put, PutWrites, Thread,
    ThreadFilter,
};
use mnemon_core::locks::Guard;
use serde_json::json;

use super::{put, text, thread};
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme};

#[expect(clippy::unnecessary_wraps, reason = "as a put takes them")]
fn versions(all: &[(&str, &str)]) -> Option<BTreeMap<String, ChannelVersion>> {
    Some(all.iter().map(|(name, version)| ((*name).to_owned(), (*version).into())).collect())
}

pub(crate) async fn the_callers_versions_say_what_is_inherited(ctx: &Ctx) {
    let first = Put {
        channel_versions: versions(&[("a", "1"), ("b", "1"), ("c", "1")]),
        ..Put::new(thread())
    };
    let first = first.channel("a", text("a1")).channel("b", text("b1")).channel("c", text("c1"));
    put(ctx, first).await;
    // b changed, c is gone, d is new, e has a version and no value yet.
    let second = Put {
        channel_versions: versions(&[("a", "1"), ("b", "2"), ("d", "1"), ("e", "1")]),
        ..Put::new(thread())
    };
    put(ctx, second.channel("b", text("b2")).channel("d", text("d1"))).await;

    let found = ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");

    let expected =
        [("a", "a1"), ("b", "b2"), ("d", "d1")].map(|(name, value)| (name.to_owned(), text(value)));
    assert_eq!(found.channels, BTreeMap::from(expected));
    assert_eq!(
        Some(found.channel_versions),
        versions(&[("a", "1"), ("b", "2"), ("d", "1"), ("e", "1")])
    );
    let stray = Put { channel_versions: versions(&[]), ..Put::new(thread()) };
    let stray = stray.channel("a", text("1"));
    refused(ctx.checkpoints().put(&acme(), stray, None).await, "channel_versions");
}

pub(crate) async fn forks_with_one_version_keep_their_own_values(ctx: &Ctx) {
    let root = put(ctx, Put::new(thread()).channel("a", text("root"))).await;
    let fork = |value: &str| {
        let put = Put { channel_versions: versions(&[("a", "7")]), ..Put::new(thread()) };
        put.on(root.id.clone()).channel("a", text(value))
    };
    let one = put(ctx, fork("one")).await;
    let other = put(ctx, fork("other")).await;

    for (id, value) in [(&one.id, "one"), (&other.id, "other")] {
        let found = ctx.checkpoints().get(&acme(), &thread(), Some(id)).await.expect("is there");
        assert_eq!(found.channels["a"], text(value));
        assert_eq!(found.channel_versions["a"], "7".into());
        assert_eq!(found.parent.as_ref(), Some(&root.id));
    }
}

pub(crate) async fn a_root_inherits_nothing(ctx: &Ctx) {
    put(ctx, Put::new(thread()).channel("a", text("1"))).await;

    let root = put(ctx, Put { root: true, ..Put::new(thread()) }.channel("b", text("2"))).await;

    assert_eq!((root.version, root.parent), (2, None));
    let found = ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");
    assert_eq!(found.channels.keys().collect::<Vec<_>>(), ["b"]);
    let both = Put { root: true, ..Put::new(thread()) }.on(CheckpointId("x".into()));
    refused(ctx.checkpoints().put(&acme(), both, None).await, "root");
}

pub(crate) async fn a_version_is_loaded_by_its_number(ctx: &Ctx) {
    for n in 1..=3 {
        put(ctx, Put::new(thread()).channel("n", text(&n.to_string()))).await;
    }

    let second = ctx.checkpoints().get_version(&acme(), &thread(), 2).await.expect("is there");

    assert_eq!((second.version, &second.channels["n"]), (2, &text("2")));
    for version in [0, 4, -1, i64::MAX] {
        let absent = ctx.checkpoints().get_version(&acme(), &thread(), version).await;
        fails_as(absent, "not_found");
    }
}

pub(crate) async fn a_fenced_thread_refuses_writers_without_its_lock(ctx: &Ctx) {
    let checkpoints = ctx.checkpoints();
    let hour = Duration::from_hours(1);
    let lease = ctx.locks().acquire(&acme(), "lock", "worker", hour).await.expect("is free");
    let guard = lease.guard();
    let other = ctx.locks().acquire(&acme(), "other", "worker", hour).await.expect("is free");

    let head = checkpoints.put(&acme(), Put::new(thread()), Some(&guard)).await.expect("is put");

    fails_as(checkpoints.put(&acme(), Put::new(thread()), None).await, "fenced");
    fails_as(checkpoints.put(&acme(), Put::new(thread()), Some(&other.guard())).await, "fenced");
    let writes = PutWrites::new(thread(), head.id, "t").write("a", text("1"));
    fails_as(checkpoints.put_writes(&acme(), writes.clone(), None).await, "fenced");
    checkpoints.put_writes(&acme(), writes, Some(&guard)).await.expect("the holder's");
    checkpoints.put(&acme(), Put::new(thread()), Some(&guard)).await.expect("the holder's");
    // A newer holder of the lock goes on where the old one stood; the old one is out.
    ctx.locks().force_release(&acme(), "lock").await.expect("is released");
    let newer = ctx.locks().acquire(&acme(), "lock", "worker 2", hour).await.expect("is free");
    let newer: Guard = newer.guard();
    checkpoints.put(&acme(), Put::new(thread()), Some(&newer)).await.expect("the new holder's");
    fails_as(checkpoints.put(&acme(), Put::new(thread()), Some(&guard)).await, "fenced");
    assert_eq!(
        checkpoints
            .list_threads(&acme(), &ThreadFilter::default(), &Page::default())
            .await
            .expect("a page")
            .items[0]
            .fenced_by
            .as_deref(),
        Some("lock")
    );

    checkpoints.unfence(&acme(), &thread()).await.expect("is unfenced");

    let placed = checkpoints.put(&acme(), Put::new(thread()), None).await.expect("is open again");
    assert_eq!(placed.version, 4);
    fails_as(checkpoints.unfence(&acme(), &Thread::new("nowhere")).await, "not_found");
}

pub(crate) async fn a_deleted_thread_starts_anew(ctx: &Ctx) {
    let first = put(ctx, Put::new(thread()).channel("a", text("1"))).await;
    put(ctx, Put::new(thread())).await;
    ctx.checkpoints().delete_thread(&acme(), "t", None).await.expect("is deleted");

    let stale = Put { expected_head: ExpectedHead::Is(first.id.clone()), ..Put::new(thread()) };
    fails_as(ctx.checkpoints().put(&acme(), stale, None).await, "conflict");
    fails_as(
        ctx.checkpoints().put(&acme(), Put::new(thread()).on(first.id), None).await,
        "not_found",
    );
    let anew = Put { expected_head: ExpectedHead::Empty, ..Put::new(thread()) };
    let anew = put(ctx, anew).await;

    assert_eq!((anew.version, anew.parent), (1, None));
    let found = ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");
    assert_eq!(found.channels, BTreeMap::new(), "nothing of the old one comes back");
}

pub(crate) async fn two_checkpoints_differ_by_channel(ctx: &Ctx) {
    let mut next = Put::new(thread()).channel("changed", text("2")).channel("added", text("3"));
    next.removed.insert("removed".into());
    let first = Put::new(thread()).channel("same", text("0")).channel("changed", text("1"));
    let first = put(ctx, first.channel("removed", text("x"))).await.id;
    let second = put(ctx, next).await.id;

    let diff = ctx.checkpoints().diff(&acme(), &thread(), &first, &second).await.expect("differ");

    let expected = BTreeMap::from([
        ("added".to_owned(), Change::Added { after: text("3") }),
        ("changed".to_owned(), Change::Changed { before: text("1"), after: text("2") }),
        ("removed".to_owned(), Change::Removed { before: text("x") }),
    ]);
    assert_eq!(diff, expected);
    let none = ctx.checkpoints().diff(&acme(), &thread(), &first, &first).await.expect("differ");
    assert!(none.is_empty());
    let gone = CheckpointId("gone".into());
    fails_as(ctx.checkpoints().diff(&acme(), &thread(), &first, &gone).await, "not_found");
}

pub(crate) async fn a_channel_is_made_of_a_seed_and_the_writes_since(ctx: &Ctx) {
    let checkpoints = ctx.checkpoints();
    // A channel whose value stands at the first checkpoint only: the others hold its version.
    let version = |n: &str| versions(&[("log", n), ("other", "1")]);
    let seed = Put { channel_versions: version("1"), ..Put::new(thread()) };
    let seed = seed.channel("log", text("seed")).channel("other", text("o"));
    let mut heads = vec![put(ctx, seed).await.id];
    for n in ["2", "3", "4"] {
        let head = heads.last().expect("one at least").clone();
        for (task, path) in [("b", "1"), ("a", "2")] {
            let writes = PutWrites::new(thread(), head.clone(), task).at(path);
            let writes = writes.write("log", text(&format!("{n}{task}"))).write("x", text("no"));
            checkpoints.put_writes(&acme(), writes, None).await.expect("is kept");
        }
        heads.push(put(ctx, Put { channel_versions: version(n), ..Put::new(thread()) }).await.id);
    }
    // A fork beside the line, and a write that is still pending.
    let fork = Put { channel_versions: version("9"), ..Put::new(thread()) }.on(heads[1].clone());
    let fork = put(ctx, fork).await.id;
    for id in [&fork, &heads[3]] {
        let writes = PutWrites::new(thread(), id.clone(), "late").write("log", text("pending"));
        checkpoints.put_writes(&acme(), writes, None).await.expect("is kept");
    }
    let asked = ["log", "other", "nothing"].map(str::to_owned);

    let found = checkpoints.channel_history(&acme(), &thread(), Some(&heads[3]), &asked).await;

    let found = found.expect("is gathered");
    let log: Vec<&[u8]> = found["log"].writes.iter().map(|w| w.value.bytes.as_slice()).collect();
    assert_eq!(log, [b"2b", b"2a", b"3b", b"3a", b"4b", b"4a"]);
    assert_eq!(found["log"].seed, Some(text("seed")));
    assert_eq!((&found["other"].seed, found["other"].writes.len()), (&Some(text("o")), 0));
    assert_eq!((&found["nothing"].seed, found["nothing"].writes.len()), (&None, 0));
    let of_fork = checkpoints.channel_history(&acme(), &thread(), Some(&fork), &asked).await;
    assert_eq!(of_fork.expect("is gathered")["log"].writes.len(), 4, "only its own line counts");
    let of_root = checkpoints.channel_history(&acme(), &thread(), Some(&heads[0]), &asked).await;
    assert_eq!(of_root.expect("is gathered")["log"].seed, None, "a root has no ancestors");
    let none = checkpoints.channel_history(&acme(), &thread(), None, &[]).await.expect("nothing");
    assert!(none.is_empty());
}

pub(crate) async fn readable_values_come_back_like_others(ctx: &Ctx) {
    let values = [
        json!({ "b": [1, 2.5, null], "a": "text" }),
        json!("x".repeat(9_000)),
        json!({ "nul": "\u{0}" }),
        json!(-0.0),
        json!(1e300),
        json!(u64::MAX),
    ];
    let mut given = Put { readable: true, ..Put::new(thread()) };
    for (n, value) in values.iter().enumerate() {
        given = given.channel(format!("c{n}"), ChannelValue::json(value));
    }
    let odd =
        ChannelValue { type_tag: "json".into(), bytes: b"{ \"not\": \"canonical\" }".to_vec() };
    let given = given.channel("odd", odd).channel("text", text("no JSON"));

    put(ctx, given.clone()).await;
    put(ctx, Put::new(thread())).await;

    let found = ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");
    assert_eq!(found.channels, given.channels);
    // Too long, with a NUL, a negative zero, not canonical, no JSON: those are among the chunks.
    assert_eq!(ctx.rows("checkpoint_chunks").await, 5);
}

pub(crate) async fn a_thread_without_activity_is_swept(ctx: &Ctx) {
    use mnemon_core::upkeep::Task;
    let checkpoints = ctx.checkpoints();
    let hour = Some(Duration::from_hours(1));
    let start = |name: &str| Put { ttl: hour, ..Put::new(Thread::new(name)) };
    for name in ["idle", "busy", "kept", "set"] {
        checkpoints.put(&acme(), start(name).channel("a", text("1")), None).await.expect("is put");
    }
    put(ctx, Put::new(Thread::new("for good"))).await;
    checkpoints.set_ttl(&acme(), &Thread::new("kept"), None).await.expect("is set");
    checkpoints
        .set_ttl(&acme(), &Thread::new("set"), Some(Duration::from_hours(9)))
        .await
        .expect("is set");
    refused(checkpoints.set_ttl(&acme(), &thread(), Some(Duration::ZERO)).await, "ttl");
    let always = Put { ttl: Some(Duration::MAX), ..Put::new(thread()) };
    refused(checkpoints.put(&acme(), always, None).await, "ttl");
    fails_as(checkpoints.set_ttl(&acme(), &Thread::new("nowhere"), hour).await, "not_found");

    ctx.move_clock(TimeDelta::minutes(50)).await;
    put(ctx, Put::new(Thread::new("busy"))).await;
    ctx.move_clock(TimeDelta::minutes(20)).await;
    let lease = ctx.upkeep().claim(Task::ExpiredThreads, "me", true).await.expect("is answered");
    let lease = lease.expect("nobody holds it");
    let batch = ctx.upkeep().batch(&lease).await.expect("is done");

    assert_eq!((batch.rows, batch.more), (1, false));
    let left = checkpoints.list_threads(&acme(), &ThreadFilter::default(), &Page::default()).await;
    let left: Vec<String> =
        left.expect("a page").items.into_iter().map(|info| info.thread.thread_id).collect();
    assert_eq!(left, ["busy", "for good", "set", "kept"]);
    assert_eq!(ctx.rows("checkpoints").await, 5);
    assert_eq!(ctx.rows("checkpoint_chunks").await, 3, "what it held is gone with it");
}
