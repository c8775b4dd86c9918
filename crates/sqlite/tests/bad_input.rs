//! What cannot be opened or written is refused with a typed error that names the thing, and
//! nothing is written.

mod common;

use std::fs;

use common::{Place, remember, texts};
use mnemon_core::memories::{NewMemory, Recall};
use mnemon_core::migrations::{MigrateMode, Migrations};
use mnemon_core::store::Severity;
use mnemon_core::{Error, Scope, Store};
use mnemon_sqlite::{Location, Options, SqliteMigrator, SqliteStore};

/// Opens what must be refused.
async fn refused(options: Options) -> Error {
    match SqliteStore::open(options).await {
        Ok(store) => panic!("{store:?} was opened"),
        Err(error) => error,
    }
}

fn at(path: impl Into<std::path::PathBuf>) -> Options {
    Options::new(Location::File(path.into()))
}

#[tokio::test]
async fn a_directory_is_refused() {
    let place = Place::new();

    let error = refused(at(place.folder.path())).await;

    assert!(matches!(error, Error::Setup { .. }));
    assert!(error.to_string().contains("is a directory"), "{error}");
}

#[tokio::test]
async fn a_missing_folder_is_named_and_not_made() {
    let place = Place::new();
    let folder = place.folder.path().join("nowhere");

    let error = refused(at(folder.join("m.db"))).await;

    assert!(matches!(error, Error::Setup { .. }));
    assert!(error.to_string().contains(folder.to_str().unwrap()), "{error}");
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_default_location_s_folder_is_made() {
    let place = Place::new();
    let path = place.folder.path().join("a/b/m.db");

    let store = SqliteStore::open(Options { create_parent: true, ..at(&path) }).await.unwrap();

    store.close().await;
    assert!(path.exists());
}

#[tokio::test]
async fn a_read_only_file_is_refused() {
    let place = Place::new();
    place.open().await.unwrap().close().await;
    let mut rights = fs::metadata(place.path()).unwrap().permissions();
    rights.set_readonly(true);
    fs::set_permissions(place.path(), rights).unwrap();

    let error = refused(place.options()).await;

    assert!(matches!(error, Error::Setup { .. }));
    assert!(error.to_string().contains("is read-only"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt_and_left_as_it_is() {
    let place = Place::new();
    let text = "Dear diary, this is not a database. ".repeat(100);
    fs::write(place.path(), &text).unwrap();

    let error = refused(place.options()).await;

    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("not a SQLite database"), "{error}");
    assert_eq!(fs::read_to_string(place.path()).unwrap(), text);
}

#[tokio::test]
async fn another_application_s_file_is_refused_and_left_as_it_is() {
    for set_up in [
        "create table songs (name text)",
        "pragma application_id = 7",
        "create table meta (one integer)",
    ] {
        let place = Place::new();
        place.raw().execute_batch(set_up).unwrap();
        let before = fs::read(place.path()).unwrap();

        let error = refused(place.options()).await;
        let migrating = SqliteMigrator::new(place.options()).up().await.unwrap_err();

        assert!(matches!(error, Error::Setup { .. }), "{set_up}");
        assert!(error.to_string().contains("another application"), "{error}");
        assert!(matches!(migrating, Error::Setup { .. }), "{set_up}");
        assert_eq!(fs::read(place.path()).unwrap(), before, "{set_up}");
    }
}

#[tokio::test]
async fn a_schema_that_admits_only_newer_binaries_is_refused() {
    let place = Place::new();
    place.open().await.unwrap().close().await;
    place.raw().execute_batch("update meta set schema_version = 99, min_binary = 99").unwrap();

    let error = refused(place.options()).await;

    assert!(matches!(error, Error::Setup { .. }));
    assert!(error.to_string().contains("use a newer mnemon"), "{error}");
}

#[tokio::test]
async fn verifying_makes_no_file_and_refuses_an_empty_one() {
    let place = Place::new();
    let options = Options { migrate: MigrateMode::Verify, ..place.options() };

    let missing = refused(options.clone()).await;

    assert!(matches!(missing, Error::Setup { .. }));
    assert!(!place.path().exists());
    fs::write(place.path(), "").unwrap();
    let behind = refused(options.clone()).await;
    assert!(behind.to_string().contains("mnemon migrate up"), "{behind}");
    SqliteMigrator::new(place.options()).up().await.unwrap();
    SqliteStore::open(options).await.unwrap();
}

#[tokio::test]
async fn a_damaged_page_is_corrupt_and_the_handle_lives_on() {
    let place = Place::new();
    let store = place.open().await.unwrap();
    for n in 0..300 {
        remember(&store, &format!("memory {n}: {}", "words and words ".repeat(40))).await.unwrap();
    }
    store.close().await;
    let mut bytes = fs::read(place.path()).unwrap();
    // Behind the schema and every root page: leaves of memories and of their words.
    let damaged = bytes.len() / 4 * 3..bytes.len() / 10 * 9;
    bytes[damaged].fill(0xA5);
    fs::write(place.path(), bytes).unwrap();
    let store = place.open().await.unwrap();

    let read = texts(&store).await;

    assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
    let findings = store.doctor().await.unwrap();
    let integrity = findings.iter().find(|finding| finding.check == "integrity").unwrap();
    assert_eq!(integrity.severity, Severity::Error);
    assert!(integrity.fix.is_some());
    assert!(store.memories().registered_model().await.unwrap().is_none());
}

#[tokio::test]
async fn a_full_disk_refuses_the_write_keeps_what_was_acknowledged_and_the_handle() {
    let place = Place::new();
    let options = Options { max_bytes: Some(1024 * 1024), ..place.options() };
    let store = SqliteStore::open(options).await.unwrap();
    let mut kept = Vec::new();

    let error = loop {
        let text = format!("memory {}: {}", kept.len(), "some words to fill it ".repeat(100));
        match remember(&store, &text).await {
            Ok(_) => kept.push(text),
            Err(error) => break error,
        }
        assert!(kept.len() < 10_000, "the limit holds");
    };

    assert!(matches!(error, Error::Setup { .. }), "{error:?}");
    assert!(error.to_string().contains("full"), "{error}");
    kept.reverse();
    assert_eq!(texts(&store).await.unwrap(), kept);
    let hits = store.memories().recall(&Scope::local(), &Recall::text("fill")).await.unwrap();
    let (victim, memories) = (hits[0].memory.id, store.memories());
    memories.delete(&Scope::local(), victim).await.unwrap();
    remember(&store, "small").await.unwrap();
    store.close().await;
    let store = place.open().await.unwrap();
    assert_eq!(texts(&store).await.unwrap().len(), kept.len());
}

#[tokio::test]
async fn a_batch_with_one_bad_entry_writes_nothing_and_names_it() {
    let place = Place::new();
    let store = place.open().await.unwrap();

    let error = store
        .memories()
        .remember_many(&Scope::local(), vec![NewMemory::new("good"), NewMemory::new(" ")])
        .await
        .unwrap_err();

    assert_eq!(error.to_string(), "memories[1].content: is blank");
    assert!(texts(&store).await.unwrap().is_empty());
}
