//! Who hears that something was appended: waiters of this process at once, those of others by
//! NOTIFY.
//!
//! NOTIFY in a writer's transaction would make all commits of the cluster queue. So writers only
//! note their tenant's hint; one announcer per process sends what was gathered in a transaction of
//! its own, and one connection per process listens. All of it is a hint: it may be lost with a
//! connection, and some writers (a host's own transaction) announce nothing. So one look per
//! process asks for all tenants that are waited for whether they moved.

mod look;
mod waiting;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use mnemon_core::events::{Mark, hint_of};
use mnemon_core::{Error, Result, limits};
use sqlx::postgres::PgListener;
use sqlx::query;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use self::waiting::Waiting;
use crate::link::{Call, Link, Retry, work};
use crate::options::PoolOptions;
use crate::target::Target;

/// The channel; what is sent is a [`Hints`].
const CHANNEL: &str = "mnemon_events";
/// The pauses between attempts to listen again.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(2);

/// What one process knows about appends.
pub(crate) struct Moves {
    waiting: Waiting,
    /// Hints of tenants that moved and were not announced yet.
    untold: Mutex<BTreeSet<u32>>,
    told: Notify,
    /// Who announces: a process does not listen to itself.
    me: Uuid,
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
            waiting: Waiting::default(),
            untold: Mutex::default(),
            told: Notify::new(),
            me: Uuid::now_v7(),
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
        self.waiting.tell(tenant);
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).insert(hint_of(tenant));
        if !self.announcing.swap(true, Ordering::AcqRel) {
            tokio::spawn(announce(Arc::downgrade(self), self.closed.subscribe()));
        }
        self.told.notify_one();
    }

    /// Waits for something that moved since then.
    pub(crate) async fn wait(
        self: &Arc<Self>,
        tenant: &str,
        mark: Mark,
        at_most: Duration,
    ) -> Result<Mark> {
        self.listen();
        let mut closed = self.closed.subscribe();
        let mut moved = self.waiting.join(tenant);
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => Err(Error::Closed),
            moved = moved.wait_for(|count| *count != mark.0) => {
                Ok(Mark(moved.map_or(mark.0, |count| *count)))
            }
            () = tokio::time::sleep(at_most) => Ok(mark),
        }
    }

    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    fn listen(self: &Arc<Self>) {
        if self.listening.swap(true, Ordering::AcqRel) {
            return;
        }
        tokio::spawn(look::look(Arc::downgrade(self), self.closed.subscribe()));
        if let Some(target) = &self.target {
            tokio::spawn(listen(Arc::downgrade(self), target.clone(), self.closed.subscribe()));
        }
    }

    /// Sends what was gathered. A hint that cannot be sent is dropped: everybody looks anyway.
    async fn send(&self) {
        let untold =
            std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner));
        if untold.is_empty() {
            return;
        }
        let call = Call { doing: "announcing events", tenant: None, retry: Retry::Idempotent };
        let text = &Hints::write(self.me, &untold);
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
            moves.waiting.tell_all();
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
            moves.waiting.tell_all();
        }
        loop {
            let heard = tokio::time::timeout(limits::SUBSCRIPTION_POLL, listener.try_recv()).await;
            let Some(moves) = moves.upgrade() else {
                return Ok("nobody waits any more".to_owned());
            };
            match heard {
                // Nothing came; `try_recv` keeps what it has read when it is given up.
                Err(_) => {}
                Ok(Ok(Some(heard))) => match Hints::read(heard.payload()) {
                    Some((from, _)) if from == moves.me => {}
                    Some((_, Hints::Of(hints))) => moves.waiting.hear(&hints),
                    Some((_, Hints::All)) | None => moves.waiting.tell_all(),
                },
                Ok(Ok(None)) => return Ok("the connection was lost".to_owned()),
                Ok(Err(error)) => return Err(error),
            }
        }
    };
    let ended: Result<String, sqlx::Error> = listening.await;
    ended.unwrap_or_else(|error| error.to_string())
}

/// What one process tells the others: who moved.
#[derive(PartialEq, Eq, Debug)]
enum Hints {
    Of(Vec<u32>),
    /// More than fit.
    All,
}

impl Hints {
    /// `<who says it>:<hint>,<hint>…`, or `<who says it>:*`.
    fn write(me: Uuid, hints: &BTreeSet<u32>) -> String {
        let mut text = format!("{}:", me.simple());
        if hints.len() > limits::ANNOUNCE_HINTS {
            text.push('*');
            return text;
        }
        for (at, hint) in hints.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(text, "{comma}{hint:x}").expect("a String takes any text");
        }
        text
    }

    /// Nothing for what is written otherwise, by whatever version.
    fn read(text: &str) -> Option<(Uuid, Self)> {
        let (who, hints) = text.split_once(':')?;
        let who = Uuid::try_parse(who).ok()?;
        if hints == "*" {
            return Some((who, Self::All));
        }
        let hints: Result<Vec<u32>, _> =
            hints.split(',').map(|hint| u32::from_str_radix(hint, 16)).collect();
        Some((who, Self::Of(hints.ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_read_as_they_were_written_and_fit_a_notification() {
        let me = Uuid::now_v7();
        let few = BTreeSet::from([0, 7, u32::MAX]);
        let most = (0..limits::ANNOUNCE_HINTS).map(|n| u32::MAX - u32::try_from(n).unwrap());
        let most: BTreeSet<u32> = most.collect();
        let mut more = most.clone();
        more.insert(1);

        let read = |hints| Hints::read(&Hints::write(me, hints));
        assert_eq!(read(&few), Some((me, Hints::Of(vec![0, 7, u32::MAX]))));
        assert_eq!(read(&more), Some((me, Hints::All)));
        assert!(Hints::write(me, &most).len() < 8_000);
        for text in ["", "ff00", "x:1", &format!("{me}:"), &format!("{me}:1,y")] {
            assert_eq!(Hints::read(text), None, "{text}");
        }
    }
}
