//! Claims at rest and back.

use chrono::{DateTime, Utc};
use mnemon_core::claims::fold::Recorded;
use mnemon_core::claims::{Claim, ClaimId, Line, ValidTime};
use mnemon_core::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::row;

pub(super) const WHAT: &str = "a claim";

/// A claim's columns and how it stands, as every statement reads them.
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) subject: String,
    pub(super) predicate: String,
    pub(super) value: Value,
    pub(super) cardinality: String,
    pub(super) provenance: String,
    pub(super) valid_start: Option<DateTime<Utc>>,
    pub(super) valid_end: Option<DateTime<Utc>>,
    pub(super) valid_time_confidence: f32,
    pub(super) start_granularity: Option<String>,
    pub(super) end_granularity: Option<String>,
    pub(super) value_confidence: f32,
    pub(super) criticality: String,
    pub(super) derivation_depth: i32,
    pub(super) excludes: Vec<Uuid>,
    pub(super) recorded_at: DateTime<Utc>,
    pub(super) disposition: String,
    pub(super) bound_at: Option<DateTime<Utc>>,
    pub(super) re_entries: i64,
}

impl TryFrom<Row> for Recorded {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let disposition = row::named(&row.disposition, WHAT)?;
        let re_entries = u32::try_from(row.re_entries).unwrap_or(u32::MAX);
        let bound = row.bound_at;
        Ok(Self { claim: claim(row)?, disposition, bound, re_entries })
    }
}

/// The claim alone.
pub(super) fn claim(row: Row) -> Result<Claim> {
    Ok(Claim {
        id: ClaimId(row.id),
        line: Line { subject: row.subject, predicate: row.predicate },
        value: row.value,
        cardinality: row::named(&row.cardinality, WHAT)?,
        provenance: row::named(&row.provenance, WHAT)?,
        valid_time: ValidTime {
            start: row.valid_start,
            end: row.valid_end,
            valid_time_confidence: row.valid_time_confidence,
            start_granularity: row.start_granularity.map(word).transpose()?,
            end_granularity: row.end_granularity.map(word).transpose()?,
        },
        value_confidence: row.value_confidence,
        criticality: row::named(&row.criticality, WHAT)?,
        derivation_depth: row.derivation_depth.unsigned_abs(),
        excludes: row.excludes.into_iter().map(ClaimId).collect(),
        recorded_at: row.recorded_at,
    })
}

pub(super) fn recorded(rows: Vec<Row>) -> Result<Vec<Recorded>> {
    rows.into_iter().map(Recorded::try_from).collect()
}

/// A time from its microseconds in a cursor.
pub(super) fn time(micros: i64) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| Error::invalid("page.cursor", "holds no time"))
}

/// A value that is one word in JSON, from that word.
fn word<T: DeserializeOwned>(text: String) -> Result<T> {
    row::json(Value::String(text), WHAT)
}

/// The word of a value that is one in JSON.
pub(super) fn word_of<T: Serialize>(value: Option<T>) -> Option<String> {
    match serde_json::to_value(value?) {
        Ok(Value::String(word)) => Some(word),
        _ => None,
    }
}

/// Ids as the text of an array: an array cannot be a value of a column that is unnested.
pub(super) fn uuids(ids: &[ClaimId]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!("{{{}}}", ids.join(","))
}

/// The values of one column of rows that are written together.
pub(super) fn column<'a, T, V>(rows: &'a [T], value: impl Fn(&'a T) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}
