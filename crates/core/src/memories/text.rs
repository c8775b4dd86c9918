//! From text to lexemes, the same for both databases: words by Unicode's rules (UAX #29),
//! lower-cased, accents folded, stemmed by Snowball. Identifiers (`snake_case`, `a.b`) also count
//! by their parts.
//!
//! Every word is kept at its position, common ones included, so that names and phrases match; it
//! is the question that leaves common words out while rarer ones are there.

mod question;
mod stop;

use std::collections::BTreeMap;

use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

pub use question::{Phrase, Plan, Question, plan};

use crate::limits;

/// Where in a memory a word stands; see [`super::bm25::weight`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// In the text.
    Content,
    /// In the node type.
    NodeType,
    /// In a tag.
    Tags,
}

/// One occurrence of a lexeme.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Occurrence {
    /// The word's position, from 1, at most [`limits::LEXEME_POSITION_MAX`].
    pub position: u16,
    /// Where it stands.
    pub place: Place,
}

/// A memory's words, ready to be indexed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Document {
    /// Occurrences per lexeme, at most [`limits::LEXEME_POSITIONS`] each.
    pub lexemes: BTreeMap<String, Vec<Occurrence>>,
    /// Words of the text: its length for BM25.
    pub words: u32,
}

impl Document {
    /// A lexeme's weighted count for BM25.
    pub fn count(&self, lexeme: &str) -> f64 {
        self.lexemes
            .get(lexeme)
            .map_or(0.0, |found| found.iter().map(|at| super::bm25::weight(at.place)).sum())
    }

    fn add(&mut self, lexeme: String, position: u32, place: Place) {
        let position = u16::try_from(position)
            .unwrap_or(limits::LEXEME_POSITION_MAX)
            .min(limits::LEXEME_POSITION_MAX);
        let occurrences = self.lexemes.entry(lexeme).or_default();
        let occurrence = Occurrence { position, place };
        if occurrences.len() < limits::LEXEME_POSITIONS && !occurrences.contains(&occurrence) {
            occurrences.push(occurrence);
        }
    }
}

/// Positions left between two fields, so that no phrase spans them.
const GAP: u32 = 10;

/// Cuts a memory into lexemes.
///
/// ```
/// use mnemon_core::memories::text::analyze;
///
/// let document = analyze("She was running to the Café", "fact", &["sport".into()]);
/// assert_eq!(document.words, 6);
/// assert!(document.lexemes.contains_key("run"));
/// assert!(document.lexemes.contains_key("cafe"));
/// assert!(document.lexemes.contains_key("sport"));
/// ```
pub fn analyze(content: &str, node_type: &str, tags: &[String]) -> Document {
    let mut document = Document::default();
    let mut last = 0;
    let stemmer = stemmer();
    for word in words(&stemmer, content) {
        document.add(word.lexeme, word.position, Place::Content);
        last = word.position;
    }
    document.words = last;
    let fields = std::iter::once((node_type, Place::NodeType))
        .chain(tags.iter().map(|tag| (tag.as_str(), Place::Tags)));
    for (text, place) in fields {
        let start = last + GAP;
        for word in words(&stemmer, text) {
            last = start + word.position;
            document.add(word.lexeme, last, place);
        }
    }
    document
}

/// A word with its position in its text, from 1; parts of one identifier follow each other, and
/// the whole stands at its first part.
struct Word {
    lexeme: String,
    position: u32,
    /// The word is an identifier's whole beside its parts.
    whole: bool,
    /// Before stemming, folded.
    surface: String,
}

fn stemmer() -> Stemmer {
    Stemmer::create(Algorithm::English)
}

fn words(stemmer: &Stemmer, text: &str) -> Vec<Word> {
    let mut found = Vec::new();
    let mut position = 0;
    for word in text.unicode_words() {
        let surface = fold(word);
        let parts: Vec<&str> = surface
            .split(|c: char| !c.is_alphanumeric() && c != '\'')
            .filter(|p| !p.is_empty())
            .collect();
        if parts.len() > 1 {
            found.push(lexeme(stemmer, &surface, position + 1, true));
        }
        for part in parts {
            position += 1;
            found.push(lexeme(stemmer, part, position, false));
        }
    }
    found
}

fn lexeme(stemmer: &Stemmer, surface: &str, position: u32, whole: bool) -> Word {
    let stem = if whole { surface.to_owned() } else { stemmer.stem(surface).into_owned() };
    Word { lexeme: cut(stem), position, whole, surface: surface.to_owned() }
}

/// Lower case, compatibility forms and accents folded, curly apostrophes straightened.
fn fold(word: &str) -> String {
    word.nfkd()
        .filter(|c| !('\u{300}'..='\u{36f}').contains(c))
        .flat_map(char::to_lowercase)
        .map(|c| if c == '\u{2019}' { '\'' } else { c })
        .nfc()
        .collect()
}

/// Cut at [`limits::LEXEME_BYTES`], on a character boundary.
fn cut(mut text: String) -> String {
    if text.len() > limits::LEXEME_BYTES {
        text.truncate(text.floor_char_boundary(limits::LEXEME_BYTES));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexemes(text: &str) -> Vec<String> {
        words(&stemmer(), text).into_iter().map(|word| word.lexeme).collect()
    }

    #[test]
    fn possessives_and_inflections_meet_their_stem() {
        assert_eq!(lexemes("Melanie\u{2019}s painting paints"), ["melani", "paint", "paint"]);
    }

    #[test]
    fn an_identifier_counts_whole_and_by_its_parts() {
        assert_eq!(lexemes("open_pool 3.14"), ["open_pool", "open", "pool", "3.14", "3", "14"]);
    }

    #[test]
    fn no_word_is_lost_in_other_scripts() {
        assert_eq!(lexemes("\u{6771}\u{4eac} \u{5e9}\u{5dc}\u{5d5}\u{5dd}").len(), 3);
    }

    #[test]
    fn an_endless_word_is_cut_at_the_limit() {
        let long = "\u{e4}".repeat(10_000);

        assert!(lexemes(&long)[0].len() <= limits::LEXEME_BYTES);
    }

    #[test]
    fn repetition_beyond_the_limit_of_positions_is_dropped() {
        let document = analyze(&"again ".repeat(1_000), "fact", &[]);

        assert_eq!(document.lexemes["again"].len(), limits::LEXEME_POSITIONS);
        assert_eq!(document.words, 1_000);
    }

    #[test]
    fn no_phrase_spans_two_fields() {
        let document = analyze("one", "two", &["three".into(), "four".into()]);
        let at = |lexeme: &str| document.lexemes[lexeme][0].position;

        assert!(at("two") > at("one") + 1 && at("four") > at("three") + 1);
    }
}
