//! The box in which the laser fires.

use super::bit_planes::{BLOCK_TICKS, BitPlanes};
use super::{Position, Span};

/// The smallest box around the head's positions at the end of every firing tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FireBox {
    /// In X, in microsteps.
    pub x: Span,
    /// In Y, in microsteps.
    pub y: Span,
}

/// Finds the [`FireBox`] of a body, block by block.
#[derive(Debug, Clone, Default)]
pub(super) struct FireBoxTracker(Option<FireBox>);

impl FireBoxTracker {
    pub(super) fn fire_box(&self) -> Option<FireBox> {
        self.0
    }

    /// Adds the ticks of a block that starts at a position.
    #[inline]
    pub(super) fn add_block(&mut self, planes: &BitPlanes, start: Position) {
        if planes.fire != 0 && !self.contains_reach(start) {
            self.extend(planes, start);
        }
    }

    /// Returns whether the box has all positions that one block can reach. It does for most blocks of a job.
    fn contains_reach(&self, start: Position) -> bool {
        #[expect(clippy::cast_possible_wrap, reason = "it is 64")]
        const REACH: i64 = BLOCK_TICKS as i64;
        let contains = |span: Span, at: i64| span.min <= at - REACH && at + REACH <= span.max;
        self.0.is_some_and(|fire_box| contains(fire_box.x, start.x) && contains(fire_box.y, start.y))
    }

    fn extend(&mut self, planes: &BitPlanes, start: Position) {
        let mut ticks = planes.fire;
        if planes.is_monotonic() {
            // The first and the last position are the extremes.
            ticks = ticks & ticks.wrapping_neg() | 1 << ticks.ilog2();
        }
        while ticks != 0 {
            let (x, y) = planes.displacement(ticks ^ (ticks - 1));
            let (x, y) = (start.x + x, start.y + y);
            let fire_box = self.0.get_or_insert(FireBox { x: Span::at(x), y: Span::at(y) });
            fire_box.x.include(x);
            fire_box.y.include(y);
            ticks &= ticks - 1;
        }
    }
}
