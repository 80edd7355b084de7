//! The rules for the body of a job, tick by tick.

use std::ops::RangeInclusive;

use super::bed::off_bed;
use super::finding::{Finding, Severity};
use super::header::{LENS_STOPS_HALF_STEPS, LENS_TRAVEL_HALF_STEPS};
use super::{Extents, Header, Position, Refusal, tick};
use crate::words::count;

/// Twice the peak of captured travel, 202 mm/s (measured on hardware).
const MAX_SPEED_MM_S: f64 = 404.0;
/// Twice the highest acceleration of captured jobs, about 1000 mm/s2 (measured on hardware).
const MAX_ACCELERATION_MM_S2: f64 = 2_000.0;
/// The speed from which an axis cannot turn back at once (ours). At twice the highest acceleration of captured jobs it is
/// at 12 mm/s on average in the last [`REVERSAL_STEPS`] before it turns.
const MAX_REVERSAL_MM_S: f64 = 40.0;
/// The speed in the last [`REVERSAL_STEPS`] above which a job has not come to rest (ours). At twice the highest acceleration of
/// captured jobs it is at most 15 mm/s there.
const MAX_END_MM_S: f64 = 16.0;
/// The steps before a step backwards, or before the end, over which the speed is measured.
const REVERSAL_STEPS: usize = 8;
/// Twice the highest speed of the lens in captured jobs, 5.7 mm/s (measured on hardware).
const MAX_LENS_MM_S: f64 = 11.4;
/// Where the lens is safe on every head, in half steps from where a hunt leaves it: the lower stop of some heads is 5 below,
/// and no captured print is above 30 (measured on hardware).
const LENS_OF_PRINTS_HALF_STEPS: RangeInclusive<i64> = -5..=30;
/// The rule for the reach of a job.
const OFF_BED: &str = "off-bed";
/// Speed and acceleration are means over windows of this length.
const WINDOWS_PER_S: u32 = 40;

/// The first tick at which a rule was broken, and how often it was.
#[derive(Debug, Clone, Copy, Default)]
struct Breach {
    first: Option<u64>,
    count: u64,
}

impl Breach {
    fn add(&mut self, tick: u64) {
        self.first.get_or_insert(tick);
        self.count += 1;
    }
}

/// The largest value of a measurement above its limit, and its tick.
#[derive(Debug, Clone, Copy, Default)]
struct Peak {
    tick: u64,
    value: f64,
}

impl Peak {
    fn add(&mut self, tick: u64, value: f64) {
        if value > self.value {
            *self = Self { tick, value };
        }
    }
}

/// The last steps of X or Y.
#[derive(Debug, Clone, Copy, Default)]
struct LastSteps {
    /// Their ticks, a ring buffer.
    ticks: [Option<u64>; REVERSAL_STEPS],
    next: usize,
    direction: i64,
}

impl LastSteps {
    /// Adds a step. If it goes backwards, returns how many ticks it and the [`REVERSAL_STEPS`] before it took.
    fn add(&mut self, tick: u64, direction: i64) -> Option<u64> {
        let first = self.ticks[self.next].replace(tick);
        self.next = (self.next + 1) % REVERSAL_STEPS;
        let turns_back = std::mem::replace(&mut self.direction, direction) != direction;
        first.filter(|_| turns_back).map(|first| tick - first)
    }
}

/// The first ticks at which the lens is beyond a limit.
#[derive(Debug, Clone, Copy, Default)]
struct LensTicks {
    /// The travel of the lens, from an earlier position.
    travel: Option<u64>,
    /// A stop of every head, from where a hunt leaves the lens.
    stop: Option<u64>,
    /// The lower stop of some heads, or the greatest height of captured prints.
    prints: Option<u64>,
}

/// Checks a body, tick by tick.
pub(super) struct Body<'a> {
    header: &'a Header,
    start_mm: Option<[f64; 2]>,
    hz: f64,
    ticks: u64,
    fire_ticks: u64,
    position: Position,
    extents: Extents,
    power_is_set: bool,
    last: u8,
    fire_before_power: Breach,
    power_in_a_row: Breach,
    off_bed_tick: Option<u64>,
    lens: LensTicks,
    last_lens_step: Option<u64>,
    lens_speed: Peak,
    speed: Peak,
    acceleration: Peak,
    last_steps: [LastSteps; 2],
    reversal: Peak,
    window_ticks: u64,
    window_start: Position,
    velocity: [f64; 2],
}

