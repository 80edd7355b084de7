//! Whose code runs: that of the emulator, or that of the simulation around it. For an allocator that counts.

use std::cell::Cell;

thread_local! {
    static IS_EMULATOR: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether the emulator's code runs in this thread: that of a simulated thread, and not what it has called in the
/// simulation, which is [`outside`].
pub fn is_emulator() -> bool {
    IS_EMULATOR.try_with(Cell::get).unwrap_or(false)
}

/// Marks what runs until the guard is dropped as code of the simulation.
pub fn outside() -> Outside {
    set_emulator(false)
}

/// Sets whose code runs until the guard is dropped.
pub(crate) fn set_emulator(is_emulator: bool) -> Outside {
    Outside { before: IS_EMULATOR.replace(is_emulator) }
}

/// Restores whose code runs when it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Outside {
    before: bool,
}

impl Drop for Outside {
    fn drop(&mut self) {
        IS_EMULATOR.set(self.before);
    }
}
