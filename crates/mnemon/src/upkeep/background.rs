//! The loops behind an open handle: what is due, one task after the other, until the handle is
//! closed or dropped. Tasks that take long have a loop each.

use std::iter;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use mnemon_core::upkeep::Task;
use mnemon_core::{Error, Store, limits};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Turn, Workers, holder, run_task};
use crate::config::UpkeepConfig;
use crate::metrics;

/// A handle's loops; dropping it stops them after the batches under way.
pub(crate) struct Background {
    stop: watch::Sender<bool>,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Background {
    /// Starts the loops, if the configuration wants one and there is a runtime to carry them.
    pub(crate) fn start(store: &Arc<dyn Store>, config: &UpkeepConfig, workers: &Workers) -> Self {
        let (stop, stopped) = watch::channel(false);
        let tasks: Vec<Task> = Task::ALL
            .into_iter()
            .filter(|task| config.only.is_empty() || config.only.contains(task))
            .filter(|task| !config.skip.contains(task))
            // Left to the processes that have a summariser.
            .filter(|task| *task != Task::Summaries || workers.summaries.is_some())
            .collect();
        let running = if config.enabled && !tasks.is_empty() {
            spawn(store, tasks, &stopped, workers)
        } else {
            None
        };
        Self { stop, running: Mutex::new(running) }
    }

    /// Stops the loops and waits for the batches under way, but not for one that hangs.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut running) = running
            && timeout(limits::UPKEEP_STOP, &mut running).await.is_err()
        {
            running.abort();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn spawn(
    store: &Arc<dyn Store>,
    tasks: Vec<Task>,
    stop: &watch::Receiver<bool>,
    workers: &Workers,
) -> Option<JoinHandle<()>> {
    let Ok(runtime) = Handle::try_current() else {
        tracing::warn!("no tokio runtime: upkeep runs only when it is called");
        return None;
    };
    let (long, quick): (Vec<Task>, Vec<Task>) =
        tasks.into_iter().partition(|task| task.takes_long());
    let each = long.into_iter().map(|task| vec![task]);
    let lanes = iter::once(quick).filter(|quick| !quick.is_empty()).chain(each);
    let loops: Vec<_> = lanes
        .enumerate()
        .map(|(n, tasks)| {
            let lane = Lane { tasks, measures: n == 0 };
            cycle(Arc::clone(store), lane, stop.clone(), workers.clone())
        })
        .collect();
    Some(runtime.spawn(async move {
        join_all(loops).await;
    }))
}

/// Tasks that wait for each other.
struct Lane {
    tasks: Vec<Task>,
    /// Whether it keeps the gauges; one does.
    measures: bool,
}

async fn cycle(
    store: Arc<dyn Store>,
    lane: Lane,
    mut stop: watch::Receiver<bool>,
    workers: Workers,
) {
    let turn = Turn {
        holder: holder(),
        force: false,
        batches: limits::UPKEEP_BATCHES,
        stop: stop.clone(),
        workers,
    };
    let start = Instant::now();
    let mut due: Vec<(Instant, Task)> = lane.tasks.into_iter().map(|task| (start, task)).collect();
    // A handle that is opened for one call should not pay for upkeep before it.
    let mut wake = start + limits::UPKEEP_PAUSE;
    let mut measured: Option<Instant> = None;
    loop {
        tokio::select! {
            // Also when the sender is gone: the handle was dropped.
            _ = stop.changed() => return,
            () = sleep_until(wake) => {}
        }
        for (at, task) in &mut due {
            if *at > Instant::now() || *turn.stop.borrow() {
                continue;
            }
            match run_task(&store, *task, &turn).await {
                Ok(report) if report.outcome == super::Outcome::Paused => {}
                Ok(_) => *at = Instant::now() + task.interval(),
                Err(Error::Closed) => return,
                Err(error) => {
                    tracing::debug!(task = task.name(), %error, "upkeep waits for the database");
                    *at = Instant::now() + task.interval();
                }
            }
        }
        if lane.measures {
            gauge_lag(store.as_ref()).await;
            if measured.is_none_or(|at| at.elapsed() >= limits::DEPTH_EVERY) {
                measured = Some(Instant::now());
                gauge_depths(store.as_ref()).await;
            }
        }
        let next = due.iter().map(|(at, _)| *at).min().unwrap_or_else(Instant::now);
        // Never a busy loop, even when a task always has more.
        wake = next.max(Instant::now() + Duration::from_millis(10));
    }
}

async fn gauge_depths(store: &dyn Store) {
    if let Ok(depths) = store.upkeep().depths().await {
        metrics::depths(&depths);
    }
}

async fn gauge_lag(store: &dyn Store) {
    if let Ok(status) = store.upkeep().status().await {
        for task in status {
            metrics::upkeep_lag(&task.name, task.lag);
        }
    }
    if let Ok(horizon) = store.events().horizon().await {
        metrics::event_horizon(horizon.age);
    }
}
