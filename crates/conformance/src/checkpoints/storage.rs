//! Cases for how values are kept: long ones in parts that versions share, nothing left over, and
//! nothing missing.

use std::sync::Arc;

use mnemon_core::checkpoints::{ChannelValue, Policy, Put, PutWrites};

use super::{put, text, thread, versions_of};
use crate::check::Dice;
use crate::ctx::{Ctx, acme};

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice::seeded(seed);
    (0..length).map(|_| dice.next().to_le_bytes()[0]).collect()
}

fn raw(bytes: Vec<u8>) -> ChannelValue {
    ChannelValue { type_tag: "b".into(), bytes }
}

pub(crate) async fn a_small_change_of_a_long_value_adds_few_rows(ctx: &Ctx) {
    let mut bytes = noise(1, 256 * 1024);
    put(ctx, Put::new(thread()).channel("a", raw(bytes.clone()))).await;
    let mut before = ctx.rows("checkpoint_chunks").await;
    assert!(before > 8, "a long value is kept in parts");
    let edits: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.extend(noise(2, 1024)),
        |bytes| bytes[100_000..101_024].copy_from_slice(&noise(3, 1024)),
        |bytes| drop(bytes.splice(3_000..3_000, noise(4, 1024))),
        |bytes| drop(bytes.drain(50_000..51_024)),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        edit(&mut bytes);

        put(ctx, Put::new(thread()).channel("a", raw(bytes.clone()))).await;

        let now = ctx.rows("checkpoint_chunks").await;
        assert!((1..=8).contains(&(now - before)), "edit {number} added {}", now - before);
        before = now;
        let found = ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");
        assert_eq!(found.channels["a"].bytes, bytes);
    }
}

pub(crate) async fn pruning_leaves_what_is_named_and_nothing_else(ctx: &Ctx) {
    let mut bytes = noise(1, 128 * 1024);
    let mut kept = Vec::new();
    for n in 0..6 {
        bytes.extend(noise(10 + n, 2048));
        let head = put(ctx, Put::new(thread()).channel("a", raw(bytes.clone()))).await;
        let writes = PutWrites::new(thread(), head.id, "t").write("w", raw(noise(50 + n, 40_000)));
        ctx.checkpoints().put_writes(&acme(), writes, None).await.expect("is kept");
        kept.push(bytes.clone());
    }
    let keep = Policy::KeepLatest(2);
    ctx.checkpoints().prune(&acme(), &["t".into()], &keep, false).await.expect("is pruned");

    for (version, bytes) in [(5, &kept[4]), (6, &kept[5])] {
        let found = ctx.checkpoints().get_version(&acme(), &thread(), version).await;
        let found = found.expect("is there");
        assert_eq!(&found.channels["a"].bytes, bytes);
        assert_eq!(found.pending_writes[0].value.bytes.len(), 40_000);
    }
    let left = ctx.rows("checkpoint_chunks").await;
    // What is left is what a thread has that was only ever given those two.
    let other = "u".to_owned();
    let place = mnemon_core::checkpoints::Thread::new(&other);
    for (n, bytes) in [(4, &kept[4]), (5, &kept[5])] {
        let head = put(ctx, Put::new(place.clone()).channel("a", raw(bytes.clone()))).await;
        let writes = PutWrites::new(place.clone(), head.id, "t");
        let writes = writes.write("w", raw(noise(50 + n, 40_000)));
        ctx.checkpoints().put_writes(&acme(), writes, None).await.expect("is kept");
    }
    assert_eq!(ctx.rows("checkpoint_chunks").await, 2 * left);
}

pub(crate) async fn writers_and_pruners_lose_nothing(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    let base = noise(1, 64 * 1024);
    put(ctx, Put::new(thread()).channel("base", raw(base.clone()))).await;
    let writers: Vec<_> = (0..4)
        .map(|n: usize| {
            let (store, base) = (Arc::clone(&stores[n % 2]), base.clone());
            tokio::spawn(async move {
                for round in 0..4 {
                    // What others drop comes back: the same parts again and again.
                    let mut bytes = base.clone();
                    bytes.truncate(base.len() - 1024 * ((n + round) % 3));
                    let next = Put::new(thread()).channel(format!("c{n}"), raw(bytes));
                    store.checkpoints().put(&acme(), next, None).await.expect("is put");
                }
            })
        })
        .collect();
    let pruners: Vec<_> = (0..2)
        .map(|n: usize| {
            let store = Arc::clone(&stores[n]);
            tokio::spawn(async move {
                for _ in 0..6 {
                    let policy = Policy::KeepLatest(1);
                    let one = ["t".to_owned()];
                    store.checkpoints().prune(&acme(), &one, &policy, false).await.expect("done");
                }
            })
        })
        .collect();
    for task in writers.into_iter().chain(pruners) {
        task.await.expect("no panic");
    }

    for version in versions_of(ctx, &thread()).await {
        let found = ctx.checkpoints().get_version(&acme(), &thread(), version).await;
        assert_eq!(found.expect("every value is whole").channels["base"].bytes, base);
    }
    let newest = ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");
    assert_eq!((newest.version, newest.channels.len()), (17, 5));
    stores[1].close().await;
}

pub(crate) async fn a_state_at_the_limit_is_kept(ctx: &Ctx) {
    // Compresses well, so that the limit is tried and the test stays short.
    let size = mnemon_core::limits::CHECKPOINT_BYTES - 1;
    let bytes: Vec<u8> = (0..size).map(|n| (n / 50_000).to_le_bytes()[0]).collect();
    let given = Put::new(thread()).channel("a", raw(bytes.clone())).channel("b", text("b"));

    put(ctx, given).await;

    let found = ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");
    assert!(found.channels["a"].bytes == bytes, "every byte comes back");
}
