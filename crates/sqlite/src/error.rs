//! From what SQLite says to what a caller can do about it.

use std::sync::Arc;
use std::time::Duration;

use mnemon_core::{Error, limits};
use rusqlite::ErrorCode;

/// How soon a call that found the file busy may be tried again.
const BUSY_RETRY: Duration = Duration::from_millis(100);

/// What a function over a connection answers.
pub(crate) type Done<T> = Result<T, Fault>;

/// Why such a function stopped.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The operation was refused: the public error is final.
    Refused(Error),
    /// SQLite failed.
    Sqlite(Arc<rusqlite::Error>),
    /// The operation panicked.
    Panicked(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

/// A panic of an operation, as the source of a public error.
#[derive(Debug, thiserror::Error)]
#[error("it panicked: {0}")]
struct Panicked(String);

impl Fault {
    /// SQLite's code, if SQLite failed.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sqlite(error) => error.sqlite_error_code(),
            Self::Refused(_) | Self::Panicked(_) => None,
        }
    }

    /// Whether another process's lock ended it.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    /// The same fault for another waiting call.
    pub(crate) fn shared(&self) -> Self {
        match self {
            Self::Sqlite(error) => Self::Sqlite(Arc::clone(error)),
            Self::Refused(error) => {
                Self::Refused(Error::Unavailable { what: error.to_string(), retry_after: None })
            }
            Self::Panicked(message) => Self::Panicked(message.clone()),
        }
    }

    /// Whether the connection may be damaged and should be opened anew.
    pub(crate) fn taints(&self) -> bool {
        matches!(
            self.code(),
            Some(
                ErrorCode::SystemIoFailure
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::CannotOpen
                    | ErrorCode::OutOfMemory
                    | ErrorCode::ReadOnly
                    | ErrorCode::FileLockingProtocolFailed
                    | ErrorCode::ApiMisuse
                    | ErrorCode::InternalMalfunction
            )
        )
    }

    /// The public error. `doing` says what was being done, `place` which file.
    pub(crate) fn publish(self, doing: &'static str, place: &str) -> Error {
        let code = self.code();
        match self {
            Self::Refused(error) => error,
            Self::Panicked(message) => Error::backend(doing, Panicked(message)),
            Self::Sqlite(source) => match code {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Unavailable {
                    what: format!(
                        "{place} is busy: another process has been writing for {} s",
                        limits::BUSY_TIMEOUT.as_secs()
                    ),
                    retry_after: Some(BUSY_RETRY),
                },
                Some(ErrorCode::DiskFull) => Error::setup(
                    format!("the disk or the size limit of {place} is full; nothing was written"),
                    "free space or raise the limit, then try again",
                ),
                Some(ErrorCode::ReadOnly) => read_only(place),
                Some(ErrorCode::CannotOpen) => Error::setup(
                    format!("{place} cannot be opened"),
                    "check that its folder exists and that this user may write there",
                ),
                Some(ErrorCode::PermissionDenied) => Error::setup(
                    format!("{place} may not be accessed"),
                    "give this user the right to read and write it",
                ),
                Some(ErrorCode::NotADatabase) => {
                    Error::corrupt(place, "it is not a SQLite database")
                }
                Some(ErrorCode::DatabaseCorrupt) => Error::corrupt(place, source.to_string()),
                _ => Error::backend(doing, source),
            },
        }
    }
}

/// A file that cannot be written.
pub(crate) fn read_only(place: &str) -> Error {
    Error::setup(
        format!("{place} is read-only"),
        "give this user the right to write the file and its folder",
    )
}
