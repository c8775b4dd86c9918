//! Claims of different agents that are said at the same time, written in one commit.
//!
//! A claim that finds a place free is written at once, by itself. Those that come while both places
//! are taken wait, and whoever gives a place back has all of them written together: one statement
//! that reads, one that writes and commits, however many agents. What is written together waits for
//! nobody's lock. A claim that would have to (its agent is new, or has another write under way) is
//! handed back, and its caller writes it alone.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mnemon_core::claims::{Asserted, NewClaim, Rules};
use mnemon_core::scope::Facet;
use mnemon_core::{Error, Result, Scope, limits};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::write::{self, Said};
use crate::link::{Call, Link, Retry, work};

const DOING: &str = "asserting claims";

/// Who waits, and how many places are taken.
#[derive(Default)]
pub(crate) struct Together {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    writers: u32,
}

/// A claim, and who waits for its outcome; `None` tells them to write it alone.
struct Job {
    scope: Scope,
    claim: NewClaim,
    rules: Rules,
    reply: oneshot::Sender<Option<Result<Asserted>>>,
}

impl Together {
    /// Writes a claim, with whoever else comes at the same time; `None`: it is not written, and is to
    /// be written alone.
    pub(crate) async fn assert(
        self: &Arc<Self>,
        link: &Link,
        scope: &Scope,
        claim: &NewClaim,
        rules: Rules,
    ) -> Option<Result<Asserted>> {
        let (reply, outcome) = oneshot::channel();
        let job = Job { scope: scope.clone(), claim: claim.clone(), rules, reply };
        match self.enter(job) {
            Entered::Place(job) => {
                let place = Place { together: Arc::clone(self), link: link.clone() };
                place.write(vec![*job]).await;
            }
            Entered::Waits => {}
            Entered::Full(error) => return Some(Err(error)),
        }
        // A job that was dropped was not written.
        outcome.await.ok().flatten()
    }

    /// The state. A panic cannot leave it half changed: no other code runs under the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, job: Job) -> Entered {
        let mut state = self.state();
        if state.writers < limits::CLAIM_WRITERS {
            state.writers += 1;
            return Entered::Place(Box::new(job));
        }
        if state.waiting.len() >= limits::WAITING_MAX as usize {
            return Entered::Full(Error::Unavailable {
                what: format!("{} calls wait already; that is the limit", limits::WAITING_MAX),
                retry_after: None,
            });
        }
        state.waiting.push_back(job);
        Entered::Waits
    }

    /// Those that wait, one of each agent, as many as one transaction takes; a place is given back
    /// when there are none.
    fn next(&self, rls: bool) -> Option<Vec<Job>> {
        let mut state = self.state();
        let mut agents = HashSet::new();
        let (mut taken, mut left) = (Vec::new(), VecDeque::new());
        while let Some(job) = state.waiting.pop_front() {
            if job.reply.is_closed() {
                continue;
            }
            let fits = taken.first().is_none_or(|first: &Job| {
                (!rls || first.scope.tenant == job.scope.tenant) && first.rules == job.rules
            });
            if fits
                && taken.len() < limits::CLAIMS_TOGETHER
                && agents.insert((job.scope.tenant.clone(), job.scope.agent.clone()))
            {
                taken.push(job);
            } else {
                left.push_back(job);
            }
        }
        state.waiting = left;
        if taken.is_empty() {
            state.writers -= 1;
            return None;
        }
        Some(taken)
    }
}

/// What became of a claim that came.
enum Entered {
    /// A place was free.
    Place(Box<Job>),
    /// It waits.
    Waits,
    /// Too many wait.
    Full(Error),
}

/// A place among the writers; whoever leaves it, also by being dropped half way, has those that wait
/// written.
struct Place {
    together: Arc<Together>,
    link: Link,
}

impl Place {
    async fn write(self, jobs: Vec<Job>) {
        write_all(&self.link, jobs).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let rls = self.link.rls();
        let Some(jobs) = self.together.next(rls) else { return };
        if let Ok(runtime) = Handle::try_current() {
            let place = Self { together: Arc::clone(&self.together), link: self.link.clone() };
            runtime.spawn(place.write(jobs));
        } else {
            // Told to write alone, as their replies are dropped.
            drop(jobs);
            while self.together.next(rls).is_some() {}
        }
    }
}

/// Writes claims of different agents and tells who waits for them.
async fn write_all(link: &Link, jobs: Vec<Job>) {
    let Some(rules) = jobs.first().map(|job| job.rules) else { return };
    let rules = &rules;
    let mut scopes = Vec::with_capacity(jobs.len());
    for job in &jobs {
        match job.scope.admit(Facet::Claims) {
            Ok(scope) => scopes.push(scope),
            // Checked before it came here: alone it is told why.
            Err(_) => return,
        }
    }
    let said: Vec<Said<'_>> =
        scopes.iter().zip(&jobs).map(|(scope, job)| Said { scope, claim: &job.claim }).collect();
    let (said, sent) = (said.as_slice(), &AtomicBool::new(false));
    let tenant = scopes.first().map(|scope| scope.tenant);
    let call = Call { doing: DOING, tenant, retry: Retry::Never };
    let done = link
        .once(call, sent, |conn| {
            work(async move { write::assert_all(conn, said, rules, sent).await })
        })
        .await;
    let replies = jobs.into_iter().map(|job| (job.reply, job.claim.request_id.is_some()));
    match done {
        Ok(outcomes) => {
            for ((reply, _), outcome) in replies.zip(outcomes) {
                // The caller may have gone; what is written stays written.
                let _ = reply.send(outcome);
            }
        }
        Err(error) => {
            // Only a repeat of a named request tells whether it is there.
            let unknown = sent.load(Ordering::Acquire);
            let cause = Arc::new(error);
            for (reply, repeatable) in replies {
                let failed = || Err(Error::backend(DOING, Shared(Arc::clone(&cause))));
                let _ = reply.send((unknown && !repeatable).then(failed));
            }
        }
    }
}

/// An error that several callers are told.
#[derive(Debug)]
struct Shared(Arc<Error>);

impl std::fmt::Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
