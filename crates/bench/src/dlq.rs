//! Dead letters, taken and acknowledged one by one by eight consumers, beside the raw `SELECT …
//! FOR UPDATE SKIP LOCKED` loop over the same tables, a loop of pgmq's shape, and pgmq's own
//! functions where its SQL is given. Then: taking one behind many in flight, and what the tables
//! weigh after many cycles.

mod peers;

use std::time::{Duration, Instant};

use clap::Args;
use mnemon::dead_letters::Burial;
use mnemon::{Mnemon, Scope};
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};

use self::peers::Peer;
use crate::report::{Bar, Report, percentile};
use crate::target::{On, Target};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// The database; PostgreSQL 18 when none is named. The peers need a server.
    #[arg(long, value_enum, default_value_t = On::Postgres18)]
    on: On,
    /// Seconds of each measurement; every figure has three.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Cycles of bury, take and acknowledge before the tables are weighed.
    #[arg(long, default_value_t = 200_000)]
    cycles: u64,
    /// Items that others have in hand.
    #[arg(long, default_value_t = 30_000)]
    in_flight: u32,
    /// The SQL that installs pgmq (`pgmq.sql`; the package `pgmq` of crates.io carries it).
    #[arg(long, value_name = "FILE")]
    pgmq_sql: Option<std::path::PathBuf>,
}

const ROUNDS: usize = 3;
const CONSUMERS: usize = 8;
const TENANT: &str = "bench";
const VISIBILITY: Duration = Duration::from_mins(1);
/// Items as they fail: some 300 bytes.
const ITEM: &str = r"jsonb_build_object('n', n, 'path', 'src/lib.rs', 'text', repeat('x', 240))";

fn scope() -> Scope {
    Scope::tenant(TENANT)
}

/// Runs the bench.
pub(crate) async fn run(options: &Options) -> Result<Report, Box<dyn std::error::Error>> {
    let time = Duration::try_from_secs_f64(options.seconds)?;
    let target = Target::open(options.on).await?;
    let url = target.server().ok_or("the peers need PostgreSQL")?.url().to_owned();
    let mut report = Report {
        bench: "dlq",
        columns: vec!["what", "figure", "unit"],
        rows: Vec::new(),
        bars: Vec::new(),
        notes: vec![format!(
            "{CONSUMERS} consumers, one item at a time; best of {ROUNDS} rounds of {} s, sides in \
             turn; on {}",
            options.seconds, target.name
        )],
    };
    let mut peers = vec![Peer::Raw, Peer::PgmqShape];
    match &options.pgmq_sql {
        Some(file) => {
            let sql = std::fs::read_to_string(file)?;
            peers::install(&url, &sql).await.map_err(|error| error.to_string())?;
            peers.push(Peer::Pgmq);
        }
        None => report.notes.push("pgmq itself was left out: no --pgmq-sql".to_owned()),
    }
    rates(&target.db, &url, &peers, time, &mut report).await.map_err(|e| e.to_string())?;
    behind(&target.db, &url, options.in_flight, &mut report).await.map_err(|e| e.to_string())?;
    weight(&url, options, &mut report).await.map_err(|e| e.to_string())?;
    Ok(report)
}

fn row(report: &mut Report, what: impl Into<String>, figure: f64, unit: &str) {
    report.rows.push(vec![what.into(), format!("{figure:.3}"), unit.to_owned()]);
}

/// Take 1 + ack, every side in turn.
async fn rates(
    db: &Mnemon,
    url: &str,
    peers: &[Peer],
    time: Duration,
    report: &mut Report,
) -> Result<(), Failed> {
    let mut ours = Vec::new();
    let mut theirs = vec![Vec::new(); peers.len()];
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        let queue = format!("ours{round}");
        fill(url, &queue, time).await?;
        ours.push(mnemon_rate(db, &queue, time).await?);
        for (peer, rates) in peers.iter().zip(&mut theirs) {
            rates.push(peer.rate(url, &format!("peer{round}"), time).await?);
        }
    }
    let best = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
    row(report, "mnemon take 1 + ack", best(&ours), "1/s");
    for (peer, rates) in peers.iter().zip(&theirs) {
        row(report, peer.name(), best(rates), "1/s");
        let name = format!("take 1 + ack, of {}", peer.name());
        report.bars.push(Bar::at_least(name, best(&ours) / best(rates), 1.0));
    }
    Ok(())
}

