//! Sixty-four ticks at a time, turned on their side: one word for each bit of a tick.

#![expect(clippy::inline_always, reason = "to be compiled for the processor that the caller is compiled for")]

use super::Position;
use super::tick::{FIRE, POWER, X_NEGATIVE, X_STEP, Y_POSITIVE, Y_STEP, Z_POSITIVE, Z_STEP};

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
    pub(super) fn of(ticks: &[u8; BLOCK_TICKS]) -> Self {
        let (words, _) = ticks.as_chunks::<8>();
        let mut met = 0;
        let mut planes = [0_u64; 8];
        for (i, &word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(word);
            met |= word;
            for (bit, plane) in planes.iter_mut().enumerate() {
                *plane |= gather(word >> bit) << (8 * i);
            }
        }
        if met == 0 {
            return Self::default();
        }
        Self::from_bits(planes)
    }

    /// Of a word for each bit of a tick, the lowest first.
    #[inline(always)]
    pub(super) fn from_bits(planes: [u64; 8]) -> Self {
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

/// The lowest bits of a word's eight bytes, side by side in one.
const fn gather(word: u64) -> u64 {
    // The product moves the lowest bit of byte i to bit 56 + i, and no two meet there.
    (word & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56
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
