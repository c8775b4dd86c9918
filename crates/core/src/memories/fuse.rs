//! Two ordered branches, by words and by vector, become one list: a pure function, ties by id.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How the branches become one list.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "method")]
#[non_exhaustive]
pub enum Fusion {
    /// `text × score / best score + (1 − text) × min-max-scaled similarity`. The default, 0.7.
    Blend {
        /// The share of the words, 0 to 1.
        text: f64,
    },
    /// Reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009): `Σ 1 / (k + rank)`.
    Rrf {
        /// Damps the lead of the first ranks; 60 in the paper.
        k: f64,
    },
    /// The words alone; vectors only fill up what they leave below the limit. What a model
    /// without meaning gets.
    TextFirst,
}

impl Default for Fusion {
    fn default() -> Self {
        Self::Blend { text: 0.7 }
    }
}

impl Fusion {
    /// Checks its numbers.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a share of the words outside 0 to 1, or a `k` that is not a number
    /// from 0 on.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Blend { text } if !(0.0..=1.0).contains(text) => {
                Err(Error::invalid("fusion.text", "is not between 0 and 1"))
            }
            Self::Rrf { k } if !(k.is_finite() && *k >= 0.0) => {
                Err(Error::invalid("fusion.k", "is not a number from 0 on"))
            }
            _ => Ok(()),
        }
    }
}

/// Hits with their scores by one measure (BM25 or cosine).
pub type Scored<K> = [(K, f64)];

/// What the words say.
#[derive(Debug)]
pub struct Words<'a, K> {
    /// The branch's hits, best first.
    pub hits: &'a Scored<K>,
    /// Scores of memories that the branch's bound left out. They make no hits; where the vector
    /// finds one, a blend counts its words too.
    pub beyond: &'a Scored<K>,
}

// Not derived: that would ask the keys to be copied.
impl<K> Clone for Words<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Words<'_, K> {}

impl<'a, K> Words<'a, K> {
    /// Splits scored memories, best first, at the branch's bound.
    pub fn bounded(scored: &'a Scored<K>, bound: usize) -> Self {
        let (hits, beyond) = scored.split_at(bound.min(scored.len()));
        Self { hits, beyond }
    }
}

impl<'a, K, const N: usize> From<&'a [(K, f64); N]> for Words<'a, K> {
    fn from(hits: &'a [(K, f64); N]) -> Self {
        Self { hits, beyond: &[] }
    }
}

/// One fused hit with its evidence.
#[derive(Clone, PartialEq, Debug)]
pub struct Fused<K> {
    /// Whose.
    pub key: K,
    /// The fused score.
    pub score: f64,
    /// Place by words, from 1.
    pub text_rank: Option<u32>,
    /// BM25 score.
    pub text_score: Option<f64>,
    /// Place by vector, from 1.
    pub vector_rank: Option<u32>,
    /// Cosine similarity.
    pub similarity: Option<f64>,
}

impl<K> Fused<K> {
    /// A hit of no branch yet.
    pub(super) fn bare(key: K) -> Self {
        Self {
            key,
            score: 0.0,
            text_rank: None,
            text_score: None,
            vector_rank: None,
            similarity: None,
        }
    }
}

/// Fuses two branches and keeps the best `limit`. With one branch empty the order is the
/// other's.
///
/// ```
/// use mnemon_core::memories::fuse::{Fusion, fuse};
///
/// let text = [("a", 2.0), ("b", 1.0)];
/// let vector = [("a", 0.9), ("c", 0.8)];
/// let fused = fuse(Fusion::Rrf { k: 60.0 }, (&text).into(), &vector, 10);
/// assert_eq!(fused[0].key, "a");
/// assert!((fused[0].score - 2.0 / 61.0).abs() < 1e-12);
/// ```
pub fn fuse<K: Ord + Clone>(
    fusion: Fusion,
    text: Words<'_, K>,
    vector: &Scored<K>,
    limit: usize,
) -> Vec<Fused<K>> {
    let all = gather(text, vector);
    let scale = Scale::of(&all, vector);
    let mut fused: Vec<Fused<K>> = all.into_values().collect();
    for hit in &mut fused {
        hit.score = match fusion {
            Fusion::Blend { text } => scale.blend(hit, text),
            Fusion::Rrf { k } => reciprocal(hit, k),
            Fusion::TextFirst => scale.text_first(hit),
        };
    }
    // Equal scores: the newest, as ids sort by creation.
    fused.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| b.key.cmp(&a.key)));
    fused.truncate(limit);
    fused
}

/// The hits of both branches, each with all that is known of it.
fn gather<K: Ord + Clone>(text: Words<'_, K>, vector: &Scored<K>) -> BTreeMap<K, Fused<K>> {
    let mut all: BTreeMap<K, Fused<K>> = BTreeMap::new();
    for (rank, (key, score)) in (1..).zip(text.hits) {
        let hit = all.entry(key.clone()).or_insert_with(|| Fused::bare(key.clone()));
        (hit.text_rank, hit.text_score) = (Some(rank), Some(*score));
    }
    for (rank, (key, similarity)) in (1..).zip(vector) {
        let hit = all.entry(key.clone()).or_insert_with(|| Fused::bare(key.clone()));
        (hit.vector_rank, hit.similarity) = (Some(rank), Some(*similarity));
    }
    for (key, score) in text.beyond {
        if let Some(hit) = all.get_mut(key) {
            hit.text_score.get_or_insert(*score);
        }
    }
    all
}

