//! Processes that fight for one key, with pauses longer than its lease and a clock that jumps: of
//! two holders never both write. For the stores' own tests, which start the processes and move
//! the clock.
//!
//! Whoever holds the key notes where the thread stands *after* it got the key, and writes that
//! with its fence. A write of an older holder that lands later than that note is one too many.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mnemon_core::checkpoints::{Put, Thread};
use mnemon_core::events::{Append, NewEvent};
use mnemon_core::locks::Guard;
use mnemon_core::steps::{Receipt, Step, Write};
use mnemon_core::{Error, Page, RequestId, Result, Scope, Store};
use serde_json::{Value, json};

use crate::check::Dice;

/// Processes of a fight.
pub const FIGHTERS: u64 = 16;
/// How long a lease lasts.
pub const TTL: Duration = Duration::from_millis(200);
/// What a fight without a time of its own goes on to.
const WRITES: i64 = 100;
/// Seconds that a fight lasts, as the long form.
pub const SECONDS: &str = "MNEMON_LOCKS_SECONDS";

const KEY: &str = "the key";
const STREAM: &str = "fight";

/// Who fights.
pub fn scope() -> Scope {
    Scope::tenant("arena").user("ada").agent("fighter")
}

/// What a fighter met, on one line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Leases it got.
    pub held: u64,
    /// Writes that landed.
    pub landed: u64,
    /// Writes that were refused, as somebody newer had come.
    pub fenced: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.held, self.landed, self.fenced)
    }
}

impl FromStr for Tally {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let mut numbers = text.split(' ').map(str::parse);
        let mut next = || numbers.next().unwrap_or(Ok(0));
        Ok(Self { held: next()?, landed: next()?, fenced: next()? })
    }
}

/// Some time between none and twice a lease.
fn pause(dice: &mut Dice) -> Duration {
    match dice.below(3) {
        0 => Duration::ZERO,
        _ => TTL.mul_f64(f64::from(u32::try_from(dice.below(200)).expect("small")) / 100.0),
    }
}

/// Fights until told to stop. `land` commits a step, with a pause inside where it can.
///
/// # Panics
/// When the store answers anything but what a fight may bring.
pub async fn fight(
    store: &dyn Store,
    number: u64,
    stop: &AtomicBool,
    land: impl AsyncFn(Step, Duration) -> Result<Receipt>,
) -> Tally {
    let (mut dice, mut tally) = (Dice::seeded(number), Tally::default());
    let holder = format!("fighter {number}");
    while !stop.load(Ordering::SeqCst) {
        let lease = match store.locks().acquire(&scope(), KEY, &holder, TTL).await {
            Ok(lease) => lease,
            Err(Error::Held { .. }) => {
                tokio::time::sleep(TTL / 20 + pause(&mut dice) / 8).await;
                continue;
            }
            Err(error) if error.is_retryable() => continue,
            Err(error) => panic!("{holder}: {error:?}"),
        };
        tally.held += 1;
        let seen = version(store).await;
        for n in 0..=dice.below(4) {
            tokio::time::sleep(pause(&mut dice)).await;
            let data = json!({ "holder": holder, "fence": lease.fence, "seen": seen });
            let write = step(&format!("{holder} {} {n}", tally.held), data, lease.guard());
            match sent(&land, write, pause(&mut dice)).await {
                Ok(_) => tally.landed += 1,
                Err(Error::Fenced { .. }) => {
                    tally.fenced += 1;
                    break;
                }
                Err(error) => panic!("{holder}: {error:?}"),
            }
        }
        if dice.below(3) == 0 {
            match store.locks().release(&scope(), &lease.guard()).await {
                Ok(()) | Err(Error::Fenced { .. }) => {}
                Err(error) => panic!("{holder}: {error:?}"),
            }
        }
    }
    tally
}

/// Sends a step until its outcome is known.
async fn sent(
    land: &impl AsyncFn(Step, Duration) -> Result<Receipt>,
    step: Step,
    pause: Duration,
) -> Result<Receipt> {
    loop {
        match land(step.clone(), pause).await {
            Err(error) if error.is_retryable() => {}
            outcome => return outcome,
        }
    }
}

fn step(id: &str, data: Value, guard: Guard) -> Step {
    let events = vec![NewEvent::new("fight.write", data)];
    Step::new(RequestId::parse(id).expect("a name"))
        .guard(guard)
        .write(Write::Events(Append { stream: STREAM.into(), events, expected_version: None }))
        .write(Write::Checkpoint(Box::new(Put::new(Thread::new(STREAM)))))
}

/// Writes that have landed.
async fn version(store: &dyn Store) -> i64 {
    match store.checkpoints().get(&scope(), &Thread::new(STREAM), None).await {
        Ok(newest) => newest.version,
        Err(Error::NotFound { .. }) => 0,
        Err(error) => panic!("{error:?}"),
    }
}

/// Moves the clock by twice a lease, forwards and backwards, while the fighters fight: for the
/// seconds that the variable [`SECONDS`] says, or until a hundred writes have landed.
///
/// # Panics
/// When the variable holds no number.
pub async fn referee(store: &dyn Store, move_clock: impl AsyncFn(chrono::TimeDelta)) {
    let seconds = std::env::var(SECONDS).ok().map(|text| text.parse().expect("seconds"));
    let until = seconds.map(|seconds| tokio::time::Instant::now() + Duration::from_secs(seconds));
    let by = chrono::TimeDelta::from_std(TTL * 2).expect("a short time");
    let mut dice = Dice::seeded(7);
    loop {
        let on = match until {
            Some(until) => tokio::time::Instant::now() < until,
            None => version(store).await < WRITES,
        };
        if !on {
            return;
        }
        move_clock(if dice.below(2) == 0 { by } else { -by }).await;
        tokio::time::sleep(TTL / 2).await;
    }
}

/// Checks a fight that is over, and what the fighters say of it.
///
/// # Panics
/// When two holders' writes both landed, or a write is missing or doubled.
pub async fn judge(store: &dyn Store, tallies: &[Tally]) {
    let (mut page, mut events) = (Page::first(500), Vec::new());
    loop {
        let piece = store.events().read(&scope(), STREAM, &page).await.expect("is read");
        events.extend(piece.items);
        let Some(next) = piece.next else { break };
        page.cursor = Some(next);
    }
    let mut holders: BTreeMap<i64, Value> = BTreeMap::new();
    let (mut newest, mut last_of_older, mut version) = (0, 0, 0);
    for event in &events {
        let fence = event.data["fence"].as_i64().expect("a fence");
        let seen = event.data["seen"].as_i64().expect("a version");
        assert!(fence >= newest, "an older holder wrote after a newer one: {event:?}");
        if fence > newest {
            (newest, last_of_older) = (fence, version);
        }
        assert!(
            last_of_older <= seen,
            "an older holder wrote at {last_of_older}, after this one had the key: {event:?}"
        );
        let holder = holders.entry(fence).or_insert_with(|| event.data["holder"].clone());
        assert_eq!(*holder, event.data["holder"], "a fence has one holder");
        assert_eq!(event.version, version + 1);
        version = event.version;
    }
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let (held, landed, fenced) = (sum(|t| t.held), sum(|t| t.landed), sum(|t| t.fenced));
    println!("{held} leases, {landed} writes landed, {fenced} were refused");
    assert_eq!(landed, events.len() as u64, "what was acknowledged stands, once");
    let fighters =
        holders.values().map(Value::to_string).collect::<std::collections::BTreeSet<_>>();
    assert!(fighters.len() > 1 && fenced > 0, "there was no fight: {holders:?}");
}
