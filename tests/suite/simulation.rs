//! The simulation (`tests/simulate`), with a few seeds. `.ci/run` has more, and plants mistakes.

use std::path::Path;

use gf_emulator_tests::command;
use toml::{Table, Value};

/// Runs the simulation to its end, and returns what it prints.
fn simulate(arguments: &[&str]) -> String {
    let output = command(Path::new(env!("CARGO_BIN_EXE_simulate"))).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn every_promise_is_kept_and_every_session_can_be_repeated() {
    let text = simulate(&["--seeds", "300", "--twice-every", "10"]);
    assert!(text.starts_with("300 sessions, "), "{text}");
}

/// What a million seeds have found beyond those above: a connection that was to break after a number of bytes had sent
/// them only seconds before the machine had to have recovered; and a thread that waited for a lock while its holder, on
/// the same real thread, waited for room in a queue.
#[test]
fn every_promise_is_kept_with_the_seeds_that_broke_one() {
    for seed in ["549308", "684666", "911203"] {
        let text = simulate(&["--seed", seed]);
        assert!(text.contains("0 broke a promise"), "{text}");
    }
}

#[test]
fn the_memory_of_a_day_with_a_cut_every_hour_does_not_grow() {
    let text = simulate(&["--day", "--first", "1", "--seeds", "2"]);
    assert!(text.starts_with("2 sessions, 48 simulated hours, "), "{text}");
}

/// Otherwise only `.ci/mutations` would tell, after a build.
#[test]
fn every_planted_mistake_has_its_place_in_the_library() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let file: Table = read("simulate/mutations.toml").parse().unwrap();
    let mutations = file["mutation"].as_array().unwrap();
    assert!(mutations.len() >= 10);
    for mutation in mutations {
        let [name, file, find] = ["name", "file", "find"].map(|key| mutation.get(key).and_then(Value::as_str).unwrap());
        let source = read(&format!("../gf-emulator-core/src/{file}"));
        assert_eq!(source.matches(find).count(), 1, "{name}: {file} must have this once: {find}");
    }
}
