//! The order of the log under forced schedules and under torment, on servers of its own: what
//! holds the horizon would hold it for every other test as well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mnemon::Mnemon;
use mnemon::events::{Append, Event, EventFilter, NewEvent, Told};
use mnemon_core::events::Events as _;
use mnemon_core::migrations::Migrations as _;
use mnemon_core::steps::{Step, Write};
use mnemon_core::{Cursor, RequestId, Scope};
use mnemon_postgres::{Options, PostgresMigrator, PostgresStore};
use mnemon_testkit::{Major, OwnServer, Server, Settings, StopMode, TestDatabase};
use sqlx::{Connection as _, Executor as _, PgConnection};

fn acme() -> Scope {
    Scope::tenant("acme")
}

fn append(stream: &str, count: usize) -> Append {
    let event = |n| NewEvent::new("a.b", serde_json::json!({ "n": n }));
    Append {
        stream: stream.into(),
        events: (0..count).map(event).collect(),
        expected_version: None,
    }
}

fn step(id: String, appends: Vec<Append>) -> Step {
    let step = Step::new(RequestId::parse(id).expect("a name"));
    appends.into_iter().fold(step, |step, append| step.write(Write::Events(append)))
}

struct Own {
    store: Arc<PostgresStore>,
    db: TestDatabase,
    server: OwnServer,
}

async fn own() -> Own {
    let server = tokio::task::spawn_blocking(|| Server::own(Major::V18, &Settings::default()))
        .await
        .expect("a server");
    let db = server.server().database().await;
    let options = Options::new(db.url());
    PostgresMigrator::connect(&options).await.expect("answers").up().await.expect("migrates");
    let store = Arc::new(PostgresStore::open(&options).await.expect("opens"));
    Own { store, db, server }
}

async fn connect(own: &Own) -> PgConnection {
    PgConnection::connect(own.db.url()).await.expect("the server answers")
}

/// One read; what it found, where the next one starts, and whether more is committed.
async fn read(own: &Own, after: Option<&Cursor>) -> (Vec<(String, i64)>, Cursor, bool) {
    let slice = own.store.read_all(&acme(), &EventFilter::default(), after, 100).await;
    let slice = slice.expect("the log is read");
    let found = slice.events.into_iter().map(|event| (event.stream, event.version)).collect();
    (found, slice.next, slice.pending)
}

