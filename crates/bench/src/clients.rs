//! Ten thousand logical clients, each with a scope of its own, over a pool of twenty: all are
//! served, the waiting room is bounded, and one more than it holds is told `Unavailable`.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use mnemon::config::SecretUrl;
use mnemon::core::limits;
use mnemon::workflows::SaveRun;
use mnemon::{Config, Error, Mnemon, Scope};
use rusqlite::Connection;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};

use crate::report::{Bar, Report, percentile};
use crate::target::{On, Target};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Databases to run on; all of them when none is named.
    #[arg(long, value_enum)]
    on: Vec<On>,
    /// Clients at once.
    #[arg(long, default_value_t = 10_000)]
    clients: u32,
    /// Connections of the pool.
    #[arg(long, default_value_t = 20)]
    pool: u32,
    /// Callers that may wait.
    #[arg(long, default_value_t = 20_000)]
    waiting: u32,
    /// Saves and loads of each client.
    #[arg(long, default_value_t = 3)]
    turns: u32,
}

/// Runs the bench on every database asked for.
pub(crate) async fn run(options: &Options) -> Result<Report, Box<dyn std::error::Error>> {
    let mut report = Report {
        bench: "clients",
        columns: vec!["database", "what", "figure"],
        rows: Vec::new(),
        bars: Vec::new(),
        notes: vec![format!(
            "{} tasks with a scope each; on a server {} connections, {} may wait; an embedded \
             store has one writer, and {} may wait",
            options.clients,
            options.pool,
            options.waiting,
            limits::WAITING_MAX
        )],
    };
    for on in On::wanted(&options.on) {
        one(on, options, &mut report).await.map_err(|error| error.to_string())?;
    }
    Ok(report)
}

async fn one(on: On, options: &Options, report: &mut Report) -> Result<(), Failed> {
    let target = Target::open(on).await.map_err(|error| error.to_string())?;
    let name = target.name;
    eprintln!("{name}: {} clients", options.clients);
    let db = match target.server() {
        Some(database) => {
            let mut config = Config::default();
            config.store.url = Some(SecretUrl::new(database.url().to_owned()));
            config.pool.max_connections = options.pool;
            config.pool.max_waiting = options.waiting;
            config.pool.acquire_timeout = Duration::from_mins(5);
            config.upkeep.enabled = false;
            Mnemon::from_config(config).await?
        }
        None => target.db.clone(),
    };
    let before = resident("VmRSS:");
    let (served, times) = serve(&db, options).await?;
    let after = resident("VmHWM:");
    eprintln!("{name}: a full waiting room");
    let refused = match (target.server(), target.file()) {
        (Some(database), _) => overfill(&db, database.url(), options).await?,
        (_, Some(file)) => overfill_file(&db, &file, options).await?,
        _ => return Err("neither a file nor a server".into()),
    };
    db.close().await;
    let calls = times.len();
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let share = calls as f64 / f64::from(options.clients * options.turns * 2);
    for (what, figure) in [
        ("calls served", calls.to_string()),
        ("calls a second", format!("{:.0}", calls_a_second(calls, served))),
        ("median ms, the wait included", format!("{:.1}", percentile(&times, 0.5))),
        ("p99 ms, the wait included", format!("{:.1}", percentile(&times, 0.99))),
        ("resident before, MiB", format!("{before:.1}")),
        ("resident at its highest so far, MiB", format!("{after:.1}")),
    ] {
        report.rows.push(vec![name.to_owned(), what.to_owned(), figure]);
    }
    report.bars.push(Bar::at_least(format!("{name} share of the calls served"), share, 1.0));
    report.bars.push(Bar::at_least(
        format!("{name} one more than may wait is refused"),
        f64::from(u8::from(refused)),
        1.0,
    ));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
fn calls_a_second(calls: usize, time: Duration) -> f64 {
    calls as f64 / time.as_secs_f64()
}

async fn serve(db: &Mnemon, options: &Options) -> Result<(Duration, Vec<f64>), Failed> {
    let (begun, turns) = (Instant::now(), options.turns);
    let clients: Vec<_> = (0..options.clients)
        .map(|client| {
            let db = db.clone();
            tokio::spawn(async move {
                let scope = Scope::tenant("bench").user(format!("u{client}"));
                let (id, mut times) = (format!("r{client}"), Vec::new());
                for turn in 0..turns {
                    let run = SaveRun {
                        expected_version: i64::from(turn),
                        ..SaveRun::new(id.as_str(), "build")
                    };
                    for call in [Some(run), None] {
                        let since = Instant::now();
                        match call {
                            Some(run) => drop(db.workflows().save(&scope, run, None).await?),
                            None => drop(db.workflows().load(&scope, &id).await?),
                        }
                        times.push(since.elapsed().as_secs_f64() * 1_000.0);
                    }
                }
                Ok::<Vec<f64>, Error>(times)
            })
        })
        .collect();
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.await??);
    }
    Ok((begun.elapsed(), all))
}

/// Fills the waiting room behind a table that somebody holds, and tries one more.
async fn overfill(db: &Mnemon, url: &str, options: &Options) -> Result<bool, Failed> {
    let mut holder = PgConnection::connect(url).await?;
    holder.execute("begin").await?;
    holder.execute("lock table mnemon.workflow_runs in access exclusive mode").await?;
    let crowd = options.pool + options.waiting;
    let load = |client: u32| {
        let db = db.clone();
        async move {
            let scope = Scope::tenant("bench").user(format!("u{client}"));
            db.workflows().load(&scope, &format!("r{client}")).await
        }
    };
    let waiting: Vec<_> = (0..crowd).map(|n| tokio::spawn(load(n % options.clients))).collect();
    // Every one of them is polled before this goes on.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let more = tokio::time::timeout(Duration::from_secs(5), load(0)).await;
    let refused = matches!(more, Ok(Err(Error::Unavailable { .. })));
    holder.execute("rollback").await?;
    holder.close().await?;
    let mut served = 0;
    for one in waiting {
        served += u32::from(one.await?.is_ok());
    }
    if served != crowd {
        return Err(format!("{served} of {crowd} that waited were served").into());
    }
    Ok(refused)
}

/// The same behind a write to the file that somebody does not end. How many the writer has taken
/// out of the line to merge is its own affair, so some more than may wait are sent.
async fn overfill_file(db: &Mnemon, file: &Path, options: &Options) -> Result<bool, Failed> {
    let holder = Connection::open(file)?;
    holder.execute_batch("begin immediate")?;
    let (crowd, clients) = (limits::WAITING_MAX + 2_000, options.clients);
    let save = |number: u32| {
        let db = db.clone();
        async move {
            let scope = Scope::tenant("bench").user(format!("u{}", number % clients));
            let run = SaveRun::new(format!("crowd{number}"), "build");
            db.workflows().save(&scope, run, None).await
        }
    };
    let waiting: Vec<_> = (0..crowd).map(|n| tokio::spawn(save(n))).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let more = tokio::time::timeout(Duration::from_secs(5), save(crowd)).await;
    let refused = matches!(more, Ok(Err(Error::Unavailable { .. })));
    holder.execute_batch("rollback")?;
    let mut served = 0;
    for one in waiting {
        match one.await? {
            Ok(_) => served += 1,
            Err(Error::Unavailable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if served < limits::WAITING_MAX {
        return Err(format!("{served} of {} that waited were served", limits::WAITING_MAX).into());
    }
    Ok(refused)
}

/// Memory of this process, in MiB; 0 where the system does not say.
fn resident(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix(what))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse::<f64>().ok())
        .map_or(0.0, |kib| kib / 1024.0)
}
