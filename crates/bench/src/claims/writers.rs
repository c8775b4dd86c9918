//! Agents that write at once, each claim a line of its own, beside as many writers that commit one
//! row of a claim's size.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mnemon::Mnemon;
use mnemon::claims::NewClaim;
use rusqlite::Connection;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};

use super::{Failed, OF_RAW, row, scope};
use crate::report::{Bar, Report, percentile};
use crate::target::Target;

/// Agents at once.
const WRITERS: [usize; 3] = [1, 8, 32];
/// How many have a bar.
const BARRED: usize = 32;
/// Measurements of each side.
const ROUNDS: usize = 3;
const TABLE: &str = "create table raw_rows (writer text not null, n bigint not null, \
    body text not null, primary key (writer, n))";
const POSTGRES: &str = "insert into raw_rows (writer, n, body) values ($1, $2, $3)";
const SQLITE: &str = "insert into raw_rows (writer, n, body) values (?1, ?2, ?3)";

/// Runs every number of writers, both sides in turn.
pub(super) async fn run(
    target: &Target,
    time: Duration,
    report: &mut Report,
) -> Result<(), Failed> {
    let raw = Raw::open(target).await?;
    for writers in WRITERS {
        eprintln!("{}: {writers} agents", target.name);
        let (mut ours, mut limit) = (Vec::new(), Vec::new());
        let mut busy: [Vec<f64>; 2] = Default::default();
        for round in 0..ROUNDS {
            let name = format!("{writers}-{round}");
            let before = Cpu::now();
            ours.push(agents(&target.db, &name, writers, time).await?);
            busy[0].push(before.busy_since());
            let before = Cpu::now();
            limit.push(raw.run(&name, writers, time).await?);
            busy[1].push(before.busy_since());
        }
        let what = format!("{writers} at once");
        for (side, rates, busy) in [("agents", &ours, &busy[0]), ("raw", &limit, &busy[1])] {
            let rate = format!("{:.0}", percentile(rates, 1.0));
            let busy = format!("{:.0}", percentile(busy, 0.5));
            row(report, target.name, &what, side, [String::new(), String::new(), rate, busy]);
        }
        let ratio = percentile(&ours, 1.0) / percentile(&limit, 1.0);
        if writers == BARRED {
            let name = format!("{}: {writers} agents, of one-row commits", target.name);
            report.bars.push(Bar::at_least(name, ratio, OF_RAW));
        } else {
            report.notes.push(format!(
                "{}: {writers} agents reach {ratio:.2} of one-row commits",
                target.name
            ));
        }
    }
    Ok(())
}

/// Claims a second of so many agents. What an agent's first claim makes stands before the clock
/// runs, as the raw side's connections do.
async fn agents(db: &Mnemon, name: &str, agents: usize, time: Duration) -> Result<f64, Failed> {
    let names: Vec<String> = (0..agents).map(|agent| format!("{name}-{agent}")).collect();
    for agent in &names {
        db.claims().assert(&scope(agent), NewClaim::new("agent", "is", "there"), None).await?;
    }
    let begun = Instant::now();
    let tasks: Vec<_> = names
        .into_iter()
        .map(|agent| tokio::spawn(claims(db.clone(), agent, begun + time)))
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    Ok(rate(done, begun))
}

async fn claims(db: Mnemon, agent: String, until: Instant) -> mnemon::Result<u64> {
    let scope = scope(&agent);
    let mut done = 0;
    while Instant::now() < until {
        let claim = NewClaim::new(format!("subject{done}"), "is", body(done));
        db.claims().assert(&scope, claim, None).await?;
        done += 1;
    }
    Ok(done)
}

fn body(n: u64) -> String {
    format!("what is said of it for the {n}th time")
}

/// The raw side of one database.
enum Raw {
    /// One connection behind one mutex: faster than several that poll for the file's lock.
    Sqlite(Arc<Mutex<Connection>>),
    /// A connection per writer.
    Postgres(String),
}

impl Raw {
    async fn open(target: &Target) -> Result<Self, Failed> {
        if let Some(database) = target.server() {
            let mut conn = PgConnection::connect(database.url()).await?;
            conn.execute(TABLE).await?;
            return Ok(Self::Postgres(database.url().to_owned()));
        }
        let path: PathBuf = target.file().ok_or("neither a file nor a server")?;
        let conn = Connection::open(path)?;
        conn.busy_timeout(Duration::from_secs(10))?;
        conn.pragma_update(None, "synchronous", "full")?;
        conn.pragma_update(None, "cache_size", -8 * 1024)?;
        conn.execute(TABLE, [])?;
        Ok(Self::Sqlite(Arc::new(Mutex::new(conn))))
    }

    /// Commits a second of so many writers.
    async fn run(&self, name: &str, writers: usize, time: Duration) -> Result<f64, Failed> {
        match self {
            Self::Sqlite(conn) => {
                let begun = Instant::now();
                let tasks: Vec<_> = (0..writers)
                    .map(|writer| {
                        let (conn, name) = (Arc::clone(conn), format!("{name}-{writer}"));
                        tokio::task::spawn_blocking(move || rows(&conn, &name, begun + time))
                    })
                    .collect();
                let mut done = 0;
                for task in tasks {
                    done += task.await??;
                }
                Ok(rate(done, begun))
            }
            Self::Postgres(url) => {
                let mut connections = Vec::new();
                for _ in 0..writers {
                    connections.push(PgConnection::connect(url).await?);
                }
                let begun = Instant::now();
                let tasks: Vec<_> = (0..writers)
                    .zip(connections)
                    .map(|(writer, conn)| {
                        tokio::spawn(commits(conn, format!("{name}-{writer}"), begun + time))
                    })
                    .collect();
                let mut done = 0;
                for task in tasks {
                    done += task.await??;
                }
                Ok(rate(done, begun))
            }
        }
    }
}

fn rows(conn: &Mutex<Connection>, name: &str, until: Instant) -> rusqlite::Result<u64> {
    let mut done = 0_u64;
    while Instant::now() < until {
        let conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
        let n = i64::try_from(done).unwrap_or(i64::MAX);
        conn.prepare_cached(SQLITE)?.execute((name, n, body(done)))?;
        done += 1;
    }
    Ok(done)
}

async fn commits(mut conn: PgConnection, name: String, until: Instant) -> sqlx::Result<u64> {
    let mut done = 0_u64;
    while Instant::now() < until {
        let n = i64::try_from(done).unwrap_or(i64::MAX);
        sqlx::query(POSTGRES).bind(&name).bind(n).bind(body(done)).execute(&mut conn).await?;
        done += 1;
    }
    conn.close().await?;
    Ok(done)
}

fn rate(done: u64, begun: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let done = done as f64;
    done / begun.elapsed().as_secs_f64()
}

/// Processor time of the whole machine: spent working, and all of it, in the kernel's ticks.
#[derive(Clone, Copy)]
struct Cpu {
    busy: f64,
    all: f64,
}

impl Cpu {
    fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = stat.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal; what follows counts twice.
        let ticks: Vec<f64> =
            first.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        let all: f64 = ticks.iter().sum();
        let idle: f64 = ticks.iter().skip(3).take(2).sum();
        Self { busy: all - idle, all }
    }

    /// Per cent of the machine at work since then.
    fn busy_since(self) -> f64 {
        let now = Self::now();
        100.0 * (now.busy - self.busy) / (now.all - self.all)
    }
}
