//! How the isolation matrix writes and asks claims.

use std::collections::BTreeSet;

use async_trait::async_trait;
use mnemon_core::claims::{AsOf, AuditQuery, Line, NewClaim};
use mnemon_core::{Facet, Page, Result, Scope, Store};

use super::{Probe, Row, Seen, Standing};

pub(super) struct ClaimsProbe;

#[async_trait]
impl Probe for ClaimsProbe {
    fn facet(&self) -> Facet {
        Facet::Claims
    }

    fn shares(&self) -> bool {
        false
    }

    fn writes(&self) -> &'static [&'static str] {
        &["assert"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &["belief", "ledger"]
    }

    fn changes(&self) -> &'static [&'static str] {
        &[]
    }

    async fn write(&self, store: &dyn Store, _verb: &str, row: &Row) -> Result<String> {
        let claim = NewClaim::new(row.label.as_str(), "is", row.label.as_str());
        store.claims().assert(&row.writer, claim, None).await?;
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
        if verb == "belief" {
            for row in rows {
                let line = Line::parse(row.name.as_str(), "is")?;
                let belief = store.claims().belief(reader, &line, AsOf::default()).await?;
                let value =
                    belief.primary.and_then(|primary| primary.value.as_str().map(str::to_owned));
                labels.extend(value);
            }
        } else {
            let entries = store
                .claims()
                .query_audit(reader, &AuditQuery::default(), &Page::first(500))
                .await?;
            let payloads = entries.items.into_iter().filter_map(|entry| entry.payload);
            labels.extend(
                payloads.filter_map(|payload| payload["value"].as_str().map(str::to_owned)),
            );
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
        unreachable!("{verb} is no verb of claims")
    }
}
