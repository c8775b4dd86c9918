//! What subscribers cost and get: the rate of commits beside none, beside a hundred that have
//! nothing to hear and beside one that is told everything; replays; how soon an idle log wakes its
//! subscriber; and what NOTIFY inside the writers' transactions would cost.

mod raw;

use std::time::{Duration, Instant};

use clap::Args;
use mnemon::Scope;
use mnemon::events::{EventFilter, Subscription, Told};
use tokio::task::JoinHandle;

use crate::events::Failed;
use crate::events::load::{batch, scope, single};
use crate::report::{Bar, Report, percentile};
use crate::target::{On, Target};

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Databases to run on; all of them when none is named.
    #[arg(long, value_enum)]
    on: Vec<On>,
    /// Seconds of each measurement of commits; every figure has five.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Events that are replayed.
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    /// Wake-ups that are timed.
    #[arg(long, default_value_t = 400)]
    wakes: u32,
}

const ROUNDS: usize = 5;
/// Writers of one event a commit.
const WRITERS: usize = 8;
/// Subscribers that have nothing to hear, each of a tenant of its own.
const IDLE: usize = 100;
/// Subscribers that replay at once.
const READERS: u64 = 4;
const WRITING: &str = "writing";

/// Who listens while commits are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    Nobody,
    Idle,
    One,
}

/// Runs the bench.
pub(crate) async fn run(options: &Options) -> Result<Report, Box<dyn std::error::Error>> {
    let mut report = Report {
        bench: "subscriptions",
        columns: vec!["database", "what", "figure", "unit"],
        rows: Vec::new(),
        bars: Vec::new(),
        notes: vec![format!(
            "{WRITERS} writers of one event of 300 bytes a commit; medians of {ROUNDS} rounds of {} \
             s, sides in turn, a ratio in each",
            options.seconds
        )],
    };
    for on in On::wanted(&options.on) {
        one(on, options, &mut report).await.map_err(|error| error.to_string())?;
    }
    Ok(report)
}

async fn one(on: On, options: &Options, report: &mut Report) -> Result<(), Failed> {
    let target = Target::open(on).await.map_err(|error| error.to_string())?;
    let time = Duration::try_from_secs_f64(options.seconds)?;
    eprintln!("{}: commits", target.name);
    commits(&target, time, report).await?;
    eprintln!("{}: replays of {} events", target.name, options.events);
    replays(&target, options.events, report).await?;
    eprintln!("{}: wake-ups", target.name);
    wakes(&target, options.wakes, report).await?;
    if let Some(database) = target.server() {
        eprintln!("{}: NOTIFY inside the transaction", target.name);
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (notify, rates) in rates.iter_mut().enumerate() {
                rates.push(raw::rate(database.url(), WRITERS, notify == 1, time).await?);
            }
        }
        report.figure(target.name, "raw inserts", percentile(&rates[0], 0.5), "commits/s");
        report.figure(
            target.name,
            "the same with NOTIFY in each",
            percentile(&rates[1], 0.5),
            "commits/s",
        );
    }
    Ok(())
}

/// Listens for ever; what it is told is counted by nobody.
fn listen(mut subscription: Subscription) -> JoinHandle<()> {
    tokio::spawn(async move { while subscription.next().await.is_ok() {} })
}

/// Waits until it has caught up.
async fn live(target: &Target, scope: &Scope) -> Result<Subscription, Failed> {
    let mut subscription = target.db.events().subscribe(scope, EventFilter::default(), None)?;
    while !matches!(subscription.next().await?, Told::CaughtUp) {}
    Ok(subscription)
}

