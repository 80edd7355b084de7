//! The parts of a job.

use serde::Serialize;

use super::{Header, Position};

/// A run of ticks in which the head moves straight or rests, and the laser is on or off throughout.
///
/// Each segment starts at the tick and the position where the previous one ends, and every tick of a job belongs to
/// exactly one segment. Segments also end where a [dense stretch](super::Measured::dense_ticks) begins or ends.
///
/// - *Straight*: the head is never farther than two microsteps (0.04 mm) from the line between the segment's ends, and
///   no axis reverses.
/// - *At rest*: no step for more than 50 ms, or 250 ms for the lens. A segment moves the head or the lens, and both
///   only if they step in the same tick.
/// - *On*: in a tick that fires, in a power byte directly before one, and in a gap between two that do if it has at most
///   14 ticks, which is two periods of the machine's dither, or if it is one of several like it: a low density. In such a
///   gap, it is at most 1024 ticks (a density of 0.1 %) from one firing tick to the next, and of
///   it and a neighbouring gap, the longer is at most 1.5 times the shorter. So three firing ticks at regular intervals are a line, also
///   while the intervals change with the speed; two, or irregular ones, are dots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Segment {
    /// The first tick, counted from the start of the body.
    pub start_tick: u64,
    /// The length in ticks, never 0.
    pub ticks: u64,
    /// The position at the start.
    pub start: Position,
    /// The position at the end.
    pub end: Position,
    /// Whether the laser is on.
    pub laser: bool,
    /// The number of firing ticks; 0 if the laser is off.
    pub fire_ticks: u64,
    /// The power level, 0 to 127; `None` before the first power byte.
    pub power: Option<u8>,
}

impl Segment {
    /// Returns whether nothing moves.
    #[must_use]
    pub fn is_rest(&self) -> bool {
        self.start == self.end
    }

    /// Returns the distance that the head moves, in mm, without the lens.
    #[must_use]
    pub fn length_mm(&self, header: &Header) -> f64 {
        header.x_mm(self.end.x - self.start.x).hypot(header.y_mm(self.end.y - self.start.y))
    }

    /// Returns the duration; `None` if the header has no step frequency.
    #[must_use]
    pub fn duration_s(&self, header: &Header) -> Option<f64> {
        header.step_frequency_hz().map(|hz| self.ticks as f64 / f64::from(hz))
    }

    /// Returns the mean speed of the head; `None` if the header has no step frequency.
    #[must_use]
    pub fn speed_mm_s(&self, header: &Header) -> Option<f64> {
        self.duration_s(header).map(|seconds| self.length_mm(header) / seconds)
    }

    /// Returns the fire density in sevenths, rounded: 0 to 7.
    #[must_use]
    pub fn sevenths(&self) -> u8 {
        sevenths(self.fire_ticks, self.ticks)
    }

    /// Returns the share of ticks that fire, 0 to 1.
    #[must_use]
    pub fn fire_density(&self) -> f64 {
        self.fire_ticks as f64 / self.ticks as f64
    }
}

/// Returns the share of ticks that fire in sevenths, rounded: 0 to 7.
pub(super) fn sevenths(fire_ticks: u64, ticks: u64) -> u8 {
    if fire_ticks == 0 || fire_ticks == ticks {
        return if fire_ticks == 0 { 0 } else { 7 };
    }
    // Compares instead of dividing, which is slow.
    (1..=7).map(|sevenths| u8::from(14 * fire_ticks >= (2 * sevenths - 1) * ticks)).sum()
}
