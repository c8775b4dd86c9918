//! Cases for what removes: deleting threads, pruning, deleting what runs put; and for copies,
//! which share nothing with what they were made of.

use chrono::TimeDelta;
use mnemon_core::checkpoints::{Placed, Policy, Pruned, Put, PutWrites, Thread};
use mnemon_core::{Error, limits};
use serde_json::json;

use super::{put, text, thread, versions_of};
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme, ada, bob};

const TABLES: [&str; 4] = ["threads", "checkpoints", "checkpoint_writes", "checkpoint_chunks"];

/// A thread of so many checkpoints, each with a value of its own, one they share, and a write.
async fn grown(ctx: &Ctx, thread: &Thread, count: usize) -> Vec<Placed> {
    let mut heads = Vec::new();
    for n in 0..count {
        let next = Put::new(thread.clone()).channel("n", text(&format!("{thread} {n}")));
        let head = put(ctx, next.channel("shared", text("shared"))).await;
        let writes = PutWrites::new(thread.clone(), head.id.clone(), "task");
        let writes = writes.write("w", text(&format!("write {n}")));
        ctx.checkpoints().put_writes(&acme(), writes, None).await.expect("is kept");
        heads.push(head);
    }
    heads
}

async fn prune(ctx: &Ctx, threads: &[&str], policy: &Policy, dry_run: bool) -> Pruned {
    let threads: Vec<String> = threads.iter().map(|&id| id.to_owned()).collect();
    ctx.checkpoints().prune(&acme(), &threads, policy, dry_run).await.expect("is pruned")
}

async fn rows(ctx: &Ctx) -> [i64; 4] {
    let mut rows = [0; 4];
    for (count, table) in rows.iter_mut().zip(TABLES) {
        *count = ctx.rows(table).await;
    }
    rows
}

pub(crate) async fn a_deleted_thread_leaves_nothing(ctx: &Ctx) {
    grown(ctx, &thread(), 3).await;
    grown(ctx, &thread().namespace("child:1"), 2).await;
    grown(ctx, &Thread::new("other"), 1).await;

    let one = ctx.checkpoints().delete_thread(&acme(), "t", Some("child:1")).await;
    assert_eq!(one.expect("is deleted"), 2);
    assert_eq!(versions_of(ctx, &thread()).await, [3, 2, 1], "the other namespace stays");
    grown(ctx, &thread().namespace("child:1"), 1).await;
    let all = ctx.checkpoints().delete_thread(&acme(), "t", None).await;

    assert_eq!(all.expect("is deleted"), 4);
    assert_eq!(rows(ctx).await, [1, 1, 1, 3], "another thread stays");
    fails_as(ctx.checkpoints().delete_thread(&acme(), "t", None).await, "not_found");
    fails_as(ctx.checkpoints().get(&acme(), &thread(), None).await, "not_found");
    refused(ctx.checkpoints().delete_thread(&acme(), " ", None).await, "thread_id");
}

pub(crate) async fn the_newest_are_kept_in_every_namespace(ctx: &Ctx) {
    let heads = grown(ctx, &thread(), 4).await;
    grown(ctx, &thread().namespace("child:1"), 3).await;
    grown(ctx, &Thread::new("u"), 2).await;
    grown(ctx, &Thread::new("other"), 2).await;

    let gone = prune(ctx, &["t", "u", "nowhere"], &Policy::KeepLatest(1), false).await;

    assert_eq!(gone, Pruned { threads: 0, checkpoints: 6, writes: 6, blobs: 12 });
    assert_eq!(versions_of(ctx, &thread()).await, [4]);
    assert_eq!(versions_of(ctx, &thread().namespace("child:1")).await, [3]);
    assert_eq!(versions_of(ctx, &Thread::new("other")).await, [2, 1]);
    let kept = ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");
    assert_eq!(kept.channels.len(), 2, "what it inherited is whole");
    assert_eq!((kept.pending_writes.len(), kept.parent.as_ref()), (1, Some(&heads[2].id)));
    fails_as(ctx.checkpoints().get(&acme(), &thread(), Some(&heads[2].id)).await, "not_found");
    let next = put(ctx, Put::new(thread())).await;
    assert_eq!((next.version, next.parent), (5, Some(heads[3].id.clone())));
    let on_gone = Put::new(thread()).on(heads[0].id.clone());
    fails_as(ctx.checkpoints().put(&acme(), on_gone, None).await, "not_found");
    assert_eq!(prune(ctx, &["t"], &Policy::KeepLatest(9), false).await, Pruned::default());
}

