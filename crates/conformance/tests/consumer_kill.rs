//! A consumer in a process of its own, killed without warning: another one goes on where it had
//! committed, on an embedded file and on PostgreSQL.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mnemon::Mnemon;
use mnemon::events::{Append, ConsumerOptions, NewEvent};
use mnemon_core::migrations::Migrations as _;
use mnemon_core::{Scope, Store};
use mnemon_postgres::{PostgresMigrator, PostgresStore};
use mnemon_sqlite::SqliteStore;
use mnemon_testkit::{Major, Server};

const URL: &str = "MNEMON_TEST_CONSUMER_URL";
const HANDLED: &str = "child: handled ";
const STREAMS: usize = 12;
const EACH: usize = 5;

fn acme() -> Scope {
    Scope::tenant("acme")
}

fn options() -> ConsumerOptions {
    ConsumerOptions { lease: Duration::from_secs(2), ..ConsumerOptions::default() }
}

async fn open(url: &str) -> Mnemon {
    let store: Arc<dyn Store> = if url.starts_with("sqlite:") {
        let options = mnemon_sqlite::Options::parse(url).expect("a URL");
        Arc::new(SqliteStore::open(options).await.expect("opens"))
    } else {
        let options = mnemon_postgres::Options::new(url);
        Arc::new(PostgresStore::open(&options).await.expect("opens"))
    };
    Mnemon::over(store)
}

/// Not a test by itself: handles events, says so, and commits every second one at once, the others
/// never, until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn child_consumes() {
    let Ok(url) = std::env::var(URL) else { return };
    let db = open(&url).await;
    let mut consumer = db.consumer(&acme(), "mailer", options()).expect("a member");
    loop {
        let handed = consumer.next().await.expect("the database answers");
        println!("\n{HANDLED}{} {}", handed.event.stream, handed.event.version);
        if handed.event.version % 2 == 0 {
            consumer.commit(&handed).await.expect("holds it");
        }
    }
}

async fn a_killed_consumer_is_followed(url: &str) {
    let db = open(url).await;
    let append = |n: usize| Append {
        stream: format!("s{n}"),
        events: (0..EACH).map(|n| NewEvent::new("a.b", serde_json::json!({ "n": n }))).collect(),
        expected_version: None,
    };
    let all = (0..STREAMS).map(append).collect();
    db.events().append_many(&acme(), all).await.expect("is answered");
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "child_consumes", "--nocapture", "--test-threads=1"])
        .env(URL, url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    // Of each stream: the newest version that was surely committed before the kill.
    let mut handled: BTreeMap<String, i64> = BTreeMap::new();
    for line in lines.map_while(Result::ok).take_while(|line| !line.contains("nothing")) {
        let Some(said) = line.strip_prefix(HANDLED) else { continue };
        let (stream, version) = said.split_once(' ').expect("two words");
        handled.insert(stream.to_owned(), version.parse().expect("a number"));
        if handled.values().sum::<i64>() >= 25 {
            break;
        }
    }
    child.kill().expect("is killed");
    child.wait().expect("has ended");

    let mut next = db.consumer(&acme(), "mailer", options()).expect("a member");
    let mut seen: BTreeMap<String, i64> = BTreeMap::new();
    let end = i64::try_from(EACH).expect("small");
    let whole = |of: &BTreeMap<String, i64>, stream: &String| of.get(stream) == Some(&end);
    let streams: Vec<String> = (0..STREAMS).map(|n| format!("s{n}")).collect();
    while !streams.iter().all(|stream| whole(&seen, stream) || whole(&handled, stream)) {
        let given = tokio::time::timeout(Duration::from_mins(1), next.next()).await;
        let given = given.expect("the leases of the dead end").expect("the database answers");
        let stream = given.event.stream.clone();
        let last = seen.get(&stream).copied();
        if let Some(last) = last {
            assert_eq!(given.event.version, last + 1, "in order, of {stream}");
        } else {
            let surely = handled.get(&stream).copied().unwrap_or(0);
            assert!(given.event.version <= surely + 1, "nothing of {stream} is skipped");
        }
        seen.insert(stream, given.event.version);
        next.commit(&given).await.expect("holds it");
    }
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_consumer_is_followed_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("log.db").display());

    a_killed_consumer_is_followed(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_consumer_is_followed_on_postgres() {
    if !mnemon_testkit::postgres_wanted() {
        return;
    }
    for major in Major::ALL {
        let database = Server::get(major).database().await;
        let options = mnemon_postgres::Options::new(database.url());
        let migrator = PostgresMigrator::connect(&options).await.expect("answers");
        migrator.up().await.expect("migrates");

        a_killed_consumer_is_followed(database.url()).await;
    }
}
