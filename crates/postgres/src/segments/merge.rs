//! Which segments are merged: a pure decision over their sizes.

use mnemon_core::limits;

/// The segments to merge into one, by their numbers, given each one's number and rows; none when
/// they stand well. While vectors come in they are merged only when there are too many.
///
/// The smallest ones go first, each next one as long as it is not much larger than all before it:
/// so a vector is copied about as often as the logarithm of their number.
pub(super) fn choose(segments: &[(i32, u64)], idle: bool) -> Vec<i32> {
    let crowded = segments.len() > limits::SEGMENTS_MAX;
    if !idle && !crowded {
        return Vec::new();
    }
    let mut by_size = segments.to_vec();
    by_size.sort_by_key(|(number, rows)| (*rows, *number));
    let mut chosen: Vec<i32> = Vec::new();
    let mut sum = 0;
    for (number, rows) in by_size {
        let full = sum + rows > limits::SEGMENT_MERGED_ROWS;
        if full || (chosen.len() >= 2 && !crowded && rows > 2 * sum) {
            break;
        }
        sum += rows;
        chosen.push(number);
    }
    // A pair of unlike ones gains too little for copying the larger.
    if chosen.len() < 2 { Vec::new() } else { chosen }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_merged_while_vectors_come_in_and_segments_are_few() {
        assert!(choose(&[(1, 5_000), (2, 5_000), (3, 5_000)], false).is_empty());
    }

    #[test]
    fn too_many_are_merged_at_once() {
        let many: Vec<(i32, u64)> = (1..=9).map(|number| (number, 5_000)).collect();

        assert_eq!(choose(&many, false).len(), 9);
    }

    #[test]
    fn a_large_one_is_left_alone_by_small_ones() {
        assert_eq!(choose(&[(1, 500_000), (2, 5_000), (3, 6_000)], true), [2, 3]);
    }

    #[test]
    fn one_alone_and_full_ones_stay() {
        assert!(choose(&[(1, 5_000)], true).is_empty());
        let full = limits::SEGMENT_MERGED_ROWS;
        assert!(choose(&[(1, full), (2, full)], true).is_empty());
    }
}
