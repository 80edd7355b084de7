//! Making pulse files: moves, cuts, power, pauses.
//!
//! Every move and cut starts and ends at rest. The body is made in memory; how long it may get is bounded.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::header::{DEFAULT_MICROSTEPS, STEP_FREQUENCIES_HZ, XY_FULL_STEP_MM};
use super::{Code, Error, Header, Position, Result, code, tick};

/// The farthest that a coordinate may be from the start: twice the bed's width and more.
pub const MAX_COORDINATE_MM: f64 = 1_000.0;
/// The longest body: thirty hours at 10 kHz.
pub const MAX_TICKS: usize = 1 << 30;

/// The step frequency of prints and hunts.
const STEP_FREQUENCY_HZ: u32 = 10_000;
/// What the machine's own jobs accelerate with, in mm/s2.
const ACCELERATION_X: f64 = 700.0;
const ACCELERATION_Y: f64 = 590.0;
/// What the machine's own travel peaks at, in mm/s.
const TRAVEL_SPEED: f64 = 200.0;
/// Microsteps to a millimetre: 53.333.
const STEPS_PER_MM: f64 = DEFAULT_MICROSTEPS as f64 / XY_FULL_STEP_MM;
/// Fire ticks are dealt out over periods of this many ticks.
const FIRE_PERIOD_TICKS: usize = 7;

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

/// Makes a pulse file.
///
/// Coordinates are millimetres from where the job begins, +X to the right, +Y to the front, each put on the nearest of
/// the 53.333 microsteps to a millimetre, so that errors do not add up. Speeds follow a trapezoid, accelerating with at
/// most 700 mm/s2 in X and 590 in Y. An axis makes at most one step a tick, which at 10 kHz is 187.5 mm/s.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Job};
///
/// let mut square = Builder::new();
/// square.power(127)?.move_to(20.0, 20.0)?;
/// for (x_mm, y_mm) in [(30.0, 20.0), (30.0, 30.0), (20.0, 30.0), (20.0, 20.0)] {
///     square.cut_to(x_mm, y_mm, 50.0, 3.0 / 7.0)?;
/// }
/// square.dwell(0.1)?.move_to(0.0, 0.0)?;
///
/// let file = square.to_bytes();
/// assert_eq!(Job::open(&file[..])?.header().check(None), []);
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    header: Header,
    step_frequency_hz: u32,
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
        Self { header, step_frequency_hz, body: Vec::new(), at: Position::default() }
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

    /// Travels to a place with the laser off, at up to 200 mm/s.
    ///
    /// # Errors
    /// [`Error::Make`] where a coordinate is not a number within [`MAX_COORDINATE_MM`], or the job becomes longer than
    /// [`MAX_TICKS`].
    pub fn move_to(&mut self, x_mm: f64, y_mm: f64) -> Result<&mut Self> {
        self.line(x_mm, y_mm, TRAVEL_SPEED, 0.0)
    }

    /// Travels to a place with the laser firing, at up to `speed_mm_s`. `fire_density`, 0 to 1, is the part of the ticks
    /// that fire: the dose. They are dealt out evenly over periods of 7 ticks.
    ///
    /// # Errors
    /// [`Error::Make`] as for [`Builder::move_to`], and where speed or density are out of range.
    pub fn cut_to(&mut self, x_mm: f64, y_mm: f64, speed_mm_s: f64, fire_density: f64) -> Result<&mut Self> {
        if !(speed_mm_s > 0.0 && speed_mm_s.is_finite()) {
            return Err(Error::Make { what: "speed", value: speed_mm_s, expected: "a number of mm/s above 0" });
        }
        if !(0.0..=1.0).contains(&fire_density) {
            return Err(Error::Make { what: "fire density", value: fire_density, expected: "0 to 1" });
        }
        self.line(x_mm, y_mm, speed_mm_s, fire_density)
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
        if !(seconds >= 0.0 && seconds.is_finite()) {
            return Err(Error::Make { what: "dwell", value: seconds, expected: "a number of seconds from 0 up" });
        }
        let ticks = self.reserve((seconds * f64::from(self.step_frequency_hz)).round())?;
        self.body.resize(self.body.len() + ticks, 0);
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
        let total = self.body.len() as f64 + ticks;
        if total <= MAX_TICKS as f64 {
            let ticks = usize::try_from(nearest(ticks)).unwrap_or_default();
            self.body.reserve(ticks);
            Ok(ticks)
        } else {
            Err(Error::Make { what: "a length in ticks of", value: total, expected: "at most 1073741824" })
        }
    }

    fn line(&mut self, x_mm: f64, y_mm: f64, speed_mm_s: f64, fire_density: f64) -> Result<&mut Self> {
        for value in [x_mm, y_mm] {
            // Not a number is in no range.
            if !(-MAX_COORDINATE_MM..=MAX_COORDINATE_MM).contains(&value) {
                return Err(Error::Make { what: "coordinate", value, expected: "a number of mm from -1000 to 1000" });
            }
        }
        let target = Position { x: nearest(x_mm * STEPS_PER_MM), y: nearest(y_mm * STEPS_PER_MM), ..self.at };
        let mut x = Axis::between(self.at.x, target.x, tick::X_STEP, tick::X_STEP | tick::X_NEGATIVE);
        let mut y = Axis::between(self.at.y, target.y, tick::Y_STEP | tick::Y_POSITIVE, tick::Y_STEP);
        if x.is_there() && y.is_there() {
            return Ok(self);
        }
        let hz = f64::from(self.step_frequency_hz);
        let profile = Profile::new(x.steps / STEPS_PER_MM, y.steps / STEPS_PER_MM, speed_mm_s, hz / STEPS_PER_MM);
        let ticks = self.reserve((profile.duration_s * hz).ceil())?;
        let mut fire = Fire { density: fire_density, tick: 0, of_period: 0.0, due: 0.0 };
        // Rounding can leave a step for after the last planned tick; an axis never makes two in one.
        for planned in 1.. {
            if planned > ticks && x.is_there() && y.is_there() {
                break;
            }
            let part = profile.part_at(planned as f64 / hz);
            self.body.push(x.advance(part) | y.advance(part) | fire.advance());
        }
        self.at = target;
        Ok(self)
    }
}

