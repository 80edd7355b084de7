//! Drawings: G-code and SVG path data as jobs.

use proptest::prelude::*;

use super::super::*;
use super::reference;

const STEP_MM: f64 = 0.018_75;

pub(super) fn from_gcode(text: &str) -> Result<Builder> {
    let mut job = Builder::new();
    gcode::draw(&mut job, text.as_bytes(), &gcode::Settings::default())?;
    Ok(job)
}

fn path_settings() -> svgpath::Settings {
    svgpath::Settings::new(80.0, Laser::Constant(3.0 / 7.0))
}

fn from_path(text: &str) -> Result<Builder> {
    let mut job = Builder::new();
    svgpath::draw(&mut job, text.as_bytes(), &path_settings())?;
    Ok(job)
}

fn segments(job: &Builder) -> Vec<Segment> {
    Job::open(&job.to_bytes()[..]).unwrap().segments().collect::<Result<_>>().unwrap()
}

/// Returns the position after every tick in mm, and whether the tick fires.
fn positions(job: &Builder) -> Vec<([f64; 2], bool)> {
    let mut at = Position::default();
    let position = |(fires, at): (bool, Position)| ([at.x as f64 * STEP_MM, at.y as f64 * STEP_MM], fires);
    job.body().iter().map(|&byte| position((at.advance(byte), at))).collect()
}

/// Returns the final position in tenths of a millimetre.
pub(super) fn end_tenths(job: &Builder) -> [i64; 2] {
    // A microstep is 3/16 of a tenth.
    [job.position().x, job.position().y].map(|steps| (steps * 3 + 8).div_euclid(16))
}

#[test]
fn arcs_stay_on_their_circle() {
    for (text, [x, y], radius, quarters) in [
        ("F1200 M3 S1000\nG2 X10 Y10 I0 J10", [0.0, 10.0], 10.0, 3.0),
        ("F1200 M3 S1000\nG3 X10 Y10 J10", [0.0, 10.0], 10.0, 1.0),
        ("F1200 M3 S1000\nG2 X10 Y10 R10", [10.0, 0.0], 10.0, 1.0),
        ("F1200 M3 S1000\nG2 X10 Y10 R-10", [0.0, 10.0], 10.0, 3.0),
        ("F1200 M3 S1000\nG3 X10 Y10 R10", [0.0, 10.0], 10.0, 1.0),
        ("F1200 M3 S1000\nG3 I-7", [-7.0, 0.0], 7.0, 4.0),
        ("G20 F60 M3 S1000\nG3 I0.1", [2.54, 0.0], 2.54, 4.0),
    ] {
        let job = from_gcode(text).unwrap();
        let fired: Vec<_> = positions(&job).into_iter().filter(|(_, fires)| *fires).collect();
        for ([px, py], _) in &fired {
            let off = (px - x).hypot(py - y) - radius;
            assert!(off.abs() <= 0.01 + STEP_MM, "{text}: {off} at {px} {py}");
        }
        let speed = if text.starts_with("G20") { 25.4 } else { 20.0 };
        let expected = radius * quarters * std::f64::consts::FRAC_PI_2 / speed * 1e4;
        assert!((fired.len() as f64 - expected).abs() < 500.0, "{text}: {} of {expected}", fired.len());
    }
}

#[test]
fn placement_shifts_and_flips() {
    let placement = Placement { x_mm: 30.0, y_mm: 50.0, flip_y: true };
    for text in ["G91 G0 X10 Y20", "G0 X10 Y20"] {
        let mut job = Builder::new();
        gcode::draw(&mut job, text.as_bytes(), &gcode::Settings { placement, ..gcode::Settings::default() }).unwrap();
        assert_eq!(end_tenths(&job), [400, 300], "{text}");
    }
    let mut job = Builder::new();
    svgpath::draw(&mut job, b"M0 0l10 20", &svgpath::Settings { placement, ..path_settings() }).unwrap();
    assert_eq!(end_tenths(&job), [400, 300]);
    let placement = Placement { x_mm: f64::NAN, ..placement };
    assert!(gcode::draw(&mut job, b"", &gcode::Settings { placement, ..gcode::Settings::default() }).is_err());
}

