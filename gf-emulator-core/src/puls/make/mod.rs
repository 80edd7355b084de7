//! Creates pulse files: paths, laser power, pauses.
//!
//! The body is kept in memory, and its length is bounded by [`MAX_TICKS`].

#[cfg(feature = "drawing")]
mod checkpoint;
pub(super) mod dither;
pub(super) mod planner;
mod step_generator;

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::header::{DEFAULT_MICROSTEPS, STEP_FREQUENCIES_HZ, XY_FULL_STEP_MM};
use super::{Code, Error, Header, Position, Result, code, tick};
#[cfg(feature = "drawing")]
pub(super) use checkpoint::Checkpoint;
use dither::Dither;
use step_generator::StepGenerator;

/// The greatest distance of a coordinate from the start: more than twice the width of the bed.
pub const MAX_COORDINATE_MM: f64 = 1_000.0;
/// The greatest distance of the lens from its start: more than its range.
pub const MAX_LENS_MM: f64 = 50.0;
/// The length of the longest body: 30 hours at 10 kHz.
pub const MAX_TICKS: usize = 1 << 30;

/// The step frequency of prints and hunts (read from captured jobs).
pub(super) const STEP_FREQUENCY_HZ: u32 = 10_000;
/// The acceleration of the machine's own jobs in X and Y, in mm/s2 (measured in captured jobs).
pub(super) const ACCELERATION: [f64; 2] = [700.0, 590.0];
/// The peak speed of the machine's own travel, in mm/s (measured in captured jobs).
pub(super) const TRAVEL_SPEED: f64 = 200.0;
/// Microsteps per millimetre: 53.333.
pub(super) const STEPS_PER_MM: f64 = DEFAULT_MICROSTEPS as f64 / XY_FULL_STEP_MM;
/// Half steps of the lens per second: 5.5 mm/s. The machine's own jobs are slower: a captured hunt makes 8 in 1.09 s,
/// with a ramp.
pub(super) const LENS_HALF_STEPS_PER_S: u32 = 16;

/// The records of a new header, with the order and values of captured jobs: no serial lock, air assist at a fifth, fans
/// off, the usual motor currents and modes, the usual coolant range.
const RECORDS: [(Code, u32); 23] = [
    (code::SERIAL_LOCK, 0),
    (Code(*b"AAid"), 204),
    (Code(*b"AArd"), 204),
    (Code(*b"AAwd"), 204),
    (Code(*b"EFid"), 0),
    (Code(*b"EFrd"), 0),
    (Code(*b"EFwd"), 0),
    (Code(*b"IFid"), 0),
    (Code(*b"IFrd"), 0),
    (Code(*b"IFwd"), 0),
    (Code(*b"PDct"), 1),
    (code::DATA_FORMAT, 0),
    (code::STEP_FREQUENCY, STEP_FREQUENCY_HZ),
    (Code(*b"XSdm"), 1),
    (Code(*b"XShc"), 33),
    (code::X_MICROSTEPS, DEFAULT_MICROSTEPS),
    (Code(*b"XSrc"), 135),
    (Code(*b"YSdm"), 1),
    (Code(*b"YShc"), 5),
    (code::Y_MICROSTEPS, DEFAULT_MICROSTEPS),
    (Code(*b"YSrc"), 22),
    (Code(*b"CMrn"), 10_000),
    (Code(*b"CMrx"), 35_000),
];

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

