//! Cases for checkpoints: versions without gaps, channels that are inherited, one winner of two
//! with the same expectation.

pub(crate) mod lists;
pub(crate) mod oracle;
pub(crate) mod random;
pub(crate) mod removal;
pub(crate) mod sealed;
pub(crate) mod storage;
pub(crate) mod tree;
pub(crate) mod whole;
pub(crate) mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;
use mnemon_core::checkpoints::{ChannelValue, CheckpointId, ExpectedHead, Placed, Put, Thread};
use mnemon_core::{Cursor, Error, Page, Scope, limits};
use serde_json::json;

use crate::check::{Dice, fails_as, refused};
use crate::ctx::{Ctx, acme, ada, bob};

fn thread() -> Thread {
    Thread::new("t")
}

fn text(text: &str) -> ChannelValue {
    ChannelValue { type_tag: "text".into(), bytes: text.into() }
}

async fn put(ctx: &Ctx, put: Put) -> Placed {
    ctx.checkpoints().put(&acme(), put, None).await.expect("a checkpoint is put")
}

/// The versions a thread has, newest first.
async fn versions_of(ctx: &Ctx, thread: &Thread) -> Vec<i64> {
    let found = ctx.checkpoints().history(&acme(), thread, &Page::first(500)).await;
    found.expect("a page").items.into_iter().map(|info| info.version).collect()
}

pub(crate) async fn a_thread_grows_by_versions_and_inherits_channels(ctx: &Ctx) {
    let first = put(ctx, Put::new(thread()).channel("a", text("1")).channel("b", text("2"))).await;
    let mut next = Put::new(thread()).channel("a", text("3")).channel("c", text("4"));
    next.removed.insert("b".into());
    let second = put(ctx, next).await;

    assert_eq!((first.version, &first.parent), (1, &None));
    assert_eq!((second.version, &second.parent), (2, &Some(first.id.clone())));
    assert!(second.id > first.id);
    let newest = ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");
    assert_eq!(newest.id, second.id);
    let expected = BTreeMap::from([("a".to_owned(), text("3")), ("c".to_owned(), text("4"))]);
    assert_eq!(newest.channels, expected);
    let older = ctx.checkpoints().get(&acme(), &thread(), Some(&first.id)).await.expect("is there");
    assert_eq!(older.channels["a"], text("1"));
    assert_eq!(older.channels["b"], text("2"));
}

pub(crate) async fn bytes_of_every_kind_come_back(ctx: &Ctx) {
    let mut dice = Dice::seeded(7);
    let noise: Vec<u8> = (0..70_000).map(|_| dice.next().to_le_bytes()[0]).collect();
    let values = [Vec::new(), vec![0, 255, 0], noise, vec![b'x'; 600_000]];
    let mut given = Put { superstep: Some(-1), ..Put::new(thread()) };
    given.metadata = json!({ "deep": [null, { "x": 1.5 }] });
    for (n, bytes) in values.into_iter().enumerate() {
        given = given.channel(format!("c{n}"), ChannelValue { type_tag: "b".into(), bytes });
    }

    ctx.checkpoints().put(&acme().run("r"), given.clone(), None).await.expect("is put");

    let found = ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");
    assert_eq!(found.channels, given.channels);
    assert_eq!((found.superstep, &found.metadata), (Some(-1), &given.metadata));
    assert_eq!(found.run.as_deref(), Some("r"));
}

pub(crate) async fn a_value_is_stored_once_per_thread(ctx: &Ctx) {
    for n in 0..4 {
        let same = text("the same");
        put(ctx, Put::new(thread()).channel(format!("c{n}"), same.clone()).channel("d", same))
            .await;
    }
    put(ctx, Put::new(Thread::new("other")).channel("a", text("the same"))).await;

    assert_eq!(ctx.rows("checkpoint_chunks").await, 2);
}

