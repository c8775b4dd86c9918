//! Steps a second, beside the raw transaction that inserts the same rows into the same tables and
//! beside `dbos`. A step is a turn, a memory, an event and a checkpoint, and its receipt.
//!
//! Both sides alternate on one database, with the durability Mnemon opens it with; the best of the
//! rounds counts. What Mnemon does besides (reading what it must decide on, embedding, cutting
//! text into words) is inside its figure and not in the limit's.

mod dbos;
mod load;
mod raw_postgres;
mod raw_sqlite;

use std::time::Duration;

use clap::Args;

use self::dbos::Dbos;
use crate::report::{Bar, Report, percentile};
use crate::target::{On, Rls, Target};

/// How much of the raw transaction's rate a step must reach.
const OF_RAW: f64 = 0.5;
/// How often it must do what `dbos` does once, on one thread.
const OF_DBOS: f64 = 5.0;
/// Measurements of each side.
const ROUNDS: usize = 3;
/// Writers at once.
const WRITERS: [usize; 3] = [1, 8, 32];
/// The tenant whose rows the limit writes again.
const PATTERN: &str = "pattern";

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Databases to run on; SQLite and PostgreSQL 18 when none is named.
    #[arg(long, value_enum)]
    on: Vec<On>,
    /// Seconds of each measurement; every figure has three.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Leave the peer out.
    #[arg(long)]
    without_dbos: bool,
}

type Failed = Box<dyn std::error::Error>;

/// Runs the bench on every database asked for.
pub(crate) async fn run(options: &Options) -> Result<Report, Failed> {
    let time = Duration::try_from_secs_f64(options.seconds)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or("--seconds is a number above 0")?;
    let mut report = Report {
        bench: "steps",
        columns: vec![
            "database",
            "writers",
            "steps/s",
            "median",
            "beside",
            "its steps/s",
            "median",
            "ratio",
        ],
        rows: Vec::new(),
        bars: Vec::new(),
        notes: vec![format!(
            "turn + memory + event + checkpoint + receipt, {} bytes each; best of {ROUNDS} rounds \
             of {} s",
            load::PAYLOAD,
            options.seconds
        )],
    };
    let on =
        if options.on.is_empty() { vec![On::Sqlite, On::Postgres18] } else { options.on.clone() };
    for on in on {
        one(on, Rls::Off, time, &mut report).await?;
        if on != On::Sqlite {
            one(on, Rls::On, time, &mut report).await?;
            if !options.without_dbos {
                peer(on, time, &mut report).await?;
            }
        }
    }
    Ok(report)
}

/// The raw side of a database.
enum Raw {
    Sqlite(raw_sqlite::Raw),
    Postgres(raw_postgres::Raw),
}

impl Raw {
    async fn open(target: &Target) -> Result<Self, Failed> {
        // As superuser, whom row-level security does not bind: the limit pays nothing for it.
        if let Some(database) = target.server() {
            let raw = raw_postgres::Raw::open(database.url(), PATTERN).await;
            return Ok(Self::Postgres(raw.map_err(|error| error.to_string())?));
        }
        let file = target.file().ok_or("neither a file nor a server")?;
        let raw = raw_sqlite::Raw::open(&file, PATTERN);
        Ok(Self::Sqlite(raw.map_err(|error| error.to_string())?))
    }

    async fn run(&self, name: &str, writers: usize, time: Duration) -> Result<f64, Failed> {
        match self {
            Self::Sqlite(raw) => raw.run(name, writers, time).await,
            Self::Postgres(raw) => raw.run(name, writers, time).await,
        }
    }
}

