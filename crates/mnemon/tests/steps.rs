//! Steps that are sent again by somebody who has another embedder: the first receipt, no
//! difference, and no model is asked.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use mnemon::embed::Embedder;
use mnemon::turns::NewTurn;
use mnemon::{
    Error, Mnemon, ModelSignature, NewMemory, Receipt, RequestId, Result, Scope, Step, Write,
};

/// Embeds everything alike, and counts.
struct Constant {
    signature: ModelSignature,
    vector: Vec<f32>,
    calls: AtomicUsize,
}

impl Constant {
    /// The same model by name, whatever it answers.
    fn new(vector: [f32; 2]) -> Arc<Self> {
        let signature = ModelSignature {
            name: "constant".to_owned(),
            dimension: 2,
            hash: "0123456789abcdef".to_owned(),
            semantic: true,
        };
        Arc::new(Self { signature, vector: vector.to_vec(), calls: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Embedder for Constant {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    async fn embed(&self, _: &str) -> Result<Vec<f32>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(self.vector.clone())
    }
}

fn scope() -> Scope {
    Scope::tenant("acme").user("ada").session("s")
}

fn step(answer: &str) -> Step {
    Step::new(RequestId::parse("step").unwrap())
        .write(Write::Turn(Box::new(NewTurn::new("where to?", answer))))
        .write(Write::Remember(Box::new(NewMemory::new("Ada goes to Nepal"))))
}

async fn open(url: &str, embedder: Arc<Constant>) -> Mnemon {
    Mnemon::builder(url).embedder(embedder).background_upkeep(false).open().await.unwrap()
}

const URL: &str = "MNEMON_TEST_STEPS_URL";

/// Not a test by itself: sends the step again, in a process of its own and with other vectors.
#[tokio::test]
async fn child_sends_the_step_again() {
    let Ok(url) = std::env::var(URL) else { return };
    let embedder = Constant::new([0.0, 1.0]);
    let db = open(&url, Arc::clone(&embedder)).await;
    let receipt = db.commit(&scope(), step("to Nepal").strict()).await.unwrap();
    let calls = embedder.calls.load(Ordering::Relaxed);
    println!("\nreceipt {calls} {}", serde_json::to_string(&receipt).unwrap());
    db.close().await;
}

#[tokio::test]
async fn a_step_sent_again_with_another_embedder_is_the_same_step() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("m.db").display());
    let embedder = Constant::new([1.0, 0.0]);
    let db = open(&url, Arc::clone(&embedder)).await;
    let first = db.commit(&scope(), step("to Nepal")).await.unwrap();
    assert_eq!(embedder.calls.load(Ordering::Relaxed), 1);
    let replayed = Receipt { replayed: true, ..first };

    let said = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_sends_the_step_again", "--nocapture"])
        .env(URL, &url)
        .output()
        .unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let line = said.lines().find_map(|line| line.strip_prefix("receipt ")).unwrap();
    let (calls, receipt) = line.split_once(' ').unwrap();

    assert_eq!(calls, "0", "no model is asked for what happened");
    assert_eq!(serde_json::from_str::<Receipt>(receipt).unwrap(), replayed);
    // What was said is another matter than how it was embedded.
    let differs = db.commit(&scope(), step("to Norway")).await.unwrap();
    assert_eq!(differs, Receipt { differs: true, ..replayed });
    let strict = db.commit(&scope(), step("to Norway").strict()).await;
    assert!(matches!(strict, Err(Error::StepReused { .. })), "{strict:?}");
    assert_eq!(embedder.calls.load(Ordering::Relaxed), 1);
    assert_eq!(db.memories().count(&scope()).await.unwrap(), 1);
    db.close().await;
}
