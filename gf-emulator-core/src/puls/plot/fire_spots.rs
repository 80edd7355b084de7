//! Where the laser fires, kept until the segment of each tick is known.

use std::collections::VecDeque;

use super::super::Position;

/// Consecutive firing ticks in a square cell of this many microsteps are one spot.
pub(super) const CELL_STEPS: i32 = 4;
/// The maximum number of spots, more than in a sweep across the bed. If a segment has more, pairs are merged.
const MAX_SPOTS: usize = 1 << 20;

/// Firing ticks at about the same position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FireSpot {
    /// The first of the ticks.
    pub(super) tick: u64,
    /// The position after the first tick, in microsteps from the start of the job.
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) fire_ticks: u32,
}

/// Collects the firing ticks of a body.
#[derive(Debug, Default)]
pub(super) struct FireSpots {
    at: Position,
    tick: u64,
    waiting: VecDeque<FireSpot>,
    /// The number of further cells merged into a spot, about doubled whenever there are too many spots.
    merged_cells: u32,
    merged_into_last: u32,
}

impl FireSpots {
    /// Returns the number of ticks added.
    pub(super) fn tick(&self) -> u64 {
        self.tick
    }

    /// Returns where the head is after them.
    pub(super) fn position(&self) -> Position {
        self.at
    }

    /// Adds ticks.
    pub(super) fn add(&mut self, ticks: &[u8]) {
        for &byte in ticks {
            if byte != 0 && self.at.advance(byte) {
                self.fire();
            }
            self.tick += 1;
        }
    }

    fn fire(&mut self) {
        let (x, y) = (to_i32(self.at.x), to_i32(self.at.y));
        let cell = |steps: i32| steps.div_euclid(CELL_STEPS);
        if let Some(last) = self.waiting.back_mut() {
            let stays = (cell(last.x), cell(last.y)) == (cell(x), cell(y));
            if stays || self.merged_into_last < self.merged_cells {
                self.merged_into_last += u32::from(!stays);
                last.fire_ticks = last.fire_ticks.saturating_add(1);
                return;
            }
        }
        if self.waiting.len() == MAX_SPOTS {
            self.thin_out();
        }
        self.merged_into_last = 0;
        self.waiting.push_back(FireSpot { tick: self.tick, x, y, fire_ticks: 1 });
    }

    fn thin_out(&mut self) {
        let spots = std::mem::take(&mut self.waiting);
        let mut spots = spots.into_iter();
        while let Some(mut spot) = spots.next() {
            spot.fire_ticks = spot.fire_ticks.saturating_add(spots.next().map_or(0, |other| other.fire_ticks));
            self.waiting.push_back(spot);
        }
        self.merged_cells = (2 * self.merged_cells + 1).min(1 << 16);
    }

    /// Moves the spots before a tick to `to`.
    pub(super) fn take_until(&mut self, tick: u64, to: &mut Vec<FireSpot>) {
        let count = self.waiting.partition_point(|spot| spot.tick < tick);
        to.extend(self.waiting.drain(..count));
        if self.waiting.is_empty() {
            self.merged_cells = 0;
        }
    }
}

/// Clamps a coordinate, to about 40 km.
#[expect(clippy::cast_possible_truncation, reason = "clamped")]
pub(super) fn to_i32(steps: i64) -> i32 {
    steps.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

#[cfg(test)]
mod tests {
    use super::super::super::tick::{FIRE, X_STEP};
    use super::*;

    #[test]
    fn spots_have_the_position_of_their_first_tick() {
        let mut spots = FireSpots::default();
        let mut body = vec![FIRE; 3];
        body.extend([X_STEP; 10]);
        body.extend([X_STEP | FIRE; 6]);
        spots.add(&body);
        let mut found = Vec::new();
        spots.take_until(3, &mut found);
        assert_eq!(found, [FireSpot { tick: 0, x: 0, y: 0, fire_ticks: 3 }]);
        found.clear();
        spots.take_until(u64::MAX, &mut found);
        // Steps 11, then a cell of 12 to 15, then 16.
        assert_eq!(
            found.iter().map(|spot| (spot.tick, spot.x, spot.fire_ticks)).collect::<Vec<_>>(),
            [(13, 11, 1), (14, 12, 4), (18, 16, 1)]
        );
    }

    #[test]
    fn merges_spots_without_losing_fire() {
        let mut spots = FireSpots::default();
        let body = vec![X_STEP | FIRE; 12 * MAX_SPOTS];
        spots.add(&body);
        assert!(spots.waiting.len() <= MAX_SPOTS, "{}", spots.waiting.len());
        let mut found = Vec::new();
        spots.take_until(u64::MAX, &mut found);
        assert_eq!(found.iter().map(|spot| u64::from(spot.fire_ticks)).sum::<u64>(), body.len() as u64);
    }
}
