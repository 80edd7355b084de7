//! What differs between two jobs: header, path, laser and time.

mod marks;

use std::io::Read;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::json;

use super::{Code, Error, Header, Job, Measured, Meter, Position, tick};
#[cfg(feature = "plot")]
pub(super) use marks::Kind;
use marks::{Mark, Marks};

/// A code whose value differs between two headers. Of a repeated code, the last value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CodeDifference {
    /// The code.
    pub code: Code,
    /// Its value in the first header; `None` if it is only in the second.
    pub a: Option<u32>,
    /// Its value in the second header; `None` if it is only in the first.
    pub b: Option<u32>,
}

/// The greatest distance between two heads at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Distance {
    /// The distance in X and Y, in mm.
    pub mm: f64,
    /// When it is reached, in seconds from the start of both jobs.
    pub at_s: f64,
}

/// Why two jobs could not be compared: an error in one of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DifferenceError {
    /// The first could not be read.
    #[error("the first job: {0}")]
    A(#[source] Error),
    /// The second could not be read.
    #[error("the second job: {0}")]
    B(#[source] Error),
}

/// What differs between two jobs that start at the same place and at the same time.
///
/// The order of the codes and compression are not compared. If the step frequencies differ, ticks are not compared, only
/// positions at the same time.
///
/// Memory is bounded: where the lasers fire is kept on a grid of 0.1 mm, with 16 MiB at most; larger jobs get a coarser
/// grid.
///
/// Serializes as an object (`puls diff --json`) with the keys `same`, `header` (`code`, `a`, `b`), `first_tick`,
/// `first_path_tick`, `first_laser_tick`, `distance` (`mm`, `at_s`), `fires_mm2` (`only_a`, `only_b`, `both`), and `a` and
/// `b`, each with `ticks`, `run_time` (seconds), `end_mm` (X, Y, Z), `travelled`, `cut` (mm), `fire_ticks`, `density`,
/// `full_power_ticks`.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Difference, Job};
///
/// let [a, b] = [3.0, 4.0].map(|x_mm| Builder::new().move_to(x_mm, 0.0).map(|job| job.to_bytes()));
/// let (a, b) = (a?, b?);
/// let found = Difference::read(Job::open(&a[..])?, Job::open(&b[..])?).unwrap();
/// assert!(!found.is_same() && (found.distance.mm - 1.0).abs() < 0.02);
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Difference {
    /// The codes that differ, in the order of the first header; then those that only the second has.
    pub codes: Vec<CodeDifference>,
    /// The first tick whose byte differs, counted from 0; the length of the shorter job if it is the start of the
    /// other. `None` if the bodies are equal.
    pub first_tick: Option<u64>,
    /// The first tick in which the steps differ. `None` if there is none before the end of the shorter job.
    pub first_path_tick: Option<u64>,
    /// The first tick in which firing or a power byte differs. `None` if there is none before the end of the shorter
    /// job.
    pub first_laser_tick: Option<u64>,
    /// The greatest distance between the two heads at the same time. After its end, a head stays where it is.
    pub distance: Distance,
    /// The measurements of the first job.
    pub a: Measured,
    /// The measurements of the second job.
    pub b: Measured,
    pub(super) marks: Marks,
}

impl Difference {
    /// Reads two jobs side by side.
    ///
    /// # Errors
    /// Those of [`Job::next_chunk`], of the job that has the error.
    pub fn read<A: Read, B: Read>(a: Job<A>, b: Job<B>) -> Result<Self, DifferenceError> {
        let codes = codes(a.header(), b.header());
        let (mut a, mut b) = (Side::new(a), Side::new(b));
        let mut marks = Marks::default();
        let has_same_hz = a.hz == b.hz;
        let mut first = First::default();
        let mut distance = Distance::default();
        loop {
            // The job whose next tick ends first makes a step; both, if they end at the same time.
            let [next_a, next_b] = [a.fill().map_err(DifferenceError::A)?, b.fill().map_err(DifferenceError::B)?];
            let (a_steps, b_steps) = match (next_a, next_b) {
                (false, false) => break,
                (true, true) => {
                    let order = a.next_time(b.hz).cmp(&b.next_time(a.hz));
                    (order.is_le(), order.is_ge())
                }
                both => both,
            };
            if has_same_hz && next_a && next_b {
                first.compare(a.tick, a.byte(), b.byte());
            }
            if a_steps && a.step() {
                marks.add(Mark::A, a.at_mm());
            }
            if b_steps && b.step() {
                marks.add(Mark::B, b.at_mm());
            }
            let (a_mm, b_mm) = (a.at_mm(), b.at_mm());
            let mm = (a_mm.0 - b_mm.0).hypot(a_mm.1 - b_mm.1);
            if mm > distance.mm {
                distance = Distance { mm, at_s: a.seconds().max(b.seconds()) };
            }
        }
        if has_same_hz && a.tick != b.tick {
            first.byte.get_or_insert(a.tick.min(b.tick));
        }
        let (a, b) = (a.finish(), b.finish());
        Ok(Self {
            codes,
            first_tick: first.byte,
            first_path_tick: first.path,
            first_laser_tick: first.laser,
            distance,
            a,
            b,
            marks,
        })
    }

    /// Returns whether nothing differs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.codes.is_empty() && self.first_tick.is_none()
    }
}

