//! How the isolation matrix writes and asks workflow runs.

use std::collections::BTreeSet;

use async_trait::async_trait;
use mnemon_core::workflows::SaveRun;
use mnemon_core::{Facet, Result, Scope, Store};

use super::{Probe, Row, Seen, Standing, noted};

pub(super) struct WorkflowsProbe;

#[async_trait]
impl Probe for WorkflowsProbe {
    fn facet(&self) -> Facet {
        Facet::Workflows
    }

    fn shares(&self) -> bool {
        false
    }

    fn writes(&self) -> &'static [&'static str] {
        &["save"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &["load"]
    }

    fn changes(&self) -> &'static [&'static str] {
        &[]
    }

    async fn write(&self, store: &dyn Store, _verb: &str, row: &Row) -> Result<String> {
        let run = SaveRun::new(row.label.as_str(), "test");
        store.workflows().save(&row.writer, run, None).await?;
        Ok(row.label.clone())
    }

    async fn read(
        &self,
        store: &dyn Store,
        _verb: &str,
        reader: &Scope,
        rows: &[Standing],
    ) -> Result<Seen> {
        let mut labels = BTreeSet::new();
        for row in rows {
            noted(&mut labels, row, store.workflows().load(reader, &row.name).await)?;
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
        unreachable!("{verb} is no verb of workflow runs")
    }
}