#[test]
fn exported_gcode_can_be_imported() {
    let mut job = Builder::new();
    job.move_to(10.0, 5.0).unwrap().fire(0.3, 3.0 / 7.0).unwrap().dwell(0.4).unwrap();
    job.cut_to(20.0, 5.0, 20.0, 3.0 / 7.0).unwrap().lens_to(3.0).unwrap().cut_to(20.0, -2.5, 20.0, 1.0).unwrap();
    job.move_to(0.0, 0.0).unwrap();
    let again = from_gcode(&exported(&job)).unwrap();
    let ends = |job: &Builder| {
        let moved = segments(job).into_iter().filter(|segment| !segment.is_rest());
        moved.map(|segment| (segment.end, segment.laser)).collect::<Vec<_>>()
    };
    assert_eq!(again.position(), job.position());
    let (fired, was) = (reference(again.body()).le, reference(job.body()).le);
    assert!(fired.abs_diff(was) < was / 20, "{fired} of {was}");
    // Only positions: under M4, sparse fire in the ramps of a cut may count as laser off.
    for (end, laser) in ends(&job) {
        let near = |(other, _): &(Position, bool)| (other.x - end.x).abs() <= 2 && (other.y - end.y).abs() <= 2;
        assert!(ends(&again).iter().any(|other| near(other) && other.0.z == end.z), "{end:?} {laser}");
    }
}

fn exported(job: &Builder) -> String {
    let mut gcode = Vec::new();
    export(Job::open(&job.to_bytes()[..]).unwrap(), Format::Gcode, "job.puls", &mut gcode).unwrap();
    String::from_utf8(gcode).unwrap()
}

#[test]
fn path_data_ends_at_its_target() {
    for (text, end) in [
        ("M10 20", [100, 200]),
        ("M10,20L30-5", [300, -50]),
        ("m10 20 5 5", [150, 250]),
        ("M10 20 5 5", [50, 50]),
        (" \n\tM 10 , 20\r\n h 5 v -5 H 1 V 2 ", [10, 20]),
        ("M1 1h10v10h-10z", [10, 10]),
        ("M1 1h10v10zl3 3", [40, 40]),
        ("M0 0C0 10 10 10 10 0s10-10 10 0", [200, 0]),
        ("M0 0Q5 10 10 0t10 0T30 5", [300, 50]),
        ("M0 0a5 5 0 0110 0", [100, 0]),
        ("M3.5 8a.5.5 0 01.5-.5h8", [120, 75]),
        ("M0 0A5 5 0 1 0 1e1 1E+1", [100, 100]),
        ("M0 0A0 5 0 1 0 10 10", [100, 100]),
        ("M0 0l1 1M5 5l1 1m1 1l1 1", [80, 80]),
        // Arcs too short or too flat to have a centre.
        ("M0 0A5 5 0 0 1 1e-200 0", [0, 0]),
        ("M0 0A5e-5 1e6 0 0 1 10 0", [100, 0]),
    ] {
        assert_eq!(end_tenths(&from_path(text).unwrap_or_else(|error| panic!("{text}: {error}"))), end, "{text}");
    }
}

#[test]
fn curves_are_within_their_tolerance() {
    let bezier = |t: f64| {
        let left = 1.0 - t;
        let (first, second, last) = (3.0 * left * left * t, 3.0 * left * t * t, t * t * t);
        [20.0 * first - 10.0 * second + 30.0 * last, 30.0 * first + 20.0 * second]
    };
    let curve: Vec<_> = (0..=4000).map(|n| bezier(f64::from(n) / 4000.0)).collect();
    let off = |job: &Builder, [x, y]: [f64; 2], curve: &[[f64; 2]]| {
        let nearest = curve.iter().map(|[cx, cy]| (x - cx).hypot(y - cy)).fold(f64::INFINITY, f64::min);
        assert!(nearest <= 0.01 + STEP_MM, "{nearest} at {x} {y} of {:?}", job.position());
    };
    let job = from_path("M0 0C20 30-10 20 30 0").unwrap();
    for (position, _) in positions(&job).into_iter().step_by(20) {
        off(&job, position, &curve);
    }
    // An ellipse, rotated by 30 degrees.
    let ellipse: Vec<_> = (0..20_000)
        .map(|n| {
            let (sin, cos) = (f64::from(n) * std::f64::consts::TAU / 20_000.0).sin_cos();
            let (tilt_sin, tilt_cos) = 30_f64.to_radians().sin_cos();
            let (x, y) = (20.0 * cos, 8.0 * sin);
            [x * tilt_cos - y * tilt_sin, x * tilt_sin + y * tilt_cos]
        })
        .collect();
    let job = from_path("M17.32050808 10A20 8 30 0 1 -17.32050808 -10A20 8 30 0 1 17.32050808 10").unwrap();
    for (position, fires) in positions(&job).into_iter().step_by(7) {
        if fires {
            off(&job, position, &ellipse);
        }
    }
}

