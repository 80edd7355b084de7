//! Which G-code is read, how, and with which remarks.

use super::super::*;
use super::drawing::{end_tenths, from_gcode};
use super::reference;

#[test]
fn gcode_ends_at_its_target() {
    for (text, end) in [
        ("", [0, 0]),
        ("G0 X10 Y20", [100, 200]),
        ("X10\nY20", [100, 200]),
        ("G91 G0 X10\nX5 Y-2\nG90 Y1", [150, 10]),
        ("G20 G0 X1\nG21 Y1", [254, 10]),
        ("g1f600x3(comment)y4;more", [30, 40]),
        ("%\nN10 G17 G40 G49 G54 G80 G94 G91.1 M8 G0 X2 M9\n%", [20, 0]),
        ("G0 X1\nM2\nG0 X9 nonsense $$", [10, 0]),
        ("G0 X1\nM30\nX9", [10, 0]),
        ("G1 X5 F100\nG2 X10 Y5 I5", [100, 50]),
        ("G3 F600 X10 Y0 R5\nG2 Y-10 R-5.001", [100, -100]),
        ("F600 G2 I5 (all the way round)", [0, 0]),
        ("G0 X5 G4 P0.1", [-1, -1]),
        // Origins.
        ("G0 X10 Y5\nG92 X0 Y2\nG0 X1 Y1", [110, 40]),
        ("G0 X10\nG92 X0\nG92.1\nG0 X1", [10, 0]),
        ("G0 X10\nG92 X3\nG91 X1", [110, 0]),
        ("G92 X5\nG53 X10\nG91 G53 X3", [30, 0]),
        ("G10 L2 P2 X10 Y20\nG55 G0 X1 Y1\nG54 Y1", [110, 10]),
        ("G0 X10\nG10 L20 P0 X0\nX5\nG92 X1\nX2", [160, 0]),
        ("G92 X5\nG10 L20 P1 X0\nG0 X7", [70, 0]),
        ("G20 G92 X1\nG0 X2", [254, 0]),
        // Stored positions.
        ("G0 X10 Y20\nG28", [0, 0]),
        ("G0 X10 Y20\nG28 Y7", [100, 0]),
        ("G0 X10 Y20\nG28 X", [0, 200]),
        ("G0 X10 Y20\nG28.1\nG0 X0\nG91 G28 X0", [100, 200]),
        ("G0 X10 Y20\nG30", [0, 0]),
        // Arc centres and speeds.
        ("G90.1 F600 G1 X10\nG3 X5 Y5 I5 J0", [50, 50]),
        ("G92 X-1 G90.1 F600\nG1 X9\nG3 X4 Y5 I4 J0", [50, 50]),
        ("G93 G1 X10 F60\nG94 F600 X20", [200, 0]),
        // What has no effect.
        ("O100 (name)\nN5 T3 M6\nG43 H3\nG64 P0.01 Q0.01\nG0 X1 *33", [10, 0]),
        ("G18\nG0 X1", [10, 0]),
        ("M117 Printing X9 done\nM106 P0 S0\nM400\nM204 P500 X3\nG0 X1", [10, 0]),
        ("M3 S5\nM106 S255\nG0 X1", [10, 0]),
    ] {
        match from_gcode(text) {
            Ok(job) => assert_eq!(end_tenths(&job), end, "{text}"),
            Err(error) => assert_eq!(end, [-1, -1], "{text}: {error}"),
        }
    }
}

#[test]
fn gcode_laser_follows_its_mode() {
    let fired = |text: &str| reference(from_gcode(text).unwrap().body()).le;
    // 20 mm at 20 mm/s take 1 s, plus ramps of 20/700 s.
    let all = 10_286;
    for (text, expected) in [
        ("M3 S1000 F1200\nG1 X20", all),
        ("M4 S1000 F1200\nG1 X20", 10_000),
        ("M3 S500\nG1 X20 F1200", all / 2),
        ("M3 S1000 F1200\nG0 X20", 0),
        ("M3 S0 F1200\nG1 X20", 0),
        ("S1000 F1200\nG1 X20", 0),
        ("M3 S1000\nM5\nG1 F1200 X20", 0),
        ("M3 S500 G1\nG4 P2", 10_000),
        ("M4 S500 G1\nG4 P2", 0),
        ("M3 S500\nG4 P2", 0),
        ("M3 S500 G1\nG0\nG4 P2", 0),
        ("M3 S9999\nG1 X20 F1200", all),
        ("M3 S1000 F1200 G1 X10\nS0 X20", 5_143),
    ] {
        assert!(fired(text).abs_diff(expected) <= 12, "{text}: {} of {expected}", fired(text));
    }
    let mut job = Builder::new();
    gcode::draw(&mut job, b"G1 M3 S127\nG4 P1", &gcode::Settings { s_max: 254.0, ..gcode::Settings::default() })
        .unwrap();
    assert!(reference(job.body()).le.abs_diff(5_000) <= 7);
}

