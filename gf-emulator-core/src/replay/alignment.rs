//! Aligns two lists of names by their longest common subsequence.

/// Maximum number of pairs that are compared, since time and memory grow with them.
const PAIRS_LIMIT: usize = 1 << 20;

/// One row of the alignment, with indices into the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AlignedRow {
    Both(usize, usize),
    /// In the recording only.
    Missing(usize),
    /// In the observed list only.
    Extra(usize),
}

impl AlignedRow {
    pub(super) fn is_both(self) -> bool {
        matches!(self, Self::Both(..))
    }
}

/// Aligns the lists. Returns `None` if they are too long and too different.
pub(super) fn align(recorded: &[&str], observed: &[&str]) -> Option<Vec<AlignedRow>> {
    let same_start = recorded.iter().zip(observed).take_while(|(one, other)| one == other).count();
    let (a, b) = (&recorded[same_start..], &observed[same_start..]);
    let same_end = a.iter().rev().zip(b.iter().rev()).take_while(|(one, other)| one == other).count();
    let (a, b) = (&a[..a.len() - same_end], &b[..b.len() - same_end]);
    if a.len().saturating_mul(b.len()) > PAIRS_LIMIT {
        return None;
    }
    let mut rows: Vec<_> = (0..same_start).map(|i| AlignedRow::Both(i, i)).collect();
    // common[i][j]: length of the longest common subsequence of a[i..] and b[j..].
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
            rows.push(AlignedRow::Both(same_start + i, same_start + j));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            rows.push(AlignedRow::Missing(same_start + i));
            i += 1;
        } else {
            rows.push(AlignedRow::Extra(same_start + j));
            j += 1;
        }
    }
    rows.extend((0..same_end).map(|k| AlignedRow::Both(recorded.len() - same_end + k, observed.len() - same_end + k)));
    Some(rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    #[test]
    fn finds_missing_and_extra_names() {
        use AlignedRow::{Both, Extra, Missing};
        for (recorded, observed, expected) in [
            ("", "", vec![]),
            ("a b", "a b", vec![Both(0, 0), Both(1, 1)]),
            ("a b c", "a c", vec![Both(0, 0), Missing(1), Both(2, 1)]),
            ("a c", "a b c", vec![Both(0, 0), Extra(1), Both(1, 2)]),
            ("a b", "a c", vec![Both(0, 0), Missing(1), Extra(1)]),
            ("a b", "b a", vec![Missing(0), Both(1, 0), Extra(1)]),
            ("", "a", vec![Extra(0)]),
            ("a a a", "a", vec![Both(0, 0), Missing(1), Missing(2)]),
        ] {
            assert_eq!(align(&words(recorded), &words(observed)), Some(expected), "{recorded} / {observed}");
        }
    }

    #[test]
    fn gives_up_on_long_lists_that_differ() {
        let (a, b) = (vec!["a"; 100_000], vec!["b"; 100_000]);
        assert_eq!(align(&a, &b), None);
        assert_eq!(align(&a, &a).unwrap().len(), 100_000);
    }

    proptest! {
        #[test]
        fn aligns_every_name_once(a in "[ab ]{0,30}", b in "[ab ]{0,30}") {
            let (a, b) = (words(&a), words(&b));
            let rows = align(&a, &b).unwrap();
            let of_a: Vec<_> = rows.iter().filter_map(|p| match p { AlignedRow::Both(i, _) | AlignedRow::Missing(i) => Some(*i), AlignedRow::Extra(_) => None }).collect();
            let of_b: Vec<_> = rows.iter().filter_map(|p| match p { AlignedRow::Both(_, j) | AlignedRow::Extra(j) => Some(*j), AlignedRow::Missing(_) => None }).collect();
            prop_assert_eq!(of_a, (0..a.len()).collect::<Vec<_>>());
            prop_assert_eq!(of_b, (0..b.len()).collect::<Vec<_>>());
            let same = rows.iter().all(|p| if let AlignedRow::Both(i, j) = p { a[*i] == b[*j] } else { true });
            prop_assert!(same);
        }
    }
}
