//! One writer and N readers, each a thread with a connection of its own. Writes that wait
//! together are merged into one commit, each in a savepoint, and answered only once it is durable.
//!
//! A job may run twice: when SQLite gives up a merged transaction, every job of it runs again in
//! one of its own, so that only the one at fault fails. Jobs are therefore `Fn`.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use metrics::histogram;
use mnemon_core::{Error, Result, limits, metric_names};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::{Done, Fault};
use crate::open::{Opener, Role};

pub(crate) mod sql {
    crate::sql::statements! {
        BEGIN_WRITE = "begin immediate";
        BEGIN_READ = "begin deferred";
        COMMIT = "commit";
        ROLLBACK = "rollback";
        SAVEPOINT = "savepoint job";
        RELEASE = "release job";
        ROLLBACK_TO = "rollback to job";
    }
}

/// Something to do on a connection.
pub(crate) trait Job: Send {
    /// Nobody waits for it any more.
    fn abandoned(&self) -> bool;
    /// Does it, keeping the outcome; whether its writes are to stay.
    fn run(&mut self, conn: &Connection) -> bool;
    /// Replaces the outcome: what was done did not last.
    fn fail(&mut self, fault: Fault);
    /// Whether the outcome says that the connection is damaged.
    fn taints(&self) -> bool;
    /// Tells the caller.
    fn answer(self: Box<Self>);
}

/// A function over a connection, and who waits for it.
struct Call<T, F> {
    body: F,
    /// Since when it stands in line; taken when it is first run.
    waiting: Option<Instant>,
    outcome: Option<Done<T>>,
    reply: oneshot::Sender<Done<T>>,
}

impl<T, F> Job for Call<T, F>
where
    T: Send,
    F: Fn(&Connection) -> Done<T> + Send,
{
    fn abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, conn: &Connection) -> bool {
        if let Some(since) = self.waiting.take() {
            histogram!(metric_names::POOL_ACQUIRE_DURATION).record(since.elapsed());
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.body)(conn)))
            .unwrap_or_else(|panic| Err(Fault::Panicked(message(panic.as_ref()))));
        self.outcome.insert(outcome).is_ok()
    }

    fn fail(&mut self, fault: Fault) {
        self.outcome = Some(Err(fault));
    }

    fn taints(&self) -> bool {
        matches!(&self.outcome, Some(Err(fault)) if fault.taints())
    }

    fn answer(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            // The caller may have gone; what is written stays written.
            let _ = self.reply.send(outcome);
        }
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "with no message".to_owned())
}

/// Jobs waiting for a thread.
pub(crate) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Box<dyn Job>>,
    idle: u32,
    closed: bool,
}

impl Queue {
    fn new() -> Self {
        Self { state: Mutex::default(), ready: Condvar::new() }
    }

    /// The state. A panic cannot leave it half changed: no code of a caller runs under the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a function in line and waits for its outcome.
    pub(crate) async fn run<T, F>(&self, body: F) -> Result<Done<T>>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Done<T> + Send + 'static,
    {
        let (reply, outcome) = oneshot::channel();
        self.push(Box::new(Call { body, waiting: Some(Instant::now()), outcome: None, reply }))?;
        outcome.await.map_err(|_| Error::Closed)
    }

