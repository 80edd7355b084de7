//! A pulse file as one self-contained HTML page with a scrubber: where the head is at any time, and what the laser has done.

use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, PreEscaped, html};
use serde_json::json;

use super::csp;
use super::escape::Truncated;
use crate::puls::{Header, Job, Position, Seconds, WORK_AREA_MM};

const STYLE: &str = concat!(include_str!("common.css"), include_str!("job_view.css"));
const SCRIPT: &str = include_str!("job_view.js");

/// The ticks of a sample, as long as there are not too many samples. The laser's pattern repeats every seven ticks, so two
/// repetitions have its exact density. At 10 kHz and 200 mm/s, the head moves 0.3 mm in a sample.
const SAMPLE_TICKS: u64 = 14;
/// With this many samples, which is 23 minutes at 10 kHz, pairs are merged: a sample is then twice as long, and so on.
const MAX_SAMPLES: usize = 1_000_000;
/// The most heights of the lens, and the most changes of the laser's power, that a page has.
const MAX_CHANGES: usize = 20_000;
/// The longest title, in characters.
const MAX_TITLE: usize = 200;

/// A job, prepared for a page.
///
/// The page has the position of the head and the density of the laser every 14 ticks (1.4 ms at 10 kHz), and draws
/// straight lines between. Jobs of 14 million ticks or more (23 minutes at 10 kHz) have longer intervals. The page takes at
/// most a few megabytes.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Job, Laser, Move, Power};
/// use gf_emulator_core::report::JobView;
///
/// let laser = Laser::Print(Power::setting(50.0)?.density());
/// let file = Builder::new().path(&[Move::new(30.0, 10.0, 50.0, laser)])?.home()?.to_bytes();
/// let page = JobView::read(Job::open(&file[..])?)?.page("line.puls");
/// assert!(page.starts_with("<!DOCTYPE html>") && page.contains("line.puls"));
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug)]
pub struct JobView {
    header: Header,
    ticks: u64,
    sample_ticks: u64,
    samples: Vec<Sample>,
    /// The position of the lens after each of its steps.
    lens: Changes<i64>,
    /// The level after each power byte that changes it.
    powers: Changes<u8>,
    fire_ticks: u64,
}

/// The values of what changes now and then, each with the first tick in which it is in force. If there are too many, the
/// last one of each interval is kept, so that every interval ends with the right value.
#[derive(Debug, Default)]
struct Changes<T> {
    values: Vec<(u64, T)>,
    /// The length of the intervals is 2 to this power of ticks.
    interval_bits: u32,
}

impl<T: Copy> Changes<T> {
    /// Adds a value, at a later tick than the one before.
    fn push(&mut self, tick: u64, value: T) {
        self.push_last(tick, value);
        while self.values.len() > MAX_CHANGES {
            self.interval_bits += 1;
            for (tick, value) in std::mem::take(&mut self.values) {
                self.push_last(tick, value);
            }
        }
    }

    /// Adds a value, in place of an earlier one in its interval.
    fn push_last(&mut self, tick: u64, value: T) {
        // The ticks of an interval end with a multiple of its length.
        let interval = |tick: u64| tick.saturating_sub(1) >> self.interval_bits;
        self.values.pop_if(|(last, _)| interval(*last) == interval(tick));
        self.values.push((tick, value));
    }

    /// Returns the length of the intervals in ticks, if values were left out.
    fn interval_ticks(&self) -> Option<u64> {
        (self.interval_bits > 0).then_some(1 << self.interval_bits)
    }
}

/// The state at the end of an interval, and the ticks that fired in it.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    x: i32,
    y: i32,
    fire_ticks: u32,
}

