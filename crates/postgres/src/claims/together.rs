//! Claims of different agents that are said at the same time, written in one commit.
//!
//! A claim that finds a place free is written at once, by itself. Those that come while both places
//! are taken wait, and whoever gives a place back has all of them written together: one statement
//! that reads, one that writes and commits, however many agents. What is written together waits for
//! nobody's lock. A claim that would have to (its agent is new, or has another write under way) is
//! handed back, and its caller writes it alone.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mnemon_core::claims::{Asserted, NewClaim, Rules};
use mnemon_core::scope::Facet;
use mnemon_core::{Error, Result, Scope, limits};
use tokio::sync::oneshot;

use super::write::{self, Said};
use crate::gather::{Gather, Worker};
use crate::link::{Call, Link, Retry, work};

const DOING: &str = "asserting claims";

/// The claims of one process.
pub(crate) type Together = Gather<Writer>;

/// Who writes.
#[derive(Clone)]
pub(crate) struct Writer {
    link: Link,
}

/// A claim, and who waits for its outcome; `None` tells them to write it alone.
pub(crate) struct Job {
    scope: Scope,
    claim: NewClaim,
    rules: Rules,
    reply: oneshot::Sender<Option<Result<Asserted>>>,
}

/// Writes a claim, with whoever else comes at the same time; `None`: it is not written, and is to
/// be written alone.
pub(super) async fn assert(
    together: &Arc<Together>,
    link: &Link,
    scope: &Scope,
    claim: &NewClaim,
    rules: Rules,
) -> Option<Result<Asserted>> {
    let (reply, outcome) = oneshot::channel();
    let job = Job { scope: scope.clone(), claim: claim.clone(), rules, reply };
    if let Err(error) = together.bring(Writer { link: link.clone() }, (), job).await {
        return Some(Err(error));
    }
    // A job that was dropped was not written.
    outcome.await.ok().flatten()
}

impl Worker for Writer {
    type Lane = ();
    type Job = Job;
    const PLACES: u32 = limits::CLAIM_WRITERS;

    /// One of each agent, as many as one transaction takes.
    fn take(&self, waiting: &mut VecDeque<Job>) -> Vec<Job> {
        let rls = self.link.rls();
        let mut agents = HashSet::new();
        let (mut taken, mut left) = (Vec::new(), VecDeque::new());
        while let Some(job) = waiting.pop_front() {
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
        *waiting = left;
        taken
    }

    async fn work(&self, jobs: Vec<Job>) {
        write_all(&self.link, jobs).await;
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
