//! Segments through all else that happens to a database: row-level security, an older schema, a set
//! that goes, vectors that no index takes.

use mnemon_core::memories::{Memories as _, MemoryPatch, ModelSignature, NewMemory, Recall};
use mnemon_core::migrations::{MigrateMode, Migrations as _};
use mnemon_core::{Error, Scope, Store as _, limits};
use sqlx::Connection as _;

use super::{
    ROWS, all, assert_whole, connect, found_first, id, indexed, loaded, migrated, migrator, model,
    more, run, servers, tenant, vector,
};
use crate::options::Options;
use crate::{PostgresStore, models, segments};

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_guarded_like_the_rest() {
    for server in servers() {
        let db = migrated(&server).await;
        let role = db.login_role().await;
        migrator(db.url()).await.rls(true).await.unwrap();
        let options = Options {
            migrate: MigrateMode::Verify,
            maintenance_url: Some(db.url().to_owned()),
            ..Options::new(role)
        };
        let store = PostgresStore::open(&options).await.unwrap();
        store.register_model(&model()).await.unwrap();
        more(&db, 0, 12_000).await;
        run(&store).await;
        assert_eq!(indexed(&db).await, (0, 1));

        assert_eq!(found_first(&store, 17).await, id(17));
        let other = store.recall(&Scope::tenant("other"), &Recall::vector(vector(17))).await;
        assert!(other.unwrap().is_empty());
        store.delete(&tenant(), id(17)).await.unwrap();
        let patch = MemoryPatch { embedding: Some(vector(60_000)), ..MemoryPatch::default() };
        store.update(&tenant(), id(18), patch).await.unwrap();
        assert_eq!(found_first(&store, 60_000).await, id(18));
        assert_ne!(found_first(&store, 17).await, id(17));
        let findings = store.doctor().await.unwrap();
        let guarded = findings.iter().find(|finding| finding.check == "row-level security");
        assert!(guarded.unwrap().message.starts_with("on, and holds"), "{guarded:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_down_brings_every_vector_back() {
    for server in servers() {
        let (store, db) = loaded(&server, ROWS).await;
        run(&store).await;
        store.close().await;

        let migrator = migrator(db.url()).await;
        migrator.down(2).await.unwrap();
        let mut conn = connect(db.url()).await;
        let rows: i64 = sqlx::query_scalar("select count(*) from mnemon.embeddings_1")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        assert_eq!(rows, i64::from(ROWS));
        migrator.up().await.unwrap();

        let store = PostgresStore::open(&Options::new(db.url())).await.unwrap();
        run(&store).await;
        assert_whole(&db, &all(ROWS)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_indexed_when_that_is_asked_for() {
    for server in servers() {
        let (store, db) = loaded(&server, ROWS).await;

        let indexed_now = store.index_vectors(&model()).await.unwrap();

        assert_eq!(indexed_now, u64::from(ROWS));
        assert_eq!(indexed(&db).await, (0, 1));
        let another = ModelSignature { name: "other".into(), ..model() };
        let unknown = store.index_vectors(&another).await;
        assert!(matches!(unknown, Err(Error::NotFound { .. })), "{unknown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_goes_takes_its_segments_along() {
    for server in servers() {
        let (store, db) = loaded(&server, ROWS).await;
        run(&store).await;
        let mut conn = connect(db.url()).await;
        let set = models::active(&mut conn).await.unwrap().unwrap();

        let mut tx = conn.begin().await.unwrap();
        segments::drop_all(&mut tx, &set).await.unwrap();
        tx.commit().await.unwrap();

        assert_eq!(indexed(&db).await, (0, 0));
        let left: Option<String> =
            sqlx::query_scalar("select to_regclass('mnemon.embeddings_1_seg_1')::text")
                .fetch_one(&mut conn)
                .await
                .unwrap();
        assert_eq!(left, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_too_long_for_an_index_are_compared_one_by_one() {
    for server in servers() {
        let db = migrated(&server).await;
        let store = PostgresStore::open(&Options::new(db.url())).await.unwrap();
        let dimension = u32::try_from(limits::INDEXED_DIMENSIONS).unwrap() + 1;
        let long = ModelSignature { dimension, ..model() };
        store.register_model(&long).await.unwrap();
        let embedding = Some(vec![1.0; dimension as usize]);
        let memory = NewMemory { embedding: embedding.clone(), ..NewMemory::new("long") };
        store.remember(&tenant(), memory).await.unwrap();

        assert_eq!(run(&store).await, 1);
        let hits = store.recall(&tenant(), &Recall { embedding, ..Recall::default() }).await;

        assert_eq!(hits.unwrap().len(), 1);
        let findings = store.doctor().await.unwrap();
        let vectors = findings.iter().find(|finding| finding.check == "vectors").unwrap();
        assert!(vectors.message.contains("4000"), "{vectors:?}");
    }
}