impl<'a> Body<'a> {
    /// Creates a check of a body with this header. `start_mm` is as in [`CheckOptions`](super::CheckOptions).
    pub(super) fn new(header: &'a Header, start_mm: Option<[f64; 2]>) -> Self {
        let hz = header.step_frequency_hz().unwrap_or(0);
        Self {
            header,
            start_mm,
            hz: f64::from(hz),
            ticks: 0,
            fire_ticks: 0,
            position: Position::default(),
            extents: Extents::default(),
            power_is_set: false,
            last: 0,
            fire_before_power: Breach::default(),
            power_in_a_row: Breach::default(),
            off_bed_tick: None,
            lens: LensTicks::default(),
            last_lens_step: None,
            lens_speed: Peak::default(),
            speed: Peak::default(),
            acceleration: Peak::default(),
            last_steps: [LastSteps::default(); 2],
            reversal: Peak::default(),
            window_ticks: u64::from((hz / WINDOWS_PER_S).max(1)),
            window_start: Position::default(),
            velocity: [0.0; 2],
        }
    }

    /// Returns whether the laser has fired.
    pub(super) fn fires(&self) -> bool {
        self.fire_ticks > 0
    }

    /// Returns the number of ticks so far.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Adds ticks.
    pub(super) fn add(&mut self, chunk: &[u8]) {
        for &byte in chunk {
            if byte != 0 {
                self.add_tick(byte);
            }
            self.last = byte;
            self.ticks += 1;
            if self.ticks.is_multiple_of(self.window_ticks) {
                self.end_window();
            }
        }
    }

    fn add_tick(&mut self, byte: u8) {
        if byte & tick::POWER != 0 {
            self.power_is_set = true;
            if self.last & tick::POWER != 0 {
                self.power_in_a_row.add(self.ticks);
            }
            return;
        }
        let before = self.position;
        if self.position.advance(byte) {
            self.fire_ticks += 1;
            if !self.power_is_set {
                self.fire_before_power.add(self.ticks);
            }
        }
        if self.position.z != before.z {
            self.step_lens();
        }
        let steps = [self.position.x - before.x, self.position.y - before.y];
        for (axis, step) in steps.into_iter().enumerate().filter(|&(_, step)| step != 0) {
            if let Some(ticks) = self.last_steps[axis].add(self.ticks, step) {
                self.reversal.add(self.ticks, self.steps_mm_s(axis, REVERSAL_STEPS, ticks));
            }
        }
        self.extents.x.include(self.position.x);
        self.extents.y.include(self.position.y);
    }

    /// Returns the speed of an axis that makes so many steps in so many ticks.
    fn steps_mm_s(&self, axis: usize, steps: usize, ticks: u64) -> f64 {
        let step_mm = [self.header.x_mm(1), self.header.y_mm(1)][axis];
        steps as f64 * step_mm * self.hz / ticks as f64
    }

    /// Returns the speed in the last steps before the end of the faster of both axes.
    fn last_mm_s(&self) -> f64 {
        let speeds = self.last_steps.iter().enumerate().filter_map(|(axis, steps)| {
            let first = steps.ticks[steps.next]?;
            Some(self.steps_mm_s(axis, REVERSAL_STEPS - 1, self.ticks - first))
        });
        speeds.fold(0.0, f64::max)
    }

    fn step_lens(&mut self) {
        self.extents.z.include(self.position.z);
        let half_steps = i64::from(self.header.lens_half_steps());
        let height = self.position.z * half_steps;
        if self.extents.z.steps() > u64::from(LENS_TRAVEL_HALF_STEPS / self.header.lens_half_steps()) {
            self.lens.travel.get_or_insert(self.ticks);
        }
        if !LENS_STOPS_HALF_STEPS.contains(&height) {
            self.lens.stop.get_or_insert(self.ticks);
        }
        if !LENS_OF_PRINTS_HALF_STEPS.contains(&height) {
            self.lens.prints.get_or_insert(self.ticks);
        }
        if let Some(last) = self.last_lens_step.replace(self.ticks) {
            self.lens_speed.add(self.ticks, self.header.z_mm(1) * self.hz / (self.ticks - last) as f64);
        }
    }

    /// Ends a window, over which speed and acceleration are measured.
    fn end_window(&mut self) {
        if self.off_bed_tick.is_none() && off_bed(self.header, &self.extents, self.start_mm).is_some() {
            self.off_bed_tick = Some(self.ticks - 1);
        }
        let start = std::mem::replace(&mut self.window_start, self.position);
        let window_s = self.window_ticks as f64 / self.hz;
        let velocity = [
            self.header.x_mm(self.position.x - start.x) / window_s,
            self.header.y_mm(self.position.y - start.y) / window_s,
        ];
        let change = [velocity[0] - self.velocity[0], velocity[1] - self.velocity[1]];
        self.velocity = velocity;
        if self.hz > 0.0 {
            let tick = self.ticks.saturating_sub(self.window_ticks);
            self.speed.add(tick, velocity[0].hypot(velocity[1]));
            self.acceleration.add(tick, change[0].hypot(change[1]) / window_s);
        }
    }

