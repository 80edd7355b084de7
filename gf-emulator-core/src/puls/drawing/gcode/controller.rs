//! A controller that reads lines and moves as they say.

use super::super::super::header::STEP_FREQUENCY_HZ;
use super::super::super::{Error, Laser, MAX_TICKS, Result};
use super::super::MoveQueue;
use super::super::text_position::{TextPosition, quoted};
use super::arc::{Arc, centre_from_radius};
use super::block::{Block, Fan, NO_OTHER_AXES};
use super::codes::{Action, FAN, LaserMode, Motion};
use super::dialect::Dialect;
use super::lines::lines;
use super::remarks::Remarks;
use super::use_of_laser::UseOfLaser;
use super::words::Word;

const AXES: [u8; 3] = *b"XYZ";
const LONG_PAUSE_S: f64 = 60.0;

/// What drives the laser in programs for Marlin that have neither `M3` nor `M4`.
const FAN_IS_LASER: &str = "M106 and M107 are taken as the laser: 255 is full power whatever --s-max is, and P of G4 is in \
                            milliseconds. If M106 is a fan, remove its lines";
const MOVES_FIRE: &str = "M649 and B0 set the laser of one kind of Marlin: S is in percent whatever --s-max is, G1, G2 and G3 \
                          fire without M3, and P of G4 is in milliseconds";
const S_IS_PERCENT: &str = "M649 and B0 set the laser of one kind of Marlin: S is in percent whatever --s-max is, and P of G4 is \
                            in milliseconds";
const PULSES: &str = "L and P of M649 are pulses, which B1 switches on: without it, the laser fires all the way";
/// The speed before the first `F` of a laser program. GRBL refuses it, other controllers have a speed of their own.
const FIRST_SPEED_MM_S: f64 = 50.0;
const NO_FEED: &str =
    "no F before this move: its speed is 50 mm/s; for another one, write it in the first line, such as F1200";
const LONG_PAUSE: &str = "rests for more than a minute: P of G4 is in seconds here, as for GRBL, and in milliseconds for \
                          Marlin";
const DWELL_UNDER_G0: &str = "the laser does not fire in a dwell (G4) under G0, as GRBL's does not: write G1 before it";
const BEYOND_LENS: &str =
    "Z beyond the travel of the lens, -3.42 to 10.27 mm from where a hunt leaves it: the lens stays where it is";
const STORED_ORIGINS: &str = "G55 to G59 are origins that a controller has stored: taken as 0,0";
const STORED_POSITION: &str = "G30 is a position that a controller has stored: taken as 0,0";

/// A controller and its modal state.
#[expect(clippy::struct_excessive_bools, reason = "modes that are in force or not, each alone")]
pub(super) struct Controller<'a> {
    pub(super) queue: MoveQueue<'a>,
    pub(super) s_max: f64,
    pub(super) remarks: Remarks,
    pub(super) use_of_laser: UseOfLaser,
    /// The number of the line that is executed.
    line: u64,
    /// The height of the lens where the drawing begins, which is Z0.
    lens_mm: f64,
    /// Head and lens, in mm from the drawing's origin: the machine coordinates of `G53`.
    at: [f64; 3],
    motion: Motion,
    mm_per_unit: f64,
    is_relative: bool,
    has_absolute_centres: bool,
    is_plane_xy: bool,
    is_inverse_time: bool,
    laser: LaserMode,
    s: f64,
    /// `None` before the first `F`.
    feed_mm_s: Option<f64>,
    /// The origins of `G54` to `G59`, if the program has set them.
    origins_mm: [Option<[f64; 3]>; 6],
    coordinate_system: usize,
    /// What `G92` and `G43.1` add to the origin.
    shift_mm: [f64; 3],
    tool_length_mm: f64,
    /// Of `G28` and `G30`.
    stored_mm: [Option<[f64; 3]>; 2],
    dialect: Dialect,
    /// What is an error in a program without a laser: the first fan that is switched on, or move without a speed.
    error_without_laser: Option<Error>,
}

