//! How memories fade and are kept.

use chrono::{DateTime, Utc};
#[cfg(doc)]
use mnemon_core::Error;
use mnemon_core::memories::{Due, Review, ReviewEvent, Scheduling};
use mnemon_core::{MemoryId, Page, Paged, Result, Scope};

use super::Memories;

impl Memories<'_> {
    /// Notes how well a memory was recalled: the event and the new state together. The same event id
    /// again answers the state of the first time.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for a memory that is not the scope's to change; [`Error::Invalid`] for a time
    /// before the last review or in the future; [`Error::AlreadyExists`] when the event id is another
    /// memory's; [`Error::ScopeRequired`].
    #[doc(alias = "mark_reviewed")]
    pub async fn review(self, scope: &Scope, id: MemoryId, review: Review) -> Result<Scheduling> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().review(scope, id, review).await;
        self.inner.watched(scope, outcome).await
    }

    /// How well a memory is kept; `None`: new, never reviewed.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::ScopeRequired`].
    pub async fn scheduling(self, scope: &Scope, id: MemoryId) -> Result<Option<Scheduling>> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().scheduling(scope, id).await;
        self.inner.watched(scope, outcome).await
    }

    /// Sets a memory's state as it is given, for imports; no event is written.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Invalid`] as [`Scheduling::check`]; [`Error::ScopeRequired`].
    pub async fn update_scheduling(self, scope: &Scope, state: Scheduling) -> Result<()> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().update_scheduling(scope, state).await;
        self.inner.watched(scope, outcome).await
    }

    /// Memories due at or before a time (the store's clock without one), longest due first.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    pub async fn due(
        self,
        scope: &Scope,
        before: Option<DateTime<Utc>>,
        page: &Page,
    ) -> Result<Paged<Due>> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().due(scope, before, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// The reviews of a memory, latest first, also after it was deleted.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    pub async fn reviews(
        self,
        scope: &Scope,
        id: MemoryId,
        page: &Page,
    ) -> Result<Paged<ReviewEvent>> {
        self.inner.ready()?;
        let outcome = self.inner.store.memories().reviews(scope, id, page).await;
        self.inner.watched(scope, outcome).await
    }
}
