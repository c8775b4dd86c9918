//! Reading columns: what cannot have been written is a corrupt row.

use mnemon_core::{Cursor, Error, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A value from its JSON.
pub(crate) fn json<T: DeserializeOwned>(value: Value, what: &'static str) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::corrupt(what, error.to_string()))
}

/// A value from its name at rest.
pub(crate) fn named<T: std::str::FromStr<Err = Error>>(
    name: &str,
    what: &'static str,
) -> Result<T> {
    name.parse().map_err(|error: Error| Error::corrupt(what, error.to_string()))
}

/// A hash of 32 bytes.
pub(crate) fn hash(bytes: &[u8], what: &'static str) -> Result<[u8; 32]> {
    let wrong = |_| Error::corrupt(what, format!("its hash is {} bytes", bytes.len()));
    bytes.try_into().map_err(wrong)
}

/// A number from a page's cursor.
pub(crate) fn number_of(cursor: &Cursor, list: &str) -> Result<i64> {
    let [number] = cursor.parts::<1>(list)?;
    number.parse().map_err(|_| Error::invalid("page.cursor", "holds no number"))
}