impl<'a> Controller<'a> {
    pub(super) fn new(queue: MoveQueue<'a>, s_max: f64) -> Self {
        let lens_mm = queue.job.lens_mm();
        Self {
            queue,
            s_max,
            remarks: Remarks::default(),
            use_of_laser: UseOfLaser::default(),
            line: 0,
            lens_mm,
            at: [0.0; 3],
            motion: Motion::Travel,
            mm_per_unit: 1.0,
            is_relative: false,
            has_absolute_centres: false,
            is_plane_xy: true,
            is_inverse_time: false,
            laser: LaserMode::Off,
            s: 0.0,
            feed_mm_s: None,
            origins_mm: [None; 6],
            coordinate_system: 0,
            shift_mm: [0.0; 3],
            tool_length_mm: 0.0,
            stored_mm: [Some([0.0; 3]), None],
            dialect: Dialect::Grbl,
            error_without_laser: None,
        }
    }

    pub(super) fn run(&mut self, gcode: &[u8]) -> Result<()> {
        self.dialect = Dialect::of(gcode)?;
        if self.dialect != Dialect::Grbl {
            self.s_max = 1.0;
        }
        if let Dialect::MarlinLaser { moves_fire } = self.dialect {
            // That Marlin begins with full power.
            self.set_s(1.0);
            if moves_fire {
                (self.laser, self.use_of_laser.is_selected) = (LaserMode::Constant, true);
            }
        }
        // The drawing's origin.
        self.queue.travel_to([0.0; 2])?;
        for (number, line) in lines(gcode)? {
            let block = Block::read(line, number, &mut self.remarks)?;
            self.execute(&block, number).map_err(|error| TextPosition { line: number, column: 1 }.locate(error))?;
            if block.ends_program {
                break;
            }
        }
        match self.error_without_laser.take() {
            Some(error) if !self.use_of_laser.is_selected => Err(error),
            _ => Ok(()),
        }
    }

    /// Executes a line in the order of GRBL: speed, laser, modes, and what moves.
    fn execute(&mut self, block: &Block<'_>, line: u64) -> Result<()> {
        self.line = line;
        if let Some(is_inverse) = block.is_inverse_time.filter(|&is_inverse| is_inverse != self.is_inverse_time) {
            self.is_inverse_time = is_inverse;
            self.feed_mm_s = Some(0.0);
        }
        self.mm_per_unit = block.mm_per_unit.unwrap_or(self.mm_per_unit);
        if let Some((f, feed)) = block.word(b'F').zip(block.number(b'F')) {
            if feed < 0.0 {
                return Err(f.error("a speed of at least 0"));
            }
            if !self.is_inverse_time {
                self.feed_mm_s = Some(feed * self.mm_per_unit / 60.0);
            }
        }
        self.set_marlin_laser(block)?;
        if let Some((word, s)) = block.word(b'S').zip(block.number(b'S')) {
            match self.dialect {
                Dialect::Grbl if s < 0.0 => return Err(word.error(format!("S0 to S{}", self.s_max))),
                Dialect::Grbl => self.set_s(s),
                Dialect::MarlinLaser { .. } if (0.0..=100.0).contains(&s) => self.set_s(s / 100.0),
                Dialect::MarlinLaser { .. } => return Err(word.error("S0 to S100: with M649, S is in percent")),
                Dialect::MarlinFan => {}
            }
        }
        let laser = block.laser.filter(|&laser| laser != self.laser && !self.dialect.moves_fire());
        if let Some(laser) = laser {
            self.queue.flush()?;
            self.laser = laser;
            self.use_of_laser.is_selected = true;
        }
        if let Some(fan) = &block.fan {
            self.set_fan(fan);
        }
        self.motion = block.motion.unwrap_or(self.motion);
        self.is_relative = block.is_relative.unwrap_or(self.is_relative);
        self.has_absolute_centres = block.has_absolute_centres.unwrap_or(self.has_absolute_centres);
        self.is_plane_xy = block.is_plane_xy.unwrap_or(self.is_plane_xy);
        self.tool_length_mm = block.tool_length_mm.unwrap_or(self.tool_length_mm);
        if let Some(system) = block.coordinate_system {
            if system > 0 && self.origins_mm[system].is_none() {
                self.remarks.add(STORED_ORIGINS, line);
            }
            self.coordinate_system = system;
        }
        match &block.action {
            Some((action, word)) => self.act(*action, word, block, line),
            None => self.go(block),
        }
    }

