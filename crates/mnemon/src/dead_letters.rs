//! What failed.

use std::time::Duration;

use chrono::{DateTime, Utc};
pub use mnemon_core::dead_letters::*;
use mnemon_core::locks::Guard;
use mnemon_core::{Page, Paged, Result, Scope};

use crate::engine::Inner;

/// What failed of an open Mnemon; see [`crate::Mnemon::dead_letters`].
pub struct DeadLetters<'a> {
    pub(crate) inner: &'a Inner,
}

impl DeadLetters<'_> {
    /// Keeps a failure; again is one more attempt.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::Fenced`]; [`crate::Error::ScopeRequired`].
    pub async fn bury(
        &self,
        scope: &Scope,
        burial: Burial,
        guard: Option<&Guard>,
    ) -> Result<Buried> {
        self.inner.ready()?;
        let outcome = self.inner.store.dead_letters().bury(scope, burial, guard).await;
        self.inner.watched(scope, outcome).await
    }

    /// Takes up to `count` items of a queue, oldest first, out of others' sight for `visibility`.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn take(
        &self,
        scope: &Scope,
        queue: &str,
        count: u32,
        visibility: Duration,
    ) -> Result<Vec<Delivery>> {
        self.inner.ready()?;
        let outcome = self.inner.store.dead_letters().take(scope, queue, count, visibility).await;
        self.inner.watched(scope, outcome).await
    }

    /// The item is dealt with.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Fenced`] when its time is over, or it was taken or buried again since;
    /// [`crate::Error::NotFound`]; [`crate::Error::ScopeRequired`].
    pub async fn ack(&self, scope: &Scope, receipt: &DeliveryReceipt) -> Result<()> {
        self.inner.ready()?;
        let outcome = self.inner.store.dead_letters().ack(scope, receipt).await;
        self.inner.watched(scope, outcome).await
    }

    /// Gives an item back untreated, for others to take after `delay`; answers when that is.
    ///
    /// # Errors
    ///
    /// As [`DeadLetters::ack`]; [`crate::Error::Invalid`] for a delay over its limit.
    pub async fn nack(
        &self,
        scope: &Scope,
        receipt: &DeliveryReceipt,
        delay: Duration,
    ) -> Result<DateTime<Utc>> {
        self.inner.ready()?;
        let outcome = self.inner.store.dead_letters().nack(scope, receipt, delay).await;
        self.inner.watched(scope, outcome).await
    }

    /// Keeps an item out of others' sight for `visibility` from now on; answers until when.
    ///
    /// # Errors
    ///
    /// As [`DeadLetters::ack`]; [`crate::Error::Invalid`] for a time out of range.
    pub async fn extend(
        &self,
        scope: &Scope,
        receipt: &DeliveryReceipt,
        visibility: Duration,
    ) -> Result<DateTime<Utc>> {
        self.inner.ready()?;
        let outcome = self.inner.store.dead_letters().extend(scope, receipt, visibility).await;
        self.inner.watched(scope, outcome).await
    }

    /// Marks items of workers that did not come back as ready, all of them; answers how many.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`]. What was released before an
    /// error stays so.
    pub async fn release_expired(&self, scope: &Scope, queue: Option<&str>) -> Result<u64> {
        let mut items = 0;
        loop {
            self.inner.ready()?;
            let outcome = self.inner.store.dead_letters().release_expired(scope, queue).await;
            let done = self.inner.watched(scope, outcome).await?;
            items += done.items;
            if !done.more {
                return Ok(items);
            }
        }
    }

    /// Makes items ready, all that the call is about, in transactions of
    /// [`crate::core::limits::LETTER_BATCH`]; answers how many.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`]. What was made ready before an
    /// error stays so.
    pub async fn retry_all(&self, scope: &Scope, retry: &Retry) -> Result<u64> {
        let mut items = 0;
        loop {
            self.inner.ready()?;
            let outcome = self.inner.store.dead_letters().retry_all(scope, retry).await;
            let done = self.inner.watched(scope, outcome).await?;
            items += done.items;
            if !done.more {
                return Ok(items);
            }
        }
    }

    /// Lists items by queue and id, whether taken or not.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn list(
        &self,
        scope: &Scope,
        filter: &LetterFilter,
        page: &Page,
    ) -> Result<Paged<DeadLetter>> {
        self.inner.ready()?;
        let outcome = self.inner.store.dead_letters().list(scope, filter, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// One item.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`]; [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn get(&self, scope: &Scope, queue: &str, item_id: &str) -> Result<DeadLetter> {
        self.inner.ready()?;
        let outcome = self.inner.store.dead_letters().get(scope, queue, item_id).await;
        self.inner.watched(scope, outcome).await
    }

    /// An item's attempts, the newest first.
    ///
    /// # Errors
    ///
    /// As [`DeadLetters::get`].
    pub async fn attempts(
        &self,
        scope: &Scope,
        queue: &str,
        item_id: &str,
        page: &Page,
    ) -> Result<Paged<Attempt>> {
        self.inner.ready()?;
        let outcome = self.inner.store.dead_letters().attempts(scope, queue, item_id, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// How many there are, in which state, why, and since when.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn stats(&self, scope: &Scope, queue: Option<&str>) -> Result<LetterStats> {
        self.inner.ready()?;
        let outcome = self.inner.store.dead_letters().stats(scope, queue).await;
        self.inner.watched(scope, outcome).await
    }

    /// Removes one item with its attempts, taken or not.
    ///
    /// # Errors
    ///
    /// As [`DeadLetters::get`].
    pub async fn delete(&self, scope: &Scope, queue: &str, item_id: &str) -> Result<()> {
        self.inner.ready()?;
        let outcome = self.inner.store.dead_letters().delete(scope, queue, item_id).await;
        self.inner.watched(scope, outcome).await
    }

    /// Removes old items, all that the call is about, in transactions of
    /// [`crate::core::limits::LETTER_BATCH`], or only counts them; answers how many.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`]. What was removed before an
    /// error stays so.
    pub async fn prune(&self, scope: &Scope, prune: &Prune) -> Result<u64> {
        let mut items = 0;
        loop {
            self.inner.ready()?;
            let outcome = self.inner.store.dead_letters().prune(scope, prune).await;
            let done = self.inner.watched(scope, outcome).await?;
            items += done.items;
            if !done.more {
                return Ok(items);
            }
        }
    }
}
