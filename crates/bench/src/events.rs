//! Appending events, and asking for them among very many: in batches of a thousand with ids of
//! the caller's, beside the same rows by one raw statement and by COPY; one by one, gathered and
//! not; with a live subscriber that must be told everything. Questions at the end, when all of it
//! is there.

pub(crate) mod load;
mod queries;
mod raw;

use std::time::{Duration, Instant};

use clap::Args;
use mnemon::config::SecretUrl;
use mnemon::core::limits;
use mnemon::events::{Append, EventFilter, Told};
use mnemon::{Config, Mnemon};
use mnemon_testkit::Proxy;

use self::load::{batch, scope, single};
use self::raw::Raw;
use crate::report::{Bar, Report, percentile};
use crate::target::{On, Target};

pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Databases to run on; all of them when none is named.
    #[arg(long, value_enum)]
    on: Vec<On>,
    /// Events that are appended while a subscriber listens, and asked for afterwards.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Batches of each side that are compared with the raw statement.
    #[arg(long, default_value_t = 60)]
    batches: u64,
    /// Seconds of each measurement of single events; every figure has three.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// Events of one batch.
const BATCH: u64 = 1_000;
/// Events of one commit that go through COPY.
const COPIED: u64 = limits::EVENT_COPY as u64;
/// Callers that append one event each.
const CALLERS: u64 = 32;
/// Connections they share.
const CONNECTIONS: u32 = 4;
/// Writers of batches while a subscriber listens.
const WRITERS: u64 = 2;
const ROUNDS: u64 = 3;

/// Runs the bench.
pub(crate) async fn run(options: &Options) -> Result<Report, Box<dyn std::error::Error>> {
    let mut report = Report {
        bench: "events",
        columns: vec!["database", "what", "figure", "unit"],
        rows: Vec::new(),
        bars: Vec::new(),
        notes: vec![format!(
            "payloads of 300 bytes; batches of {BATCH} with ids; medians of alternated batches and \
             of {ROUNDS} rounds of {} s; single events by {CALLERS} callers",
            options.seconds
        )],
    };
    for on in On::wanted(&options.on) {
        one(on, options, &mut report).await.map_err(|error| error.to_string())?;
    }
    Ok(report)
}

fn name(target: &Target, what: &str) -> String {
    format!("{} {what}", target.name)
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
fn rate(events: u64, seconds: f64) -> f64 {
    events as f64 / seconds
}

async fn one(on: On, options: &Options, report: &mut Report) -> Result<(), Failed> {
    let target = Target::open(on).await.map_err(|error| error.to_string())?;
    eprintln!("{}: batches beside the raw statement", target.name);
    batches(&target, options.batches, report).await?;
    if target.server().is_some() {
        copies(&target, report).await?;
        together(&target, options.batches, report).await?;
    }
    eprintln!("{}: {} events while a subscriber listens", target.name, options.events);
    sustained(&target, options.events, report).await?;
    eprintln!("{}: single events", target.name);
    singles(&target, Duration::try_from_secs_f64(options.seconds)?, report).await?;
    if target.server().is_some() {
        round_trips(&target, report).await?;
    }
    eprintln!("{}: questions", target.name);
    queries::run(&target, options.events, report).await
}

/// The same batches by Mnemon and by one raw statement, in turn.
async fn batches(target: &Target, count: u64, report: &mut Report) -> Result<(), Failed> {
    let mut raw = Raw::open(target).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..count {
        let after = i64::try_from(n * BATCH)?;
        let append = batch(1, n * BATCH, BATCH, "compared");
        let begun = Instant::now();
        target.db.events().append(&scope("ours"), append, None).await?;
        ours.push(begun.elapsed().as_secs_f64());
        let events = batch(2, n * BATCH, BATCH, "compared").events;
        theirs.push(raw.batch("compared", after, &events).await?);
    }
    let median = |times: &[f64]| rate(BATCH, percentile(times, 0.5));
    report.figure(target.name, "append in batches", median(&ours), "events/s");
    report.figure(target.name, "the raw statement", median(&theirs), "events/s");
    let ratio = percentile(&theirs, 0.5) / percentile(&ours, 0.5);
    report.bars.push(Bar::at_least(name(target, "append in batches, of raw"), ratio, 0.7));
    Ok(())
}

/// Very many events in one commit, which go through COPY, beside COPY itself.
async fn copies(target: &Target, report: &mut Report) -> Result<(), Failed> {
    let mut raw = Raw::open(target).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..ROUNDS {
        let append = batch(3, n * COPIED, COPIED, "copied");
        let begun = Instant::now();
        target.db.events().append(&scope("ours"), append, None).await?;
        ours.push(begun.elapsed().as_secs_f64());
        let events = batch(4, n * COPIED, COPIED, "copied").events;
        theirs.extend(raw.copy("copied", i64::try_from(n * COPIED)?, &events).await?);
    }
    let median = |times: &[f64]| rate(COPIED, percentile(times, 0.5));
    report.figure(target.name, "append of 50,000 in one commit", median(&ours), "events/s");
    report.figure(target.name, "raw COPY of 50,000", median(&theirs), "events/s");
    Ok(())
}

/// What the machine takes of the raw statement by as many writers as [`sustained`] has, with nobody
/// listening: no library over it is faster.
async fn together(target: &Target, batches: u64, report: &mut Report) -> Result<(), Failed> {
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let mut raw = Raw::open(target).await?;
        writers.push(async move {
            let stream = format!("together-{writer}");
            for n in 0..batches {
                let events = batch(40 + writer, n * BATCH, BATCH, &stream).events;
                raw.batch(&stream, i64::try_from(n * BATCH)?, &events).await?;
            }
            Ok::<(), Failed>(())
        });
    }
    let begun = Instant::now();
    let running: Vec<_> = writers.into_iter().map(tokio::spawn).collect();
    for writer in running {
        writer.await??;
    }
    let done = rate(WRITERS * batches * BATCH, begun.elapsed().as_secs_f64());
    report.figure(target.name, "the raw statement by two writers", done, "events/s");
    Ok(())
}

