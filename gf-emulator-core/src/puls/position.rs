//! The position of head and lens.

use serde::Serialize;

use super::tick;

/// A position in motor steps from the start of the job: microsteps in X and Y, lens steps in Z.
///
/// [`Header`](super::Header) converts steps to millimetres.
///
/// ```
/// use gf_emulator_core::puls::{Position, tick};
///
/// let mut position = Position::default();
/// let fires = position.advance(tick::X_STEP | tick::Y_STEP | tick::Y_POSITIVE | tick::FIRE);
/// assert!(fires);
/// assert_eq!(position, Position { x: 1, y: 1, z: 0 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize)]
pub struct Position {
    /// Microsteps to the right.
    pub x: i64,
    /// Microsteps to the front.
    pub y: i64,
    /// Lens steps up, away from the bed.
    pub z: i64,
}

impl Position {
    /// Advances by one tick. Returns whether the laser fires during it.
    pub fn advance(&mut self, byte: u8) -> bool {
        if byte & tick::POWER != 0 {
            return false;
        }
        // Branchless: step bits are hard to predict.
        let by = |step: u8, negative: bool| i64::from(byte & step != 0) * if negative { -1 } else { 1 };
        self.x += by(tick::X_STEP, byte & tick::X_NEGATIVE != 0);
        self.y += by(tick::Y_STEP, byte & tick::Y_POSITIVE == 0);
        self.z += by(tick::Z_STEP, byte & tick::Z_POSITIVE == 0);
        byte & tick::FIRE != 0
    }
}
