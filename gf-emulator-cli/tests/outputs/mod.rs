//! Outputs: complete or absent, never over an input, and opened before the work.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use gf_emulator_core::puls::Builder;
use gf_emulator_core::record;
use tempfile::TempDir;

use crate::program::{Ended, Program, command};
use crate::{configure, folder, run};

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];
/// Commands, each with a file that it reads and its output option.
const INPUTS: [(&str, &[&str], &[&str]); 8] = [
    ("rec/session.jsonl", &["report", "rec"], &["-o"]),
    ("rec/000001_request.jpg", &["report", "rec"], &["-o"]),
    ("job.puls", &["puls", "export", "job.puls", "--format", "csv"], &["-o"]),
    ("job.puls", &["puls", "plot", "job.puls", "--format", "svg"], &["-o"]),
    ("x.svgpath", &["puls", "make", "--from", "x.svgpath"], &["-o"]),
    ("script.json", &SERVE, &["--script", "script.json", "--ca-out"]),
    ("job.puls", &SERVE, &["--puls", "job.puls", "--ca-out"]),
    ("rec/session.jsonl", &SERVE, &["--replay", "rec", "--ca-out"]),
];
/// Commands with an output.
const WRITERS: [&[&str]; 5] = [
    &["report", "rec", "-o"],
    &["puls", "export", "job.puls", "--format", "csv", "-o"],
    &["puls", "plot", "job.puls", "--format", "svg", "-o"],
    &["puls", "make", "--square", "4", "-o"],
    &["serve", "--listen", "127.0.0.1:0", "--ca-out"],
];

/// Creates `job.puls`, `x.svgpath`, `script.json`, and a recording in `rec`, imported from `theirs.jsonl`.
fn inputs() -> TempDir {
    let folder = folder();
    let here = folder.path();
    let job = Builder::new().move_to(3.0, 4.0).unwrap().to_bytes();
    fs::write(here.join("job.puls"), job).unwrap();
    fs::write(here.join("x.svgpath"), "M1 1 H9").unwrap();
    fs::write(here.join("script.json"), "[]").unwrap();
    let theirs = "{\"t\":0.1,\"kind\":\"ws_open\"}\n\
                  {\"t\":0.5,\"kind\":\"ws_tx\",\"msg\":{\"id\":1,\"action_type\":\"settings\",\"status\":\"ready\"}}\n";
    fs::write(here.join("theirs.jsonl"), theirs).unwrap();
    record::import(here.join("theirs.jsonl"), here.join("rec"), false).unwrap();
    fs::write(here.join("rec/000001_request.jpg"), "a picture").unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[track_caller]
fn expect(ended: &Ended, code: i32, words: &str) {
    ended.expect(code);
    assert!(ended.stderr.contains(words), "{words:?}: {ended:#?}");
}

#[test]
fn an_output_never_overwrites_an_input_under_any_name() {
    for (input, command, option) in INPUTS {
        let folder = inputs();
        let there = folder.path().join(input);
        let before = fs::read(&there).unwrap();
        let dotted = format!("./{input}");
        let mut outputs = vec![input, &dotted];
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&there, folder.path().join("symbolic")).unwrap();
            fs::hard_link(&there, folder.path().join("hard")).unwrap();
            outputs.extend(["symbolic", "hard"]);
        }
        for output in outputs {
            let ended = run(&folder, &[command, option, &[output]].concat());
            expect(&ended, 2, &format!("cannot write {output}: it belongs to the input "));
            assert!(fs::read(&there).unwrap() == before, "{command:?} {output}");
        }
    }
}

#[test]
fn an_output_has_a_name_of_its_kind() {
    let folder = folder();
    let make = |name: &str| run(&folder, &["puls", "make", "--circle", "10", "-o", name]);
    make("job.puls").expect(0);
    for name in ["box.svg", "box.PNG", "box.gcode"] {
        fs::write(folder.path().join(name), "a drawing").unwrap();
        expect(&make(name), 2, &format!("{name}: use a name for a job"));
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), "a drawing");
    }
    let view = |name: &str| run(&folder, &["puls", "view", "job.puls", "-o", name]);
    expect(&view("job.svg"), 2, "job.svg: a page: use a name that ends in .html");
    assert!(!folder.path().join("job.svg").exists());
    for name in ["job.HTM", "page"] {
        view(name).expect(0);
    }
}

#[cfg(unix)]
#[test]
fn an_output_never_overwrites_standard_input() {
    let folder = inputs();
    let before = fs::read(folder.path().join("job.puls")).unwrap();
    let mut command = command(folder.path());
    command.args(["puls", "export", "-", "--format", "csv", "-o", "job.puls"]);
    command.stdin(Stdio::from(fs::File::open(folder.path().join("job.puls")).unwrap()));
    expect(&Program::start(command).end(), 2, "it belongs to the input standard input");
    assert!(fs::read(folder.path().join("job.puls")).unwrap() == before);
}

