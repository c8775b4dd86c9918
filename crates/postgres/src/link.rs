//! How every call reaches the database: one door that counts, retries, and closes.
//!
//! - An idempotent call is sent again after a transient failure, with growing pauses.
//! - A connection that had died unnoticed costs nobody anything: the first statement is sent
//!   again on one that answers. Work that must not be sent twice runs in a transaction, so that
//!   what is sent again is BEGIN.
//! - Inside a transaction the server ends a statement at the timeout (`SET LOCAL`, which travels
//!   with BEGIN). A statement on its own has a timer here, and its connection is closed when it
//!   runs out: a `SET` that outlives its statement would reach other clients of a pooler.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::future::BoxFuture;
use mnemon_core::{self as core, Error, limits, metric_names as names};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Connection as _};
use tracing::Instrument as _;

use crate::error::{self, Cure, Fault};
use crate::gate::{Gate, Refusal};
use crate::lease::Lease;
use crate::options::{Options, PoolOptions};
use crate::pooler::{self, Path};
use crate::target::Target;

/// A way to the database, cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    inner: Arc<Inner>,
}

struct Inner {
    gate: Arc<Gate>,
    maintenance: Option<Link>,
    path: Path,
    rls: AtomicBool,
    /// Opens a transaction with its statement timeout, in one round trip.
    begin: Arc<str>,
    /// Opens one that only reads, all of it from one snapshot.
    snapshot: Arc<str>,
}

/// What an attempt runs in.
#[derive(Clone)]
enum Frame<'a> {
    /// Autocommit.
    Bare,
    /// Autocommit of reads and of a write, which went out once this says so.
    Once(&'a AtomicBool),
    /// A transaction that this statement opens.
    Transaction(Arc<str>),
}

/// What a call is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// What is being done, for errors and metrics: `writing a memory`.
    pub(crate) doing: &'static str,
    /// Whose rows row-level security lets through; `None` for calls over all tenants.
    pub(crate) tenant: Option<&'a str>,
    /// Whether it may be sent again.
    pub(crate) retry: Retry,
}

/// Whether a call may be sent again after a transient failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Retry {
    /// Sending it twice has the effect of sending it once.
    Idempotent,
    /// Sent once.
    Never,
}

/// The future of one attempt, made by [`work`].
///
/// `'e` is the lifetime of what the attempt borrows: naming it beside the connection's is what
/// lets the closure borrow at all.
pub(crate) struct Work<'c, 'e, T> {
    future: BoxFuture<'c, Result<T, Fault>>,
    borrowed: PhantomData<&'c &'e ()>,
}

/// Boxes one attempt: `link.run(call, |conn| work(async move { … }))`.
pub(crate) fn work<'c, 'e, T>(
    future: impl Future<Output = Result<T, Fault>> + Send + 'c,
) -> Work<'c, 'e, T> {
    Work { future: Box::pin(future), borrowed: PhantomData }
}

/// How far an attempt came before it failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing that matters was sent.
    Opening,
    /// The work's own statements.
    Working,
    /// COMMIT was sent: the outcome is unknown.
    Committing,
}

impl Link {
    /// Reads the connection strings, reaches the server, makes sure that no unsafe pooler is in
    /// between, and opens the pools.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a connection string, [`Error::Setup`] for what must be changed,
    /// [`Error::Unavailable`] when no server answers.
    pub(crate) async fn open(options: &Options) -> core::Result<Self> {
        let target = Target::parse("url", &options.url)?;
        let maintenance = match &options.maintenance_url {
            Some(url) => {
                let target = Target::parse("maintenance_url", url)?;
                Some(Self::to(target, &options.pool, None).await?)
            }
            None => None,
        };
        Self::to(target, &options.pool, maintenance).await
    }

    /// A link over somebody else's pool, which closing leaves open.
    ///
    /// # Errors
    ///
    /// As [`Link::open`].
    pub(crate) async fn over(pool: PgPool, options: PoolOptions) -> core::Result<Self> {
        let target = Target::of_pool(&pool);
        let found = target.find().await.map_err(|nobody| nobody.error)?;
        let path = pooler::examine(&target, &target.candidates[0], found.conn).await?;
        Ok(Self::of(Gate::new(pool, target, 0, options, false), None, path))
    }

