//! Which segments are merged: a pure decision over their sizes.

use mnemon_core::limits;

/// The segments to merge into one, by their numbers, given each one's number and rows; none when
/// they stand well. While vectors come in they are merged only when there are too many, and a few
/// at a time: what comes in meanwhile waits for its own segment.
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
        let enough = if idle {
            chosen.len() >= 2 && !crowded && rows > 2 * sum
        } else {
            chosen.len() >= limits::SEGMENTS_MERGED
        };
        if full || enough {
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
    fn of_too_many_the_smallest_are_merged_at_once_and_all_when_nothing_comes_in() {
        let mut many: Vec<(i32, u64)> = (1..=9).map(|number| (number, 5_000)).collect();
        many[1].1 = 20_000;

        assert_eq!(choose(&many, false), [1, 3, 4, 5]);
        assert_eq!(choose(&many, true).len(), 9);
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