#[test]
fn a_report_in_the_folder_of_a_recording_can_be_overwritten() {
    let folder = inputs();
    for _ in 0..2 {
        run(&folder, &["report", "rec", "-o", "rec/report.html"]).expect(0);
    }
}

#[cfg(unix)]
#[test]
fn an_output_must_be_a_file_in_an_existing_folder() {
    let folder = inputs();
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("fifo")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    let before = names(folder.path());
    for writer in WRITERS {
        for (output, words) in [
            ("fifo", "cannot write fifo: it is a pipe (FIFO)"),
            ("socket", "cannot write socket: it is a socket"),
            ("folder", "cannot write folder: it is a folder, not a file"),
            ("no/such/file", "cannot write no/such/file: there is no folder no/such"),
            ("job.puls/file", "cannot write job.puls/file: job.puls is a file, not a folder"),
        ] {
            expect(&run(&folder, &[writer, &[output]].concat()), 2, words);
            assert_eq!(names(folder.path()), before, "{writer:?} {output}");
        }
    }
    configure(&folder, "http://127.0.0.1:1", "ws://127.0.0.1:1", "", "log_file: fifo");
    for command in ["run", "check"] {
        expect(&run(&folder, &[command]), 2, "log_file: cannot write fifo: it is a pipe (FIFO)");
    }
}

#[cfg(unix)]
#[test]
fn dev_stdout_is_standard_output_and_a_symbolic_link_is_followed() {
    let folder = inputs();
    let ended = run(&folder, &["puls", "export", "job.puls", "--format", "csv", "-o", "/dev/stdout"]);
    ended.expect(0);
    assert!(ended.stdout.starts_with("start_tick,"), "{ended:?}");
    std::os::unix::fs::symlink("target", folder.path().join("link")).unwrap();
    for there in [false, true] {
        assert_eq!(folder.path().join("target").exists(), there);
        run(&folder, &["puls", "export", "job.puls", "--format", "csv", "-o", "link"]).expect(0);
        assert_eq!(fs::read_to_string(folder.path().join("target")).unwrap(), ended.stdout);
        assert!(folder.path().join("link").is_symlink());
    }
}

#[test]
fn the_certificate_cannot_replace_the_recording() {
    let folder = folder();
    fs::create_dir(folder.path().join("rec")).unwrap();
    let ended = run(&folder, &[&SERVE[..], &["--record", "rec", "--ca-out", "rec/session.jsonl"]].concat());
    expect(&ended, 2, "it already contains a recording");
}

#[test]
fn the_log_cannot_replace_the_configuration() {
    let folder = folder();
    configure(&folder, "http://127.0.0.1:1", "ws://127.0.0.1:1", "", "log_file: gf-machine-emulator.cfg");
    let file = folder.path().join("gf-machine-emulator.cfg");
    let before = fs::read(&file).unwrap();
    for command in ["run", "check", "collect"] {
        expect(&run(&folder, &[command]), 2, "log_file: cannot write gf-machine-emulator.cfg: it belongs to the input");
    }
    assert!(fs::read(&file).unwrap() == before);
}

#[test]
fn an_address_in_use_leaves_no_file() {
    let folder = folder();
    configure(&folder, "http://127.0.0.1:1", "ws://127.0.0.1:1", "", "");
    let before = names(folder.path());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for arguments in [
        &["run", "--follow", &address, "--record", "rec"][..],
        &["collect", "--follow", &address, "--record", "rec"],
        &["serve", "--listen", &address, "--ca-out", "ca.pem", "--record", "rec"],
    ] {
        expect(&run(&folder, arguments), 1, &address);
        assert_eq!(names(folder.path()), before, "{arguments:?}");
    }
}

#[test]
fn a_missing_certificate_leaves_no_recording() {
    let folder = folder();
    configure(&folder, "http://127.0.0.1:1", "ws://127.0.0.1:1", "nowhere.pem", "");
    expect(&run(&folder, &["run", "--record", "rec"]), 2, "nowhere.pem");
    assert!(!folder.path().join("rec").exists());
}