    async fn to(
        target: Target,
        options: &PoolOptions,
        maintenance: Option<Self>,
    ) -> core::Result<Self> {
        let found = target.find().await.map_err(|nobody| nobody.error)?;
        let candidate = found.candidate;
        let path = pooler::examine(&target, &target.candidates[candidate], found.conn).await?;
        let pool = target.pool(candidate, options);
        Ok(Self::of(Gate::new(pool, target, candidate, options.clone(), true), maintenance, path))
    }

    fn of(gate: Arc<Gate>, maintenance: Option<Self>, path: Path) -> Self {
        let timeout = gate.statement_timeout().as_millis();
        let begin = format!(
            "begin isolation level read committed; set local statement_timeout = {timeout}"
        );
        let snapshot = format!(
            "begin isolation level repeatable read read only; set local statement_timeout = {timeout}"
        );
        let (begin, snapshot) = (begin.into(), snapshot.into());
        let rls = AtomicBool::new(false);
        Self { inner: Arc::new(Inner { gate, maintenance, path, rls, begin, snapshot }) }
    }

    /// Says whether row-level security is on; every call sets its tenant from then on.
    pub(crate) fn set_rls(&self, on: bool) {
        self.inner.rls.store(on, Ordering::Release);
    }

    /// Whether row-level security is on.
    pub(crate) fn rls(&self) -> bool {
        self.inner.rls.load(Ordering::Acquire)
    }

    /// Whether [`Link::maintenance`] sees the rows of all tenants, as far as is known.
    pub(crate) fn oversees(&self) -> bool {
        !self.rls() || self.inner.maintenance.is_some()
    }

    /// The link for upkeep: the owner's where one was given, else this one.
    pub(crate) fn maintenance(&self) -> &Self {
        self.inner.maintenance.as_ref().unwrap_or(self)
    }

    /// Whether a pooler stands in between.
    pub(crate) fn is_pooled(&self) -> bool {
        self.inner.path == Path::Pooled
    }

    /// Connections open, of them idle, callers waiting, and the breaker's state.
    pub(crate) fn health_counts(&self) -> (u32, u32, u32, &'static str) {
        let (connections, idle, waiting) = self.inner.gate.counts();
        (connections, idle, waiting, self.inner.gate.breaker.name())
    }

