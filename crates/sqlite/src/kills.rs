//! Steps and SIGKILL: a writer process dies at every boundary of a step's statements, and of
//! merged steps of four writers; what is sent again leaves exactly one copy of each effect.

mod runs;

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use mnemon_core::checkpoints::{ChannelValue, CheckpointId, ExpectedHead, Put, Thread};
use mnemon_core::claims::NewClaim;
use mnemon_core::dead_letters::{Burial, DeliveryReceipt};
use mnemon_core::events::{Append, NewEvent};
use mnemon_core::locks::Guard;
use mnemon_core::memories::NewMemory;
use mnemon_core::steps::{Receipt, Step, Write};
use mnemon_core::turns::NewTurn;
use mnemon_core::workflows::SaveRun;
use mnemon_core::{Fence, RequestId, Scope, Store};
use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use serde_json::{Value, json};

use crate::{Location, Options, SqliteStore, Synchronous};

/// Boundaries of statements until this process kills itself; 0 and below: it does not.
static LEFT: AtomicI64 = AtomicI64::new(0);

/// Counts where each statement of a connection begins and ends.
pub(crate) fn watch(conn: &Connection) {
    let codes = TraceEventCodes::SQLITE_TRACE_STMT | TraceEventCodes::SQLITE_TRACE_PROFILE;
    conn.trace_v2(codes, Some(at_boundary));
}

fn at_boundary(_: TraceEvent<'_>) {
    if LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
    }
}

/// What a parent tells its child: the file, and a number (a boundary, or a seed's).
const FILE: &str = "MNEMON_KILLS_FILE";
const NUMBER: &str = "MNEMON_KILLS_NUMBER";

