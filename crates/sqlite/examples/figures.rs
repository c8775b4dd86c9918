//! Figures of this store on this machine: commits merged and single, and the exact vector scan.
//! `cargo run --release -p mnemon-sqlite --example figures`

use std::sync::Arc;
use std::time::Instant;

use mnemon_core::memories::{ModelSignature, NewMemory, Recall};
use mnemon_core::{Scope, Store};
use mnemon_sqlite::{Location, Options, SqliteStore, Synchronous};

const WRITES: usize = 2_000;
const VECTORS: usize = 10_000;
const DIMENSIONS: usize = 384;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("writes/s, one memory each, by callers at once");
    for synchronous in [Synchronous::Full, Synchronous::Normal] {
        for callers in [1, 8, 64] {
            let rate = writes(synchronous, callers).await?;
            println!("  {synchronous:?} {callers:>3} callers: {rate:>8.0}");
        }
    }
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(Options::new(Location::File(folder.path().join("v.db")))).await?;
    fill(&store).await?;
    question("vector", &store, |n| Recall::vector(vector(n * 7 + 3))).await?;
    question("rare word", &store, |n| Recall::text(format!("rare{n}"))).await?;
    question("common word", &store, |_| Recall::text("common")).await?;
    question("hybrid", &store, |n| Recall {
        embedding: Some(vector(n * 7 + 3)),
        ..Recall::text(format!("common rare{n} half{}", n % 2))
    })
    .await?;
    Ok(())
}

async fn writes(
    synchronous: Synchronous,
    callers: usize,
) -> Result<f64, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let location = Location::File(folder.path().join("w.db"));
    let store =
        Arc::new(SqliteStore::open(Options { synchronous, ..Options::new(location) }).await?);
    let started = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0..WRITES / callers {
                    let text = format!("memory {n} of caller {caller} about the launch in May");
                    store.memories().remember(&Scope::local(), NewMemory::new(text)).await?;
                }
                Ok::<_, mnemon_core::Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    Ok((WRITES / callers * callers) as f64 / started.elapsed().as_secs_f64())
}

async fn fill(store: &SqliteStore) -> Result<(), Box<dyn std::error::Error>> {
    let model = ModelSignature {
        name: "figures".into(),
        dimension: u32::try_from(DIMENSIONS)?,
        hash: "0".into(),
        semantic: true,
    };
    store.memories().register_model(&model).await?;
    let started = Instant::now();
    for first in (0..VECTORS).step_by(500) {
        let batch = (first..first + 500)
            .map(|n| NewMemory {
                embedding: Some(vector(n)),
                ..NewMemory::new(format!("common word half{} tenth{} rare{n}", n % 2, n % 10))
            })
            .collect();
        store.memories().remember_many(&Scope::local(), batch).await?;
    }
    println!("{VECTORS} memories with vectors in batches of 500: {:?}", started.elapsed());
    Ok(())
}

async fn question(
    name: &str,
    store: &SqliteStore,
    ask: impl Fn(usize) -> Recall,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut times = Vec::new();
    for n in 0..100 {
        let started = Instant::now();
        let hits = store.memories().recall(&Scope::local(), &ask(n)).await?;
        times.push(started.elapsed());
        assert!(!hits.is_empty());
    }
    times.sort();
    println!("recall by {name} over {VECTORS}: p50 {:?}, p99 {:?}", times[50], times[98]);
    Ok(())
}

/// A vector that looks random and is the same in every run.
fn vector(seed: usize) -> Vec<f32> {
    let mut state = seed as u64 + 1;
    (0..DIMENSIONS)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            f32::from(i16::try_from((state >> 33) % 2_001).expect("small") - 1_000) / 1_000.0
        })
        .collect()
}
