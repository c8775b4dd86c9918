//! Sixteen processes fight for one key on each server while its clock jumps by twice a lease; some
//! of their steps stand open, in a transaction of the host's, for longer than the lease.
//! `MNEMON_LOCKS_SECONDS=30` makes a fight last as long; otherwise it ends after a hundred writes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mnemon_conformance::fights::{FIGHTERS, Tally, fight, judge, referee, scope};
use mnemon_core::steps::{Receipt, Step, Steps as _};
use mnemon_core::{Error, Result};
use mnemon_postgres::{Options, PostgresStore};
use mnemon_testkit::{Major, Server};
use sqlx::Connection as _;

const URL: &str = "MNEMON_FIGHT_URL";
const NUMBER: &str = "MNEMON_FIGHT_NUMBER";
const TALLY: &str = "tally: ";

/// Commits a step by itself, or in a transaction that stands open for a while.
async fn land(store: &PostgresStore, url: &str, step: Step, pause: Duration) -> Result<Receipt> {
    if pause.is_zero() {
        return store.commit(&scope(), step).await;
    }
    let mut conn = common::connect(url).await;
    let mut tx = conn.begin().await.unwrap();
    let receipt = store.commit_in(&mut tx, &scope(), step).await?;
    tokio::time::sleep(pause).await;
    tx.commit().await.map_err(|error| Error::backend("committing", error))?;
    Ok(receipt)
}

/// Not a test by itself: fights until its input ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn child_fights() {
    let (Ok(url), Ok(number)) = (std::env::var(URL), std::env::var(NUMBER)) else { return };
    let mut options = Options::new(&url);
    options.pool.max_connections = 1;
    let store = PostgresStore::open(&options).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    std::thread::spawn(move || {
        std::io::stdin().lines().for_each(drop);
        told.store(true, Ordering::SeqCst);
    });
    let land = async |step, pause| land(&store, &url, step, pause).await;
    let tally = fight(&store, number.parse().unwrap(), &stop, land).await;
    println!("\n{TALLY}{tally}");
    mnemon_core::Store::close(&store).await;
}

async fn sixteen_fight(major: Major) {
    if !mnemon_testkit::postgres_wanted() {
        return;
    }
    let server = Server::get(major);
    let db = common::migrated(&server).await;
    let store = PostgresStore::open(&Options::new(db.url())).await.unwrap();
    let mut fighters: Vec<_> = (0..FIGHTERS)
        .map(|number| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child_fights", "--nocapture", "--test-threads=1"])
                .env(URL, db.url())
                .env(NUMBER, number.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::inherit())
                .spawn()
                .unwrap()
        })
        .collect();

    referee(&store, async |by| db.move_clock(by).await).await;

    for fighter in &mut fighters {
        drop(fighter.stdin.take());
    }
    let mut tallies = Vec::new();
    for mut fighter in fighters {
        let said = BufReader::new(fighter.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said: Vec<String> = said.collect();
        let tally = said.iter().find_map(|line| line.strip_prefix(TALLY));
        let tally: Tally = tally.unwrap_or_else(|| panic!("{said:?}")).parse().unwrap();
        assert!(fighter.wait().unwrap().success(), "{said:?}");
        tallies.push(tally);
    }
    judge(&store, &tallies).await;
    mnemon_core::Store::close(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn of_sixteen_processes_with_a_jumping_clock_never_two_holders_write_on_18() {
    sixteen_fight(Major::V18).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn of_sixteen_processes_with_a_jumping_clock_never_two_holders_write_on_16() {
    sixteen_fight(Major::V16).await;
}
