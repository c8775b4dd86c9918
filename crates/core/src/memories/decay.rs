//! How memories fade and are kept: FSRS-6, with the `fsrs` crate for the next state and one curve
//! for reading. Times come from outside.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::Memory;
use crate::error::{Error, Result};
use crate::ids::{EventId, MemoryId};
use crate::limits;

/// The exponent of the forgetting curve: FSRS-6's default `w20`.
pub const DECAY: f64 = 0.1542;

/// A day in microseconds.
const DAY: f64 = 86_400_000_000.0;

/// How well a memory was recalled.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rating {
    /// Forgotten (1): the memory lapses.
    Again,
    /// Recalled with effort (2).
    Hard,
    /// Recalled (3).
    Good,
    /// Recalled at once (4).
    Easy,
}

impl Rating {
    /// Its number, 1 to 4.
    pub const fn number(self) -> i16 {
        match self {
            Self::Again => 1,
            Self::Hard => 2,
            Self::Good => 3,
            Self::Easy => 4,
        }
    }

    /// The rating of a number.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] outside 1 to 4.
    pub fn from_number(number: i64) -> Result<Self> {
        match number {
            1 => Ok(Self::Again),
            2 => Ok(Self::Hard),
            3 => Ok(Self::Good),
            4 => Ok(Self::Easy),
            _ => Err(Error::invalid("rating", format!("is {number}; it goes from 1 to 4"))),
        }
    }
}

impl fmt::Display for Rating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Again => "again",
            Self::Hard => "hard",
            Self::Good => "good",
            Self::Easy => "easy",
        })
    }
}

impl FromStr for Rating {
    type Err = Error;

    /// A name or a number.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "again" => Ok(Self::Again),
            "hard" => Ok(Self::Hard),
            "good" => Ok(Self::Good),
            "easy" => Ok(Self::Easy),
            other => match other.parse() {
                Ok(number) => Self::from_number(number),
                Err(_) => Err(Error::invalid(
                    "rating",
                    format!("is {other:?}; it is again, hard, good or easy (1 to 4)"),
                )),
            },
        }
    }
}

/// A review of a memory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// How well it was recalled.
    pub rating: Rating,
    /// When; the store's clock otherwise. Not before the last review, not in the future.
    #[serde(default)]
    pub at: Option<DateTime<Utc>>,
    /// The event's id, when the caller has one: the same one again writes nothing.
    #[serde(default)]
    pub id: Option<EventId>,
}

impl Review {
    /// A review now.
    pub fn new(rating: Rating) -> Self {
        Self { rating, at: None, id: None }
    }
}

/// How well a memory is kept. A memory without is new: never reviewed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[doc(alias = "SchedulingState")]
pub struct Scheduling {
    /// Whose.
    pub memory_id: MemoryId,
    /// Days after which it is recalled with a probability of 0.9.
    pub stability: f64,
    /// How hard it is to strengthen, 1 to 10.
    pub difficulty: f64,
    /// When it was reviewed last.
    pub last_review: DateTime<Utc>,
    /// When it is due.
    pub next_review: DateTime<Utc>,
    /// Reviews so far.
    pub reps: u32,
    /// Reviews at which it was forgotten.
    pub lapses: u32,
}

impl Scheduling {
    /// Checks a state that comes from outside.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field.
    pub fn check(&self) -> Result<()> {
        let stability = limits::STABILITY_MIN..=limits::STABILITY_MAX;
        if !stability.contains(&self.stability) {
            return Err(Error::invalid(
                "stability",
                format!(
                    "is {}; it goes from {} to {} days",
                    self.stability,
                    limits::STABILITY_MIN,
                    limits::STABILITY_MAX
                ),
            ));
        }
        if !(1.0..=10.0).contains(&self.difficulty) {
            return Err(Error::invalid(
                "difficulty",
                format!("is {}; it goes from 1 to 10", self.difficulty),
            ));
        }
        if self.next_review < self.last_review {
            return Err(Error::invalid("next_review", "is before last_review"));
        }
        if self.lapses > self.reps || self.reps > i32::MAX.unsigned_abs() {
            return Err(Error::invalid("lapses", "are more than reps, or reps too many"));
        }
        Ok(())
    }