/// The first differences.
#[derive(Default)]
struct First {
    byte: Option<u64>,
    path: Option<u64>,
    laser: Option<u64>,
}

impl First {
    fn compare(&mut self, index: u64, a: u8, b: u8) {
        if a == b {
            return;
        }
        self.byte.get_or_insert(index);
        let step = |byte| {
            let mut position = Position::default();
            let fires = position.advance(byte);
            (position, (fires, if byte & tick::POWER == 0 { None } else { Some(byte) }))
        };
        let ((a_step, a_laser), (b_step, b_laser)) = (step(a), step(b));
        if a_step != b_step {
            self.path.get_or_insert(index);
        }
        if a_laser != b_laser {
            self.laser.get_or_insert(index);
        }
    }
}

/// One of the two jobs, and where it is.
struct Side<R> {
    job: Job<R>,
    meter: Meter,
    hz: u32,
    step_mm: (f64, f64),
    /// The offset in the current chunk.
    next: usize,
    tick: u64,
    position: Position,
    is_over: bool,
}

impl<R: Read> Side<R> {
    fn new(job: Job<R>) -> Self {
        let header = job.header();
        Self {
            meter: Meter::new(header),
            hz: header.assumed_hz(),
            step_mm: (header.x_mm(1), header.y_mm(1)),
            next: job.chunk().len(),
            tick: 0,
            position: Position::default(),
            is_over: false,
            job,
        }
    }

    /// Reads more if need be. Returns whether there is a next tick.
    fn fill(&mut self) -> Result<bool, Error> {
        if !self.is_over && self.next == self.job.chunk().len() {
            self.next = 0;
            match self.job.next_chunk()? {
                Some(chunk) => self.meter.add_ticks(chunk),
                None => self.is_over = true,
            }
        }
        Ok(!self.is_over)
    }

    /// Returns the next tick.
    fn byte(&self) -> u8 {
        self.job.chunk()[self.next]
    }

    /// Makes the next tick. Returns whether the laser fires in it.
    fn step(&mut self) -> bool {
        let byte = self.byte();
        self.next += 1;
        self.tick += 1;
        self.position.advance(byte)
    }

    /// Returns when the next tick ends, in units that depend on the frequency of the other job alone.
    fn next_time(&self, other_hz: u32) -> u128 {
        u128::from(self.tick + 1) * u128::from(other_hz)
    }

    fn seconds(&self) -> f64 {
        self.tick as f64 / f64::from(self.hz)
    }

    fn at_mm(&self) -> (f64, f64) {
        (self.position.x as f64 * self.step_mm.0, self.position.y as f64 * self.step_mm.1)
    }

