//! The builder: valid files with exact positions.

use proptest::prelude::*;

use super::super::*;
use super::{read_body, reference};

#[test]
fn moves_accelerate_to_the_travel_speed() {
    let mut job = Builder::with_step_frequency(28_160).expect("in range");
    job.move_to(200.0, 0.0).expect("in range");
    let body = job.body().to_vec();
    // Speeds in windows of 10 ms, in mm/s.
    let speeds: Vec<f64> =
        body.chunks_exact(281).map(|window| reference(window).xp as f64 / 53.333 / (281.0 / 28_160.0)).collect();
    let peak = speeds.iter().copied().fold(0.0, f64::max);
    assert!((195.0..205.0).contains(&peak), "{peak}");
    assert!(speeds[0] < 10.0 && speeds[speeds.len() - 1] < 15.0, "from rest to rest");
    for pair in speeds.windows(2) {
        // 7 mm/s in 10 ms, plus two steps of rounding.
        assert!((pair[1] - pair[0]).abs() < 7.0 + 4.0, "{pair:?}");
    }
    // Two ramps of 200/700 s, the rest at 200 mm/s.
    let expected_s = 200.0 / 200.0 + 200.0 / 700.0;
    assert!((body.len() as f64 / 28_160.0 - expected_s).abs() < 0.001);
}

#[test]
fn fire_density_holds_in_every_period() {
    for sevenths in 0..=7u32 {
        let mut job = Builder::new();
        // Sets the power, which takes a tick.
        let before = job.fire(0.01, 1.0).expect("in range").body().len();
        job.cut_to(5.0, 2.0, 10.0, f64::from(sevenths) / 7.0).expect("in range");
        for period in job.body()[before..].chunks_exact(7) {
            assert_eq!(reference(period).le, u64::from(sevenths));
        }
    }
    let mut job = Builder::new();
    job.cut_to(50.0, 0.0, 10.0, 0.25).expect("in range");
    let density = reference(job.body()).le as f64 / job.body().len() as f64;
    assert!((density - 0.25).abs() < 0.001, "{density}");
}

#[test]
fn rejects_values_out_of_range_without_changes() {
    let mut job = Builder::new();
    job.move_to(1.0, 1.0).expect("in range");
    let before = job.to_bytes();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 10_000.1, -10_000.1] {
        assert!(job.move_to(value, 0.0).is_err() && job.move_to(0.0, value).is_err(), "{value}");
    }
    for speed in [f64::NAN, f64::INFINITY, 0.0, -1.0, 1e-6, f64::MIN_POSITIVE] {
        assert!(job.cut_to(0.0, 0.0, speed, 0.5).is_err(), "{speed}");
    }
    for density in [f64::NAN, -0.1, 1.1] {
        assert!(job.cut_to(0.0, 0.0, 10.0, density).is_err(), "{density}");
    }
    for seconds in [f64::NAN, f64::INFINITY, -1.0, 1e6] {
        assert!(job.dwell(seconds).is_err(), "{seconds}");
    }
    assert!(job.power_level(128).is_err());
    assert_eq!(job.to_bytes(), before);
    for hz in [0, 999, 200_001, u32::MAX] {
        assert!(Builder::with_step_frequency(hz).is_err(), "{hz}");
    }
    let message = job.power_level(200).expect_err("too high").to_string();
    assert_eq!(message, "cannot make a job with power level 200: expected 0 to 127");
}

#[test]
fn new_header_is_complete() {
    let header = Builder::with_step_frequency(28_160).expect("in range").header().clone();
    assert_eq!((header.check(Some(1)), header.remarks()), (vec![], vec![]));
    assert_eq!((header.step_frequency_hz(), header.microsteps_x(), header.microsteps_y()), (Some(28_160), 8, 8));
    let mut codes: Vec<_> = header.records().iter().map(|record| record.code.0).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), header.records().len(), "no code twice");
}

/// A call of the builder. Positions are in tenths of a millimetre.
#[derive(Debug, Clone)]
enum Make {
    Move(i16, i16),
    Cut(i16, i16, f64, f64),
    Power(u8),
    Dwell(f64),
}

fn make() -> impl Strategy<Value = Make> {
    let coordinate = -600i16..600;
    prop_oneof![
        (coordinate.clone(), coordinate.clone()).prop_map(|(x, y)| Make::Move(x, y)),
        (coordinate.clone(), coordinate, 5.0..500.0, 0.0..=1.0)
            .prop_map(|(x, y, speed, density)| Make::Cut(x, y, speed, density)),
        (0u8..=127).prop_map(Make::Power),
        (0.0..0.1).prop_map(Make::Dwell),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn jobs_are_read_back_exactly(hz in 1_000u32..=30_000, parts in prop::collection::vec(make(), 0..6)) {
        let mut job = Builder::with_step_frequency(hz).expect("in range");
        let mut at_tenths = (0, 0);
        let mut dwell_ticks = 0.0;
        for part in &parts {
            match *part {
                Make::Move(x, y) => {
                    job.move_to(f64::from(x) / 10.0, f64::from(y) / 10.0)?;
                    at_tenths = (x, y);
                }
                Make::Cut(x, y, speed, density) => {
                    let before = job.body().len();
                    job.cut_to(f64::from(x) / 10.0, f64::from(y) / 10.0, speed, density)?;
                    at_tenths = (x, y);
                    let cut = &job.body()[before..];
                    let fired = reference(cut).le as f64;
                    prop_assert!((fired - cut.len() as f64 * density).abs() <= 8.0, "{fired} of {}", cut.len());
                }
                Make::Power(level) => {
                    job.power_level(level)?;
                }
                Make::Dwell(seconds) => {
                    let before = job.body().len();
                    job.dwell(seconds)?;
                    dwell_ticks += (seconds * f64::from(hz)).round();
                    prop_assert!(job.body()[before..].iter().all(|&byte| byte == 0));
                }
            }
            // Every position is exact: 160 microsteps are 3 mm.
            let steps = |tenths: i16| (f64::from(tenths) * 160.0 / 30.0).round();
            let end = reference(job.body()).end();
            prop_assert_eq!((end.x as f64, end.y as f64, end.z), (steps(at_tenths.0), steps(at_tenths.1), 0));
            prop_assert_eq!(end, job.position());
        }
        prop_assert!(job.body().len() as f64 >= dwell_ticks);
        for bytes in [job.to_bytes(), job.to_gzip()] {
            let measured = measure(&bytes[..], Limits::default())?;
            prop_assert_eq!(&measured.header, job.header());
            prop_assert_eq!(measured.counts, reference(job.body()));
            let body = read_body(&bytes[..])?;
            prop_assert!(body.starts_with(job.body()) && body.len() <= job.body().len() + 1);
        }
    }

    #[test]
    fn lines_are_straight(x in -300i16..300, y in -300i16..300, speed in 20.0..200.0f64) {
        let mut job = Builder::new();
        job.cut_to(f64::from(x) / 10.0, f64::from(y) / 10.0, speed, 0.5)?;
        let end = job.position();
        let mut at = Position::default();
        for &byte in job.body() {
            at.advance(byte);
            // The distance from the line through both ends, with rounding on both axes.
            let across = (at.x * end.y - at.y * end.x).abs() as f64;
            prop_assert!(across <= 1.5 * (end.x as f64).hypot(end.y as f64), "{at:?} on the way to {end:?}");
        }
    }
}
