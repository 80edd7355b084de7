//! Where the laser fires, tick by tick, until it is known what each of them belongs to.

use std::collections::VecDeque;

use super::super::Position;

/// Marks of one cell of this many microsteps that follow each other are one.
pub(super) const CELL_STEPS: i32 = 4;
/// How many are kept: more than a sweep over the bed has. Where a segment has more, pairs of them become one.
const MOST: usize = 1 << 20;

/// Firing ticks at about one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The first of them.
    pub(super) tick: u64,
    /// Where that is, in microsteps from where the job begins.
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) fire_ticks: u32,
}

/// Walks through a body, and remembers where it fires.
#[derive(Debug, Default)]
pub(super) struct Marks {
    at: Position,
    tick: u64,
    waiting: VecDeque<Mark>,
    /// Marks are merged in runs of so many: doubled whenever there are too many.
    merged: u32,
    in_last: u32,
}

impl Marks {
    /// Goes through some more ticks.
    pub(super) fn add(&mut self, ticks: &[u8]) {
        for &byte in ticks {
            if byte != 0 && self.at.advance(byte) {
                self.fire();
            }
            self.tick += 1;
        }
    }

    fn fire(&mut self) {
        let (x, y) = (step(self.at.x), step(self.at.y));
        let cell = |steps: i32| steps.div_euclid(CELL_STEPS);
        if let Some(last) = self.waiting.back_mut() {
            let stays = (cell(last.x), cell(last.y)) == (cell(x), cell(y));
            if stays || self.in_last < self.merged {
                self.in_last += u32::from(!stays);
                last.fire_ticks = last.fire_ticks.saturating_add(1);
                return;
            }
        }
        if self.waiting.len() == MOST {
            self.thin_out();
        }
        self.in_last = 0;
        self.waiting.push_back(Mark { tick: self.tick, x, y, fire_ticks: 1 });
    }

    fn thin_out(&mut self) {
        let marks = std::mem::take(&mut self.waiting);
        let mut marks = marks.into_iter();
        while let Some(mut mark) = marks.next() {
            mark.fire_ticks = mark.fire_ticks.saturating_add(marks.next().map_or(0, |other| other.fire_ticks));
            self.waiting.push_back(mark);
        }
        self.merged = (2 * self.merged + 1).min(1 << 16);
    }

    /// Moves those before that tick to `to`.
    pub(super) fn take_until(&mut self, tick: u64, to: &mut Vec<Mark>) {
        let count = self.waiting.partition_point(|mark| mark.tick < tick);
        to.extend(self.waiting.drain(..count));
        if self.waiting.is_empty() {
            self.merged = 0;
        }
    }
}

/// A coordinate that fits; nobody draws 40 km away.
#[expect(clippy::cast_possible_truncation, reason = "clamped")]
pub(super) fn step(steps: i64) -> i32 {
    steps.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

#[cfg(test)]
mod tests {
    use super::super::super::tick::{FIRE, X_STEP};
    use super::*;

    #[test]
    fn each_mark_is_where_the_laser_fires() {
        let mut marks = Marks::default();
        let mut body = vec![FIRE; 3];
        body.extend([X_STEP; 10]);
        body.extend([X_STEP | FIRE; 6]);
        marks.add(&body);
        let mut found = Vec::new();
        marks.take_until(3, &mut found);
        assert_eq!(found, [Mark { tick: 0, x: 0, y: 0, fire_ticks: 3 }]);
        found.clear();
        marks.take_until(u64::MAX, &mut found);
        // Steps 11, then a cell of 12 to 15, then 16.
        assert_eq!(
            found.iter().map(|mark| (mark.tick, mark.x, mark.fire_ticks)).collect::<Vec<_>>(),
            [(13, 11, 1), (14, 12, 4), (18, 16, 1)]
        );
    }

    #[test]
    fn there_are_never_too_many_and_no_fire_is_lost() {
        let mut marks = Marks::default();
        let body = vec![X_STEP | FIRE; 12 * MOST];
        marks.add(&body);
        assert!(marks.waiting.len() <= MOST, "{}", marks.waiting.len());
        let mut found = Vec::new();
        marks.take_until(u64::MAX, &mut found);
        assert_eq!(found.iter().map(|mark| u64::from(mark.fire_ticks)).sum::<u64>(), body.len() as u64);
    }
}
