//! What of an utterance is indexed: itself, with the day it was said, or with what was said around it.

use mnemon::NewMemory;
use mnemon::import::locomo::Conversation;

/// How an utterance becomes a memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Variant {
    /// `speaker: text` and the caption, as `import` makes it.
    Plain,
    /// The day of the session before it.
    Dated,
    /// The utterances before and after it in the session beside it.
    Neighbours,
}

impl Variant {
    /// All of them, the one that bars are about first.
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Dated, Self::Neighbours];

    /// The name in tables.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Dated => "dated",
            Self::Neighbours => "neighbours",
        }
    }

    /// The memories of a conversation, one an utterance.
    pub(super) fn memories(self, conversation: &Conversation) -> mnemon::Result<Vec<NewMemory>> {
        let plain = conversation
            .utterances
            .iter()
            .map(mnemon::import::locomo::Utterance::memory)
            .collect::<mnemon::Result<Vec<_>>>()?;
        let mut memories = plain.clone();
        for (at, memory) in memories.iter_mut().enumerate() {
            match self {
                Self::Plain => {}
                Self::Dated => {
                    if let Some(day) = conversation.utterances[at].at {
                        memory.content = format!("{} {}", day.format("%-d %B %Y"), memory.content);
                    }
                }
                Self::Neighbours => {
                    let beside = [at.checked_sub(1), Some(at + 1)].into_iter().flatten();
                    for other in beside {
                        if conversation.utterances.get(other).map(|u| u.session)
                            == Some(conversation.utterances[at].session)
                        {
                            memory.content.push('\n');
                            memory.content.push_str(&plain[other].content);
                        }
                    }
                }
            }
        }
        Ok(memories)
    }
}
