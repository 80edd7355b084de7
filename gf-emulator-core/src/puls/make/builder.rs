//! The builder of pulse files.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::dither::Dither;
use super::job_header::Kind;
use super::power::PowerBytes;
use super::step_generator::StepGenerator;
use super::{
    ACCELERATION, LENS_HALF_STEPS, LENS_HALF_STEPS_PER_S, Laser, MADE_FREQUENCIES_HZ, MAX_TICKS, Move,
    STEP_FREQUENCY_HZ, STEPS_PER_MM, TRAVEL_SPEED, check_coordinate, check_density, job_header, planner, round,
};
use crate::puls::header::{LENS_TRAVEL_HALF_STEPS, LENS_TRAVEL_MM};
use crate::puls::{Code, Error, Header, Position, Result, Span, code, tick};

/// Where the lens has to be for a material: a line through the heights of captured prints, in half steps above where a
/// hunt leaves the lens. 2.54 mm of material had 8 and 12.7 mm had 30, which was never exceeded (measured on hardware).
const FOCUS_HALF_STEPS_AT_0: f64 = 1.3;
const FOCUS_HALF_STEPS_PER_MM: f64 = 2.63;
const MAX_FOCUS_HALF_STEPS: f64 = 30.0;
/// The thickest material: half an inch, as in the app.
const MAX_MATERIAL_MM: f64 = 12.7;

