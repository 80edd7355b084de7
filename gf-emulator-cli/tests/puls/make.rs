//! `puls make`: `puls info` measures what was asked for, and errors leave no file.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Ended, Program, command};
use crate::{folder, run};

/// Runs the binary with `text` on standard input.
pub(super) fn run_with(folder: &TempDir, arguments: &[&str], text: &str) -> Ended {
    let mut command = command(folder.path());
    command.args(arguments).stdin(Stdio::piped());
    let mut program = Program::start(command);
    program.write(text);
    program.close_stdin();
    program.end()
}

fn info(folder: &TempDir, file: &str) -> Value {
    let ended = run(folder, &["puls", "info", "--json", file]);
    ended.expect(0);
    serde_json::from_str(&ended.stdout).unwrap()
}

#[track_caller]
fn about(value: &Value, expected: f64, within: f64) {
    let value = value.as_f64().unwrap();
    assert!((value - expected).abs() <= within, "{value} is not {expected}");
}

fn is_empty(folder: &TempDir) -> bool {
    fs::read_dir(folder.path()).unwrap().next().is_none()
}

#[test]
fn shapes_have_the_position_and_size_asked_for() {
    let folder = folder();
    for (shape, cut_mm, right_mm, front_mm) in [
        (["--square", "30"], 120.0, 40.0, 50.0),
        (["--circle", "30"], 94.25, 40.0, 50.0),
        (["--line", "3,4"], 5.0, 13.0, 24.0),
    ] {
        let [option, size] = shape;
        let ended = run(&folder, &["puls", "make", option, size, "--at", "10,20", "-o", "job.puls"]);
        ended.expect(0);
        assert!(ended.stdout.is_empty() && ended.stderr.lines().count() == 1, "{ended:?}");
        assert!(ended.stderr.starts_with("job.puls: ") && ended.stderr.contains(" ticks, "), "{ended:?}");
        let info = info(&folder, "job.puls");
        about(&info["distance"]["cut"], cut_mm, 0.3);
        assert_eq!((&info["stats"]["XEND"], &info["stats"]["YEND"]), (&0.into(), &0.into()), "{info}");
        about(&info["stats"]["LP"], 1.0, 0.0);
        about(&info["extents"]["x_mm"][1], right_mm, 0.02);
        about(&info["extents"]["y_mm"][1], front_mm, 0.02);
        run(&folder, &["puls", "check", "job.puls", "--serial", "1"]).expect(0);
    }
}

#[test]
fn options_set_speeds_power_header_and_compression() {
    let folder = folder();
    let options = "--line 50,0 --speed 25 --density 1/7 --power-level 64 --travel-speed 100 --acceleration 350,300 \
                   --frequency 28160 --serial 4711 --gzip -o job.puls";
    let arguments: Vec<_> = ["puls", "make"].into_iter().chain(options.split_whitespace()).collect();
    run(&folder, &arguments).expect(0);
    assert!(fs::read(folder.path().join("job.puls")).unwrap().starts_with(b"\x1f\x8b"));
    run(&folder, &["puls", "check", "job.puls", "--serial", "4711"]).expect(0);
    run(&folder, &["puls", "check", "job.puls", "--serial", "4712"]).expect(1);
    let info = info(&folder, "job.puls");
    // Out at 25 mm/s with ramps of 25/350 s, back at 100 mm/s.
    let out_s = 50.0 / 25.0 + 25.0 / 350.0;
    about(&info["run_time"], out_s + 50.0 / 100.0 + 100.0 / 350.0, 0.005);
    // In the ramps, the density falls to 0.39 of that between them.
    let ramps_s = 2.0 * 25.0 / 350.0;
    let mean = 0.39 * 0.39 + 0.61 * f64::midpoint(0.39, 1.0);
    about(&info["stats"]["LE"], (out_s - ramps_s * (1.0 - mean)) * 28_160.0 / 7.0, 10.0);
    let shown = run(&folder, &["puls", "info", "job.puls"]);
    assert!(shown.stdout.contains("power 64: 50.0 mm") && shown.stdout.contains("28160 a second"), "{shown:?}");
}

