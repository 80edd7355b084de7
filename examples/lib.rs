//! Short programs that use `gf-emulator-core`. Each is a file in this folder.
