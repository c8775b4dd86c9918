//! How the isolation matrix writes and asks dead letters.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::dead_letters::{Burial, DeliveryReceipt};
use mnemon_core::{Facet, Page, Result, Scope, Store};
use serde_json::Value;

use super::{Probe, Row, Seen, Standing};

/// Whatever is taken may be taken again at once.
const AT_ONCE: Duration = Duration::from_micros(1);
/// Longer than a case lasts.
const AN_HOUR: Duration = Duration::from_hours(1);

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
        &["list", "take"]
    }

    fn changes(&self) -> &'static [&'static str] {
        &["ack"]
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
        let mut labels = BTreeSet::new();
        if verb == "list" {
            let all = store.dead_letters().list(reader, None, &Page::first(500)).await?;
            labels.extend(all.items.into_iter().map(|letter| letter.queue));
            return Ok(Seen::Labels(labels));
        }
        for row in rows {
            let taken = store.dead_letters().take(reader, &row.name, 1, AT_ONCE).await?;
            labels.extend(taken.into_iter().map(|delivery| delivery.receipt.queue));
        }
        Ok(Seen::Labels(labels))
    }

    async fn change(
        &self,
        store: &dyn Store,
        _verb: &str,
        by: &Scope,
        row: &Standing,
    ) -> Result<()> {
        let service = Scope::tenant(row.row.writer.tenant.as_str());
        let letters = store.dead_letters();
        // Buried again it is visible, whoever took it before; what is gone stays gone.
        let there = letters.list(&service, Some(&row.name), &Page::first(1)).await?;
        if !there.items.is_empty() {
            let burial = Burial::new(row.name.as_str(), "item", Value::Null, "it failed");
            letters.bury(&service, burial, None).await?;
        }
        let taken = letters.take(&service, &row.name, 1, AN_HOUR).await?;
        let gone = DeliveryReceipt { queue: row.name.clone(), item_id: "item".into(), delivery: 0 };
        let receipt = taken.into_iter().next().map_or(gone, |delivery| delivery.receipt);
        letters.ack(by, &receipt).await
    }
}