    fn push(&self, job: Box<dyn Job>) -> Result<()> {
        let mut state = self.state();
        if state.closed {
            return Err(Error::Closed);
        }
        if state.jobs.len() >= limits::WAITING_MAX as usize {
            return Err(Error::Unavailable {
                what: format!("{} calls wait already; that is the limit", limits::WAITING_MAX),
                retry_after: None,
            });
        }
        state.jobs.push_back(job);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Up to `most` jobs that somebody waits for; `None` once closed and drained.
    fn take(&self, most: usize) -> Option<Vec<Box<dyn Job>>> {
        let mut state = self.state();
        loop {
            let waiting = state.jobs.len().min(most);
            let jobs: Vec<_> = state.jobs.drain(..waiting).filter(|job| !job.abandoned()).collect();
            if !jobs.is_empty() {
                return Some(jobs);
            }
            if !state.jobs.is_empty() {
                continue;
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Refuses new jobs; those in line are still done.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.ready.notify_all();
    }

    /// How busy its threads are.
    pub(crate) fn load(&self) -> Load {
        let state = self.state();
        Load { waiting: u32::try_from(state.jobs.len()).unwrap_or(u32::MAX), idle: state.idle }
    }
}

/// How busy the threads of a queue are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Load {
    /// Jobs in line.
    pub(crate) waiting: u32,
    /// Threads without one.
    pub(crate) idle: u32,
}

/// A running thread, and word of its end.
pub(crate) struct Worker {
    handle: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

impl Worker {
    /// Waits for the end without blocking the caller's thread.
    pub(crate) async fn ended(&mut self) {
        // An error means that the sender was dropped: ended too.
        let _ = (&mut self.ended).await;
    }

    /// Waits for the end.
    pub(crate) fn join(self) {
        // Every job's panic was caught; one of the loop itself has been printed.
        let _ = self.handle.join();
    }
}

/// When a thread's connection closes. The last one folds the log into the file, so that a copy
/// of the file alone is whole; two that close together might each leave that to the other.
pub(crate) enum Leaving {
    /// A reader: this is dropped after its connection.
    First(Sender<()>),
    /// The writer: waits until every reader's is dropped.
    Last(Receiver<()>),
}

impl Leaving {
    fn role(&self) -> Role {
        match self {
            Self::First(_) => Role::Reader,
            Self::Last(_) => Role::Writer,
        }
    }
}

/// The threads of one role with their queue.
pub(crate) fn start(
    opener: &Arc<Opener>,
    connections: Vec<Connection>,
    leaving: Leaving,
) -> Done<(Arc<Queue>, Vec<Worker>)> {
    let role = leaving.role();
    let queue = Arc::new(Queue::new());
    let mut workers = Vec::with_capacity(connections.len());
    let (first, mut last) = match leaving {
        Leaving::First(word) => (Some(word), None),
        Leaving::Last(others) => (None, Some(others)),
    };
    for conn in connections {
        let (end, ended) = oneshot::channel();
        let (queue, opener) = (Arc::clone(&queue), Arc::clone(opener));
        let (first, last) = (first.clone(), last.take());
        let handle = std::thread::Builder::new()
            .name(format!("mnemon-{}", role.name()))
            .spawn(move || {
                serve(role, &queue, &opener, conn, last.as_ref());
                drop((opener, first));
                let _ = end.send(());
            })
            .map_err(|error| Error::backend("starting a thread", error))?;
        workers.push(Worker { handle, ended });
    }
    Ok((queue, workers))
}

/// A thread's life: takes jobs until the queue is closed and empty.
fn serve(
    role: Role,
    queue: &Queue,
    opener: &Opener,
    conn: Connection,
    others: Option<&Receiver<()>>,
) {
    let most = match role {
        Role::Writer => limits::MERGED_WRITES,
        Role::Reader => 1,
    };
    let mut own = Own { role, opener, conn: Some(conn) };
    while let Some(jobs) = queue.take(most) {
        let left = if jobs.len() == 1 { jobs } else { own.together(jobs) };
        for job in left {
            own.alone(job);
        }
    }
    if let Some(others) = others {
        // Nothing is ever sent: it ends when every other connection is closed.
        let _ = others.recv();
    }
}

/// A thread's own connection. One that an error may have damaged is opened anew for the next job.
struct Own<'t> {
    role: Role,
    opener: &'t Opener,
    conn: Option<Connection>,
}

impl Own<'_> {
    fn take(&mut self) -> Done<Connection> {
        self.conn.take().map_or_else(|| self.opener.connect(self.role), Ok)
    }

    /// Runs jobs in one transaction. What is returned was not done: SQLite gave up the whole
    /// transaction, and whose fault it was shows when each runs alone.
    fn together(&mut self, mut jobs: Vec<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
        let begun = self.take().and_then(|conn| control(&conn, sql::BEGIN_WRITE).map(|()| conn));
        let conn = match begun {
            Ok(conn) => conn,
            Err(fault) => {
                for mut job in jobs {
                    job.fail(fault.shared());
                    job.answer();
                }
                return Vec::new();
            }
        };
        let lasted = jobs.iter_mut().all(|job| in_savepoint(&conn, job.as_mut()))
            && control(&conn, sql::COMMIT).is_ok();
        let good = roll_back(&conn).is_ok() && !jobs.iter().any(|job| job.taints());
        self.conn = good.then_some(conn);
        if !lasted {
            return jobs;
        }
        jobs.into_iter().for_each(Job::answer);
        Vec::new()
    }

    /// Runs a job in a transaction of its own.
    fn alone(&mut self, mut job: Box<dyn Job>) {
        match self.take() {
            Ok(conn) => {
                in_transaction(self.role, &conn, job.as_mut());
                let good = roll_back(&conn).is_ok() && !job.taints();
                self.conn = good.then_some(conn);
            }
            Err(fault) => job.fail(fault),
        }
        job.answer();
    }
}

/// One job of a merged transaction; whether the transaction still stands.
fn in_savepoint(conn: &Connection, job: &mut dyn Job) -> bool {
    if control(conn, sql::SAVEPOINT).is_err() {
        return false;
    }
    let stays = job.run(conn);
    if conn.is_autocommit() {
        return false;
    }
    if !stays && control(conn, sql::ROLLBACK_TO).is_err() {
        return false;
    }
    control(conn, sql::RELEASE).is_ok()
}

fn in_transaction(role: Role, conn: &Connection, job: &mut dyn Job) {
    let begin = match role {
        Role::Writer => sql::BEGIN_WRITE,
        Role::Reader => sql::BEGIN_READ,
    };
    if let Err(fault) = control(conn, begin) {
        job.fail(fault);
    } else if job.run(conn)
        && let Err(fault) = control(conn, sql::COMMIT)
    {
        job.fail(fault);
    }
}

/// Ends what transaction there is.
fn roll_back(conn: &Connection) -> Done<()> {
    if conn.is_autocommit() { Ok(()) } else { control(conn, sql::ROLLBACK) }
}

fn control(conn: &Connection, statement: &str) -> Done<()> {
    conn.prepare_cached(statement)?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests;
