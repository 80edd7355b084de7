//! G-code for a laser with a GRBL controller, as [`export`](super::super::export) and laser cutter programs write it.
//!
//! | word | effect |
//! |---|---|
//! | `G0` | travels with the laser off, at the job's travel speed |
//! | `G1` `G2` `G3` | moves straight, clockwise or counterclockwise (around the centre `I` `J`, or with radius `R`) at `F` |
//! | `G4 P` | dwells for `P` seconds; under `M3` the laser fires |
//! | `G17` `G94` `G91.1` | accepted, always in force: arcs in XY, `F` per minute, arc centres relative to the arc's start |
//! | `G20` `G21` | inches, millimetres (default) |
//! | `G90` `G91` | absolute coordinates (default), relative coordinates |
//! | `M3` `M4` `M5` | laser on with constant density, laser on with constant dose ([`Laser::Dynamic`]), laser off (default) |
//! | `S` | the density, from 0 to [`Settings::s_max`]; 0 is off |
//! | `F` | the speed in mm or inches per minute |
//! | `X` `Y` `Z` | the target; Z is the lens |
//! | `M2` `M30` | the end of the program; nothing after it is read |
//! | `G40` `G49` `G54` `G80` `M7` `M8` `M9`, `N` | ignored |
//!
//! Motion modes are modal. Letters may be lowercase and spaces omitted; `( )` and `;` are comments; a line that starts
//! with `%` is ignored. Anything else is an error with a position.
//!
//! Consecutive moves form one path ([`Builder::path`]). The head comes to rest for a dwell, when the laser mode
//! changes, and when the lens moves; the lens moves before the head, with the laser off. Coordinates are the machine's:
//! mm from the start of the job, X to the right, Y to the front. [`Placement`] changes that.

use std::f64::consts::TAU;

use super::super::make::MAX_LENS_MM;
use super::super::{Builder, Error, Laser, Result};
use super::gcode_words::{Word, Words};
use super::text_position::{TextPosition, quoted};
use super::{MoveQueue, Placement, TOLERANCE_MM, check_length};

/// How G-code is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Where the drawing is placed.
    pub placement: Placement,
    /// The `S` at which the laser fires in every tick: GRBL's `$30`, 1000 by default.
    pub s_max: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { placement: Placement::default(), s_max: 1000.0 }
    }
}

/// Adds G-code to a job. Comments may be in any encoding.
///
/// ```
/// use gf_emulator_core::puls::{Builder, gcode};
///
/// let mut job = Builder::new();
/// gcode::draw(&mut job, b"G0 X10 Y10\nM4 S430 F1200\nG1 X20\nG2 Y20 J5", &gcode::Settings::default())?;
/// assert_eq!((job.position().x, job.position().y), (1067, 1067));
///
/// let error = gcode::draw(&mut job, b"G0 X10\nG5 X20", &gcode::Settings::default()).unwrap_err();
/// assert!(error.to_string().starts_with("line 2, column 1: \"G5\", expected G0 G1 G2 G3"));
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
///
/// # Errors
/// The job is unchanged after an error.
/// - [`Error::Drawing`] if a word is unknown or malformed, or leaves the machine's range.
/// - [`Error::Make`] if the job gets too long, the text is longer than
///   [`MAX_DRAWING_BYTES`](super::super::MAX_DRAWING_BYTES), or `s_max` or the placement is out of range.
pub fn draw(job: &mut Builder, gcode: &[u8], settings: &Settings) -> Result<()> {
    check_length(gcode)?;
    let s_max = settings.s_max;
    if !(s_max > 0.0 && s_max.is_finite()) {
        return Err(Error::Make { what: "a maximum S of", value: s_max, expected: "a number above 0" });
    }
    let lens_mm = job.lens_mm();
    let mut controller = Controller {
        queue: MoveQueue::new(job, settings.placement)?,
        s_max,
        at: [0.0, 0.0, lens_mm],
        motion: MotionMode::Travel,
        mm_per_unit: 1.0,
        is_relative: false,
        laser: LaserMode::Off,
        s: 0.0,
        feed_mm_s: None,
    };
    let result = controller.run(gcode);
    controller.queue.finish(result)
}

const KNOWN_CODES: &str = "G0 G1 G2 G3 G4 G17 G20 G21 G90 G91 G91.1 G94 or M2 M3 M4 M5 M30, \
                           or G40 G49 G54 G80 M7 M8 M9, which have no effect";

