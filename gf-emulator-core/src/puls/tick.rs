//! The bits of one body byte.
//!
//! A byte with [`POWER`] set is a laser power byte: its other bits are the level; nothing moves or fires. In any other
//! byte, each axis has a step bit and a direction bit, which has no effect without the step bit. The signs were
//! verified on hardware; older public notes have those of Y and Z reversed.

/// Marks a laser power byte, with the level in [`LEVEL`].
pub const POWER: u8 = 0b1000_0000;
/// The level of a power byte, 0 to 127.
pub const LEVEL: u8 = 0b0111_1111;
/// X makes a step.
pub const X_STEP: u8 = 0b0000_0001;
/// The step of X is in the negative direction.
pub const X_NEGATIVE: u8 = 0b0000_0010;
/// Y makes a step.
pub const Y_STEP: u8 = 0b0000_0100;
/// The step of Y is in the positive direction, towards the front.
pub const Y_POSITIVE: u8 = 0b0000_1000;
/// The laser fires during this tick.
pub const FIRE: u8 = 0b0001_0000;
/// Z makes a step.
pub const Z_STEP: u8 = 0b0010_0000;
/// The step of Z is in the positive direction: the lens goes up, away from the bed.
pub const Z_POSITIVE: u8 = 0b0100_0000;