#[test]
fn smooth_curves_reflect_the_last_control_point() {
    for (text, back_mm) in [
        ("M0 0C0 10 10 10 10 0S20-10 20 0", -7.5),
        ("M0 0c0 10 10 10 10 0s10-10 10 0", -7.5),
        ("M0 0h10S20-10 20 0", -40.0 / 9.0),
        ("M0 0Q0 10 10 0S20-10 20 0", -40.0 / 9.0),
        ("M0 0Q5 10 10 0T20 0", -5.0),
        ("M0 0q5 10 10 0t10 0", -5.0),
        ("M0 0h10T20 0", 0.0),
    ] {
        let job = from_path(text).unwrap();
        let farthest = positions(&job).iter().map(|([_, y], _)| *y).fold(0.0, f64::min);
        assert!((farthest - back_mm).abs() <= 0.03, "{text}: {farthest} is not {back_mm}");
    }
}

#[test]
fn travels_between_subpaths() {
    let job = from_path("M10 10h10M30 30h10").unwrap();
    let on = |[x, y]: [f64; 2], corner: f64| {
        (y - corner).abs() < STEP_MM && (corner - STEP_MM..=corner + 10.0 + STEP_MM).contains(&x)
    };
    for (position, fires) in positions(&job) {
        assert!(!fires || on(position, 10.0) || on(position, 30.0), "{position:?}");
    }
    let cut_mm: f64 =
        segments(&job).iter().filter(|segment| segment.laser).map(|segment| segment.length_mm(job.header())).sum();
    assert!((cut_mm - 20.0).abs() < 0.2, "{cut_mm}");
}

#[test]
fn rejects_path_data_with_a_position_and_without_changes() {
    let command = "expected one of the commands M L H V C S Q T A Z, or an arc's flag 0 or 1";
    for (text, message) in [
        ("", "line 1, column 1: the end, expected path data"),
        (" \n ", "line 2, column 2: the end, expected path data"),
        ("L1 1", "line 1, column 1: \"L1\", expected M, which starts every path"),
        ("10 10", "line 1, column 1: \"10\", expected M, which starts every path"),
        ("M10", "line 1, column 4: the end, expected a number"),
        ("M10 x", "line 1, column 5: \"x\", expected a number"),
        ("M0 0\nL1 1\n  B3", &*format!("line 3, column 3: \"B3\", {command}")),
        ("M0 0 L1 1 $", &*format!("line 1, column 11: \"$\", {command}")),
        ("M0 0 L1 1z 5 5", &*format!("line 1, column 12: \"5\", {command}")),
        ("M0 0\u{e4}\n$", &*format!("line 1, column 5: \"\\xc3\\xa4\", {command}")),
        ("M0 0 L1,,1", "line 1, column 9: \",1\", expected a number"),
        ("M0 0A5 5 0 2 0 1 1", &*format!("line 1, column 12: \"2\", {command}")),
        ("M0 0 H1e9", "line 1, column 6: number 1000000000, expected a number from -1000000 to 1000000"),
        ("M0 0 H1e999", "line 1, column 7: \"1e999\", expected a number"),
        ("M0 0 H20000", "line 1, column 6: coordinate 20000, expected a number of mm from -10000 to 10000"),
        (
            "M0 0 1 1\nl1 1 1 1 20000 0",
            "line 2, column 1: coordinate 20003, expected a number of mm from -10000 to 10000",
        ),
        ("M0 0 Q0 99999 10 0", "line 1, column 6: coordinate"),
        ("M0 0 Lnan 1", "line 1, column 7: \"nan\", expected a number"),
    ] {
        let mut job = Builder::new();
        job.move_to(1.0, 1.0).unwrap();
        let before = (job.to_bytes(), job.position());
        let error = svgpath::draw(&mut job, text.as_bytes(), &path_settings()).expect_err(text).to_string();
        assert!(if message.ends_with("coordinate") { error.starts_with(message) } else { error == message }, "{error}");
        assert_eq!((job.to_bytes(), job.position()), before, "{text}");
    }
}

