//! What drawings need of a [`Builder`] beside its public API.

use super::power::PowerBytes;
use super::{Builder, STEPS_PER_MM, TRAVEL_SPEED};
use crate::puls::{Position, Span};

/// A state of a job to return to.
#[derive(Clone, Copy)]
pub(in crate::puls) struct Checkpoint {
    ticks: usize,
    position: Position,
    power: PowerBytes,
    moves: bool,
    lens: Span,
}

impl Builder {
    pub(in crate::puls) fn checkpoint(&self) -> Checkpoint {
        let Self { position, power, moves, lens, .. } = *self;
        Checkpoint { ticks: self.body.len(), position, power, moves, lens }
    }

    /// Removes everything after a checkpoint.
    pub(in crate::puls) fn restore(&mut self, checkpoint: Checkpoint) {
        self.body.truncate(checkpoint.ticks);
        (self.position, self.power) = (checkpoint.position, checkpoint.power);
        (self.moves, self.lens) = (checkpoint.moves, checkpoint.lens);
        self.update_header();
    }

    /// Returns whether the lens can move to a height.
    pub(in crate::puls) fn lens_reaches(&self, z_mm: f64) -> bool {
        self.lens_span(z_mm).is_some()
    }

    /// Returns where the head is, in mm from the start.
    pub(in crate::puls) fn head_mm(&self) -> [f64; 2] {
        [self.position.x, self.position.y].map(|steps| steps as f64 / STEPS_PER_MM)
    }

    pub(in crate::puls) fn lens_mm(&self) -> f64 {
        self.header().z_mm(self.position.z)
    }

    pub(in crate::puls) fn acceleration_x(&self) -> f64 {
        self.acceleration[0]
    }

    /// Returns the speed of an axis that steps in every tick.
    pub(in crate::puls) fn axis_mm_s(&self) -> f64 {
        f64::from(self.step_frequency_hz) / STEPS_PER_MM
    }

    /// Returns the highest speed of the head along X or Y, in mm/s: faster moves are made at that speed. One step in each
    /// tick, and no more than the travel speed or 200 mm/s, whichever is higher.
    #[must_use]
    pub fn max_speed_mm_s(&self) -> f64 {
        self.axis_mm_s().min(self.travel_speed_mm_s.max(TRAVEL_SPEED))
    }

    pub(in crate::puls) fn travel_speed_mm_s(&self) -> f64 {
        self.travel_speed_mm_s
    }
}
