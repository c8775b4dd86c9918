//! Gathering appends: what arrives while a commit is under way goes with the next one. One caller
//! alone waits for nobody; many together pay for one commit, and each is answered with its own
//! versions once that is durable.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mnemon_core::events::{Append, Appended};
use mnemon_core::{Error, Result, Scope, Store, limits};
use tokio::sync::oneshot;

use super::Events;

/// Appends that wait for the commit under way; one line per handle.
#[derive(Default)]
pub(crate) struct Gatherer {
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// Whether a commit is under way, after which somebody looks at the line again.
    flushing: bool,
}

struct Waiting {
    scope: Scope,
    append: Append,
    answer: oneshot::Sender<Result<Appended>>,
}

impl Events<'_> {
    /// Appends together with whatever else this process appends at the moment: for many callers
    /// with few events each. An append that is given up is done all the same.
    ///
    /// # Errors
    ///
    /// As [`Events::append`]; [`Error::Unavailable`] when [`limits::WAITING_MAX`] wait already.
    pub async fn gather(&self, scope: &Scope, append: Append) -> Result<Appended> {
        self.inner.ready()?;
        let (answer, outcome) = oneshot::channel();
        let waiting = Waiting { scope: scope.clone(), append, answer };
        let starts = self.inner.gatherer.push(waiting)?;
        if starts {
            let (line, store) = (Arc::clone(&self.inner.gatherer), Arc::clone(&self.inner.store));
            tokio::spawn(async move { line.flush(store).await });
        }
        let outcome = outcome.await.unwrap_or(Err(Error::Closed));
        self.inner.watched(scope, outcome).await
    }
}

impl Gatherer {
    /// The line. A panic cannot leave it half changed.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stands in line; whether the caller must see to the flush.
    fn push(&self, waiting: Waiting) -> Result<bool> {
        let mut line = self.line();
        if line.waiting.len() >= limits::WAITING_MAX as usize {
            return Err(Error::Unavailable {
                what: format!("{} appends wait already; that is the limit", limits::WAITING_MAX),
                retry_after: None,
            });
        }
        line.waiting.push_back(waiting);
        Ok(!std::mem::replace(&mut line.flushing, true))
    }

    /// Commits what waits until nothing does, one commit at a time.
    async fn flush(&self, store: Arc<dyn Store>) {
        while let Some(batch) = self.take() {
            let (mut appends, mut answers) = (Vec::new(), Vec::new());
            let scope = batch[0].scope.clone();
            for waiting in batch {
                appends.push(waiting.append);
                answers.push(waiting.answer);
            }
            match store.events().append_many(&scope, appends).await {
                Ok(outcomes) => {
                    for (answer, outcome) in answers.into_iter().zip(outcomes) {
                        // Whoever gave up does not want to know.
                        let _ = answer.send(outcome);
                    }
                }
                Err(error) => {
                    for answer in answers {
                        let _ = answer.send(Err(again(&error)));
                    }
                }
            }
        }
    }

    /// The longest run of one scope that fits into one commit; none, and nobody flushes any more.
    fn take(&self) -> Option<Vec<Waiting>> {
        let mut line = self.line();
        let Some(first) = line.waiting.pop_front() else {
            line.flushing = false;
            return None;
        };
        let mut events = first.append.events.len();
        let mut batch = vec![first];
        while let Some(next) = line.waiting.front() {
            events += next.append.events.len();
            let fits = batch.len() < limits::APPENDS && events <= limits::EVENT_BATCH;
            if !fits || next.scope != batch[0].scope {
                break;
            }
            batch.extend(line.waiting.pop_front());
        }
        Some(batch)
    }
}

/// The same failure for everybody who was part of the commit.
fn again(error: &Error) -> Error {
    match error {
        Error::Closed => Error::Closed,
        Error::Unavailable { what, retry_after } => {
            Error::Unavailable { what: what.clone(), retry_after: *retry_after }
        }
        Error::Setup { problem, fix } => Error::setup(problem.clone(), fix.clone()),
        Error::Invalid { field, reason } => Error::invalid(field.clone(), reason.clone()),
        Error::ScopeRequired { facet, missing } => Error::ScopeRequired { facet: *facet, missing },
        other => Error::backend("appending events", other.to_string()),
    }
}
