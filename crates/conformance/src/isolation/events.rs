//! How the isolation matrix writes and asks events.

use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::events::{Append, Event, EventFilter, Import, Imported, NewEvent, SYSTEM_STREAM};
use mnemon_core::upkeep::Task;
use mnemon_core::{Facet, Page, Result, Scope, Store};
use serde_json::json;

use super::{Probe, Row, Seen, Standing};

/// What is appended goes here; notes go to the system stream.
const STREAM: &str = "probe";
/// Names of streams that are imported begin with this.
const IMPORTED: &str = "imported-";

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
        &["note", "append", "append_many", "import"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &["read", "read_all", "list", "search", "count", "aggregate"]
    }

    /// Events are never changed.
    fn changes(&self) -> &'static [&'static str] {
        &[]
    }

    async fn write(&self, store: &dyn Store, verb: &str, row: &Row) -> Result<String> {
        let data = json!({ "label": row.label });
        let events = store.events();
        let append = |data| Append {
            stream: STREAM.to_owned(),
            events: vec![NewEvent::new("probe", data)],
            expected_version: None,
        };
        let done = match verb {
            "append" => events.append(&row.writer, append(data), None).await?,
            "append_many" => {
                events.append_many(&row.writer, vec![append(data)]).await?.remove(0)?
            }
            "import" => {
                let recorded_at = store.health().await?.now;
                let event = Imported { event: NewEvent::new("probe", data), recorded_at };
                // Each its own stream: the others stand at times of later commits.
                let stream = format!("{IMPORTED}{}", row.label);
                events.import(&row.writer, Import { stream, events: vec![event] }).await?
            }
            _ => {
                let version = events.note(&row.writer, "probe", data, Duration::ZERO).await?;
                return Ok(version.expect("no note is too soon").to_string());
            }
        };
        Ok(done.stream_version.to_string())
    }

    async fn read(
        &self,
        store: &dyn Store,
        verb: &str,
        reader: &Scope,
        rows: &[Standing],
    ) -> Result<Seen> {
        let events = store.events();
        let all = EventFilter::default();
        let label = |event: &Event| event.data["label"].as_str().map(str::to_owned);
        let mut labels = Vec::new();
        match verb {
            "read_all" => {
                let mut after = None;
                loop {
                    let slice = events.read_all(reader, &all, after.as_ref(), 7).await?;
                    labels.extend(slice.events.iter().filter_map(label));
                    after = Some(slice.next);
                    if slice.caught_up && !slice.pending {
                        break;
                    }
                }
            }
            "search" => {
                // Somebody on the same server may hold the horizon for a moment.
                loop {
                    let slice = events.read_all(reader, &all, None, 1).await?;
                    if !slice.pending {
                        break;
                    }
                }
                // Every kind of theirs is this word.
                let lease = store.upkeep().claim(Task::EventSearch, "probe", true).await?;
                if let Some(lease) = lease {
                    while store.upkeep().batch(&lease).await?.more {}
                    store.upkeep().finish(&lease, None).await?;
                }
                let mut page = Page::first(7);
                loop {
                    let piece = events.search(reader, "probe", &all, &page).await?;
                    labels.extend(piece.items.iter().filter_map(label));
                    let Some(cursor) = piece.next else { break };
                    page.cursor = Some(cursor);
                }
            }
            "list" => {
                let mut page = Page::first(7);
                loop {
                    let piece = events.list(reader, &all, &page).await?;
                    labels.extend(piece.items.iter().filter_map(label));
                    let Some(cursor) = piece.next else { break };
                    page.cursor = Some(cursor);
                }
            }
            "count" => {
                let count = events.count(reader, &all).await?;
                return Ok(Seen::Count(usize::try_from(count).expect("a small count")));
            }
            "aggregate" => {
                let mut count = 0;
                for stream in streams(rows) {
                    count += events.aggregate(reader, &stream).await?.events;
                }
                return Ok(Seen::Count(usize::try_from(count).expect("a small count")));
            }
            _ => {
                for stream in streams(rows) {
                    let mut page = Page::first(10);
                    loop {
                        let piece = events.read(reader, &stream, &page).await?;
                        labels.extend(piece.items.iter().filter_map(label));
                        let Some(cursor) = piece.next else { break };
                        page.cursor = Some(cursor);
                    }
                }
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

/// Every stream that holds a row.
fn streams(rows: &[Standing]) -> Vec<String> {
    let imported = rows.iter().map(|standing| format!("{IMPORTED}{}", standing.row.label));
    [SYSTEM_STREAM, STREAM].into_iter().map(str::to_owned).chain(imported).collect()
}
