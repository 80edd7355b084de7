//! How far a job reaches: each axis, and the box in which the laser fires.

use serde::{Serialize, Serializer};

use super::Position;

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
    at: Position,
}

impl Extents {
    /// Goes through some more ticks.
    pub fn add(&mut self, ticks: &[u8]) {
        for &byte in ticks {
            let fires = self.at.advance(byte);
            self.x.include(self.at.x);
            self.y.include(self.at.y);
            self.z.include(self.at.z);
            if fires {
                let fire = self.fire.get_or_insert(FireBox { x: Span::at(self.at.x), y: Span::at(self.at.y) });
                fire.x.include(self.at.x);
                fire.y.include(self.at.y);
            }
        }
    }

    /// Where the head is after the ticks gone through.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }
}