    fn set_s(&mut self, s: f64) {
        self.use_of_laser.sets_s(s, self.s_max, self.line);
        self.s = s;
    }

    /// Checks the firing mode of a Marlin with `M649`, which other controllers do not have.
    fn set_marlin_laser(&mut self, block: &Block<'_>) -> Result<()> {
        let mode = block.word(b'B');
        let Dialect::MarlinLaser { moves_fire } = self.dialect else {
            return mode.map_or(Ok(()), |word| Err(word.error(NO_OTHER_AXES)));
        };
        if block.sets_marlin_laser() {
            self.remarks.add(if moves_fire { MOVES_FIRE } else { S_IS_PERCENT }, self.line);
            if mode.is_none() && block.first(b"LP").is_some() {
                self.remarks.add(PULSES, self.line);
            }
        }
        let Some(word) = mode.filter(|word| word.number != Some(0.0)) else { return Ok(()) };
        let (what, expected) = match word.number {
            Some(1.0) => (
                "pulses, so many in each mm",
                "B0, a laser that fires all the way: leave ppm out of the names of layers",
            ),
            Some(2.0) => ("rows of a picture", "B0 and G1 with S: let the program write G-code for GRBL"),
            _ => ("an unknown firing mode", "B0, a laser that fires all the way"),
        };
        Err(word.position.error(format!("{}, {what}", quoted(word.text)), expected))
    }

    fn set_fan(&mut self, fan: &Fan<'_>) {
        if self.dialect == Dialect::MarlinFan && !fan.is_other {
            self.remarks.add(FAN_IS_LASER, self.line);
            self.use_of_laser.is_selected = true;
            (self.laser, self.s) = (LaserMode::Constant, fan.power);
            return;
        }
        self.remarks.add(FAN, self.line);
        if fan.power > 0.0 && !fan.is_other {
            self.error_without_laser.get_or_insert_with(|| {
                fan.word.error(
                    "M3 or M4 with S: M106 is a fan; where it drives a laser, let the program write G-code for GRBL",
                )
            });
        }
    }

    /// Returns whether the laser is off because of the kind of motion. A fan has the same power in all of them.
    fn is_dark_travel(&self) -> bool {
        self.motion == Motion::Travel && !(self.dialect == Dialect::MarlinFan && self.s > 0.0)
    }

    fn act(&mut self, action: Action, word: &Word<'_>, block: &Block<'_>, line: u64) -> Result<()> {
        let numbers = AXES.map(|axis| block.number(axis).map(|number| number * self.mm_per_unit));
        match action {
            Action::Dwell => return self.dwell(word, block, line),
            Action::SetMarlinLaser => {}
            Action::GoToStored(which) => return self.go_to_stored(which, block, line),
            Action::Store(which) => self.stored_mm[which] = Some(self.at),
            Action::ClearPosition => self.shift_mm = [0.0; 3],
            Action::ToolLength => match (numbers, block.first(b"XY")) {
                ([None, None, Some(z)], None) => self.tool_length_mm = z,
                _ => return Err(word.error("G43.1 with Z")),
            },
            Action::SetPosition => {
                let origin = self.origin_mm();
                // A printer's extruder is no axis.
                if numbers == [None; 3] {
                    return Err(word.error("G92 with X, Y or Z"));
                }
                for (axis, number) in numbers.into_iter().enumerate() {
                    if let Some(number) = number {
                        self.shift_mm[axis] += self.at[axis] - origin[axis] - number;
                    }
                }
            }
            Action::SetOrigin => {
                let system = match block.number(b'P').unwrap_or(0.0) {
                    0.0 => Some(self.coordinate_system),
                    p => (1..=6_u8).position(|number| (f64::from(number) - p).abs() < 1e-9),
                };
                let (Some(system), Some(l @ (2.0 | 20.0))) = (system, block.number(b'L')) else {
                    return Err(word.error("G10 with L2 or L20, P0 to P6, and X, Y or Z"));
                };
                let mut origin = self.origins_mm[system].unwrap_or_default();
                for (axis, number) in numbers.into_iter().enumerate() {
                    let Some(number) = number else { continue };
                    let tool_mm = if axis == 2 { self.tool_length_mm } else { 0.0 };
                    let is_here = l > 2.0;
                    origin[axis] =
                        if is_here { self.at[axis] - self.shift_mm[axis] - tool_mm - number } else { number };
                }
                self.origins_mm[system] = Some(origin);
            }
        }
        Ok(())
    }

