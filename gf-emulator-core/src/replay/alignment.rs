//! Two lists of names side by side: which of one are which of the other.

/// More pairs than this are not tried: where so much differs, it is told as one difference.
const MOST_PAIRS: usize = 1 << 20;

/// One place of two lists side by side, by their indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Both(usize, usize),
    /// Only in the recording.
    Missing(usize),
    /// Only found.
    Extra(usize),
}

impl Place {
    pub(super) fn is_both(self) -> bool {
        matches!(self, Self::Both(..))
    }
}

/// The longest common subsequence, and what is beside it. Nothing where the lists are too long and too different.
pub(super) fn align(recorded: &[&str], found: &[&str]) -> Option<Vec<Place>> {
    let same_start = recorded.iter().zip(found).take_while(|(one, other)| one == other).count();
    let (a, b) = (&recorded[same_start..], &found[same_start..]);
    let same_end = a.iter().rev().zip(b.iter().rev()).take_while(|(one, other)| one == other).count();
    let (a, b) = (&a[..a.len() - same_end], &b[..b.len() - same_end]);
    if a.len().saturating_mul(b.len()) > MOST_PAIRS {
        return None;
    }
    let mut places: Vec<_> = (0..same_start).map(|i| Place::Both(i, i)).collect();
    // common[i][j]: how long the longest is of a[i..] and b[j..].
    let width = b.len() + 1;
    let mut common = vec![0_u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            let [below, right] = [common[(i + 1) * width + j], common[i * width + j + 1]];
            common[i * width + j] = if a[i] == b[j] { common[(i + 1) * width + j + 1] + 1 } else { below.max(right) };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            places.push(Place::Both(same_start + i, same_start + j));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            places.push(Place::Missing(same_start + i));
            i += 1;
        } else {
            places.push(Place::Extra(same_start + j));
            j += 1;
        }
    }
    places.extend((0..same_end).map(|k| Place::Both(recorded.len() - same_end + k, found.len() - same_end + k)));
    Some(places)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    #[test]
    fn what_is_missing_and_what_is_more_is_found() {
        use Place::{Both, Extra, Missing};
        for (recorded, found, expected) in [
            ("", "", vec![]),
            ("a b", "a b", vec![Both(0, 0), Both(1, 1)]),
            ("a b c", "a c", vec![Both(0, 0), Missing(1), Both(2, 1)]),
            ("a c", "a b c", vec![Both(0, 0), Extra(1), Both(1, 2)]),
            ("a b", "a c", vec![Both(0, 0), Missing(1), Extra(1)]),
            ("a b", "b a", vec![Missing(0), Both(1, 0), Extra(1)]),
            ("", "a", vec![Extra(0)]),
            ("a a a", "a", vec![Both(0, 0), Missing(1), Missing(2)]),
        ] {
            assert_eq!(align(&words(recorded), &words(found)), Some(expected), "{recorded} / {found}");
        }
    }

    #[test]
    fn long_lists_take_no_memory_out_of_proportion() {
        let (a, b) = (vec!["a"; 100_000], vec!["b"; 100_000]);
        assert_eq!(align(&a, &b), None);
        assert_eq!(align(&a, &a).unwrap().len(), 100_000);
    }

    proptest! {
        #[test]
        fn everything_is_somewhere(a in "[ab ]{0,30}", b in "[ab ]{0,30}") {
            let (a, b) = (words(&a), words(&b));
            let places = align(&a, &b).unwrap();
            let of_a: Vec<_> = places.iter().filter_map(|p| match p { Place::Both(i, _) | Place::Missing(i) => Some(*i), Place::Extra(_) => None }).collect();
            let of_b: Vec<_> = places.iter().filter_map(|p| match p { Place::Both(_, j) | Place::Extra(j) => Some(*j), Place::Missing(_) => None }).collect();
            prop_assert_eq!(of_a, (0..a.len()).collect::<Vec<_>>());
            prop_assert_eq!(of_b, (0..b.len()).collect::<Vec<_>>());
            let same = places.iter().all(|p| if let Place::Both(i, j) = p { a[*i] == b[*j] } else { true });
            prop_assert!(same);
        }
    }
}
