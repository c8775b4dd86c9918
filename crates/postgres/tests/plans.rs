//! Hot calls on 20,000 memories of several tenants read what they need through an index: seen in
//! the server's own counts of scans, so that statements inside functions are looked at too.

mod common;

use std::time::Duration;

use futures_util::future::join_all;
use mnemon_core::events::{EventFilter, Events, Mark, SYSTEM_STREAM};
use mnemon_core::memories::{Memories, MemoryFilter, ModelSignature, Namespace, NewMemory, Recall};
use mnemon_core::upkeep::{Task, Upkeep};
use mnemon_core::{MemoryId, Page, Scope, Store};
use mnemon_postgres::{Options, PostgresStore};
use mnemon_testkit::{Scans, Server, TestDatabase};
use sqlx::{Connection as _, Executor as _};
use uuid::Uuid;

/// Ten thousand of the tenant asked, the rest of ten others, words by Zipf's law, one rare word.
const LOAD: &str = "
insert into mnemon.memories
    (tenant, user_id, id, key, namespace, visibility, content, created_at, updated_at, expires_at,
     content_hash, words, terms)
select tenant, 'u' || n % 10,
       ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'key' || n, 'n' || n % 7,
       'private', text, mnemon.now(), mnemon.now(),
       case when n % 100 = 0 then mnemon.now() + interval '1 day' end,
       sha256(text::bytea), 20,
       setweight(to_tsvector('simple', text), 'A') || format('''@%s''', tenant)::tsvector
from (select n, case when n % 2 = 0 then 'big' else 'small' || n % 10 end as tenant,
             (select string_agg('w' || floor(5000 ^ random())::int, ' ')
              from generate_series(1, 20) where n > 0) || ' m' || n as text
      from generate_series(1, 20000) as n) as given;
insert into mnemon.text_corpus
select tenant, count(*), sum(words) from mnemon.memories group by tenant;
insert into mnemon.text_terms
select m.tenant, t.term, count(*)
from mnemon.memories m, unnest(array_remove(tsvector_to_array(m.terms), '@' || m.tenant)) as t (term)
group by m.tenant, t.term;
insert into mnemon.text_deltas (tenant, terms, documents, words)
select 'small' || n % 10, array['w1', 'w2'], 1, 2 from generate_series(1, 5000) as n;
vacuum analyze;
";

async fn loaded(server: &Server) -> TestDatabase {
    let db = common::migrated(server).await;
    let mut conn = common::connect(db.url()).await;
    for statement in LOAD.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        conn.execute(statement).await.expect("rows of a fixture");
    }
    db
}

/// What a call scans, all of it over in the server's books.
async fn scans<F>(db: &TestDatabase, call: impl FnOnce(PostgresStore) -> F) -> Scans
where
    F: Future<Output = PostgresStore>,
{
    let before = db.scans().await;
    let store = PostgresStore::open(&Options::new(db.url())).await.expect("a migrated database");
    call(store).await.close().await;
    db.scans().await.since(&before)
}

fn id(n: u32) -> MemoryId {
    MemoryId(Uuid::parse_str(&format!("01900000-0000-7000-8000-{n:012x}")).expect("a UUID"))
}

/// Tables that grow with what is kept.
const GROWING: [&str; 5] =
    ["memories", "text_terms", "text_deltas", "event_streams", "embeddings_1"];

