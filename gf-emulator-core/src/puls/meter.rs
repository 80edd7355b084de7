//! Everything that is measured of a body, in one pass.

use super::bit_planes::{BLOCK_TICKS, bits_below};
use super::laser_gaps::{LaserBlock, SHORT_GAP_TICKS};
use super::lengths::Lengths;
use super::sampler::Sampler;
use super::segment::sevenths;
use super::segmenter::{DenseBlock, Sink, Waypoint};
use super::{Counts, Dose, Dots, Header, Measured, Segment, Tracer, detail, tick};

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
    tracer: Tracer,
    parts: Parts,
}

/// What a meter sums up.
#[derive(Debug, Clone)]
struct Parts {
    header: Header,
    lengths: Lengths,
    sampler: Sampler,
    sums: Sums,
}

/// Takes segments for a meter, and for its caller if there is a function.
struct MeterSink<'a> {
    parts: &'a mut Parts,
    on_segment: Option<&'a mut dyn FnMut(&Segment)>,
}

impl Sink for MeterSink<'_> {
    fn block(&mut self, block: &LaserBlock, start: Waypoint) {
        self.parts.sampler.add_block(block, start);
    }

    fn dense_block(&mut self, block: &DenseBlock<'_>) {
        self.parts.sums.add_block(block, &self.parts.lengths);
    }

    #[inline]
    fn segment(&mut self, segment: &Segment, is_dense: bool) {
        let Parts { header, lengths, sums, .. } = self.parts;
        if is_dense {
            sums.moving_ticks += segment.ticks;
            sums.dense_ticks += segment.ticks;
        } else {
            sums.add(segment, lengths.length_mm(segment, header));
        }
        if let Some(on_segment) = &mut self.on_segment {
            on_segment(segment);
        }
    }

    fn wants_dense_segments(&self) -> bool {
        self.on_segment.is_some()
    }
}

/// Sums over segments.
#[derive(Debug, Clone)]
struct Sums {
    /// Steps in both directions, on each axis.
    steps: [u64; 3],
    moving_ticks: u64,
    idle_ticks: u64,
    dense_ticks: u64,
    travelled_mm: f64,
    cut_mm: f64,
    /// By power level. The last entry is for before the first power byte.
    powers: Vec<Dose>,
    /// By fire density, in sevenths.
    densities: [Dose; 8],
    dots: Dots,
    lit: LitSegments,
    dense: DenseDose,
}

