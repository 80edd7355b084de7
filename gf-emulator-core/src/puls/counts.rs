//! Counts of steps, firing ticks and power bytes.

use super::Position;
use super::tick::{FIRE, POWER, X_STEP, Y_STEP, Z_STEP};

/// Counts under the names of the Python client `gfutilities` (there `XP`, `XN` and so on).
///
/// A body can be added in pieces of any size. The signs are those of [`tick`](super::tick); old clients count Y and Z
/// with reversed signs.
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
#[non_exhaustive]
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
    /// Firing ticks ("laser enable").
    pub le: u64,
    /// Laser power bytes ("laser power").
    pub lp: u64,
}

impl Counts {
    /// Adds ticks.
    pub fn add(&mut self, ticks: &[u8]) {
        let [x, xn, y, yp, le, z, zp, lp] = count_bits(ticks);
        *self += Self { xp: x - xn, xn, yp, yn: y - yp, zp, zn: z - zp, le, lp };
    }

    /// Creates counts from the steps of each axis in both directions and the position in which they end.
    pub(super) fn of([x, y, z]: [u64; 3], end: Position, le: u64, lp: u64) -> Self {
        // Those in the positive direction, and the others.
        let split = |total: u64, end: i64| {
            let positive = total.wrapping_add_signed(end) / 2;
            (positive, total - positive)
        };
        let ((xp, xn), (yp, yn), (zp, zn)) = (split(x, end.x), split(y, end.y), split(z, end.z));
        Self { xp, xn, yp, yn, zp, zn, le, lp }
    }

    /// Returns the steps of X in both directions (`XTOT`).
    #[must_use]
    pub fn x_total(&self) -> u64 {
        self.xp + self.xn
    }

    /// Returns the steps of Y in both directions (`YTOT`).
    #[must_use]
    pub fn y_total(&self) -> u64 {
        self.yp + self.yn
    }

    /// Returns the steps of Z in both directions (`ZTOT`).
    #[must_use]
    pub fn z_total(&self) -> u64 {
        self.zp + self.zn
    }

    /// Returns the final position of X (`XEND`).
    #[must_use]
    pub fn x_end(&self) -> i64 {
        self.xp.cast_signed() - self.xn.cast_signed()
    }

    /// Returns the final position of Y (`YEND`).
    #[must_use]
    pub fn y_end(&self) -> i64 {
        self.yp.cast_signed() - self.yn.cast_signed()
    }

    /// Returns the final position of Z (`ZEND`).
    #[must_use]
    pub fn z_end(&self) -> i64 {
        self.zp.cast_signed() - self.zn.cast_signed()
    }

    /// Returns the final position.
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

/// Counts each bit of a tick where it has an effect, lowest bit first.
fn count_bits(ticks: &[u8]) -> [u64; 8] {
    let mut sums = [0; 8];
    let (words, rest) = ticks.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // As many words as byte-wide counters can take without overflow.
    for words in words.chunks(255).chain([&[last][..]]) {
        let mut counters = [0; 8];
        for word in words {
            let word = effective_bits(u64::from_le_bytes(*word));
            for (i, counter) in counters.iter_mut().enumerate() {
                *counter += word >> i & each(1);
            }
        }
        for (sum, counter) in sums.iter_mut().zip(counters) {
            // Add pairs of bytes, then the four pairs: the product has their sum in its top 16 bits.
            let pairs = (counter & 0x00ff_00ff_00ff_00ff) + (counter >> 8 & 0x00ff_00ff_00ff_00ff);
            *sum += pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48;
        }
    }
    sums
}

/// Repeats a byte in each byte of a word.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Clears bits without effect in each byte: directions without a step, and all but [`POWER`] of a power byte.
const fn effective_bits(word: u64) -> u64 {
    let power = word & each(POWER);
    // 0x80 - 0x01 in the power bytes: the bits of the level.
    let word = word & !(power - (power >> 7));
    // Each direction bit is the one above its step bit.
    let steps = word & each(X_STEP | Y_STEP | Z_STEP);
    word & (steps << 1 | each(X_STEP | Y_STEP | Z_STEP | FIRE | POWER))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_adding_single_ticks(ticks in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let [mut found, mut singly] = [Counts::default(); 2];
            found.add(&ticks);
            for &tick in &ticks {
                singly.add(&[tick]);
            }
            prop_assert_eq!(found, singly);
        }
    }

    #[test]
    fn counters_do_not_overflow() {
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
