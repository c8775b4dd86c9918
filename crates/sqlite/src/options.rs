//! Where the file is and how it is opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use mnemon_core::limits::{READERS, READERS_MAX, VECTOR_BYTES};
use mnemon_core::migrations::MigrateMode;
use mnemon_core::{Error, Result};

/// What a URL may set.
const URL_KEYS: &str = "synchronous, readers, vector_mb";

/// Bytes of a mebibyte.
const MIB: usize = 1024 * 1024;

/// Where the database is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// A file; made when it is not there (its folder must be).
    File(PathBuf),
    /// A private temporary file, deleted when the store is closed or dropped.
    Memory,
}

impl Location {
    /// Parses `sqlite://path` or `sqlite::memory:`. Three slashes begin an absolute path; `%XX`
    /// stands for a byte. What else a URL may set is read by [`Options::parse`].
    ///
    /// ```
    /// use mnemon_sqlite::Location;
    ///
    /// assert_eq!(Location::parse("sqlite:///var/notes.db")?, Location::File("/var/notes.db".into()));
    /// assert_eq!(Location::parse("sqlite::memory:")?, Location::Memory);
    /// assert!(Location::parse("mysql://x").is_err());
    /// # Ok::<(), mnemon_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another scheme, an unknown key, or no path.
    pub fn parse(url: &str) -> Result<Self> {
        Options::parse(url).map(|options| options.location)
    }

    fn of_url(body: &str) -> Result<Self> {
        if body == ":memory:" {
            return Ok(Self::Memory);
        }
        let path = body.strip_prefix("//").ok_or_else(wrong_scheme)?;
        let path = percent_decoded(path)?;
        if path.trim().is_empty() {
            return Err(Error::invalid("url", "names no file; write sqlite://path"));
        }
        if path.contains('\0') {
            return Err(Error::invalid("url", "holds a NUL character"));
        }
        Ok(Self::File(path.into()))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Memory => f.write_str(":memory:"),
        }
    }
}

/// How sure an acknowledged write is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Synchronous {
    /// It survives a power cut. Waiting writes share one flush.
    #[default]
    Full,
    /// It survives the process being killed; a power cut may lose the last moments.
    Normal,
}

/// The store's clock: system time, or a function that tests move.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::from_fn(Utc::now)
    }

    /// A clock that answers what the function does.
    pub fn from_fn(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    pub fn now(&self) -> DateTime<Utc> {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// How a store is opened.
///
/// ```
/// use mnemon_sqlite::{Location, Options, Synchronous};
///
/// let options = Options { synchronous: Synchronous::Normal, ..Options::new(Location::Memory) };
/// assert_eq!(options.readers, 4);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the database is.
    pub location: Location,
    /// What is done about an old schema.
    pub migrate: MigrateMode,
    /// How sure an acknowledged write is.
    pub synchronous: Synchronous,
    /// Reader threads, 1 to 64; each owns a connection.
    pub readers: usize,
    /// What time it is.
    pub clock: Clock,
    /// Makes the file's folder when it is not there. For a default location only: a mistyped path
    /// should be an error.
    pub create_parent: bool,
    /// The largest size of the file, in bytes (its log beside it not counted); writes beyond are
    /// refused as on a full disk.
    pub max_bytes: Option<u64>,
    /// The most memory, in bytes, that vectors may take; a set with more is read from the file by
    /// every question. 0 holds none.
    pub vector_bytes: usize,
}

impl Options {
    /// The defaults for a location.
    pub fn new(location: Location) -> Self {
        Self {
            location,
            migrate: MigrateMode::default(),
            synchronous: Synchronous::default(),
            readers: READERS,
            clock: Clock::default(),
            create_parent: false,
            max_bytes: None,
            vector_bytes: VECTOR_BYTES,
        }
    }

    /// Parses `sqlite://path?key=value&…` or `sqlite::memory:`. Keys: `synchronous` (`full` or
    /// `normal`), `readers` (1 to 64), `vector_mb` (memory for vectors in MiB, 0 for none).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another scheme, an unknown key or value, or no path.
    pub fn parse(url: &str) -> Result<Self> {
        let body = url.strip_prefix("sqlite:").ok_or_else(wrong_scheme)?;
        let (place, query) = body.split_once('?').unwrap_or((body, ""));
        let mut options = Self::new(Location::of_url(place)?);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            options.set(key, value)?;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match (key, value) {
            ("synchronous", "full") => self.synchronous = Synchronous::Full,
            ("synchronous", "normal") => self.synchronous = Synchronous::Normal,
            ("synchronous", _) => {
                return Err(Error::invalid("url", "synchronous is full or normal"));
            }
            ("readers", count) => {
                self.readers =
                    count.parse().map_err(|_| Error::invalid("url", "readers is not a number"))?;
            }
            ("vector_mb", size) => {
                let bytes = size.parse::<usize>().ok().and_then(|size| size.checked_mul(MIB));
                self.vector_bytes = bytes
                    .ok_or_else(|| Error::invalid("url", "vector_mb is not a number of MiB"))?;
            }
            (unknown, _) => {
                return Err(Error::invalid(
                    "url",
                    format!("has the unknown key {unknown:?}; known keys: {URL_KEYS}"),
                ));
            }
        }
        self.check()
    }

    /// Checks the numbers.
    pub(crate) fn check(&self) -> Result<()> {
        if (1..=READERS_MAX).contains(&self.readers) {
            return Ok(());
        }
        Err(Error::invalid(
            "readers",
            format!("is {}; it goes from 1 to {READERS_MAX}", self.readers),
        ))
    }
}

fn wrong_scheme() -> Error {
    Error::invalid("url", "is not a SQLite URL; write sqlite://path or sqlite::memory:")
}

fn percent_decoded(text: &str) -> Result<String> {
    let bad = || Error::invalid("url", "has a % that is not followed by two hex digits");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
        bytes.push(u8::try_from(high * 16 + low).expect("two hex digits make a byte"));
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid("url", "is not valid UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_and_an_escaped_path_are_read() {
        assert_eq!(Location::parse("sqlite://a.db").unwrap(), Location::File("a.db".into()));
        assert_eq!(
            Location::parse("sqlite:///a%20b%3f.db").unwrap(),
            Location::File("/a b?.db".into())
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_list_of_known_ones() {
        let error = Options::parse("sqlite://a.db?mode=ro").unwrap_err();

        assert_eq!(
            error.to_string(),
            "url: has the unknown key \"mode\"; known keys: synchronous, readers, vector_mb"
        );
    }

    #[test]
    fn wrong_schemes_paths_and_values_are_refused() {
        for url in [
            "",
            "sqlite",
            "sqlite:a.db",
            "sqlite3://a.db",
            "postgres://h/d",
            "sqlite://",
            "sqlite://%zz",
            "sqlite://%00",
            "sqlite://a.db?readers=0",
            "sqlite://a.db?readers=many",
            "sqlite://a.db?synchronous=off",
            "sqlite://a.db?vector_mb=lots",
            "sqlite://a.db?vector_mb=99999999999999999",
        ] {
            assert!(matches!(Options::parse(url), Err(Error::Invalid { .. })), "{url}");
        }
    }

    #[test]
    fn known_keys_are_applied() {
        let url = "sqlite://a.db?synchronous=normal&readers=2&vector_mb=3";
        let options = Options::parse(url).unwrap();

        assert_eq!((options.synchronous, options.readers), (Synchronous::Normal, 2));
        assert_eq!(options.vector_bytes, 3 * MIB);
    }
}
