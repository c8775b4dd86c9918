//! Vectors held in memory answer like a scan of the file, whatever other handles do meanwhile.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

mod common;

use common::Place;
use mnemon_core::memories::{
    Hit, MemoryFilter, MemoryPatch, ModelSignature, NewMemory, Recall, Visibility,
};
use mnemon_core::{MemoryId, Scope, Store};
use mnemon_sqlite::{Options, SqliteStore};

const DIMENSION: u32 = 24;

/// Numbers that look random, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// Few values, so that ties happen; never zero.
    fn vector(&mut self) -> Vec<f32> {
        let mut vector: Vec<f32> =
            (0..DIMENSION).map(|_| f32::from(u8::try_from(self.below(5)).unwrap()) - 2.0).collect();
        vector[0] = 1.0;
        vector
    }
}

fn model() -> ModelSignature {
    ModelSignature { name: "m".into(), dimension: DIMENSION, hash: "h".into(), semantic: true }
}

fn user(n: u64) -> Scope {
    Scope::tenant("acme").user(["ada", "bob", "cid"][usize::try_from(n % 3).unwrap()])
}

async fn opened(options: Options) -> SqliteStore {
    let store = SqliteStore::open(options).await.unwrap();
    store.memories().register_model(&model()).await.unwrap();
    store
}

fn told(hits: &[Hit]) -> Vec<(MemoryId, u64)> {
    hits.iter().map(|hit| (hit.memory.id, hit.similarity.unwrap().to_bits())).collect()
}

async fn fill(store: &SqliteStore, dice: &mut Dice, count: u64) -> Vec<(Scope, MemoryId)> {
    let mut written = Vec::new();
    for n in 0..count {
        let scope = user(dice.below(3));
        let memory = NewMemory {
            node_type: if dice.below(40) == 0 { "rare" } else { "fact" }.into(),
            visibility: (dice.below(10) == 0).then_some(Visibility::Tenant),
            embedding: Some(dice.vector()),
            allow_duplicate: true,
            ..NewMemory::new(format!("memory {n}"))
        };
        let done = store.memories().remember(&scope, memory).await.unwrap();
        written.push((scope, done.id));
    }
    written
}

/// Asks the same of both; what they answer must be the same to the last bit.
async fn agree(holding: &SqliteStore, scanning: &SqliteStore, dice: &mut Dice) {
    for scope in [user(0), user(1), Scope::tenant("acme"), Scope::tenant("globex").user("ada")] {
        for node_type in [None, Some("rare"), Some("nowhere")] {
            let filter = MemoryFilter {
                node_types: node_type.map(str::to_owned).into_iter().collect(),
                ..MemoryFilter::default()
            };
            let least = (dice.below(3) == 0).then_some(0.2);
            let limit = u32::try_from(dice.below(100)).unwrap() + 1;
            let question =
                Recall { limit, filter, min_similarity: least, ..Recall::vector(dice.vector()) };
            let held = holding.memories().recall(&scope, &question).await.unwrap();
            let scanned = scanning.memories().recall(&scope, &question).await.unwrap();
            assert_eq!(told(&held), told(&scanned), "{scope:?} {question:?}");
        }
    }
}

#[tokio::test]
async fn held_vectors_answer_like_a_scan_while_two_handles_write() {
    let place = Place::new();
    let holding = opened(place.options()).await;
    let scanning = opened(Options { vector_bytes: 0, ..place.options() }).await;
    let mut dice = Dice(7);
    let mut written = fill(&holding, &mut dice, 1_500).await;
    agree(&holding, &scanning, &mut dice).await;

    for round in 0..40 {
        for _ in 0..5 {
            // Either handle writes; the one that holds vectors must notice both.
            let store = if dice.below(2) == 0 { &holding } else { &scanning };
            let at = usize::try_from(dice.below(written.len() as u64)).unwrap();
            match dice.below(4) {
                0 => {
                    let (scope, id) = written.swap_remove(at);
                    store.memories().delete(&scope, id).await.unwrap();
                }
                1 => {
                    let (scope, id) = &written[at];
                    let patch =
                        MemoryPatch { embedding: Some(dice.vector()), ..MemoryPatch::default() };
                    store.memories().update(scope, *id, patch).await.unwrap();
                }
                2 => {
                    let (scope, id) = &written[at];
                    let visibility =
                        [Visibility::Private, Visibility::Tenant][usize::from(dice.below(2) == 0)];
                    let patch =
                        MemoryPatch { visibility: Some(visibility), ..MemoryPatch::default() };
                    // Nothing changes when it is so already.
                    let _ = store.memories().update(scope, *id, patch).await;
                }
                _ => written.extend(fill(store, &mut dice, 3).await),
            }
        }
        if round % 4 == 0 {
            agree(&holding, &scanning, &mut dice).await;
        }
    }
    agree(&holding, &scanning, &mut dice).await;
    holding.close().await;
    scanning.close().await;
}

