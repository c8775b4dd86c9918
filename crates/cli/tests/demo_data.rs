//! The main job end to end: conversations played one step per utterance by a process that is
//! killed at random moments and started again, on every database. Nothing may be lost, doubled or
//! answered differently than by a run that nobody interrupted.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use mnemon::import::locomo::{Conversation, Conversations};
use mnemon::{Mnemon, Recall, Receipt, RequestId, Scope, StepOutcome};
use mnemon_testkit::{Major, Server};
use serde_json::{Value, json};

/// How often the process is killed.
const KILLS: usize = 20;
/// Starts that may end before they are killed.
const STARTS: usize = 400;
const SIGKILL: i32 = 9;
/// The longest wait before a kill.
const LATEST_MS: u64 = 90;
/// The pause of each step, so that a kill finds work left to do.
const PAUSE_MS: &str = "8";

const UTTERANCES: u64 = 51;
const QUESTIONS: usize = 50;

fn fixture(shape: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("{shape}.json"))
}

fn read(shape: &str) -> Vec<Conversation> {
    Conversations::read(shape, File::open(fixture(shape)).unwrap()).unwrap().conversations
}

fn demo(url: &str, data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mnemon"));
    command
        .args(["demo", "--json", "--db", url, "--data"])
        .arg(data)
        .env_remove("MNEMON_URL")
        .env_remove("MNEMON_CONFIG")
        .env_remove("MNEMON_TENANT")
        .current_dir(std::env::temp_dir());
    command
}

