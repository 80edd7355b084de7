//! `conform` as a process: its table, its files and its exit codes.

use std::fs;

use gf_emulator_core::conform::Scenario;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Ended, Program, command};
use crate::sessions::start_machine;
use crate::{folder, run};

/// Runs scenarios with this emulator. Writes `result.json` and `result.xml`.
fn conform(folder: &TempDir, more: &[&str]) -> Ended {
    let mut command = command(folder.path());
    command.args(["conform", "--listen", "127.0.0.1:0", "--plain", "--json", "result.json", "--junit", "result.xml"]);
    let conform = Program::start({
        command.args(more);
        command
    });
    let machine = start_machine(folder, &conform, "", "");
    let ended = conform.end();
    drop(machine);
    ended
}

fn json(folder: &TempDir) -> Value {
    serde_json::from_slice(&fs::read(folder.path().join("result.json")).unwrap()).unwrap()
}

#[test]
fn passed_and_skipped_scenarios_are_a_success() {
    let folder = folder();
    // In the order of the run, not of the arguments.
    let ended = conform(&folder, &["--only", "hunt-1-x", "--only", "motion", "--only", "settings-first"]);
    ended.expect(0);
    let rows: Vec<_> =
        ended.stdout.lines().filter(|line| line.contains("passed") || line.contains("skipped")).collect();
    let row = |name: &str, outcome: &str| format!("{name:<44} {outcome}");
    assert_eq!(
        rows,
        [
            row("settings-first", "passed"),
            row("hunt-1-x", "skipped: not for 2.6 machines"),
            row("motion", "passed"),
            "3 scenarios: 2 passed, 0 failed, 1 skipped".to_owned(),
        ]
    );
    let json = json(&folder);
    assert_eq!((&json["passed"], &json["failed"], &json["skipped"]), (&2.into(), &0.into(), &1.into()), "{json}");
    assert_eq!(json["scenarios"][2]["name"], "motion");
    let xml = fs::read_to_string(folder.path().join("result.xml")).unwrap();
    assert!(xml.contains("<testsuites tests=\"3\" failures=\"0\" errors=\"0\" skipped=\"1\" "), "{xml}");
    assert!(xml.contains("name=\"hunt-1-x\"") && xml.contains("<skipped message=\"not for 2.6 machines\"/>"), "{xml}");
}

#[test]
fn a_failed_scenario_shows_what_was_demanded_and_seen() {
    let folder = folder();
    // This machine is of the other generation.
    let only = ["--generation", "1.x", "--timeout", "2", "--only", "settings-always-full"];
    let ended = conform(&folder, &only);
    ended.expect(1);
    for words in [
        "settings-always-full                         failed: step 2: PUT /api/machines/status",
        "\n    Every settings report is full, after a status.\n    PROTOCOL.md, Actions: ",
        "\n    service > machine  settings ",
    ] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    assert!(ended.stderr.contains("1 scenario: 0 passed, 1 failed, 0 skipped"), "{}", ended.stderr);
    let json = json(&folder);
    assert_eq!((&json["failed"], &json["scenarios"][0]["step"]), (&1.into(), &2.into()), "{json}");
    let xml = fs::read_to_string(folder.path().join("result.xml")).unwrap();
    assert!(xml.contains("failures=\"1\"") && xml.contains("<failure message=\"failed: step 2: PUT "), "{xml}");
}

#[test]
fn runs_scenarios_of_the_user() {
    let folder = folder();
    let scenario = |steps: &str| {
        format!(
            r#"{{"name": "mine", "demands": "A hunt ends.", "why": "I want it.", "generation": "both", "steps": [{steps}]}}"#
        )
    };
    let steps = r#"{"send": {"id": 1, "action_type": "hunt", "status": "ready", "motion_url": "{http}/dl/short.puls"}},
        {"expect_event": {"name": "hunt:completed", "id": 1}}"#;
    fs::write(folder.path().join("mine.json"), scenario(steps)).unwrap();
    let ended = conform(&folder, &["--scenario", "mine.json"]);
    ended.expect(0);
    assert!(ended.stdout.contains("1 scenario: 1 passed, 0 failed, 0 skipped"), "{}", ended.stdout);

    fs::write(folder.path().join("wrong.json"), scenario(r#""pingg""#)).unwrap();
    let ended = run(&folder, &["conform", "--listen", "0", "--plain", "--scenario", "wrong.json"]);
    ended.expect(2);
    assert!(ended.stderr.contains("wrong.json: steps[0]: unknown variant `pingg`"), "{}", ended.stderr);
}

#[test]
fn fails_if_no_machine_connects() {
    let folder = folder();
    let ended =
        run(&folder, &["conform", "--listen", "127.0.0.1:0", "--plain", "--wait", "0.1", "--json", "result.json"]);
    ended.expect(1);
    assert!(ended.stderr.contains("no machine has connected"), "{}", ended.stderr);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a file is left");
}

#[test]
#[cfg(unix)]
fn a_signal_ends_the_wait_for_a_machine() {
    let folder = folder();
    let mut command = command(folder.path());
    command.args(["conform", "--listen", "127.0.0.1:0", "--plain", "--wait", "3600"]);
    let conform = Program::start(command);
    conform.wait_line("Start the machine now");
    conform.terminate();
    conform.end().expect(1);
}

#[test]
#[cfg(unix)]
fn a_signal_ends_the_scenario_that_runs_and_those_that_follow() {
    let folder = folder();
    let scenario = r#"{"name": "mine", "demands": "X.", "why": "Y.", "generation": "both", "steps": [{"operator": "open_lid"},
        {"expect_event": {"name": "never", "id": 1}}]}"#;
    fs::write(folder.path().join("mine.json"), scenario).unwrap();
    let mut command = command(folder.path());
    command.args(["conform", "--listen", "127.0.0.1:0", "--plain", "--timeout", "3600", "--json", "result.json"]);
    command.args(["--scenario", "mine.json", "--scenario", "mine.json"]);
    let conform = Program::start(command);
    let machine = start_machine(&folder, &conform, "", "");
    conform.wait_line("please open the lid");
    conform.terminate();
    let ended = conform.end();
    drop(machine);
    ended.expect(1);
    assert!(!ended.stdout.contains("mine "), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("2 scenarios: 0 passed, 0 failed, 0 skipped, 2 not run to the end"),
        "{}",
        ended.stderr
    );
    let json = json(&folder);
    assert_eq!((&json["failed"], &json["stopped"]), (&0.into(), &2.into()), "{json}");
}

#[test]
fn lists_every_scenario_and_knows_no_others() {
    let folder = folder();
    let ended = run(&folder, &["conform", "--list"]);
    ended.expect(0);
    let names: Vec<_> = ended.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
    let scenarios = Scenario::built_in();
    assert_eq!(names, scenarios.iter().map(Scenario::name).collect::<Vec<_>>());
    for (arguments, words) in [
        (
            &["conform", "--listen", "0", "--plain", "--only", "settings-last"][..],
            "expected the name of a scenario, as --list",
        ),
        (&["conform"], "--listen"),
        (&["conform", "--listen", "0", "--plain", "--timeout", "0"], "expected a number of seconds"),
        (&["conform", "--listen", "127.0.0.1:0", "--public-url", "ftp://laser"], "--public-url"),
        (&["conform", "--listen", "127.0.0.1:0", "--plain", "--json", "no/such/folder.json"], "no/such/folder.json"),
    ] {
        let ended = run(&folder, arguments);
        ended.expect(2);
        assert!(ended.stderr.contains(words), "{arguments:?}: {}", ended.stderr);
    }
}
