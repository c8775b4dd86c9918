//! A migrated database per test, on each supported server.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;

use mnemon_core::Result;
use mnemon_core::migrations::Migrations as _;
use mnemon_postgres::{Options, PostgresMigrator, PostgresStore};
use mnemon_testkit::{Major, Server, TestDatabase};
use sqlx::{Connection as _, PgConnection};

/// A migrated database and a store over it.
pub(crate) struct Fixture {
    pub(crate) store: PostgresStore,
    pub(crate) db: TestDatabase,
}

/// Every supported server; none when tests on PostgreSQL were not asked for.
pub(crate) fn servers() -> Vec<Server> {
    if !mnemon_testkit::postgres_wanted() {
        return Vec::new();
    }
    Major::ALL.into_iter().map(Server::get).collect()
}

/// A fresh migrated database on this server, and a store of its owner's.
pub(crate) async fn fixture(server: &Server) -> Fixture {
    let db = migrated(server).await;
    let store = PostgresStore::open(&Options::new(db.url())).await.expect("a migrated database");
    Fixture { store, db }
}

/// A fresh migrated database on this server.
pub(crate) async fn migrated(server: &Server) -> TestDatabase {
    let template = server.template(&key(), |url| async move { migrate(&url).await }).await;
    template.database().await
}

pub(crate) async fn migrate(url: &str) -> Result<()> {
    migrator(url).await.up().await.map(drop)
}

pub(crate) async fn migrator(url: &str) -> PostgresMigrator {
    PostgresMigrator::connect(&Options::new(url)).await.expect("a testkit URL")
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("a testkit URL")
}

/// Names the schema: another text, another template.
fn key() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let entries = std::fs::read_dir(folder).expect("the migrations are beside the tests");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("a text"));
    format!("postgres-tests {}", texts.collect::<String>())
}
