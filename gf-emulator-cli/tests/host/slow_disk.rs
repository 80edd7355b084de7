//! A disk that is slow: writes and syncs are delayed by a small C library.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use gf_emulator_core::local_service::{LocalService, Seen};
use gf_emulator_core::record::{Event, Recording};
use serde_json::json;

use super::{act, expect_words, is_open, no_temp_files, prepare, service, stop};
use crate::folder;
use crate::program::{LIMIT, Program, command};

/// Builds the library. Says why if there is no C compiler.
fn library(folder: &Path) -> Option<PathBuf> {
    let library = folder.join("slow-disk.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).arg(&library);
    cc.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/slow-disk.c")).arg("-ldl");
    match cc.output() {
        Ok(output) if output.status.success() => Some(library),
        other => {
            println!("not tested: the library that makes a disk slow cannot be built: {other:?}");
            None
        }
    }
}

fn run_slowly(folder: &Path, library: &Path, write_ms: u32, sync_ms: u32) -> Program {
    let mut command = command(folder);
    command.arg("run").env("LD_PRELOAD", library);
    command.env("SLOW_WRITE_MS", write_ms.to_string()).env("SLOW_SYNC_MS", sync_ms.to_string());
    Program::start(command)
}

fn position(service: &LocalService, event: &str, id: i64) -> Option<usize> {
    service.seen().iter().position(|seen| seen.is_event(event, Some(id)))
}

#[test]
fn a_slow_disk_costs_time_and_no_event() {
    let (folder, service) = (folder(), service());
    prepare(&folder, &service, "file: run.log");
    let Some(library) = library(folder.path()) else { return };
    let program = run_slowly(folder.path(), &library, 20, 700);
    assert!(service.wait_for(is_open, LIMIT));
    let motion = json!({"id": 1, "action_type": "motion", "status": "ready", "motion_url": service.puls_url()});
    service.send(motion).unwrap();
    // What does not need the machine does not wait for the disk.
    assert_eq!(act(&service, 2, "settings"), "settings:completed");
    assert!(service.wait_for(|seen| seen.iter().any(|seen| seen.is_event("motion:completed", Some(1))), LIMIT));
    assert!(position(&service, "settings:completed", 2) < position(&service, "motion:completed", 1));
    for (action, id) in ["lid_image", "print", "settings"].iter().zip(3..) {
        assert_eq!(act(&service, id, action), format!("{action}:completed"));
    }
    let ended = stop(&service, program);
    assert!(!ended.stderr.contains("recording"), "{}", ended.stderr);
    let sent = service.seen().iter().filter(|seen| matches!(seen, Seen::WsMessage { .. })).count();
    let recording = std::fs::read_dir(folder.path().join("recordings")).unwrap().next().unwrap().unwrap().path();
    let recorded = Recording::open(recording).unwrap().map(Result::unwrap);
    assert_eq!(recorded.filter(|entry| matches!(entry.event, Event::Out(_))).count(), sent);
}

#[test]
fn a_disk_that_does_not_respond_does_not_keep_the_program_from_ending() {
    let (folder, service) = (folder(), service());
    prepare(&folder, &service, "");
    let Some(library) = library(folder.path()) else { return };
    // Otherwise the first sync is that of the folder in which it is created.
    let motion_dir = folder.path().join("motion");
    std::fs::create_dir(&motion_dir).unwrap();
    let program = run_slowly(folder.path(), &library, 0, 600_000);
    assert!(service.wait_for(is_open, LIMIT));
    let motion = json!({"id": 1, "action_type": "motion", "status": "ready", "motion_url": service.puls_url()});
    service.send(motion).unwrap();
    // Nothing tells that the sync has begun. Until then, a stop is a clean one.
    let job_bytes = || {
        let files = std::fs::read_dir(&motion_dir).into_iter().flatten().flatten();
        files.map(|file| file.metadata().map_or(0, |data| data.len())).sum::<u64>()
    };
    let start = Instant::now();
    while job_bytes() < 300_000 && start.elapsed() < LIMIT {
        std::thread::yield_now();
    }
    assert!(job_bytes() >= 300_000);
    assert_eq!(act(&service, 2, "settings"), "settings:completed");
    program.terminate();
    let ended = program.end();
    ended.expect(1);
    expect_words(&ended.stderr, &["stopping took longer than 1.9 s"]);
    assert!(!no_temp_files(&motion_dir), "the job was not whole");
    // The next start removes it.
    let program = Program::start({
        let mut command = command(folder.path());
        command.arg("run");
        command
    });
    program.wait_line("removed 1 temp file of programs that were killed from motion");
    assert!(no_temp_files(&motion_dir));
    program.terminate();
    program.end();
}