async fn plain(own: &Own, stream: &str) {
    own.store.append(&acme(), append(stream, 1), None).await.expect("is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn own_server_a_step_that_takes_its_transaction_before_the_head_does_not_invert_a_stream() {
    if !mnemon_testkit::postgres_wanted() {
        return;
    }
    let own = own().await;
    let mut early = connect(&own).await;
    early.execute("begin").await.expect("begins");
    // The smaller transaction id, and the later append.
    early.execute("select pg_current_xact_id()").await.expect("an id");
    plain(&own, "s").await;

    let (before, cursor, pending) = read(&own, None).await;
    assert_eq!((before, pending), (vec![], true), "an older transaction is open");
    own.store
        .commit_in(&mut early, &acme(), step("late".into(), vec![append("s", 1)]))
        .await
        .expect("is written");
    early.execute("commit").await.expect("commits");

    let (found, end, _) = read(&own, Some(&cursor)).await;
    assert_eq!(found, [("s".to_owned(), 1), ("s".to_owned(), 2)], "in the order of versions");
    assert_eq!(read(&own, Some(&end)).await.0, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_server_a_transaction_that_writes_two_streams_loses_none() {
    if !mnemon_testkit::postgres_wanted() {
        return;
    }
    let own = own().await;
    for _ in 0..7 {
        plain(&own, "a").await;
    }
    let mut both = connect(&own).await;
    both.execute("begin").await.expect("begins");
    let appends = vec![append("a", 2), append("b", 2), append("c", 1)];
    own.store.commit_in(&mut both, &acme(), step("both".into(), appends)).await.expect("written");
    both.execute("commit").await.expect("commits");

    // By ones: a cursor stands between every two events, within the transaction too.
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let slice = own.store.read_all(&acme(), &EventFilter::default(), after.as_ref(), 1).await;
        let slice = slice.expect("the log is read");
        after = Some(slice.next);
        found.extend(slice.events.into_iter().map(|event| (event.stream, event.version)));
        if slice.caught_up {
            break;
        }
    }
    found.sort();
    let expected: Vec<(String, i64)> = (1..=9)
        .map(|n| ("a".to_owned(), n))
        .chain([("b".into(), 1), ("b".into(), 2), ("c".into(), 1)])
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_server_a_late_commit_is_never_skipped_and_a_rollback_never_seen() {
    if !mnemon_testkit::postgres_wanted() {
        return;
    }
    let own = own().await;
    let (mut late, mut lost) = (connect(&own).await, connect(&own).await);
    for (conn, id, stream) in [(&mut late, "late", "l"), (&mut lost, "lost", "x")] {
        conn.execute("begin").await.expect("begins");
        own.store
            .commit_in(conn, &acme(), step(id.into(), vec![append(stream, 2)]))
            .await
            .expect("is written");
    }
    plain(&own, "quick").await;

    let (none, cursor, pending) = read(&own, None).await;
    assert_eq!((none, pending), (vec![], true), "what commits late stands before it");
    let age = own.store.horizon().await.expect("a horizon").age;
    assert!(age > Duration::ZERO, "and somebody holds the horizon");
    lost.execute("rollback").await.expect("rolls back");
    late.execute("commit").await.expect("commits");

    let (found, end, pending) = read(&own, Some(&cursor)).await;
    assert_eq!(found, [("l".into(), 1), ("l".into(), 2), ("quick".into(), 1)]);
    assert!(!pending);
    assert_eq!(read(&own, Some(&end)).await.0, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_server_a_subscription_outlives_a_restart() {
    if !mnemon_testkit::postgres_wanted() {
        return;
    }
    let mut own = own().await;
    let db = Mnemon::over(own.store.clone());
    plain(&own, "s").await;
    let mut all = db.events().subscribe(&acme(), EventFilter::default(), None).expect("subscribes");
    let (mut told, mut interrupted, mut resumed) = (Vec::new(), 0, 0);
    while told.is_empty() {
        if let Told::Event(event) = all.next().await.expect("goes on") {
            told.push(event.version);
        }
    }
    let Own { server, .. } = &mut own;
    server.restart(StopMode::Immediate);
    let writer = tokio::spawn({
        let store = own.store.clone();
        async move {
            let mut done = 0;
            while done < 20 {
                let id = mnemon_core::EventId(uuid::Uuid::from_u128(done + 1));
                let mut given = append("s", 1);
                given.events[0].id = Some(id);
                match store.append(&acme(), given, None).await {
                    Ok(_) => done += 1,
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
            }
        }
    });
    while told.len() < 21 {
        let next = tokio::time::timeout(Duration::from_mins(1), all.next()).await;
        match next.expect("in time").expect("goes on") {
            Told::Event(event) => told.push(event.version),
            Told::Interrupted(_) => interrupted += 1,
            Told::Resumed => resumed += 1,
            _ => {}
        }
    }
    writer.await.expect("no panic");
    assert_eq!(told, (1..=21).collect::<Vec<_>>());
    assert_eq!(interrupted, resumed);
}

/// How many events are written; the long form is asked for by the environment.
fn wanted() -> usize {
    let given = std::env::var("MNEMON_TORTURE_EVENTS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(1_500)
}

/// Small numbers that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn own_server_sixteen_writers_that_stall_roll_back_and_die() {
    if !mnemon_testkit::postgres_wanted() {
        return;
    }
    let own = Arc::new(own().await);
    let (written, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..16_u64)
        .map(|n| tokio::spawn(torment(Arc::clone(&own), n, Arc::clone(&written))))
        .collect();
    let killer = tokio::spawn(kill(Arc::clone(&own), Arc::clone(&stop)));
    let db = Mnemon::over(own.store.clone());
    let subscribers: Vec<_> =
        (0..4_u64).map(|n| tokio::spawn(follow(db.clone(), n, Arc::clone(&stop)))).collect();
    for writer in writers {
        writer.await.expect("no panic");
    }
    stop.store(true, Ordering::Release);
    killer.await.expect("no panic");

    let whole = whole(&own).await;
    assert!(whole.len() >= wanted(), "{}", whole.len());
    let mut heads: BTreeMap<&str, i64> = BTreeMap::new();
    for event in &whole {
        let head = heads.entry(&event.stream).or_insert(0);
        assert_eq!(event.version, *head + 1, "of {}", event.stream);
        *head += 1;
    }
    let end = whole.last().expect("something was written").position.clone();
    for subscriber in subscribers {
        let (mut told, mut rest) = subscriber.await.expect("no panic");
        while told.last().is_none_or(|event: &Event| event.position < end) {
            if let Told::Event(event) = rest.next().await.expect("goes on") {
                told.push(*event);
            }
        }
        assert!(told == whole, "nothing skipped, doubled or turned around");
    }
}

async fn whole(own: &Own) -> Vec<Event> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let slice =
            own.store.read_all(&acme(), &EventFilter::default(), after.as_ref(), 1_000).await;
        let slice = slice.expect("the log is read");
        all.extend(slice.events);
        if slice.caught_up && !slice.pending {
            return all;
        }
        after = Some(slice.next);
    }
}

/// Transactions of the host's own: stalled before the head's lock and after it, now and then
/// rolled back; a connection that was killed is replaced.
async fn torment(own: Arc<Own>, seed: u64, written: Arc<AtomicUsize>) {
    let mut dice = Dice(seed * 7 + 1);
    let mut round = 0;
    let mut conn = None;
    while written.load(Ordering::Relaxed) < wanted() {
        round += 1;
        let mut open = match conn.take() {
            Some(open) => open,
            None => match PgConnection::connect(own.db.url()).await {
                Ok(open) => open,
                Err(_) => continue,
            },
        };
        let count = 1 + usize::try_from(dice.below(5)).expect("small");
        let (first, second) = (dice.below(6), dice.below(6));
        let appends = vec![append(&format!("s{first}"), count), append(&format!("s{second}"), 1)];
        let (stall, later, back) = (dice.below(8), dice.below(6), dice.below(6) == 0);
        let id = format!("{seed}-{round}");
        let done = async {
            open.execute("begin").await?;
            open.execute("select pg_current_xact_id()").await?;
            tokio::time::sleep(Duration::from_millis(stall)).await;
            let written = own.store.commit_in(&mut open, &acme(), step(id, appends)).await;
            if written.is_err() {
                return Err(sqlx::Error::WorkerCrashed);
            }
            tokio::time::sleep(Duration::from_millis(later)).await;
            open.execute(if back { "rollback" } else { "commit" }).await?;
            Ok(())
        };
        match done.await {
            Ok(()) if back => conn = Some(open),
            Ok(()) => {
                written.fetch_add(count + 1, Ordering::Relaxed);
                conn = Some(open);
            }
            // Killed: what it wrote is there or not, as the server says.
            Err(_) => drop(open),
        }
    }
}

async fn kill(own: Arc<Own>, stop: Arc<AtomicBool>) {
    let mut conn = connect(&own).await;
    while !stop.load(Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(30)).await;
        // Writers only: they are inside a transaction that wrote.
        let killed = conn
            .execute(
                "select pg_terminate_backend(pid) from pg_stat_activity
                 where backend_xid is not null and pid <> pg_backend_pid()
                   and datname = current_database() order by random() limit 1",
            )
            .await;
        killed.expect("the killer lives");
    }
}

async fn follow(
    db: Mnemon,
    seed: u64,
    stop: Arc<AtomicBool>,
) -> (Vec<Event>, mnemon::events::Subscription) {
    let mut dice = Dice(seed + 99);
    tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
    let subscribe = |from: Option<&Cursor>| {
        db.events().subscribe(&acme(), EventFilter::default(), from).expect("subscribes")
    };
    let (mut told, mut all) = (Vec::new(), subscribe(None));
    while !stop.load(Ordering::Acquire) {
        if dice.below(200) == 0 {
            let place = all.cursor();
            all = subscribe(Some(&place));
        }
        match tokio::time::timeout(Duration::from_millis(200), all.next()).await {
            Ok(Ok(Told::Event(event))) => told.push(*event),
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(error)) => panic!("{error}"),
        }
    }
    (told, all)
}
