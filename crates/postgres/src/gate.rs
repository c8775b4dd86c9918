//! The way to a pooled connection: who may wait, how long, and what is known about the server.
//!
//! The driver's pool tries a refused connection again until its patience ends, which can be half
//! a minute. A caller that waits while connections are being made therefore looks for itself: one
//! look at a time for everybody, and its answer counts for the circuit breaker.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use mnemon_core::{Error, limits, metric_names as names};
use sqlx::Connection as _;
use sqlx::postgres::PgPool;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, Semaphore, SemaphorePermit, watch};

use crate::breaker::Breaker;
use crate::lease::{Lease, Spare, sweep};
use crate::options::PoolOptions;
use crate::target::Target;

/// A wait this long while connections are being made asks for a look at the server.
const LOOK_AFTER: Duration = Duration::from_millis(250);

/// One pool and everything known about the way to it.
pub(crate) struct Gate {
    pool: PgPool,
    target: Target,
    /// The candidate that the pool connects to.
    current: AtomicUsize,
    options: PoolOptions,
    /// As many as the pool has connections; the queue for them is first come, first served.
    seats: Semaphore,
    /// Connections that just answered, the latest last.
    spares: std::sync::Mutex<Vec<Spare>>,
    /// Whether closing closes the pool; somebody else's is left open.
    owned: bool,
    pub(crate) breaker: Breaker,
    closed: watch::Sender<bool>,
    waiting: AtomicU32,
    active: AtomicU32,
    drained: Notify,
    /// When somebody last looked for the server, and what was found.
    look: Mutex<Option<(Instant, Option<Error>)>>,
}

/// Why there is no connection.
pub(crate) enum Refusal {
    /// The server could not be reached now.
    Away(Error),
    /// Trying again at once would not help.
    Final(Error),
}

impl Refusal {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Away(error) | Self::Final(error) => error,
        }
    }
}

impl Gate {
    pub(crate) fn new(
        pool: PgPool,
        target: Target,
        current: usize,
        options: PoolOptions,
        owned: bool,
    ) -> Arc<Self> {
        let seats = pool.options().get_max_connections();
        let gate = Arc::new(Self {
            pool,
            target,
            current: AtomicUsize::new(current),
            options,
            seats: Semaphore::new(seats as usize),
            spares: std::sync::Mutex::default(),
            owned,
            breaker: Breaker::default(),
            closed: watch::Sender::new(false),
            waiting: AtomicU32::new(0),
            active: AtomicU32::new(0),
            drained: Notify::new(),
            look: Mutex::new(None),
        });
        if owned {
            tokio::spawn(sweep(Arc::downgrade(&gate)));
        }
        gate
    }

    /// The longest a statement may run.
    pub(crate) fn statement_timeout(&self) -> Duration {
        self.options.statement_timeout
    }

    /// The most connections open at once.
    pub(crate) fn max_connections(&self) -> u32 {
        self.options.max_connections
    }

    /// Connections open, of them idle, and callers waiting.
    pub(crate) fn counts(&self) -> (u32, u32, u32) {
        let idle = self.pool.num_idle() + self.spares().len();
        let idle = u32::try_from(idle).unwrap_or(u32::MAX);
        (self.pool.size(), idle, self.waiting.load(Ordering::Relaxed))
    }

