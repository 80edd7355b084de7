//! `puls`: the output of its commands.

mod bounds;
mod drawings;
mod layers;
mod looking;
mod make;

use std::fs;
use std::process::{Command, Stdio};

use gf_emulator_core::puls::{Builder, Limits, code, measure, tick};
use tempfile::TempDir;

use crate::program::{Program, command};
use crate::{folder, run};

/// Returns a job with travel, a cut and a pause, locked to machine 4711.
fn job() -> Builder {
    let mut job = Builder::new();
    job.set(code::SERIAL_LOCK, 4711).unwrap();
    job.move_to(10.0, 5.0).unwrap().dwell(0.25).unwrap();
    job.cut_to(20.0, 5.0, 20.0, 3.0 / 7.0).unwrap().move_to(0.0, 0.0).unwrap();
    job
}

/// Creates `job.puls`, `packed.puls` (gzip), `cut.puls` (gzip, truncated) and `no.puls` (not a pulse file).
fn files() -> TempDir {
    let folder = folder();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let packed = job().to_gzip();
    write("job.puls", &job().to_bytes());
    write("packed.puls", &packed);
    write("cut.puls", &packed[..packed.len() - 5]);
    write("no.puls", b"#!/bin/sh\n");
    folder
}

#[test]
fn info_shows_one_file_in_full_in_80_columns() {
    let ended = run(&files(), &["puls", "info", "packed.puls"]);
    ended.expect(0);
    for expected in [
        "packed.puls (gzip)",
        "distance   41.8 mm: 10.0 cut (laser on), 31.8 travel (laser off)",
        "density 3/7: 10.0 mm",
        "STfr 10000",
    ] {
        assert!(ended.stdout.contains(expected), "{expected}: {}", ended.stdout);
    }
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ended.stdout);
    assert_eq!(ended.stderr, "");
}

#[test]
fn info_shows_several_files_as_a_table_and_reports_bad_ones() {
    let ended = run(&files(), &["puls", "info", "job.puls", "no.puls", "cut.puls", "packed.puls"]);
    ended.expect(1);
    let rows: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert!(rows[0].contains("total mm   cut mm"), "{rows:?}");
    assert!(rows[1].ends_with("  job.puls") && rows[2].ends_with("  packed.puls"), "{rows:?}");
    assert!(rows[3].ends_with("  2 jobs") && rows[3].contains(" 83.6 "), "{rows:?}");
    let errors: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert_eq!(errors[0], "no.puls: not a pulse file: \"!/b\" at byte 1, expected \"GF1\"");
    assert!(errors[1].starts_with("cut.puls: the compressed file ends at byte "), "{errors:?}");
    assert_eq!(errors[2], "gf-machine-emulator: 2 of 4 files could not be read");
}

#[test]
fn control_characters_in_the_name_of_a_missing_file_are_replaced() {
    for (arguments, expected) in [
        (&["info", "\u{1b}[2J"][..], "cannot read ?[2J: "),
        (&["check", "a\nb"], "cannot read a?b: "),
        (&["make", "--kind", "gcode", "-o", "x", "--from", "a\u{7f}b"], "cannot read a?b: "),
    ] {
        let ended = run(&files(), &[&["puls"], arguments].concat());
        ended.expect(2);
        assert!(ended.stderr.contains(expected), "{ended:?}");
    }
}

#[test]
fn info_json_is_what_the_library_measures() {
    let ended = run(&files(), &["puls", "info", "--json", "job.puls", "no.puls", "packed.puls"]);
    ended.expect(1);
    let measured = measure(&job().to_bytes()[..], Limits::default()).unwrap();
    let numbers = serde_json::to_string(&measured).unwrap();
    let lines: Vec<_> = ended.stdout.lines().collect();
    // Travel is with the laser off.
    let distance = &serde_json::from_str::<serde_json::Value>(lines[0]).unwrap()["distance"];
    let [travelled, cut, travel] = ["travelled", "cut", "travel"].map(|key| distance[key].as_f64().unwrap());
    assert!(cut > 9.9 && travel > 31.0 && (travelled - cut - travel).abs() < 1e-9, "{distance}");
    let [job, packed] = ["job.puls", "packed.puls"].map(|name| format!("{{\"file\":\"{name}\",{}", &numbers[1..]));
    let no = lines[1];
    assert!(no.starts_with("{\"file\":\"no.puls\",\"error\":\"no.puls: not a pulse file: "), "{no}");
    assert_eq!(lines, [&job, no, &packed]);
}

#[test]
fn a_dash_is_standard_input_or_output() {
    let folder = files();
    for (arguments, expected) in [
        (&["puls", "info", "-"][..], "standard input (gzip)\n"),
        (&["puls", "check", "-"], "standard input: good\n"),
        (&["puls", "export", "-", "--format", "gcode", "-o", "-"], "; from standard_input\n"),
    ] {
        let mut command: Command = command(folder.path());
        command.args(arguments).stdin(Stdio::from(fs::File::open(folder.path().join("packed.puls")).unwrap()));
        let ended = Program::start(command).end();
        ended.expect(0);
        assert!(ended.stdout.starts_with(expected), "{ended:?}");
    }
}

