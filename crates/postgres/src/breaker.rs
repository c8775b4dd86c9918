//! A circuit breaker: after failures in a row nobody tries for a while, then one call does.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use mnemon_core::{limits, metric_names};

/// Counts connection failures in a row. Times are passed in.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Everybody may try.
    Closed { failures: u32 },
    /// Nobody may until then.
    Open { until: Instant },
    /// One call tries; the others may not until then, in case it never reports back.
    HalfOpen { until: Instant },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    /// Whether a call may try now; otherwise how long to wait.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.lock();
        match *state {
            State::Closed { .. } => return Ok(()),
            State::Open { until } | State::HalfOpen { until } if now < until => {
                return Err(until - now);
            }
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
        *state = State::HalfOpen { until: now + limits::BREAKER_OPEN };
        report(*state);
        Ok(())
    }

    /// The server answered.
    pub(crate) fn success(&self) {
        let mut state = self.lock();
        if !matches!(*state, State::Closed { failures: 0 }) {
            *state = State::default();
            report(*state);
        }
    }

    /// The server could not be reached; answers whether nobody may try now.
    pub(crate) fn failure(&self, now: Instant) -> bool {
        let mut state = self.lock();
        *state = match *state {
            State::Closed { failures } if failures + 1 < limits::BREAKER_FAILURES => {
                State::Closed { failures: failures + 1 }
            }
            State::Open { until } if now < until => State::Open { until },
            _ => State::Open { until: now + limits::BREAKER_OPEN },
        };
        report(*state);
        !matches!(*state, State::Closed { .. })
    }

    /// `closed`, `open` or `half-open`.
    pub(crate) fn name(&self) -> &'static str {
        match *self.lock() {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half-open",
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is whole at every instant: a panic elsewhere cannot have torn it.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn report(state: State) {
    let level = match state {
        State::Closed { .. } => 0.0,
        State::HalfOpen { .. } => 1.0,
        State::Open { .. } => 2.0,
    };
    metrics::gauge!(metric_names::BREAKER_STATE).set(level);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        for _ in 1..limits::BREAKER_FAILURES {
            assert!(!breaker.failure(now));
        }
        assert!(breaker.failure(now));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_the_wait_is_said() {
        let now = Instant::now();
        let breaker = opened(now);

        assert_eq!(breaker.name(), "open");
        assert_eq!(breaker.admit(now), Err(limits::BREAKER_OPEN));
    }

    #[test]
    fn a_success_between_failures_starts_the_count_again() {
        let (now, breaker) = (Instant::now(), Breaker::default());
        for _ in 1..limits::BREAKER_FAILURES {
            breaker.failure(now);
        }

        breaker.success();

        assert!(!breaker.failure(now));
        assert_eq!(breaker.name(), "closed");
    }

    #[test]
    fn after_the_wait_one_call_tries_and_decides() {
        let now = Instant::now();
        let breaker = opened(now);
        let later = now + limits::BREAKER_OPEN;

        assert_eq!(breaker.admit(later), Ok(()));
        assert!(breaker.admit(later).is_err(), "one at a time");
        breaker.failure(later);
        assert_eq!(breaker.name(), "open");

        let later = later + limits::BREAKER_OPEN;
        assert_eq!(breaker.admit(later), Ok(()));
        breaker.success();
        assert_eq!(breaker.admit(later), Ok(()));
        assert_eq!(breaker.name(), "closed");
    }

    #[test]
    fn a_probe_that_never_reports_back_is_replaced() {
        let now = Instant::now();
        let breaker = opened(now);

        assert_eq!(breaker.admit(now + limits::BREAKER_OPEN), Ok(()));

        assert_eq!(breaker.admit(now + 2 * limits::BREAKER_OPEN), Ok(()));
    }
}
