//! Segments, checked tick by tick against their definition.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::super::*;

/// The longest gap without fire in which the laser is always on.
const GAP: usize = 14;
/// The longest time from one firing tick to the next while the laser is on: 0.1 %.
const MAX_INTERVAL: usize = 1024;
/// 1/20 s at 10 kHz, and 1/4 s for the lens.
const REST: u64 = 500;
const LENS_REST: u64 = 2500;

fn trace(body: &[u8], pieces: usize) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut tracer = Tracer::new(Builder::new().header());
    for piece in body.chunks(pieces.max(1)) {
        tracer.add(piece, &mut |segment| segments.push(*segment));
    }
    tracer.finish(&mut |segment| segments.push(*segment));
    segments
}

fn fires(byte: u8) -> bool {
    byte & 0x90 == 0x10
}

/// Returns for each tick whether it fires, is a power byte directly before one that does, or lies in a gap between two that
/// do: a short one, or one like the gap before or after it that is not too long.
fn laser(body: &[u8]) -> Vec<bool> {
    let fired: Vec<_> = (0..body.len()).filter(|&tick| fires(body[tick])).collect();
    let intervals: Vec<_> = fired.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut laser: Vec<_> = body.iter().map(|&byte| fires(byte)).collect();
    for (i, pair) in fired.windows(2).enumerate() {
        let interval = intervals[i];
        let is_alike = |other: Option<&usize>| {
            other.is_some_and(|&other| other <= MAX_INTERVAL && 2 * interval.max(other) <= 3 * interval.min(other))
        };
        let before = i.checked_sub(1).and_then(|i| intervals.get(i));
        let is_regular = is_alike(before) || is_alike(intervals.get(i + 1));
        if interval <= GAP + 1 || interval <= MAX_INTERVAL && is_regular {
            laser[pair[0]..pair[1]].fill(true);
        }
    }
    for (tick, pair) in body.windows(2).enumerate() {
        laser[tick] |= pair[0] >= 0x80 && fires(pair[1]);
    }
    laser
}

/// Bodies of straight runs, curves, pauses of about the length of a rest, dither and power bytes.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let step =
        prop_oneof![Just(0x01_u8), Just(0x03), Just(0x04), Just(0x0c), Just(0x0d), Just(0x20), Just(0x60), any::<u8>()];
    let run =
        (step, 0..40_usize, 1..200_usize, prop_oneof![Just(0_usize), Just(7), Just(13), 14..20_usize, 15..1100_usize])
            .prop_map(|(step, still, times, dither)| {
                let mut ticks: Vec<u8> = (0..times).flat_map(|_| std::iter::repeat_n(0, still).chain([step])).collect();
                if dither > 0 && step < 0x80 {
                    ticks.iter_mut().step_by(dither).for_each(|byte| *byte |= 0x10);
                }
                ticks
            });
    let curve = (0.0..6.3_f64, -0.02..0.02_f64, 20..400_usize).prop_map(|(angle, bend, times)| {
        let (mut x, mut y) = (0.0_f64, 0.0_f64);
        let part = |way: &mut f64, by: f64, step: u8, negative: u8, positive: u8| {
            *way += by;
            if way.abs() < 1.0 {
                return 0;
            }
            let direction = if *way > 0.0 { positive } else { negative };
            *way -= way.signum();
            step | direction
        };
        (0..times)
            .map(|i| {
                let angle = angle + bend * i as f64;
                part(&mut x, angle.cos(), 0x01, 0x02, 0) | part(&mut y, angle.sin(), 0x04, 0, 0x08)
            })
            .collect::<Vec<u8>>()
    });
    let pause = prop_oneof![0..130_usize, 490..510_usize, 2490..2510_usize].prop_map(|ticks| vec![0; ticks]);
    let noise = vec(any::<u8>(), 0..200);
    // Firing ticks at changing intervals, at rest or in motion.
    let dots = (prop_oneof![Just(0_u8), Just(1), Just(5)], vec(prop_oneof![1..40_usize, 60..1200_usize], 1..6))
        .prop_map(|(step, intervals)| {
            let dots = intervals.into_iter().flat_map(|ticks| std::iter::repeat_n(0, ticks - 1).chain([0x10]));
            dots.map(|byte| byte | step).collect()
        });
    vec(prop_oneof![4 => run, 2 => curve, 2 => pause, 1 => noise, 2 => dots], 0..12).prop_map(|parts| parts.concat())
}

