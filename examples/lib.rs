//! Short programs that use `gf-emulator-core`, one a file beside this one.
