//! Sixteen processes on one file fight for one key while its clock jumps by twice a lease.
//! `MNEMON_LOCKS_SECONDS=30` makes the fight last as long; otherwise it ends after a hundred writes.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use chrono::{TimeDelta, Utc};
use common::{Place, child};
use mnemon_conformance::fights::{FIGHTERS, Tally, fight, judge, referee, scope};
use mnemon_core::Store;
use mnemon_sqlite::{Clock, Location, Options, SqliteStore};

const FILE: &str = "MNEMON_FIGHT_FILE";
const CLOCK: &str = "MNEMON_FIGHT_CLOCK";
const NUMBER: &str = "MNEMON_FIGHT_NUMBER";
const TALLY: &str = "tally: ";

/// A clock that is ahead by the microseconds in a file, for every process that reads it.
fn clock(file: PathBuf) -> Clock {
    let file = File::open(file).unwrap();
    Clock::from_fn(move || {
        let mut ahead = [0; 8];
        file.read_exact_at(&mut ahead, 0).unwrap();
        Utc::now() + TimeDelta::microseconds(i64::from_le_bytes(ahead))
    })
}

/// Not a test by itself: fights until its input ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn child_fights() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let number = std::env::var(NUMBER).unwrap().parse().unwrap();
    let clock = clock(std::env::var_os(CLOCK).unwrap().into());
    let options = Options { clock, ..Options::new(Location::File(file.into())) };
    let store = SqliteStore::open(options).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    std::thread::spawn(move || {
        std::io::stdin().lines().for_each(drop);
        told.store(true, Ordering::SeqCst);
    });
    let land = async |step, _| store.steps().commit(&scope(), step).await;
    let tally = fight(&store, number, &stop, land).await;
    println!("\n{TALLY}{tally}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn of_sixteen_processes_with_a_jumping_clock_never_two_holders_write() {
    let place = Place::new();
    let ahead = place.folder.path().join("clock");
    std::fs::write(&ahead, 0_i64.to_le_bytes()).unwrap();
    let options = Options { clock: clock(ahead.clone()), ..place.options() };
    let store = SqliteStore::open(options).await.unwrap();
    let mut fighters: Vec<_> = (0..FIGHTERS)
        .map(|number| {
            let mut command = child("child_fights");
            command.env(FILE, place.path()).env(CLOCK, &ahead).env(NUMBER, number.to_string());
            command.stdin(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();

    let (moved, file) = (AtomicI64::new(0), File::options().write(true).open(&ahead).unwrap());
    let move_clock = async |by: TimeDelta| {
        let by = by.num_microseconds().unwrap();
        let now = moved.fetch_add(by, Ordering::SeqCst) + by;
        file.write_all_at(&now.to_le_bytes(), 0).unwrap();
    };
    referee(&store, move_clock).await;

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
    store.close().await;
}
