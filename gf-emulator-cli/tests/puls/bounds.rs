//! Inputs that are larger than they look, or endless: refused at once or at the limit, without leaving a file.

use std::fs;
use std::process::{Command, Stdio};

use gf_emulator_core::puls::Builder;
use tempfile::TempDir;

use crate::program::{Ended, Program, command};
use crate::{folder, run};

const EVERY: [&[&str]; 7] = [
    &["info"],
    &["info", "--json"],
    &["check"],
    &["plot", "-o", "out.svg"],
    &["plot", "-o", "out.png"],
    &["view", "-o", "out.html"],
    &["export", "--format", "csv", "-o", "out.csv"],
];

/// Runs one of [`EVERY`] on a file.
fn puls(folder: &TempDir, arguments: &[&str], file: &str, more: &[&str]) -> Ended {
    run(folder, &[&["puls"], arguments, &[file], more].concat())
}

fn names(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// 10 GB of idle ticks in 10 MB: many gzip members.
fn bomb() -> Vec<u8> {
    let mut member = Builder::new();
    member.dwell(400.0).unwrap();
    // All headers but the first are part of the body.
    member.to_gzip().repeat(2_500)
}

#[test]
fn decompression_stops_at_the_limit() {
    let folder = folder();
    let bomb = bomb();
    assert!((8 << 20..12 << 20).contains(&bomb.len()), "{}", bomb.len());
    fs::write(folder.path().join("bomb.puls"), bomb).unwrap();
    for arguments in EVERY.iter().chain([&["export", "--format", "gcode", "-o", "out.gcode"][..]].iter()) {
        let ended = puls(&folder, arguments, "bomb.puls", &["--max-bytes", "4194304"]);
        ended.expect(1);
        let error = "bomb.puls: the body, from byte 1080 on, is longer than the limit of 4194304 bytes: stopped reading \
                     (--max-bytes sets the limit)";
        assert!(ended.stderr.contains(error), "{ended:?}");
        assert_eq!(names(&folder), ["bomb.puls"], "{arguments:?}");
    }
    // The limit is inclusive.
    let mut job = Builder::new();
    job.dwell(0.5).unwrap();
    fs::write(folder.path().join("bomb.puls"), job.to_gzip()).unwrap();
    puls(&folder, &["info"], "bomb.puls", &["--max-bytes", "5000"]).expect(0);
    puls(&folder, &["info"], "bomb.puls", &["--max-bytes", "4999"]).expect(1);
}

#[cfg(unix)]
#[test]
fn a_pipe_or_a_device_is_refused_at_once() {
    let folder = folder();
    assert!(Command::new("mkfifo").arg(folder.path().join("fifo")).status().unwrap().success());
    std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let make_gcode: &[&str] = &["make", "-o", "out.puls", "--kind", "gcode", "--from"];
    let make_path: &[&str] = &["make", "-o", "out.puls", "--kind", "svgpath", "--from"];
    for arguments in EVERY.into_iter().chain([make_gcode, make_path]) {
        for file in ["fifo", "socket", "/dev/zero", "."] {
            let ended = puls(&folder, arguments, file, &[]);
            ended.expect(2);
            let what = match file {
                "fifo" => "a pipe (FIFO), not a regular file",
                "socket" => "a socket, not a regular file",
                "." => "a folder, not a file",
                _ => "a device, not a regular file",
            };
            let error = format!("cannot read {file}: it is {what}");
            assert!(ended.stderr.contains(&error), "{arguments:?}: {ended:?}");
            assert_eq!(ended.stderr.contains("redirect it to standard input and pass `-`"), file != ".", "{ended:?}");
            assert_eq!(names(&folder), ["fifo", "socket"], "{arguments:?}");
        }
    }
}

#[cfg(unix)]
#[test]
fn endless_standard_input_is_read_to_the_limit() {
    let folder = folder();
    fs::write(folder.path().join("head.puls"), Builder::new().to_bytes()).unwrap();
    for arguments in EVERY {
        let mut cat = Command::new("cat");
        cat.current_dir(folder.path()).args(["head.puls", "/dev/zero"]).stdout(Stdio::piped());
        let mut cat = cat.spawn().unwrap();
        let mut command = command(folder.path());
        command.arg("puls").args(arguments).args(["-", "--max-bytes", "1000000"]);
        let ended = Program::start({
            command.stdin(cat.stdout.take().unwrap());
            command
        })
        .end();
        // Its pipe was closed.
        assert!(!cat.wait().unwrap().success());
        ended.expect(1);
        assert!(ended.stderr.contains("standard input: the body, from byte 1080 on, is longer"), "{ended:?}");
        assert_eq!(names(&folder), ["head.puls"], "{arguments:?}");
    }
}