pub(crate) async fn of_sixteen_with_the_same_expectation_one_wins(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    let mut expected_head = ExpectedHead::Empty;
    for round in 1..=4 {
        let tries: Vec<_> = (0..16)
            .map(|n: usize| {
                let store = Arc::clone(&stores[n % 2]);
                let put = Put { expected_head: expected_head.clone(), ..Put::new(thread()) };
                tokio::spawn(async move { store.checkpoints().put(&acme(), put, None).await })
            })
            .collect();
        let mut won = Vec::new();
        for outcome in tries {
            match outcome.await.expect("no panic") {
                Ok(placed) => won.push(placed),
                Err(Error::Conflict { kind: "thread", .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        assert_eq!(won[0].version, round);
        expected_head = ExpectedHead::Is(won[0].id.clone());
    }
    stores[1].close().await;
}

pub(crate) async fn sixteen_writers_leave_no_gap(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    let writers: Vec<_> = (0..16)
        .map(|n: usize| {
            let store = Arc::clone(&stores[n % 2]);
            tokio::spawn(async move {
                for _ in 0..3 {
                    let put = Put::new(thread()).channel(format!("c{n}"), text("v"));
                    store.checkpoints().put(&acme(), put, None).await.expect("is put");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }

    let mut page = Page::first(7);
    let mut all = Vec::new();
    loop {
        let piece = ctx.checkpoints().history(&acme(), &thread(), &page).await.expect("a page");
        all.extend(piece.items);
        match piece.next {
            Some(cursor) => page.cursor = Some(cursor),
            None => break,
        }
    }
    let versions: Vec<i64> = all.iter().map(|info| info.version).collect();
    assert_eq!(versions, (1..=48).rev().collect::<Vec<_>>());
    assert!(all.windows(2).all(|pair| pair[0].id > pair[1].id), "newest = greatest id");
    let newest = ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");
    assert_eq!(newest.channels.len(), 16, "everybody's channel is inherited");
    stores[1].close().await;
}

pub(crate) async fn a_fork_shows_its_parent(ctx: &Ctx) {
    let root = put(ctx, Put::new(thread()).channel("a", text("1"))).await;
    put(ctx, Put::new(thread()).channel("a", text("2"))).await;

    let fork = Put { parent: Some(root.id.clone()), ..Put::new(thread()) };
    let fork = put(ctx, fork).await;

    assert_eq!((fork.version, &fork.parent), (3, &Some(root.id)));
    let found = ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");
    assert_eq!(found.channels["a"], text("1"));
    let unknown = Put { parent: Some(CheckpointId("0".into())), ..Put::new(thread()) };
    fails_as(ctx.checkpoints().put(&acme(), unknown, None).await, "not_found");
    assert_eq!(ctx.rows("checkpoints").await, 3);
}

pub(crate) async fn ids_grow_however_the_clock_moves(ctx: &Ctx) {
    let first = put(ctx, Put::new(thread())).await;
    ctx.move_clock(TimeDelta::days(-3)).await;
    let second = put(ctx, Put::new(thread())).await;
    assert!(second.id > first.id);

    let own = Thread { namespace: "own".into(), ..thread() };
    let step = |id: &str| Put { id: Some(CheckpointId(id.into())), ..Put::new(own.clone()) };
    put(ctx, step("step-1")).await;
    put(ctx, step("step-2")).await;
    refused(ctx.checkpoints().put(&acme(), step("step-2"), None).await, "id");
    refused(ctx.checkpoints().put(&acme(), step("Step-3"), None).await, "id");
    let made = put(ctx, Put::new(own.clone())).await;
    assert!(made.id > CheckpointId("step-2".into()));
    assert_eq!(made.version, 3);
}

pub(crate) async fn a_thread_belongs_to_who_started_it(ctx: &Ctx) {
    let checkpoints = ctx.checkpoints();
    let first = checkpoints.put(&ada(), Put::new(thread()), None).await.expect("is put");

    fails_as(checkpoints.get(&bob(), &thread(), None).await, "not_found");
    fails_as(checkpoints.get(&bob(), &thread(), Some(&first.id)).await, "not_found");
    let history = checkpoints.history(&bob(), &thread(), &Page::default()).await.expect("a page");
    assert_eq!(history.items, []);
    fails_as(checkpoints.put(&bob(), Put::new(thread()), None).await, "not_found");
    let service = checkpoints.put(&acme(), Put::new(thread()), None).await.expect("the tenant's");
    assert_eq!(service.version, 2);
    checkpoints.get(&ada(), &thread(), None).await.expect("still hers");
    let elsewhere = Scope::tenant("globex");
    fails_as(checkpoints.get(&elsewhere, &thread(), None).await, "not_found");
    let own = checkpoints.put(&elsewhere, Put::new(thread()), None).await.expect("their own");
    assert_eq!(own.version, 1);
}

pub(crate) async fn bad_input_is_refused(ctx: &Ctx) {
    let checkpoints = ctx.checkpoints();
    refused(checkpoints.put(&acme(), Put::new(Thread::new(" ")), None).await, "thread_id");
    refused(checkpoints.get(&acme(), &Thread::new("a\0"), None).await, "thread_id");
    let list = Put { metadata: json!([]), ..Put::new(thread()) };
    refused(checkpoints.put(&acme(), list, None).await, "metadata");
    let huge = ChannelValue { type_tag: "b".into(), bytes: vec![0; limits::CHECKPOINT_BYTES + 1] };
    refused(
        checkpoints.put(&acme(), Put::new(thread()).channel("a", huge), None).await,
        "channels",
    );
    let mut both = Put::new(thread()).channel("a", text("1"));
    both.removed.insert("a".into());
    refused(checkpoints.put(&acme(), both, None).await, "removed");
    let foreign = Page { cursor: Some(Cursor::of("turns", &["7"])), ..Page::default() };
    refused(checkpoints.history(&acme(), &thread(), &foreign).await, "page.cursor");
    fails_as(checkpoints.get(&acme(), &thread(), None).await, "not_found");
    assert_eq!(ctx.rows("threads").await, 0);
}
