//! Segments as G-code.
//!
//! The lines of a path, from rest to rest, are kept until its end, because their speeds depend on each other.

use std::io::{self, Write};

use super::super::header::STEP_FREQUENCY_HZ;
use super::super::make::planner::PlannedMove;
use super::super::make::{LENS_HALF_STEPS_PER_S, MAX_COORDINATE_MM, MAX_LENS_MM, MIN_LENS_MM};
use super::super::{Header, Segment, tick};
use super::gcode_fire::FireModel;
use super::gcode_runs;
use super::gcode_speed::{self, Line};
use super::tick_watch::{LaserMode, TickWatch};

/// The step frequency of the job that is made of the G-code, and of one whose header has none.
const HZ: f64 = STEP_FREQUENCY_HZ as f64;
/// The `S` at which the laser fires in every tick: GRBL's default.
const FULL_S: f64 = 1000.0;
/// The longest name: controllers take lines of 80 bytes.
const NAME_CHARS: usize = 60;
/// The longest time without a step that is no stop, in seconds: 2 mm/s.
const STOP_S: f64 = 0.01;
/// A slower head may go on around a corner without a stop.
const STOP_MM_S: f64 = 4.0;
/// The shortest line that is cut: about a microstep. A dot is made that long.
const DOT_MM: f64 = 0.02;
/// A speed is rounded by at most this part.
const FEED_ROUNDING: f64 = 0.000_7;
/// The longest path. A longer one is written in two halves.
const MAX_LINES: usize = 1 << 14;
/// How many lines before the second half are kept for its speed.
const CONTEXT_LINES: usize = 64;
/// The file may take longer or shorter than the job by this much, which the next rest makes up for.
const SLACK_S: f64 = 0.002;
const SLACK_PART: f64 = 0.002;

/// Writes segments as G-code.
pub(super) struct GcodeWriter {
    header: Header,
    hz: f64,
    watch: TickWatch,

    /// The start of the path, and its lines.
    start: [f64; 2],
    lines: Vec<Line>,
    /// The lines at the beginning that have been written.
    written: usize,
    /// Time without a step that belongs to the next line.
    still_s: f64,
    /// A dark rest that is not written yet.
    rest_s: f64,
    /// Whether the head stops before the next line.
    stops: bool,
    /// How long the job takes so far, and how much longer the file.
    job_s: f64,
    owed_s: f64,
    fire: FireModel,
    /// Firing ticks while the lens moved, which are not in the file.
    lost_fire_ticks: u64,
    /// Whether the lens leaves the range that can be read, and whether the head does.
    lens_out_of_range: bool,
    head_out_of_range: bool,

    // The values in force.
    motion: Option<&'static str>,
    mode: LaserMode,
    at: [String; 2],
    s: String,
    f: Option<String>,
}

impl GcodeWriter {
    pub(super) fn new(header: &Header) -> Self {
        Self {
            header: header.clone(),
            hz: header.step_frequency_hz().map_or(HZ, f64::from),
            watch: TickWatch::new(header.step_frequency_hz().map_or(HZ, f64::from)),
            start: [0.0; 2],
            lines: Vec::new(),
            written: 0,
            still_s: 0.0,
            rest_s: 0.0,
            stops: false,
            job_s: 0.0,
            owed_s: 0.0,
            fire: FireModel::default(),
            lost_fire_ticks: 0,
            lens_out_of_range: false,
            head_out_of_range: false,
            motion: None,
            mode: LaserMode::Dynamic,
            at: ["0".to_owned(), "0".to_owned()],
            s: "0".to_owned(),
            f: None,
        }
    }

    /// Adds ticks. They may be ahead of the segments by a few thousand.
    pub(super) fn add_ticks(&mut self, ticks: &[u8]) {
        self.watch.add(ticks);
    }

    pub(super) fn begin(&mut self, writer: &mut dyn Write, source: &str) -> io::Result<()> {
        // The name is untrusted: it must not end the comment, or have real-time commands of a controller.
        let plain = |c: char| if c.is_ascii_graphic() && !"();!~?$%".contains(c) { c } else { '_' };
        let name: String = source.chars().take(NAME_CHARS).map(plain).collect();
        let hz = self.hz;
        writeln!(
            writer,
            "; from {name}\n\
             ; mm, X to the right, Y to the front, from where the job begins\n\
             ; for GRBL in laser mode ($32=1); S0 to S1000 ($30=1000)\n\
             ; S is the share of ticks that fire, times the power level of 127\n\
             ; speeds for 700 mm/s2 in X, 590 in Y, junction deviation 0.01 mm\n\
             ; faster parts of the job take longer here; the end of the file says how much\n\
             ; not in this file: the header, {hz} ticks a second, power bytes,\n\
             ; which ticks fire, how speed and density change within a straight run\n\
             G21 G90 G94\nM4 S0"
        )
    }

