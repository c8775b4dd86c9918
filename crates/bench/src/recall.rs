//! Recall at 1,000 or 100,000 memories: latency beside quality, always.
//!
//! Quality is recall@10 against both branches over everything (no index, no cap on candidates),
//! fused alike. On PostgreSQL raw statements over a copy of the same rows are asked in turn with
//! recall, block by block, so that whatever else the machine does falls on all of them.

mod data;
mod peers;
mod truth;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use clap::Args;
use mnemon::{MemoryFilter, MemoryId, Mnemon, Recall, UpkeepOptions};

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};

use self::data::{Data, Question, Row, SLICES, Slice};
use self::peers::Peers;
use self::truth::{Index, Truth, share};
use crate::report::{Bar, Report, percentile};
use crate::target::{On, Target};
use crate::vectors::Given;

type Failed = Box<dyn std::error::Error>;

/// Hits asked for.
const TOP: usize = 10;
/// Questions in a row before another side has its turn: a peer that reads a whole table leaves
/// nothing of what others stand on in the processor's caches.
const BLOCK: usize = 25;
/// Questions before those that are measured.
const WARM_UP: usize = 20;
/// Questions that the unbounded branches are computed for: each costs a sort of everything.
const UNBOUNDED: usize = 50;
/// Memories written between two changes of the owner's turn: owners are mixed in the tables.
const ROUND: usize = 10_000;
/// From here on the bars for many memories hold.
const MANY: usize = 50_000;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Databases to run on; all when none is named.
    #[arg(long, value_enum)]
    on: Vec<On>,
    /// Memories.
    #[arg(long, default_value_t = 1_000)]
    size: usize,
    /// Questions about all memories.
    #[arg(long, default_value_t = 500)]
    questions: usize,
    /// Questions about each part of them.
    #[arg(long, default_value_t = 100)]
    slice_questions: usize,
    /// Leaves out what stands beside recall on PostgreSQL.
    #[arg(long)]
    no_peers: bool,
    /// Seed of memories and questions.
    #[arg(long, default_value_t = 11)]
    seed: u64,
}

/// Runs the bench on every database asked for.
pub(crate) async fn run(options: &Options) -> Result<Report, Failed> {
    if options.size < 1_000 || options.questions < 20 {
        return Err("--size is at least 1000, --questions 20".into());
    }
    let data = Data::draw(options.seed, options.size, options.questions);
    let index = Index::of(&data);
    eprintln!("the answers of both branches over everything …");
    let truths = truths(&data, &index, options);
    let mut report = Report {
        bench: "recall",
        columns: vec!["database", "what", "p50 ms", "p99 ms", "recall@10", "unbounded", "rows"],
        rows: Vec::new(),
        bars: Vec::new(),
        notes: vec![
            format!(
                "{} memories of {} dimensions, {} questions about all, {} about each part; seed {}",
                options.size,
                crate::vectors::DIMENSION,
                options.questions,
                options.slice_questions,
                options.seed
            ),
            "recall@10: beside both branches over everything that the question means (a common word \
             finds nothing while a rarer one is there), each bounded and fused as recall does; unbounded: beside the same branches without a bound; rows: of those that there are"
                .into(),
        ],
    };
    let on = if options.on.is_empty() { On::ALL.to_vec() } else { options.on.clone() };
    for on in on {
        one(on, &data, &truths, options, &mut report).await?;
    }
    Ok(report)
}

/// The answers per slice and question.
fn truths(data: &Data, index: &Index<'_>, options: &Options) -> Vec<Vec<Truth>> {
    let branch = Recall::default().branch_limit() as usize;
    let mut all: Vec<Vec<Truth>> = SLICES.iter().map(|_| Vec::new()).collect();
    for (n, question) in data.questions.iter().enumerate() {
        let similarities = index.similarities(question);
        for (slice, truths) in SLICES.iter().zip(&mut all) {
            if n < count(slice, options) {
                truths.push(index.answers(slice, question, &similarities, TOP, branch));
            }
        }
    }
    all
}

fn count(slice: &Slice, options: &Options) -> usize {
    if *slice == SLICES[0] { options.questions } else { options.slice_questions }
}