#[test]
fn check_reports_locked_and_broken_jobs() {
    let folder = files();
    run(&folder, &["puls", "check", "job.puls", "packed.puls"]).expect(0);
    run(&folder, &["puls", "check", "--serial", "4711", "job.puls"]).expect(0);

    let ended = run(&folder, &["puls", "check", "--serial", "1", "job.puls"]);
    ended.expect(1);
    assert_eq!(ended.stdout, "job.puls: error: the job is for another machine (MCsn)\n");
    assert!(!ended.stderr.contains("4711"), "{ended:?}");

    run(&folder, &["puls", "check", "cut.puls", "job.puls"]).expect(1);
    let ended = run(&folder, &["puls", "check", "cut.puls", "gone.puls", "job.puls"]);
    ended.expect(2);
    assert_eq!(ended.stdout, "job.puls: good\n");
    assert!(ended.stderr.contains("cannot read gone.puls: "), "{ended:?}");
}

#[test]
fn check_and_info_report_what_machines_refuse_in_the_body_and_the_microsteps() {
    let folder = folder();
    let mut job = Builder::new();
    job.move_to(10.0, 0.0).unwrap().set(code::X_MICROSTEPS, 16).unwrap();
    let before = job.body().len();
    let body = [tick::X_STEP | tick::FIRE, tick::POWER | 127, 0];
    fs::write(folder.path().join("job.puls"), [&job.to_bytes()[..], &body].concat()).unwrap();
    let ended = run(&folder, &["puls", "check", "job.puls"]);
    ended.expect(1);
    let microsteps = "the microsteps of X (XSmm) are 16, expected 8";
    let offset = job.header().len_bytes() + before;
    let errors: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(errors.len(), 8, "{errors:?}");
    assert_eq!(errors[0], format!("job.puls: error: {microsteps}"));
    assert!(errors[1..4].iter().all(|error| error.contains("the laser fires, but the fan duty ")), "{errors:?}");
    // A motion has no tachometer of the air assist and no alerts of the accelerometer.
    for (code, error) in ["AArx", "HAxr", "HAyr"].iter().zip(&errors[4..]) {
        assert!(error.starts_with(&format!("job.puls: remark: the limit {code} is 0, which turns it off")), "{error}");
    }
    let early =
        format!("job.puls: error: tick {before} (0.24 s): the laser fires (byte {offset}) before any power byte");
    assert_eq!(errors[7], early);
    let ended = run(&folder, &["puls", "check", "--json", "job.puls"]);
    ended.expect(1);
    let found: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&found["good"], &found["error"]), (&false.into(), &serde_json::Value::Null));
    let last = &found["findings"][7];
    assert_eq!((&last["rule"], &last["severity"]), (&"fire-before-power".into(), &"error".into()));
    assert_eq!((&last["tick"], &last["time_s"]), (&before.into(), &(before as f64 / 1e4).into()));
    let fire = format!("the laser fires at byte {offset} (tick {before}), before any power byte");
    let ended = run(&folder, &["puls", "info", "job.puls"]);
    ended.expect(0);
    assert!(ended.stdout.contains(&format!("  refused    {microsteps}\n  refused    {fire}\n")), "{}", ended.stdout);
}

#[test]
fn export_leaves_a_complete_file_or_none() {
    let folder = files();
    run(&folder, &["puls", "export", "job.puls", "--format", "csv", "-o", "job.csv"]).expect(0);
    let csv = fs::read_to_string(folder.path().join("job.csv")).unwrap();
    assert!(csv.starts_with("start_tick,") && csv.lines().count() == 5, "{csv}");

    let ended = run(&folder, &["puls", "export", "cut.puls", "--format", "csv", "-o", "job.csv"]);
    ended.expect(1);
    assert!(ended.stderr.contains("cut.puls: the compressed file ends"), "{ended:?}");
    assert_eq!(fs::read_to_string(folder.path().join("job.csv")).unwrap(), csv);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5, "a temp file is left");

    let ended = run(&folder, &["puls", "export", "job.puls", "--format", "json", "-o", "no/such/folder"]);
    ended.expect(2);
    assert!(ended.stderr.contains("cannot write no/such/folder: "), "{ended:?}");
    run(&folder, &["puls", "export", "job.puls", "--format", "csv", "-o", "."]).expect(2);
    run(&folder, &["puls", "export", "job.puls"]).expect(2);
}

