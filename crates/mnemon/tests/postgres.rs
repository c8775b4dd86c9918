//! The engine over PostgreSQL: the same calls, a pool of the host's, a database without pgvector.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "tests")]

use mnemon::{
    Backend, Config, Error, MigrateMode, Mnemon, NewMemory, Outcome, PgPool, Recall, Scope, Task,
    UpkeepOptions, migrations,
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