/// Many events by two writers while a subscriber is told all of them.
async fn sustained(target: &Target, events: u64, report: &mut Report) -> Result<(), Failed> {
    let scope = scope("sustained");
    let mut all = target.db.events().subscribe(&scope, EventFilter::default(), None)?;
    let begun = Instant::now();
    let wanted = events / (BATCH * WRITERS) * BATCH * WRITERS;
    let told = tokio::spawn(async move {
        let mut told = 0;
        while told < wanted {
            if let Told::Event(_) = all.next().await? {
                told += 1;
            }
        }
        Ok::<Instant, mnemon::Error>(Instant::now())
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (db, scope) = (target.db.clone(), scope.clone());
            tokio::spawn(async move {
                let each = wanted / WRITERS;
                for n in 0..each / BATCH {
                    // Some batches to a stream, as agents write.
                    let stream = format!("job-{writer}-{}", n / 10);
                    let append = batch(10, writer * each + n * BATCH, BATCH, &stream);
                    db.events().append(&scope, append, None).await?;
                }
                Ok::<(), mnemon::Error>(())
            })
        })
        .collect();
    for writer in writers {
        writer.await??;
    }
    let written = begun.elapsed().as_secs_f64();
    let told = told.await??.duration_since(begun).as_secs_f64();
    report.figure(
        target.name,
        "sustained, with a live subscriber",
        rate(wanted, written),
        "events/s",
    );
    report.figure(target.name, "told to the subscriber", rate(wanted, told), "events/s");
    let bar = name(target, "sustained events/s with a live subscriber");
    if target.server().is_some() {
        report.bars.push(Bar::at_least(bar, rate(wanted, written), 50_000.0));
    }
    Ok(())
}

/// A handle of few connections.
async fn narrow(url: &str) -> Result<Mnemon, Failed> {
    let mut config = Config::default();
    config.store.url = Some(SecretUrl::new(url));
    config.pool.max_connections = CONNECTIONS;
    config.upkeep.enabled = false;
    Ok(Mnemon::from_config(config).await?)
}

/// One event a call by many callers: each its own commit, and gathered.
async fn singles(target: &Target, time: Duration, report: &mut Report) -> Result<(), Failed> {
    let db = match target.server() {
        Some(database) => narrow(database.url()).await?,
        None => target.db.clone(),
    };
    let (mut alone, mut gathered) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        alone.push(callers(&db, round, false, time).await?);
        gathered.push(callers(&db, round, true, time).await?);
    }
    if target.server().is_some() {
        db.close().await;
    }
    let (alone, gathered) = (percentile(&alone, 0.5), percentile(&gathered, 0.5));
    report.figure(target.name, "one event a commit", alone, "events/s");
    report.figure(target.name, "gathered", gathered, "events/s");
    if target.server().is_some() {
        // On SQLite single appends that wait together share a commit anyway.
        let bar = name(target, "gathered, of one event a commit");
        report.bars.push(Bar::at_least(bar, gathered / alone, 3.0));
    }
    Ok(())
}

async fn callers(db: &Mnemon, round: u64, gather: bool, time: Duration) -> Result<f64, Failed> {
    let begun = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let db = db.clone();
            tokio::spawn(async move {
                let (scope, stream) = (scope("singles"), format!("{gather}-{round}-{caller}"));
                let mut done = 0;
                while begun.elapsed() < time {
                    let append: Append = single(done, &stream);
                    if gather {
                        db.events().gather(&scope, append).await?;
                    } else {
                        db.events().append(&scope, append, None).await?;
                    }
                    done += 1;
                }
                Ok::<u64, mnemon::Error>(done)
            })
        })
        .collect();
    let mut done = 0;
    for caller in callers {
        done += caller.await??;
    }
    Ok(rate(done, begun.elapsed().as_secs_f64()))
}

/// What a thousand events cost in messages to the server, one by one and in a batch.
async fn round_trips(target: &Target, report: &mut Report) -> Result<(), Failed> {
    let database = target.server().ok_or("messages are counted on a server")?;
    let server = target.address().ok_or("messages are counted on a server")?;
    let proxy = Proxy::to(&server);
    let db = narrow(&proxy.url(database.url())).await?;
    let scope = scope("counted");
    // What is prepared once is not counted.
    db.events().append(&scope, single(0, "singles"), None).await?;
    db.events().append(&scope, batch(20, 0, BATCH, "batches"), None).await?;
    let start = proxy.messages();
    for n in 0..BATCH {
        db.events().append(&scope, single(n, "singles"), None).await?;
    }
    let middle = proxy.messages();
    db.events().append(&scope, batch(20, BATCH, BATCH, "batches"), None).await?;
    let (singly, together) = (middle - start, proxy.messages() - middle);
    db.close().await;
    let cut = 1.0 - rate(together, 1.0) / rate(singly, 1.0);
    report.figure(target.name, "messages for 1,000 single events", rate(singly, 1.0), "messages");
    report.figure(target.name, "messages for a batch of 1,000", rate(together, 1.0), "messages");
    report.bars.push(Bar::at_least(name(target, "share of messages that a batch saves"), cut, 0.8));
    Ok(())
}