fn child_of(test: &str, file: &Path, number: i64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("kills::{test}"), "--nocapture", "--test-threads=1"]);
    command.env(FILE, file).env(NUMBER, number.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The file and the number, in a child.
fn told() -> Option<(Options, i64)> {
    let file = std::env::var_os(FILE)?;
    let number = std::env::var(NUMBER).unwrap().parse().unwrap();
    Some((options(Path::new(&file)), number))
}

/// A killed process loses nothing of what the system holds, so no flush is needed here.
fn options(file: &Path) -> Options {
    Options { synchronous: Synchronous::Normal, ..Options::new(Location::File(file.into())) }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn scope() -> Scope {
    Scope::tenant("acme").user("ada").agent("planner").session("s1")
}

fn event(stream: &str, n: usize) -> Write {
    let events = vec![NewEvent::new("step.done", json!({ "n": n }))];
    Write::Events(Append { stream: stream.into(), events, expected_version: None })
}

/// The n-th step of a writer: a write of every facet, under a fence.
fn step(writer: usize, n: usize) -> Step {
    let head = |n: usize| CheckpointId(format!("cp-{n:04}"));
    let put = Put {
        id: Some(head(n)),
        expected_head: if n == 0 { ExpectedHead::Empty } else { ExpectedHead::Is(head(n - 1)) },
        ..Put::new(Thread::new(format!("thread {writer}")))
    };
    let put = put.channel("n", ChannelValue::json(&json!(n)));
    let memory = NewMemory {
        allow_duplicate: true,
        ..NewMemory::new(format!("step {n} of writer {writer}"))
    };
    let run = SaveRun {
        expected_version: i64::try_from(n).unwrap(),
        ..SaveRun::new(format!("run {writer}"), "test")
    };
    let item = format!("item {n} of writer {writer}");
    let claim = NewClaim::new(format!("writer {writer}"), format!("step {n}"), "done");
    Step::new(RequestId::parse(format!("step {n} of writer {writer}")).unwrap())
        .guard(Guard { key: "the lock".into(), fence: Fence(1) })
        .write(Write::Remember(Box::new(memory)))
        .write(event("shared", n))
        .write(Write::Turn(Box::new(NewTurn::new(format!("{writer}/{n}"), "done"))))
        .write(Write::Assert(Box::new(claim)))
        .write(Write::Checkpoint(Box::new(put)))
        .write(Write::Workflow(Box::new(run)))
        .write(Write::Bury(Box::new(Burial::new("new", item, Value::Null, "it failed"))))
}

/// The step that also acknowledges what was taken beforehand.
fn first_step() -> Step {
    step(0, 0).write(Write::Ack(DeliveryReceipt {
        queue: "old".into(),
        item_id: "item".into(),
        delivery: 1,
    }))
}

/// A file in which a lock is held and a dead letter is taken.
async fn prepared(file: &Path) {
    let store = SqliteStore::open(options(file)).await.unwrap();
    let day = std::time::Duration::from_hours(24);
    let lease = store.locks().acquire(&scope(), "the lock", "the writer", day).await.unwrap();
    let old = Burial::new("old", "item", Value::Null, "it failed before");
    store.dead_letters().bury(&scope(), old, None).await.unwrap();
    let taken = store.dead_letters().take(&scope(), "old", 1, day).await.unwrap();
    store.close().await;
    // Of connections that close at the same moment none may be the last: the log can stay.
    let conn = Connection::open(file).unwrap();
    conn.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).unwrap();
    assert_eq!((lease.fence, taken[0].receipt.delivery), (Fence(1), 1));
}

/// Rows of every kind that a step leaves, in one look.
fn effects(file: &Path) -> Vec<(&'static str, i64)> {
    const COUNTS: &[(&str, &str)] = &[
        ("receipts", "select count(*) from receipts"),
        ("memories", "select count(*) from memories"),
        ("documents", "select ifnull(sum(documents), 0) from text_corpus"),
        ("events", "select count(*) from events where stream = 'shared'"),
        ("versions", "select ifnull(max(version), 0) from event_streams where stream = 'shared'"),
        ("turns", "select count(*) from turns"),
        ("seqs", "select ifnull(max(seq), 0) from turn_sessions"),
        ("claims", "select count(*) from claims"),
        ("ledger", "select count(*) from claim_ledger"),
        ("ledger seqs", "select ifnull(max(ledger_seq), 0) from claim_agents"),
        ("current claims", "select count(*) from claim_current"),
        ("checkpoints", "select count(*) from checkpoints"),
        ("thread versions", "select ifnull(sum(version), 0) from threads"),
        ("run versions", "select ifnull(sum(version), 0) from workflow_runs"),
        ("dead letters", "select count(*) from dead_letters where queue = 'new'"),
        ("attempts", "select count(*) from dead_letter_attempts where queue = 'new'"),
    ];
    let conn = Connection::open(file).unwrap();
    let tx = conn.unchecked_transaction().unwrap();
    COUNTS
        .iter()
        .map(|(what, count)| (*what, tx.query_row(count, [], |row| row.get(0)).unwrap()))
        .collect()
}

#[track_caller]
fn assert_all(file: &Path, expected: usize, when: &str) {
    for (what, found) in effects(file) {
        assert_eq!(found, i64::try_from(expected).unwrap(), "{what} {when}");
    }
}

fn was_killed(ended: &Output) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    let killed = ended.status.signal() == Some(rustix::process::Signal::KILL.as_raw());
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(killed || ended.status.success(), "{said}");
    killed
}

