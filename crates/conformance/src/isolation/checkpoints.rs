//! How the isolation matrix writes and asks checkpoints.

use std::collections::BTreeSet;

use async_trait::async_trait;
use mnemon_core::checkpoints::{Put, Thread};
use mnemon_core::{Facet, Page, Result, Scope, Store};

use super::{Probe, Row, Seen, Standing, noted};

pub(super) struct CheckpointsProbe;

#[async_trait]
impl Probe for CheckpointsProbe {
    fn facet(&self) -> Facet {
        Facet::Checkpoints
    }

    fn shares(&self) -> bool {
        false
    }

    fn writes(&self) -> &'static [&'static str] {
        &["put"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &["get", "history"]
    }

    fn changes(&self) -> &'static [&'static str] {
        &[]
    }

    async fn write(&self, store: &dyn Store, _verb: &str, row: &Row) -> Result<String> {
        let put = Put::new(Thread::new(row.label.as_str()));
        store.checkpoints().put(&row.writer, put, None).await?;
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
        for row in rows {
            let thread = Thread::new(row.name.as_str());
            if verb == "get" {
                noted(&mut labels, row, store.checkpoints().get(reader, &thread, None).await)?;
            } else {
                let found = store.checkpoints().history(reader, &thread, &Page::first(9)).await?;
                labels.extend(found.items.first().map(|_| row.row.label.clone()));
            }
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
        unreachable!("{verb} is no verb of checkpoints")
    }
}
