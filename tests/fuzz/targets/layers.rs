//! Settings of layers, as TOML and as one line.

#![no_main]

use gf_emulator_core::puls::Layers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = Layers::default().set_from_toml(text) {
        assert!(!error.to_string().is_empty());
    }
    let mut layers = Layers::default();
    for line in text.lines() {
        if let Err(error) = layers.set(line) {
            assert!(!error.to_string().is_empty());
        }
    }
});
