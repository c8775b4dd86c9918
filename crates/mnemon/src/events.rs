//! The event log of an open Mnemon.

mod appender;
pub(crate) mod archive;
mod consumer;
mod feed;
mod subscribe;
mod tail;

pub use mnemon_core::events::*;
use mnemon_core::locks::Guard;
use mnemon_core::{Cursor, Page, Paged, Result, Scope};

use crate::engine::Inner;

pub(crate) use appender::Gatherer;
pub use archive::{ArchiveOptions, ArchiveReport, ArchivedMonth};
pub use consumer::{Consumer, ConsumerOptions, Failed, Handed, Progress};
pub use subscribe::{Subscription, Told};
pub(crate) use tail::Tails;

/// The events of an open Mnemon; see [`crate::Mnemon::events`].
#[derive(Clone, Copy)]
pub struct Events<'a> {
    pub(crate) inner: &'a Inner,
}

impl Events<'_> {
    /// Appends events to a stream: all or none, each once.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::Conflict`] when the stream does not stand at the
    /// expected version; [`crate::Error::AlreadyExists`] for an id known on another stream;
    /// [`crate::Error::Fenced`]; [`crate::Error::ScopeRequired`].
    pub async fn append(
        &self,
        scope: &Scope,
        append: Append,
        guard: Option<&Guard>,
    ) -> Result<Appended> {
        self.inner.ready()?;
        let outcome = self.inner.store.events().append(scope, append, guard).await;
        self.inner.watched(scope, outcome).await
    }

    /// Appends to any number of streams in one commit; each append is decided alone.
    ///
    /// # Errors
    ///
    /// Of one append, in its place: as [`Events::append`]. Of all: [`crate::Error::Invalid`] for
    /// too many; [`crate::Error::ScopeRequired`].
    pub async fn append_many(
        &self,
        scope: &Scope,
        appends: Vec<Append>,
    ) -> Result<Vec<Result<Appended>>> {
        self.inner.ready()?;
        let outcome = self.inner.store.events().append_many(scope, appends).await;
        self.inner.watched(scope, outcome).await
    }

    /// Appends events that were recorded elsewhere, with the times they had.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a time before the one before it, before the stream's newest
    /// event, or in the future; otherwise as [`Events::append`].
    pub async fn import(&self, scope: &Scope, import: Import) -> Result<Appended> {
        self.inner.ready()?;
        let outcome = self.inner.store.events().import(scope, import).await;
        self.inner.watched(scope, outcome).await
    }

    /// Reads a stream in order.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`]; [`crate::Error::Invalid`] for a foreign cursor;
    /// [`crate::Error::Gone`] for one behind which retention removed something.
    pub async fn read(self, scope: &Scope, stream: &str, page: &Page) -> Result<Paged<Event>> {
        self.inner.ready()?;
        let outcome = self.inner.store.events().read(scope, stream, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Reads the log of all streams after a cursor, in the order that no late commit can change.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`]; [`crate::Error::Invalid`] for a cursor of another tenant,
    /// garbage, or one that is ahead of the log; [`crate::Error::Gone`] for one behind which
    /// retention removed something.
    pub async fn read_all(
        &self,
        scope: &Scope,
        filter: &EventFilter,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Slice> {
        self.inner.ready()?;
        let outcome = self.inner.store.events().read_all(scope, filter, after, limit).await;
        self.inner.watched(scope, outcome).await
    }

    /// Lists events, the last recorded first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`]; [`crate::Error::Invalid`] for a filter or a foreign cursor.
    #[doc(alias = "query")]
    pub async fn list(
        &self,
        scope: &Scope,
        filter: &EventFilter,
        page: &Page,
    ) -> Result<Paged<Event>> {
        self.inner.ready()?;
        let outcome = self.inner.store.events().list(scope, filter, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Counts events.
    ///
    /// # Errors
    ///
    /// As [`Events::list`].
    pub async fn count(&self, scope: &Scope, filter: &EventFilter) -> Result<u64> {
        self.inner.ready()?;
        let outcome = self.inner.store.events().count(scope, filter).await;
        self.inner.watched(scope, outcome).await
    }

    /// Events that hold every word and phrase of a text and none that it excludes with `-`, the
    /// last recorded first. Upkeep indexes events where `events.search` is on; what is newer than
    /// its last run is not found yet.
    ///
    /// # Errors
    ///
    /// As [`Events::list`]; [`crate::Error::Invalid`] for a text without a word;
    /// [`crate::Error::Setup`] where searching is off.
    pub async fn search(
        &self,
        scope: &Scope,
        text: &str,
        filter: &EventFilter,
        page: &Page,
    ) -> Result<Paged<Event>> {
        self.inner.ready()?;
        if !self.inner.log.search {
            return Err(mnemon_core::Error::setup(
                "searching events is off",
                "set events.search = true; upkeep then indexes the log",
            ));
        }
        let outcome = self.inner.store.events().search(scope, text, filter, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// A stream in figures.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`]; [`crate::Error::Invalid`] for the stream's name.
    pub async fn aggregate(&self, scope: &Scope, stream: &str) -> Result<StreamStats> {
        self.inner.ready()?;
        let outcome = self.inner.store.events().aggregate(scope, stream).await;
        self.inner.watched(scope, outcome).await
    }

    /// How far the log can be read, and since when an open transaction holds that back.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Unavailable`] when the database does not answer; [`crate::Error::Closed`].
    pub async fn horizon(&self) -> Result<Horizon> {
        self.inner.ready()?;
        self.inner.store.events().horizon().await
    }
}