#[test]
fn gcode_moves_are_one_path_without_stops() {
    let ticks = |text: &str| from_gcode(text).unwrap().body().len();
    let one = ticks("F6000\nG1 X60");
    assert!(ticks("M4 F6000\nG1 X20 S100\nX30 S0\nG1 X60 S500").abs_diff(one) <= 1);
    for stopped in ["F6000\nG1 X20\nG4 P0\nX60", "M3 F6000\nG1 X20\nM4\nX60", "F6000\nG1 X20\nZ0.4\nX60"] {
        assert!(ticks(stopped) > one + 1000, "{stopped}");
    }
}

#[test]
fn rejects_what_a_marlin_has_and_a_job_has_not() {
    for (text, message) in [
        (
            " M1 Change the plate",
            "line 1, column 2: \"M1 Change the plate\", expected no text after a pause (M0, M1, M6, M60), which Marlin shows to a person: write it as a comment, in ( ) or after a semicolon",
        ),
        (
            "G1 F60\nG4 P240000",
            "line 2, column 4: \"P240000\", a dwell of 67 hours, expected P in seconds, as for GRBL: for Marlin it is in milliseconds, so divide it by 1000",
        ),
        (
            "M649\nG4 P240000000",
            "line 2, column 4: \"P240000000\", a dwell of 67 hours, expected a shorter one: P is in milliseconds here",
        ),
        (
            "M649 S100 B1 L300 P10",
            "line 1, column 11: \"B1\", pulses, so many in each mm, expected B0, a laser that fires all the way: leave ppm out of the names of layers",
        ),
        (
            "G1 X5 S50 F600 L60000 P40 B1 D0",
            "line 1, column 27: \"B1\", pulses, so many in each mm, expected B0, a laser that fires all the way: leave ppm out of the names of layers",
        ),
        (
            "M649 S10 B2 D0 R0.1\nG7 $1 L4 DAAA=",
            "line 1, column 10: \"B2\", rows of a picture, expected B0 and G1 with S: let the program write G-code for GRBL",
        ),
        ("M649 B7", "line 1, column 6: \"B7\", an unknown firing mode, expected B0, a laser that fires all the way"),
        ("M649 S255", "line 1, column 6: \"S255\", expected S0 to S100: with M649, S is in percent"),
        (
            "G7 L4",
            "line 1, column 1: \"G7\", a row of a picture for one kind of Marlin, expected G1 with S: let the program write G-code for GRBL",
        ),
        ("G4", "line 1, column 1: \"G4\", expected P with a number of seconds"),
    ] {
        assert_eq!(from_gcode(text).expect_err(text).to_string(), message);
    }
}

