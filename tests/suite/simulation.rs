//! The simulation (`tests/simulate`), with a few seeds. `.ci/run` has more, and plants mistakes.

use std::process::Command;

#[test]
fn every_promise_is_kept_and_every_session_can_be_repeated() {
    let program = Command::new(env!("CARGO_BIN_EXE_simulate")).args(["--seeds", "300", "--twice-every", "10"]).output();
    let output = program.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.starts_with("300 sessions, "), "{text}");
}
