//! What SQL asks core about memories: retrievability, tests of the metadata, cosines. All are
//! functions of their arguments alone.

use mnemon_core::memories::{MetadataTest, decay};
use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use serde_json::Value;

use super::vectors;
use crate::error::Done;

/// Adds the functions to a connection.
pub(crate) fn add(conn: &Connection) -> Done<()> {
    let pure = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    conn.create_scalar_function("mnemon_retrievability", 2, pure, |args| {
        Ok(decay::retrievability(args.get(0)?, args.get(1)?))
    })?;
    conn.create_scalar_function("mnemon_metadata", 2, pure, metadata)?;
    conn.create_scalar_function("mnemon_cosine", 2, pure, |args| {
        let (a, b) = (args.get_raw(0).as_blob()?, args.get_raw(1).as_blob()?);
        vectors::cosine(a, b).map_err(user)
    })?;
    Ok(())
}

/// Whether metadata passes every test of a list, both JSON.
fn metadata(args: &Context<'_>) -> rusqlite::Result<bool> {
    // The tests are the same for every row of a statement.
    let tests =
        args.get_or_create_aux(1, |value| -> Result<Vec<MetadataTest>, rusqlite::Error> {
            serde_json::from_str(value.as_str()?).map_err(user)
        })?;
    let metadata: Value = serde_json::from_str(args.get_raw(0).as_str()?).map_err(user)?;
    Ok(tests.iter().all(|test| test.passes(&metadata)))
}

fn user(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::UserFunctionError(Box::new(error))
}
