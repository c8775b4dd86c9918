//! Upkeep: the one runner of the one registry, [`Task::ALL`]. Every task is done in batches
//! under the store's fenced lease, so one process does it at a time, a killed run resumes where
//! it stopped, and nothing holds a connection between two batches.
//!
//! An open handle runs what is due in the background ([`Background`]); short-lived
//! installations run it once with [`run`] (`mnemon upkeep --once`).

mod background;
mod report;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use mnemon_core::upkeep::{Batch, Task, TaskLease};
use mnemon_core::{Error, Result, Store, limits};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::config::EventsConfig;
use crate::embed::Models;
use crate::events::archive;
use crate::memories::Backlog;
use crate::metrics;
use crate::oracle::Asker;
use crate::turns::summaries::Summaries;

pub(crate) use background::Background;
pub(crate) use report::findings;

/// Which tasks to run, and whether before they are due.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UpkeepOptions {
    /// These only; empty: all.
    pub only: Vec<Task>,
    /// Run what is not due yet.
    pub force: bool,
}

/// What a run of upkeep did, one entry per task asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UpkeepReport {
    /// The tasks, in the order they ran.
    pub tasks: Vec<TaskReport>,
}

impl UpkeepReport {
    /// Whether a task failed.
    pub fn failed(&self) -> bool {
        self.tasks.iter().any(|task| task.outcome == Outcome::Failed)
    }
}

/// What one task did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskReport {
    /// Which task.
    pub task: Task,
    /// How it ended.
    pub outcome: Outcome,
    /// Rows handled.
    pub rows: u64,
    /// Transactions it took.
    pub batches: u64,
    /// Why it failed, the causes joined by colons.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// How a task ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// All that was waiting is done.
    Done,
    /// Some is done; the rest waits for the next run.
    Paused,
    /// It was not due, or somebody else has it.
    Left,
    /// Somebody else took it over.
    Fenced,
    /// It failed; what its batches did before stays.
    Failed,
}

impl Outcome {
    /// A stable name, for metrics and people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Paused => "paused",
            Self::Left => "left",
            Self::Fenced => "fenced",
            Self::Failed => "failed",
        }
    }
}

/// What of upkeep a store cannot do by itself, and who of this process can.
#[derive(Clone)]
pub(crate) struct Workers {
    pub(crate) asker: Option<Arc<Asker>>,
    pub(crate) summaries: Option<Summaries>,
    pub(crate) models: Arc<Models>,
    /// What is wanted of the event log.
    pub(crate) log: EventsConfig,
}

impl Workers {
    /// Whether this process can do a task; what it cannot is left to those who can.
    fn can(&self, task: Task) -> bool {
        match task {
            Task::OracleQuestions => self.asker.is_some(),
            Task::Embeddings => self.models.any(),
            Task::EventRetention => self.log.keep_months.is_some() && self.log.archive_to.is_some(),
            Task::EventSearch => self.log.search,
            _ => true,
        }
    }

    /// Whether its model is the one that the database is registered for now: who has another one
    /// must not keep the task from those who can do it.
    async fn fits(&self, store: &dyn Store, task: Task) -> Result<bool> {
        match (task, self.models.own()) {
            (Task::Embeddings, Some(own)) => {
                let registered = store.memories().registered_model().await?;
                Ok(registered.as_ref() == Some(own.signature()))
            }
            _ => Ok(true),
        }
    }
}

/// How far one turn of a task goes.
#[derive(Clone)]
struct Turn {
    holder: String,
    force: bool,
    batches: u64,
    stop: watch::Receiver<bool>,
    workers: Workers,
}

/// Runs tasks once, each to its end.
pub(crate) async fn run(
    store: &Arc<dyn Store>,
    options: &UpkeepOptions,
    workers: &Workers,
) -> Result<UpkeepReport> {
    let (_never, stop) = watch::channel(false);
    let turn = Turn {
        holder: holder(),
        force: options.force,
        batches: u64::MAX,
        stop,
        workers: workers.clone(),
    };
    let mut report = UpkeepReport::default();
    for task in Task::ALL {
        if options.only.is_empty() || options.only.contains(&task) {
            report.tasks.push(run_task(store, task, &turn).await?);
        }
    }
    if let Some(asker) = &workers.asker {
        asker.wait().await;
    }
    Ok(report)
}

/// A name for this runner that no other one has.
fn holder() -> String {
    format!("{}-{}", std::process::id(), Uuid::now_v7().simple())
}

/// Takes a task, does its batches, gives it back.
///
/// Only what concerns every task (the database is gone, the handle closed) is an error here.
async fn run_task(store: &Arc<dyn Store>, task: Task, turn: &Turn) -> Result<TaskReport> {
    let span = tracing::debug_span!(mnemon_core::metric_names::SPAN_UPKEEP, task = task.name());
    take_turn(store, task, turn).instrument(span).await
}

