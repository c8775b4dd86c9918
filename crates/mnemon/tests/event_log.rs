//! The event log as an application runs it: many subscribers, a consumer that is killed, and
//! retention by upkeep.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use mnemon::events::{Append, ConsumerOptions, EventFilter, Import, Imported, Month, NewEvent};
use mnemon::{Config, Mnemon, Outcome, Page, Scope, Task, UpkeepOptions};
use serde_json::json;

/// The database of a child process.
const URL: &str = "MNEMON_TEST_CONSUMED_URL";
const STREAMS: usize = 8;
const EACH: i64 = 40;

fn acme() -> Scope {
    Scope::tenant("acme")
}

async fn open(url: &str) -> Mnemon {
    Mnemon::builder(url).background_upkeep(false).open().await.unwrap()
}

fn options() -> ConsumerOptions {
    ConsumerOptions { lease: Duration::from_secs(1), ..ConsumerOptions::default() }
}

/// Handles events until it is killed, and says each before it is committed.
#[tokio::test(flavor = "multi_thread")]
async fn child_consumes() {
    let Ok(url) = std::env::var(URL) else { return };
    let db = open(&url).await;
    let mut consumer = db.consumer(&acme(), "mailer", options()).unwrap();
    loop {
        let handed = consumer.next().await.unwrap();
        println!("handled {} {}", handed.event.stream, handed.event.version);
        std::io::stdout().flush().unwrap();
        consumer.commit(&handed).await.unwrap();
    }
}