    pub(super) fn end(&mut self, writer: &mut dyn Write) -> io::Result<()> {
        self.flush(writer)?;
        let still_s = std::mem::take(&mut self.still_s);
        self.rest_s += still_s;
        self.write_rest(writer)?;
        writeln!(writer, "M5 S0")?;
        if self.due_s() > 0.0 {
            writeln!(writer, "; {:.3} s longer than the job, which is faster than such a controller", self.owed_s)?;
        }
        if self.lost_fire_ticks > 0 {
            writeln!(writer, "; {} firing ticks while the lens moved are left out", self.lost_fire_ticks)?;
        }
        if self.head_out_of_range {
            writeln!(
                writer,
                "; the head moves beyond {MAX_COORDINATE_MM} mm, so that no job can be made of this file"
            )?;
        }
        if self.lens_out_of_range {
            writeln!(writer, "; the lens moves beyond {MIN_LENS_MM:.2} to {MAX_LENS_MM:.2} mm, where it is left out")?;
        }
        writeln!(writer, "M2")
    }

    pub(super) fn segment(&mut self, writer: &mut dyn Write, segment: &Segment) -> io::Result<()> {
        let mut seconds = segment.ticks as f64 / self.hz;
        self.job_s += seconds;
        let level = f64::from(segment.power.unwrap_or(tick::LEVEL)) / f64::from(tick::LEVEL);
        let mut fire_s = segment.fire_ticks as f64 / self.hz * level;
        if segment.start.z != segment.end.z {
            self.flush(writer)?;
            seconds = self.lens(writer, segment, seconds)?;
            if (segment.start.x, segment.start.y) == (segment.end.x, segment.end.y) {
                if segment.laser && seconds <= 0.0 {
                    self.lost_fire_ticks += segment.fire_ticks;
                    fire_s = 0.0;
                }
                return if seconds > 0.0 { self.rest(writer, seconds, fire_s) } else { Ok(()) };
            }
        }
        if (segment.start.x, segment.start.y) == (segment.end.x, segment.end.y) {
            if seconds > STOP_S {
                self.flush(writer)?;
                seconds += std::mem::take(&mut self.still_s);
                return self.rest(writer, seconds, fire_s);
            }
            if !segment.laser {
                self.still_s += seconds;
                return Ok(());
            }
        }
        if let Some(stop) = self.stop_before(segment) {
            // The segment begins with the last step before the stop.
            let before_s = ((stop - segment.start_tick as f64) / self.hz).min(seconds / 2.0);
            if let Some(last) = self.lines.last_mut().filter(|last| last.seconds > -2.0 * before_s) {
                let shift_s = if last.laser && segment.laser { before_s * last.fire_s / last.seconds } else { 0.0 };
                last.seconds += before_s;
                last.fire_s += shift_s;
                seconds -= before_s;
                fire_s -= shift_s;
            }
            self.flush(writer)?;
            self.stops = true;
        }
        if self.lines.is_empty() {
            self.start = [self.header.x_mm(segment.start.x), self.header.y_mm(segment.start.y)];
        }
        let to = [self.header.x_mm(segment.end.x), self.header.y_mm(segment.end.y)];
        self.head_out_of_range |= to.iter().any(|mm| mm.abs() > MAX_COORDINATE_MM);
        let seconds = seconds.max(1.0 / self.hz) + std::mem::take(&mut self.still_s);
        self.push(Line { to, seconds, fire_s, laser: segment.laser, speed_mm_s: None });
        if self.lines.len() >= MAX_LINES {
            self.write_path(writer, MAX_LINES / 2)?;
            let kept = self.written - CONTEXT_LINES;
            self.start = self.lines[kept - 1].to;
            self.lines.drain(..kept);
            self.written = CONTEXT_LINES;
        }
        Ok(())
    }

