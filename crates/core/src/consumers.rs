//! Durable consumers: a group of processes shares the log by partitions of its streams, remembers
//! how far it came, and buries what keeps failing.
//!
//! A partition is held under a lease ([`part_key`]); every step forward carries its guard, so that
//! a process that lost its lease moves nothing. What is handed out and not committed is handed out
//! again: at least once.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::dead_letters::Burial;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::ids::EventId;
use crate::limits;
use crate::locks::{self, Guard};
use crate::page::Cursor;
use crate::scope::Scope;

/// How far a group came in a partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// The partition.
    pub part: u32,
    /// Behind what was handled; `None`: nothing yet.
    pub place: Option<Cursor>,
    /// The event that failed last and was not handled since.
    pub failing: Option<EventId>,
    /// How often it failed.
    pub failures: u32,
}

/// An event that could not be handled.
#[derive(Clone, PartialEq, Debug)]
pub struct Failure {
    /// The group.
    pub group: String,
    /// The partition.
    pub part: u32,
    /// The event.
    pub event: Event,
    /// Why it failed this time.
    pub error: String,
    /// The failure that buries it, counted from 1.
    pub bury_at: u32,
}

/// What became of a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failed {
    /// How often the event has failed.
    pub failures: u32,
    /// Whether it was buried, and the partition moved on.
    pub buried: bool,
}

impl Failure {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        check_group(&self.group)?;
        if self.bury_at == 0 {
            return Err(Error::invalid("bury_at", "is 0; the first failure is 1"));
        }
        limits::label("error", &self.error, limits::ERROR_BYTES)
    }

    /// The failures there are with this one, when the last one was of `failing`.
    pub fn count(&self, failing: Option<EventId>, failures: u32) -> Failed {
        let failures = if failing == Some(self.event.id) { failures + 1 } else { 1 };
        Failed { failures, buried: failures >= self.bury_at }
    }

    /// The dead letter: the event whole, or without its data where that leaves no room.
    pub fn burial(&self) -> Burial {
        let event = &self.event;
        let item = |data: Option<&Value>| {
            json!({
                "stream": event.stream, "version": event.version, "kind": event.kind,
                "correlation_id": event.correlation_id, "user": event.user, "agent": event.agent,
                "occurred_at": event.occurred_at, "data": data,
            })
        };
        let whole = item(Some(&event.data));
        let fits = whole.to_string().len() <= limits::ITEM_BYTES;
        let item = if fits { whole } else { item(None) };
        Burial::new(queue(&self.group), event.id.to_string(), item, self.error.as_str())
    }
}

/// The queue of a group's dead letters.
pub fn queue(group: &str) -> String {
    format!("consumer.{group}")
}

/// The key of the lock under which a partition is held.
pub fn part_key(group: &str, part: u32) -> String {
    format!("events.consumer/{group}/{part}")
}

/// Which partitions a member holds: each one of them, whatever the number of members.
pub fn assigned(members: &[String], member: &str, parts: u32) -> Vec<u32> {
    let Some(at) = members.iter().position(|other| other == member) else { return Vec::new() };
    (0..parts).filter(|part| *part as usize % members.len() == at).collect()
}

/// Checks a group's name.
///
/// # Errors
///
/// [`Error::Invalid`] when blank, over [`limits::LABEL_BYTES`] or holding a NUL.
pub fn check_group(group: &str) -> Result<()> {
    limits::name("group", group, limits::LABEL_BYTES)
}

/// Checks a guard: it must be the one of the partition.
///
/// # Errors
///
/// [`Error::Invalid`] for another key.
pub fn check_guard(group: &str, part: u32, guard: &Guard) -> Result<()> {
    check_group(group)?;
    locks::check_key(&guard.key)?;
    if guard.key == part_key(group, part) {
        return Ok(());
    }
    Err(Error::invalid("guard.key", "is not the lock of the partition"))
}

/// The consumers of a store.
///
/// # Contract
///
/// - A place only moves forward, and only under the newest fence of its partition.
/// - A failure that buries moves the place and writes the dead letter in one transaction.
#[async_trait]
pub trait Consumers: Send + Sync {
    /// Gives a sign of life of a member, for `ttl`; answers everybody who gave one, by name.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]; [`Error::ScopeRequired`].
    async fn join(
        &self,
        scope: &Scope,
        group: &str,
        member: &str,
        ttl: Duration,
    ) -> Result<Vec<String>>;

    /// Takes a member out; again is a no-op.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]; [`Error::ScopeRequired`].
    async fn leave(&self, scope: &Scope, group: &str, member: &str) -> Result<()>;

    /// How far a group came, by partition; those without a row have not begun.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]; [`Error::ScopeRequired`].
    async fn progress(&self, scope: &Scope, group: &str) -> Result<Vec<Progress>>;

    /// Everything up to a place is handled. A place behind the one that stands changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a newer holder exists; [`Error::Invalid`] for a foreign cursor or
    /// another partition's guard; [`Error::ScopeRequired`].
    async fn advance(
        &self,
        scope: &Scope,
        group: &str,
        part: u32,
        to: &Cursor,
        guard: &Guard,
    ) -> Result<()>;

    /// An event could not be handled: counts it, and buries it at the last failure.
    ///
    /// # Errors
    ///
    /// As [`Consumers::advance`].
    async fn failed(&self, scope: &Scope, failure: Failure, guard: &Guard) -> Result<Failed>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_member() {
        for count in 1..20 {
            let members: Vec<String> = (0..count).map(|n| format!("m{n:02}")).collect();

            let mut all: Vec<u32> =
                members.iter().flat_map(|member| assigned(&members, member, 16)).collect();
            all.sort_unstable();

            assert_eq!(all, (0..16).collect::<Vec<_>>(), "{count} members");
        }
        assert!(assigned(&[], "m", 16).is_empty());
    }

    #[test]
    fn a_guard_of_another_partition_is_refused() {
        let guard = Guard { key: part_key("g", 3), fence: crate::Fence(1) };

        assert!(check_guard("g", 3, &guard).is_ok());
        assert!(check_guard("g", 4, &guard).is_err());
        assert!(check_guard("h", 3, &guard).is_err());
    }
}
