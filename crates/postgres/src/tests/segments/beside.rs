//! Beside every step somebody changes and deletes memories, also in transactions that are open while
//! it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use mnemon_core::memories::MemoryPatch;
use mnemon_core::scope::Facet;
use mnemon_core::upkeep::{TaskLease, Upkeep as _};
use mnemon_core::{MemoryId, limits};
use mnemon_testkit::Server;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::{
    ROWS, all, assert_whole, connect, id, indexed, lease, loaded, more, run, servers, tenant,
    vector,
};
use crate::PostgresStore;
use crate::memories::update;

/// How long a step is given beside open transactions.
const OPEN: Duration = Duration::from_millis(900);
/// Numbers of vectors that no memory has at first begin here.
const AFRESH: u32 = 1_000_000;

/// Deletes one memory and gives another one a new vector.
async fn disturb(conn: &mut PgConnection, n: u32) {
    let patch = MemoryPatch { embedding: Some(vector(AFRESH + n)), ..MemoryPatch::default() };
    let scope = tenant();
    let scope = scope.admit(Facet::Memories).unwrap();
    update::update(conn, &scope, id(2 * n + 1), &patch).await.unwrap();
    sqlx::query("delete from mnemon.memories where tenant = 't' and id = $1")
        .bind(id(2 * n).0)
        .execute(conn)
        .await
        .unwrap();
}

/// A step after one that was given up, whose statement the server may still be ending.
async fn again(store: &PostgresStore, lease: &TaskLease) -> bool {
    for _ in 0..20 {
        match store.batch(lease).await {
            Ok(batch) => return batch.more,
            Err(error) if error.is_retryable() => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("a step is done when nothing stands in its way")
}

/// A run in which before every step something is changed, in transactions that are over, that stay
/// open while the step runs, or that are undone after it.
async fn disturbed(server: &Server, merging: bool) {
    let (store, db) = loaded(server, ROWS).await;
    let mut wanted = all(ROWS);
    if merging {
        run(&store).await;
        more(&db, ROWS, 2 * ROWS).await;
        wanted = all(2 * ROWS);
        run(&store).await;
        assert_eq!(indexed(&db).await, (0, 2));
        db.move_clock(TimeDelta::from_std(2 * limits::SEGMENTS_IDLE).unwrap()).await;
    }
    let lease = lease(&store).await;
    // Memories from everywhere in the order of copying, and the same in every run.
    let mut places = (0..ROWS / 2 - 1).step_by(7);
    let mut next = || places.next().unwrap();
    let note = |wanted: &mut BTreeMap<MemoryId, u32>, n: u32| {
        wanted.remove(&id(2 * n));
        wanted.insert(id(2 * n + 1), AFRESH + n);
    };

    let mut more = true;
    while more {
        let mut over = connect(db.url()).await;
        let n = next();
        let mut tx = over.begin().await.unwrap();
        disturb(&mut tx, n).await;
        tx.commit().await.unwrap();
        note(&mut wanted, n);

        let (mut kept, mut undone) = (connect(db.url()).await, connect(db.url()).await);
        let (k, u) = (next(), next());
        let mut kept = kept.begin().await.unwrap();
        disturb(&mut kept, k).await;
        let mut undone = undone.begin().await.unwrap();
        disturb(&mut undone, u).await;
        // What is open may stop a step, which is then done when it is over.
        let first = tokio::time::timeout(OPEN, store.batch(&lease)).await;
        assert_whole(&db, &wanted).await;
        kept.commit().await.unwrap();
        note(&mut wanted, k);
        undone.rollback().await.unwrap();
        assert_whole(&db, &wanted).await;
        more = match first {
            Ok(Ok(batch)) => batch.more,
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => again(&store, &lease).await,
        };
        assert_whole(&db, &wanted).await;
    }

    // Rows that somebody held stayed behind, below the threshold.
    let (_, segments) = indexed(&db).await;
    assert_eq!(segments, 1);
    assert_whole(&db, &wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_loses_and_revives_nothing_beside_changes_and_deletes() {
    for server in servers() {
        disturbed(&server, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_loses_and_revives_nothing_beside_changes_and_deletes() {
    for server in servers() {
        disturbed(&server, true).await;
    }
}
