//! The events that are measured: some 300 bytes of payload each, from a fixed seed.

use std::fmt::Write as _;

use mnemon::events::{Append, NewEvent};
use mnemon::{EventId, Scope};
use serde_json::{Value, json};

/// Bytes of each payload, about.
const PAYLOAD: usize = 300;
/// Different words of all payloads together.
const VOCABULARY: u64 = 4_000;
/// Kinds that are given in turn.
pub(crate) const KINDS: [&str; 8] = [
    "agent.started",
    "agent.progress",
    "agent.tool_called",
    "agent.tokens_used",
    "agent.completed",
    "agent.failed",
    "job.checkpointed",
    "job.merged",
];
/// Events that belong together.
const CORRELATED: u64 = 40;

/// Who writes, by side.
pub(crate) fn scope(side: &str) -> Scope {
    Scope::tenant(side).user("ada").agent("planner")
}

/// A payload: the same for the same number.
pub(crate) fn payload(number: u64) -> Value {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::with_capacity(PAYLOAD);
    while text.len() < PAYLOAD - 60 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        write!(text, "w{} ", state % VOCABULARY).expect("a String takes any text");
    }
    json!({ "item": number, "success": !number.is_multiple_of(9), "duration_ms": state % 9_000, "text": text })
}

/// What a correlation is called.
pub(crate) fn correlation(number: u64) -> String {
    format!("c{}", number / CORRELATED)
}

/// An event with an id that belongs to its side and number.
pub(crate) fn event(side: u64, number: u64) -> NewEvent {
    let id = (u128::from(side) << 64) | (7 << 76) | (2 << 62) | u128::from(number);
    NewEvent {
        id: Some(EventId(uuid::Uuid::from_u128(id))),
        correlation_id: Some(correlation(number)),
        ..NewEvent::new(KINDS[usize::try_from(number % 8).expect("below 8")], payload(number))
    }
}

/// A batch with ids, of one stream.
pub(crate) fn batch(side: u64, first: u64, count: u64, stream: &str) -> Append {
    let events = (first..first + count).map(|number| event(side, number)).collect();
    Append { stream: stream.to_owned(), events, expected_version: None }
}

/// One event without an id.
pub(crate) fn single(number: u64, stream: &str) -> Append {
    let event = NewEvent::new("agent.progress", payload(number));
    Append { stream: stream.to_owned(), events: vec![event], expected_version: None }
}
