//! A connection in use, and where it goes afterwards.
//!
//! The driver's pool asks every connection that comes back for a sign of life, a round trip as
//! long as a small statement. A connection that just answered therefore waits beside the pool for
//! the next caller, for a moment; only then does it go back.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Weak;
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Postgres};
use tokio::sync::SemaphorePermit;

use crate::gate::Gate;

/// How long a connection that just answered waits for the next caller.
const SPARE_FOR: Duration = Duration::from_secs(1);

/// A connection that just answered.
pub(crate) struct Spare {
    pub(crate) conn: PoolConnection<Postgres>,
    /// When it was taken from the pool.
    pub(crate) born: Instant,
    /// When it last answered.
    pub(crate) since: Instant,
}

impl Spare {
    /// A connection just taken from the pool.
    pub(crate) fn of(conn: PoolConnection<Postgres>) -> Self {
        let now = Instant::now();
        Self { conn, born: now, since: now }
    }
}

/// A pooled connection in use.
pub(crate) struct Lease<'g> {
    gate: &'g Gate,
    /// There until dropped.
    spare: Option<Spare>,
    clean: bool,
    _seat: SemaphorePermit<'g>,
}

impl<'g> Lease<'g> {
    pub(crate) fn new(gate: &'g Gate, spare: Spare, seat: SemaphorePermit<'g>) -> Self {
        Self { gate, spare: Some(spare), clean: false, _seat: seat }
    }
}

impl Lease<'_> {
    /// Closes the connection instead of giving it back.
    pub(crate) fn discard(&mut self) {
        self.spare.as_mut().expect("there until dropped").conn.close_on_drop();
    }

    /// The connection has answered everything it was asked: the next caller may have it as it is.
    pub(crate) fn keep(&mut self) {
        self.clean = true;
    }

    /// Whether it gives a sign of life in time.
    pub(crate) fn answers(&mut self, limit: Duration) -> impl Future<Output = bool> + Send + '_ {
        let ping = tokio::time::timeout(limit, self.ping());
        async { matches!(ping.await, Ok(Ok(()))) }
    }
}

impl Deref for Lease<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.spare.as_ref().expect("there until dropped").conn
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.spare.as_mut().expect("there until dropped").conn
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(spare) = self.spare.take().filter(|_| self.clean) {
            self.gate.keep(Spare { since: Instant::now(), ..spare });
        }
        self.gate.leave();
    }
}

/// Gives spares back to the pool when nobody asked for them for a moment, so that the pool can
/// close what is idle; ends with the gate.
pub(crate) async fn sweep(gate: Weak<Gate>) {
    loop {
        tokio::time::sleep(SPARE_FOR).await;
        if !gate.upgrade().is_some_and(|gate| gate.tidy(SPARE_FOR)) {
            return;
        }
    }
}
