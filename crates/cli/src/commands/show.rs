//! How memories and tables look to people.

use chrono::{DateTime, Utc};
use comfy_table::{ContentArrangement, Table, presets};
use mnemon::Memory;
use serde_json::Value;

use crate::output::{shortened, width};

/// Characters of a memory's text in a table.
const CONTENT: usize = 400;

/// An empty table as wide as the terminal.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width())
        .set_header(header);
    table
}

/// A moment, to the second: what happens in one conversation lies close together.
pub(super) fn moment(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// A JSON value in a table: a text as it is, anything else as JSON; nothing for an empty one.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => shortened(text, CONTENT),
        Value::Object(object) if object.is_empty() => String::new(),
        other => shortened(&other.to_string(), CONTENT),
    }
}

/// The parts that there are, in one line.
pub(super) fn about(parts: impl IntoIterator<Item = Option<String>>) -> String {
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

/// A memory in a cell: its text, and below it what it is called and when it came to be.
pub(super) fn cell(memory: &Memory) -> String {
    let mut about = vec![memory.created_at.format("%Y-%m-%d %H:%M").to_string()];
    if let Some(user) = &memory.user {
        about.push(format!("of {user}"));
    }
    if !memory.namespace.as_str().is_empty() {
        about.push(format!("in {}", memory.namespace));
    }
    if memory.node_type != "fact" {
        about.push(memory.node_type.clone());
    }
    if let Some(key) = &memory.key {
        about.push(format!("key {key}"));
    }
    about.extend(memory.tags.iter().map(|tag| format!("#{tag}")));
    format!("{}\n{} · {}", shortened(&memory.content, CONTENT), memory.id, about.join(" · "))
}

/// A memory in full, one field a line, those that are empty left out.
pub(super) fn full(memory: &Memory) -> String {
    let mut lines = vec![memory.content.clone(), String::new()];
    let mut field = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("{name:<12} {value}"));
        }
    };
    let time = |time: Option<DateTime<Utc>>| time.map(|time| time.to_rfc3339()).unwrap_or_default();
    field("id", memory.id.to_string());
    field("key", memory.key.clone().unwrap_or_default());
    field("namespace", memory.namespace.to_string());
    field("type", memory.node_type.clone());
    field("tags", memory.tags.join(", "));
    field("tenant", memory.tenant.clone());
    field("user", memory.user.clone().unwrap_or_default());
    field("agent", memory.agent.clone().unwrap_or_default());
    field("session", memory.session.clone().unwrap_or_default());
    field("run", memory.run.clone().unwrap_or_default());
    field("visibility", memory.visibility.as_str().to_owned());
    field("shared with", memory.shared_with.join(", "));
    field("source", memory.source.clone().unwrap_or_default());
    field("codebase", memory.codebase.clone().unwrap_or_default());
    field("domains", memory.domains.join(", "));
    field("valid from", time(memory.valid_from));
    field("valid until", time(memory.valid_until));
    field("expires", time(memory.expires_at));
    field("created", time(Some(memory.created_at)));
    field("updated", time(Some(memory.updated_at)));
    if memory.metadata.as_object().is_some_and(|object| !object.is_empty()) {
        field("metadata", memory.metadata.to_string());
    }
    lines.join("\n")
}
