//! Row-level security: a role of its own can do everything through the store and nothing beside
//! it, in tables made later too.

mod common;

use std::time::Duration;

use mnemon_core::events::{Events, SYSTEM_STREAM};
use mnemon_core::memories::{Memories, MemoryFilter, ModelSignature, NewMemory, Recall};
use mnemon_core::migrations::{MigrateMode, Migrations};
use mnemon_core::store::Severity;
use mnemon_core::upkeep::{Task, Upkeep};
use mnemon_core::{Error, Page, Scope, Store};
use mnemon_postgres::{Options, PostgresStore};
use mnemon_testkit::TestDatabase;
use sqlx::Executor as _;

/// A store that logs in as a role of its own, with the owner for upkeep.
async fn as_role(db: &TestDatabase, role: &str) -> PostgresStore {
    let options = Options {
        migrate: MigrateMode::Verify,
        maintenance_url: Some(db.url().to_owned()),
        ..Options::new(role)
    };
    PostgresStore::open(&options).await.expect("a migrated database")
}

fn model() -> ModelSignature {
    ModelSignature { name: "m".into(), dimension: 3, hash: "00".into(), semantic: true }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_role_does_everything_through_the_store() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let role = db.login_role().await;
        common::migrator(db.url()).await.rls(true).await.unwrap();
        let store = as_role(&db, &role).await;
        let (ours, theirs) = (Scope::tenant("ours").user("u"), Scope::tenant("theirs").user("u"));
        // The set's table is made after security was switched on.
        store.register_model(&model()).await.unwrap();

        for scope in [&ours, &theirs] {
            let text = format!("the quokka of {}", scope.tenant);
            let memory = NewMemory {
                embedding: Some(vec![1.0, 0.0, 0.0]),
                key: Some("k".into()),
                ..NewMemory::new(text)
            };
            let done = store.remember(scope, memory.clone()).await.unwrap();
            assert!(done.created);
            assert!(!store.remember(scope, memory).await.unwrap().created);
            store.get(scope, done.id).await.unwrap();
        }
        let question = Recall { embedding: Some(vec![1.0, 0.1, 0.0]), ..Recall::text("quokka") };
        let hits = store.recall(&ours, &question).await.unwrap();
        assert_eq!(hits.len(), 1);
        assert_eq!(hits[0].memory.tenant, "ours");
        assert!(hits[0].text_rank.is_some() && hits[0].vector_rank.is_some());
        let page = Page::default();
        assert_eq!(
            Memories::list(&store, &ours, &MemoryFilter::default(), &page)
                .await
                .unwrap()
                .items
                .len(),
            1
        );
        assert_eq!(Memories::count(&store, &ours).await.unwrap(), 1);
        assert_eq!(
            store
                .note(&ours, "scope.rejected", serde_json::json!({}), Duration::ZERO)
                .await
                .unwrap(),
            Some(1)
        );
        assert_eq!(store.read(&ours, SYSTEM_STREAM, &page).await.unwrap().items.len(), 1);
        assert_eq!(store.read(&theirs, SYSTEM_STREAM, &page).await.unwrap().items.len(), 0);
        store.delete(&ours, hits[0].memory.id).await.unwrap();

        for task in Task::ALL {
            let lease = store.claim(task, "me", true).await.unwrap().unwrap();
            store.batch(&lease).await.unwrap();
            store.finish(&lease, None).await.unwrap();
        }
        assert_eq!(store.recall(&theirs, &question).await.unwrap().len(), 1);
        let findings = store.doctor().await.unwrap();
        assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_sql_without_the_setting_raises_and_with_it_sees_one_tenant() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let role = db.login_role().await;
        common::migrator(db.url()).await.rls(true).await.unwrap();
        let store = as_role(&db, &role).await;
        store.register_model(&model()).await.unwrap();
        for tenant in ["a", "b"] {
            let memory =
                NewMemory { embedding: Some(vec![1.0, 0.0, 0.0]), ..NewMemory::new("quokka") };
            let scope = Scope::tenant(tenant);
            store.remember(&scope, memory).await.unwrap();
            store.note(&scope, "k", serde_json::json!({}), Duration::ZERO).await.unwrap();
        }
        let mut owner = common::connect(db.url()).await;
        let tables: Vec<String> = sqlx::query_scalar(
            "select t::text from mnemon.tenant_tables() t
             where has_table_privilege($1::name, t, 'select')",
        )
        .bind(url_user(&role))
        .fetch_all(&mut owner)
        .await
        .unwrap();
        assert!(tables.iter().any(|table| table.contains("embeddings_")), "{tables:?}");
        assert!(tables.iter().any(|table| table.contains("events_y")), "{tables:?}");

        let mut conn = common::connect(&role).await;
        for table in &tables {
            let has_rows: i64 = count(&mut owner, table).await.unwrap();
            let all = count(&mut conn, table).await;
            assert!(has_rows == 0 || all.is_err(), "{table}");
            conn.execute("begin; select set_config('mnemon.tenant', 'a', true)").await.unwrap();
            let seen = count(&mut conn, table).await.unwrap();
            conn.execute("rollback").await.unwrap();
            assert_eq!(seen * 2, has_rows, "{table}");
        }
        // The function of the owner takes the tenant from the setting, not from its argument.
        let candidates = "select count(*) from mnemon.text_candidates('b', null, null, '{}', \
             '''quokka''', '{}', null, null, null, null, null, null, null, null, null, null, null, 10)";
        assert!(conn.execute(candidates).await.is_err());
        conn.execute("begin; select set_config('mnemon.tenant', 'none', true)").await.unwrap();
        let found: i64 = sqlx::query_scalar(candidates).fetch_one(&mut conn).await.unwrap();
        assert_eq!(found, 0);
        conn.execute("rollback").await.unwrap();
        // Nor does it write for another tenant.
        conn.execute("begin; select set_config('mnemon.tenant', 'a', true)").await.unwrap();
        let forged = conn
            .execute("insert into mnemon.text_corpus (tenant, documents, words) values ('b', 1, 1)")
            .await;
        assert!(forged.is_err());
    }
}