    fn dwell(&mut self, dwell: &Word<'_>, block: &Block<'_>, line: u64) -> Result<()> {
        if let Some(word) = block.first(b"XYZIJR") {
            return Err(word.error("no motion on a line with G4"));
        }
        let Some((p, time)) = block.word(b'P').zip(block.number(b'P')) else {
            return Err(dwell.error("P with a number of seconds"));
        };
        let seconds = if self.dialect == Dialect::Grbl { time } else { time / 1000.0 };
        if seconds < 0.0 {
            return Err(p.error("a number of seconds, at least 0"));
        }
        if seconds > MAX_TICKS as f64 / f64::from(STEP_FREQUENCY_HZ) {
            return Err(p.position.error(
                format!("{}, a dwell of {:.0} hours", quoted(p.text), seconds / 3600.0),
                if self.dialect == Dialect::Grbl {
                    "P in seconds, as for GRBL: for Marlin it is in milliseconds, so divide it by 1000"
                } else {
                    "a shorter one: P is in milliseconds here"
                },
            ));
        }
        if seconds > LONG_PAUSE_S {
            self.remarks.add(LONG_PAUSE, line);
        }
        let is_on = self.laser == LaserMode::Constant && !self.dialect.moves_fire();
        let would_fire = is_on && self.s > 0.0 && seconds > 0.0;
        if would_fire && self.is_dark_travel() {
            self.remarks.add(DWELL_UNDER_G0, line);
        }
        let fires = would_fire && !self.is_dark_travel();
        if fires {
            self.use_of_laser.fires(self.s, self.at[1]);
        }
        self.queue.flush()?;
        let density = if fires { self.density() } else { 0.0 };
        self.queue.job.fire(seconds, density).map(drop)
    }

    fn go_to_stored(&mut self, which: usize, block: &Block<'_>, line: u64) -> Result<()> {
        let stored = self.stored_mm[which].unwrap_or_else(|| {
            self.remarks.add(STORED_POSITION, line);
            [0.0; 3]
        });
        // By way of the coordinates in the line, with those axes only.
        self.travel(self.target(block), block)?;
        let moves = |axis| block.word(axis).is_some() || block.first(&AXES).is_none();
        let mut to = self.at;
        for (axis, letter) in AXES.into_iter().enumerate() {
            if moves(letter) {
                to[axis] = stored[axis];
            }
        }
        self.travel(to, block)
    }

    /// Moves by the motion mode, if the line has coordinates.
    fn go(&mut self, block: &Block<'_>) -> Result<()> {
        if let Some(error) = block.unused().filter(|_| !matches!(self.dialect, Dialect::MarlinLaser { .. })) {
            return Err(error);
        }
        let turn = match self.motion {
            Motion::Travel | Motion::Straight => None,
            Motion::Clockwise => Some(-1.0),
            Motion::Counterclockwise => Some(1.0),
        };
        match (turn, block.first(b"IJR"), block.first(&AXES)) {
            (None, Some(word), _) => Err(word.error("I, J and R only with G2 or G3")),
            (None, None, Some(word)) if !self.is_dark_travel() => self.straight(block, word),
            (None, None, Some(_)) => self.travel(self.target(block), block),
            (Some(turn), Some(word), _) | (Some(turn), None, Some(word)) => self.arc(turn, block, word),
            (_, None, None) => Ok(()),
        }
    }