fn child(url: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_consumes", "--nocapture"])
        .env(URL, url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The newest version of each stream that the child handled before SIGKILL.
fn handled_until_killed(mut child: Child, enough: usize) -> BTreeMap<String, i64> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut heads, mut handled) = (BTreeMap::new(), 0);
    for line in lines.map_while(Result::ok) {
        // The harness's own words may stand before ours on a line.
        let Some((_, said)) = line.split_once("handled ") else { continue };
        let (stream, version) = said.split_once(' ').unwrap();
        let version: i64 = version.parse().unwrap();
        let head = heads.entry(stream.to_owned()).or_insert(0);
        assert_eq!(version, *head + 1, "of {stream}");
        *head = version;
        handled += 1;
        if handled == enough {
            // std's kill is SIGKILL.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    heads
}

async fn a_killed_consumer(url: &str) {
    let db = open(url).await;
    let appends = (0..STREAMS).map(|n| Append {
        stream: format!("s{n}"),
        events: (0..EACH).map(|n| NewEvent::new("a.b", json!({ "n": n }))).collect(),
        expected_version: None,
    });
    let done = db.events().append_many(&acme(), appends.collect()).await.unwrap();
    assert!(done.iter().all(Result::is_ok));
    let url = url.to_owned();
    let killed =
        tokio::task::spawn_blocking(move || handled_until_killed(child(&url), 25)).await.unwrap();

    let mut consumer = db.consumer(&acme(), "mailer", options()).unwrap();
    let mut heads: BTreeMap<String, i64> = BTreeMap::new();
    while heads.len() < STREAMS || heads.values().any(|version| *version < EACH) {
        let next = tokio::time::timeout(Duration::from_mins(1), consumer.next());
        let handed = next.await.expect("something is handed out in time").unwrap();
        let (stream, version) = (handed.event.stream.clone(), handed.event.version);
        if let Some(last) = heads.get(&stream) {
            assert_eq!(version, last + 1, "of {stream}");
        } else {
            // The last one that was handled may not have been committed: it comes again.
            let last = killed.get(&stream).copied().unwrap_or(0);
            assert!(
                (last.max(1)..=last + 1).contains(&version),
                "{stream}: {version} after {last}"
            );
        }
        heads.insert(stream, version);
        consumer.commit(&handed).await.unwrap();
    }
    consumer.leave().await.unwrap();
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_member_goes_on_where_a_killed_consumer_had_committed() {
    let folder = tempfile::tempdir().unwrap();
    a_killed_consumer(&format!("sqlite://{}", folder.path().join("log.db").display())).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn another_member_goes_on_where_a_killed_consumer_had_committed_on_postgres() {
    use mnemon_testkit::{Major, Server, postgres_wanted};
    if !postgres_wanted() {
        return;
    }
    for major in Major::ALL {
        let database = Server::get(major).database().await;
        a_killed_consumer(database.url()).await;
    }
}

/// Events of the last months, the oldest first, and of today.
async fn kept_for_months(url: &str, settings: &[(&str, &str)]) -> Mnemon {
    let mut config = Config::default();
    config.set("store.url", url).unwrap();
    config.set("upkeep.enabled", "false").unwrap();
    for (name, value) in settings {
        config.set(name, value).unwrap();
    }
    let db = Mnemon::from_config(config).await.unwrap();
    let middle = |months| Month::of(Utc::now()).back(months).start() + TimeDelta::days(14);
    let imported = |months| Imported {
        event: NewEvent::new("a.b", json!({ "months": months })),
        recorded_at: middle(months),
    };
    let import = Import { stream: "s".into(), events: [4, 3, 2, 1].map(imported).into() };
    db.events().import(&acme(), import).await.unwrap();
    let event = vec![NewEvent::new("a.b", json!({}))];
    let append = Append { stream: "s".into(), events: event, expected_version: None };
    db.events().append(&acme(), append, None).await.unwrap();
    db
}

async fn retention(url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("archive").display().to_string();
    let only = UpkeepOptions { only: vec![Task::EventRetention], force: true };
    // Without a folder nothing is removed.
    let db = kept_for_months(url, &[("events.keep_months", "2")]).await;
    assert_eq!(db.upkeep(&only).await.unwrap().tasks[0].outcome, Outcome::Left);
    db.close().await;
    let mut config = Config::default();
    for (name, value) in [
        ("store.url", url),
        ("upkeep.enabled", "false"),
        ("events.keep_months", "2"),
        ("events.archive_to", to.as_str()),
    ] {
        config.set(name, value).unwrap();
    }
    let db = Mnemon::from_config(config).await.unwrap();

    let report = db.upkeep(&only).await.unwrap();

    assert_eq!((report.tasks[0].outcome, report.tasks[0].rows), (Outcome::Done, 2));
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 2);
    let found = db.events().read(&acme(), "s", &Page::first(9)).await.unwrap().items;
    assert_eq!(found.iter().map(|event| event.version).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(db.events().count(&acme(), &EventFilter::default()).await.unwrap(), 3);
    assert_eq!(db.upkeep(&only).await.unwrap().tasks[0].rows, 0);
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_archives_months_that_are_older_than_the_log_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    retention(&format!("sqlite://{}", folder.path().join("log.db").display())).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn upkeep_archives_months_that_are_older_than_the_log_is_kept_on_postgres() {
    use mnemon_testkit::{Major, Server, postgres_wanted};
    if !postgres_wanted() {
        return;
    }
    for major in Major::ALL {
        let database = Server::get(major).database().await;
        retention(database.url()).await;
    }
}

/// How many connections of the database listen.
#[cfg(feature = "postgres")]
async fn listeners(conn: &mut sqlx::PgConnection) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity
         where datname = current_database() and query ilike 'listen %'",
    )
    .fetch_one(conn)
    .await
    .unwrap()
}

/// Subscribers of many tenants share one connection that listens, and one look at the log, which
/// finds what no hint told of.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn subscribers_of_a_process_share_one_listener_and_hear_what_nobody_announced() {
    use mnemon::events::Told;
    use mnemon::{RequestId, Step, Write};
    use mnemon_testkit::{Major, Server, postgres_wanted};
    use sqlx::Connection as _;
    if !postgres_wanted() {
        return;
    }
    for major in Major::ALL {
        let database = Server::get(major).database().await;
        let db = open(database.url()).await;
        let mut conn = sqlx::PgConnection::connect(database.url()).await.unwrap();
        let tenant = |n: usize| Scope::tenant(format!("tenant-{n}"));
        let mut subscriptions = Vec::new();
        for n in 0..100 {
            let all = EventFilter::default();
            let mut subscription = db.events().subscribe(&tenant(n), all, None).unwrap();
            assert!(matches!(subscription.next().await.unwrap(), Told::CaughtUp));
            subscriptions.push(subscription);
        }
        while listeners(&mut conn).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        // A transaction of the host's own announces nothing.
        for n in [7, 93] {
            let events = vec![NewEvent::new("a.b", json!({ "n": n }))];
            let append = Append { stream: "s".into(), events, expected_version: None };
            let step = Step::new(RequestId::parse("one").unwrap()).write(Write::Events(append));
            let mut tx = conn.begin().await.unwrap();
            db.commit_in(&mut tx, &tenant(n), step).await.unwrap();
            tx.commit().await.unwrap();

            let told = tokio::time::timeout(Duration::from_mins(1), subscriptions[n].next()).await;
            let Told::Event(event) = told.unwrap().unwrap() else { panic!("an event") };
            assert_eq!(event.data, json!({ "n": n }));
        }

        assert_eq!(listeners(&mut conn).await, 1);
        db.close().await;
    }
}
