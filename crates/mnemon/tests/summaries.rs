//! Summaries end to end: upkeep and the explicit call, with summarisers that work, hang, fail and
//! answer nothing, and with a chat server of ours.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "sqlite")]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use common::Lines;
use mnemon::config::Secret;
use mnemon::summarize::{Outline, Summarizer, SummaryJob};
use mnemon::turns::{Health, NewTurn, Strategy};
use mnemon::{Builder, Error, Mnemon, Outcome, Result, Scope, Task, UpkeepOptions};
use mnemon_testkit::{ModelReply, ModelServer};
use serde_json::json;

const KEY: &str = "conversation";
/// A key that must be found nowhere.
const CANARY: &str = "sk-canary-51b2e8";

fn scope() -> Scope {
    Scope::local().user("ada").session("s")
}

fn rolling() -> Strategy {
    Strategy::RollingSummary { full_zone_turns: 2, budget_tokens: None }
}

async fn talk(db: &Mnemon, turns: std::ops::RangeInclusive<u32>) {
    for n in turns {
        let turn = NewTurn { strategy: Some(rolling()), ..NewTurn::new(format!("turn {n}"), "ok") };
        db.turns().append(&scope(), turn, None).await.unwrap();
    }
}

fn builder() -> Builder {
    Mnemon::builder("sqlite::memory:").background_upkeep(false)
}

fn only_summaries() -> UpkeepOptions {
    UpkeepOptions { only: vec![Task::Summaries], force: true }
}

/// A summariser made of a function.
struct By<F>(F);

#[async_trait]
impl<F, A> Summarizer for By<F>
where
    F: Fn(SummaryJob) -> A + Send + Sync,
    A: Future<Output = Result<String>> + Send,
{
    fn name(&self) -> &'static str {
        "by hand"
    }

    async fn summarize(&self, job: &SummaryJob) -> Result<String> {
        (self.0)(job.clone()).await
    }
}

#[tokio::test]
async fn upkeep_summarises_what_waits() {
    let db = builder().summarizer(Arc::new(Outline)).open().await.unwrap();
    talk(&db, 1..=7).await;

    let report = db.upkeep(&only_summaries()).await.unwrap();

    assert_eq!((report.tasks[0].outcome, report.tasks[0].rows), (Outcome::Done, 1));
    let context = db.turns().context(&scope(), KEY).await.unwrap();
    assert_eq!(context.summary.unwrap().seq_to, 5);
    assert_eq!(context.recent_turns.len(), 2);
    let again = db.upkeep(&only_summaries()).await.unwrap();
    assert_eq!(again.tasks[0].rows, 0, "each turn once");
}

#[tokio::test]
async fn the_background_summarises_too() {
    let db = Mnemon::builder("sqlite::memory:").summarizer(Arc::new(Outline)).open().await.unwrap();
    talk(&db, 1..=5).await;

    while db.turns().context(&scope(), KEY).await.unwrap().summary.is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let standing = db.turns().health(&scope(), KEY).await.unwrap();
    assert_eq!((standing.covered, standing.backlog), (3, 0));
    db.close().await;
}

#[tokio::test]
async fn without_a_summariser_turns_wait_and_it_is_said_what_to_set() {
    let db = builder().open().await.unwrap();
    talk(&db, 1..=5).await;

    let error = db.turns().summarize(&scope(), KEY).await.unwrap_err();
    let report = db.upkeep(&only_summaries()).await.unwrap();

    assert!(matches!(&error, Error::Setup { fix, .. } if fix.contains("turns.summarizer")));
    assert_eq!(report.tasks[0].rows, 0);
    assert_eq!(db.turns().context(&scope(), KEY).await.unwrap().recent_turns.len(), 5);
    let status = db.upkeep_status().await.unwrap();
    assert_eq!(status.iter().find(|task| task.name == "summaries").unwrap().lag, 1);
}

