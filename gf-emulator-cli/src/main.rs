//! gf-machine-emulator: a Glowforge machine without the hardware.
fn main() {}
