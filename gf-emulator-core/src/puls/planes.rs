//! Sixty-four ticks at a time, turned on their side: one word for each bit of a tick.

#![expect(clippy::inline_always, reason = "to be compiled for the processor that the caller is compiled for")]

use super::tick::{FIRE, POWER, X_NEGATIVE, X_STEP, Y_POSITIVE, Y_STEP, Z_POSITIVE, Z_STEP};
use super::{Counts, Position};

/// How many ticks a word holds.
pub(super) const BLOCK_TICKS: usize = 64;

/// A block of ticks. Bit `i` of each word is about its tick `i`; in the ticks of power bytes all but `power` are clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Planes {
    pub(super) x_step: u64,
    pub(super) x_negative: u64,
    pub(super) y_step: u64,
    pub(super) y_positive: u64,
    pub(super) z_step: u64,
    pub(super) z_positive: u64,
    pub(super) fire: u64,
    pub(super) power: u64,
}

impl Planes {
    #[inline(always)]
    pub(super) fn of(ticks: &[u8; BLOCK_TICKS]) -> Self {
        let planes = transposed(ticks);
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

    /// The ticks in which something moves.
    #[inline(always)]
    pub(super) const fn steps(&self) -> u64 {
        self.x_step | self.y_step | self.z_step
    }

    /// How often each axis steps each way, and how often the laser fires and its power is set.
    #[inline(always)]
    pub(super) fn counts(&self) -> Counts {
        Counts::of_bits(
            [
                self.x_step,
                self.x_step & self.x_negative,
                self.y_step,
                self.y_step & self.y_positive,
                self.fire,
                self.z_step,
                self.z_step & self.z_positive,
                self.power,
            ]
            .map(|bits| u64::from(bits.count_ones())),
        )
    }

    /// What that tick moves.
    pub(super) fn step(&self, i: u32) -> Position {
        let direction = |step: u64, negative: u64| {
            let made = (step >> i & 1).cast_signed();
            if negative >> i & 1 == 0 { made } else { -made }
        };
        Position {
            x: direction(self.x_step, self.x_negative),
            y: direction(self.y_step, !self.y_positive),
            z: direction(self.z_step, !self.z_positive),
        }
    }
}

/// A word for each bit of a tick, the lowest bit first.
///
/// Both steps transpose a matrix of eight by eight in place, by exchanging halves of halves: first the bytes of the words,
/// then the bits of the bytes. It is written out since that is as fast as SSE2's `pmovmskb`; as loops it takes 1.5 times
/// as long.
#[inline(always)]
#[expect(clippy::many_single_char_names, reason = "eight words, which exchange halves")]
fn transposed(ticks: &[u8; BLOCK_TICKS]) -> [u64; 8] {
    let words = ticks.as_chunks().0;
    let [a, b, c, d, e, f, g, h] = std::array::from_fn(|i| u64::from_le_bytes(words[i]));

    let swap = |a, b| exchange(a, b, 32, 0x0000_0000_ffff_ffff);
    let ((a, e), (b, f), (c, g), (d, h)) = (swap(a, e), swap(b, f), swap(c, g), swap(d, h));
    let swap = |a, b| exchange(a, b, 16, 0x0000_ffff_0000_ffff);
    let ((a, c), (b, d), (e, g), (f, h)) = (swap(a, c), swap(b, d), swap(e, g), swap(f, h));
    let swap = |a, b| exchange(a, b, 8, 0x00ff_00ff_00ff_00ff);
    let ((a, b), (c, d), (e, f), (g, h)) = (swap(a, b), swap(c, d), swap(e, f), swap(g, h));

    let swap = |a, b| exchange(a, b, 4, 0x0f0f_0f0f_0f0f_0f0f);
    let ((a, e), (b, f), (c, g), (d, h)) = (swap(a, e), swap(b, f), swap(c, g), swap(d, h));
    let swap = |a, b| exchange(a, b, 2, 0x3333_3333_3333_3333);
    let ((a, c), (b, d), (e, g), (f, h)) = (swap(a, c), swap(b, d), swap(e, g), swap(f, h));
    let swap = |a, b| exchange(a, b, 1, 0x5555_5555_5555_5555);
    let ((a, b), (c, d), (e, f), (g, h)) = (swap(a, b), swap(c, d), swap(e, f), swap(g, h));
    [a, b, c, d, e, f, g, h]
}

/// Exchanges the bits of `a` that are `by` places above those of `mask` for the bits of `mask` in `b`.
#[inline(always)]
const fn exchange(a: u64, b: u64, by: u32, mask: u64) -> (u64, u64) {
    let differing = ((a >> by) ^ b) & mask;
    (a ^ (differing << by), b ^ differing)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_block_has_each_bit_where_its_tick_is(ticks in proptest::collection::vec(any::<u8>(), BLOCK_TICKS)) {
            let planes = Planes::of(ticks.as_slice().try_into().unwrap());
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