#[tokio::test]
async fn a_summariser_that_answers_nothing_or_too_late_has_failed() {
    let silent = By(|_| async { Ok(" \n".to_owned()) });
    let late = By(|_| std::future::pending());
    let broken = By(|_| async { Err(Error::setup("the model is gone", "bring it back")) });
    let cases: [(Arc<dyn Summarizer>, &str); 3] = [
        (Arc::new(silent), "summary: is blank"),
        (Arc::new(late), "no answer within 0.05 s"),
        (Arc::new(broken), "the model is gone; bring it back"),
    ];
    for (summarizer, reason) in cases {
        let db = builder()
            .summarizer(summarizer)
            .with(|config| config.turns.summarizer_timeout = Duration::from_millis(50))
            .open()
            .await
            .unwrap();
        talk(&db, 1..=5).await;

        let done = db.turns().summarize(&scope(), KEY).await.unwrap();

        assert_eq!((done.written, done.failed.as_deref()), (0, Some(reason)));
        assert_eq!((done.standing.health, done.standing.failures), (Health::Retry, 1));
        assert_eq!(done.standing.last_error.as_deref(), Some(reason));
        assert_eq!(db.turns().context(&scope(), KEY).await.unwrap().recent_turns.len(), 5);
    }
}

#[tokio::test]
async fn a_summariser_may_use_the_database_meanwhile() {
    let handle: Arc<Mutex<Option<Mnemon>>> = Arc::default();
    let inside = Arc::clone(&handle);
    let calls = AtomicU32::new(0);
    let summarizer = By(move |job: SummaryJob| {
        let db = inside.lock().unwrap().clone().unwrap();
        let call = calls.fetch_add(1, Ordering::Relaxed);
        async move {
            // Neither a connection nor the memory is held: an append goes through.
            if call < 3 {
                talk(&db, 5 + call..=5 + call).await;
            }
            Ok(format!("{} turns", job.turns.len()))
        }
    });
    let db = builder()
        .summarizer(Arc::new(summarizer))
        .with(|config| config.pool.max_connections = 1)
        .open()
        .await
        .unwrap();
    talk(&db, 1..=4).await;
    *handle.lock().unwrap() = Some(db.clone());

    let report = db.upkeep(&only_summaries()).await.unwrap();

    handle.lock().unwrap().take();
    assert_eq!(report.tasks[0].rows, 4);
    let chain = db.turns().summaries(&scope(), KEY, &mnemon::Page::first(500)).await.unwrap().items;
    let ends: Vec<i64> = chain.iter().map(|link| link.seq_to).collect();
    assert_eq!(ends, [2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_gives_up_a_summary_at_once_and_leaves_its_turns_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("m.db").display());
    let open = |summarizer: Arc<dyn Summarizer>| {
        Mnemon::builder(&file).background_upkeep(false).summarizer(summarizer).open()
    };
    let (asked, mut called) = tokio::sync::mpsc::unbounded_channel();
    let hanging = By(move |_| {
        asked.send(()).unwrap();
        std::future::pending()
    });
    let db = open(Arc::new(hanging)).await.unwrap();
    talk(&db, 1..=5).await;
    let other = db.clone();
    let call = tokio::spawn(async move { other.turns().summarize(&scope(), KEY).await });
    called.recv().await.unwrap();

    assert!(db.close_within(Duration::from_secs(30)).await, "the summariser would take for ever");

    assert!(matches!(call.await.unwrap(), Err(Error::Closed)));
    assert!(matches!(db.turns().context(&scope(), KEY).await, Err(Error::Closed)));
    let again = open(Arc::new(Outline)).await.unwrap();
    let standing = again.turns().health(&scope(), KEY).await.unwrap();
    assert_eq!((standing.health, standing.backlog), (Health::Healthy, 3), "it is no failure");
}

fn said(content: &str) -> ModelReply {
    ModelReply::Json(200, json!({ "choices": [{ "message": { "content": content } }] }))
}

async fn with_server(server: &ModelServer) -> Mnemon {
    let url = server.url().clone();
    let db = builder().with(move |config| {
        config.turns.summarizer = format!("openai:small@{url}");
        config.turns.api_key = Some(Secret::new(CANARY));
        config.turns.summarizer_timeout = Duration::from_millis(1_500);
    });
    let db = db.open().await.unwrap();
    talk(&db, 1..=5).await;
    db
}

#[tokio::test]
async fn a_chat_server_is_given_what_was_summarised_before_and_what_followed() {
    let server = ModelServer::start(|request| said(&format!("summary {}", request.number)));
    let db = with_server(&server).await;

    db.turns().summarize(&scope(), KEY).await.unwrap();
    talk(&db, 6..=6).await;
    let done = db.turns().summarize(&scope(), KEY).await.unwrap();

    assert_eq!((done.written, done.failed), (1, None));
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].path, "/v1/chat/completions");
    assert_eq!(seen[0].authorization, Some(format!("Bearer {CANARY}")));
    assert_eq!(
        (&seen[0].body["model"], &seen[0].body["max_tokens"]),
        (&json!("small"), &json!(1_000))
    );
    let prompts: Vec<&str> =
        seen.iter().map(|asked| asked.body["messages"][1]["content"].as_str().unwrap()).collect();
    assert!(prompts[0].contains("User: turn 1\nAssistant: ok\nUser: turn 2"), "{}", prompts[0]);
    assert!(!prompts[0].contains("turn 4"), "the full zone stays whole");
    assert!(prompts[1].contains("The summary so far:\nsummary 0"), "{}", prompts[1]);
    assert!(prompts[1].contains("turn 4") && !prompts[1].contains("turn 3"));
    let context = db.turns().context(&scope(), KEY).await.unwrap();
    assert_eq!(context.summary.unwrap().text, "summary 1");
}

