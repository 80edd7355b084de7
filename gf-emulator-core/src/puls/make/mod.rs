//! Creates pulse files: paths, laser power, pauses.
//!
//! The body is kept in memory, and its length is bounded by [`MAX_TICKS`].

mod builder;
#[cfg(feature = "drawing")]
mod checkpoint;
pub(super) mod dither;
mod job_header;
pub(super) mod planner;
mod power;
mod step_generator;

use std::ops::RangeInclusive;

use super::header::{DEFAULT_MICROSTEPS, LENS_HALF_STEP_MM, STEP_FREQUENCY_HZ, XY_FULL_STEP_MM};
use super::limit::limit;
use super::{Error, Result};
pub use builder::Builder;
#[cfg(feature = "drawing")]
pub(super) use checkpoint::Checkpoint;
pub(super) use job_header::captured_print;
pub use power::Power;

/// The greatest distance of a coordinate from the start: more than the bed of any laser. A job that leaves the bed of this
/// one is made, and found by `puls check`.
pub const MAX_COORDINATE_MM: f64 = 10_000.0;
/// The heights of the lens in made jobs, in half steps from where a hunt leaves it. Captured hunts go down by 8, and no head
/// goes lower than 10; no captured print is above 30 (measured on hardware). All are whole full steps.
pub(super) const LENS_HALF_STEPS: RangeInclusive<i64> = -10..=30;
/// The lowest height of the lens in a made job, -3.42 mm from where a hunt leaves it: 10 half steps below, where the lower
/// stop of some heads is (measured on hardware).
pub const MIN_LENS_MM: f64 = *LENS_HALF_STEPS.start() as f64 * LENS_HALF_STEP_MM;
/// The greatest height of the lens in a made job, 10.26 mm from where a hunt leaves it: 30 half steps above, as in captured
/// prints.
pub const MAX_LENS_MM: f64 = *LENS_HALF_STEPS.end() as f64 * LENS_HALF_STEP_MM;
/// The step frequencies that [`Builder`] accepts, in ticks per second. Machines keep these exactly; above 165000, they are
/// slower than asked for (measured on hardware).
pub const MADE_FREQUENCIES_HZ: RangeInclusive<u32> = 1_000..=100_000;
/// The length of the longest body: 30 hours at 10 kHz.
pub const MAX_TICKS: usize = limit(1 << 30);

/// The acceleration of the machine's own jobs in X and Y, in mm/s2 (measured in captured jobs).
pub(super) const ACCELERATION: [f64; 2] = [700.0, 590.0];
/// The peak speed of the machine's own travel, in mm/s (measured in captured jobs).
pub(super) const TRAVEL_SPEED: f64 = 200.0;
/// Microsteps per millimetre: 53.333.
pub(super) const STEPS_PER_MM: f64 = DEFAULT_MICROSTEPS as f64 / XY_FULL_STEP_MM;
/// Half steps of the lens per second: 5.5 mm/s. The machine's own jobs are slower: a captured hunt makes 8 in 1.09 s,
/// with a ramp.
pub(super) const LENS_HALF_STEPS_PER_S: u32 = 16;

/// Whether the laser fires during a [`Move`], and how densely.
///
/// A density is the share of ticks that fire, 0 to 1. Firing ticks are spread over periods of 7 ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Laser {
    /// The laser is off.
    Off,
    /// Constant density, as `M3` in G-code: a millimetre gets more energy when the head is slower.
    Constant(f64),
    /// That density at the requested speed, and proportionally less when the head is slower, as `M4` in G-code: every
    /// millimetre gets the same energy.
    Dynamic(f64),
    /// That density at the requested speed. When the head is slower, the density falls in proportion to the speed, but not
    /// below 0.39 of it. Made shapes and drawings use this. In the service's prints, the density in corners was 0.38 to
    /// 0.41 of that on straight lines (measured on hardware); that it is in proportion down to there is assumed.
    Print(f64),
}

/// A straight move of the head.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Move {
    /// The target, in mm to the right of the start of the job.
    pub x_mm: f64,
    /// The target, in mm to the front of the start of the job.
    pub y_mm: f64,
    /// The speed in mm/s, if acceleration, corners and step frequency allow it.
    pub speed_mm_s: f64,
    /// The laser during the move.
    pub laser: Laser,
}

impl Move {
    /// Creates a move to a position.
    #[must_use]
    pub fn new(x_mm: f64, y_mm: f64, speed_mm_s: f64, laser: Laser) -> Self {
        Self { x_mm, y_mm, speed_mm_s, laser }
    }
}

/// Rejects coordinates that are out of range or not a number.
pub(super) fn check_coordinate(value: f64) -> Result<()> {
    if (-MAX_COORDINATE_MM..=MAX_COORDINATE_MM).contains(&value) {
        Ok(())
    } else {
        Err(Error::Make { what: "coordinate", value, expected: "a number of mm from -10000 to 10000" })
    }
}

fn check_density(density: f64) -> Result<()> {
    if (0.0..=1.0).contains(&density) {
        Ok(())
    } else {
        Err(Error::Make { what: "fire density", value: density, expected: "0 to 1" })
    }
}

/// Rounds as [`f64::round`] does, half away from 0. That is a call into the C library on most processors, and this is
/// needed twice per tick.
#[expect(clippy::cast_possible_truncation, reason = "callers pass bounded values; the cast saturates")]
fn round(value: f64) -> i64 {
    let whole = value as i64;
    let rest = value - whole as f64;
    whole + i64::from(rest >= 0.5) - i64::from(rest <= -0.5)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::round;

    proptest! {
        #[test]
        fn round_agrees_with_the_standard_library(whole in -2_000_000..2_000_000_i32, part in -1.0..1.0_f64) {
            for value in [f64::from(whole) + part, f64::from(whole) / 2.0, f64::from(whole) / 2.0 - 1e-10] {
                prop_assert!((round(value) as f64 - value.round()).abs() < 0.1, "{value}");
            }
        }
    }
}
