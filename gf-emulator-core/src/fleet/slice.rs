//! [`Slice`]: which machines of a fleet a process has.

use std::ops::Range;
use std::str::FromStr;

use crate::ParseError;

/// A part of a fleet, for fleets that are spread over several processes: number `index` (from 0) of `count` parts, which
/// differ by at most one machine.
///
/// ```
/// use gf_emulator_core::fleet::Slice;
///
/// let slice: Slice = "1/3".parse()?;
/// assert_eq!(slice.range(10), 3..6);
/// # Ok::<(), gf_emulator_core::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    index: u32,
    count: u32,
}

impl Slice {
    /// The whole fleet.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Creates a slice. Returns `None` unless `index` is less than `count`.
    #[must_use]
    pub const fn new(index: u32, count: u32) -> Option<Self> {
        if index < count { Some(Self { index, count }) } else { None }
    }

    /// Returns the positions of this part's machines in a fleet with this many.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "at most `machines`")]
    pub fn range(self, machines: usize) -> Range<usize> {
        let begin = |index: u32| (machines as u128 * u128::from(index) / u128::from(self.count)) as usize;
        begin(self.index)..begin(self.index + 1)
    }
}

impl FromStr for Slice {
    type Err = ParseError;

    /// Parses `I/N`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parts = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        parts.and_then(|(index, count)| Self::new(index, count)).ok_or_else(|| {
            ParseError::new("expected I/N, part I of N parts, such as 0/10: whole numbers, I from 0 to N - 1")
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_part_i_of_n_is_a_slice() {
        for text in ["", "1", "/", "1/1", "3/2", "-1/2", "0/0", "a/b", "0/1/2", "0/4294967296"] {
            assert!(text.parse::<Slice>().is_err(), "{text}");
        }
        assert_eq!("0/1".parse(), Ok(Slice::WHOLE));
    }

    proptest! {
        #[test]
        fn the_slices_of_a_fleet_are_the_fleet(machines in 0_usize..5000, count in 1_u32..200) {
            let slices: Vec<_> = (0..count).map(|i| Slice::new(i, count).unwrap().range(machines)).collect();
            prop_assert_eq!(slices.iter().cloned().flatten().collect::<Vec<_>>(), (0..machines).collect::<Vec<_>>());
            let sizes = slices.iter().map(ExactSizeIterator::len);
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }
}
