//! Exports, checked by reading them back.

use std::io::{self, Write};

use proptest::prelude::*;

use super::super::*;

fn text(job: &Builder, format: Format, source: &str) -> String {
    let mut written = Vec::new();
    export(Job::open(&job.to_bytes()[..]).unwrap(), format, source, &mut written).unwrap();
    String::from_utf8(written).unwrap()
}

fn segments(job: &Builder) -> Vec<Segment> {
    Job::open(&job.to_bytes()[..]).unwrap().segments().collect::<Result<_>>().unwrap()
}

fn job() -> Builder {
    let mut job = Builder::new();
    job.move_to(10.0, 5.0).unwrap().dwell(0.25).unwrap();
    job.cut_to(20.0, 5.0, 20.0, 3.0 / 7.0).unwrap().cut_to(20.0, -2.5, 20.0, 1.0).unwrap().move_to(0.0, 0.0).unwrap();
    job
}

/// Returns the targets of G-code moves in microsteps, each with whether the laser is on.
fn read_back(gcode: &str) -> Vec<(i64, i64, bool)> {
    let (mut x, mut y, mut is_g1, mut s) = (0.0, 0.0, false, 0.0);
    let mut positions = Vec::new();
    for line in gcode.lines().filter(|line| !line.starts_with(';')) {
        let mut goes = false;
        for word in line.split(' ') {
            let (letter, number) = word.split_at(1);
            let number: f64 = number.parse().unwrap();
            match letter {
                "G" if number < 2.0 => is_g1 = word == "G1",
                "S" => s = number,
                "X" => (x, goes) = (number, true),
                "Y" => (y, goes) = (number, true),
                _ => {}
            }
        }
        if goes {
            let steps = |mm: f64| format!("{:.0}", mm / 0.01875).parse().unwrap();
            positions.push((steps(x), steps(y), is_g1 && s > 0.0));
        }
    }
    positions
}

#[test]
fn gcode_matches_its_snapshot() {
    insta::assert_snapshot!(text(&job(), Format::Gcode, "a (bad)\nname;.puls"), @r"
    ; from a__bad__name_.puls
    ; mm, X to the right, Y to the front, from where the job begins
    ; for GRBL in laser mode ($32=1); S0 to S1000 ($30=1000)
    ; S is the share of ticks that fire, times the power level of 127
    ; speeds for 700 mm/s2 in X, 590 in Y, junction deviation 0.01 mm
    ; faster parts of the job take longer here; the end of the file says how much
    ; not in this file: the header, 10000 ticks a second, power bytes,
    ; which ticks fire, how speed and density change within a straight run
    G21 G90 G94
    M4 S0
    G0 X9.994 Y5.006
    G4 P0.25
    M3 S0
    G1 X20.006 F1200 S429
    G4 P0 S0
    Y-2.494 F1202 S1000
    G4 P0 S0
    G0 X0 Y0
    M5 S0
    M2
    ");
}

#[test]
fn gcode_says_what_cannot_be_made_again() {
    let text = |steps| {
        let file = super::file(&vec![tick::X_STEP; steps]);
        let mut written = Vec::new();
        export(Job::open(&file[..]).unwrap(), Format::Gcode, "", &mut written).unwrap();
        String::from_utf8(written).unwrap()
    };
    let said = "; the head moves beyond 10000 mm, so that no job can be made of this file\n";
    assert!(text(534_000).contains(said) && !text(533_000).contains(said), "{}", text(534_000));
}

#[test]
fn csv_has_one_row_per_segment() {
    let csv = text(&job(), Format::Csv, "job.puls");
    let (names, rows) = csv.split_once('\n').unwrap();
    let names: Vec<_> = names.split(',').collect();
    let expected = segments(&job());
    let header = job().header().clone();
    assert_eq!(rows.lines().count(), expected.len());
    for (row, segment) in rows.lines().zip(expected) {
        let row: Vec<_> = row.split(',').collect();
        assert_eq!(row.len(), names.len());
        let field = |name: &str| row[names.iter().position(|found| *found == name).unwrap()];
        assert_eq!(field("start_tick"), segment.start_tick.to_string());
        assert_eq!(field("start_s"), format!("{:.6}", segment.start_tick as f64 / 1e4));
        assert_eq!(field("to_x_mm"), format!("{:.5}", header.x_mm(segment.end.x)));
        assert_eq!(field("y_mm"), format!("{:.5}", header.y_mm(segment.start.y)));
        assert_eq!(field("laser"), if segment.laser { "1" } else { "0" });
        assert_eq!(field("power"), segment.power.map(|power| power.to_string()).unwrap_or_default());
    }
}

#[test]
fn json_has_segments_info_and_timeline() {
    let json: serde_json::Value = serde_json::from_str(&text(&job(), Format::Json, "a \"name\"")).unwrap();
    assert_eq!(json["source"], "a \"name\"");
    assert_eq!(json["segments"], serde_json::to_value(segments(&job())).unwrap());
    let measured = measure(&job().to_bytes()[..], Limits::default()).unwrap();
    assert_eq!(json["info"]["stats"], serde_json::to_value(&measured).unwrap()["stats"]);
    assert_eq!(json["timeline"]["bins"].as_array().unwrap().len(), measured.timeline.bins().len());
    let empty: serde_json::Value = serde_json::from_str(&text(&Builder::new(), Format::Json, "")).unwrap();
    assert_eq!(empty["segments"], serde_json::json!([]));
}

#[test]
fn reports_writer_errors() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("no space"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for format in [Format::Csv, Format::Json, Format::Gcode] {
        let result = export(Job::open(&job().to_bytes()[..]).unwrap(), format, "", &mut Full);
        assert_eq!(result.unwrap_err().to_string(), "writing failed: no space");
    }
}

proptest! {
    #[test]
    fn gcode_has_the_positions_of_the_job(
        positions in proptest::collection::vec((-50.0..50.0_f64, -50.0..50.0_f64, 0..8_u32), 1..8)
    ) {
        let mut job = Builder::new();
        for (x, y, sevenths) in positions {
            if sevenths == 0 {
                job.move_to(x, y).unwrap();
            } else {
                job.cut_to(x, y, 100.0, f64::from(sevenths) / 7.0).unwrap();
            }
        }
        let expected: Vec<_> = segments(&job)
            .iter()
            .filter(|segment| !segment.is_rest())
            .map(|segment| (segment.end.x, segment.end.y, segment.laser))
            .collect();
        // A straight run may be written as several lines.
        let mut found = read_back(&text(&job, Format::Gcode, "")).into_iter();
        for position in expected {
            prop_assert!(found.any(|found| found == position), "{:?}", position);
        }
        prop_assert_eq!(found.next(), None);
    }
}
