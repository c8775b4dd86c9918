//! What is saved: a list of messages as JSON, the same for everybody who is measured.

use serde::Serialize;

/// How one message changes from save to save.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    /// A message more, at the end.
    Append,
    /// Another message in the middle.
    Replace,
    /// A message more, near the front.
    Insert,
}

impl How {
    pub(super) const ALL: [Self; 3] = [Self::Append, Self::Replace, Self::Insert];

    /// The name in tables, and for the peer.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Replace => "replace",
            Self::Insert => "insert",
        }
    }
}

/// Messages to begin with, and messages to change to.
#[derive(Debug, Serialize)]
pub(super) struct Messages {
    pub(super) base: Vec<String>,
    pub(super) changes: Vec<String>,
}

impl Messages {
    /// `bytes` of messages of `each` bytes, and `changes` more.
    pub(super) fn new(bytes: usize, each: usize, changes: usize) -> Self {
        let mut words = Words(0x9E37_79B9_7F4A_7C15);
        // A JSON string in a list has two quotes and a comma.
        let count = bytes / (each + 3);
        Self {
            base: (0..count).map(|_| words.text(each)).collect(),
            changes: (0..changes).map(|_| words.text(each)).collect(),
        }
    }
}

/// A state that changes.
#[derive(Clone, Debug)]
pub(super) struct State {
    messages: Vec<String>,
}

impl State {
    pub(super) fn of(messages: &[String]) -> Self {
        Self { messages: messages.to_vec() }
    }

    pub(super) fn change(&mut self, how: How, message: &str) {
        let message = message.to_owned();
        match how {
            How::Append => self.messages.push(message),
            How::Replace => {
                let middle = self.messages.len() / 2;
                self.messages[middle] = message;
            }
            How::Insert => self.messages.insert(3, message),
        }
    }

    /// The state as JSON.
    pub(super) fn text(&self) -> String {
        let size: usize = self.messages.iter().map(|message| message.len() + 3).sum();
        let mut text = String::with_capacity(size + 2);
        for message in &self.messages {
            text.push(if text.is_empty() { '[' } else { ',' });
            text.push('"');
            text.push_str(message);
            text.push('"');
        }
        text.push(']');
        text
    }
}

/// Words that nobody compresses away: three syllables of forty each.
struct Words(u64);

const SYLLABLES: [&str; 40] = [
    "ka", "lo", "mi", "tan", "ver", "so", "ri", "bel", "du", "na", "pho", "gra", "shi", "wen",
    "ter", "po", "lu", "chi", "sam", "ro", "ve", "ni", "kor", "ta", "el", "mo", "pri", "an", "dra",
    "je", "ful", "is", "ho", "zen", "qua", "bri", "op", "tu", "mer", "ly",
];

impl Words {
    fn next(&mut self) -> usize {
        // xorshift64: any fixed sequence would do.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 40).unwrap_or_default()
    }

    /// A text of exactly so many ASCII bytes.
    fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 16);
        while text.len() < bytes {
            for _ in 0..=self.next() % 3 {
                text.push_str(SYLLABLES[self.next() % SYLLABLES.len()]);
            }
            text.push(' ');
        }
        text.truncate(bytes);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_json_of_the_size_asked_for() {
        let messages = Messages::new(10_000, 1_021, 2);
        let mut state = State::of(&messages.base);
        for how in How::ALL {
            state.change(how, &messages.changes[0]);
        }

        let read: Vec<String> = serde_json::from_str(&state.text()).unwrap();

        assert_eq!(messages.base.len(), 9);
        assert_eq!(read.len(), 11);
        assert_eq!(read.iter().filter(|&text| *text == messages.changes[0]).count(), 3);
    }
}
