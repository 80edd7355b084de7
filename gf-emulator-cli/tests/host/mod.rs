//! The computer fails: full disks, folders that cannot be written, too few descriptors, a log that cannot be written, a
//! slow disk. Actions end, nothing hangs, and messages say what happened to what.

#[cfg(target_os = "linux")]
mod slow_disk;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gf_emulator_core::local_service::{LocalService, Seen};
use gf_emulator_core::record::Recording;
use serde_json::json;
use tempfile::TempDir;

use crate::machine::{SETTINGS, ended_action, is_open, job};
use crate::program::{Ended, LIMIT, Program, command, run_in_shell};
use crate::{configure, folder, run};

/// A user without rights, if the tests run as root, who may write everywhere.
const NOBODY: u32 = 65_534;

fn service() -> LocalService {
    LocalService::builder().tls(false).puls(job()).start().unwrap()
}

/// Writes a configuration with `more` lines in `[LOGGING]`.
fn prepare(folder: &TempDir, service: &LocalService, more: &str) {
    let more = format!("{SETTINGS}console_level: INFO\n{more}");
    configure(folder, service.http_url(), &service.ws_url(), "\nretry_for_s: 2", &more);
}

/// Sends an action and returns its terminal event.
#[track_caller]
fn act(service: &LocalService, id: i64, action: &str) -> String {
    let sent = json!({"id": id, "action_type": action, "status": "ready", "motion_url": service.puls_url()});
    service.send(sent).unwrap();
    let mut found = None;
    let ends = |seen: &[Seen]| {
        let endings = ["completed", "cancelled", "failed"].map(|ending| format!("{action}:{ending}"));
        let is_it = |event: &&String| seen.iter().any(|seen| seen.is_event(event, Some(id)));
        found = endings.iter().find(is_it).cloned();
        found.is_some()
    };
    assert!(service.wait_for(ends, LIMIT), "{action} {id} has not ended: {:#?}", service.seen());
    found.unwrap()
}

/// Each action has exactly one terminal event.
#[track_caller]
fn expect_one_ending_each(service: &LocalService) {
    let mut endings: HashMap<i64, u32> = HashMap::new();
    for id in service.seen().iter().filter_map(ended_action) {
        *endings.entry(id).or_default() += 1;
    }
    assert!(endings.values().all(|count| *count == 1), "{endings:?}");
}

#[track_caller]
fn stop(service: &LocalService, program: Program) -> Ended {
    program.terminate();
    let ended = program.end();
    ended.expect(0);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    expect_one_ending_each(service);
    ended
}

#[track_caller]
fn expect_words(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
}

fn no_temp_files(folder: &Path) -> bool {
    let mut paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.all(|path| path.extension().is_none_or(|extension| extension != "part"))
}

#[test]
fn jobs_that_do_not_fit_on_the_disk_fail_and_the_machine_goes_on() {
    let (folder, service) = (folder(), service());
    prepare(&folder, &service, "");
    // A limit on the size of files: of all failures of a full disk, the one that needs no disk of its own.
    let program = Program::start(run_in_shell(folder.path(), "trap '' XFSZ; ulimit -f 100"));
    assert!(service.wait_for(is_open, LIMIT));
    let endings: Vec<_> = ["motion", "lid_image", "print", "settings"]
        .iter()
        .zip(1..)
        .map(|(action, id)| act(&service, id, action))
        .collect();
    assert_eq!(endings, ["motion:failed", "lid_image:completed", "print:failed", "settings:completed"]);
    let ended = stop(&service, program);
    expect_words(&ended.stderr, &["cannot write motion/", "_motion_1.puls: File too large"]);
    assert!(no_temp_files(&folder.path().join("motion")));
    let recording = fs::read_dir(folder.path().join("recordings")).unwrap().next().unwrap().unwrap().path();
    let mut recording = Recording::open(recording).unwrap();
    assert!(recording.by_ref().all(|entry| entry.is_ok()) && recording.skipped().is_empty());
}

#[test]
fn a_recording_that_does_not_fit_on_the_disk_is_an_error_at_the_start() {
    let (folder, service) = (folder(), service());
    prepare(&folder, &service, "");
    let ended = Program::start(run_in_shell(folder.path(), "trap '' XFSZ; ulimit -f 0")).end();
    ended.expect(2);
    expect_words(&ended.stderr, &["cannot begin a recording in recordings/", "File too large"]);
}

