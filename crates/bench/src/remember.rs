//! Writing memories with vectors: how fast, what it does to recall meanwhile, and how long until an
//! index holds them. Upkeep runs in a handle of its own, as in a process beside the writers.
//!
//! Whether recall is complete is asked all the time: for something that was just acknowledged, by
//! its own vector. It must come first.

mod peers;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use mnemon::{Mnemon, NewMemory, Recall, Scope};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, query_scalar};

use crate::report::{Bar, Report, percentile};
use crate::target::{On, Target};
use crate::vectors::{Given, Source, Text};

type Failed = Box<dyn std::error::Error>;

/// Writers at once.
const WRITERS: usize = 8;
/// Memories of a batch.
const BATCH: usize = 500;
/// Memories that are there, and indexed, before anything is measured.
const BEFORE: usize = 10_000;
/// Between two questions of those who ask meanwhile.
const PAUSE: Duration = Duration::from_millis(20);
/// Questions while nothing is written.
const IDLE_QUESTIONS: usize = 300;
/// Memories a second of steady writing, a little above what its bar asks: somebody who writes as
/// fast as the machine lets him takes both of its cores from those who ask.
const STEADY: f64 = 1_250.0;
/// The longest that draining may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// The database.
    #[arg(long, value_enum, default_value_t = On::Postgres18)]
    on: On,
    /// Seconds of steady writing, one memory at a time.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Memories of each burst.
    #[arg(long, default_value_t = 50_000)]
    burst: usize,
    /// Leaves out mem0 and langgraph.
    #[arg(long)]
    no_peers: bool,
}

/// Runs the bench.
pub(crate) async fn run(options: &Options) -> Result<Report, Failed> {
    let target = Target::open_as(options.on, Given::model()).await?;
    let url = target.server().ok_or("segments are PostgreSQL's")?.url().to_owned();
    let upkeep = Mnemon::builder(&url).embedder(Given::model()).open().await?;
    let mut bench = Bench {
        db: target.db.clone(),
        source: Source::new(23),
        url: url.clone(),
        report: Report {
            bench: "remember",
            columns: vec!["what", "figure"],
            rows: Vec::new(),
            bars: Vec::new(),
            notes: vec![format!(
                "{}: vectors of {} dimensions given, {WRITERS} writers; memories just acknowledged \
                 are asked for by their vectors, every {} ms",
                target.name,
                crate::vectors::DIMENSION,
                PAUSE.as_millis()
            )],
        },
    };
    let before = bench.texts(BEFORE);
    bench.write(before, BATCH, None).await?;
    bench.drained().await?;
    bench.steady(Duration::from_secs(options.seconds)).await?;
    bench.burst(options.burst, 1, 2_000.0).await?;
    bench.burst(options.burst, BATCH, 5_000.0).await?;
    let mut report = bench.report;
    upkeep.close().await;
    if !options.no_peers {
        peers::beside(&url, &mut report);
    }
    target.db.close().await;
    Ok(report)
}

struct Bench {
    db: Mnemon,
    source: Source,
    url: String,
    report: Report,
}

/// What was written lately, for those who ask whether it is found.
#[derive(Default)]
struct Lately {
    known: Mutex<VecDeque<(mnemon::MemoryId, Vec<f32>)>>,
    over: AtomicBool,
}

impl Lately {
    fn note(&self, id: mnemon::MemoryId, vector: Vec<f32>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= 2_000 {
            known.pop_front();
        }
        known.push_back((id, vector));
    }

    /// One of the first, the middle or the last of them.
    fn one(&self, n: usize) -> Option<(mnemon::MemoryId, Vec<f32>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let at = [0, known.len() / 2, known.len().saturating_sub(1)][n % 3];
        known.get(at).cloned()
    }
}

/// What was seen while something was written.
#[derive(Default)]
struct Seen {
    millis: Vec<f64>,
    lost: u64,
    horizon: Duration,
}

fn scope() -> Scope {
    Scope::tenant("bench").user("ada")
}

fn memory(text: &Text) -> NewMemory {
    NewMemory { embedding: Some(text.vector.clone()), ..NewMemory::new(text.content()) }
}