#[tokio::test]
async fn who_fell_behind_the_log_reads_everything_anew() {
    let place = Place::new();
    let holding = opened(place.options()).await;
    let scanning = opened(Options { vector_bytes: 0, ..place.options() }).await;
    let mut dice = Dice(11);
    let written = fill(&holding, &mut dice, 200).await;
    agree(&holding, &scanning, &mut dice).await;

    fill(&scanning, &mut dice, 20).await;
    let (scope, id) = &written[0];
    scanning.memories().delete(scope, *id).await.unwrap();
    // What the log's own limit does after a hundred thousand changes.
    let newest = "(select max(seq) from vector_changes)";
    let trimmed = place
        .raw()
        .execute(&format!("delete from vector_changes where seq < {newest}"), [])
        .unwrap();

    assert!(trimmed > 200);
    agree(&holding, &scanning, &mut dice).await;
    holding.close().await;
    scanning.close().await;
}

#[tokio::test]
async fn the_log_keeps_its_newest_hundred_thousand() {
    let place = Place::new();
    let store = opened(place.options()).await;
    let raw = place.raw();
    raw.execute(
        "insert into vector_changes (memory) with recursive n (i) as \
         (select 1 union all select i + 1 from n where i < 100050) select i from n",
        [],
    )
    .unwrap();

    let span: (i64, i64) = raw
        .query_row("select min(seq), max(seq) from vector_changes", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();

    assert_eq!(span, (51, 100_050));
    assert_eq!(span.1 - span.0 + 1, mnemon_core::limits::VECTOR_CHANGES);
    store.close().await;
}

#[tokio::test]
async fn more_than_may_be_held_is_scanned() {
    let place = Place::new();
    // Some fifty rows.
    let small = opened(Options { vector_bytes: 50 * 112, ..place.options() }).await;
    let scanning = opened(Options { vector_bytes: 0, ..place.options() }).await;
    let mut dice = Dice(13);
    let first = fill(&small, &mut dice, 40).await;
    agree(&small, &scanning, &mut dice).await;
    // Over the bound while it is held, and under it again.
    fill(&small, &mut dice, 40).await;
    agree(&small, &scanning, &mut dice).await;
    for (scope, id) in &first {
        small.memories().delete(scope, *id).await.unwrap();
    }
    agree(&small, &scanning, &mut dice).await;
    small.close().await;
    scanning.close().await;
}

#[tokio::test]
async fn a_set_of_an_older_version_is_scanned_until_it_is_registered_again() {
    let place = Place::new();
    let old = opened(place.options()).await;
    let mut dice = Dice(17);
    fill(&old, &mut dice, 30).await;
    old.close().await;
    let triggers = ["added", "changed", "removed"];
    for trigger in triggers {
        place.raw().execute(&format!("drop trigger embeddings_1_{trigger}"), []).unwrap();
    }

    let unregistered = SqliteStore::open(place.options()).await.unwrap();
    let scanning = SqliteStore::open(Options { vector_bytes: 0, ..place.options() }).await.unwrap();
    agree(&unregistered, &scanning, &mut dice).await;
    fill(&scanning, &mut dice, 5).await;
    agree(&unregistered, &scanning, &mut dice).await;
    unregistered.memories().register_model(&model()).await.unwrap();
    let found: i64 = place
        .raw()
        .query_row(
            "select count(*) from sqlite_schema where type = 'trigger' \
             and tbl_name = 'embeddings_1'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(found, 3);
    fill(&scanning, &mut dice, 5).await;
    agree(&unregistered, &scanning, &mut dice).await;
    unregistered.close().await;
    scanning.close().await;
}
