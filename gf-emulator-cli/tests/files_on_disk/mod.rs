//! Files that are read and written: `check`, `pipe`, `demo`, and files that cannot be read or written.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use gf_emulator_core::puls::Builder;
use serde_json::json;
use tempfile::TempDir;

use crate::program::{Ended, Program, command};
use crate::{PASSWORD, configure, folder, names, run};

/// Runs `pipe`.
fn pipe(folder: &TempDir, input: &str, arguments: &[&str]) -> Ended {
    let mut command = command(folder.path());
    command.arg("pipe").args(arguments).stdin(Stdio::piped());
    let mut program = Program::start(command);
    program.write(input);
    program.close_stdin();
    program.end()
}

#[test]
fn a_named_configuration_that_is_missing_is_created_under_its_name() {
    let folder = folder();
    // The command in the message for a missing file is right for the given name.
    for arguments in [&["check", "--config", "other.cfg"][..], &["collect", "--config", "other.cfg"]] {
        let ended = run(&folder, arguments);
        ended.expect(2);
        assert!(ended.stderr.contains("gf-machine-emulator init other.cfg\n"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("gf-machine-emulator.cfg\n"), "{}", ended.stderr);
    }
}

#[test]
fn check_tests_the_folders_that_a_session_writes_to() {
    let folder = folder();
    fs::write(folder.path().join("file"), "x").unwrap();
    // Changes of a good configuration, and the key to report.
    let cases = [
        ("motion_dir: motion", "motion_dir: file", "motion_dir"),
        ("motion_dir: motion", "motion_dir: file/below", "motion_dir"),
        ("motion_dir: motion", "motion_dir: motion\nlog_file: file/log", "log_file"),
        ("motion_dir: motion", "motion_dir: motion\nlog_file: .", "log_file"),
        ("motion_dir: motion", "motion_dir: motion\nfirmware_download: True\nfirmware_dir: file", "firmware_dir"),
        ("[MACHINE]", "[LOGGING]\nrecord: file\n[MACHINE]", "record"),
        ("[MACHINE]", "[LOGGING]\nsave_sent_images: True\ndir: file\n[MACHINE]", "dir"),
    ];
    let linux = [
        ("motion_dir: motion", "motion_dir: /proc/foo", "motion_dir"),
        ("motion_dir: motion", "motion_dir: /proc", "motion_dir"),
        ("motion_dir: motion", "motion_dir: motion\nlog_file: /proc/log", "log_file"),
    ];
    let linux = if cfg!(target_os = "linux") { &linux[..] } else { &[] };
    for (good, bad, key) in cases.iter().chain(linux) {
        configure(&folder, "https://app.glowforge.com", "wss://status.glowforge.com", "", "");
        let config = folder.path().join("gf-machine-emulator.cfg");
        run(&folder, &["check"]).expect(0);
        fs::write(&config, fs::read_to_string(&config).unwrap().replace(good, bad)).unwrap();
        let before = all_below(folder.path());
        let ended = run(&folder, &["check"]);
        ended.expect(2);
        assert!(ended.stderr.contains(&format!("{key}: ")), "{bad:?}: {}", ended.stderr);
        assert_eq!(all_below(folder.path()), before, "it leaves files");
    }
}

/// Lists a folder recursively.
fn all_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.display().to_string());
        if path.is_dir() {
            found.extend(all_below(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn check_remarks_on_unusual_values() {
    let folder = folder();
    let check = |change: &dyn Fn(String) -> String| {
        configure(&folder, "https://app.glowforge.com", "wss://status.glowforge.com", "", "");
        let config = folder.path().join("gf-machine-emulator.cfg");
        fs::write(&config, change(fs::read_to_string(&config).unwrap())).unwrap();
        let ended = run(&folder, &["check"]);
        ended.expect(0);
        ended.stdout.lines().filter(|line| line.starts_with("remark: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(check(&|text| text), [""; 0]);
    for hostname in ["gf-abc-123", "abc-123", "GF-ABC-123"] {
        let remarks = check(&|text| text.replace("ABC-123", hostname));
        assert!(remarks.len() == 1 && remarks[0].contains("ABC-123"), "{hostname}: {remarks:?}");
    }
    for (protocol, firmware, odd) in [
        ("1.x", "2.6.0-2228", true),
        ("2.6", "1.6.0-35", true),
        ("1.x", "1.6.0-35", false),
        ("2.6", "2.6.0-2228", false),
    ] {
        let remarks = check(&|text| {
            text.replace("[SERVICE]", &format!("[SERVICE]\nprotocol: {protocol}"))
                .replace("[MACHINE]", &format!("[MACHINE]\nfirmware: {firmware}"))
        });
        assert_eq!(remarks.len(), usize::from(odd), "{protocol} {firmware}: {remarks:?}");
        assert!(!odd || remarks[0].contains(&format!("protocol is {protocol}")), "{remarks:?}");
    }
}

#[test]
fn pipe_fails_if_no_action_was_completed() {
    let folder = folder();
    let settings = r#"{"id":1,"action_type":"settings","status":"ready"}"#;
    let motion = r#"{"id":2,"action_type":"motion","status":"ready","motion_url":"file:///no/such/job.puls"}"#;
    for (input, code) in [
        (String::new(), 0),
        ("\n\n".to_owned(), 0),
        ("not json\n".to_owned(), 1),
        (r#"{"id":3,"action_type":"fly","status":"ready"}"#.to_owned(), 1),
        (motion.to_owned(), 1),
        (format!("{motion}\nnot json\n"), 1),
        ("x".repeat((1 << 20) + 1), 1),
        (settings.to_owned(), 0),
        (format!("not json\n{motion}\n{settings}\n"), 0),
    ] {
        let ended = pipe(&folder, &input, &[]);
        ended.expect(code);
        assert!(code == 0 || ended.stderr.contains("no action was completed"), "{}", ended.stderr);
    }
    let help = run(&folder, &["pipe", "--help"]);
    assert!(help.stdout.contains("motion/"), "{}", help.stdout);
}

#[test]
fn log_lines_about_input_are_limited_and_counted() {
    const LINES: usize = 100_000;
    let folder = folder();
    for (line, words) in [
        ("not json", "ignored a line"),
        (r#"{"id":3,"action_type":"fly","status":"ready"}"#, "ignored fly"),
        (r#"{"id":3,"action_type":"print","status":"new"}"#, "ignored print"),
        (r#"{"id":3,"action_type":"print","status":"ready"}"#, "print:failed"),
    ] {
        fs::write(
            folder.path().join("gf-machine-emulator.cfg"),
            "[GENERAL]\nconsole_log_level: INFO\n[MACHINE]\nhostname: ABC-123\n",
        )
        .unwrap();
        let ended = pipe(&folder, &format!("{line}\n").repeat(LINES), &[]);
        let logged = ended.stderr.lines().filter(|logged| logged.contains(words)).count();
        assert!((1..5_000).contains(&logged), "{logged} lines of {words:?}");
        assert!(ended.stderr.len() < 2_000_000, "{} bytes of log", ended.stderr.len());
        if words.starts_with("ignored") {
            // The others are counted.
            let count = |line: &str| {
                let (before, what) = line.split_once(" more ")?;
                let held = what.ends_with(" were ignored and not logged").then(|| before.rsplit(' ').next())??;
                held.parse::<usize>().ok()
            };
            let held: usize = ended.stderr.lines().filter_map(count).sum();
            assert_eq!(logged + held, LINES, "{}", ended.stderr);
        }
    }
}

#[test]
fn a_second_demo_mentions_the_jobs_of_the_first() {
    let folder = folder();
    let first = run(&folder, &["demo"]);
    first.expect(0);
    assert!(!first.stdout.contains("earlier runs"), "{}", first.stdout);
    let second = run(&folder, &["demo"]);
    second.expect(0);
    assert!(
        second.stdout.contains("gf-machine-emulator-demo/motion also contains 5 jobs from earlier runs"),
        "{}",
        second.stdout
    );
    assert_eq!(names(&folder.path().join("gf-machine-emulator-demo/motion"), "puls").len(), 10);
    // The command that the demo suggests works.
    let command_line =
        second.stdout.lines().find_map(|line| line.split_once("gf-machine-emulator puls plot ")).unwrap().1;
    run(&folder, &["puls", "plot", command_line.trim(), "-o", "job.svg"]).expect(0);
}

#[cfg(unix)]
#[test]
fn a_configuration_must_be_a_regular_file() {
    let folder = folder();
    let fifo = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let name_a_fifo_as_table = || {
        configure(&folder, "https://app.glowforge.com", "wss://status.glowforge.com", "", "");
        let config = folder.path().join("gf-machine-emulator.cfg");
        let text = fs::read_to_string(&config).unwrap().replace("[SERVICE]", "[SERVICE]\nactions_file: fifo");
        fs::write(&config, text).unwrap();
    };
    name_a_fifo_as_table();
    for arguments in [
        &["check", "--config", "fifo"][..],
        &["run", "--config", "fifo"],
        &["pipe", "--config", "fifo"],
        &["check"],
        &["run"],
    ] {
        let ended = run(&folder, arguments);
        ended.expect(2);
        assert!(ended.stderr.contains("not a regular file"), "{arguments:?}: {}", ended.stderr);
        let is_table = ended.stderr.contains("cannot read the actions_file fifo: ");
        assert_eq!(is_table, arguments.len() == 1, "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains(PASSWORD));
    }
    let job = json!({"id": 2, "action_type": "motion", "status": "ready", "motion_url": format!("file://{}", fifo.display())});
    fs::remove_file(folder.path().join("gf-machine-emulator.cfg")).unwrap();
    let ended = pipe(&folder, &job.to_string(), &[]);
    ended.expect(1);
    assert!(ended.stdout.contains("motion:failed"), "{ended:#?}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_error_names_the_output_and_not_its_temp_file() {
    let folder = folder();
    fs::write(folder.path().join("job.puls"), Builder::new().move_to(3.0, 4.0).unwrap().to_bytes()).unwrap();
    let ended = run(&folder, &["puls", "plot", "job.puls", "-o", "/proc/x.svg"]);
    ended.expect(2);
    assert!(ended.stderr.contains("/proc/x.svg") && !ended.stderr.contains(".part"), "{}", ended.stderr);
}
