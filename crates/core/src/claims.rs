//! Claims: what an agent believes, append-only and bitemporal. Belief is folded at read;
//! conflicts are shown, never picked silently.
//!
//! The slice that stands: `assert` and `belief` without an oracle, and the hash-chained ledger.
//! The axes of time are in [`interval`], the decision about a new claim in [`adjudicate`], the
//! reading of a line in [`fold`], the ledger's chain in [`ledger`].

pub mod adjudicate;
pub mod fold;
pub mod interval;
pub mod ledger;
mod model;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use fold::{Belief, BeliefStatus, Believed};
pub use interval::{Granularity, ValidTime};
pub use ledger::LedgerEntry;
pub use model::{
    Cardinality, Claim, ClaimId, Confidence, Criticality, Disposition, External, Line, NewClaim,
    Provenance,
};

use crate::error::Result;
use crate::locks::Guard;
use crate::page::{Page, Paged};
use crate::scope::Scope;

/// What became of a claim.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Asserted {
    /// The claim.
    pub id: ClaimId,
    /// How it was taken.
    pub disposition: Disposition,
    /// Every live claim it contradicts.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub contested_with: Vec<ClaimId>,
    /// Its transaction time: strictly increasing per agent.
    pub recorded_at: DateTime<Utc>,
    /// Whether a row was written; a repeated `request_id` writes nothing.
    pub created: bool,
}

/// When to look: both axes of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AsOf {
    /// What was known then (transaction time); absent: all that is known now.
    pub as_of: Option<DateTime<Utc>>,
    /// What was true then (valid time); absent: at `as_of`.
    pub valid_at: Option<DateTime<Utc>>,
}

impl AsOf {
    /// Both times of a reading, given the agent's last transaction time (`None`: it has no
    /// claims) and the store's clock. The first is never after the last write, so that reading
    /// again at what is answered gives the same; without any time asked, what holds now is meant.
    pub fn resolve(
        &self,
        last: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> (Option<DateTime<Utc>>, DateTime<Utc>) {
        let as_of = last.map(|last| self.as_of.map_or(last, |as_of| as_of.min(last)));
        (as_of, self.valid_at.or(self.as_of).unwrap_or(now))
    }
}

/// The claims of a store.
///
/// # Contract
///
/// - Claims and ledger are insert-only, enforced by the database.
/// - One agent's writes are in one order: transaction times strictly increase, ledger sequences
///   have no gaps, and reads inside the write see every one before it.
/// - Two different values about the same time are never both believed: both are shown.
/// - The arrival order of claims does not change the belief for the same ledger times.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Writes a claim, decided against every live claim of its line.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::NotFound`] for an unknown parent or re-entered
    /// claim; [`crate::Error::Fenced`] under a stale guard; [`crate::Error::ScopeRequired`].
    #[doc(alias = "remember")]
    #[doc(alias = "ingest_claim")]
    async fn assert(
        &self,
        scope: &Scope,
        claim: NewClaim,
        guard: Option<&Guard>,
    ) -> Result<Asserted>;

    /// What is believed about a line.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    #[doc(alias = "recall")]
    #[doc(alias = "query_memory")]
    async fn belief(&self, scope: &Scope, line: &Line, when: AsOf) -> Result<Belief>;

    /// The agent's ledger, oldest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a foreign cursor; [`crate::Error::ScopeRequired`].
    async fn ledger(&self, scope: &Scope, page: &Page) -> Result<Paged<LedgerEntry>>;
}
