//! What `doctor` says of a server that an operator has let go: on a server of its own, for what it
//! looks at belongs to the whole of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use mnemon_core::dead_letters::{Burial, DeadLetters as _};
use mnemon_core::locks::Locks as _;
use mnemon_core::store::{Finding, Severity};
use mnemon_core::{Scope, Store as _};
use mnemon_postgres::{Options, PostgresStore};
use mnemon_testkit::{Major, Server, Settings};
use sqlx::{Executor as _, PgConnection};

async fn finding(store: &PostgresStore, check: &str) -> Finding {
    let findings = store.doctor().await.unwrap();
    findings.into_iter().find(|finding| finding.check == check).unwrap()
}

/// Sixty thousand rows, each changed once, and nobody who cleans up.
async fn neglect(conn: &mut PgConnection) {
    conn.execute(
        "insert into mnemon.text_terms (tenant, term, documents)
         select 'acme', 'word' || n, 1 from generate_series(1, 60000) as n",
    )
    .await
    .unwrap();
    conn.execute("update mnemon.text_terms set documents = 2").await.unwrap();
    conn.execute("select pg_stat_force_next_flush()").await.unwrap();
}

/// Asks until it is so; the runner's time limit ends a wait in vain.
async fn until(conn: &mut PgConnection, sql: &'static str) {
    while !sqlx::query_scalar::<_, bool>(sql).fetch_one(&mut *conn).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn doctor_sees_what_an_operator_let_go(major: Major) {
    if !mnemon_testkit::postgres_wanted() {
        return;
    }
    let settings = Settings::default()
        .with("autovacuum", "off")
        .with("archive_mode", "on")
        .with("archive_command", "false");
    let server = tokio::task::spawn_blocking(move || Server::own(major, &settings)).await.unwrap();
    let db = common::migrated(server.server()).await;
    let store = PostgresStore::open(&Options::new(db.url())).await.unwrap();
    let (scope, minute) = (Scope::tenant("acme"), Duration::from_mins(1));
    for key in ["a", "b"] {
        store.acquire(&scope, key, "worker", minute).await.unwrap();
    }
    let letter = Burial::new("mail", "m-1", "hello".into(), "mailbox full");
    store.bury(&scope, letter, None).await.unwrap();
    for check in ["dead rows", "indexes", "replication slots", "standbys", "dead letters"] {
        assert_eq!(finding(&store, check).await.severity, Severity::Ok, "{check}");
    }
    assert!(finding(&store, "dead letters").await.message.contains('1'));

    let mut conn = common::connect(db.url()).await;
    neglect(&mut conn).await;
    // Two rows of one tenant: the index is left half-built.
    conn.execute("create unique index concurrently half on mnemon.locks (tenant)")
        .await
        .unwrap_err();
    conn.execute("select pg_create_physical_replication_slot('gone', true)").await.unwrap();
    conn.execute("select pg_switch_wal()").await.unwrap();
    until(&mut conn, "select failed_count > 0 from pg_stat_archiver").await;
    until(&mut conn, "select n_dead_tup > 0 from pg_stat_user_tables where relname = 'text_terms'")
        .await;

    for (check, severity, says) in [
        ("dead rows", Severity::Warning, "text_terms"),
        ("indexes", Severity::Error, "half"),
        ("replication slots", Severity::Warning, "slot gone"),
        ("log archive", Severity::Error, "archive_command"),
    ] {
        let found = finding(&store, check).await;
        assert_eq!(found.severity, severity, "{found:?}");
        assert!(found.message.contains(says), "{found:?}");
        assert!(found.fix.is_some(), "{found:?}");
    }
    // The fixes work.
    conn.execute("drop index mnemon.half").await.unwrap();
    conn.execute("vacuum mnemon.text_terms").await.unwrap();
    conn.execute("select pg_stat_force_next_flush()").await.unwrap();
    conn.execute("select pg_drop_replication_slot('gone')").await.unwrap();
    until(&mut conn, "select n_dead_tup = 0 from pg_stat_user_tables where relname = 'text_terms'")
        .await;
    for check in ["dead rows", "indexes", "replication slots"] {
        assert_eq!(finding(&store, check).await.severity, Severity::Ok, "{check}");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_server_doctor_sees_what_an_operator_let_go_on_18() {
    doctor_sees_what_an_operator_let_go(Major::V18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_server_doctor_sees_what_an_operator_let_go_on_16() {
    doctor_sees_what_an_operator_let_go(Major::V16).await;
}