/// The nearest whole number, of one that is known to be small.
#[expect(clippy::cast_possible_truncation, reason = "callers have bounded it; the cast would saturate, not wrap")]
fn nearest(value: f64) -> i64 {
    value.round() as i64
}

/// One axis on its way: how many steps it has to make, and how many it has made.
struct Axis {
    steps: f64,
    made: f64,
    /// What a step in the right direction looks like.
    step: u8,
}

impl Axis {
    fn between(from: i64, to: i64, positive: u8, negative: u8) -> Self {
        let step = if to >= from { positive } else { negative };
        Self { steps: to.abs_diff(from) as f64, made: 0.0, step }
    }

    fn is_there(&self) -> bool {
        self.made >= self.steps
    }

    /// Makes a step if that part of the way asks for one.
    fn advance(&mut self, part: f64) -> u8 {
        if self.made < (self.steps * part).round() {
            self.made += 1.0;
            self.step
        } else {
            0
        }
    }
}

/// Speed over time along a straight line: up to a peak, along at it, down again.
struct Profile {
    length_mm: f64,
    acceleration: f64,
    peak_mm_s: f64,
    ramp_s: f64,
    duration_s: f64,
}

impl Profile {
    /// For a line that is `x_mm` by `y_mm` (not both 0), with no axis faster than `axis_mm_s`.
    fn new(x_mm: f64, y_mm: f64, speed_mm_s: f64, axis_mm_s: f64) -> Self {
        let length_mm = x_mm.hypot(y_mm);
        // An axis that does not move gives an infinity here, which limits nothing.
        let (along_x, along_y) = (length_mm / x_mm, length_mm / y_mm);
        let acceleration = (ACCELERATION_X * along_x).min(ACCELERATION_Y * along_y);
        let speed = speed_mm_s.min(axis_mm_s * along_x).min(axis_mm_s * along_y);
        // A short line is over before it gets that fast.
        let peak_mm_s = speed.min((acceleration * length_mm).sqrt());
        let ramp_s = peak_mm_s / acceleration;
        Self { length_mm, acceleration, peak_mm_s, ramp_s, duration_s: ramp_s + length_mm / peak_mm_s }
    }

    /// How much of the way is behind after that time: 0 to 1.
    fn part_at(&self, time_s: f64) -> f64 {
        let left_s = self.duration_s - time_s;
        let way_mm = if left_s <= 0.0 {
            self.length_mm
        } else if time_s < self.ramp_s {
            self.acceleration * time_s * time_s / 2.0
        } else if left_s < self.ramp_s {
            self.length_mm - self.acceleration * left_s * left_s / 2.0
        } else {
            self.peak_mm_s * (time_s - self.ramp_s / 2.0)
        };
        (way_mm / self.length_mm).clamp(0.0, 1.0)
    }
}

/// Deals out fire ticks: whole ones in each period, with what is left over carried to the next.
struct Fire {
    density: f64,
    tick: usize,
    of_period: f64,
    due: f64,
}

impl Fire {
    fn advance(&mut self) -> u8 {
        let phase = self.tick % FIRE_PERIOD_TICKS;
        self.tick += 1;
        if phase == 0 {
            self.due += self.density * FIRE_PERIOD_TICKS as f64;
            // A density such as 3/7 must give 3 and not, by the last bit of a sum, 2.
            self.of_period = (self.due + 1e-9).floor();
            self.due -= self.of_period;
        }
        if (phase as f64) < self.of_period { tick::FIRE } else { 0 }
    }
}
