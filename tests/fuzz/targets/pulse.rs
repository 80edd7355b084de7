//! Pulse files: one pass gives the same as reading tick by tick; every export is complete.

#![no_main]

use gf_emulator_core::puls::{
    CheckOptions, Counts, Difference, Format, Job, Limits, Plot, PlotOptions, Position, check, export, measure, tick,
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const LIMIT_BYTES: u64 = 1 << 16;

fn open(file: &[u8]) -> gf_emulator_core::puls::Result<Job<&[u8]>> {
    Job::with_limits(file, Limits::body_bytes(LIMIT_BYTES))
}

fuzz_target!(|file: &[u8]| {
    let measured = measure(file, Limits::body_bytes(LIMIT_BYTES));
    let Ok(mut job) = open(file) else {
        assert!(measured.is_err(), "measured, but cannot be opened");
        return;
    };
    let mut counts = Counts::default();
    let mut last = None;
    let mut before = Position::default();
    let (mut low, mut high) = (Position::default(), Position::default());
    for read in job.ticks() {
        let Ok(read) = read else {
            assert!(measured.is_err(), "measured, but cannot be read");
            return;
        };
        let step = |now: i64, before: i64| ((now - before).max(0).unsigned_abs(), (before - now).max(0).unsigned_abs());
        let (x, y, z) =
            (step(read.position.x, before.x), step(read.position.y, before.y), step(read.position.z, before.z));
        (counts.xp, counts.xn) = (counts.xp + x.0, counts.xn + x.1);
        (counts.yp, counts.yn) = (counts.yp + y.0, counts.yn + y.1);
        (counts.zp, counts.zn) = (counts.zp + z.0, counts.zn + z.1);
        counts.le += u64::from(read.fires);
        counts.lp += u64::from(read.byte & tick::POWER != 0);
        before = read.position;
        low = Position { x: low.x.min(before.x), y: low.y.min(before.y), z: low.z.min(before.z) };
        high = Position { x: high.x.max(before.x), y: high.y.max(before.y), z: high.z.max(before.z) };
        last = Some(read);
    }
    let measured = measured.expect("all ticks can be read");
    assert_eq!(measured.counts, counts);
    assert_eq!(measured.ticks, last.map_or(0, |tick| tick.index + 1));
    let extents = measured.extents;
    assert_eq!([extents.x.min, extents.y.min, extents.z.min], [low.x, low.y, low.z]);
    assert_eq!([extents.x.max, extents.y.max, extents.z.max], [high.x, high.y, high.z]);

    let (mut end_tick, mut end, mut fire_ticks) = (0, Position::default(), 0);
    for segment in open(file).expect("it was opened before").segments() {
        let segment = segment.expect("all ticks can be read");
        assert_eq!((segment.start_tick, segment.start), (end_tick, end));
        assert!(segment.ticks > 0);
        (end_tick, end, fire_ticks) =
            (segment.start_tick + segment.ticks, segment.end, fire_ticks + segment.fire_ticks);
    }
    assert_eq!((end_tick, end, fire_ticks), (measured.ticks, counts.end(), counts.le));

    for format in [Format::Csv, Format::Json, Format::Gcode] {
        let mut text = Vec::new();
        let same = export(open(file).expect("it was opened before"), format, "x", &mut text).expect("it can be read");
        assert_eq!(format!("{same:?}"), format!("{measured:?}"));
        let text = String::from_utf8(text).expect("exports are UTF-8");
        if format == Format::Json {
            serde_json::from_str::<Value>(&text).expect("the export is JSON");
        }
    }
    let found = check(open(file).expect("it was opened before"), &CheckOptions::default()).expect("it can be read");
    for finding in &found.findings {
        assert!(!finding.to_string().contains('\n'));
    }
    serde_json::to_string(&measured).expect("it can be serialized");
    let difference = Difference::read(open(file).expect("it was opened"), open(file).expect("it was opened"));
    assert!(difference.is_ok_and(|difference| difference.is_same()));
    let plot = Plot::from_job(open(file).expect("it was opened before")).expect("it can be read");
    assert!(plot.to_svg(&PlotOptions::new("x")).contains("</svg>"));
});
