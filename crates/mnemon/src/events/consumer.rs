//! Durable consumers: a group of processes that shares the log, each event handled by one of them
//! at least once, those of a stream in order.
//!
//! Every member gives signs of life and holds the partitions that are its share under fenced
//! leases. When one dies its leases end and the others take over where it had committed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use mnemon_core::consumers::{Failed, Progress};
use mnemon_core::consumers::{Failure, assigned, check_group, part_key};
use mnemon_core::events::{Event, EventFilter, Mark, Position, Start, part_of};
use mnemon_core::locks::Guard;
use mnemon_core::{Error, Facet, Result, Scope, limits};
use tokio::time::Instant;
use uuid::Uuid;

use crate::engine::Mnemon;

/// How a consumer shares and retries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerOptions {
    /// Partitions of the log; all members of a group, for ever, must say the same.
    pub parts: u32,
    /// How long a partition is held without a sign of life, which [`Consumer::next`] gives: longer
    /// than an event takes to be handled.
    pub lease: Duration,
    /// The failure of an event, counted from 1, that buries it in the queue `consumer.<group>`.
    pub bury_at: u32,
    /// The pause after an event's first failure; it doubles with every further one.
    pub retry: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            parts: limits::CONSUMER_PARTS,
            lease: Duration::from_secs(30),
            bury_at: 5,
            retry: Duration::from_millis(100),
        }
    }
}

/// An event handed to this member.
#[derive(Clone, PartialEq, Debug)]
pub struct Handed {
    /// The event.
    pub event: Event,
    /// Its partition.
    pub part: u32,
}

/// A member of a group; see [`Mnemon::consumer`].
pub struct Consumer {
    db: Mnemon,
    scope: Scope,
    group: String,
    member: String,
    options: ConsumerOptions,
    held: BTreeMap<u32, Held>,
    /// When leases are renewed and shares looked at again.
    due: Instant,
    mark: Mark,
    /// The partition that was served last.
    last: u32,
}

/// A partition that this member holds.
struct Held {
    guard: Guard,
    /// Behind what is handled.
    place: Position,
    /// Behind what was read.
    read_to: Position,
    /// What is kept is meant: something behind `read_to` may be gone.
    kept: bool,
    line: VecDeque<Event>,
    /// Not served before: an event failed.
    pause: Option<Instant>,
}

impl Held {
    fn is_ready(&self, now: Instant) -> bool {
        self.pause.is_none_or(|until| until <= now)
    }
}

impl Mnemon {
    /// Joins a group that consumes the log of the scope's tenant.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mnemon::Result<()> {
    /// use mnemon::events::{Append, ConsumerOptions, NewEvent};
    /// use mnemon::{Mnemon, Scope};
    ///
    /// let db = Mnemon::open("sqlite::memory:").await?;
    /// let scope = Scope::tenant("acme");
    /// let said = NewEvent::new("job.done", serde_json::json!({}));
    /// let append = Append { stream: "job-7".into(), events: vec![said], expected_version: None };
    /// db.events().append(&scope, append, None).await?;
    ///
    /// let mut mailer = db.consumer(&scope, "mailer", ConsumerOptions::default())?;
    /// let handed = mailer.next().await?;
    /// assert_eq!(handed.event.kind, "job.done");
    /// // … handle it, then:
    /// mailer.commit(&handed).await?;
    /// mailer.leave().await?;
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "sqlite"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a group's name or options out of range; [`Error::ScopeRequired`];
    /// [`Error::Closed`].
    pub fn consumer(
        &self,
        scope: &Scope,
        group: impl Into<String>,
        options: ConsumerOptions,
    ) -> Result<Consumer> {
        self.inner().ready()?;
        scope.admit(Facet::Events)?;
        let group = group.into();
        check_group(&group)?;
        if !(1..=limits::CONSUMER_PARTS_MAX).contains(&options.parts) {
            let most = limits::CONSUMER_PARTS_MAX;
            let reason = format!("is {}; it goes from 1 to {most}", options.parts);
            return Err(Error::invalid("options.parts", reason));
        }
        if options.bury_at == 0 {
            return Err(Error::invalid("options.bury_at", "is 0; the first failure is 1"));
        }
        mnemon_core::locks::check_ttl(options.lease)?;
        Ok(Consumer {
            db: self.clone(),
            scope: scope.clone(),
            group,
            member: format!("{}-{}", std::process::id(), Uuid::now_v7().simple()),
            options,
            held: BTreeMap::new(),
            due: Instant::now(),
            mark: Mark::default(),
            last: 0,
        })
    }
}

