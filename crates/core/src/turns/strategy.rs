//! Which part of a session's turns a context holds, and what else belongs to a session's memory.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::truncate::{Estimate, Tokens};
use crate::error::{Error, Result};
use crate::limits;

/// Which part of a session's turns a context holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "strategy", deny_unknown_fields)]
#[non_exhaustive]
pub enum Strategy {
    /// No turns are kept.
    None,
    /// The newest turns within a budget.
    Truncation {
        /// Tokens they may have together.
        budget_tokens: u32,
    },
    /// A summary of the older turns, and the newest ones whole.
    RollingSummary {
        /// Newest turns that are never summarised.
        full_zone_turns: u32,
        /// Tokens that summary and turns may have together; absent: no limit.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        budget_tokens: Option<u32>,
    },
}

impl Default for Strategy {
    fn default() -> Self {
        Self::Truncation { budget_tokens: limits::TURN_BUDGET_TOKENS }
    }
}

impl Strategy {
    /// The names of all.
    pub const NAMES: [&'static str; 3] = ["none", "truncation", "rolling_summary"];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => Self::NAMES[0],
            Self::Truncation { .. } => Self::NAMES[1],
            Self::RollingSummary { .. } => Self::NAMES[2],
        }
    }

    /// A strategy by its name, with the defaults for what is not said.
    ///
    /// ```
    /// use mnemon_core::turns::Strategy;
    ///
    /// let strategy = Strategy::named("rolling_summary", None, None)?;
    /// assert_eq!(
    ///     strategy,
    ///     Strategy::RollingSummary { full_zone_turns: 4, budget_tokens: None }
    /// );
    /// # Ok::<(), mnemon_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the field `strategy` for an unknown name, listing the known ones;
    /// as [`Strategy::check`].
    pub fn named(
        name: &str,
        budget_tokens: Option<u32>,
        full_zone_turns: Option<u32>,
    ) -> Result<Self> {
        let strategy = match name {
            "none" => Self::None,
            "truncation" => Self::Truncation {
                budget_tokens: budget_tokens.unwrap_or(limits::TURN_BUDGET_TOKENS),
            },
            "rolling_summary" => Self::RollingSummary {
                full_zone_turns: full_zone_turns.unwrap_or(limits::FULL_ZONE_TURNS),
                budget_tokens,
            },
            other => {
                let known = Self::NAMES.join(", ");
                let reason = format!("is {other:?}, which is none; known are {known}");
                return Err(Error::invalid("strategy", reason));
            }
        };
        strategy.check()?;
        Ok(strategy)
    }

    /// A strategy from its columns.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for what [`Strategy::check`] would not have let in.
    pub fn from_columns(name: &str, budget: Option<i64>, zone: Option<i64>) -> Result<Self> {
        let corrupt = || Error::corrupt("a session of turns", format!("its strategy is {name:?}"));
        let number = |number: Option<i64>| number.map(u32::try_from).transpose();
        let budget = number(budget).map_err(|_| corrupt())?;
        let zone = number(zone).map_err(|_| corrupt())?;
        match (name, budget, zone) {
            ("truncation", None, _) | ("rolling_summary", _, None) => Err(corrupt()),
            _ => Self::named(name, budget, zone).map_err(|_| corrupt()),
        }
    }

    /// The refusal of a call that counts on another strategy than a memory has.
    pub fn refused(kind: &str) -> Error {
        let key = kind.to_owned();
        Error::Conflict { kind: "strategy of turns", key, expected: None, actual: None }
    }

    /// Tokens of a context, where they are limited.
    pub const fn budget_tokens(self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Truncation { budget_tokens } => Some(budget_tokens),
            Self::RollingSummary { budget_tokens, .. } => budget_tokens,
        }
    }

    /// Newest turns that are never summarised, where older ones are.
    pub const fn full_zone_turns(self) -> Option<u32> {
        match self {
            Self::RollingSummary { full_zone_turns, .. } => Some(full_zone_turns),
            _ => None,
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a budget below [`limits::TURN_BUDGET_TOKENS_MIN`], which no cut
    /// turn would fit, or a full zone that is not 1 to [`limits::FULL_ZONE_TURNS_MAX`].
    pub fn check(self) -> Result<()> {
        if let Some(budget) = self.budget_tokens()
            && budget < limits::TURN_BUDGET_TOKENS_MIN
        {
            let least = limits::TURN_BUDGET_TOKENS_MIN;
            let reason = format!("is {budget}; the least is {least}");
            return Err(Error::invalid("strategy.budget_tokens", reason));
        }
        match self.full_zone_turns() {
            Some(turns) if !(1..=limits::FULL_ZONE_TURNS_MAX).contains(&turns) => {
                let most = limits::FULL_ZONE_TURNS_MAX;
                let reason = format!("is {turns}; it goes from 1 to {most}");
                Err(Error::invalid("strategy.full_zone_turns", reason))
            }
            _ => Ok(()),
        }
    }

    /// Whether a memory that holds `turns` turns may change to another strategy without losing
    /// or hiding any: one that keeps turns to another that does.
    pub fn may_become(self, other: Self, turns: i64) -> bool {
        let keeps = |strategy| !matches!(strategy, Self::None);
        turns == 0 || keeps(self) == keeps(other)
    }
}

/// What belongs to a session's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Which part of the turns a context holds.
    #[serde(default)]
    pub strategy: Strategy,
    /// How long a turn that is appended from now on is kept; absent: until it is deleted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retention: Option<Duration>,
}

