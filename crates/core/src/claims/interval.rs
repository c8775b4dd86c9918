//! Half-open windows of valid time, and dates with no more precision than their source gave.

use chrono::{DateTime, Datelike, NaiveDate, TimeZone, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How precisely a time was given; for display only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[doc(alias = "DateGranularity")]
pub enum Granularity {
    /// A year: 2020.
    Year,
    /// A month: 2020-03.
    Month,
    /// A day: 2020-03-15.
    Day,
    /// A moment.
    Instant,
}

/// When a fact holds: `[start, end)`, open where absent.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidTime {
    /// From, inclusive.
    pub start: Option<DateTime<Utc>>,
    /// Until, exclusive.
    pub end: Option<DateTime<Utc>>,
    /// How sure the source was of them, 0 to 1.
    pub valid_time_confidence: f32,
    /// How precisely the start was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_granularity: Option<Granularity>,
    /// How precisely the end was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_granularity: Option<Granularity>,
}

impl ValidTime {
    /// A window from dates as people write them: "2020", "2020-03", "2020-03-15" or RFC 3339.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another form, or an end that is not after the start.
    pub fn parse(start: Option<&str>, end: Option<&str>) -> Result<Self> {
        let start = start.map(|text| parse_date("valid_from", text)).transpose()?;
        let end = end.map(|text| parse_date("valid_until", text)).transpose()?;
        let window = Self {
            start: start.map(|(at, _)| at),
            end: end.map(|(at, _)| at),
            valid_time_confidence: 1.0,
            start_granularity: start.map(|(_, granularity)| granularity),
            end_granularity: end.map(|(_, granularity)| granularity),
        };
        window.check()?;
        Ok(window)
    }

    /// Checks the window.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a confidence outside 0 to 1 or an end that is not after the start.
    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.valid_time_confidence) {
            return Err(Error::invalid("valid_time_confidence", "is not between 0 and 1"));
        }
        match (self.start, self.end) {
            (Some(start), Some(end)) if start >= end => {
                Err(Error::invalid("valid_time.end", "is not after the start"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the window may decide anything: it has a start, and its source was sure enough.
    pub fn is_trusted(&self, threshold: f32) -> bool {
        self.start.is_some() && self.valid_time_confidence >= threshold
    }

    /// Whether `at` lies in `[start, end)`.
    pub fn contains(&self, at: DateTime<Utc>) -> bool {
        self.start.is_none_or(|start| start <= at) && self.end.is_none_or(|end| at < end)
    }

    /// Whether no moment lies in it: it was closed at or before its start.
    pub fn is_empty(&self) -> bool {
        matches!((self.start, self.end), (Some(start), Some(end)) if end <= start)
    }

    /// Whether no moment lies in both.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        let before = |a: &Self, b: &Self| match (a.end, b.start) {
            (Some(end), Some(start)) => end <= start,
            _ => false,
        };
        before(self, other) || before(other, self)
    }
}

/// Reads "2020", "2020-03", "2020-03-15" or RFC 3339, with the granularity it shows.
///
/// # Errors
///
/// [`Error::Invalid`] naming the field.
///
/// ```
/// use mnemon_core::claims::{Granularity, interval::parse_date};
///
/// let (at, granularity) = parse_date("valid_from", "2020-03")?;
/// assert_eq!(at.to_rfc3339(), "2020-03-01T00:00:00+00:00");
/// assert_eq!(granularity, Granularity::Month);
/// # Ok::<(), mnemon_core::Error>(())
/// ```
pub fn parse_date(field: &'static str, text: &str) -> Result<(DateTime<Utc>, Granularity)> {
    let day = |text: &str| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    let digits = |n: usize| text.len() == n && text.is_ascii();
    let found = if digits(4) {
        day(&format!("{text}-01-01")).map(|date| (date, Granularity::Year))
    } else if digits(7) {
        day(&format!("{text}-01")).map(|date| (date, Granularity::Month))
    } else if digits(10) {
        day(text).map(|date| (date, Granularity::Day))
    } else {
        None
    };
    if let Some((date, granularity)) = found {
        let midnight = date.and_hms_opt(0, 0, 0).expect("midnight is a time of every day");
        return Ok((Utc.from_utc_datetime(&midnight), granularity));
    }
    DateTime::parse_from_rfc3339(text)
        .map(|at| (at.with_timezone(&Utc), Granularity::Instant))
        .map_err(|_| {
            Error::invalid(
                field,
                format!("is {text:?}; write 2020, 2020-03, 2020-03-15 or 2020-03-15T10:00:00Z"),
            )
        })
}

/// Writes a time with the precision it was given.
pub fn display(at: DateTime<Utc>, granularity: Option<Granularity>) -> String {
    match granularity {
        Some(Granularity::Year) => at.year().to_string(),
        Some(Granularity::Month) => at.format("%Y-%m").to_string(),
        Some(Granularity::Day) => at.format("%Y-%m-%d").to_string(),
        Some(Granularity::Instant) | None => {
            at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_touch_are_disjoint() {
        let first = ValidTime::parse(Some("2019"), Some("2020")).unwrap();
        let second = ValidTime::parse(Some("2020"), None).unwrap();

        assert!(first.is_disjoint(&second));
        assert!(!first.contains(second.start.unwrap()));
    }

    #[test]
    fn an_open_window_overlaps_what_comes_later() {
        let open = ValidTime::parse(Some("2019"), None).unwrap();
        let later = ValidTime::parse(Some("2020"), None).unwrap();

        assert!(!open.is_disjoint(&later));
    }

    #[test]
    fn no_precision_is_made_up() {
        let (at, granularity) = parse_date("f", "2020").unwrap();

        assert_eq!(display(at, Some(granularity)), "2020");
        assert!(parse_date("f", "20200").is_err());
        assert!(parse_date("f", "2020-13").is_err());
    }
}