pub(super) fn check(body: &[u8], segments: &[Segment]) -> std::result::Result<(), TestCaseError> {
    let laser = laser(body);
    let (mut tick, mut at, mut power) = (0_usize, Position::default(), None);
    for segment in segments {
        prop_assert_eq!(segment.start_tick, tick as u64);
        prop_assert_eq!(segment.start, at);
        prop_assert!(segment.ticks > 0);
        let (mut fired, mut still, mut steps) = (0, 0, 0);
        let (mut head, mut lens) = (false, false);
        let along = [segment.end.x - at.x, segment.end.y - at.y];
        let length = (along[0] as f64).hypot(along[1] as f64);
        for &byte in &body[tick..][..usize::try_from(segment.ticks).unwrap()] {
            prop_assert_eq!(segment.laser, laser[tick], "laser at {}", tick);
            // Of power bytes in a row, only the first counts.
            if byte >= 128 && (tick == 0 || body[tick - 1] < 128) {
                power = Some(byte - 128);
            }
            prop_assert_eq!(segment.power, power, "power at {}", tick);
            let before = at;
            fired += u64::from(at.advance(byte));
            for (step, total) in [
                (at.x - before.x, segment.end.x - segment.start.x),
                (at.y - before.y, segment.end.y - segment.start.y),
                (at.z - before.z, segment.end.z - segment.start.z),
            ] {
                prop_assert!(step == 0 || step == total.signum(), "an axis reverses in {:?}", segment);
            }
            tick += 1;
            if at == before {
                still += 1;
                continue;
            }
            // No pause within a segment is a rest, except before the first step: laser or power may have divided that
            // rest.
            let limit = if byte & 5 == 0 { LENS_REST } else { REST };
            prop_assert!(still <= limit, "{} still ticks before {} in {:?}", still, tick, segment);
            (still, steps) = (0, steps + 1);
            head |= (at.x, at.y) != (before.x, before.y);
            lens |= at.z != before.z;
            let off = [at.x - segment.start.x, at.y - segment.start.y];
            let across = (off[0] * along[1] - off[1] * along[0]) as f64;
            prop_assert!(across.abs() <= 2.0 * length + 1e-9, "{:?} is too far from {:?}", at, segment);
        }
        prop_assert_eq!(fired, segment.fire_ticks);
        prop_assert_eq!(segment.end, at);
        prop_assert_eq!(segment.is_rest(), steps == 0);
        prop_assert!(!segment.is_rest() || !(head || lens));
        prop_assert!(
            still <= if lens && !head { LENS_REST } else { REST } || steps == 0,
            "a rest at the end of {:?}",
            segment
        );
    }
    prop_assert_eq!(tick, body.len());
    Ok(())
}

proptest! {
    #[test]
    fn segments_match_their_definition(body in bodies()) {
        check(&body, &trace(&body, body.len()))?;
    }

    #[test]
    fn segments_of_random_bytes_match_their_definition(body in vec(any::<u8>(), 0..2000)) {
        check(&body, &trace(&body, body.len()))?;
    }

    #[test]
    fn pieces_make_no_difference(body in bodies(), piece in 1..300_usize) {
        prop_assert_eq!(trace(&body, piece), trace(&body, body.len()));
    }
}

#[test]
fn accelerating_line_is_one_segment() {
    let mut job = Builder::new();
    job.move_to(100.0, 37.0).unwrap();
    let segments = trace(job.body(), 1 << 20);
    assert_eq!(segments.len(), 1, "{segments:?}");
}

#[test]
fn finds_exact_corners() {
    let mut job = Builder::new();
    for (x, y) in [(10.0, 0.0), (10.0, 10.0), (2.0, 2.0), (9.0, 4.0), (0.0, 0.0)] {
        job.cut_to(x, y, 30.0, 1.0).unwrap();
    }
    let ends: Vec<_> = trace(job.body(), 1 << 20).iter().map(|segment| (segment.end.x, segment.end.y)).collect();
    assert_eq!(ends, [(533, 0), (533, 533), (107, 107), (480, 213), (0, 0)]);
}

#[test]
fn dithered_cut_is_one_segment() {
    let mut job = Builder::new();
    job.move_to(10.0, 0.0).unwrap().cut_to(20.0, 10.0, 20.0, 1.0 / 14.0).unwrap().move_to(0.0, 0.0).unwrap();
    let lasers: Vec<_> = trace(job.body(), 1 << 20).iter().map(|segment| segment.laser).collect();
    assert_eq!(lasers, [false, true, false]);
}

