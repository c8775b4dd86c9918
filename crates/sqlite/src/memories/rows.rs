//! From rows to memories, in one place. What cannot have been written is a corrupt row.

use chrono::{DateTime, Utc};
use mnemon_core::memories::{Memory, Namespace, Visibility};
use mnemon_core::{Error, MemoryId, Result};
use rusqlite::Row;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::error::Done;

/// The columns of `memories m` that make a [`Memory`], in the order [`memory`] reads them.
macro_rules! columns {
    () => {
        "m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.run_id, m.key, m.namespace, \
         m.visibility, m.shared_with, m.content, m.node_type, m.tags, m.metadata, m.codebase, \
         m.source, m.domains, m.domain_scores, m.valid_from, m.valid_until, m.expires_at, \
         m.created_at, m.updated_at"
    };
}
pub(super) use columns;

/// Reads a memory from `columns!`.
pub(super) fn memory(row: &Row<'_>) -> Done<Memory> {
    let id = MemoryId(id(row, 0)?);
    Ok(Memory {
        id,
        tenant: row.get(1)?,
        user: row.get(2)?,
        agent: row.get(3)?,
        session: row.get(4)?,
        run: row.get(5)?,
        key: row.get(6)?,
        namespace: Namespace::parse(row.get::<_, String>(7)?)
            .map_err(|error| corrupt(id, &error.to_string()))?,
        visibility: row
            .get_ref(8)?
            .as_str()
            .map_err(rusqlite::Error::from)?
            .parse::<Visibility>()
            .map_err(|error| corrupt(id, &error.to_string()))?,
        shared_with: parsed(row, 9, id)?,
        content: row.get(10)?,
        node_type: row.get(11)?,
        tags: parsed(row, 12, id)?,
        metadata: parsed(row, 13, id)?,
        codebase: row.get(14)?,
        source: row.get(15)?,
        domains: parsed(row, 16, id)?,
        domain_scores: parsed(row, 17, id)?,
        valid_from: moment(row, 18)?,
        valid_until: moment(row, 19)?,
        expires_at: moment(row, 20)?,
        created_at: time(row.get(21)?)?,
        updated_at: time(row.get(22)?)?,
    })
}

/// Reads an id of 16 bytes.
pub(crate) fn id(row: &Row<'_>, column: usize) -> Done<Uuid> {
    let bytes = row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?;
    Uuid::from_slice(bytes)
        .map_err(|_| Error::corrupt("an id", format!("it is {} bytes", bytes.len())).into())
}

/// A time from its microseconds.
pub(crate) fn time(micros: i64) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| Error::corrupt("a time", format!("{micros} µs is no date")))
}

fn moment(row: &Row<'_>, column: usize) -> Done<Option<DateTime<Utc>>> {
    let micros: Option<i64> = row.get(column)?;
    Ok(micros.map(time).transpose()?)
}

fn parsed<T: DeserializeOwned>(row: &Row<'_>, column: usize, id: MemoryId) -> Done<T> {
    let text = row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?;
    serde_json::from_str(text).map_err(|error| corrupt(id, &error.to_string()).into())
}

/// Reads tags, where nothing else of a memory is read.
pub(super) fn tags(row: &Row<'_>, column: usize) -> Done<Vec<String>> {
    let text = row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?;
    serde_json::from_str(text)
        .map_err(|error| Error::corrupt("a memory's tags", error.to_string()).into())
}

fn corrupt(id: MemoryId, reason: &str) -> Error {
    Error::corrupt(format!("memory {id}"), reason)
}
