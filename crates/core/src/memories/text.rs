//! From text to lexemes, the same for both databases: words by Unicode's rules (UAX #29),
//! lower-cased, stemmed by Snowball's algorithm for the [`Language`], accents folded. Identifiers
//! (`snake_case`, `a.b`) also count by their parts, and whole without a stem, so that they match in
//! every language.
//!
//! Every word is kept at its position, common ones included, so that names and phrases match; it
//! is the question that leaves common words out while rarer ones are there.

mod language;
mod question;
mod stop;

use std::collections::BTreeMap;

use rust_stemmers::Stemmer;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

pub use language::{Known, Language, Wording};
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
/// use mnemon_core::memories::text::{Language, analyze};
///
/// let tags = ["sport".into()];
/// let document = analyze(Language::English, "She was running to the Café", "fact", &tags);
/// assert_eq!(document.words, 6);
/// assert!(document.lexemes.contains_key("run"));
/// assert!(document.lexemes.contains_key("cafe"));
/// assert!(document.lexemes.contains_key("sport"));
/// ```
pub fn analyze(language: Language, content: &str, node_type: &str, tags: &[String]) -> Document {
    let mut document = Document::default();
    let mut last = 0;
    let cutter = Cutter::new(language);
    for word in cutter.words(content) {
        document.add(word.lexeme, word.position, Place::Content);
        last = word.position;
    }
    document.words = last;
    let fields = std::iter::once((node_type, Place::NodeType))
        .chain(tags.iter().map(|tag| (tag.as_str(), Place::Tags)));
    for (text, place) in fields {
        let start = last + GAP;
        for word in cutter.words(text) {
            last = start + word.position;
            document.add(word.lexeme, last, place);
        }
    }
    document
}

/// The distinct lexemes of a label, each of which a memory with the label has.
///
/// ```
/// use mnemon_core::memories::text::{Language, lexemes};
///
/// assert_eq!(lexemes(Language::English, "red-pandas"), ["panda", "red"]);
/// assert!(lexemes(Language::English, "***").is_empty());
/// ```
pub fn lexemes(language: Language, label: &str) -> Vec<String> {
    let mut found: Vec<String> =
        Cutter::new(language).words(label).into_iter().map(|word| word.lexeme).collect();
    found.sort_unstable();
    found.dedup();
    found
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

/// Cuts texts of one language into words.
struct Cutter {
    language: Language,
    stemmer: Option<Stemmer>,
}

impl Cutter {
    fn new(language: Language) -> Self {
        Self { language, stemmer: language.stemming().map(Stemmer::create) }
    }

    fn words(&self, text: &str) -> Vec<Word> {
        let mut found = Vec::new();
        let mut position = 0;
        for word in text.unicode_words() {
            let lower = self.lower(word);
            let parts: Vec<&str> =
                lower.split(|c| !self.is_inside(c)).filter(|part| !part.is_empty()).collect();
            if parts.len() > 1 {
                found.push(self.word(&lower, position + 1, true));
            }
            for part in parts {
                position += 1;
                found.push(self.word(part, position, false));
            }
        }
        // Of an accent without its letter nothing is left.
        found.retain(|word| !word.lexeme.is_empty());
        found
    }

    /// English stems are made of folded words; elsewhere an accent tells one ending from another.
    fn lower(&self, word: &str) -> String {
        let lower = lower(self.language, word);
        if self.language == Language::English { fold(self.language, &lower) } else { lower }
    }

    /// Whether a character belongs to a word's part. An apostrophe does in English only (`won't`):
    /// elsewhere it parts an article or an ending from its noun (`l'homme`).
    fn is_inside(&self, c: char) -> bool {
        c.is_alphanumeric()
            || if self.language == Language::English { c == '\'' } else { is_combining_mark(c) }
    }

    fn word(&self, lower: &str, position: u32, whole: bool) -> Word {
        let surface = fold(self.language, lower);
        let stem = match &self.stemmer {
            Some(stemmer) if !whole => fold(self.language, &stemmer.stem(lower)),
            _ => String::new(),
        };
        // Of some words an algorithm leaves nothing.
        let lexeme = if stem.is_empty() { surface.clone() } else { stem };
        Word { lexeme: cut(lexeme), position, whole, surface }
    }
}

/// Lower case, compatibility forms folded, curly apostrophes straightened.
fn lower(language: Language, word: &str) -> String {
    let turkish = language == Language::Turkish;
    word.nfkc()
        .map(|c| match c {
            'I' if turkish => '\u{131}',
            '\u{130}' if turkish => 'i',
            '\u{2019}' => '\'',
            c => c,
        })
        .flat_map(char::to_lowercase)
        .nfc()
        .collect()
}

/// Accents folded. An identifier has no dotless i, whoever wrote it.
fn fold(language: Language, lower: &str) -> String {
    let turkish = language == Language::Turkish;
    lower
        .nfkd()
        .filter(|c| !('\u{300}'..='\u{36f}').contains(c))
        .map(|c| if turkish && c == '\u{131}' { 'i' } else { c })
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
        lexemes_in(Language::English, text)
    }

    fn lexemes_in(language: Language, text: &str) -> Vec<String> {
        Cutter::new(language).words(text).into_iter().map(|word| word.lexeme).collect()
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
        let document = analyze(Language::English, &"again ".repeat(1_000), "fact", &[]);

        assert_eq!(document.lexemes["again"].len(), limits::LEXEME_POSITIONS);
        assert_eq!(document.words, 1_000);
    }

    #[test]
    fn no_phrase_spans_two_fields() {
        let document = analyze(Language::English, "one", "two", &["three".into(), "four".into()]);
        let at = |lexeme: &str| document.lexemes[lexeme][0].position;

        assert!(at("two") > at("one") + 1 && at("four") > at("three") + 1);
    }

    #[test]
    fn inflections_of_a_language_meet() {
        for (language, one, other) in [
            (Language::German, "H\u{e4}user", "Haus"),
            (Language::German, "Stra\u{df}en", "Strasse"),
            (Language::French, "les \u{e9}tudiantes", "\u{e9}tudiant"),
            (Language::French, "l\u{2019}homme", "hommes"),
            (Language::Italian, "dell'amico", "amici"),
            (Language::Spanish, "canciones", "canci\u{f3}n"),
            (
                Language::Russian,
                "\u{43a}\u{43d}\u{438}\u{433}\u{438}",
                "\u{43a}\u{43d}\u{438}\u{433}\u{443}",
            ),
            (Language::Turkish, "\u{130}stanbul'da", "ISTANBUL"),
        ] {
            let (found, asked) = (lexemes_in(language, one), lexemes_in(language, other));
            assert!(found.iter().any(|lexeme| asked.contains(lexeme)), "{found:?} {asked:?}");
        }
    }

    #[test]
    fn simple_words_stay_as_they_are_and_accents_do_not_count() {
        assert_eq!(lexemes_in(Language::Simple, "Running CAF\u{c9}s"), ["running", "cafes"]);
    }

    #[test]
    fn names_and_identifiers_match_in_every_language() {
        let names = ["open_pool", "Kubernetes", "v1.2.3", "O'Brien", "IDENTITY_ID", "x86_64"];
        for language in Language::ALL {
            for name in names {
                let asked = lexemes_in(language, &name.to_lowercase());
                assert_eq!(lexemes_in(language, name), asked, "{language}");
            }
        }
    }
}
