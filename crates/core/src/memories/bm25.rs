//! BM25, the text score of both databases (Robertson and Zaragoza, "The Probabilistic Relevance
//! Framework", 2009), with the weights of a word's place: content, node type, tags.
//!
//! A pure function over counts, so that both stores answer alike.

use std::collections::{BTreeMap, HashMap};

use super::text::Place;

/// How soon repetition stops to count.
pub const K1: f64 = 1.2;
/// How much length counts against a match.
pub const B: f64 = 0.75;

/// What an occurrence counts by its place.
pub const fn weight(place: Place) -> f64 {
    match place {
        Place::Content => 1.0,
        Place::NodeType => 0.4,
        Place::Tags => 0.2,
    }
}

/// A tenant's corpus: what inverse document frequencies and lengths are measured against.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Corpus {
    /// Memories.
    pub documents: u64,
    /// Words of all memories together.
    pub words: u64,
}

impl Corpus {
    /// The mean length of a memory in words; 1 for an empty corpus.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn mean_length(&self) -> f64 {
        if self.documents == 0 || self.words == 0 {
            return 1.0;
        }
        self.words as f64 / self.documents as f64
    }
}

/// One word of a question with the number of memories that hold it.
#[derive(Clone, PartialEq, Debug)]
pub struct QueryTerm {
    /// The lexeme.
    pub lexeme: String,
    /// Memories of the tenant that hold it.
    pub documents: u64,
}

/// The inverse document frequency, never negative: `ln(1 + (N − n + 0.5) / (n + 0.5))`.
///
/// ```
/// use mnemon_core::memories::bm25::idf;
///
/// assert!(idf(1, 1_000) > idf(500, 1_000));
/// assert!(idf(1_000, 1_000) > 0.0);
/// ```
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub fn idf(holding: u64, documents: u64) -> f64 {
    let n = holding.min(documents) as f64;
    let all = documents as f64;
    (1.0 + (all - n + 0.5) / (n + 0.5)).ln()
}

/// A memory that may match: its length and, per lexeme of the question, its weighted count.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate<K> {
    /// Whose.
    pub key: K,
    /// Words in it.
    pub words: u32,
    /// Weighted occurrences per lexeme (see [`weight`]).
    pub counts: HashMap<String, f64>,
}

/// The score of one memory: the sum over the question's words.
pub fn score<K>(candidate: &Candidate<K>, terms: &[QueryTerm], corpus: &Corpus) -> f64 {
    let length = f64::from(candidate.words) / corpus.mean_length();
    let norm = K1 * (1.0 - B + B * length);
    terms
        .iter()
        .filter_map(|term| {
            let count = *candidate.counts.get(&term.lexeme)?;
            Some(idf(term.documents, corpus.documents) * count * (K1 + 1.0) / (count + norm))
        })
        .sum()
}

/// Scores candidates and keeps the best `limit`, best first, ties by key, newest first.
pub fn rank<K: Ord + Clone>(
    candidates: &[Candidate<K>],
    terms: &[QueryTerm],
    corpus: &Corpus,
    limit: usize,
) -> Vec<(K, f64)> {
    let mut scored: Vec<(K, f64)> = candidates
        .iter()
        .map(|candidate| (candidate.key.clone(), score(candidate, terms, corpus)))
        .filter(|(_, score)| *score > 0.0)
        .collect();
    best_first(&mut scored, limit);
    scored
}

/// One list of several that answer one question in different words; what is in more than one
/// counts by its best score.
pub fn merge<K: Ord + Clone>(lists: Vec<Vec<(K, f64)>>) -> Vec<(K, f64)> {
    let mut merged: BTreeMap<K, f64> = BTreeMap::new();
    for (key, score) in lists.into_iter().flatten() {
        let best = merged.entry(key).or_insert(score);
        *best = best.max(score);
    }
    let mut merged: Vec<(K, f64)> = merged.into_iter().collect();
    best_first(&mut merged, usize::MAX);
    merged
}

fn best_first<K: Ord>(scored: &mut Vec<(K, f64)>, limit: usize) {
    scored.sort_by(|(a_key, a), (b_key, b)| b.total_cmp(a).then_with(|| b_key.cmp(a_key)));
    scored.truncate(limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(key: u32, words: u32, counts: &[(&str, f64)]) -> Candidate<u32> {
        let counts = counts.iter().map(|(lexeme, n)| ((*lexeme).to_owned(), *n)).collect();
        Candidate { key, words, counts }
    }

    fn term(lexeme: &str, documents: u64) -> QueryTerm {
        QueryTerm { lexeme: lexeme.into(), documents }
    }

    #[test]
    fn a_rare_word_outweighs_a_common_one() {
        let corpus = Corpus { documents: 100, words: 1_000 };
        let terms = [term("rare", 1), term("common", 80)];
        let candidates = [candidate(1, 10, &[("common", 3.0)]), candidate(2, 10, &[("rare", 1.0)])];

        let ranked = rank(&candidates, &terms, &corpus, 10);

        assert_eq!(ranked[0].0, 2);
    }

    #[test]
    fn the_shorter_of_two_equal_matches_comes_first() {
        let corpus = Corpus { documents: 10, words: 100 };
        let candidates = [candidate(1, 50, &[("x", 1.0)]), candidate(2, 5, &[("x", 1.0)])];

        let ranked = rank(&candidates, &[term("x", 2)], &corpus, 10);

        assert_eq!(ranked[0].0, 2);
    }

    #[test]
    fn merged_lists_hold_each_once_by_its_best_score() {
        let merged = merge(vec![vec![(1, 3.0), (2, 1.0)], vec![(2, 2.0), (3, 2.0)]]);

        assert_eq!(merged, [(1, 3.0), (3, 2.0), (2, 2.0)]);
    }

    #[test]
    fn a_hand_computed_score_is_met() {
        // idf = ln(1 + (10 - 2 + .5) / 2.5) = ln 4.4; length 1: norm = 1.2; 1 * 2.2 / 2.2 = 1.
        let corpus = Corpus { documents: 10, words: 100 };
        let score = score(&candidate(1, 10, &[("x", 1.0)]), &[term("x", 2)], &corpus);

        assert!((score - 4.4_f64.ln()).abs() < 1e-12);
    }
}
