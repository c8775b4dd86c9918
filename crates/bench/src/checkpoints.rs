//! What a save costs where little changed, what many saves weigh, and what a small state costs.
//!
//! - A state of 512 KB of which a message of 1 KB changes from save to save, beside an upsert of
//!   the whole state as JSONB and beside `langgraph-checkpoint-postgres`, one after the other.
//! - A thread whose one channel grows by 2 KB a step: what it weighs, beside the same peer.
//! - A state of 2 KB beside a raw upsert and a raw select of the same bytes.

mod langgraph;
mod raw;
mod state;

use std::time::Instant;

use clap::Args;
use mnemon::checkpoints::{ChannelValue, Put, Thread};
use mnemon::{Mnemon, Scope};

use self::langgraph::LangGraph;
use self::raw::Raw;
use self::state::{How, Messages, State};
use crate::report::{Bar, Report, percentile};
use crate::target::{On, Target};

const STATE: usize = 512 * 1024;
/// A message, with its quotes and its comma a kilobyte.
const MESSAGE: usize = 1_021;
/// Saves of one thread: the state stays near its size.
const SAVES: usize = 32;
/// Saves in a row before it is another side's turn.
const TURN: usize = 8;
/// What the growing thread grows by.
const GROWTH: usize = 2_045;
const SMALL: usize = 2 * 1024;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Databases to run on; all when none is named.
    #[arg(long, value_enum)]
    on: Vec<On>,
    /// Threads of 32 saves per way of changing.
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    /// Steps of the growing thread.
    #[arg(long, default_value_t = 500)]
    steps: usize,
    /// Saves and loads of the small state.
    #[arg(long, default_value_t = 2_000)]
    small: usize,
    /// Leave `langgraph` out, and the bars that stand beside it.
    #[arg(long)]
    no_peer: bool,
}

pub(crate) type Failed = Box<dyn std::error::Error>;

/// Runs the bench on every database asked for.
pub(crate) async fn run(options: &Options) -> Result<Report, Failed> {
    let mut report = Report {
        bench: "checkpoints",
        columns: vec!["database", "what", "mnemon", "JSON upsert", "langgraph", "raw bytes"],
        rows: Vec::new(),
        bars: Vec::new(),
        notes: vec![format!(
            "saves a second by the median save; {} threads of {SAVES} saves of {STATE} bytes for \
             each way of changing {MESSAGE} of them; a database's JSON upsert replaces the whole \
             state in one prepared statement",
            options.rounds
        )],
    };
    let on = if options.on.is_empty() { On::ALL.to_vec() } else { options.on.clone() };
    for on in on {
        let target = Target::open(on).await?;
        let mut bench = Bench::open(&target, options).await?;
        bench.large(&mut report).await?;
        bench.growing(&mut report).await?;
        bench.small(&mut report).await?;
        drop(bench);
        target.db.close().await;
    }
    Ok(report)
}

struct Bench<'a> {
    target: &'a Target,
    db: &'a Mnemon,
    options: &'a Options,
    scope: Scope,
    raw: Raw,
    peer: Option<LangGraph>,
    messages: Messages,
    threads: usize,
}

impl<'a> Bench<'a> {
    async fn open(target: &'a Target, options: &'a Options) -> Result<Self, Failed> {
        let messages = Messages::new(STATE, MESSAGE, 1_000);
        let peer = match target.server() {
            Some(database) if !options.no_peer => {
                Some(LangGraph::start(database.url(), &messages)?)
            }
            _ => None,
        };
        let scope = Scope::tenant("bench").user("ada");
        let raw = Raw::open(target).await?;
        Ok(Self { target, db: &target.db, options, scope, raw, peer, messages, threads: 0 })
    }

    fn thread(&mut self) -> Thread {
        self.threads += 1;
        Thread::new(format!("thread {}", self.threads))
    }

    async fn save(&self, thread: &Thread, state: Vec<u8>) -> Result<f64, Failed> {
        let value = ChannelValue { type_tag: "json".into(), bytes: state };
        let put = Put::new(thread.clone()).channel("messages", value);
        let begun = Instant::now();
        self.db.checkpoints().put(&self.scope, put, None).await?;
        Ok(begun.elapsed().as_secs_f64())
    }

