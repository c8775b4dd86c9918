//! Taking the oldest months out of the log: each is written to a file of its own, made durable,
//! and only then removed; and read back from such a file.
//!
//! A month is the unit of going on: one that was interrupted is written again, one whose file is
//! whole and holds just what the month holds is not.

mod file;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use mnemon_core::events::{Extent, Month, MonthOfLog};
use mnemon_core::{Error, Result, Store, limits};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Events;
use file::{Reader, Writer};

/// What leaves the log, and where it goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArchiveOptions {
    /// Months that ended at or before this time; never the one that runs.
    pub before: DateTime<Utc>,
    /// The folder for the files; without one what goes is lost.
    pub to: Option<PathBuf>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What left the log.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ArchiveReport {
    /// The months, oldest first.
    pub months: Vec<ArchivedMonth>,
}

impl ArchiveReport {
    /// Events of all of them.
    pub fn events(&self) -> u64 {
        self.months.iter().map(|month| month.events).sum()
    }
}

/// A month that left the log, or would.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArchivedMonth {
    /// Which.
    pub month: Month,
    /// Events of it.
    pub events: u64,
    /// Its file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<PathBuf>,
    /// The file's size, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
}

/// Called between two pieces of work: refuses when somebody else has taken it over.
pub(crate) type Alive<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<()>> + Sync);

impl Events<'_> {
    /// Archives whole months of the log, all tenants' together, and removes them: each is written
    /// as compressed JSON lines and made durable first. For whoever runs the installation.
    ///
    /// Readers whose cursor lies before what is kept then get [`Error::Gone`]. What was interrupted
    /// goes on when it is called again.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] when the folder cannot be written, the disk is full or the role may not
    /// remove partitions: the month at which it stopped is still in the log.
    /// [`Error::Conflict`] when a month changed while it was archived: call again.
    pub async fn archive(&self, options: &ArchiveOptions) -> Result<ArchiveReport> {
        self.inner.ready()?;
        let nobody = || -> BoxFuture<'_, Result<()>> { Box::pin(async { Ok(()) }) };
        archive(&self.inner.store, options, &nobody).await
    }

    /// Puts the events of an archive's file back, each once; how many were not there. Into the log
    /// they came from they return to their old places, so that the newest month that is gone comes
    /// first; into another one they are new. For whoever runs the installation.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for a file that is not whole: nothing was written.
    /// [`Error::Invalid`] and [`Error::AlreadyExists`] for events that do not fit here.
    pub async fn put_back(&self, file: &Path) -> Result<u64> {
        self.inner.ready()?;
        let path = file.to_owned();
        // Read twice: nothing is written of a file whose end is missing.
        let mut reader = blocking(move || {
            let mut whole = Reader::open(&path)?;
            while !whole.next(limits::IMPORT_BATCH)?.is_empty() {}
            Reader::open(&path)
        })
        .await?;
        let (log, mut written) = (reader.log(), 0);
        loop {
            let (rest, events) = blocking(move || {
                let events = reader.next(limits::IMPORT_BATCH)?;
                Ok((reader, events))
            })
            .await?;
            if events.is_empty() {
                return Ok(written);
            }
            reader = rest;
            written += self.inner.store.archives().put_back(log, events).await?;
        }
    }
}

/// Archives and removes what the options say.
pub(crate) async fn archive(
    store: &Arc<dyn Store>,
    options: &ArchiveOptions,
    alive: Alive<'_>,
) -> Result<ArchiveReport> {
    let archives = store.archives();
    let (log, mut report) = (archives.log_id().await?, ArchiveReport::default());
    for month in archives.months(options.before).await? {
        alive().await?;
        let events = month.extent.events;
        let mut gone = ArchivedMonth { month: month.month, events, file: None, bytes: None };
        if !options.dry_run {
            if let (Some(folder), false) = (&options.to, month.leaving) {
                let (file, bytes) = keep(store, log, &month, folder, alive).await?;
                (gone.file, gone.bytes) = (Some(file), Some(bytes));
            }
            remove(store, month.month, month.extent, alive).await?;
        }
        if events > 0 {
            report.months.push(gone);
        }
    }
    Ok(report)
}

async fn remove(
    store: &Arc<dyn Store>,
    month: Month,
    extent: Extent,
    alive: Alive<'_>,
) -> Result<()> {
    loop {
        alive().await?;
        if !store.archives().retire(month, extent).await?.more {
            return Ok(());
        }
    }
}

/// Writes a month to its file unless there is one that holds just this; its path and size.
async fn keep(
    store: &Arc<dyn Store>,
    log: Uuid,
    month: &MonthOfLog,
    folder: &Path,
    alive: Alive<'_>,
) -> Result<(PathBuf, u64)> {
    let (folder, named, extent) = (folder.to_owned(), month.month, month.extent);
    let found = blocking(move || file::place(&folder, log, named, extent)).await?;
    let path = match found {
        file::Place::Whole(path) => path,
        file::Place::Free(path) => {
            let free = path.clone();
            let mut writer = blocking(move || Writer::create(&free, log, named)).await?;
            let mut after = None;
            loop {
                alive().await?;
                let archives = store.archives();
                let events =
                    archives.read_month(month.month, after.as_ref(), limits::ARCHIVE_CHUNK).await?;
                let Some(last) = events.last() else { break };
                after = Some(last.place());
                writer = blocking(move || writer.with(&events)).await?;
            }
            blocking(move || writer.finish(extent)).await?;
            path
        }
    };
    let sized = path.clone();
    let bytes = blocking(move || file::size(&sized)).await?;
    Ok((path, bytes))
}

/// Runs what waits for a disk beside the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::backend("writing an archive", error)))
}
