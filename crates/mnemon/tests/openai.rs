//! The `openai` model against a server of ours: what is asked, what is tried again, what is made of
//! every kind of bad answer, and that the key is seen by nobody else.
#![allow(clippy::unwrap_used, clippy::format_push_string, reason = "tests")]
#![cfg(feature = "sqlite")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Lines;
use mnemon::config::{EmbedderConfig, Secret};
use mnemon::embed::{Embedder, ModelChoice};
use mnemon::{Error, Mnemon, ModelSignature, NewMemory, Recall, Result, Scope};
use mnemon_testkit::{ModelReply, ModelRequest, ModelServer};
use serde_json::{Value, json};

/// A key that must be found nowhere.
const CANARY: &str = "sk-canary-7f3a9c";

/// A vector of four dimensions that knows colors.
fn colors(text: &str) -> Vec<f32> {
    let color = |word: &str| if text.contains(word) { 1.0 } else { 0.01 };
    vec![color("red"), color("green"), color("blue"), 0.01]
}

fn texts(request: &ModelRequest) -> Vec<String> {
    serde_json::from_value(request.body["input"].clone()).unwrap()
}

/// The answer of a server that works; last first, for the order is in `index`.
fn good(request: &ModelRequest) -> ModelReply {
    let data: Vec<Value> = texts(request)
        .iter()
        .enumerate()
        .map(|(n, text)| json!({ "index": n, "embedding": colors(text) }))
        .rev()
        .collect();
    ModelReply::Json(200, json!({ "object": "list", "data": data }))
}

fn config() -> EmbedderConfig {
    EmbedderConfig {
        api_key: Some(Secret::new(CANARY)),
        timeout: Duration::from_millis(1_500),
        ..EmbedderConfig::default()
    }
}

async fn meet(server: &ModelServer) -> Result<Arc<dyn Embedder>> {
    let model = format!("openai:paint@{}", server.url());
    model.parse::<ModelChoice>()?.load(&config(), None).await
}

/// A model that was met before, on a server that answers by `answer` now.
async fn met(
    answer: impl Fn(&ModelRequest) -> ModelReply + Send + Sync + 'static,
) -> (ModelServer, Arc<dyn Embedder>) {
    let known = meet(&ModelServer::start(good)).await.unwrap().signature().clone();
    let server = ModelServer::start(answer);
    let model = format!("openai:paint@{}", server.url());
    let choice = model.parse::<ModelChoice>().unwrap();
    let embedder = choice.load(&config(), Some(&known)).await.unwrap();
    assert_eq!(embedder.signature(), &known);
    assert_eq!(server.seen().len(), 0, "a known model is not asked how many dimensions it has");
    (server, embedder)
}

#[tokio::test]
async fn a_server_is_asked_as_openai_s_and_its_order_does_not_matter() {
    let server = ModelServer::start(good);

    let embedder = meet(&server).await.unwrap();
    let vectors = embedder.embed_batch(&["a red door", "a blue sea"]).await.unwrap();

    assert_eq!(vectors, [colors("a red door"), colors("a blue sea")]);
    let ModelSignature { name, dimension, semantic, .. } = embedder.signature();
    assert_eq!((name.as_str(), *dimension, *semantic), ("openai:paint", 4, true));
    let asked = server.seen().pop().unwrap();
    assert_eq!(asked.path, "/v1/embeddings");
    assert_eq!(asked.authorization, Some(format!("Bearer {CANARY}")));
    assert_eq!(asked.body["model"], "paint");
    assert_eq!(texts(&asked), ["a red door", "a blue sea"]);
}

#[tokio::test]
async fn the_signature_is_the_model_s_wherever_it_runs() {
    let (one, two) = (ModelServer::start(good), ModelServer::start(good));

    let (a, b) = (meet(&one).await.unwrap(), meet(&two).await.unwrap());
    let other = format!("openai:other@{}", two.url()).parse::<ModelChoice>().unwrap();
    let c = other.load(&config(), None).await.unwrap();

    assert_eq!(a.signature(), b.signature());
    assert_ne!(a.signature().hash, c.signature().hash);
}

