//! The simulation (`tests/simulate`), with a few seeds. `.ci/run` has more, and plants mistakes.

use std::process::Command;

/// Runs the simulation to its end, and returns what it prints.
fn simulate(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn every_promise_is_kept_and_every_session_can_be_repeated() {
    let text = simulate(&["--seeds", "300", "--twice-every", "10"]);
    assert!(text.starts_with("300 sessions, "), "{text}");
}

#[test]
fn the_memory_of_a_day_with_a_cut_every_hour_does_not_grow() {
    let text = simulate(&["--day", "--first", "1", "--seeds", "2"]);
    assert!(text.starts_with("2 sessions, 48 simulated hours, "), "{text}");
}