#[test]
fn plot_chooses_the_format_by_extension_and_reports_the_file() {
    let folder = files();
    let written = |name: &str| fs::read(folder.path().join(name)).unwrap();
    let ended = run(&folder, &["puls", "plot", "packed.puls"]);
    ended.expect(0);
    assert!(ended.stdout.is_empty() && ended.stderr.starts_with("packed.puls.svg: "), "{ended:?}");
    let svg = String::from_utf8(written("packed.puls.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains(">packed.puls</text>") && svg.contains("width=\"1200\""), "{svg}");

    run(&folder, &["puls", "plot", "job.puls", "-o", "job.png", "--size", "360", "--view", "job"]).expect(0);
    let png = written("job.png");
    assert_eq!((&png[1..4], &png[16..20]), (&b"PNG"[..], &360_u32.to_be_bytes()[..]));

    let ended = run(&folder, &["puls", "plot", "job.puls", "-o", "-", "--start", "-30,35.5"]);
    ended.expect(0);
    assert!(ended.stdout.starts_with("<svg ") && ended.stdout.contains(">-50</text>"), "{ended:?}");
    assert_eq!(
        ended.stderr,
        "job.puls: remark: started at -30,35.5 the job leaves the bed, which is 495 x 279 mm: it reaches X -30.0 to -10.0, \
         Y 35.5 to 40.5 mm; it fits from X 0.0 to 475.0, Y 0.0 to 274.0\n"
    );
}

#[test]
fn plot_remarks_on_a_job_that_leaves_the_bed() {
    let folder = files();
    for (start, remark) in [("475,274", false), ("475.5,0", true), ("0,274.5", true), ("0,-1", true), ("0,0", false)] {
        let ended = run(&folder, &["puls", "plot", "job.puls", "--start", start]);
        ended.expect(0);
        let remarked = ended.stderr.contains(&format!("remark: started at {start} the job leaves the bed"));
        assert_eq!(remarked, remark, "{ended:?}");
        assert!(ended.stderr.contains("job.puls.svg: "), "{ended:?}");
    }
    // Too large for any start.
    let mut wide = Builder::new();
    wide.move_to(-250.0, 0.0).unwrap().move_to(246.0, 0.0).unwrap();
    fs::write(folder.path().join("wide.puls"), wide.to_gzip()).unwrap();
    let ended = run(&folder, &["puls", "plot", "wide.puls", "-o", "wide.svg"]);
    ended.expect(0);
    assert!(ended.stderr.contains("remark: the job does not fit on the bed, which is 495 x 279 mm"), "{ended:?}");
}

#[test]
fn a_default_name_is_not_that_of_a_drawing() {
    let folder = files();
    for (command, drawing) in [("plot", "job.svg"), ("view", "job.html")] {
        fs::write(folder.path().join(drawing), "a drawing").unwrap();
        run(&folder, &["puls", command, "job.puls"]).expect(0);
        assert_eq!(fs::read_to_string(folder.path().join(drawing)).unwrap(), "a drawing");
    }
}

#[test]
fn a_failed_plot_leaves_no_file() {
    let folder = files();
    for (arguments, code, words) in [
        (&["job.puls", "-o", "job.pdf"][..], 2, "job.pdf: SVG or PNG?"),
        (&["job.puls", "--size", "20000"], 2, "expected a whole number of pixels from 240 to 10000"),
        (&["job.puls", "--size", "wide"], 2, "expected a whole number of pixels from 240 to 10000"),
        (&["job.puls", "--size", "-5"], 2, "expected a whole number of pixels from 240 to 10000"),
        (&["job.puls", "--start", "1"], 2, "expected two numbers of mm from -2000 to 2000"),
        (&["job.puls", "--start", "nan,0"], 2, "expected two numbers of mm from -2000 to 2000"),
        (&["job.puls", "--start", "inf,0"], 2, "expected two numbers of mm from -2000 to 2000"),
        (&["job.puls", "--start", "1e30,1e30"], 2, "expected two numbers of mm from -2000 to 2000"),
        (&["job.puls", "--start", "0,-2000.1"], 2, "expected two numbers of mm from -2000 to 2000"),
        (&["job.puls", "--max-bytes", "-1"], 2, "expected a whole number of bytes from 1 to"),
        (&["cut.puls", "-o", "cut.png"], 1, "cut.puls: the compressed file ends"),
        (&["no.puls"], 1, "no.puls: not a pulse file"),
        (&["job.puls", "-o", "no/such/folder.svg"], 2, "cannot write no/such/folder.svg: "),
    ] {
        let ended = run(&folder, &[&["puls", "plot"], arguments].concat());
        ended.expect(code);
        assert!(ended.stderr.contains(words), "{ended:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "a file is left");
}

#[cfg(unix)]
#[test]
fn a_device_is_written_in_place() {
    use std::os::unix::fs::FileTypeExt;
    run(&files(), &["puls", "export", "job.puls", "--format", "csv", "-o", "/dev/null"]).expect(0);
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = files();
    let mut command = command(folder.path());
    command.args(["puls", "export", "job.puls", "--format", "json"]);
    Program::start_unread(command).end().expect(0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_failure() {
    let folder = files();
    for arguments in
        [&["puls", "info", "job.puls"][..], &["puls", "info", "--json", "job.puls"], &["puls", "check", "job.puls"]]
    {
        let mut command = command(folder.path());
        command.args(arguments);
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("standard output is incomplete: No space left on device"), "{said}");
    }
}