#[test]
fn drawings_are_read_from_files_and_standard_input() {
    let folder = folder();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("a.nc", "G21 G90\nM4 S500 F3000\nG1 X20\nG1 Y-10\nM5\nG0 X5\nM2\n");
    write("b.SVGPATH", "M10 10 h 20 v 10 h-20 z\n");
    run(&folder, &["puls", "make", "--from", "a.nc", "--flip-y", "--at", "1,0", "-o", "a.puls"]).expect(0);
    let info_a = info(&folder, "a.puls");
    about(&info_a["stats"]["XEND"], 6.0 / 0.018_75, 0.0);
    about(&info_a["stats"]["YEND"], 533.0, 0.0);
    run(&folder, &["puls", "make", "--from", "b.SVGPATH", "-o", "b.puls"]).expect(0);
    about(&info(&folder, "b.puls")["distance"]["cut"], 60.0, 0.3);

    let made = ["puls", "make", "--from", "-", "--kind", "gcode", "-o", "c.puls", "--s-max", "500"];
    run_with(&folder, &made, "M3 S500 F600\nG1 X1").expect(0);
    let info_c = info(&folder, "c.puls");
    // 1 mm (to the nearest step) at 10 mm/s, and a ramp of 10/700 s; S500 is every tick.
    about(&info_c["stats"]["LE"], 1_137.0, 2.0);
    // Machines take all of them: their power is set before they fire.
    run(&folder, &["puls", "check", "a.puls", "b.puls", "c.puls"]).expect(0);
}

#[test]
fn an_exported_job_can_be_made_again() {
    let folder = folder();
    run(&folder, &["puls", "make", "--circle", "20", "--at", "5,5", "-o", "circle.puls"]).expect(0);
    run(&folder, &["puls", "export", "circle.puls", "--format", "gcode", "-o", "circle.gcode"]).expect(0);
    run(&folder, &["puls", "make", "--from", "circle.gcode", "-o", "again.puls"]).expect(0);
    let (was, is) = (info(&folder, "circle.puls"), info(&folder, "again.puls"));
    assert_eq!(is["stats"]["XEND"], was["stats"]["XEND"]);
    about(&is["distance"]["cut"], was["distance"]["cut"].as_f64().unwrap(), 0.5);
    about(&is["run_time"], was["run_time"].as_f64().unwrap(), 0.2);
}

#[test]
fn standard_output_gets_only_the_file() {
    let folder = folder();
    let ended = run(&folder, &["puls", "make", "--square", "5", "-o", "made.puls"]);
    ended.expect(0);
    let mut make = command(folder.path());
    make.args(["puls", "make", "--square", "5", "-o", "-"]);
    let out = make.output().unwrap();
    assert_eq!(out.stdout, fs::read(folder.path().join("made.puls")).unwrap());
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(said, ended.stderr.replace("made.puls: ", "standard output: "));
}

#[test]
fn an_error_in_a_drawing_names_its_line_and_leaves_no_file() {
    let folder = folder();
    let gcode = ["puls", "make", "--from", "-", "--kind", "gcode", "-o", "job.puls"];
    let path = ["puls", "make", "--from", "-", "--kind", "svgpath", "-o", "job.puls"];
    for (arguments, text, message) in [
        (gcode, "G0 X5\nG1 X3\n", ": line 2, column 4: \"X3\", expected an F above 0 in this line or one before it"),
        (gcode, "G0 X5\n\nG38.2 Z1\n", ": line 3, column 1: \"G38.2\", a probe, expected a program without measuring"),
        (path, "M0 0\nL 5 5 K", ": line 2, column 7: \"K\", expected one of the commands"),
        (path, "", ": line 1, column 1: the end, expected path data"),
        (path, "M5 5", " has nothing to draw: the laser never fires"),
        (path, "M0 0", " has nothing to draw: the head never moves"),
        (path, "M5 5 L5 5 Z", " has nothing to draw: the laser never fires"),
        (gcode, "", " has nothing to draw: the head never moves"),
        (gcode, "; nothing\nM3 S500\nM5\n", " has nothing to draw: the head never moves"),
    ] {
        let ended = run_with(&folder, &arguments, text);
        ended.expect(1);
        let expected = format!("gf-machine-emulator: standard input{message}");
        assert!(ended.stderr.starts_with(&expected) && ended.stdout.is_empty(), "{ended:?}");
    }
    let ended = run(&folder, &["puls", "make", "--from", "gone.nc", "-o", "job.puls"]);
    ended.expect(2);
    assert!(ended.stderr.contains("cannot read gone.nc: "), "{ended:?}");
    run(&folder, &["puls", "make", "--square", "5", "-o", "no/such/job.puls"]).expect(2);
    assert!(is_empty(&folder), "a file is left");
}

