//! Turns a plan into ticks: each axis makes the steps that keep it nearest to the planned position.

use super::dither::Dither;
use super::planner::PlannedMove;
use super::{Laser, Move, STEPS_PER_MM, round};
use crate::puls::{Position, tick};

/// Generates the ticks of a planned path.
pub(super) struct StepGenerator<'a> {
    pub(super) moves: &'a [Move],
    pub(super) plan: &'a [PlannedMove],
    pub(super) hz: f64,
}

impl StepGenerator<'_> {
    /// Appends at least `ticks` ticks to a body. Returns the final position.
    ///
    /// A tick makes the step that is due at its end. A move may end within a tick; the next move has the rest of that
    /// tick, so that times do not drift.
    pub(super) fn generate(
        &self,
        ticks: usize,
        start: Position,
        [x_end, y_end]: [i64; 2],
        body: &mut Vec<u8>,
    ) -> Position {
        let mut x = Axis { at: start.x, positive: tick::X_STEP, negative: tick::X_STEP | tick::X_NEGATIVE };
        let mut y = Axis { at: start.y, positive: tick::Y_STEP | tick::Y_POSITIVE, negative: tick::Y_STEP };
        let mut fire = FireGenerator::default();
        let mut generated = 0_usize;
        let mut start_s = 0.0;
        for planned in self.plan {
            let requested = &self.moves[planned.index];
            let end_s = start_s + planned.duration_s();
            while generated < ticks {
                let time_s = (generated + 1) as f64 / self.hz;
                if time_s > end_s {
                    break;
                }
                let (position, speed_mm_s) = planned.at(time_s - start_s);
                let [x_now, y_now] = position.map(|mm| round(mm * STEPS_PER_MM));
                body.push(x.advance(x_now) | y.advance(y_now) | fire.advance(requested, speed_mm_s));
                generated += 1;
            }
            start_s = end_s;
        }
        // The path ends between two ticks, and an axis makes one step per tick, so that a step may be left over.
        if let Some(last) = self.plan.last().map(|planned| &self.moves[planned.index]) {
            while generated < ticks || x.at != x_end || y.at != y_end {
                body.push(x.advance(x_end) | y.advance(y_end) | fire.advance(last, 0.0));
                generated += 1;
            }
        }
        Position { x: x.at, y: y.at, ..start }
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
#[derive(Default)]
struct FireGenerator {
    dither: Dither,
    laser: Option<Laser>,
}

impl FireGenerator {
    fn advance(&mut self, requested: &Move, speed_mm_s: f64) -> u8 {
        let before = self.laser.replace(requested.laser);
        let density = match requested.laser {
            Laser::Off => return 0,
            Laser::Constant(density) => density,
            Laser::Dynamic(density) => density * (speed_mm_s / requested.speed_mm_s).min(1.0),
        };
        if before == Some(Laser::Off) {
            // A cut starts with fire, without the error of the previous cut.
            self.dither = Dither::default();
        } else if before != self.laser {
            self.dither.restart_period();
        }
        if self.dither.advance(density) { tick::FIRE } else { 0 }
    }
}
