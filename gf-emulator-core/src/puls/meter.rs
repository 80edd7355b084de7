//! Everything that is measured of a body, in one pass over it.

#![expect(clippy::inline_always, reason = "to be compiled for the processor that the caller is compiled for")]

use super::measured::Dose;
use super::planes::Planes;
use super::timeline::{Bin, Timeline};
use super::{Counts, Extents, Header, Measured, Segment, Tracer};

/// Speed is measured over so many parts of a second: long enough for slow cuts to have several steps in it, short
/// enough for a peak to show.
const SAMPLE_PARTS_OF_SECOND: u64 = 40;
/// Samples are a multiple of this many ticks: whole blocks.
const SAMPLE_MULTIPLE_TICKS: u64 = 64;
/// A sample where the header has no step frequency: about what it is for a print.
const DEFAULT_SAMPLE_TICKS: u64 = 256;

/// Measures a body that is handed over in pieces, however it is cut up; what is measured does not depend on it.
///
/// [`measure`](super::measure) reads a whole file with it. By itself it is for programs that do something else with the
/// same bytes in the same pass: the segments that it finds on its way are handed out.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Meter};
///
/// let mut job = Builder::new();
/// job.move_to(10.0, 0.0)?.cut_to(10.0, 5.0, 50.0, 3.0 / 7.0)?;
///
/// let mut meter = Meter::new(job.header());
/// let mut segments = 0;
/// for piece in job.body().chunks(1000) {
///     meter.add(piece, &mut |_| segments += 1);
/// }
/// let measured = meter.finish(&mut |_| segments += 1);
/// assert_eq!(segments, 2);
/// assert!((measured.cut_mm - 5.0).abs() < 0.02);
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Meter {
    header: Header,
    tracer: Tracer,
    sums: Sums,
    samples: Samples,
    ticks: u64,
}

/// What is counted a sample at a time.
#[derive(Debug, Clone)]
pub(super) struct Samples {
    /// A step in mm on each axis.
    x_mm: f64,
    y_mm: f64,
    hz: f64,
    extents: Extents,
    /// Those that are over.
    counts: Counts,
    timeline: Timeline,
    peak_mm_s: f64,
    sample: Counts,
    sample_ticks: u64,
    ticks_in_sample: u64,
}

/// What segments add up to.
#[derive(Debug, Clone)]
struct Sums {
    moving_ticks: u64,
    idle_ticks: u64,
    travelled_mm: f64,
    cut_mm: f64,
    /// By power level; the last one is for before the first power byte.
    powers: Vec<Dose>,
    /// By sevenths of the ticks that fire.
    densities: [Dose; 8],
}

impl Meter {
    /// For the body of a file with that header, which says what a step and a tick are.
    #[must_use]
    pub fn new(header: &Header) -> Self {
        Self {
            header: header.clone(),
            tracer: Tracer::new(header),
            sums: Sums::default(),
            samples: Samples::new(header),
            ticks: 0,
        }
    }

    /// Goes through some more ticks, and hands over every segment that ends in them.
    pub fn add(&mut self, ticks: &[u8], each: &mut dyn FnMut(&Segment)) {
        self.ticks += ticks.len() as u64;
        let (header, sums) = (&self.header, &mut self.sums);
        self.tracer.trace(ticks, Some(&mut self.samples), &mut |segment| {
            sums.add(segment, header);
            each(segment);
        });
    }

    /// Ends the body: hands over the segments that are left, and says what was measured.
    #[must_use]
    pub fn finish(self, each: &mut dyn FnMut(&Segment)) -> Measured {
        let (header, mut sums, mut samples) = (self.header, self.sums, self.samples);
        self.tracer.finish_with(Some(&mut samples), &mut |segment| {
            sums.add(segment, &header);
            each(segment);
        });
        if samples.ticks_in_sample > 0 {
            samples.end();
        }
        let hz = header.step_frequency_hz();
        Measured {
            ticks: self.ticks,
            run_time_s: hz.map(|hz| self.ticks as f64 / f64::from(hz)),
            counts: samples.counts,
            extents: samples.extents,
            moving_ticks: sums.moving_ticks,
            idle_ticks: sums.idle_ticks,
            travelled_mm: sums.travelled_mm,
            cut_mm: sums.cut_mm,
            // What is over within a sample was faster than that sample says.
            peak_mm_s: hz.map(|hz| {
                let mean_mm_s = sums.travelled_mm * f64::from(hz) / sums.moving_ticks.max(1) as f64;
                samples.peak_mm_s.max(mean_mm_s)
            }),
            powers: (0..)
                .zip(&sums.powers)
                .filter(|(_, dose)| dose.fire_ticks > 0)
                .map(|(i, &dose)| (level(i), dose))
                .collect(),
            densities: sums.densities,
            timeline: samples.timeline,
            header,
        }
    }
}