    fn finish(self) -> Measured {
        self.meter.finish(&mut |_| ())
    }
}

fn codes(a: &Header, b: &Header) -> Vec<CodeDifference> {
    let mut seen = std::collections::HashSet::new();
    let all = a.records().iter().chain(b.records()).map(|record| record.code).filter(|&code| seen.insert(code));
    all.map(|code| CodeDifference { code, a: a.get(code), b: b.get(code) }).filter(|found| found.a != found.b).collect()
}

impl Difference {
    /// Returns the area in which only the first laser fires, in which only the second does, and in which both do, in
    /// mm² on the grid. A place belongs to both if the other fires in a neighbouring place, so that less than the grid's
    /// pitch (0.1 mm) is no difference.
    #[must_use]
    pub fn fires_mm2(&self) -> [f64; 3] {
        let mut areas = [0.0; 3];
        for (_, _, kind) in self.marks.kinds() {
            areas[kind as usize] += self.marks.pitch_mm() * self.marks.pitch_mm();
        }
        areas
    }

    /// Returns what differs, as names and values for display: the values of the first job, then of the second. What
    /// neither of them has is left out.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let first = |tick: Option<u64>| {
            // Without the same frequency, ticks are not compared.
            let tick = tick?;
            let at = self.a.seconds(tick).map(|at| format!(" ({at:.3} s)")).unwrap_or_default();
            Some(format!("first difference: tick {tick}{at}"))
        };
        let both = |value: &dyn Fn(&Measured) -> Option<String>| {
            let values = [value(&self.a), value(&self.b)];
            if values == [None, None] {
                return None;
            }
            let [a, b] = values.map(|value| value.unwrap_or_else(|| "-".to_owned()));
            Some(if a == b { format!("{a} in both") } else { format!("{a} in A, {b} in B") })
        };
        let time =
            |job: &Measured| job.run_time_s.map_or_else(|| format!("{} ticks", job.ticks), |s| format!("{s:.3} s"));
        let end = |job: &Measured| format!("{:.2},{:.2},{:.2} mm", job.x_end_mm(), job.y_end_mm(), job.z_end_mm());
        let [only_a, only_b, in_both] = self.fires_mm2();
        let rows = [
            ("time", both(&|job| Some(time(job)))),
            ("bytes", first(self.first_tick)),
            ("path", first(self.first_path_tick)),
            ("apart", Some(format!("at most {:.2} mm, at {:.3} s", self.distance.mm, self.distance.at_s))),
            ("end", both(&|job| Some(end(job)))),
            ("laser", first(self.first_laser_tick)),
            ("fires", both(&|job| Some(format!("{} ticks", job.counts.le)))),
            ("cut", both(&|job| Some(format!("{:.1} mm", job.cut_mm)))),
            ("density", both(&|job| mean_density(job).map(|mean| format!("{mean:.3}")))),
            ("dose", both(&dose)),
            ("only A", Some(format!("fires on {only_a:.1} mm²"))),
            ("only B", Some(format!("fires on {only_b:.1} mm²"))),
            ("A and B", Some(format!("fire on {in_both:.1} mm²"))),
        ];
        rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Returns the dose for display: the ticks that would fire at full power for the same dose, a millimetre of cut, or all of
/// them if nothing is cut. `None` if there is no dose.
fn dose(job: &Measured) -> Option<String> {
    let ticks = job.full_power_ticks();
    (ticks > 0.0).then(|| match job.cut_mm {
        mm if mm > 0.0 => format!("{:.1} ticks/mm", ticks / mm),
        _ => format!("{ticks:.0} ticks"),
    })
}

/// Returns the mean density with the laser on.
fn mean_density(job: &Measured) -> Option<f64> {
    let lit: u64 = job.densities.iter().map(|dose| dose.lit_ticks).sum::<u64>() + job.dots.lit_ticks;
    (lit > 0).then(|| job.counts.le as f64 / lit as f64)
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_same() {
            return f.write_str("no difference");
        }
        let value = |value: Option<u32>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
        for CodeDifference { code, a, b } in &self.codes {
            writeln!(f, "{:<8} {} in A, {} in B", code.to_string(), value(*a), value(*b))?;
        }
        let rows: Vec<_> = self.rows().iter().map(|(name, value)| format!("{name:<8} {value}")).collect();
        f.write_str(&rows.join("\n"))
    }
}

