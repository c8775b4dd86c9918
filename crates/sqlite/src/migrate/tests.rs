use mnemon_core::memories::{NewMemory, Recall};
use mnemon_core::{Scope, Store};

use super::*;
use crate::options::Location;
use crate::store::SqliteStore;

/// The newest step of this binary.
const OWN: i64 = STEPS[STEPS.len() - 1].version;

/// This binary's history, and more.
fn history(more: &[Step]) -> &'static [Step] {
    let steps: Vec<Step> = STEPS.iter().chain(more).copied().collect();
    steps.leak()
}

const EXPANSION: Step = Step {
    version: OWN + 1,
    name: "expanded",
    up: "alter table memories add column mood text; create table moods (mood text) strict;",
    down: "drop table moods; alter table memories drop column mood;",
};

/// A history one step longer, which only expands.
fn expanded() -> &'static [Step] {
    history(&[EXPANSION])
}

/// One that contracts as well: older binaries could not go on.
fn contracted() -> &'static [Step] {
    let contraction = Step {
        version: OWN + 2,
        name: "contracted",
        up: "update meta set min_binary = schema_version; drop table moods;",
        down: "create table moods (mood text) strict; update meta set min_binary = 1;",
    };
    history(&[EXPANSION, contraction])
}

/// One whose last step fails half way.
fn broken() -> &'static [Step] {
    history(&[Step {
        version: OWN + 1,
        name: "broken",
        up: "create table half (n) ; create table memories (n);",
        down: "",
    }])
}

fn place() -> (tempfile::TempDir, Options) {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(Location::File(folder.path().join("m.db")));
    (folder, options)
}

fn objects(options: &Options) -> Vec<String> {
    let Location::File(path) = &options.location else { panic!("a file") };
    let conn = Connection::open(path).unwrap();
    let mut statement =
        conn.prepare("select sql from sqlite_schema where sql is not null").unwrap();
    let mut found: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    found.sort();
    found
}

#[tokio::test]
async fn this_binary_works_on_the_next_schema() {
    let (_folder, options) = place();
    SqliteMigrator::with_steps(options.clone(), expanded()).up().await.unwrap();

    let store = SqliteStore::open(options.clone()).await.unwrap();
    let scope = Scope::local();
    let id = store.memories().remember(&scope, NewMemory::new("a newer schema")).await.unwrap().id;

    let hits = store.memories().recall(&scope, &Recall::text("newer")).await.unwrap();
    assert_eq!(hits[0].memory.id, id);
    store.memories().delete(&scope, id).await.unwrap();
    let status = SqliteMigrator::new(options).status().await.unwrap();
    assert_eq!((status.current, status.latest, status.min_binary), (OWN + 1, OWN, 1));
    assert_eq!(status.migrations.last().unwrap().name, "expanded");
}

#[tokio::test]
async fn a_contracted_schema_refuses_the_binary_before_and_admits_the_one_after() {
    let (_folder, options) = place();
    SqliteMigrator::with_steps(options.clone(), contracted()).up().await.unwrap();

    let refused = SqliteStore::open(options.clone()).await.unwrap_err();

    assert!(matches!(refused, Error::Setup { .. }), "{refused}");
    SqliteMigrator::with_steps(options.clone(), expanded()).verify().await.unwrap();
    let old = SqliteMigrator::new(options);
    assert!(matches!(old.verify().await, Err(Error::Setup { .. })));
    assert!(matches!(old.up().await, Err(Error::Setup { .. })));
    assert!(matches!(old.down(0).await, Err(Error::Setup { .. })));
}

#[tokio::test]
async fn a_step_back_leaves_the_schema_as_it_was_before() {
    let (_folder, options) = place();
    let migrator = SqliteMigrator::with_steps(options.clone(), expanded());
    SqliteMigrator::new(options.clone()).up().await.unwrap();
    let before = objects(&options);
    migrator.up().await.unwrap();

    let undone = migrator.down(OWN).await.unwrap();

    assert_eq!(undone.len(), 1);
    assert_eq!(objects(&options), before);
    assert_eq!(migrator.status().await.unwrap().current, OWN);
}

#[tokio::test]
async fn all_the_way_down_and_up_again_works_with_an_embedding_set() {
    let (_folder, options) = place();
    let store = SqliteStore::open(options.clone()).await.unwrap();
    let model = mnemon_core::memories::ModelSignature {
        name: "m".into(),
        dimension: 2,
        hash: "h".into(),
        semantic: true,
    };
    store.memories().register_model(&model).await.unwrap();
    let memory = NewMemory { embedding: Some(vec![1.0, 0.0]), ..NewMemory::new("with a vector") };
    store.memories().remember(&Scope::local(), memory).await.unwrap();
    let other = mnemon_core::memories::ModelSignature { name: "other".into(), ..model };
    store.embedding_sets().begin(&other).await.unwrap();
    store.close().await;
    let migrator = SqliteMigrator::new(options.clone());

    migrator.down(SETS - 1).await.unwrap();
    let tables = objects(&options).iter().filter(|sql| sql.contains("embeddings_")).count();
    migrator.down(0).await.unwrap();

    assert_eq!(tables, 1, "the active set stays");

    assert_eq!(objects(&options), ["CREATE TABLE sqlite_sequence(name,seq)"]);
    assert_eq!(migrator.up().await.unwrap().len(), STEPS.len());
    SqliteStore::open(options).await.unwrap();
}

#[tokio::test]
async fn a_step_that_fails_leaves_nothing_of_itself() {
    let (_folder, options) = place();
    SqliteMigrator::new(options.clone()).up().await.unwrap();
    let before = objects(&options);

    let failed = SqliteMigrator::with_steps(options.clone(), broken()).up().await;

    assert!(matches!(failed, Err(Error::Backend { .. })));
    assert_eq!(objects(&options), before);
}

#[tokio::test]
async fn a_step_that_is_not_there_cannot_be_gone_back_to() {
    let (_folder, options) = place();
    let migrator = SqliteMigrator::new(options);

    assert!(matches!(migrator.down(OWN + 2).await, Err(Error::Invalid { .. })));
    migrator.up().await.unwrap();
    assert!(matches!(migrator.down(OWN + 1).await, Err(Error::Invalid { .. })));
    assert!(matches!(migrator.down(-1).await, Err(Error::Invalid { .. })));
    assert!(matches!(migrator.rls(true).await, Err(Error::Setup { .. })));
}

#[tokio::test]
async fn the_script_is_what_up_does_and_looking_makes_no_file() {
    let (folder, options) = place();
    let migrator = SqliteMigrator::with_steps(options.clone(), expanded());

    let script = migrator.script().await.unwrap();

    assert_eq!(migrator.status().await.unwrap().current, 0);
    assert!(!folder.path().join("m.db").exists());
    // The only function of ours in it: what a shell would have to be given.
    let script = script.replace("mnemon_now()", "0");
    Connection::open(folder.path().join("m.db")).unwrap().execute_batch(&script).unwrap();
    let by_hand = objects(&options);
    migrator.verify().await.unwrap();
    let (_other, options) = place();
    SqliteMigrator::with_steps(options.clone(), expanded()).up().await.unwrap();
    assert_eq!(objects(&options), by_hand);
}
