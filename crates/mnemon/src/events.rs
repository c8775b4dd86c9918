//! The event log of an open Mnemon.

pub use mnemon_core::events::*;
use mnemon_core::locks::Guard;
use mnemon_core::{Page, Paged, Result, Scope};

use crate::engine::Inner;

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

    /// Reads a stream in order.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`]; [`crate::Error::Invalid`] for a foreign cursor.
    pub async fn read(self, scope: &Scope, stream: &str, page: &Page) -> Result<Paged<Event>> {
        self.inner.ready()?;
        let outcome = self.inner.store.events().read(scope, stream, page).await;
        self.inner.watched(scope, outcome).await
    }
}