#[tokio::test]
async fn a_busy_chat_server_is_asked_again_and_one_without_words_has_failed() {
    let busy = ModelServer::start(|request| match request.number {
        0 => ModelReply::Json(429, json!({})),
        _ => said("at last"),
    });
    let done = with_server(&busy).await.turns().summarize(&scope(), KEY).await.unwrap();
    assert_eq!((done.written, busy.seen().len()), (1, 2));

    for (reply, reason) in [
        (ModelReply::Json(200, json!({ "choices": [] })), "holds no text"),
        (said(""), "is blank"),
        (ModelReply::Raw(200, "x: y".into(), b"<html>".to_vec()), "is not JSON"),
        (ModelReply::Json(404, json!({})), "answered 404"),
        (ModelReply::Hang, "did not answer within 1500 ms"),
    ] {
        let server = ModelServer::start(move |_| reply.clone());
        let db = with_server(&server).await;
        let done = db.turns().summarize(&scope(), KEY).await.unwrap();
        let failed = done.failed.unwrap();
        // The whole call has the same time: which of both ends first is the machine's affair.
        assert!(failed.contains(reason) || failed == "no answer within 1.5 s", "{failed}");
        assert_eq!(done.standing.health, Health::Retry);
    }
}

#[tokio::test]
async fn the_summariser_s_key_is_in_no_message_no_event_and_no_log() {
    let lines = Lines::default();
    let sink = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || sink.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    // A server that repeats what it was given in every error.
    let server = ModelServer::start(|request| {
        let key = request.authorization.clone().unwrap_or_default();
        let status = [401, 400, 429][request.number % 3];
        ModelReply::Json(status, json!({ "error": { "message": format!("bad key: {key}") } }))
    });
    let mut shown = String::new();
    for _ in 0..3 {
        let db = with_server(&server).await;
        let done = db.turns().summarize(&scope(), KEY).await.unwrap();
        let page = mnemon::Page::default();
        let events = db.events().read(&scope(), "mnemon.system", &page).await.unwrap();
        shown.extend([format!("{db:?} {done:?} {events:?}")]);
    }

    let logged = lines.text();

    assert!(shown.contains("hidden"), "the server's words were repeated: {shown}");
    assert!(shown.contains("turns.api_key"), "and it is said what to set: {shown}");
    assert!(logged.contains("a summary was not written"), "the log was looked at: {logged}");
    assert!(!shown.contains(CANARY) && !logged.contains(CANARY), "{shown} {logged}");
}
