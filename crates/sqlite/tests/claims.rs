//! Claims in one file: writers in two processes, changed ledgers, damaged projections.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::{Place, block_on, child};
use mnemon_core::claims::{AsOf, Claims, Disposition, Line, NewClaim, Rules};
use mnemon_core::{Scope, Store};
use mnemon_sqlite::{Location, Options, SqliteStore};

const FILE: &str = "MNEMON_TEST_CLAIMS_FILE";
const VALUE: &str = "MNEMON_TEST_CLAIMS_VALUE";
const PAIRS: usize = 200;
const WRITERS: usize = 8;

fn planner() -> Scope {
    Scope::tenant("acme").agent("planner")
}

/// Not a test by itself: eight writers of one side of every pair.
#[test]
fn child_writes_one_side_of_every_pair() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let value = std::env::var(VALUE).unwrap();
    block_on(async {
        let options = Options::new(Location::File(path.into()));
        let store = Arc::new(SqliteStore::open(options).await.unwrap());
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (store, value) = (Arc::clone(&store), value.clone());
                tokio::spawn(async move {
                    for pair in (writer..PAIRS).step_by(WRITERS) {
                        let claim = NewClaim::new("pair", pair.to_string(), value.as_str());
                        let done = store.assert(&planner(), claim, None).await.unwrap();
                        if done.disposition == Disposition::CommittedCheap {
                            println!("\ncheap {pair}");
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        store.close().await;
    });
}

#[tokio::test]
async fn two_processes_never_both_commit_a_conflicting_pair_cheaply() {
    let place = Place::new();
    place.open().await.unwrap().close().await;
    let children: Vec<_> = ["ada", "bob"]
        .map(|value| {
            let mut command = child("child_writes_one_side_of_every_pair");
            command.env(FILE, place.path()).env(VALUE, value);
            command.spawn().unwrap()
        })
        .into();
    let mut cheap = Vec::new();
    for child in children {
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let said = String::from_utf8(ended.stdout).unwrap();
        cheap
            .extend(said.lines().filter_map(|line| line.strip_prefix("cheap ").map(str::to_owned)));
    }

    let distinct: BTreeSet<&String> = cheap.iter().collect();
    assert_eq!((cheap.len(), distinct.len()), (PAIRS, PAIRS), "one of each pair came first");
    let store = place.open().await.unwrap();
    let verdict = store.verify_audit(&planner()).await.unwrap();
    assert_eq!((verdict.entries, verdict.broken), (2 * 200, None), "none is lost");
    store.close().await;
}

async fn written(place: &Place) -> SqliteStore {
    let store = place.open().await.unwrap();
    for value in ["ada", "bob", "cat"] {
        store.assert(&planner(), NewClaim::new("acme", "ceo", value), None).await.unwrap();
    }
    store
}

#[tokio::test]
async fn whoever_changes_a_ledger_is_found_out() {
    let free = "drop trigger claim_ledger_no_update; drop trigger claim_ledger_no_delete; \
        drop trigger claim_ledger_payloads_no_update; drop trigger claims_no_update; \
        drop trigger claim_ledger_payloads_no_delete; drop trigger claims_no_delete;";
    for (change, broken) in [
        ("update claim_ledger set disposition = 'Rejected' where seq = 2", Some(2)),
        ("update claim_ledger set disposition = 'Nonsense' where seq = 2", Some(2)),
        ("update claim_ledger set recorded_at = recorded_at + 1 where seq = 3", Some(3)),
        ("delete from claim_ledger where seq = 1", Some(1)),
        ("delete from claim_ledger where seq = 3", Some(3)),
        ("update claim_ledger_payloads set payload = '{}' where seq = 2", Some(2)),
        ("update claims set value = '\"eve\"' where value = '\"bob\"'", Some(2)),
        ("delete from claims where value = '\"cat\"'", Some(3)),
        ("update claim_agents set ledger_seq = 2", Some(3)),
        // Erased with its salt: what a person may ask for leaves the chain whole.
        ("delete from claim_ledger_payloads where seq = 2", None),
    ] {
        let place = Place::new();
        let store = written(&place).await;
        let raw = place.raw();
        raw.execute_batch(free).unwrap();
        raw.execute(change, []).unwrap();

        let verdict = store.verify_audit(&planner()).await.unwrap();

        assert_eq!(verdict.broken.map(|broken| broken.seq), broken, "{change}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_damaged_projection_is_made_anew() {
    let place = Place::new();
    let store = written(&place).await;
    let line = Line::parse("acme", "ceo").unwrap();
    let before = store.belief(&planner(), &line, AsOf::default()).await.unwrap();
    let raw = place.raw();
    let rows: i64 =
        raw.query_row("select count(*) from claim_current", [], |row| row.get(0)).unwrap();
    let rows = u64::try_from(rows).unwrap();
    for damage in [
        "delete from claim_current",
        "update claim_current set disposition = 'Superseded', bound_at = 0",
        "update claim_current set predicate = 'elsewhere'",
    ] {
        raw.execute(damage, []).unwrap();

        let rebuilt = store.rebuild().await.unwrap();

        assert!(rebuilt.differed >= rows, "{damage}: {rebuilt:?}");
        assert_eq!(rebuilt.rows, rows, "{damage}");
        let when = AsOf { as_of: before.as_of, valid_at: Some(before.valid_at) };
        assert_eq!(store.belief(&planner(), &line, when).await.unwrap(), before, "{damage}");
    }
    assert_eq!(store.rebuild().await.unwrap().differed, 0);
    store.close().await;
}

/// W14: an orphan cannot come about here; one that is made by force is swept.
#[tokio::test]
async fn a_claim_that_waits_for_no_question_is_swept() {
    let place = Place::new();
    let store = place.open().await.unwrap();
    store.configure(Rules { oracle: true, ..Rules::default() });
    for value in ["ada", "bob"] {
        store.assert(&planner(), NewClaim::new("acme", "ceo", value), None).await.unwrap();
    }
    place.raw().execute("delete from claim_questions", []).unwrap();

    assert_eq!(store.sweep_expired_adjudications(&planner()).await.unwrap(), 1);

    assert_eq!(store.sweep_expired_adjudications(&planner()).await.unwrap(), 0);
    assert_eq!(store.rebuild().await.unwrap().differed, 0);
    store.close().await;
}
