//! The oldest months of the log leave it: what an archive holds of an event, which months there
//! are, and whether what comes back fits.
//!
//! A month is removed only while it is exactly what was archived (its [`Extent`]). Before anything
//! goes, readers are told: a stream's first kept version rises, and the log remembers up to where
//! something is gone, so that a cursor from before it is answered with [`Error::Gone`].

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::ids::EventId;

/// A month of the log (UTC): the unit in which it is kept. As text it is `2026-01`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Month {
    /// The year.
    year: i32,
    /// 1 to 12.
    month: u32,
}

impl Month {
    /// The month of a time.
    pub fn of(time: DateTime<Utc>) -> Self {
        Self { year: time.year(), month: time.month() }
    }

    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        match self.month {
            12 => Self { year: self.year + 1, month: 1 },
            month => Self { month: month + 1, ..self },
        }
    }

    /// So many months before it.
    #[must_use]
    pub fn back(self, months: u32) -> Self {
        let count = i64::from(self.year) * 12 + i64::from(self.month) - 1 - i64::from(months);
        let year = i32::try_from(count.div_euclid(12)).unwrap_or(i32::MIN);
        Self { year, month: u32::try_from(count.rem_euclid(12)).unwrap_or(0) + 1 }
    }

    /// Its first moment.
    pub fn start(self) -> DateTime<Utc> {
        let first = NaiveDate::from_ymd_opt(self.year, self.month, 1).unwrap_or(NaiveDate::MIN);
        first.and_time(chrono::NaiveTime::MIN).and_utc()
    }

    /// The first moment after it.
    pub fn end(self) -> DateTime<Utc> {
        self.next().start()
    }

    /// Year and number, from 1.
    pub fn parts(self) -> (i32, u32) {
        (self.year, self.month)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once('-').and_then(|(year, month)| {
            let month = Self { year: year.parse().ok()?, month: month.parse().ok()? };
            NaiveDate::from_ymd_opt(month.year, month.month, 1)?;
            Some(month)
        });
        parsed.ok_or_else(|| Error::invalid("month", "is not like 2026-01"))
    }
}

impl TryFrom<String> for Month {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Month> for String {
    fn from(month: Month) -> Self {
        month.to_string()
    }
}

/// What a month holds, to be told from what it held when it was archived: nothing of it changes,
/// and whatever is added has a greater number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Extent {
    /// Events.
    pub events: u64,
    /// The greatest transaction (SQLite: number) of any.
    pub newest: i64,
}

/// A month that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MonthOfLog {
    /// Which.
    pub month: Month,
    /// What it holds.
    pub extent: Extent,
    /// Its archive was accepted before and its removal only has to go on: what is there is a rest.
    pub leaving: bool,
}

/// An event as an archive keeps it: everything the log knows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archived {
    /// Whose.
    pub tenant: String,
    /// Its stream.
    pub stream: String,
    /// Its place there.
    pub version: i64,
    /// Its id.
    pub id: EventId,
    /// What happened.
    pub kind: String,
    /// What it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub correlation_id: Option<String>,
    /// The agent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent: Option<String>,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<String>,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<String>,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// When it was written.
    pub recorded_at: DateTime<Utc>,
    /// Its epoch.
    pub epoch: i64,
    /// Its transaction; on SQLite its number.
    pub tx: i64,
    /// The details.
    pub data: Value,
}

/// Behind which event of a month reading goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArchivePlace {
    /// Whose.
    pub tenant: String,
    /// Which stream.
    pub stream: String,
    /// Which version.
    pub version: i64,
}

impl Archived {
    /// Its place in its month.
    pub fn place(&self) -> ArchivePlace {
        ArchivePlace {
            tenant: self.tenant.clone(),
            stream: self.stream.clone(),
            version: self.version,
        }
    }
}

/// What one call of [`Archives::retire`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retired {
    /// Events that went.
    pub events: u64,
    /// Whether it must be called again.
    pub more: bool,
}

/// Where a stream stands, for what is put back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Its newest version; 0: nothing was ever written.
    pub version: i64,
    /// The first that is kept.
    pub first_kept: i64,
}