#[test]
fn a_job_may_move_without_the_laser() {
    let folder = folder();
    for (arguments, text) in [
        (&["--from", "-", "--kind", "gcode"][..], "G0 X5"),
        (&["--from", "-", "--kind", "gcode"], "G4 P0.1"),
        (&["--from", "-", "--kind", "svgpath", "--density", "0"], "M0 0 H5"),
        (&["--square", "5", "--density", "0"], ""),
    ] {
        let ended = run_with(&folder, &[&["puls", "make", "-o", "job.puls"], arguments].concat(), text);
        ended.expect(0);
        // Only G-code says when the laser fires.
        assert_eq!(ended.stderr.contains("remark: the laser never fires"), arguments.contains(&"gcode"), "{ended:?}");
        run(&folder, &["puls", "check", "job.puls"]).expect(0);
    }
    // Only a drawing must move the head.
    let ended = run(&folder, &["puls", "make", "--line", "0,0", "--density", "0", "-o", "job.puls"]);
    ended.expect(0);
    assert!(ended.stderr.ends_with("job.puls: remark: the body is empty\n"), "{ended:?}");
}

#[test]
fn a_job_that_does_not_fit_on_the_bed_is_made_with_a_remark() {
    let folder = folder();
    for (arguments, reach) in [
        ("--square 1000", "X 0.0 to 1000.0, Y 0.0 to 1000.0 mm"),
        ("--square 50 --at 480,0", "X 0.0 to 530.0, Y 0.0 to 50.0 mm"),
        ("--line -500,-1", "X -500.0 to 0.0, Y -1.0 to 0.0 mm"),
    ] {
        let arguments: Vec<_> = ["puls", "make", "-o", "job.puls"].into_iter().chain(arguments.split(' ')).collect();
        let ended = run(&folder, &arguments);
        ended.expect(0);
        assert!(ended.stderr.contains("job.puls: remark: a machine may refuse this job: tick "), "{ended:?}");
        let remark = " s): the job does not fit on the bed, which is 495 x 279 mm: from its start it reaches ";
        assert!(ended.stderr.contains(&format!("{remark}{reach}\n")), "{ended:?}");
    }
    let ended = run(&folder, &["puls", "make", "--line", "-20,5", "-o", "job.puls"]);
    ended.expect(0);
    let remark = "job.puls: remark: started at 0,0 the job leaves the bed, which is 495 x 279 mm: it reaches X -20.0 to \
                  0.0, Y 0.0 to 5.0 mm; it fits from X 20.0 to 495.0, Y 0.0 to 274.0\n";
    assert!(ended.stderr.ends_with(remark) && !ended.stderr.contains("may refuse"), "{ended:?}");
    run(&folder, &["puls", "make", "--square", "279", "--at", "216,0", "-o", "job.puls"]).expect(0);
    let ended = run(&folder, &["puls", "make", "--line", "495,279", "-o", "job.puls"]);
    assert!(!ended.stderr.contains("remark"), "{ended:?}");
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_expected() {
    let folder = folder();
    for (arguments, message) in [
        ("-o job.puls", "--line"),
        ("--square 5", "--output"),
        ("--square 5 --circle 5 -o job.puls", "cannot be used with"),
        ("--square 0 -o job.puls", "expected a number of mm from 0.1 to 1000"),
        ("--square nan -o job.puls", "expected a number of mm from 0.1 to 1000"),
        ("--square -5 -o job.puls", "expected a number of mm from 0.1 to 1000"),
        ("--circle -5 -o job.puls", "expected a number of mm from 0.1 to 1000"),
        ("--circle -inf -o job.puls", "expected a number of mm from 0.1 to 1000"),
        ("--circle 1e30 -o job.puls", "expected a number of mm from 0.1 to 1000"),
        ("--line 0,0 -o job.puls", "the shape has nothing to draw: the laser never fires"),
        ("--line 0.001,0 --at 5,5 -o job.puls", "the shape has nothing to draw: the laser never fires"),
        ("--line inf,0 -o job.puls", "expected two numbers of mm from -10000 to 10000"),
        ("--line 5,5 --at 1e30,0 -o job.puls", "expected two numbers of mm from -10000 to 10000"),
        ("--square 5 --speed -1 -o job.puls", "expected a number of mm/s from 0.1 to 10000"),
        ("--square 5 --travel-speed inf -o job.puls", "expected a number of mm/s from 0.1 to 10000"),
        ("--square 5 --travel-speed -1 -o job.puls", "expected a number of mm/s from 0.1 to 10000"),
        ("--square 5 --density -1 -o job.puls", "expected a number from 0 to 1"),
        ("--square 5 --acceleration -1,5 -o job.puls", "expected two numbers of mm/s2 from 1 to 100000"),
        ("--square 5 --power-level -1 -o job.puls", "expected a whole number from 0 to 127"),
        ("--square 5 --power-level full -o job.puls", "expected a whole number from 0 to 127"),
        ("--square 5 --power 0 -o job.puls", "expected a number from 1 to 100, or full"),
        ("--square 5 --power 101 -o job.puls", "expected a number from 1 to 100, or full"),
        ("--square 5 --power 50 --density 0.5 -o job.puls", "cannot be used with"),
        ("--square 5 --focus 13 -o job.puls", "expected a number of mm from 0 to 12.7"),
        ("--square 5 --frequency fast -o job.puls", "expected a whole number of Hz from 1000 to 100000"),
        ("--square 5 --serial abc -o job.puls", "expected a whole number from 0 to 4294967295"),
        ("--square 5 --serial -1 -o job.puls", "expected a whole number from 0 to 4294967295"),
        ("--from job.nc --s-max nan -o job.puls", "expected a number from 0.001 to 1000000000"),
        ("--from job.nc --s-max -1 -o job.puls", "expected a number from 0.001 to 1000000000"),
        ("--line 5 -o job.puls", "such as 20,30"),
        ("--square 50 --at 9990,0 -o job.puls", "the shape does not fit: coordinate 10040, expected"),
        ("--square 5 --density 8/7 -o job.puls", "sevenths such as 3/7"),
        ("--square 5 --density 3/8 -o job.puls", "sevenths such as 3/7"),
        ("--square 5 --power-level 128 -o job.puls", "expected a whole number from 0 to 127"),
        ("--square 5 --speed 0 -o job.puls", "expected a number of mm/s from 0.1 to 10000"),
        ("--square 5 --frequency 999 -o job.puls", "expected a whole number of Hz from 1000 to 100000"),
        ("--square 5 --acceleration 0,1 -o job.puls", "expected two numbers of mm/s2 from 1 to 100000"),
        ("--square 5 --flip-y -o job.puls", "'--square <MM>' cannot be used with '--flip-y'"),
        ("--line 5,5 --kind gcode -o job.puls", "'--line <X,Y>' cannot be used with '--kind <KIND>'"),
        ("--line 5,5 --s-max 1 -o job.puls", "'--line <X,Y>' cannot be used with '--s-max <N>'"),
        ("--from - -o job.puls", "use --kind gcode, svg, svgpath or picture"),
        ("--from job.dxf -o job.puls", "job.dxf: unknown kind of drawing: use --kind gcode, svg, svgpath or picture"),
        ("--from job.nc --speed 5 -o job.puls", "omit --speed, --power and --density"),
        ("--from job.svgpath --s-max 5 -o job.puls", "use --power instead of --s-max"),
    ] {
        let arguments: Vec<_> = ["puls", "make"].into_iter().chain(arguments.split_whitespace()).collect();
        let ended = run(&folder, &arguments);
        ended.expect(2);
        assert!(ended.stderr.contains(message) && ended.stdout.is_empty(), "{arguments:?}: {ended:?}");
    }
    assert!(is_empty(&folder), "a file is left");
}
