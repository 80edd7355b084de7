//! How far a job reaches: each axis, and the box in which the laser fires.

#![expect(clippy::inline_always, reason = "to be compiled for the processor that the caller is compiled for")]

use serde::{Serialize, Serializer};

use super::Position;
use super::vector::{self, BYTES, Kernel, Vector};

/// From where to where on one axis, in steps from where the job began; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The least.
    pub min: i64,
    /// The greatest.
    pub max: i64,
}

impl Span {
    /// A span of one place.
    #[must_use]
    pub const fn at(steps: i64) -> Self {
        Self { min: steps, max: steps }
    }

    /// Steps from one end to the other; 0 for a span of one place.
    #[must_use]
    pub const fn steps(self) -> u64 {
        self.max.abs_diff(self.min)
    }

    /// Reaches to here as well.
    pub fn include(&mut self, steps: i64) {
        self.min = self.min.min(steps);
        self.max = self.max.max(steps);
    }
}

impl Serialize for Span {
    /// As `[min, max]`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.min, self.max].serialize(serializer)
    }
}

/// Where the laser fires: the smallest box around the places where the head is at the end of a firing tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FireBox {
    /// In X.
    pub x: Span,
    /// In Y.
    pub y: Span,
}

/// How far a job reaches. Its start, 0 on each axis, belongs to it.
///
/// ```
/// use gf_emulator_core::puls::{Extents, Span, tick};
///
/// let mut extents = Extents::default();
/// extents.add(&[tick::X_STEP, tick::X_STEP | tick::FIRE, tick::X_STEP | tick::X_NEGATIVE]);
/// assert_eq!(extents.x, Span { min: 0, max: 2 });
/// assert_eq!(extents.fire.unwrap().x, Span { min: 2, max: 2 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extents {
    /// In X, in microsteps.
    pub x: Span,
    /// In Y, in microsteps.
    pub y: Span,
    /// Of the lens, in its steps.
    pub z: Span,
    /// Where the laser fires; `None` where it never does.
    pub fire: Option<FireBox>,
    at: Position,
}

impl Extents {
    /// Goes through some more ticks.
    pub fn add(&mut self, ticks: &[u8]) {
        vector::run(Walk { extents: self, ticks });
    }

    /// As [`Extents::add`], in the way that every processor has: for tests and benches.
    #[doc(hidden)]
    pub fn add_portably(&mut self, ticks: &[u8]) {
        Walk { extents: self, ticks }.run();
    }

    /// Where the head is after the ticks gone through.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }

    /// Goes through them one by one: for the few that make no block.
    fn step_by_step(&mut self, ticks: &[u8]) {
        for &byte in ticks {
            let fires = self.at.advance(byte);
            self.x.include(self.at.x);
            self.y.include(self.at.y);
            self.z.include(self.at.z);
            if fires {
                self.include_fire(Span::at(self.at.x), Span::at(self.at.y));
            }
        }
    }

    fn include_fire(&mut self, x: Span, y: Span) {
        let fire = self.fire.get_or_insert(FireBox { x, y });
        fire.x.join(x);
        fire.y.join(y);
    }

    /// Takes what a block's lanes have found, one after the other: each begins where the one before it has ended.
    fn include(&mut self, lanes: &Lanes) {
        for i in 0..BYTES {
            let span = |reach: &Reach, at: i64| Span {
                min: at + i64::from(reach.min[i]) - i64::from(ORIGIN),
                max: at + i64::from(reach.max[i]) - i64::from(ORIGIN),
            };
            self.x.join(span(&lanes.x.reach, self.at.x));
            self.y.join(span(&lanes.y.reach, self.at.y));
            self.z.join(span(&lanes.z.reach, self.at.z));
            // A place is never 0, which is what the greatest is as long as nothing has fired.
            if lanes.x.fire.max[i] > 0 {
                self.include_fire(span(&lanes.x.fire, self.at.x), span(&lanes.y.fire, self.at.y));
            }
            self.at.x += i64::from(lanes.x.at[i]) - i64::from(ORIGIN);
            self.at.y += i64::from(lanes.y.at[i]) - i64::from(ORIGIN);
            self.at.z += i64::from(lanes.z.at[i]) - i64::from(ORIGIN);
        }
    }
}

impl Span {
    fn join(&mut self, other: Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// Goes through a stretch of ticks.
///
/// A position is a running sum, which is no work for vectors: each needs the one before. So a block is cut into as many
/// streams as a vector has bytes, one behind the other, and each byte lane walks its own; where a stream begins on the
/// bed is known afterwards, when those before it have been added up.
struct Walk<'a> {
    extents: &'a mut Extents,
    ticks: &'a [u8],
}

/// Where a lane is when it begins: in the middle of what a byte holds.
const ORIGIN: u8 = 128;
/// The longest stream: its lane stays within a byte whatever it does.
const MAX_STREAM: usize = 120;
/// Streams are read a word at a time.
const WORD: usize = 8;

/// The least and the greatest place of each lane.
#[derive(Clone, Copy)]
struct Reach {
    min: [u8; BYTES],
    max: [u8; BYTES],
}

/// One axis of every lane: where it is, how far it has reached, and where it has fired.
struct Axis {
    at: [u8; BYTES],
    reach: Reach,
    fire: Reach,
}

struct Lanes {
    x: Axis,
    y: Axis,
    /// Its fire is not asked for.
    z: Axis,
}

impl Kernel for Walk<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut ticks = self.ticks;
        while ticks.len() >= BYTES * WORD {
            let stream = (ticks.len() / BYTES).min(MAX_STREAM) / WORD * WORD;
            let (block, rest) = ticks.split_at(stream * BYTES);
            self.extents.include(&walk(block, stream));
            ticks = rest;
        }
        self.extents.step_by_step(ticks);
    }
}

