//! The box in which the laser fires.

use super::Span;

/// The smallest box around the head's positions at the end of every firing tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FireBox {
    /// In X, in microsteps.
    pub x: Span,
    /// In Y, in microsteps.
    pub y: Span,
}
