//! How far a job reaches.

use super::bit_planes::BitPlanes;
use super::laser_gaps::LaserBlock;
use super::{FireBox, Position, Span, reach};

/// How far a job reaches, including its start (0 on each axis).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Extents {
    /// In X, in microsteps.
    pub x: Span,
    /// In Y, in microsteps.
    pub y: Span,
    /// Of the lens, in its steps.
    pub z: Span,
    /// Where the laser fires; `None` if it never does.
    pub fire: Option<FireBox>,
}

impl Extents {
    /// Adds a block that starts at a position. Its end is the start of the next one, or the end of the body, which must be
    /// [included](Self::include).
    #[inline]
    pub(super) fn add_block(&mut self, block: &LaserBlock, start: Position) {
        let planes = &block.planes;
        let contains = |x: Span, y: Span| {
            reach::contains_block(x, planes.x_step, start.x) & reach::contains_block(y, planes.y_step, start.y)
        };
        let fire_is_known = planes.fire == 0 || self.fire.as_ref().is_some_and(|fire| contains(fire.x, fire.y));
        if !(fire_is_known & contains(self.x, self.y) & reach::contains_block(self.z, planes.z_step, start.z)) {
            self.extend(block, start);
        }
    }

    /// Includes a position.
    #[inline]
    pub(super) fn include(&mut self, at: Position) {
        self.x.include(at.x);
        self.y.include(at.y);
        self.z.include(at.z);
    }

    #[inline(never)]
    fn extend(&mut self, LaserBlock { planes, ticks, .. }: &LaserBlock, start: Position) {
        self.include(start);
        // Of an axis that does not reverse, the start and the end are the extremes.
        if !planes.is_lens_monotonic() {
            self.z.include_span(reach::span(&reach::path(ticks, reach::Z), start.z));
        }
        if planes.is_head_monotonic() {
            if planes.fire != 0 {
                self.extend_fire_on_a_line(planes, start);
            }
            return;
        }
        let [x, y] = [reach::path(ticks, reach::X), reach::path(ticks, reach::Y)];
        self.x.include_span(reach::span(&x, start.x));
        self.y.include_span(reach::span(&y, start.y));
        if planes.fire != 0 {
            self.extend_fire(reach::fire_span(ticks, &x, start.x), reach::fire_span(ticks, &y, start.y));
        }
    }

    /// Extends the fire box by a block in which neither X nor Y reverses: its first and its last firing tick are the extremes.
    fn extend_fire_on_a_line(&mut self, planes: &BitPlanes, start: Position) {
        for last in [planes.fire & planes.fire.wrapping_neg(), 1 << planes.fire.ilog2()] {
            let by = planes.displacement(last | (last - 1));
            self.extend_fire(Span::at(start.x + by.x), Span::at(start.y + by.y));
        }
    }

    fn extend_fire(&mut self, x: Span, y: Span) {
        let fire = self.fire.get_or_insert(FireBox { x, y });
        fire.x.include_span(x);
        fire.y.include_span(y);
    }
}
