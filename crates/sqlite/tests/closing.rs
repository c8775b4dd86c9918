//! What is left on the disk when a store is closed.

use mnemon_core::memories::NewMemory;
use mnemon_core::{Scope, Store};
use mnemon_sqlite::{Location, Options, SqliteStore};

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_is_one_file() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..25 {
        let path = folder.path().join(format!("{round}.db"));
        let location = Location::File(path.clone());
        let store = SqliteStore::open(Options::new(location)).await.unwrap();
        let scope = Scope::tenant("t");
        store.memories().remember(&scope, NewMemory::new("kept")).await.unwrap();
        let counts = (0..8).map(|_| store.memories().count(&scope));
        for count in counts {
            assert_eq!(count.await.unwrap(), 1);
        }

        store.close().await;

        let log = path.with_extension("db-wal");
        assert!(!log.exists(), "round {round}: {} is left", log.display());
    }
}
