//! The work of many callers, done by few: who comes while the places of a lane are taken waits, and
//! whoever gives a place back has those that wait done together.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mnemon_core::{Error, Result, limits};
use tokio::runtime::Handle;
use tokio::task::yield_now;

/// Who does the work. Whoever waits for a job hears of its outcome by what is in the job; a job
/// that is dropped was not done.
pub(crate) trait Worker: Clone + Send + Sync + 'static {
    /// What may be done together.
    type Lane: Clone + Eq + Hash + Send + Sync;
    /// A caller's part.
    type Job: Send;
    /// Places of a lane.
    const PLACES: u32;

    /// Takes of those that wait, the oldest first, what is done together; the others stay.
    fn take(&self, waiting: &mut VecDeque<Self::Job>) -> Vec<Self::Job>;

    /// Does it and tells those who wait.
    fn work(&self, jobs: Vec<Self::Job>) -> impl Future<Output = ()> + Send;
}

/// Who waits, by lane.
pub(crate) struct Gather<W: Worker> {
    lanes: Mutex<HashMap<W::Lane, Lane<W::Job>>>,
}

/// One lane; it is there while somebody works in it.
struct Lane<J> {
    waiting: VecDeque<J>,
    workers: u32,
}

impl<W: Worker> Default for Gather<W> {
    fn default() -> Self {
        Self { lanes: Mutex::default() }
    }
}

impl<W: Worker> Gather<W> {
    /// Does a job at once where a place is free, or leaves it to those who work.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when too many wait already.
    pub(crate) async fn bring(
        self: &Arc<Self>,
        worker: W,
        lane: W::Lane,
        job: W::Job,
    ) -> Result<()> {
        match self.enter(&lane, job) {
            Entered::Place(job) => {
                let place = Place { gather: Arc::clone(self), worker, lane, held: Held::Working };
                place.work(vec![*job]).await;
                Ok(())
            }
            Entered::Waits => Ok(()),
            Entered::Full(error) => Err(error),
        }
    }

    /// The lanes. A panic cannot leave them half changed: no other code runs under the lock.
    fn lanes(&self) -> MutexGuard<'_, HashMap<W::Lane, Lane<W::Job>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, lane: &W::Lane, job: W::Job) -> Entered<W::Job> {
        let mut lanes = self.lanes();
        let empty = || Lane { waiting: VecDeque::new(), workers: 0 };
        let lane = lanes.entry(lane.clone()).or_insert_with(empty);
        if lane.workers < W::PLACES {
            lane.workers += 1;
            return Entered::Place(Box::new(job));
        }
        if lane.waiting.len() >= limits::WAITING_MAX as usize {
            return Entered::Full(Error::Unavailable {
                what: format!("{} calls wait already; that is the limit", limits::WAITING_MAX),
                retry_after: None,
            });
        }
        lane.waiting.push_back(job);
        Entered::Waits
    }

    /// What is done together next; the place is given back when nobody waits.
    fn next(&self, worker: &W, key: &W::Lane) -> Option<Vec<W::Job>> {
        let mut lanes = self.lanes();
        let lane = lanes.get_mut(key)?;
        let taken = worker.take(&mut lane.waiting);
        if !taken.is_empty() {
            return Some(taken);
        }
        lane.workers -= 1;
        if lane.workers == 0 {
            lanes.remove(key);
        }
        None
    }
}

/// What became of a job that came.
enum Entered<J> {
    /// A place was free.
    Place(Box<J>),
    /// It waits.
    Waits,
    /// Too many wait.
    Full(Error),
}

/// A place; whoever leaves it, also by being dropped half way, has those that wait done.
struct Place<W: Worker> {
    gather: Arc<Gather<W>>,
    worker: W,
    lane: W::Lane,
    held: Held,
}

/// How a place is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Somebody works in it.
    Working,
    /// It was handed on, and whoever got it has not begun.
    HandedOn,
    /// It was given back.
    NoMore,
}

impl<W: Worker> Place<W> {
    async fn work(self, jobs: Vec<W::Job>) {
        self.worker.work(jobs).await;
    }

    /// Does what waits. First all that were told their outcome have their turn: what they bring next
    /// is done in the same go.
    async fn go_on(mut self) {
        yield_now().await;
        match self.gather.next(&self.worker, &self.lane) {
            Some(jobs) => {
                self.held = Held::Working;
                self.work(jobs).await;
            }
            None => self.held = Held::NoMore,
        }
    }
}

impl<W: Worker> Drop for Place<W> {
    fn drop(&mut self) {
        match (self.held, Handle::try_current()) {
            (Held::NoMore, _) => {}
            (Held::Working, Ok(runtime)) => {
                let place = Self {
                    gather: Arc::clone(&self.gather),
                    worker: self.worker.clone(),
                    lane: self.lane.clone(),
                    held: Held::HandedOn,
                };
                runtime.spawn(place.go_on());
            }
            // There is no runtime any more. Not done, as those who wait see by their being dropped.
            _ => while self.gather.next(&self.worker, &self.lane).is_some() {},
        }
    }
}
