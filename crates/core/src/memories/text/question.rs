//! A question in words: what to seek, what must be there, what must not.

use std::collections::BTreeSet;

use super::{Cutter, Language, Word, Wording, stop};
use crate::limits;
use crate::memories::bm25::{Corpus, QueryTerm};

/// Lexemes that must follow each other: (distance to the one before, lexeme); the first
/// distance is 0.
pub type Phrase = Vec<(u16, String)>;

/// A parsed question. `"a phrase"` must be there, `-word` and `-"a phrase"` must not; `or` is
/// what happens anyway: any word may match.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Question {
    /// Distinct lexemes that may match, in the order asked.
    pub terms: Vec<String>,
    /// What must be there.
    pub required: Vec<Phrase>,
    /// What must not.
    pub excluded: Vec<Phrase>,
}

impl Question {
    /// Parses a question; no text fails. Function words (`the`, `what`) are left out while any
    /// other word is there.
    ///
    /// ```
    /// use mnemon_core::memories::text::{Language, Question};
    ///
    /// let asked = "what about the \"red panda\" -zoo";
    /// let question = Question::parse(Language::English, asked);
    /// assert_eq!(question.terms, ["red", "panda"]);
    /// assert_eq!(question.required[0], [(0, "red".into()), (1, "panda".into())]);
    /// assert_eq!(question.excluded[0], [(0, "zoo".into())]);
    /// ```
    pub fn parse(language: Language, text: &str) -> Self {
        let mut question = Self::default();
        let mut content = Vec::new();
        let mut function = Vec::new();
        let cutter = Cutter::new(language);
        for piece in pieces(text) {
            let found = cutter.words(piece.text);
            if found.is_empty() {
                continue;
            }
            if piece.excluded {
                question.excluded.push(phrase(&found));
                continue;
            }
            if piece.quoted {
                question.required.push(phrase(&found));
            }
            for word in found {
                let common = !piece.quoted && stop::is_function_word(language, &word.surface);
                if common { function.push(word.lexeme) } else { content.push(word.lexeme) }
            }
        }
        question.terms = distinct(if content.is_empty() { function } else { content });
        question
    }

    /// Parses a question for words that stand as a database says: once, or, while its language is
    /// being changed, once for the memories of either; what must not be there must not be there in
    /// either.
    pub fn of(wording: Wording, text: &str) -> Vec<Self> {
        let mut questions = vec![Self::parse(wording.language, text)];
        if let Some(before) = wording.before {
            questions.push(Self::parse(before, text));
            let excluded: Vec<Phrase> =
                questions.iter().flat_map(|question| question.excluded.clone()).collect();
            for question in &mut questions {
                question.excluded.clone_from(&excluded);
            }
        }
        questions
    }

    /// Whether nothing can match.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

fn phrase(found: &[Word]) -> Phrase {
    let mut phrase = Phrase::new();
    let mut last = 0;
    for word in found.iter().filter(|word| !word.whole) {
        let distance = if phrase.is_empty() { 0 } else { word.position - last };
        phrase.push((u16::try_from(distance).unwrap_or(u16::MAX), word.lexeme.clone()));
        last = word.position;
    }
    phrase
}

fn distinct(lexemes: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    lexemes.into_iter().filter(|lexeme| seen.insert(lexeme.clone())).collect()
}

struct Piece<'a> {
    text: &'a str,
    quoted: bool,
    excluded: bool,
}

/// Splits at quotes and at words that begin with `-`. A quote without an end is plain text.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        rest = rest.trim_start();
        let (excluded, body) = match rest.strip_prefix('-') {
            Some(body) if body.starts_with(|c: char| c == '"' || c.is_alphanumeric()) => {
                (true, body)
            }
            _ => (false, rest),
        };
        let quote = body.strip_prefix('"').and_then(|inner| inner.split_once('"'));
        let (text, after, quoted) = if let Some((inner, after)) = quote {
            (inner, after, true)
        } else {
            let body_end = body
                .char_indices()
                .skip(1)
                .find(|(_, c)| c.is_whitespace() || *c == '"')
                .map_or(body.len(), |(at, _)| at);
            (&body[..body_end], &body[body_end..], false)
        };
        if quoted || excluded || !text.eq_ignore_ascii_case("or") {
            pieces.push(Piece { text, quoted, excluded });
        }
        rest = after;
    }
    pieces
}

/// Which lexemes find candidates and which score them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// A memory with any of these is a candidate.
    pub seek: Vec<String>,
    /// What a candidate is scored by, rarest first.
    pub score: Vec<QueryTerm>,
}

/// Plans a question by its words' document frequencies: rarest first, at most
/// [`limits::QUERY_TERMS`]; a word in more than [`limits::COMMON_SHARE`] of a corpus of at least
/// [`limits::COMMON_FLOOR`] memories finds no candidates while a rarer one does.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count"
)]
pub fn plan(mut terms: Vec<QueryTerm>, corpus: &Corpus) -> Plan {
    terms.retain(|term| term.documents > 0);
    terms.sort_by(|a, b| a.documents.cmp(&b.documents).then_with(|| a.lexeme.cmp(&b.lexeme)));
    terms.truncate(limits::QUERY_TERMS);
    let common = (limits::COMMON_SHARE * corpus.documents as f64) as u64;
    let is_common =
        |term: &QueryTerm| corpus.documents >= limits::COMMON_FLOOR && term.documents > common;
    let rare: Vec<String> =
        terms.iter().filter(|term| !is_common(term)).map(|term| term.lexeme.clone()).collect();
    let seek =
        if rare.is_empty() { terms.iter().map(|term| term.lexeme.clone()).collect() } else { rare };
    Plan { seek, score: terms }
}