    /// Runs one statement's worth of work in autocommit; inside a transaction when row-level
    /// security is on or it must not be sent twice.
    pub(crate) async fn run<'e, T, F>(&self, call: Call<'_>, work: F) -> core::Result<T>
    where
        F: for<'c> FnMut(&'c mut PgConnection) -> Work<'c, 'e, T> + Send,
        T: Send,
    {
        let guarded = self.rls() && call.tenant.is_some();
        let frame = if guarded || call.retry == Retry::Never { self.begin() } else { Frame::Bare };
        self.measured(call, frame, self.limit(false), work).await
    }

    /// Runs one statement in autocommit that may take its time: an index that is built, a table
    /// that is vacuumed. The server's own timeout holds, where the role has one.
    pub(crate) async fn run_long<'e, T, F>(
        &self,
        call: Call<'_>,
        limit: Duration,
        work: F,
    ) -> core::Result<T>
    where
        F: for<'c> FnMut(&'c mut PgConnection) -> Work<'c, 'e, T> + Send,
        T: Send,
    {
        self.measured(call, Frame::Bare, limit, work).await
    }

    /// Runs reads that all see one snapshot. `settings` is put behind BEGIN: `; set local …`, made
    /// of constants and numbers of ours.
    pub(crate) async fn snapshot<'e, T, F>(
        &self,
        call: Call<'_>,
        settings: &str,
        work: F,
    ) -> core::Result<T>
    where
        F: for<'c> FnMut(&'c mut PgConnection) -> Work<'c, 'e, T> + Send,
        T: Send,
    {
        let begin = Frame::Transaction(format!("{}{settings}", self.inner.snapshot).into());
        self.measured(call, begin, self.limit(true), work).await
    }

    fn begin(&self) -> Frame<'static> {
        Frame::Transaction(Arc::clone(&self.inner.begin))
    }

    /// Runs work inside BEGIN and COMMIT (READ COMMITTED); an error rolls back.
    pub(crate) async fn transaction<'e, T, F>(&self, call: Call<'_>, work: F) -> core::Result<T>
    where
        F: for<'c> FnMut(&'c mut PgConnection) -> Work<'c, 'e, T> + Send,
        T: Send,
    {
        self.measured(call, self.begin(), self.limit(true), work).await
    }

    /// Runs reads and then a write in autocommit; inside a transaction when row-level security is
    /// on. The work says by `sent` when its write goes out, and takes that back when the server
    /// answers. Until then it may be sent again to a connection that answers; afterwards its
    /// outcome is unknown.
    pub(crate) async fn once<'e, T, F>(
        &self,
        call: Call<'_>,
        sent: &AtomicBool,
        work: F,
    ) -> core::Result<T>
    where
        F: for<'c> FnMut(&'c mut PgConnection) -> Work<'c, 'e, T> + Send,
        T: Send,
    {
        let guarded = self.rls() && call.tenant.is_some();
        let frame = if guarded { self.begin() } else { Frame::Once(sent) };
        self.measured(call, frame, self.limit(true), work).await
    }

    /// Refuses new calls at once, also those that wait; ready when the running ones are done and
    /// every connection of ours is closed.
    pub(crate) async fn close(&self) {
        let maintenance = self.inner.maintenance.as_ref();
        let rest = async {
            if let Some(maintenance) = maintenance {
                maintenance.inner.gate.close().await;
            }
        };
        tokio::join!(self.inner.gate.close(), rest);
    }

    async fn measured<'e, T, F>(
        &self,
        call: Call<'_>,
        frame: Frame<'_>,
        limit: Duration,
        work: F,
    ) -> core::Result<T>
    where
        F: for<'c> FnMut(&'c mut PgConnection) -> Work<'c, 'e, T> + Send,
        T: Send,
    {
        let began = Instant::now();
        let span =
            tracing::debug_span!(names::SPAN_CALL, store = "postgres", operation = call.doing);
        let result = self.attempts(call, &frame, limit, work).instrument(span).await;
        metrics::counter!(names::QUERIES_TOTAL, "operation" => call.doing).increment(1);
        metrics::histogram!(names::QUERY_DURATION, "operation" => call.doing)
            .record(began.elapsed().as_secs_f64());
        if let Err(error) = &result {
            metrics::counter!(
                names::ERRORS_TOTAL, "operation" => call.doing, "code" => error.code()
            )
            .increment(1);
            if matches!(error, Error::Fenced { .. }) {
                metrics::counter!(names::FENCE_REJECTS_TOTAL, "operation" => call.doing)
                    .increment(1);
            }
        }
        result
    }

    async fn attempts<'e, T, F>(
        &self,
        call: Call<'_>,
        frame: &Frame<'_>,
        limit: Duration,
        mut work: F,
    ) -> core::Result<T>
    where
        F: for<'c> FnMut(&'c mut PgConnection) -> Work<'c, 'e, T> + Send,
        T: Send,
    {
        let gate = &self.inner.gate;
        let mut pauses = pauses(call.retry);
        let (mut checked, mut unprepared) = (false, 0);
        loop {
            let mut lease = match gate.lease(checked).await {
                Ok(lease) => lease,
                Err(Refusal::Away(error)) => match pauses.next() {
                    Some(pause) => {
                        gate.pause(pause).await?;
                        continue;
                    }
                    None => return Err(error),
                },
                Err(refusal) => return Err(refusal.into_error()),
            };
            let mut stage = Stage::Opening;
            let attempt = self.attempt(&mut lease, call, frame, &mut stage, &mut work);
            let fault = match tokio::time::timeout(limit, attempt).await {
                Ok(Ok(value)) => {
                    gate.breaker.success();
                    lease.keep();
                    return Ok(value);
                }
                Ok(Err(fault)) => fault,
                Err(_) => {
                    // Its answer may still come: nobody else may read it as theirs.
                    lease.discard();
                    return Err(too_long(call.doing, limit));
                }
            };
            let pause = match fault.cure() {
                Cure::Reconnect => {
                    lease.discard();
                    drop(lease);
                    let unsent = stage == Stage::Opening;
                    if !checked && (unsent || call.retry == Retry::Idempotent) {
                        checked = true;
                        continue;
                    }
                    gate.breaker.failure(Instant::now());
                    pauses.next()
                }
                Cure::Elsewhere => {
                    // What the look finds counts for the next attempt. The server itself is fine:
                    // reads must not be stopped because writes fail.
                    lease.discard();
                    drop(lease);
                    let found = gate.look().await;
                    pauses.next().filter(|_| found.is_ok())
                }
                Cure::Prepare => {
                    lease.discard();
                    drop(lease);
                    // Every connection of the pool may have prepared it.
                    unprepared += 1;
                    if unprepared <= gate.max_connections() {
                        continue;
                    }
                    None
                }
                Cure::Repeat => {
                    drop(lease);
                    gate.breaker.success();
                    pauses.next()
                }
                Cure::None => {
                    gate.breaker.success();
                    None
                }
            };
            if error::is_contention(&fault) {
                metrics::counter!(names::LOCK_CONTENTIONS, "operation" => call.doing).increment(1);
            }
            match pause {
                Some(pause) => gate.pause(pause).await?,
                None => return Err(outcome(fault, call, stage)),
            }
        }
    }

    async fn attempt<'e, T, F>(
        &self,
        lease: &mut Lease<'_>,
        call: Call<'_>,
        frame: &Frame<'_>,
        stage: &mut Stage,
        work: &mut F,
    ) -> Result<T, Fault>
    where
        F: for<'c> FnMut(&'c mut PgConnection) -> Work<'c, 'e, T> + Send,
        T: Send,
    {
        let begin = match frame {
            Frame::Bare => {
                *stage = Stage::Working;
                return work(lease).future.await;
            }
            Frame::Once(sent) => {
                let done = work(lease).future.await;
                if sent.load(Ordering::Acquire) {
                    *stage = Stage::Committing;
                }
                return done;
            }
            Frame::Transaction(begin) => begin,
        };
        // Made of constants and numbers of ours.
        let begin = AssertSqlSafe(Arc::clone(begin));
        let mut tx = lease.begin_with(begin).await?;
        if let (true, Some(tenant)) = (self.rls(), call.tenant) {
            sqlx::query("select set_config('mnemon.tenant', $1, true)")
                .bind(tenant)
                .execute(&mut *tx)
                .await?;
        }
        *stage = Stage::Working;
        let done = work(&mut tx).future.await;
        let value = match done {
            Ok(value) => value,
            Err(fault) => {
                // Dropped, it would be rolled back some time later: whoever hears of the error would
                // find its own locks still there. A connection that is gone has none.
                let _ = tx.rollback().await;
                return Err(fault);
            }
        };
        *stage = Stage::Committing;
        tx.commit().await?;
        Ok(value)
    }

    fn limit(&self, transaction: bool) -> Duration {
        let statement = self.inner.gate.statement_timeout();
        if transaction { statement * limits::TRANSACTION_STATEMENTS } else { statement }
    }
}