/// Walks a block's streams, each of that length.
#[inline(always)]
fn walk(block: &[u8], stream: usize) -> Lanes {
    const FROM: Axis = Axis {
        at: [ORIGIN; BYTES],
        // The start belongs to the stream before, or to the job.
        reach: Reach { min: [ORIGIN; BYTES], max: [ORIGIN; BYTES] },
        fire: Reach { min: [u8::MAX; BYTES], max: [0; BYTES] },
    };
    let mut lanes = Lanes { x: FROM, y: FROM, z: FROM };
    for from in (0..stream).step_by(WORD) {
        let mut rows = [Vector::default(); WORD];
        for (i, row) in rows.iter_mut().enumerate() {
            for (group, word) in row.iter_mut().enumerate() {
                let at = (group * WORD + i) * stream + from;
                *word = block[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            }
        }
        transpose(&mut rows);
        for row in rows {
            let row = bytes(vector::map(row, vector::meaning));
            let fires = row.map(|byte| 0_u8.wrapping_sub(byte >> 4 & 1));
            // X counts its negative steps, Y and Z their positive ones.
            lanes.x.advance(row.map(|byte| (byte & 1).wrapping_sub(byte & 2)));
            lanes.x.fires(&fires);
            lanes.y.advance(row.map(|byte| (byte >> 2 & 2).wrapping_sub(byte >> 2 & 1)));
            lanes.y.fires(&fires);
            lanes.z.advance(row.map(|byte| (byte >> 5 & 2).wrapping_sub(byte >> 5 & 1)));
        }
    }
    lanes
}

impl Axis {
    #[inline(always)]
    fn advance(&mut self, by: [u8; BYTES]) {
        for (i, by) in by.into_iter().enumerate() {
            self.at[i] = self.at[i].wrapping_add(by);
            self.reach.min[i] = self.reach.min[i].min(self.at[i]);
            self.reach.max[i] = self.reach.max[i].max(self.at[i]);
        }
    }

    /// `fires` has all bits of a lane set where it fires, and none where not.
    #[inline(always)]
    fn fires(&mut self, fires: &[u8; BYTES]) {
        for (i, fires) in fires.iter().enumerate() {
            self.fire.min[i] = self.fire.min[i].min(self.at[i] | !fires);
            self.fire.max[i] = self.fire.max[i].max(self.at[i] & fires);
        }
    }
}

#[inline(always)]
fn bytes(vector: Vector) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(vector) {
        *bytes = word.to_le_bytes();
    }
    bytes
}

/// Makes of eight words with a byte for each of eight ticks eight words with a tick for each of eight bytes: halves
/// change places between words four apart, then quarters, then bytes; in every word of the vectors at once.
#[inline(always)]
fn transpose(rows: &mut [Vector; WORD]) {
    for (apart, bits, low) in
        [(4, 32, 0x0000_0000_ffff_ffff), (2, 16, 0x0000_ffff_0000_ffff), (1, 8, 0x00ff_00ff_00ff_00ff)]
    {
        for i in (0..WORD).filter(|i| i & apart == 0) {
            let (one, other) = (rows[i], rows[i + apart]);
            rows[i] = vector::zip(one, other, |one, other| one & low | (other & low) << bits);
            rows[i + apart] = vector::zip(one, other, |one, other| one >> bits & low | other & !low);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made of runs, so that lanes get as far as they can, and of noise.
    fn ticks() -> impl Strategy<Value = Vec<u8>> {
        let run = (any::<u8>(), 0..600_usize).prop_map(|(byte, times)| vec![byte; times]);
        let noise = proptest::collection::vec(any::<u8>(), 0..600);
        proptest::collection::vec(prop_oneof![run, noise], 0..16).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn blocks_give_what_single_steps_give(ticks in ticks(), cut in any::<prop::sample::Index>()) {
            let mut expected = Extents::default();
            expected.step_by_step(&ticks);
            let (first, second) = ticks.split_at(cut.index(ticks.len() + 1));
            let [mut found, mut portably] = [Extents::default(); 2];
            for part in [first, second] {
                found.add(part);
                portably.add_portably(part);
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(portably, expected);
        }
    }

    #[test]
    fn a_lane_goes_as_far_as_it_can_without_turning_over() {
        for byte in [0x01, 0x03, 0x04, 0x0c, 0x20, 0x60, 0x7f, 0x3d] {
            let ticks = vec![byte; 10 * MAX_STREAM * BYTES + 3];
            let [mut found, mut expected] = [Extents::default(); 2];
            found.add(&ticks);
            expected.step_by_step(&ticks);
            assert_eq!(found, expected, "{byte:#x}");
        }
    }
}