    /// Returns the origin of the coordinates, in mm from the drawing's.
    fn origin_mm(&self) -> [f64; 3] {
        let [x, y, z] = self.origins_mm[self.coordinate_system].unwrap_or_default();
        let [shift_x, shift_y, shift_z] = self.shift_mm;
        [x + shift_x, y + shift_y, z + shift_z + self.tool_length_mm]
    }

    /// Returns the target of a line, in mm from the drawing's origin.
    fn target(&self, block: &Block<'_>) -> [f64; 3] {
        let mut target = self.at;
        for (axis, origin) in self.origin_mm().into_iter().enumerate() {
            let Some(number) = block.number(AXES[axis]) else { continue };
            let mm = number * self.mm_per_unit;
            target[axis] = match (block.is_in_machine_coordinates, self.is_relative) {
                (true, _) => mm,
                (false, true) => target[axis] + mm,
                (false, false) => origin + mm,
            };
        }
        target
    }

    fn density(&self) -> f64 {
        (self.s / self.s_max).min(1.0)
    }

    fn laser_during_move(&self) -> Laser {
        match self.laser {
            LaserMode::Constant if self.s > 0.0 => Laser::Constant(self.density()),
            LaserMode::Dynamic if self.s > 0.0 => Laser::Dynamic(self.density()),
            _ => Laser::Off,
        }
    }

    /// Returns the speed of a move of that length.
    fn speed_mm_s(&mut self, block: &Block<'_>, word: &Word<'_>, length_mm: f64) -> Result<f64> {
        if !self.is_inverse_time {
            let error = || word.error("an F above 0 in this line or one before it");
            return match self.feed_mm_s {
                Some(feed) if feed > 0.0 => Ok(feed),
                Some(_) => Err(error()),
                None => {
                    self.remarks.add(NO_FEED, self.line);
                    self.error_without_laser.get_or_insert_with(error);
                    Ok(FIRST_SPEED_MM_S)
                }
            };
        }
        let feed = block.number(b'F').filter(|&feed| feed > 0.0);
        let feed = feed.ok_or_else(|| word.error("an F above 0 in every line with a move under G93"))?;
        // A move without length has no speed, and is dropped.
        Ok((length_mm * feed / 60.0).max(1e-3))
    }

    fn travel(&mut self, to: [f64; 3], block: &Block<'_>) -> Result<()> {
        self.move_lens(to[2])?;
        if to[..2] != self.at[..2] || block.first(b"XY").is_some() {
            self.queue.travel_to([to[0], to[1]]).map_err(|error| locate(block, error))?;
        }
        self.at = to;
        Ok(())
    }

    fn straight(&mut self, block: &Block<'_>, word: &Word<'_>) -> Result<()> {
        let to = self.target(block);
        let length_mm = (to[0] - self.at[0]).hypot(to[1] - self.at[1]);
        let speed_mm_s = self.speed_mm_s(block, word, length_mm)?;
        self.move_lens(to[2])?;
        if block.first(b"XY").is_some() {
            self.cut_to([to[0], to[1]], speed_mm_s, block)?;
        }
        self.at = to;
        Ok(())
    }

    fn cut_to(&mut self, to: [f64; 2], speed_mm_s: f64, block: &Block<'_>) -> Result<()> {
        let laser = self.laser_during_move();
        if laser != Laser::Off && (to[0] - self.at[0]).hypot(to[1] - self.at[1]) > 0.0 {
            self.use_of_laser.fires(self.s, self.at[1]);
            self.use_of_laser.fires(self.s, to[1]);
        }
        self.queue.line_to(to, speed_mm_s, laser).map_err(|error| locate(block, error))?;
        self.at[..2].copy_from_slice(&to);
        Ok(())
    }

