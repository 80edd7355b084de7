//! Everything that is measured of a body, in one pass.

use std::io::Read;

use super::laser_gaps::SHORT_GAP_TICKS;
use super::sampler::Sampler;
use super::{Counts, Dose, Dots, Extents, Header, Job, Limits, Measured, Result, Segment, Tracer};

/// Measures a body. Takes it in pieces of any size, which do not affect the result.
///
/// [`measure`] reads a whole file with it. Use it directly to process the same bytes, or the segments found in them, in
/// the same pass.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Meter};
///
/// let mut job = Builder::new();
/// job.move_to(10.0, 0.0)?.cut_to(10.0, 5.0, 50.0, 3.0 / 7.0)?;
///
/// let mut meter = Meter::new(job.header());
/// let mut cuts = 0;
/// for piece in job.body().chunks(1000) {
///     meter.add(piece, &mut |segment| cuts += u32::from(segment.laser));
/// }
/// let measured = meter.finish(&mut |segment| cuts += u32::from(segment.laser));
/// assert_eq!(cuts, 1);
/// assert!((measured.cut_mm - 5.0).abs() < 0.02);
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Meter {
    header: Header,
    tracer: Tracer,
    sampler: Sampler,
    sums: Sums,
}

/// Sums over segments.
#[derive(Debug, Clone)]
struct Sums {
    counts: Counts,
    extents: Extents,
    moving_ticks: u64,
    idle_ticks: u64,
    travelled_mm: f64,
    cut_mm: f64,
    /// By power level. The last entry is for before the first power byte.
    powers: Vec<Dose>,
    /// By fire density, in sevenths.
    densities: [Dose; 8],
    dots: Dots,
    lit: LitSegments,
}

/// The segments with the laser on since it was last off, as long as they may be a dot.
#[derive(Debug, Clone, Default)]
struct LitSegments {
    ticks: u64,
    /// The dose of each and its density in sevenths; empty once they are too long.
    doses: Vec<(u8, Dose)>,
}

/// Reads a file to its end and measures it. A job that [`Measured::check`] rejects is measured as well.
///
/// # Errors
/// Those of [`Job::with_limits`] and [`Job::next_chunk`].
pub fn measure<R: Read>(reader: R, limits: Limits) -> Result<Measured> {
    let mut job = Job::with_limits(reader, limits)?;
    let mut meter = Meter::new(job.header());
    while let Some(chunk) = job.next_chunk()? {
        meter.add(chunk, &mut |_| ());
    }
    Ok(meter.finish(&mut |_| ()))
}

impl Meter {
    /// Creates a meter for a body with that header, which defines steps and ticks.
    #[must_use]
    pub fn new(header: &Header) -> Self {
        Self {
            header: header.clone(),
            tracer: Tracer::new(header),
            sampler: Sampler::new(header),
            sums: Sums::default(),
        }
    }

    /// Adds ticks. Calls `on_segment` for every segment that they complete.
    pub fn add(&mut self, ticks: &[u8], on_segment: &mut dyn FnMut(&Segment)) {
        let (header, sums) = (&self.header, &mut self.sums);
        self.tracer.add_sampled(ticks, Some(&mut self.sampler), &mut |segment| {
            sums.add(segment, header);
            on_segment(segment);
        });
    }

    /// Ends the body. Calls `on_segment` for the segments that are left.
    #[must_use]
    pub fn finish(self, on_segment: &mut dyn FnMut(&Segment)) -> Measured {
        let Self { header, tracer, mut sampler, mut sums } = self;
        let end = tracer.finish_sampled(Some(&mut sampler), &mut |segment| {
            sums.add(segment, &header);
            on_segment(segment);
        });
        sums.end_lit();
        let sampled = sampler.finish(end);
        let ticks = end.moment.tick;
        let hz = header.step_frequency_hz();
        Measured {
            ticks,
            run_time_s: hz.map(|hz| ticks as f64 / f64::from(hz)),
            counts: Counts { lp: sampled.power_bytes, ..sums.counts },
            extents: Extents { fire: sampled.fire_box, ..sums.extents },
            moving_ticks: sums.moving_ticks,
            idle_ticks: sums.idle_ticks,
            travelled_mm: sums.travelled_mm,
            cut_mm: sums.cut_mm,
            // A move shorter than a sample is faster than that sample.
            peak_mm_s: hz.map(|hz| {
                let mean_mm_s = sums.travelled_mm * f64::from(hz) / sums.moving_ticks.max(1) as f64;
                sampled.peak_mm_s.max(mean_mm_s)
            }),
            powers: (0..)
                .zip(&sums.powers)
                .filter(|(_, dose)| dose.fire_ticks > 0)
                .map(|(i, &dose)| ((i < NO_POWER).then_some(i), dose))
                .collect(),
            densities: sums.densities,
            dots: sums.dots,
            fire_before_power_tick: sampled.fire_before_power_tick,
            timeline: sampled.timeline,
            header,
        }
    }
}

/// The longest time with the laser on that is a dot: two periods of the dither, in which a density cannot be told.
const MAX_DOT_TICKS: u64 = SHORT_GAP_TICKS as u64;
/// The index in [`Sums::powers`] for before the first power byte, after the 128 levels.
const NO_POWER: u8 = 128;

impl Default for Sums {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            extents: Extents::default(),
            moving_ticks: 0,
            idle_ticks: 0,
            travelled_mm: 0.0,
            cut_mm: 0.0,
            powers: vec![Dose::default(); usize::from(NO_POWER) + 1],
            densities: [Dose::default(); 8],
            dots: Dots::default(),
            lit: LitSegments::default(),
        }
    }
}

impl Sums {
    fn add(&mut self, segment: &Segment, header: &Header) {
        self.counts.add_segment(segment);
        self.extents.include(segment);
        let mm = segment.length_mm(header);
        if !segment.is_rest() {
            self.moving_ticks += segment.ticks;
        } else if !segment.laser {
            self.idle_ticks += segment.ticks;
        }
        self.travelled_mm += mm;
        if segment.laser {
            self.cut_mm += mm;
            let dose = Dose { mm, fire_ticks: segment.fire_ticks, lit_ticks: segment.ticks };
            self.powers[usize::from(segment.power.unwrap_or(NO_POWER))].add(&dose);
            self.add_lit(segment.sevenths(), &dose);
        } else {
            self.end_lit();
        }
    }

    /// Adds a dose to those by density, unless it may be of a dot.
    fn add_lit(&mut self, sevenths: u8, dose: &Dose) {
        self.lit.ticks += dose.lit_ticks;
        if self.lit.ticks <= MAX_DOT_TICKS {
            self.lit.doses.push((sevenths, *dose));
            return;
        }
        for (sevenths, dose) in self.lit.doses.drain(..) {
            self.densities[usize::from(sevenths)].add(&dose);
        }
        self.densities[usize::from(sevenths)].add(dose);
    }

    /// Ends a run of segments with the laser on, which is a dot if it is short.
    fn end_lit(&mut self) {
        if !self.lit.doses.is_empty() {
            self.dots.count += 1;
            for (_, dose) in self.lit.doses.drain(..) {
                self.dots.fire_ticks += dose.fire_ticks;
                self.dots.lit_ticks += dose.lit_ticks;
            }
        }
        self.lit.ticks = 0;
    }
}