async fn count(conn: &mut sqlx::PgConnection, table: &str) -> Result<i64, sqlx::Error> {
    // A name from the catalogue.
    let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
    sqlx::query_scalar(sql).fetch_one(conn).await
}

fn url_user(url: &str) -> String {
    let (_, rest) = url.split_once("://").expect("a URL");
    rest.split([':', '@']).next().expect("a user").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_owner_upkeep_says_what_it_needs() {
    for server in common::servers().into_iter().take(1) {
        let db = common::migrated(&server).await;
        let role = db.login_role().await;
        common::migrator(db.url()).await.rls(true).await.unwrap();
        let options = Options { migrate: MigrateMode::Verify, ..Options::new(role) };
        let store = PostgresStore::open(&options).await.unwrap();
        store.remember(&Scope::tenant("t"), NewMemory::new("x")).await.unwrap();

        let lease = store.claim(Task::TextCounts, "me", true).await.unwrap().unwrap();
        let error = store.batch(&lease).await.unwrap_err();

        assert!(matches!(error, Error::Setup { .. }), "{error:?}");
        assert!(error.to_string().contains("row-level security"), "{error}");
        assert!(store.status().await.is_ok());
        let error = store.register_model(&model()).await.unwrap_err();
        assert!(matches!(error, Error::Setup { .. }), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_again_every_table_is_open_to_its_grants() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let migrator = common::migrator(db.url()).await;

        migrator.rls(true).await.unwrap();
        assert_eq!(migrator.status().await.unwrap().rls, Some(true));
        migrator.rls(false).await.unwrap();

        assert_eq!(migrator.status().await.unwrap().rls, Some(false));
        let mut conn = common::connect(db.url()).await;
        let left: i64 = sqlx::query_scalar(
            "select count(*) from pg_class
             where relnamespace = 'mnemon'::regnamespace and relrowsecurity",
        )
        .fetch_one(&mut conn)
        .await
        .unwrap();
        assert_eq!(left, 0);
    }
}