    /// Returns when the head stops before a segment, if a controller would not.
    fn stop_before(&self, segment: &Segment) -> Option<f64> {
        let last = self.lines.last()?;
        let before = self.lines.iter().nth_back(1).map_or(self.start, |line| line.to);
        let one = [last.to[0] - before[0], last.to[1] - before[1]];
        let two =
            [self.header.x_mm(segment.end.x - segment.start.x), self.header.y_mm(segment.end.y - segment.start.y)];
        let lengths = [one, two].map(|[x, y]| x.hypot(y));
        let is_fast = lengths[0] > STOP_MM_S * last.seconds || lengths[1] * self.hz > STOP_MM_S * segment.ticks as f64;
        // Where it turns back, it stops anyway.
        let turns_back = one[0] * two[0] + one[1] * two[1] < -0.999 * lengths[0] * lengths[1];
        self.watch.stop_at(segment.start_tick).filter(|_| is_fast && !turns_back)
    }

    /// Adds a line. A dot before it gets a part of it, so that the head need not stop for the dot.
    fn push(&mut self, mut line: Line) {
        let from = |lines: &[Line], start| lines.last().map_or(start, |line: &Line| line.to);
        if let Some(mut dot) = self.lines.pop() {
            let before = from(&self.lines, self.start);
            if dot.laser && is_same(dot.to, before) && self.lines.len() >= self.written {
                if line.laser {
                    line.seconds += dot.seconds;
                    line.fire_s += dot.fire_s;
                    self.lines.push(line);
                    return;
                }
                let way = [line.to[0] - before[0], line.to[1] - before[1]];
                let part = (DOT_MM / way[0].hypot(way[1])).min(1.0);
                dot.to = [before[0] + way[0] * part, before[1] + way[1] * part];
                dot.seconds += line.seconds * part;
                line.seconds *= 1.0 - part;
            } else if dot.laser && !line.laser {
                // So short a line has the direction of a microstep, for which a controller would brake.
                let dot_mm = (dot.to[0] - before[0]).hypot(dot.to[1] - before[1]);
                let way = [line.to[0] - before[0], line.to[1] - before[1]];
                let way_mm = way[0].hypot(way[1]);
                if dot_mm < 2.0 * DOT_MM && way_mm > dot_mm && self.lines.len() >= self.written {
                    dot.to = [0, 1].map(|axis| before[axis] + way[axis] * dot_mm / way_mm);
                }
            }
            self.lines.push(dot);
        }
        if line.laser || !is_same(from(&self.lines, self.start), line.to) {
            self.lines.push(line);
        } else {
            self.still_s += line.seconds;
        }
    }

    /// Writes the path. The head comes to rest.
    fn flush(&mut self, writer: &mut dyn Write) -> io::Result<()> {
        let mut dot = None;
        if let Some(last) = self.lines.pop_if(|line| line.laser && line.speed_mm_s.is_none()) {
            let before = self.lines.last().map_or(self.start, |line| line.to);
            if is_same(last.to, before) { dot = Some(last) } else { self.lines.push(last) }
        }
        self.write_path(writer, self.lines.len())?;
        self.lines.clear();
        self.written = 0;
        self.fire.rest();
        match dot {
            Some(dot) => self.rest(writer, dot.seconds, dot.fire_s),
            None => Ok(()),
        }
    }