/// Puts more items into a queue than a round can take.
async fn fill(url: &str, queue: &str, time: Duration) -> Result<(), Failed> {
    let items = (time.as_secs_f64() * 8_000.0).max(2_000.0).round();
    let mut conn = PgConnection::connect(url).await?;
    peers::fill(&mut conn, queue, items).await?;
    conn.close().await?;
    Ok(())
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
async fn behind(db: &Mnemon, url: &str, in_flight: u32, report: &mut Report) -> Result<(), Failed> {
    eprintln!("behind {in_flight} in flight");
    let mut conn = PgConnection::connect(url).await?;
    peers::fill(&mut conn, "busy", f64::from(in_flight)).await?;
    conn.close().await?;
    let mut left = in_flight;
    while left > 0 {
        let week = Duration::from_hours(24 * 7);
        let taken = db.dead_letters().take(&scope(), "busy", 500.min(left), week).await?;
        if taken.is_empty() {
            return Err("a filled queue was empty".into());
        }
        left -= u32::try_from(taken.len())?;
    }
    let mut medians = Vec::new();
    for queue in ["empty", "busy", "empty", "busy"] {
        let mut times = Vec::new();
        for n in 0..200 {
            let burial = Burial::new(queue, format!("one{n}"), json!(n), "failed");
            db.dead_letters().bury(&scope(), burial, None).await?;
            let begun = Instant::now();
            let taken = db.dead_letters().take(&scope(), queue, 1, VISIBILITY).await?;
            times.push(begun.elapsed().as_secs_f64() * 1_000.0);
            let delivery = taken.first().ok_or("what was buried is ready")?;
            db.dead_letters().ack(&scope(), &delivery.receipt).await?;
        }
        medians.push(percentile(&times, 0.5));
    }
    let (empty, busy) = (medians[0].min(medians[2]), medians[1].min(medians[3]));
    row(report, "take 1, nothing in flight", empty, "ms, median");
    row(report, format!("take 1 behind {in_flight} in flight"), busy, "ms, median");
    report.bars.push(Bar::at_most("take behind in flight, of an empty queue", busy / empty, 2.0));
    Ok(())
}

/// Many cycles beside a standing load, with upkeep running as an application has it; then the size
/// of the tables beside that of the same rows packed anew.
async fn weight(url: &str, options: &Options, report: &mut Report) -> Result<(), Failed> {
    eprintln!("{} cycles", options.cycles);
    let db = Mnemon::open(url).await?;
    let each = options.cycles / CONSUMERS as u64;
    let begun = Instant::now();
    let workers: Vec<_> = (0..CONSUMERS)
        .map(|worker| {
            let db = db.clone();
            tokio::spawn(async move {
                let text = "x".repeat(240);
                for n in 0..each {
                    let item = json!({ "n": n, "path": "src/lib.rs", "text": text });
                    let burial = Burial::new("cycles", format!("{worker}-{n}"), item, "failed");
                    db.dead_letters().bury(&scope(), burial, None).await?;
                    for delivery in
                        db.dead_letters().take(&scope(), "cycles", 1, VISIBILITY).await?
                    {
                        db.dead_letters().ack(&scope(), &delivery.receipt).await?;
                    }
                }
                Ok::<(), mnemon::Error>(())
            })
        })
        .collect();
    for worker in workers {
        worker.await??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    db.close().await;
    let mut conn = PgConnection::connect(url).await?;
    let after = peers::size(&mut conn).await?;
    conn.execute("vacuum full mnemon.dead_letters").await?;
    conn.execute("vacuum full mnemon.dead_letter_attempts").await?;
    let live = peers::size(&mut conn).await?;
    conn.close().await?;
    row(report, format!("{} cycles", options.cycles), seconds, "s");
    row(report, "tables after them", after / 1_048_576.0, "MiB");
    row(report, "the same rows packed anew", live / 1_048_576.0, "MiB");
    report.bars.push(Bar::at_most(
        "tables after the cycles, of their live size",
        after / live,
        2.0,
    ));
    Ok(())
}
