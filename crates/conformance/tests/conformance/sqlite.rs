//! SQLite: a fresh file per case, a clock that all its handles share.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{TimeDelta, Utc};
use mnemon_conformance::{Database, Provider, Setup, async_trait};
use mnemon_core::Store;
use mnemon_sqlite::{Clock, Location, Options, SqliteStore};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

pub(crate) struct Sqlite;

#[async_trait]
impl Provider for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn row_level_security(&self) -> bool {
        false
    }

    async fn database(&self, setup: &Setup) -> Box<dyn Database> {
        let folder = TempDir::new().expect("a folder for the test's file");
        let file = File { folder, ahead: Arc::default() };
        if let Some(model) = &setup.model {
            let store = file.open().await;
            store.memories().register_model(model).await.expect("a first model");
            store.close().await;
        }
        Box::new(file)
    }
}

struct File {
    folder: TempDir,
    /// How far the clock is ahead of the machine's, in microseconds.
    ahead: Arc<AtomicI64>,
}

impl File {
    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("case.db")
    }
}

#[async_trait]
impl Database for File {
    async fn open(&self) -> Arc<dyn Store> {
        let ahead = Arc::clone(&self.ahead);
        let now = move || Utc::now() + TimeDelta::microseconds(ahead.load(Ordering::SeqCst));
        let location = Location::File(self.path());
        let options = Options { clock: Clock::from_fn(now), ..Options::new(location) };
        Arc::new(SqliteStore::open(options).await.expect("the case's file is opened"))
    }

    async fn move_clock(&self, by: TimeDelta) {
        let by = by.num_microseconds().expect("a move of some years at the most");
        self.ahead.fetch_add(by, Ordering::SeqCst);
    }

    async fn rows(&self, table: &str) -> i64 {
        let readable = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let file = Connection::open_with_flags(self.path(), readable).expect("the file is there");
        // A name that a case wrote, never input.
        let sql = format!("select count(*) from {table}");
        file.query_row(&sql, [], |row| row.get(0)).expect("the table is there")
    }
}