impl Consumer {
    /// The next event of this member's partitions; waits for one. Giving up the wait loses
    /// nothing. An event that is neither committed nor failed is handed out again to whoever
    /// holds the partition next.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] while the database does not answer: call again; [`Error::Closed`];
    /// [`Error::Gone`] when retention removed events that the group had not handled
    /// ([`Consumer::skip_gone`] goes on without them).
    pub async fn next(&mut self) -> Result<Handed> {
        loop {
            if Instant::now() >= self.due {
                self.share().await?;
            }
            if let Some(handed) = self.pick() {
                return Ok(handed);
            }
            self.fetch().await?;
        }
    }

    /// Everything of the event's partition up to it is handled.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when another member took the partition over: its work counts.
    pub async fn commit(&mut self, handed: &Handed) -> Result<()> {
        let guard = self.guard(handed.part)?;
        let to = handed.event.position.cursor();
        let consumers = self.db.store().consumers();
        let done = consumers.advance(&self.scope, &self.group, handed.part, &to, &guard).await;
        self.kept(handed.part, &done);
        done?;
        self.moved(handed);
        Ok(())
    }

    /// The event could not be handled: it is handed out again after a pause, and after it those
    /// behind it in its partition; at the last failure it is buried, and the partition goes on.
    ///
    /// # Errors
    ///
    /// As [`Consumer::commit`].
    pub async fn fail(&mut self, handed: &Handed, error: impl Into<String>) -> Result<Failed> {
        let guard = self.guard(handed.part)?;
        let failure = Failure {
            group: self.group.clone(),
            part: handed.part,
            event: handed.event.clone(),
            error: error.into(),
            bury_at: self.options.bury_at,
        };
        let done = self.db.store().consumers().failed(&self.scope, failure, &guard).await;
        self.kept(handed.part, &done);
        let failed = done?;
        if failed.buried {
            self.moved(handed);
        } else if let Some(held) = self.held.get_mut(&handed.part) {
            // Read again from where the partition stands: nothing behind it goes first.
            held.line.clear();
            held.read_to = held.place.clone();
            let doubled = 2_u32.saturating_pow(failed.failures.clamp(1, 10) - 1);
            held.pause = Some(Instant::now() + self.options.retry * doubled);
        }
        Ok(failed)
    }

    /// Goes on with what is kept, after an [`Error::Gone`]: what is gone before it is given up by
    /// the group, in the partitions that this member holds.
    pub fn skip_gone(&mut self) {
        for held in self.held.values_mut() {
            held.kept = true;
        }
    }

    /// The partitions that this member holds.
    pub fn parts(&self) -> Vec<u32> {
        self.held.keys().copied().collect()
    }

    /// Gives every partition back, so that others need not wait for the leases to end.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when the database does not answer: the leases end by themselves.
    pub async fn leave(mut self) -> Result<()> {
        self.db.store().consumers().leave(&self.scope, &self.group, &self.member).await?;
        for (_, held) in std::mem::take(&mut self.held) {
            self.release(&held.guard).await?;
        }
        Ok(())
    }

    fn guard(&self, part: u32) -> Result<Guard> {
        let held = self.held.get(&part);
        let gone = || Error::Fenced { key: part_key(&self.group, part) };
        held.map(|held| held.guard.clone()).ok_or_else(gone)
    }

    /// Lets go of a partition that another member has taken.
    fn kept<T>(&mut self, part: u32, outcome: &Result<T>) {
        if matches!(outcome, Err(Error::Fenced { .. })) {
            self.held.remove(&part);
        }
    }

    fn moved(&mut self, handed: &Handed) {
        if let Some(held) = self.held.get_mut(&handed.part)
            && held.place < handed.event.position
        {
            held.place = handed.event.position.clone();
        }
    }