impl JobView {
    /// Reads the part of a job that has not been read yet.
    ///
    /// # Errors
    /// Those of [`Job::next_chunk`].
    pub fn read<R: Read>(mut job: Job<R>) -> crate::puls::Result<Self> {
        let header = job.header().clone();
        let mut view = Self {
            header,
            ticks: 0,
            sample_ticks: SAMPLE_TICKS,
            samples: Vec::new(),
            lens: Changes::default(),
            powers: Changes::default(),
            fire_ticks: 0,
        };
        let mut position = Position::default();
        let (mut fired, mut power) = (0, None);
        for tick in job.ticks() {
            let tick = tick?;
            fired += u32::from(tick.fires);
            view.ticks += 1;
            if tick.position.z != position.z {
                view.lens.push(view.ticks, tick.position.z);
            }
            if tick.power != power
                && let Some(level) = tick.power
            {
                view.powers.push(view.ticks, level);
            }
            (position, power) = (tick.position, tick.power);
            if view.ticks.is_multiple_of(view.sample_ticks) {
                view.push(position, std::mem::take(&mut fired));
            }
        }
        if !view.ticks.is_multiple_of(view.sample_ticks) {
            view.push(position, fired);
        }
        Ok(view)
    }

    /// Returns what the page leaves out: steps of the lens and changes of the power, if there are too many. It then shows
    /// the last one of every interval.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        let interval = |what: &str, ticks: Option<u64>| Some(format!("{what} every {} ticks", ticks?));
        let intervals = [
            interval("the lens", self.lens.interval_ticks()),
            interval("the power level", self.powers.interval_ticks()),
        ];
        let intervals: Vec<_> = intervals.into_iter().flatten().collect();
        (!intervals.is_empty()).then(|| format!("too many changes for a page: it shows {}", intervals.join(", ")))
    }

    /// Converts ticks to seconds on the page.
    fn seconds(&self, ticks: u64) -> f64 {
        ticks as f64 / f64::from(self.header.assumed_hz())
    }

    fn push(&mut self, position: Position, fire_ticks: u32) {
        let steps = |at: i64| i32::try_from(at).unwrap_or(if at < 0 { i32::MIN } else { i32::MAX });
        self.fire_ticks += u64::from(fire_ticks);
        self.samples.push(Sample { x: steps(position.x), y: steps(position.y), fire_ticks });
        if self.samples.len() >= MAX_SAMPLES {
            let pairs = self.samples.chunks_exact(2);
            self.samples =
                pairs.map(|pair| Sample { fire_ticks: pair[0].fire_ticks + pair[1].fire_ticks, ..pair[1] }).collect();
            self.sample_ticks *= 2;
        }
    }

    /// Encodes the samples: for each, the second differences of X and Y and the firing ticks, as variable-length numbers.
    fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(4 * self.samples.len());
        let (mut last, mut speed) = ((0_i64, 0_i64), (0_i64, 0_i64));
        for sample in &self.samples {
            let at = (i64::from(sample.x), i64::from(sample.y));
            let now = (at.0 - last.0, at.1 - last.1);
            for change in [now.0 - speed.0, now.1 - speed.1] {
                push_number(&mut bytes, ((change << 1) ^ (change >> 63)).cast_unsigned());
            }
            push_number(&mut bytes, sample.fire_ticks.into());
            (last, speed) = (at, now);
        }
        STANDARD.encode(bytes)
    }

    /// Returns the page, with a title that may be any text.
    #[must_use]
    pub fn page(&self, title: &str) -> String {
        let has_hz = self.header.step_frequency_hz().is_some();
        let data = json!({
            "hz": self.header.assumed_hz(),
            "ticks": self.ticks,
            "sampleTicks": self.sample_ticks,
            "xMm": self.header.x_mm(1),
            "yMm": self.header.y_mm(1),
            "zMm": self.header.z_mm(1),
            "bedMm": [WORK_AREA_MM.0, WORK_AREA_MM.1],
            "lens": self.lens.values,
            "powers": self.powers.values,
            "samples": self.encode(),
        });
        let run_time_s = self.seconds(self.ticks);
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(csp::policy(&[STYLE], &[SCRIPT], &[]));
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (Truncated(title, MAX_TITLE)) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (Truncated(title, MAX_TITLE)) }
                        p { (Seconds(run_time_s)) ", " (self.ticks) " ticks"
                            @if !has_hz { "; the header has no step frequency: shown at " (self.header.assumed_hz()) " a second" } }
                    }
                    main {
                        noscript { p { "This page draws with a script, which is turned off here." } }
                        div #picture { canvas #path aria-label="The head's path, seen from above" {} canvas #done {} }
                        div #controls {
                            button #play type="button" { "Play" }
                            label { "Speed "
                                select #rate {
                                    @for rate in [1, 2, 5, 10, 50, 200] { option value=(rate) { (rate) "x" } }
                                } }
                            input #time type="range" min="0" max=(run_time_s) step="any" value="0" aria-label="Time in seconds";
                        }
                        dl #state {
                            @for (id, name) in [("t", "time"), ("x", "X mm"), ("y", "Y mm"), ("z", "lens mm"), ("v", "speed mm/s"),
                                ("laser", "laser density"), ("power", "power level"), ("dose", "fired so far")] {
                                div { dt { (name) } dd id=(id) { } }
                            }
                        }
                        fieldset #layers { legend { "Shown" } }
                        p.note { "Distances are from where the job starts: X to the right, Y to the front. A pulse file does not say \
                                  where on the bed that is: the dark lines are the bed's edges if it is the back left corner. Density is \
                                  the share of ticks in which the laser fires, of every " (self.sample_ticks) " ticks." }
                        @if let Some(left_out) = self.left_out() { p.note #left-out { "There are " (left_out) "." } }
                    }
                    script type="application/json" #job { (PreEscaped(data.to_string())) }
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        };
        page.into_string()
    }

    /// Writes the page.
    ///
    /// # Errors
    /// Those of `writer`.
    pub fn write(&self, title: &str, writer: &mut dyn io::Write) -> io::Result<()> {
        writer.write_all(self.page(title).as_bytes())
    }
}

