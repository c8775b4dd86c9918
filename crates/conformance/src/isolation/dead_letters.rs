//! How the isolation matrix writes and asks dead letters.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::dead_letters::{Burial, DeliveryReceipt, LetterFilter, Prune, Retry};
use mnemon_core::{Facet, Page, Result, Scope, Store, limits};
use serde_json::Value;

use super::{Probe, Row, Seen, Standing, noted};

/// Whatever is taken may be taken again at once.
const AT_ONCE: Duration = Duration::from_micros(1);
/// Longer than any case lasts.
const LATER: Duration = Duration::from_hours(1);

pub(super) struct DeadLettersProbe;

#[async_trait]
impl Probe for DeadLettersProbe {
    fn facet(&self) -> Facet {
        Facet::DeadLetters
    }

    fn shares(&self) -> bool {
        false
    }

    fn writes(&self) -> &'static [&'static str] {
        &["bury"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &["list", "take", "get", "attempts", "stats", "extend", "nack", "retry_all", "prune"]
    }

    fn changes(&self) -> &'static [&'static str] {
        &["ack", "delete"]
    }

    async fn write(&self, store: &dyn Store, _verb: &str, row: &Row) -> Result<String> {
        // A queue of its own, so that it is the only one to be taken.
        let burial = Burial::new(row.label.as_str(), "item", Value::Null, "it failed");
        store.dead_letters().bury(&row.writer, burial, None).await?;
        Ok(row.label.clone())
    }

    async fn read(
        &self,
        store: &dyn Store,
        verb: &str,
        reader: &Scope,
        rows: &[Standing],
    ) -> Result<Seen> {
        let letters = store.dead_letters();
        let mut labels = BTreeSet::new();
        match verb {
            "list" => {
                let page = Page::first(limits::PAGE_MAX);
                let found = letters.list(reader, &LetterFilter::default(), &page).await?;
                labels.extend(found.items.into_iter().map(|letter| letter.queue));
            }
            "stats" => {
                let total = letters.stats(reader, None).await?.total;
                return Ok(Seen::Count(usize::try_from(total).expect("few rows")));
            }
            "prune" => {
                let all = Prune { dry_run: true, ..Prune::older_than(Duration::ZERO) };
                let found = letters.prune(reader, &all).await?.items;
                return Ok(Seen::Count(usize::try_from(found).expect("few rows")));
            }
            "retry_all" => {
                for row in rows {
                    hand(store, row, Some(LATER)).await?;
                }
                let found = letters.retry_all(reader, &Retry::default()).await?.items;
                return Ok(Seen::Count(usize::try_from(found).expect("few rows")));
            }
            "take" => {
                for row in rows {
                    let taken = letters.take(reader, &row.name, 1, AT_ONCE).await?;
                    labels.extend(taken.into_iter().map(|delivery| delivery.receipt.queue));
                }
            }
            "get" | "attempts" => {
                for row in rows {
                    let page = Page::default();
                    let found = if verb == "get" {
                        letters.get(reader, &row.name, "item").await.map(drop)
                    } else {
                        letters.attempts(reader, &row.name, "item", &page).await.map(drop)
                    };
                    noted(&mut labels, row, found)?;
                }
            }
            // Tried on a receipt that the tenant's service got.
            _ => {
                for row in rows {
                    let receipt = hand(store, row, None).await?;
                    let found = match verb {
                        "extend" => letters.extend(reader, &receipt, LATER).await,
                        _ => letters.nack(reader, &receipt, Duration::ZERO).await,
                    };
                    noted(&mut labels, row, found)?;
                    // Back to where it was, unless the reader gave it back itself.
                    let service = Scope::tenant(row.row.writer.tenant.as_str());
                    let _ = letters.nack(&service, &receipt, Duration::ZERO).await;
                }
            }
        }
        Ok(Seen::Labels(labels))
    }

    async fn change(
        &self,
        store: &dyn Store,
        verb: &str,
        by: &Scope,
        row: &Standing,
    ) -> Result<()> {
        if verb == "delete" {
            return store.dead_letters().delete(by, &row.name, "item").await;
        }
        let receipt = hand(store, row, None).await?;
        let done = store.dead_letters().ack(by, &receipt).await;
        if done.is_err() {
            let service = Scope::tenant(row.row.writer.tenant.as_str());
            let _ = store.dead_letters().nack(&service, &receipt, Duration::ZERO).await;
        }
        done
    }
}

/// Takes a row for its tenant's service; gives it back when told for how long.
async fn hand(
    store: &dyn Store,
    row: &Standing,
    back_for: Option<Duration>,
) -> Result<DeliveryReceipt> {
    let service = Scope::tenant(row.row.writer.tenant.as_str());
    let taken = store.dead_letters().take(&service, &row.name, 1, LATER).await?;
    let gone = DeliveryReceipt { queue: row.name.clone(), item_id: "item".into(), delivery: 0 };
    let Some(delivery) = taken.into_iter().next() else { return Ok(gone) };
    if let Some(delay) = back_for {
        store.dead_letters().nack(&service, &delivery.receipt, delay).await?;
    }
    Ok(delivery.receipt)
}
