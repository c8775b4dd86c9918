//! The answers of both branches over everything, in memory: no index, no cap, no half precision.

use std::collections::{BTreeSet, HashMap};

use mnemon::core::memories::bm25::{self, Candidate, Corpus, QueryTerm};
use mnemon::core::memories::fuse::{Fusion, Words, fuse};
use mnemon::core::memories::text::plan;

use super::data::{Data, Question, Slice};
use crate::vectors::word;

/// What a slice answers.
pub(super) struct Truth {
    /// Both branches fused, each bounded as recall bounds it.
    pub(super) hybrid: Vec<u32>,
    /// Both branches fused, neither bounded.
    pub(super) unbounded: Vec<u32>,
    /// By words alone.
    pub(super) text: Vec<u32>,
    /// By the vector alone.
    pub(super) vector: Vec<u32>,
}

/// Where every word stands.
pub(super) struct Index<'d> {
    data: &'d Data,
    /// Per word: which memories hold it, and how often.
    postings: HashMap<u32, Vec<(u32, u32)>>,
}

impl<'d> Index<'d> {
    /// Reads all memories.
    pub(super) fn of(data: &'d Data) -> Self {
        let mut postings: HashMap<u32, Vec<(u32, u32)>> = HashMap::new();
        for (row, at) in data.rows.iter().zip(0..) {
            let mut counts: HashMap<u32, u32> = HashMap::new();
            for word in &row.text.words {
                *counts.entry(*word).or_default() += 1;
            }
            for (word, count) in counts {
                postings.entry(word).or_default().push((at, count));
            }
        }
        Self { data, postings }
    }

    /// The cosine of every memory.
    pub(super) fn similarities(&self, question: &Question) -> Vec<f32> {
        self.data.rows.iter().map(|row| dot(&row.text.vector, &question.vector)).collect()
    }

    /// The answers within a slice. `similarities` are the question's.
    pub(super) fn answers(
        &self,
        slice: &Slice,
        question: &Question,
        similarities: &[f32],
        limit: usize,
        branch: usize,
    ) -> Truth {
        let rows = &self.data.rows;
        let mut by_vector: Vec<(u32, f64)> = (0..)
            .zip(rows)
            .filter(|(_, row)| slice.holds(row))
            .map(|(at, _)| (at, f64::from(similarities[at as usize])))
            .collect();
        by_vector.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
        let by_words = self.by_words(slice, question);
        let top = |hits: &[(u32, f64)]| hits.iter().take(limit).map(|(at, _)| *at).collect();
        let fused = |bound: usize| {
            let words = Words::bounded(&by_words, bound);
            let vector = &by_vector[..bound.min(by_vector.len())];
            let fused = fuse(Fusion::default(), words, vector, limit);
            fused.into_iter().map(|hit| hit.key).collect()
        };
        Truth {
            hybrid: fused(branch),
            unbounded: fused(usize::MAX),
            text: top(&by_words),
            vector: top(&by_vector),
        }
    }

    /// Every memory of the slice that holds any word the question seeks, by BM25 over all its
    /// words: what a question means, with no cap.
    fn by_words(&self, slice: &Slice, question: &Question) -> Vec<(u32, f64)> {
        let rows = &self.data.rows;
        let corpus =
            rows.iter().filter(|row| slice.counts(row)).fold(Corpus::default(), |corpus, row| {
                Corpus {
                    documents: corpus.documents + 1,
                    words: corpus.words + row.text.words.len() as u64,
                }
            });
        let none = Vec::new();
        let held = |rank: &u32| self.postings.get(rank).unwrap_or(&none);
        let terms = question
            .words
            .iter()
            .map(|rank| QueryTerm {
                lexeme: word(*rank),
                documents: held(rank)
                    .iter()
                    .filter(|(at, _)| slice.counts(&rows[*at as usize]))
                    .count() as u64,
            })
            .collect();
        let plan = plan(terms, &corpus);
        let mut candidates: HashMap<u32, Candidate<u32>> = HashMap::new();
        for rank in &question.words {
            if plan.seek.contains(&word(*rank)) {
                for (at, _) in held(rank).iter().filter(|(at, _)| slice.holds(&rows[*at as usize]))
                {
                    let words = u32::try_from(rows[*at as usize].text.words.len());
                    let words = words.expect("texts are short");
                    let counts = HashMap::new();
                    candidates.entry(*at).or_insert(Candidate { key: *at, words, counts });
                }
            }
        }
        for rank in question.words.iter().collect::<BTreeSet<_>>() {
            for (at, count) in held(rank) {
                if let Some(candidate) = candidates.get_mut(at) {
                    candidate.counts.insert(word(*rank), f64::from(*count));
                }
            }
        }
        let candidates: Vec<Candidate<u32>> = candidates.into_values().collect();
        bm25::rank(&candidates, &plan.score, &corpus, candidates.len())
    }
}

/// Sixteen sums side by side, so that the compiler keeps them in registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    for (a, b) in a.chunks_exact(16).zip(b.chunks_exact(16)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// The share of what should be found that was; of nothing, all.
#[expect(clippy::cast_precision_loss, reason = "at most ten")]
pub(super) fn share(found: &[u32], wanted: &[u32]) -> f64 {
    if wanted.is_empty() {
        return 1.0;
    }
    let met = found.iter().filter(|at| wanted.contains(at)).count();
    met as f64 / wanted.len() as f64
}
