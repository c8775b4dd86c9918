//! Words on their way into and out of `tsvector` and `tsquery`: the analyser is core's, so text
//! crosses as literals and never through `to_tsvector`.

use std::collections::HashMap;
use std::fmt::Write as _;

use mnemon_core::memories::bm25;
use mnemon_core::memories::text::{Document, Phrase, Place, Wording, lexemes};

/// The largest distance a phrase operator takes.
const PHRASE_DISTANCE_MAX: u16 = 16_384;

/// A document as a `tsvector` literal: content A, node type B, tags C, and the tenant as a
/// lexeme that no word can equal, so that the GIN index serves one tenant.
pub(crate) fn vector(document: &Document, tenant: &str) -> String {
    let mut literal = quote(&format!("@{tenant}"));
    for (lexeme, occurrences) in &document.lexemes {
        literal.push(' ');
        literal.push_str(&quote(lexeme));
        for (n, at) in occurrences.iter().enumerate() {
            let place = match at.place {
                Place::Content => 'A',
                Place::NodeType => 'B',
                Place::Tags => 'C',
            };
            let comma = if n == 0 { ':' } else { ',' };
            write!(literal, "{comma}{}{place}", at.position).expect("a String takes any text");
        }
    }
    literal
}

/// Any set of `seek` as a whole, every required phrase, no excluded one, as a `tsquery` literal.
pub(super) fn query(seek: &[Vec<&str>], required: &[Phrase], excluded: &[Phrase]) -> String {
    let all = |set: &Vec<&str>| {
        let set: Vec<String> = set.iter().map(|lexeme| quote(lexeme)).collect();
        if let [one] = set.as_slice() { one.clone() } else { format!("({})", set.join(" & ")) }
    };
    let any: Vec<String> = seek.iter().map(all).collect();
    let mut literal = format!("({})", any.join(" | "));
    for (operator, phrases) in [(" & ", required), (" & !", excluded)] {
        for phrase in phrases.iter().filter(|phrase| !phrase.is_empty()) {
            write!(literal, "{operator}({})", follow(phrase)).expect("a String takes any text");
        }
    }
    literal
}

/// Every word of any one of these labels, of one tenant, as a `tsquery` literal; `None` where a label
/// has no word, or there is none.
pub(super) fn labelled(labels: &[String], tenant: &str, wording: Wording) -> Option<String> {
    let languages = std::iter::once(wording.language).chain(wording.before);
    let mut any = Vec::new();
    for language in languages {
        for label in labels {
            let words: Vec<String> =
                lexemes(language, label).iter().map(|word| quote(word)).collect();
            if words.is_empty() {
                return None;
            }
            any.push(format!("({})", words.join(" & ")));
        }
    }
    any.dedup();
    (!any.is_empty()).then(|| format!("{} & ({})", quote(&format!("@{tenant}")), any.join(" | ")))
}

/// Every required phrase and no excluded one, as a `tsquery` literal; at least one is required.
pub(crate) fn all(required: &[Phrase], excluded: &[Phrase]) -> String {
    let required = required.iter().map(|phrase| format!("({})", follow(phrase)));
    let excluded = excluded.iter().map(|phrase| format!("!({})", follow(phrase)));
    required.chain(excluded).collect::<Vec<_>>().join(" & ")
}

fn follow(phrase: &Phrase) -> String {
    let mut literal = String::new();
    for (n, (distance, lexeme)) in phrase.iter().enumerate() {
        if n > 0 {
            let distance = (*distance).min(PHRASE_DISTANCE_MAX);
            write!(literal, " <{distance}> ").expect("a String takes any text");
        }
        literal.push_str(&quote(lexeme));
    }
    literal
}

/// A lexeme in quotes, its quotes and backslashes doubled.
fn quote(lexeme: &str) -> String {
    format!("'{}'", lexeme.replace('\\', "\\\\").replace('\'', "''"))
}

/// The weighted counts of the lexemes asked for, out of a tsvector as `tsvectorsend` writes it:
/// the number of lexemes, then each with its end mark, the number of positions, the positions.
/// `None` when it is something else.
pub(super) fn counts(mut sent: &[u8], asked: &[&str]) -> Option<HashMap<String, f64>> {
    let mut counts = HashMap::new();
    let lexemes = u32::from_be_bytes(take(&mut sent)?);
    for _ in 0..lexemes {
        let end = sent.iter().position(|byte| *byte == 0)?;
        let (lexeme, rest) = sent.split_at(end);
        sent = &rest[1..];
        let positions = usize::from(u16::from_be_bytes(take(&mut sent)?));
        let places = sent.get(..2 * positions)?;
        sent = &sent[2 * positions..];
        if let Some(lexeme) = asked.iter().find(|asked| asked.as_bytes() == lexeme) {
            // The place is in the two highest bits of a position.
            let count = places.chunks_exact(2).map(|at| weight(at[0] >> 6)).sum();
            counts.insert((*lexeme).to_owned(), count);
        }
    }
    Some(counts)
}

fn weight(letter: u8) -> f64 {
    match letter {
        3 => bm25::weight(Place::Content),
        2 => bm25::weight(Place::NodeType),
        1 => bm25::weight(Place::Tags),
        _ => 0.0,
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use mnemon_core::memories::text::{Language, Question, analyze};

    use super::*;

    #[test]
    fn a_document_becomes_a_literal_with_places() {
        let document = analyze(Language::English, "It's Ada", "fact", &["a\\b".into()]);

        let literal = vector(&document, "o'tenant");

        assert!(literal.starts_with("'@o''tenant' "), "{literal}");
        assert!(literal.contains("'ada':2A"), "{literal}");
        assert!(literal.contains("'fact':13B"), "{literal}");
    }

    #[test]
    fn a_question_becomes_any_of_its_words_and_all_of_its_phrases() {
        let question = Question::parse(Language::English, "panda \"red fox\" -zoo");

        let mut seek: Vec<Vec<&str>> =
            question.terms.iter().map(|term| vec![term.as_str()]).collect();
        let literal = query(&seek, &question.required, &question.excluded);

        seek.push(vec!["a", "b"]);
        assert!(query(&seek, &[], &[]).ends_with(" | ('a' & 'b'))"));
        assert_eq!(literal, "('panda' | 'red' | 'fox') & ('red' <1> 'fox') & !('zoo')");
    }

    #[test]
    fn a_label_is_sought_by_its_words_in_the_languages_there_are() {
        let tags = ["red pandas".into(), "it's".into()];
        let english = Wording::default();
        let changing = Wording { language: Language::Simple, before: Some(Language::English) };

        let literal = labelled(&tags, "acme", english).unwrap();
        assert_eq!(literal, "'@acme' & (('panda' & 'red') | ('it'))");
        assert!(labelled(&tags, "acme", changing).unwrap().contains("('pandas' & 'red') | "));
        assert_eq!(labelled(&["red".into(), "***".into()], "acme", english), None);
        assert_eq!(labelled(&[], "acme", english), None);
    }

    #[test]
    fn a_cut_off_tsvector_is_noticed() {
        assert_eq!(counts(&[0, 0, 0, 1, b'a'], &["a"]), None);
        assert_eq!(counts(&[], &[]), None);

        let sent = [0, 0, 0, 1, b'a', 0, 0, 2, 0xc0, 1, 0x40, 9];
        let expected = 1.0 + bm25::weight(Place::Tags);
        assert!((counts(&sent, &["a"]).unwrap()["a"] - expected).abs() < f64::EPSILON);
    }
}