pub(crate) async fn old_ones_go_and_the_newest_stays(ctx: &Ctx) {
    grown(ctx, &thread(), 2).await;
    ctx.move_clock(TimeDelta::days(2)).await;
    grown(ctx, &thread(), 1).await;
    grown(ctx, &Thread::new("u"), 1).await;
    let now = ctx.now().await;

    let gone = prune(ctx, &["t", "u"], &Policy::OlderThan(now - TimeDelta::days(1)), false).await;
    assert_eq!((gone.checkpoints, gone.writes, gone.threads), (2, 2, 0));
    let later = Policy::OlderThan(now + TimeDelta::days(1));
    assert_eq!(prune(ctx, &["t", "u"], &later, false).await, Pruned::default());
    assert_eq!(versions_of(ctx, &thread()).await, [3]);
}

pub(crate) async fn a_dry_run_says_what_would_go(ctx: &Ctx) {
    grown(ctx, &thread(), 3).await;
    let before = rows(ctx).await;

    for policy in [Policy::KeepLatest(1), Policy::Delete, Policy::OlderThan(ctx.now().await)] {
        let would = prune(ctx, &["t"], &policy, true).await;
        assert_eq!(rows(ctx).await, before, "{policy:?}");
        assert!(would.checkpoints >= 2, "{policy:?}: {would:?}");
    }
    let would = prune(ctx, &["t"], &Policy::KeepLatest(2), true).await;
    assert_eq!(prune(ctx, &["t"], &Policy::KeepLatest(2), false).await, would);
    let would = prune(ctx, &["t"], &Policy::Delete, true).await;
    assert_eq!(prune(ctx, &["t"], &Policy::Delete, false).await, would);
    assert_eq!((would.threads, would.checkpoints, would.writes), (1, 2, 2));
    assert_eq!(rows(ctx).await, [0; 4]);
}

pub(crate) async fn bad_policies_are_refused(ctx: &Ctx) {
    let checkpoints = ctx.checkpoints();
    let one = ["t".to_owned()];
    refused(checkpoints.prune(&acme(), &one, &Policy::KeepLatest(0), false).await, "keep_latest");
    let blank = [String::new()];
    refused(checkpoints.prune(&acme(), &blank, &Policy::Delete, false).await, "thread_id");
    let many = vec!["t".to_owned(); limits::THREADS_BATCH + 1];
    refused(checkpoints.prune(&acme(), &many, &Policy::Delete, true).await, "thread_ids");
    refused(checkpoints.delete_for_runs(&acme(), &many).await, "runs");
    refused(checkpoints.delete_for_runs(&acme(), &blank).await, "runs");
    assert_eq!(prune(ctx, &[], &Policy::Delete, false).await, Pruned::default());
    let none = checkpoints.delete_for_runs(&acme(), &[]).await;
    assert_eq!(none.expect("nothing to do"), Pruned::default());
}

pub(crate) async fn what_runs_put_is_deleted(ctx: &Ctx) {
    let run = |name: &str| acme().run(name);
    let checkpoints = ctx.checkpoints();
    let places = [thread(), thread().namespace("child:1"), Thread::new("u")];
    for place in &places {
        for (n, name) in ["r1", "r2", "r1"].into_iter().enumerate() {
            let next = Put::new(place.clone()).channel("n", text(&format!("{place} {n}")));
            let head = checkpoints.put(&run(name), next, None).await.expect("is put").id;
            let writes = PutWrites::new(place.clone(), head, "t").write("w", text(name));
            checkpoints.put_writes(&run(name), writes, None).await.expect("is kept");
        }
    }
    put(ctx, Put::new(Thread::new("none"))).await;
    let gone = checkpoints.delete_for_runs(&acme(), &["r1".into(), "no such".into()]).await;

    let gone = gone.expect("are deleted");
    assert_eq!((gone.threads, gone.checkpoints, gone.writes, gone.blobs), (0, 6, 6, 9));
    for place in &places {
        assert_eq!(versions_of(ctx, place).await, [2]);
        let head = checkpoints.get(&acme(), place, None).await.expect("is there");
        assert_eq!(head.run.as_deref(), Some("r2"), "the head is what is left");
        assert_eq!(put(ctx, Put::new(place.clone())).await.version, 4, "no version comes twice");
    }
    checkpoints.delete_for_runs(&acme(), &["r2".into()]).await.expect("are deleted");
    let rest = checkpoints.delete_thread(&acme(), "u", None).await.expect("is deleted");
    assert_eq!(rest, 1);
}

