//! Everything that is measured of a body, in one pass.

use super::laser_gaps::SHORT_GAP_TICKS;
use super::lengths::Lengths;
use super::sampler::Sampler;
use super::{Counts, Dose, Dots, Extents, Header, Measured, Segment, Tracer};

/// Measures a body. Takes it in pieces of any size, which do not affect the result.
///
/// [`measure`](super::measure) reads a whole file with it. Use it directly to process the same bytes, or the segments
/// found in them, in the same pass.
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
    lengths: Lengths,
    tracer: Tracer,
    sampler: Sampler,
    sums: Sums,
}

/// Sums over segments.
#[derive(Debug, Clone)]
struct Sums {
    /// Steps in both directions, on each axis.
    steps: [u64; 3],
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

impl Meter {
    /// Creates a meter for a body with that header, which defines steps and ticks.
    #[must_use]
    pub fn new(header: &Header) -> Self {
        Self {
            header: header.clone(),
            lengths: Lengths::new(header),
            tracer: Tracer::new(header),
            sampler: Sampler::new(header),
            sums: Sums::default(),
        }
    }

    /// Adds ticks. Calls `on_segment` for every segment that they complete.
    pub fn add(&mut self, ticks: &[u8], on_segment: &mut dyn FnMut(&Segment)) {
        let Self { header, lengths, tracer, sampler, sums } = self;
        tracer.add_sampled(ticks, Some(sampler), &mut |segment: &Segment| {
            sums.add(segment, lengths.length_mm(segment, header));
            on_segment(segment);
        });
    }

    /// Ends the body. Calls `on_segment` for the segments that are left.
    #[must_use]
    pub fn finish(self, on_segment: &mut dyn FnMut(&Segment)) -> Measured {
        let Self { header, lengths, tracer, mut sampler, mut sums } = self;
        let end = tracer.finish_sampled(Some(&mut sampler), &mut |segment: &Segment| {
            sums.add(segment, lengths.length_mm(segment, &header));
            on_segment(segment);
        });
        sums.end_lit();
        let sampled = sampler.finish(end);
        let ticks = end.moment.tick;
        let hz = header.step_frequency_hz();
        Measured {
            ticks,
            run_time_s: hz.map(|hz| ticks as f64 / f64::from(hz)),
            counts: Counts::of(sums.steps, end.position, end.moment.fire_ticks, sampled.power_bytes),
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
            steps: [0; 3],
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
    #[inline]
    fn add(&mut self, segment: &Segment, mm: f64) {
        let (start, end) = (segment.start, segment.end);
        // Within a segment no axis reverses.
        for (sum, (from, to)) in self.steps.iter_mut().zip([(start.x, end.x), (start.y, end.y), (start.z, end.z)]) {
            *sum += to.abs_diff(from);
        }
        self.extents.include(end);
        // Without branches: in a hostile job they cannot be predicted.
        let (moving, idle) = (!segment.is_rest(), segment.is_rest() && !segment.laser);
        self.moving_ticks += segment.ticks * u64::from(moving);
        self.idle_ticks += segment.ticks * u64::from(idle);
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
    #[inline]
    fn add_lit(&mut self, sevenths: u8, dose: &Dose) {
        self.lit.ticks += dose.lit_ticks;
        if self.lit.ticks <= MAX_DOT_TICKS {
            self.lit.doses.push((sevenths, *dose));
            return;
        }
        if !self.lit.doses.is_empty() {
            for (sevenths, dose) in self.lit.doses.drain(..) {
                self.densities[usize::from(sevenths)].add(&dose);
            }
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