/// One database: writes, lets upkeep do its part, asks.
async fn one(
    on: On,
    data: &Data,
    truths: &[Vec<Truth>],
    options: &Options,
    report: &mut Report,
) -> Result<(), Failed> {
    let target = Target::open_as(on, Given::model()).await?;
    let begun = Instant::now();
    let places = write(&target.db, data).await?;
    let written = begun.elapsed();
    let mut peers = match target.server() {
        Some(server) if !options.no_peers => Some(Peers::make(server.url()).await?),
        _ => None,
    };
    let begun = Instant::now();
    target.db.upkeep(&UpkeepOptions { force: true, ..UpkeepOptions::default() }).await?;
    if let Some(server) = target.server() {
        // What autovacuum does in a minute, before anything is measured.
        let mut conn = PgConnection::connect(server.url()).await?;
        conn.execute("vacuum analyze").await?;
    }
    report.notes.push(format!(
        "{}: written in {:.1} s, upkeep {:.1} s",
        target.name,
        written.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    ));
    let mut bench = Bench { target: &target, places: &places, options, report };
    bench.branches(data, &truths[0], peers.as_mut()).await?;
    for (slice, truths) in SLICES.iter().zip(truths) {
        bench.slice(slice, data, truths).await?;
    }
    target.db.close().await;
    Ok(())
}

/// Writes everything, owners mixed; which memory became which row.
async fn write(db: &Mnemon, data: &Data) -> mnemon::Result<HashMap<MemoryId, u32>> {
    let mut places = HashMap::new();
    let mut first: u32 = 0;
    for round in data.rows.chunks(ROUND) {
        let mut owners: BTreeMap<_, Vec<(u32, &Row)>> = BTreeMap::new();
        for (row, at) in round.iter().zip(first..) {
            owners.entry((row.tenant, &row.user)).or_default().push((at, row));
        }
        let mut writers = tokio::task::JoinSet::new();
        for rows in owners.into_values() {
            let scope = rows[0].1.owner();
            for batch in rows.chunks(mnemon::core::limits::REMEMBER_BATCH) {
                let memories = batch.iter().map(|(_, row)| row.memory()).collect();
                let at: Vec<u32> = batch.iter().map(|(at, _)| *at).collect();
                let (db, scope) = (db.clone(), scope.clone());
                writers.spawn(async move {
                    let done = db.memories().remember_many(&scope, memories).await?;
                    Ok::<_, mnemon::Error>((at, done))
                });
            }
        }
        while let Some(done) = writers.join_next().await {
            let (at, done) = done.expect("a writer does not panic")?;
            places.extend(done.iter().map(|one| one.id).zip(at));
        }
        first += u32::try_from(round.len()).expect("a round is small");
        eprintln!("{first} memories");
    }
    Ok(places)
}

struct Bench<'b> {
    target: &'b Target,
    places: &'b HashMap<MemoryId, u32>,
    options: &'b Options,
    report: &'b mut Report,
}

/// What one way of asking gave.
#[derive(Default)]
struct Measured {
    millis: Vec<f64>,
    recall: Vec<f64>,
    unbounded: Vec<f64>,
    rows: Vec<f64>,
}