pub(crate) async fn a_thread_of_deleted_runs_only_is_gone(ctx: &Ctx) {
    let run = acme().run("r");
    for _ in 0..2 {
        let next = Put::new(thread()).channel("a", text("1"));
        ctx.checkpoints().put(&run, next, None).await.expect("is put");
    }

    let gone = ctx.checkpoints().delete_for_runs(&acme(), &["r".into()]).await;

    assert_eq!(
        gone.expect("are deleted"),
        Pruned { threads: 1, checkpoints: 2, writes: 0, blobs: 1 }
    );
    assert_eq!(rows(ctx).await, [0; 4]);
    assert_eq!(put(ctx, Put::new(thread())).await.version, 1);
}

pub(crate) async fn a_copy_is_whole_and_stands_alone(ctx: &Ctx) {
    let checkpoints = ctx.checkpoints();
    let heads = grown(ctx, &thread(), 3).await;
    grown(ctx, &thread().namespace("child:1"), 2).await;
    let long = text(&"long ".repeat(10_000));
    let last = Put { superstep: Some(7), metadata: json!({ "k": 1 }), ..Put::new(thread()) };
    put(ctx, last.on(heads[0].id.clone()).channel("long", long.clone())).await;

    let copied = checkpoints.copy_thread(&acme(), "t", "copy").await.expect("is copied");

    assert_eq!(copied, 6);
    let to = |place: &Thread| Thread { thread_id: "copy".into(), ..place.clone() };
    for place in [thread(), thread().namespace("child:1")] {
        let versions = versions_of(ctx, &place).await;
        assert_eq!(versions_of(ctx, &to(&place)).await, versions);
        for version in versions {
            let source = checkpoints.get_version(&acme(), &place, version).await.expect("there");
            let copy = checkpoints.get_version(&acme(), &to(&place), version).await.expect("there");
            assert_eq!(copy, mnemon_core::checkpoints::Checkpoint { thread: to(&place), ..source });
        }
    }
    // Whatever becomes of the one is nothing to the other.
    checkpoints.delete_thread(&acme(), "t", None).await.expect("is deleted");
    let copy = checkpoints.get(&acme(), &to(&thread()), None).await.expect("is there");
    assert_eq!((&copy.channels["long"], copy.superstep), (&long, Some(7)));
    let next = put(ctx, Put::new(to(&thread())).channel("n", text("next"))).await;
    assert_eq!(next.version, 5);
}

pub(crate) async fn a_copy_needs_a_source_and_a_free_name(ctx: &Ctx) {
    let checkpoints = ctx.checkpoints();
    grown(ctx, &thread(), 1).await;
    grown(ctx, &Thread::new("taken").namespace("only here"), 1).await;
    let before = rows(ctx).await;

    fails_as(checkpoints.copy_thread(&acme(), "nowhere", "copy").await, "not_found");
    for name in ["taken", "t"] {
        match checkpoints.copy_thread(&acme(), "t", name).await {
            Err(Error::AlreadyExists { kind: "thread", key }) => assert_eq!(key, name),
            other => panic!("{other:?}"),
        }
    }
    refused(checkpoints.copy_thread(&acme(), "t", "").await, "thread_id");
    assert_eq!(rows(ctx).await, before);
}

pub(crate) async fn a_copy_belongs_to_who_made_it(ctx: &Ctx) {
    let checkpoints = ctx.checkpoints();
    put(ctx, Put::new(thread()).channel("a", text("1"))).await;
    checkpoints.put(&ada(), Put::new(Thread::new("ada's")), None).await.expect("is put");

    checkpoints.copy_thread(&bob(), "t", "bob's").await.expect("unowned ones are everybody's");
    checkpoints.copy_thread(&acme(), "ada's", "still ada's").await.expect("the tenant's");

    fails_as(checkpoints.copy_thread(&bob(), "ada's", "stolen").await, "not_found");
    fails_as(checkpoints.get(&ada(), &Thread::new("bob's"), None).await, "not_found");
    checkpoints.get(&ada(), &Thread::new("still ada's"), None).await.expect("is hers");
    fails_as(checkpoints.delete_thread(&bob(), "still ada's", None).await, "not_found");
    checkpoints.delete_thread(&bob(), "bob's", None).await.expect("is his");
}
