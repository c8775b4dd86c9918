//! Which database a connection string names, and how to speak of it without its secrets.

use etcetera::base_strategy::{BaseStrategy as _, choose_native_strategy};
use mnemon_core::store::Backend;
use mnemon_core::{Error, Result};

use crate::config::SecretUrl;

/// The database file's name in the data folder.
const FILE: &str = "mnemon.db";

const KNOWN: &str = "known are sqlite://PATH, sqlite::memory:, postgres://…, postgresql://… and \
                     libpq's host=… dbname=…";

/// Which database a connection string names.
///
/// # Errors
///
/// [`Error::Invalid`] listing the known forms. The text is not repeated: it may hold a password.
pub(crate) fn backend_of(url: &str) -> Result<Backend> {
    let refuse = |reason: String| Err(Error::invalid("store.url", reason));
    if url.trim().is_empty() {
        return refuse(format!("is blank; {KNOWN}"));
    }
    if url.starts_with("sqlite:") {
        return Ok(Backend::Sqlite);
    }
    match url.split_once("://") {
        Some(("postgres" | "postgresql", _)) => Ok(Backend::Postgres),
        Some((scheme, _)) if is_word(scheme) => {
            refuse(format!("begins with {scheme}://, which is no database Mnemon knows; {KNOWN}"))
        }
        _ if is_keyword_form(url) => Ok(Backend::Postgres),
        _ => refuse(format!("does not begin with the scheme of a database; {KNOWN}")),
    }
}

/// `host=… dbname=…`: the first thing is a word and an equals sign.
fn is_keyword_form(url: &str) -> bool {
    url.trim_start().split_once('=').is_some_and(|(word, _)| is_word(word.trim_end()))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_+-".contains(c))
}

/// The embedded default: one file in the platform's data folder.
pub(crate) fn default_url() -> Result<SecretUrl> {
    let platform = choose_native_strategy().map_err(|_| {
        Error::setup(
            "no database is configured, and this platform names no data folder (HOME is not set)",
            "give --db or MNEMON_URL, such as sqlite://mnemon.db",
        )
    })?;
    let path = platform.data_dir().join("mnemon").join(FILE);
    // The URL's own marks in a folder's name, so that they are read back as letters.
    let path = path.display().to_string().replace('%', "%25").replace('?', "%3f");
    Ok(SecretUrl::new(format!("sqlite://{path}")))
}

/// A connection string for people: where it leads, and never a password. What is not plainly a
/// place is left out rather than guessed at.
pub(crate) fn redacted(url: &str) -> String {
    if url.starts_with("sqlite:") {
        return url.to_owned();
    }
    if let Some((scheme @ ("postgres" | "postgresql"), rest)) = url.split_once("://") {
        return format!("{scheme}://{}", place(rest).unwrap_or("…"));
    }
    if is_keyword_form(url) {
        let places: Vec<&str> = url
            .split_whitespace()
            .filter(|pair| {
                pair.split_once('=').is_some_and(|(key, value)| {
                    ["host", "port", "dbname"].contains(&key) && is_place(value)
                })
            })
            .collect();
        // A quote may hold blanks, so that a part of a password could look like a pair.
        if !url.contains(['\'', '\\']) && !places.is_empty() {
            return places.join(" ");
        }
        return "…".to_owned();
    }
    "…".to_owned()
}

/// Hosts, ports and database of a URL behind its scheme.
fn place(rest: &str) -> Option<&str> {
    // The last @ of all: a password may hold one, and so may what follows a question mark in it.
    let after = match rest.rfind('@') {
        // An @ only in the query: the part before it is the place, if it is one.
        Some(at) if rest[..at].contains('?') => return None,
        Some(at) => &rest[at + 1..],
        None => rest,
    };
    let place = after.split_once(['?', '#']).map_or(after, |(place, _)| place);
    let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
    let ports_are_numbers = hosts.split(',').all(|host| match host.rsplit_once(':') {
        Some((_, port)) if !host.ends_with(']') => port.parse::<u16>().is_ok(),
        _ => true,
    });
    (ports_are_numbers && is_place(hosts) && is_place(database)).then_some(place)
}

fn is_place(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "_+-.,:[]%/".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_finds_its_database() {
        for url in ["sqlite://m.db", "sqlite::memory:", "sqlite:///var/m.db"] {
            assert_eq!(backend_of(url).unwrap(), Backend::Sqlite, "{url}");
        }
        for url in ["postgres://h/d", "postgresql://h/d", "host=h dbname=d", " dbname = d"] {
            assert_eq!(backend_of(url).unwrap(), Backend::Postgres, "{url}");
        }
    }

    #[test]
    fn an_unknown_scheme_is_refused_with_the_known_ones() {
        let message = backend_of("mysql://u:hunter2@h/d").unwrap_err().to_string();

        assert!(message.starts_with("store.url: begins with mysql://"), "{message}");
        assert!(message.contains("sqlite::memory:"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
        for url in ["", "mnemon.db", "u:hunter2@h", "hun ter2://x"] {
            let message = backend_of(url).unwrap_err().to_string();
            assert!(message.contains("known are") && !message.contains("ter2"), "{message}");
        }
    }

    #[test]
    fn a_place_is_shown_and_a_secret_never() {
        for (url, shown) in [
            (
                "postgres://u:hunter2@db.example:5432/m?sslmode=require",
                "postgres://db.example:5432/m",
            ),
            ("postgres://db1:1,db2:2/m", "postgres://db1:1,db2:2/m"),
            ("postgresql://u:hun@ter2@h/m", "postgresql://h/m"),
            ("postgres://u:hun?ter2@h/m", "postgres://…"),
            ("postgres://u@h/m?password=hunter2@x", "postgres://…"),
            ("postgres://u@h/m?password=hunter2", "postgres://h/m"),
            ("postgres://u:hunter2", "postgres://…"),
            ("postgres://u:hunter2/m", "postgres://…"),
            ("host=h port=1 password=hunter2 dbname=m", "host=h port=1 dbname=m"),
            ("password='a host=hunter2' dbname=m", "…"),
            ("password=hunter2", "…"),
            ("hunter2", "…"),
            ("sqlite:///var/m.db", "sqlite:///var/m.db"),
        ] {
            assert_eq!(redacted(url), shown);
            assert!(!redacted(url).contains("hunter2"));
        }
    }
}
