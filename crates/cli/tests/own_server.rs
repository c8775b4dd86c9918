//! Drills on servers of their own: a backup brought back to a point in time, and a standby that
//! takes over. What the guide on backups tells people to do is done here, by the same commands.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::House;
use mnemon::checkpoints::{Put, Thread};
use mnemon::dead_letters::Burial;
use mnemon::events::{Append, EventFilter, NewEvent, Told};
use mnemon::locks::Lease;
use mnemon::{Cursor, Error, Mnemon, NewMemory, Scope};
use mnemon_testkit::{Begin, Major, OwnServer, Server, Settings, TestDatabase, postgres_wanted};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

const HOUR: Duration = Duration::from_hours(1);

fn scope() -> Scope {
    Scope::tenant("acme").agent("iris")
}

async fn open(url: &str) -> Mnemon {
    Mnemon::builder(url).background_upkeep(false).open().await.unwrap()
}

async fn append(db: &Mnemon, kind: &str) -> i64 {
    let append = Append {
        stream: "log".into(),
        events: vec![NewEvent::new(kind, json!({}))],
        expected_version: None,
    };
    db.events().append(&scope(), append, None).await.unwrap().versions[0]
}

/// What stands after a cursor, and the cursor behind it.
async fn read(db: &Mnemon, after: Option<&Cursor>) -> mnemon::Result<(Vec<String>, Cursor)> {
    let slice = db.events().read_all(&scope(), &EventFilter::default(), after, 100).await?;
    let kinds = slice.events.into_iter().map(|event| event.kind);
    Ok((kinds.filter(|kind| kind.starts_with("log.")).collect(), slice.next))
}

async fn write_under(db: &Mnemon, lease: &Lease) -> mnemon::Result<()> {
    let put = Put::new(Thread::new("thread"));
    db.checkpoints().put(&scope(), put, Some(&lease.guard())).await.map(drop)
}

async fn recalls(db: &Mnemon, word: &str) -> bool {
    !db.memories().fts_search(&scope(), word, 5).await.unwrap().is_empty()
}

async fn text(url: &str, sql: &'static str) -> String {
    let mut conn = PgConnection::connect(url).await.unwrap();
    let value: String = sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    value
}

