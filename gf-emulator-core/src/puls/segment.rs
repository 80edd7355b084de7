//! What a path is made of.

use serde::Serialize;

use super::{Header, Position};

/// A run of ticks in which the head goes straight, or stands, and the laser is on throughout or off throughout.
///
/// The segments of a job, one behind the other, are the whole job: each begins at the tick and the place where the one
/// before it ends, and every tick belongs to exactly one.
///
/// *Straight* means that the head is never farther than two microsteps (0.04 mm) from the line between the segment's
/// ends. *Standing* means no step for more than 50 ms, or 250 ms where the lens is what moves. A segment moves the
/// head or the lens, and both only where they step in the same tick. *On* is from a tick that fires to the last one
/// before more than 14 that do not: the laser's dose is dealt out over periods of 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// The first tick, counted from the body's beginning.
    pub start_tick: u64,
    /// How many ticks it lasts; never 0.
    pub ticks: u64,
    /// Where it begins.
    pub start: Position,
    /// Where it ends.
    pub end: Position,
    /// Whether the laser is on.
    pub laser: bool,
    /// In how many of its ticks the laser fires. Where the laser is off this is 0.
    pub fire_ticks: u64,
    /// The power level in force, 0 to 127; `None` before the first power byte.
    pub power: Option<u8>,
}

impl Segment {
    /// Whether nothing moves.
    #[must_use]
    pub fn is_rest(&self) -> bool {
        self.start == self.end
    }

    /// How far the head goes, in mm. The lens does not count.
    #[must_use]
    pub fn length_mm(&self, header: &Header) -> f64 {
        header.x_mm(self.end.x - self.start.x).hypot(header.y_mm(self.end.y - self.start.y))
    }

    /// How long it lasts; `None` where the header has no step frequency.
    #[must_use]
    pub fn duration_s(&self, header: &Header) -> Option<f64> {
        header.step_frequency_hz().map(|hz| self.ticks as f64 / f64::from(hz))
    }

    /// The head's mean speed, in mm/s; `None` where the header has no step frequency.
    #[must_use]
    pub fn speed_mm_s(&self, header: &Header) -> Option<f64> {
        self.duration_s(header).map(|seconds| self.length_mm(header) / seconds)
    }

    /// The fire density in ticks of seven, which is how it is dealt out: 0 to 7, rounded.
    #[must_use]
    pub fn sevenths(&self) -> u8 {
        u8::try_from((self.fire_ticks * 14 + self.ticks) / (self.ticks * 2)).unwrap_or(7).min(7)
    }

    /// The part of its ticks in which the laser fires: 0 to 1.
    #[must_use]
    pub fn fire_density(&self) -> f64 {
        self.fire_ticks as f64 / self.ticks as f64
    }
}
