//! Saving a workflow run by compare-and-set among very many runs, beside the raw `UPDATE … WHERE
//! version = …` of the same rows.

use std::time::{Duration, Instant};

use clap::Args;
use mnemon::workflows::{RunFilter, RunStatus, SaveRun};
use mnemon::{Page, Scope};
use serde_json::json;
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
    /// Runs that stand already.
    #[arg(long, default_value_t = 1_000_000)]
    runs: u32,
    /// Seconds of each side.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

const WRITERS: u32 = 8;
const TENANT: &str = "bench";
/// A transaction of one statement: the limit.
const RAW: &str = "update mnemon.workflow_runs set version = version + 1, \
    updated_at = clock_timestamp(), state = $4 where tenant = $1 and id = $2 and version = $3";
const FILL: &str = "insert into mnemon.workflow_runs (tenant, id, kind, status, version, execution, \
    started_at, updated_at, counters, timings, metadata, state) \
    select $1, 'r' || n, 'build', case when n % 50 = 0 then 'running' else 'completed' end, 1, 1, \
    mnemon.now() - make_interval(secs => n), mnemon.now(), '{}', '{}', '{}', \
    jsonb_build_object('text', repeat('x', 200)) from generate_series(1, $2::int) as n";

/// Runs the bench.
pub(crate) async fn run(options: &Options) -> Result<Report, Box<dyn std::error::Error>> {
    let time = Duration::try_from_secs_f64(options.seconds)?;
    let target = Target::open(options.on).await?;
    let url = target.server().ok_or("the raw side needs PostgreSQL")?.url().to_owned();
    eprintln!("{} runs", options.runs);
    fill(&url, options.runs).await.map_err(|error| error.to_string())?;
    let ours = saves(&target, options.runs, time).await.map_err(|error| error.to_string())?;
    let raw = raws(&url, options.runs, time).await.map_err(|error| error.to_string())?;
    let lists = lists(&target, time / 4).await?;
    let mut report = Report {
        bench: "workflows",
        columns: vec!["what", "a second", "median ms", "p99 ms"],
        rows: Vec::new(),
        bars: vec![Bar::at_most("compare-and-set save, p99 ms", percentile(&ours, 0.99), 10.0)],
        notes: vec![format!(
            "{WRITERS} writers among {} runs on {}, a state of 200 bytes; lists by one reader",
            options.runs, target.name
        )],
    };
    report.bars.push(Bar::at_most("list of a status, p99 ms", percentile(&lists, 0.99), 10.0));
    for (what, times) in [("save", &ours), ("raw update", &raw), ("list of a status", &lists)] {
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let rate = times.len() as f64 / options.seconds;
        report.rows.push(vec![
            what.to_owned(),
            format!("{rate:.0}"),
            format!("{:.3}", percentile(times, 0.5)),
            format!("{:.3}", percentile(times, 0.99)),
        ]);
    }
    Ok(report)
}

async fn fill(url: &str, runs: u32) -> Result<(), Failed> {
    let mut conn = PgConnection::connect(url).await?;
    sqlx::query(FILL).bind(TENANT).bind(runs.cast_signed()).execute(&mut conn).await?;
    conn.execute("vacuum analyze mnemon.workflow_runs").await?;
    conn.close().await?;
    Ok(())
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

async fn raws(url: &str, runs: u32, time: Duration) -> Result<Vec<f64>, Failed> {
    let begun = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let url = url.to_owned();
            tokio::spawn(async move {
                let mut conn = PgConnection::connect(&url).await?;
                let mut times = Vec::new();
                for turn in 0.. {
                    if begun.elapsed() >= time {
                        break;
                    }
                    let id = format!("r{}", pick(writer, turn, runs));
                    let version: i64 = sqlx::query_scalar(
                        "select version from mnemon.workflow_runs where tenant = $1 and id = $2",
                    )
                    .bind(TENANT)
                    .bind(&id)
                    .fetch_one(&mut conn)
                    .await?;
                    let state = json!({ "text": "z".repeat(200) });
                    let since = Instant::now();
                    let raw = sqlx::query(RAW).bind(TENANT).bind(&id).bind(version).bind(state);
                    raw.execute(&mut conn).await?;
                    times.push(since.elapsed().as_secs_f64() * 1_000.0);
                }
                Ok::<Vec<f64>, sqlx::Error>(times)
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
