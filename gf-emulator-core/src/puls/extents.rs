//! How far a job reaches.

use super::{FireBox, Position, Span};

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
    /// Includes the end of a segment. Those of all segments are enough: within a segment no axis reverses.
    #[inline]
    pub(super) fn include(&mut self, end: Position) {
        self.x.include(end.x);
        self.y.include(end.y);
        self.z.include(end.z);
    }
}
