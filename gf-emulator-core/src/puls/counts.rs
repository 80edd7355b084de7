//! How many steps a body makes each way, how often the laser fires, how often its power is set.

#![expect(clippy::inline_always, reason = "to be compiled for the processor that the caller is compiled for")]

use super::Position;
use super::tick::{FIRE, POWER, X_STEP, Y_STEP, Z_STEP};

/// Step counts under the names that the Python client has given them (there `XP`, `XN` and so on).
///
/// Chunks are added as they come; the result is the same however a body is cut up. The signs are those of
/// [`tick`](super::tick): the same body can differ in Y and Z from what an old client counts.
///
/// ```
/// use gf_emulator_core::puls::{Counts, tick};
///
/// let mut counts = Counts::default();
/// counts.add(&[tick::X_STEP, tick::X_STEP | tick::FIRE, tick::X_STEP | tick::X_NEGATIVE]);
/// counts.add(&[tick::POWER | 127, 0]);
/// assert_eq!((counts.xp, counts.xn, counts.le, counts.lp), (2, 1, 1, 1));
/// assert_eq!((counts.x_total(), counts.x_end()), (3, 1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Steps of X in the positive direction.
    pub xp: u64,
    /// Steps of X in the negative direction.
    pub xn: u64,
    /// Steps of Y in the positive direction, towards the front.
    pub yp: u64,
    /// Steps of Y in the negative direction.
    pub yn: u64,
    /// Steps of Z in the positive direction, the lens going up.
    pub zp: u64,
    /// Steps of Z in the negative direction.
    pub zn: u64,
    /// Ticks in which the laser fires ("laser enable").
    pub le: u64,
    /// Laser power bytes.
    pub lp: u64,
}

impl Counts {
    /// Counts some more ticks.
    pub fn add(&mut self, ticks: &[u8]) {
        *self += Self::of_bits(bits_of(ticks));
    }

    /// By how often each bit is set where it means something, lowest bit first.
    #[inline(always)]
    pub(super) const fn of_bits([x, xn, y, yp, le, z, zp, lp]: [u64; 8]) -> Self {
        Self { xp: x - xn, xn, yp, yn: y - yp, zp, zn: z - zp, le, lp }
    }

    /// Steps of X in both directions (`XTOT`).
    #[must_use]
    pub fn x_total(&self) -> u64 {
        self.xp + self.xn
    }

    /// Steps of Y in both directions (`YTOT`).
    #[must_use]
    pub fn y_total(&self) -> u64 {
        self.yp + self.yn
    }

    /// Steps of Z in both directions (`ZTOT`).
    #[must_use]
    pub fn z_total(&self) -> u64 {
        self.zp + self.zn
    }

    /// Where X ends, in steps from where it began (`XEND`).
    #[must_use]
    pub fn x_end(&self) -> i64 {
        self.xp.cast_signed() - self.xn.cast_signed()
    }

    /// Where Y ends, in steps from where it began (`YEND`).
    #[must_use]
    pub fn y_end(&self) -> i64 {
        self.yp.cast_signed() - self.yn.cast_signed()
    }

    /// Where Z ends, in steps from where it began (`ZEND`).
    #[must_use]
    pub fn z_end(&self) -> i64 {
        self.zp.cast_signed() - self.zn.cast_signed()
    }

    /// Where all three axes end.
    #[must_use]
    pub fn end(&self) -> Position {
        Position { x: self.x_end(), y: self.y_end(), z: self.z_end() }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.xp += other.xp;
        self.xn += other.xn;
        self.yp += other.yp;
        self.yn += other.yn;
        self.zp += other.zp;
        self.zn += other.zn;
        self.le += other.le;
        self.lp += other.lp;
    }
}

/// How often each bit of a tick is set where it means something, lowest bit first.
fn bits_of(ticks: &[u8]) -> [u64; 8] {
    let mut sums = [0; 8];
    let (words, rest) = ticks.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // As many words as byte-wide counters take without overflowing.
    for words in words.chunks(255).chain([&[last][..]]) {
        let mut counters = [0; 8];
        for word in words {
            let word = meaning(u64::from_le_bytes(*word));
            for (i, counter) in counters.iter_mut().enumerate() {
                *counter += word >> i & each(1);
            }
        }
        for (sum, counter) in sums.iter_mut().zip(counters) {
            // Pairs of bytes first, whose sum needs more than a byte; the product gathers the four of them on top.
            let pairs = (counter & 0x00ff_00ff_00ff_00ff) + (counter >> 8 & 0x00ff_00ff_00ff_00ff);
            *sum += pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48;
        }
    }
    sums
}

/// That byte in each byte of a word.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Leaves of each byte of a word what counts: a direction only with its step, and nothing but [`POWER`] of a power byte.
const fn meaning(word: u64) -> u64 {
    let power = word & each(POWER);
    // 0x80 - 0x01 in the power bytes: the bits that mean nothing there.
    let word = word & !(power - (power >> 7));
    // Each direction is the bit above its step.
    let steps = word & each(X_STEP | Y_STEP | Z_STEP);
    word & (steps << 1 | each(X_STEP | Y_STEP | Z_STEP | FIRE | POWER))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::puls::Extents;

    proptest! {
        #[test]
        fn words_and_blocks_count_what_single_ticks_count(ticks in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let [mut found, mut singly] = [Counts::default(); 2];
            found.add(&ticks);
            for &tick in &ticks {
                singly.add(&[tick]);
            }
            prop_assert_eq!(found, singly);
            prop_assert_eq!(Extents::default().add(&ticks), singly);
        }
    }

    #[test]
    fn no_counter_runs_over() {
        for byte in [0x7f, 0xff, 0x55] {
            let ticks = vec![byte; 400_123];
            let mut found = Counts::default();
            found.add(&ticks);
            let all = ticks.len() as u64;
            let expected = match byte {
                0xff => Counts { lp: all, ..Counts::default() },
                0x7f => Counts { xn: all, yp: all, zp: all, le: all, ..Counts::default() },
                _ => Counts { xp: all, yn: all, le: all, ..Counts::default() },
            };
            assert_eq!(found, expected, "{byte:#x}");
        }
    }
}