/// Asks until the answer is the one waited for; the runner's time limit ends a wait in vain.
async fn until(url: &str, sql: &'static str, wanted: &str) {
    while text(url, sql).await != wanted {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The URL of the same database on another server.
fn moved(url: &str, to: &OwnServer) -> String {
    let database = url.rsplit('/').next().unwrap();
    format!("postgres://postgres@{}/{database}", to.server().address())
}

async fn server(major: Major, settings: Settings) -> OwnServer {
    tokio::task::spawn_blocking(move || Server::own(major, &settings)).await.unwrap()
}

/// What was there at the moment that the drill goes back to, and what was there a little later.
struct Before {
    moment: String,
    seen: Cursor,
    held: Lease,
    lost: Lease,
    ahead: Cursor,
}

/// Lives a little, takes a backup in the middle, and remembers a moment after it.
async fn live(db: &Mnemon, url: &str, server: &OwnServer) -> (mnemon_testkit::BaseBackup, Before) {
    db.memories().remember(&scope(), NewMemory::new("The apple is in the backup")).await.unwrap();
    let failed = Burial::new("mail", "m-1", json!("hello"), "mailbox full");
    db.dead_letters().bury(&scope(), failed, None).await.unwrap();
    let held = db.locks().acquire(&scope(), "thread", "worker-1", HOUR).await.unwrap();
    write_under(db, &held).await.unwrap();
    append(db, "log.backed_up").await;
    let (_, seen) = read(db, None).await.unwrap();

    let backup = tokio::task::block_in_place(|| server.base_backup());
    append(db, "log.replayed").await;
    db.memories().remember(&scope(), NewMemory::new("The banana is in the log")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let moment = text(url, "select clock_timestamp()::text").await;
    tokio::time::sleep(Duration::from_millis(20)).await;

    // All of this will not have been.
    append(db, "log.lost").await;
    db.memories().remember(&scope(), NewMemory::new("The cherry is lost")).await.unwrap();
    db.locks().release(&scope(), &held.guard()).await.unwrap();
    let lost = db.locks().acquire(&scope(), "thread", "worker-2", HOUR).await.unwrap();
    let (_, ahead) = read(db, Some(&seen)).await.unwrap();
    (backup, Before { moment, seen, held, lost, ahead })
}

/// Waits until everything written so far is in the archive.
async fn archived(url: &str) {
    let switch = "select pg_walfile_name(pg_switch_wal())::text";
    let last = text(url, switch).await;
    let newest = "select coalesce(last_archived_wal, '') from pg_stat_archiver";
    while text(url, newest).await < last {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn a_backup_goes_back_to_a_moment(major: Major) {
    if !postgres_wanted() {
        return;
    }
    let first = server(major, Settings::archiving()).await;
    let database = first.server().database().await;
    let url = database.url().to_owned();
    let db = open(&url).await;
    let (backup, before) = live(&db, &url, &first).await;
    archived(&url).await;
    db.close().await;
    first.kill_9();

    let settings = Settings::default()
        .with("archive_mode", "off")
        .with("restore_command", &format!("cp {}/%f %p", first.archive().display()))
        .with("recovery_target_time", &before.moment)
        .with("recovery_target_action", "promote");
    let second = tokio::task::spawn_blocking(move || backup.start(Begin::Recovery, &settings))
        .await
        .unwrap();
    let url = moved(&url, &second);
    until(&url, "select pg_is_in_recovery()::text", "false").await;

    // A reader that saw what is gone is stopped before it can miss anything.
    let db = open(&url).await;
    append(&db, "log.too_early").await;
    let refused = read(&db, Some(&before.ahead)).await.unwrap_err();
    assert!(refused.to_string().contains("mnemon doctor --restored"), "{refused}");
    db.close().await;

    let house = House::new();
    let restored = house.run_with(&["doctor", "--restored"], &[("MNEMON_URL", &url)], "").exits(0);
    assert!(restored.stderr.contains("epoch 2 begins; every lease is over"), "{restored}");

    let db = open(&url).await;
    assert!(recalls(&db, "apple").await && recalls(&db, "banana").await);
    assert!(!recalls(&db, "cherry").await, "what came after the moment is gone");
    assert_eq!(db.dead_letters().stats(&scope(), None).await.unwrap().total, 1);
    // Fences: neither the holder of before nor one that the log does not know of may write.
    for lease in [&before.held, &before.lost] {
        let refused = write_under(&db, lease).await.unwrap_err();
        assert!(matches!(refused, Error::Fenced { .. }), "{refused}");
    }
    let next = db.locks().acquire(&scope(), "thread", "worker-3", HOUR).await.unwrap();
    assert!(next.fence > before.lost.fence, "{next:?}");
    write_under(&db, &next).await.unwrap();
    // Cursors: what is new is read from each of them, after what was replayed.
    append(&db, "log.after").await;
    let (kinds, _) = read(&db, Some(&before.seen)).await.unwrap();
    assert_eq!(kinds, ["log.replayed", "log.too_early", "log.after"]);
    let (kinds, _) = read(&db, Some(&before.ahead)).await.unwrap();
    assert_eq!(kinds.last().unwrap(), "log.after");
    assert_eq!(append(&db, "log.after").await, 5, "versions go on without a gap");
    db.close().await;
    let well = house.run_with(&["--json", "doctor"], &[("MNEMON_URL", &url)], "").exits(0).json();
    assert_eq!(well["ok"], true, "{well}");
    forget(database);
}

/// Its server was killed on purpose: there is nothing to drop it on.
fn forget(database: TestDatabase) {
    std::mem::forget(database);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_server_a_backup_goes_back_to_a_moment_on_postgres18() {
    a_backup_goes_back_to_a_moment(Major::V18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_server_a_backup_goes_back_to_a_moment_on_postgres16() {
    a_backup_goes_back_to_a_moment(Major::V16).await;
}

/// A standby in step with its primary takes over while somebody subscribes and somebody writes.
#[tokio::test(flavor = "multi_thread")]
async fn own_server_a_standby_takes_over_and_no_event_is_lost_on_postgres18() {
    if !postgres_wanted() {
        return;
    }
    let first = server(Major::V18, Settings::default()).await;
    let database = first.server().database().await;
    let one_host = database.url().to_owned();
    open(&one_host).await.close().await;
    let (host, port) = {
        let address = first.server().address();
        let (host, port) = address.rsplit_once(':').unwrap();
        (host.to_owned(), port.to_owned())
    };
    let settings = Settings::default().with(
        "primary_conninfo",
        &format!("host={host} port={port} user=postgres application_name=second"),
    );
    let backup = tokio::task::block_in_place(|| first.base_backup());
    let second =
        tokio::task::spawn_blocking(move || backup.start(Begin::Standby, &settings)).await.unwrap();
    let standby = moved(&one_host, &second);
    // Acknowledged means: on both.
    let mut admin = PgConnection::connect(&one_host).await.unwrap();
    for statement in
        ["alter system set synchronous_standby_names = 'second'", "select pg_reload_conf()"]
    {
        sqlx::query(statement).execute(&mut admin).await.unwrap();
    }
    admin.close().await.unwrap();
    until(&one_host, "select coalesce(max(sync_state), '') from pg_stat_replication", "sync").await;

    let name = one_host.rsplit('/').next().unwrap();
    let both = format!(
        "postgres://postgres@{},{}/{name}?target_session_attrs=read-write",
        first.server().address(),
        second.server().address()
    );
    let db = open(&both).await;
    let held = db.locks().acquire(&scope(), "thread", "worker-1", HOUR).await.unwrap();
    let mut told = db.events().subscribe(&scope(), EventFilter::default(), None).unwrap();
    for _ in 0..3 {
        append(&db, "log.before").await;
    }

    first.kill_9();
    assert_eq!(text(&standby, "select pg_promote()::text").await, "true");
    let mut after = 0;
    while after < 3 {
        let append = Append {
            stream: "log".into(),
            events: vec![NewEvent::new("log.after", json!({}))],
            expected_version: None,
        };
        match db.events().append(&scope(), append, None).await {
            Ok(_) => after += 1,
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    }

    let mut versions = Vec::new();
    while versions.last() != Some(&6) {
        if let Told::Event(event) = told.next().await.unwrap() {
            versions.push(event.version);
        }
    }
    assert_eq!(versions, [1, 2, 3, 4, 5, 6], "every event once, in order");
    // The lease outlived its server, for it is a row.
    write_under(&db, &held).await.unwrap();
    db.close().await;
    forget(database);
}
