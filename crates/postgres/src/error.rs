//! What PostgreSQL says, as Mnemon's errors: which failures are worth another attempt, and what
//! the person who installed it can do about the others.

use std::borrow::Cow;

use mnemon_core::{self as core, Error};

/// Why one attempt failed: the database's failure, or a finding of ours that ends the call.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The database failed; mapped with the name of the call.
    Sql(sqlx::Error),
    /// A decision: handed to the caller as it is.
    Core(core::Error),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<core::Error> for Fault {
    fn from(error: core::Error) -> Self {
        Self::Core(error)
    }
}

/// What a failure means for the connection and for another attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cure {
    /// The connection is gone: another one may do.
    Reconnect,
    /// The server takes no writes: another one may.
    Elsewhere,
    /// A table changed under a prepared statement: nothing was done, and a connection that has not
    /// prepared it will do.
    Prepare,
    /// Somebody else was in the way: the same again may do.
    Repeat,
    /// Another attempt would fail alike.
    None,
}

impl Fault {
    /// What may help.
    pub(crate) fn cure(&self) -> Cure {
        match self {
            Self::Core(_) => Cure::None,
            Self::Sql(error) => cure(error),
        }
    }
}

/// What may help against a failure of the driver or the server.
pub(crate) fn cure(error: &sqlx::Error) -> Cure {
    match error {
        // A certificate that does not fit will not fit the next time.
        sqlx::Error::Io(cause) if cause.kind() == std::io::ErrorKind::InvalidData => Cure::None,
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => Cure::Reconnect,
        sqlx::Error::Database(_) => match code(error).as_deref() {
            // What PgBouncer and the server say about a startup packet: never cured by waiting.
            Some("08P01") => Cure::None,
            // Somebody migrated a table that this connection had prepared a statement for.
            Some("0A000") if words(error).contains("cached plan") => Cure::Prepare,
            // Read-only after a failover.
            Some("25006") => Cure::Elsewhere,
            // Shut down, crashed, starting.
            Some("57P01" | "57P02" | "57P03") => Cure::Reconnect,
            Some(class) if class.starts_with("08") => Cure::Reconnect,
            // The table of an embedding set that was dropped between two statements: the sets are
            // read again.
            Some("42P01") if words(error).contains("mnemon.embeddings_") => Cure::Repeat,
            // Serialisation, deadlock, lock not available, too many connections.
            Some("40001" | "40P01" | "55P03" | "53300") => Cure::Repeat,
            _ => Cure::None,
        },
        _ => Cure::None,
    }
}

/// Whether a lock or a concurrent write was in the way.
pub(crate) fn is_contention(fault: &Fault) -> bool {
    let Fault::Sql(error) = fault else { return false };
    matches!(code(error).as_deref(), Some("40001" | "40P01" | "55P03"))
}

/// The SQLSTATE, where the server said one.
pub(crate) fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code)
}

/// The server's own words; they name tables and roles, never a row or a password.
fn words(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

/// An error of the driver or the server, as the error a caller gets.
pub(crate) fn sql(doing: &'static str, error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::PoolClosed => return Error::Closed,
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => {
            return unavailable(format!("the connection to PostgreSQL was lost while {doing}"));
        }
        sqlx::Error::PoolTimedOut => {
            return unavailable(format!("no connection to PostgreSQL came free for {doing}"));
        }
        _ => {}
    }
    let Some(code) = code(&error).map(Cow::into_owned) else {
        return Error::backend(doing, error);
    };
    match code.as_str() {
        "23505" | "23P01" => Error::Conflict {
            kind: "row",
            key: error
                .as_database_error()
                .and_then(|error| error.constraint())
                .unwrap_or("of a unique index")
                .to_owned(),
            expected: None,
            actual: None,
        },
        "26000" | "42P05" => unsafe_pooler(),
        "42501" => Error::setup(
            format!("PostgreSQL refused {doing}: {}", words(&error)),
            "grant the role what `mnemon migrate up --print` lists, or log in as the owner",
        ),
        "3F000" | "42P01" | "42703" | "42883" | "42704" => Error::setup(
            format!("the database lacks something needed for {doing}: {}", words(&error)),
            "run `mnemon migrate up`, then `mnemon doctor`",
        ),
        "57014" => Error::Unavailable {
            what: format!("PostgreSQL ended {doing} because it ran too long"),
            retry_after: None,
        },
        "25006" => unavailable(format!("the server reached for {doing} is read-only")),
        // Out of disk, memory, connections; locks; shutting down.
        "53000" | "53100" | "53200" | "53300" | "40001" | "40P01" | "55P03" | "57P01" | "57P02"
        | "57P03" => unavailable(format!("PostgreSQL cannot take {doing} now: {}", words(&error))),
        class if class.starts_with("08") && class != "08P01" => {
            unavailable(format!("the connection to PostgreSQL was lost while {doing}"))
        }
        _ => Error::backend(doing, error),
    }
}

/// What to do about a pooler that hands one client's statements to another.
pub(crate) fn unsafe_pooler() -> Error {
    Error::setup(
        "a connection pooler in front of PostgreSQL mixes up prepared statements",
        "use PgBouncer 1.21 or newer with max_prepared_statements above 0, \
         or pool_mode = session, or connect to PostgreSQL directly",
    )
}

fn unavailable(what: String) -> Error {
    Error::Unavailable { what, retry_after: Some(core::limits::RETRY_PAUSE_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_asks_for_another_and_names_the_work() {
        let broken = || sqlx::Error::Io(std::io::ErrorKind::BrokenPipe.into());

        assert_eq!(cure(&broken()), Cure::Reconnect);
        let error = sql("writing a memory", broken());
        assert!(error.is_retryable());
        assert_eq!(
            error.to_string(),
            "the connection to PostgreSQL was lost while writing a memory; try again in 1000 ms"
        );
    }

    #[test]
    fn what_only_a_person_can_change_is_not_retried() {
        assert_eq!(cure(&sqlx::Error::Protocol("nonsense".into())), Cure::None);
        assert!(!unsafe_pooler().is_retryable());
        assert!(unsafe_pooler().to_string().contains("max_prepared_statements"));
    }
}
