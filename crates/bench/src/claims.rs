//! What claims cost as an agent's ledger and a line grow, beside mempill's published crates; and
//! agents that write at once, beside the commits of one row.
//!
//! Everything that is compared alternates call by call or round by round in one run, with the
//! same durability, so that whatever else the machine does falls on all sides alike. The peer is
//! a process of its own: its SQLite crate links another SQLite than ours.

mod growth;
mod peer;
mod writers;

use std::time::Duration;

use clap::Args;
use mnemon::Scope;

use crate::report::Report;
use crate::target::{On, Target};

/// How much more a call may cost on a long ledger or line than on a short one.
const GROWTH: f64 = 1.5;
/// How much of the rate of one-row commits agents that write at once must reach.
const OF_RAW: f64 = 0.5;
/// Ledger entries of the agent with a short ledger.
const SHORT: usize = 200;
/// The agents' tenant.
const TENANT: &str = "bench";

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Databases to run on; all when none is named.
    #[arg(long, value_enum)]
    on: Vec<On>,
    /// Ledger entries of the agent with a long ledger.
    #[arg(long, default_value_t = 20_000)]
    ledger: usize,
    /// Ledger entries of the peer's; filling it costs the peer its whole ledger at every claim.
    #[arg(long, default_value_t = 2_000)]
    peer_ledger: usize,
    /// Claims of the long line.
    #[arg(long, default_value_t = 1_000)]
    line: usize,
    /// Claims ingested on each side.
    #[arg(long, default_value_t = 300)]
    ingests: usize,
    /// Beliefs read on each side.
    #[arg(long, default_value_t = 500)]
    reads: usize,
    /// Seconds of each measurement of agents at once; every figure has three.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Leave the peer out.
    #[arg(long)]
    without_mempill: bool,
}

type Failed = Box<dyn std::error::Error>;

/// Runs the bench on every database asked for.
pub(crate) async fn run(options: &Options) -> Result<Report, Failed> {
    let time = Duration::try_from_secs_f64(options.seconds)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or("--seconds is a number above 0")?;
    if options.ledger < SHORT || options.line < 2 || options.ingests == 0 || options.reads == 0 {
        return Err(format!("--ledger is at least {SHORT}, --line 2, the others 1").into());
    }
    let mut report = Report {
        bench: "claims",
        columns: vec!["database", "what", "side", "p50 µs", "p99 µs", "per second", "CPU %"],
        rows: Vec::new(),
        bars: Vec::new(),
        notes: vec![format!(
            "{} ingests and {} beliefs on each side, in turn; agents at once: best of three rounds \
             of {} s, raw: one row of a claim's size a commit, CPU of the whole machine; every \
             side commits durably (SQLite: WAL, synchronous full)",
            options.ingests, options.reads, options.seconds
        )],
    };
    let on = if options.on.is_empty() { On::ALL.to_vec() } else { options.on.clone() };
    for on in on {
        let target = Target::open(on).await?;
        growth::run(&target, options, &mut report).await?;
        writers::run(&target, time, &mut report).await?;
        target.db.close().await;
    }
    Ok(report)
}

fn scope(agent: &str) -> Scope {
    Scope::tenant(TENANT).agent(agent)
}

/// A row of figures.
fn row(report: &mut Report, database: &str, what: &str, side: &str, figures: [String; 4]) {
    let mut cells = vec![database.to_owned(), what.to_owned(), side.to_owned()];
    cells.extend(figures);
    report.rows.push(cells);
}
