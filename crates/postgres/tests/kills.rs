//! Two hundred runs of four writer processes on each server, each writer killed at a random
//! protocol message in half of the runs; every step is sent again, and what must stand is checked.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use mnemon_conformance::crashes::{Run, STEPS, WRITERS};
use mnemon_core::Store;
use mnemon_postgres::{Options, PostgresStore};
use mnemon_testkit::{Major, Proxy, Server, Trip, When};

/// How many runs there are.
const RUNS: u64 = 200;
/// A writer's steps of a run are some 20 to 60 messages.
const MESSAGES: u64 = 50;
/// More messages than are ever sent.
const NEVER: u64 = 1 << 60;

const URL: &str = "MNEMON_TEST_RUNS_URL";
const NUMBER: &str = "MNEMON_TEST_RUNS_WRITER";

/// Not a test by itself: the writer of the number it is told. A line names a run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes_runs() {
    let (Ok(url), Ok(number)) = (std::env::var(URL), std::env::var(NUMBER)) else { return };
    let writer: usize = number.parse().unwrap();
    let mut options = Options::new(url);
    options.pool.max_connections = 1;
    let store = PostgresStore::open(&options).await.unwrap();
    println!("\nready");
    for line in std::io::stdin().lines().map(Result::unwrap) {
        Run::of(line.parse().unwrap()).write(&store, writer).await;
        println!("\ndone {line}");
    }
    store.close().await;
}

/// A writer process behind a proxy of its own.
struct Writer {
    proxy: Arc<Proxy>,
    url: String,
    number: usize,
    child: Arc<Mutex<Child>>,
    input: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
    ready: bool,
}

impl Writer {
    fn start(proxy: Arc<Proxy>, url: &str, number: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writes_runs", "--nocapture", "--test-threads=1"])
            .env(URL, proxy.url(url))
            .env(NUMBER, number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let input = child.stdin.take().unwrap();
        let child = Arc::new(Mutex::new(child));
        Self { proxy, url: url.to_owned(), number, child, input, said, ready: false }
    }

    fn says(&mut self, words: &str) -> bool {
        self.said.by_ref().map_while(Result::ok).any(|line| line == words)
    }

    /// Starts a run, to be killed at the n-th message of it.
    fn go(&mut self, seed: u64, strike: Option<(u64, When)>) {
        if !self.ready {
            // The messages of opening are not the run's.
            assert!(self.says("ready"), "the writer did not start");
            self.ready = true;
        }
        // One that was not reached is replaced.
        let (n, when) = strike.unwrap_or((NEVER, When::Before));
        let child = Arc::clone(&self.child);
        self.proxy.call_at(Trip::Message(n), when, move || child.lock().unwrap().kill().unwrap());
        writeln!(self.input, "{seed}").unwrap();
    }

    /// Waits for the end of a run; whether it was killed, and another one started in its place.
    fn ended(&mut self, seed: u64) -> bool {
        if self.says(&format!("done {seed}")) {
            return false;
        }
        let status = self.child.lock().unwrap().wait().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(9), "run {seed}: {status}");
        *self = Self::start(Arc::clone(&self.proxy), &self.url, self.number);
        true
    }
}

/// `SplitMix64`.
fn mixed(seed: u64) -> u64 {
    let z = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

async fn two_hundred_runs(major: Major) {
    if !mnemon_testkit::postgres_wanted() {
        return;
    }
    let server = Server::get(major);
    let db = common::migrated(&server).await;
    let store: Arc<dyn Store> =
        Arc::new(PostgresStore::open(&Options::new(db.url())).await.unwrap());
    let mut writers: Vec<Writer> = (0..WRITERS)
        .map(|n| Writer::start(Arc::new(Proxy::to(&server.address())), db.url(), n))
        .collect();
    let (mut runs, mut kills, mut sent_again) = (0, 0, 0);

    for seed in 0..RUNS {
        let run = Run::of(seed);
        run.prepare(store.as_ref()).await;
        for writer in &mut writers {
            let dice = mixed(seed * 4 + writer.number as u64);
            let when = if (dice / 2).is_multiple_of(2) { When::Before } else { When::After };
            let strike = dice.is_multiple_of(2).then(|| (1 + dice / 4 % MESSAGES, when));
            writer.go(seed, strike);
        }
        let killed = writers.iter_mut().map(|writer| writer.ended(seed)).filter(|k| *k).count();
        let happened = run.settle(&store).await;
        assert!(killed > 0 || happened == WRITERS * STEPS, "run {seed}");
        runs += 1;
        kills += killed;
        sent_again += WRITERS * STEPS - happened;
    }

    for mut writer in writers {
        // A last run without a strike, which finds everything there.
        writer.go(0, None);
        assert!(!writer.ended(0));
        drop(writer.input);
        assert!(writer.child.lock().unwrap().wait().unwrap().success());
    }
    store.close().await;
    println!("{runs} runs, {kills} writers killed, {sent_again} steps had not happened");
    assert_eq!(runs, 200);
    assert!(kills > 100 && sent_again > 100, "{kills} killed, {sent_again} steps to be written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_runs_of_four_killed_writers_leave_one_copy_of_each_effect_on_18() {
    two_hundred_runs(Major::V18).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_runs_of_four_killed_writers_leave_one_copy_of_each_effect_on_16() {
    two_hundred_runs(Major::V16).await;
}
