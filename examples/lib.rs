//! Short programs that use `gf-emulator-core`. Each is a file in this folder.

/// The Rust of the README and of the documentation compiles and runs.
#[cfg(doctest)]
mod documentation {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/library.md")]
    mod library {}
}