    /// How likely it is recalled at a time, 0 to 1.
    pub fn retrievability(&self, at: DateTime<Utc>) -> f64 {
        let elapsed = (at - self.last_review).num_microseconds().unwrap_or(i64::MAX);
        retrievability(self.stability, elapsed)
    }
}

/// The forgetting curve: how likely a memory of a stability (days) is recalled after a time
/// (microseconds; none when negative). The stores compute the same in SQL.
///
/// ```
/// use mnemon_core::memories::decay::retrievability;
///
/// let day = 86_400_000_000;
/// assert!((retrievability(10.0, 10 * day) - 0.9).abs() < 1e-9);
/// assert!((retrievability(10.0, 0) - 1.0).abs() < 1e-12);
/// ```
#[expect(clippy::cast_precision_loss, reason = "a microsecond in a century does not show")]
pub fn retrievability(stability: f64, elapsed_micros: i64) -> f64 {
    let factor = 0.9_f64.powf(-1.0 / DECAY) - 1.0;
    let days = elapsed_micros.max(0) as f64 / DAY;
    (1.0 + factor * days / stability).powf(-DECAY)
}

/// When a review happened: as given, or now, but never before the last one.
///
/// # Errors
///
/// [`Error::Invalid`] for a time before the last review, or one in the future.
pub fn time_of(
    review: &Review,
    prior: Option<&Scheduling>,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>> {
    let last = prior.map(|prior| prior.last_review);
    let Some(at) = review.at else {
        // A clock that went back does not undo a review.
        return Ok(last.map_or(now, |last| last.max(now)));
    };
    let skew = TimeDelta::from_std(limits::CLOCK_SKEW).unwrap_or_default();
    if at > now + skew {
        return Err(Error::invalid("at", "is in the future"));
    }
    match last {
        Some(last) if at < last => {
            Err(Error::invalid("at", format!("is before the last review, at {last}")))
        }
        _ => Ok(at),
    }
}

/// The state after a review.
///
/// # Errors
///
/// [`Error::Corrupt`] when the standing state is none that FSRS knows.
pub fn next(
    memory_id: MemoryId,
    prior: Option<&Scheduling>,
    rating: Rating,
    at: DateTime<Utc>,
) -> Result<Scheduling> {
    let corrupt = |error: &dyn fmt::Display| {
        Error::corrupt(format!("the scheduling of memory {memory_id}"), error.to_string())
    };
    #[expect(clippy::cast_possible_truncation, reason = "FSRS works in single precision")]
    let state = prior.map(|prior| fsrs::MemoryState {
        stability: prior.stability as f32,
        difficulty: prior.difficulty as f32,
    });
    let days = prior.map_or(0, |prior| (at - prior.last_review).num_days());
    let days = u32::try_from(days.max(0)).unwrap_or(u32::MAX);
    #[expect(clippy::cast_possible_truncation, reason = "a constant")]
    let wanted = limits::DESIRED_RETENTION as f32;
    let states =
        fsrs::FSRS::default().next_states(state, wanted, days).map_err(|error| corrupt(&error))?;
    let next = match rating {
        Rating::Again => states.again,
        Rating::Hard => states.hard,
        Rating::Good => states.good,
        Rating::Easy => states.easy,
    };
    #[expect(clippy::cast_possible_truncation, reason = "at most a century, in microseconds")]
    let interval = (f64::from(next.interval) * DAY) as i64;
    let (reps, lapses) = prior.map_or((0, 0), |prior| (prior.reps, prior.lapses));
    Ok(Scheduling {
        memory_id,
        stability: f64::from(next.memory.stability),
        difficulty: f64::from(next.memory.difficulty),
        last_review: at,
        next_review: at
            .checked_add_signed(TimeDelta::microseconds(interval))
            .ok_or_else(|| corrupt(&"its next review is beyond the calendar"))?,
        reps: reps.saturating_add(1),
        lapses: lapses.saturating_add(u32::from(rating == Rating::Again && prior.is_some())),
    })
}

/// A review as it was noted; it outlives the memory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReviewEvent {
    /// The event.
    pub id: EventId,
    /// What was reviewed.
    pub memory_id: MemoryId,
    /// When.
    pub at: DateTime<Utc>,
    /// How well it was recalled.
    pub rating: Rating,
    /// The state before; absent: it was new.
    pub prior: Option<Scheduling>,
    /// The state after.
    pub next: Scheduling,
}

