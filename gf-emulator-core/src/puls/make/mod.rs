//! Making pulse files: paths, power, pauses.
//!
//! A path starts and ends at rest; between its legs the head slows down only as far as corners ask for. The body is made
//! in memory; how long it may get is bounded.

mod dither;
mod planner;
mod track;

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::header::{DEFAULT_MICROSTEPS, STEP_FREQUENCIES_HZ, XY_FULL_STEP_MM, Z_FULL_STEP_MM};
use super::{Code, Error, Header, Position, Result, code, tick};
use dither::Dither;
use track::Track;

/// The farthest that a coordinate may be from the start: twice the bed's width and more.
pub const MAX_COORDINATE_MM: f64 = 1_000.0;
/// The farthest that the lens may be from where it starts: more than it can go.
pub const MAX_LENS_MM: f64 = 50.0;
/// The longest body: thirty hours at 10 kHz.
pub const MAX_TICKS: usize = 1 << 30;

/// The step frequency of prints and hunts.
const STEP_FREQUENCY_HZ: u32 = 10_000;
/// What the machine's own jobs accelerate with, in mm/s2, X and Y.
const ACCELERATION: [f64; 2] = [700.0, 590.0];
/// What the machine's own travel peaks at, in mm/s.
const TRAVEL_SPEED: f64 = 200.0;
/// Microsteps to a millimetre: 53.333.
const STEPS_PER_MM: f64 = DEFAULT_MICROSTEPS as f64 / XY_FULL_STEP_MM;
/// Half steps of the lens to a millimetre.
const LENS_STEPS_PER_MM: f64 = 2.0 / Z_FULL_STEP_MM;
/// Half steps of the lens a second: 5.6 mm/s. A hunt makes 8 in 0.59 s, and the lens starts and stops without a ramp.
const LENS_STEPS_PER_S: u32 = 16;

/// The records of a new header, in the order and with the values of the machine's own jobs: no lock, air assist at a
/// fifth, fans off, the motors' usual currents and modes, the usual coolant window.
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

/// Whether the laser fires on a [`Leg`], and how densely. A density is the part of the ticks that fire, 0 to 1: the dose.
/// Fire ticks are dealt out evenly over periods of 7 ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Laser {
    /// It does not fire.
    Off,
    /// That part of the ticks, whatever the speed, as under `M3` of G-code: where the head slows down a millimetre gets
    /// more.
    Constant(f64),
    /// That part of the ticks at the leg's own speed and so much less where the head is slower, as under `M4` of G-code:
    /// each millimetre gets the same.
    Dynamic(f64),
}

/// One straight part of a path: where it goes, how fast at most, and what the laser does on the way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leg {
    /// Where it ends, in mm to the right of where the job begins.
    pub x_mm: f64,
    /// Where it ends, in mm to the front of where the job begins.
    pub y_mm: f64,
    /// How fast it is gone along, in mm/s, where acceleration, corners and step frequency let it.
    pub speed_mm_s: f64,
    /// What the laser does.
    pub laser: Laser,
}