/// Appends a number, 7 bits a byte, the lowest first; the highest bit is set in all but the last byte (LEB128).
fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::puls::{Builder, Laser, Move, tick};

    /// Decodes the samples as the script does.
    fn decode(view: &JobView) -> Vec<(i64, i64, u64)> {
        let bytes = STANDARD.decode(view.encode()).unwrap();
        let mut numbers = Vec::new();
        let (mut number, mut shift) = (0_u64, 0);
        for byte in bytes {
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                numbers.push(number);
                (number, shift) = (0, 0);
            }
        }
        let signed = |number: u64| (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
        let (mut x, mut y, mut dx, mut dy) = (0, 0, 0, 0);
        let decode = |sample: &[u64]| {
            (dx, dy) = (dx + signed(sample[0]), dy + signed(sample[1]));
            (x, y) = (x + dx, y + dy);
            (x, y, sample[2])
        };
        numbers.chunks_exact(3).map(decode).collect()
    }

    fn file() -> Vec<u8> {
        let mut job = Builder::new();
        let to = [(40.0, 10.0), (-10.0, 30.0), (5.0, 5.0)];
        job.focus(3.0).unwrap().path(&to.map(|(x, y)| Move::new(x, y, 90.0, Laser::Print(0.4)))).unwrap();
        job.home().unwrap().to_bytes()
    }

    #[test]
    fn samples_are_what_ticks_say() {
        let file = file();
        let view = JobView::read(Job::open(&file[..]).unwrap()).unwrap();
        let ticks: Vec<_> = Job::open(&file[..]).unwrap().ticks().collect::<Result<_, _>>().unwrap();
        let samples = decode(&view);
        assert_eq!((view.sample_ticks, samples.len()), (14, ticks.len().div_ceil(14)));
        let mut fired = 0;
        for (n, &(x, y, fire_ticks)) in samples.iter().enumerate() {
            let end = &ticks[(n * 14 + 13).min(ticks.len() - 1)];
            assert_eq!((x, y), (end.position.x, end.position.y), "sample {n}");
            fired += fire_ticks;
        }
        assert_eq!(fired, ticks.iter().filter(|tick| tick.fires).count() as u64);
        assert_eq!(view.powers.values, [(view.powers.values[0].0, 127)]);
        assert_eq!(view.lens.values.last().map(|&(_, z)| z), Some(0));
        assert_eq!(view.left_out(), None);
    }

    #[test]
    fn of_power_bytes_in_a_row_only_the_first_counts() {
        let power = |level| tick::POWER | level;
        let body = [power(9), power(7), power(8), 0, power(5), power(9), 0];
        let file = [Builder::new().to_bytes(), body.to_vec()].concat();
        let view = JobView::read(Job::open(&file[..]).unwrap()).unwrap();
        assert_eq!(view.powers.values, [(1, 9), (5, 5)]);
        let ticks: Vec<_> = Job::open(&file[..]).unwrap().ticks().map(|tick| tick.unwrap().power).collect();
        assert_eq!(ticks, [9, 9, 9, 9, 5, 5, 5].map(Some));
    }

    #[test]
    fn a_long_job_has_longer_intervals() {
        let file = [Builder::with_step_frequency(1000).unwrap().to_bytes(), vec![tick::X_STEP; 20_000_040]].concat();
        let view = JobView::read(Job::open(&file[..]).unwrap()).unwrap();
        let samples = decode(&view);
        assert!(samples.len() < MAX_SAMPLES && view.sample_ticks == 28, "{} {}", samples.len(), view.sample_ticks);
        assert_eq!((samples[0], samples[samples.len() - 1]), ((28, 0, 0), (20_000_040, 0, 0)));
    }

    #[test]
    fn what_changes_too_often_is_thinned_and_said() {
        // The lens goes up to the middle, then down; each power byte has another level.
        let steps = 30_000;
        let pair = |z: u8| [tick::Z_STEP | z, 0];
        let mut body = [pair(tick::Z_POSITIVE).repeat(steps), pair(0).repeat(steps)].concat();
        for (level, byte) in (0..=tick::LEVEL).cycle().zip(body.iter_mut().skip(1).step_by(2)) {
            *byte = tick::POWER | level;
        }
        let file = [Builder::new().to_bytes(), body.clone()].concat();
        let view = JobView::read(Job::open(&file[..]).unwrap()).unwrap();
        assert!(view.lens.values.len() <= MAX_CHANGES && view.powers.values.len() <= MAX_CHANGES);
        let said = view.left_out().expect("values are left out");
        assert!(said.ends_with("it shows the lens every 8 ticks, the power level every 8 ticks"), "{said}");
        assert!(view.page("many").contains(&said));

        let (mut z, mut level) = (0, 0);
        for (ticks, &byte) in (1..).zip(&body) {
            match byte {
                power if power & tick::POWER != 0 => level = power & tick::LEVEL,
                up if up & tick::Z_POSITIVE != 0 => z += 1,
                _ => z -= 1,
            }
            let found = |at: u64| view.lens.values.iter().take_while(|(tick, _)| *tick <= at).last().unwrap().1;
            if ticks % 6000 == 0 || ticks == body.len() as u64 {
                // The end of the interval before.
                let end = ticks / view.lens.interval_ticks().unwrap() * view.lens.interval_ticks().unwrap();
                let missed = i64::try_from(ticks - end).unwrap();
                assert!((found(ticks) - z).abs() <= missed, "{} is not {z} at {ticks}", found(ticks));
            }
        }
        assert_eq!((view.lens.values.last().unwrap().1, view.powers.values.last().unwrap().1), (z, level));
    }

    #[test]
    fn pages_escape_their_title_and_allow_only_their_own_script() {
        assert!(csp::is_inlinable(STYLE) && csp::is_inlinable(SCRIPT));
        let view = JobView::read(Job::open(&file()[..]).unwrap()).unwrap();
        let page = view.page("</title><script>alert(1)</script>");
        assert!(!page.contains("<script>alert") && page.contains("default-src 'none'"), "{}", &page[..600]);
    }
}
