//! How the isolation matrix writes and asks events.

use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::events::{Append, NewEvent, SYSTEM_STREAM};
use mnemon_core::{Facet, Page, Result, Scope, Store};
use serde_json::json;

use super::{Probe, Row, Seen, Standing};

/// What is appended goes here; notes go to the system stream.
const STREAM: &str = "probe";

pub(super) struct EventsProbe;

#[async_trait]
impl Probe for EventsProbe {
    fn facet(&self) -> Facet {
        Facet::Events
    }

    fn shares(&self) -> bool {
        false
    }

    fn writes(&self) -> &'static [&'static str] {
        &["note", "append"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &["read"]
    }

    /// Events are never changed.
    fn changes(&self) -> &'static [&'static str] {
        &[]
    }

    async fn write(&self, store: &dyn Store, verb: &str, row: &Row) -> Result<String> {
        let data = json!({ "label": row.label });
        let events = store.events();
        if verb == "append" {
            let append = Append {
                stream: STREAM.to_owned(),
                events: vec![NewEvent::new("probe", data)],
                expected_version: None,
            };
            let done = events.append(&row.writer, append, None).await?;
            return Ok(done.stream_version.to_string());
        }
        let version = events.note(&row.writer, "probe", data, Duration::ZERO).await?;
        Ok(version.expect("no note is too soon").to_string())
    }

    async fn read(
        &self,
        store: &dyn Store,
        _verb: &str,
        reader: &Scope,
        _rows: &[Standing],
    ) -> Result<Seen> {
        let mut labels = Vec::new();
        for stream in [SYSTEM_STREAM, STREAM] {
            let mut page = Page::first(10);
            loop {
                let piece = store.events().read(reader, stream, &page).await?;
                let label = |data: &serde_json::Value| data["label"].as_str().map(str::to_owned);
                labels.extend(piece.items.iter().filter_map(|event| label(&event.data)));
                let Some(cursor) = piece.next else { break };
                page.cursor = Some(cursor);
            }
        }
        Ok(Seen::Labels(labels.into_iter().collect()))
    }

    async fn change(
        &self,
        _store: &dyn Store,
        verb: &str,
        _by: &Scope,
        _row: &Standing,
    ) -> Result<()> {
        unreachable!("{verb} is no verb of events")
    }
}
