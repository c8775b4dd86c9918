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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::{Notify, mpsc, oneshot};
    use tokio::time::timeout;

    use super::*;

    /// Says what it is given to do, and does it when it is let go on.
    #[derive(Clone)]
    struct Slow {
        began: mpsc::UnboundedSender<Vec<u32>>,
        go_on: Arc<Notify>,
    }

    struct Job {
        number: u32,
        reply: oneshot::Sender<u32>,
    }

    impl Worker for Slow {
        type Lane = &'static str;
        type Job = Job;
        const PLACES: u32 = 1;

        fn take(&self, waiting: &mut VecDeque<Job>) -> Vec<Job> {
            waiting.drain(..waiting.len().min(3)).collect()
        }

        async fn work(&self, jobs: Vec<Job>) {
            let numbers = jobs.iter().map(|job| job.number).collect();
            self.began.send(numbers).unwrap();
            self.go_on.notified().await;
            for job in jobs {
                let _ = job.reply.send(job.number);
            }
        }
    }

    struct Shop {
        gather: Arc<Gather<Slow>>,
        slow: Slow,
        began: mpsc::UnboundedReceiver<Vec<u32>>,
    }

    impl Shop {
        fn open() -> Self {
            let (sender, began) = mpsc::unbounded_channel();
            let slow = Slow { began: sender, go_on: Arc::default() };
            Self { gather: Arc::default(), slow, began }
        }

        fn bring(&self, lane: &'static str, number: u32) -> tokio::task::JoinHandle<Option<u32>> {
            let (gather, slow) = (Arc::clone(&self.gather), self.slow.clone());
            tokio::spawn(async move {
                let (reply, outcome) = oneshot::channel();
                gather.bring(slow, lane, Job { number, reply }).await.unwrap();
                outcome.await.ok()
            })
        }

        /// What is begun next.
        async fn begun(&mut self) -> Vec<u32> {
            let begun = timeout(Duration::from_secs(10), self.began.recv()).await;
            begun.expect("somebody works").expect("its sender is here")
        }
    }

    async fn settle() {
        for _ in 0..10 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_waits_is_done_together_and_lanes_do_not_wait_for_each_other() {
        let mut shop = Shop::open();
        let first = shop.bring("a", 1);
        assert_eq!(shop.begun().await, [1]);
        let rest: Vec<_> = (2..=5).map(|number| shop.bring("a", number)).collect();
        let other = shop.bring("b", 9);
        assert_eq!(shop.begun().await, [9]);
        settle().await;

        shop.slow.go_on.notify_waiters();
        assert_eq!(first.await.unwrap(), Some(1));
        assert_eq!(other.await.unwrap(), Some(9));
        assert_eq!(shop.begun().await, [2, 3, 4]);
        shop.slow.go_on.notify_waiters();
        assert_eq!(shop.begun().await, [5]);
        shop.slow.go_on.notify_waiters();
        for (job, number) in rest.into_iter().zip(2..) {
            assert_eq!(job.await.unwrap(), Some(number));
        }
        settle().await;
        assert!(shop.gather.lanes().is_empty(), "nobody works, no lane is left");
    }

    #[tokio::test]
    async fn a_place_left_half_way_goes_to_those_who_wait() {
        let mut shop = Shop::open();
        let first = shop.bring("a", 1);
        assert_eq!(shop.begun().await, [1]);
        let second = shop.bring("a", 2);
        settle().await;

        first.abort();

        assert_eq!(shop.begun().await, [2]);
        shop.slow.go_on.notify_waiters();
        assert_eq!(second.await.unwrap(), Some(2));
    }

    #[test]
    fn where_the_runtime_ends_nobody_waits_for_ever() {
        let gather = {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap();
            let mut shop = Shop::open();
            runtime.block_on(async {
                shop.bring("a", 1);
                assert_eq!(shop.begun().await, [1]);
                shop.bring("a", 2);
                settle().await;
            });
            drop(runtime);
            shop.gather
        };

        assert!(gather.lanes().is_empty());
    }
}
