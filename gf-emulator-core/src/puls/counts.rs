//! How many steps a body makes each way, how often the laser fires, how often its power is set.

#![expect(clippy::inline_always, reason = "to be compiled for the processor that the caller is compiled for")]

use super::Position;
use super::vector::{self, BYTES, Kernel, Vector};

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
        self.include(vector::run(Count(ticks)));
    }

    /// As [`Counts::add`], in the way that every processor has: for tests and benches.
    #[doc(hidden)]
    pub fn add_portably(&mut self, ticks: &[u8]) {
        self.include(Count(ticks).run());
    }

    /// Takes how often each bit was set where it means something.
    fn include(&mut self, [x, xn, y, yp, le, z, zp, lp]: [u64; 8]) {
        self.xp += x - xn;
        self.xn += xn;
        self.yp += yp;
        self.yn += y - yp;
        self.zp += zp;
        self.zn += z - zp;
        self.le += le;
        self.lp += lp;
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

/// Counts how often each bit of a tick is set where it means something, lowest bit first.
///
/// Adding up bits one by one would be limited by arithmetic. Here the eight bits of a byte are eight counters' inputs at
/// once, and carry-save adders make of eight vectors one of ones, twos and fours that stay, and one of eights that is
/// added to byte-wide counters (Harley and Seal's way of counting bits, with each bit's place kept apart).
struct Count<'a>(&'a [u8]);

/// Vectors to a block: what the adders take in at a time.
const BLOCK: usize = 8;
/// Blocks after which a byte-wide counter could overflow.
const BLOCKS: usize = 255;

impl Kernel for Count<'_> {
    type Output = [u64; 8];

    #[inline(always)]
    fn run(self) -> [u64; 8] {
        let mut sums = [0; 8];
        let (vectors, rest) = self.0.as_chunks::<BYTES>();
        let (blocks, single) = vectors.as_chunks::<BLOCK>();
        let [mut ones, mut twos, mut fours] = [Vector::default(); 3];
        for blocks in blocks.chunks(BLOCKS) {
            let mut counters = [Vector::default(); 8];
            for block in blocks {
                let at = |i: usize| load(&block[i]);
                let (one, two_a) = add(ones, at(0), at(1));
                let (one, two_b) = add(one, at(2), at(3));
                let (two, four_a) = add(twos, two_a, two_b);
                let (one, two_a) = add(one, at(4), at(5));
                let (one, two_b) = add(one, at(6), at(7));
                let (two, four_b) = add(two, two_a, two_b);
                let (four, eight) = add(fours, four_a, four_b);
                (ones, twos, fours) = (one, two, four);
                unpack(&mut counters, eight, 1);
            }
            total(&mut sums, &counters, BLOCK as u64);
        }
        let mut counters = [Vector::default(); 8];
        for (vector, weight) in [(ones, 1), (twos, 2), (fours, 4)] {
            unpack(&mut counters, vector, weight);
        }
        for vector in single {
            unpack(&mut counters, load(vector), 1);
        }
        let mut last = [0; BYTES];
        last[..rest.len()].copy_from_slice(rest);
        unpack(&mut counters, load(&last), 1);
        total(&mut sums, &counters, 1);
        sums
    }
}

#[inline(always)]
fn load(bytes: &[u8; BYTES]) -> Vector {
    let (words, _) = bytes.as_chunks();
    std::array::from_fn(|i| vector::meaning(u64::from_le_bytes(words[i])))
}

/// Adds up three bits in each place: the sum's, and the carry.
#[inline(always)]
fn add(a: Vector, b: Vector, c: Vector) -> (Vector, Vector) {
    let half = vector::zip(a, b, |a, b| a ^ b);
    let carry = vector::zip(vector::zip(a, b, |a, b| a & b), vector::zip(half, c, |a, b| a & b), |a, b| a | b);
    (vector::zip(half, c, |a, b| a ^ b), carry)
}

/// Adds each bit of a vector's bytes to the byte-wide counters for bits in that place.
#[inline(always)]
fn unpack(counters: &mut [Vector; 8], bits: Vector, weight: u64) {
    for (i, counter) in counters.iter_mut().enumerate() {
        *counter = vector::zip(*counter, bits, |counter, bits| counter + weight * (bits >> i & vector::each(1)));
    }
}

/// Empties byte-wide counters.
#[inline(always)]
fn total(sums: &mut [u64; 8], counters: &[Vector; 8], weight: u64) {
    for (sum, counter) in sums.iter_mut().zip(counters) {
        for word in counter {
            // Pairs of bytes first, whose sum needs more than a byte; the product gathers the four of them on top.
            let pairs = (word & 0x00ff_00ff_00ff_00ff) + (word >> 8 & 0x00ff_00ff_00ff_00ff);
            *sum += weight * (pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_processor_counts_the_same(ticks in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let [mut found, mut portably] = [Counts::default(); 2];
            found.add(&ticks);
            portably.add_portably(&ticks);
            prop_assert_eq!(found, portably);
        }
    }

    #[test]
    fn no_counter_runs_over() {
        for byte in [0x7f, 0xff, 0x55] {
            let ticks = vec![byte; 3 * BLOCKS * BLOCK * BYTES + 1234];
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