/// The dose in dense stretches.
#[derive(Debug, Clone)]
struct DenseDose {
    mm: f64,
    /// Firing ticks and ticks with the laser on, by power level.
    ticks: Vec<(u64, u64)>,
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
        Self::with_work(header, detail::MOST)
    }

    /// Creates a meter that may save up another amount of work, as [`detail`] counts it.
    pub(super) fn with_work(header: &Header, most_work: i64) -> Self {
        let (lengths, sampler) = (Lengths::new(header), Sampler::new(header));
        let parts = Parts { header: header.clone(), lengths, sampler, sums: Sums::default() };
        Self { tracer: Tracer::with_work(header, most_work), parts }
    }

    /// Adds ticks. Calls `on_segment` for every segment that they complete.
    pub fn add(&mut self, ticks: &[u8], on_segment: &mut dyn FnMut(&Segment)) {
        let Self { tracer, parts } = self;
        tracer.add_to(ticks, &mut MeterSink { parts, on_segment: Some(on_segment) });
    }

    /// Adds ticks without a call for each segment. Measures the same as [`add`](Self::add), and takes at most a few times as
    /// long as for a print, whatever the ticks are: in [dense stretches](Measured::dense_ticks) it finds no segments.
    pub fn add_ticks(&mut self, ticks: &[u8]) {
        let Self { tracer, parts } = self;
        tracer.add_to(ticks, &mut MeterSink { parts, on_segment: None });
    }

    /// Ends the body. Calls `on_segment` for the segments that are left.
    #[must_use]
    pub fn finish(self, on_segment: &mut dyn FnMut(&Segment)) -> Measured {
        let Self { tracer, mut parts } = self;
        let end = tracer.finish_to(&mut MeterSink { parts: &mut parts, on_segment: Some(on_segment) });
        let Parts { header, mut sums, sampler, .. } = parts;
        sums.end_lit();
        sums.end_dense();
        let sampled = sampler.finish(end);
        let ticks = end.moment.tick;
        let hz = header.step_frequency_hz();
        Measured {
            ticks,
            run_time_s: hz.map(|hz| ticks as f64 / f64::from(hz)),
            counts: Counts::of(sums.steps, end.position, end.moment.fire_ticks, sampled.power_bytes),
            extents: sampled.extents,
            moving_ticks: sums.moving_ticks,
            idle_ticks: sums.idle_ticks,
            dense_ticks: sums.dense_ticks,
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
            moving_ticks: 0,
            idle_ticks: 0,
            dense_ticks: 0,
            travelled_mm: 0.0,
            cut_mm: 0.0,
            powers: vec![Dose::default(); usize::from(NO_POWER) + 1],
            densities: [Dose::default(); 8],
            dots: Dots::default(),
            lit: LitSegments::default(),
            dense: DenseDose { mm: 0.0, ticks: vec![(0, 0); usize::from(NO_POWER) + 1] },
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

    /// Adds a block of a dense stretch: straight if neither X nor Y reverses, or else step by step, with one dose for the density.
    fn add_block(&mut self, dense: &DenseBlock<'_>, lengths: &Lengths) {
        let DenseBlock { block: LaserBlock { planes, ticks: block_ticks, .. }, laser, power_bytes, power } = *dense;
        for (sum, steps) in self.steps.iter_mut().zip([planes.x_step, planes.y_step, planes.z_step]) {
            *sum += u64::from(steps.count_ones());
        }
        let is_straight = planes.is_head_monotonic();
        let mm = |ticks: u64| {
            if is_straight {
                let by = planes.displacement(ticks);
                return (by.x as f64 * lengths.of(1, 0)).hypot(by.y as f64 * lengths.of(0, 1));
            }
            let both = planes.x_step & planes.y_step;
            let kinds = [(planes.x_step ^ both, 1, 0), (planes.y_step ^ both, 0, 1), (both, 1, 1)];
            kinds.into_iter().map(|(steps, x, y)| f64::from((steps & ticks).count_ones()) * lengths.of(x, y)).sum()
        };
        self.travelled_mm += mm(u64::MAX);
        if laser & 1 == 0 {
            self.end_lit();
        }
        if laser == 0 {
            return;
        }
        let ticks_of = |ticks: u64| u64::from(ticks.count_ones());
        let dose = Dose { mm: mm(laser), fire_ticks: ticks_of(planes.fire), lit_ticks: ticks_of(laser) };
        self.cut_mm += dose.mm;
        self.dense.mm += dose.mm;
        self.add_lit(sevenths(dose.fire_ticks, dose.lit_ticks), &dose);
        let (mut level, mut below, mut changes) = (power.unwrap_or(NO_POWER), 0, power_bytes);
        let mut add = |level: u8, part: u64| {
            let ticks = &mut self.dense.ticks[usize::from(level)];
            ticks.0 += ticks_of(planes.fire & part);
            ticks.1 += ticks_of(laser & part);
        };
        while changes != 0 {
            let at = changes.trailing_zeros();
            changes &= changes - 1;
            let next = block_ticks[at as usize] & tick::LEVEL;
            if next != level {
                add(level, bits_below(at) & !below);
                (below, level) = (bits_below(at), next);
            }
        }
        add(level, !below);
        if laser >> (BLOCK_TICKS - 1) == 0 {
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

    /// Adds the dense stretches to the doses by power. Each level has a share of the distance, by its time.
    fn end_dense(&mut self) {
        let lit_ticks: u64 = self.dense.ticks.iter().map(|(_, lit)| lit).sum();
        let mm_per_tick = self.dense.mm / lit_ticks.max(1) as f64;
        for (power, &(fire_ticks, lit_ticks)) in self.powers.iter_mut().zip(&self.dense.ticks) {
            power.add(&Dose { mm: mm_per_tick * lit_ticks as f64, fire_ticks, lit_ticks });
        }
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