    /// Writes the lines that are not written yet, up to one of them.
    fn write_path(&mut self, writer: &mut dyn Write, until: usize) -> io::Result<()> {
        if self.written == self.lines.len() {
            return Ok(());
        }
        let until = until - gcode_runs::begin_before_first_fire(self.start, &mut self.lines, self.written..until);
        let (count, due_s) = (self.lines.len(), self.due_s());
        let plan = gcode_speed::choose(self.start, &mut self.lines, due_s);
        // Smoothing may have added lines, all of them before the last.
        let until = if until == count { self.lines.len() } else { until };
        let lines = self.written..until;
        let planned_s = plan.iter().filter(|planned| lines.contains(&planned.index)).map(PlannedMove::duration_s);
        self.owed_s += planned_s.sum::<f64>() - self.lines[lines.clone()].iter().map(|line| line.seconds).sum::<f64>();
        let has_fire = self.lines.iter().any(|line| line.laser);
        let mode = if has_fire { self.choose_mode(&plan) } else { self.mode };
        if self.written == 0 {
            self.write_rest(writer)?;
            if mode != self.mode {
                self.mode = mode;
                "0".clone_into(&mut self.s);
                writeln!(writer, "{} S0", mode.word())?;
            } else if self.stops {
                // Under M3, the laser would fire while the controller waits.
                let is_lit = self.mode != LaserMode::Dynamic && self.s != "0";
                writeln!(writer, "G4 P0{}", if is_lit { " S0" } else { "" })?;
                if is_lit {
                    "0".clone_into(&mut self.s);
                }
            }
            self.stops = false;
        }
        let means = gcode_runs::mean_densities(&self.lines, &plan, self.mode);
        let mut start_s = 0.0;
        let mut planned_moves = plan.iter().peekable();
        for (i, &mean) in means.iter().enumerate().take(until) {
            let line = self.lines[i];
            let planned = planned_moves.next_if(|planned| planned.index == i);
            if i >= self.written {
                self.write_line(writer, &line, planned, start_s, mean)?;
            }
            start_s += planned.map_or(0.0, PlannedMove::duration_s);
        }
        for line in &mut self.lines[until..] {
            line.speed_mm_s = None;
        }
        self.written = until;
        Ok(())
    }

    /// Returns by how much the next path is made shorter, where the file takes longer than the job so far.
    fn due_s(&self) -> f64 {
        let within_s = SLACK_S + SLACK_PART * self.job_s;
        self.owed_s - self.owed_s.clamp(-within_s, within_s)
    }

    /// Returns the mode that fits the path, and in which no line needs more than the full density.
    fn choose_mode(&mut self, plan: &[PlannedMove]) -> LaserMode {
        let mode = self.watch.take_mode();
        let is_full = |planned: &PlannedMove| {
            let line = &self.lines[planned.index];
            line.fire_s > 1.002 * planned.length_mm / line.speed_mm_s.unwrap_or(f64::INFINITY)
        };
        if plan.iter().any(is_full) { LaserMode::Constant } else { mode }
    }

    fn write_line(
        &mut self,
        writer: &mut dyn Write,
        line: &Line,
        planned: Option<&PlannedMove>,
        start_s: f64,
        mean: f64,
    ) -> io::Result<()> {
        let mut words = String::new();
        let motion = if line.is_travel() { "G0" } else { "G1" };
        if self.motion.replace(motion) != Some(motion) {
            words.push_str(motion);
        }
        for (axis, letter) in ['X', 'Y'].into_iter().enumerate() {
            let value = decimal(line.to[axis], 3);
            if value != self.at[axis] {
                push_word(&mut words, letter, &value);
                self.at[axis] = value;
            }
        }
        if !line.is_travel() {
            let speed_mm_s = line.speed_mm_s.unwrap_or_default();
            let f = feed(speed_mm_s * 60.0);
            if self.f.as_ref() != Some(&f) {
                push_word(&mut words, 'F', &f);
                self.f = Some(f);
            }
        }
        let s = if line.laser {
            decimal(self.density(line, planned, start_s, mean) * FULL_S, 4)
        } else {
            self.fire.pass_dark();
            "0".to_owned()
        };
        if s != self.s && !line.is_travel() {
            push_word(&mut words, 'S', &s);
            self.s = s;
        }
        if words.is_empty() || words == motion {
            return Ok(());
        }
        writeln!(writer, "{words}")
    }

    fn density(&mut self, line: &Line, planned: Option<&PlannedMove>, start_s: f64, mean: f64) -> f64 {
        let speed_mm_s = line.speed_mm_s.unwrap_or(f64::INFINITY);
        let (mode, duration_s) = (self.mode, planned.map_or(0.0, PlannedMove::duration_s));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and saturates")]
        let whole = |seconds: f64| (seconds * HZ + 1e-6).floor() as u64;
        let first = whole(start_s);
        let ticks = whole(start_s + duration_s) - first;
        let part = |tick: u64| match (mode, planned) {
            (LaserMode::Dynamic, Some(planned)) => {
                let time_s = (first + tick + 1) as f64 / HZ - start_s;
                (planned.at(time_s).1 / speed_mm_s).min(1.0)
            }
            _ => 1.0,
        };
        let parts = match (mode, planned) {
            (LaserMode::Dynamic, Some(planned)) => planned.length_mm / speed_mm_s * HZ,
            _ => ticks as f64,
        };
        self.fire.choose(ticks, line.fire_s * HZ, parts, &part, mean)
    }