    async fn upsert(&mut self, thread: &Thread, state: &str) -> Result<f64, Failed> {
        let begun = Instant::now();
        self.raw.upsert_json(&thread.thread_id, state).await?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Saves of a large state: the first one, and those that follow.
    async fn large(&mut self, report: &mut Report) -> Result<(), Failed> {
        let mut first: [Vec<f64>; 3] = Default::default();
        for how in How::ALL {
            eprintln!("{}: a large state, {}", self.target.name, how.name());
            let mut next: [Vec<f64>; 3] = Default::default();
            for _ in 0..self.options.rounds {
                self.round(how, &mut first, &mut next).await?;
            }
            let what = format!("512 KB, {}, saves/s", how.name());
            self.tell(report, &what, &next, [10.0, 10.0]);
        }
        self.tell(report, "512 KB, first save, saves/s", &first, [3.0, 2.5]);
        Ok(())
    }

    async fn round(
        &mut self,
        how: How,
        first: &mut [Vec<f64>; 3],
        next: &mut [Vec<f64>; 3],
    ) -> Result<(), Failed> {
        let thread = self.thread();
        let mut state = State::of(&self.messages.base);
        let text = state.text();
        first[0].push(self.save(&thread, text.clone().into()).await?);
        first[1].push(self.upsert(&thread, &text).await?);
        if let Some(peer) = &mut self.peer {
            first[2].push(peer.begin()?);
        }
        for turn in 0..SAVES / TURN {
            let mut texts = Vec::with_capacity(TURN);
            for save in 0..TURN {
                let at = self.threads * SAVES + turn * TURN + save;
                state.change(how, &self.messages.changes[at % self.messages.changes.len()]);
                texts.push(state.text());
            }
            for text in &texts {
                next[0].push(self.save(&thread, text.clone().into()).await?);
            }
            for text in &texts {
                next[1].push(self.upsert(&thread, text).await?);
            }
            if let Some(peer) = &mut self.peer {
                #[expect(clippy::cast_precision_loss, reason = "a handful")]
                next[2].push(peer.save(how, TURN)? / TURN as f64);
            }
        }
        Ok(())
    }

    /// Rates of three sides; bars beside the two others, where they are on a server.
    fn tell(&self, report: &mut Report, what: &str, times: &[Vec<f64>; 3], bars: [f64; 2]) {
        let rates = times.each_ref().map(|side| 1.0 / percentile(side, 0.5));
        let shown = |rate: f64| if rate.is_finite() { format!("{rate:.0}") } else { "–".into() };
        report.rows.push(vec![
            self.target.name.to_owned(),
            what.to_owned(),
            shown(rates[0]),
            shown(rates[1]),
            shown(rates[2]),
            String::new(),
        ]);
        if self.target.server().is_none() {
            return;
        }
        let name = |beside: &str| format!("{} {what} beside {beside}", self.target.name);
        report.bars.push(Bar::at_least(name("a JSONB upsert"), rates[0] / rates[1], bars[0]));
        if self.peer.is_some() {
            report.bars.push(Bar::at_least(name("langgraph"), rates[0] / rates[2], bars[1]));
        }
    }

    /// A thread whose channel grows, and what it weighs.
    async fn growing(&mut self, report: &mut Report) -> Result<(), Failed> {
        if self.target.server().is_none() {
            return Ok(());
        }
        eprintln!("{}: a growing thread", self.target.name);
        let steps = self.options.steps;
        let messages = Messages::new(0, GROWTH, steps);
        let before = self.raw.size("mnemon", "checkpoint").await?;
        let thread = self.thread();
        let mut state = State::of(&[]);
        for message in &messages.changes {
            state.change(How::Append, message);
            self.save(&thread, state.text().into()).await?;
        }
        let after = self.raw.size("mnemon", "checkpoint").await?;
        let ours = after.zip(before).map_or(0, |(after, before)| after - before);
        let mut theirs = None;
        if let Some(database) = self.target.server().filter(|_| self.peer.is_some()) {
            let mut peer = LangGraph::start(database.url(), &messages)?;
            let before = self.raw.size("public", "checkpoint").await?;
            peer.grow(steps)?;
            let after = self.raw.size("public", "checkpoint").await?;
            theirs = after.zip(before).map(|(after, before)| after - before);
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let kib = |bytes: i64| bytes as f64 / 1024.0;
        report.rows.push(vec![
            self.target.name.to_owned(),
            format!("{steps} steps of 2 KB more, KiB in the database"),
            format!("{:.0}", kib(ours)),
            "–".into(),
            theirs.map_or_else(|| "–".into(), |bytes| format!("{:.0}", kib(bytes))),
            String::new(),
        ]);
        if let Some(theirs) = theirs {
            let name = format!("{} {steps} steps, bytes beside langgraph", self.target.name);
            report.bars.push(Bar::at_most(name, kib(ours) / kib(theirs), 0.05));
        }
        Ok(())
    }

    /// A small state: a save beside an upsert, a load beside a select.
    async fn small(&mut self, report: &mut Report) -> Result<(), Failed> {
        eprintln!("{}: a small state", self.target.name);
        let messages = Messages::new(0, SMALL, 64);
        let thread = self.thread();
        let mut times: [Vec<f64>; 4] = Default::default();
        let mut state: &[u8] = &[];
        for n in 0..self.options.small {
            state = messages.changes[n % messages.changes.len()].as_bytes();
            times[0].push(self.save(&thread, state.to_vec()).await?);
            let begun = Instant::now();
            self.raw.upsert_bytes(&thread.thread_id, state).await?;
            times[1].push(begun.elapsed().as_secs_f64());
        }
        // By themselves: after a commit's wait for the disk whoever reads first would find a cold
        // server.
        for _ in 0..self.options.small {
            let begun = Instant::now();
            let loaded = self.db.checkpoints().get(&self.scope, &thread, None).await?;
            times[2].push(begun.elapsed().as_secs_f64());
            let begun = Instant::now();
            let selected = self.raw.select(&thread.thread_id).await?;
            times[3].push(begun.elapsed().as_secs_f64());
            if loaded.channels["messages"].bytes != state || selected != state {
                return Err("a load is not what was saved".into());
            }
        }
        let half = times.each_ref().map(|side| percentile(side, 0.5));
        let name = self.target.name;
        let row = |what: &str, ours: String, raw: String| {
            vec![name.to_owned(), what.to_owned(), ours, String::new(), String::new(), raw]
        };
        let rate = |seconds: f64| format!("{:.0}", 1.0 / seconds);
        report.rows.push(row("2 KB, saves/s", rate(half[0]), rate(half[1])));
        let micros = |seconds: f64| format!("{:.0}", seconds * 1e6);
        report.rows.push(row("2 KB, load p50 µs", micros(half[2]), micros(half[3])));
        let bar = |what: &str| format!("{name} 2 KB, {what}");
        report.bars.push(Bar::at_least(bar("saves beside a raw upsert"), half[1] / half[0], 0.75));
        report.bars.push(Bar::at_most(bar("load beside a raw select"), half[2] / half[3], 2.0));
        Ok(())
    }
}
