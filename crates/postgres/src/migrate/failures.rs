//! What went wrong while the schema was changed, for the person who has to act.

use mnemon_core::Error;
use mnemon_core::migrations::Migration;
use sqlx::migrate::MigrateError;

use crate::error::{self, Fault};

/// `insufficient_privilege`.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

pub(super) fn has_code(fault: &Fault, code: &str) -> bool {
    matches!(fault, Fault::Sql(sqlx::Error::Database(error)) if error.code().as_deref() == Some(code))
}

pub(super) fn fault(error: MigrateError) -> Fault {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => Error::backend("changing the schema", other).into(),
    }
}

pub(super) fn failed(fault: Fault) -> Error {
    refused(&fault).unwrap_or_else(|| mapped(fault, "looking at the schema"))
}

pub(super) fn stopped(fault: Fault, step: &Migration) -> Error {
    if let Some(error) = refused(&fault) {
        return error;
    }
    match fault {
        Fault::Sql(error @ sqlx::Error::Database(_)) => Error::backend(
            format!("changing the schema, step {} ({})", step.version, step.name),
            error,
        ),
        fault => mapped(fault, "changing the schema"),
    }
}

fn mapped(fault: Fault, doing: &'static str) -> Error {
    match fault {
        Fault::Core(error) => error,
        Fault::Sql(error) => error::sql(doing, error),
    }
}

/// The role may not: a person has to act.
fn refused(fault: &Fault) -> Option<Error> {
    let Fault::Sql(sqlx::Error::Database(error)) = fault else { return None };
    (error.code().as_deref() == Some(INSUFFICIENT_PRIVILEGE)).then(|| {
        Error::setup(
            format!("this role may not change the schema ({})", error.message()),
            "run `mnemon migrate up` as the schema's owner, or hand it the statements of \
             `mnemon migrate up --print`; then open with migrate mode `verify`",
        )
    })
}
