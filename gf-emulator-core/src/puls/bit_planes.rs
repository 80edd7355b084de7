//! Ticks as bit planes: 64 ticks become one 64-bit word per bit of a tick.

use super::Position;
use super::tick::{FIRE, POWER, X_NEGATIVE, X_STEP, Y_POSITIVE, Y_STEP, Z_POSITIVE, Z_STEP};

/// Ticks per block: one per bit of a word.
pub(super) const BLOCK_TICKS: usize = 64;

/// A block of ticks. Bit `i` of each word belongs to tick `i`. For power bytes, only the bit in `power` is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct BitPlanes {
    pub(super) x_step: u64,
    pub(super) x_negative: u64,
    pub(super) y_step: u64,
    pub(super) y_positive: u64,
    pub(super) z_step: u64,
    pub(super) z_positive: u64,
    pub(super) fire: u64,
    pub(super) power: u64,
}

impl BitPlanes {
    #[inline]
    pub(super) fn of(ticks: &[u8; BLOCK_TICKS]) -> Self {
        let planes = transpose(ticks);
        let power = planes[POWER.trailing_zeros() as usize];
        let plane = |bit: u8| planes[bit.trailing_zeros() as usize] & !power;
        Self {
            x_step: plane(X_STEP),
            x_negative: plane(X_NEGATIVE),
            y_step: plane(Y_STEP),
            y_positive: plane(Y_POSITIVE),
            z_step: plane(Z_STEP),
            z_positive: plane(Z_POSITIVE),
            fire: plane(FIRE),
            power,
        }
    }

    /// Returns the ticks in which an axis makes a step.
    #[inline]
    pub(super) const fn steps(&self) -> u64 {
        self.x_step | self.y_step | self.z_step
    }

    /// Returns whether neither X nor Y reverses its direction.
    #[inline]
    pub(super) const fn is_head_monotonic(&self) -> bool {
        (self.x_step & self.x_negative == 0 || self.x_step & !self.x_negative == 0)
            && (self.y_step & self.y_positive == 0 || self.y_step & !self.y_positive == 0)
    }

    /// Returns whether the lens does not reverse its direction.
    #[inline]
    pub(super) const fn is_lens_monotonic(&self) -> bool {
        self.z_step & self.z_positive == 0 || self.z_step & !self.z_positive == 0
    }

    /// Returns how far each axis moves in some of the ticks.
    pub(super) fn displacement(&self, ticks: u64) -> Position {
        let sum = |step: u64, negative: u64| {
            i64::from((step & ticks & !negative).count_ones()) - i64::from((step & ticks & negative).count_ones())
        };
        Position {
            x: sum(self.x_step, self.x_negative),
            y: sum(self.y_step, !self.y_positive),
            z: sum(self.z_step, !self.z_positive),
        }
    }

    /// Returns the step that each axis makes in tick `i`: -1, 0 or 1.
    pub(super) fn step(&self, i: u32) -> Position {
        let direction = |step: u64, negative: u64| {
            let length = (step >> i & 1).cast_signed();
            if negative >> i & 1 == 0 { length } else { -length }
        };
        Position {
            x: direction(self.x_step, self.x_negative),
            y: direction(self.y_step, !self.y_positive),
            z: direction(self.z_step, !self.z_positive),
        }
    }
}

/// Returns one word per bit of a tick, the lowest bit first.
///
/// Transposes 8x8 matrices in place by swapping halves recursively: first the bytes of the words, then the bits of the
/// bytes. Unrolled, this is as fast as SSE2's `pmovmskb`; loops take 1.5 times as long.
#[inline]
#[expect(clippy::many_single_char_names, reason = "eight words that swap halves")]
fn transpose(ticks: &[u8; BLOCK_TICKS]) -> [u64; 8] {
    let words = ticks.as_chunks().0;
    let [a, b, c, d, e, f, g, h] = std::array::from_fn(|i| u64::from_le_bytes(words[i]));

    let swap = |a, b| swap_bits(a, b, 32, 0x0000_0000_ffff_ffff);
    let ((a, e), (b, f), (c, g), (d, h)) = (swap(a, e), swap(b, f), swap(c, g), swap(d, h));
    let swap = |a, b| swap_bits(a, b, 16, 0x0000_ffff_0000_ffff);
    let ((a, c), (b, d), (e, g), (f, h)) = (swap(a, c), swap(b, d), swap(e, g), swap(f, h));
    let swap = |a, b| swap_bits(a, b, 8, 0x00ff_00ff_00ff_00ff);
    let ((a, b), (c, d), (e, f), (g, h)) = (swap(a, b), swap(c, d), swap(e, f), swap(g, h));

    let swap = |a, b| swap_bits(a, b, 4, 0x0f0f_0f0f_0f0f_0f0f);
    let ((a, e), (b, f), (c, g), (d, h)) = (swap(a, e), swap(b, f), swap(c, g), swap(d, h));
    let swap = |a, b| swap_bits(a, b, 2, 0x3333_3333_3333_3333);
    let ((a, c), (b, d), (e, g), (f, h)) = (swap(a, c), swap(b, d), swap(e, g), swap(f, h));
    let swap = |a, b| swap_bits(a, b, 1, 0x5555_5555_5555_5555);
    let ((a, b), (c, d), (e, f), (g, h)) = (swap(a, b), swap(c, d), swap(e, f), swap(g, h));
    [a, b, c, d, e, f, g, h]
}

/// Returns the bits below bit `i`; all of them from 64.
pub(super) const fn bits_below(i: u32) -> u64 {
    if i >= 64 { u64::MAX } else { (1 << i) - 1 }
}

/// Swaps the bits of `a` at `mask << by` with the bits of `b` at `mask`.
#[inline]
const fn swap_bits(a: u64, b: u64, by: u32, mask: u64) -> (u64, u64) {
    let differing = ((a >> by) ^ b) & mask;
    (a ^ (differing << by), b ^ differing)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn transposes_every_bit(ticks in proptest::collection::vec(any::<u8>(), BLOCK_TICKS)) {
            let planes = BitPlanes::of(ticks.as_slice().try_into().unwrap());
            for (i, &byte) in ticks.iter().enumerate() {
                let power = byte & 0x80 != 0;
                let expected = |bit: u8| !power && byte & (1 << bit) != 0;
                let found = |plane: u64| plane & (1 << i) != 0;
                prop_assert_eq!(found(planes.x_step), expected(0));
                prop_assert_eq!(found(planes.x_negative), expected(1));
                prop_assert_eq!(found(planes.y_step), expected(2));
                prop_assert_eq!(found(planes.y_positive), expected(3));
                prop_assert_eq!(found(planes.fire), expected(4));
                prop_assert_eq!(found(planes.z_step), expected(5));
                prop_assert_eq!(found(planes.z_positive), expected(6));
                prop_assert_eq!(found(planes.power), power);
            }
        }
    }
}
