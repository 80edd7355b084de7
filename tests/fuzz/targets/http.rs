//! HTTP: the input is what the connections of a machine receive while it signs in, checks and downloads its firmware, and
//! opens its WebSocket. A line `=====` separates one connection from the next.

#![no_main]

use gf_emulator_core::config::Generation;
use gf_emulator_fuzz::{config, log_lines, world};
use libfuzzer_sys::fuzz_target;

const SEPARATOR: &[u8] = b"\n=====\n";

fn split(mut input: &[u8]) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    while let Some(at) = input.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        answers.push(input[..at].to_vec());
        input = &input[at + SEPARATOR.len()..];
    }
    answers.push(input.to_vec());
    answers
}

fuzz_target!(init: log_lines(), |input: &[u8]| {
    world::run_online(config(Generation::V2), split(input), 1 + input.len() % 64);
});