/// Ticks of a head that moves along X and fires in some of them.
fn fired_along_x(ticks: usize, fired: impl IntoIterator<Item = usize>) -> Vec<u8> {
    // 94 mm/s.
    let mut body: Vec<u8> = (0..ticks).map(|tick| u8::from(tick % 2 == 0)).collect();
    fired.into_iter().for_each(|tick| body[tick] |= 0x10);
    body
}

fn lit(body: &[u8]) -> Vec<(u64, u64)> {
    let lit = trace(body, 1 << 20).into_iter().filter(|segment| segment.laser);
    lit.map(|segment| (segment.start_tick, segment.ticks)).collect()
}

#[test]
fn regular_dots_are_a_line() {
    let every = |interval: usize| (0..10).map(move |i| 50 + i * interval);
    assert_eq!(lit(&fired_along_x(2000, every(100))), [(50, 901)]);
    // An engraving at 6.5 %: one tick in 15 or 16.
    assert_eq!(lit(&fired_along_x(2000, (0..100).map(|i| 50 + i * 77 / 5))), [(50, 99 * 77 / 5 + 1)]);
    // The intervals of a constant dose while the head accelerates.
    let speeding_up = [350, 474, 570, 650, 721, 785, 844, 899, 950];
    assert_eq!(lit(&fired_along_x(2000, speeding_up)), [(350, 601)]);
    // At rest.
    let mut body = vec![0; 1000];
    (100..=800).step_by(100).for_each(|tick| body[tick] = 0x10);
    assert_eq!(lit(&body), [(100, 701)]);
}

#[test]
fn single_and_distant_dots_are_dots() {
    let dots = |fired: &[usize]| fired.iter().map(|&tick| (tick as u64, 1)).collect::<Vec<_>>();
    // Two alone; irregular ones; regular ones with more than 1024 ticks between them.
    for fired in [&[100, 200][..], &[100, 200, 260, 400, 433, 600], &[100, 1125, 2150, 3175]] {
        assert_eq!(lit(&fired_along_x(4000, fired.iter().copied())), dots(fired));
    }
}

#[test]
fn white_pixels_divide_an_engraving() {
    let pixels = |on: std::ops::Range<usize>| (0..4).flat_map(move |i| on.clone().map(move |tick| i * 60 + tick));
    let expected: Vec<_> = (0..4).map(|i| (i * 60 + 5, 20)).collect();
    assert_eq!(lit(&fired_along_x(400, pixels(5..25))), expected);
    // At a density of 6.5 %, with one firing tick left out.
    let fired = [100, 115, 131, 146, 177, 192, 207, 223];
    assert_eq!(lit(&fired_along_x(400, fired)), [(100, 47), (177, 47)]);
}

#[test]
fn a_cut_of_one_percent_is_one_segment() {
    for (laser, within_mm) in [
        (Laser::Constant(0.01), 0.2),
        (Laser::Dynamic(0.01), 1.1),
        (Laser::Constant(0.004), 0.5),
        (Laser::Constant(0.001), 5.0),
    ] {
        for speed_mm_s in [10.0, 50.0] {
            let mut job = Builder::new();
            job.path(&[Move::new(50.0, 0.0, speed_mm_s, laser)]).unwrap();
            let measured = measure(&job.to_bytes()[..], Limits::default()).unwrap();
            assert!((measured.cut_mm - 50.0).abs() < within_mm, "{laser:?} at {speed_mm_s}: {}", measured.cut_mm);
            // The last dot of a constant dose may be alone: the head has nearly stopped.
            let most = if let Laser::Dynamic(_) = laser { 2 } else { 1 };
            assert!(lit(job.body()).len() <= most, "{laser:?} at {speed_mm_s}");
        }
    }
}

#[test]
#[ignore = "needs real pulse files: GF_PULS_DIR"]
fn real_files_have_few_segments() {
    let folder = std::env::var_os("GF_PULS_DIR").expect("GF_PULS_DIR is set");
    for (name, most) in [("hunt", 4), ("motion", 1)] {
        let bytes = std::fs::read(std::path::Path::new(&folder).join(format!("{name}.puls"))).unwrap();
        let mut job = Job::open(&bytes[..]).unwrap();
        let mut body = Vec::new();
        while let Some(chunk) = job.next_chunk().unwrap() {
            body.extend_from_slice(chunk);
        }
        let segments = trace(&body, 1000);
        check(&body, &segments).unwrap();
        assert!(segments.len() <= most, "{} segments: {segments:#?}", segments.len());
    }
}