impl Bench<'_> {
    /// Both branches together, each alone, and what stands beside them, question by question.
    async fn branches(
        &mut self,
        data: &Data,
        truths: &[Truth],
        mut peers: Option<&mut Peers>,
    ) -> Result<(), Failed> {
        let slice = &SLICES[0];
        for question in data.questions.iter().take(WARM_UP) {
            for ask in asks(slice, question) {
                self.ask(slice, &ask).await?;
            }
        }
        let mut ours = [Measured::default(), Measured::default(), Measured::default()];
        let mut beside = [const { Vec::new() }; peers::NAMES.len()];
        for (block, truths) in data.questions.chunks(BLOCK).zip(truths.chunks(BLOCK)) {
            for (question, truth) in block.iter().zip(truths) {
                let wanted = [&truth.hybrid, &truth.text, &truth.vector];
                let asks = asks(slice, question);
                for ((ask, wanted), measured) in asks.iter().zip(wanted).zip(&mut ours) {
                    let (millis, found) = self.ask(slice, ask).await?;
                    measured.millis.push(millis);
                    measured.note(&found, wanted);
                    let hybrid = ask.text.is_some() && ask.embedding.is_some();
                    if hybrid && measured.unbounded.len() < UNBOUNDED {
                        measured.unbounded.push(share(&found, &truth.unbounded));
                    }
                }
            }
            let Some(peers) = peers.as_deref_mut() else { continue };
            for (which, millis) in beside.iter_mut().enumerate() {
                for question in block {
                    let begun = Instant::now();
                    peers.ask(which, question).await?;
                    millis.push(ms(begun.elapsed()));
                }
            }
        }
        for (name, measured) in ["hybrid", "text only", "vector only"].into_iter().zip(&ours) {
            self.row(name, measured);
        }
        for (name, millis) in peers::NAMES.into_iter().zip(beside) {
            if !millis.is_empty() {
                self.row(name, &Measured { millis, ..Measured::default() });
            }
        }
        self.bars(&ours);
        Ok(())
    }

    /// The hybrid over a part of the memories.
    async fn slice(&mut self, slice: &Slice, data: &Data, truths: &[Truth]) -> Result<(), Failed> {
        let mut measured = Measured::default();
        for (question, truth) in
            data.questions.iter().zip(truths).take(self.options.slice_questions)
        {
            let [ask, ..] = asks(slice, question);
            let (millis, found) = self.ask(slice, &ask).await?;
            measured.millis.push(millis);
            measured.note(&found, &truth.hybrid);
        }
        self.row(slice.name, &measured);
        let (name, part) = (self.target.name, slice.name);
        let least = measured.rows.iter().copied().fold(1.0, f64::min);
        self.bar(Bar::at_least(
            format!("{name} recall@10 at {part}"),
            mean(&measured.recall),
            0.95,
        ));
        self.bar(Bar::at_least(format!("{name} rows at {part}, the fewest"), least, 1.0));
        Ok(())
    }

    /// Asks; the time, and the rows found by their places.
    async fn ask(&self, slice: &Slice, ask: &Recall) -> Result<(f64, Vec<u32>), Failed> {
        let scope = slice.scope();
        let begun = Instant::now();
        // The store itself embeds nothing: a question in words stays one.
        let hits = self.target.db.store().memories().recall(&scope, ask).await?;
        let millis = ms(begun.elapsed());
        let found = hits.iter().map(|hit| self.places.get(&hit.memory.id).copied());
        let found: Option<Vec<u32>> = found.collect();
        Ok((millis, found.ok_or("a memory came that nobody wrote")?))
    }

    fn row(&mut self, name: &str, measured: &Measured) {
        let figure = |values: &[f64], digits: usize| {
            if values.is_empty() { "-".to_owned() } else { format!("{:.digits$}", mean(values)) }
        };
        self.report.rows.push(vec![
            self.target.name.to_owned(),
            name.to_owned(),
            format!("{:.2}", percentile(&measured.millis, 0.5)),
            format!("{:.2}", percentile(&measured.millis, 0.99)),
            figure(&measured.recall, 4),
            figure(&measured.unbounded, 4),
            figure(&measured.rows, 4),
        ]);
    }

    fn bar(&mut self, bar: Bar) {
        self.report.bars.push(bar);
    }

    fn bars(&mut self, [hybrid, _, vector]: &[Measured; 3]) {
        let name = self.target.name;
        let many = self.options.size >= MANY;
        let at = |measured: &Measured, share: f64| percentile(&measured.millis, share);
        let embedded = self.target.server().is_none();
        let (p50, p99) = if many && embedded { (20.0, None) } else { (10.0, Some(30.0)) };
        self.bar(Bar::at_most(format!("{name} hybrid p50 ms"), at(hybrid, 0.5), p50));
        if let Some(p99) = p99 {
            self.bar(Bar::at_most(format!("{name} hybrid p99 ms"), at(hybrid, 0.99), p99));
        }
        if many && embedded {
            self.bar(Bar::at_most(format!("{name} vector p50 ms"), at(vector, 0.5), 8.0));
            let recall = mean(&vector.recall);
            self.bar(Bar::at_least(format!("{name} vector recall@10"), recall, 0.99));
        }
    }
}

impl Measured {
    fn note(&mut self, found: &[u32], wanted: &[u32]) {
        self.recall.push(share(found, wanted));
        #[expect(clippy::cast_precision_loss, reason = "at most ten")]
        let rows = if wanted.is_empty() { 1.0 } else { found.len() as f64 / wanted.len() as f64 };
        self.rows.push(rows);
    }
}

/// A question both ways, by words, by its vector.
fn asks(slice: &Slice, question: &Question) -> [Recall; 3] {
    let filter = MemoryFilter { tags: slice.tags(), ..MemoryFilter::default() };
    let limit = u32::try_from(TOP).expect("ten");
    let text = Recall { limit, filter: filter.clone(), ..Recall::text(question.text()) };
    let vector = Recall { limit, filter, ..Recall::vector(question.vector.clone()) };
    let hybrid = Recall { embedding: vector.embedding.clone(), ..text.clone() };
    [hybrid, text, vector]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "a count of questions")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
