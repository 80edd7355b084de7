//! From a plan to ticks: each axis makes the steps that keep it nearest to where the plan has the head.

use super::dither::Dither;
use super::planner::Stretch;
use super::{Laser, Leg, STEPS_PER_MM, nearest};
use crate::puls::{Position, tick};

/// A planned path, and how many ticks a second there are to play it in.
pub(super) struct Track<'a> {
    pub(super) legs: &'a [Leg],
    pub(super) stretches: &'a [Stretch],
    pub(super) hz: f64,
}

impl Track<'_> {
    /// Adds the ticks to a body, at least so many, and says where the head is then.
    ///
    /// A tick shows what the head does until its end. What is left of a stretch's last tick belongs to the next stretch,
    /// so that times do not drift.
    pub(super) fn play(&self, ticks: usize, start: Position, [x_end, y_end]: [i64; 2], body: &mut Vec<u8>) -> Position {
        let mut x = Axis { at: start.x, positive: tick::X_STEP, negative: tick::X_STEP | tick::X_NEGATIVE };
        let mut y = Axis { at: start.y, positive: tick::Y_STEP | tick::Y_POSITIVE, negative: tick::Y_STEP };
        let mut fire = Fire::default();
        let mut played = 0_usize;
        let mut begins_s = 0.0;
        for stretch in self.stretches {
            let leg = &self.legs[stretch.leg];
            let ends_s = begins_s + stretch.duration_s();
            while played < ticks {
                let time_s = (played + 1) as f64 / self.hz;
                if time_s > ends_s {
                    break;
                }
                let (place, speed_mm_s) = stretch.at(time_s - begins_s);
                let [x_now, y_now] = place.map(|mm| nearest(mm * STEPS_PER_MM));
                body.push(x.advance(x_now) | y.advance(y_now) | fire.advance(leg, speed_mm_s));
                played += 1;
            }
            begins_s = ends_s;
        }
        // The end is between two ticks, and rounding can leave a step for after it; an axis never makes two in one.
        if let Some(leg) = self.stretches.last().map(|stretch| &self.legs[stretch.leg]) {
            while played < ticks || x.at != x_end || y.at != y_end {
                body.push(x.advance(x_end) | y.advance(y_end) | fire.advance(leg, 0.0));
                played += 1;
            }
        }
        Position { x: x.at, y: y.at, ..start }
    }
}

/// One axis on its way, and what a step of it looks like.
struct Axis {
    at: i64,
    positive: u8,
    negative: u8,
}

impl Axis {
    /// Makes a step if it is not where it should be.
    fn advance(&mut self, wanted: i64) -> u8 {
        let way = (wanted - self.at).signum();
        self.at += way;
        match way {
            1 => self.positive,
            -1 => self.negative,
            _ => 0,
        }
    }
}

/// The laser along a path.
#[derive(Default)]
struct Fire {
    dither: Dither,
    laser: Option<Laser>,
}

impl Fire {
    fn advance(&mut self, leg: &Leg, speed_mm_s: f64) -> u8 {
        let before = self.laser.replace(leg.laser);
        let density = match leg.laser {
            Laser::Off => return 0,
            Laser::Constant(density) => density,
            Laser::Dynamic(density) => density * (speed_mm_s / leg.speed_mm_s).min(1.0),
        };
        if before == Some(Laser::Off) {
            // A stroke begins with fire, whatever became of the one before.
            self.dither = Dither::default();
        } else if before != self.laser {
            self.dither.turn();
        }
        if self.dither.advance(density) { tick::FIRE } else { 0 }
    }
}
