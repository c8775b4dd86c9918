//! Random operations on threads, held against a tree in memory.

use std::collections::BTreeMap;

use mnemon_core::checkpoints::{
    ChannelValue, CheckpointId, ExpectedHead, Policy, Put, PutWrites, Thread,
};
use mnemon_core::{Error, Page};

use super::text;
use crate::check::Dice;
use crate::ctx::{Ctx, acme};

/// A checkpoint of the model.
#[derive(Clone, Debug)]
struct Node {
    parent: Option<CheckpointId>,
    version: i64,
    run: String,
    channels: BTreeMap<String, ChannelValue>,
    /// Values by task.
    writes: BTreeMap<String, ChannelValue>,
}

/// A thread of the model: its checkpoints in order of their ids.
#[derive(Clone, Debug, Default)]
struct Tree {
    nodes: BTreeMap<CheckpointId, Node>,
    version: i64,
}

type Model = BTreeMap<String, Tree>;

const THREADS: [&str; 3] = ["a", "b", "c"];
const RUNS: [&str; 3] = ["r1", "r2", "r3"];
const CHANNELS: [&str; 3] = ["x", "y", "z"];

pub(crate) async fn random_operations_agree_with_a_tree_seed_1(ctx: &Ctx) {
    run(ctx, 1).await;
}

pub(crate) async fn random_operations_agree_with_a_tree_seed_2(ctx: &Ctx) {
    run(ctx, 2).await;
}

pub(super) async fn run(ctx: &Ctx, seed: u64) {
    let mut dice = Dice::seeded(seed);
    let mut model = Model::new();
    for step in 0..120 {
        match dice.below(20) {
            0..=9 => put(ctx, &mut model, &mut dice).await,
            10..=13 => write(ctx, &mut model, &mut dice).await,
            14 | 15 => prune(ctx, &mut model, &mut dice).await,
            16 => delete_runs(ctx, &mut model, &mut dice).await,
            17 => copy(ctx, &mut model, &mut dice).await,
            18 => delete(ctx, &mut model, &mut dice).await,
            _ => {}
        }
        if step % 6 == 0 {
            agree(ctx, &model).await;
        }
    }
    agree(ctx, &model).await;
    for name in THREADS {
        let _ = ctx.checkpoints().delete_thread(&acme(), name, None).await;
    }
    for table in ["threads", "checkpoints", "checkpoint_writes", "checkpoint_chunks"] {
        assert_eq!(ctx.rows(table).await, 0, "{table} after everything was deleted");
    }
}

/// Values of which some are long, and some share most of their parts.
fn value(dice: &mut Dice) -> ChannelValue {
    match dice.below(3) {
        0 => text(&format!("short {}", dice.below(4))),
        1 => text(&format!("{}{}", "long ".repeat(8_000), dice.below(4))),
        _ => {
            let mut noise = Dice::seeded(9);
            let mut bytes: Vec<u8> = (0..30_000).map(|_| noise.next().to_le_bytes()[0]).collect();
            bytes[dice.below(4) * 7_000] ^= 1;
            ChannelValue { type_tag: "b".into(), bytes }
        }
    }
}

async fn put(ctx: &Ctx, model: &mut Model, dice: &mut Dice) {
    let (name, run) = (*dice.pick(&THREADS), *dice.pick(&RUNS));
    let tree = model.get(name).cloned().unwrap_or_default();
    let head = tree.nodes.keys().next_back().cloned();
    let mut put = Put::new(Thread::new(name));
    for channel in CHANNELS {
        match dice.below(4) {
            0 => put = put.channel(channel, value(dice)),
            1 => drop(put.removed.insert(channel.to_owned())),
            _ => {}
        }
    }
    let ids: Vec<CheckpointId> = tree.nodes.keys().cloned().collect();
    let mut parent = head.clone();
    match dice.below(6) {
        0 => {
            put.root = true;
            parent = None;
        }
        1 | 2 if !ids.is_empty() => {
            parent = Some(dice.pick(&ids).clone());
            put.parent.clone_from(&parent);
        }
        3 => {
            put.expected_head = match &head {
                Some(head) => ExpectedHead::Is(head.clone()),
                None => ExpectedHead::Empty,
            }
        }
        4 if ids.len() > 1 => put.expected_head = ExpectedHead::Is(ids[0].clone()),
        _ => {}
    }
    let stale = matches!(&put.expected_head, ExpectedHead::Is(id) if Some(id) != head.as_ref());
    let outcome = ctx.checkpoints().put(&acme().run(run), put.clone(), None).await;
    if stale {
        assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
        return;
    }
    let placed = outcome.expect("is put");
    assert_eq!((&placed.parent, placed.version), (&parent, tree.version + 1));
    assert!(head.is_none_or(|head| placed.id > head));
    let mut channels = match &parent {
        Some(parent) => tree.nodes[parent].channels.clone(),
        None => BTreeMap::new(),
    };
    channels.retain(|name, _| !put.removed.contains(name));
    channels.extend(put.channels);
    let node = Node {
        parent,
        version: placed.version,
        run: run.to_owned(),
        channels,
        writes: BTreeMap::new(),
    };
    let tree = model.entry(name.to_owned()).or_default();
    tree.version = placed.version;
    tree.nodes.insert(placed.id, node);
}

