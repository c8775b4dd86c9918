//! Subscriptions: the log from a cursor, first what is there, then what comes, without a gap.
//!
//! A subscriber reads for itself until it has caught up; then it joins its tenant's tail and reads
//! once more, so that whatever the tail handed out before it joined is read, and whatever is handed
//! out twice is told apart by its position. When it is too slow, or the database goes away, it goes
//! back to reading from where it stands.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mnemon_core::events::{Event, EventFilter, Position, Start};
use mnemon_core::{Cursor, Error, Facet, Result, Scope, Store};

use super::Events;
use super::feed::{Feed, Taken};
use super::tail::Tails;

/// Events of one read while catching up.
const READ: u32 = 1_000;
/// The pauses while the database does not answer.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(2);

/// What a subscription says next.
#[derive(Debug)]
#[non_exhaustive]
pub enum Told {
    /// An event; every one once, those of a stream in the order of their versions.
    Event(Box<Event>),
    /// Everything that could be read when it was looked at has been told: from here on it is live.
    /// Said again after the subscriber fell behind or the database was away.
    CaughtUp,
    /// The database does not answer; the subscription goes on trying, and nothing is lost.
    Interrupted(Error),
    /// It answers again.
    Resumed,
}

/// Events from a cursor on, without an end. Dropping it ends it.
pub struct Subscription {
    store: Arc<dyn Store>,
    tails: Arc<Tails>,
    scope: Scope,
    filter: EventFilter,
    /// Behind what was told.
    at: Position,
    /// Read and not told yet.
    read: VecDeque<Event>,
    /// Behind what was read.
    read_to: Position,
    /// What is kept is meant: something behind `read_to` may be gone.
    kept: bool,
    state: State,
    pause: Duration,
    interrupted: bool,
    /// It became live; said once what was read before is told.
    caught_up: bool,
}

enum State {
    /// Reads for itself.
    Catching,
    /// Has joined the tail and reads up to where it joined.
    Joining(Arc<Feed>),
    /// Takes what the tail hands out.
    Live(Arc<Feed>),
}

impl Events<'_> {
    /// Subscribes: events after `from` that the filter asks for and the scope sees, from the oldest
    /// kept without one; then what comes.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mnemon::Result<()> {
    /// use mnemon::events::{Append, EventFilter, NewEvent, Told};
    /// use mnemon::{Mnemon, Scope};
    ///
    /// let db = Mnemon::open("sqlite::memory:").await?;
    /// let scope = Scope::tenant("acme");
    /// let said = NewEvent::new("job.done", serde_json::json!({ "items": 3 }));
    /// let append = Append { stream: "job-7".into(), events: vec![said], expected_version: None };
    /// db.events().append(&scope, append, None).await?;
    ///
    /// let mut all = db.events().subscribe(&scope, EventFilter::default(), None)?;
    /// let Told::Event(event) = all.next().await? else { panic!("there is one") };
    /// assert_eq!((event.stream.as_str(), event.version), ("job-7", 1));
    /// assert!(matches!(all.next().await?, Told::CaughtUp));
    /// // Kept somewhere, it is where a later subscription goes on.
    /// let place = all.cursor();
    /// # let _ = place;
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "sqlite"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ScopeRequired`]; [`Error::Invalid`] for a filter, garbage or a cursor of another
    /// tenant; [`Error::Closed`].
    pub fn subscribe(
        &self,
        scope: &Scope,
        filter: EventFilter,
        from: Option<&Cursor>,
    ) -> Result<Subscription> {
        self.inner.ready()?;
        let tenant = scope.admit(Facet::Events)?.tenant;
        filter.check()?;
        let Start { after: at, kept } = Start::of(tenant, from)?;
        Ok(Subscription {
            store: Arc::clone(&self.inner.store),
            tails: Arc::clone(&self.inner.tails),
            scope: scope.clone(),
            filter,
            read_to: at.clone(),
            at,
            kept,
            read: VecDeque::new(),
            state: State::Catching,
            pause: AGAIN,
            interrupted: false,
            caught_up: false,
        })
    }
}

impl Subscription {
    /// The next event, or what there is to say. Giving up the wait loses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] once the handle is closed; [`Error::Invalid`] when the cursor is ahead of
    /// the log, because the database was put back; [`Error::Gone`] when retention removed something
    /// that was not told: a subscription from its cursor goes on with what is kept. What may pass ([`Error::is_retryable`]) is no
    /// error but [`Told::Interrupted`].
    pub async fn next(&mut self) -> Result<Told> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.at = event.position.clone();
                return Ok(Told::Event(Box::new(event)));
            }
            self.at = self.at.clone().max(self.read_to.clone());
            if std::mem::take(&mut self.caught_up) {
                return Ok(Told::CaughtUp);
            }
            let told = match &self.state {
                State::Live(feed) => {
                    let feed = Arc::clone(feed);
                    self.take(&feed).await
                }
                _ => self.read().await?,
            };
            if let Some(told) = told {
                return Ok(told);
            }
        }
    }

    /// Where a later subscription goes on: behind the last event that was told.
    pub fn cursor(&self) -> Cursor {
        Start { after: self.at.clone(), kept: self.kept }.cursor()
    }

    /// Takes what the tail handed out; waits for it when there is nothing.
    async fn take(&mut self, feed: &Feed) -> Option<Told> {
        match feed.take() {
            Taken::Event(event) if event.position <= self.at => None,
            Taken::Event(event) => {
                self.at = event.position.clone();
                self.read_to = self.at.clone();
                Some(Told::Event(Box::new(Arc::unwrap_or_clone(event))))
            }
            Taken::Empty(end) => {
                if let Some(end) = end.filter(|end| *end > self.at) {
                    self.at = end.clone();
                    self.read_to = end;
                }
                feed.ready().await;
                None
            }
            Taken::Broken => {
                self.state = State::Catching;
                None
            }
        }
    }

    /// Reads the log; what there is to say besides the events.
    async fn read(&mut self) -> Result<Option<Told>> {
        if self.interrupted {
            tokio::time::sleep(self.pause).await;
        }
        let after = Start { after: self.read_to.clone(), kept: self.kept }.cursor();
        let slice =
            match self.store.events().read_all(&self.scope, &self.filter, Some(&after), READ).await
            {
                Ok(slice) => slice,
                Err(error) if error.is_retryable() => {
                    self.state = State::Catching;
                    self.pause = (self.pause * 2).min(AGAIN_MAX);
                    if self.interrupted {
                        return Ok(None);
                    }
                    self.pause = AGAIN;
                    self.interrupted = true;
                    return Ok(Some(Told::Interrupted(error)));
                }
                Err(error) => return Err(error),
            };
        let start = Start::of(&self.scope.tenant, Some(&slice.next))?;
        (self.read_to, self.kept) = (start.after, start.kept);
        self.read.extend(slice.events);
        if std::mem::take(&mut self.interrupted) {
            return Ok(Some(Told::Resumed));
        }
        if !slice.caught_up {
            return Ok(None);
        }
        match std::mem::replace(&mut self.state, State::Catching) {
            State::Catching => {
                let feed = Arc::new(Feed::new(self.scope.clone(), self.filter.clone()));
                self.tails.join(&self.scope.tenant, &feed, self.read_to.clone());
                self.state = State::Joining(feed);
                Ok(None)
            }
            State::Joining(feed) | State::Live(feed) => {
                self.state = State::Live(feed);
                self.caught_up = true;
                Ok(None)
            }
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("filter", &self.filter)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