/// What an event that comes back is to its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fit {
    /// Before what is kept: it returns to its old place.
    Before,
    /// Within what is kept: it must be there already.
    Kept,
    /// It follows the newest one, as in a log that never had it.
    After,
}

/// Decides what the events of one stream that come back are, in the order of their versions.
/// `same_log`: they were archived from this very log.
///
/// # Errors
///
/// [`Error::Invalid`] for a version that leaves a gap behind the newest, and for events of another
/// log before what this one keeps of a stream of that name.
pub fn fit(stream: &str, stands: Standing, versions: &[i64], same_log: bool) -> Result<Vec<Fit>> {
    let mut head = stands.version;
    let mut fits = Vec::with_capacity(versions.len());
    for version in versions {
        let one = if *version > head {
            if head > 0 && *version != head + 1 {
                let reason = format!("stream {stream} stands at {head}: {version} leaves a gap");
                return Err(Error::invalid("archive", reason));
            }
            head = *version;
            Fit::After
        } else if *version < stands.first_kept {
            if !same_log {
                let reason = format!("stream {stream} is here already, with events of another log");
                return Err(Error::invalid("archive", reason));
            }
            Fit::Before
        } else {
            Fit::Kept
        };
        fits.push(one);
    }
    Ok(fits)
}

/// The months of the log, for whoever runs the installation: all tenants' together.
///
/// # Contract
///
/// - Nothing is removed that is not exactly what the caller says it archived.
/// - Readers are told before anything is gone; a removal that is interrupted goes on.
/// - What is put back has its stream, version, id and times; where it comes from this log, also
///   its place in the order of all events.
#[async_trait]
pub trait Archives: Send + Sync {
    /// The name of this log, given when its schema was made.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] and [`Error::Backend`] only.
    async fn log_id(&self) -> Result<Uuid>;

    /// The months that ended at or before a time, and by the store's clock, and that hold
    /// something; oldest first.
    ///
    /// # Errors
    ///
    /// As [`Archives::log_id`].
    async fn months(&self, before: DateTime<Utc>) -> Result<Vec<MonthOfLog>>;

    /// Reads a month after a place, by tenant, stream and version.
    ///
    /// # Errors
    ///
    /// As [`Archives::log_id`].
    async fn read_month(
        &self,
        month: Month,
        after: Option<&ArchivePlace>,
        limit: u32,
    ) -> Result<Vec<Archived>>;

    /// Removes a month that ended and that holds exactly this, or goes on removing it. Called
    /// until it says that there is no more.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when it holds something else: nothing was removed; archive it anew.
    /// [`Error::Invalid`] for a month that has not ended. [`Error::Unavailable`] when readers or
    /// writers did not let go of it in time. [`Error::Setup`] when the role may not.
    async fn retire(&self, month: Month, extent: Extent) -> Result<Retired>;

    /// Puts archived events back, at most [`crate::limits::IMPORT_BATCH`] at once; how many were
    /// not there.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for too many, and for events that do not fit ([`fit`]);
    /// [`Error::AlreadyExists`] where another event has the place of one.
    async fn put_back(&self, log: Uuid, events: Vec<Archived>) -> Result<u64>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_each_other_over_the_year() {
        let december: Month = "2026-12".parse().unwrap();

        assert_eq!(december.next().to_string(), "2027-01");
        assert_eq!(december.next().back(14).to_string(), "2025-11");
        assert_eq!(december.end(), december.next().start());
        assert_eq!(Month::of(december.start()), december);
        assert!("2026-13".parse::<Month>().is_err());
        assert!("soon".parse::<Month>().is_err());
    }

    #[test]
    fn what_comes_back_fits_or_is_refused() {
        let stands = Standing { version: 9, first_kept: 5 };

        let fits = fit("s", stands, &[3, 4, 5, 9, 10, 11], true).unwrap();
        assert_eq!(fits, [Fit::Before, Fit::Before, Fit::Kept, Fit::Kept, Fit::After, Fit::After]);
        assert!(fit("s", stands, &[11], true).is_err());
        assert!(fit("s", stands, &[4], false).is_err());
        let new = Standing { version: 0, first_kept: 1 };
        assert_eq!(fit("s", new, &[7, 8], false).unwrap(), [Fit::After, Fit::After]);
    }
}
