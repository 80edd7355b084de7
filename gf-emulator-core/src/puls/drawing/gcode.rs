//! G-code for a laser with a GRBL controller, as this crate's own export and programs for laser cutters write it.
//!
//! | word | what it does |
//! |---|---|
//! | `G0` | travels, laser off, at the job's travel speed |
//! | `G1` `G2` `G3` | goes straight, clockwise or counterclockwise (to the centre with `I` `J`, or with radius `R`) at `F` |
//! | `G4 P` | stands still for so many seconds; under `M3` the laser fires |
//! | `G17` `G94` `G91.1` | what holds anyway: arcs in XY, `F` a minute, centres counted from where an arc begins |
//! | `G20` `G21` | inches, millimetres (which is what holds at first) |
//! | `G90` `G91` | coordinates count from the origin (at first), or from where the head is |
//! | `M3` `M4` `M5` | laser on with constant density, with constant dose ([`Laser::Dynamic`]), off (at first) |
//! | `S` | the density, from 0 to [`Settings::s_max`]; 0 is off |
//! | `F` | the speed in mm or inches a minute |
//! | `X` `Y` `Z` | where to; Z is the lens |
//! | `M2` `M30` | the end: nothing behind it is read |
//! | `G40` `G49` `G54` `G80` `M7` `M8` `M9`, `N` | passed over |
//!
//! Motion stays in force from line to line. Letters may be small, spaces left out, `( )` and `;` are comments, a line that
//! begins with `%` is none. Anything else is an error that says where.
//!
//! Moves one behind the other are one path ([`Builder::path`]): the head comes to rest where it is told to dwell, where the
//! laser's mode changes, and where the lens moves, which it does by itself, with the laser off and before the head.
//! Coordinates are the machine's own, mm from where the job begins, X to the right, Y to the front; [`Placement`] can have
//! it otherwise.

use std::f64::consts::TAU;

use super::super::make::MAX_LENS_MM;
use super::super::{Builder, Error, Laser, Result};
use super::place::{Place, quoted};
use super::words::{Word, Words};
use super::{Placement, Route, TOLERANCE_MM, check_length};

/// How G-code is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Where it lies.
    pub placement: Placement,
    /// The `S` for a laser that fires in every tick: GRBL's `$30`, 1000 unless it is told otherwise.
    pub s_max: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { placement: Placement::default(), s_max: 1000.0 }
    }
}

/// Adds to a job what G-code says. Text other than ASCII may stand in comments, in any encoding.
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
/// [`Error::Drawing`] where something is not understood or off the machine,
/// [`Error::Make`] where the job becomes too long, the text is longer than
/// [`MAX_DRAWING_BYTES`](super::super::MAX_DRAWING_BYTES), or `s_max` is no number above 0. The job is unchanged then.
pub fn draw(job: &mut Builder, gcode: &[u8], settings: &Settings) -> Result<()> {
    check_length(gcode)?;
    let s_max = settings.s_max;
    if !(s_max > 0.0 && s_max.is_finite()) {
        let expected = "a number above 0";
        return Err(Error::Make { what: "an S for full density of", value: s_max, expected });
    }
    let lens_mm = job.lens_mm();
    let mut controller = Controller {
        route: Route::new(job, settings.placement)?,
        s_max,
        at: [0.0, 0.0, lens_mm],
        motion: Motion::Travel,
        mm: 1.0,
        is_relative: false,
        mode: Mode::Off,
        s: 0.0,
        feed_mm_s: None,
    };
    let result = controller.run(gcode);
    controller.route.end(result)
}

const UNDERSTOOD: &str = "G0 G1 G2 G3 G4 G17 G20 G21 G90 G91 G91.1 G94 or M2 M3 M4 M5 M30, or G40 G49 G54 G80 M7 M8 M9, \
                          which do nothing here";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Motion {
    Travel,
    Straight,
    Clockwise,
    Counterclockwise,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Off,
    Constant,
    Dynamic,
}

/// What a line asks for once, each with where it does.
#[derive(Default)]
struct Block<'a> {
    motion: Option<Motion>,
    mode: Option<Mode>,
    dwell: Option<Word<'a>>,
    /// The words that are no codes, by letter.
    words: [Option<Word<'a>>; 26],
    ends: bool,
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
            return Err(word.place.error(quoted(word.text), "each letter but G and M once in a line"));
        }
        self.words[usize::from(word.letter - b'A')] = Some(word);
        Ok(())
    }

    /// The first of those letters that is there.
    fn first(&self, letters: &[u8]) -> Option<&Word<'a>> {
        letters.iter().find_map(|&letter| self.word(letter))
    }
}

fn unknown(word: &Word<'_>) -> Error {
    let expected = match word.letter {
        b'G' | b'M' => UNDERSTOOD,
        _ => "one of the letters G M X Y Z I J R F S P N",
    };
    word.place.error(quoted(word.text), expected)
}