/// Returns `command` as a user for whom permissions count. Says why if there is none.
fn unprivileged(mut command: Command, folder: &TempDir) -> Option<Command> {
    if fs::metadata(folder.path()).unwrap().uid() != 0 {
        return Some(command);
    }
    let mut folders = vec![folder.path().to_owned()];
    while let Some(path) = folders.pop() {
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.is_dir() {
            folders.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    let mut probe = Command::new(command.get_program());
    probe.arg("--version").current_dir(folder.path()).uid(NOBODY).gid(NOBODY).stdout(Stdio::null());
    match probe.status() {
        Ok(status) if status.success() => {
            command.uid(NOBODY).gid(NOBODY);
            Some(command)
        }
        other => {
            println!("not tested: these tests run as root, and another user cannot run the program: {other:?}");
            None
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn folders_that_become_read_only_fail_jobs_and_nothing_else() {
    let (folder, service) = (folder(), service());
    prepare(&folder, &service, "");
    let folders = ["motion", "sent", "recordings"].map(|name| folder.path().join(name));
    for folder in &folders {
        fs::create_dir(folder).unwrap();
    }
    let mut run_it = command(folder.path());
    run_it.arg("run");
    let Some(run_it) = unprivileged(run_it, &folder) else { return };
    let program = Program::start(run_it);
    assert!(service.wait_for(is_open, LIMIT));
    for folder in &folders {
        set_mode(folder, 0o500);
    }
    set_mode(&fs::read_dir(&folders[2]).unwrap().next().unwrap().unwrap().path(), 0o500);
    assert_eq!(act(&service, 1, "motion"), "motion:failed");
    assert_eq!(act(&service, 2, "lid_image"), "lid_image:completed");
    for folder in &folders {
        set_mode(folder, 0o700);
    }
    assert_eq!(act(&service, 3, "motion"), "motion:completed");
    let ended = stop(&service, program);
    expect_words(
        &ended.stderr,
        &[
            "cannot write in motion: Permission denied",
            "cannot save a picture: cannot write in sent: Permission denied",
            "lacks a file, and possibly more: ",
        ],
    );
}

#[test]
fn folders_that_are_read_only_are_errors_at_the_start() {
    for (name, key) in [("motion", "motion_dir"), ("sent", "dir"), ("recordings", "record")] {
        let (folder, service) = (folder(), service());
        prepare(&folder, &service, "");
        let read_only = folder.path().join(name);
        fs::create_dir(&read_only).unwrap();
        let mut run_it = command(folder.path());
        run_it.arg("run");
        let Some(run_it) = unprivileged(run_it, &folder) else { return };
        set_mode(&read_only, 0o500);
        let ended = Program::start(run_it).end();
        ended.expect(2);
        expect_words(&ended.stderr, &[&format!("{key}: cannot write in {name}: Permission denied")]);
        assert_eq!(service.seen().len(), 0);
    }
}

#[test]
fn too_few_descriptors_are_said_and_nothing_hangs() {
    const ADVICE: &str = "Too many open files (os error 24); allow the program to open more (ulimit -n)";
    let (mut connected, mut refused) = (0, 0);
    // A limit below what the program's start needs, up to one with which everything works.
    for limit in 3..=32 {
        let (folder, service) = (folder(), service());
        prepare(&folder, &service, "");
        let program = Program::start(run_in_shell(folder.path(), &format!("ulimit -n {limit}")));
        // Otherwise it tries again and again, and says why.
        let begun = Instant::now();
        while !service.wait_for(is_open, Duration::from_millis(50))
            && !program.has_ended()
            && !program.says("Too many open")
        {
            assert!(begun.elapsed() < LIMIT, "{limit}: neither connected nor refused");
        }
        if is_open(&service.seen()) {
            connected += 1;
            let actions = ["motion", "lid_image", "settings"];
            let endings: Vec<_> = actions.iter().zip(1..).map(|(action, id)| act(&service, id, action)).collect();
            let ended = stop(&service, program);
            let all = ["motion:completed", "lid_image:completed", "settings:completed"];
            assert!(endings == all || ended.stderr.contains(ADVICE), "{limit}: {endings:?} {ended:#?}");
        } else {
            refused += 1;
            program.terminate();
            let ended = program.end();
            let text = &ended.stderr;
            assert!(text.contains(ADVICE) || text.contains("shared libraries"), "{limit}: {text}");
            assert!(!text.contains("panicked"), "{limit}: {text}");
        }
    }
    assert!(connected > 0 && refused > 0, "{connected} {refused}");
}

#[test]
fn a_log_file_that_cannot_be_written_is_said_and_the_machine_goes_on() {
    let (folder, service) = (folder(), service());
    prepare(&folder, &service, "file: /dev/full\nlevel: DEBUG");
    let mut run_it = command(folder.path());
    run_it.arg("run");
    let program = Program::start(run_it);
    assert!(service.wait_for(is_open, LIMIT));
    assert_eq!(act(&service, 1, "motion"), "motion:completed");
    let ended = stop(&service, program);
    let said = ended.stderr.lines().filter(|line| line.contains("log_file: cannot write /dev/full: ")).count();
    assert_eq!(said, 1, "{}", ended.stderr);
    run(&folder, &["check"]).expect(0);
}

#[test]
fn a_console_that_nobody_reads_does_not_stop_the_machine() {
    let (folder, service) = (folder(), service());
    prepare(&folder, &service, "");
    let mut run_it = command(folder.path());
    let mut child = run_it.arg("run").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert!(service.wait_for(is_open, LIMIT));
    for (action, id) in ["motion", "lid_image", "settings"].iter().zip(1..) {
        assert_eq!(act(&service, id, action), format!("{action}:completed"));
    }
    assert!(Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    expect_one_ending_each(&service);
}
