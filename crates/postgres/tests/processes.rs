//! Writers in processes of their own, killed at every message of a step.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/step.rs"]
mod step;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use mnemon_core::Store;
use mnemon_core::steps::Steps;
use mnemon_postgres::{Options, PostgresStore};
use mnemon_testkit::{Major, Proxy, Server, Trip, When};

use step::{assert_rows, full, scope};

const URL: &str = "MNEMON_TEST_CHILD_URL";
const TENANT: &str = "MNEMON_TEST_CHILD_TENANT";
const READY: &str = "child: ready";
const DONE: &str = "child: done, replayed ";

/// Not a test by itself: opens a store, waits for a line, commits one step.
#[tokio::test(flavor = "multi_thread")]
async fn child_commits_a_step() {
    let (Ok(url), Ok(tenant)) = (std::env::var(URL), std::env::var(TENANT)) else { return };
    let mut options = Options::new(url);
    options.pool.max_connections = 1;
    let store = PostgresStore::open(&options).await.unwrap();
    println!("\n{READY}");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    let receipt = store.commit(&scope(&tenant), full("s")).await.unwrap();
    println!("\n{DONE}{}", receipt.replayed);
    store.close().await;
}

/// A child that is ready to commit.
struct Writer {
    child: Arc<Mutex<Child>>,
    input: ChildStdin,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Writer {
    fn start(url: &str, tenant: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_commits_a_step", "--nocapture", "--test-threads=1"])
            .env(URL, url)
            .env(TENANT, tenant)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let input = child.stdin.take().unwrap();
        let mut writer = Self { child: Arc::new(Mutex::new(child)), input, lines };
        assert!(writer.reads(READY).is_some(), "the child did not start");
        writer
    }

    fn go(&mut self) {
        self.input.write_all(b"go\n").unwrap();
    }

    /// The rest of the first line with this beginning; none when the child ended before.
    fn reads(&mut self, beginning: &str) -> Option<String> {
        self.lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix(beginning).map(str::to_owned))
    }

    fn end(&mut self) -> Option<String> {
        let done = self.reads(DONE);
        self.child.lock().unwrap().wait().unwrap();
        done
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_killed_at_any_message_leaves_all_of_its_step_or_nothing() {
    if !mnemon_testkit::postgres_wanted() {
        return;
    }
    let server = Server::get(Major::V18);
    let db = common::migrated(&server).await;
    let proxy = Proxy::to(&server.address());
    let url = proxy.url(db.url());
    let store = PostgresStore::open(&Options::new(db.url())).await.unwrap();
    let mut conn = common::connect(db.url()).await;
    let strike = |trip: Trip, when: When, tenant: &str| {
        let mut writer = Writer::start(&url, tenant);
        let child = Arc::clone(&writer.child);
        proxy.call_at(trip, when, move || {
            // Locked by who waits for its end: it is done, and says good-bye.
            if let Ok(mut child) = child.try_lock() {
                child.kill().unwrap();
            }
        });
        writer.go();
        writer.end()
    };

    let mut n = 1;
    loop {
        let tenant = format!("killed at {n}");
        let done = strike(Trip::Message(n), When::Before, &tenant);
        // Whoever comes after it sends the step again.
        let receipt = store.commit(&scope(&tenant), full("s")).await.unwrap();
        assert_eq!(receipt.replayed, done.is_some(), "killed at {n}");
        assert_rows(&mut conn, &tenant, 1).await;
        if done.is_some() {
            break;
        }
        n += 1;
    }
    assert!(n > 20, "only {n} messages");
    let done = strike(Trip::Statement("commit".into()), When::After, "after commit");
    assert!(done.is_none());
    assert!(store.commit(&scope("after commit"), full("s")).await.unwrap().replayed);
    assert_rows(&mut conn, "after commit", 1).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_four_processes_with_one_step_one_writes_it() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let mut writers: Vec<Writer> = (0..4).map(|_| Writer::start(db.url(), "t")).collect();
        for writer in &mut writers {
            writer.go();
        }
        let replayed: Vec<bool> =
            writers.iter_mut().map(|writer| writer.end().unwrap() == "true").collect();

        assert_eq!(replayed.iter().filter(|replayed| !**replayed).count(), 1);
        assert_rows(&mut common::connect(db.url()).await, "t", 1).await;
    }
}
