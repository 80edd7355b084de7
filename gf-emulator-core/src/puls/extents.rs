//! How far a job reaches.

use super::{FireBox, Segment, Span};

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
    /// Includes a segment. Its ends are enough: within a segment no axis reverses.
    pub(super) fn include(&mut self, segment: &Segment) {
        for position in [segment.start, segment.end] {
            self.x.include(position.x);
            self.y.include(position.y);
            self.z.include(position.z);
        }
    }
}