/// Commits a second with nobody listening, with many who have nothing to hear, with one who is
/// told everything.
async fn commits(target: &Target, time: Duration, report: &mut Report) -> Result<(), Failed> {
    let mut rates = [const { Vec::new() }; 3];
    for round in 0..ROUNDS {
        for (at, audience) in
            [Audience::Nobody, Audience::Idle, Audience::One].into_iter().enumerate()
        {
            // A log of its own each time: nobody catches up with what came before.
            let writing = scope(&format!("{WRITING}-{round}-{at}"));
            let mut listening = Vec::new();
            match audience {
                Audience::Nobody => {}
                Audience::Idle => {
                    for n in 0..IDLE {
                        let theirs = Scope::tenant(format!("idle-{n}"));
                        listening.push(listen(live(target, &theirs).await?));
                    }
                }
                Audience::One => listening.push(listen(live(target, &writing).await?)),
            }
            rates[at].push(write(target, &writing, time).await?);
            for listener in listening {
                listener.abort();
            }
            // What they shared ends when it finds nobody.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let [nobody, idle, all] = rates;
    for (what, rates, share) in [
        ("no subscriber", &nobody, None),
        ("100 idle subscribers", &idle, Some(0.95)),
        ("one that is told everything", &all, Some(0.8)),
    ] {
        report.figure(target.name, what, percentile(rates, 0.5), "commits/s");
        if let Some(share) = share {
            // Of the same round: a disk does not stay as fast as it was.
            let ratios: Vec<f64> = rates.iter().zip(&nobody).map(|(rate, of)| rate / of).collect();
            let bar = format!("{} commits with {what}, of without", target.name);
            report.bars.push(Bar::at_least(bar, percentile(&ratios, 0.5), share));
        }
    }
    Ok(())
}

async fn write(target: &Target, scope: &Scope, time: Duration) -> Result<f64, Failed> {
    let begun = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (db, scope, stream) = (target.db.clone(), scope.clone(), format!("s{writer}"));
            tokio::spawn(async move {
                let mut done = 0_u32;
                while begun.elapsed() < time {
                    db.events().append(&scope, single(u64::from(done), &stream), None).await?;
                    done += 1;
                }
                Ok::<u32, mnemon::Error>(done)
            })
        })
        .collect();
    let mut done = 0;
    for writer in writers {
        done += writer.await??;
    }
    Ok(f64::from(done) / begun.elapsed().as_secs_f64())
}

/// Several subscribers read the same log from its start at once.
async fn replays(target: &Target, events: u64, report: &mut Report) -> Result<(), Failed> {
    let scope = scope("replayed");
    let batches = events.div_ceil(1_000);
    for n in 0..batches {
        let append = batch(30, n * 1_000, 1_000, &format!("job-{}", n / 10));
        target.db.events().append(&scope, append, None).await?;
    }
    let mut rates = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let (db, scope) = (target.db.clone(), Scope::tenant(scope.tenant.clone()));
                tokio::spawn(async move {
                    let mut all = db.events().subscribe(&scope, EventFilter::default(), None)?;
                    let mut told = 0_u64;
                    while told < batches * 1_000 {
                        told += u64::from(matches!(all.next().await?, Told::Event(_)));
                    }
                    Ok::<u64, mnemon::Error>(told)
                })
            })
            .collect();
        let mut told = 0;
        for reader in readers {
            told += reader.await??;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        rates.push(told as f64 / begun.elapsed().as_secs_f64());
    }
    let rate = percentile(&rates, 0.5);
    report.figure(target.name, "replayed to 4 subscribers together", rate, "events/s");
    let bar = format!("{} events/s replayed to 4 subscribers", target.name);
    report.bars.push(Bar::at_least(bar, rate, 200_000.0));
    Ok(())
}

/// From an append's answer to its event at a subscriber, on a log where nothing else happens.
async fn wakes(target: &Target, count: u32, report: &mut Report) -> Result<(), Failed> {
    let scope = scope("quiet");
    let mut all = live(target, &scope).await?;
    let mut times = Vec::new();
    for n in 0..count {
        tokio::time::sleep(Duration::from_millis(u64::from(n % 17))).await;
        target.db.events().append(&scope, single(u64::from(n), "s"), None).await?;
        let begun = Instant::now();
        while !matches!(all.next().await?, Told::Event(_)) {}
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    report.figure(target.name, "wake-up on an idle log", percentile(&times, 0.5), "ms, median");
    let bar = format!("{} wake-up on an idle log, p99 ms", target.name);
    report.bars.push(Bar::at_most(bar, percentile(&times, 0.99), 50.0));
    Ok(())
}
