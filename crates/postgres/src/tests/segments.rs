//! Vectors move from the unindexed part into segments, and from segments into one, one step at a
//! time. At every moment every vector is found exactly once: alone (here), beside changes and
//! deletes, under every filter, and through whatever else happens to the tables.

mod asked;
mod beside;
mod kept;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use mnemon_core::memories::{Memories as _, ModelSignature, Recall};
use mnemon_core::migrations::Migrations as _;
use mnemon_core::upkeep::{Task, TaskLease, Upkeep as _};
use mnemon_core::{Error, MemoryId, Scope, limits};
use mnemon_testkit::{Major, Server, TestDatabase};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use uuid::Uuid;

use crate::options::Options;
use crate::{PostgresMigrator, PostgresStore};

const DIMENSION: u32 = 8;
/// Above the threshold, in two batches of a copy.
const ROWS: u32 = 6_000;

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
                    format('''m%s'':1A ''@t''%s', n,
                           case when n % 1000 = 0 then ' ''rare'':20C' end)::tsvector
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