async fn take_turn(store: &Arc<dyn Store>, task: Task, turn: &Turn) -> Result<TaskReport> {
    let mut report = TaskReport { task, outcome: Outcome::Left, rows: 0, batches: 0, error: None };
    if !turn.workers.can(task) || !turn.workers.fits(store.as_ref(), task).await? {
        return Ok(report);
    }
    let Some(lease) = store.upkeep().claim(task, &turn.holder, turn.force).await? else {
        return Ok(report);
    };
    let worked = work(store, &lease, turn, &mut report).await;
    let failure = worked.as_ref().err().map(chain);
    let finished = match &worked {
        // The newer holder reports; ours is no longer to give back.
        Err(Error::Fenced { .. } | Error::Closed) => Ok(()),
        _ => store.upkeep().finish(&lease, failure.as_deref()).await,
    };
    report.outcome = match (worked, finished) {
        (Err(Error::Closed), _) | (_, Err(Error::Closed)) => return Err(Error::Closed),
        (Err(Error::Fenced { .. }), _) | (Ok(_), Err(Error::Fenced { .. })) => Outcome::Fenced,
        (Ok(outcome), Ok(())) => outcome,
        (Ok(_), Err(error)) => {
            report.error = Some(chain(&error));
            Outcome::Failed
        }
        (Err(_), _) => {
            report.error = failure;
            Outcome::Failed
        }
    };
    metrics::upkeep_run(task, report.outcome.name());
    if let Some(error) = &report.error {
        tracing::warn!(task = task.name(), error, "an upkeep task failed");
    }
    Ok(report)
}

async fn work(
    store: &Arc<dyn Store>,
    lease: &TaskLease,
    turn: &Turn,
    report: &mut TaskReport,
) -> Result<Outcome> {
    if lease.task == Task::Summaries {
        return summarize(store.as_ref(), lease, turn, report).await;
    }
    if lease.task == Task::EventRetention {
        return retain(store, lease, turn, report).await;
    }
    if lease.task == Task::Embeddings {
        return embed_backlog(store.as_ref(), lease, turn, report).await;
    }
    while report.batches < turn.batches {
        if *turn.stop.borrow() {
            return Ok(Outcome::Paused);
        }
        let mut batch = store.upkeep().batch(lease).await?;
        if let (Task::OracleQuestions, Some(asker)) = (lease.task, &turn.workers.asker) {
            batch.rows += asker.turn().await?;
        }
        report.rows += batch.rows;
        report.batches += 1;
        metrics::upkeep_rows(lease.task, batch);
        if !batch.more {
            return Ok(Outcome::Done);
        }
    }
    Ok(Outcome::Paused)
}

/// Archives and removes the months that are older than the log is kept, with a sign of life
/// between two pieces of work. When the handle closes, the next run goes on.
async fn retain(
    store: &Arc<dyn Store>,
    lease: &TaskLease,
    turn: &Turn,
    report: &mut TaskReport,
) -> Result<Outcome> {
    let now = store.health().await?.now;
    let Some(options) = turn.workers.log.retention(now) else { return Ok(Outcome::Done) };
    let alive = || -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            if *turn.stop.borrow() {
                return Err(Error::Closed);
            }
            store.upkeep().batch(lease).await.map(drop)
        })
    };
    report.batches += 1;
    match archive::archive(store, &options, &alive).await {
        Ok(gone) => {
            report.rows += gone.events();
            metrics::upkeep_rows(lease.task, Batch { rows: gone.events(), more: false });
            Ok(Outcome::Done)
        }
        Err(Error::Closed) if *turn.stop.borrow() => Ok(Outcome::Paused),
        Err(error) => Err(error),
    }
}

/// Has the due summaries written, one of each memory in turn, with a sign of life between two
/// calls of the summariser. A memory that somebody else summarises, or that fails, is left to
/// its own time.
async fn summarize(
    store: &dyn Store,
    lease: &TaskLease,
    turn: &Turn,
    report: &mut TaskReport,
) -> Result<Outcome> {
    let Some(summaries) = &turn.workers.summaries else { return Ok(Outcome::Done) };
    loop {
        let due = store.turns().due(limits::SUMMARIES_DUE).await?;
        let mut written = 0;
        for memory in due {
            if *turn.stop.borrow() || report.batches >= turn.batches {
                return Ok(Outcome::Paused);
            }
            store.upkeep().batch(lease).await?;
            report.batches += 1;
            match summaries.next(store, &memory.scope, &memory.key).await {
                Ok(done) => written += u64::from(done.is_some_and(|done| done.failed.is_none())),
                Err(Error::Held { .. } | Error::Fenced { .. }) => {}
                // The handle closes: the task is given back before the store does.
                Err(Error::Closed) => return Ok(Outcome::Paused),
                Err(error) => return Err(error),
            }
        }
        report.rows += written;
        metrics::upkeep_rows(lease.task, Batch { rows: written, more: written > 0 });
        if written == 0 {
            return Ok(Outcome::Done);
        }
    }
}

/// Embeds what the active set lacks, with a sign of life between two batches of the model.
async fn embed_backlog(
    store: &dyn Store,
    lease: &TaskLease,
    turn: &Turn,
    report: &mut TaskReport,
) -> Result<Outcome> {
    let Some(embedder) = turn.workers.models.own() else { return Ok(Outcome::Done) };
    let Some(mut backlog) = Backlog::of(store, embedder, &turn.holder).await? else {
        return Ok(Outcome::Done);
    };
    let worked = loop {
        if *turn.stop.borrow() || report.batches >= turn.batches {
            break Ok(Outcome::Paused);
        }
        match backlog.next(lease).await {
            Ok(batch) => {
                report.rows += batch.rows;
                report.batches += 1;
                metrics::upkeep_rows(lease.task, batch);
                if !batch.more {
                    break Ok(Outcome::Done);
                }
            }
            Err(error) => break Err(error),
        }
    };
    let left = backlog.end(worked.is_ok()).await;
    worked.and_then(|outcome| left.map(|()| outcome))
}

/// An error with its causes, for a report that outlives it.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.truncate(text.floor_char_boundary(limits::UPKEEP_ERROR_BYTES));
    text
}