/// A controller with its state.
struct Controller<'a> {
    route: Route<'a>,
    s_max: f64,
    /// Where the head and the lens are, in the drawing's mm.
    at: [f64; 3],
    motion: Motion,
    /// How many mm a unit has.
    mm: f64,
    is_relative: bool,
    mode: Mode,
    s: f64,
    feed_mm_s: Option<f64>,
}

impl Controller<'_> {
    fn run(&mut self, gcode: &[u8]) -> Result<()> {
        // Where the drawing counts from.
        self.route.travel_to([0.0; 2])?;
        for (line, number) in gcode.split(|&byte| byte == b'\n').zip(1..) {
            let mut block = Block::default();
            for word in Words::new(line, number) {
                self.read(&word?, &mut block)?;
            }
            self.execute(&block).map_err(|error| Place { line: number, column: 1 }.of(error))?;
            if block.ends {
                break;
            }
        }
        Ok(())
    }

    /// Takes in a word. What changes how other words of the line are meant takes effect at once.
    fn read<'w>(&mut self, word: &Word<'w>, block: &mut Block<'w>) -> Result<()> {
        // A number with more than a place behind the point is no code.
        let tenths = word.number * 10.0;
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is no code then")]
        let code = if tenths.fract() == 0.0 { tenths as i64 } else { -1 };
        let mut once = |motion| match block.motion.replace(motion) {
            None => Ok(()),
            Some(_) => Err(word.place.error(quoted(word.text), "one of G0 G1 G2 G3 in a line")),
        };
        match (word.letter, code) {
            (b'G', 0) => once(Motion::Travel)?,
            (b'G', 10) => once(Motion::Straight)?,
            (b'G', 20) => once(Motion::Clockwise)?,
            (b'G', 30) => once(Motion::Counterclockwise)?,
            (b'G', 40) => block.dwell = Some(*word),
            (b'G', 200) => self.mm = 25.4,
            (b'G', 210) => self.mm = 1.0,
            (b'G', 900) => self.is_relative = false,
            (b'G', 910) => self.is_relative = true,
            (b'G', 170 | 400 | 490 | 540 | 800 | 911 | 940) | (b'M', 70 | 80 | 90) => {}
            (b'M', 20 | 300) => block.ends = true,
            (b'M', 30) => block.mode = Some(Mode::Constant),
            (b'M', 40) => block.mode = Some(Mode::Dynamic),
            (b'M', 50) => block.mode = Some(Mode::Off),
            (b'G' | b'M', _) => return Err(unknown(word)),
            _ => block.add(*word)?,
        }
        Ok(())
    }

    /// Does what a line says: speed, laser, dwell, motion, in that order.
    fn execute(&mut self, block: &Block<'_>) -> Result<()> {
        if let Some(f) = block.word(b'F') {
            if f.number < 0.0 {
                return Err(f.place.error(quoted(f.text), "a speed from 0 up"));
            }
            self.feed_mm_s = Some(f.number * self.mm / 60.0).filter(|&feed| feed > 0.0);
        }
        if let Some(s) = block.word(b'S') {
            if !(0.0..=self.s_max).contains(&s.number) {
                return Err(s.place.error(quoted(s.text), format!("S0 to S{}", self.s_max)));
            }
            self.s = s.number;
        }
        if let Some(mode) = block.mode.filter(|&mode| mode != self.mode) {
            self.route.stop()?;
            self.mode = mode;
        }
        if let Some(motion) = block.motion {
            self.motion = motion;
        }
        let coordinates = block.first(b"XYZ");
        if let Some(dwell) = block.dwell {
            if let Some(word) = coordinates.or_else(|| block.first(b"IJR")) {
                return Err(word.place.error(quoted(word.text), "no motion in a line with G4"));
            }
            return self.dwell(&dwell, block);
        }
        if let Some(p) = block.word(b'P') {
            return Err(p.place.error(quoted(p.text), "P only in a line with G4"));
        }
        let arc = match self.motion {
            Motion::Travel | Motion::Straight => None,
            Motion::Clockwise => Some(-1.0),
            Motion::Counterclockwise => Some(1.0),
        };
        let centre = block.first(b"IJR");
        match (arc, centre, coordinates) {
            (None, Some(word), _) => Err(word.place.error(quoted(word.text), "I J R only with G2 or G3")),
            (None, None, Some(word)) => self.straight(block, word),
            (Some(turn), Some(word), _) | (Some(turn), None, Some(word)) => self.arc(turn, block, word),
            (_, None, None) => Ok(()),
        }
    }

    fn dwell(&mut self, dwell: &Word<'_>, block: &Block<'_>) -> Result<()> {
        let Some(p) = block.word(b'P') else {
            return Err(dwell.place.error(quoted(dwell.text), "P with the seconds behind it"));
        };
        if p.number < 0.0 {
            return Err(p.place.error(quoted(p.text), "a number of seconds from 0 up"));
        }
        self.route.stop()?;
        let density = if self.mode == Mode::Constant { self.s / self.s_max } else { 0.0 };
        self.route.job.fire(p.number, density).map(drop)
    }

    /// Where the line goes, in the drawing's mm.
    fn target(&self, block: &Block<'_>) -> [f64; 3] {
        let [x, y, z] = self.at;
        [(x, b'X'), (y, b'Y'), (z, b'Z')].map(|(at, letter)| match block.number(letter) {
            None => at,
            Some(number) if self.is_relative => at + number * self.mm,
            Some(number) => number * self.mm,
        })
    }

    fn laser(&self) -> Laser {
        let density = self.s / self.s_max;
        match self.mode {
            Mode::Constant if density > 0.0 => Laser::Constant(density),
            Mode::Dynamic if density > 0.0 => Laser::Dynamic(density),
            _ => Laser::Off,
        }
    }

    fn feed(&self, word: &Word<'_>) -> Result<f64> {
        self.feed_mm_s.ok_or_else(|| word.place.error(quoted(word.text), "an F above 0 in this line or one before it"))
    }

    #[expect(clippy::float_cmp, reason = "a lens that stays where it is has the very same number")]
    fn straight(&mut self, block: &Block<'_>, word: &Word<'_>) -> Result<()> {
        let [x, y, z] = self.target(block);
        let speed_mm_s = if self.motion == Motion::Travel { None } else { Some(self.feed(word)?) };
        if let Some(word) = block.word(b'Z').filter(|_| z != self.at[2]) {
            if !(-MAX_LENS_MM..=MAX_LENS_MM).contains(&z) {
                return Err(word.place.error(quoted(word.text), "a lens height from -50 to 50 mm"));
            }
            self.route.stop()?;
            self.route.job.lens_to(z)?;
        }
        if let Some(word) = block.first(b"XY") {
            match speed_mm_s {
                None => self.route.travel_to([x, y]),
                Some(speed_mm_s) => self.route.line_to([x, y], speed_mm_s, self.laser()),
            }
            .map_err(|error| word.place.of(error))?;
        }
        self.at = [x, y, z];
        Ok(())
    }

    fn arc(&mut self, turn: f64, block: &Block<'_>, word: &Word<'_>) -> Result<()> {
        if let Some(z) = block.word(b'Z') {
            return Err(z.place.error(quoted(z.text), "an arc without Z"));
        }
        let speed_mm_s = self.feed(word)?;
        let [x, y, _] = self.target(block);
        let from = [self.at[0], self.at[1]];
        let [dx, dy] = [x - from[0], y - from[1]];
        let centre = match (block.word(b'R'), block.first(b"IJ")) {
            (Some(r), Some(_)) => return Err(r.place.error(quoted(r.text), "either R or I and J")),
            (None, None) => return Err(word.place.error(quoted(word.text), "I, J or R for the arc")),
            (None, Some(_)) => [b'I', b'J'].map(|letter| block.number(letter).unwrap_or_default() * self.mm),
            (Some(r), None) => centre_by_radius([dx, dy], r.number * self.mm, turn).ok_or_else(|| {
                r.place.error(quoted(r.text), "an R that reaches from the arc's beginning to its end")
            })?,
        };
        let arc = Arc::new(centre, [dx, dy], turn)
            .ok_or_else(|| word.place.error("an arc whose ends are not as far from its centre", "the same radius"))?;
        let laser = self.laser();
        let chords = arc.chords().map(|[x, y]| [from[0] + x, from[1] + y]);
        for to in chords.chain([[x, y]]) {
            self.route.line_to(to, speed_mm_s, laser).map_err(|error| word.place.of(error))?;
        }
        (self.at[0], self.at[1]) = (x, y);
        Ok(())
    }
}

/// The centre of an arc from the origin to a place; a radius below 0 is the longer way round.
fn centre_by_radius([x, y]: [f64; 2], radius: f64, turn: f64) -> Option<[f64; 2]> {
    let chord = x.hypot(y);
    let half = chord / 2.0;
    // A half circle's radius may be too short by what it was rounded to.
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

/// An arc that begins at the origin.
struct Arc {
    centre: [f64; 2],
    from_angle: f64,
    sweep: f64,
    from_radius: f64,
    to_radius: f64,
}

impl Arc {
    /// Around a centre to a place; a full circle where that is where it begins. The radius may change on the way by what
    /// GRBL allows: 0.005 mm, or a thousandth.
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

    /// Places on it, its ends left out, near enough to each other.
    fn chords(&self) -> impl Iterator<Item = [f64; 2]> {
        let radius = self.from_radius.max(self.to_radius);
        let part = 2.0 * (1.0 - TOLERANCE_MM / radius).clamp(0.0, 1.0).acos();
        // Never more than a quarter: a tiny circle is still one.
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
