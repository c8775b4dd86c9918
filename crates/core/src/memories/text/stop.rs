//! Function words: left out of a question while it has any other word. They are in the index all
//! the same, so that these lists may change without anything being cut anew.

use std::collections::HashSet;
use std::sync::OnceLock;

use super::{Language, fold};

/// English ones. Sorted, so that it can be searched.
const ENGLISH: &[&str] = &[
    "a", "about", "above", "after", "again", "against", "all", "am", "an", "and", "any", "are",
    "aren't", "as", "at", "be", "because", "been", "before", "being", "below", "between", "both",
    "but", "by", "can", "can't", "could", "couldn't", "did", "didn't", "do", "does", "doesn't",
    "doing", "don't", "during", "each", "few", "for", "from", "further", "had", "has", "have",
    "having", "he", "her", "here", "hers", "herself", "him", "himself", "his", "how", "i", "if",
    "in", "into", "is", "isn't", "it", "it's", "its", "itself", "just", "me", "might", "more",
    "most", "must", "my", "myself", "no", "nor", "not", "of", "off", "on", "once", "only", "or",
    "other", "our", "ours", "out", "over", "own", "same", "shall", "she", "should", "so", "some",
    "such", "than", "that", "the", "their", "theirs", "them", "then", "there", "these", "they",
    "this", "those", "through", "to", "too", "under", "until", "up", "very", "was", "wasn't", "we",
    "were", "weren't", "what", "what's", "when", "where", "which", "while", "who", "who's", "whom",
    "whose", "why", "will", "with", "won't", "would", "wouldn't", "you", "your", "yours",
    "yourself",
];

/// Folded words per language, made when a language is first asked for.
static FOLDED: [OnceLock<HashSet<String>>; Language::ALL.len()] =
    [const { OnceLock::new() }; Language::ALL.len()];

/// Whether a folded word is a function word.
pub(super) fn is_function_word(language: Language, word: &str) -> bool {
    match code(language) {
        None => language == Language::English && ENGLISH.binary_search(&word).is_ok(),
        Some(code) => FOLDED[language as usize]
            .get_or_init(|| {
                let words = stop_words::lookup(code).unwrap_or_default();
                words.iter().map(|word| fold(language, word)).collect()
            })
            .contains(word),
    }
}

/// Which of Snowball's lists is a language's; the English one is our own.
const fn code(language: Language) -> Option<&'static str> {
    Some(match language {
        Language::Arabic => "ar",
        Language::Danish => "da",
        Language::Dutch => "nl",
        Language::Finnish => "fi",
        Language::French => "fr",
        Language::German => "de",
        Language::Greek => "el",
        Language::Hungarian => "hu",
        Language::Italian => "it",
        Language::Norwegian => "no",
        Language::Portuguese => "pt",
        Language::Romanian => "ro",
        Language::Russian => "ru",
        Language::Spanish => "es",
        Language::Swedish => "sv",
        Language::Tamil => "ta",
        Language::Turkish => "tr",
        Language::English | Language::Simple => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(ENGLISH.is_sorted());
    }

    #[test]
    fn every_language_but_simple_has_words_that_say_little() {
        for language in Language::ALL {
            let listed = code(language).map(|code| stop_words::lookup(code).expect("a list").len());
            assert!(listed.is_none_or(|words| words > 20), "{language}");
        }
        assert!(is_function_word(Language::German, "und"));
        assert!(is_function_word(Language::French, "etaient"), "folded");
        assert!(is_function_word(Language::English, "the"));
        assert!(!is_function_word(Language::Simple, "the"));
    }
}