    /// Gives a sign of life, and takes and gives back partitions until they are this member's share.
    async fn share(&mut self) -> Result<()> {
        let lease = self.options.lease;
        let store = self.db.store().clone();
        let members = store.consumers().join(&self.scope, &self.group, &self.member, lease).await?;
        let share = assigned(&members, &self.member, self.options.parts);
        for part in self.parts().into_iter().filter(|part| !share.contains(part)) {
            if let Some(held) = self.held.remove(&part) {
                self.release(&held.guard).await?;
            }
        }
        let (mut waiting, mut fresh) = (false, Vec::new());
        for part in share {
            let key = part_key(&self.group, part);
            match store.locks().acquire(&self.scope, &key, &self.member, lease).await {
                Ok(held) => {
                    // A larger fence: it was lost in between, and somebody may have moved it.
                    let stands = self.held.get(&part).map(|held| held.guard.fence);
                    if stands != Some(held.fence) {
                        fresh.push((part, held.guard()));
                    }
                }
                Err(Error::Held { .. }) => {
                    self.held.remove(&part);
                    waiting = true;
                }
                Err(error) => return Err(error),
            }
        }
        if !fresh.is_empty() {
            self.begin(fresh).await?;
        }
        // Sooner while somebody else still holds what is ours.
        self.due = Instant::now() + if waiting { lease / 10 } else { lease / 3 };
        Ok(())
    }

    /// Starts partitions where the group stands in them.
    async fn begin(&mut self, fresh: Vec<(u32, Guard)>) -> Result<()> {
        let progress = self.db.store().consumers().progress(&self.scope, &self.group).await?;
        let tenant = self.scope.admit(Facet::Events)?.tenant;
        for (part, guard) in fresh {
            let stands = progress.iter().find(|progress| progress.part == part);
            let stands = stands.and_then(|stands| stands.place.as_ref());
            let Start { after: place, kept } = Start::of(tenant, stands)?;
            let read_to = place.clone();
            let held = Held { guard, place, read_to, kept, line: VecDeque::new(), pause: None };
            self.held.insert(part, held);
        }
        Ok(())
    }

    /// The first event of the next partition that has one.
    fn pick(&mut self) -> Option<Handed> {
        let (now, last) = (Instant::now(), self.last);
        let mut order = self.parts();
        order.sort_by_key(|part| (*part <= last, *part));
        for part in order {
            let held = self.held.get_mut(&part).expect("its own key");
            if !held.is_ready(now) {
                continue;
            }
            held.pause = None;
            if let Some(event) = held.line.pop_front() {
                self.last = part;
                return Some(Handed { event, part });
            }
        }
        None
    }

    /// Reads on from the partition that is furthest behind, for all of them; waits at the end.
    async fn fetch(&mut self) -> Result<()> {
        let now = Instant::now();
        let woken = self.held.values().filter_map(|held| held.pause).min();
        let until = woken.map_or(self.due, |woken| woken.min(self.due));
        let ready = self.held.values().filter(|held| held.is_ready(now));
        let first = ready.min_by(|a, b| a.read_to.cmp(&b.read_to));
        let Some(from) = first.map(|held| Start { after: held.read_to.clone(), kept: held.kept })
        else {
            tokio::time::sleep_until(until).await;
            return Ok(());
        };
        let store = self.db.store().clone();
        let all = EventFilter::default();
        let after = from.cursor();
        let slice =
            store.events().read_all(&self.scope, &all, Some(&after), limits::PAGE_MAX).await?;
        let Start { after: end, kept } = Start::of(&self.scope.tenant, Some(&slice.next))?;
        let nothing = slice.events.is_empty();
        for event in slice.events {
            let part = part_of(&event.stream, self.options.parts);
            let held = self.held.get_mut(&part).filter(|held| held.is_ready(now));
            if let Some(held) = held.filter(|held| held.read_to < event.position) {
                held.line.push_back(event);
            }
        }
        for held in self.held.values_mut().filter(|held| held.is_ready(now)) {
            if held.read_to < end {
                held.read_to = end.clone();
                held.kept = kept;
            }
        }
        if nothing && slice.caught_up {
            let most = until.saturating_duration_since(now);
            let wait = if slice.pending { most.min(limits::ANNOUNCE_EVERY) } else { most };
            self.mark = store.events().moved(&self.scope, self.mark, wait).await?;
        }
        Ok(())
    }

    async fn release(&self, guard: &Guard) -> Result<()> {
        match self.db.store().locks().release(&self.scope, guard).await {
            // Somebody has it already.
            Err(Error::Fenced { .. }) => Ok(()),
            done => done,
        }
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("group", &self.group)
            .field("member", &self.member)
            .field("parts", &self.parts())
            .finish_non_exhaustive()
    }
}
