//! Looking into the ledger, and proving that nobody changed it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ledger::{GENESIS, LedgerEntry, LedgerKind, digest};
use super::model::{ClaimId, Disposition};
use crate::error::{Error, Result};
use crate::page::{Cursor, Page};

/// The list that an audit's cursors belong to, newest first.
const NEWEST_FIRST: &str = "audit";
/// The same, oldest first.
const OLDEST_FIRST: &str = "audit-oldest";

/// Which entries of a ledger.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditQuery {
    /// About this claim only.
    #[serde(alias = "claim_ref")]
    pub claim: Option<ClaimId>,
    /// Of this kind only.
    pub kind: Option<LedgerKind>,
    /// With this disposition only.
    pub disposition: Option<Disposition>,
    /// From then on, inclusive.
    #[serde(alias = "from_tx_time")]
    pub from: Option<DateTime<Utc>>,
    /// Until then, exclusive.
    pub until: Option<DateTime<Utc>>,
    /// Oldest first, instead of newest first.
    pub oldest_first: bool,
}

impl AuditQuery {
    /// Everything, oldest first.
    pub fn oldest_first() -> Self {
        Self { oldest_first: true, ..Self::default() }
    }

    fn list(&self) -> &'static str {
        if self.oldest_first { OLDEST_FIRST } else { NEWEST_FIRST }
    }

    /// Where a page goes on: behind this sequence number.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a bad limit, a cursor of another list, or a start that is not before
    /// the end.
    pub fn after(&self, page: &Page) -> Result<i64> {
        page.check()?;
        if let (Some(from), Some(until)) = (self.from, self.until)
            && from >= until
        {
            return Err(Error::invalid("until", "is not after the start"));
        }
        let Some(cursor) = &page.cursor else {
            return Ok(if self.oldest_first { 0 } else { i64::MAX });
        };
        let [seq] = cursor.parts::<1>(self.list())?;
        seq.parse().map_err(|_| Error::invalid("page.cursor", "holds no number"))
    }

    /// The place of an entry in the list.
    pub fn cursor(&self, entry: &LedgerEntry) -> Cursor {
        Cursor::of(self.list(), &[&entry.seq.to_string()])
    }
}

/// Whether a ledger is whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditVerdict {
    /// Entries that follow from each other, from the first.
    pub entries: i64,
    /// The first that does not, where there is one.
    pub broken: Option<BrokenEntry>,
}

/// The first entry of a ledger that cannot be what was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BrokenEntry {
    /// Its place.
    pub seq: i64,
    /// What does not fit.
    pub reason: String,
}

/// An entry with what the chain covers only by its digest.
#[derive(Clone, PartialEq, Debug)]
pub struct Sealed {
    /// The entry; its payload is not needed parsed.
    pub entry: LedgerEntry,
    /// The payload as it is kept, with its salt; `None` once erased.
    pub payload: Option<(Vec<u8>, String)>,
    /// What the claim says now, for an entry that wrote one.
    pub claim_value: Option<serde_json::Value>,
}

/// Walks a ledger from its first entry.
#[derive(Clone, Debug)]
pub struct Auditor {
    previous: [u8; 32],
    seq: i64,
}

impl Default for Auditor {
    fn default() -> Self {
        Self { previous: GENESIS, seq: 0 }
    }
}

impl Auditor {
    /// The last entry that was found whole.
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// Takes the next entry; what is wrong with it, if anything is.
    pub fn take(&mut self, sealed: &Sealed) -> Option<BrokenEntry> {
        let entry = &sealed.entry;
        let expected = self.seq + 1;
        let broken = |seq, reason: &str| Some(BrokenEntry { seq, reason: reason.to_owned() });
        if entry.seq != expected {
            return broken(expected, "it is missing");
        }
        if !entry.follows(&self.previous) {
            return broken(entry.seq, "its hash does not follow from the entry before it");
        }
        if let Some((salt, payload)) = &sealed.payload {
            if digest(salt, payload) != entry.digest {
                return broken(entry.seq, "its payload was changed");
            }
            if entry.kind == LedgerKind::ClaimCommitted && !says_the_same(payload, sealed) {
                return broken(entry.seq, "the claim it wrote was changed or removed");
            }
        }
        self.previous = entry.hash;
        self.seq = entry.seq;
        None
    }

    /// The verdict at the end of the list, given the agent's head.
    pub fn end(self, head: Option<(i64, [u8; 32])>) -> AuditVerdict {
        let (seq, hash) = head.unwrap_or((0, GENESIS));
        let reason = if seq > self.seq {
            Some("it is missing: the agent's head knows of it")
        } else if seq < self.seq || hash != self.previous {
            Some("the agent's head does not know of it")
        } else {
            None
        };
        let at = if seq > self.seq { self.seq + 1 } else { self.seq };
        AuditVerdict {
            entries: self.seq,
            broken: reason.map(|reason| BrokenEntry { seq: at, reason: reason.to_owned() }),
        }
    }

    /// The verdict at a broken entry.
    pub fn stop(self, broken: BrokenEntry) -> AuditVerdict {
        AuditVerdict { entries: self.seq, broken: Some(broken) }
    }
}

fn says_the_same(payload: &str, sealed: &Sealed) -> bool {
    let written: Option<serde_json::Value> = serde_json::from_str(payload).ok();
    written.is_some_and(|written| Some(&written["value"]) == sealed.claim_value.as_ref())
}