/// One database: every number of writers, both sides in turn.
async fn one(on: On, rls: Rls, time: Duration, report: &mut Report) -> Result<(), Failed> {
    let target = Target::open_with(on, rls).await?;
    let database = match rls {
        Rls::Off => target.name.to_owned(),
        Rls::On => format!("{} RLS", target.name),
    };
    let steps = load::pass();
    for step in steps.iter() {
        target.db.commit(&load::scope(PATTERN), step.clone()).await?;
    }
    let raw = Raw::open(&target).await?;
    for writers in WRITERS {
        eprintln!("{database}: {writers} writers");
        let (mut ours, mut limit) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let name = format!("{writers}-{round}");
            ours.push(load::mnemon(&target.db, &steps, &format!("m{name}"), writers, time).await?);
            limit.push(raw.run(&format!("r{name}"), writers, time).await?);
        }
        let ratio = row(report, &database, writers, &ours, "raw", &limit);
        if rls == Rls::Off {
            let name = format!("{database} {writers} writers, of raw");
            report.bars.push(Bar::at_least(name, ratio, OF_RAW));
        }
    }
    target.db.close().await;
    Ok(())
}

/// What a thread of Mnemon's does beside one thread of `dbos`: what a step writes, and how many
/// agents the thread serves. A `dbos` step keeps one payload, and the thread that runs it waits for
/// it. What writes four is told by the same bar, though the raw transaction of its rows is hardly
/// faster than `dbos` either.
const BESIDE_DBOS: [(&str, bool, usize); 3] = [
    ("four writes, one agent", true, 1),
    ("one write, one agent", false, 1),
    ("one write, 32 agents", false, 32),
];

/// One thread of `dbos` beside one thread of ours, on one server.
async fn peer(on: On, time: Duration, report: &mut Report) -> Result<(), Failed> {
    let dbos = match Dbos::prepare() {
        Ok(dbos) => dbos,
        Err(reason) => {
            report.notes.push(format!("not measured beside dbos: {reason}"));
            return Ok(());
        }
    };
    let target = Target::open(on).await?;
    let Some(server) = target.server() else { return Ok(()) };
    let beside = server.server().database().await;
    let url = server.url().to_owned();
    eprintln!("{}: dbos", target.name);
    let (four, single) = (load::pass(), load::singles());
    let mut ours = vec![Vec::new(); BESIDE_DBOS.len()];
    let mut theirs = Vec::new();
    for round in 0..ROUNDS {
        match dbos.run(beside.url(), time) {
            Ok(rate) => theirs.push(rate),
            Err(reason) => {
                report.notes.push(format!("not measured beside dbos: {reason}"));
                return Ok(());
            }
        }
        for (place, (_, all, agents)) in BESIDE_DBOS.into_iter().enumerate() {
            let steps = if all { four.clone() } else { single.clone() };
            let (url, name) = (url.clone(), format!("d{round}-{place}"));
            let thread = move || load::one_thread(&url, &steps, &name, agents, time);
            ours[place].push(tokio::task::spawn_blocking(thread).await??);
        }
    }
    for ((what, _, agents), ours) in BESIDE_DBOS.iter().zip(&ours) {
        let name = format!("{}, {what}", target.name);
        let ratio = row(report, &name, *agents, ours, "dbos", &theirs);
        report.bars.push(Bar::at_least(format!("{name}, of dbos on one thread"), ratio, OF_DBOS));
    }
    target.db.close().await;
    Ok(())
}

/// Adds a row of figures; answers how the best compare.
fn row(
    report: &mut Report,
    database: &str,
    writers: usize,
    ours: &[f64],
    beside: &str,
    theirs: &[f64],
) -> f64 {
    let best = |rates: &[f64]| percentile(rates, 1.0);
    let ratio = best(ours) / best(theirs);
    report.rows.push(vec![
        database.to_owned(),
        writers.to_string(),
        format!("{:.0}", best(ours)),
        format!("{:.0}", percentile(ours, 0.5)),
        beside.to_owned(),
        format!("{:.0}", best(theirs)),
        format!("{:.0}", percentile(theirs, 0.5)),
        format!("{ratio:.2}"),
    ]);
    ratio
}
