//! One public error, with variants by what a caller can do about them.
//!
//! | variant | what to do | retryable |
//! |---|---|---|
//! | [`Error::NotFound`] | nothing by that name in this scope | no |
//! | [`Error::AlreadyExists`] | choose another key, or read the row that is there | no |
//! | [`Error::Conflict`] | reload, decide again, retry | yes |
//! | [`Error::Fenced`] | stop: a newer holder exists | no |
//! | [`Error::Held`] | wait until the time given | yes |
//! | [`Error::Gone`] | go on from the cursor it carries, knowing what is missing | no |
//! | [`Error::StepReused`] | use a new step id, or commit leniently | no |
//! | [`Error::Invalid`] | correct the field named | no |
//! | [`Error::ScopeRequired`] | say who is asking | no |
//! | [`Error::ModelMismatch`] | open with the registered model, or re-embed | no |
//! | [`Error::LanguageMismatch`] | open without a language or with its own, or change it | no |
//! | [`Error::Setup`] | change the installation as the message says | no |
//! | [`Error::Unavailable`] | retry after the time given | yes |
//! | [`Error::Closed`] | open again | no |
//! | [`Error::Sealed`] | open with the key it names, or write the thread anew | no |
//! | [`Error::Corrupt`] | restore from a backup; report it | no |
//! | [`Error::Backend`] | read the source chain | no |

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::memories::ModelSignature;
use crate::memories::text::Language;
use crate::scope::Facet;

/// The result of every Mnemon call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why a call was refused or failed; see the [module](self) for the table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing by that name is visible in this scope; another scope's rows answer the same.
    #[error("no {kind} named {key}")]
    NotFound {
        /// What was looked for, as a noun: `memory`.
        kind: &'static str,
        /// The name it was looked for by.
        key: String,
    },
    /// The key is taken by something else.
    #[error("{kind} {key} already exists")]
    AlreadyExists {
        /// What exists.
        kind: &'static str,
        /// Its name.
        key: String,
    },
    /// Somebody else wrote first; reload and decide again.
    #[error("{kind} {key} changed{}", versions(*.expected, *.actual))]
    Conflict {
        /// What changed.
        kind: &'static str,
        /// Its name.
        key: String,
        /// The version the caller expected; `None` where versions do not apply.
        expected: Option<i64>,
        /// The version found, where known.
        actual: Option<i64>,
    },
    /// A newer holder of the lock exists; nothing was written.
    #[error("a newer holder of {key} exists")]
    Fenced {
        /// The lock's key.
        key: String,
    },
    /// Somebody holds the key until the time given.
    #[error("{key} is held until {until}")]
    Held {
        /// The lock's key.
        key: String,
        /// When the lease ends if it is not renewed.
        until: DateTime<Utc>,
    },
    /// What is asked for was removed by retention: nothing of it is skipped in silence.
    #[error("{what} is gone: retention removed it; what is kept begins later")]
    Gone {
        /// What is gone, with its bounds: `stream job-7 before version 500`.
        what: String,
        /// Reading from here answers what is kept.
        next: crate::page::Cursor,
    },
    /// A strict step's id was used before with another payload; nothing was written.
    #[error("step {id} was committed before with another payload")]
    StepReused {
        /// The step's id.
        id: String,
    },
    /// The input cannot be accepted; nothing was written.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field at fault.
        field: Cow<'static, str>,
        /// What is wrong with it, and the limit where there is one.
        reason: String,
    },
    /// The facet's key is incomplete: the call fails closed.
    #[error("{facet} needs a scope with {missing}")]
    ScopeRequired {
        /// The facet that was called.
        facet: Facet,
        /// The missing or blank part: `tenant`, `user`, `session` or `agent`.
        missing: &'static str,
    },
    /// The database holds another model's embeddings.
    #[error(
        "this database is registered for model {registered}, not {offered}; \
         open it with the registered model or re-embed"
    )]
    ModelMismatch {
        /// What the database was registered with.
        registered: ModelSignature,
        /// What the caller offered.
        offered: ModelSignature,
    },
    /// The words of the database are cut in another language.
    #[error(
        "the memories of this database are in {registered}, not {offered}; open it without a \
         language, or change its language"
    )]
    LanguageMismatch {
        /// What the database keeps to.
        registered: Language,
        /// What the caller offered.
        offered: Language,
    },
    /// The installation must be changed before this can work.
    #[error("{problem}; {fix}")]
    Setup {
        /// What is wrong, naming the thing.
        problem: String,
        /// What to change.
        fix: String,
    },
    /// The database cannot be reached now.
    #[error("{what}{}", after(*.retry_after))]
    Unavailable {
        /// What could not be reached, and how long it was tried.
        what: String,
        /// How long to wait before trying again; `None` when nothing is known.
        retry_after: Option<Duration>,
    },
    /// The handle was closed.
    #[error("this handle was closed")]
    Closed,
    /// What is encrypted cannot be opened with the keys at hand, or what should be encrypted is not.
    #[error("thread {thread}: {reason}")]
    Sealed {
        /// The thread.
        thread: String,
        /// The id of the key, where one is named.
        key: Option<String>,
        /// What is wrong with it, naming the key.
        reason: String,
    },
    /// What was read cannot be what was written.
    #[error("{what} is corrupt: {reason}")]
    Corrupt {
        /// What is corrupt: a file, a row's name.
        what: String,
        /// What does not fit.
        reason: String,
    },
    /// The database failed in a way the caller cannot act on.
    #[error("the database failed while {doing}")]
    Backend {
        /// What was being done: `writing a memory`.
        doing: Cow<'static, str>,
        /// The cause.
        #[source]
        source: Source,
    },
}

