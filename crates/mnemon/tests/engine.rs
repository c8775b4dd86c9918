//! The engine over an embedded store: what is remembered, refused, noted, kept up and closed.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "sqlite")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use mnemon::embed::Embedder;
use mnemon::{
    Backend, Error, Language, MemoryFilter, Mnemon, ModelSignature, NewMemory, Page, Recall,
    Result, Scope, Task, UpkeepOptions,
};

fn url(folder: &tempfile::TempDir) -> String {
    format!("sqlite://{}", folder.path().join("m.db").display())
}

/// An embedder that counts its calls.
struct Counting {
    signature: ModelSignature,
    calls: AtomicUsize,
}

impl Counting {
    fn new(name: &str) -> Arc<Self> {
        let signature = ModelSignature {
            name: name.to_owned(),
            dimension: 3,
            hash: "0123456789abcdef".to_owned(),
            semantic: true,
        };
        Arc::new(Self { signature, calls: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Embedder for Counting {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    async fn embed(&self, text: &str) -> Result<Vec<f32>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let color = |word: &str| if text.contains(word) { 1.0 } else { 0.01 };
        Ok(vec![color("red"), color("green"), color("blue")])
    }
}

#[tokio::test]
async fn what_is_remembered_is_found_listed_counted_and_deleted() {
    let db = Mnemon::open("sqlite::memory:").await.unwrap();
    let ada = Scope::tenant("acme").user("ada");
    let memories = db.memories();

    let kept = memories.remember(&ada, NewMemory::new("The launch is on 3 May")).await.unwrap();
    let again = memories.remember(&ada, NewMemory::new("The launch is on 3 May")).await.unwrap();
    let hits = memories.recall(&ada, &Recall::text("launch")).await.unwrap();

    assert!(kept.created && !again.created && kept.id == again.id);
    assert_eq!(hits[0].memory.id, kept.id);
    assert!(hits[0].similarity.is_some(), "the lexical model is registered at open");
    assert_eq!(memories.count(&ada).await.unwrap(), 1);
    let listed = memories.list(&ada, &MemoryFilter::default(), &Page::default()).await.unwrap();
    assert_eq!(listed.items.len(), 1);
    memories.delete(&ada, kept.id).await.unwrap();
    assert!(matches!(memories.get(&ada, kept.id).await, Err(Error::NotFound { .. })));
    db.close().await;
}

#[tokio::test]
async fn a_question_that_nothing_answers_finds_nothing() {
    let db = Mnemon::open("sqlite::memory:").await.unwrap();
    let scope = Scope::local();
    for text in ["The launch is on 3 May", "Ada likes tea from Nepal", "The cat sleeps"] {
        db.memories().remember(&scope, NewMemory::new(text)).await.unwrap();
    }

    for text in ["quantum chromodynamics", "???", "   "] {
        let hits = db.memories().recall(&scope, &Recall::text(text)).await.unwrap();
        assert!(hits.is_empty(), "{text:?} found {hits:?}");
    }
}

#[tokio::test]
async fn text_is_embedded_once_and_never_for_what_is_refused() {
    let embedder = Counting::new("colors");
    let db = Mnemon::builder("sqlite::memory:").embedder(embedder.clone()).open().await.unwrap();
    let scope = Scope::local();
    let texts = ["a red door", "a green hill", "a blue sea"];
    let batch = texts.into_iter().map(NewMemory::new).collect();

    db.memories().remember_many(&scope, batch).await.unwrap();
    let hits = db.memories().recall(&scope, &Recall::text("something blue")).await.unwrap();

    assert_eq!(embedder.calls.load(Ordering::Relaxed), 4);
    assert_eq!(hits[0].memory.content, "a blue sea");
    let refused = db.memories().remember(&scope, NewMemory::new(" ")).await.unwrap_err();
    assert_eq!(refused.to_string(), "content: is blank");
    let nobody = db.memories().remember(&Scope::default(), NewMemory::new("x")).await;
    assert!(matches!(nobody, Err(Error::ScopeRequired { .. })));
    assert_eq!(embedder.calls.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn another_model_is_refused_by_both_names() {
    let folder = tempfile::tempdir().unwrap();
    Mnemon::open(&url(&folder)).await.unwrap().close().await;

    let error = Mnemon::builder(url(&folder)).embedder(Counting::new("colors")).open().await;

    let message = error.unwrap_err().to_string();
    assert!(message.contains("lexical-256") && message.contains("colors"), "{message}");
}

#[tokio::test]
async fn a_closed_handle_answers_closed_at_once() {
    let db = Mnemon::open("sqlite::memory:").await.unwrap();
    let other = db.clone();

    db.close().await;
    db.close().await;

    let scope = Scope::local();
    let text = Recall::text("x");
    for error in [
        other.memories().remember(&scope, NewMemory::new("x")).await.err(),
        other.memories().recall(&scope, &text).await.err(),
        other.events().read(&scope, "s", &Page::default()).await.err(),
        other.health().await.err(),
        other.doctor().await.err(),
        other.upkeep(&UpkeepOptions::default()).await.err(),
        other.upkeep_status().await.err(),
    ] {
        assert!(matches!(error, Some(Error::Closed)), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_handles_on_one_file_one_runs_a_task() {
    let folder = tempfile::tempdir().unwrap();
    let quiet = |url| Mnemon::builder(url).background_upkeep(false).open();
    let (one, two) = (quiet(url(&folder)).await.unwrap(), quiet(url(&folder)).await.unwrap());

    let lease = one
        .store()
        .upkeep()
        .claim(Task::ExpiredMemories, "one", true)
        .await
        .unwrap()
        .expect("nobody holds it");
    let forced = UpkeepOptions { only: vec![Task::ExpiredMemories], force: true };
    let left = two.upkeep(&forced).await.unwrap();
    one.store().upkeep().finish(&lease, None).await.unwrap();
    let done = two.upkeep(&forced).await.unwrap();

    assert_eq!(left.tasks[0].outcome, mnemon::Outcome::Left);
    assert_eq!(done.tasks[0].outcome, mnemon::Outcome::Done);
    let unforced = UpkeepOptions { only: vec![Task::ExpiredMemories], force: false };
    let not_due = one.upkeep(&unforced).await.unwrap();
    assert_eq!(not_due.tasks[0].outcome, mnemon::Outcome::Left);
    let status = one.upkeep_status().await.unwrap();
    let task = status.iter().find(|task| task.name == "expired-memories").unwrap();
    assert!(task.last_run.is_some() && task.errors == 0);
}

#[tokio::test]
async fn expired_memories_go_with_upkeep() {
    use std::sync::atomic::AtomicI64;

    let ahead = Arc::new(AtomicI64::new(0));
    let seconds = Arc::clone(&ahead);
    let clock = mnemon::Clock::from_fn(move || {
        chrono::Utc::now() + chrono::TimeDelta::seconds(seconds.load(Ordering::Relaxed))
    });
    let db = Mnemon::builder("sqlite::memory:")
        .clock(clock)
        .background_upkeep(false)
        .open()
        .await
        .unwrap();
    let scope = Scope::local();
    let expires_at = Some(chrono::Utc::now() + chrono::TimeDelta::seconds(100));
    let brief = NewMemory { expires_at, ..NewMemory::new("gone soon") };
    db.memories().remember(&scope, brief).await.unwrap();

    ahead.store(200, Ordering::Relaxed);
    assert_eq!(db.memories().count(&scope).await.unwrap(), 0, "invisible before it is removed");
    let forced = UpkeepOptions { only: vec![Task::ExpiredMemories], force: true };
    let report = db.upkeep(&forced).await.unwrap();

    assert_eq!(report.tasks[0].rows, 1);
}

#[tokio::test]
async fn a_database_keeps_the_language_it_was_made_for() {
    let folder = tempfile::tempdir().unwrap();
    let builder = |language| {
        let builder = Mnemon::builder(url(&folder)).background_upkeep(false);
        match language {
            Some(language) => builder.language(language),
            None => builder,
        }
    };
    let (german, simple) = (Some(Language::German), Some(Language::Simple));
    let scope = Scope::local();
    let db = builder(german).open().await.unwrap();
    db.memories().remember(&scope, NewMemory::new("alte H\u{e4}user")).await.unwrap();
    db.close().await;

    let refused = builder(simple).open().await.unwrap_err();
    assert!(matches!(refused, Error::LanguageMismatch { .. }), "{refused}");
    let db = builder(None).open().await.unwrap();
    let found = async |text| db.memories().fts_search(&scope, text, 10).await.unwrap().len();
    assert_eq!((found("Haus").await, found("alter").await), (1, 1));
    let heard = AtomicUsize::new(0);
    let done = db
        .memories()
        .change_language(Language::Simple, |_| {
            heard.fetch_add(1, Ordering::Relaxed);
        })
        .await
        .unwrap();
    assert_eq!((done.memories, heard.into_inner()), (1, 1));
    assert_eq!((found("Haus").await, found("alte").await), (0, 1));
    db.close().await;

    assert!(builder(german).open().await.is_err());
    builder(simple).open().await.unwrap().close().await;
}

#[tokio::test]
async fn an_open_handle_does_upkeep_by_itself() {
    let db = Mnemon::open("sqlite::memory:").await.unwrap();
    let ran = async || {
        let status = db.upkeep_status().await.unwrap();
        // These are left to processes that have an oracle, or a summariser, or are told to.
        let others = [
            Task::OracleQuestions.name(),
            Task::Summaries.name(),
            Task::EventRetention.name(),
            Task::EventSearch.name(),
        ];
        status.iter().all(|task| task.last_run.is_some() || others.contains(&task.name.as_str()))
    };

    // Not a timed assertion: a handle that never runs a task hangs here, and the test with it.
    while !ran().await {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    db.close().await;
}

#[tokio::test]
async fn closing_stops_background_upkeep() {
    let db = Mnemon::open("sqlite::memory:").await.unwrap();
    let store = Arc::clone(db.store());

    db.close().await;
    drop(db);

    // The loop let go of the store: ours is the last one.
    assert_eq!(Arc::strong_count(&store), 1);
}

#[tokio::test]
async fn doctor_finds_a_fresh_file_in_order() {
    let db = Mnemon::open("sqlite::memory:").await.unwrap();

    let findings = db.doctor().await.unwrap();

    for check in ["mnemon", "schema", "clock", "embedder"] {
        assert!(findings.iter().any(|finding| finding.check == check), "{check}");
    }
    for (at, finding) in findings.iter().enumerate() {
        assert!(findings[..at].iter().all(|other| other.check != finding.check), "{finding:?}");
        assert!(finding.fix.is_some() || finding.severity == mnemon::Severity::Ok);
    }
    assert_eq!(db.backend(), Backend::Sqlite);
    assert_eq!(db.default_scope(), Some(Scope::local()));
}

#[cfg(not(feature = "postgres"))]
#[tokio::test]
async fn a_database_left_out_of_the_build_is_named_with_its_feature() {
    let error = Mnemon::open("postgres://h/d").await.unwrap_err();

    assert_eq!(error.code(), "setup");
    assert!(error.to_string().contains("the feature postgres"), "{error}");
}

#[tokio::test]
async fn an_unknown_scheme_is_refused_with_the_known_ones() {
    let error = Mnemon::open("mysql://h/d").await.unwrap_err();

    assert!(matches!(error, Error::Invalid { .. }));
    assert!(error.to_string().contains("sqlite::memory:"), "{error}");
}
