//! Exit codes, stable: scripts rely on them.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed: the database, the disk, a check of `doctor`, a task of `upkeep` |
//! | 2 | the input cannot be accepted: usage, a value, an incomplete scope |
//! | 3 | not found in this scope |
//! | 4 | in the way of something: exists already, changed, held, fenced, step reused |
//! | 5 | the database cannot be reached now; trying again may help |
//! | 6 | the installation must be changed first: setup, schema, model, keys |
//! | 7 | what was read is damaged |

use mnemon::Error;

/// The table for people, shown by `mnemon --help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  failed (also: doctor found an error, an upkeep task failed)
  2  the input cannot be accepted (usage, a value, an incomplete scope)
  3  not found in this scope
  4  in the way of something: exists already, changed, held, fenced, step reused
  5  the database cannot be reached now; trying again may help
  6  the installation must be changed first (setup, schema, model, keys)
  7  what was read is damaged";

pub(crate) const FAILED: u8 = 1;
pub(crate) const INVALID: u8 = 2;

/// The exit code of an error.
pub(crate) fn code(error: &Error) -> u8 {
    match error {
        Error::Invalid { .. } | Error::ScopeRequired { .. } => INVALID,
        Error::NotFound { .. } => 3,
        Error::AlreadyExists { .. }
        | Error::Conflict { .. }
        | Error::Held { .. }
        | Error::Fenced { .. }
        | Error::StepReused { .. }
        | Error::Gone { .. } => 4,
        Error::Unavailable { .. } => 5,
        Error::Setup { .. }
        | Error::ModelMismatch { .. }
        | Error::LanguageMismatch { .. }
        | Error::Sealed { .. } => 6,
        Error::Corrupt { .. } => 7,
        _ => FAILED,
    }
}