#[tokio::test]
async fn many_texts_go_in_several_requests() {
    let (server, embedder) = met(good).await;
    let texts: Vec<String> =
        (0..300).map(|n| format!("{} {n}", ["red", "green", "blue"][n % 3])).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();

    let vectors = embedder.embed_batch(&texts).await.unwrap();

    assert_eq!(server.seen().len(), 3);
    for (text, vector) in texts.iter().zip(vectors) {
        assert_eq!(vector, colors(text));
    }
}

#[tokio::test]
async fn a_busy_or_failing_server_is_asked_again() {
    for busy in [
        ModelReply::Json(429, json!({ "error": { "message": "slow down" } })),
        ModelReply::Raw(429, "retry-after: 0".into(), Vec::new()),
        ModelReply::Json(500, json!({ "error": "oops" })),
        ModelReply::Json(503, Value::Null),
        ModelReply::Drop,
    ] {
        let (server, embedder) =
            met(move |request| if request.number < 2 { busy.clone() } else { good(request) }).await;

        assert_eq!(embedder.embed("a red door").await.unwrap(), colors("a red door"));

        assert_eq!(server.seen().len(), 3);
    }
}

#[tokio::test]
async fn a_server_that_stays_down_is_unavailable_and_then_left_alone() {
    let (server, embedder) =
        met(|_| ModelReply::Json(500, json!({ "error": { "message": "no GPU" } }))).await;

    let error = embedder.embed("x").await.unwrap_err();

    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("answered 500: no GPU"), "{error}");
    assert_eq!(server.seen().len(), 3);
    let soon = embedder.embed("x").await.unwrap_err();
    assert!(matches!(soon, Error::Unavailable { retry_after: Some(_), .. }), "{soon:?}");
    assert_eq!(server.seen().len(), 3, "it was not asked again");
}