async fn write(ctx: &Ctx, model: &mut Model, dice: &mut Dice) {
    let name = *dice.pick(&THREADS);
    let ids: Vec<CheckpointId> =
        model.get(name).map(|tree| tree.nodes.keys().cloned().collect()).unwrap_or_default();
    let id = if ids.is_empty() { CheckpointId("gone".into()) } else { dice.pick(&ids).clone() };
    let task = format!("task {}", dice.below(3));
    let value = value(dice);
    let writes = PutWrites::new(Thread::new(name), id.clone(), &task).write("w", value.clone());
    let outcome = ctx.checkpoints().put_writes(&acme(), writes, None).await;
    match model.get_mut(name).and_then(|tree| tree.nodes.get_mut(&id)) {
        Some(node) => {
            outcome.expect("is kept");
            // The first one stays.
            node.writes.entry(task).or_insert(value);
        }
        None => assert!(matches!(outcome, Err(Error::NotFound { .. })), "{outcome:?}"),
    }
}

/// Removes from a tree of the model; a thread without checkpoints is gone.
fn retain(model: &mut Model, name: &str, keep: impl Fn(&CheckpointId, &Node) -> bool) -> u64 {
    let Some(tree) = model.get_mut(name) else { return 0 };
    let before = tree.nodes.len();
    tree.nodes.retain(|id, node| keep(id, node));
    let gone = before - tree.nodes.len();
    if tree.nodes.is_empty() {
        model.remove(name);
    }
    gone as u64
}

async fn prune(ctx: &Ctx, model: &mut Model, dice: &mut Dice) {
    let name = *dice.pick(&THREADS);
    let keep = 1 + dice.below(4);
    let policy = Policy::KeepLatest(u32::try_from(keep).expect("small"));
    let names = [name.to_owned()];
    let would = ctx.checkpoints().prune(&acme(), &names, &policy, true).await.expect("is tried");
    let done = ctx.checkpoints().prune(&acme(), &names, &policy, false).await.expect("is done");
    assert_eq!(would, done);
    let newest: Vec<CheckpointId> = model
        .get(name)
        .map(|tree| tree.nodes.keys().rev().take(keep).cloned().collect())
        .unwrap_or_default();
    assert_eq!(done.checkpoints, retain(model, name, |id, _| newest.contains(id)));
}

async fn delete_runs(ctx: &Ctx, model: &mut Model, dice: &mut Dice) {
    let run = *dice.pick(&RUNS);
    let done =
        ctx.checkpoints().delete_for_runs(&acme(), &[run.to_owned()]).await.expect("is done");
    let gone: u64 = THREADS.iter().map(|name| retain(model, name, |_, node| node.run != run)).sum();
    assert_eq!(done.checkpoints, gone);
}

async fn copy(ctx: &Ctx, model: &mut Model, dice: &mut Dice) {
    let (from, to) = (*dice.pick(&THREADS), *dice.pick(&THREADS));
    let outcome = ctx.checkpoints().copy_thread(&acme(), from, to).await;
    match (model.get(from).cloned(), model.contains_key(to)) {
        (None, _) => assert!(matches!(outcome, Err(Error::NotFound { .. })), "{outcome:?}"),
        (_, true) => assert!(matches!(outcome, Err(Error::AlreadyExists { .. })), "{outcome:?}"),
        (Some(tree), false) => {
            assert_eq!(outcome.expect("is copied"), tree.nodes.len() as u64);
            model.insert(to.to_owned(), tree);
        }
    }
}

async fn delete(ctx: &Ctx, model: &mut Model, dice: &mut Dice) {
    let name = *dice.pick(&THREADS);
    let outcome = ctx.checkpoints().delete_thread(&acme(), name, None).await;
    match model.remove(name) {
        Some(tree) => assert_eq!(outcome.expect("is deleted"), tree.nodes.len() as u64),
        None => assert!(matches!(outcome, Err(Error::NotFound { .. })), "{outcome:?}"),
    }
}

/// The database shows what the model holds.
async fn agree(ctx: &Ctx, model: &Model) {
    for name in THREADS {
        let thread = Thread::new(name);
        let listed = ctx.checkpoints().history(&acme(), &thread, &Page::first(500)).await;
        let listed: Vec<CheckpointId> =
            listed.expect("a page").items.into_iter().map(|info| info.id).collect();
        let tree = model.get(name).cloned().unwrap_or_default();
        let expected: Vec<CheckpointId> = tree.nodes.keys().rev().cloned().collect();
        assert_eq!(listed, expected, "{name}");
        for (id, node) in &tree.nodes {
            let found = ctx.checkpoints().get(&acme(), &thread, Some(id)).await.expect("is there");
            assert_eq!((found.version, &found.parent), (node.version, &node.parent));
            assert!(found.channels == node.channels, "{name} {id}");
            let writes: BTreeMap<String, ChannelValue> = found
                .pending_writes
                .into_iter()
                .map(|write| (write.task_id, write.value))
                .collect();
            assert!(writes == node.writes, "{name} {id}");
        }
    }
}
