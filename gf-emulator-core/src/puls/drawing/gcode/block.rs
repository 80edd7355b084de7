//! What one line of G-code says.

use super::super::super::{Error, Result};
use super::super::text_position::{TextPosition, quoted};
use super::codes::{Action, Code, FAN, LaserMode, Motion, code};
use super::lines::Line;
use super::remarks::Remarks;
use super::words::{Word, Words};

const KNOWN_CODES: &str = "G0 G1 G2 G3 G4 G17 G20 G21 G90 G91 G92 or M2 M3 M4 M5 M30, or one of those that have no \
                           effect or are passed over, such as G40 G64 M0 M6 M8";
const MARLIN: &str = "M3 or M4 with S: M3 I is Marlin's inline mode; let the program write G-code for GRBL";
const SETTINGS: &str = "lines with $ are settings and commands of a controller: passed over";

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
    /// A fan that is switched on.
    pub(super) fan: Option<Word<'a>>,
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
        let mut words = Words::new(line, number);
        while let Some(word) = words.next() {
            let word = word?;
            match word.letter {
                b'G' | b'M' => {
                    if !block.set(word, number, remarks)? {
                        // Other words are arguments of a command that is passed over.
                        if block.fan.is_some() && words.any(|word| word.is_ok_and(|word| word.text == b"S0")) {
                            block.fan = None;
                        }
                        break;
                    }
                }
                b'O' => match (word.number, words.next()) {
                    (Some(_), None) => {}
                    _ => return Err(word.error("a program without subprograms and loops (O words)")),
                },
                _ => block.add(word)?,
            }
        }
        block.check()?;
        Ok(block)
    }

    /// Applies a code. Returns whether the rest of the line is to be read.
    fn set(&mut self, word: Word<'a>, line: u64, remarks: &mut Remarks) -> Result<bool> {
        match code(word.letter, word.value()?) {
            Some(Code::Motion(motion)) => {
                if self.motion.replace(motion).is_some() {
                    return Err(word.error("one of G0 G1 G2 G3 per line"));
                }
            }
            Some(Code::Action(action)) => {
                if self.action.replace((action, word)).is_some() {
                    return Err(word.error("one of G4 G10 G28 G30 G43.1 G92 per line"));
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
            Some(Code::PassedOver(remark)) => {
                self.has_own_p = true;
                remarks.add(remark, line);
            }
            Some(Code::LinePassedOver(remark)) => {
                remarks.add(remark, line);
                return Ok(false);
            }
            Some(Code::Fan) => {
                remarks.add(FAN, line);
                self.fan = Some(word);
                return Ok(false);
            }
            Some(Code::Refused(what, expected)) => {
                return Err(word.position.error(format!("{}, {what}", quoted(word.text)), expected));
            }
            None => return Err(word.error(KNOWN_CODES)),
        }
        Ok(true)
    }

    fn add(&mut self, word: Word<'a>) -> Result<()> {
        match word.letter {
            b'D' | b'F' | b'H'..=b'L' | b'N' | b'P'..=b'T' | b'X'..=b'Z' => {}
            b'E' => return Err(word.error("no E: numbers have no exponent, and a job has no extruder")),
            b'A' | b'B' | b'C' | b'U' | b'V' | b'W' => return Err(word.error("the axes X Y Z only")),
            _ => return Err(word.error("one of the letters G M X Y Z I J R F S P N")),
        }
        if self.word(word.letter).is_some() {
            return Err(word.error("each letter except G and M once per line"));
        }
        self.words[usize::from(word.letter - b'A')] = Some(word);
        Ok(())
    }

    /// Checks what depends on the whole line.
    fn check(&self) -> Result<()> {
        // Marlin homes the axes that are named.
        let is_homing = matches!(self.action, Some((Action::GoToStored(_), _)));
        if let (Some(_), Some(i)) = (self.laser, self.word(b'I'))
            && (i.number.is_none() || self.first(b"XYJ").is_none())
        {
            return Err(i.error(MARLIN));
        }
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

    /// Returns a word that nothing in a line without `G4` and `G10` takes.
    pub(super) fn unused(&self) -> Option<Error> {
        self.word(b'P').filter(|_| !self.has_own_p).map(|p| p.error("P only on a line with G4"))
    }
}
