//! What one line of G-code says.

use super::super::super::{Error, Result};
use super::super::text_position::{TextPosition, quoted};
use super::codes::{Action, Code, LaserMode, Motion, PAUSES, code};
use super::lines::Line;
use super::remarks::Remarks;
use super::words::{Word, Words};

const KNOWN_CODES: &str = "G0 G1 G2 G3 G4 G17 G20 G21 G90 G91 G92 or M2 M3 M4 M5 M30, or one of those that have no \
                           effect or are ignored, such as G40 G64 M0 M6 M8";
const MARLIN: &str = "M3 or M4 with S: M3 I is Marlin's inline mode; let the program write G-code for GRBL";
/// The `S` of `M106` at full power.
const FAN_S_MAX: f64 = 255.0;
pub(super) const NO_OTHER_AXES: &str = "the axes X Y Z only";
const MESSAGE: &str = "no text after a pause (M0, M1, M6, M60), which Marlin shows to a person: write it as a comment, in ( ) \
                       or after a semicolon";
const SETTINGS: &str = "lines with $ are settings and commands of a controller: ignored";

/// What the rest of a line is after a code.
enum Rest {
    Words,
    Ignored,
    /// It belongs to a fan. Whether that can be on.
    OfFan(bool),
}

/// What `M106` or `M107` sets, as Marlin reads them.
pub(super) struct Fan<'a> {
    pub(super) word: Word<'a>,
    /// From 0 to 1.
    pub(super) power: f64,
    /// Whether the line says how much.
    pub(super) has_s: bool,
    /// Whether it is another fan than the first one.
    pub(super) is_other: bool,
}

impl<'a> Fan<'a> {
    /// Reads the rest of its line.
    fn read(word: Word<'a>, can_be_on: bool, words: Words<'a>) -> Self {
        let mut fan = Self { word, power: f64::from(u8::from(can_be_on)), has_s: false, is_other: false };
        for word in words.filter_map(Result::ok) {
            match (word.letter, word.number) {
                (b'S', Some(s)) if can_be_on => (fan.power, fan.has_s) = ((s / FAN_S_MAX).clamp(0.0, 1.0), true),
                (b'P', Some(p)) => fan.is_other = p > 0.0,
                _ => {}
            }
        }
        fan
    }
}

