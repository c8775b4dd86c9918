//! Whose state it is: a thread, and what lists tell of it.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::put::CheckpointId;
use super::read::CheckpointInfo;
use crate::error::{Error, Result};
use crate::limits;
use crate::page::Cursor;

/// Which thread: an id, and a namespace within it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thread {
    /// The caller's id.
    pub thread_id: String,
    /// A part of the thread, such as a subgraph; `''` is the thread itself.
    #[serde(default)]
    pub namespace: String,
}

impl Thread {
    /// The thread itself.
    pub fn new(thread_id: impl Into<String>) -> Self {
        Self { thread_id: thread_id.into(), namespace: String::new() }
    }

    /// The same thread in a namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Checks both parts.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        check_id(&self.thread_id)?;
        limits::label("namespace", &self.namespace, limits::THREAD_BYTES)
    }
}

/// Checks a thread's id.
///
/// # Errors
///
/// [`Error::Invalid`] naming the field and the limit.
pub fn check_id(thread_id: &str) -> Result<()> {
    limits::name("thread_id", thread_id, limits::THREAD_BYTES)
}

/// Checks how long a thread is kept without activity.
///
/// # Errors
///
/// [`Error::Invalid`] naming the limits.
pub fn check_ttl(ttl: Option<Duration>) -> Result<()> {
    match ttl {
        Some(ttl) if !(limits::TTL_MIN..=limits::TTL_MAX).contains(&ttl) => Err(Error::invalid(
            "ttl",
            format!(
                "is {} s; it goes from {} to {}",
                ttl.as_secs(),
                limits::TTL_MIN.as_secs(),
                limits::TTL_MAX.as_secs()
            ),
        )),
        _ => Ok(()),
    }
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.thread_id),
            namespace => write!(f, "{}/{namespace}", self.thread_id),
        }
    }
}

/// A thread in a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ThreadInfo {
    /// Which.
    pub thread: Thread,
    /// Whose it is; `None`: every user's of the tenant.
    pub user: Option<String>,
    /// Its newest checkpoint.
    pub head: CheckpointId,
    /// The greatest version it gave out.
    pub version: i64,
    /// The last activity, to the minute.
    pub active_at: DateTime<Utc>,
    /// When it was started.
    pub created_at: DateTime<Utc>,
    /// When it is removed unless something happens to it.
    pub expires_at: Option<DateTime<Utc>>,
    /// The lock whose fence its head was written under: writers without it are refused.
    pub fenced_by: Option<String>,
}

/// Which threads to list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThreadFilter {
    /// Those of this namespace only.
    pub namespace: Option<String>,
}

impl ThreadFilter {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        match &self.namespace {
            Some(namespace) => limits::label("namespace", namespace, limits::THREAD_BYTES),
            None => Ok(()),
        }
    }
}

/// A place in a list: a thread, and a number within the order of that list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The thread.
    pub thread: Thread,
    /// A version, or microseconds.
    pub number: i64,
}

impl Place {
    /// Where a checkpoint stands.
    pub fn of_checkpoint(info: &CheckpointInfo) -> Self {
        Self { thread: info.thread.clone(), number: info.version }
    }

    /// The place that a cursor of a list holds.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a cursor of another list or garbage.
    pub fn of(cursor: &Cursor, list: &str) -> Result<Self> {
        let [number, length, names] = cursor.parts::<3>(list)?;
        let garbage = || Error::invalid("page.cursor", format!("holds no place of {list}"));
        let length: usize = length.parse().map_err(|_| garbage())?;
        let (thread_id, namespace) = names.split_at_checked(length).ok_or_else(garbage)?;
        let thread = Thread { thread_id: thread_id.to_owned(), namespace: namespace.to_owned() };
        Ok(Self { thread, number: number.parse().map_err(|_| garbage())? })
    }

    /// The place as a cursor of a list.
    pub fn cursor(&self, list: &str) -> Cursor {
        let Thread { thread_id, namespace } = &self.thread;
        let names = format!("{thread_id}{namespace}");
        Cursor::of(list, &[&self.number.to_string(), &thread_id.len().to_string(), &names])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_cursor_whatever_the_names_hold() {
        for (thread_id, namespace) in [("t", ""), ("a:b", ":c:"), ("ü", "7:7:x"), ("1", "2")] {
            let place = Place { thread: Thread::new(thread_id).namespace(namespace), number: -7 };

            assert_eq!(Place::of(&place.cursor("l"), "l").unwrap(), place);
        }
        for garbage in ["l:1:9:t", "l:x:1:t", "l:1:1", "m:1:1:t", "l:1:1:ü"] {
            assert!(Place::of(&garbage.parse().unwrap(), "l").is_err(), "{garbage}");
        }
    }
}
