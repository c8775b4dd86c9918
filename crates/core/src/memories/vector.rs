//! Embedding vectors: what is usable, and whose they are.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits;

/// Which model made a vector: two signatures are equal only when their vectors are comparable.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ModelSignature {
    /// The model's name: `lexical-256`, `all-MiniLM-L6-v2`.
    pub name: String,
    /// Dimensions of its vectors.
    pub dimension: u32,
    /// A digest of what determines its vectors (weights, tokenizer, pooling), in hex.
    pub hash: String,
    /// Whether its vectors carry meaning. Without, the vector branch of a recall only fills up
    /// what the words did not find.
    pub semantic: bool,
}

impl ModelSignature {
    /// Checks the signature.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a blank name or hash, or a dimension of 0 or over
    /// [`limits::EMBEDDING_DIMENSIONS`].
    pub fn check(&self) -> Result<()> {
        limits::name("model.name", &self.name, limits::MODEL_NAME_BYTES)?;
        limits::name("model.hash", &self.hash, limits::MODEL_NAME_BYTES)?;
        if (1..=limits::EMBEDDING_DIMENSIONS).contains(&(self.dimension as usize)) {
            return Ok(());
        }
        Err(Error::invalid(
            "model.dimension",
            format!("is {}; it goes from 1 to {}", self.dimension, limits::EMBEDDING_DIMENSIONS),
        ))
    }

    /// Checks a vector of this model.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another dimension, or as [`check`].
    pub fn check_vector(&self, field: &'static str, vector: &[f32]) -> Result<()> {
        if vector.len() != self.dimension as usize {
            return Err(Error::invalid(
                field,
                format!("has {} dimensions; {} has {}", vector.len(), self.name, self.dimension),
            ));
        }
        check(field, vector)
    }
}

impl fmt::Display for ModelSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.hash.get(..8).unwrap_or(&self.hash);
        write!(f, "{} ({} dimensions, {short})", self.name, self.dimension)
    }
}

/// Checks that a vector can be compared: not empty, not over its limit, finite, not zero.
///
/// # Errors
///
/// [`Error::Invalid`] naming what is wrong.
pub fn check(field: &'static str, vector: &[f32]) -> Result<()> {
    if vector.is_empty() || vector.len() > limits::EMBEDDING_DIMENSIONS {
        return Err(Error::invalid(
            field,
            format!(
                "has {} dimensions; it goes from 1 to {}",
                vector.len(),
                limits::EMBEDDING_DIMENSIONS
            ),
        ));
    }
    if let Some(at) = vector.iter().position(|x| !x.is_finite()) {
        return Err(Error::invalid(field, format!("is {} at dimension {at}", vector[at])));
    }
    let norm: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    if norm < f64::from(f32::MIN_POSITIVE) {
        return Err(Error::invalid(field, "is the zero vector, which is similar to nothing"));
    }
    Ok(())
}

/// Cosine similarity, −1 to 1, in double precision.
///
/// ```
/// use mnemon_core::memories::vector::cosine;
///
/// assert_eq!(cosine(&[1.0, 0.0], &[2.0, 0.0]), 1.0);
/// assert_eq!(cosine(&[1.0, 0.0], &[0.0, 3.0]), 0.0);
/// ```
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (mut dot, mut aa, mut bb) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (f64::from(*x), f64::from(*y));
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    if aa == 0.0 || bb == 0.0 { 0.0 } else { dot / (aa.sqrt() * bb.sqrt()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_nan_vectors_are_refused_by_name() {
        assert!(check("embedding", &[0.0, 0.0]).unwrap_err().to_string().contains("zero vector"));
        assert!(check("embedding", &[1.0, f32::NAN]).unwrap_err().to_string().contains("NaN"));
        assert!(check("embedding", &[]).is_err());
    }
}
