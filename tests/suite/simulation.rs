//! The simulation (`tests/simulate`) with a few seeds, and with those that have broken a promise before.

use std::process::Command;

/// Seeds that broke a promise once, and what was wrong.
const KEPT: &[(&str, &str)] = &[];

fn simulate(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_promise_is_kept_and_every_session_can_be_repeated() {
    let (success, output) = simulate(&["--seeds", "300", "--twice-every", "10"]);
    assert!(success, "{output}");
    assert!(output.starts_with("300 sessions, "), "{output}");
}

#[test]
fn promises_that_were_broken_once_are_kept() {
    for (seed, what) in KEPT {
        let (success, output) = simulate(&["--seed", seed]);
        assert!(success, "{what}: {output}");
    }
}
