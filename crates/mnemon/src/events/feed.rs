//! What a tail hands to one subscriber: a bounded line of events. A subscriber that is too slow
//! for it loses its place in the line, never an event: it goes back to reading the log.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mnemon_core::events::{Event, EventFilter, Position};
use mnemon_core::{Facet, Scope, limits};
use tokio::sync::Notify;

/// One subscriber's line.
pub(super) struct Feed {
    scope: Scope,
    filter: EventFilter,
    line: Mutex<Line>,
    ready: Notify,
}

#[derive(Default)]
struct Line {
    events: VecDeque<Arc<Event>>,
    /// Where the tail stands: what is not in the line before it is not meant for this subscriber.
    end: Option<Position>,
    /// Full, or the tail ended: what is taken from it now would have a gap.
    broken: bool,
}

/// What came out of a line.
pub(super) enum Taken {
    Event(Arc<Event>),
    /// The line is empty up to here.
    Empty(Option<Position>),
    Broken,
}

impl Feed {
    pub(super) fn new(scope: Scope, filter: EventFilter) -> Self {
        Self { scope, filter, line: Mutex::default(), ready: Notify::new() }
    }

    /// The line. A panic cannot leave it half changed.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts into the line what the subscriber asked for and may see.
    pub(super) fn offer(&self, events: &[Arc<Event>], end: &Position) {
        let Ok(scope) = self.scope.admit(Facet::Events) else { return };
        let mut meant =
            events.iter().filter(|event| self.filter.admits(&scope, event)).cloned().peekable();
        let mut line = self.line();
        if line.broken {
            return;
        }
        let wakes = meant.peek().is_some();
        line.events.extend(meant);
        line.end = Some(end.clone());
        if line.events.len() > limits::SUBSCRIPTION_BUFFER {
            line.events.clear();
            line.broken = true;
        }
        drop(line);
        if wakes {
            self.ready.notify_one();
        }
    }

    /// The tail ended.
    pub(super) fn cut(&self) {
        let mut line = self.line();
        line.events.clear();
        line.broken = true;
        drop(line);
        self.ready.notify_one();
    }

    pub(super) fn take(&self) -> Taken {
        let mut line = self.line();
        if line.broken {
            return Taken::Broken;
        }
        match line.events.pop_front() {
            Some(event) => Taken::Event(event),
            None => Taken::Empty(line.end.clone()),
        }
    }

    /// Ready when there may be something to take.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Events in the line.
    pub(super) fn len(&self) -> usize {
        self.line().events.len()
    }
}
