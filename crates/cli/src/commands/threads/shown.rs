//! How checkpoints and their differences look to people.

use std::collections::BTreeMap;

use mnemon::checkpoints::{Change, ChannelValue, Checkpoint};

use super::show;
use crate::output::shortened;

/// Characters of a channel's value in a table.
const VALUE: usize = 400;

/// A checkpoint with its channels and what is pending on top of it.
pub(super) fn checkpoint(found: &Checkpoint) -> String {
    let about = show::about([
        Some(format!("{} version {}", found.thread, found.version)),
        Some(show::moment(found.created_at)),
        found.superstep.map(|superstep| format!("superstep {superstep}")),
        found.run.as_ref().map(|run| format!("run {run}")),
        Some(show::value(&found.metadata)),
    ]);
    let parent = found.parent.as_ref().map_or_else(String::new, |parent| format!(" on {parent}"));
    let head = format!("{about}\n{}{parent}", found.id);
    let channels = if found.channels.is_empty() {
        "no channels".to_owned()
    } else {
        let mut table = show::table(&["channel", "type", "bytes", "value"]);
        for (name, channel) in &found.channels {
            table.add_row([
                name.clone(),
                channel.type_tag.clone(),
                channel.bytes.len().to_string(),
                value(channel),
            ]);
        }
        table.to_string()
    };
    if found.pending_writes.is_empty() {
        return format!("{head}\n{channels}");
    }
    let mut table = show::table(&["pending of task", "channel", "value"]);
    for write in &found.pending_writes {
        table.add_row([write.task_id.clone(), write.channel.clone(), value(&write.value)]);
    }
    format!("{head}\n{channels}\n{table}")
}

/// What differs, by channel.
pub(super) fn changes(changes: &BTreeMap<String, Change>) -> String {
    if changes.is_empty() {
        return "no difference".to_owned();
    }
    let mut table = show::table(&["channel", "before", "after"]);
    for (name, change) in changes {
        let (before, after) = match change {
            Change::Added { after } => (String::new(), value(after)),
            Change::Removed { before } => (value(before), String::new()),
            Change::Changed { before, after } => (value(before), value(after)),
        };
        table.add_row([name.clone(), before, after]);
    }
    table.to_string()
}

/// Text as it is; what is no text is there with `--json`.
fn value(value: &ChannelValue) -> String {
    std::str::from_utf8(&value.bytes)
        .ok()
        .filter(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()))
        .map_or_else(|| "(bytes; --json shows them)".to_owned(), |text| shortened(text, VALUE))
}
