//! Two hundred runs of four writer processes on one file, each writer killed at a random boundary
//! of its statements in half of the runs; every step is sent again, and what must stand is
//! checked.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mnemon_conformance::crashes::{Run, STEPS, WRITERS};
use mnemon_core::Store;

use super::{LEFT, block_on, child_of, mixed, options, told};
use crate::SqliteStore;

/// How many runs there are.
const RUNS: u64 = 200;
/// A writer's steps of a run have some 100 to 200 boundaries.
const BOUNDARIES: u64 = 150;

const CHILD: &str = "runs::child_writes_runs";

/// Not a test by itself: the writer of the number it is told. A line names a run and the boundary
/// to die at (0: none).
#[test]
fn child_writes_runs() {
    let Some((options, writer)) = told() else { return };
    block_on(async {
        let store = SqliteStore::open(options).await.unwrap();
        for line in std::io::stdin().lines().map(Result::unwrap) {
            let (seed, boundary) = line.split_once(' ').unwrap();
            let run = Run::of(seed.parse().unwrap());
            LEFT.store(boundary.parse().unwrap(), Ordering::SeqCst);
            run.write(&store, usize::try_from(writer).unwrap()).await;
            LEFT.store(0, Ordering::SeqCst);
            println!("\ndone {seed}");
        }
        store.close().await;
    });
}

/// A writer process.
struct Writer {
    file: PathBuf,
    number: usize,
    child: Child,
    input: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    fn start(file: &Path, number: usize) -> Self {
        let mut command = child_of(CHILD, file, i64::try_from(number).unwrap());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { file: file.to_owned(), number, child, input, said }
    }

    fn go(&mut self, seed: u64, boundary: u64) {
        writeln!(self.input, "{seed} {boundary}").unwrap();
    }

    /// Waits for the end of a run; whether it was killed, and another one started in its place.
    fn ended(&mut self, seed: u64) -> bool {
        let done = format!("done {seed}");
        if self.said.by_ref().map_while(Result::ok).any(|line| line == done) {
            return false;
        }
        let status = self.child.wait().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(rustix::process::Signal::KILL.as_raw()), "run {seed}: {status}");
        *self = Self::start(&self.file, self.number);
        true
    }
}

#[test]
fn two_hundred_runs_of_four_killed_writers_leave_one_copy_of_each_effect() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.db");
    let store: Arc<dyn Store> = Arc::new(block_on(SqliteStore::open(options(&file))).unwrap());
    let mut writers: Vec<Writer> = (0..WRITERS).map(|n| Writer::start(&file, n)).collect();
    let (mut runs, mut kills, mut sent_again) = (0, 0, 0);

    for seed in 0..RUNS {
        let run = Run::of(seed);
        block_on(run.prepare(store.as_ref()));
        for writer in &mut writers {
            let dice = mixed(seed * 4 + writer.number as u64);
            let boundary = if dice.is_multiple_of(2) { 1 + dice / 2 % BOUNDARIES } else { 0 };
            writer.go(seed, boundary);
        }
        let killed = writers.iter_mut().map(|writer| writer.ended(seed)).filter(|k| *k).count();
        let happened = block_on(run.settle(&store));
        assert!(killed > 0 || happened == WRITERS * STEPS, "run {seed}");
        runs += 1;
        kills += killed;
        sent_again += WRITERS * STEPS - happened;
    }

    for mut writer in writers {
        drop(writer.input);
        assert!(writer.child.wait().unwrap().success());
    }
    block_on(store.close());
    println!("{runs} runs, {kills} writers killed, {sent_again} steps had not happened");
    assert_eq!(runs, 200);
    assert!(kills > 100 && sent_again > 100, "{kills} killed, {sent_again} steps to be written");
}