impl From<Strategy> for Settings {
    fn from(strategy: Strategy) -> Self {
        Self { strategy, retention: None }
    }
}

impl Settings {
    /// Checks the numbers.
    ///
    /// # Errors
    ///
    /// As [`Strategy::check`]; [`Error::Invalid`] for a retention that is not 1 s to
    /// [`limits::RETENTION_MAX`].
    pub fn check(&self) -> Result<()> {
        self.strategy.check()?;
        let range = Duration::from_secs(1)..=limits::RETENTION_MAX;
        match self.retention {
            Some(retention) if !range.contains(&retention) => {
                let days = limits::RETENTION_MAX.as_secs() / 86_400;
                let reason = format!("is {retention:?}; it goes from 1 s to {days} days");
                Err(Error::invalid("retention", reason))
            }
            _ => Ok(()),
        }
    }
}

/// What a store makes of turns when the call does not say: `[turns]` of the configuration.
#[derive(Clone)]
pub struct TurnDefaults {
    /// Of a memory that begins without being configured.
    pub settings: Settings,
    /// Counts tokens.
    pub counter: Arc<dyn Tokens>,
    /// Turns that may wait for a failing summariser before it is tried less often.
    pub backlog_max: u32,
}

impl Default for TurnDefaults {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            counter: Arc::new(Estimate),
            backlog_max: limits::SUMMARY_BACKLOG_MAX,
        }
    }
}

impl TurnDefaults {
    /// Of a memory that begins with a turn which may say its strategy.
    pub fn settings_for(&self, strategy: Option<Strategy>) -> Settings {
        Settings { strategy: strategy.unwrap_or(self.settings.strategy), ..self.settings }
    }
}

impl fmt::Debug for TurnDefaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnDefaults")
            .field("settings", &self.settings)
            .field("backlog_max", &self.backlog_max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let error = Strategy::named("sliding_window", None, None).unwrap_err();

        assert_eq!(
            error.to_string(),
            "strategy: is \"sliding_window\", which is none; \
             known are none, truncation, rolling_summary"
        );
    }

    #[test]
    fn every_name_is_read_back() {
        for name in Strategy::NAMES {
            assert_eq!(Strategy::named(name, None, None).unwrap().name(), name);
        }
    }

    #[test]
    fn numbers_that_cannot_work_are_refused() {
        for (name, budget, zone) in
            [("truncation", Some(0), None), ("rolling_summary", Some(7), None)]
        {
            let error = Strategy::named(name, budget, zone).unwrap_err();
            assert!(error.to_string().starts_with("strategy.budget_tokens: is "), "{error}");
        }
        let error = Strategy::named("rolling_summary", None, Some(0)).unwrap_err();
        assert!(error.to_string().starts_with("strategy.full_zone_turns: is 0"), "{error}");
    }

    #[test]
    fn a_memory_with_turns_does_not_become_one_that_keeps_none() {
        let rolling = Strategy::RollingSummary { full_zone_turns: 4, budget_tokens: None };

        assert!(Strategy::default().may_become(rolling, 9));
        assert!(!rolling.may_become(Strategy::None, 1));
        assert!(Strategy::default().may_become(Strategy::None, 0));
    }
}
