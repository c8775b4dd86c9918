//! From a path to connections: what stands there is looked at before anything is changed.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mnemon_core::{Error, Result, limits};
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::{Done, Fault, read_only};
use crate::options::{Clock, Location, Options, Synchronous};

pub(crate) mod sql {
    crate::sql::statements! {
        APPLICATION = "pragma application_id";
        TABLES = "select count(*) from sqlite_schema where name not glob 'sqlite_*'";
        HAS_META = "select count(*) from sqlite_schema where type = 'table' and name = 'meta'";
        WAL = "pragma journal_mode = wal";
        PAGE_SIZE = "pragma page_size";
        NOW = "select mnemon_now()";
    }
}

/// "Mnem", as the first migration writes it.
pub(crate) const APPLICATION_ID: i64 = 0x4D6E_656D;
/// The name of the file inside a private temporary folder.
const MEMORY_FILE: &str = "mnemon.db";
/// Statements a connection keeps prepared.
const STATEMENTS: usize = 128;
/// How long a start waits before it asks again for a file that others are starting on.
const START_WAIT: Duration = Duration::from_millis(5);

/// For what a connection is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Writer,
    Reader,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Reader => "reader",
        }
    }

    /// The most its page cache may grow to, in KiB (negative: SQLite counts bytes, not pages). A
    /// reader's holds some 20,000 vectors of 384 dimensions; the writer's the ends of the lists of
    /// the words that a batch of memories has, which are all over the file.
    fn cache(self) -> i64 {
        match self {
            Self::Writer => -64 * 1024,
            Self::Reader => -32 * 1024,
        }
    }
}

/// Opens connections to one file. Owns the temporary folder of a private one.
pub(crate) struct Opener {
    path: PathBuf,
    place: String,
    synchronous: &'static str,
    max_bytes: Option<u64>,
    clock: Clock,
    folder: Mutex<Option<tempfile::TempDir>>,
}

