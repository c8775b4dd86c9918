//! How the engine decides: every knob, with mempill's defaults.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::Criticality;
use super::new_claim::check_ttl;
use crate::error::{Error, Result};

const DAY: Duration = Duration::from_hours(24);

/// How the engine decides.
#[doc(alias = "EngineConfig")]
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// A window decides something only when its source was at least this sure of it.
    pub valid_time_confidence_threshold: f32,
    /// After this long unsaid a belief is aging.
    pub aging_after: Duration,
    /// After this long unsaid a belief is decayed, and stale.
    pub decayed_after: Duration,
    /// How fast a belief's strength decays: `exp(-rate × days)`.
    pub currency_decay_rate_per_day: f32,
    /// A belief said again this often ages half as fast.
    pub corroboration_count_for_currency_boost: u32,
    /// A claim derived more deeply refreshes no other one.
    pub derivation_depth_cap_boost: u32,
    /// A claim derived more deeply overturns nothing.
    pub derivation_depth_cap_overturn: u32,
    /// Re-entries of one claim within an hour; more are quarantined.
    pub quarantine_burst_threshold: u32,
    /// A verdict that rests on a model alone does not overturn a claim of this criticality or above.
    pub criticality_overturn_floor: Criticality,
    /// How long an oracle may take, unless the claim says; `None`: as long as it likes.
    pub default_adjudication_ttl: Option<Duration>,
    /// Whether there is an oracle to ask about a conflict.
    pub oracle: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            valid_time_confidence_threshold: 0.7,
            aging_after: 30 * DAY,
            decayed_after: 90 * DAY,
            currency_decay_rate_per_day: 0.05,
            corroboration_count_for_currency_boost: 2,
            derivation_depth_cap_boost: 3,
            derivation_depth_cap_overturn: 2,
            quarantine_burst_threshold: 10,
            criticality_overturn_floor: Criticality::High,
            default_adjudication_ttl: None,
            oracle: false,
        }
    }
}

impl Rules {
    /// Checks every knob.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the knob.
    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.valid_time_confidence_threshold) {
            return Err(Error::invalid(
                "valid_time_confidence_threshold",
                "is not between 0 and 1",
            ));
        }
        let rate = self.currency_decay_rate_per_day;
        if !rate.is_finite() || rate < 0.0 {
            return Err(Error::invalid("currency_decay_rate_per_day", "is not a number from 0 on"));
        }
        if self.aging_after > self.decayed_after {
            return Err(Error::invalid("aging_after", "is longer than decayed_after"));
        }
        match self.default_adjudication_ttl {
            Some(ttl) => check_ttl("default_adjudication_ttl", ttl),
            None => Ok(()),
        }
    }
}