#[test]
fn a_step_killed_at_any_statement_and_sent_again_happens_once() {
    if let Some((options, boundary)) = told() {
        block_on(async {
            let store = SqliteStore::open(options).await.unwrap();
            LEFT.store(boundary, Ordering::SeqCst);
            store.steps().commit(&scope(), first_step()).await.unwrap();
            LEFT.store(0, Ordering::SeqCst);
            store.close().await;
        });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("template.db");
    block_on(prepared(&template));
    let (mut written, mut lost) = (0, 0);

    for boundary in 1.. {
        let file = folder.path().join(format!("{boundary}.db"));
        std::fs::copy(&template, &file).unwrap();
        let test = "a_step_killed_at_any_statement_and_sent_again_happens_once";
        let ended = child_of(test, &file, boundary).output().unwrap();
        let killed = was_killed(&ended);
        let before = effects(&file);
        let there = before[0].1 == 1;
        assert_all(&file, usize::from(there), &format!("after boundary {boundary}"));

        let receipt = block_on(async {
            let store = SqliteStore::open(options(&file)).await.unwrap();
            let receipt = store.steps().commit(&scope(), first_step()).await.unwrap();
            store.close().await;
            receipt
        });

        assert_eq!((receipt.replayed, receipt.differs), (there, false), "boundary {boundary}");
        assert_all(&file, 1, &format!("after boundary {boundary} and the step sent again"));
        let old = "select count(*) from dead_letters where queue = 'old'";
        let old: i64 =
            Connection::open(&file).unwrap().query_row(old, [], |row| row.get(0)).unwrap();
        assert_eq!(old, 0, "what was taken is acknowledged");
        if !killed {
            break;
        }
        if there {
            written += 1;
        } else {
            lost += 1;
        }
        std::fs::remove_file(&file).unwrap();
    }

    assert!(lost > 50 && written > 0, "killed {lost} times before the commit, {written} after it");
}

const WRITERS: usize = 4;
const STEPS: usize = 12;

/// Commits every step of every writer, each writer's in order.
async fn all_steps(store: &Arc<SqliteStore>) {
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for n in 0..STEPS {
                    let receipt = store.steps().commit(&scope(), step(writer, n)).await.unwrap();
                    assert!(!receipt.differs);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

#[test]
fn four_writers_killed_at_random_and_sent_again_leave_one_copy_of_each_effect() {
    if let Some((options, boundary)) = told() {
        block_on(async {
            let store = Arc::new(SqliteStore::open(options).await.unwrap());
            LEFT.store(boundary, Ordering::SeqCst);
            all_steps(&store).await;
            LEFT.store(0, Ordering::SeqCst);
            store.close().await;
        });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("template.db");
    block_on(prepared(&template));
    let mut killed_within = 0;

    for seed in 0..40_u64 {
        let file = folder.path().join(format!("{seed}.db"));
        std::fs::copy(&template, &file).unwrap();
        let test = "four_writers_killed_at_random_and_sent_again_leave_one_copy_of_each_effect";
        // A full run has some 4,700 boundaries.
        let boundary = i64::try_from(mixed(seed) % 4_700).unwrap() + 1;
        let ended = child_of(test, &file, boundary).output().unwrap();
        was_killed(&ended);
        let done = effects(&file)[0].1;
        killed_within += i32::from((1..48).contains(&done));

        block_on(async {
            let store = Arc::new(SqliteStore::open(options(&file)).await.unwrap());
            all_steps(&store).await;
            store.close().await;
        });

        assert_all(&file, WRITERS * STEPS, &format!("of seed {seed} at {boundary}"));
        std::fs::remove_file(&file).unwrap();
    }

    assert!(killed_within >= 20, "only {killed_within} of 40 runs were killed between steps");
}

/// `SplitMix64`.
fn mixed(seed: u64) -> u64 {
    let z = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn the_same_step_from_two_processes_at_once_is_written_by_one() {
    const ROUNDS: usize = 30;
    if let Some((options, _)) = told() {
        block_on(async {
            let store = SqliteStore::open(options).await.unwrap();
            println!("\nready");
            std::io::stdin().lines().next().unwrap().unwrap();
            for n in 0..ROUNDS {
                let receipt = store.steps().commit(&scope(), step(0, n)).await.unwrap();
                println!("\nreceipt {}", serde_json::to_string(&receipt).unwrap());
            }
            store.close().await;
        });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.db");
    block_on(prepared(&file));
    let test = "the_same_step_from_two_processes_at_once_is_written_by_one";
    let mut children = [0, 1].map(|number| child_of(test, &file, number).spawn().unwrap());

    let mut said = children.each_mut().map(|child| BufReader::new(child.stdout.take().unwrap()));
    for said in &mut said {
        let ready = said.lines().map(Result::unwrap).find(|line| line == "ready");
        assert!(ready.is_some(), "a child opens the file");
    }
    for child in &mut children {
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    let [first, second] = said.map(|said| {
        said.lines()
            .map(Result::unwrap)
            .filter_map(|line| Some(serde_json::from_str(line.strip_prefix("receipt ")?).unwrap()))
            .collect::<Vec<Receipt>>()
    });
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }

    assert_eq!((first.len(), second.len()), (ROUNDS, ROUNDS));
    for (one, other) in first.iter().zip(&second) {
        assert_ne!(one.replayed, other.replayed, "one of them wrote {}", one.step_id);
        let same = Receipt { replayed: other.replayed, ..one.clone() };
        assert_eq!(same, *other, "both have the same receipt");
    }
    assert_all(&file, ROUNDS, "of steps sent by both");
}