/// Makes a pulse file.
///
/// Coordinates are millimetres from where the job begins, +X to the right, +Y to the front, each put on the nearest of
/// the 53.333 microsteps to a millimetre, so that errors do not add up. Speeds follow a trapezoid, accelerating with at
/// most 700 mm/s2 in X and 590 in Y unless [`Builder::acceleration`] says otherwise; along a curve that holds for getting
/// faster and for turning, each by itself. An axis makes at most one step a tick, which at 10 kHz is 187.5 mm/s.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Job, Laser, Leg};
///
/// let laser = Laser::Constant(3.0 / 7.0);
/// let corners = [(30.0, 20.0), (30.0, 30.0), (20.0, 30.0), (20.0, 20.0)];
/// let square = corners.map(|(x_mm, y_mm)| Leg { x_mm, y_mm, speed_mm_s: 50.0, laser });
///
/// let mut job = Builder::new();
/// job.power(127)?.move_to(20.0, 20.0)?.path(&square)?.dwell(0.1)?.move_to(0.0, 0.0)?;
///
/// let file = job.to_bytes();
/// assert_eq!(Job::open(&file[..])?.header().check(None), []);
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    header: Header,
    step_frequency_hz: u32,
    acceleration: [f64; 2],
    travel_speed_mm_s: f64,
    body: Vec<u8>,
    at: Position,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// An empty job for any machine, at 10,000 ticks a second.
    #[must_use]
    pub fn new() -> Self {
        Self::at_frequency(STEP_FREQUENCY_HZ)
    }

    /// An empty job for any machine, at that many ticks a second: 1000 to 200000. The machine's own travel has 28160.
    ///
    /// # Errors
    /// [`Error::Make`] outside of that range.
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
            header.set(code, value).expect("two dozen records are far from the longest header");
        }
        Self {
            header,
            step_frequency_hz,
            acceleration: ACCELERATION,
            travel_speed_mm_s: TRAVEL_SPEED,
            body: Vec::new(),
            at: Position::default(),
        }
    }

    /// Gives a header code a value: [`code::SERIAL_LOCK`] ties the job to one machine. This changes what the header says
    /// and not how the body is made, so a wrong step frequency or microstep mode makes a wrong job.
    ///
    /// # Errors
    /// [`Error::HeaderLength`] where the header would become too long.
    pub fn set(&mut self, code: Code, value: u32) -> Result<&mut Self> {
        self.header.set(code, value)?;
        Ok(self)
    }

    /// How fast what follows gets faster and slower, in mm/s2: 1 to 100000 for each axis. 700 and 590 are the machine's
    /// own.
    ///
    /// # Errors
    /// [`Error::Make`] outside of that range.
    pub fn acceleration(&mut self, x_mm_s2: f64, y_mm_s2: f64) -> Result<&mut Self> {
        for value in [x_mm_s2, y_mm_s2] {
            if !(1.0..=100_000.0).contains(&value) {
                return Err(Error::Make { what: "acceleration", value, expected: "1 to 100000 mm/s2" });
            }
        }
        self.acceleration = [x_mm_s2, y_mm_s2];
        Ok(self)
    }

    /// How fast [`Builder::move_to`] goes from here on, in mm/s: 0.1 to 10000. 200 is the machine's own.
    ///
    /// # Errors
    /// [`Error::Make`] outside of that range.
    pub fn travel_speed(&mut self, mm_s: f64) -> Result<&mut Self> {
        if !(0.1..=10_000.0).contains(&mm_s) {
            return Err(Error::Make { what: "travel speed", value: mm_s, expected: "0.1 to 10000 mm/s" });
        }
        self.travel_speed_mm_s = mm_s;
        Ok(self)
    }

    /// Travels to a place with the laser off, at up to the travel speed.
    ///
    /// # Errors
    /// [`Error::Make`] where a coordinate is not a number within [`MAX_COORDINATE_MM`], or the job becomes longer than
    /// [`MAX_TICKS`].
    pub fn move_to(&mut self, x_mm: f64, y_mm: f64) -> Result<&mut Self> {
        self.path(&[Leg { x_mm, y_mm, speed_mm_s: self.travel_speed_mm_s, laser: Laser::Off }])
    }

    /// Travels to a place with the laser firing, at up to `speed_mm_s`. `fire_density`, 0 to 1, is the part of the ticks
    /// that fire, from rest to rest: [`Laser::Constant`].
    ///
    /// # Errors
    /// [`Error::Make`] as for [`Builder::move_to`], and where speed or density are out of range.
    pub fn cut_to(&mut self, x_mm: f64, y_mm: f64, speed_mm_s: f64, fire_density: f64) -> Result<&mut Self> {
        self.path(&[Leg { x_mm, y_mm, speed_mm_s, laser: Laser::Constant(fire_density) }])
    }

    /// Goes along all legs, from rest to rest, slowing down in between only as far as corners ask for: a sweep whose legs
    /// differ in the laser alone goes at one speed throughout. The laser changes at the very tick in which a leg ends.
    /// Legs without a length are left out.
    ///
    /// A corner is taken as fast as an arc with the axes' acceleration could be that leaves it by no more than 0.01 mm.
    ///
    /// # Errors
    /// [`Error::Make`] where a coordinate is not a number within [`MAX_COORDINATE_MM`], a speed is none above 0, a density
    /// not 0 to 1, or the job becomes longer than [`MAX_TICKS`]. Nothing is changed then.
    pub fn path(&mut self, legs: &[Leg]) -> Result<&mut Self> {
        for &Leg { x_mm, y_mm, speed_mm_s, laser } in legs {
            check_coordinate(x_mm)?;
            check_coordinate(y_mm)?;
            if !(speed_mm_s > 0.0 && speed_mm_s.is_finite()) {
                return Err(Error::Make { what: "speed", value: speed_mm_s, expected: "a number of mm/s above 0" });
            }
            if let Laser::Constant(density) | Laser::Dynamic(density) = laser {
                check_density(density)?;
            }
        }
        let Some(last) = legs.last() else { return Ok(self) };
        let steps = |leg: &Leg| [nearest(leg.x_mm * STEPS_PER_MM), nearest(leg.y_mm * STEPS_PER_MM)];
        let (here, there) = ([self.at.x, self.at.y], steps(last));
        // What makes no step takes no time: nothing that fires on the spot.
        if legs.iter().any(|leg| steps(leg) != here) {
            let hz = f64::from(self.step_frequency_hz);
            let limits = planner::Limits { acceleration: self.acceleration, axis_mm_s: hz / STEPS_PER_MM };
            // At rest the head is on a step; on the way a curve would not stay smooth if its places were put on steps.
            let mm = |steps: [i64; 2]| steps.map(|steps| steps as f64 / STEPS_PER_MM);
            let targets = legs.iter().map(|leg| {
                let place = if steps(leg) == there { mm(there) } else { [leg.x_mm, leg.y_mm] };
                (place, leg.speed_mm_s)
            });
            let stretches = planner::plan(mm(here), targets, &limits);
            let ticks = self.reserve(stretches.iter().map(planner::Stretch::duration_s).sum::<f64>() * hz)?;
            let track = Track { legs, stretches: &stretches, hz };
            self.at = track.play(ticks, self.at, there, &mut self.body);
        }
        Ok(self)
    }

    /// Moves the lens to a height in mm from where it starts, up being away from the bed, on the nearest of the half steps
    /// of 0.35306 mm: 16 of them a second, laser off, head at rest.
    ///
    /// # Errors
    /// [`Error::Make`] where it is not a number within [`MAX_LENS_MM`], or the job becomes longer than [`MAX_TICKS`].
    pub fn lens_to(&mut self, z_mm: f64) -> Result<&mut Self> {
        if !(-MAX_LENS_MM..=MAX_LENS_MM).contains(&z_mm) {
            return Err(Error::Make { what: "lens height", value: z_mm, expected: "a number of mm from -50 to 50" });
        }
        let z = nearest(z_mm * LENS_STEPS_PER_MM);
        let ticks_per_step = (self.step_frequency_hz / LENS_STEPS_PER_S) as usize;
        let steps = z.abs_diff(self.at.z);
        self.reserve(steps as f64 * ticks_per_step as f64)?;
        let step = if z > self.at.z { tick::Z_STEP | tick::Z_POSITIVE } else { tick::Z_STEP };
        for _ in 0..steps {
            self.body.resize(self.body.len() + ticks_per_step - 1, 0);
            self.body.push(step);
        }
        self.at.z = z;
        Ok(self)
    }

    /// Sets the laser's power, 0 to 127; takes one tick.
    ///
    /// # Errors
    /// [`Error::Make`] for a level above 127, or where the job becomes longer than [`MAX_TICKS`].
    pub fn power(&mut self, level: u8) -> Result<&mut Self> {
        if level > tick::LEVEL {
            return Err(Error::Make { what: "power level", value: level.into(), expected: "0 to 127" });
        }
        self.reserve(1.0)?;
        self.body.push(tick::POWER | level);
        Ok(self)
    }

    /// Stands still, laser off, for that many seconds.
    ///
    /// # Errors
    /// [`Error::Make`] where it is not a number from 0 up, or the job becomes longer than [`MAX_TICKS`].
    pub fn dwell(&mut self, seconds: f64) -> Result<&mut Self> {
        self.fire(seconds, 0.0)
    }

    /// Stands still for that many seconds, with the laser firing in that part of the ticks, 0 to 1.
    ///
    /// # Errors
    /// [`Error::Make`] as for [`Builder::dwell`], and where the density is out of range.
    pub fn fire(&mut self, seconds: f64, fire_density: f64) -> Result<&mut Self> {
        if !(seconds >= 0.0 && seconds.is_finite()) {
            return Err(Error::Make { what: "dwell", value: seconds, expected: "a number of seconds from 0 up" });
        }
        check_density(fire_density)?;
        let ticks = self.reserve((seconds * f64::from(self.step_frequency_hz)).round())?;
        let mut dither = Dither::default();
        self.body.extend((0..ticks).map(|_| if dither.advance(fire_density) { tick::FIRE } else { 0 }));
        Ok(self)
    }

    /// The header as it stands.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The body as it stands, one byte a tick.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Where the head is, in microsteps from the start.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.header.encode().as_slice(), &self.body].concat()
    }

    /// The file, gzip-compressed as a whole.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "writing to a Vec does not fail")]
    pub fn to_gzip(&self) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        self.write_to(&mut gzip).and_then(|()| gzip.finish()).expect("writing to memory does not fail")
    }

    /// Writes the file.
    ///
    /// # Errors
    /// What `writer` runs into.
    pub fn write_to(&self, writer: &mut impl Write) -> io::Result<()> {
        writer.write_all(&self.header.encode())?;
        writer.write_all(&self.body)
    }

    /// Makes room for so many more ticks, unless they are too many.
    fn reserve(&mut self, ticks: f64) -> Result<usize> {
        let ticks = ticks.ceil();
        let total = self.body.len() as f64 + ticks;
        if total <= MAX_TICKS as f64 {
            let ticks = usize::try_from(nearest(ticks)).unwrap_or_default();
            self.body.reserve(ticks);
            Ok(ticks)
        } else {
            Err(Error::Make { what: "a length in ticks of", value: total, expected: "at most 1073741824" })
        }
    }

    /// How it stands, to come back to it.
    pub(super) fn mark(&self) -> Mark {
        Mark { ticks: self.body.len(), at: self.at }
    }

    /// Comes back to how it stood: everything after it is gone.
    pub(super) fn undo(&mut self, mark: Mark) {
        self.body.truncate(mark.ticks);
        self.at = mark.at;
    }

    /// Where the lens is.
    pub(super) fn lens_mm(&self) -> f64 {
        self.at.z as f64 / LENS_STEPS_PER_MM
    }

    /// What travel has been told to go at.
    pub(super) fn travel_speed_mm_s(&self) -> f64 {
        self.travel_speed_mm_s
    }
}

/// How a job stood at some time.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    ticks: usize,
    at: Position,
}

/// Whether a coordinate is one that the head can be sent to.
pub(super) fn check_coordinate(value: f64) -> Result<()> {
    // Not a number is in no range.
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

/// The nearest whole number, of one that is known to be small; half is rounded away from 0, as [`f64::round`] has it. That
/// is a call into the C library on most processors, and this is asked for twice a tick.
#[expect(clippy::cast_possible_truncation, reason = "callers have bounded it; the cast would saturate, not wrap")]
fn nearest(value: f64) -> i64 {
    let whole = value as i64;
    let rest = value - whole as f64;
    whole + i64::from(rest >= 0.5) - i64::from(rest <= -0.5)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::nearest;

    proptest! {
        #[test]
        fn the_nearest_whole_number_is_what_round_gives(whole in -2_000_000..2_000_000_i32, part in -1.0..1.0_f64) {
            for value in [f64::from(whole) + part, f64::from(whole) / 2.0, f64::from(whole) / 2.0 - 1e-10] {
                prop_assert!((nearest(value) as f64 - value.round()).abs() < 0.1, "{value}");
            }
        }
    }
}