fn assert_scans(name: &str, scans: &Scans, index: &str) {
    assert!(scans.indexes.contains_key(index), "{name} does not use {index}: {scans:?}");
    for table in GROWING {
        assert!(!scans.tables.contains_key(table), "{name} reads all of {table}: {scans:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_memories_go_through_an_index_that_leads_with_the_tenant() {
    for server in common::servers() {
        let db = loaded(&server).await;
        let (tenant, user) = (Scope::tenant("big"), Scope::tenant("big").user("u2"));
        let (t, u) = (&tenant, &user);

        let get = scans(&db, async |s| {
            s.get(t, id(2)).await.unwrap();
            s
        });
        assert_scans("get", &get.await, "memories_pkey");
        let by_key = scans(&db, async |s| {
            s.by_key(t, &Namespace::parse("n2").unwrap(), "key2").await.unwrap();
            s
        });
        assert_scans("by_key", &by_key.await, "memories_key");
        let list = scans(&db, async |s| {
            Memories::list(&s, t, &MemoryFilter::default(), &Page::default()).await.unwrap();
            s
        });
        assert_scans("list", &list.await, "memories_pkey");
        let list = scans(&db, async |s| {
            Memories::list(&s, u, &MemoryFilter::default(), &Page::default()).await.unwrap();
            s
        });
        assert_scans("list of a user", &list.await, "memories_pkey");
        for scope in [t, u] {
            let recall = scans(&db, async |s| {
                let hits = s.recall(scope, &Recall::text("m102 m202 w4000")).await.unwrap();
                assert!(!hits.is_empty());
                s
            });
            let recall = recall.await;
            assert_scans("recall of rare words", &recall, "memories_terms");
            assert!(recall.indexes.contains_key("text_terms_pkey"), "{recall:?}");
        }
        let phrase = scans(&db, async |s| {
            s.recall(t, &Recall::text("\"w3000 w4000\" -w2")).await.unwrap();
            s
        });
        assert_scans("recall of a phrase", &phrase.await, "memories_terms");
    }
}

/// Forty memories with labels and a namespace of their own.
const RARE: &str = "
update mnemon.memories
set tags = '{rare tag}', node_type = 'quokka', namespace = 'rare/deep',
    terms = terms || '''rare'':40C ''tag'':41C ''quokka'':30B'::tsvector
where key in (select 'key' || n from generate_series(500, 20000, 500) as n);
vacuum analyze mnemon.memories;
";

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_lets_little_through_goes_by_an_index() {
    for server in common::servers() {
        let db = loaded(&server).await;
        let mut conn = common::connect(db.url()).await;
        for statement in RARE.split(";\n").filter(|statement| !statement.trim().is_empty()) {
            conn.execute(statement).await.expect("rows of a fixture");
        }
        conn.close().await.unwrap();
        let t = &Scope::tenant("big");
        let model =
            ModelSignature { name: "m".into(), dimension: 2, hash: "00".into(), semantic: true };
        let store = PostgresStore::open(&Options::new(db.url())).await.unwrap();
        store.register_model(&model).await.unwrap();
        store.close().await;

        let all = MemoryFilter::default;
        let (tag, quokka) = (vec!["rare tag".to_owned()], vec!["quokka".to_owned()]);
        let namespace = Some(Namespace::parse("rare").unwrap());
        for (name, filter, index) in [
            ("tag", MemoryFilter { tags: tag, ..all() }, "memories_terms"),
            ("node type", MemoryFilter { node_types: quokka, ..all() }, "memories_terms"),
            ("namespace", MemoryFilter { namespace, ..all() }, "memories_namespace"),
        ] {
            let filter = &filter;
            let list = scans(&db, async |s| {
                let page = Memories::list(&s, t, filter, &Page::first(100)).await.unwrap();
                assert_eq!(page.items.len(), 40, "{name}");
                s
            });
            assert_scans(name, &list.await, index);
            let recall = scans(&db, async |s| {
                let asked = Recall { filter: filter.clone(), ..Recall::vector([1.0, 0.0]) };
                s.recall(t, &asked).await.unwrap();
                s
            });
            assert_scans(name, &recall.await, index);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_and_upkeep_go_through_an_index() {
    for server in common::servers() {
        let db = loaded(&server).await;
        let t = &Scope::tenant("big");
        let model =
            ModelSignature { name: "m".into(), dimension: 4, hash: "00".into(), semantic: true };
        let embedded =
            |text: String| NewMemory { embedding: Some(vec![1.0; 4]), ..NewMemory::new(text) };

        let again = scans(&db, async |s| {
            s.register_model(&model).await.unwrap();
            let many = || (0..500).map(|n| embedded(format!("quokka {n}"))).collect();
            s.remember_many(t, many()).await.unwrap();
            let second = s.remember_many(t, many()).await.unwrap();
            assert!(second.iter().all(|done| !done.created));
            s
        });
        // The new set's table is scanned in whole by its making, which counts as nobody's read.
        let mut again = again.await;
        again.tables.remove("embeddings_1");
        assert_scans("remember again", &again, "memories_dedup");
        common::connect(db.url()).await.execute("analyze").await.unwrap();

        let delete = scans(&db, async |s| {
            s.delete(t, id(4)).await.unwrap();
            s
        });
        let delete = delete.await;
        assert_scans("delete", &delete, "memories_pkey");
        assert!(delete.indexes.contains_key("embeddings_1_pkey"), "{delete:?}");
        let expired = scans(&db, async |s| {
            let lease = s.claim(Task::ExpiredMemories, "test", true).await.unwrap().unwrap();
            s.batch(&lease).await.unwrap();
            s
        });
        assert_scans("expired memories", &expired.await, "memories_expires_upkeep");
        let fold = scans(&db, async |s| {
            let lease = s.claim(Task::TextCounts, "test", true).await.unwrap().unwrap();
            assert!(s.batch(&lease).await.unwrap().rows > 0);
            s
        });
        assert_scans("text counts", &fold.await, "text_deltas_pkey");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_read_through_its_key() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let t = &Scope::tenant("t7");
        let mut conn = common::connect(db.url()).await;
        for rows in [
            "insert into mnemon.events
                 (tenant, stream, version, id, kind, occurred_at, recorded_at, tx, epoch)
             select 't' || n % 20, 's' || n % 50, n, gen_random_uuid(), 'k', mnemon.now(),
                    mnemon.now(), pg_current_xact_id(), 1
             from generate_series(1, 20000) as n",
            "insert into mnemon.event_streams (tenant, stream, version, recorded_at, tx, epoch)
             select 't' || n % 20, 's' || n, n, mnemon.now(), pg_current_xact_id(), 1
             from generate_series(1, 5000) as n",
            "insert into mnemon.event_words (tenant, stream, version, recorded_at, terms)
             select e.tenant, e.stream, e.version, e.recorded_at,
                    format('''@%s'' ''w%s'' ''common''', e.tenant, e.version % 500)::tsvector
             from mnemon.events e",
            "vacuum analyze",
        ] {
            conn.execute(rows).await.unwrap();
        }
        let month: String =
            sqlx::query_scalar("select tableoid::regclass::text from mnemon.events limit 1")
                .fetch_one(&mut conn)
                .await
                .unwrap();
        let month = month.trim_start_matches("mnemon.");
        drop(conn);

        let read = scans(&db, async |s| {
            for _ in 0..3 {
                s.note(t, "scope.rejected", serde_json::json!({}), Duration::ZERO).await.unwrap();
            }
            assert_eq!(s.read(t, SYSTEM_STREAM, &Page::default()).await.unwrap().items.len(), 3);
            s
        })
        .await;

        assert!(read.indexes.contains_key(&format!("{month}_pkey")), "{read:?}");
        assert!(!read.tables.contains_key(month), "{read:?}");
        assert!(!read.tables.contains_key("event_streams"), "{read:?}");

        // Words that are rare, and one that every event holds.
        for text in ["w7", "common", "w7 common"] {
            let read = scans(&db, async |s| {
                let all = &EventFilter::default();
                assert!(!s.search(t, text, all, &Page::first(5)).await.unwrap().items.is_empty());
                s
            })
            .await;
            for table in [month, "event_words"] {
                assert!(!read.tables.contains_key(table), "{text}: {read:?}");
            }
        }

        // The log and its lists: by their own indexes, however often they are asked.
        let fetched = "select coalesce(sum(idx_tup_fetch), 0)::int8 from pg_stat_user_tables \
            where relname like 'events_y%'";
        let rare = &EventFilter::default().kind("scope.rejected");
        for filter in [&EventFilter::default(), rare] {
            let mut conn = common::connect(db.url()).await;
            let before: i64 = sqlx::query_scalar(fetched).fetch_one(&mut conn).await.unwrap();
            // Nobody is connected while scans are counted.
            conn.close().await.unwrap();
            let read = scans(&db, async |s| {
                let mut after = None;
                for _ in 0..8 {
                    let slice = s.read_all(t, &EventFilter::default(), after.as_ref(), 50).await;
                    after = Some(slice.unwrap().next);
                    Events::list(&s, t, filter, &Page::first(20)).await.unwrap();
                }
                s
            })
            .await;
            assert!(!read.tables.contains_key(month), "{filter:?}: {read:?}");
            // A page reads what it answers, not all that follows its place: 400 and 160 events.
            let mut conn = common::connect(db.url()).await;
            let after: i64 = sqlx::query_scalar(fetched).fetch_one(&mut conn).await.unwrap();
            // Nobody is connected while scans are counted.
            conn.close().await.unwrap();
            assert!(after - before < 1_500, "{filter:?}: {} events were read", after - before);
        }
    }
}

/// One look for all who wait costs each of them the end of an index, however long the log is.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_for_those_who_wait_reads_the_ends_of_an_index() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let mut conn = common::connect(db.url()).await;
        // One tenant has nearly all of it.
        for rows in [
            "insert into mnemon.events
                 (tenant, stream, version, id, kind, occurred_at, recorded_at, tx, epoch)
             select case when n % 100 = 0 then 't' || n % 19 else 'large' end, 's', n,
                    gen_random_uuid(), 'k', mnemon.now(), mnemon.now(), pg_current_xact_id(), 1
             from generate_series(1, 20000) as n",
            "vacuum analyze",
        ] {
            conn.execute(rows).await.unwrap();
        }
        let fetched = "select coalesce(sum(idx_tup_fetch), 0)::int8 from pg_stat_user_tables \
            where relname like 'events_y%'";
        let before: i64 = sqlx::query_scalar(fetched).fetch_one(&mut conn).await.unwrap();
        // Nobody is connected while scans are counted.
        conn.close().await.unwrap();
        let tenants: Vec<Scope> = (0..19)
            .map(|n| Scope::tenant(format!("t{n}")))
            .chain([Scope::tenant("large")])
            .collect();

        let read = scans(&db, async |s| {
            // At once; when the listener has come to stand; after the first look.
            let mut marks = vec![Mark::default(); tenants.len()];
            for _ in 0..3 {
                let waits = tenants
                    .iter()
                    .zip(&marks)
                    .map(|(tenant, mark)| s.moved(tenant, *mark, Duration::from_secs(3)));
                marks = join_all(waits).await.into_iter().collect::<Result<_, _>>().unwrap();
            }
            s
        })
        .await;

        let looked = |index: &String| index.starts_with("events_y") && index.contains("_tx_");
        assert!(read.indexes.keys().any(looked), "{read:?}");
        assert!(!read.tables.keys().any(|table| table.starts_with("events_y")), "{read:?}");
        let mut conn = common::connect(db.url()).await;
        let after: i64 = sqlx::query_scalar(fetched).fetch_one(&mut conn).await.unwrap();
        assert!(after - before < 1_000, "{} events were read", after - before);
        conn.close().await.unwrap();
    }
}
