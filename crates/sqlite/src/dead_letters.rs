//! Dead letters in SQLite: one row per item and one per attempt; a take moves `visible_at` and
//! counts the delivery.

pub(crate) mod deliver;
mod filter;
pub(crate) mod read;
pub(crate) mod sweep;
pub(crate) mod write;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::dead_letters::{
    Attempt, Burial, Buried, DeadLetter, DeadLetters, Delivery, DeliveryReceipt, Handled,
    LetterFilter, LetterStats, Prune, Retry, after, after_attempt, check_delay, check_item,
    check_queue, check_take, check_visibility,
};
use mnemon_core::locks::Guard;
use mnemon_core::{Facet, Page, Paged, Result, Scope};

use crate::locks;
use crate::store::SqliteStore;

pub(crate) use deliver::ack;
pub(crate) use sweep::depths;
pub(crate) use write::bury;

#[async_trait]
impl DeadLetters for SqliteStore {
    async fn bury(&self, scope: &Scope, burial: Burial, guard: Option<&Guard>) -> Result<Buried> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        burial.check()?;
        locks::check_guard(guard)?;
        let (scope, guard) = (scope.clone(), guard.cloned());
        self.write("burying a dead letter", move |conn| {
            let scope = scope.admit(Facet::DeadLetters)?;
            locks::guard(conn, &scope, guard.as_ref())?;
            bury(conn, &scope, &burial)
        })
        .await
    }

    async fn take(
        &self,
        scope: &Scope,
        queue: &str,
        count: u32,
        visibility: Duration,
    ) -> Result<Vec<Delivery>> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        check_take(queue, count, visibility)?;
        let (scope, queue) = (scope.clone(), queue.to_owned());
        self.write("taking dead letters", move |conn| {
            deliver::take(conn, &scope.admit(Facet::DeadLetters)?, &queue, count, visibility)
        })
        .await
    }

    async fn ack(&self, scope: &Scope, receipt: &DeliveryReceipt) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        receipt.check()?;
        let (scope, receipt) = (scope.clone(), receipt.clone());
        self.write("acknowledging a dead letter", move |conn| {
            ack(conn, &scope.admit(Facet::DeadLetters)?, &receipt)
        })
        .await
    }

    async fn nack(
        &self,
        scope: &Scope,
        receipt: &DeliveryReceipt,
        delay: Duration,
    ) -> Result<DateTime<Utc>> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        receipt.check()?;
        check_delay(delay)?;
        let (scope, receipt) = (scope.clone(), receipt.clone());
        self.write("giving back a dead letter", move |conn| {
            deliver::nack(conn, &scope.admit(Facet::DeadLetters)?, &receipt, delay)
        })
        .await
    }

    async fn extend(
        &self,
        scope: &Scope,
        receipt: &DeliveryReceipt,
        visibility: Duration,
    ) -> Result<DateTime<Utc>> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        receipt.check()?;
        check_visibility(visibility)?;
        let (scope, receipt) = (scope.clone(), receipt.clone());
        self.write("extending a dead letter's time", move |conn| {
            deliver::extend(conn, &scope.admit(Facet::DeadLetters)?, &receipt, visibility)
        })
        .await
    }

    async fn release_expired(&self, scope: &Scope, queue: Option<&str>) -> Result<Handled> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        queue.map_or(Ok(()), check_queue)?;
        let (scope, queue) = (scope.clone(), queue.map(str::to_owned));
        self.write("releasing expired dead letters", move |conn| {
            sweep::release(conn, &scope.admit(Facet::DeadLetters)?, queue.as_deref())
        })
        .await
    }

    async fn retry_all(&self, scope: &Scope, retry: &Retry) -> Result<Handled> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        retry.filter.check()?;
        let (scope, retry) = (scope.clone(), retry.clone());
        self.write("retrying dead letters", move |conn| {
            sweep::retry(conn, &scope.admit(Facet::DeadLetters)?, &retry)
        })
        .await
    }

    async fn list(
        &self,
        scope: &Scope,
        filter: &LetterFilter,
        page: &Page,
    ) -> Result<Paged<DeadLetter>> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        let after = after(filter, page)?;
        let (scope, filter, limit) = (scope.clone(), filter.clone(), page.limit);
        self.read("listing dead letters", move |conn| {
            read::list(conn, &scope.admit(Facet::DeadLetters)?, &filter, &after, limit)
        })
        .await
    }

    async fn get(&self, scope: &Scope, queue: &str, item_id: &str) -> Result<DeadLetter> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        check_item(queue, item_id)?;
        let (scope, queue, item) = (scope.clone(), queue.to_owned(), item_id.to_owned());
        self.read("reading a dead letter", move |conn| {
            read::get(conn, &scope.admit(Facet::DeadLetters)?, &queue, &item)
        })
        .await
    }

    async fn attempts(
        &self,
        scope: &Scope,
        queue: &str,
        item_id: &str,
        page: &Page,
    ) -> Result<Paged<Attempt>> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        check_item(queue, item_id)?;
        let (below, limit) = (after_attempt(page)?, page.limit);
        let (scope, queue, item) = (scope.clone(), queue.to_owned(), item_id.to_owned());
        self.read("reading a dead letter's attempts", move |conn| {
            let scope = scope.admit(Facet::DeadLetters)?;
            read::attempts(conn, &scope, (&queue, &item), below, limit)
        })
        .await
    }

    async fn stats(&self, scope: &Scope, queue: Option<&str>) -> Result<LetterStats> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        queue.map_or(Ok(()), check_queue)?;
        let (scope, queue) = (scope.clone(), queue.map(str::to_owned));
        self.read("counting dead letters", move |conn| {
            read::stats(conn, &scope.admit(Facet::DeadLetters)?, queue.as_deref())
        })
        .await
    }

    async fn delete(&self, scope: &Scope, queue: &str, item_id: &str) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        check_item(queue, item_id)?;
        let (scope, queue, item) = (scope.clone(), queue.to_owned(), item_id.to_owned());
        self.write("deleting a dead letter", move |conn| {
            sweep::delete(conn, &scope.admit(Facet::DeadLetters)?, &queue, &item)
        })
        .await
    }

    async fn prune(&self, scope: &Scope, prune: &Prune) -> Result<Handled> {
        self.alive()?;
        scope.admit(Facet::DeadLetters)?;
        prune.check()?;
        let (scope, prune) = (scope.clone(), prune.clone());
        self.write("pruning dead letters", move |conn| {
            sweep::prune(conn, &scope.admit(Facet::DeadLetters)?, &prune)
        })
        .await
    }
}
