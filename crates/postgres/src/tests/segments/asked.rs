//! What questions read, and that a filter costs no rows.

use mnemon_core::memories::{Memories as _, MemoryFilter, Recall};
use mnemon_core::{Scope, Store as _};
use sqlx::Executor as _;

use super::{connect, loaded, run, servers, tenant, vector};
use crate::PostgresStore;
use crate::options::Options;

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_one_in_a_thousand_is_found_whole() {
    for server in servers() {
        let (store, db) = loaded(&server, 12_000).await;
        run(&store).await;
        let rare = MemoryFilter { tags: vec!["rare".into()], ..MemoryFilter::default() };
        let few = tenant().user("few");
        for estimates in ["right", "wrong"] {
            for n in 0..20 {
                let asked = |limit| Recall { limit, ..Recall::vector(vector(n)) };
                let tagged = Recall { filter: rare.clone(), ..asked(12) };
                let hits = store.recall(&tenant(), &tagged).await.unwrap();
                assert_eq!(hits.len(), 12, "with {estimates} estimates");
                let hits = store.recall(&few, &asked(100)).await.unwrap();
                assert_eq!(hits.len(), 100, "with {estimates} estimates");
                assert!(hits.is_sorted_by(|a, b| a.similarity >= b.similarity));
            }
            // Statistics that know neither tag nor user: an index is searched for what it lacks.
            let mut conn = connect(db.url()).await;
            conn.execute("delete from pg_statistic where starelid = 'mnemon.memories'::regclass")
                .await
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_asked_where_much_passes_and_not_where_little_does() {
    const INDEX: &str = "embeddings_1_seg_1_hnsw";
    for server in servers() {
        let (store, db) = loaded(&server, 12_000).await;
        run(&store).await;
        store.close().await;
        // What a recall reads, all of it over in the server's books.
        let scans = async |scope: Scope, tags: &[&str]| {
            let before = db.scans().await;
            let store = PostgresStore::open(&Options::new(db.url())).await.unwrap();
            let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
            let filter = MemoryFilter { tags, ..MemoryFilter::default() };
            let asked = Recall { filter, ..Recall::vector(vector(17)) };
            assert_eq!(store.recall(&scope, &asked).await.unwrap().len(), 10);
            store.close().await;
            db.scans().await.since(&before)
        };

        let all = scans(tenant(), &[]).await;
        assert!(all.indexes.contains_key(INDEX), "{all:?}");
        assert!(!all.tables.contains_key("embeddings_1_seg_1"), "{all:?}");
        assert!(!all.tables.contains_key("memories"), "{all:?}");
        let most = scans(tenant().user("many"), &[]).await;
        assert!(most.indexes.contains_key(INDEX), "{most:?}");
        let few = scans(tenant().user("few"), &[]).await;
        assert!(!few.indexes.contains_key(INDEX), "{few:?}");
        assert!(few.indexes.contains_key("memories_owner"), "{few:?}");
        let rare = scans(tenant(), &["rare"]).await;
        assert!(!rare.indexes.contains_key(INDEX), "{rare:?}");
        assert!(rare.indexes.contains_key("memories_terms"), "{rare:?}");
        assert!(!rare.tables.contains_key("memories"), "{rare:?}");
    }
}
