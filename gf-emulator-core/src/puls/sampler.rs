//! What depends on the time of each tick and not on segments: speed and lens over time, where the laser fires, and whether its
//! power is set by then.

use super::laser_gaps::LaserBlock;
use super::segmenter::Waypoint;
use super::timeline::{Bin, Timeline};
use super::{Extents, Header};

/// Samples per second: long enough to hold several steps of a slow cut, short enough to show a peak.
const SAMPLES_PER_SECOND: u64 = 40;
/// Samples last whole blocks.
const SAMPLE_MULTIPLE_TICKS: u64 = 64;
/// The length of a sample if the header has no step frequency: about that of a print.
const DEFAULT_SAMPLE_TICKS: u64 = 256;

/// Samples speed, laser and lens of a body at regular intervals.
#[derive(Debug, Clone)]
pub(super) struct Sampler {
    /// The length of a microstep.
    x_mm: f64,
    y_mm: f64,
    /// 0 if the header has no step frequency.
    hz: f64,
    sample_ticks: u64,
    sample_start: Waypoint,
    timeline: Timeline,
    peak_mm_s: f64,
    extents: Extents,
    power_bytes: u64,
    first_laser: FirstLaser,
}

/// What a body does first with the laser.
#[derive(Debug, Clone, Copy, PartialEq)]
enum FirstLaser {
    Nothing,
    SetsPower,
    FiresAtTick(u64),
}

/// What a [`Sampler`] has measured.
pub(super) struct Sampled {
    pub(super) timeline: Timeline,
    pub(super) peak_mm_s: f64,
    pub(super) extents: Extents,
    pub(super) power_bytes: u64,
    pub(super) fire_before_power_tick: Option<u64>,
}

impl Sampler {
    pub(super) fn new(header: &Header) -> Self {
        let sample_ticks = header.step_frequency_hz().map_or(DEFAULT_SAMPLE_TICKS, |hz| {
            (u64::from(hz) / SAMPLES_PER_SECOND).next_multiple_of(SAMPLE_MULTIPLE_TICKS).max(SAMPLE_MULTIPLE_TICKS)
        });
        Self {
            x_mm: header.x_mm(1),
            y_mm: header.y_mm(1),
            hz: header.step_frequency_hz().map_or(0.0, f64::from),
            sample_ticks,
            sample_start: Waypoint::default(),
            timeline: Timeline::new(sample_ticks),
            peak_mm_s: 0.0,
            extents: Extents::default(),
            power_bytes: 0,
            first_laser: FirstLaser::Nothing,
        }
    }

    /// Adds the next block. Nothing may have happened between the last block and this one.
    #[inline]
    pub(super) fn add_block(&mut self, block: &LaserBlock, start: Waypoint) {
        let planes = &block.planes;
        while start.moment.tick - self.sample_start.moment.tick >= self.sample_ticks {
            let mut end = start;
            end.moment.tick = self.sample_start.moment.tick + self.sample_ticks;
            self.end_sample(end);
        }
        self.extents.add_block(block, start.position);
        if planes.power != 0 {
            self.power_bytes += u64::from(planes.power.count_ones());
        }
        let laser = planes.fire | planes.power;
        if self.first_laser == FirstLaser::Nothing && laser != 0 {
            let i = laser.trailing_zeros();
            self.first_laser = if planes.fire >> i & 1 == 0 {
                FirstLaser::SetsPower
            } else {
                FirstLaser::FiresAtTick(start.moment.tick + u64::from(i))
            };
        }
    }

    /// Ends the last sample, which may be shorter than the others.
    pub(super) fn finish(mut self, end: Waypoint) -> Sampled {
        if end.moment.tick > self.sample_start.moment.tick {
            self.end_sample(end);
        }
        let Self { timeline, peak_mm_s, mut extents, power_bytes, first_laser, .. } = self;
        extents.include(end.position);
        let fire_before_power_tick = if let FirstLaser::FiresAtTick(tick) = first_laser { Some(tick) } else { None };
        Sampled { timeline, peak_mm_s, extents, power_bytes, fire_before_power_tick }
    }

    fn end_sample(&mut self, end: Waypoint) {
        let start = std::mem::replace(&mut self.sample_start, end);
        let x_mm = self.x_mm * (end.position.x - start.position.x) as f64;
        let y_mm = self.y_mm * (end.position.y - start.position.y) as f64;
        // A short last sample counts as a whole one: one step in one tick is no speed.
        let peak_mm_s = x_mm.hypot(y_mm) * self.hz / self.sample_ticks as f64;
        self.peak_mm_s = self.peak_mm_s.max(peak_mm_s);
        self.timeline.push(Bin {
            ticks: end.moment.tick - start.moment.tick,
            fire_ticks: end.moment.fire_ticks - start.moment.fire_ticks,
            peak_mm_s,
            z_max: start.position.z.max(end.position.z),
        });
    }
}
