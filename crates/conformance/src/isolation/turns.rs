//! How the isolation matrix writes and asks turns.

use std::collections::BTreeSet;

use async_trait::async_trait;
use mnemon_core::turns::{CONVERSATION, NewTurn};
use mnemon_core::{Facet, Page, Result, Scope, Store};

use super::{Probe, Row, Seen, Standing};

pub(super) struct TurnsProbe;

#[async_trait]
impl Probe for TurnsProbe {
    fn facet(&self) -> Facet {
        Facet::Turns
    }

    fn shares(&self) -> bool {
        false
    }

    fn writes(&self) -> &'static [&'static str] {
        &["append"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &["list", "context"]
    }

    fn changes(&self) -> &'static [&'static str] {
        &[]
    }

    async fn write(&self, store: &dyn Store, _verb: &str, row: &Row) -> Result<String> {
        let turn = NewTurn::new(row.label.as_str(), "answer");
        store.turns().append(&row.writer, turn, None).await?;
        Ok(row.label.clone())
    }

    async fn read(
        &self,
        store: &dyn Store,
        verb: &str,
        reader: &Scope,
        _rows: &[Standing],
    ) -> Result<Seen> {
        let mut labels = BTreeSet::new();
        let turns = if verb == "list" {
            store.turns().list(reader, CONVERSATION, &Page::first(500)).await?.items
        } else {
            store.turns().context(reader, CONVERSATION).await?.recent_turns
        };
        labels.extend(turns.into_iter().filter_map(|turn| turn.user_message));
        Ok(Seen::Labels(labels))
    }

    async fn change(
        &self,
        _store: &dyn Store,
        verb: &str,
        _by: &Scope,
        _row: &Standing,
    ) -> Result<()> {
        unreachable!("{verb} is no verb of turns")
    }
}
