//! How many steps a body makes each way, how often the laser fires, how often its power is set.

use super::Position;
use super::tick::{FIRE, POWER, X_NEGATIVE, X_STEP, Y_POSITIVE, Y_STEP, Z_POSITIVE, Z_STEP};

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

/// For each of the eight counts, which bits of a byte matter and what they must be.
const PATTERNS: [(u8, u8); 8] = [
    (POWER | X_STEP | X_NEGATIVE, X_STEP),
    (POWER | X_STEP | X_NEGATIVE, X_STEP | X_NEGATIVE),
    (POWER | Y_STEP | Y_POSITIVE, Y_STEP | Y_POSITIVE),
    (POWER | Y_STEP | Y_POSITIVE, Y_STEP),
    (POWER | Z_STEP | Z_POSITIVE, Z_STEP | Z_POSITIVE),
    (POWER | Z_STEP | Z_POSITIVE, Z_STEP),
    (POWER | FIRE, FIRE),
    (POWER, POWER),
];

/// Bytes compared side by side: one vector register of any 64-bit machine.
const LANES: usize = 16;
/// Rows after which a byte-wide counter could overflow.
const ROWS: usize = 255;

impl Counts {
    /// Counts some more ticks.
    pub fn add(&mut self, ticks: &[u8]) {
        let mut sums = [0u64; PATTERNS.len()];
        // Byte-wide counters, one for each lane, are what compilers turn into vector compares; they are emptied before
        // they can overflow.
        for block in ticks.chunks(LANES * ROWS) {
            let mut lanes = [[0u8; LANES]; PATTERNS.len()];
            let (rows, rest) = block.as_chunks::<LANES>();
            for row in rows {
                for (counters, (mask, wanted)) in lanes.iter_mut().zip(PATTERNS) {
                    for (counter, byte) in counters.iter_mut().zip(row) {
                        *counter += u8::from(byte & mask == wanted);
                    }
                }
            }
            for ((sum, counters), (mask, wanted)) in sums.iter_mut().zip(&lanes).zip(PATTERNS) {
                *sum += counters.iter().map(|&counter| u64::from(counter)).sum::<u64>();
                *sum += rest.iter().map(|byte| u64::from(byte & mask == wanted)).sum::<u64>();
            }
        }
        let [xp, xn, yp, yn, zp, zn, le, lp] = sums;
        self.xp += xp;
        self.xn += xn;
        self.yp += yp;
        self.yn += yn;
        self.zp += zp;
        self.zn += zn;
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
