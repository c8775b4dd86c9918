//! How a memory's words stand at rest: compact bytes for occurrences and for lists of terms, and
//! what is asked of them. A pure module.

use mnemon_core::memories::bm25::weight;
use mnemon_core::memories::text::{Occurrence, Phrase, Place};
use mnemon_core::{Error, Result};

/// Bits of an occurrence's place beside its position.
const PLACE_BITS: u64 = 2;

/// Occurrences as variable-length integers: the distance to the position before, and the place.
pub(super) fn pack(occurrences: &[Occurrence]) -> Vec<u8> {
    let mut sorted = occurrences.to_vec();
    sorted.sort_unstable();
    let mut bytes = Vec::with_capacity(sorted.len() * 2);
    let mut last = 0;
    for Occurrence { position, place } in sorted {
        let position = u64::from(position);
        put(&mut bytes, (position - last) << PLACE_BITS | code(place));
        last = position;
    }
    bytes
}

/// The occurrences that [`pack`] wrote.
pub(super) fn unpack(mut bytes: &[u8]) -> Result<Vec<Occurrence>> {
    let mut occurrences = Vec::with_capacity(bytes.len());
    let mut last = 0;
    while !bytes.is_empty() {
        let number = take(&mut bytes)?;
        last += number >> PLACE_BITS;
        let position = u16::try_from(last).map_err(|_| damaged("a position is too large"))?;
        occurrences.push(Occurrence { position, place: place(number)? });
    }
    Ok(occurrences)
}

/// The weighted count of packed occurrences.
pub(super) fn weighted(mut bytes: &[u8]) -> Result<f64> {
    let mut sum = 0.0;
    while !bytes.is_empty() {
        sum += weight(place(take(&mut bytes)?)?);
    }
    Ok(sum)
}

/// Term numbers, in any order, as variable-length distances.
pub(super) fn pack_terms(mut terms: Vec<i64>) -> Vec<u8> {
    terms.sort_unstable();
    let mut bytes = Vec::with_capacity(terms.len() * 2);
    let mut last = 0;
    for term in terms {
        put(&mut bytes, u64::try_from(term - last).expect("sorted, and term numbers are positive"));
        last = term;
    }
    bytes
}

/// The term numbers that [`pack_terms`] wrote.
pub(super) fn unpack_terms(mut bytes: &[u8]) -> Result<Vec<i64>> {
    let mut terms = Vec::new();
    let mut last = 0_i64;
    while !bytes.is_empty() {
        let step = i64::try_from(take(&mut bytes)?).map_err(|_| damaged("a term is too large"))?;
        last = last.checked_add(step).ok_or_else(|| damaged("a term is too large"))?;
        terms.push(last);
    }
    Ok(terms)
}

/// Whether a phrase stands somewhere, given each of its words' occurrences in its order.
pub(super) fn stands(phrase: &Phrase, occurrences: &[Vec<Occurrence>]) -> bool {
    let Some(first) = occurrences.first() else { return false };
    first.iter().any(|start| {
        let mut at = start.position;
        phrase.iter().zip(occurrences).all(|((distance, _), found)| {
            at = at.saturating_add(*distance);
            found.iter().any(|occurrence| occurrence.position == at)
        })
    })
}

fn code(place: Place) -> u64 {
    match place {
        Place::Content => 0,
        Place::NodeType => 1,
        Place::Tags => 2,
    }
}

fn place(number: u64) -> Result<Place> {
    match number & ((1 << PLACE_BITS) - 1) {
        0 => Ok(Place::Content),
        1 => Ok(Place::NodeType),
        2 => Ok(Place::Tags),
        _ => Err(damaged("an occurrence stands nowhere")),
    }
}

/// Seven bits a byte, lowest first; the eighth says that more follows.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7F) as u8);
}

fn take(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or_else(|| damaged("a number is cut off"))?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(damaged("a number is too long"))
}

fn damaged(reason: &str) -> Error {
    Error::corrupt("the index of words", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u16, place: Place) -> Occurrence {
        Occurrence { position, place }
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let occurrences = vec![
            at(1, Place::Content),
            at(500, Place::Content),
            at(16_383, Place::NodeType),
            at(16_383, Place::Tags),
        ];

        let packed = pack(&occurrences);

        assert_eq!(unpack(&packed).unwrap(), occurrences);
        assert!((weighted(&packed).unwrap() - 2.6).abs() < 1e-12);
        assert_eq!(unpack_terms(&pack_terms(vec![900, 3, 70_000])).unwrap(), [3, 900, 70_000]);
    }

    #[test]
    fn damaged_bytes_are_corrupt_and_never_a_panic() {
        for bytes in [&[0x80][..], &[0xFF; 11], &[3], &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]] {
            assert!(matches!(unpack(bytes), Err(Error::Corrupt { .. })), "{bytes:?}");
        }
        assert!(matches!(unpack_terms(&[0xFF; 11]), Err(Error::Corrupt { .. })));
        assert!(
            unpack_terms(&[[0xFF; 8].as_slice(), &[0x7F], &[0xFF; 8], &[0x7F]].concat()).is_err()
        );
    }

    #[test]
    fn a_phrase_stands_where_its_words_follow_each_other() {
        let phrase = vec![(0, "red".to_owned()), (1, "panda".to_owned())];
        let red = vec![at(3, Place::Content), at(9, Place::Content)];

        assert!(stands(&phrase, &[red.clone(), vec![at(10, Place::Content)]]));
        assert!(!stands(&phrase, &[red.clone(), vec![at(5, Place::Content)]]));
        assert!(!stands(&phrase, &[red, Vec::new()]));
    }
}
