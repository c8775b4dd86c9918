//! The engine over PostgreSQL: the same calls, a pool of the host's, a database without pgvector.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use mnemon::embed::Embedder;
use mnemon::turns::NewTurn;
use mnemon::{
    Backend, Config, Error, MigrateMode, Mnemon, ModelSignature, NewMemory, Outcome, PgPool,
    Recall, Receipt, RequestId, Result, Scope, Step, Task, UpkeepOptions, Write, migrations,
};
use mnemon_testkit::{Major, Server, TestDatabase, postgres_wanted};

/// A database of each version supported, or none when PostgreSQL was not asked for.
async fn databases() -> Vec<TestDatabase> {
    let mut databases = Vec::new();
    if postgres_wanted() {
        for major in Major::ALL {
            databases.push(Server::get(major).database().await);
        }
    }
    databases
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_is_found_and_a_pool_of_the_hosts_stays_open() {
    for database in databases().await {
        let db = Mnemon::open(database.url()).await.unwrap();
        let ada = Scope::tenant("acme").user("ada");
        let kept = db.memories().remember(&ada, NewMemory::new("The launch is on 3 May"));
        let kept = kept.await.unwrap();
        assert_eq!(db.backend(), Backend::Postgres);
        assert_eq!(db.default_scope(), None);
        assert!(db.model().is_some(), "{:?}", db.notices());

        let pool = PgPool::connect(database.url()).await.unwrap();
        let joined = Mnemon::from_pool(pool.clone()).await.unwrap();
        let hits = joined.memories().recall(&ada, &Recall::text("launch")).await.unwrap();
        joined.close().await;

        assert_eq!(hits[0].memory.id, kept.id);
        assert!(hits[0].similarity.is_some());
        assert!(matches!(joined.health().await, Err(Error::Closed)));
        sqlx::query("select 1").execute(&pool).await.expect("the host's pool is the host's");
        pool.close().await;
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_tenant_every_call_fails_closed() {
    for database in databases().await {
        let db = Mnemon::open(database.url()).await.unwrap();

        let refused = db.memories().count(&Scope::default()).await.unwrap_err();

        assert!(matches!(refused, Error::ScopeRequired { missing: "tenant", .. }), "{refused}");
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_handles_on_one_database_one_runs_a_task() {
    for database in databases().await {
        let quiet = || Mnemon::builder(database.url()).background_upkeep(false).open();
        let (one, two) = (quiet().await.unwrap(), quiet().await.unwrap());
        let forced = UpkeepOptions { only: vec![Task::TextCounts], force: true };

        let upkeep = one.store().upkeep();
        let lease = upkeep.claim(Task::TextCounts, "one", true).await.unwrap().unwrap();
        let left = two.upkeep(&forced).await.unwrap();
        upkeep.finish(&lease, None).await.unwrap();
        let done = two.upkeep(&forced).await.unwrap();

        assert_eq!(left.tasks[0].outcome, Outcome::Left);
        assert_eq!(done.tasks[0].outcome, Outcome::Done);
        one.close().await;
        two.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_pgvector_words_still_find_and_it_is_said() {
    for database in databases().await {
        let mut config = Config::default();
        config.set("store.url", database.url()).unwrap();
        migrations(&config).await.unwrap().up().await.unwrap();
        let pool = PgPool::connect(database.url()).await.unwrap();
        sqlx::query("drop extension vector cascade").execute(&pool).await.unwrap();
        pool.close().await;
        config.migrate.mode = MigrateMode::Verify;

        let db = Mnemon::from_config(config).await.unwrap();
        let scope = Scope::tenant("acme");
        db.memories().remember(&scope, NewMemory::new("The launch is on 3 May")).await.unwrap();
        let hits = db.memories().recall(&scope, &Recall::text("launch")).await.unwrap();

        assert_eq!(hits.len(), 1);
        assert!(db.model().is_none());
        assert!(db.notices()[0].contains("CREATE EXTENSION"), "{:?}", db.notices());
        let by_vector = db.memories().recall(&scope, &Recall::vector(vec![1.0; 256])).await;
        let message = by_vector.unwrap_err().to_string();
        assert!(message.contains("no model is registered"), "{message}");
        let findings = db.doctor().await.unwrap();
        let embedder = findings.iter().find(|finding| finding.check == "embedder").unwrap();
        assert_eq!(embedder.severity, mnemon::Severity::Warning);
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_schema_is_refused_where_it_may_not_be_changed() {
    for database in databases().await {
        let verify = Mnemon::builder(database.url()).migrate(MigrateMode::Verify);

        let refused = verify.open().await.unwrap_err();

        assert_eq!(refused.code(), "setup");
        assert!(refused.to_string().contains("mnemon migrate up"), "{refused}");
    }
}

/// An embedder that counts its calls.
struct Counting {
    signature: ModelSignature,
    calls: AtomicUsize,
}

impl Counting {
    fn new() -> Arc<Self> {
        let signature = ModelSignature {
            name: "counting".to_owned(),
            dimension: 2,
            hash: "0123456789abcdef".to_owned(),
            semantic: true,
        };
        Arc::new(Self { signature, calls: AtomicUsize::new(0) })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Embedder for Counting {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    async fn embed(&self, _: &str) -> Result<Vec<f32>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(vec![1.0, 0.5])
    }
}

async fn rows(pool: &PgPool, count: &'static str) -> i64 {
    sqlx::query_scalar(count).fetch_one(pool).await.unwrap()
}

const ORDERS: &str = "select count(*) from orders";
const MEMORIES: &str = "select count(*) from mnemon.memories";
const VECTORS: &str = "select count(*) from mnemon.embeddings_1";
const TURNS: &str = "select count(*) from mnemon.turns";

fn order(n: i32) -> Step {
    Step::new(RequestId::parse(format!("order-{n}")).unwrap())
        .write(Write::Turn(Box::new(NewTurn::new("a tent, please", "ordered"))))
        .write(Write::Remember(Box::new(NewMemory::new(format!("Ada's order {n} is a tent")))))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_and_the_hosts_own_rows_commit_and_roll_back_together() {
    for database in databases().await {
        let embedder = Counting::new();
        // A pool of one: whoever holds its connection may not need another.
        let one = sqlx::postgres::PgPoolOptions::new().max_connections(1);
        Mnemon::builder(database.url())
            .embedder(embedder.clone())
            .open()
            .await
            .unwrap()
            .close()
            .await;
        let pool = one.connect(database.url()).await.unwrap();
        let db = Mnemon::builder("")
            .pool(pool.clone())
            .embedder(embedder.clone())
            .background_upkeep(false)
            .open()
            .await
            .unwrap();
        sqlx::query("create table orders (id int primary key)").execute(&pool).await.unwrap();
        let scope = Scope::tenant("acme").user("ada").session("s");

        let mut tx = pool.begin().await.unwrap();
        sqlx::query("insert into orders values (1)").execute(&mut *tx).await.unwrap();
        let undone = db.commit_in(&mut tx, &scope, order(1)).await.unwrap();
        let again = db.commit_in(&mut tx, &scope, order(1)).await.unwrap();
        assert_eq!(again, Receipt { replayed: true, ..undone }, "its own transaction sees it");
        assert_eq!(embedder.calls(), 1, "a repeat is not embedded");
        tx.rollback().await.unwrap();
        for table in [ORDERS, MEMORIES, VECTORS, TURNS] {
            assert_eq!(rows(&pool, table).await, 0, "{table}");
        }

        // Embedded beforehand, the model is not asked while the transaction stands open.
        let ready = db.embed_step(&scope, order(1)).await.unwrap();
        assert_eq!(embedder.calls(), 2);
        let mut tx = pool.begin().await.unwrap();
        sqlx::query("insert into orders values (1)").execute(&mut *tx).await.unwrap();
        let done = db.commit_in(&mut tx, &scope, ready).await.unwrap();
        tx.commit().await.unwrap();
        assert!(!done.replayed);
        assert_eq!(embedder.calls(), 2);
        for table in [ORDERS, MEMORIES, VECTORS, TURNS] {
            assert_eq!(rows(&pool, table).await, 1, "{table}");
        }
        let again = db.commit(&scope, order(1)).await.unwrap();
        assert_eq!(again, Receipt { replayed: true, ..done });
        let untouched = db.embed_step(&scope, order(1)).await.unwrap();
        assert_eq!((untouched, embedder.calls()), (order(1), 2));

        // A refused step takes the host's rows with it when the host rolls back, as it must.
        let mut tx = pool.begin().await.unwrap();
        sqlx::query("insert into orders values (2)").execute(&mut *tx).await.unwrap();
        let other = Step::new(RequestId::parse("order-1").unwrap());
        let other = other.write(Write::Turn(Box::new(NewTurn::new("no", "no")))).strict();
        let refused = db.commit_in(&mut tx, &scope, other).await;
        assert!(matches!(refused, Err(Error::StepReused { .. })), "{refused:?}");
        let nobody = db.commit_in(&mut tx, &Scope::default(), order(2)).await;
        assert!(matches!(nobody, Err(Error::ScopeRequired { .. })), "{nobody:?}");
        tx.rollback().await.unwrap();
        assert_eq!(rows(&pool, ORDERS).await, 1);
        db.close().await;
        pool.close().await;
    }
}
