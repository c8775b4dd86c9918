//! Dead letters, taken and acknowledged one by one by eight consumers, beside the raw loop over the
//! same tables (`SELECT … FOR UPDATE SKIP LOCKED` on a server), a loop of pgmq's shape, and pgmq's
//! own functions where its SQL is given. Then: taking one behind many in flight, and what the tables
//! weigh after many cycles.

mod pgmq;
mod postgres;
mod raw;
mod sqlite;

use std::time::{Duration, Instant};

use clap::Args;
use mnemon::dead_letters::Burial;
use mnemon::{Mnemon, Scope};
use serde_json::json;

use self::postgres::Peer;
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
    /// Seconds of each measurement; every figure has five.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Cycles of bury, take and acknowledge before the tables are weighed.
    #[arg(long, default_value_t = 200_000)]
    cycles: u64,
    /// Items that others have in hand.
    #[arg(long, default_value_t = 30_000)]
    in_flight: u32,
    /// The SQL that installs pgmq; without, it is taken out of its package on crates.io.
    #[arg(long, value_name = "FILE")]
    pgmq_sql: Option<std::path::PathBuf>,
}

const ROUNDS: usize = 5;
const CONSUMERS: usize = 8;
const TENANT: &str = "bench";
const VISIBILITY: Duration = Duration::from_mins(1);
/// Items that stand beside the cycles.
const STANDING: f64 = 10_000.0;

fn scope() -> Scope {
    Scope::tenant(TENANT)
}

/// Runs the bench on every database asked for.
pub(crate) async fn run(options: &Options) -> Result<Report, Box<dyn std::error::Error>> {
    let mut report = Report {
        bench: "dlq",
        columns: vec!["database", "what", "figure", "unit"],
        rows: Vec::new(),
        bars: Vec::new(),
        notes: vec![format!(
            "{CONSUMERS} consumers, one item at a time; medians of {ROUNDS} rounds of {} s, sides \
             in turn, a ratio in each",
            options.seconds
        )],
    };
    let pgmq = match &options.pgmq_sql {
        Some(file) => Ok(std::fs::read_to_string(file)?),
        None => pgmq::sql(),
    };
    if let Err(reason) = &pgmq {
        report.notes.push(format!("pgmq itself was left out: {reason}"));
    }
    for on in On::wanted(&options.on) {
        one(on, options, pgmq.as_deref().ok(), &mut report).await.map_err(|e| e.to_string())?;
    }
    Ok(report)
}

async fn one(
    on: On,
    options: &Options,
    pgmq: Option<&str>,
    report: &mut Report,
) -> Result<(), Failed> {
    let time = Duration::try_from_secs_f64(options.seconds)?;
    let target = Target::open(on).await.map_err(|error| error.to_string())?;
    let raw = Raw::of(&target)?;
    let mut peers = vec![Peer::Raw];
    if let Raw::Server(url) = &raw {
        peers.push(Peer::PgmqShape);
        if let Some(sql) = pgmq {
            postgres::install(url, sql).await?;
            peers.push(Peer::Pgmq);
        }
    }
    let mut sheet = Sheet { name: target.name, report };
    rates(&target.db, &raw, &peers, time, &mut sheet).await?;
    behind(&target.db, &raw, options.in_flight, &mut sheet).await?;
    weight(&raw, options, &mut sheet).await
}

/// One database's part of the report.
struct Sheet<'a> {
    name: &'static str,
    report: &'a mut Report,
}

impl Sheet<'_> {
    fn row(&mut self, what: impl Into<String>, figure: f64, unit: &str) {
        let name = self.name.to_owned();
        self.report.rows.push(vec![name, what.into(), format!("{figure:.3}"), unit.to_owned()]);
    }

    fn bar(&mut self, what: impl std::fmt::Display, make: impl FnOnce(String) -> Bar) {
        self.report.bars.push(make(format!("{} {what}", self.name)));
    }
}

/// Take 1 + ack, every side in turn.
async fn rates(
    db: &Mnemon,
    raw: &Raw,
    peers: &[Peer],
    time: Duration,
    sheet: &mut Sheet<'_>,
) -> Result<(), Failed> {
    let mut ours = Vec::new();
    let mut theirs = vec![Vec::new(); peers.len()];
    for round in 0..ROUNDS {
        eprintln!("{}: round {} of {ROUNDS}", sheet.name, round + 1);
        let queue = format!("ours{round}");
        raw.fill(&queue, enough(time)).await?;
        ours.push(mnemon_rate(db, &queue, time).await?);
        for (peer, rates) in peers.iter().zip(&mut theirs) {
            rates.push(raw.rate(*peer, &format!("peer{round}"), time).await?);
        }
    }
    sheet.row("mnemon take 1 + ack", percentile(&ours, 0.5), "1/s");
    for (peer, rates) in peers.iter().zip(&theirs) {
        sheet.row(peer.name(), percentile(rates, 0.5), "1/s");
        let ratios: Vec<f64> = ours.iter().zip(rates).map(|(ours, raw)| ours / raw).collect();
        let ratio = percentile(&ratios, 0.5);
        if *peer == Peer::PgmqShape {
            // One narrow table without attempts, by hand: less work than a dead letter is.
            sheet.row(format!("take 1 + ack, of {}", peer.name()), ratio, "ratio");
            continue;
        }
        sheet.bar(format!("take 1 + ack, of {}", peer.name()), |name| {
            Bar::at_least(name, ratio, 1.0)
        });
    }
    Ok(())
}