impl Serialize for Difference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let side = |job: &Measured| {
            json!({
                "ticks": job.ticks, "run_time": job.run_time_s, "travelled": job.travelled_mm, "cut": job.cut_mm,
                "end_mm": [job.x_end_mm(), job.y_end_mm(), job.z_end_mm()],
                "fire_ticks": job.counts.le, "density": mean_density(job), "full_power_ticks": job.full_power_ticks(),
            })
        };
        let [only_a, only_b, both] = self.fires_mm2();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("same", &self.is_same())?;
        map.serialize_entry("header", &self.codes)?;
        map.serialize_entry("first_tick", &self.first_tick)?;
        map.serialize_entry("first_path_tick", &self.first_path_tick)?;
        map.serialize_entry("first_laser_tick", &self.first_laser_tick)?;
        map.serialize_entry("distance", &self.distance)?;
        map.serialize_entry("fires_mm2", &json!({"only_a": only_a, "only_b": only_b, "both": both}))?;
        map.serialize_entry("a", &side(&self.a))?;
        map.serialize_entry("b", &side(&self.b))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Builder, code};
    use super::*;

    fn square(side_mm: f64, x_mm: f64) -> Builder {
        let mut job = Builder::new();
        job.move_to(x_mm, 10.0).unwrap();
        for (x, y) in [(side_mm, 0.0), (side_mm, side_mm), (0.0, side_mm), (0.0, 0.0)] {
            job.cut_to(x_mm + x, 10.0 + y, 50.0, 0.5).unwrap();
        }
        job
    }

    fn diff(a: &Builder, b: &Builder) -> Difference {
        Difference::read(Job::open(&a.to_bytes()[..]).unwrap(), Job::open(&b.to_gzip()[..]).unwrap()).unwrap()
    }

    #[test]
    fn equal_jobs_do_not_differ() {
        let same = diff(&square(20.0, 10.0), &square(20.0, 10.0));
        assert!(same.is_same() && same.distance == Distance::default(), "{same:?}");
        assert_eq!(same.to_string(), "no difference");
        let [only_a, only_b, both] = same.fires_mm2();
        assert!(only_a + only_b == 0.0 && (6.0..12.0).contains(&both), "{both}");
    }

    #[test]
    fn a_shifted_square_is_as_far_away_as_it_was_shifted() {
        let found = diff(&square(20.0, 10.0), &square(20.0, 13.0));
        assert!(!found.is_same() && found.codes.is_empty(), "{found:?}");
        assert!((2.9..4.5).contains(&found.distance.mm), "{:?}", found.distance);
        assert!(found.first_path_tick.is_some() && found.first_tick <= found.first_path_tick);
        // Sides along Y are elsewhere; those along X share 17 of 20 mm.
        let [only_a, only_b, both] = found.fires_mm2();
        assert!(only_a > 3.0 && (only_a - only_b).abs() < 0.5 && both > 3.0, "{only_a} {only_b} {both}");
    }

    #[test]
    fn codes_have_both_values() {
        let (mut a, mut b) = (square(20.0, 10.0), square(20.0, 10.0));
        a.set(code::SERIAL_LOCK, 4711).unwrap().set(Code(*b"AAAA"), 1).unwrap();
        b.set(Code(*b"BBBB"), 2).unwrap().set(code::SERIAL_LOCK, 4712).unwrap();
        let codes = diff(&a, &b).codes;
        let found = |code| codes.iter().find(|found| found.code == Code(code)).map(|found| (found.a, found.b));
        assert_eq!(codes.len(), 3, "{codes:?}");
        assert_eq!(found(*b"MCsn"), Some((Some(4711), Some(4712))));
        assert_eq!((found(*b"AAAA"), found(*b"BBBB")), (Some((Some(1), None)), Some((None, Some(2)))));
    }

    #[test]
    fn ticks_are_compared_by_what_they_do() {
        let of = |body: &[u8]| [Builder::new().to_bytes(), body.to_vec()].concat();
        let diff = |a: &[u8], b: &[u8]| {
            let (a, b) = (of(a), of(b));
            let found = Difference::read(Job::open(&a[..]).unwrap(), Job::open(&b[..]).unwrap()).unwrap();
            (found.first_tick, found.first_path_tick, found.first_laser_tick)
        };
        let x = tick::X_STEP;
        assert_eq!(diff(&[0xff, x, x], &[0xff, x, x | tick::FIRE]), (Some(2), None, Some(2)));
        assert_eq!(diff(&[0xff, x, x], &[0xfe, x, 0]), (Some(0), Some(2), Some(0)));
        // A direction without a step has no effect.
        assert_eq!(diff(&[0xff, 0], &[0xff, tick::X_NEGATIVE]), (Some(1), None, None));
        assert_eq!(diff(&[0xff, x], &[0xff, x, 0, 0]), (Some(2), None, None));
    }

    #[test]
    fn the_dose_counts_the_power_level_and_what_neither_has_is_left_out() {
        let of = |body: &[u8]| [Builder::new().to_bytes(), body.to_vec()].concat();
        let rows = |a: &[u8], b: &[u8]| {
            let (a, b) = (of(a), of(b));
            let found = Difference::read(Job::open(&a[..]).unwrap(), Job::open(&b[..]).unwrap()).unwrap();
            found.rows().into_iter().collect::<std::collections::HashMap<_, _>>()
        };
        let lines = [tick::X_STEP | tick::FIRE; 533];
        let cut = |level: u8| [&[tick::POWER | level][..], &lines, &[0; 100]].concat();
        let found = rows(&cut(127), &cut(32));
        assert_eq!(found["fires"], "533 ticks in both");
        assert_eq!(found["dose"], "53.3 ticks/mm in A, 13.4 ticks/mm in B");
        assert!(!found.contains_key("path"), "{found:?}");
        // Before the first power byte, a machine fires at about full power.
        let spot = [tick::FIRE; 50];
        assert_eq!(rows(&spot, &cut(0))["dose"], "50 ticks in A, - in B");
        let dark = rows(&lines.map(|byte| byte & !tick::FIRE), &[0; 533]);
        for name in ["dose", "density", "laser"] {
            assert!(!dark.contains_key(name), "{dark:?}");
        }
        assert!(dark.contains_key("path") && !dark.values().any(|value| value.starts_with("- in")), "{dark:?}");
    }

    #[test]
    fn different_frequencies_are_compared_by_time() {
        let job = |hz, body: &[u8]| [Builder::with_step_frequency(hz).unwrap().to_bytes(), body.to_vec()].concat();
        let slow = job(10_000, &[tick::X_STEP; 1000]);
        let fast = job(20_000, &[tick::X_STEP, 0].repeat(1000));
        let found = Difference::read(Job::open(&slow[..]).unwrap(), Job::open(&fast[..]).unwrap()).unwrap();
        assert!(found.distance.mm < 0.02 && !found.is_same() && found.first_tick.is_none(), "{found:?}");
        assert!(found.codes.iter().any(|found| found.code == code::STEP_FREQUENCY));
    }

    #[test]
    fn an_error_names_the_job() {
        let (good, packed) = (square(5.0, 5.0).to_bytes(), square(5.0, 5.0).to_gzip());
        let cut = &packed[..packed.len() - 4];
        let read = |a, b| Difference::read(Job::open(a).unwrap(), Job::open(b).unwrap()).unwrap_err();
        assert!(matches!(read(&good[..], cut), DifferenceError::B(_)));
        assert!(matches!(read(cut, &good[..]), DifferenceError::A(_)));
    }
}
