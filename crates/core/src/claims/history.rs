//! A line's history: every claim ever made of it, and how each stands.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::belief::Belief;
use super::fold::{Moment, Recorded, Standing, place};
use super::interval::{ValidTime, display};
use super::model::{Claim, ClaimId, Disposition, Provenance};
use super::rules::Rules;
use crate::error::{Error, Result};
use crate::page::{Cursor, Page};

/// How a claim of a history stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum HistoryStatus {
    /// Believed at the valid time asked.
    Current,
    /// One of several about that time.
    Contested,
    /// Stands below what is believed.
    Below,
    /// Its window is over then; it answers for its time.
    Past,
    /// Its window opens later.
    Future,
    /// Another claim ended it, and it answers for no time.
    Superseded,
    /// Taken back.
    Invalidated,
    /// Refused by an oracle.
    Rejected,
    /// Kept apart.
    Quarantined,
}

/// A claim of a history.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The claim.
    #[serde(alias = "claim_ref")]
    pub claim: ClaimId,
    /// What it says.
    pub value: Value,
    /// When it holds, later bounds included.
    pub valid_time: ValidTime,
    /// The end its source gave, where something else ended it earlier.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stated_end: Option<DateTime<Utc>>,
    /// How it stands.
    pub status: HistoryStatus,
    /// Its latest disposition.
    pub disposition: Disposition,
    /// Where it comes from.
    pub provenance: Provenance,
    /// How sure the source was of the value.
    pub value_confidence: f32,
    /// When it was written.
    #[serde(alias = "transaction_time")]
    pub recorded_at: DateTime<Utc>,
}

impl HistoryEntry {
    /// The start as precise as it was given.
    pub fn valid_from_display(&self) -> Option<String> {
        self.valid_time.start.map(|at| display(at, self.valid_time.start_granularity))
    }

    /// The end as precise as it was given.
    pub fn valid_until_display(&self) -> Option<String> {
        self.valid_time.end.map(|at| display(at, self.valid_time.end_granularity))
    }
}

/// A page of a line's history, in canonical order, with what both axes were resolved to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct History {
    /// The claims: by start where it is trusted, else by when they were written.
    pub entries: Vec<HistoryEntry>,
    /// Where the next page starts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<Cursor>,
    /// The transaction time this was read at.
    pub as_of: Option<DateTime<Utc>>,
    /// The valid time that each status is about.
    pub valid_at: DateTime<Utc>,
}

/// The list that a history's cursors belong to.
const LIST: &str = "history";

/// A place in canonical order, in microseconds.
pub type Place = (i64, i64, ClaimId);

/// Where a page of a history goes on; `None` from the beginning.
///
/// # Errors
///
/// [`Error::Invalid`] for a bad limit or a cursor of another list.
pub fn after(page: &Page) -> Result<Option<Place>> {
    page.check()?;
    let Some(cursor) = &page.cursor else { return Ok(None) };
    let [order, recorded_at, id] = cursor.parts::<3>(LIST)?;
    let number =
        |text: &str| text.parse().map_err(|_| Error::invalid("page.cursor", "holds no number"));
    Ok(Some((number(order)?, number(recorded_at)?, id.parse()?)))
}

/// The list that a subject's cursors belong to.
const SUBJECT: &str = "subject";

/// Behind which predicate a page of a subject goes on; empty from the beginning.
///
/// # Errors
///
/// [`Error::Invalid`] for a bad limit or a cursor of another list.
pub fn after_predicate(page: &Page) -> Result<String> {
    page.check()?;
    let Some(cursor) = &page.cursor else { return Ok(String::new()) };
    let [predicate] = cursor.parts::<1>(SUBJECT)?;
    Ok(predicate.to_owned())
}

/// A predicate's place among those of its subject.
pub fn predicate_cursor(predicate: &str) -> Cursor {
    Cursor::of(SUBJECT, &[predicate])
}

/// A claim's place in the list.
pub fn cursor(claim: &Claim, rules: &Rules) -> Cursor {
    let (order, recorded_at, id) = place(claim, rules);
    Cursor::of(
        LIST,
        &[
            &order.timestamp_micros().to_string(),
            &recorded_at.timestamp_micros().to_string(),
            &id.to_string(),
        ],
    )
}

/// How a claim of a line stands at a moment, given what is believed then.
pub fn entry(recorded: &Recorded, belief: &Belief, moment: Moment, rules: &Rules) -> HistoryEntry {
    let claim = &recorded.claim;
    let window = recorded.window();
    HistoryEntry {
        claim: claim.id,
        value: claim.value.clone(),
        valid_time: window,
        stated_end: claim.valid_time.end.filter(|end| Some(*end) != window.end),
        status: status(recorded, belief, moment, rules),
        disposition: recorded.disposition,
        provenance: claim.provenance,
        value_confidence: claim.value_confidence,
        recorded_at: claim.recorded_at,
    }
}

fn status(recorded: &Recorded, belief: &Belief, moment: Moment, rules: &Rules) -> HistoryStatus {
    match recorded.disposition {
        Disposition::Quarantined => return HistoryStatus::Quarantined,
        Disposition::Invalidated => return HistoryStatus::Invalidated,
        Disposition::Rejected => return HistoryStatus::Rejected,
        _ => {}
    }
    let line = std::slice::from_ref(recorded);
    let Some(standing) = super::fold::live(line, rules).first().copied() else {
        return HistoryStatus::Superseded;
    };
    let window = standing.window;
    if window.is_trusted(rules.valid_time_confidence_threshold) {
        if window.start.is_some_and(|start| moment.valid_at < start) {
            return HistoryStatus::Future;
        }
        if !window.contains(moment.valid_at) {
            return HistoryStatus::Past;
        }
    }
    beside(&standing, belief)
}

/// Of a claim that holds then: whether it is what is believed, one of several, or below.
fn beside(standing: &Standing<'_>, belief: &Belief) -> HistoryStatus {
    let outside = |believed: &super::Believed| {
        believed.provenance != Provenance::ModelDerived
            && believed.disposition != Disposition::PendingLowConfidence
    };
    let strong = belief.primary.iter().chain(&belief.alternatives).any(outside);
    if standing.is_weak() && strong {
        HistoryStatus::Below
    } else if belief.status == super::BeliefStatus::Contested {
        HistoryStatus::Contested
    } else {
        HistoryStatus::Current
    }
}
