//! Searching events by their words: what of an event is searched, and what a text asks for. Words
//! are cut as those of memories, so that both databases find the same.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::limits;
use crate::memories::text::{Document, Language, Phrase, Question, analyze};

/// A log speaks of programs: its words are cut alike whatever the memories are written in.
const LANGUAGE: Language = Language::English;

/// The words of an event: its kind, and the strings of its data in the order of their keys, up to
/// [`limits::EVENT_SEARCH_BYTES`]. No phrase spans two strings.
///
/// ```
/// use mnemon_core::events::document;
///
/// let data = serde_json::json!({ "error": "connection refused", "tries": 3 });
/// let words = document("agent.failed", &data);
/// assert!(words.lexemes.contains_key("refus"));
/// assert!(words.lexemes.contains_key("agent.failed"));
/// ```
pub fn document(kind: &str, data: &Value) -> Document {
    let mut strings = Vec::new();
    let mut left = limits::EVENT_SEARCH_BYTES;
    collect(data, &mut strings, &mut left);
    analyze(LANGUAGE, "", kind, &strings)
}

fn collect(data: &Value, strings: &mut Vec<String>, left: &mut usize) {
    match data {
        Value::String(text) if *left > 0 => {
            let end = text.floor_char_boundary(text.len().min(*left));
            *left -= if end < text.len() { *left } else { end };
            strings.push(text[..end].to_owned());
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, strings, left)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, strings, left)),
        _ => {}
    }
}

/// What a text asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sought {
    /// Every one must be there; a word alone is a phrase of one.
    pub required: Vec<Phrase>,
    /// None may be there.
    pub excluded: Vec<Phrase>,
}

impl Sought {
    /// Reads a text as [`Question::parse`] does; every word must be there.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it holds no word, too many, or is over [`limits::RECALL_TEXT_BYTES`].
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > limits::RECALL_TEXT_BYTES {
            let reason = format!(
                "has {} bytes; at most {} are allowed",
                text.len(),
                limits::RECALL_TEXT_BYTES
            );
            return Err(Error::invalid("text", reason));
        }
        let question = Question::parse(LANGUAGE, text);
        if question.is_empty() {
            return Err(Error::invalid("text", "holds no word to look for"));
        }
        limits::count("text", question.terms.len(), limits::QUERY_TERMS)?;
        let alone = question.terms.into_iter().map(|lexeme| vec![(0, lexeme)]);
        let phrases = question.required.into_iter().filter(|phrase| phrase.len() > 1);
        let excluded = question.excluded.into_iter().filter(|phrase| !phrase.is_empty()).collect();
        Ok(Self { required: alone.chain(phrases).collect(), excluded })
    }

    /// Whether the words of an event are those asked for.
    pub fn fits(&self, words: &Document) -> bool {
        self.required.iter().all(|phrase| holds(words, phrase))
            && !self.excluded.iter().any(|phrase| holds(words, phrase))
    }
}

/// Whether the lexemes of a phrase follow each other at their distances somewhere.
fn holds(words: &Document, phrase: &Phrase) -> bool {
    let Some(((_, first), rest)) = phrase.split_first() else { return false };
    let Some(starts) = words.lexemes.get(first) else { return false };
    starts.iter().any(|start| {
        let mut at = start.position;
        rest.iter().all(|(distance, lexeme)| {
            at = at.saturating_add(*distance);
            let found = words.lexemes.get(lexeme);
            found.is_some_and(|found| found.iter().any(|here| here.position == at))
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fits(text: &str, data: &Value) -> bool {
        Sought::parse(text).unwrap().fits(&document("agent.failed", data))
    }

    #[test]
    fn every_word_must_be_there_and_phrases_in_their_order() {
        let data =
            json!({ "error": "connection to db7 refused", "step": ["cargo test", { "x": "y" }] });

        assert!(fits("refused connections", &data));
        assert!(fits("\"cargo test\"", &data));
        assert!(!fits("\"test cargo\"", &data));
        assert!(!fits("refused cargo -db7", &data));
        assert!(!fits("refused elsewhere", &data));
        // A phrase does not span two strings.
        assert!(!fits("\"refused cargo\"", &data));
        assert!(fits("failed", &data));
    }

    #[test]
    fn a_text_without_a_word_is_refused_and_long_data_is_cut() {
        assert!(Sought::parse(" -- ").is_err());
        let long = json!(["x ".repeat(limits::EVENT_SEARCH_BYTES), "last"]);
        assert!(!fits("last", &long));
        assert!(fits("x", &long));
    }
}