#[test]
fn limits_the_length_of_drawings() {
    let long = vec![b' '; MAX_DRAWING_BYTES + 1];
    let mut job = Builder::new();
    for error in [
        gcode::draw(&mut job, &long, &gcode::Settings::default()).unwrap_err(),
        svgpath::draw(&mut job, &long, &path_settings()).unwrap_err(),
    ] {
        assert_eq!(
            error.to_string(),
            "cannot make a job with a drawing in bytes of 67108865: expected at most 67108864"
        );
    }
    assert!(gcode::draw(&mut job, &long[1..], &gcode::Settings::default()).is_ok());
    // More moves than are queued at a time: the head rests once in between.
    let text = format!("M0 0{}", "h.001".repeat(300_000));
    let job = from_path(&text).unwrap();
    assert_eq!(end_tenths(&job), [3000, 0]);
}

/// Lines similar to G-code, most of them invalid.
fn gcode_like() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        (-60.0..60.0_f64).prop_map(|number| format!("{number:.2}")),
        "[+-]?[0-9]{0,3}\\.?[0-9]{0,2}",
        Just("99999999999999999999".to_owned()),
    ];
    let code = prop::sample::select(vec![
        "G0",
        "G1",
        "G2",
        "G3",
        "g1",
        "G04 P.01",
        "G20",
        "G21",
        "G90",
        "G91",
        "G91.1",
        "M3",
        "M4",
        "M5",
        "F2000",
        "S500",
        "G17",
        "(x)",
        ";",
        "%",
        "M30",
        "G92",
        "G28",
        "G53",
        "G10 L20 P2",
        "G55",
        "G90.1",
        "G93",
        "G43.1",
        "M0",
        "M106 S9",
        "M649 S9",
        "$H",
        "O5",
        "I",
        "?",
        "\r",
        "G18",
    ]);
    let word = prop_oneof![
        3 => code.prop_map(str::to_owned),
        3 => ("[XYZIJRxyij]", number).prop_map(|(letter, number)| format!("{letter}{number}")),
    ];
    let lines = prop_oneof![
        1 => prop::collection::vec(word, 0..5).prop_map(|words| words.join(" ")),
        2 => (0..8_usize, -60.0..60.0_f64, -60.0..60.0_f64).prop_map(|(form, x, y)| match form {
            0 => format!("G0X{x:.3}Y{y:.3}"),
            1 => format!("G1 X{x:.3} Y{y:.3} S{:.0}", x.abs() * 16.0),
            2 => format!("G2 I{x:.3} J{y:.3}"),
            3 => format!("G91 G3 X{:.3} Y{:.3} R{x:.3} G90", x / 2.0, x / 3.0),
            4 => format!("G4 P{:.4}", x.abs() / 1e3),
            5 => format!("G0 Z{:.2} X{y:.2}", x / 50.0),
            6 => format!("M{}", if x > 0.0 { 3 } else { 4 }),
            _ => format!("y{y:.1};{x}"),
        }),
    ];
    prop::collection::vec(lines, 0..8).prop_map(|lines| format!("F3000 M4 S200\n{}", lines.join("\n")))
}

