//! PostgreSQL: a database per case, cloned from one that was migrated once. Under row-level
//! security the store logs in as a role with what `mnemon.grant_to` grants and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::TimeDelta;
use mnemon_conformance::{Database, Provider, Setup, async_trait};
use mnemon_core::migrations::{MigrateMode, Migrations as _};
use mnemon_core::{Result, Store};
use mnemon_postgres::{Options, PostgresMigrator, PostgresStore};
use mnemon_testkit::{Major, Server, TestDatabase};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use url::Url;

pub(crate) struct Postgres(pub(crate) Major);

#[async_trait]
impl Provider for Postgres {
    fn name(&self) -> &'static str {
        match self.0 {
            Major::V18 => "postgres18",
            Major::V16 => "postgres16",
        }
    }

    fn row_level_security(&self) -> bool {
        true
    }

    async fn database(&self, setup: &Setup) -> Box<dyn Database> {
        let server = Server::get(self.0);
        let template = server.template(&schema(), |url| async move { migrate(&url).await }).await;
        let database = template.database().await;
        let mut options = Options::new(database.url());
        if let Some(model) = &setup.model {
            let owner = PostgresStore::open(&options).await.expect("a migrated database");
            let owner: Arc<dyn Store> = Arc::new(owner);
            owner.memories().register_model(model).await.expect("a first model");
            owner.close().await;
        }
        if setup.row_level_security {
            let migrator = PostgresMigrator::connect(&options).await.expect("a database");
            migrator.rls(true).await.expect("row-level security is switched on");
            options = Options {
                maintenance_url: Some(options.url),
                migrate: MigrateMode::Verify,
                ..Options::new(database.login_role().await)
            };
        }
        Box::new(Cloned { database, options })
    }
}

/// The text of every migration: what a template is made from, and so its key.
fn schema() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../postgres/migrations");
    let files = fs::read_dir(&folder).expect("the migrations are beside this crate");
    let mut files: Vec<PathBuf> =
        files.map(|file| file.expect("a file of the folder").path()).collect();
    files.sort();
    let text = files.iter().map(|file| fs::read_to_string(file).expect("a migration is text"));
    std::iter::once("conformance".to_owned()).chain(text).collect()
}

async fn migrate(url: &str) -> Result<()> {
    PostgresMigrator::connect(&Options::new(url)).await?.up().await.map(drop)
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("the server of the test answers")
}

struct Cloned {
    database: TestDatabase,
    options: Options,
}

#[async_trait]
impl Database for Cloned {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(PostgresStore::open(&self.options).await.expect("the case's database is opened"))
    }

    async fn move_clock(&self, by: TimeDelta) {
        self.database.move_clock(by).await;
    }

    async fn rows(&self, table: &str) -> i64 {
        let mut conn = connect(self.database.url()).await;
        // A name that a case wrote, never input.
        let sql = format!("select count(*) from mnemon.{table}");
        let count = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut conn).await;
        conn.close().await.expect("the connection is closed");
        count.expect("the table is there")
    }

    fn secret(&self) -> Option<String> {
        let url = Url::parse(&self.options.url).ok()?;
        url.password().map(str::to_owned)
    }
}