    /// A connection. `checked`: one that just answered, because the last one did not.
    pub(crate) async fn lease(&self, checked: bool) -> Result<Lease<'_>, Refusal> {
        if *self.closed.borrow() {
            return Err(Refusal::Final(Error::Closed));
        }
        self.breaker.admit(Instant::now()).map_err(|wait| {
            Refusal::Final(Error::Unavailable {
                what: format!("PostgreSQL at {} was away a moment ago", self.target.shown()),
                retry_after: Some(wait),
            })
        })?;
        let began = Instant::now();
        let mut lease = self.take().await?;
        // Idle connections may all be as dead as the last one; each is asked at most once.
        let mut left = if checked { self.options.max_connections } else { 0 };
        while left > 0 && !lease.answers(self.target.connect_timeout).await {
            lease.discard();
            drop(lease);
            lease = self.take().await?;
            left -= 1;
        }
        metrics::histogram!(names::POOL_ACQUIRE_DURATION).record(began.elapsed().as_secs_f64());
        Ok(lease)
    }

    /// Sleeps, unless the gate closes meanwhile.
    pub(crate) async fn pause(&self, time: Duration) -> Result<(), Error> {
        let mut closed = self.closed.subscribe();
        tokio::select! {
            _ = closed.wait_for(|closed| *closed) => Err(Error::Closed),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }

    /// Looks for a server that serves, and turns the pool to it; one look at a time.
    pub(crate) async fn look(&self) -> Result<(), Error> {
        let mut last = self.look.lock().await;
        if let Some((at, found)) = &*last
            && at.elapsed() < LOOK_AFTER
        {
            return found.as_ref().map_or(Ok(()), |error| Err(again(error)));
        }
        let found = match self.target.find().await {
            Ok(found) => {
                if self.current.swap(found.candidate, Ordering::AcqRel) != found.candidate {
                    let options = self.target.candidates[found.candidate].options.clone();
                    self.pool.set_connect_options(options);
                }
                self.breaker.success();
                // The goodbye is nobody's business to wait for.
                tokio::spawn(found.conn.close());
                None
            }
            // It is up: whoever waits, waits for its turn.
            Err(nobody) if nobody.full => None,
            Err(nobody) => {
                if matches!(nobody.error, Error::Unavailable { .. }) {
                    self.breaker.failure(Instant::now());
                }
                Some(nobody.error)
            }
        };
        let answer = found.as_ref().map_or(Ok(()), |error| Err(again(error)));
        *last = Some((Instant::now(), found));
        answer
    }

    /// Refuses every call from now on; ready when the running ones are done.
    pub(crate) async fn close(&self) {
        self.closed.send_replace(true);
        // Nobody adds to them from here on.
        let spares = std::mem::take(&mut *self.spares());
        drop(spares);
        if self.owned {
            self.pool.close().await;
            return;
        }
        loop {
            // Registered before the count is read, so that the last one out is not missed.
            let drained = self.drained.notified();
            if self.active.load(Ordering::Acquire) == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Takes a connection that just answered for the next caller, unless it is old or nobody will
    /// call; then, and when the pool is somebody else's who uses it too, it goes back.
    pub(crate) fn keep(&self, spare: Spare) {
        if !self.owned || spare.born.elapsed() >= self.options.max_lifetime {
            return;
        }
        let mut spares = self.spares();
        // Looked at under the lock: closing takes the spares after it has said so.
        if !*self.closed.borrow() {
            spares.push(spare);
        }
    }

    /// Gives spares of that age back to the pool; answers whether there will be more.
    pub(crate) fn tidy(&self, age: Duration) -> bool {
        let mut spares = self.spares();
        // The oldest stand first.
        let old = spares.iter().take_while(|spare| spare.since.elapsed() >= age).count();
        let old: Vec<_> = spares.drain(..old).collect();
        drop(spares);
        drop(old);
        !*self.closed.borrow()
    }

    /// A caller is done with its connection.
    pub(crate) fn leave(&self) {
        metrics::gauge!(names::CONNECTIONS_ACTIVE).decrement(1);
        if self.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.drained.notify_waiters();
        }
    }

    async fn take(&self) -> Result<Lease<'_>, Refusal> {
        let seat = self.seats.try_acquire().ok();
        let at_once = seat.and_then(|seat| self.at_once().map(|spare| (seat, spare)));
        let (seat, spare) = match at_once {
            Some(lease) => lease,
            None => self.wait().await?,
        };
        let (size, idle, _) = self.counts();
        metrics::gauge!(names::POOL_SIZE).set(size);
        metrics::gauge!(names::POOL_IDLE).set(idle);
        metrics::gauge!(names::CONNECTIONS_ACTIVE).increment(1);
        self.active.fetch_add(1, Ordering::AcqRel);
        Ok(Lease::new(self, spare, seat))
    }

    /// A connection that is there already.
    fn at_once(&self) -> Option<Spare> {
        let spare = self.spares().pop();
        spare.or_else(|| self.pool.try_acquire().map(Spare::of))
    }

    async fn wait(&self) -> Result<(SemaphorePermit<'_>, Spare), Refusal> {
        let _place = self.place().map_err(Refusal::Final)?;
        let mut closed = self.closed.subscribe();
        let closed = pin!(closed.wait_for(|closed| *closed));
        let turn = async {
            let seat = self.seats.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
            let spare = match self.at_once() {
                Some(found) => found,
                None => Spare::of(self.pool.acquire().await?),
            };
            Ok((seat, spare))
        };
        tokio::select! {
            biased;
            _ = closed => Err(Refusal::Final(Error::Closed)),
            turn = tokio::time::timeout(self.options.acquire_timeout, turn) => {
                turn.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(|cause| self.refusal(cause))
            }
            error = self.watch() => Err(match error {
                Error::Unavailable { .. } => Refusal::Away(error),
                _ => Refusal::Final(error),
            }),
        }
    }

    /// Ends when a look at the server found that it cannot be reached.
    async fn watch(&self) -> Error {
        loop {
            tokio::time::sleep(LOOK_AFTER).await;
            let (size, idle, _) = self.counts();
            let connecting = size > idle + self.active.load(Ordering::Acquire);
            if connecting && let Err(error) = self.look().await {
                return error;
            }
        }
    }

    fn refusal(&self, cause: sqlx::Error) -> Refusal {
        match cause {
            sqlx::Error::PoolClosed => Refusal::Final(Error::Closed),
            sqlx::Error::PoolTimedOut => Refusal::Final(Error::Unavailable {
                what: format!(
                    "no connection to PostgreSQL at {} came free within {} s; {} of {} are open",
                    self.target.shown(),
                    self.options.acquire_timeout.as_secs_f64(),
                    self.pool.size(),
                    self.options.max_connections
                ),
                retry_after: Some(limits::RETRY_PAUSE_MAX),
            }),
            cause => {
                let candidate = &self.target.candidates[self.current.load(Ordering::Acquire)];
                match crate::connect::refusal(candidate, &cause) {
                    error @ Error::Unavailable { .. } => {
                        self.breaker.failure(Instant::now());
                        Refusal::Away(error)
                    }
                    error => Refusal::Final(error),
                }
            }
        }
    }

    fn spares(&self) -> std::sync::MutexGuard<'_, Vec<Spare>> {
        // Pushes and pops cannot be torn by a panic.
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> Result<Place<'_>, Error> {
        let place = Place(self);
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        metrics::gauge!(names::POOL_WAITING).increment(1);
        if before < self.options.max_waiting {
            return Ok(place);
        }
        Err(Error::Unavailable {
            what: format!("{before} calls are waiting for a connection to PostgreSQL already"),
            retry_after: Some(limits::RETRY_PAUSE_MAX),
        })
    }
}

/// The answer of a look, for one more caller.
fn again(error: &Error) -> Error {
    match error {
        Error::Setup { problem, fix } => Error::setup(problem, fix),
        other => Error::Unavailable {
            what: other.to_string(),
            retry_after: Some(limits::RETRY_PAUSE_MAX),
        },
    }
}

/// A place in the waiting room.
struct Place<'g>(&'g Gate);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        metrics::gauge!(names::POOL_WAITING).decrement(1);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if Handle::try_current().is_ok() {
            return;
        }
        // The driver gives a connection back by a task, and panics where no runtime is left.
        for spare in std::mem::take(&mut *self.spares()) {
            std::mem::forget(spare.conn);
        }
    }
}