/// Plays to the end; answers what is printed.
fn played(url: &str, shape: &str) -> Value {
    let output = demo(url, &fixture(shape)).arg("--quiet").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Starts playing and kills it at a moment nobody chose; answers whether it was still alive.
fn killed(url: &str, shape: &str, chance: &mut Chance) -> bool {
    let mut child = demo(url, &fixture(shape))
        .args(["--pause", PAUSE_MS])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Kept open: a process that cannot tell its progress would fail of that.
    let mut told = BufReader::new(child.stderr.take().unwrap());
    // Three in four are killed at work, the others anywhere from their start on.
    if chance.below(4) != 0 {
        told.read_line(&mut String::new()).unwrap();
    }
    std::thread::sleep(Duration::from_millis(chance.below(LATEST_MS)));
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(status.success() || status.signal() == Some(SIGKILL), "{status}");
    status.signal() == Some(SIGKILL)
}

/// Numbers that differ from run to run.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Self(since.subsec_nanos().into())
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

async fn open(url: &str) -> Mnemon {
    Mnemon::builder(url).background_upkeep(false).open().await.unwrap()
}

fn user(conversation: &Conversation) -> Scope {
    Scope::tenant("demo").user(&conversation.sample_id)
}

/// Every receipt there is, by step.
async fn receipts(db: &Mnemon, data: &[Conversation]) -> BTreeMap<String, Receipt> {
    let mut receipts = BTreeMap::new();
    for conversation in data {
        for said in &conversation.utterances {
            let id = format!("{}/{}", conversation.sample_id, said.dia_id);
            let step = RequestId::parse(id.clone()).unwrap();
            if let Some(receipt) = db.receipt(&user(conversation), &step).await.unwrap() {
                receipts.insert(id, receipt);
            }
        }
    }
    receipts
}

/// What receipts say but for what is made anew in every database: memories' ids and times.
fn comparable(receipts: &BTreeMap<String, Receipt>) -> BTreeMap<String, Vec<Value>> {
    let outcome = |outcome: &StepOutcome| match outcome {
        StepOutcome::Remember(done) => json!({ "remembered": done.created }),
        other => json!(other),
    };
    let outcomes = |receipt: &Receipt| receipt.outcomes.iter().map(outcome).collect();
    receipts.iter().map(|(id, receipt)| (id.clone(), outcomes(receipt))).collect()
}

/// The first ten hits of every question, by the ids in the data.
async fn hits(db: &Mnemon, data: &[Conversation]) -> Vec<(String, Vec<String>)> {
    let mut answers = Vec::new();
    for conversation in data {
        for question in conversation.questions.iter().filter(|question| question.counts()) {
            let wanted = Recall { limit: 10, ..Recall::text(&question.question) };
            let hits = db.memories().recall(&user(conversation), &wanted).await.unwrap();
            let ids = hits.into_iter().map(|hit| hit.memory.key.unwrap()).collect();
            answers.push((question.question.clone(), ids));
        }
    }
    answers
}

/// What a run answers, but for how long it took and what it found there.
fn figures(played: &Value) -> Value {
    let mut figures = played.clone();
    for varying in ["backend", "steps_replayed", "seconds"] {
        figures.as_object_mut().unwrap().remove(varying).expect("it is told");
    }
    figures
}

/// Plays on `url`, killed again and again, and compares with a run that nobody interrupted.
async fn survives(url: &str, shape: &str) {
    let data = read(shape);
    let (mut chance, mut kills, mut starts) = (Chance::new(), 0, 0);
    let mut seen = BTreeMap::new();
    while kills < KILLS {
        starts += 1;
        assert!(starts <= STARTS, "it always ends before it is killed");
        kills += usize::from(killed(url, shape, &mut chance));
        let db = open(url).await;
        let now = receipts(&db, &data).await;
        db.close().await;
        let kept = seen.iter().all(|(id, receipt)| now.get(id) == Some(receipt));
        assert!(kept, "a receipt changed or went away at start {starts}");
        seen = now;
    }
    let resumed = played(url, shape);

    let folder = tempfile::tempdir().unwrap();
    let calm_url = format!("sqlite://{}", folder.path().join("calm.db").display());
    let calm = played(&calm_url, "published");
    assert_eq!(figures(&resumed), figures(&calm));
    assert_eq!(calm["steps_replayed"], 0);
    // A server may have finished a commit whose client was dead already.
    let replayed = resumed["steps_replayed"].as_u64().unwrap();
    assert!(replayed >= seen.len() as u64, "{replayed} of {}", seen.len());
    for facet in ["turns", "memories", "events", "checkpoints"] {
        assert_eq!(resumed[facet], UTTERANCES, "{facet}");
    }
    assert_eq!(played(url, shape)["steps_replayed"], UTTERANCES);

    let (db, calm) = (open(url).await, open(&calm_url).await);
    let last = receipts(&db, &data).await;
    assert!(seen.iter().all(|(id, receipt)| last.get(id) == Some(receipt)));
    assert_eq!(comparable(&last), comparable(&receipts(&calm, &data).await));
    let answers = hits(&db, &data).await;
    assert_eq!(answers.len(), QUESTIONS);
    assert_eq!(answers, hits(&calm, &data).await);
    db.close().await;
    calm.close().await;
}

async fn survives_on(major: Major, shape: &str) {
    if !mnemon_testkit::postgres_wanted() {
        return;
    }
    let database = Server::get(major).database().await;
    survives(database.url(), shape).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_loses_and_doubles_nothing_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("demo.db").display());
    survives(&url, "reduced").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_loses_and_doubles_nothing_on_postgres18() {
    survives_on(Major::V18, "published").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_loses_and_doubles_nothing_on_postgres16() {
    survives_on(Major::V16, "reduced").await;
}

#[test]
fn both_shapes_of_the_fixture_are_the_same_conversations() {
    assert_eq!(read("published"), read("reduced"));
}

#[test]
fn what_is_printed_has_exactly_the_promised_keys() {
    let played = played("sqlite::memory:", "published");

    let keys: Vec<&str> = played.as_object().unwrap().keys().map(String::as_str).collect();
    let promised = [
        "backend",
        "checkpoints",
        "events",
        "memories",
        "questions",
        "recall_at_10",
        "seconds",
        "steps_replayed",
        "turns",
    ];
    assert_eq!(keys, promised);
    assert_eq!(played["recall_at_10"], 1.0);
}

#[test]
fn another_conversation_of_the_same_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("demo.db").display());
    played(&url, "published");
    let other = folder.path().join("other.json");
    let text = std::fs::read_to_string(fixture("published")).unwrap();
    // The last utterance of the first conversation gets another id.
    std::fs::write(&other, text.replacen("\"D3:8\"", "\"D3:9\"", 1)).unwrap();

    let output = demo(&url, &other).output().unwrap();

    assert_eq!(output.status.code(), Some(6), "the installation must be changed first");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let message = told["error"]["message"].as_str().unwrap();
    assert_eq!(message, "this database holds another conversation named river");
}