impl Plan {
    /// What to seek first when everything that is sought may be more than
    /// [`limits::TEXT_CANDIDATES`], of which the newest would be scored by chance: any one of these
    /// sets of words, all of it. The rarest words find alone, as many as stay below that number
    /// together; each other one only beside another. What one such word alone finds scores low. `None`
    /// when nothing is gained.
    ///
    /// ```
    /// use mnemon_core::memories::bm25::{Corpus, QueryTerm};
    /// use mnemon_core::memories::text::plan;
    ///
    /// let term = |lexeme: &str, documents| QueryTerm { lexeme: lexeme.into(), documents };
    /// let corpus = Corpus { documents: 100_000, words: 1_000_000 };
    /// let asked = vec![term("quokka", 9), term("island", 4_000), term("fence", 3_000)];
    /// let plan = plan(asked, &corpus);
    /// assert_eq!(plan.closest().unwrap(), [vec!["quokka"], vec!["fence", "island"]]);
    /// ```
    pub fn closest(&self) -> Option<Vec<Vec<&str>>> {
        let sought: Vec<&QueryTerm> =
            self.score.iter().filter(|term| self.seek.contains(&term.lexeme)).collect();
        let most = u64::from(limits::TEXT_CANDIDATES);
        let mut sum = 0;
        let alone = sought
            .iter()
            .take_while(|term| {
                sum += term.documents;
                sum <= most
            })
            .count();
        if alone == sought.len() || sought.len() < 2 {
            return None;
        }
        let mut sets: Vec<Vec<&str>> =
            sought[..alone].iter().map(|term| vec![term.lexeme.as_str()]).collect();
        let beside = &sought[alone..sought.len().min(alone + limits::TEXT_PAIRED)];
        for (n, one) in beside.iter().enumerate() {
            for other in &beside[n + 1..] {
                sets.push(vec![one.lexeme.as_str(), other.lexeme.as_str()]);
            }
        }
        (!sets.is_empty()).then_some(sets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Question {
        Question::parse(Language::English, text)
    }

    #[test]
    fn few_matches_are_sought_at_once_and_a_word_alone_is_enough() {
        let term = |lexeme: &str, documents| QueryTerm { lexeme: lexeme.into(), documents };
        let corpus = Corpus { documents: 100_000, words: 1_000_000 };

        assert_eq!(plan(vec![term("a", 400), term("b", 600)], &corpus).closest(), None);
        assert_eq!(plan(vec![term("a", 5_000)], &corpus).closest(), None);
        let both = plan(vec![term("a", 5_000), term("b", 6_000)], &corpus);
        assert_eq!(both.closest().unwrap(), [["a", "b"]]);
    }

    #[test]
    fn function_words_count_only_when_nothing_else_is_asked() {
        assert_eq!(parse("who are the Beatles").terms, ["beatl"]);
        assert_eq!(parse("the who").terms, ["the", "who"]);
    }

    #[test]
    fn function_words_are_those_of_the_language() {
        let german = |text| Question::parse(Language::German, text).terms;
        assert_eq!(german("Wo sind die Schl\u{fc}ssel?"), ["schlussel"]);
        assert_eq!(Question::parse(Language::Simple, "who is The Who").terms, ["who", "is", "the"]);
    }

    #[test]
    fn while_the_language_changes_a_question_is_asked_in_both() {
        let wording = Wording { language: Language::German, before: Some(Language::English) };

        let [german, english] = <[Question; 2]>::try_from(Question::of(wording, "Katzen -houses"))
            .expect("one in each");

        assert_eq!((german.terms, english.terms), (vec!["katz".into()], vec!["katzen".into()]));
        assert_eq!(german.excluded, english.excluded);
        assert!(german.excluded.contains(&vec![(0, "hous".into())]));
    }

    #[test]
    fn hostile_text_is_only_text() {
        for text in [
            "& | ! ( ) : * <->",
            "\"",
            "-",
            "--",
            "\"\"",
            "or",
            "-\"",
            "\u{1f600}",
            "'; drop table x",
        ] {
            let _ = parse(text);
        }
        assert!(parse("& | !").is_empty());
        assert_eq!(parse("it's -not\"closed").excluded.len(), 1);
    }

    #[test]
    fn ten_thousand_words_are_planned_down_to_the_rarest() {
        let terms =
            (0..10_000).map(|n| QueryTerm { lexeme: format!("w{n}"), documents: n + 1 }).collect();

        let plan = plan(terms, &Corpus { documents: 20_000, words: 20_000 });

        assert_eq!(plan.score.len(), limits::QUERY_TERMS);
        assert_eq!(plan.score[0].lexeme, "w0");
    }

    #[test]
    fn a_common_word_seeks_only_when_it_is_alone() {
        let corpus = Corpus { documents: 10_000, words: 100_000 };
        let common = QueryTerm { lexeme: "day".into(), documents: 5_000 };
        let rare = QueryTerm { lexeme: "quokka".into(), documents: 3 };

        assert_eq!(plan(vec![common.clone(), rare], &corpus).seek, ["quokka"]);
        assert_eq!(plan(vec![common], &corpus).seek, ["day"]);
    }
}
