//! An utterance as a step: a turn, a memory, an event and a checkpoint, together or not at all.
//!
//! Everything in it comes from the data, so that sending it again is the same step.

use mnemon::checkpoints::{ChannelValue, CheckpointId, ExpectedHead, Put, Thread};
use mnemon::events::{Append, NewEvent};
use mnemon::import::locomo::Conversation;
use mnemon::turns::NewTurn;
use mnemon::{RequestId, Result, Scope, Step, Write};
use serde_json::json;

/// The channel that holds where a conversation stands.
pub(super) const STATE: &str = "state";

/// Who a conversation's person is.
pub(super) fn user(tenant: &str, conversation: &Conversation) -> Scope {
    Scope::tenant(tenant).user(&conversation.sample_id)
}

/// Who says a session of a conversation.
pub(super) fn session(tenant: &str, conversation: &Conversation, number: u32) -> Scope {
    user(tenant, conversation).session(format!("{}/{number}", conversation.sample_id))
}

/// The thread whose state a conversation is.
pub(super) fn thread(conversation: &Conversation) -> Thread {
    Thread::new(&conversation.sample_id)
}

/// The stream a conversation's events stand on.
pub(super) fn stream(conversation: &Conversation) -> String {
    format!("conversations/{}", conversation.sample_id)
}

/// The id of the step of the utterance at a place, from 0.
pub(super) fn id(conversation: &Conversation, at: usize) -> Result<RequestId> {
    let dia_id = &conversation.utterances[at].dia_id;
    RequestId::parse(format!("{}/{dia_id}", conversation.sample_id))
}

/// The step of the utterance at a place, from 0.
pub(super) fn step(conversation: &Conversation, at: usize) -> Result<Step> {
    let said = &conversation.utterances[at];
    let step = Step::new(id(conversation, at)?)
        .write(Write::Turn(Box::new(turn(conversation, at))))
        .write(Write::Remember(Box::new(said.memory()?)))
        .write(Write::Events(Append {
            stream: stream(conversation),
            events: vec![NewEvent {
                occurred_at: said.at,
                correlation_id: Some(conversation.sample_id.clone()),
                ..NewEvent::new(
                    "utterance.said",
                    json!({ "dia_id": said.dia_id, "speaker": said.speaker }),
                )
            }],
            expected_version: Some(i64::try_from(at).expect("utterances fit in memory")),
        }))
        .write(Write::Checkpoint(Box::new(checkpoint(conversation, at))));
    Ok(step)
}

/// Whoever speaks first is the user, the other one the assistant.
fn turn(conversation: &Conversation, at: usize) -> NewTurn {
    let said = &conversation.utterances[at];
    let text = Some(said.text.clone());
    let by_user = said.speaker == conversation.utterances[0].speaker;
    let (user_message, assistant_response) = if by_user { (text, None) } else { (None, text) };
    NewTurn {
        user_message,
        assistant_response,
        at: said.at,
        metadata: json!({ "dia_id": said.dia_id, "speaker": said.speaker, "shown": said.caption }),
        ..NewTurn::default()
    }
}

fn checkpoint(conversation: &Conversation, at: usize) -> Put {
    let said = &conversation.utterances[at];
    let messages = at + 1;
    let state = json!({ "last": said.dia_id, "messages": messages });
    Put {
        id: Some(CheckpointId(checkpoint_id(messages))),
        expected_head: match at {
            0 => ExpectedHead::Empty,
            _ => ExpectedHead::Is(CheckpointId(checkpoint_id(at))),
        },
        superstep: i64::try_from(messages).ok(),
        ..Put::new(thread(conversation)).channel(STATE, ChannelValue::json(&state))
    }
}

/// Sorts as the numbers do.
fn checkpoint_id(messages: usize) -> String {
    format!("{messages:08}")
}
