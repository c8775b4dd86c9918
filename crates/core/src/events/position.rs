//! Where an event stands among all of its tenant, in the one order that readers follow.
//!
//! On PostgreSQL the order is (epoch, transaction, stream, version): the transaction is the
//! greater of the writer's own and that of the stream's event before it, so that a stream never
//! turns around. On SQLite commits come one after the other and a counter is enough.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::page::Cursor;

/// The list that positions belong to.
const LIST: &str = "log";
/// The same, for a reader who knows that something behind the place is gone.
const KEPT: &str = "kept";

/// A place in the log of one tenant. As text it is a [`Cursor`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Position {
    /// Stands for the tenant, so that another one's is refused.
    mark: u32,
    /// Grows when the order starts over: another cluster, a restored backup.
    pub epoch: i64,
    /// The transaction; on SQLite the event's number in the file.
    pub tx: i64,
    /// The stream.
    pub stream: String,
    /// The version in the stream.
    pub version: i64,
}

impl Position {
    /// An event's place.
    pub fn of(tenant: &str, epoch: i64, tx: i64, stream: impl Into<String>, version: i64) -> Self {
        Self { mark: mark(tenant), epoch, tx, stream: stream.into(), version }
    }

    /// The place before everything.
    pub fn start(tenant: &str) -> Self {
        Self::of(tenant, 0, 0, "", 0)
    }

    /// Reads a caller's cursor; without one it is the start.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for garbage, a cursor of another list or of another tenant.
    pub fn after(scope_tenant: &str, cursor: Option<&Cursor>) -> Result<Self> {
        let Some(cursor) = cursor else { return Ok(Self::start(scope_tenant)) };
        let position = Self::parse(cursor)?;
        if position.mark == mark(scope_tenant) {
            return Ok(position);
        }
        Err(Error::invalid("cursor", "is of another tenant"))
    }

    /// The place as what callers keep and pass back.
    pub fn cursor(&self) -> Cursor {
        Cursor::of(
            LIST,
            &[
                &format!("{:08x}", self.mark),
                &self.epoch.to_string(),
                &self.tx.to_string(),
                &self.version.to_string(),
                &self.stream,
            ],
        )
    }

    /// The place for a reader who knows that something behind it is gone: what is kept is read
    /// from here.
    pub fn kept_cursor(&self) -> Cursor {
        let text = self.cursor().to_string();
        let parts = text.strip_prefix(LIST).and_then(|rest| rest.strip_prefix(':'));
        Cursor::of(KEPT, &[parts.unwrap_or_default()])
    }

    /// Whether it lies behind what the store has handed out: the store was put back to an earlier
    /// state after the cursor was made.
    pub fn is_ahead(&self, epoch: i64, next_tx: i64) -> bool {
        (self.epoch, self.tx) > (epoch, next_tx)
    }

    fn parse(cursor: &Cursor) -> Result<Self> {
        let garbage = || Error::invalid("cursor", "is not a place in the event log");
        let [mark, epoch, tx, version, stream] =
            cursor.parts::<5>(LIST).or_else(|_| cursor.parts::<5>(KEPT)).map_err(|_| garbage())?;
        let number = |text: &str| text.parse::<i64>().ok().filter(|n| *n >= 0);
        let whole = || {
            Some(Self {
                mark: u32::from_str_radix(mark, 16).ok()?,
                epoch: number(epoch)?,
                tx: number(tx)?,
                version: number(version)?,
                stream: stream.to_owned(),
            })
        };
        whole().filter(|position| !position.stream.contains('\0')).ok_or_else(garbage)
    }
}

/// From where the log is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// Behind this place.
    pub after: Position,
    /// What is kept is meant: without a cursor, or with the one of an [`Error::Gone`].
    pub kept: bool,
}

impl Start {
    /// Reads a caller's cursor; without one it is the oldest event that is kept.
    ///
    /// # Errors
    ///
    /// As [`Position::after`].
    pub fn of(tenant: &str, cursor: Option<&Cursor>) -> Result<Self> {
        let kept = cursor.is_none_or(|cursor| cursor.parts::<5>(KEPT).is_ok());
        Ok(Self { after: Position::after(tenant, cursor)?, kept })
    }

    /// The cursor that says the same.
    pub fn cursor(&self) -> Cursor {
        if self.kept { self.after.kept_cursor() } else { self.after.cursor() }
    }

    /// Checks it against the greatest place of anything that was removed.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] when it lies before that and what is kept is not all that is meant.
    pub fn check(&self, gone: Option<&Position>) -> Result<()> {
        match gone {
            Some(gone) if !self.kept && self.after < *gone => Err(Error::Gone {
                what: format!("something of the event log behind {}", self.after),
                next: self.after.kept_cursor(),
            }),
            _ => Ok(()),
        }
    }