#[derive(Debug, Clone, Copy, PartialEq)]
enum MotionMode {
    Travel,
    Straight,
    Clockwise,
    Counterclockwise,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum LaserMode {
    Off,
    Constant,
    Dynamic,
}

/// What one line sets.
#[derive(Default)]
struct Block<'a> {
    motion: Option<MotionMode>,
    laser: Option<LaserMode>,
    dwell: Option<Word<'a>>,
    /// Words other than G and M, by letter.
    words: [Option<Word<'a>>; 26],
    ends_program: bool,
}

impl<'a> Block<'a> {
    fn word(&self, letter: u8) -> Option<&Word<'a>> {
        self.words[usize::from(letter - b'A')].as_ref()
    }

    fn number(&self, letter: u8) -> Option<f64> {
        self.word(letter).map(|word| word.number)
    }

    fn add(&mut self, word: Word<'a>) -> Result<()> {
        if !b"FIJNPRSXYZ".contains(&word.letter) {
            return Err(unknown(&word));
        }
        if self.word(word.letter).is_some() {
            return Err(word.position.error(quoted(word.text), "each letter except G and M once per line"));
        }
        self.words[usize::from(word.letter - b'A')] = Some(word);
        Ok(())
    }

    /// Returns the word of the first of those letters that the line has.
    fn first(&self, letters: &[u8]) -> Option<&Word<'a>> {
        letters.iter().find_map(|&letter| self.word(letter))
    }
}

fn unknown(word: &Word<'_>) -> Error {
    let expected = match word.letter {
        b'G' | b'M' => KNOWN_CODES,
        _ => "one of the letters G M X Y Z I J R F S P N",
    };
    word.position.error(quoted(word.text), expected)
}

/// A controller and its modal state.
struct Controller<'a> {
    queue: MoveQueue<'a>,
    s_max: f64,
    /// Head and lens, in mm of the drawing.
    at: [f64; 3],
    motion: MotionMode,
    mm_per_unit: f64,
    is_relative: bool,
    laser: LaserMode,
    s: f64,
    feed_mm_s: Option<f64>,
}

