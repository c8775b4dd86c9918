//! Months leave the log beside whoever uses it, and a removal that stopped half way goes on.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

mod common;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use mnemon_core::events::{
    Append, Archives, EventFilter, Events, Extent, Import, Imported, Month, NewEvent,
};
use mnemon_core::steps::{Step, Write};
use mnemon_core::{Page, RequestId, Scope, Store};
use mnemon_postgres::{Options, PostgresStore};
use mnemon_testkit::{Server, TestDatabase};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

fn acme() -> Scope {
    Scope::tenant("acme")
}

fn month(back: u32) -> Month {
    Month::of(Utc::now()).back(back)
}

fn table(month: Month) -> String {
    let (year, number) = month.parts();
    format!("mnemon.events_y{year:04}m{number:02}")
}

fn import(stream: &str, at: DateTime<Utc>, count: usize) -> Import {
    let event = || Imported { event: NewEvent::new("a.b", json!({})), recorded_at: at };
    Import { stream: stream.into(), events: (0..count).map(|_| event()).collect() }
}

/// A database with five events of three months ago, and its store.
async fn old(server: &Server) -> (TestDatabase, PostgresStore) {
    let db = common::migrated(server).await;
    let store = PostgresStore::open(&Options::new(db.url())).await.unwrap();
    let at = month(3).start() + TimeDelta::days(9);
    store.import(&acme(), import("s", at, 5)).await.unwrap();
    (db, store)
}

async fn extent(store: &PostgresStore) -> Extent {
    let months = store.months(Utc::now()).await.unwrap();
    months.iter().find(|one| one.month == month(3)).unwrap().extent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detaching_that_stopped_half_way_is_finished() {
    for server in common::servers() {
        let (db, store) = old(&server).await;
        let wanted = extent(&store).await;
        let name = table(month(3));
        // Somebody reads; a detaching gives up waiting for them, after readers do not see it.
        let mut reader = common::connect(db.url()).await;
        let mut open = reader.begin().await.unwrap();
        open.execute("select count(*) from mnemon.events").await.unwrap();
        let mut other = common::connect(db.url()).await;
        other.execute("set lock_timeout = 200").await.unwrap();
        let detach = format!("alter table mnemon.events detach partition {name} concurrently");
        let gave_up = other.execute(AssertSqlSafe(detach)).await.unwrap_err();
        assert!(gave_up.to_string().contains("lock timeout"), "{gave_up}");
        open.rollback().await.unwrap();
        let pending: bool = sqlx::query_scalar(
            "select inhdetachpending from pg_inherits where inhrelid = $1::text::regclass",
        )
        .bind(&name)
        .fetch_one(&mut other)
        .await
        .unwrap();
        assert!(pending);
        let findings = store.doctor().await.unwrap();
        assert!(findings.iter().any(|finding| finding.check == "event archive"), "{findings:?}");
        // What it holds is still read for the archive.
        assert_eq!(store.read_month(month(3), None, 9).await.unwrap().len(), 5);

        let done = store.retire(month(3), wanted).await.unwrap();

        assert_eq!((done.events, done.more), (5, false));
        assert!(store.months(Utc::now()).await.unwrap().iter().all(|one| one.month != month(3)));
        assert_eq!(store.count(&acme(), &EventFilter::default()).await.unwrap(), 0);
        let findings = store.doctor().await.unwrap();
        assert!(findings.iter().all(|finding| finding.check != "event archive"), "{findings:?}");
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_left_detached_is_compared_again() {
    for server in common::servers() {
        let (db, store) = old(&server).await;
        let wanted = extent(&store).await;
        let name = table(month(3));
        let mut other = common::connect(db.url()).await;
        let detach = format!("alter table mnemon.events detach partition {name}");
        other.execute(AssertSqlSafe(detach)).await.unwrap();

        // Nothing can be written into a month that is on its way out.
        let at = month(3).start() + TimeDelta::days(11);
        let refused = store.import(&acme(), import("late", at, 1)).await.unwrap_err();
        assert_eq!(refused.code(), "unavailable", "{refused}");
        let other_extent = Extent { events: 4, ..wanted };
        let refused = store.retire(month(3), other_extent).await.unwrap_err();
        assert_eq!(refused.code(), "conflict", "{refused}");
        assert_eq!(extent(&store).await, wanted);

        assert_eq!(store.retire(month(3), wanted).await.unwrap().events, 5);

        // Readers were told.
        let stats = store.aggregate(&acme(), "s").await.unwrap();
        assert_eq!((stats.version, stats.first_kept), (5, 6));
        store.import(&acme(), import("late", at, 1)).await.unwrap();
        store.close().await;
    }
}

/// A reader who stays open for longer than the lock timeout holds up the removal, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn writers_go_on_while_a_month_waits_for_a_reader() {
    for server in common::servers() {
        let (db, store) = old(&server).await;
        let wanted = extent(&store).await;
        let mut reader = common::connect(db.url()).await;
        let mut open = reader.begin().await.unwrap();
        open.execute("select count(*) from mnemon.events").await.unwrap();
        let store = std::sync::Arc::new(store);
        let leaving = {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move { store.retire(month(3), wanted).await })
        };

        for _ in 0..30 {
            let events = vec![NewEvent::new("a.b", json!({}))];
            let append = Append { stream: "now".into(), events, expected_version: None };
            store.append(&acme(), append, None).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(!leaving.is_finished());
        open.rollback().await.unwrap();

        assert_eq!(leaving.await.unwrap().unwrap().events, 5);
        let now = store.read(&acme(), "now", &Page::first(100)).await.unwrap();
        assert_eq!(now.items.len(), 30);
        store.close().await;
    }
}

/// A month that an import needs is attached beside a transaction that has written into the log and
/// stays open, and beside one that reads it.
#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_attached_beside_open_writers_and_readers() {
    for server in common::servers() {
        let (db, store) = old(&server).await;
        let (mut writing, mut reading) =
            (common::connect(db.url()).await, common::connect(db.url()).await);
        let mut writer = writing.begin().await.unwrap();
        let events = vec![NewEvent::new("a.b", json!({}))];
        let append = Append { stream: "open".into(), events, expected_version: None };
        let step = Step::new(RequestId::parse("open").unwrap()).write(Write::Events(append));
        store.commit_in(&mut writer, &acme(), step).await.unwrap();
        let mut reader = reading.begin().await.unwrap();
        reader.execute("select count(*) from mnemon.events").await.unwrap();

        let at = month(20).start() + TimeDelta::days(3);
        store.import(&acme(), import("older", at, 2)).await.unwrap();

        reader.rollback().await.unwrap();
        writer.commit().await.unwrap();
        for (stream, events) in [("older", 2), ("open", 1)] {
            let found = store.read(&acme(), stream, &Page::first(10)).await.unwrap();
            assert_eq!(found.items.len(), events, "{stream}");
        }
        store.close().await;
    }
}
