//! States as one value: saved, loaded, overwritten, listed, deleted; on the embedded store, and on
//! PostgreSQL where it is wanted.
#![cfg(all(feature = "sqlite", feature = "postgres"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mnemon::checkpoints::{AgentState, AgentStateChange, Thread, TodoItem, TodoStatus};
use mnemon::{Mnemon, Page, Scope};
use mnemon_testkit::{Major, Server};
use serde_json::{Value, json};

/// A handle on every database there is, and what keeps it.
async fn handles() -> Vec<(Mnemon, Option<mnemon_testkit::TestDatabase>)> {
    let open = |url: String| async move {
        let builder = Mnemon::builder(url).background_upkeep(false);
        builder.namespace("agents").max_connections(4).open().await.unwrap()
    };
    let mut handles = vec![(open("sqlite::memory:".to_owned()).await, None)];
    if mnemon_testkit::postgres_wanted() {
        let database = Server::get(Major::V18).database().await;
        handles.push((open(database.url().to_owned()).await, Some(database)));
    }
    handles
}

fn scope() -> Scope {
    Scope::tenant("acme")
}

fn sample() -> AgentState {
    AgentState {
        todos: vec![
            TodoItem::pending("write"),
            TodoItem { content: "read".into(), status: TodoStatus::Completed },
        ],
        files: [("notes.md".to_owned(), "NUL \0 and ümlaut".to_owned())].into(),
        scratchpad: [("n".to_owned(), json!({ "x": [1, 2.5, null] }))].into(),
        pending_interrupts: vec![json!({ "tool": "pay" })],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_saved_loaded_and_overwritten() {
    for (db, _database) in handles().await {
        let nothing: Option<AgentState> = db.checkpoints().load_state(&scope(), "t").await.unwrap();
        assert_eq!(nothing, None);

        let first = db.checkpoints().save_state(&scope(), "t", &sample()).await.unwrap();
        let loaded: Option<AgentState> = db.checkpoints().load_state(&scope(), "t").await.unwrap();
        assert_eq!((first, loaded), (1, Some(sample())));

        let second = AgentState { files: [].into(), ..sample() };
        assert_eq!(db.checkpoints().save_state(&scope(), "t", &second).await.unwrap(), 2);
        let loaded: Option<AgentState> = db.checkpoints().load_state(&scope(), "t").await.unwrap();
        assert_eq!(loaded, Some(second), "what was deleted does not come back");
        let states = db.checkpoints().states();
        let old: AgentState = states.load_version(&scope(), "t", 1).await.unwrap();
        assert_eq!(old, sample(), "the version before is still there");
        let history = states.history(&scope(), "t", &Page::default()).await.unwrap();
        assert_eq!(history.items.len(), 2);
        let other: mnemon::Result<Option<Vec<u8>>> = states.load_state(&scope(), "t").await;
        assert_eq!(other.unwrap_err().code(), "invalid");
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_are_listed_and_deleted_by_namespace() {
    for (db, _database) in handles().await {
        let hour = Duration::from_hours(1);
        for id in ["thread1", "thread2"] {
            db.checkpoints().save_state(&scope(), id, &json!({ "id": id })).await.unwrap();
        }
        let elsewhere = || db.checkpoints().states().namespace("others").readable().ttl(hour);
        elsewhere().save_state(&scope(), "thread1", &json!("another")).await.unwrap();

        let page = Page::default();
        let threads = db.checkpoints().states().list_threads(&scope(), &page).await.unwrap().items;
        let threads: Vec<&Thread> = threads.iter().map(|info| &info.thread).collect();
        assert_eq!(threads.len(), 2);
        assert!(threads.contains(&&Thread::new("thread1").namespace("agents")));
        assert!(db.checkpoints().states().delete_thread(&scope(), "thread1").await.unwrap());
        assert!(!db.checkpoints().states().delete_thread(&scope(), "thread1").await.unwrap());

        let gone: Option<Value> = db.checkpoints().load_state(&scope(), "thread1").await.unwrap();
        let kept: Option<Value> = elsewhere().load_state(&scope(), "thread1").await.unwrap();
        assert_eq!((gone, kept), (None, Some(json!("another"))));
        let listed = elsewhere().list_threads(&scope(), &page).await.unwrap().items;
        assert!(listed.len() == 1 && listed[0].expires_at.is_some());
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_the_same_time_all_count() {
    for (db, _database) in handles().await {
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let db = db.clone();
                tokio::spawn(async move {
                    let change = AgentStateChange {
                        files: [(format!("f{n}"), Some("x".to_owned()))].into(),
                        ..AgentStateChange::default()
                    };
                    let states = db.checkpoints().states();
                    states.merge_state(&scope(), "t", &change).await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let cleared = AgentStateChange {
            todos: Some(Vec::new()),
            files: [("f0".to_owned(), None)].into(),
            ..AgentStateChange::default()
        };
        let states = db.checkpoints().states();
        let state = states.merge_state(&scope(), "t", &cleared).await.unwrap();

        assert_eq!(state.files.len(), 7);
        let loaded: Option<AgentState> = db.checkpoints().load_state(&scope(), "t").await.unwrap();
        assert_eq!(loaded, Some(state));
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_readable_state_is_read_in_sql() {
    for (db, database) in handles().await {
        let states = db.checkpoints().states().readable();
        states.save_state(&scope(), "t", &json!({ "city": "Kathmandu" })).await.unwrap();

        if let Some(database) = &database {
            use sqlx::Connection as _;
            let mut conn = sqlx::PgConnection::connect(database.url()).await.unwrap();
            let city: String = sqlx::query_scalar(
                "select manifest -> 'state' -> 'json' ->> 'city' from mnemon.checkpoints",
            )
            .fetch_one(&mut conn)
            .await
            .unwrap();
            assert_eq!(city, "Kathmandu");
        }
        let loaded: Option<Value> = states.load_state(&scope(), "t").await.unwrap();
        assert_eq!(loaded, Some(json!({ "city": "Kathmandu" })));
        db.close().await;
    }
}
