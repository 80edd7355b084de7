//! The pulse files of homing: a hunt and three motions, as long as those that the cloud sent to a machine with firmware 2.6
//! (measured on hardware).

use super::sample_jobs::TRAVEL_HZ;
use crate::puls::{Builder, Result, tick};

/// The step frequency of hunts and of short moves.
const SHORT_HZ: u32 = 10_000;
/// Microsteps per millimetre in X and Y: 8 for each 0.15 mm.
const STEPS_PER_MM: f64 = 8.0 / 0.15;
/// The length of a hunt, in ticks.
const HUNT_TICKS: usize = 15_874;
/// When the lens makes its four full steps down: every other step of an older hunt of eight half steps (the times of the
/// newer one are not published).
const HUNT_STEPS: [usize; 4] = [0, 6300, 7937, 9574];
/// Faster than the machine's own 700 mm/s2 in X: the shortest captured motion is not possible with less.
const ACCELERATION_MM_S2: f64 = 1000.0;

/// A motion of the head from rest to rest, without the laser.
struct Motion {
    step_frequency_hz: u32,
    x_steps: f64,
    y_steps: f64,
    /// The speed. The rest of the captured time is spent at rest.
    mm_s: f64,
    ticks: usize,
}

/// To the middle of the bed, closer to the target, and to the corner at the back left.
const MOTIONS: [Motion; 3] = [
    Motion { step_frequency_hz: SHORT_HZ, x_steps: 12_939.0, y_steps: 7402.0, mm_s: 132.0, ticks: 22_740 },
    Motion { step_frequency_hz: SHORT_HZ, x_steps: 159.0, y_steps: 5.0, mm_s: 34.0, ticks: 1222 },
    Motion { step_frequency_hz: TRAVEL_HZ, x_steps: -13_096.0, y_steps: -7400.0, mm_s: 200.0, ticks: 47_243 },
];

/// How many motions homing has.
pub(super) const MOTION_COUNT: usize = MOTIONS.len();

/// The lens four full steps down, then at rest; no laser and no X or Y.
pub(super) fn hunt() -> Vec<u8> {
    let mut file = Builder::new().to_bytes();
    let mut body = [0; HUNT_TICKS];
    for at in HUNT_STEPS {
        body[at] = tick::Z_STEP;
    }
    file.extend_from_slice(&body);
    file
}

/// One of the motions of homing, in their order.
pub(super) fn motion(number: usize) -> Result<Vec<u8>> {
    let Motion { step_frequency_hz, x_steps, y_steps, mm_s, ticks } = &MOTIONS[number];
    let mut job = Builder::with_step_frequency(*step_frequency_hz)?;
    job.acceleration(ACCELERATION_MM_S2, ACCELERATION_MM_S2)?
        .travel_speed(*mm_s)?
        .move_to(x_steps / STEPS_PER_MM, y_steps / STEPS_PER_MM)?;
    let rest = ticks.saturating_sub(job.body().len());
    Ok(job.dwell(rest as f64 / f64::from(*step_frequency_hz))?.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::puls::code;
    use crate::puls::{Limits, Measured, measure};

    fn measured(file: &[u8]) -> Measured {
        let measured = measure(file, Limits::default()).unwrap();
        assert_eq!(measured.header.check(Some(12_345_678)), []);
        measured
    }

    #[test]
    fn the_hunt_moves_the_lens_alone_by_four_full_steps() {
        let hunt = measured(&hunt());
        assert_eq!((hunt.ticks, hunt.counts.zn, hunt.counts.zp), (15_874, 4, 0));
        assert_eq!((hunt.counts.x_total(), hunt.counts.y_total(), hunt.counts.le), (0, 0, 0));
        assert_eq!(hunt.header.get(code::Z_MODE), Some(0));
    }

    #[test]
    fn the_motions_have_the_captured_steps_and_times() {
        let expected = [(10_000, 12_939, 7402, 22_740), (10_000, 159, 5, 1222), (28_160, -13_096, -7400, 47_243)];
        for (number, (hz, x, y, ticks)) in expected.into_iter().enumerate() {
            let motion = measured(&motion(number).unwrap());
            assert_eq!(motion.header.get(code::STEP_FREQUENCY), Some(hz));
            assert_eq!((motion.counts.x_end(), motion.counts.y_end(), motion.counts.le), (x, y, 0));
            // No step is taken twice.
            assert_eq!(motion.counts.x_total(), x.unsigned_abs());
            assert_eq!(motion.ticks, ticks);
        }
    }
}
