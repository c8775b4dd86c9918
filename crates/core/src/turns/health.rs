//! How a session's summarising is doing: healthy, retry, degraded, recovering.
//!
//! ```text
//!            failure            3rd in a row
//!   healthy ─────────► retry ─────────────────► degraded ◄──── failure ────┐
//!      ▲                 │                          │                      │
//!      │◄─── success ────┘                          └─── success ───► recovering
//!      │                                                                   │
//!      └──────────────────── nothing waits any more ◄──────────────────────┘
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits;

/// How summarising is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// As it should be.
    #[default]
    Healthy,
    /// It failed once or twice in a row.
    Retry,
    /// It failed [`limits::SUMMARY_FAILURES`] times in a row; what is not summarised waits.
    Degraded,
    /// It works again, and what waited is being caught up with.
    Recovering,
}

impl Health {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Retry => "retry",
            Self::Degraded => "degraded",
            Self::Recovering => "recovering",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Health {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Healthy, Self::Retry, Self::Degraded, Self::Recovering]
            .into_iter()
            .find(|health| health.name() == text)
            .ok_or_else(|| Error::invalid("health", format!("is {text:?}, which is none")))
    }
}

/// How one call of the summariser ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It failed, timed out, or answered nothing usable.
    Failed,
    /// It answered.
    Succeeded {
        /// Whether more turns wait.
        more: bool,
    },
}

/// What follows from an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// States that were entered, in order; empty: it stays where it is.
    pub entered: Vec<Health>,
    /// Failures in a row now.
    pub failures: u32,
}

/// The next state of the machine.
pub fn next(health: Health, failures: u32, ended: Ended) -> Verdict {
    use Health::{Degraded, Healthy, Recovering, Retry};
    let failures = match ended {
        Ended::Failed => failures.saturating_add(1),
        Ended::Succeeded { .. } => 0,
    };
    let entered = match (health, ended) {
        (Healthy, Ended::Failed) => vec![Retry],
        (Retry, Ended::Failed) if failures >= limits::SUMMARY_FAILURES => vec![Degraded],
        (Recovering, Ended::Failed) => vec![Degraded],
        (Retry, Ended::Succeeded { .. }) | (Recovering, Ended::Succeeded { more: false }) => {
            vec![Healthy]
        }
        (Degraded, Ended::Succeeded { more: true }) => vec![Recovering],
        (Degraded, Ended::Succeeded { more: false }) => vec![Recovering, Healthy],
        _ => Vec::new(),
    };
    Verdict { entered, failures }
}

/// How long upkeep leaves a session alone after so many failures in a row.
pub fn pause(failures: u32, paused: bool) -> Duration {
    if paused {
        return limits::SUMMARY_PAUSED;
    }
    let doublings = failures.saturating_sub(1).min(16);
    limits::SUMMARY_RETRY.saturating_mul(1 << doublings).min(limits::SUMMARY_RETRY_MAX)
}

/// Whether so much waits for a summariser that keeps failing that it is tried less often.
pub fn is_paused(health: Health, backlog: i64, backlog_max: u32) -> bool {
    health == Health::Degraded && backlog > i64::from(backlog_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: Ended = Ended::Succeeded { more: false };

    fn run(endings: &[Ended]) -> Vec<Health> {
        let (mut health, mut failures, mut seen) = (Health::Healthy, 0, Vec::new());
        for ended in endings {
            let verdict = next(health, failures, *ended);
            health = verdict.entered.last().copied().unwrap_or(health);
            failures = verdict.failures;
            seen.extend(verdict.entered);
        }
        seen
    }

    #[test]
    fn the_third_failure_in_a_row_degrades() {
        use Health::{Degraded, Retry};

        assert_eq!(run(&[Ended::Failed; 2]), [Retry]);
        assert_eq!(run(&[Ended::Failed; 5]), [Retry, Degraded]);
    }

    #[test]
    fn a_success_between_failures_starts_the_count_again() {
        use Health::{Healthy, Retry};
        let failed = Ended::Failed;

        assert_eq!(
            run(&[failed, failed, DONE, failed, failed]),
            [Retry, Healthy, Retry],
            "never three in a row"
        );
    }

    #[test]
    fn recovery_ends_when_nothing_waits_and_never_skips_a_state() {
        use Health::{Degraded, Healthy, Recovering, Retry};
        let (failed, more) = (Ended::Failed, Ended::Succeeded { more: true });

        let down = [failed; 3];
        assert_eq!(
            run(&[&down[..], &[more, more, DONE]].concat()),
            [Retry, Degraded, Recovering, Healthy]
        );
        assert_eq!(
            run(&[&down[..], &[more, failed, DONE]].concat()),
            [Retry, Degraded, Recovering, Degraded, Recovering, Healthy]
        );
    }

    #[test]
    fn pauses_double_up_to_their_limit() {
        assert_eq!(pause(1, false), limits::SUMMARY_RETRY);
        assert_eq!(pause(2, false), limits::SUMMARY_RETRY * 2);
        assert_eq!(pause(u32::MAX, false), limits::SUMMARY_RETRY_MAX);
        assert_eq!(pause(3, true), limits::SUMMARY_PAUSED);
    }
}
