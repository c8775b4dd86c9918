//! Cases for pending writes: their order, who is first, what is special, and that none is left
//! without its checkpoint.

use std::sync::Arc;

use mnemon_core::checkpoints::{
    CheckpointId, PendingWrite, Placed, Policy, Put, PutWrites, Thread,
};
use mnemon_core::{Error, limits};

use super::{put, text, thread};
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme, ada, bob};

async fn started(ctx: &Ctx) -> Placed {
    put(ctx, Put::new(thread()).channel("a", text("1"))).await
}

fn task(head: &Placed, task_id: &str) -> PutWrites {
    PutWrites::new(thread(), head.id.clone(), task_id)
}

async fn write(ctx: &Ctx, writes: PutWrites) {
    ctx.checkpoints().put_writes(&acme(), writes, None).await.expect("writes are kept");
}

async fn pending(ctx: &Ctx, id: Option<&CheckpointId>) -> Vec<PendingWrite> {
    ctx.checkpoints().get(&acme(), &thread(), id).await.expect("is there").pending_writes
}

fn brief(writes: &[PendingWrite]) -> Vec<(&str, i32, &str, &[u8])> {
    writes
        .iter()
        .map(|write| {
            (
                write.task_id.as_str(),
                write.idx,
                write.channel.as_str(),
                write.value.bytes.as_slice(),
            )
        })
        .collect()
}

pub(crate) async fn writes_of_a_task_come_back_in_order(ctx: &Ctx) {
    let head = started(ctx).await;

    write(ctx, task(&head, "t1").write("a", text("1")).write("b", text("2")).write("a", text("3")))
        .await;

    let found = pending(ctx, None).await;
    assert_eq!(
        brief(&found),
        [("t1", 0, "a", &b"1"[..]), ("t1", 1, "b", b"2"), ("t1", 2, "a", b"3"),]
    );
    assert!(found.iter().all(|write| write.task_path.is_empty()));
    assert_eq!(found[0].value.type_tag, "text");
}

pub(crate) async fn tasks_are_ordered_by_path_then_id(ctx: &Ctx) {
    let head = started(ctx).await;

    write(ctx, task(&head, "a").at("2").write("c", text("third"))).await;
    write(ctx, task(&head, "z").at("1").write("c", text("second"))).await;
    write(ctx, task(&head, "b").at("1").write("c", text("first"))).await;
    write(ctx, task(&head, "zz").write("c", text("none"))).await;

    let found = pending(ctx, Some(&head.id)).await;
    let order: Vec<&str> = found.iter().map(|write| write.task_id.as_str()).collect();
    assert_eq!(order, ["zz", "b", "z", "a"]);
    assert_eq!(found[3].task_path, "2");
}

pub(crate) async fn the_first_ordinary_write_at_a_place_stays(ctx: &Ctx) {
    let head = started(ctx).await;

    write(ctx, task(&head, "t").write("a", text("first"))).await;
    write(ctx, task(&head, "t").write("a", text("second")).write("b", text("new"))).await;

    let found = pending(ctx, None).await;
    assert_eq!(brief(&found), [("t", 0, "a", &b"first"[..]), ("t", 1, "b", b"new")]);
    assert_eq!(ctx.rows("checkpoint_writes").await, 2);
}

pub(crate) async fn special_writes_have_their_places_and_overwrite(ctx: &Ctx) {
    let head = started(ctx).await;
    let special =
        [("__error__", -1), ("__scheduled__", -2), ("__interrupt__", -3), ("__resume__", -4)];
    for (channel, _) in special {
        write(ctx, task(&head, "t").write(channel, text("first"))).await;
        write(ctx, task(&head, "t").write(channel, text("second"))).await;
    }
    // In one call with ordinary ones too.
    write(ctx, task(&head, "t").write("a", text("1")).write("__error__", text("third"))).await;

    let found = pending(ctx, None).await;
    assert_eq!(
        brief(&found),
        [
            ("t", -4, "__resume__", &b"second"[..]),
            ("t", -3, "__interrupt__", b"second"),
            ("t", -2, "__scheduled__", b"second"),
            ("t", -1, "__error__", b"third"),
            ("t", 0, "a", b"1"),
        ]
    );
}

pub(crate) async fn a_new_checkpoint_starts_without_writes(ctx: &Ctx) {
    let head = started(ctx).await;
    write(ctx, task(&head, "t").write("a", text("1"))).await;

    put(ctx, Put::new(thread())).await;

    assert_eq!(pending(ctx, None).await, []);
    assert_eq!(pending(ctx, Some(&head.id)).await.len(), 1, "they stay with theirs");
}