fn too_long(doing: &str, limit: Duration) -> Error {
    let limit = limit.as_secs_f64();
    Error::Unavailable {
        what: format!("{doing} took longer than {limit} s and was given up"),
        retry_after: None,
    }
}

/// The pauses between attempts; none for a call that is sent once.
fn pauses(retry: Retry) -> impl Iterator<Item = Duration> + Send {
    let times = match retry {
        Retry::Idempotent => limits::RETRY_ATTEMPTS - 1,
        Retry::Never => 0,
    };
    ExponentialBuilder::new()
        .with_min_delay(limits::RETRY_PAUSE)
        .with_max_delay(limits::RETRY_PAUSE_MAX)
        .with_max_times(times)
        .with_jitter()
        .build()
}

/// The error of the last attempt.
fn outcome(fault: Fault, call: Call<'_>, stage: Stage) -> Error {
    match fault {
        Fault::Core(error) => error,
        // It may have been committed: "try again" would be the wrong advice.
        Fault::Sql(cause)
            if stage == Stage::Committing
                && call.retry == Retry::Never
                && error::cure(&cause) == Cure::Reconnect =>
        {
            Error::backend(call.doing, cause)
        }
        Fault::Sql(cause) => error::sql(call.doing, cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only while a call can borrow and its future is `Send`.
    #[expect(dead_code, reason = "its compiling is the test")]
    async fn a_call_may_borrow(link: &Link, tenant: &str, names: &[String]) -> core::Result<i64> {
        let owned = tenant.to_owned();
        let owned = &owned;
        let call = Call { doing: "counting", tenant: Some(tenant), retry: Retry::Never };
        let count = link.transaction(call, |conn| {
            work(async move {
                let sum: i64 = sqlx::query_scalar("select $1::int8")
                    .bind(i64::try_from(names.len()).unwrap())
                    .fetch_one(&mut *conn)
                    .await?;
                Ok(sum + length(conn, owned).await?)
            })
        });
        let sendable: BoxFuture<'_, core::Result<i64>> = Box::pin(count);
        sendable.await
    }

    async fn length(conn: &mut PgConnection, text: &str) -> Result<i64, Fault> {
        Ok(sqlx::query_scalar("select length($1)::int8").bind(text).fetch_one(conn).await?)
    }
}