impl Controller<'_> {
    fn run(&mut self, gcode: &[u8]) -> Result<()> {
        // The drawing's origin.
        self.queue.travel_to([0.0; 2])?;
        for (line, number) in gcode.split(|&byte| byte == b'\n').zip(1..) {
            let mut block = Block::default();
            for word in Words::new(line, number) {
                self.read(&word?, &mut block)?;
            }
            self.execute(&block).map_err(|error| TextPosition { line: number, column: 1 }.locate(error))?;
            if block.ends_program {
                break;
            }
        }
        Ok(())
    }

    /// Reads a word. Units and coordinate modes take effect immediately.
    fn read<'w>(&mut self, word: &Word<'w>, block: &mut Block<'w>) -> Result<()> {
        // Codes have at most one decimal.
        let tenths = word.number * 10.0;
        #[expect(clippy::cast_possible_truncation, reason = "saturates at a value that is no code")]
        let code = if tenths.fract() == 0.0 { tenths as i64 } else { -1 };
        let mut set_motion = |motion| match block.motion.replace(motion) {
            None => Ok(()),
            Some(_) => Err(word.position.error(quoted(word.text), "one of G0 G1 G2 G3 per line")),
        };
        match (word.letter, code) {
            (b'G', 0) => set_motion(MotionMode::Travel)?,
            (b'G', 10) => set_motion(MotionMode::Straight)?,
            (b'G', 20) => set_motion(MotionMode::Clockwise)?,
            (b'G', 30) => set_motion(MotionMode::Counterclockwise)?,
            (b'G', 40) => block.dwell = Some(*word),
            (b'G', 200) => self.mm_per_unit = 25.4,
            (b'G', 210) => self.mm_per_unit = 1.0,
            (b'G', 900) => self.is_relative = false,
            (b'G', 910) => self.is_relative = true,
            (b'G', 170 | 400 | 490 | 540 | 800 | 911 | 940) | (b'M', 70 | 80 | 90) => {}
            (b'M', 20 | 300) => block.ends_program = true,
            (b'M', 30) => block.laser = Some(LaserMode::Constant),
            (b'M', 40) => block.laser = Some(LaserMode::Dynamic),
            (b'M', 50) => block.laser = Some(LaserMode::Off),
            (b'G' | b'M', _) => return Err(unknown(word)),
            _ => block.add(*word)?,
        }
        Ok(())
    }

    /// Executes a line: speed, laser, dwell and motion, in that order.
    fn execute(&mut self, block: &Block<'_>) -> Result<()> {
        if let Some(f) = block.word(b'F') {
            if f.number < 0.0 {
                return Err(f.position.error(quoted(f.text), "a speed of at least 0"));
            }
            self.feed_mm_s = Some(f.number * self.mm_per_unit / 60.0).filter(|&feed| feed > 0.0);
        }
        if let Some(s) = block.word(b'S') {
            if !(0.0..=self.s_max).contains(&s.number) {
                return Err(s.position.error(quoted(s.text), format!("S0 to S{}", self.s_max)));
            }
            self.s = s.number;
        }
        if let Some(laser) = block.laser.filter(|&laser| laser != self.laser) {
            self.queue.flush()?;
            self.laser = laser;
        }
        if let Some(motion) = block.motion {
            self.motion = motion;
        }
        let coordinates = block.first(b"XYZ");
        if let Some(dwell) = block.dwell {
            if let Some(word) = coordinates.or_else(|| block.first(b"IJR")) {
                return Err(word.position.error(quoted(word.text), "no motion on a line with G4"));
            }
            return self.dwell(&dwell, block);
        }
        if let Some(p) = block.word(b'P') {
            return Err(p.position.error(quoted(p.text), "P only on a line with G4"));
        }
        let arc = match self.motion {
            MotionMode::Travel | MotionMode::Straight => None,
            MotionMode::Clockwise => Some(-1.0),
            MotionMode::Counterclockwise => Some(1.0),
        };
        let centre = block.first(b"IJR");
        match (arc, centre, coordinates) {
            (None, Some(word), _) => Err(word.position.error(quoted(word.text), "I, J and R only with G2 or G3")),
            (None, None, Some(word)) => self.straight(block, word),
            (Some(turn), Some(word), _) | (Some(turn), None, Some(word)) => self.arc(turn, block, word),
            (_, None, None) => Ok(()),
        }
    }

    fn dwell(&mut self, dwell: &Word<'_>, block: &Block<'_>) -> Result<()> {
        let Some(p) = block.word(b'P') else {
            return Err(dwell.position.error(quoted(dwell.text), "P with a number of seconds"));
        };
        if p.number < 0.0 {
            return Err(p.position.error(quoted(p.text), "a number of seconds, at least 0"));
        }
        self.queue.flush()?;
        let density = if self.laser == LaserMode::Constant { self.s / self.s_max } else { 0.0 };
        self.queue.job.fire(p.number, density).map(drop)
    }

    /// Returns the target of a line, in mm of the drawing.
    fn target(&self, block: &Block<'_>) -> [f64; 3] {
        let [x, y, z] = self.at;
        [(x, b'X'), (y, b'Y'), (z, b'Z')].map(|(at, letter)| match block.number(letter) {
            None => at,
            Some(number) if self.is_relative => at + number * self.mm_per_unit,
            Some(number) => number * self.mm_per_unit,
        })
    }

    fn laser_during_move(&self) -> Laser {
        let density = self.s / self.s_max;
        match self.laser {
            LaserMode::Constant if density > 0.0 => Laser::Constant(density),
            LaserMode::Dynamic if density > 0.0 => Laser::Dynamic(density),
            _ => Laser::Off,
        }
    }

    fn feed(&self, word: &Word<'_>) -> Result<f64> {
        self.feed_mm_s
            .ok_or_else(|| word.position.error(quoted(word.text), "an F above 0 in this line or one before it"))
    }

    #[expect(clippy::float_cmp, reason = "a lens that does not move keeps exactly the same value")]
    fn straight(&mut self, block: &Block<'_>, word: &Word<'_>) -> Result<()> {
        let [x, y, z] = self.target(block);
        let speed_mm_s = if self.motion == MotionMode::Travel { None } else { Some(self.feed(word)?) };
        if let Some(word) = block.word(b'Z').filter(|_| z != self.at[2]) {
            if !(-MAX_LENS_MM..=MAX_LENS_MM).contains(&z) {
                return Err(word.position.error(quoted(word.text), "a lens height from -50 to 50 mm"));
            }
            self.queue.flush()?;
            self.queue.job.lens_to(z)?;
        }
        if let Some(word) = block.first(b"XY") {
            match speed_mm_s {
                None => self.queue.travel_to([x, y]),
                Some(speed_mm_s) => self.queue.line_to([x, y], speed_mm_s, self.laser_during_move()),
            }
            .map_err(|error| word.position.locate(error))?;
        }
        self.at = [x, y, z];
        Ok(())
    }

    fn arc(&mut self, turn: f64, block: &Block<'_>, word: &Word<'_>) -> Result<()> {
        if let Some(z) = block.word(b'Z') {
            return Err(z.position.error(quoted(z.text), "an arc without Z"));
        }
        let speed_mm_s = self.feed(word)?;
        let [x, y, _] = self.target(block);
        let from = [self.at[0], self.at[1]];
        let [dx, dy] = [x - from[0], y - from[1]];
        let centre = match (block.word(b'R'), block.first(b"IJ")) {
            (Some(r), Some(_)) => return Err(r.position.error(quoted(r.text), "either R or I and J")),
            (None, None) => return Err(word.position.error(quoted(word.text), "I, J or R for the arc")),
            (None, Some(_)) => [b'I', b'J'].map(|letter| block.number(letter).unwrap_or_default() * self.mm_per_unit),
            (Some(r), None) => centre_from_radius([dx, dy], r.number * self.mm_per_unit, turn).ok_or_else(|| {
                r.position.error(quoted(r.text), "an R of at least half the distance from start to end")
            })?,
        };
        let arc = Arc::new(centre, [dx, dy], turn).ok_or_else(|| {
            word.position
                .error("an arc whose start and end have different distances from its centre", "the same radius")
        })?;
        let laser = self.laser_during_move();
        let chords = arc.chords().map(|[x, y]| [from[0] + x, from[1] + y]);
        for to in chords.chain([[x, y]]) {
            self.queue.line_to(to, speed_mm_s, laser).map_err(|error| word.position.locate(error))?;
        }
        (self.at[0], self.at[1]) = (x, y);
        Ok(())
    }
}

