//! Vectors as 16-bit fixed-point numbers, for finding what is near before it is compared exactly.
//! A pure module.
//!
//! A vector is brought to length one and each component rounded to a multiple of 1/32767. The sum
//! of products then fits 32 bits whatever the dimension (by Cauchy and Schwarz no partial sum
//! exceeds the product of the lengths), and the processor multiplies and adds pairs of such numbers
//! in one instruction that every x86-64 has. The rounding is bounded, so that nobody is lost: see
//! [`margin`].

use super::vectors::WIDTH;

/// What 1.0 is.
const ONE: f64 = 32_767.0;
/// How many components are taken at a time: a number that the compiler knows, so that it sees the
/// pairs to multiply and add in one instruction also where nothing is inlined across crates.
const LANES: usize = 32;

/// A vector's code.
pub(super) fn encode(vector: &[f32], into: &mut Vec<i16>) {
    let norm = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    // No zero vector is stored; if one were, it would be similar to nothing.
    let scale = if norm > 0.0 { ONE / norm } else { 0.0 };
    into.extend(vector.iter().map(|x| rounded(f64::from(*x) * scale)));
}

/// The code of a vector as it stands in its row.
pub(super) fn encode_packed(bytes: &[u8], into: &mut Vec<i16>) {
    let number = |chunk: &[u8]| f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    let vector: Vec<f32> = bytes.chunks_exact(WIDTH).map(number).collect();
    encode(&vector, into);
}

#[expect(clippy::cast_possible_truncation, reason = "its size is at most ONE")]
fn rounded(x: f64) -> i16 {
    x.round().clamp(-ONE, ONE) as i16
}

/// The sum of products of two codes.
pub(super) fn dot(a: &[i16], b: &[i16]) -> i32 {
    let ((ours, our_rest), (theirs, their_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let product = |x: i16, y: i16| i32::from(x) * i32::from(y);
    let mut sum = our_rest.iter().zip(their_rest).map(|(x, y)| product(*x, *y)).sum::<i32>();
    for (a, b) in ours.iter().zip(theirs) {
        let mut part = 0_i32;
        for lane in 0..LANES {
            part = part.wrapping_add(product(a[lane], b[lane]));
        }
        sum = sum.wrapping_add(part);
    }
    sum
}

/// A sum of products as a cosine.
pub(super) fn cosine(dot: i32) -> f64 {
    f64::from(dot) / (ONE * ONE)
}

/// How far the cosine of two codes may be from the vectors' own, at the most: each code is off by
/// a vector no longer than e = √dimension / (2 · 32767), and (x + e)(y + e) − xy ≤ 2e + e².
#[expect(clippy::cast_precision_loss, reason = "a dimension is far below 2^52")]
pub(super) fn margin(dimension: usize) -> f64 {
    let error = (dimension as f64).sqrt() / (2.0 * ONE);
    // And what the exact cosine itself rounds.
    2.0 * error + error * error + 1e-9
}

#[cfg(test)]
mod tests {
    use mnemon_core::memories::vector;

    use super::*;

    fn code(vector: &[f32]) -> Vec<i16> {
        let mut code = Vec::new();
        encode(vector, &mut code);
        code
    }

    /// Numbers that look random, the same in every run.
    fn numbers(seed: u32, count: usize) -> Vec<f32> {
        let mut state = u64::from(seed) * 2 + 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let word = u16::try_from(state >> 48).unwrap();
            f32::from(word) / 32_768.0 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn the_cosine_of_codes_is_within_the_margin() {
        for dimension in [1, 2, 7, 16, 17, 384, 1_536, 16_000] {
            for seed in 0..20 {
                let (a, b) = (numbers(seed, dimension), numbers(seed + 1_000, dimension));
                let exact = vector::cosine(&a, &b);
                let coded = cosine(dot(&code(&a), &code(&b)));

                assert!((exact - coded).abs() <= margin(dimension), "{dimension}: {exact} {coded}");
            }
        }
    }

    #[test]
    fn no_sum_overflows_however_a_vector_lies() {
        for vector in [vec![3.0e38; 16_000], vec![-1.0e-30; 16_000], {
            let mut one = vec![0.0; 16_000];
            one[15_999] = -7.0;
            one
        }] {
            let code = code(&vector);

            assert!((cosine(dot(&code, &code)) - 1.0).abs() <= margin(16_000));
        }
    }
}