#[test]
fn rejects_gcode_with_a_position_and_without_changes() {
    let known = "expected G0 G1 G2 G3 G4 G17 G20 G21 G90 G91 G92 or M2 M3 M4 M5 M30, or one of those that have no \
                 effect or are ignored, such as G40 G64 M0 M6 M8";
    let marlin = "expected M3 or M4 with S: M3 I is Marlin's inline mode; let the program write G-code for GRBL";
    for (text, message) in [
        ("G0 X1\n\n G94.1", &*format!("line 3, column 2: \"G94.1\", {known}")),
        ("M20", &*format!("line 1, column 1: \"M20\", {known}")),
        ("M3.5", &*format!("line 1, column 1: \"M3.5\", {known}")),
        ("M3 I", &*format!("line 1, column 4: \"I\", {marlin}")),
        ("M4 I S100", &*format!("line 1, column 4: \"I S100\", {marlin}")),
        ("M5 I0", &*format!("line 1, column 4: \"I0\", {marlin}")),
        ("G5 X1", "line 1, column 1: \"G5\", a spline, expected straight moves and arcs: G0 G1 G2 G3"),
        (
            "G99 G81 X1 Z-1 R2",
            "line 1, column 5: \"G81\", a drilling cycle, expected straight moves and arcs: G0 G1 G2 G3",
        ),
        ("G38.2 Z1", "line 1, column 1: \"G38.2\", a probe, expected a program without measuring"),
        (
            "G41 D1",
            "line 1, column 1: \"G41\", cutter compensation, expected a path that the program has offset itself",
        ),
        ("M98 P5", "line 1, column 1: \"M98\", a subprogram, expected one program with all its moves"),
        (
            "M104 S200",
            "line 1, column 1: \"M104\", the heater of a 3D printer, expected a laser program: M3 or M4 with S, and M5",
        ),
        (
            "M300 S30",
            "line 1, column 1: \"M300\", a command that lifts a plotter's pen, not a laser, expected a laser program: M3 or M4 with S, and M5",
        ),
        (
            "M106 S255\nG1 Z1 F60",
            "line 1, column 1: \"M106\", expected M3 or M4 with S: M106 is a fan; where it drives a laser, let the program write G-code for GRBL",
        ),
        ("o100 sub", "line 1, column 1: \"o100\", expected a program without subprograms and loops (O words)"),
        (
            "o<name> call",
            "line 1, column 1: \"o<name> call\", expected a program without subprograms and loops (O words)",
        ),
        ("$J=G91 X1 F10", "line 1, column 1: \"$J=G91 X1 F10\", expected moves with G0 or G1: $J jogs a controller"),
        ("G92 E0", "line 1, column 5: \"E0\", expected no E: numbers have no exponent, and a job has no extruder"),
        ("G92", "line 1, column 1: \"G92\", expected G92 with X, Y or Z"),
        ("G10 L1 P1 X0", "line 1, column 1: \"G10\", expected G10 with L2 or L20, P0 to P6, and X, Y or Z"),
        ("G43.1 X1", "line 1, column 1: \"G43.1\", expected G43.1 with Z"),
        ("G4 P1 G92 X0", "line 1, column 7: \"G92\", expected one of G4 G10 G28 G30 G43.1 G92 M649 per line"),
        ("G0 X", "line 1, column 4: \"X\", expected a number after the letter"),
        ("G1 X#3", "line 1, column 4: \"X#3\", expected numbers: variables and expressions are not supported"),
        ("F1 G18\nG2 X3 Z4 I1 K0", "line 2, column 10: \"I1\", expected arcs in the XY plane (G17)"),
        ("F1\nG2 X3 I1 K1", "line 2, column 10: \"K1\", expected an arc in the XY plane, with I and J"),
        ("G93 G1 X1 F2\nX2", "line 2, column 1: \"X2\", expected an F above 0 in every line with a move under G93"),
        ("G1.05", &*format!("line 1, column 1: \"G1.05\", {known}")),
        ("G-1", &*format!("line 1, column 1: \"G-1\", {known}")),
        ("G0 A3", "line 1, column 4: \"A3\", expected the axes X Y Z only"),
        ("G1 X3", "line 1, column 4: \"X3\", expected an F above 0 in this line or one before it"),
        ("F600 G1 X3\nG1 F0 X5", "line 2, column 7: \"X5\", expected an F above 0 in this line or one before it"),
        ("G29", "line 1, column 1: \"G29\", a probe, expected a program without measuring"),
        ("F0 G2 I3", "line 1, column 7: \"I3\", expected an F above 0 in this line or one before it"),
        ("G1 F-3", "line 1, column 4: \"F-3\", expected a speed of at least 0"),
        ("G0 X1 X2", "line 1, column 7: \"X2\", expected each letter except G and M once per line"),
        ("G0 G1 X2", "line 1, column 4: \"G1\", expected one of G0 G1 G2 G3 per line"),
        ("M3 S-1", "line 1, column 4: \"S-1\", expected S0 to S1000"),
        ("G0 X10000.5", "line 1, column 4: coordinate 10000.5, expected a number of mm from -10000 to 10000"),
        ("G20 Y-400", "line 1, column 5: coordinate -10160, expected a number of mm from -10000 to 10000"),
        ("G0 B3", "line 1, column 4: \"B3\", expected the axes X Y Z only"),
        ("G4 P-1", "line 1, column 4: \"P-1\", expected a number of seconds, at least 0"),
        ("G4 P1 X3", "line 1, column 7: \"X3\", expected no motion on a line with G4"),
        ("G0 P1 X3", "line 1, column 4: \"P1\", expected P only on a line with G4, or with M3 and S"),
        ("G0 X3 I1", "line 1, column 7: \"I1\", expected I, J and R only with G2 or G3"),
        ("F1 G2 X3", "line 1, column 7: \"X3\", expected I, J or R for the arc"),
        ("F1 G2 X3 I1 R3", "line 1, column 13: \"R3\", expected either R or I and J"),
        (
            "F1 G2 X3 Z1 R3",
            "line 1, column 10: \"Z1\", expected an arc at one height, Z0.000: a helix is not supported",
        ),
        (
            "F1 G2 X10 R4",
            "line 1, column 11: \"R4\", a radius of 4.000 mm, expected one of at least half the way from start to end, 5.000 mm",
        ),
        ("F1 G2 R4", "line 1, column 7: \"R4\", expected I and J for a full circle"),
        (
            "F1 G2 X10 I4",
            "line 1, column 11: an arc with a radius of 4.0000 mm at its start and 6.0000 mm at its end, expected radii that differ by at most 0.005 mm or 0.1 %, as GRBL does: write I and J with more decimals",
        ),
        ("G1 X10 F0.001\nG4 P0", "line 2, column 1: a length in ticks of 5996251642, expected at most 1073741824"),
    ] {
        let mut job = Builder::new();
        job.move_to(1.0, 1.0).unwrap();
        let before = (job.to_bytes(), job.position());
        let drawing = format!("{text}\nG0 X5");
        let error = gcode::draw(&mut job, drawing.as_bytes(), &gcode::Settings::default()).expect_err(text);
        assert_eq!(error.to_string(), message);
        assert_eq!((job.to_bytes(), job.position()), before, "{text}");
    }
    for s_max in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let settings = gcode::Settings { s_max, ..gcode::Settings::default() };
        assert!(gcode::draw(&mut Builder::new(), b"G0 X1", &settings).is_err(), "{s_max}");
    }
}

