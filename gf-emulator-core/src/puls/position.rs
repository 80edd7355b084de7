//! Where the head is after some ticks.

use serde::Serialize;

use super::tick;

/// An absolute position in motor steps, counted from where the job began.
///
/// X and Y are microsteps, Z is in steps of the lens; [`Header`](super::Header) knows what they are in millimetres.
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
    /// Moves on by one tick. Says whether the laser fires during it.
    pub fn advance(&mut self, byte: u8) -> bool {
        if byte & tick::POWER != 0 {
            return false;
        }
        // Without branches, which nobody could foretell.
        let by = |step: u8, negative: bool| i64::from(byte & step != 0) * if negative { -1 } else { 1 };
        self.x += by(tick::X_STEP, byte & tick::X_NEGATIVE != 0);
        self.y += by(tick::Y_STEP, byte & tick::Y_POSITIVE == 0);
        self.z += by(tick::Z_STEP, byte & tick::Z_POSITIVE == 0);
        byte & tick::FIRE != 0
    }
}
