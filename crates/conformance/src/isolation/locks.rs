//! How the isolation matrix writes and asks locks.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::{Facet, Page, Result, Scope, Store};

use super::{Probe, Row, Seen, Standing};

const TTL: Duration = Duration::from_hours(1);

pub(super) struct LocksProbe;

#[async_trait]
impl Probe for LocksProbe {
    fn facet(&self) -> Facet {
        Facet::Locks
    }

    fn shares(&self) -> bool {
        false
    }

    fn writes(&self) -> &'static [&'static str] {
        &["acquire"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &["get", "list"]
    }

    fn changes(&self) -> &'static [&'static str] {
        &[]
    }

    async fn write(&self, store: &dyn Store, _verb: &str, row: &Row) -> Result<String> {
        store.locks().acquire(&row.writer, &row.label, "holder", TTL).await?;
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
        if verb == "get" {
            for row in rows {
                if store.locks().get(reader, &row.name).await?.is_some() {
                    labels.insert(row.row.label.clone());
                }
            }
        } else {
            let leases = store.locks().list(reader, &Page::first(500)).await?;
            labels.extend(leases.items.into_iter().map(|lease| lease.key));
        }
        Ok(Seen::Labels(labels))
    }

    async fn change(
        &self,
        _store: &dyn Store,
        verb: &str,
        _by: &Scope,
        _row: &Standing,
    ) -> Result<()> {
        unreachable!("{verb} is no verb of locks")
    }
}