/// Builds a pulse file.
///
/// Coordinates are millimetres from the start of the job, +X to the right, +Y to the front. Each is rounded to the
/// nearest microstep (53.333 per millimetre), so that errors do not add up. Speeds follow a trapezoidal profile with at
/// most 700 mm/s2 in X and 590 mm/s2 in Y, or as [`Builder::acceleration`] sets; in a curve, these limits apply to
/// tangential and centripetal acceleration separately. An axis makes at most one step per tick: 187.5 mm/s at 10 kHz.
///
/// Set the [`power`](Self::power) before anything that fires: machines refuse a job that fires before its first power
/// byte ([`Measured::check`](super::Measured::check) tells).
///
/// ```
/// use gf_emulator_core::puls::{Builder, Laser, Limits, Move, measure};
///
/// let laser = Laser::Constant(3.0 / 7.0);
/// let corners = [(30.0, 20.0), (30.0, 30.0), (20.0, 30.0), (20.0, 20.0)];
/// let square = corners.map(|(x_mm, y_mm)| Move::new(x_mm, y_mm, 50.0, laser));
///
/// let mut job = Builder::new();
/// job.power(127)?.move_to(20.0, 20.0)?.path(&square)?.dwell(0.1)?.move_to(0.0, 0.0)?;
///
/// let file = job.to_bytes();
/// assert_eq!(measure(&file[..], Limits::default())?.check(None), []);
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    header: Header,
    step_frequency_hz: u32,
    acceleration: [f64; 2],
    travel_speed_mm_s: f64,
    body: Vec<u8>,
    position: Position,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// Creates an empty job for any machine, at 10,000 ticks per second.
    #[must_use]
    pub fn new() -> Self {
        Self::at_frequency(STEP_FREQUENCY_HZ)
    }

    /// Creates an empty job for any machine, at 1000 to 200000 ticks per second. The machine's own travel uses 28160
    /// (read from captured jobs).
    ///
    /// # Errors
    /// [`Error::Make`] outside that range.
    pub fn with_step_frequency(step_frequency_hz: u32) -> Result<Self> {
        if STEP_FREQUENCIES_HZ.contains(&step_frequency_hz) {
            Ok(Self::at_frequency(step_frequency_hz))
        } else {
            Err(Error::Make { what: "step frequency", value: step_frequency_hz.into(), expected: "1000 to 200000 Hz" })
        }
    }

    fn at_frequency(step_frequency_hz: u32) -> Self {
        let mut header = Header::default();
        for (code, value) in RECORDS {
            let value = if code == code::STEP_FREQUENCY { step_frequency_hz } else { value };
            header.set(code, value).expect("two dozen records fit");
        }
        Self {
            header,
            step_frequency_hz,
            acceleration: ACCELERATION,
            travel_speed_mm_s: TRAVEL_SPEED,
            body: Vec::new(),
            position: Position::default(),
        }
    }

    /// Sets a header record, such as [`code::SERIAL_LOCK`] to lock the job to one machine. [`code::Z_MODE`] sets the
    /// length of the lens steps that follow: half steps at first, full steps at 0. No other record affects how the body
    /// is generated: another step frequency or another microstep mode of X or Y makes the job wrong.
    ///
    /// # Errors
    /// [`Error::HeaderLength`] if the header gets too long; [`Error::Make`] if the lens mode changes after the lens has
    /// moved.
    pub fn set(&mut self, code: Code, value: u32) -> Result<&mut Self> {
        let mut header = self.header.clone();
        header.set(code, value)?;
        let moves_lens = |byte: &u8| byte & tick::POWER == 0 && byte & tick::Z_STEP != 0;
        if header.microsteps_z() != self.header.microsteps_z() && self.body.iter().any(moves_lens) {
            let expected = "the mode that the lens has moved in";
            return Err(Error::Make { what: "lens mode", value: value.into(), expected });
        }
        self.header = header;
        Ok(self)
    }

    /// Sets the acceleration of what follows, in mm/s2: 1 to 100000 per axis. The machine's own values are 700 and 590.
    ///
    /// # Errors
    /// [`Error::Make`] outside that range.
    pub fn acceleration(&mut self, x_mm_s2: f64, y_mm_s2: f64) -> Result<&mut Self> {
        for value in [x_mm_s2, y_mm_s2] {
            if !(1.0..=100_000.0).contains(&value) {
                return Err(Error::Make { what: "acceleration", value, expected: "1 to 100000 mm/s2" });
            }
        }
        self.acceleration = [x_mm_s2, y_mm_s2];
        Ok(self)
    }

    /// Sets the speed of [`Builder::move_to`], in mm/s: 0.1 to 10000. The machine's own value is 200.
    ///
    /// # Errors
    /// [`Error::Make`] outside that range.
    pub fn travel_speed(&mut self, mm_s: f64) -> Result<&mut Self> {
        if !(0.1..=10_000.0).contains(&mm_s) {
            return Err(Error::Make { what: "travel speed", value: mm_s, expected: "0.1 to 10000 mm/s" });
        }
        self.travel_speed_mm_s = mm_s;
        Ok(self)
    }

    /// Travels to a position with the laser off, from rest to rest.
    ///
    /// # Errors
    /// [`Error::Make`] if a coordinate exceeds [`MAX_COORDINATE_MM`], or the job gets longer than [`MAX_TICKS`].
    pub fn move_to(&mut self, x_mm: f64, y_mm: f64) -> Result<&mut Self> {
        self.path(&[Move::new(x_mm, y_mm, self.travel_speed_mm_s, Laser::Off)])
    }

    /// Cuts to a position with [`Laser::Constant`], from rest to rest.
    ///
    /// # Errors
    /// [`Error::Make`] as for [`Builder::move_to`], or if speed or density are out of range.
    pub fn cut_to(&mut self, x_mm: f64, y_mm: f64, speed_mm_s: f64, fire_density: f64) -> Result<&mut Self> {
        self.path(&[Move::new(x_mm, y_mm, speed_mm_s, Laser::Constant(fire_density))])
    }

    /// Adds consecutive moves as one path, from rest to rest. The head slows down for corners only, as GRBL does with a
    /// junction deviation of 0.01 mm; a change of the laser does not slow it down and happens in the exact tick. Moves
    /// without length are dropped.
    ///
    /// # Errors
    /// [`Error::Make`] if a coordinate exceeds [`MAX_COORDINATE_MM`], a speed is not above 0, a density is not 0 to 1,
    /// or the job gets longer than [`MAX_TICKS`]. The job is unchanged then.
    pub fn path(&mut self, moves: &[Move]) -> Result<&mut Self> {
        for &Move { x_mm, y_mm, speed_mm_s, laser } in moves {
            check_coordinate(x_mm)?;
            check_coordinate(y_mm)?;
            if !(speed_mm_s > 0.0 && speed_mm_s.is_finite()) {
                return Err(Error::Make { what: "speed", value: speed_mm_s, expected: "a number of mm/s above 0" });
            }
            if let Laser::Constant(density) | Laser::Dynamic(density) = laser {
                check_density(density)?;
            }
        }
        let Some(last) = moves.last() else { return Ok(self) };
        let steps = |to: &Move| [round(to.x_mm * STEPS_PER_MM), round(to.y_mm * STEPS_PER_MM)];
        let (start, end) = ([self.position.x, self.position.y], steps(last));
        // A path without a step takes no time, so that the laser cannot fire at rest.
        if moves.iter().any(|to| steps(to) != start) {
            let hz = f64::from(self.step_frequency_hz);
            let limits = planner::Limits { acceleration: self.acceleration, axis_mm_s: hz / STEPS_PER_MM };
            // Only the ends are rounded to steps: rounding the corners of a curve would make it rough.
            let mm = |steps: [i64; 2]| steps.map(|steps| steps as f64 / STEPS_PER_MM);
            let targets = moves.iter().map(|to| {
                let target = if steps(to) == end { mm(end) } else { [to.x_mm, to.y_mm] };
                (target, to.speed_mm_s)
            });
            let plan = planner::plan(mm(start), targets, &limits);
            let ticks = self.reserve(plan.iter().map(planner::PlannedMove::duration_s).sum::<f64>() * hz)?;
            let generator = StepGenerator { moves, plan: &plan, hz };
            self.position = generator.generate(ticks, self.position, end, &mut self.body);
        }
        Ok(self)
    }

    /// Moves the lens to a height in mm above its start, with the head at rest and the laser off. The height is rounded
    /// to the nearest step: 0.342 mm, or 0.684 mm in full-step mode. The lens makes 16 half or 8 full steps per second.
    ///
    /// # Errors
    /// [`Error::Make`] if the height exceeds [`MAX_LENS_MM`], or the job gets longer than [`MAX_TICKS`].
    pub fn lens_to(&mut self, z_mm: f64) -> Result<&mut Self> {
        if !(-MAX_LENS_MM..=MAX_LENS_MM).contains(&z_mm) {
            return Err(Error::Make { what: "lens height", value: z_mm, expected: "a number of mm from -50 to 50" });
        }
        let z = round(z_mm / self.header.z_mm(1));
        let ticks_per_step = (self.step_frequency_hz * self.header.lens_half_steps() / LENS_HALF_STEPS_PER_S) as usize;
        let steps = z.abs_diff(self.position.z);
        self.reserve(steps as f64 * ticks_per_step as f64)?;
        let step = if z > self.position.z { tick::Z_STEP | tick::Z_POSITIVE } else { tick::Z_STEP };
        for _ in 0..steps {
            self.body.resize(self.body.len() + ticks_per_step - 1, 0);
            self.body.push(step);
        }
        self.position.z = z;
        Ok(self)
    }

    /// Sets the laser power, 0 to 127. Takes one tick.
    ///
    /// # Errors
    /// [`Error::Make`] for a level above 127, or if the job gets longer than [`MAX_TICKS`].
    pub fn power(&mut self, level: u8) -> Result<&mut Self> {
        if level > tick::LEVEL {
            return Err(Error::Make { what: "power level", value: level.into(), expected: "0 to 127" });
        }
        self.reserve(1.0)?;
        self.body.push(tick::POWER | level);
        Ok(self)
    }

    /// Rests with the laser off.
    ///
    /// # Errors
    /// [`Error::Make`] if the time is negative or not finite, or the job gets longer than [`MAX_TICKS`].
    pub fn dwell(&mut self, seconds: f64) -> Result<&mut Self> {
        self.fire(seconds, 0.0)
    }

    /// Rests while the laser fires with a density of 0 to 1.
    ///
    /// # Errors
    /// [`Error::Make`] as for [`Builder::dwell`], or if the density is out of range.
    pub fn fire(&mut self, seconds: f64, fire_density: f64) -> Result<&mut Self> {
        if !(seconds >= 0.0 && seconds.is_finite()) {
            return Err(Error::Make { what: "dwell", value: seconds, expected: "a number of seconds, at least 0" });
        }
        check_density(fire_density)?;
        let ticks = self.reserve((seconds * f64::from(self.step_frequency_hz)).round())?;
        let mut dither = Dither::default();
        self.body.extend((0..ticks).map(|_| if dither.advance(fire_density) { tick::FIRE } else { 0 }));
        Ok(self)
    }

    /// Returns the header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the body so far, one byte per tick.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the position of the head and the lens, in steps from the start.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Returns the file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.header.encode().as_slice(), &self.body].concat()
    }

    /// Returns the file, gzip-compressed.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "writing to a Vec does not fail")]
    pub fn to_gzip(&self) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        self.write_to(&mut gzip).and_then(|()| gzip.finish()).expect("writing to memory does not fail")
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of `writer`.
    pub fn write_to(&self, writer: &mut impl Write) -> io::Result<()> {
        writer.write_all(&self.header.encode())?;
        writer.write_all(&self.body)
    }

    /// Reserves memory for more ticks, rounded up, unless the body would get too long. Returns their number.
    fn reserve(&mut self, ticks: f64) -> Result<usize> {
        let ticks = ticks.ceil();
        let total = self.body.len() as f64 + ticks;
        if total <= MAX_TICKS as f64 {
            let ticks = usize::try_from(round(ticks)).unwrap_or_default();
            self.body.reserve(ticks);
            Ok(ticks)
        } else {
            Err(Error::Make { what: "a length in ticks of", value: total, expected: "at most 1073741824" })
        }
    }
}

/// Rejects coordinates that are out of range or not a number.
pub(super) fn check_coordinate(value: f64) -> Result<()> {
    if (-MAX_COORDINATE_MM..=MAX_COORDINATE_MM).contains(&value) {
        Ok(())
    } else {
        Err(Error::Make { what: "coordinate", value, expected: "a number of mm from -1000 to 1000" })
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
