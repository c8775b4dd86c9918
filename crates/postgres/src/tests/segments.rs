//! Vectors move from the unindexed part into segments, and from segments into one, one step at a
//! time; between any two steps somebody changes and deletes memories, also in transactions that are
//! open while a step runs. At every moment every vector is found exactly once.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use mnemon_core::memories::{
    Memories as _, MemoryFilter, MemoryPatch, ModelSignature, NewMemory, Recall,
};
use mnemon_core::migrations::{MigrateMode, Migrations as _};
use mnemon_core::scope::Facet;
use mnemon_core::upkeep::{Task, TaskLease, Upkeep as _};
use mnemon_core::{Error, MemoryId, Scope, Store as _, limits};
use mnemon_testkit::{Major, Server, TestDatabase};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use uuid::Uuid;

use crate::memories::update;
use crate::options::Options;
use crate::{PostgresMigrator, PostgresStore, models, segments};

const DIMENSION: u32 = 8;
/// Above the threshold, in two batches of a copy.
const ROWS: u32 = 6_000;
/// How long a step is given beside open transactions.
const OPEN: Duration = Duration::from_millis(900);
/// Numbers of vectors that no memory has at first begin here.
const AFRESH: u32 = 1_000_000;

fn model() -> ModelSignature {
    ModelSignature { name: "m".into(), dimension: DIMENSION, hash: "00".into(), semantic: true }
}

fn tenant() -> Scope {
    Scope::tenant("t")
}

fn id(n: u32) -> MemoryId {
    MemoryId(Uuid::parse_str(&format!("01900000-0000-7000-8000-{n:012x}")).unwrap())
}

/// A direction of its own for every number.
#[expect(clippy::cast_possible_truncation, reason = "a sine")]
fn vector(n: u32) -> Vec<f32> {
    (1..=DIMENSION).map(|k| f64::from((n + 1) * k * k + n % 7 * k).sin() as f32).collect()
}

/// Memories with vectors, of one tenant; every hundredth of user `few`, every thousandth with a tag.
fn load(from: u32, to: u32) -> [String; 2] {
    [
        format!(
            "insert into mnemon.memories
                 (tenant, user_id, id, namespace, visibility, content, tags, created_at, updated_at,
                  content_hash, words, terms)
             select 't', case when n % 100 = 0 then 'few' else 'many' end,
                    ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, '', 'private',
                    'm' || n, case when n % 1000 = 0 then '{{rare}}'::text[] else '{{}}' end,
                    mnemon.now(), mnemon.now(), sha256(('m' || n)::bytea), 1,
                    format('''m%s'':1A ''@t''', n)::tsvector
             from generate_series({from}, {to} - 1) as n"
        ),
        format!(
            "insert into mnemon.embeddings_1 (tenant, memory_id, user_id, content_hash, embedding)
             select 't', ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'u',
                    sha256(('m' || n)::bytea),
                    l2_normalize((select array_agg(sin((n + 1) * k * k + n % 7 * k)::real order by k)
                                  from generate_series(1, {DIMENSION}) as k)::halfvec({DIMENSION}))
             from generate_series({from}, {to} - 1) as n"
        ),
    ]
}

fn servers() -> Vec<Server> {
    if !mnemon_testkit::postgres_wanted() {
        return Vec::new();
    }
    Major::ALL.into_iter().map(Server::get).collect()
}

async fn migrator(url: &str) -> PostgresMigrator {
    PostgresMigrator::connect(&Options::new(url)).await.unwrap()
}

async fn migrated(server: &Server) -> TestDatabase {
    let db = server.database().await;
    migrator(db.url()).await.up().await.unwrap();
    db
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

/// A store over a database with so many memories.
async fn loaded(server: &Server, rows: u32) -> (PostgresStore, TestDatabase) {
    let db = migrated(server).await;
    let store = PostgresStore::open(&Options::new(db.url())).await.unwrap();
    store.register_model(&model()).await.unwrap();
    more(&db, 0, rows).await;
    (store, db)
}

async fn more(db: &TestDatabase, from: u32, to: u32) {
    let mut conn = connect(db.url()).await;
    for statement in load(from, to) {
        conn.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    conn.execute(
        "insert into mnemon.text_corpus select tenant, count(*), sum(words) from mnemon.memories
         group by tenant on conflict (tenant) do update set documents = excluded.documents",
    )
    .await
    .unwrap();
    conn.execute("analyze").await.unwrap();
}

async fn lease(store: &PostgresStore) -> TaskLease {
    store.claim(Task::VectorSegments, "test", true).await.unwrap().unwrap()
}

/// Steps until there is nothing to do; answers how many there were.
async fn run(store: &PostgresStore) -> usize {
    let lease = lease(store).await;
    let mut steps = 1;
    while store.batch(&lease).await.unwrap().more {
        steps += 1;
        assert!(steps < 200, "it comes to an end");
    }
    store.finish(&lease, None).await.unwrap();
    steps
}

/// What is searched: every table's vectors, in one snapshot.
async fn searched(conn: &mut PgConnection) -> Vec<(Uuid, String)> {
    let mut tx = conn.begin_with("begin isolation level repeatable read read only").await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "select 'mnemon.embeddings_1' union all
         select 'mnemon.embeddings_1_seg_' || number from mnemon.embedding_segments
         where state = 'ready'",
    )
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    let mut all = Vec::new();
    for table in tables {
        let rows: Vec<(Uuid, String)> = sqlx::query_as(AssertSqlSafe(format!(
            "select memory_id, embedding::text from {table} where tenant = 't'"
        )))
        .fetch_all(&mut *tx)
        .await
        .unwrap();
        all.extend(rows);
    }
    all.sort();
    all
}

/// Checks that exactly these memories have vectors, each one of them once, and those of the
/// changed ones are the new.
async fn assert_whole(db: &TestDatabase, wanted: &BTreeMap<MemoryId, u32>) {
    let mut conn = connect(db.url()).await;
    let found = searched(&mut conn).await;
    let ids: Vec<Uuid> = found.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, wanted.keys().map(|id| id.0).collect::<Vec<_>>());
    for ((id, text), n) in found.iter().zip(wanted.values()) {
        let found: Vec<f32> =
            text.trim_matches(['[', ']']).split(',').map(|x| x.parse().unwrap()).collect();
        let near: f32 = found.iter().zip(vector(*n)).map(|(a, b)| a * b).sum::<f32>()
            / vector(*n).iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!(near > 0.99, "{id} holds another vector than that of {n}");
    }
}