impl Bench {
    fn texts(&mut self, count: usize) -> Vec<Text> {
        (0..count).map(|_| self.source.text()).collect()
    }

    fn row(&mut self, what: impl Into<String>, figure: impl Into<String>) {
        self.report.rows.push(vec![what.into(), figure.into()]);
    }

    /// Writes all of it with all writers, as fast as they can or at a pace, while somebody asks; the
    /// time, and what was seen.
    async fn write(
        &self,
        texts: Vec<Text>,
        batch: usize,
        pace: Option<f64>,
    ) -> Result<(Duration, Seen), Failed> {
        let lately = Arc::new(Lately::default());
        let all = texts.len();
        let queue = Arc::new(Mutex::new(texts));
        let begun = Instant::now();
        let asker = tokio::spawn(watch(self.db.clone(), Arc::clone(&lately)));
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (db, queue, lately) =
                    (self.db.clone(), Arc::clone(&queue), Arc::clone(&lately));
                tokio::spawn(async move {
                    loop {
                        let (part, before) = {
                            let mut left = queue.lock().unwrap_or_else(PoisonError::into_inner);
                            let (before, from) =
                                (all - left.len(), left.len().saturating_sub(batch));
                            (left.split_off(from), before)
                        };
                        if part.is_empty() {
                            return Ok::<_, mnemon::Error>(());
                        }
                        if let Some(pace) = pace {
                            let due = Duration::from_secs_f64(count(before as u64) / pace);
                            tokio::time::sleep_until((begun + due).into()).await;
                        }
                        let done = if let [one] = part.as_slice() {
                            vec![db.memories().remember(&scope(), memory(one)).await?]
                        } else {
                            let memories = part.iter().map(memory).collect();
                            db.memories().remember_many(&scope(), memories).await?
                        };
                        if let (Some(done), Some(text)) = (done.last(), part.last()) {
                            lately.note(done.id, text.vector.clone());
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await??;
        }
        let time = begun.elapsed();
        lately.over.store(true, Ordering::Relaxed);
        Ok((time, asker.await??))
    }

    /// Writes one by one at a pace for a time; recall meanwhile against recall when all is quiet.
    async fn steady(&mut self, time: Duration) -> Result<(), Failed> {
        let idle = self.idle().await?;
        let rows = (STEADY * time.as_secs_f64()).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let texts = self.texts(rows as usize);
        let before = self.unindexed().await?;
        let (took, seen) = self.write(texts, 1, Some(STEADY)).await?;
        let rate = rows / took.as_secs_f64();
        let left = self.unindexed().await?;
        let drain = self.drained().await?;
        // What is there grew meanwhile: with as much as at the end recall takes longer anyway.
        self.settled().await?;
        let after = self.idle().await?;
        self.row("recall idle before, p50 / p99 ms", both(&idle));
        self.row("recall idle after, p50 / p99 ms", both(&after));
        let ratio = |share| percentile(&seen.millis, share) / percentile(&idle, share);
        let as_much = |share| percentile(&seen.millis, share) / percentile(&after, share);
        self.row("one by one at a pace, rows/s", format!("{rate:.0}"));
        self.row("unindexed before, at the end", format!("{before}, {left}"));
        self.row("recall meanwhile, p50 / p99 ms", both(&seen.millis));
        self.row(
            "recall meanwhile, of idle after, p50 / p99",
            format!("{:.2} / {:.2}", as_much(0.5), as_much(0.99)),
        );
        self.row("seconds until drained", format!("{:.1}", drain.as_secs_f64()));
        self.row("event horizon at its oldest, s", format!("{:.2}", seen.horizon.as_secs_f64()));
        self.bar(Bar::at_least("steady rows/s", rate, 1_200.0));
        self.bar(Bar::at_most("recall p50 meanwhile / idle", ratio(0.5), 3.0));
        self.bar(Bar::at_most("recall p99 meanwhile / idle", ratio(0.99), 3.0));
        self.bar(Bar::at_most("lost meanwhile", count(seen.lost), 0.0));
        self.bar(Bar::at_most("event horizon, s", seen.horizon.as_secs_f64(), 1.0));
        Ok(())
    }

    async fn burst(&mut self, rows: usize, batch: usize, least: f64) -> Result<(), Failed> {
        let texts = self.texts(rows);
        let (time, seen) = self.write(texts, batch, None).await?;
        let rate = count(rows as u64) / time.as_secs_f64();
        let left = self.unindexed().await?;
        let drain = self.drained().await?;
        let after = self.unindexed().await?;
        let drained = count(left.saturating_sub(after)) / drain.as_secs_f64().max(0.001);
        let name = format!("burst in batches of {batch}");
        self.row(format!("{name}, rows/s"), format!("{rate:.0}"));
        self.row(format!("{name}, recall p50 / p99 ms"), both(&seen.millis));
        self.row(format!("{name}, unindexed at its end"), left.to_string());
        self.row(format!("{name}, drained rows/s"), format!("{drained:.0}"));
        self.row(
            format!("{name}, horizon at its oldest, s"),
            format!("{:.2}", seen.horizon.as_secs_f64()),
        );
        self.bar(Bar::at_least(format!("{name}, rows/s"), rate, least));
        self.bar(Bar::at_most(format!("{name}, lost meanwhile"), count(seen.lost), 0.0));
        if left > after {
            self.bar(Bar::at_least(format!("{name}, drained rows/s"), drained, 800.0));
        }
        Ok(())
    }

    fn bar(&mut self, bar: Bar) {
        self.report.bars.push(bar);
    }

    async fn idle(&mut self) -> Result<Vec<f64>, Failed> {
        let mut millis = Vec::new();
        for _ in 0..IDLE_QUESTIONS {
            let text = self.source.text();
            let question = Recall::vector(text.vector);
            let begun = Instant::now();
            self.db.memories().recall(&scope(), &question).await?;
            millis.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        Ok(millis)
    }

    async fn unindexed(&self) -> Result<u64, Failed> {
        let mut conn = PgConnection::connect(&self.url).await?;
        let rows: i64 =
            query_scalar("select count(*) from mnemon.embeddings_1").fetch_one(&mut conn).await?;
        Ok(rows.unsigned_abs())
    }

    /// Waits until upkeep makes no segment.
    async fn settled(&self) -> Result<(), Failed> {
        let mut conn = PgConnection::connect(&self.url).await?;
        let begun = Instant::now();
        while query_scalar(
            "select exists (select from mnemon.embedding_segments
                            where state in ('opening', 'filling', 'indexing'))",
        )
        .fetch_one(&mut conn)
        .await?
        {
            if begun.elapsed() > PATIENCE {
                return Err("upkeep goes on making segments".into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Waits until hardly anything is unindexed.
    async fn drained(&self) -> Result<Duration, Failed> {
        let begun = Instant::now();
        while self.unindexed().await? > mnemon::core::limits::UNINDEXED_ROWS {
            if begun.elapsed() > PATIENCE {
                return Err("upkeep does not index what was written".into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(begun.elapsed())
    }
}

/// Asks for what was written lately until it is over.
async fn watch(db: Mnemon, lately: Arc<Lately>) -> mnemon::Result<Seen> {
    let mut seen = Seen::default();
    for n in 0.. {
        if lately.over.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        let Some((id, vector)) = lately.one(n) else { continue };
        let question = Recall { limit: 10, ..Recall::vector(vector) };
        let begun = Instant::now();
        let hits = db.memories().recall(&scope(), &question).await?;
        seen.millis.push(begun.elapsed().as_secs_f64() * 1_000.0);
        seen.lost += u64::from(hits.iter().all(|hit| hit.memory.id != id));
        if n % 10 == 0 {
            seen.horizon = seen.horizon.max(db.store().events().horizon().await?.age);
        }
    }
    Ok(seen)
}

fn both(millis: &[f64]) -> String {
    format!("{:.2} / {:.2}", percentile(millis, 0.5), percentile(millis, 0.99))
}

#[expect(clippy::cast_precision_loss, reason = "a count of rows")]
fn count(rows: u64) -> f64 {
    rows as f64
}
