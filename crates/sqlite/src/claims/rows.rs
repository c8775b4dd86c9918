//! Claims at rest and back.

use chrono::{DateTime, Utc};
use mnemon_core::Error;
use mnemon_core::claims::fold::Recorded;
use mnemon_core::claims::{Claim, ClaimId, Line, ValidTime};
use rusqlite::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Done;
use crate::row;

pub(super) const WHAT: &str = "a claim";

/// Time at rest, where an open end stands for forever.
pub(super) const ALWAYS: i64 = i64::MIN;
/// The other end of it.
pub(super) const FOREVER: i64 = i64::MAX;

/// The columns of `claims c`, in the order [`claim`] reads them.
macro_rules! columns {
    () => {
        "c.id, c.subject, c.predicate, c.value, c.cardinality, c.provenance, c.valid_start, \
         c.valid_end, c.valid_time_confidence, c.start_granularity, c.end_granularity, \
         c.value_confidence, c.criticality, c.derivation_depth, c.excludes, c.recorded_at"
    };
}
pub(crate) use columns;

/// How a claim `c` stood at the time in parameter `$then`, in the order [`recorded`] reads it: its
/// latest deciding entry, the earliest end that was not reopened, how often it came back.
macro_rules! standing {
    ($then:literal) => {
        concat!(
            "(select l.disposition from claim_ledger l where l.tenant = c.tenant \
             and l.agent_id = c.agent_id and l.claim_id = c.id and l.recorded_at <= ",
            $then,
            " and l.kind not in ('RecallReEntryDetected', 'Quarantined', 'ServedAsInjected', \
             'Erased') order by l.seq desc limit 1), \
             (select min(b.bound_at) from claim_bounds b where b.tenant = c.tenant \
             and b.agent_id = c.agent_id and b.claim_id = c.id and b.kind = 'Bound' \
             and b.recorded_at <= ",
            $then,
            " and b.recorded_at > coalesce((select \
             max(r.recorded_at) from claim_bounds r where r.tenant = c.tenant \
             and r.agent_id = c.agent_id and r.claim_id = c.id and r.kind = 'Reopen' \
             and r.recorded_at <= ",
            $then,
            "), -9223372036854775808)), \
             (select count(*) from claim_ledger e where e.tenant = c.tenant \
             and e.agent_id = c.agent_id and e.claim_id = c.id \
             and e.kind in ('RecallReEntryDetected', 'Quarantined') and e.recorded_at <= ",
            $then,
            ")"
        )
    };
}
pub(crate) use standing;

/// Reads [`columns`].
pub(super) fn claim(row: &Row<'_>) -> Done<Claim> {
    Ok(Claim {
        id: ClaimId(row::id(row, 0)?),
        line: Line { subject: row.get(1)?, predicate: row.get(2)? },
        value: row::json(row, 3, WHAT)?,
        cardinality: row::named(row, 4, WHAT)?,
        provenance: row::named(row, 5, WHAT)?,
        valid_time: ValidTime {
            start: row::moment(row, 6)?,
            end: row::moment(row, 7)?,
            valid_time_confidence: row.get(8)?,
            start_granularity: row.get::<_, Option<String>>(9)?.map(word).transpose()?,
            end_granularity: row.get::<_, Option<String>>(10)?.map(word).transpose()?,
        },
        value_confidence: row.get(11)?,
        criticality: row::named(row, 12, WHAT)?,
        derivation_depth: row.get(13)?,
        excludes: row::json(row, 14, WHAT)?,
        recorded_at: row::time(row, 15)?,
    })
}

/// Reads [`columns`] and how the claim stands.
pub(super) fn recorded(row: &Row<'_>) -> Done<Recorded> {
    Ok(Recorded {
        claim: claim(row)?,
        disposition: row::named(row, 16, WHAT)?,
        bound: row::moment(row, 17)?,
        re_entries: row.get(18)?,
    })
}

/// Where a claim's window lies among the current ones: everywhere without a start.
pub(super) fn span(recorded: &Recorded) -> (i64, i64) {
    let window = recorded.window();
    match window.start {
        Some(start) => (micros(start), window.end.map_or(FOREVER, micros)),
        None => (ALWAYS, FOREVER),
    }
}

pub(super) fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// A unit variant from its serde name.
fn word<T: DeserializeOwned>(name: String) -> Result<T, Error> {
    serde_json::from_value(Value::String(name))
        .map_err(|error| Error::corrupt(WHAT, error.to_string()))
}

/// A unit variant's serde name.
pub(super) fn word_of<T: Serialize>(value: Option<T>) -> Option<String> {
    let value = serde_json::to_value(value?).expect("a unit variant is a name");
    value.as_str().map(str::to_owned)
}
