//! The store: its threads, and how a call reaches them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use async_trait::async_trait;
use metrics::{counter, gauge, histogram};
use mnemon_core::checkpoints::Checkpoints;
use mnemon_core::checkpoints::seal::Sealing;
use mnemon_core::claims::{Claims, Rules};
use mnemon_core::consumers::Consumers;
use mnemon_core::dead_letters::DeadLetters;
use mnemon_core::events::{Archives, Events};
use mnemon_core::locks::Locks;
use mnemon_core::memories::text::Known;
use mnemon_core::memories::{EmbeddingSets, Memories};
use mnemon_core::migrations::MigrateMode;
use mnemon_core::steps::Steps;
use mnemon_core::store::{Backend, Finding, StoreHealth};
use mnemon_core::turns::{TurnDefaults, Turns};
use mnemon_core::upkeep::Upkeep;
use mnemon_core::workflows::Workflows;
use mnemon_core::{Error, Result, Store, metric_names};
use rusqlite::Connection;
use tokio::sync::Mutex;
use tracing::Instrument as _;

use crate::error::Done;
use crate::memories::held::Index;
use crate::memories::rows;
use crate::moves::Moves;
use crate::open::{Opener, Role};
use crate::options::Options;
use crate::threads::{Leaving, Load, Queue, Worker, start};
use crate::{doctor, migrate, open};

/// Mnemon's store in one SQLite file. Several processes may open the same file.
///
/// Dropping it without [`Store::close`] waits for the calls that are running.
pub struct SqliteStore {
    opener: Arc<Opener>,
    writes: Arc<Queue>,
    reads: Arc<Queue>,
    pub(crate) moves: Moves,
    /// The vectors held in memory.
    pub(crate) index: Arc<Index>,
    /// What is known of the language of words.
    pub(crate) known: Arc<Known>,
    connections: u32,
    closed: AtomicBool,
    workers: Mutex<Vec<Worker>>,
    pub(crate) turns: TurnDefaults,
    /// How claims are decided.
    pub(crate) rules: RwLock<Rules>,
    /// The keys of checkpoints.
    pub(crate) sealing: RwLock<Sealing>,
}

impl SqliteStore {
    /// Opens a file, or makes it, and brings its schema up to date or verifies it.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] for a directory, a missing folder, a read-only file, a file of another
    /// application, or a schema that this binary may not use (or, when verifying, one behind it);
    /// [`Error::Corrupt`] for what is no database; [`Error::Unavailable`] when other processes
    /// keep the file busy.
    pub async fn open(options: Options) -> Result<Self> {
        migrate::off_thread(move || {
            let opener = Arc::new(Opener::new(&options)?);
            prepare(&opener, &options)
                .map_err(|fault| fault.publish("opening the store", opener.place()))
        })
        .await
    }

    /// The same store with other defaults for turns.
    #[must_use]
    pub fn with_turns(mut self, defaults: TurnDefaults) -> Self {
        self.turns = defaults;
        self
    }