#[test]
fn a_folder_that_cannot_be_written_to_is_wrong_usage() {
    let folder = inputs();
    configure(&folder, "http://127.0.0.1:1", "ws://127.0.0.1:1", "", "");
    fs::write(folder.path().join("text"), "x").unwrap();
    let before = names(folder.path());
    let recorders = [
        &["run", "--record"][..],
        &["collect", "--record"],
        &["demo", "--record"],
        &["serve", "--listen", "127.0.0.1:0", "--record"],
        &["import", "theirs.jsonl", "-o"],
    ];
    let others = [&["demo", "--dir"][..], &["pipe", "--dir"]];
    let proc = ("/proc/new", "cannot write in /proc/new: ");
    let file = ("text", "cannot write in text: it is a file, not a folder");
    let below = ("text/below", "cannot write in text/below: text is a file, not a folder");
    for command in recorders.into_iter().chain(others) {
        let linux = cfg!(target_os = "linux").then_some(proc);
        for (output, words) in [file, below].into_iter().chain(linux) {
            expect(&run(&folder, &[command, &[output]].concat()), 2, words);
            assert_eq!(names(folder.path()), before, "{command:?} {output}");
        }
    }
    for command in recorders {
        expect(&run(&folder, &[command, &["rec"]].concat()), 2, "it already contains a recording");
        assert_eq!(names(folder.path()), before, "{command:?}");
    }
}

#[test]
fn an_input_that_cannot_be_opened_is_wrong_usage() {
    let folder = inputs();
    fs::create_dir(folder.path().join("folder")).unwrap();
    for (command, rest) in [
        (&["report"][..], &[][..]),
        (&["import"], &["-o", "new"]),
        (&["puls", "info"], &[]),
        (&["puls", "info", "job.puls"], &[]),
        (&["puls", "check"], &[]),
        (&["puls", "check", "job.puls"], &[]),
        (&["puls", "plot"], &["-o", "new.svg"]),
        (&["puls", "export"], &["--format", "csv", "-o", "new"]),
        (&["puls", "make", "-o", "new", "--kind", "gcode", "--from"], &[]),
        (&["serve", "--listen", "127.0.0.1:0", "--replay"], &[]),
        (&["serve", "--listen", "127.0.0.1:0", "--script"], &[]),
        (&["serve", "--listen", "127.0.0.1:0", "--puls"], &[]),
    ] {
        let is_folder = if command.iter().any(|word| ["report", "--replay"].contains(word)) {
            "there is no recording"
        } else {
            "it is a folder, not a file"
        };
        for (input, words) in [("nowhere", "nowhere"), ("folder", is_folder)] {
            expect(&run(&folder, &[command, &[input], rest].concat()), 2, words);
        }
    }
    for arguments in [&["report", "job.puls"][..], &["serve", "--listen", "127.0.0.1:0", "--replay", "job.puls"]] {
        expect(
            &run(&folder, arguments),
            2,
            "cannot read job.puls: it is neither the folder of a recording nor its session.jsonl",
        );
    }
}

#[test]
fn demo_keeps_files_in_its_folder_and_adds_missing_pictures() {
    const THEIRS: &[u8] = b"\xff\xd8theirs\xff\xd9";
    let folder = folder();
    let theirs = ["ca.pem", "images/HOME_1.part", "images/LID_IMAGE.jpg"];
    fs::create_dir(folder.path().join("images")).unwrap();
    for name in theirs {
        fs::write(folder.path().join(name), THEIRS).unwrap();
    }
    run(&folder, &["demo", "--dir", "."]).expect(0);
    for name in theirs {
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), THEIRS, "{name}");
    }
    let pictures = [
        "HEAD_LASER_.230.jpg",
        "HEAD_NO_LASER_.230.jpg",
        "HOME_1.jpg",
        "HOME_1.part",
        "HOME_2.jpg",
        "HOME_3.jpg",
        "HOME_4.jpg",
        "LID_IMAGE.jpg",
    ];
    assert_eq!(names(&folder.path().join("images")), pictures);
}

#[test]
fn counts_have_singular_and_plural() {
    let folder = inputs();
    fs::write(folder.path().join("none"), "").unwrap();
    fs::write(folder.path().join("one.jsonl"), "{\"t\":0.5,\"kind\":\"done\"}\n").unwrap();
    for (arguments, words) in [
        (&["puls", "check", "none"][..], "1 of 1 file had an error"),
        (&["puls", "info", "none"], "1 of 1 file could not be read"),
        (&["puls", "check", "none", "job.puls"], "1 of 2 files had an error"),
        (&["import", "none", "-o", "new"], "none, line 1: the file is empty"),
        (&["import", "job.puls", "-o", "new"], "no valid lines"),
    ] {
        expect(&run(&folder, arguments), 1, words);
    }
    let ended = run(&folder, &["import", "one.jsonl", "-o", "one"]);
    ended.expect(0);
    assert_eq!(ended.stdout, "one: converted 1 line\n");
    expect(&run(&folder, &["report", "rec"]), 0, "report.html: 1 action, 0 messages, 1 problem");
}