#[tokio::test]
async fn a_server_that_asks_for_a_long_pause_is_not_waited_for() {
    let (server, embedder) =
        met(|_| ModelReply::Raw(429, "retry-after: 3600".into(), Vec::new())).await;

    let error = embedder.embed("x").await.unwrap_err();

    let hour = Duration::from_hours(1);
    assert!(
        matches!(error, Error::Unavailable { retry_after: Some(pause), .. } if pause == hour),
        "{error:?}"
    );
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_silent_server_is_unavailable_after_its_time() {
    let (server, embedder) = met(|_| ModelReply::Hang).await;

    let error = embedder.embed("x").await.unwrap_err();

    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("did not answer within 1500 ms"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn nobody_at_the_address_is_unavailable() {
    let gone = ModelServer::start(good).url();
    let choice = format!("openai:paint@{gone}").parse::<ModelChoice>().unwrap();

    let error = choice.load(&config(), None).await.err().unwrap();

    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_wrong_answer_is_corrupt_and_says_what_came() {
    let vector = |n: usize, of: Value| json!({ "index": n, "embedding": of });
    let list = |data: Vec<Value>| ModelReply::Json(200, json!({ "data": data }));
    for (reply, reason) in [
        (list(vec![vector(0, json!([1, 0, 0, 0]))]), "1 vectors for 2 texts"),
        (
            list(vec![vector(0, json!([1, 0, 0])), vector(1, json!([1, 0, 0]))]),
            "has 3 dimensions; openai:paint has 4",
        ),
        (
            list(vec![vector(0, json!([0, 0, 0, 0])), vector(1, json!([1, 0, 0, 0]))]),
            "is the zero vector",
        ),
        (
            list(vec![vector(0, json!([1, 0, 0, 0])), vector(0, json!([1, 0, 0, 0]))]),
            "no usable vector for text 0",
        ),
        (
            list(vec![vector(0, json!([1, 0, 0, 0])), vector(7, json!([1, 0, 0, 0]))]),
            "no usable vector for text 7",
        ),
        (list(vec![vector(0, json!(["a"])), vector(1, json!([1]))]), "not a list of embeddings"),
        (ModelReply::Json(200, json!({ "error": "x" })), "not a list of embeddings"),
        (ModelReply::Raw(200, "x: y".into(), b"<html>".to_vec()), "it is not JSON"),
    ] {
        let (server, embedder) = met(move |_| reply.clone()).await;

        let error = embedder.embed_batch(&["one", "two"]).await.unwrap_err();

        assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(reason) && message.contains(&server.url()), "{message}");
        assert_eq!(server.seen().len(), 1, "asking again would not help");
    }
}

#[tokio::test]
async fn a_refusal_says_what_to_change_and_is_not_repeated() {
    for (status, code, says) in [
        (401, "setup", "embedder.api_key"),
        (403, "setup", "embedder.api_key"),
        (404, "setup", "the model's name"),
        (307, "setup", "the address"),
        (400, "invalid", "too many tokens"),
    ] {
        let said = json!({ "error": { "message": "too many tokens" } });
        let (server, embedder) = met(move |_| ModelReply::Json(status, said.clone())).await;

        let error = embedder.embed("x").await.unwrap_err();

        assert_eq!(error.code(), code, "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn the_key_is_in_no_message_no_debug_and_no_log() {
    let lines = Lines::default();
    let sink = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || sink.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    // A server that repeats what it was given in every error.
    let status = Arc::new(Mutex::new(200));
    let now = Arc::clone(&status);
    let server = ModelServer::start(move |request| match *now.lock().unwrap() {
        200 => good(request),
        status => {
            let key = request.authorization.clone().unwrap_or_default();
            ModelReply::Json(status, json!({ "error": { "message": format!("bad key: {key}") } }))
        }
    });
    let url = server.url();
    let builder = Mnemon::builder("sqlite::memory:").with(move |config| {
        config.embedder = self::config();
        config.embedder.model = format!("openai:paint@{url}");
    });
    let mut shown = format!("{builder:?}");

    let db = builder.open().await.unwrap();
    let findings = db.doctor().await.unwrap();
    shown += &format!("{db:?} {findings:?}");
    for code in [200, 401, 400, 404, 429] {
        *status.lock().unwrap() = code;
        let embedder = meet(&server).await;
        if let Err(error) = &embedder {
            shown += &format!("{error} {error:?} ");
        }
        let kept =
            db.memories().remember(&Scope::local(), NewMemory::new(format!("n {code}"))).await;
        let hits = db.memories().recall(&Scope::local(), &Recall::text("red")).await;
        shown += &format!("{kept:?} {hits:?} ");
    }
    let config = mnemon::Config { embedder: config(), ..mnemon::Config::default() };
    shown += &format!("{config:?} {:?}", config.effective());
    let logged = lines.text();

    assert!(shown.contains("bad key: Bearer hidden"), "the server's words were repeated: {shown}");
    assert!(logged.contains("asking again"), "the log was looked at: {logged}");
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(!logged.contains(CANARY), "{logged}");
}

#[tokio::test]
async fn a_database_is_registered_for_the_server_s_model() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("m.db").display());
    let server = ModelServer::start(good);
    let open = |model: String| Mnemon::builder(&file).model(model).open();

    let db = open(format!("openai:paint@{}", server.url())).await.unwrap();
    let scope = Scope::local();
    for text in ["a red door", "a green hill", "a blue sea"] {
        db.memories().remember(&scope, NewMemory::new(text)).await.unwrap();
    }
    let hits = db.memories().recall(&scope, &Recall::text("something blue")).await.unwrap();
    assert_eq!(hits[0].memory.content, "a blue sea");
    db.close().await;

    let asked = server.seen().len();
    open(format!("openai:paint@{}", server.url())).await.unwrap().close().await;
    assert_eq!(server.seen().len(), asked, "a registered model's dimension is known");
    let error = open(format!("openai:other@{}", server.url())).await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains("openai:paint") && message.contains("openai:other"), "{message}");
    assert!(matches!(error, Error::ModelMismatch { .. }));
}