    /// Adds a rest. A dark one is written before the next thing that is.
    fn rest(&mut self, writer: &mut dyn Write, seconds: f64, fire_s: f64) -> io::Result<()> {
        if fire_s <= 0.0 {
            self.rest_s += seconds;
            return Ok(());
        }
        self.write_rest(writer)?;
        // GRBL fires at rest under G1 and M3 only.
        if self.motion != Some("G1") {
            let f = self.f.get_or_insert_with(|| "600".to_owned());
            writeln!(writer, "G1 F{f}")?;
            self.motion = Some("G1");
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and saturates")]
        let ticks = (seconds * HZ).round().max(1.0) as u64;
        self.fire.rest();
        let s = decimal(self.fire.choose(ticks, fire_s * HZ, ticks as f64, &|_| 1.0, 1.0) * FULL_S, 4);
        self.fire.rest();
        (self.mode, self.stops) = (LaserMode::Constant, false);
        "0".clone_into(&mut self.s);
        writeln!(writer, "M3 S{s}\nG4 P{}\nS0", decimal(ticks as f64 / HZ, 4))
    }

    /// Writes the dark rest, shortened by what the file takes longer than the job so far.
    fn write_rest(&mut self, writer: &mut dyn Write) -> io::Result<()> {
        let seconds = std::mem::take(&mut self.rest_s);
        if seconds <= 0.0 {
            return Ok(());
        }
        let p = decimal((seconds - self.owed_s).max(0.0), 4);
        if p == "0" {
            self.owed_s -= seconds;
            return Ok(());
        }
        self.owed_s = 0.0;
        let off = if self.s == "0" || self.mode == LaserMode::Dynamic { "" } else { " S0" };
        if !off.is_empty() {
            "0".clone_into(&mut self.s);
        }
        self.stops = false;
        writeln!(writer, "G4 P{p}{off}")
    }

    /// Writes a motion of the lens. Returns what is left of the segment's time.
    fn lens(&mut self, writer: &mut dyn Write, segment: &Segment, seconds: f64) -> io::Result<f64> {
        let limit = |z_mm: f64| z_mm.clamp(MIN_LENS_MM, MAX_LENS_MM);
        let (from_mm, z_mm) = (self.header.z_mm(segment.start.z), self.header.z_mm(segment.end.z));
        let limited = limit(z_mm);
        self.lens_out_of_range |= (z_mm - limited).abs() > self.header.z_mm(1) / 2.0;
        let step_s = f64::from(self.header.lens_half_steps()) / f64::from(LENS_HALF_STEPS_PER_S);
        // The wait for the first step may be in the rest before.
        let waited_s = self.rest_s.min(step_s);
        self.rest_s -= waited_s;
        let count = ((limited - limit(from_mm)).abs() / self.header.z_mm(1)).round();
        let left_s = seconds + waited_s - count * step_s;
        if left_s < 0.0 {
            self.owed_s -= left_s;
        }
        self.write_rest(writer)?;
        (self.motion, self.stops) = (Some("G0"), false);
        writeln!(writer, "G0 Z{}", decimal(limited, 3))?;
        Ok(left_s.max(0.0))
    }
}

/// Formats a speed, rounded if that makes no difference: people choose round speeds.
fn feed(mm_min: f64) -> String {
    let round = [100.0, 10.0, 1.0].map(|unit| (mm_min / unit).round() * unit);
    match round.iter().find(|&&round| (round - mm_min).abs() <= FEED_ROUNDING * mm_min) {
        Some(&round) => decimal(round, 0),
        None => decimal(mm_min.max(0.001), 3),
    }
}

#[expect(clippy::float_cmp, reason = "a head that does not move keeps exactly the same position")]
fn is_same(one: [f64; 2], two: [f64; 2]) -> bool {
    one == two
}

fn push_word(words: &mut String, letter: char, value: &str) {
    if !words.is_empty() {
        words.push(' ');
    }
    words.push(letter);
    words.push_str(value);
}

/// Formats a number with up to some decimals.
fn decimal(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let text = if decimals == 0 { &text } else { text.trim_end_matches('0').trim_end_matches('.') };
    if text == "-0" || text.is_empty() { "0".to_owned() } else { text.to_owned() }
}
