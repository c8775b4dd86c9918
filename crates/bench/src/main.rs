//! `mnemon-bench`: every performance claim of Mnemon, measured beside its peer or its limit in
//! the same run. Results on stdout, progress on stderr; exit code 1 when a bar was missed.

mod checkpoints;
mod claims;
mod clients;
mod dlq;
mod events;
mod locks;
mod locomo;
mod python;
mod recall;
mod remember;
mod report;
mod steps;
mod subscriptions;
mod target;
mod turns;
mod vectors;
mod workflows;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures what Mnemon promises, each figure beside its peer or limit.
#[derive(Parser)]
#[command(name = "mnemon-bench", version)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
    /// Print one JSON object, with its `bars`.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Bench {
    /// The benches there are.
    List,
    /// What claims cost as a ledger and a line grow, beside mempill; agents writing at once.
    Claims(claims::Options),
    /// Saves of a large state that changes little, beside whole upserts and `langgraph`.
    Checkpoints(checkpoints::Options),
    /// Ten thousand logical clients over a pool of twenty.
    Clients(clients::Options),
    /// Dead letters beside raw loops and pgmq; what the tables weigh after many cycles.
    Dlq(dlq::Options),
    /// Appends in batches, gathered and one by one, beside raw statements; questions among them.
    Events(events::Options),
    /// Acquire and release of a lock beside two updates of its row.
    Locks(locks::Options),
    /// Evidence recall@10 on conversations of the `LoCoMo` data set.
    Locomo(locomo::Options),
    /// Recall by words and vectors: latency beside recall@10, at every selectivity.
    Recall(recall::Options),
    /// Writing with vectors, recall meanwhile, and how soon an index holds them; mem0 and langgraph.
    Remember(remember::Options),
    /// Steps a second beside the raw transaction of the same rows, and beside `dbos`.
    Steps(steps::Options),
    /// What subscribers cost writers, how fast they replay, how soon they wake.
    Subscriptions(subscriptions::Options),
    /// Compare-and-set saves among a million runs.
    Workflows(workflows::Options),
    /// What appending a turn costs as a session grows.
    Turns(turns::Options),
}

/// Name and claim of every bench, in the order of the help.
const BENCHES: &[(&str, &str)] = &[
    (
        "claims",
        "a long ledger or line costs at most 1.5 of a short one; 32 agents reach half of one-row commits",
    ),
    (
        "checkpoints",
        "512 KB that changes by 1 KB is saved 10 times as fast as by a JSONB upsert and langgraph",
    ),
    ("clients", "10,000 clients over 20 connections are served; one more than may wait is refused"),
    (
        "dlq",
        "take and ack at least as fast as the raw loop and pgmq; tables at most twice their rows",
    ),
    (
        "events",
        "50,000 events/s for long, 0.7 of the raw statement; indexed questions within 10 ms",
    ),
    ("locks", "acquire and release reach at least half of two updates of one row"),
    (
        "locomo",
        "evidence recall@10 of words is at least 0.59, of recall 0.59, or 0.64 with a model of meaning",
    ),
    ("recall", "100,000 memories within 10 ms on PostgreSQL, 20 embedded, at recall@10 of 0.95"),
    ("remember", "2,000 memories a second one by one, 5,000 in batches, recall complete meanwhile"),
    ("steps", "at least half of the raw transaction's rate, and 5 times that of dbos"),
    (
        "subscriptions",
        "commits at 0.95 with 100 idle subscribers, 0.8 with one that reads all; wake-ups in 50 ms",
    ),
    ("workflows", "a compare-and-set save among 1,000,000 runs within 10 ms at p99"),
    ("turns", "an append to a session of 10,000 turns costs at most 1.3 of one to 10 turns"),
];

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::from(2)
        }
    }
}

async fn run(cli: &Cli) -> Result<bool, Box<dyn std::error::Error>> {
    let report = match &cli.bench {
        Bench::List => {
            list(cli.json);
            return Ok(true);
        }
        Bench::Claims(options) => claims::run(options).await?,
        Bench::Checkpoints(options) => checkpoints::run(options).await?,
        Bench::Clients(options) => clients::run(options).await?,
        Bench::Dlq(options) => dlq::run(options).await?,
        Bench::Events(options) => events::run(options).await?,
        Bench::Locks(options) => locks::run(options).await?,
        Bench::Locomo(options) => locomo::run(options).await?,
        Bench::Recall(options) => recall::run(options).await?,
        Bench::Remember(options) => remember::run(options).await?,
        Bench::Steps(options) => steps::run(options).await?,
        Bench::Subscriptions(options) => subscriptions::run(options).await?,
        Bench::Workflows(options) => workflows::run(options).await?,
        Bench::Turns(options) => turns::run(options).await?,
    };
    report.print(cli.json);
    Ok(report.held())
}

fn list(json: bool) {
    if json {
        let all: Vec<_> = BENCHES
            .iter()
            .map(|(name, claim)| serde_json::json!({ "name": name, "claim": claim }))
            .collect();
        println!("{}", serde_json::Value::from(all));
        return;
    }
    for (name, claim) in BENCHES {
        println!("{name:<13} {claim}");
    }
}