/// What one line sets.
#[derive(Default)]
pub(super) struct Block<'a> {
    pub(super) motion: Option<Motion>,
    pub(super) laser: Option<LaserMode>,
    pub(super) action: Option<(Action, Word<'a>)>,
    pub(super) mm_per_unit: Option<f64>,
    pub(super) is_relative: Option<bool>,
    pub(super) has_absolute_centres: Option<bool>,
    pub(super) is_inverse_time: Option<bool>,
    pub(super) is_plane_xy: Option<bool>,
    pub(super) coordinate_system: Option<usize>,
    pub(super) is_in_machine_coordinates: bool,
    pub(super) tool_length_mm: Option<f64>,
    pub(super) ends_program: bool,
    pub(super) fan: Option<Fan<'a>>,
    /// Whether a code of the line, such as `G64`, has a `P` of its own.
    has_own_p: bool,
    /// Words other than G and M, by letter.
    words: [Option<Word<'a>>; 26],
}

impl<'a> Block<'a> {
    /// Reads a line.
    pub(super) fn read(line: Line<'a>, number: u64, remarks: &mut Remarks) -> Result<Self> {
        let mut block = Self::default();
        if line.text.starts_with(b"$") {
            if line.text.to_ascii_uppercase().starts_with(b"$J") {
                let position = TextPosition { line: number, column: line.indent as u64 + 1 };
                return Err(position.error(quoted(line.text), "moves with G0 or G1: $J jogs a controller"));
            }
            remarks.add(SETTINGS, number);
            return Ok(block);
        }
        match block.read_words(Words::new(line, number), number, remarks) {
            Err(_) if begins_with_pause(Words::new(line, number)) => {
                let position = TextPosition { line: number, column: line.indent as u64 + 1 };
                Err(position.error(quoted(line.text), MESSAGE))
            }
            result => result.map(|()| block),
        }
    }

    fn read_words(&mut self, mut words: Words<'a>, number: u64, remarks: &mut Remarks) -> Result<()> {
        while let Some(word) = words.next() {
            let word = word?;
            match word.letter {
                b'G' | b'M' => match self.set(word, number, remarks)? {
                    Rest::Words => {}
                    // Other words are arguments of a command that is ignored.
                    Rest::Ignored => break,
                    Rest::OfFan(can_be_on) => {
                        self.fan = Some(Fan::read(word, can_be_on, words));
                        break;
                    }
                },
                b'O' => match (word.number, words.next()) {
                    (Some(_), None) => {}
                    _ => return Err(word.error("a program without subprograms and loops (O words)")),
                },
                _ => self.add(word)?,
            }
        }
        self.check()
    }

    /// Applies a code. Returns what the rest of the line is.
    fn set(&mut self, word: Word<'a>, line: u64, remarks: &mut Remarks) -> Result<Rest> {
        match code(word.letter, word.value()?) {
            Some(Code::Motion(motion)) => {
                if self.motion.replace(motion).is_some() {
                    return Err(word.error("one of G0 G1 G2 G3 per line"));
                }
            }
            Some(Code::Action(action)) => {
                if self.action.replace((action, word)).is_some() {
                    return Err(word.error("one of G4 G10 G28 G30 G43.1 G92 M649 per line"));
                }
            }
            Some(Code::Laser(laser)) => self.laser = Some(laser),
            Some(Code::MmPerUnit(mm)) => self.mm_per_unit = Some(mm),
            Some(Code::Relative(is_relative)) => self.is_relative = Some(is_relative),
            Some(Code::AbsoluteCentres(absolute)) => self.has_absolute_centres = Some(absolute),
            Some(Code::InverseTime(is_inverse)) => self.is_inverse_time = Some(is_inverse),
            Some(Code::PlaneXy(is_xy)) => self.is_plane_xy = Some(is_xy),
            Some(Code::CoordinateSystem(system)) => self.coordinate_system = Some(system),
            Some(Code::MachineCoordinates) => self.is_in_machine_coordinates = true,
            Some(Code::ClearToolLength) => self.tool_length_mm = Some(0.0),
            Some(Code::EndOfProgram) => self.ends_program = true,
            Some(Code::Nothing) => self.has_own_p = true,
            Some(Code::Ignored(remark)) => {
                self.has_own_p = true;
                remarks.add(remark, line);
            }
            Some(Code::LineIgnored(remark)) => {
                remarks.add(remark, line);
                return Ok(Rest::Ignored);
            }
            Some(Code::Fan(can_be_on)) => return Ok(Rest::OfFan(can_be_on)),
            Some(Code::Refused(what, expected)) => {
                return Err(word.position.error(format!("{}, {what}", quoted(word.text)), expected));
            }
            None => return Err(word.error(KNOWN_CODES)),
        }
        Ok(Rest::Words)
    }

    fn add(&mut self, word: Word<'a>) -> Result<()> {
        match word.letter {
            b'B' | b'D' | b'F' | b'H'..=b'L' | b'N' | b'P'..=b'T' | b'X'..=b'Z' => {}
            b'E' => return Err(word.error("no E: numbers have no exponent, and a job has no extruder")),
            b'A' | b'C' | b'U' | b'V' | b'W' => return Err(word.error(NO_OTHER_AXES)),
            _ => return Err(word.error("one of the letters G M X Y Z I J R F S P N")),
        }
        if self.word(word.letter).is_some() {
            return Err(word.error("each letter except G and M once per line"));
        }
        self.words[usize::from(word.letter - b'A')] = Some(word);
        Ok(())
    }

    /// Checks what depends on the whole line.
    fn check(&mut self) -> Result<()> {
        // Marlin homes the axes that are named.
        let is_homing = matches!(self.action, Some((Action::GoToStored(_), _)));
        if let (Some(_), Some(i)) = (self.laser, self.word(b'I'))
            && (i.number.is_none() || self.first(b"XYJ").is_none())
        {
            return Err(i.error(MARLIN));
        }
        // Snapmaker's percentage beside the same power in S.
        self.has_own_p |= self.laser.is_some() && (self.word(b'S').is_some() || self.laser == Some(LaserMode::Off));
        for word in self.words.iter().flatten() {
            if !(is_homing && b"XYZ".contains(&word.letter)) {
                word.value()?;
            }
        }
        Ok(())
    }

    pub(super) fn word(&self, letter: u8) -> Option<&Word<'a>> {
        self.words[usize::from(letter - b'A')].as_ref()
    }

    pub(super) fn number(&self, letter: u8) -> Option<f64> {
        self.word(letter).and_then(|word| word.number)
    }

    /// Returns the word of the first of those letters that the line has.
    pub(super) fn first(&self, letters: &[u8]) -> Option<&Word<'a>> {
        letters.iter().find_map(|&letter| self.word(letter))
    }

    /// Returns whether only a Marlin with `M649` reads the line: it has that, or the firing mode and the diagnostics (`B0 D0`)
    /// beside a move.
    pub(super) fn sets_marlin_laser(&self) -> bool {
        matches!(self.action, Some((Action::SetMarlinLaser, _)))
            || self.word(b'B').is_some() && self.word(b'D').is_some()
    }

    /// Returns a word that nothing in a line without `G4` and `G10` takes.
    pub(super) fn unused(&self) -> Option<Error> {
        self.word(b'P').filter(|_| !self.has_own_p).map(|p| p.error("P only on a line with G4, or with M3 and S"))
    }
}

fn begins_with_pause(mut words: Words<'_>) -> bool {
    let Some(Ok(Word { letter, number: Some(number), .. })) = words.next() else { return false };
    code(letter, number) == Some(Code::Ignored(PAUSES))
}