pub(crate) async fn namespaces_have_writes_of_their_own(ctx: &Ctx) {
    let root = started(ctx).await;
    let inner = thread().namespace("child:1");
    let child = put(ctx, Put::new(inner.clone())).await;

    write(ctx, task(&root, "t").write("a", text("root"))).await;
    write(ctx, PutWrites::new(inner.clone(), child.id, "t").write("a", text("child"))).await;

    assert_eq!(pending(ctx, None).await[0].value, text("root"));
    let found = ctx.checkpoints().get(&acme(), &inner, None).await.expect("is there");
    assert_eq!(found.pending_writes[0].value, text("child"));
    // An id of another namespace is not there.
    let astray = PutWrites::new(inner, root.id, "t");
    fails_as(ctx.checkpoints().put_writes(&acme(), astray, None).await, "not_found");
}

pub(crate) async fn long_values_of_writes_come_back(ctx: &Ctx) {
    let head = started(ctx).await;
    let long = text(&"a long value ".repeat(20_000));

    write(ctx, task(&head, "t").write("a", long.clone()).write("b", text(""))).await;

    let found = pending(ctx, None).await;
    assert_eq!((&found[0].value, &found[1].value), (&long, &text("")));
}

pub(crate) async fn a_write_to_a_checkpoint_that_is_gone_leaves_nothing(ctx: &Ctx) {
    let first = started(ctx).await;
    let second = put(ctx, Put::new(thread())).await;
    let late = |head: &Placed| task(head, "t").write("a", text("late"));
    let keep = Policy::KeepLatest(1);
    ctx.checkpoints().prune(&acme(), &["t".into()], &keep, false).await.expect("is pruned");

    fails_as(ctx.checkpoints().put_writes(&acme(), late(&first), None).await, "not_found");
    ctx.checkpoints().delete_thread(&acme(), "t", None).await.expect("is deleted");
    fails_as(ctx.checkpoints().put_writes(&acme(), late(&second), None).await, "not_found");
    let nowhere = PutWrites::new(Thread::new("nowhere"), second.id, "t");
    fails_as(ctx.checkpoints().put_writes(&acme(), nowhere, None).await, "not_found");

    for table in ["threads", "checkpoints", "checkpoint_writes", "checkpoint_chunks"] {
        assert_eq!(ctx.rows(table).await, 0, "{table}");
    }
}

pub(crate) async fn writers_and_removers_leave_no_orphan(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    for round in 0..6 {
        let head = started(ctx).await;
        let writers: Vec<_> = (0..8)
            .map(|n: usize| {
                let store = Arc::clone(&stores[n % 2]);
                let writes = task(&head, &format!("t{n}")).write("a", text(&"v".repeat(200)));
                tokio::spawn(
                    async move { store.checkpoints().put_writes(&acme(), writes, None).await },
                )
            })
            .collect();
        let remover = Arc::clone(&stores[round % 2]);
        let gone =
            tokio::spawn(
                async move { remover.checkpoints().delete_thread(&acme(), "t", None).await },
            );
        for writer in writers {
            match writer.await.expect("no panic") {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        gone.await.expect("no panic").expect("is deleted");
        for table in ["checkpoint_writes", "checkpoint_chunks", "checkpoints"] {
            assert_eq!(ctx.rows(table).await, 0, "{table} in round {round}");
        }
    }
    stores[1].close().await;
}

pub(crate) async fn writes_of_another_user_are_not_taken(ctx: &Ctx) {
    let head = ctx.checkpoints().put(&ada(), Put::new(thread()), None).await.expect("is put");

    let astray = task(&head, "t").write("a", text("1"));
    fails_as(ctx.checkpoints().put_writes(&bob(), astray.clone(), None).await, "not_found");

    ctx.checkpoints().put_writes(&acme(), astray, None).await.expect("the tenant's");
    assert_eq!(ctx.rows("checkpoint_writes").await, 1);
}

pub(crate) async fn bad_writes_are_refused(ctx: &Ctx) {
    let head = started(ctx).await;
    let checkpoints = ctx.checkpoints();
    refused(checkpoints.put_writes(&acme(), task(&head, " "), None).await, "task_id");
    let long = task(&head, "t").at("p".repeat(limits::TASK_PATH_BYTES + 1));
    refused(checkpoints.put_writes(&acme(), long, None).await, "task_path");
    let blank = task(&head, "t").write("", text("1"));
    refused(checkpoints.put_writes(&acme(), blank, None).await, "writes.channel");
    let mut untyped = task(&head, "t").write("a", text("1"));
    untyped.writes[0].value.type_tag.clear();
    refused(checkpoints.put_writes(&acme(), untyped, None).await, "writes.type_tag");
    let nul = PutWrites::new(Thread::new("t\0"), head.id.clone(), "t");
    refused(checkpoints.put_writes(&acme(), nul, None).await, "thread_id");
    let huge = task(&head, "t").write("a", text(&"v".repeat(limits::CHECKPOINT_BYTES + 1)));
    refused(checkpoints.put_writes(&acme(), huge, None).await, "writes");
    assert_eq!(ctx.rows("checkpoint_writes").await, 0);
}
