//! Reading columns: what cannot have been written is a corrupt row.

use chrono::{DateTime, Utc};
use mnemon_core::Error;
use rusqlite::Row;
use serde::de::DeserializeOwned;

use crate::error::Done;
use crate::memories::rows;
pub(crate) use crate::memories::rows::id;

/// A time from microseconds.
pub(crate) fn time(row: &Row<'_>, column: usize) -> Done<DateTime<Utc>> {
    Ok(rows::time(row.get(column)?)?)
}

/// A time that may be missing.
pub(crate) fn moment(row: &Row<'_>, column: usize) -> Done<Option<DateTime<Utc>>> {
    let micros: Option<i64> = row.get(column)?;
    Ok(micros.map(rows::time).transpose()?)
}

/// A value from its JSON.
pub(crate) fn json<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
    what: &'static str,
) -> Done<T> {
    let text = row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?;
    Ok(serde_json::from_str(text).map_err(|error| Error::corrupt(what, error.to_string()))?)
}

/// A value from its name at rest.
pub(crate) fn named<T: std::str::FromStr<Err = Error>>(
    row: &Row<'_>,
    column: usize,
    what: &'static str,
) -> Done<T> {
    let text = row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?;
    Ok(text.parse().map_err(|error: Error| Error::corrupt(what, error.to_string()))?)
}

/// A hash of 32 bytes.
pub(crate) fn hash(row: &Row<'_>, column: usize, what: &'static str) -> Done<[u8; 32]> {
    let bytes = row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?;
    let wrong = |_| Error::corrupt(what, format!("its hash is {} bytes", bytes.len()));
    Ok(bytes.try_into().map_err(wrong)?)
}

/// A number from a page's cursor.
pub(crate) fn number_of(cursor: &mnemon_core::Cursor, list: &str) -> mnemon_core::Result<i64> {
    let [number] = cursor.parts::<1>(list)?;
    number.parse().map_err(|_| Error::invalid("page.cursor", "holds no number"))
}