#[test]
fn comments_may_be_in_any_encoding() {
    let mut job = Builder::new();
    gcode::draw(&mut job, b"(caf\xe9)G0 X1 ; \xff\xfe\r\nG0 Y1\r\n", &gcode::Settings::default()).unwrap();
    assert_eq!(end_tenths(&job), [10, 10]);
}

/// Returns the remarks on a program.
fn remarks(text: &str) -> Vec<String> {
    let drawn = gcode::draw(&mut Builder::new(), text.as_bytes(), &gcode::Settings::default());
    drawn.unwrap_or_else(|error| panic!("{text}: {error}")).iter().map(ToString::to_string).collect()
}

#[test]
fn there_is_one_remark_for_each_kind_of_thing() {
    let fire = "M3 S500 F600 G1 X1\n";
    for (text, expected) in [
        ("", &[][..]),
        ("T1 M8\nG54 G80 M9\n?\n/\n%\nG28", &[]),
        ("M0\nM1\nT1 M6", &["line 2: M0, M1 and M6 wait for a person, which a job cannot: ignored (3 times)"]),
        ("$H\n$X", &["line 2: lines with $ are settings and commands of a controller: ignored (2 times)"]),
        ("M106 S5\nM107", &["line 2: M106 and M107 switch a fan: ignored (2 times)"]),
        ("M117 $", &["line 2: commands of a 3D printer without effect on a job: ignored"]),
        ("G55\nG54\nG59", &["line 2: G55 to G59 are origins that a controller has stored: taken as 0,0 (2 times)"]),
        ("G10 L2 P2 X0\nG55", &[]),
        ("G30", &["line 2: G30 is a position that a controller has stored: taken as 0,0"]),
        ("G30.1\nG30", &[]),
        ("G4 P60", &[]),
        (
            "M5\nG4 P61",
            &[
                "line 3: rests for more than a minute: P of G4 is in seconds here, as for GRBL, and in milliseconds for \
               Marlin",
            ],
        ),
        ("G0\nS0 G4 P1\nM4 S1 G4 P1", &[]),
        (
            "G0 G4 P1",
            &["line 2: the laser does not fire in a dwell (G4) under G0, as GRBL's does not: write G1 before it"],
        ),
        ("S1000", &[]),
        // Not fired.
        ("M5 S3000", &[]),
        (
            "S2000 X5\nS3000 X6",
            &["line 2: S is above 1000, full power: taken as that; is --s-max 3000 meant? (2 times)"],
        ),
        ("G1 Y0.05", &[]),
        (
            "G1 Y-5\nY12.5",
            &["Y points to the front, but to the back for GRBL: if this comes out mirrored, use --flip-y --at 0,13"],
        ),
        ("(Y to the front) G1 Y5", &[]),
        ("G0 Y5", &[]),
    ] {
        let remarks = if text.is_empty() { remarks(fire) } else { remarks(&format!("{fire}{text}")) };
        assert_eq!(remarks, expected, "{text}");
    }
    for (text, expected) in [
        ("M4 S255 F600 G1 X1", Some("the largest S is 255 of 1000: is --s-max 255 meant?")),
        ("M4 S0.5 F600 G1 X1", Some("the largest S is 0.5 of 1000: is --s-max 1 meant?")),
        ("M4 S100 F600 G1 X1", None),
        ("M4 S1 F600 G1 X1\nS256 X2", None),
        ("G0 X5", Some("the laser never fires: there is no M3 or M4, or S is 0, or all moves are G0")),
        ("M3 S0 F600 G1 X1", Some("the laser never fires: there is no M3 or M4, or S is 0, or all moves are G0")),
        (
            "F600\nM03\nG1 X1\nM05",
            Some(
                "the laser never fires: there is no S, which is 0 then: if it is only on or off, write S1000 in the first line",
            ),
        ),
        (
            "F600\nG1 X1 S500",
            Some(
                "the laser never fires: there is no M3 or M4: if it fires in G1 without them, write M4 in a line directly before its first G1",
            ),
        ),
        ("; Marlin device profile\nM3 S51 F600 G1 X1", Some("the largest S is 51 of 1000: is --s-max 255 meant?")),
        ("; for Marlin\nM3 S300 F600 G1 X1", None),
        (
            "M3 S9 G1 X1\nX2\nF600 X3",
            Some(
                "line 1: no F before this move: its speed is 50 mm/s; for another one, write it in the first line, such as F1200 \
                 (2 times)",
            ),
        ),
    ] {
        assert_eq!(remarks(text), expected.map_or(vec![], |remark| vec![remark.to_owned()]), "{text}");
    }
    let mut settings = gcode::Settings { s_max: 255.0, ..gcode::Settings::default() };
    settings.placement.flip_y = true;
    let drawn = gcode::draw(&mut Builder::new(), b"M4 S255 F600 G1 X1 Y9", &settings).unwrap();
    assert_eq!(drawn, []);
}

