//! What a host sees of Mnemon: metrics through a real exporter, spans through a real subscriber,
//! and in neither anything of a caller's.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::Lines;
use metrics_exporter_prometheus::PrometheusBuilder;
use mnemon::checkpoints::{Put, Thread};
use mnemon::dead_letters::Burial;
use mnemon::{Error, Mnemon, NewMemory, Recall, Scope, metrics};
use tracing_subscriber::fmt::format::FmtSpan;

const TENANT: &str = "tenant-of-a-secret-name";
const CONTENT: &str = "swordfish is the password";

fn scope() -> Scope {
    Scope::tenant(TENANT).user("user-of-a-secret-name").agent("agent-of-a-secret-name")
}

/// A little of everything: what succeeds, what is not there, and what is fenced.
async fn live(db: &Mnemon) {
    let (scope, minute) = (scope(), Duration::from_mins(1));
    db.memories().remember(&scope, NewMemory::new(CONTENT)).await.unwrap();
    db.memories().recall(&scope, &Recall::text("swordfish")).await.unwrap();
    let lease = db.locks().acquire(&scope, "key-of-a-secret-name", "me", minute).await.unwrap();
    db.locks().force_release(&scope, "key-of-a-secret-name").await.unwrap();
    let put = Put::new(Thread::new("key-of-a-secret-name"));
    let late = db.checkpoints().put(&scope, put, Some(&lease.guard())).await.unwrap_err();
    assert!(matches!(late, Error::Fenced { .. }), "{late:?}");
    let letter = Burial::new("queue-of-a-secret-name", "m-1", CONTENT.into(), "mailbox full");
    db.dead_letters().bury(&scope, letter, None).await.unwrap();
}

fn holds_nothing_secret(said: &str) {
    for secret in ["secret-name", "swordfish"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

#[tokio::test]
async fn an_exporter_shows_the_names_of_the_table_and_no_callers() {
    let handle = PrometheusBuilder::new().install_recorder().unwrap();
    let db = Mnemon::open("sqlite::memory:").await.unwrap();

    live(&db).await;
    let wanted = [
        "queries_total{operation=\"writing memories\"} 1",
        "fence_rejects_total{operation=\"putting a checkpoint\"} 1",
        "code=\"fenced\"",
        "query_duration",
        "pool_size ",
        "connections_active ",
        // The background's part: it measures soon after the start, and again.
        "dead_letters{state=\"ready\"} 1",
        "dead_letters{state=\"review\"} 0",
        "upkeep_lag{task=\"summaries\"} 0",
        "event_horizon_age ",
    ];
    let mut said = handle.render();
    while !wanted.iter().all(|line| said.contains(line)) {
        let missing: Vec<_> = wanted.iter().filter(|line| !said.contains(*line)).collect();
        println!("waiting for {missing:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        said = handle.render();
    }

    holds_nothing_secret(&said);
    for line in said.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let known = metrics::ALL.iter().any(|metric| line.starts_with(metric.name));
        assert!(known, "{line}");
    }
    db.close().await;
}

#[tokio::test]
async fn spans_have_the_names_of_the_table_and_no_payload() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::NEW)
        .with_writer(move || writer.clone())
        .init();
    let db = Mnemon::builder("sqlite::memory:").background_upkeep(false).open().await.unwrap();

    live(&db).await;
    db.upkeep(&mnemon::UpkeepOptions::default()).await.unwrap();
    db.close().await;

    let said = lines.text();
    holds_nothing_secret(&said);
    assert!(
        said.contains("mnemon.call{store=\"sqlite\" operation=\"writing memories\"}"),
        "{said}"
    );
    assert!(said.contains("mnemon.upkeep{task=\"receipts\"}"), "{said}");
    for (at, _) in said.match_indices("mnemon.") {
        let rest = &said[at..];
        let name = rest.split(|c: char| !(c.is_alphanumeric() || c == '.')).next().unwrap();
        assert!(metrics::SPANS.iter().any(|(known, _, _)| *known == name), "{name}: {said}");
    }
}