/// A memory that is due.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Due {
    /// The memory.
    pub memory: Memory,
    /// How well it is kept.
    pub scheduling: Scheduling,
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;

    use super::*;

    fn day(number: i64) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap() + TimeDelta::days(number)
    }

    fn id() -> MemoryId {
        MemoryId(uuid::Uuid::nil())
    }

    #[test]
    fn the_curve_is_the_crate_s_on_a_grid() {
        for stability in [0.001, 0.1, 0.5, 1.0, 2.3065, 10.0, 100.0, 1_000.0, 36_500.0_f32] {
            for days in [0.0, 0.01, 0.5, 1.0, 3.0, 10.0, 77.0, 365.0, 3_650.0, 36_500.0_f32] {
                let state = fsrs::MemoryState { stability, difficulty: 5.0 };
                let theirs = fsrs::current_retrievability(state, days, fsrs::FSRS6_DEFAULT_DECAY);
                #[expect(clippy::cast_possible_truncation, reason = "whole microseconds")]
                let micros = (f64::from(days) * DAY).round() as i64;

                let ours = retrievability(f64::from(stability), micros);

                let off = (ours - f64::from(theirs)).abs();
                assert!(off < 1e-6, "{stability} after {days}: {ours} is not {theirs}");
            }
        }
    }

    #[test]
    fn a_first_review_starts_at_fsrs_s_initial_state() {
        let kept = next(id(), None, Rating::Good, day(0)).unwrap();

        assert!((kept.stability - 2.3065).abs() < 1e-4 && (kept.difficulty - 2.1181).abs() < 1e-3);
        assert_eq!((kept.reps, kept.lapses), (1, 0));
        assert!((kept.retrievability(kept.next_review) - 0.9).abs() < 1e-6);
    }

    #[test]
    fn recall_after_a_while_strengthens_and_forgetting_weakens() {
        let first = next(id(), None, Rating::Good, day(0)).unwrap();
        let good = next(id(), Some(&first), Rating::Good, day(3)).unwrap();
        let again = next(id(), Some(&first), Rating::Again, day(3)).unwrap();

        assert!(good.stability > first.stability && again.stability < first.stability);
        assert_eq!((good.reps, good.lapses, again.lapses), (2, 0, 1));
    }

    #[test]
    fn a_review_has_its_place_in_time() {
        let kept = next(id(), None, Rating::Good, day(5)).unwrap();
        let at = |at| Review { at, ..Review::new(Rating::Good) };

        assert_eq!(time_of(&at(None), Some(&kept), day(4)).unwrap(), day(5));
        assert_eq!(time_of(&at(Some(day(6))), Some(&kept), day(7)).unwrap(), day(6));
        assert!(time_of(&at(Some(day(4))), Some(&kept), day(7)).is_err());
        assert!(time_of(&at(Some(day(8))), None, day(7)).is_err());
    }

    #[test]
    fn ratings_are_names_or_numbers() {
        assert_eq!("hard".parse::<Rating>().unwrap(), Rating::Hard);
        assert_eq!("4".parse::<Rating>().unwrap(), Rating::Easy);
        for bad in ["0", "5", "fine", ""] {
            assert!(bad.parse::<Rating>().is_err(), "{bad}");
        }
    }
}