/// Builds a pulse file.
///
/// Coordinates are millimetres from the start of the job, +X to the right, +Y to the front. Each is rounded to the
/// nearest microstep (53.333 per millimetre), so that errors do not add up. Speeds follow a trapezoidal profile with at
/// most 700 mm/s2 in X and 590 mm/s2 in Y, or as [`Builder::acceleration`] sets; in a curve, these limits apply to
/// tangential and centripetal acceleration separately. An axis makes at most one step per tick: 187.5 mm/s at 10 kHz.
///
/// A made job is as the service sends it, as far as that is known: the header has all codes of a captured print, with
/// the fans of a cut, or those of a motion if the job never fires, or of a hunt if the head does not move either. A power
/// byte comes before the first tick that fires, and then about every 27000 ticks while it fires. The job ends dark. No
/// made job has been tried on hardware.
///
/// ```
/// use gf_emulator_core::puls::{Builder, CheckOptions, Job, Laser, Move, Power, check};
///
/// let laser = Laser::Print(Power::setting(40.0)?.density());
/// let corners = [(30.0, 20.0), (30.0, 30.0), (20.0, 30.0), (20.0, 20.0)];
/// let square = corners.map(|(x_mm, y_mm)| Move::new(x_mm, y_mm, 50.0, laser));
///
/// let mut job = Builder::new();
/// job.focus(3.0)?.move_to(20.0, 20.0)?.path(&square)?.home()?;
///
/// assert!(check(Job::open(job.reader())?, &CheckOptions::default())?.findings.is_empty());
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    /// The header of the body so far.
    header: Header,
    /// The records set by the caller.
    set: Vec<(Code, u32)>,
    pub(super) step_frequency_hz: u32,
    pub(super) acceleration: [f64; 2],
    pub(super) travel_speed_mm_s: f64,
    pub(super) body: Vec<u8>,
    pub(super) position: Position,
    pub(super) power: PowerBytes,
    /// Whether the head has moved.
    pub(super) moves: bool,
    /// The lens positions so far.
    pub(super) lens: Span,
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

    /// Creates an empty job for any machine, at a rate in [`MADE_FREQUENCIES_HZ`]. The machine's own travel uses 28160
    /// ticks per second (read from captured jobs).
    ///
    /// # Errors
    /// [`Error::Make`] outside that range.
    pub fn with_step_frequency(step_frequency_hz: u32) -> Result<Self> {
        if MADE_FREQUENCIES_HZ.contains(&step_frequency_hz) {
            Ok(Self::at_frequency(step_frequency_hz))
        } else {
            Err(Error::Make { what: "step frequency", value: step_frequency_hz.into(), expected: "1000 to 100000 Hz" })
        }
    }

    fn at_frequency(step_frequency_hz: u32) -> Self {
        let set = vec![(code::STEP_FREQUENCY, step_frequency_hz)];
        Self {
            header: job_header::header(Kind::Hunt, &set),
            set,
            step_frequency_hz,
            acceleration: ACCELERATION,
            travel_speed_mm_s: TRAVEL_SPEED,
            body: Vec::new(),
            position: Position::default(),
            power: PowerBytes::default(),
            moves: false,
            lens: Span::default(),
        }
    }

    /// Sets a header record, such as [`code::SERIAL_LOCK`] to lock the job to one machine. [`code::Z_MODE`] sets the
    /// length of the lens steps that follow: full steps at first, half steps at 1. No other record affects how the body
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
        self.set.push((code, value));
        Ok(self)
    }

    /// Changes the header to that of the job so far: a hunt, a motion once the head has moved, or a print once the
    /// laser has fired.
    pub(super) fn update_header(&mut self) {
        let kind = match (self.power.any(), self.moves) {
            (true, _) => Kind::Print,
            (false, true) => Kind::Motion,
            (false, false) => Kind::Hunt,
        };
        self.header = job_header::header(kind, &self.set);
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
    /// [`Error::Make`] if a coordinate exceeds [`MAX_COORDINATE_MM`](crate::puls::MAX_COORDINATE_MM), or the job gets
    /// longer than [`MAX_TICKS`].
    pub fn move_to(&mut self, x_mm: f64, y_mm: f64) -> Result<&mut Self> {
        self.path(&[Move::new(x_mm, y_mm, self.travel_speed_mm_s, Laser::Off)])
    }

    /// Cuts to a position with [`Laser::Constant`], from rest to rest.
    ///
    /// # Errors
    /// [`Error::Make`] as for [`Builder::move_to`], if the speed is not above 0, or if the density is not 0 to 1.
    pub fn cut_to(&mut self, x_mm: f64, y_mm: f64, speed_mm_s: f64, fire_density: f64) -> Result<&mut Self> {
        self.path(&[Move::new(x_mm, y_mm, speed_mm_s, Laser::Constant(fire_density))])
    }

    /// Adds consecutive moves as one path, from rest to rest. The head slows down for corners only, as GRBL does with a
    /// junction deviation of 0.01 mm; a change of the laser does not slow it down and happens in the exact tick. Moves
    /// without length are dropped.
    ///
    /// # Errors
    /// [`Error::Make`] if a coordinate exceeds [`MAX_COORDINATE_MM`](crate::puls::MAX_COORDINATE_MM), a speed is not
    /// above 0, a density is not 0 to 1, or the job gets longer than [`MAX_TICKS`]. The job is unchanged then.
    pub fn path(&mut self, moves: &[Move]) -> Result<&mut Self> {
        self.path_with(moves, &mut Dither::default())
    }

    /// Adds a path as [`path`](Self::path) does, with the remainder of the dither from the path before it.
    pub(in crate::puls) fn path_with(&mut self, moves: &[Move], dither: &mut Dither) -> Result<&mut Self> {
        for &Move { x_mm, y_mm, speed_mm_s, laser } in moves {
            check_coordinate(x_mm)?;
            check_coordinate(y_mm)?;
            if !(speed_mm_s > 0.0 && speed_mm_s.is_finite()) {
                return Err(Error::Make { what: "speed", value: speed_mm_s, expected: "a number of mm/s above 0" });
            }
            if let Laser::Constant(density) | Laser::Dynamic(density) | Laser::Print(density) = laser {
                check_density(density)?;
            }
        }
        let Some(last) = moves.last() else { return Ok(self) };
        let steps = |to: &Move| [round(to.x_mm * STEPS_PER_MM), round(to.y_mm * STEPS_PER_MM)];
        let (start, end) = ([self.position.x, self.position.y], steps(last));
        // A path without a step takes no time, so that the laser cannot fire at rest.
        if moves.iter().any(|to| steps(to) != start) {
            let hz = f64::from(self.step_frequency_hz);
            let limits = planner::Limits {
                acceleration: self.acceleration,
                axis_mm_s: hz / STEPS_PER_MM,
                head_mm_s: self.travel_speed_mm_s.max(TRAVEL_SPEED),
            };
            // Only the ends are rounded to steps: rounding the corners of a curve would make it rough.
            let mm = |steps: [i64; 2]| steps.map(|steps| steps as f64 / STEPS_PER_MM);
            let targets = moves.iter().map(|to| {
                let target = if steps(to) == end { mm(end) } else { [to.x_mm, to.y_mm] };
                (target, to.speed_mm_s)
            });
            let plan = planner::plan(mm(start), targets, &limits);
            let ticks = self.reserve(plan.iter().map(planner::PlannedMove::duration_s).sum::<f64>() * hz)?;
            let before = (self.power.any(), self.moves);
            self.moves = true;
            let generator = StepGenerator { moves, plan: &plan, hz, power: &mut self.power, dither };
            self.position = generator.generate(ticks, self.position, end, &mut self.body);
            if (self.power.any(), self.moves) != before {
                self.update_header();
            }
        }
        Ok(self)
    }

    /// Moves the lens to a height in mm above its start, with the head at rest and the laser off. The height is rounded
    /// to the nearest step: 0.684 mm, or 0.342 mm in half-step mode. The lens makes 8 full or 16 half steps per second.
    ///
    /// # Errors
    /// [`Error::Make`] if the height is not from [`MIN_LENS_MM`](crate::puls::MIN_LENS_MM) to
    /// [`MAX_LENS_MM`](crate::puls::MAX_LENS_MM), or farther than the travel of the lens, 12.32 mm, from an earlier
    /// height in this job, or if the job gets longer than [`MAX_TICKS`].
    pub fn lens_to(&mut self, z_mm: f64) -> Result<&mut Self> {
        let Some(lens) = self.lens_span(z_mm) else {
            let expected =
                "a number of mm from -3.42 to 10.27, and no farther than 12.32 from any other height in the job";
            return Err(Error::Make { what: "lens height", value: z_mm, expected });
        };
        let half_steps = self.header.lens_half_steps();
        let z = round(z_mm / self.header.z_mm(1));
        let ticks_per_step = (self.step_frequency_hz * half_steps / LENS_HALF_STEPS_PER_S) as usize;
        let steps = z.abs_diff(self.position.z);
        self.reserve(steps as f64 * ticks_per_step as f64)?;
        let step = if z > self.position.z { tick::Z_STEP | tick::Z_POSITIVE } else { tick::Z_STEP };
        for _ in 0..steps {
            self.body.resize(self.body.len() + ticks_per_step - 1, 0);
            self.body.push(step);
        }
        self.lens = lens;
        self.position.z = z;
        Ok(self)
    }

    /// Returns the lens positions of the job with this height. `None` if they are farther apart than the lens can move.
    pub(super) fn lens_span(&self, z_mm: f64) -> Option<Span> {
        if !(-LENS_TRAVEL_MM..=LENS_TRAVEL_MM).contains(&z_mm) {
            return None;
        }
        let half_steps = self.header.lens_half_steps();
        let mut lens = self.lens;
        let z = round(z_mm / self.header.z_mm(1));
        lens.include(z);
        let reaches = LENS_HALF_STEPS.contains(&(z * i64::from(half_steps)));
        let travel = u64::from(LENS_TRAVEL_HALF_STEPS / half_steps);
        (reaches && lens.steps() <= travel).then_some(lens)
    }

    /// Moves the lens so that it focuses on the surface of a material of that thickness: by 2.63 half steps per mm and
    /// 1.3 more, at most 30, rounded to full steps. That is where captured prints had it (measured on hardware). The lens
    /// starts where the hunt before a print leaves it.
    ///
    /// # Errors
    /// [`Error::Make`] if the thickness is not 0 to 12.7 mm, or the job gets longer than [`MAX_TICKS`].
    pub fn focus(&mut self, material_mm: f64) -> Result<&mut Self> {
        if !(0.0..=MAX_MATERIAL_MM).contains(&material_mm) {
            return Err(Error::Make { what: "material thickness", value: material_mm, expected: "0 to 12.7 mm" });
        }
        let half_steps = (FOCUS_HALF_STEPS_PER_MM * material_mm + FOCUS_HALF_STEPS_AT_0).min(MAX_FOCUS_HALF_STEPS);
        let full_steps = (half_steps / 2.0).round();
        self.lens_to(full_steps * 2.0 / f64::from(self.header.lens_half_steps()) * self.header.z_mm(1))
    }

    /// Returns the head with the laser off, then the lens, to where the job began.
    ///
    /// # Errors
    /// [`Error::Make`] if the job gets longer than [`MAX_TICKS`].
    pub fn home(&mut self) -> Result<&mut Self> {
        self.move_to(0.0, 0.0)?.lens_to(0.0)
    }

    /// Sets the level of the power bytes, 0 to 127, from the next tick that fires. The default, 127, is that of all
    /// captured prints of firmware 2.6; [`Power`](super::Power) is the power as people set it.
    ///
    /// # Errors
    /// [`Error::Make`] for a level above 127.
    pub fn power_level(&mut self, level: u8) -> Result<&mut Self> {
        if level > tick::LEVEL {
            return Err(Error::Make { what: "power level", value: level.into(), expected: "0 to 127" });
        }
        self.power.set_level(level);
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
        let had_power = self.power.any();
        let mut dither = Dither::default();
        for _ in 0..ticks {
            let fires = dither.advance(fire_density);
            if fires && let Some(power) = self.power.due(&self.body) {
                dither.postpone();
                self.body.push(power);
            } else {
                self.body.push(if fires { tick::FIRE } else { 0 });
            }
        }
        if self.power.any() != had_power {
            self.update_header();
        }
        Ok(self)
    }

    /// Returns the header, which depends on whether the head moves and the laser fires in the body.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the body so far, one byte per tick.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns whether the laser fires somewhere in the body.
    #[must_use]
    pub fn fires(&self) -> bool {
        self.power.any()
    }

    /// Returns the position of the head and the lens, in steps from the start.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Returns the dark tick that ends a file whose last tick fires.
    fn ending(&self) -> &'static [u8] {
        let fires = self.body.last().is_some_and(|byte| byte & (tick::POWER | tick::FIRE) == tick::FIRE);
        if fires { &[0] } else { &[] }
    }

    /// Returns the file: the header, the body, and a dark tick if the body ends with one that fires.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.header.encode().as_slice(), &self.body, self.ending()].concat()
    }

    /// Returns a reader of the file that [`to_bytes`](Self::to_bytes) returns, without a copy of the body.
    #[must_use]
    pub fn reader(&self) -> impl Read + '_ {
        io::Cursor::new(self.header.encode()).chain(&self.body[..]).chain(self.ending())
    }

    /// Returns the file as [`to_bytes`](Self::to_bytes) does, gzip-compressed.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "writing to a Vec does not fail")]
    pub fn to_gzip(&self) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        self.write_to(&mut gzip).and_then(|()| gzip.finish()).expect("writing to memory does not fail")
    }

    /// Writes the file that [`to_bytes`](Self::to_bytes) returns.
    ///
    /// # Errors
    /// Those of `writer`.
    pub fn write_to(&self, writer: &mut impl Write) -> io::Result<()> {
        writer.write_all(&self.header.encode())?;
        writer.write_all(&self.body)?;
        writer.write_all(self.ending())
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
