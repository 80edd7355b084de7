//! Turns a plan into ticks: each axis makes the steps that keep it nearest to the planned position.

use super::dither::Dither;
use super::planner::PlannedMove;
use super::power::PowerBytes;
use super::{Laser, Move, STEPS_PER_MM, round};
use crate::puls::{Position, tick};

/// Generates the ticks of a planned path.
pub(super) struct StepGenerator<'a> {
    pub(super) moves: &'a [Move],
    pub(super) plan: &'a [PlannedMove],
    pub(super) hz: f64,
    pub(super) power: &'a mut PowerBytes,
    pub(super) dither: &'a mut Dither,
}

impl StepGenerator<'_> {
    /// Appends at least `ticks` ticks to a body. Returns the final position.
    ///
    /// A tick makes the step that is due at its end. A move may end within a tick; the next move has the rest of that
    /// tick, so that times do not drift. No axis makes a step in the tick of a power byte; the next tick makes up for it.
    pub(super) fn generate(self, ticks: usize, start: Position, end: [i64; 2], body: &mut Vec<u8>) -> Position {
        let mut ticks_out = TickGenerator {
            x: Axis { at: start.x, positive: tick::X_STEP, negative: tick::X_STEP | tick::X_NEGATIVE },
            y: Axis { at: start.y, positive: tick::Y_STEP | tick::Y_POSITIVE, negative: tick::Y_STEP },
            fire: FireGenerator { dither: self.dither, laser: None },
            power: self.power,
            body,
        };
        let mut generated = 0_usize;
        let mut start_s = 0.0;
        for planned in self.plan {
            let end_s = start_s + planned.duration_s();
            while generated < ticks {
                let time_s = (generated + 1) as f64 / self.hz;
                if time_s > end_s {
                    break;
                }
                let (position, speed_mm_s) = planned.at(time_s - start_s);
                let target = position.map(|mm| round(mm * STEPS_PER_MM));
                ticks_out.push(&self.moves[planned.index], planned, speed_mm_s, target);
                generated += 1;
            }
            start_s = end_s;
        }
        // The path ends between two ticks, and an axis makes one step per tick, so that steps may be left over.
        if let Some(last) = self.plan.last() {
            while generated < ticks || [ticks_out.x.at, ticks_out.y.at] != end {
                ticks_out.push(&self.moves[last.index], last, 0.0, end);
                generated += 1;
            }
        }
        Position { x: ticks_out.x.at, y: ticks_out.y.at, ..start }
    }
}

/// Generates ticks with steps and fire.
struct TickGenerator<'a> {
    x: Axis,
    y: Axis,
    fire: FireGenerator<'a>,
    power: &'a mut PowerBytes,
    body: &'a mut Vec<u8>,
}

impl TickGenerator<'_> {
    /// Appends a tick: the power byte that has to come before a firing tick, or the steps towards a position.
    fn push(&mut self, requested: &Move, planned: &PlannedMove, speed_mm_s: f64, [x, y]: [i64; 2]) {
        let fires = self.fire.advance(requested, speed_mm_s, planned.limit_mm_s());
        if fires && let Some(power) = self.power.due(self.body) {
            self.fire.postpone();
            self.body.push(power);
        } else {
            let fire = if fires { tick::FIRE } else { 0 };
            self.body.push(self.x.advance(x) | self.y.advance(y) | fire);
        }
    }
}

/// An axis and the bits of its steps.
struct Axis {
    at: i64,
    positive: u8,
    negative: u8,
}

impl Axis {
    /// Makes at most one step towards a position.
    fn advance(&mut self, target: i64) -> u8 {
        let step = (target - self.at).signum();
        self.at += step;
        match step {
            1 => self.positive,
            -1 => self.negative,
            _ => 0,
        }
    }
}

/// Generates the fire bits of a path.
struct FireGenerator<'a> {
    dither: &'a mut Dither,
    laser: Option<Laser>,
}

/// The share of the density that is left in the slowest parts of a [`Laser::Print`]. In the service's prints, it was 0.38
/// to 0.41 (measured on hardware).
const SLOWEST_SHARE: f64 = 0.39;

impl FireGenerator<'_> {
    /// Returns whether the laser fires in the next tick of a move. `limit_mm_s` is the speed that the machine allows for
    /// that move.
    fn advance(&mut self, requested: &Move, speed_mm_s: f64, limit_mm_s: f64) -> bool {
        let before = self.laser.replace(requested.laser);
        let density = match requested.laser {
            Laser::Off => return false,
            Laser::Constant(density) => density,
            Laser::Dynamic(density) => density * (speed_mm_s / requested.speed_mm_s).min(1.0),
            Laser::Print(density) => density * (speed_mm_s / limit_mm_s).clamp(SLOWEST_SHARE, 1.0),
        };
        if before != self.laser {
            // Keeps the error: the pixels of an engraving are no longer than a period.
            self.dither.restart_period();
        }
        self.dither.advance(density)
    }

    /// Makes up for the last tick, which could not fire, with a later one.
    fn postpone(&mut self) {
        self.dither.postpone();
    }
}
