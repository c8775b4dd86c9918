//! Ten thousand logical clients, each with a scope of its own, over a pool of twenty: all are
//! served, the waiting room is bounded, and one more than it holds is told `Unavailable`.

use std::time::{Duration, Instant};

use clap::Args;
use mnemon::config::SecretUrl;
use mnemon::workflows::SaveRun;
use mnemon::{Config, Error, Mnemon, Scope};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};

use crate::report::{Bar, Report, percentile};
use crate::target::{On, Target};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// The database; PostgreSQL 18 when none is named.
    #[arg(long, value_enum, default_value_t = On::Postgres18)]
    on: On,
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

/// Runs the bench.
pub(crate) async fn run(options: &Options) -> Result<Report, Box<dyn std::error::Error>> {
    let target = Target::open(options.on).await?;
    let url = target.server().ok_or("a pool needs PostgreSQL")?.url().to_owned();
    let mut config = Config::default();
    config.store.url = Some(SecretUrl::new(url.clone()));
    config.pool.max_connections = options.pool;
    config.pool.max_waiting = options.waiting;
    config.pool.acquire_timeout = Duration::from_mins(5);
    config.upkeep.enabled = false;
    let db = Mnemon::from_config(config).await?;
    let before = resident();
    let (served, times) = serve(&db, options).await.map_err(|error| error.to_string())?;
    let after = resident();
    let (full, refused) = overfill(&db, &url, options).await.map_err(|error| error.to_string())?;
    db.close().await;
    let calls = times.len();
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let share = calls as f64 / f64::from(options.clients * options.turns * 2);
    let row = |what: &str, figure: String| vec![what.to_owned(), figure];
    Ok(Report {
        bench: "clients",
        columns: vec!["what", "figure"],
        rows: vec![
            row("calls served", calls.to_string()),
            row("calls a second", format!("{:.0}", calls_a_second(calls, served))),
            row("median ms, the wait included", format!("{:.1}", percentile(&times, 0.5))),
            row("p99 ms, the wait included", format!("{:.1}", percentile(&times, 0.99))),
            row("resident before, MiB", format!("{before:.1}")),
            row("resident at its highest, MiB", format!("{after:.1}")),
            row("waiting when the room was full", full.to_string()),
        ],
        bars: vec![
            Bar::at_least("share of the calls that were served", share, 1.0),
            Bar::at_least("one more than may wait is refused", f64::from(u8::from(refused)), 1.0),
        ],
        notes: vec![format!(
            "{} tasks with a scope each, {} connections, {} may wait; on {}",
            options.clients, options.pool, options.waiting, target.name
        )],
    })
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
async fn overfill(db: &Mnemon, url: &str, options: &Options) -> Result<(u32, bool), Failed> {
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
    Ok((options.waiting, refused))
}

/// The most memory this process has had, in MiB; 0 where the system does not say.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse::<f64>().ok())
        .map_or(0.0, |kib| kib / 1024.0)
}