/// Text similar to path data.
fn path_like() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        6 => (-60.0..60.0_f64).prop_map(|number| format!("{number:.2}")),
        1 => prop::sample::select(vec!["0", "1", "1e-300", "-1e-9", "1e6", "-1e6", ".5.5", "1e5", "1e-4"]).prop_map(str::to_owned),
    ];
    let command = ("[MLHVCSQTZmlhvcsqtz]", prop::collection::vec(number, 7), 0..20_usize).prop_map(
        |(command, mut numbers, odd)| {
            numbers.truncate(match command.to_ascii_uppercase().as_str() {
                // Sometimes a wrong number.
                _ if odd < 4 => odd * 2,
                "Z" => 0,
                "H" | "V" => 1,
                "S" | "Q" => 4,
                "C" => 6,
                _ => 2,
            });
            format!("{command}{}", numbers.join(" "))
        },
    );
    let arc = (prop::collection::vec(-60.0..60.0_f64, 5), 0..2, 0..2, any::<bool>(), 0..8).prop_map(
        |(numbers, large, sweep, relative, tiny)| {
            let command = if relative { 'a' } else { 'A' };
            let [rx, ry, lean, x, y] = numbers[..] else { return String::new() };
            let scale = if tiny == 0 { 1e-7 } else { 1.0 };
            format!("{command}{} {} {lean} {large} {sweep} {} {}", rx * scale, ry, x * scale, y * scale)
        },
    );
    prop::collection::vec(prop_oneof![command, arc], 0..6).prop_map(|commands| format!("M0 0{}", commands.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn never_panics(bytes: Vec<u8>, text: String) {
        for drawing in [&bytes[..], text.as_bytes()] {
            let _ = gcode::draw(&mut Builder::new(), drawing, &gcode::Settings::default());
            let _ = svgpath::draw(&mut Builder::new(), drawing, &path_settings());
        }
    }

    #[test]
    fn draws_or_rejects_similar_to_gcode(text in gcode_like()) {
        match from_gcode(&text) {
            Ok(job) => prop_assert_eq!(reference(job.body()).end(), job.position()),
            Err(error) => prop_assert!(matches!(error, Error::Drawing { line: 1.., column: 1.., .. }), "{error}"),
        }
    }

    #[test]
    fn draws_or_rejects_similar_to_path_data(text in path_like()) {
        match from_path(&text) {
            Ok(job) => prop_assert_eq!(reference(job.body()).end(), job.position()),
            Err(error) => prop_assert!(matches!(error, Error::Drawing { line: 1, column: 1.., .. }), "{error}"),
        }
    }

    #[test]
    fn imported_export_passes_every_corner(
        parts in prop::collection::vec((-50.0..50.0_f64, -50.0..50.0_f64, 0..8_u32, -9..9_i32), 1..8)
    ) {
        let mut job = Builder::new();
        for (x_mm, y_mm, sevenths, z) in parts {
            if z > 6 {
                job.lens_to(f64::from(z) * 0.3)?;
            }
            if z < -6 {
                job.dwell(0.3)?;
            }
            if sevenths == 0 {
                job.move_to(x_mm, y_mm)?;
            } else {
                job.cut_to(x_mm, y_mm, 100.0, f64::from(sevenths) / 7.0)?;
            }
        }
        let again = from_gcode(&exported(&job))?;
        prop_assert_eq!(again.position(), job.position());
        let mut at = Position::default();
        let segments = segments(&job);
        let mut ahead = segments.iter().filter(|segment| !segment.is_rest()).map(|segment| segment.end).peekable();
        for &byte in again.body() {
            at.advance(byte);
            let near = |end: &Position| (at.x - end.x).abs() <= 1 && (at.y - end.y).abs() <= 1 && at.z == end.z;
            while ahead.next_if(near).is_some() {}
        }
        prop_assert_eq!(ahead.next(), None);
    }
}

#[test]
fn cuts_a_curve_that_doubles_back_to_its_extremum() {
    let reach_of = |path: &str| {
        let mut job = Builder::new();
        svgpath::draw(&mut job, path.as_bytes(), &path_settings()).unwrap();
        let measured = measure(&job.to_bytes()[..], Limits::default()).unwrap();
        (measured.header.x_mm(measured.extents.x.max), measured.cut_mm)
    };
    // From 10 towards 100 and back to 20: the derivative of the curve is 0 at t = 9/17.
    let (reach_mm, cut_mm) = reach_of("M10 10 Q 100 10 20 10");
    assert!((reach_mm - 57.65).abs() < 0.05 && (cut_mm - (47.65 + 37.65)).abs() < 0.2, "{reach_mm} {cut_mm}");
    let (_, cut_mm) = reach_of("M10 10 C 100 100 100 100 10 10");
    assert!(cut_mm > 150.0, "{cut_mm}");
}