impl Opener {
    /// Finds the place.
    pub(crate) fn new(options: &Options) -> Result<Self> {
        options.check()?;
        let (path, folder) = match &options.location {
            Location::File(path) => (path.clone(), None),
            Location::Memory => {
                let folder = tempfile::Builder::new()
                    .prefix("mnemon-")
                    .tempdir()
                    .map_err(|error| Error::backend("making a temporary folder", error))?;
                (folder.path().join(MEMORY_FILE), Some(folder))
            }
        };
        let synchronous = match (&options.location, options.synchronous) {
            // Nobody reads it after a power cut.
            (Location::Memory, _) => "off",
            (_, Synchronous::Full) => "full",
            (_, Synchronous::Normal) => "normal",
        };
        if options.create_parent
            && let Some(parent) = parent(&path)
        {
            fs::create_dir_all(parent)
                .map_err(|error| Error::backend("making the database's folder", error))?;
        }
        Ok(Self {
            place: options.location.to_string(),
            path,
            synchronous,
            max_bytes: options.max_bytes,
            clock: options.clock.clone(),
            folder: Mutex::new(folder),
        })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's name for messages.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Whether something stands there.
    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Deletes the temporary folder of a private file; no connection may be open.
    pub(crate) fn remove_private(&self) {
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = folder.map(tempfile::TempDir::close) {
            tracing::warn!(%error, "a temporary database could not be deleted");
        }
    }

    /// Refuses a path that cannot be a database of ours, before SQLite touches it.
    pub(crate) fn check_path(&self) -> Result<()> {
        let place = &self.place;
        if let Some(parent) = parent(&self.path)
            && !parent.is_dir()
        {
            return Err(Error::setup(
                format!("the folder {} of the database does not exist", parent.display()),
                "make it or correct the path",
            ));
        }
        match fs::metadata(&self.path) {
            Ok(found) if found.is_dir() => {
                Err(Error::setup(format!("{place} is a directory"), "name a file inside it"))
            }
            Ok(found) if !found.is_file() => {
                Err(Error::setup(format!("{place} is not a regular file"), "name another path"))
            }
            // Said here for root as well, whom no permission stops.
            Ok(found) if found.permissions().readonly() => Err(read_only(place)),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::backend(format!("looking at {place}"), error))
            }
            _ => Ok(()),
        }
    }

    /// Makes an empty file that only its owner may read, unless one is there.
    pub(crate) fn create(&self) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&self.path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Error::setup(
                format!("{} may not be made by this user", self.place),
                "give this user the right to write its folder, or name another path",
            )),
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(Error::backend(format!("making {}", self.place), error))
            }
            _ => Ok(()),
        }
    }

    /// Opens a connection to a file that exists.
    pub(crate) fn connect(&self, role: Role) -> Done<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags)?;
        conn.busy_timeout(limits::BUSY_TIMEOUT)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        if conn.is_readonly("main")? {
            return Err(Fault::Refused(read_only(&self.place)));
        }
        conn.pragma_update(None, "foreign_keys", true)?;
        conn.pragma_update(None, "trusted_schema", false)?;
        conn.pragma_update(None, "cell_size_check", true)?;
        conn.pragma_update(None, "secure_delete", "fast")?;
        conn.pragma_update(None, "temp_store", "memory")?;
        conn.pragma_update(None, "synchronous", self.synchronous)?;
        conn.pragma_update(None, "cache_size", role.cache())?;
        conn.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
        if role == Role::Reader {
            conn.pragma_update(None, "query_only", true)?;
        }
        if let Some(bytes) = self.max_bytes {
            let page: u32 = conn.query_row(sql::PAGE_SIZE, [], |row| row.get(0))?;
            let pages = i64::try_from((bytes / u64::from(page)).max(1)).unwrap_or(i64::MAX);
            // The pragma answers a row, so it is not an update.
            conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
        }
        self.add_functions(&conn)?;
        #[cfg(test)]
        crate::kills::watch(&conn);
        Ok(conn)
    }

    /// `mnemon_now()`: the store's clock, the only one SQL asks; and what memories compute in SQL.
    fn add_functions(&self, conn: &Connection) -> Done<()> {
        let clock = self.clock.clone();
        conn.create_scalar_function("mnemon_now", 0, FunctionFlags::SQLITE_UTF8, move |_| {
            Ok(clock.now().timestamp_micros())
        })?;
        crate::memories::functions::add(conn)
    }

    /// Whose file it is: ours, empty, or refused.
    pub(crate) fn identify(&self, conn: &Connection) -> Done<Found> {
        snapshot(conn, || self.identify_in(conn))
    }

    fn identify_in(&self, conn: &Connection) -> Done<Found> {
        let application: i64 = conn.query_row(sql::APPLICATION, [], |row| row.get(0))?;
        let tables: i64 = conn.query_row(sql::TABLES, [], |row| row.get(0))?;
        if tables == 0 && (application == 0 || application == APPLICATION_ID) {
            return Ok(Found::Empty);
        }
        let meta: i64 = conn.query_row(sql::HAS_META, [], |row| row.get(0))?;
        if application == APPLICATION_ID && meta == 1 {
            return Ok(Found::Ours);
        }
        Err(Fault::Refused(Error::setup(
            format!("{} is a database of another application", self.place),
            "name another file; this one was left as it is",
        )))
    }

    /// Switches the file to a write-ahead log: readers never wait for the writer.
    pub(crate) fn use_wal(&self, conn: &Connection) -> Done<()> {
        let started = Instant::now();
        loop {
            let mode: rusqlite::Result<String> = conn.query_row(sql::WAL, [], |row| row.get(0));
            match mode {
                Ok(mode) if mode == "wal" => return Ok(()),
                Ok(mode) => {
                    return Err(Fault::Refused(Error::setup(
                        format!(
                            "{} cannot keep a write-ahead log (it is in mode {mode})",
                            self.place
                        ),
                        "put it on a local disk",
                    )));
                }
                // SQLite does not wait here by itself while others start on the same file.
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                        && started.elapsed() < limits::BUSY_TIMEOUT =>
                {
                    std::thread::sleep(START_WAIT);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The log is cut back to this size when it was larger.
const LOG_BYTES: i64 = 64 * 1024 * 1024;

/// What stands at the place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Empty,
    Ours,
}

/// Reads several statements from one state of the file, inside a transaction or outside one.
pub(crate) fn snapshot<T>(conn: &Connection, read: impl FnOnce() -> Done<T>) -> Done<T> {
    let tx = if conn.is_autocommit() { Some(conn.unchecked_transaction()?) } else { None };
    let seen = read();
    if let Some(tx) = tx {
        tx.rollback()?;
    }
    seen
}

/// The store's time in microseconds, asked once per operation.
pub(crate) fn now(conn: &Connection) -> Done<i64> {
    Ok(conn.prepare_cached(sql::NOW)?.query_row([], |row| row.get(0))?)
}

fn parent(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty())
}
