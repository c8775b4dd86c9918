//! The embedder that needs nothing: hashed words and letter n-grams. Deterministic on every
//! machine, and not semantic: "car" is as far from "automobile" as from "banana".

use std::iter;

use async_trait::async_trait;
use mnemon_core::memories::ModelSignature;
use mnemon_core::{Error, Result};

use super::Embedder;

/// Dimensions of its vectors, unless somebody says.
const DIMENSION: u32 = 256;
/// The fewest: with less, everything is similar to everything.
const DIMENSION_MIN: u32 = 32;
/// The most: above, an approximate index is not possible, and nothing is won.
const DIMENSION_MAX: u32 = 4_000;
/// What determines the vectors; a change of the code below changes this line, and with it the
/// signature.
const RECIPE: &str = "/1: lower-cased words of letters and digits at 1, letter 3- to \
                      5-grams of ^word$ at 0.5, sqrt(count), FNV-1a to sign and place, L2";
/// The weight of a whole word beside those of its n-grams.
const WORD: f32 = 1.0;
/// The weight of an n-gram of letters.
const GRAM: f32 = 0.5;
/// Lengths of n-grams.
const GRAMS: std::ops::RangeInclusive<usize> = 3..=5;

/// The `lexical` model.
#[derive(Debug)]
pub struct Lexical {
    signature: ModelSignature,
}

impl Lexical {
    /// The model; it has no state.
    pub fn new() -> Self {
        Self::with(DIMENSION)
    }

    /// The model with as many dimensions as are wanted, instead of 256.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for fewer than 32 or more than 4,000.
    pub fn of(dimension: u32) -> Result<Self> {
        if (DIMENSION_MIN..=DIMENSION_MAX).contains(&dimension) {
            return Ok(Self::with(dimension));
        }
        let reason = format!(
            "is lexical with {dimension} dimensions; it has {DIMENSION_MIN} to {DIMENSION_MAX}"
        );
        Err(Error::invalid("embedder.model", reason))
    }

    fn with(dimension: u32) -> Self {
        let name = format!("lexical-{dimension}");
        let hash = blake3::hash(format!("{name}{RECIPE}").as_bytes()).to_hex().to_string();
        Self { signature: ModelSignature { name, dimension, hash, semantic: false } }
    }
}

impl Default for Lexical {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Embedder for Lexical {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    fn is_instant(&self) -> bool {
        true
    }

    async fn embed(&self, text: &str) -> Result<Vec<f32>> {
        Ok(vector(text, self.signature.dimension as usize))
    }
}

/// The vector of a text: its features hashed to a sign and one of the dimensions.
fn vector(text: &str, dimension: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimension];
    for same in features(text).chunk_by(|(one, _), (other, _)| one == other) {
        let (feature, weight) = same[0];
        let place = usize::try_from(feature % dimension as u64).expect("below the dimension");
        let sign = if feature >> 63 == 0 { 1.0 } else { -1.0 };
        vector[place] += sign * weight * count(same.len()).sqrt();
    }
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    // Nothing to hash, or features that cancel out: a fixed direction, since the zero vector is
    // similar to nothing and no database takes it.
    if norm <= f32::EPSILON {
        vector.fill(0.0);
        vector[0] = 1.0;
        return vector;
    }
    for x in &mut vector {
        *x /= norm;
    }
    vector
}

/// How often something occurs; a text has far fewer features than a float counts exactly.
#[expect(clippy::cast_precision_loss, reason = "a count of a text's features")]
fn count(features: usize) -> f32 {
    features as f32
}

/// Every feature's hash with its weight, as often as it occurs, in a fixed order, so that the sums
/// round alike everywhere (and no logarithm: only the square root is exact by standard).
fn features(text: &str) -> Vec<(u64, f32)> {
    let mut features = Vec::with_capacity(3 * text.len());
    let mut letters = Vec::new();
    let lower = text.to_lowercase();
    for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        features.push((fnv('w', word.chars()), WORD));
        letters.clear();
        letters.extend(iter::once('^').chain(word.chars()).chain(iter::once('$')));
        for length in GRAMS {
            let grams = letters.windows(length);
            features.extend(grams.map(|gram| (fnv('g', gram.iter().copied()), GRAM)));
        }
    }
    // Stable: of a word and an n-gram with one hash, the first counts.
    features.sort_by_key(|(hash, _)| *hash);
    features
}

/// FNV-1a, 64 bits, over a kind and the UTF-8 of some letters.
fn fnv(kind: char, letters: impl Iterator<Item = char>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut buffer = [0; 4];
    for letter in std::iter::once(kind).chain(letters) {
        for byte in letter.encode_utf8(&mut buffer).bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use mnemon_core::memories::vector::{check, cosine};

    use super::*;

    fn vector(text: &str) -> Vec<f32> {
        super::vector(text, DIMENSION as usize)
    }

    #[test]
    fn the_number_of_dimensions_is_part_of_the_signature() {
        let (usual, wide) = (Lexical::new(), Lexical::of(384).unwrap());

        assert_eq!(usual.signature(), Lexical::of(256).unwrap().signature());
        assert_eq!(wide.signature().name, "lexical-384");
        assert_ne!(wide.signature().hash, usual.signature().hash);
        assert!(Lexical::of(31).is_err() && Lexical::of(4_001).is_err());
    }

    #[test]
    fn the_vectors_are_the_same_everywhere() {
        let digest = |text| {
            let bytes: Vec<u8> = vector(text).iter().flat_map(|x| x.to_le_bytes()).collect();
            blake3::hash(&bytes).to_hex()[..16].to_owned()
        };

        assert_eq!(digest("The launch is on 3 May"), "0dde7b3fa8526482");
        assert_eq!(digest("Ἀγαπῶ σε, 東京"), "59d1bcd4419eeaa4");
    }

    #[test]
    fn every_text_has_a_usable_vector() {
        for text in ["", "   ", "?!", "\u{1f600}", "a", "東京", &"x".repeat(100_000)] {
            check("embedding", &vector(text)).unwrap();
            assert_eq!(vector(text).len(), DIMENSION as usize);
        }
    }

    #[test]
    fn shared_words_and_word_stems_bring_texts_closer() {
        let near = cosine(&vector("launching the rockets"), &vector("a rocket launch"));
        let far = cosine(&vector("launching the rockets"), &vector("my cat sleeps all day"));

        assert!(near > far + 0.2, "{near} {far}");
    }
}
