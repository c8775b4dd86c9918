//! How fresh a belief is: it ages from when it was last said, and never disappears for it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::rules::Rules;

const DAY_SECONDS: f64 = 86_400.0;

/// How a belief has aged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum CurrencyState {
    /// Said lately.
    Fresh,
    /// Not said for a while.
    AgingUnconfirmed,
    /// Not said for long: ask again before relying on it.
    Decayed,
}

/// How fresh a belief is.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct CurrencySignal {
    /// When it was last said.
    pub last_refreshed_at: DateTime<Utc>,
    /// How it has aged since.
    pub state: CurrencyState,
    /// What is left of it, 1 down to 0.
    pub strength: f64,
    /// Other live claims that say the same.
    pub corroboration_count: u32,
}

/// The freshness at `seen_at` of what was last said at `last_refreshed_at` and `corroborations`
/// times besides.
pub fn currency(
    last_refreshed_at: DateTime<Utc>,
    corroborations: u32,
    seen_at: DateTime<Utc>,
    rules: &Rules,
) -> CurrencySignal {
    let mut age = (seen_at - last_refreshed_at).to_std().unwrap_or_default();
    if corroborations >= rules.corroboration_count_for_currency_boost {
        age /= 2;
    }
    let state = if age < rules.aging_after {
        CurrencyState::Fresh
    } else if age < rules.decayed_after {
        CurrencyState::AgingUnconfirmed
    } else {
        CurrencyState::Decayed
    };
    let days = age.as_secs_f64() / DAY_SECONDS;
    let strength = (-f64::from(rules.currency_decay_rate_per_day) * days).exp();
    CurrencySignal { last_refreshed_at, state, strength, corroboration_count: corroborations }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn after(days: i64, corroborations: u32, rules: &Rules) -> CurrencySignal {
        let said = DateTime::UNIX_EPOCH;
        currency(said, corroborations, said + TimeDelta::days(days), rules)
    }

    #[test]
    fn a_belief_ages_by_its_thresholds_and_its_rate() {
        let rules = Rules::default();

        assert_eq!(after(29, 0, &rules).state, CurrencyState::Fresh);
        assert_eq!(after(30, 0, &rules).state, CurrencyState::AgingUnconfirmed);
        assert_eq!(after(90, 0, &rules).state, CurrencyState::Decayed);
        assert!((after(20, 0, &rules).strength - (-1.0_f64).exp()).abs() < 1e-6);
        let slower = Rules { currency_decay_rate_per_day: 0.0, ..rules };
        assert!((after(20, 0, &slower).strength - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_is_said_often_ages_half_as_fast() {
        let rules = Rules::default();

        assert_eq!(after(40, 1, &rules).state, CurrencyState::AgingUnconfirmed);
        assert_eq!(after(40, 2, &rules).state, CurrencyState::Fresh);
    }

    #[test]
    fn a_reading_before_the_last_word_finds_it_fresh() {
        assert!((after(-5, 0, &Rules::default()).strength - 1.0).abs() < f64::EPSILON);
    }
}
