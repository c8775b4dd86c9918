//! Vectors at rest, and how near two of them are.

use mnemon_core::{Error, Result};

/// Bytes of one dimension.
pub(super) const WIDTH: usize = size_of::<f32>();
/// Sums kept apart, so that the processor adds them at once.
const LANES: usize = 8;

/// A vector as little-endian bytes.
pub(crate) fn pack(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// The vector that [`pack`] wrote.
pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<f32>> {
    let (chunks, rest) = bytes.as_chunks::<WIDTH>();
    if !rest.is_empty() {
        return Err(Error::corrupt("a stored vector", format!("it is {} bytes", bytes.len())));
    }
    Ok(chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
}

/// Cosine similarity of two packed vectors.
pub(super) fn cosine(a: &[u8], b: &[u8]) -> Result<f64> {
    Probe::of(&unpack(a)?).similarity(b)
}

/// A question's vector, ready to be compared with many.
pub(super) struct Probe<'a> {
    vector: &'a [f32],
    norm: f64,
}

impl<'a> Probe<'a> {
    pub(super) fn of(vector: &'a [f32]) -> Self {
        let norm: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        Self { vector, norm: norm.sqrt() }
    }

    /// Cosine similarity to packed bytes, −1 to 1.
    ///
    /// Sums run in double precision in lanes of their own: as exact as core's `cosine` but for
    /// the order of additions, and several times as fast.
    pub(super) fn similarity(&self, bytes: &[u8]) -> Result<f64> {
        if bytes.len() != self.vector.len() * WIDTH {
            return Err(wrong_size(bytes.len(), self.vector.len()));
        }
        let mut dot = [0.0_f64; LANES];
        let mut square = [0.0_f64; LANES];
        let (ours, theirs) = (self.vector.chunks_exact(LANES), bytes.chunks_exact(LANES * WIDTH));
        let rest = ours.remainder().iter().zip(theirs.remainder().chunks_exact(WIDTH));
        let mut tail = (0.0, 0.0);
        for (x, y) in rest {
            let (x, y) = (f64::from(*x), read(y));
            tail = (tail.0 + x * y, tail.1 + y * y);
        }
        for (ours, theirs) in ours.zip(theirs) {
            for (lane, (x, y)) in ours.iter().zip(theirs.chunks_exact(WIDTH)).enumerate() {
                let (x, y) = (f64::from(*x), read(y));
                dot[lane] += x * y;
                square[lane] += y * y;
            }
        }
        let dot = dot.iter().sum::<f64>() + tail.0;
        let norm = (square.iter().sum::<f64>() + tail.1).sqrt() * self.norm;
        Ok(if norm == 0.0 { 0.0 } else { dot / norm })
    }
}

/// A stored vector that cannot be one of its set.
pub(super) fn wrong_size(bytes: usize, dimension: usize) -> Error {
    let reason = format!("it is {bytes} bytes, not {}", dimension * WIDTH);
    Error::corrupt("a stored vector", reason)
}

fn read(bytes: &[u8]) -> f64 {
    f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use mnemon_core::memories::vector::cosine;

    use super::*;

    #[test]
    fn the_similarity_is_core_s_cosine() {
        for dimension in [1, 7, 8, 9, 384, 1_001_u16] {
            let vector = |seed: u16| -> Vec<f32> {
                (0..dimension).map(|n: u16| f32::from((n * 37 + seed * 11) % 101) - 49.5).collect()
            };
            let (a, b) = (vector(1), vector(5));

            let found = Probe::of(&a).similarity(&pack(&b)).unwrap();

            assert!((found - cosine(&a, &b)).abs() < 1e-12, "{dimension}");
        }
    }

    #[test]
    fn a_cut_off_vector_is_corrupt() {
        let found = Probe::of(&[1.0, 2.0]).similarity(&[0; 7]);

        assert!(matches!(found, Err(Error::Corrupt { .. })));
    }
}
