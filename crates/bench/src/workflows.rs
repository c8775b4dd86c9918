//! Saving a workflow run by compare-and-set among very many runs, beside the raw `UPDATE … WHERE
//! version = …` of the same rows.

mod raw;

use std::time::{Duration, Instant};

use clap::Args;
use mnemon::workflows::{RunFilter, RunStatus, SaveRun};
use mnemon::{Page, Scope};
use serde_json::json;

use self::raw::Raw;
use crate::report::{Bar, Report, percentile};
use crate::target::{On, Target};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Databases to run on; all of them when none is named.
    #[arg(long, value_enum)]
    on: Vec<On>,
    /// Runs that stand already.
    #[arg(long, default_value_t = 1_000_000)]
    runs: u32,
    /// Seconds of each measurement; every side has three.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

const ROUNDS: usize = 3;
const WRITERS: u32 = 8;
const TENANT: &str = "bench";

/// Runs the bench on every database asked for.
pub(crate) async fn run(options: &Options) -> Result<Report, Box<dyn std::error::Error>> {
    let mut report = Report {
        bench: "workflows",
        columns: vec!["database", "what", "a second", "median ms", "p99 ms"],
        rows: Vec::new(),
        bars: Vec::new(),
        notes: vec![format!(
            "{WRITERS} writers among {} runs, a state of 200 bytes; lists by one reader; median of \
             {ROUNDS} rounds, sides in turn",
            options.runs
        )],
    };
    for on in On::wanted(&options.on) {
        one(on, options, &mut report).await.map_err(|error| error.to_string())?;
    }
    Ok(report)
}

async fn one(on: On, options: &Options, report: &mut Report) -> Result<(), Failed> {
    let time = Duration::try_from_secs_f64(options.seconds)?;
    let target = Target::open(on).await.map_err(|error| error.to_string())?;
    let raw = Raw::of(&target)?;
    eprintln!("{}: {} runs", target.name, options.runs);
    raw.fill(options.runs).await?;
    let (mut ours, mut raws, mut listed) = (Sides::default(), Sides::default(), Sides::default());
    for _ in 0..ROUNDS {
        ours.push(&saves(&target, options.runs, time).await?, time);
        raws.push(&raw.saves(options.runs, time).await?, time);
        listed.push(&lists(&target, time / 4).await?, time / 4);
    }
    for (what, side) in [("save", &ours), ("raw update", &raws), ("list of a status", &listed)] {
        let name = target.name.to_owned();
        report.rows.push(vec![
            name,
            what.to_owned(),
            format!("{:.0}", percentile(&side.rates, 0.5)),
            format!("{:.3}", percentile(&side.medians, 0.5)),
            format!("{:.3}", percentile(&side.p99s, 0.5)),
        ]);
    }
    for (what, side) in [("compare-and-set save", &ours), ("list of a status", &listed)] {
        let name = format!("{} {what}, p99 ms", target.name);
        report.bars.push(Bar::at_most(name, percentile(&side.p99s, 0.5), 10.0));
    }
    Ok(())
}

/// One figure a round.
#[derive(Default)]
struct Sides {
    rates: Vec<f64>,
    medians: Vec<f64>,
    p99s: Vec<f64>,
}

impl Sides {
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    fn push(&mut self, times: &[f64], time: Duration) {
        self.rates.push(times.len() as f64 / time.as_secs_f64());
        self.medians.push(percentile(times, 0.5));
        self.p99s.push(percentile(times, 0.99));
    }
}

/// The run of a writer's turn: spread over all, and no other writer's.
fn pick(writer: u32, turn: u32, runs: u32) -> u32 {
    let slot = turn.wrapping_mul(2_654_435_761) % (runs / WRITERS).max(1);
    (slot * WRITERS + writer) % runs + 1
}

async fn saves(target: &Target, runs: u32, time: Duration) -> Result<Vec<f64>, Failed> {
    let begun = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let db = target.db.clone();
            tokio::spawn(async move {
                let (scope, mut times) = (Scope::tenant(TENANT), Vec::new());
                for turn in 0.. {
                    if begun.elapsed() >= time {
                        break;
                    }
                    let found = db
                        .workflows()
                        .load(&scope, &format!("r{}", pick(writer, turn, runs)))
                        .await?;
                    let run =
                        SaveRun { state: json!({ "text": "y".repeat(200) }), ..found.to_save() };
                    let since = Instant::now();
                    db.workflows().save(&scope, run, None).await?;
                    times.push(since.elapsed().as_secs_f64() * 1_000.0);
                }
                Ok::<Vec<f64>, mnemon::Error>(times)
            })
        })
        .collect();
    let mut all = Vec::new();
    for writer in writers {
        all.extend(writer.await??);
    }
    Ok(all)
}

async fn lists(target: &Target, time: Duration) -> mnemon::Result<Vec<f64>> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    let (scope, filter) = (Scope::tenant(TENANT), RunFilter::status(RunStatus::Running));
    while begun.elapsed() < time {
        let since = Instant::now();
        target.db.workflows().list(&scope, &filter, &Page::first(50)).await?;
        times.push(since.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(times)
}