impl Samples {
    fn new(header: &Header) -> Self {
        let sample_ticks = header.step_frequency_hz().map_or(DEFAULT_SAMPLE_TICKS, |hz| {
            (u64::from(hz) / SAMPLE_PARTS_OF_SECOND).next_multiple_of(SAMPLE_MULTIPLE_TICKS).max(SAMPLE_MULTIPLE_TICKS)
        });
        Self {
            x_mm: header.x_mm(1),
            y_mm: header.y_mm(1),
            hz: header.step_frequency_hz().map_or(0.0, f64::from),
            extents: Extents::default(),
            counts: Counts::default(),
            timeline: Timeline::new(sample_ticks),
            peak_mm_s: 0.0,
            sample: Counts::default(),
            sample_ticks,
            ticks_in_sample: 0,
        }
    }

    /// Takes a block, of which so many ticks are the body's: all of them but in the last one.
    #[inline(always)]
    pub(super) fn add(&mut self, planes: &Planes, ticks: u64) {
        let counts = planes.counts();
        self.extents.include(planes, &counts);
        self.sample += counts;
        self.ticks_in_sample += ticks;
        if self.ticks_in_sample == self.sample_ticks {
            self.end();
        }
    }

    /// Lets that many ticks go by in which nothing happens: whole blocks.
    pub(super) fn pass(&mut self, mut ticks: u64) {
        while ticks > 0 {
            let now = ticks.min(self.sample_ticks - self.ticks_in_sample);
            self.ticks_in_sample += now;
            ticks -= now;
            if self.ticks_in_sample == self.sample_ticks {
                self.end();
            }
        }
    }

    fn end(&mut self) {
        let sample = std::mem::take(&mut self.sample);
        // Over a whole sample's time for the last one, too: one step in one tick is no speed.
        let way_mm = (self.x_mm * sample.x_end() as f64).hypot(self.y_mm * sample.y_end() as f64);
        let peak_mm_s = way_mm * self.hz / self.sample_ticks as f64;
        self.peak_mm_s = self.peak_mm_s.max(peak_mm_s);
        self.timeline.push(Bin { ticks: self.ticks_in_sample, fire_ticks: sample.le, peak_mm_s });
        self.counts += sample;
        self.ticks_in_sample = 0;
    }
}

/// The level of a place in [`Sums::powers`].
fn level(i: u8) -> Option<u8> {
    (i < NO_POWER).then_some(i)
}

/// Behind the 128 levels.
const NO_POWER: u8 = 128;

impl Default for Sums {
    fn default() -> Self {
        Self {
            moving_ticks: 0,
            idle_ticks: 0,
            travelled_mm: 0.0,
            cut_mm: 0.0,
            powers: vec![Dose::default(); usize::from(NO_POWER) + 1],
            densities: [Dose::default(); 8],
        }
    }
}

impl Sums {
    fn add(&mut self, segment: &Segment, header: &Header) {
        let mm = segment.length_mm(header);
        if !segment.is_rest() {
            self.moving_ticks += segment.ticks;
        } else if !segment.laser {
            self.idle_ticks += segment.ticks;
        }
        self.travelled_mm += mm;
        if segment.laser {
            self.cut_mm += mm;
            for dose in [
                &mut self.powers[usize::from(segment.power.unwrap_or(NO_POWER))],
                &mut self.densities[usize::from(segment.sevenths())],
            ] {
                dose.mm += mm;
                dose.fire_ticks += segment.fire_ticks;
            }
        }
    }
}