/// Returns the centre of an arc from the origin to a position. A negative radius selects the longer arc.
fn centre_from_radius([x, y]: [f64; 2], radius: f64, turn: f64) -> Option<[f64; 2]> {
    let chord = x.hypot(y);
    let half = chord / 2.0;
    // The radius of a half circle may have been rounded down.
    let height = if half <= radius.abs() {
        (radius * radius - half * half).sqrt()
    } else if half <= radius.abs() + 0.005 {
        0.0
    } else {
        return None;
    };
    let side = if (radius < 0.0) == (turn < 0.0) { height } else { -height };
    (chord > 0.0).then(|| [x / 2.0 - y / chord * side, y / 2.0 + x / chord * side])
}

/// An arc that starts at the origin.
struct Arc {
    centre: [f64; 2],
    from_angle: f64,
    sweep: f64,
    from_radius: f64,
    to_radius: f64,
}

impl Arc {
    /// Creates an arc around a centre to a position, which is a full circle if that is the origin. The radius may
    /// change along the arc by what GRBL tolerates: 0.005 mm, or 0.1 % up to 0.5 mm.
    fn new([i, j]: [f64; 2], [x, y]: [f64; 2], turn: f64) -> Option<Self> {
        let (from_radius, to_radius) = (i.hypot(j), (x - i).hypot(y - j));
        let difference = (from_radius - to_radius).abs();
        if from_radius <= 0.0 || difference > (from_radius / 1000.0).clamp(0.005, 0.5) {
            return None;
        }
        let from_angle = (-j).atan2(-i);
        let sweep = ((y - j).atan2(x - i) - from_angle) * turn;
        let sweep = sweep.rem_euclid(TAU);
        let is_closed = x.hypot(y) < 1e-6;
        let sweep = if is_closed { TAU } else { sweep } * turn;
        Some(Self { centre: [i, j], from_angle, sweep, from_radius, to_radius })
    }

    /// Returns the corners of its chords, without start and end.
    fn chords(&self) -> impl Iterator<Item = [f64; 2]> {
        let radius = self.from_radius.max(self.to_radius);
        let part = 2.0 * (1.0 - TOLERANCE_MM / radius).clamp(0.0, 1.0).acos();
        // At most a quarter turn, so that a tiny circle is still drawn.
        let part = part.clamp(1e-5, TAU / 4.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a few hundred thousand")]
        let parts = (self.sweep.abs() / part).ceil() as u32;
        (1..parts).map(move |n| {
            let way = f64::from(n) / f64::from(parts);
            let angle = self.from_angle + self.sweep * way;
            let radius = self.from_radius + (self.to_radius - self.from_radius) * way;
            [self.centre[0] + radius * angle.cos(), self.centre[1] + radius * angle.sin()]
        })
    }
}
