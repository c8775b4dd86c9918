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

/// A branch's hits, best first, with their scores (BM25 or cosine).
pub type Branch<K> = [(K, f64)];

/// One fused hit with its evidence.
#[derive(Clone, PartialEq, Debug)]
pub struct Fused<K> {
    /// Whose.
    pub key: K,
    /// The fused score.
    pub score: f64,
    /// Place by words, from 1, and BM25 score.
    pub text: Option<(u32, f64)>,
    /// Place by vector, from 1, and cosine similarity.
    pub vector: Option<(u32, f64)>,
}

/// Fuses two branches and keeps the best `limit`. With one branch empty the order is the
/// other's.
///
/// ```
/// use mnemon_core::memories::fuse::{Fusion, fuse};
///
/// let text = [("a", 2.0), ("b", 1.0)];
/// let vector = [("a", 0.9), ("c", 0.8)];
/// let fused = fuse(Fusion::Rrf { k: 60.0 }, &text, &vector, 10);
/// assert_eq!(fused[0].key, "a");
/// assert!((fused[0].score - 2.0 / 61.0).abs() < 1e-12);
/// ```
pub fn fuse<K: Ord + Clone>(
    fusion: Fusion,
    text: &Branch<K>,
    vector: &Branch<K>,
    limit: usize,
) -> Vec<Fused<K>> {
    let mut all: BTreeMap<K, Fused<K>> = BTreeMap::new();
    for (rank, (key, score)) in (1..).zip(text) {
        entry(&mut all, key).text = Some((rank, *score));
    }
    for (rank, (key, score)) in (1..).zip(vector) {
        entry(&mut all, key).vector = Some((rank, *score));
    }
    let scale = Scale::of(text, vector);
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

fn entry<'m, K: Ord + Clone>(all: &'m mut BTreeMap<K, Fused<K>>, key: &K) -> &'m mut Fused<K> {
    all.entry(key.clone()).or_insert_with(|| Fused {
        key: key.clone(),
        score: 0.0,
        text: None,
        vector: None,
    })
}

fn reciprocal<K>(hit: &Fused<K>, k: f64) -> f64 {
    let part =
        |branch: Option<(u32, f64)>| branch.map_or(0.0, |(rank, _)| 1.0 / (k + f64::from(rank)));
    part(hit.text) + part(hit.vector)
}

/// What scores are scaled by: the best BM25, and the range of similarities.
struct Scale {
    best_text: f64,
    worst_vector: f64,
    vector_range: f64,
}

impl Scale {
    fn of<K>(text: &Branch<K>, vector: &Branch<K>) -> Self {
        let best_text = text.iter().map(|(_, score)| *score).fold(0.0, f64::max);
        let best = vector.iter().map(|(_, score)| *score).fold(f64::NEG_INFINITY, f64::max);
        let worst = vector.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
        Self { best_text, worst_vector: worst, vector_range: best - worst }
    }

    fn text<K>(&self, hit: &Fused<K>) -> f64 {
        match hit.text {
            Some((_, score)) if self.best_text > 0.0 => score / self.best_text,
            _ => 0.0,
        }
    }

    fn vector<K>(&self, hit: &Fused<K>) -> f64 {
        match hit.vector {
            // A single hit, or all alike: each is the best there is.
            Some(_) if self.vector_range <= f64::EPSILON => 1.0,
            Some((_, score)) => (score - self.worst_vector) / self.vector_range,
            None => 0.0,
        }
    }

    fn blend<K>(&self, hit: &Fused<K>, text: f64) -> f64 {
        text * self.text(hit) + (1.0 - text) * self.vector(hit)
    }

    /// Above 1 for what the words found, below for the rest: no vector overtakes a word.
    fn text_first<K>(&self, hit: &Fused<K>) -> f64 {
        match hit.text {
            Some(_) => 1.0 + self.text(hit),
            None => hit.vector.map_or(0.0, |(rank, _)| 1.0 / (1.0 + f64::from(rank))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: [(u32, f64); 3] = [(1, 9.0), (2, 6.0), (3, 3.0)];
    const VECTOR: [(u32, f64); 3] = [(3, 0.9), (4, 0.5), (1, 0.1)];

    #[test]
    fn either_branch_alone_keeps_its_order() {
        for fusion in [Fusion::default(), Fusion::Rrf { k: 60.0 }, Fusion::TextFirst] {
            let words: Vec<u32> = fuse(fusion, &TEXT, &[], 10).iter().map(|h| h.key).collect();
            let vectors: Vec<u32> = fuse(fusion, &[], &VECTOR, 10).iter().map(|h| h.key).collect();

            assert_eq!(words, [1, 2, 3], "{fusion:?}");
            assert_eq!(vectors, [3, 4, 1], "{fusion:?}");
        }
    }

    #[test]
    fn a_blend_weighs_words_seven_to_three() {
        let fused = fuse(Fusion::default(), &TEXT, &VECTOR, 10);

        // 1: .7 + 0; 3: .7/3 + .3; 2: .7 * 2/3; 4: .3 * .5.
        assert_eq!(fused.iter().map(|h| h.key).collect::<Vec<_>>(), [1, 3, 2, 4]);
        assert!((fused[1].score - (0.7 / 3.0 + 0.3)).abs() < 1e-12);
    }

    #[test]
    fn text_first_never_lets_a_vector_overtake_a_word() {
        let fused = fuse(Fusion::TextFirst, &TEXT, &VECTOR, 10);

        assert_eq!(fused.iter().map(|h| h.key).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn equal_scores_are_ordered_newest_first() {
        let fused = fuse(Fusion::Rrf { k: 60.0 }, &[(1, 1.0)], &[(2, 1.0)], 10);

        assert_eq!(fused.iter().map(|h| h.key).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_hit_of_both_branches_carries_both_pieces_of_evidence() {
        let fused = fuse(Fusion::Rrf { k: 60.0 }, &[(1, 5.0)], &[(1, 0.5)], 1);

        assert_eq!(fused[0].text, Some((1, 5.0)));
        assert_eq!(fused[0].vector, Some((1, 0.5)));
        assert!(fused[0].score >= 2.0 / 61.0 - 1e-12);
    }
}
