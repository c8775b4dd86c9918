//! Seeded memories with vectors: clusters of clusters in 384 dimensions, text by Zipf's law. The
//! same seed gives the same data on every machine.

use std::sync::Arc;

use async_trait::async_trait;
use mnemon::core::memories::ModelSignature;
use mnemon::embed::Embedder;
use mnemon::{Error, Result};

/// Dimensions, as small sentence models have.
pub(crate) const DIMENSION: usize = 384;
/// Words there are. Word 1 is in nearly every memory.
const VOCABULARY: usize = 50_000;
/// Clusters, evenly in super-clusters.
const CLUSTERS: usize = 500;
const SUPER_CLUSTERS: usize = 25;
/// How far a cluster lies from its super-cluster's middle, and a memory from its cluster's.
const CLUSTER_SPREAD: f32 = 0.7;
const MEMORY_SPREAD: f32 = 0.6;
/// How far a question lies from the memory it is about.
const QUESTION_SPREAD: f32 = 0.4;

/// A small generator of even numbers (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    /// The same seed, the same numbers.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Even in `0..n`.
    #[expect(clippy::cast_possible_truncation, reason = "below `n`")]
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// Even from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits")]
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, of variance 1: the sum of four even numbers.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        #[expect(clippy::cast_possible_truncation, reason = "16 bits are left")]
        let sum: u32 = (0..4).map(|part| (bits >> (16 * part)) as u32 & 0xffff).sum();
        #[expect(clippy::cast_precision_loss, reason = "18 bits")]
        let sum = sum as f32;
        (sum / 65_536.0 - 2.0) * 1.732_050_8
    }

    fn direction(&mut self) -> Vec<f32> {
        let mut vector: Vec<f32> = (0..DIMENSION).map(|_| self.normal()).collect();
        normalize(&mut vector);
        vector
    }
}

fn normalize(vector: &mut [f32]) {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    for x in vector {
        *x /= norm;
    }
}

fn beside(random: &mut Random, middle: &[f32], spread: f32) -> Vec<f32> {
    let mut vector = random.direction();
    for (x, middle) in vector.iter_mut().zip(middle) {
        *x = middle + spread * *x;
    }
    normalize(&mut vector);
    vector
}

/// The source of memories.
pub(crate) struct Source {
    random: Random,
    clusters: Vec<Vec<f32>>,
    /// How much of the text the words up to this one make.
    shares: Vec<f64>,
}

/// One memory: its words by their ranks, its vector.
pub(crate) struct Text {
    /// Ranks of its words, from 1, in their order.
    pub(crate) words: Vec<u32>,
    /// At length one.
    pub(crate) vector: Vec<f32>,
}

impl Text {
    /// The words as a text.
    pub(crate) fn content(&self) -> String {
        let words: Vec<String> = self.words.iter().map(|rank| word(*rank)).collect();
        words.join(" ")
    }
}

/// The word of a rank.
pub(crate) fn word(rank: u32) -> String {
    format!("w{rank}")
}

impl Source {
    /// The same seed, the same memories.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let supers: Vec<Vec<f32>> = (0..SUPER_CLUSTERS).map(|_| random.direction()).collect();
        let clusters = (0..CLUSTERS)
            .map(|n| beside(&mut random, &supers[n % SUPER_CLUSTERS], CLUSTER_SPREAD))
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "ranks")]
        let weights: Vec<f64> = (1..=VOCABULARY).map(|rank| 1.0 / rank as f64).collect();
        let all: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let shares = weights
            .iter()
            .map(|weight| {
                sum += weight / all;
                sum
            })
            .collect();
        Self { random, clusters, shares }
    }

    /// The source's numbers, for what else is drawn.
    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The next memory: 20 to 50 words.
    pub(crate) fn text(&mut self) -> Text {
        let cluster = self.random.below(CLUSTERS);
        let vector = beside(&mut self.random, &self.clusters[cluster], MEMORY_SPREAD);
        let length = 20 + self.random.below(31);
        let words = (0..length).map(|_| self.rank()).collect();
        Text { words, vector }
    }

    /// A vector near a memory's.
    pub(crate) fn near(&mut self, vector: &[f32]) -> Vec<f32> {
        beside(&mut self.random, vector, QUESTION_SPREAD)
    }

    fn rank(&mut self) -> u32 {
        let share = self.random.share();
        let at = self.shares.partition_point(|sum| *sum < share).min(VOCABULARY - 1);
        u32::try_from(at + 1).expect("a vocabulary is small")
    }
}

/// A model whose vectors the bench gives itself.
pub(crate) struct Given(ModelSignature);

impl Given {
    /// The model of this bench's vectors.
    pub(crate) fn model() -> Arc<dyn Embedder> {
        Arc::new(Self(ModelSignature {
            name: "bench:clusters".into(),
            dimension: u32::try_from(DIMENSION).expect("a dimension is small"),
            hash: "00".into(),
            semantic: true,
        }))
    }
}

#[async_trait]
impl Embedder for Given {
    fn signature(&self) -> &ModelSignature {
        &self.0
    }

    async fn embed(&self, _text: &str) -> Result<Vec<f32>> {
        Err(Error::setup("this bench gives every vector itself", "give it here too"))
    }
}
