//! What the ticks of a body tell beside its segments.

use std::collections::VecDeque;

use super::super::laser_gaps::{SHORT_GAP_TICKS, are_alike};
use super::super::{Position, tick};

/// The length of the windows in which density and speed are compared.
const WINDOW_TICKS: u32 = 64;
/// The shortest time without a step in which the head may stop: from rest, the first step takes 5 ms.
const STOP_S: f64 = 0.008;
/// More than in the ticks that are read ahead of the segments.
const MAX_STOPS: usize = 256;

/// How the density depends on the speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaserMode {
    /// Not at all: `M3`.
    Constant,
    /// It is proportional: `M4`.
    Dynamic,
}

impl LaserMode {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Constant => "M3",
            Self::Dynamic => "M4",
        }
    }
}

/// What the ticks of a body tell beside its segments: where the head stops, and whether the density follows the speed.
#[derive(Debug, Default)]
pub(super) struct TickWatch {
    stop_ticks: u64,
    tick: u64,
    last_step: u64,
    /// The last times without a step that are long enough for a stop.
    stops: VecDeque<[u64; 2]>,

    at: Position,
    ticks: u32,
    start: Position,
    fired: u32,
    /// The last windows: firing ticks and way in microsteps. The middle one counts if the laser is on in all of them.
    last: [(f64, f64); 2],
    /// The last firing tick, where it was, and the ticks since the one before.
    last_fire: u64,
    last_fire_at: Position,
    last_interval: u64,
    windows: f64,
    fire: f64,
    fire_squared: f64,
    way_squared: f64,
    fire_way: f64,
}

impl TickWatch {
    /// Creates one for a body with that step frequency.
    pub(super) fn new(hz: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a step frequency fits 32 bits")]
        let stop_ticks = (hz * STOP_S) as u64;
        Self { stop_ticks, ..Self::default() }
    }

    /// Adds ticks.
    pub(super) fn add(&mut self, ticks: &[u8]) {
        for &byte in ticks {
            self.tick += 1;
            if byte & tick::POWER == 0 && byte & (tick::X_STEP | tick::Y_STEP) != 0 {
                if self.tick - self.last_step >= self.stop_ticks {
                    self.stops.truncate(MAX_STOPS - 1);
                    self.stops.push_front([self.last_step, self.tick]);
                }
                self.last_step = self.tick;
            }
            if self.at.advance(byte) {
                self.fired += 1;
                self.end_interval();
            }
            self.ticks += 1;
            if self.ticks == WINDOW_TICKS {
                self.end_window();
            }
        }
    }

    fn end_window(&mut self) {
        let (x, y) = (self.at.x - self.start.x, self.at.y - self.start.y);
        let window = (f64::from(self.fired), (x as f64).hypot(y as f64));
        (self.ticks, self.fired, self.start) = (0, 0, self.at);
        let [before, (fire, way)] = self.last;
        self.last = [(fire, way), window];
        if before.0 > 0.0 && fire > 0.0 && window.0 > 0.0 {
            self.compare(fire, way);
        }
    }

    /// Ends the time since the last firing tick, which is a window of its own if windows may be without one.
    fn end_interval(&mut self) {
        let ticks = self.tick - self.last_fire;
        let (x, y) = (self.at.x - self.last_fire_at.x, self.at.y - self.last_fire_at.y);
        let before = std::mem::replace(&mut self.last_interval, ticks);
        (self.last_fire, self.last_fire_at) = (self.tick, self.at);
        if ticks > u64::from(SHORT_GAP_TICKS) + 1 && are_alike(before, ticks) {
            let windows = ticks as f64 / f64::from(WINDOW_TICKS);
            self.compare(1.0 / windows, (x as f64).hypot(y as f64) / windows);
        }
    }

    fn compare(&mut self, fire: f64, way: f64) {
        self.windows += 1.0;
        self.fire += fire;
        self.fire_squared += fire * fire;
        self.way_squared += way * way;
        self.fire_way += fire * way;
    }

    /// Returns when the head stops around a tick, one of the last few thousand: halfway between two steps.
    pub(super) fn stop_at(&self, tick: u64) -> Option<f64> {
        let stop = self.stops.iter().find(|&&[from, to]| (from..=to).contains(&tick));
        stop.map(|&[from, to]| f64::midpoint(from as f64, to as f64))
    }

    /// Returns the mode that fits the windows since the last call better.
    pub(super) fn take_mode(&mut self) -> LaserMode {
        let Self { windows, fire, fire_squared, way_squared, fire_way, .. } = *self;
        (self.windows, self.fire, self.fire_squared, self.way_squared, self.fire_way) = (0.0, 0.0, 0.0, 0.0, 0.0);
        let constant = fire_squared - fire * fire / windows.max(1.0);
        let dynamic = fire_squared - fire_way * fire_way / way_squared.max(1.0);
        if constant < dynamic { LaserMode::Constant } else { LaserMode::Dynamic }
    }
}
