//! Steps on PostgreSQL: exactly once whatever breaks, in one global order of locks, within a
//! budget of statements, under row-level security and inside a host's own transaction.

mod common;
#[path = "common/step.rs"]
mod step;

use std::sync::Arc;

use mnemon_core::checkpoints::ExpectedHead;
use mnemon_core::memories::NewMemory;
use mnemon_core::migrations::{MigrateMode, Migrations};
use mnemon_core::steps::{Receipt, Step, Steps, Write};
use mnemon_core::{Error, Store};
use mnemon_postgres::{Options, PostgresStore};
use mnemon_testkit::{Proxy, Trip, When};
use sqlx::Connection as _;

use step::{assert_rows, checkpoint, event, full, id, remember, scope, turn};

/// The budget of DESIGN §1: turn, memory, event and checkpoint.
const STATEMENTS: u64 = 20;

async fn through(proxy: &Proxy, url: &str) -> PostgresStore {
    let mut options = Options::new(proxy.url(url));
    options.pool.max_connections = 1;
    PostgresStore::open(&options).await.expect("a migrated database")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_any_message_leaves_one_copy_of_each_effect() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let proxy = Proxy::to(&server.address());
        let store = through(&proxy, db.url()).await;
        let mut conn = common::connect(db.url()).await;
        let messages = {
            let store = through(&proxy, db.url()).await;
            let before = proxy.messages();
            store.commit(&scope("count"), full("s")).await.unwrap();
            proxy.messages() - before
        };

        for when in [When::Before, When::After] {
            for n in 1..=messages {
                let tenant = format!("{when:?} {n}");
                proxy.cut_at(Trip::Message(n), when);
                // The store sends the whole again by itself.
                let receipt = store.commit(&scope(&tenant), full("s")).await.unwrap();
                let again = store.commit(&scope(&tenant), full("s")).await.unwrap();

                assert!(!receipt.replayed, "{when:?} {n}: this very call wrote it");
                assert_eq!(again, Receipt { replayed: true, ..receipt });
                assert_rows(&mut conn, &tenant, 1).await;
            }
        }
        // Once more on COMMIT itself: sent, and its answer lost.
        proxy.cut_at(Trip::Statement("commit".into()), When::After);
        let receipt = store.commit(&scope("commit"), full("s")).await.unwrap();
        assert!(!receipt.replayed, "the second sending found what the first had committed");
        assert_rows(&mut conn, "commit", 1).await;
        // Another call finds the same receipt after the same mishap, and it is a repeat.
        proxy.cut_at(Trip::Statement("commit".into()), When::After);
        let again = store.commit(&scope("commit"), full("s")).await.unwrap();
        assert_eq!(again, Receipt { replayed: true, ..receipt });
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_commit_keeps_other_callers_repeats() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let proxy = Proxy::to(&server.address());
        let behind = through(&proxy, db.url()).await;
        let direct = PostgresStore::open(&Options::new(db.url())).await.unwrap();
        for n in 0..10 {
            let tenant = format!("t{n}");
            proxy.cut_at(Trip::Statement("commit".into()), When::After);
            let (of, other) = (scope(&tenant), scope(&tenant));
            let (one, two) =
                tokio::join!(behind.commit(&of, full("s")), direct.commit(&other, full("s")));
            let (one, two) = (one.unwrap(), two.unwrap());

            assert_ne!(one.replayed, two.replayed, "one of them wrote it");
            assert_eq!(one, Receipt { replayed: one.replayed, ..two });
            let differing = Step::new(id("s")).write(remember("another")).strict();
            assert!(matches!(behind.commit(&of, differing).await, Err(Error::StepReused { .. })));
        }
        behind.close().await;
        direct.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_four_facets_keeps_its_budget_of_statements() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let proxy = Proxy::to(&server.address());
        let store = through(&proxy, db.url()).await;
        let four = |step: &str| {
            Step::new(id(step))
                .write(turn())
                .write(remember("a memory"))
                .write(event("stream"))
                .write(checkpoint("t", ExpectedHead::Any))
        };
        // Everything is prepared, every head is there.
        store.commit(&scope("t"), four("1")).await.unwrap();
        store.commit(&scope("t"), four("2")).await.unwrap();
        store.receipt(&scope("t"), &id("1")).await.unwrap();

        let start = proxy.messages();
        store.receipt(&scope("t"), &id("1")).await.unwrap();
        let one = proxy.messages() - start;
        let start = proxy.messages();
        store.commit(&scope("t"), four("3")).await.unwrap();
        let step = proxy.messages() - start;
        // BEGIN and COMMIT are one message each.
        let statements = (step - 2) / one + 2;

        assert!(statements <= STATEMENTS, "{statements} statements in {step} messages");
        println!("{statements} statements");
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_writers_of_the_same_resources_never_deadlock() {
    for server in common::servers() {
        let common::Fixture { db, store } = common::fixture(&server).await;
        let store = Arc::new(store);
        let writers: Vec<_> = (0..16)
            .map(|writer: usize| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for round in 0..6 {
                        let mut writes = vec![
                            turn(),
                            event("a"),
                            event("b"),
                            checkpoint("t", ExpectedHead::Any),
                            checkpoint("u", ExpectedHead::Any),
                            Write::Remember(Box::new(NewMemory::new(format!("shared {round}")))),
                            Write::Remember(Box::new(NewMemory::new(format!("also {round}")))),
                        ];
                        let places = writes.len();
                        for (n, place) in (0..places).enumerate() {
                            writes.swap(place, (writer * 31 + round * 17 + n * 7) % places);
                        }
                        let step = Step { writes, ..Step::new(id(&format!("{writer} {round}"))) };
                        store.commit(&scope("t"), step).await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        store.close().await;

        let mut conn = common::connect(db.admin_url()).await;
        // A backend reports what it counted when it ends.
        let others = "select count(*) from pg_stat_activity where datname = $1";
        while sqlx::query_scalar::<_, i64>(others)
            .bind(db.name())
            .fetch_one(&mut conn)
            .await
            .unwrap()
            > 0
        {
            tokio::task::yield_now().await;
        }
        let deadlocks: i64 =
            sqlx::query_scalar("select deadlocks from pg_stat_database where datname = $1")
                .bind(db.name())
                .fetch_one(&mut conn)
                .await
                .unwrap();
        assert_eq!(deadlocks, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_step_commits_under_row_level_security() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let role = db.login_role().await;
        common::migrator(db.url()).await.rls(true).await.unwrap();
        let options = Options {
            migrate: MigrateMode::Verify,
            maintenance_url: Some(db.url().to_owned()),
            ..Options::new(&role)
        };
        let store = PostgresStore::open(&options).await.unwrap();

        for tenant in ["ours", "theirs"] {
            assert!(!store.commit(&scope(tenant), full("s")).await.unwrap().replayed);
        }

        let mut owner = common::connect(db.url()).await;
        assert_rows(&mut owner, "ours", 1).await;
        // The role sees nothing of anybody without naming a tenant.
        let mut conn = common::connect(&role).await;
        for table in step::TABLES {
            let count = sqlx::AssertSqlSafe(format!("select count(*) from mnemon.{table}"));
            assert!(sqlx::query(count).fetch_one(&mut conn).await.is_err(), "{table}");
        }
        let mut tx = conn.begin().await.unwrap();
        let receipt = store.commit_in(&mut tx, &scope("ours"), full("s")).await.unwrap();
        assert!(receipt.replayed);
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_joins_the_transaction_of_its_host() {
    for server in common::servers() {
        let common::Fixture { db, store } = common::fixture(&server).await;
        let mut conn = common::connect(db.url()).await;

        let mut tx = conn.begin().await.unwrap();
        store.commit_in(&mut tx, &scope("t"), full("s")).await.unwrap();
        assert_eq!(store.receipt(&scope("t"), &id("s")).await.unwrap(), None);
        tx.rollback().await.unwrap();
        assert_rows(&mut conn, "t", 0).await;

        let mut tx = conn.begin().await.unwrap();
        store.commit_in(&mut tx, &scope("t"), full("s")).await.unwrap();
        tx.commit().await.unwrap();
        assert_rows(&mut conn, "t", 1).await;
        assert!(store.commit(&scope("t"), full("s")).await.unwrap().replayed);
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_insert_only_but_for_a_transaction_with_a_permit() {
    for server in common::servers() {
        let common::Fixture { db, store } = common::fixture(&server).await;
        store.commit(&scope("t"), full("s")).await.unwrap();
        let mut conn = common::connect(db.url()).await;

        for statement in [
            "update mnemon.claims set subject = 'x'",
            "delete from mnemon.claim_ledger",
            "truncate mnemon.claim_ledger_payloads",
            "delete from mnemon.claim_edges",
            "delete from mnemon.claim_bounds",
        ] {
            let error = sqlx::query(statement).execute(&mut conn).await.unwrap_err();
            assert!(error.to_string().contains("insert-only"), "{statement}: {error}");
        }
        // A permit of another transaction is none.
        let permit = "insert into mnemon.erasure_permits (id, tenant, reason)
                      values (gen_random_uuid(), 't', 'asked')";
        sqlx::query(permit).execute(&mut conn).await.unwrap();
        assert!(sqlx::query("delete from mnemon.claims").execute(&mut conn).await.is_err());
        let mut tx = conn.begin().await.unwrap();
        sqlx::query(permit).execute(&mut *tx).await.unwrap();
        sqlx::query("delete from mnemon.claim_ledger_payloads").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_step_with_another_payload_is_refused_and_the_store_goes_on() {
    for server in common::servers() {
        let common::Fixture { db: _db, store } = common::fixture(&server).await;
        let first = Step::new(id("s")).write(remember("one"));
        store.commit(&scope("t"), first.clone()).await.unwrap();

        let other = Step::new(id("s")).write(remember("two")).strict();
        let refused = store.commit(&scope("t"), other).await;

        assert!(matches!(refused, Err(Error::StepReused { .. })), "{refused:?}");
        assert_eq!(store.memories().count(&scope("t")).await.unwrap(), 1);
        store.close().await;
    }
}
