//! Claims on a server: writers in two processes, changed ledgers, damaged projections, plans.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Arc;

use mnemon_core::claims::{AsOf, Claims, Disposition, Line, NewClaim, Rules};
use mnemon_core::{Scope, Store};
use mnemon_postgres::{Options, PostgresStore};
use sqlx::Executor as _;

const URL: &str = "MNEMON_TEST_CLAIMS_URL";
const VALUE: &str = "MNEMON_TEST_CLAIMS_VALUE";
const PAIRS: usize = 200;
const WRITERS: usize = 8;

fn planner() -> Scope {
    Scope::tenant("acme").agent("planner")
}

/// Not a test by itself: eight writers of one side of every pair.
#[tokio::test(flavor = "multi_thread")]
async fn child_writes_one_side_of_every_pair() {
    let (Ok(url), Ok(value)) = (std::env::var(URL), std::env::var(VALUE)) else { return };
    let mut options = Options::new(url);
    options.pool.max_connections = 8;
    let store = Arc::new(PostgresStore::open(&options).await.unwrap());
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
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_both_commit_a_conflicting_pair_cheaply() {
    for server in common::servers() {
        let fixture = common::fixture(&server).await;
        let children: Vec<_> = ["ada", "bob"]
            .map(|value| {
                Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "child_writes_one_side_of_every_pair", "--nocapture"])
                    .env(URL, fixture.db.url())
                    .env(VALUE, value)
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .into();
        let mut cheap = Vec::new();
        for child in children {
            let ended = child.wait_with_output().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
            let said = String::from_utf8(ended.stdout).unwrap();
            let lines = said.lines().filter_map(|line| line.strip_prefix("cheap "));
            cheap.extend(lines.map(str::to_owned));
        }

        let distinct: BTreeSet<&String> = cheap.iter().collect();
        assert_eq!((cheap.len(), distinct.len()), (PAIRS, PAIRS), "one of each pair came first");
        let verdict = fixture.store.verify_audit(&planner()).await.unwrap();
        assert_eq!((verdict.entries, verdict.broken), (2 * 200, None), "none is lost");
        fixture.store.close().await;
    }
}

async fn written(store: &PostgresStore) {
    for value in ["ada", "bob", "cat"] {
        store.assert(&planner(), NewClaim::new("acme", "ceo", value), None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_changes_a_ledger_is_found_out() {
    for server in common::servers() {
        for (change, broken) in [
            ("update mnemon.claim_ledger set disposition = 'Rejected' where seq = 2", Some(2)),
            ("update mnemon.claim_ledger set disposition = 'Nonsense' where seq = 2", Some(2)),
            ("delete from mnemon.claim_ledger where seq = 1", Some(1)),
            ("delete from mnemon.claim_ledger where seq = 3", Some(3)),
            ("update mnemon.claim_ledger_payloads set payload = '{}' where seq = 2", Some(2)),
            ("update mnemon.claims set value = '\"eve\"' where value::text = '\"bob\"'", Some(2)),
            // The head ends where its hash is not that of the entry.
            ("update mnemon.claim_agents set ledger_seq = 2", Some(2)),
            // Erased with its salt: what a person may ask for leaves the chain whole.
            ("delete from mnemon.claim_ledger_payloads where seq = 2", None),
        ] {
            let fixture = common::fixture(&server).await;
            written(&fixture.store).await;
            let mut conn = common::connect(fixture.db.url()).await;
            for table in ["claims", "claim_ledger", "claim_ledger_payloads"] {
                let free = format!("alter table mnemon.{table} disable trigger insert_only");
                conn.execute(sqlx::AssertSqlSafe(free)).await.unwrap();
            }
            conn.execute(sqlx::AssertSqlSafe(change)).await.unwrap();

            let verdict = fixture.store.verify_audit(&planner()).await.unwrap();

            assert_eq!(verdict.broken.map(|broken| broken.seq), broken, "{change}");
            fixture.store.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_projection_is_made_anew() {
    for server in common::servers() {
        let fixture = common::fixture(&server).await;
        let store = &fixture.store;
        written(store).await;
        let line = Line::parse("acme", "ceo").unwrap();
        let before = store.belief(&planner(), &line, AsOf::default()).await.unwrap();
        let mut conn = common::connect(fixture.db.url()).await;
        for damage in [
            "delete from mnemon.claim_current",
            "update mnemon.claim_current set disposition = 'Superseded', bound_at = 'epoch'",
            "update mnemon.claim_current set predicate = 'elsewhere'",
        ] {
            conn.execute(sqlx::AssertSqlSafe(damage)).await.unwrap();

            let rebuilt = store.rebuild().await.unwrap();

            assert!(rebuilt.differed >= 3 && rebuilt.rows == 3, "{damage}: {rebuilt:?}");
            let when = AsOf { as_of: before.as_of, valid_at: Some(before.valid_at) };
            assert_eq!(store.belief(&planner(), &line, when).await.unwrap(), before, "{damage}");
        }
        assert_eq!(store.rebuild().await.unwrap().differed, 0);
        store.close().await;
    }
}

/// W14: an orphan cannot come about here; one that is made by force is swept.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_waits_for_no_question_is_swept() {
    for server in common::servers() {
        let fixture = common::fixture(&server).await;
        let store = &fixture.store;
        store.configure(Rules { oracle: true, ..Rules::default() });
        for value in ["ada", "bob"] {
            store.assert(&planner(), NewClaim::new("acme", "ceo", value), None).await.unwrap();
        }
        let mut conn = common::connect(fixture.db.url()).await;
        conn.execute("delete from mnemon.claim_questions").await.unwrap();

        assert_eq!(store.sweep_expired_adjudications(&planner()).await.unwrap(), 1);

        assert_eq!(store.sweep_expired_adjudications(&planner()).await.unwrap(), 0);
        store.close().await;
    }
}
