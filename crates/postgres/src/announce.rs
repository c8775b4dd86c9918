//! Who hears that something was appended: waiters of this process at once, those of others by
//! NOTIFY.
//!
//! NOTIFY in a writer's transaction would make all commits of the cluster queue. So writers only
//! mark their tenant's part of a mask; one announcer per process sends it, gathered, in a
//! transaction of its own, and one connection per process listens. All of it is a hint: whoever
//! waits looks again after a while anyway, because a hint may be lost with a connection, and some
//! writers (a host's own transaction) announce nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mnemon_core::events::{HINTS, Mark, hint_of};
use mnemon_core::{Error, Result, limits};
use sqlx::postgres::PgListener;
use sqlx::query;
use tokio::sync::{Notify, watch};

use crate::link::{Call, Link, Retry, work};
use crate::options::PoolOptions;
use crate::target::Target;

/// The channel; what is sent is a mask of parts in hexadecimal.
const CHANNEL: &str = "mnemon_events";
/// The pauses between attempts to listen again.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(2);

/// What one process knows about appends.
pub(crate) struct Moves {
    /// Per part of the tenants: how often something may have moved.
    parts: Vec<watch::Sender<u64>>,
    /// Parts that moved and were not announced yet.
    mask: AtomicU64,
    told: Notify,
    link: Link,
    /// Where to listen; none behind a pooler, unless a direct way was given.
    target: Option<Target>,
    announcing: AtomicBool,
    listening: AtomicBool,
    /// Whether the listener stands now.
    standing: AtomicBool,
    closed: watch::Sender<bool>,
}

impl Moves {
    /// Nothing is started before it is needed.
    pub(crate) fn new(link: Link, target: Option<Target>) -> Arc<Self> {
        Arc::new(Self {
            parts: (0..HINTS).map(|_| watch::Sender::new(1)).collect(),
            mask: AtomicU64::new(0),
            told: Notify::new(),
            link,
            target,
            announcing: AtomicBool::new(false),
            listening: AtomicBool::new(false),
            standing: AtomicBool::new(false),
            closed: watch::Sender::new(false),
        })
    }

    /// A commit of this process may have appended something of this tenant.
    pub(crate) fn tell(self: &Arc<Self>, tenant: &str) {
        let part = hint_of(tenant);
        self.bump(1 << part);
        self.mask.fetch_or(1 << part, Ordering::AcqRel);
        if !self.announcing.swap(true, Ordering::AcqRel) {
            tokio::spawn(announce(Arc::downgrade(self), self.closed.subscribe()));
        }
        self.told.notify_one();
    }

    /// Waits for something that moved since then; looks again by itself when there is no listener.
    pub(crate) async fn wait(
        self: &Arc<Self>,
        tenant: &str,
        mark: Mark,
        at_most: Duration,
    ) -> Result<Mark> {
        self.listen();
        let mut closed = self.closed.subscribe();
        let mut part = self.parts[hint_of(tenant) as usize].subscribe();
        let patience = if self.standing.load(Ordering::Acquire) {
            limits::SUBSCRIPTION_POLL
        } else {
            limits::SUBSCRIPTION_POLL_ALONE
        };
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => Err(Error::Closed),
            moved = part.wait_for(|count| *count != mark.0) => {
                Ok(Mark(moved.map_or(mark.0, |count| *count)))
            }
            () = tokio::time::sleep(at_most.min(patience)) => Ok(mark),
        }
    }

    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    fn bump(&self, mask: u64) {
        for (at, part) in self.parts.iter().enumerate() {
            if mask & (1 << at) != 0 {
                part.send_modify(|count| *count += 1);
            }
        }
    }

    fn listen(self: &Arc<Self>) {
        let Some(target) = &self.target else { return };
        if !self.listening.swap(true, Ordering::AcqRel) {
            tokio::spawn(listen(Arc::downgrade(self), target.clone(), self.closed.subscribe()));
        }
    }

    /// Sends what was gathered. A hint that cannot be sent is dropped: everybody looks anyway.
    async fn send(&self) {
        let mask = self.mask.swap(0, Ordering::AcqRel);
        if mask == 0 {
            return;
        }
        let call = Call { doing: "announcing events", tenant: None, retry: Retry::Idempotent };
        let text = &format!("{mask:x}");
        // What is lost in a crash is a hint: its commit waits for no disk.
        let sent = self.link.run(call, |conn| {
            work(async move {
                query!(
                    r#"select set_config('synchronous_commit', 'off', true) as "set",
                              pg_notify($1, $2)::text as "sent""#,
                    CHANNEL,
                    text,
                )
                .fetch_one(conn)
                .await?;
                Ok(())
            })
        });
        if let Err(error) = sent.await {
            tracing::debug!(%error, "a hint was not sent");
        }
    }
}

/// The announcer of a process: at most one NOTIFY in [`limits::ANNOUNCE_EVERY`].
async fn announce(moves: Weak<Moves>, mut closed: watch::Receiver<bool>) {
    loop {
        let Some(now) = moves.upgrade() else { return };
        let told = now.told.notified();
        tokio::select! {
            _ = closed.wait_for(|closed| *closed) => return,
            () = told => {}
            // Lets go of the store now and then, so that dropping it ends this.
            () = tokio::time::sleep(limits::SUBSCRIPTION_POLL) => continue,
        }
        tokio::time::sleep(limits::ANNOUNCE_EVERY).await;
        now.send().await;
    }
}

/// The listener of a process.
async fn listen(moves: Weak<Moves>, target: Target, mut closed: watch::Receiver<bool>) {
    let mut pause = AGAIN;
    while moves.strong_count() > 0 {
        let ended = tokio::select! {
            _ = closed.wait_for(|closed| *closed) => return,
            heard = hear(&moves, &target) => heard,
        };
        if let Some(moves) = moves.upgrade()
            && moves.standing.swap(false, Ordering::AcqRel)
        {
            // It stood: what came meanwhile is looked for at once.
            moves.bump(u64::MAX);
            pause = AGAIN;
        }
        tracing::debug!(why = %ended, "events are not listened for; looking for them instead");
        tokio::select! {
            _ = closed.wait_for(|closed| *closed) => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(AGAIN_MAX);
    }
}

/// Listens until the connection is lost; why.
async fn hear(moves: &Weak<Moves>, target: &Target) -> String {
    let candidate = match target.find().await {
        Ok(found) => {
            let _ = sqlx::Connection::close(found.conn).await;
            found.candidate
        }
        Err(nobody) => return nobody.error.to_string(),
    };
    let only = PoolOptions { max_connections: 1, ..PoolOptions::default() };
    let pool = target.pool(candidate, &only);
    let listening = async {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        if let Some(moves) = moves.upgrade() {
            moves.standing.store(true, Ordering::Release);
            // What was appended before LISTEN took effect.
            moves.bump(u64::MAX);
        }
        loop {
            let heard = tokio::time::timeout(limits::SUBSCRIPTION_POLL, listener.try_recv()).await;
            let Some(moves) = moves.upgrade() else {
                return Ok("nobody waits any more".to_owned());
            };
            match heard {
                // Nothing came; `try_recv` keeps what it has read when it is given up.
                Err(_) => {}
                Ok(Ok(Some(hint))) => {
                    moves.bump(u64::from_str_radix(hint.payload(), 16).unwrap_or(u64::MAX));
                }
                Ok(Ok(None)) => return Ok("the connection was lost".to_owned()),
                Ok(Err(error)) => return Err(error),
            }
        }
    };
    let ended: Result<String, sqlx::Error> = listening.await;
    ended.unwrap_or_else(|error| error.to_string())
}
