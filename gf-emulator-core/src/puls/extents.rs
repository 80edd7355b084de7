//! How far a job reaches: each axis, and the box in which the laser fires.

#![expect(clippy::inline_always, reason = "to be compiled for the processor that the caller is compiled for")]

use serde::{Serialize, Serializer};

use super::planes::{BLOCK_TICKS, Planes};
use super::{Counts, Position};

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
    pub(super) at: Position,
}

impl Extents {
    /// Goes through some more ticks, and says what it has counted on its way.
    pub fn add(&mut self, ticks: &[u8]) -> Counts {
        let mut counts = Counts::default();
        let (blocks, rest) = ticks.as_chunks();
        // Idle ticks behind the last one reach nowhere.
        let mut last = [0; BLOCK_TICKS];
        last[..rest.len()].copy_from_slice(rest);
        for block in blocks.iter().chain([&last]) {
            let planes = Planes::of(block);
            let found = planes.counts();
            self.include(&planes, &found);
            counts += found;
        }
        counts
    }

    /// Where the head is after the ticks gone through.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }

    /// Goes through the next block of ticks, which has these counts.
    #[inline(always)]
    pub(super) fn include(&mut self, planes: &Planes, counts: &Counts) {
        let (at, fire) = (self.at, planes.fire);
        let (fired_x, fired_y) = (self.fire.map(|fire| fire.x), self.fire.map(|fire| fire.y));
        let x = Axis { at: at.x, steps: planes.x_step, negative: planes.x_negative, fire };
        let y = Axis { at: at.y, steps: planes.y_step, negative: !planes.y_positive, fire };
        let z = Axis { at: at.z, steps: planes.z_step, negative: !planes.z_positive, fire: 0 };
        let fire_in_x = x.extend(&mut self.x, fired_x, counts.xp, counts.xn);
        let fire_in_y = y.extend(&mut self.y, fired_y, counts.yp, counts.yn);
        z.extend(&mut self.z, None, counts.zp, counts.zn);
        match &mut self.fire {
            Some(fire) => {
                fire.x.join(fire_in_x.unwrap_or(fire.x));
                fire.y.join(fire_in_y.unwrap_or(fire.y));
            }
            None => self.fire = fire_in_x.zip(fire_in_y).map(|(x, y)| FireBox { x, y }),
        }
        let end = counts.end();
        self.at = Position { x: at.x + end.x, y: at.y + end.y, z: at.z + end.z };
    }
}

/// One axis in a block of ticks. Bit `i` of each word is about tick `i`.
#[derive(Clone, Copy)]
struct Axis {
    /// Where it is before the block.
    at: i64,
    steps: u64,
    /// Which steps go down, where `steps` has them.
    negative: u64,
    fire: u64,
}

impl Axis {
    /// Extends `known` by the places that the block reaches, given how many steps go up and down. Returns the places where
    /// the laser fires, unless it does not fire or `fired` has them all.
    #[inline(always)]
    fn extend(self, known: &mut Span, fired: Option<Span>, up: u64, down: u64) -> Option<Span> {
        let furthest = Span { min: self.at.saturating_sub_unsigned(down), max: self.at.saturating_add_unsigned(up) };
        // Most of a job goes to and fro over the same places.
        if known.holds(furthest) && (self.fire == 0 || fired.is_some_and(|fired| fired.holds(furthest))) {
            return None;
        }
        if up == 0 || down == 0 {
            // One way: the ends say it all.
            known.join(furthest);
            let places =
                (self.fire != 0).then(|| [self.fire.trailing_zeros(), self.fire.ilog2()].map(|i| self.place(i)));
            return places.map(|[first, last]| Span { min: first.min(last), max: first.max(last) });
        }
        let mut places: Option<Span> = None;
        let (mut at, mut steps, mut fire) = (self.at, self.steps, self.fire);
        loop {
            // The ticks before the next step.
            let here = (steps & steps.wrapping_neg()).wrapping_sub(1);
            if fire & here != 0 {
                places.get_or_insert(Span::at(at)).include(at);
                fire &= !here;
            }
            if steps == 0 {
                return places;
            }
            at += if self.negative & (here + 1) == 0 { 1 } else { -1 };
            known.include(at);
            steps &= steps - 1;
        }
    }

    /// Where it is after tick `i` of a block in which it goes one way.
    fn place(self, i: u32) -> i64 {
        let steps = i64::from((self.steps & u64::MAX >> (63 - i)).count_ones());
        self.at + if self.steps & self.negative == 0 { steps } else { -steps }
    }
}

impl Span {
    const fn holds(self, other: Self) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    fn join(&mut self, other: Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tick by tick.
    fn walked(ticks: &[u8]) -> Extents {
        let mut extents = Extents::default();
        for &byte in ticks {
            let fires = extents.at.advance(byte);
            let at = extents.at;
            extents.x.include(at.x);
            extents.y.include(at.y);
            extents.z.include(at.z);
            if fires {
                let fire = extents.fire.get_or_insert(FireBox { x: Span::at(at.x), y: Span::at(at.y) });
                fire.x.include(at.x);
                fire.y.include(at.y);
            }
        }
        extents
    }

    /// Made of runs, so that whole blocks go one way, and of noise.
    fn ticks() -> impl Strategy<Value = Vec<u8>> {
        let run = (any::<u8>(), 0..600_usize).prop_map(|(byte, times)| vec![byte; times]);
        let noise = proptest::collection::vec(any::<u8>(), 0..600);
        let parts = proptest::collection::vec(prop_oneof![run, noise], 0..16).prop_map(|parts| parts.concat());
        (parts, 1..6_usize).prop_map(|(parts, times)| parts.repeat(times))
    }

    proptest! {
        #[test]
        fn blocks_give_what_single_ticks_give(ticks in ticks(), cut in any::<prop::sample::Index>()) {
            let mut expected = Counts::default();
            expected.add(&ticks);
            let (mut found, mut counts) = (Extents::default(), Counts::default());
            let (first, second) = ticks.split_at(cut.index(ticks.len() + 1));
            for part in [first, second] {
                counts += found.add(part);
            }
            prop_assert_eq!((found, counts), (walked(&ticks), expected));
        }
    }

    #[test]
    fn where_fire_begins_the_laser_has_not_fired_before() {
        // Fire on the right, then from a place further left, one way and in whole blocks.
        let ticks = [vec![0x11; 100], vec![0x03; 8092], vec![0x11; 8192]].concat();
        let mut found = Extents::default();
        found.add(&ticks);
        assert_eq!(found.fire.unwrap().x, Span { min: 100 - 8092 + 1, max: 200 });
    }
}