/// More items than a round can take.
fn enough(time: Duration) -> f64 {
    (time.as_secs_f64() * 8_000.0).max(2_000.0).round()
}

async fn mnemon_rate(db: &Mnemon, queue: &str, time: Duration) -> Result<f64, Failed> {
    let begun = Instant::now();
    let consumers: Vec<_> = (0..CONSUMERS)
        .map(|_| {
            let (db, queue) = (db.clone(), queue.to_owned());
            tokio::spawn(async move {
                let mut done = 0_u32;
                while begun.elapsed() < time {
                    let taken = db.dead_letters().take(&scope(), &queue, 1, VISIBILITY).await?;
                    for delivery in taken {
                        db.dead_letters().ack(&scope(), &delivery.receipt).await?;
                        done += 1;
                    }
                }
                Ok::<u32, mnemon::Error>(done)
            })
        })
        .collect();
    let mut done = 0;
    for consumer in consumers {
        done += consumer.await??;
    }
    Ok(f64::from(done) / begun.elapsed().as_secs_f64())
}

/// Taking one item of a queue that holds only that one, and of one that others have much of.
async fn behind(
    db: &Mnemon,
    raw: &Raw,
    in_flight: u32,
    sheet: &mut Sheet<'_>,
) -> Result<(), Failed> {
    eprintln!("{}: behind {in_flight} in flight", sheet.name);
    raw.fill("busy", f64::from(in_flight)).await?;
    let mut left = in_flight;
    while left > 0 {
        let week = Duration::from_hours(24 * 7);
        let taken = db.dead_letters().take(&scope(), "busy", 500.min(left), week).await?;
        if taken.is_empty() {
            return Err("a filled queue was empty".into());
        }
        left -= u32::try_from(taken.len())?;
    }
    // One of each in turn: what else the machine does falls on both.
    let (mut empty, mut busy) = (Vec::new(), Vec::new());
    for n in 0..400 {
        for (queue, times) in [("empty", &mut empty), ("busy", &mut busy)] {
            let burial = Burial::new(queue, format!("one{n}"), json!(n), "failed");
            db.dead_letters().bury(&scope(), burial, None).await?;
            let begun = Instant::now();
            let taken = db.dead_letters().take(&scope(), queue, 1, VISIBILITY).await?;
            times.push(begun.elapsed().as_secs_f64() * 1_000.0);
            let delivery = taken.first().ok_or("what was buried is ready")?;
            db.dead_letters().ack(&scope(), &delivery.receipt).await?;
        }
    }
    let (empty, busy) = (percentile(&empty, 0.5), percentile(&busy, 0.5));
    sheet.row("take 1, nothing in flight", empty, "ms, median");
    sheet.row(format!("take 1 behind {in_flight} in flight"), busy, "ms, median");
    sheet.bar("take behind in flight, of an empty queue", |name| {
        Bar::at_most(name, busy / empty, 2.0)
    });
    Ok(())
}

/// Many cycles beside a standing load, with upkeep running as an application has it; then the size
/// of the tables beside that of the same rows packed anew.
async fn weight(raw: &Raw, options: &Options, sheet: &mut Sheet<'_>) -> Result<(), Failed> {
    eprintln!("{}: {} cycles", sheet.name, options.cycles);
    raw.empty().await?;
    raw.fill("standing", STANDING).await?;
    let db = Mnemon::open(&raw.url()).await?;
    let each = options.cycles / CONSUMERS as u64;
    let begun = Instant::now();
    let workers: Vec<_> =
        (0..CONSUMERS).map(|worker| tokio::spawn(cycles(db.clone(), worker, each))).collect();
    for worker in workers {
        worker.await??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    db.close().await;
    let after = raw.size().await?;
    raw.pack().await?;
    let live = raw.size().await?;
    sheet.row(format!("{} cycles", options.cycles), seconds, "s");
    sheet.row("tables after them", after / 1_048_576.0, "MiB");
    sheet.row("the same rows packed anew", live / 1_048_576.0, "MiB");
    sheet.bar("tables after the cycles, of their live size", |name| {
        Bar::at_most(name, after / live, 2.0)
    });
    Ok(())
}

async fn cycles(db: Mnemon, worker: usize, each: u64) -> mnemon::Result<()> {
    let text = "x".repeat(240);
    for n in 0..each {
        let item = json!({ "n": n, "path": "src/lib.rs", "text": text });
        let burial = Burial::new("cycles", format!("{worker}-{n}"), item, "failed");
        db.dead_letters().bury(&scope(), burial, None).await?;
        for delivery in db.dead_letters().take(&scope(), "cycles", 1, VISIBILITY).await? {
            db.dead_letters().ack(&scope(), &delivery.receipt).await?;
        }
    }
    Ok(())
}