    /// Moves the lens before the head, with the laser off. It stays where it is if its travel is too short.
    #[expect(clippy::float_cmp, reason = "a lens that does not move keeps exactly the same value")]
    fn move_lens(&mut self, z_mm: f64) -> Result<()> {
        if z_mm == self.at[2] {
            return Ok(());
        }
        let z_mm = self.lens_mm + z_mm;
        if !self.queue.job.lens_reaches(z_mm) {
            self.remarks.add(BEYOND_LENS, self.line);
            return Ok(());
        }
        self.queue.flush()?;
        self.queue.job.lens_to(z_mm).map(drop)
    }

    fn arc(&mut self, turn: f64, block: &Block<'_>, word: &Word<'_>) -> Result<()> {
        let [x, y, z] = self.target(block);
        if !self.is_plane_xy {
            return Err(word.error("arcs in the XY plane (G17)"));
        }
        // Z that stays where it is makes no helix.
        if let Some(word) = block.word(b'Z').filter(|_| (z - self.at[2]).abs() > 1e-6) {
            return Err(word.error(format!("an arc at one height, Z{:.3}: a helix is not supported", self.at[2])));
        }
        if let Some(k) = block.word(b'K').filter(|k| k.number != Some(0.0)) {
            return Err(k.error("an arc in the XY plane, with I and J"));
        }
        let from = [self.at[0], self.at[1]];
        let [dx, dy] = [x - from[0], y - from[1]];
        let centre = match (block.word(b'R').zip(block.number(b'R')), block.first(b"IJ")) {
            (Some((r, _)), Some(_)) => return Err(r.error("either R or I and J")),
            (None, None) => return Err(word.error("I, J or R for the arc")),
            (None, Some(_)) => self.centre(block),
            (Some((r, _)), None) if dx.hypot(dy) <= 0.0 => return Err(r.error("I and J for a full circle")),
            (Some((r, number)), None) => {
                let radius = number * self.mm_per_unit;
                centre_from_radius([dx, dy], radius, turn).ok_or_else(|| {
                    let found = format!("{}, a radius of {:.3} mm", quoted(r.text), radius.abs());
                    let half = dx.hypot(dy) / 2.0;
                    r.position.error(found, format!("one of at least half the way from start to end, {half:.3} mm"))
                })?
            }
        };
        let arc = Arc::new(centre, [dx, dy], turn);
        if !arc.is_round() {
            let (start, end) = (arc.from_radius, arc.to_radius);
            return Err(word.position.error(
                format!("an arc with a radius of {start:.4} mm at its start and {end:.4} mm at its end"),
                "radii that differ by at most 0.005 mm or 0.1 %, as GRBL does: write I and J with more decimals",
            ));
        }
        let speed_mm_s = self.speed_mm_s(block, word, arc.length())?;
        for [chord_x, chord_y] in arc.chords() {
            self.cut_to([from[0] + chord_x, from[1] + chord_y], speed_mm_s, block)?;
        }
        self.cut_to([x, y], speed_mm_s, block)
    }

    /// Returns the centre of an arc relative to its start.
    fn centre(&self, block: &Block<'_>) -> [f64; 2] {
        let origin = self.origin_mm();
        [(b'I', 0), (b'J', 1)].map(|(letter, axis)| {
            match block.number(letter).map(|number| number * self.mm_per_unit) {
                Some(mm) if self.has_absolute_centres => origin[axis] + mm - self.at[axis],
                mm => mm.unwrap_or_default(),
            }
        })
    }
}

/// Adds the position of a line's coordinates to an error that has none.
fn locate(block: &Block<'_>, error: Error) -> Error {
    match block.first(b"XYZIJR") {
        Some(word) => word.position.locate(error),
        None => error,
    }
}
