//! Cases for encryption at rest: what was put under keys comes back under the same keys and under
//! no others, whatever is done to the thread in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use mnemon_core::checkpoints::{
    ChannelValue, CheckpointFilter, CheckpointId, Compare, Condition, DataKey, KeyProvider, Policy,
    Put, PutWrites, Thread, ThreadFilter,
};
use mnemon_core::steps::{Step, Write};
use mnemon_core::{Error, Page, RequestId, Result};
use serde_json::json;

use super::{put, random, text, thread};
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme, ada};

/// What no message may show.
const CANARY: &str = "canary";

/// Keys whose secrets are made of their seeds.
struct Keys {
    current: &'static str,
    keys: BTreeMap<&'static str, [u8; 32]>,
}

fn secret(seed: &str) -> [u8; 32] {
    let text = format!("{CANARY} {seed} ");
    let mut secret = [0; 32];
    secret.iter_mut().zip(text.bytes().cycle()).for_each(|(to, from)| *to = from);
    secret
}

/// Keys by id and seed; the first is the current one.
fn keys(all: &[(&'static str, &str)]) -> Arc<dyn KeyProvider> {
    let keys = all.iter().map(|&(id, seed)| (id, secret(seed))).collect();
    Arc::new(Keys { current: all[0].0, keys })
}

impl KeyProvider for Keys {
    fn current(&self, tenant: &str) -> Result<DataKey> {
        self.key(tenant, self.current)?.ok_or(Error::Closed)
    }

    fn key(&self, tenant: &str, id: &str) -> Result<Option<DataKey>> {
        let secret = self.keys.get(id);
        secret.map(|secret| Ok(DataKey::new(id, *secret)?.of_tenant(tenant))).transpose()
    }
}

/// Asserts a refusal that names the thread and the key, and nothing of what keys are made of.
#[track_caller]
fn unopened<T: std::fmt::Debug>(outcome: Result<T>, key_id: Option<&str>, part: &str) {
    let error = fails_as(outcome, "sealed");
    let shown = format!("{error} {error:?}");
    let Error::Sealed { thread, key, .. } = error else { panic!("{shown}") };
    assert_eq!((thread.as_str(), key.as_deref()), ("t", key_id), "{shown}");
    assert!(shown.contains(part) && !shown.contains(CANARY), "{shown}");
}

fn long(seed: u8) -> ChannelValue {
    let mut value = text("");
    value.bytes = (0..60_000_u32).flat_map(|n| (n * u32::from(seed)).to_le_bytes()).collect();
    value
}

/// A thread of two checkpoints and a pending write of each kind.
async fn grown(ctx: &Ctx) -> Vec<CheckpointId> {
    let first = Put { metadata: json!({ "step": 9 }), ..Put::new(thread()) };
    let first = put(ctx, first.channel("short", text("one")).channel("long", long(3))).await;
    let second = Put { metadata: json!({ "step": 10 }), ..Put::new(thread()) };
    let second = put(ctx, second.channel("short", text("two"))).await;
    let writes = PutWrites::new(thread(), second.id.clone(), "task")
        .write("short", text("three"))
        .write("long", long(5))
        .write("__error__", text("four"));
    ctx.checkpoints().put_writes(&acme(), writes, None).await.expect("are kept");
    vec![first.id, second.id]
}

async fn is_whole(ctx: &Ctx, thread: &Thread) {
    let newest = ctx.checkpoints().get(&acme(), thread, None).await.expect("is there");
    assert_eq!(newest.metadata, json!({ "step": 10 }));
    assert_eq!((&newest.channels["short"], &newest.channels["long"]), (&text("two"), &long(3)));
    let pending: Vec<_> = newest.pending_writes.iter().map(|w| (w.idx, &w.value)).collect();
    assert_eq!(pending, [(-1, &text("four")), (0, &text("three")), (1, &long(5))]);
    let first = ctx.checkpoints().get_version(&acme(), thread, 1).await.expect("is there");
    assert_eq!((&first.channels["short"], first.metadata), (&text("one"), json!({ "step": 9 })));
}

pub(crate) async fn what_is_encrypted_comes_back(ctx: &Ctx) {
    ctx.checkpoints().seal_with(Some(keys(&[("k1", "a")])));
    let ids = grown(ctx).await;

    is_whole(ctx, &thread()).await;
    let diff = ctx.checkpoints().diff(&acme(), &thread(), &ids[0], &ids[1]).await.expect("both");
    assert_eq!(diff.keys().collect::<Vec<_>>(), ["short"]);
    let above = Condition { field: "step".into(), compare: Compare::Above, value: json!(9) };
    let filter = CheckpointFilter::of("t").with(above);
    let found = ctx.checkpoints().list(&acme(), &filter, &Page::first(10)).await.expect("a page");
    assert_eq!(found.items.iter().map(|info| info.version).collect::<Vec<_>>(), [2]);
    let another = ctx.another().await;
    another.checkpoints().seal_with(Some(keys(&[("k1", "a")])));
    let newest = another.checkpoints().get(&acme(), &thread(), None).await.expect("is there");
    assert_eq!(newest.channels["long"], long(3));
    another.close().await;
}

pub(crate) async fn equal_parts_are_stored_once_under_keys_too(ctx: &Ctx) {
    ctx.checkpoints().seal_with(Some(keys(&[("k1", "a")])));
    let mut value = long(7);
    put(ctx, Put::new(thread()).channel("a", value.clone())).await;
    let before = ctx.rows("checkpoint_chunks").await;
    value.bytes.extend_from_slice(&[1; 1_000]);

    put(ctx, Put::new(thread()).channel("a", value.clone())).await;

    let more = ctx.rows("checkpoint_chunks").await - before;
    assert!((1..=4).contains(&more), "{more} rows more");
    let newest = ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");
    assert_eq!(newest.channels["a"], value);
}

pub(crate) async fn another_key_is_told_from_a_missing_one(ctx: &Ctx) {
    ctx.checkpoints().seal_with(Some(keys(&[("k1", "a")])));
    let ids = grown(ctx).await;
    let (store, page) = (ctx.checkpoints(), Page::first(10));

    for (keys, part) in [
        (Some(keys(&[("k1", "b")])), "key k1 is not the one it was written with"),
        (Some(keys(&[("k2", "a")])), "key k1 is not among the keys"),
        (None, "key k1 is needed, and no keys are configured"),
    ] {
        store.seal_with(keys);
        unopened(store.get(&acme(), &thread(), None).await, Some("k1"), part);
        unopened(store.get_version(&acme(), &thread(), 1).await, Some("k1"), part);
        unopened(store.history(&acme(), &thread(), &page).await, Some("k1"), part);
        unopened(store.copy_thread(&acme(), "t", "copy").await, Some("k1"), part);
    }
    store.seal_with(None);
    let part = "no keys are configured";
    let next = Put::new(thread()).channel("short", text("x"));
    unopened(store.put(&acme(), next, None).await, Some("k1"), part);
    let writes = PutWrites::new(thread(), ids[1].clone(), "late").write("short", text("x"));
    unopened(store.put_writes(&acme(), writes, None).await, Some("k1"), part);
    // Whoever may not read may still remove.
    assert_eq!(store.delete_thread(&acme(), "t", None).await.expect("goes"), 2);
    assert_eq!(ctx.rows("checkpoint_chunks").await, 0);
}

pub(crate) async fn a_new_key_takes_over_put_by_put(ctx: &Ctx) {
    let store = ctx.checkpoints();
    store.seal_with(Some(keys(&[("k1", "a")])));
    grown(ctx).await;
    store.seal_with(Some(keys(&[("k2", "b"), ("k1", "a")])));
    is_whole(ctx, &thread()).await;

    // What the put inherits comes under the new key with it.
    let next = Put { metadata: json!({ "step": 11 }), ..Put::new(thread()) };
    let next = put(ctx, next.channel("short", text("three"))).await;

    store.seal_with(Some(keys(&[("k2", "b")])));
    let newest = store.get(&acme(), &thread(), None).await.expect("needs the new key only");
    assert_eq!((&newest.channels["short"], &newest.channels["long"]), (&text("three"), &long(3)));
    assert_eq!((newest.version, newest.metadata), (3, json!({ "step": 11 })));
    unopened(store.get_version(&acme(), &thread(), 2).await, Some("k1"), "key k1 is not among");
    let keep = Policy::KeepLatest(1);
    store.prune(&acme(), &["t".into()], &keep, false).await.expect("is pruned");
    let newest = store.get(&acme(), &thread(), Some(&next.id)).await.expect("is whole");
    assert_eq!(newest.channels["long"], long(3));
}

pub(crate) async fn what_is_not_encrypted_is_refused(ctx: &Ctx) {
    let (store, page) = (ctx.checkpoints(), Page::first(10));
    let ids = grown(ctx).await;
    store.seal_with(Some(keys(&[("k1", "a")])));
    let part = "holds what is not encrypted, and encryption is on";

    unopened(store.get(&acme(), &thread(), None).await, None, part);
    unopened(store.history(&acme(), &thread(), &page).await, None, part);
    unopened(store.copy_thread(&acme(), "t", "copy").await, None, part);
    let next = Put::new(thread()).channel("short", text("x"));
    unopened(store.put(&acme(), next.clone(), None).await, None, part);
    let writes = PutWrites::new(thread(), ids[1].clone(), "late").write("short", text("x"));
    unopened(store.put_writes(&acme(), writes, None).await, None, part);
    // It can be written anew, beside what stood there.
    let anew = Put { root: true, ..next };
    let anew = store.put(&acme(), anew, None).await.expect("a root inherits nothing");
    let found = store.get(&acme(), &thread(), Some(&anew.id)).await.expect("is there");
    assert_eq!(found.channels["short"], text("x"));
    let threads = store.list_threads(&acme(), &ThreadFilter::default(), &page).await;
    assert_eq!(threads.expect("names are not secret").items.len(), 1);
}

pub(crate) async fn readable_values_and_keys_exclude_each_other(ctx: &Ctx) {
    ctx.checkpoints().seal_with(Some(keys(&[("k1", "a")])));
    let value = ChannelValue::json(&json!({ "a": 1 }));
    let readable = Put { readable: true, ..Put::new(thread()) }.channel("a", value);

    refused(ctx.checkpoints().put(&acme(), readable, None).await, "readable");
}

pub(crate) async fn a_copy_is_encrypted_for_its_own_place(ctx: &Ctx) {
    let store = ctx.checkpoints();
    store.seal_with(Some(keys(&[("k1", "a")])));
    grown(ctx).await;
    let below = thread().namespace("below");
    put(ctx, Put::new(below.clone()).channel("short", text("sub"))).await;
    store.seal_with(Some(keys(&[("k2", "b"), ("k1", "a")])));

    assert_eq!(store.copy_thread(&acme(), "t", "copy").await.expect("is copied"), 3);

    store.seal_with(Some(keys(&[("k2", "b")])));
    is_whole(ctx, &Thread::new("copy")).await;
    let copied = Thread::new("copy").namespace("below");
    let copied = store.get(&acme(), &copied, None).await.expect("is there");
    assert_eq!(copied.channels["short"], text("sub"));
    store.delete_thread(&acme(), "copy", None).await.expect("goes");
    store.seal_with(Some(keys(&[("k1", "a")])));
    is_whole(ctx, &thread()).await;
}

pub(crate) async fn a_step_puts_under_keys(ctx: &Ctx) {
    let store = ctx.checkpoints();
    store.seal_with(Some(keys(&[("k1", "a")])));
    let next = |n: &str| Put::new(thread()).channel("long", long(9)).channel("short", text(n));
    let id = |id: &str| RequestId::parse(id).expect("a valid id");
    let step = Step::new(id("s")).write(Write::Checkpoint(Box::new(next("one"))));
    ctx.steps().commit(&ada(), step.clone()).await.expect("is committed");
    let again = ctx.steps().commit(&ada(), step).await.expect("is answered");
    assert!(again.replayed && !again.differs);
    put(ctx, next("two")).await;

    let newest = store.get(&ada(), &thread(), None).await.expect("is there");
    assert_eq!((newest.version, &newest.channels["long"]), (2, &long(9)));
    store.seal_with(None);
    unopened(store.get(&ada(), &thread(), None).await, Some("k1"), "no keys");
    let step = Step::new(id("t")).write(Write::Checkpoint(Box::new(next("three"))));
    unopened(ctx.steps().commit(&ada(), step).await, Some("k1"), "no keys");
    assert!(ctx.steps().receipt(&ada(), &id("t")).await.expect("answers").is_none());
}

pub(crate) async fn random_operations_under_keys_agree_with_a_tree(ctx: &Ctx) {
    ctx.checkpoints().seal_with(Some(keys(&[("k1", "a")])));
    random::run(ctx, 3).await;
}