fn reciprocal<K>(hit: &Fused<K>, k: f64) -> f64 {
    let part = |rank: Option<u32>| rank.map_or(0.0, |rank| 1.0 / (k + f64::from(rank)));
    part(hit.text_rank) + part(hit.vector_rank)
}

/// What scores are scaled by: the best BM25, and the range of similarities.
struct Scale {
    best_text: f64,
    worst_vector: f64,
    vector_range: f64,
}

impl Scale {
    fn of<K>(all: &BTreeMap<K, Fused<K>>, vector: &Scored<K>) -> Self {
        let best = vector.iter().map(|(_, score)| *score).fold(f64::NEG_INFINITY, f64::max);
        let worst = vector.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
        let best_text = all.values().filter_map(|hit| hit.text_score).fold(0.0, f64::max);
        Self { best_text, worst_vector: worst, vector_range: best - worst }
    }

    fn text<K>(&self, hit: &Fused<K>) -> f64 {
        match hit.text_score {
            Some(score) if self.best_text > 0.0 => score / self.best_text,
            _ => 0.0,
        }
    }

    fn vector<K>(&self, hit: &Fused<K>) -> f64 {
        match hit.similarity {
            // A single hit, or all alike: each is the best there is.
            Some(_) if self.vector_range <= f64::EPSILON => 1.0,
            Some(similarity) => (similarity - self.worst_vector) / self.vector_range,
            None => 0.0,
        }
    }

    fn blend<K>(&self, hit: &Fused<K>, text: f64) -> f64 {
        text * self.text(hit) + (1.0 - text) * self.vector(hit)
    }

    /// Above 1 for what the words found, below for the rest: no vector overtakes a word.
    fn text_first<K>(&self, hit: &Fused<K>) -> f64 {
        match hit.text_rank {
            Some(_) => 1.0 + self.text(hit),
            None => hit.vector_rank.map_or(0.0, |rank| 1.0 / (1.0 + f64::from(rank))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: [(u32, f64); 3] = [(1, 9.0), (2, 6.0), (3, 3.0)];
    const VECTOR: [(u32, f64); 3] = [(3, 0.9), (4, 0.5), (1, 0.1)];

    fn by(fusion: Fusion, text: &Scored<u32>, vector: &Scored<u32>) -> Vec<Fused<u32>> {
        fuse(fusion, Words::bounded(text, 10), vector, 10)
    }

    #[test]
    fn either_branch_alone_keeps_its_order() {
        for fusion in [Fusion::default(), Fusion::Rrf { k: 60.0 }, Fusion::TextFirst] {
            let words: Vec<u32> = by(fusion, &TEXT, &[]).iter().map(|h| h.key).collect();
            let vectors: Vec<u32> = by(fusion, &[], &VECTOR).iter().map(|h| h.key).collect();

            assert_eq!(words, [1, 2, 3], "{fusion:?}");
            assert_eq!(vectors, [3, 4, 1], "{fusion:?}");
        }
    }

    #[test]
    fn a_blend_weighs_words_seven_to_three() {
        let fused = by(Fusion::default(), &TEXT, &VECTOR);

        // 1: .7 + 0; 3: .7/3 + .3; 2: .7 * 2/3; 4: .3 * .5.
        assert_eq!(fused.iter().map(|h| h.key).collect::<Vec<_>>(), [1, 3, 2, 4]);
        assert!((fused[1].score - (0.7 / 3.0 + 0.3)).abs() < 1e-12);
    }

    #[test]
    fn words_beyond_the_bound_count_for_hits_by_vector_only() {
        let words = [(1, 9.0), (2, 6.0), (3, 3.0), (5, 2.0), (4, 1.0)];

        let fused = fuse(Fusion::default(), Words::bounded(&words, 3), &VECTOR, 10);

        // 4: .7/9 + .3 * .5; 5 is no hit.
        assert_eq!(fused.iter().map(|h| h.key).collect::<Vec<_>>(), [1, 3, 2, 4]);
        assert!((fused[3].score - (0.7 / 9.0 + 0.15)).abs() < 1e-12);
        assert_eq!((fused[3].text_rank, fused[3].text_score), (None, Some(1.0)));
    }

    #[test]
    fn text_first_never_lets_a_vector_overtake_a_word() {
        let fused = by(Fusion::TextFirst, &TEXT, &VECTOR);

        assert_eq!(fused.iter().map(|h| h.key).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn equal_scores_are_ordered_newest_first() {
        let fused = by(Fusion::Rrf { k: 60.0 }, &[(1, 1.0)], &[(2, 1.0)]);

        assert_eq!(fused.iter().map(|h| h.key).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_hit_of_both_branches_carries_both_pieces_of_evidence() {
        let fused = by(Fusion::Rrf { k: 60.0 }, &[(1, 5.0)], &[(1, 0.5)]);

        assert_eq!((fused[0].text_rank, fused[0].text_score), (Some(1), Some(5.0)));
        assert_eq!((fused[0].vector_rank, fused[0].similarity), (Some(1), Some(0.5)));
        assert!(fused[0].score >= 2.0 / 61.0 - 1e-12);
    }
}
