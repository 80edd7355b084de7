//! Ranges of positions.

use serde::{Serialize, Serializer};

/// A range of positions on one axis, in steps from the start of the job. Both ends are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The smallest position.
    pub min: i64,
    /// The largest position.
    pub max: i64,
}

impl Span {
    /// Creates a span of a single position.
    #[must_use]
    pub const fn at(steps: i64) -> Self {
        Self { min: steps, max: steps }
    }

    /// Returns the number of steps from one end to the other.
    #[must_use]
    pub const fn steps(self) -> u64 {
        self.max.abs_diff(self.min)
    }

    /// Extends the span to include a position.
    pub fn include(&mut self, steps: i64) {
        self.include_span(Self::at(steps));
    }

    /// Extends the span to include another one.
    pub(super) fn include_span(&mut self, other: Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

impl Serialize for Span {
    /// Serializes as `[min, max]`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.min, self.max].serialize(serializer)
    }
}