fn all(rows: u32) -> BTreeMap<MemoryId, u32> {
    (0..rows).map(|n| (id(n), n)).collect()
}

async fn indexed(db: &TestDatabase) -> (i64, i64) {
    let mut conn = connect(db.url()).await;
    let unindexed = sqlx::query_scalar("select count(*) from mnemon.embeddings_1")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    let segments =
        sqlx::query_scalar("select count(*) from mnemon.embedding_segments where state = 'ready'")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    (unindexed, segments)
}

async fn found_first(store: &PostgresStore, n: u32) -> MemoryId {
    let question = Recall { limit: 1, ..Recall::vector(vector(n)) };
    store.recall(&tenant(), &question).await.unwrap()[0].memory.id
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_above_the_threshold_move_and_are_found_at_every_step() {
    for server in servers() {
        let (store, db) = loaded(&server, ROWS).await;
        let lease = lease(&store).await;

        loop {
            let more = store.batch(&lease).await.unwrap().more;
            assert_whole(&db, &all(ROWS)).await;
            for n in [0, 17, ROWS - 1] {
                assert_eq!(found_first(&store, n).await, id(n));
            }
            if !more {
                break;
            }
        }

        assert_eq!(indexed(&db).await, (0, 1));
        let few = limits::UNINDEXED_ROWS;
        more(&db, ROWS, ROWS + u32::try_from(few).unwrap()).await;
        store.finish(&lease, None).await.unwrap();
        run(&store).await;
        assert_eq!(indexed(&db).await, (i64::try_from(few).unwrap(), 1), "below the threshold");
    }
}

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

#[tokio::test(flavor = "multi_thread")]
async fn merged_segments_are_emptied_and_used_again() {
    for server in servers() {
        let (store, db) = loaded(&server, ROWS).await;
        run(&store).await;
        more(&db, ROWS, 2 * ROWS).await;
        run(&store).await;
        db.move_clock(TimeDelta::from_std(2 * limits::SEGMENTS_IDLE).unwrap()).await;
        run(&store).await;
        assert_eq!(indexed(&db).await, (0, 1), "two became one");
        db.move_clock(TimeDelta::from_std(2 * limits::SEGMENT_KEPT).unwrap()).await;
        run(&store).await;

        let mut conn = connect(db.url()).await;
        let left: i64 = sqlx::query_scalar("select count(*) from mnemon.embeddings_1_seg_1")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        assert_eq!(left, 0);
        more(&db, 2 * ROWS, 3 * ROWS).await;
        run(&store).await;
        let tables: i64 = sqlx::query_scalar("select count(*) from mnemon.embedding_segments")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        assert_eq!(tables, 3, "the first one's table was used again");
        assert_whole(&db, &all(3 * ROWS)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_cut_short_is_built_again() {
    for server in servers() {
        let (store, db) = loaded(&server, ROWS).await;
        let lease = lease(&store).await;
        let mut conn = connect(db.url()).await;
        let built = async |conn: &mut PgConnection| -> bool {
            sqlx::query_scalar("select to_regclass('mnemon.embeddings_1_seg_1_hnsw') is not null")
                .fetch_one(conn)
                .await
                .unwrap()
        };
        while !built(&mut conn).await {
            assert!(store.batch(&lease).await.unwrap().more);
        }
        conn.execute(
            "update pg_index set indisvalid = false
             where indexrelid = 'mnemon.embeddings_1_seg_1_hnsw'::regclass",
        )
        .await
        .unwrap();

        while store.batch(&lease).await.unwrap().more {}

        assert_eq!(indexed(&db).await, (0, 1));
        assert_whole(&db, &all(ROWS)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_holder_moves_nothing() {
    for server in servers() {
        let (store, db) = loaded(&server, ROWS).await;
        let old = lease(&store).await;
        db.move_clock(TimeDelta::from_std(2 * Task::VectorSegments.lease()).unwrap()).await;
        let _new = lease(&store).await;

        let refused = store.batch(&old).await;

        assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
        assert_whole(&db, &all(ROWS)).await;
    }
}

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
    }
}

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
