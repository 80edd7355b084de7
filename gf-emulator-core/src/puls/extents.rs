//! How far a job reaches: each axis, and the box in which the laser fires.

use serde::{Serialize, Serializer};

use super::avx2::{self, Task};
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

/// Ticks that are counted before they are walked, if they need to be.
const BLOCK: usize = 1024;

impl Extents {
    /// Goes through some more ticks, and says what it counted on its way: most of how far they reach is known by that.
    pub fn add(&mut self, ticks: &[u8]) -> Counts {
        let mut counts = Counts::default();
        if avx2::run(Task::Extend(ticks, self, &mut counts)) { counts } else { self.add_portably(ticks) }
    }

    /// As [`Extents::add`], in the way that every processor has: for tests and benches.
    #[doc(hidden)]
    pub fn add_portably(&mut self, ticks: &[u8]) -> Counts {
        let mut counts = Counts::default();
        for block in ticks.chunks(BLOCK) {
            let mut found = Counts::default();
            found.add_portably(block);
            if !self.pass(&found, block.len() as u64) {
                self.walk(block);
            }
            counts += found;
        }
        counts
    }

    /// Goes through ticks one by one.
    fn walk(&mut self, ticks: &[u8]) {
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

    /// Where the head is after the ticks gone through.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }

    fn include_fire(&mut self, x: Span, y: Span) {
        let fire = self.fire.get_or_insert(FireBox { x, y });
        fire.x.join(x);
        fire.y.join(y);
    }

    /// Goes through some ticks of which only their counts are known, if that says how far they reach: not past places
    /// that have been reached before, or all one way. Most of a job goes to and fro over the same places.
    pub(super) fn pass(&mut self, counts: &Counts, ticks: u64) -> bool {
        let axes = [
            (self.at.x, counts.xp, counts.xn, self.x, self.fire.map(|fire| fire.x)),
            (self.at.y, counts.yp, counts.yn, self.y, self.fire.map(|fire| fire.y)),
            (self.at.z, counts.zp, counts.zn, self.z, None),
        ];
        let reaches = axes.map(|(at, up, down, ..)| Span::at(at).grown(up, down));
        for (i, ((at, up, down, known, fired), reach)) in axes.into_iter().zip(reaches).enumerate() {
            let one_way = up == 0 || down == 0;
            // Where every tick fires, from a place where it has fired, it fires all the way.
            let fires = |fired: Span| fired.holds(reach) || one_way && counts.le == ticks && fired.holds(Span::at(at));
            if !(one_way || known.holds(reach)) || i < 2 && counts.le > 0 && !fired.is_some_and(fires) {
                return false;
            }
        }
        let [x, y, z] = reaches;
        self.x.join(x);
        self.y.join(y);
        self.z.join(z);
        if counts.le > 0 {
            self.include_fire(x, y);
        }
        self.at.x += counts.x_end();
        self.at.y += counts.y_end();
        self.at.z += counts.z_end();
        true
    }

    /// Puts another one behind this one, which begins where this one ends.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn follow(&mut self, next: &Self) {
        self.x.join(next.x.from(self.at.x));
        self.y.join(next.y.from(self.at.y));
        self.z.join(next.z.from(self.at.z));
        if let Some(FireBox { x, y }) = next.fire {
            self.include_fire(x.from(self.at.x), y.from(self.at.y));
        }
        self.at.x += next.at.x;
        self.at.y += next.at.y;
        self.at.z += next.at.z;
    }
}

impl Span {
    const fn grown(self, up: u64, down: u64) -> Self {
        Self { min: self.min.saturating_sub_unsigned(down), max: self.max.saturating_add_unsigned(up) }
    }

    const fn holds(self, other: Self) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    #[cfg(target_arch = "x86_64")]
    const fn from(self, start: i64) -> Self {
        Self { min: start + self.min, max: start + self.max }
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

    /// Made of runs, so that lanes get as far as they can, and of noise.
    fn ticks() -> impl Strategy<Value = Vec<u8>> {
        let run = (any::<u8>(), 0..600_usize).prop_map(|(byte, times)| vec![byte; times]);
        let noise = proptest::collection::vec(any::<u8>(), 0..600);
        let parts = proptest::collection::vec(prop_oneof![run, noise], 0..16).prop_map(|parts| parts.concat());
        (parts, 1..6_usize).prop_map(|(parts, times)| parts.repeat(times))
    }

    proptest! {
        #[test]
        fn blocks_give_what_single_steps_give(ticks in ticks(), cut in any::<prop::sample::Index>()) {
            let (mut expected, mut expected_counts) = (Extents::default(), Counts::default());
            expected.walk(&ticks);
            expected_counts.add(&ticks);
            for add in [Extents::add, Extents::add_portably] {
                let (mut found, mut counts) = (Extents::default(), Counts::default());
                let (first, second) = ticks.split_at(cut.index(ticks.len() + 1));
                for part in [first, second] {
                    counts += add(&mut found, part);
                }
                prop_assert_eq!((found, counts), (expected, expected_counts));
            }
        }
    }

    #[test]
    fn where_fire_begins_the_laser_has_not_fired_before() {
        // Fire on the right, then from a place further left, one way and in whole blocks.
        let ticks = [vec![0x11; 100], vec![0x03; 8092], vec![0x11; 8192]].concat();
        for add in [Extents::add, Extents::add_portably] {
            let mut found = Extents::default();
            add(&mut found, &ticks);
            assert_eq!(found.fire.unwrap().x, Span { min: 100 - 8092 + 1, max: 200 });
        }
    }

    #[test]
    fn a_lane_goes_as_far_as_it_can_without_turning_over() {
        // The byte that goes back makes that there is no telling without walking.
        for (byte, back) in [(0x01, 0x03), (0x03, 0x01), (0x04, 0x0c), (0x0c, 0x04), (0x20, 0x60), (0x7f, 0x6f)] {
            let mut ticks = vec![byte; 100_003];
            ticks.iter_mut().step_by(1000).for_each(|tick| *tick = back);
            let [mut found, mut expected] = [Extents::default(); 2];
            found.add(&ticks);
            expected.walk(&ticks);
            assert_eq!(found, expected, "{byte:#x}");
        }
    }
}
