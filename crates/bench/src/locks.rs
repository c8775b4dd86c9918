//! Acquiring and releasing a lock, beside two updates of one row of the same table by prepared
//! statements, with the same durability. Each writer has a connection and a key of its own; both
//! sides alternate on one database, and the best of the rounds counts.

mod raw;

use std::time::{Duration, Instant};

use clap::Args;
use mnemon::{Mnemon, Scope};

use self::raw::Raw;
use crate::report::{Bar, Report, percentile};
use crate::target::{On, Target};

/// How much of the raw pair's rate acquire and release must reach.
const OF_RAW: f64 = 0.5;
/// Measurements of each side.
const ROUNDS: usize = 3;
/// Writers at once.
const WRITERS: [usize; 2] = [1, 8];
/// How long a lease lasts: longer than a round.
const TTL: Duration = Duration::from_hours(1);

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Databases to run on; all of them when none is named.
    #[arg(long, value_enum)]
    on: Vec<On>,
    /// Seconds of each measurement; every figure has three.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

type Failed = Box<dyn std::error::Error>;

/// Runs the bench on every database asked for.
pub(crate) async fn run(options: &Options) -> Result<Report, Failed> {
    let time = Duration::try_from_secs_f64(options.seconds)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or("--seconds is a number above 0")?;
    let mut report = Report {
        bench: "locks",
        columns: vec!["database", "writers", "pairs/s", "median", "raw pairs/s", "median", "ratio"],
        rows: Vec::new(),
        bars: Vec::new(),
        notes: vec![format!(
            "a pair is acquire + release, beside two updates of one row; best of {ROUNDS} rounds \
             of {} s",
            options.seconds
        )],
    };
    let on = if options.on.is_empty() { On::ALL.to_vec() } else { options.on.clone() };
    for on in on {
        one(on, time, &mut report).await?;
    }
    Ok(report)
}

/// One database: every number of writers, both sides in turn.
async fn one(on: On, time: Duration, report: &mut Report) -> Result<(), Failed> {
    let target = Target::open(on).await?;
    let scope = scope();
    for writer in 0..WRITERS[WRITERS.len() - 1] {
        // The rows that both sides update are there.
        for side in ["mnemon", "raw"] {
            let lease = target.db.locks().acquire(&scope, &key(side, writer), HOLDER, TTL).await?;
            target.db.locks().release(&scope, &lease.guard()).await?;
        }
    }
    let raw = Raw::open(&target)?;
    for writers in WRITERS {
        eprintln!("{}: {writers} writers", target.name);
        let (mut ours, mut limit) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(mnemon(&target.db, writers, time).await?);
            limit.push(raw.run(writers, time).await?);
        }
        let best = |rates: &[f64]| percentile(rates, 1.0);
        let ratio = best(&ours) / best(&limit);
        report.rows.push(vec![
            target.name.to_owned(),
            writers.to_string(),
            format!("{:.0}", best(&ours)),
            format!("{:.0}", percentile(&ours, 0.5)),
            format!("{:.0}", best(&limit)),
            format!("{:.0}", percentile(&limit, 0.5)),
            format!("{ratio:.2}"),
        ]);
        let name = format!("{} {writers} writers, of raw", target.name);
        report.bars.push(Bar::at_least(name, ratio, OF_RAW));
    }
    target.db.close().await;
    Ok(())
}

const TENANT: &str = "bench";
const HOLDER: &str = "worker";

fn scope() -> Scope {
    Scope::tenant(TENANT).user("ada").agent("planner")
}

/// The key of a writer, on one of the sides.
fn key(side: &str, writer: usize) -> String {
    format!("{side} {writer}")
}

/// Pairs a second of `writers` through Mnemon.
async fn mnemon(db: &Mnemon, writers: usize, time: Duration) -> Result<f64, Failed> {
    let begun = Instant::now();
    let tasks: Vec<_> =
        (0..writers).map(|writer| tokio::spawn(pairs(db.clone(), writer, begun + time))).collect();
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    Ok(rate(done, begun))
}

async fn pairs(db: Mnemon, writer: usize, until: Instant) -> mnemon::Result<usize> {
    let (scope, key) = (scope(), key("mnemon", writer));
    let mut done = 0;
    while Instant::now() < until {
        let lease = db.locks().acquire(&scope, &key, HOLDER, TTL).await?;
        db.locks().release(&scope, &lease.guard()).await?;
        done += 1;
    }
    Ok(done)
}

/// Pairs a second since then.
#[expect(clippy::cast_precision_loss, reason = "a count of pairs")]
fn rate(pairs: usize, begun: Instant) -> f64 {
    pairs as f64 / begun.elapsed().as_secs_f64()
}
