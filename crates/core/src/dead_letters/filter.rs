//! Which dead letters a call is about.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::letter::{CURSOR, LetterState, check_optional};
use crate::error::{Error, Result};
use crate::limits;
use crate::page::Page;

/// Which items; every part that is there must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LetterFilter {
    /// Of this queue.
    #[doc(alias = "job_id")]
    pub queue: Option<String>,
    /// Failed last for this cause, exactly.
    pub error_signature: Option<String>,
    /// In this state now.
    pub state: Option<LetterState>,
    /// With at least so many attempts.
    #[doc(alias = "min_retry_count")]
    pub min_attempts: Option<u32>,
    /// With at most so many attempts.
    #[doc(alias = "max_retry_count")]
    pub max_attempts: Option<u32>,
    /// First buried then or later.
    pub after: Option<DateTime<Utc>>,
    /// First buried then or earlier.
    pub before: Option<DateTime<Utc>>,
}

impl LetterFilter {
    /// Those of a queue.
    pub fn queue(queue: impl Into<String>) -> Self {
        Self { queue: Some(queue.into()), ..Self::default() }
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        check_optional(self.queue.as_deref())?;
        let signature = self.error_signature.as_deref().unwrap_or_default();
        limits::label("error_signature", signature, limits::ERROR_BYTES)
    }
}

/// What to make ready.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Of these items.
    pub filter: LetterFilter,
    /// A person has looked: those that wait for that, and those that were not to be tried again,
    /// too. Their marks are taken off.
    pub reviewed: bool,
}

/// What to remove.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prune {
    /// Of these items.
    #[serde(default)]
    pub filter: LetterFilter,
    /// First buried at least so long ago.
    pub older_than: Duration,
    /// Only count them.
    #[serde(default)]
    pub dry_run: bool,
}

impl Prune {
    /// Everything that was first buried so long ago.
    pub fn older_than(older_than: Duration) -> Self {
        Self { filter: LetterFilter::default(), older_than, dry_run: false }
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// As [`LetterFilter::check`]; [`Error::Invalid`] for an age over [`limits::AGE_MAX`].
    pub fn check(&self) -> Result<()> {
        self.filter.check()?;
        if self.older_than > limits::AGE_MAX {
            let limit = limits::AGE_MAX;
            return Err(Error::invalid("older_than", format!("is over the limit of {limit:?}")));
        }
        Ok(())
    }
}

/// The queue and id after which a page begins: of one queue, or of all.
///
/// # Errors
///
/// [`Error::Invalid`] as [`LetterFilter::check`], for a limit out of range or a foreign cursor.
pub fn after(filter: &LetterFilter, page: &Page) -> Result<(String, String)> {
    filter.check()?;
    page.check()?;
    let queue = filter.queue.as_deref();
    let Some(cursor) = &page.cursor else {
        return Ok((queue.unwrap_or_default().to_owned(), String::new()));
    };
    let [length, names] = cursor.parts::<2>(CURSOR)?;
    let place = || {
        let (queue, rest) = names.split_at_checked(length.parse().ok()?)?;
        Some((queue.to_owned(), rest.strip_prefix(':')?.to_owned()))
    };
    place()
        .filter(|(of, _)| queue.is_none_or(|queue| queue == of))
        .ok_or_else(|| Error::invalid("page.cursor", "is not of this list"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::letter::DeadLetter;
    use super::*;

    #[test]
    fn a_page_goes_on_after_names_that_hold_colons() {
        let letter = DeadLetter {
            queue: "mail:out".into(),
            item_id: "a:1".into(),
            state: LetterState::Ready,
            item: Value::Null,
            metadata: Value::Null,
            error: String::new(),
            error_signature: String::new(),
            attempts: 1,
            reprocess_eligible: true,
            manual_review_required: false,
            user: None,
            agent: None,
            buried_at: DateTime::UNIX_EPOCH,
            visible_at: DateTime::UNIX_EPOCH,
        };
        let (all, queue) = (LetterFilter::default(), LetterFilter::queue("mail:out"));

        let page = Page { cursor: Some(letter.cursor()), ..Page::default() };

        assert_eq!(after(&all, &page).unwrap(), ("mail:out".into(), "a:1".into()));
        assert_eq!(after(&queue, &page).unwrap(), ("mail:out".into(), "a:1".into()));
        assert!(after(&LetterFilter::queue("mail"), &page).is_err());
    }

    #[test]
    fn a_cursor_that_names_no_place_is_refused() {
        for names in ["9:a:b", "1:é:b", "x:a:b", "1:ab"] {
            let cursor = format!("{CURSOR}:{names}").parse().unwrap();

            let page = Page { cursor: Some(cursor), ..Page::default() };
            assert!(after(&LetterFilter::default(), &page).is_err(), "{names}");
        }
    }
}
