//! Keyset pages: every list is read in bounded pieces, and a cursor belongs to its query.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits;

/// Which piece of a list to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// Rows wanted, 1 to [`limits::PAGE_MAX`].
    pub limit: u32,
    /// Where the last page ended; `None` starts at the beginning.
    pub cursor: Option<Cursor>,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: limits::PAGE_DEFAULT, cursor: None }
    }
}

impl Page {
    /// A first page of `limit` rows.
    pub fn first(limit: u32) -> Self {
        Self { limit, cursor: None }
    }

    /// Checks the limit.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] unless the limit is 1 to [`limits::PAGE_MAX`].
    pub fn check(&self) -> Result<()> {
        if (1..=limits::PAGE_MAX).contains(&self.limit) {
            return Ok(());
        }
        Err(Error::invalid(
            "page.limit",
            format!("is {}; it goes from 1 to {}", self.limit, limits::PAGE_MAX),
        ))
    }
}

/// One piece of a list.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Paged<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next piece starts; `None` at the end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<Cursor>,
}

impl<T> Paged<T> {
    /// Cuts one row more than was asked for into a page and the cursor behind it.
    ///
    /// Stores read `limit + 1` rows; `place` gives a row's place in the order.
    pub fn cut(mut rows: Vec<T>, limit: u32, place: impl Fn(&T) -> Cursor) -> Self {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(place) } else { None };
        Self { items: rows, next }
    }
}

/// A place in one list. Opaque to callers: pass it back to the call it came from.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(String);

impl Cursor {
    /// A place in the list `query`, written as the parts of its key.
    pub fn of(query: &str, parts: &[&str]) -> Self {
        Self(format!("{query}:{}", parts.join(":")))
    }

    /// The parts of the place, if the cursor belongs to the list `query` and has `N` of them.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a cursor of another list or garbage.
    pub fn parts<const N: usize>(&self, query: &str) -> Result<[&str; N]> {
        let foreign = || Error::invalid("page.cursor", format!("is not a cursor of {query}"));
        if self.0.len() > limits::CURSOR_BYTES {
            return Err(foreign());
        }
        let rest = self.0.strip_prefix(query).and_then(|r| r.strip_prefix(':'));
        let parts: Vec<&str> = rest.ok_or_else(foreign)?.splitn(N, ':').collect();
        parts.try_into().map_err(|_| foreign())
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        limits::name("page.cursor", text, limits::CURSOR_BYTES)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_refused_by_another_list() {
        let cursor = Cursor::of("memories", &["7"]);

        assert_eq!(cursor.parts::<1>("memories").unwrap(), ["7"]);
        assert!(cursor.parts::<1>("events").is_err());
        assert!(cursor.parts::<2>("memories").is_err());
    }

    #[test]
    fn a_page_ends_without_a_cursor_when_nothing_follows() {
        let place = |n: &i32| Cursor::of("n", &[&n.to_string()]);

        assert_eq!(Paged::cut(vec![1, 2], 2, place).next, None);
        assert_eq!(Paged::cut(vec![1, 2, 3], 2, place).next, Some(place(&2)));
    }
}