    /// Runs a function in a read transaction on a reader's thread.
    pub(crate) async fn read<T, F>(&self, doing: &'static str, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Done<T> + Send + 'static,
    {
        self.call(&self.reads, doing, body).await
    }

    /// Runs a function in a write transaction on the writer's thread; answered once it is
    /// durable. It may run more than once; only the last run's writes stay.
    pub(crate) async fn write<T, F>(&self, doing: &'static str, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Done<T> + Send + 'static,
    {
        self.call(&self.writes, doing, body).await
    }

    async fn call<T, F>(&self, queue: &Queue, doing: &'static str, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Done<T> + Send + 'static,
    {
        let started = Instant::now();
        let span =
            tracing::debug_span!(metric_names::SPAN_CALL, store = "sqlite", operation = doing);
        let outcome = queue.run(body).instrument(span).await.and_then(|done| {
            done.map_err(|fault| {
                if fault.is_busy() {
                    counter!(metric_names::LOCK_CONTENTIONS, "operation" => doing).increment(1);
                }
                fault.publish(doing, self.opener.place())
            })
        });
        counter!(metric_names::QUERIES_TOTAL, "operation" => doing).increment(1);
        histogram!(metric_names::QUERY_DURATION, "operation" => doing).record(started.elapsed());
        if let Err(error) = &outcome {
            counter!(metric_names::ERRORS_TOTAL, "operation" => doing, "code" => error.code())
                .increment(1);
            if matches!(error, Error::Fenced { .. }) {
                counter!(metric_names::FENCE_REJECTS_TOTAL, "operation" => doing).increment(1);
            }
        }
        self.gauge();
        outcome
    }

    /// Says how busy the threads are.
    fn gauge(&self) {
        let load = self.load();
        gauge!(metric_names::POOL_SIZE).set(self.connections);
        gauge!(metric_names::POOL_IDLE).set(load.idle);
        gauge!(metric_names::POOL_WAITING).set(load.waiting);
        gauge!(metric_names::CONNECTIONS_ACTIVE).set(self.connections.saturating_sub(load.idle));
    }

    fn load(&self) -> Load {
        let (writes, reads) = (self.writes.load(), self.reads.load());
        Load { waiting: writes.waiting + reads.waiting, idle: writes.idle + reads.idle }
    }

    /// Fails when the store is closed: the checks of a call come after.
    pub(crate) fn alive(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// The writer's line.
    #[cfg(test)]
    pub(crate) fn writes(&self) -> &Queue {
        &self.writes
    }

    fn shut(&self) {
        self.closed.store(true, Ordering::Release);
        self.writes.close();
        self.reads.close();
        self.moves.close();
    }
}

fn prepare(opener: &Arc<Opener>, options: &Options) -> Done<SqliteStore> {
    opener.check_path()?;
    if options.migrate == MigrateMode::Verify && !opener.exists() {
        return Err(migrate::missing(opener.place()).into());
    }
    opener.create()?;
    let mut writing = opener.connect(Role::Writer)?;
    // Looked at before the journal's mode is changed: what is refused stays as it is.
    match options.migrate {
        MigrateMode::Verify => migrate::verify(opener, &writing)?,
        MigrateMode::Auto => drop(opener.identify(&writing)?),
    }
    opener.use_wal(&writing)?;
    if options.migrate == MigrateMode::Auto {
        migrate::up(opener, &mut writing, migrate::STEPS)?;
    }
    let reading: Vec<Connection> =
        (0..options.readers).map(|_| opener.connect(Role::Reader)).collect::<Done<_>>()?;
    let connections = u32::try_from(reading.len() + 1).unwrap_or(u32::MAX);
    let (word, others) = mpsc::channel();
    let (writes, mut workers) = start(opener, vec![writing], Leaving::Last(others))?;
    // Looks at the file's data version and does nothing else: the number is a connection's own.
    let watching = opener.connect(Role::Reader)?;
    let (watcher, watchers) = start(opener, vec![watching], Leaving::First(word.clone()))?;
    let (reads, readers) = start(opener, reading, Leaving::First(word))?;
    workers.extend(readers);
    workers.extend(watchers);
    Ok(SqliteStore {
        opener: Arc::clone(opener),
        writes,
        reads,
        moves: Moves::new(watcher),
        index: Arc::new(Index::new(options.vector_bytes)),
        known: Arc::default(),
        connections,
        closed: AtomicBool::new(false),
        workers: Mutex::new(workers),
        turns: TurnDefaults::default(),
        rules: RwLock::new(Rules::default()),
        sealing: RwLock::default(),
    })
}

#[async_trait]
impl Store for SqliteStore {
    fn backend(&self) -> Backend {
        Backend::Sqlite
    }

    fn memories(&self) -> &dyn Memories {
        self
    }

    fn embedding_sets(&self) -> &dyn EmbeddingSets {
        self
    }

    fn events(&self) -> &dyn Events {
        self
    }

    fn archives(&self) -> &dyn Archives {
        self
    }

    fn consumers(&self) -> &dyn Consumers {
        self
    }

    fn locks(&self) -> &dyn Locks {
        self
    }

    fn checkpoints(&self) -> &dyn Checkpoints {
        self
    }

    fn turns(&self) -> &dyn Turns {
        self
    }

    fn claims(&self) -> &dyn Claims {
        self
    }

    fn workflows(&self) -> &dyn Workflows {
        self
    }

    fn dead_letters(&self) -> &dyn DeadLetters {
        self
    }

    fn steps(&self) -> &dyn Steps {
        self
    }

    fn upkeep(&self) -> &dyn Upkeep {
        self
    }

    async fn health(&self) -> Result<StoreHealth> {
        let started = Instant::now();
        let opener = Arc::clone(&self.opener);
        let (schema_version, now) = self
            .read("asking for health", move |conn| {
                Ok((migrate::stand(&opener, conn)?.version, open::now(conn)?))
            })
            .await?;
        let latency_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let load = self.load();
        Ok(StoreHealth {
            backend: Backend::Sqlite,
            server_version: rusqlite::version().to_owned(),
            schema_version,
            latency_us,
            now: rows::time(now)?,
            connections: self.connections,
            idle: load.idle,
            waiting: load.waiting,
            breaker: "closed".to_owned(),
        })
    }

    async fn doctor(&self) -> Result<Vec<Finding>> {
        self.alive()?;
        let opener = Arc::clone(&self.opener);
        self.read("looking the database over", move |conn| doctor::look(&opener, conn)).await
    }

    async fn close(&self) {
        self.shut();
        let mut workers = self.workers.lock().await;
        while let Some(worker) = workers.last_mut() {
            worker.ended().await;
            workers.pop().into_iter().for_each(Worker::join);
        }
        self.opener.remove_private();
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.shut();
        self.workers.get_mut().drain(..).for_each(Worker::join);
        self.opener.remove_private();
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("place", &self.opener.place()).finish_non_exhaustive()
    }
}