impl Error {
    /// [`Error::NotFound`] for a thing and its name.
    pub fn not_found(kind: &'static str, key: impl std::fmt::Display) -> Self {
        Self::NotFound { kind, key: key.to_string() }
    }

    /// [`Error::Invalid`] for a field and what is wrong with it.
    pub fn invalid(field: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    /// [`Error::Setup`] from what is wrong and what to change.
    pub fn setup(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Setup { problem: problem.into(), fix: fix.into() }
    }

    /// [`Error::Corrupt`] from what is corrupt and why.
    pub fn corrupt(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.into() }
    }

    /// [`Error::Backend`] from what was being done and its cause.
    pub fn backend(doing: impl Into<Cow<'static, str>>, source: impl Into<Source>) -> Self {
        Self::Backend { doing: doing.into(), source: source.into() }
    }

    /// Whether the same call may succeed later without a change to its arguments (for
    /// [`Error::Conflict`]: after a reload).
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Held { .. } | Self::Unavailable { .. })
    }

    /// A stable, lower-case name of the variant, for logs, metrics and `--json`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::AlreadyExists { .. } => "already_exists",
            Self::Conflict { .. } => "conflict",
            Self::Fenced { .. } => "fenced",
            Self::Held { .. } => "held",
            Self::Gone { .. } => "gone",
            Self::StepReused { .. } => "step_reused",
            Self::Invalid { .. } => "invalid",
            Self::ScopeRequired { .. } => "scope_required",
            Self::ModelMismatch { .. } => "model_mismatch",
            Self::LanguageMismatch { .. } => "language_mismatch",
            Self::Setup { .. } => "setup",
            Self::Unavailable { .. } => "unavailable",
            Self::Closed => "closed",
            Self::Sealed { .. } => "sealed",
            Self::Corrupt { .. } => "corrupt",
            Self::Backend { .. } => "backend",
        }
    }
}

/// Empty where versions do not apply: two writers raced.
fn versions(expected: Option<i64>, actual: Option<i64>) -> String {
    let said = |version: Option<i64>| version.map_or_else(|| "none".to_owned(), |v| v.to_string());
    match (expected, actual) {
        (None, None) => " at the same time".to_owned(),
        _ => format!(": expected version {}, found {}", said(expected), said(actual)),
    }
}

fn after(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |d| format!("; try again in {} ms", d.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_thing_and_leaves_out_its_source() {
        let error = Error::backend("writing a memory", std::io::Error::other("disk on fire"));

        assert_eq!(error.to_string(), "the database failed while writing a memory");
    }

    #[test]
    fn only_errors_that_time_can_cure_are_retryable() {
        let held = Error::Held { key: "k".into(), until: DateTime::UNIX_EPOCH };

        assert!(held.is_retryable());
        assert!(!Error::Closed.is_retryable());
        assert!(!Error::invalid("limit", "is 0").is_retryable());
    }
}
