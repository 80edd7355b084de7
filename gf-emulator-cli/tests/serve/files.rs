//! The input files of `serve`, which are checked before it listens.

use std::fs;

use gf_emulator_core::puls::{Builder, code};

use super::Serve;
use crate::program::Program;
use crate::{folder, run};

const SERVE: [&str; 4] = ["serve", "--listen", "127.0.0.1:0", "--plain"];

#[test]
fn refuses_a_pulse_file_that_machines_refuse_unless_unchecked() {
    let folder = folder();
    let mut other_format = Builder::new();
    other_format.set(code::DATA_FORMAT, 7).unwrap();
    let mut locked = Builder::new();
    locked.set(code::SERIAL_LOCK, 7).unwrap();
    let whole = Builder::new().move_to(3.0, 4.0).unwrap().to_gzip();
    for (name, bytes, words) in [
        ("my.json", b"[]".to_vec(), "machines would refuse this"),
        ("empty.puls", Vec::new(), "machines would refuse this"),
        ("format.puls", other_format.to_bytes(), "PDfm"),
        ("cut.puls", whole[..whole.len() - 9].to_vec(), "machines would refuse this"),
        ("good.puls", whole.clone(), ""),
        // Locked to a serial number, which may be that of the machine.
        ("locked.puls", locked.to_bytes(), ""),
    ] {
        fs::write(folder.path().join(name), bytes).unwrap();
        if words.is_empty() {
            Serve::start(folder.path(), &["--puls", name]).stop().expect(0);
            continue;
        }
        let ended = run(&folder, &[&SERVE[..], &["--puls", name]].concat());
        ended.expect(2);
        for words in [name, words, "--unchecked"] {
            assert!(ended.stderr.contains(words), "{name}: {words}: {}", ended.stderr);
        }
        Serve::start(folder.path(), &["--puls", name, "--unchecked"]).stop().expect(0);
    }
}

#[test]
fn names_the_place_of_a_mistake_in_a_script() {
    let folder = folder();
    for (script, words) in [
        (
            r#"[{"sleep_s": 0}, {"send": {"id": 1}}]"#,
            r#"script.json: step 2 of the script: the action has no "action_type""#,
        ),
        (
            r#"[{"send": {"id": 1, "action_type": "motion", "motion_url": "{pulse}"}}]"#,
            "script.json: step 1 of the script: send.motion_url: unknown placeholder {pulse}",
        ),
        (" ", "script.json: the script is not a JSON list of steps: it is empty"),
    ] {
        fs::write(folder.path().join("script.json"), script).unwrap();
        let ended = run(&folder, &[&SERVE[..], &["--script", "script.json"]].concat());
        ended.expect(2);
        assert!(ended.stderr.contains(words), "{script}: {}", ended.stderr);
    }
}

#[test]
fn refuses_files_that_are_not_regular_without_blocking() {
    let folder = folder();
    assert!(std::process::Command::new("mkfifo").arg(folder.path().join("fifo")).status().unwrap().success());
    fs::create_dir(folder.path().join("recording")).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(folder.path().join("recording/session.jsonl"))
            .status()
            .unwrap()
            .success()
    );
    for option in [
        ["--script", "fifo"],
        ["--script", "/dev/zero"],
        ["--puls", "fifo"],
        ["--puls", "/dev/zero"],
        ["--replay", "recording"],
    ] {
        let mut command = crate::command(folder.path());
        command.args(SERVE).args(option);
        let ended = Program::start(command).end();
        ended.expect(2);
        assert!(ended.stderr.contains("cannot read "), "{option:?}: {}", ended.stderr);
    }
    // A regular file that is too large.
    let large = fs::File::create(folder.path().join("large.json")).unwrap();
    large.set_len(2 << 20).unwrap();
    let ended = run(&folder, &[&SERVE[..], &["--script", "large.json"]].concat());
    ended.expect(2);
    assert!(ended.stderr.contains("large.json"), "{}", ended.stderr);
}

#[test]
fn ends_if_it_cannot_record() {
    let folder = folder();
    fs::create_dir(folder.path().join("taken")).unwrap();
    fs::write(folder.path().join("taken/session.jsonl"), "").unwrap();
    let ended = run(&folder, &[&SERVE[..], &["--record", "taken"]].concat());
    ended.expect(2);
}