#[test]
fn a_laser_program_may_move_before_its_first_speed() {
    let body = |text: &str| from_gcode(text).unwrap().body().to_vec();
    assert_eq!(body("G1 X5\nM3 S9\nG1 X20\nF600 X30"), body("G1 X5 F3000\nM3 S9\nG1 X20\nF600 X30"));
    assert_eq!(body("M4 S9\nG3 I5"), body("M4 S9\nG3 I5 F3000"));
}

/// The same drawing with the laser as a fan, as programs for Marlin have it, and for GRBL.
#[test]
fn a_fan_is_the_laser_only_in_programs_that_have_no_other_and_no_printer() {
    let body = |text: &str| from_gcode(text).unwrap().body().to_vec();
    for (fan, laser) in [
        ("F600 G0 X5\nM106 S255\nG1 X10\nM107\nG0 X15", "F600 G0 X5\nM3 S1000\nG1 X10 S1000\nS0\nG0 X15"),
        ("F600 M107\nM106 S51 ; on\nG1 X10 S9\nX15 S900\nM106 S0\nX20\nM5", "F600 M3 S200\nG1 X15\nX20 S0\nM5"),
        ("F600\nM106 P1 S255\nM106 P0 S51\nG1 X10\nM400\nM107", "F600\nM3 S200\nG1 X10"),
        ("F600\nG1 X1\nM106 S9999\nX10\nM106\nX15", "F600\nG1 X1\nM3 S1000\nX15"),
        // G0 is G1 for Marlin.
        ("F600\nM106 S255\nG0 X10\nG4 P500", "F600\nM3 S1000\nG1 X10\nG4 P0.5"),
    ] {
        let with_stops = |text: &str| reference(&body(text)).le;
        assert!(with_stops(fan).abs_diff(with_stops(laser)) <= 300, "{fan}: {}", with_stops(fan));
        assert!(with_stops(fan) > 0, "{fan}");
        assert_eq!(end_tenths(&from_gcode(fan).unwrap()), end_tenths(&from_gcode(laser).unwrap()), "{fan}");
    }
    let one = "line 2: M106 and M107 are taken as the laser: 255 is full power whatever --s-max is, and P of G4 is in \
         milliseconds. If M106 is a fan, remove its lines (2 times)";
    assert_eq!(remarks("F600\nM106 S1\nG1 X1\nM107"), [one]);
    for (text, part) in [
        // A print head's fan, a pen, fans that are only on, and a program that fails anyway.
        ("M106 S255\nG1 X5 E1 F600", "no extruder"),
        ("M106 S255\nG1 X5 F600\nM104 S200", "the heater of a 3D printer"),
        ("M106 S255\nG1 Z-1 X5 F600", "M106 is a fan"),
        ("M106\nG1 X5 F600", "M106 is a fan"),
        ("M83\nM106 S255\nG1 X5 F600", "M106 is a fan"),
        ("M106 S255 ; magnet on\nG1 X5 F600", "M106 is a fan"),
        ("G1 X5 F600\nM106 S255\nG4 P3000\nM106 S0\nX6", "M106 is a fan"),
        ("M106 S255\nG1 X5 F600\nG5 X6", "a spline"),
        // A percentage without the power itself.
        ("M3 P50", "line 1, column 4: \"P50\", expected P only on a line with G4, or with M3 and S"),
    ] {
        let error = from_gcode(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    // Air assist beside a laser, and fans that are never on.
    for text in ["M106 S255\nM4 S0\nG1 X5 F600", "M106 S0\nG1 X5 F600", "M106 P1 S255\nG1 X5 F600\nM106 P1 S0"] {
        assert_eq!(reference(&body(text)).le, 0, "{text}");
    }
    assert_eq!(body("F600\nM3 S500 P50 G1 X5\nM5 P0"), body("F600\nM3 S500 G1 X5\nM5"));
}

/// The same drawing for a Marlin with `M649`, and for GRBL.
#[test]
fn a_marlin_with_m649_fires_in_moves_and_has_percent() {
    let body = |text: &str| from_gcode(text).unwrap().body().to_vec();
    for (marlin, grbl) in [
        (
            "M649 S50 B0 D0 F600\nG0 X5\nG1 X10\nG0 X0 Y5\nG1 X9 S20",
            "M3 S500 F600\nG0 X5\nG1 X10\nG0 X0 Y5\nG1 X9 S200",
        ),
        // As plugins of Inkscape write it, with M5 at the end of each layer. L and P are for pulses.
        ("G0 X5\nG1 X10 S80.00 F600 B0 D0\nM5\nG1 X12", "M3 G0 X5\nS800 F600 G1 X10\nX12"),
        ("M649 S100 L300 P10\nG2 X10 R5 F600 P7", "M3 S1000\nG2 X10 R5 F600"),
        ("M649\nG1 X10 F600 P5\nM106 S255", "M3 S1000 F600\nG1 X10"),
        // It is off at rest.
        ("M649 S50 B0\nG1 X10 F600\nG4 P500", "M3 S500\nG1 X10 F600\nM5\nG4 P0.5"),
        ("F600\nM649 S50\nG1 X2\nM3\nG1 X10\nM5\nX12", "F600\nM5 S500\nG1 X2\nM3\nG1 X10\nM5\nX12"),
    ] {
        let (of_marlin, of_grbl) = (body(marlin), body(grbl));
        assert!(reference(&of_marlin).le > 0, "{marlin}");
        assert!(of_marlin == of_grbl, "{marlin}");
    }
    let laser = "line 1: M649 and B0 set the laser of one kind of Marlin: S is in percent whatever --s-max is, G1, G2 and G3 \
                 fire without M3, and P of G4 is in milliseconds";
    let pulses = "line 1: L and P of M649 are pulses, which B1 switches on: without it, the laser fires all the way";
    assert_eq!(remarks("M649 S1 L300 P10\nG1 X5 F600"), [laser, pulses]);
    let laser = "line 2: M649 and B0 set the laser of one kind of Marlin: S is in percent whatever --s-max is, and P of G4 is \
                 in milliseconds";
    assert_eq!(remarks("M3 S50\nM649 B0\nG1 X5 F600"), [laser]);
    assert_eq!(remarks("M649 B0\nG0 X5").len(), 2);
}

#[test]
fn programs_for_larger_beds_are_drawn() {
    assert_eq!(end_tenths(&from_gcode("M4 S500 F6000\nG1 X1200 Y-1300.5").unwrap()), [12_000, -13_005]);
}

#[test]
fn the_lens_takes_every_height_that_it_can_have_and_stays_for_others() {
    let top = Builder::new().lens_to(10.2).unwrap().position().z;
    for text in [
        "G0 Z10.2",
        "G0 Z10.3",
        "G43.1 Z5\nG0 Z5",
        "G43.1 Z5\nG49 G0 Z10",
        "G92 Z-10\nZ0",
        "G0 Z10\nZ-4",
        "G0 Z10\nZ50\nX1",
    ] {
        assert_eq!(from_gcode(text).unwrap().position().z, top, "{text}");
    }
    let mut job = Builder::new();
    let remarks = gcode::draw(&mut job, b"G0 Z5\nZ50\nX10\nZ0", &gcode::Settings::default()).unwrap();
    assert!(remarks.iter().any(|remark| remark.to_string().starts_with("line 2: Z beyond the travel of the lens")));
    assert_eq!((job.position().x, job.position().z), (533, 0));
}

#[test]
fn the_lens_keeps_its_focus_under_z0_and_g28() {
    for text in ["G0 X5 Z0", "G28", "G0 Z5\nZ0", "G0 Z2\nG28", "G0 Z1\nG92 Z3\nG0 Z2"] {
        let mut job = Builder::new();
        let focus = job.focus(3.0).unwrap().position().z;
        gcode::draw(&mut job, text.as_bytes(), &gcode::Settings::default()).unwrap();
        assert_eq!(job.position().z, focus, "{text}");
    }
}

/// What is right for a file in `cases/`.
enum Right {
    /// The end in tenths of mm, the length cut in mm if the meter can tell, and a part of each remark.
    Made([i64; 2], Option<f64>, &'static [&'static str]),
    /// A part of the error.
    Refused(&'static str),
}
use Right::{Made, Refused};

const NEVER_FIRES: &str = "the laser never fires";
const WHICH_Y: &str = "Y points to the front";

/// Programs as people have them, from public reports and from other programs.
const CASES: [(&str, Right); 44] = [
    ("gcode-G0-after-comment.gcode", Refused("line 1, column 18: \"mm)\"")),
    (
        "gcode-G0-dwell-fire.gcode",
        Made([100, 0], Some(0.0), &["line 4: the laser does not fire in a dwell", NEVER_FIRES]),
    ),
    ("gcode-G4-S.gcode", Refused("\"G4\", expected P with a number of seconds")),
    ("gcode-G53-G28.gcode", Made([0, 0], Some(10.0), &[])),
    ("gcode-G80-then-X.gcode", Made([400, 0], Some(40.0), &[])),
    ("gcode-G91-raster.gcode", Made([50, 51], Some(4.0), &[])),
    ("gcode-G92.gcode", Made([200, 100], Some(10.0), &[])),
    ("gcode-M0-pause.gcode", Made([200, 200], Some(20.0), &["line 5: M0, M1 and M6 wait for a person", WHICH_Y])),
    ("gcode-M3-I-marlin.gcode", Refused("M3 I is Marlin's inline mode")),
    ("gcode-M4-only-S-on-G1-like-lightburn.gcode", Made([0, 0], Some(30.0), &[WHICH_Y])),
    ("gcode-M4-short-segments.gcode", Made([200, 120], Some(10.4), &[WHICH_Y])),
    ("gcode-S-on-M3-S-order.gcode", Made([200, 0], Some(20.0), &[])),
    (
        "gcode-S-over-max.gcode",
        Made([600, 100], Some(50.0), &["line 2: S is above 1000, full power: taken as that; is --s-max 2000"]),
    ),
    // It fires every 2 mm: 46 mm from the first of them to the last.
    ("gcode-S-scale-1.gcode", Made([600, 100], Some(46.0), &["the largest S is 1 of 1000: is --s-max 1 meant?"])),
    ("gcode-T-word.gcode", Made([200, 100], Some(10.0), &[])),
    ("gcode-Z-export-roundtrip.gcode", Made([100, 0], Some(0.0), &["Z beyond", NEVER_FIRES])),
    ("gcode-arc-same-Z.gcode", Made([200, 200], Some(15.7), &[WHICH_Y])),
    ("gcode-block-delete.gcode", Made([200, 100], Some(10.0), &[])),
    ("gcode-bom.gcode", Made([200, 100], Some(10.0), &[])),
    ("gcode-cr-only-comment.gcode", Made([200, 100], Some(10.0), &[])),
    ("gcode-ctrlz.gcode", Made([200, 100], Some(10.0), &[])),
    ("gcode-empty.gcode", Made([0, 0], Some(0.0), &[NEVER_FIRES])),
    ("gcode-expo.gcode", Refused("\"e1\", expected no E: numbers have no exponent")),
    ("gcode-feed-on-own-line.gcode", Made([100, 0], Some(10.0), &[])),
    // Under M4, it hardly fires where it is slow.
    ("gcode-feed-too-fast.gcode", Made([500, 0], Some(49.6), &[])),
    ("gcode-grbl-dollar-lines.gcode", Made([200, 100], Some(10.0), &["line 1: lines with $ are settings"])),
    ("gcode-lower.gcode", Made([200, 100], Some(10.0), &[])),
    ("gcode-no-M3.gcode", Made([600, 100], Some(0.0), &[NEVER_FIRES])),
    ("gcode-off-G1-loses-speed.gcode", Made([1000, 0], Some(0.0), &[NEVER_FIRES])),
    ("gcode-outside-bed.gcode", Made([-500, 6000], Some(602.1), &[WHICH_Y])),
    ("gcode-question-line.gcode", Made([200, 100], Some(10.0), &[])),
    ("gcode-semicolon-end.gcode", Made([70, 20], Some(5.0), &[])),
    ("gcode-sparse-M3.gcode", Made([500, 0], None, &[])),
    ("gcode-two-programs.gcode", Made([200, 0], Some(20.0), &[])),
    ("gcode-unclosed-paren.gcode", Made([200, 0], Some(20.0), &[])),
    ("gcode-utf16.gcode", Refused("text in UTF-16, expected UTF-8: save it as that")),
    ("issue-G0-laser.gcode", Made([100, 100], Some(0.0), &[NEVER_FIRES])),
    ("issue-G1-F-only.gcode", Made([100, 0], Some(10.0), &[])),
    ("issue-R-arc-plate.gcode", Made([200, 160], Some(35.6), &[WHICH_Y])),
    ("issue-arc-two-digits.gcode", Refused("an arc with a radius of 5.3600 mm at its start and 5.3700 mm at its end")),
    ("issue-expo-e12.gcode", Refused("\"E-12\", expected no E: numbers have no exponent")),
    ("issue-full-circle-noxy.gcode", Made([100, 100], Some(31.4), &[WHICH_Y])),
    ("issue-mirror.gcode", Made([100, 300], Some(31.6), &["use --flip-y --at 0,30"])),
    ("make-from-gzip.gcode.gz", Made([100, 0], Some(10.0), &[])),
];

#[test]
fn programs_as_people_have_them_are_drawn_or_refused() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/puls/tests/cases");
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.iter().eq(CASES.iter().map(|(name, _)| name)), "{names:?}");
    for (name, right) in CASES {
        let text = read_drawing(std::fs::File::open(format!("{folder}/{name}")).unwrap()).unwrap();
        let mut job = Builder::new();
        match (gcode::draw(&mut job, &text, &gcode::Settings::default()), right) {
            (Err(error), Refused(part)) => assert!(error.to_string().contains(part), "{name}: {error}"),
            (Ok(remarks), Made(end, cut_mm, parts)) => {
                assert_eq!(end_tenths(&job), end, "{name}");
                let remarks: Vec<_> = remarks.iter().map(ToString::to_string).collect();
                assert_eq!(remarks.len(), parts.len(), "{name}: {remarks:?}");
                for part in parts {
                    assert!(remarks.iter().any(|remark| remark.contains(part)), "{name}: {remarks:?}");
                }
                let measured = measure(&job.to_bytes()[..], Limits::default()).unwrap();
                if let Some(cut_mm) = cut_mm {
                    assert!((measured.cut_mm - cut_mm).abs() <= 0.25, "{name}: {} mm", measured.cut_mm);
                }
            }
            (result, _) => panic!("{name}: {result:?}"),
        }
    }
}

#[test]
fn compressed_drawings_are_read_up_to_the_limit() {
    use std::io::Write;

    let packed = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    assert_eq!(read_drawing(&packed(b"G0 X1")[..]).unwrap(), b"G0 X1");
    assert_eq!(read_drawing(&b"G0 X1"[..]).unwrap(), b"G0 X1");
    let cut = packed(b"G0 X1");
    assert!(matches!(read_drawing(&cut[..cut.len() - 3]), Err(Error::GzipCut { .. })));
    for longest in [vec![b' '; MAX_DRAWING_BYTES], packed(&vec![b' '; MAX_DRAWING_BYTES])] {
        assert_eq!(read_drawing(&longest[..]).unwrap().len(), MAX_DRAWING_BYTES);
    }
    for longer in [vec![b' '; MAX_DRAWING_BYTES + 1], packed(&vec![b' '; MAX_DRAWING_BYTES + 1])] {
        let error = read_drawing(&longer[..]).unwrap_err().to_string();
        assert!(error.contains("a drawing in bytes of") && error.contains("at most 67108864"), "{error}");
    }
}
