//! What the tests of this crate share: a folder with a file, and the test binary as a child
//! process.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use mnemon_core::memories::{MemoryFilter, NewMemory};
use mnemon_core::{MemoryId, Page, Result, Scope, Store};
use mnemon_sqlite::{Location, Options, SqliteStore};

/// A temporary folder with the path of a database in it.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mnemon.db")
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(Location::File(self.path()))
    }

    pub(crate) async fn open(&self) -> Result<SqliteStore> {
        SqliteStore::open(self.options()).await
    }

    pub(crate) fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

/// Writes one memory of the local tenant.
pub(crate) async fn remember(store: &SqliteStore, text: &str) -> Result<MemoryId> {
    let done = store.memories().remember(&Scope::local(), NewMemory::new(text)).await?;
    Ok(done.id)
}

/// The texts of the local tenant's memories, newest first.
pub(crate) async fn texts(store: &SqliteStore) -> Result<Vec<String>> {
    let (mut texts, mut page) = (Vec::new(), Page::first(500));
    loop {
        let found = store.memories().list(&Scope::local(), &MemoryFilter::default(), &page).await?;
        texts.extend(found.items.into_iter().map(|memory| memory.content));
        match found.next {
            Some(next) => page.cursor = Some(next),
            None => return Ok(texts),
        }
    }
}

/// One test of this binary, to be run as a process of its own.
pub(crate) fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a future in a process that was started for it.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap().block_on(future)
}
