//! `mnemon events`: what people and programs read of the log, and that following it outlives a
//! restart of the server.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use common::House;
use mnemon::events::{Append, Import, Imported, NewEvent};
use mnemon::{Mnemon, Scope};
use mnemon_testkit::{Major, Server, Settings, StopMode, postgres_wanted};
use serde_json::json;

const DB: [&str; 2] = ["--db", "sqlite://log.db"];

fn append(stream: &str, events: Vec<NewEvent>) -> Append {
    Append { stream: stream.into(), events, expected_version: None }
}

/// A house with a log of three events.
fn lived_in() -> House {
    let house = House::new();
    let url = format!("sqlite://{}", house.path("log.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let db = Mnemon::builder(url).background_upkeep(false).open().await.unwrap();
        let scope = Scope::local().user("ada").agent("planner");
        let done = NewEvent {
            correlation_id: Some("c-1".into()),
            ..NewEvent::new("job.done", json!({ "success": true, "duration_ms": 1500 }))
        };
        let failed = NewEvent::new("job.failed", json!({ "success": false }));
        db.events().append(&scope, append("job-7", vec![done, failed]), None).await.unwrap();
        let note = NewEvent::new("note", json!("tea at four"));
        db.events().append(&Scope::local(), append("notes", vec![note]), None).await.unwrap();
        db.close().await;
    });
    house
}

fn with_db<'a>(args: &[&'a str]) -> Vec<&'a str> {
    args.iter().copied().chain(DB).collect()
}

#[test]
fn the_log_is_read_by_people() {
    let house = lived_in();

    for (name, args) in [
        ("tail", &["events", "tail", "-q"][..]),
        ("tail_kind", &["events", "tail", "-q", "--kind", "note", "--kind", "job.failed"]),
        ("tail_of_a_user", &["events", "tail", "-q", "--user", "ada", "-n", "1"]),
        ("tail_nothing", &["events", "tail", "-q", "--stream", "nowhere"]),
        ("tail_garbage", &["events", "tail", "--from", "rubbish"]),
        ("stats", &["events", "stats", "job-7"]),
        ("stats_of_the_log", &["events", "stats"]),
    ] {
        insta::assert_snapshot!(name, house.run(&with_db(args)));
    }
}

#[test]
fn a_tail_speaks_json_a_line_each_and_goes_on_where_it_ended() {
    let house = lived_in();
    let first = house.run(&with_db(&["--json", "events", "tail", "-n", "2"])).exits(0);
    let lines: Vec<serde_json::Value> =
        first.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["kind"], "job.failed");

    let from = lines[1]["position"].as_str().unwrap();
    let rest = house.run(&with_db(&["--json", "events", "tail", "--from", from])).exits(0);

    assert_eq!(rest.json()["data"], "tea at four");
    assert!(first.stderr.contains("goes on here"), "{first}");
    let stats = house.run(&with_db(&["--json", "events", "stats", "job-7"])).exits(0).json();
    assert_eq!(stats["average_duration_ms"], 1500.0);
    assert_eq!(house.run(&with_db(&["--json", "events", "stats"])).exits(0).json()["events"], 3);
}

/// A child, ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn own_server_a_followed_log_outlives_a_restart_and_says_so() {
    if !postgres_wanted() {
        return;
    }
    let mut server = tokio::task::spawn_blocking(|| Server::own(Major::V18, &Settings::default()))
        .await
        .unwrap();
    let database = server.server().database().await;
    let db = Mnemon::builder(database.url()).background_upkeep(false).open().await.unwrap();
    let scope = Scope::tenant("acme");
    let one = |n: u32| append("s", vec![NewEvent::new("a.b", json!({ "n": n }))]);
    db.events().append(&scope, one(1), None).await.unwrap();
    let house = House::new();
    let args = ["--json", "events", "tail", "-f", "-n", "3", "--tenant", "acme"];
    let mut command = house.command(&args);
    command.env("MNEMON_URL", database.url());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut child = Running(child);
    let (tell, lines) = mpsc::channel();
    let stdout = BufReader::new(child.0.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
    });
    let next = || {
        let line = lines.recv_timeout(Duration::from_mins(1)).expect("an event in time");
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["version"].as_i64().unwrap()
    };
    assert_eq!(next(), 1);

    server = tokio::task::spawn_blocking(move || {
        server.stop(StopMode::Fast);
        // Long enough for the child to notice.
        std::thread::sleep(Duration::from_secs(3));
        server.start();
        server
    })
    .await
    .unwrap();
    for n in 2..=3 {
        while db.events().append(&scope, one(n), None).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    assert_eq!([next(), next()], [2, 3]);
    let mut said = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("does not answer"), "{said}");
    assert!(said.contains("answers again"), "{said}");
    assert!(child.0.wait().unwrap().success(), "{said}");
    db.close().await;
    drop(database);
    drop(server);
}

#[test]
fn months_leave_the_log_and_come_back() {
    let house = lived_in();
    let url = format!("sqlite://{}", house.path("log.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let db = Mnemon::builder(url).background_upkeep(false).open().await.unwrap();
        let event = |n: i32| Imported {
            event: NewEvent::new("job.done", json!({ "n": n })),
            recorded_at: format!("2020-0{n}-15T10:00:00Z").parse().unwrap(),
        };
        let import = Import { stream: "old".into(), events: vec![event(1), event(2)] };
        db.events().import(&Scope::local(), import).await.unwrap();
        db.close().await;
    });
    let archive = ["events", "archive", "--before", "2020-06", "--to", "kept"];
    let more = |extra: &[&'static str]| [&archive[..], extra].concat();

    for (name, args) in [
        ("archive_dry", more(&["--dry-run"])),
        ("archive_unasked", archive.to_vec()),
        ("archive", more(&["--yes"])),
        ("archive_again", more(&["--yes"])),
        ("archive_gone", vec!["events", "stats", "old"]),
        ("search_off", vec!["events", "search", "tea"]),
        (
            "put_back",
            vec![
                "events",
                "put-back",
                "-q",
                "kept/events-2020-01.jsonl.zst",
                "kept/events-2020-02.jsonl.zst",
            ],
        ),
        ("archive_back", vec!["events", "tail", "-q", "--stream", "old"]),
        ("put_back_nothing", vec!["events", "put-back", "kept/none"]),
    ] {
        insta::assert_snapshot!(name, house.run(&with_db(&args)));
    }
}

#[test]
fn events_are_searched_where_that_is_on() {
    let house = lived_in();
    house.file("mnemon.toml", "[events]\nsearch = true\n");
    house.run(&with_db(&["upkeep", "--once", "--only", "event-search"])).exits(0);

    insta::assert_snapshot!("search", house.run(&with_db(&["events", "search", "tea"])));
}
