//! Dead letters on PostgreSQL: one row per item and one per attempt; a take moves `visible_at` and
//! counts the delivery, skipping what others are taking.

mod deliver;
mod filter;
mod read;
mod sweep;
mod write;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::dead_letters::{
    Attempt, Burial, Buried, DeadLetter, DeadLetters, Delivery, DeliveryReceipt, Handled,
    LetterFilter, LetterStats, Prune, Retry as Again, after, after_attempt, check_delay,
    check_item, check_queue, check_take, check_visibility,
};
use mnemon_core::locks::Guard;
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Error, Page, Paged, Result, Scope};

use crate::error::Fault;
use crate::link::{Call, Retry, work};
use crate::locks;
use crate::store::PostgresStore;

pub(crate) use deliver::ack;
pub(crate) use sweep::{dead_rows, depths, shrink};
pub(crate) use write::bury;

const ACKNOWLEDGING: &str = "acknowledging a dead letter";

#[async_trait]
impl DeadLetters for PostgresStore {
    async fn bury(&self, scope: &Scope, burial: Burial, guard: Option<&Guard>) -> Result<Buried> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        burial.check()?;
        locks::check_guard(guard)?;
        // A repeat would be one more attempt.
        let call = calling("burying a dead letter", scope, Retry::Never);
        let burial = &burial;
        self.link
            .transaction(call, |conn| {
                work(async move {
                    locks::guard(conn, scope, guard.map_or(&[], std::slice::from_ref)).await?;
                    bury(conn, scope, burial).await
                })
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
        let scope = &scope.admit(Facet::DeadLetters)?;
        check_take(queue, count, visibility)?;
        // What a lost answer carried comes back when its visibility ends, as a worker's that died.
        let call = calling("taking dead letters", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| {
                work(async move { deliver::take(conn, scope, queue, count, visibility).await })
            })
            .await
    }

    async fn ack(&self, scope: &Scope, receipt: &DeliveryReceipt) -> Result<()> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        receipt.check()?;
        // Sent again, it removes what the first time did not; what is gone then went by either.
        let call = calling(ACKNOWLEDGING, scope, Retry::Idempotent);
        let mut sent = false;
        self.link
            .run(call, |conn| {
                let again = std::mem::replace(&mut sent, true);
                work(async move {
                    match ack(conn, scope, receipt).await {
                        // A refusal may be of what the first time did.
                        Err(Fault::Core(refused)) if again => {
                            let unknown = format!("sent twice, the first answer lost: {refused}");
                            Err(Error::backend(ACKNOWLEDGING, unknown).into())
                        }
                        done => done,
                    }
                })
            })
            .await
    }

    async fn nack(
        &self,
        scope: &Scope,
        receipt: &DeliveryReceipt,
        delay: Duration,
    ) -> Result<DateTime<Utc>> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        receipt.check()?;
        check_delay(delay)?;
        // A repeat after a lost answer would report the item as somebody else's.
        let call = calling("giving back a dead letter", scope, Retry::Never);
        self.link
            .run(call, |conn| work(async move { deliver::nack(conn, scope, receipt, delay).await }))
            .await
    }

    async fn extend(
        &self,
        scope: &Scope,
        receipt: &DeliveryReceipt,
        visibility: Duration,
    ) -> Result<DateTime<Utc>> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        receipt.check()?;
        check_visibility(visibility)?;
        let call = calling("extending a dead letter's time", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| {
                work(async move { deliver::extend(conn, scope, receipt, visibility).await })
            })
            .await
    }

    async fn release_expired(&self, scope: &Scope, queue: Option<&str>) -> Result<Handled> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        queue.map_or(Ok(()), check_queue)?;
        let call = calling("releasing expired dead letters", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| work(async move { sweep::release(conn, scope, queue).await }))
            .await
    }

    async fn retry_all(&self, scope: &Scope, retry: &Again) -> Result<Handled> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        retry.filter.check()?;
        let call = calling("retrying dead letters", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| work(async move { sweep::retry(conn, scope, retry).await }))
            .await
    }

    async fn list(
        &self,
        scope: &Scope,
        filter: &LetterFilter,
        page: &Page,
    ) -> Result<Paged<DeadLetter>> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        let after = &after(filter, page)?;
        let call = calling("listing dead letters", scope, Retry::Idempotent);
        let found = self
            .link
            .run(call, |conn| {
                work(async move { read::list(conn, scope, filter, after, page.limit).await })
            })
            .await?;
        Ok(Paged::cut(found, page.limit, DeadLetter::cursor))
    }

    async fn get(&self, scope: &Scope, queue: &str, item_id: &str) -> Result<DeadLetter> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        check_item(queue, item_id)?;
        let call = calling("reading a dead letter", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| work(async move { read::get(conn, scope, queue, item_id).await }))
            .await
    }

    async fn attempts(
        &self,
        scope: &Scope,
        queue: &str,
        item_id: &str,
        page: &Page,
    ) -> Result<Paged<Attempt>> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        check_item(queue, item_id)?;
        let below = after_attempt(page)?;
        let call = calling("reading a dead letter's attempts", scope, Retry::Idempotent);
        let found = self
            .link
            .run(call, |conn| {
                work(async move {
                    read::attempts(conn, scope, (queue, item_id), below, page.limit).await
                })
            })
            .await?;
        Ok(Paged::cut(found, page.limit, Attempt::cursor))
    }

    async fn stats(&self, scope: &Scope, queue: Option<&str>) -> Result<LetterStats> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        queue.map_or(Ok(()), check_queue)?;
        let call = calling("counting dead letters", scope, Retry::Idempotent);
        self.link.run(call, |conn| work(async move { read::stats(conn, scope, queue).await })).await
    }

    async fn delete(&self, scope: &Scope, queue: &str, item_id: &str) -> Result<()> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        check_item(queue, item_id)?;
        // A repeat after a lost answer would report the item as not found.
        let call = calling("deleting a dead letter", scope, Retry::Never);
        self.link
            .run(call, |conn| work(async move { sweep::delete(conn, scope, queue, item_id).await }))
            .await
    }

    async fn prune(&self, scope: &Scope, prune: &Prune) -> Result<Handled> {
        let scope = &scope.admit(Facet::DeadLetters)?;
        prune.check()?;
        let call = calling("pruning dead letters", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| work(async move { sweep::prune(conn, scope, prune).await }))
            .await
    }
}

fn calling<'a>(doing: &'static str, scope: &Admitted<'a>, retry: Retry) -> Call<'a> {
    Call { doing, tenant: Some(scope.tenant), retry }
}