    /// Ends the body. Returns what was found: by tick, then for the job as a whole.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        // A job that ends at speed stops at once: the rest of its last window, and one at rest.
        let (before_end, mut end_mm_s) = (self.acceleration, self.velocity[0].hypot(self.velocity[1]));
        if self.ticks > 0 {
            self.end_window();
            end_mm_s = end_mm_s.max(self.velocity[0].hypot(self.velocity[1]));
            self.end_window();
        }
        let end_is_error = self.acceleration.value > before_end.value.max(MAX_ACCELERATION_MM_S2);
        let cut_short =
            |mm_s: f64| format!("the job ends while the head moves at {mm_s:.0} mm/s: the file may be cut short");
        let last_mm_s = self.last_mm_s();
        let mut findings = Vec::new();
        let mut find = |severity, rule, tick: u64, message| {
            let time_s = (self.hz > 0.0).then(|| tick as f64 / self.hz);
            findings.push(Finding { severity, rule, tick: Some(tick), time_s, message });
        };
        if let Some(tick) = self.fire_before_power.first {
            let offset = self.header.len_bytes() as u64 + tick;
            let message = format!("the laser fires (byte {offset}) before any power byte");
            find(Severity::Error, Refusal::FireBeforePower { offset, tick }.rule(), tick, message);
        }
        if let Some(tick) = self.power_in_a_row.first {
            let message = format!(
                "{} directly after another, of which only the first counts",
                count(self.power_in_a_row.count, "power byte")
            );
            find(Severity::Remark, "power-in-a-row", tick, message);
        }
        if self.speed.value > MAX_SPEED_MM_S {
            let message = format!("the speed reaches {:.0} mm/s; captured travel peaks at 202", self.speed.value);
            find(Severity::Error, "speed", self.speed.tick, message);
        }
        if self.acceleration.value > MAX_ACCELERATION_MM_S2 {
            let message = if end_is_error {
                cut_short(end_mm_s)
            } else {
                let peak = self.acceleration.value;
                format!("the acceleration reaches {peak:.0} mm/s2 over 25 ms; captured jobs have up to 1000")
            };
            find(Severity::Error, "acceleration", self.acceleration.tick, message);
        }
        if self.reversal.value > MAX_REVERSAL_MM_S {
            let message =
                format!("X or Y turns back at {:.0} mm/s; captured jobs slow down before that", self.reversal.value);
            find(Severity::Error, "acceleration", self.reversal.tick, message);
        }
        if self.lens_speed.value > MAX_LENS_MM_S {
            let message = format!("the lens reaches {:.1} mm/s; captured jobs have up to 5.7", self.lens_speed.value);
            find(Severity::Error, "lens-speed", self.lens_speed.tick, message);
        }
        let lens_mm = [self.extents.z.min, self.extents.z.max].map(|z| self.header.z_mm(z));
        let lens = format!("the lens moves from {:.2} to {:.2} mm above its start", lens_mm[0], lens_mm[1]);
        // A hunt and a motion may start elsewhere. A hunt moves down from the edge of the sensor.
        let from_hunt = |tick: Option<u64>| tick.filter(|_| self.fire_ticks > 0);
        if let Some(tick) = from_hunt(self.lens.stop) {
            let message =
                format!("{lens}; from where a hunt leaves it, its stops are at most 3.42 below and 10.61 above");
            find(Severity::Error, "lens-travel", tick, message);
        } else if let Some(tick) = self.lens.travel {
            find(Severity::Error, "lens-travel", tick, format!("{lens}, farther than its travel of 12.32 mm"));
        } else if let Some(tick) = from_hunt(self.lens.prints) {
            let message =
                format!("{lens}; in captured prints it goes from 0 to 10.27, and some heads have a stop at -1.71");
            find(Severity::Remark, "lens-travel", tick, message);
        }
        let last_tick = self.ticks.saturating_sub(1);
        if let Some(message) = off_bed(self.header, &self.extents, self.start_mm) {
            find(Severity::Error, OFF_BED, self.off_bed_tick.unwrap_or(last_tick), message);
        }
        if self.last & (tick::POWER | tick::FIRE) == tick::FIRE {
            let message =
                "the laser still fires in the last tick: the file may be cut short (the hardware turns it off)";
            find(Severity::Remark, "dark-end", last_tick, message.to_owned());
        }
        if last_mm_s > MAX_END_MM_S && !end_is_error {
            find(Severity::Remark, "moving-end", last_tick, cut_short(last_mm_s));
        }
        findings.sort_by_key(|finding| finding.tick);
        let is_on_bed = findings.iter().all(|finding| finding.rule != OFF_BED);
        if self.start_mm.is_none()
            && is_on_bed
            && self.fire_ticks > 0
            && let Some(message) = off_bed(self.header, &self.extents, Some([0.0; 2]))
        {
            findings.push(Finding { severity: Severity::Remark, rule: OFF_BED, tick: None, time_s: None, message });
        }
        findings
    }
}