    /// Where reading goes on behind `next`: a reader who knows that something is gone goes on
    /// knowing it until all of that lies behind.
    pub fn then(&self, next: Position, gone: Option<&Position>) -> Cursor {
        let kept = self.kept && gone.is_some_and(|gone| next < *gone);
        Self { after: next, kept }.cursor()
    }
}

/// The error for a version of a stream that was removed.
pub fn version_gone(stream: &str, first_kept: i64, next: Cursor) -> Error {
    Error::Gone { what: format!("stream {stream} before version {first_kept}"), next }
}

/// The error for a cursor that is ahead of the log.
pub fn ahead() -> Error {
    Error::invalid(
        "cursor",
        "is ahead of the event log: the database was put back to an earlier state; \
         run `mnemon doctor --restored` once, then read from it again",
    )
}

/// Four bytes that tell tenants apart without naming them.
fn mark(tenant: &str) -> u32 {
    let hash = blake3::hash(tenant.as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Which of `of` parts a name falls into: the same on every machine, for ever.
pub fn part_of(name: &str, of: u32) -> u32 {
    let hash = blake3::hash(name.as_bytes());
    let [_, _, _, _, a, b, c, d, ..] = *hash.as_bytes();
    u32::from_be_bytes([a, b, c, d]) % of.max(1)
}

/// What processes tell each other of a tenant: four bytes that do not name it. Two tenants with the
/// same hint wake each other's waiters for nothing.
pub fn hint_of(tenant: &str) -> u32 {
    mark(tenant)
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cursor().fmt(f)
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(&text.parse()?)
    }
}

impl TryFrom<String> for Position {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Position> for String {
    fn from(position: Position) -> Self {
        position.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_before_what_is_gone_is_refused_unless_its_reader_knows() {
        let place = |tx| Position::of("acme", 1, tx, "s", 1);
        let strict = Start::of("acme", Some(&place(3).cursor())).unwrap();

        let Err(Error::Gone { next, .. }) = strict.check(Some(&place(5))) else { panic!() };
        let knowing = Start::of("acme", Some(&next)).unwrap();
        assert_eq!((&knowing.after, knowing.kept), (&place(3), true));
        assert!(knowing.check(Some(&place(5))).is_ok());
        assert_eq!(knowing.then(place(4), Some(&place(5))), place(4).kept_cursor());
        assert_eq!(knowing.then(place(5), Some(&place(5))), place(5).cursor());
        assert!(Start::of("globex", Some(&next)).is_err());
        assert!(Start::of("acme", None).unwrap().kept);
    }

    #[test]
    fn a_place_survives_being_written_down() {
        for stream in ["", "s", "a:b:c", "\u{1f600}"] {
            let place = Position::of("acme", 3, 77, stream, 9);

            assert_eq!(Position::after("acme", Some(&place.cursor())).unwrap(), place);
            let json = serde_json::to_string(&place).unwrap();
            assert_eq!(serde_json::from_str::<Position>(&json).unwrap(), place);
        }
    }

    #[test]
    fn another_tenants_place_and_garbage_are_refused() {
        let place = Position::of("acme", 1, 1, "s", 1).cursor();
        let own = place.to_string();

        let refused = Position::after("globex", Some(&place)).unwrap_err();
        assert_eq!(refused.to_string(), "cursor: is of another tenant");
        for text in ["log", "log:", "log:1:2:3", "events:1", "x", &own.replace("log:", "log:zz")] {
            assert!(Position::after("acme", Some(&text.parse().unwrap())).is_err(), "{text}");
        }
        let negative = own.replacen(":1:1:1:", ":1:-1:1:", 1);
        assert!(Position::after("acme", Some(&negative.parse().unwrap())).is_err());
    }

    #[test]
    fn the_order_is_epoch_transaction_stream_version() {
        let at = |epoch, tx, stream: &str, version| Position::of("t", epoch, tx, stream, version);

        let sorted = [
            at(0, 9, "z", 9),
            at(1, 2, "a", 7),
            at(1, 2, "a", 8),
            at(1, 2, "b", 1),
            at(1, 3, "a", 1),
        ];
        assert!(sorted.is_sorted());
    }

    #[test]
    fn parts_stay_what_they_are() {
        // Written down: a consumer's partitions must not move with a release.
        let parts: Vec<u32> = ["a", "b", "orders-7"].iter().map(|name| part_of(name, 16)).collect();

        assert!(parts.iter().all(|part| *part < 16));
        assert_eq!(part_of("a", 1), 0);
        assert_eq!(part_of("a", 0), 0);
    }
}
