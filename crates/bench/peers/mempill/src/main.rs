//! mempill beside Mnemon: one process that does what it is told on stdin, one line after the
//! other, and answers each with a line on stdout.
//!
//! `mempill-peer sqlite FOLDER` or `mempill-peer postgres URL`, then
//!
//! - `ingest AGENT SUBJECT [START [END]]`: ingests a claim, its window in days since 1970; answers
//!   the microseconds that took and the claim's disposition.
//! - `fill AGENT COUNT`: ingests so many claims, each of a line of its own; answers `filled`.
//! - `succession AGENT SUBJECT COUNT`: so many windows of a day that end yesterday, and one that
//!   holds since; answers `filled`.
//! - `belief AGENT SUBJECT`: reads what is believed now; answers the microseconds that took and the
//!   belief's status.

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use mempill::engine::{EngineConfig, NoOpOracle, NoOpVector};
use mempill::{
    AgentId, CanIngestClaim, CanQueryMemory, Cardinality, Confidence, Criticality, Disposition,
    ExternalKind, IngestClaimRequest, ProvenanceLabel, QueryMemoryRequest, ValidTime,
};
use tokio::runtime::Runtime;

type Failed = Box<dyn Error>;

const PREDICATE: &str = "is";
const DAY: i64 = 86_400;

trait Engine: CanIngestClaim + CanQueryMemory {}
impl<E: CanIngestClaim + CanQueryMemory> Engine for E {}

/// Where claims go: a file per agent, as mempill lays them out, or one server.
enum Engines {
    Files(PathBuf, HashMap<String, Arc<dyn Engine>>),
    Server(Arc<dyn Engine>),
}

impl Engines {
    fn open(kind: &str, place: &str) -> Result<Self, Failed> {
        match kind {
            "sqlite" => Ok(Self::Files(place.into(), HashMap::new())),
            "postgres" => Ok(Self::Server(Arc::new(mempill_postgres::open_postgres(
                place,
                None::<Arc<NoOpOracle>>,
                None::<Arc<NoOpVector>>,
                EngineConfig::default(),
            )?))),
            other => Err(format!("{other} is no database").into()),
        }
    }

    fn of(&mut self, agent: &str) -> Result<Arc<dyn Engine>, Failed> {
        match self {
            Self::Server(engine) => Ok(Arc::clone(engine)),
            Self::Files(folder, open) => {
                if let Some(engine) = open.get(agent) {
                    return Ok(Arc::clone(engine));
                }
                let engine: Arc<dyn Engine> =
                    Arc::new(mempill::sqlite::open_default_for_agent(folder, agent)?);
                open.insert(agent.to_owned(), Arc::clone(&engine));
                Ok(engine)
            }
        }
    }
}

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, kind, place] = arguments.as_slice() else {
        return Err("mempill-peer sqlite FOLDER | postgres URL".into());
    };
    let runtime = Runtime::new()?;
    // Outside the runtime: its PostgreSQL client brings one of its own.
    let mut engines = Engines::open(kind, place)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let answer = answer(&runtime, &mut engines, &line?)?;
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    // Dropping its engine inside a process that has a runtime may abort it.
    std::process::exit(0)
}

fn answer(runtime: &Runtime, engines: &mut Engines, line: &str) -> Result<String, Failed> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["ingest", agent, subject, window @ ..] => {
            let engine = engines.of(agent)?;
            let days = window.iter().map(|day| day.parse()).collect::<Result<Vec<i64>, _>>()?;
            let claim = claim(agent, subject, days.first().copied(), days.get(1).copied());
            let begun = Instant::now();
            let done = runtime.block_on(engine.ingest_ergo(claim))?;
            Ok(format!("{} {:?}", begun.elapsed().as_micros(), done.disposition))
        }
        ["fill", agent, count] => {
            let engine = engines.of(agent)?;
            for n in 0..count.parse::<u64>()? {
                let claim = claim(agent, &format!("filled{n}"), None, None);
                runtime.block_on(engine.ingest_ergo(claim))?;
            }
            Ok("filled".to_owned())
        }
        ["succession", agent, subject, count] => {
            let engine = engines.of(agent)?;
            let count: i64 = count.parse()?;
            let today = Utc::now().timestamp() / DAY;
            for n in 1..=count {
                let start = today - 1 - count + n;
                let end = (n < count).then_some(start + 1);
                let claim = claim(agent, subject, Some(start), end);
                let done = runtime.block_on(engine.ingest_ergo(claim))?;
                if done.disposition != Disposition::CommittedCheap {
                    return Err(format!("window {n} was {:?}", done.disposition).into());
                }
            }
            Ok("filled".to_owned())
        }
        ["belief", agent, subject] => {
            let engine = engines.of(agent)?;
            let query = QueryMemoryRequest {
                agent_id: AgentId((*agent).to_owned()),
                subject: (*subject).to_owned(),
                predicate: PREDICATE.to_owned(),
                as_of_tx_time: None,
                valid_at: None,
            };
            let begun = Instant::now();
            let found = runtime.block_on(engine.query_ergo(query))?;
            Ok(format!("{} {:?}", begun.elapsed().as_micros(), found.belief.status))
        }
        _ => Err(format!("{line:?} is nothing to do").into()),
    }
}

fn claim(agent: &str, subject: &str, start: Option<i64>, end: Option<i64>) -> IngestClaimRequest {
    let day = |day: i64| DateTime::from_timestamp(day * DAY, 0);
    // Every window has a value of its own, so that it succeeds the one before.
    let value = start.map_or_else(|| subject.to_owned(), |start| format!("since {start}"));
    let valid_time = start.map(|start| ValidTime {
        start: day(start),
        end: end.and_then(day),
        valid_time_confidence: 1.0,
        ..ValidTime::default()
    });
    let valid_time_confidence = if valid_time.is_some() { 1.0 } else { 0.0 };
    IngestClaimRequest {
        agent_id: AgentId(agent.to_owned()),
        subject: subject.to_owned(),
        predicate: PREDICATE.to_owned(),
        value: serde_json::Value::String(value),
        provenance: ProvenanceLabel::External(ExternalKind::UserAsserted),
        cardinality: Cardinality::Functional,
        valid_time,
        confidence: Confidence { value_confidence: 1.0, valid_time_confidence },
        criticality: Criticality::Medium,
        derived_from: Vec::new(),
    }
}
