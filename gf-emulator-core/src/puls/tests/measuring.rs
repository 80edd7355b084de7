//! Measurements of known jobs, and of any bytes against a tick-by-tick reference.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::*;
use super::{Trickle, file, gzip, reference};

fn near(found: f64, expected: f64, within: f64) {
    assert!((found - expected).abs() <= within, "{found}, not {expected}");
}

fn meter(job: &Builder) -> Measured {
    measure(&job.to_bytes()[..], Limits::default()).unwrap()
}

#[test]
fn measures_a_known_job() {
    let mut job = Builder::new();
    job.power_level(100).unwrap().move_to(30.0, 40.0).unwrap().dwell(0.5).unwrap();
    job.cut_to(60.0, 40.0, 20.0, 3.0 / 7.0).unwrap().power_level(50).unwrap().cut_to(60.0, 20.0, 40.0, 1.0).unwrap();
    let measured = meter(&job);

    near(measured.travelled_mm, 50.0 + 30.0 + 20.0, 0.1);
    near(measured.cut_mm, 50.0, 0.1);
    near(measured.seconds(measured.idle_ticks).unwrap(), 0.5, 0.06);
    assert_eq!(measured.moving_ticks + measured.idle_ticks, measured.ticks);
    // Too short for full speed: the peak is the square root of 50 mm times 590 * 5 / 4 mm/s2.
    near(measured.peak_mm_s.unwrap(), 192.0 - 5.0, 5.0);
    near(measured.mean_mm_s().unwrap(), 100.0 / measured.seconds(measured.moving_ticks).unwrap(), 0.1);

    let levels: Vec<_> = measured.powers.iter().map(|&(level, dose)| (level, format!("{:.0}", dose.mm))).collect();
    assert_eq!(levels, [(Some(50), "20".to_owned()), (Some(100), "30".to_owned())]);
    let densities: Vec<_> = measured.densities.iter().map(|dose| format!("{:.0}", dose.mm)).collect();
    assert_eq!(densities, ["0", "0", "0", "30", "0", "0", "0", "20"]);
    let fired: u64 = measured.densities.iter().map(|dose| dose.fire_ticks).sum();
    assert_eq!(fired, measured.counts.le);
    near(measured.fire_ticks_per_mm().unwrap(), measured.counts.le as f64 / 50.0, 0.5);

    let mm = |span: Span| [measured.header.x_mm(span.min), measured.header.x_mm(span.max)];
    for (found, expected) in [
        (mm(measured.extents.x), [0.0, 60.0]),
        (mm(measured.extents.y), [0.0, 40.0]),
        (mm(measured.extents.fire.unwrap().x), [30.0, 60.0]),
        (mm(measured.extents.fire.unwrap().y), [20.0, 40.0]),
    ] {
        near(found[0], expected[0], 0.02);
        near(found[1], expected[1], 0.02);
    }
}

#[test]
fn dots_have_no_density() {
    let dot = [&[tick::POWER | 127][..], &[tick::FIRE; 3], &[0; 600]].concat();
    let line = [tick::X_STEP | tick::FIRE, tick::X_STEP].repeat(50);
    let dark = [tick::X_STEP; 600];
    let measured = |body: &[u8]| measure(&file(body)[..], Limits::default()).unwrap();
    let dots = measured(&[&dot[..], &dark, &dot].concat());
    assert_eq!((dots.dots.count, dots.dots.fire_ticks, dots.counts.le), (2, 6, 6));
    assert!(dots.densities.iter().all(|dose| *dose == Dose::default()), "{dots:?}");
    let text = Summary(&dots).to_string();
    assert!(text.contains("2 dots, 6 ticks: too short") && !text.contains("density 7/7"), "{text}");
    assert!(!text.contains("app power") && !text.contains("ticks a mm"), "{text}");
    assert_eq!(serde_json::to_value(&dots).unwrap()["dots"]["count"], 2);

    let both = measured(&[&dot[..], &dark, &line, &dark].concat());
    assert_eq!((both.dots.count, both.dots.fire_ticks), (1, 3));
    assert_eq!(both.densities.iter().map(|dose| dose.fire_ticks).sum::<u64>(), 50);
    // A circle of short segments is no row of dots.
    let corners = [0, tick::X_NEGATIVE].map(|way| [tick::X_STEP | tick::FIRE | way; 3]).concat().repeat(30);
    let zigzag = measured(&[&corners[..], &dark].concat());
    assert_eq!((zigzag.dots.count, zigzag.densities[7].fire_ticks), (0, 180));
}

#[test]
fn peak_of_a_long_line_is_its_speed() {
    let mut job = Builder::new();
    job.cut_to(0.0, 200.0, 25.0, 0.5).unwrap();
    near(meter(&job).peak_mm_s.unwrap(), 25.0, 0.8);
}

#[test]
fn fire_at_rest_is_neither_moving_nor_idle() {
    let measured = measure(&file(&[[0x10; 100], [0; 100]].concat())[..], Limits::default()).unwrap();
    assert_eq!((measured.moving_ticks, measured.idle_ticks, measured.counts.le), (0, 100, 100));
    assert_eq!((measured.mean_mm_s(), measured.fire_ticks_per_mm()), (None, None));
    assert_eq!(measured.powers, [(None, Dose { mm: 0.0, fire_ticks: 100, lit_ticks: 100 })]);
}

#[test]
fn has_no_speed_without_frequency() {
    let bytes = [&b"\x80GF1\x08\0\0\0"[..], &[1; 1000]].concat();
    let measured = measure(&bytes[..], Limits::default()).unwrap();
    assert_eq!((measured.run_time_s, measured.peak_mm_s, measured.mean_mm_s()), (None, None, None));
    near(measured.travelled_mm, 18.75, 1e-9);
}

#[test]
fn timeline_covers_the_whole_job() {
    let mut job = Builder::new();
    job.cut_to(50.0, 0.0, 25.0, 0.5).unwrap().dwell(1.0).unwrap();
    let measured = meter(&job);
    let bins = measured.timeline.bins();
    assert_eq!(bins.iter().map(|bin| bin.ticks).sum::<u64>(), measured.ticks);
    assert_eq!(bins.iter().map(|bin| bin.fire_ticks).sum::<u64>(), measured.counts.le);
    assert_eq!((bins[0].ticks, measured.timeline.bin_ticks()), (256, 256));
    assert!(bins.last().unwrap().peak_mm_s < 0.1 && bins[bins.len() / 4].peak_mm_s > 20.0, "{bins:?}");
}

#[test]
fn ticks_and_segments_cover_the_body_and_end_with_its_error() {
    let mut job = Builder::new();
    job.power_level(5).unwrap().cut_to(20.0, 10.0, 50.0, 0.3).unwrap().move_to(20.0, 9.0).unwrap();
    let bytes = job.to_gzip();

    let mut reading = Job::open(&bytes[..]).unwrap();
    let ticks: Vec<_> = reading.ticks().collect::<Result<_>>().unwrap();
    assert_eq!(ticks.iter().map(|tick| tick.byte).collect::<Vec<_>>(), job.body());
    assert!(ticks.iter().zip(0..).all(|(tick, index)| tick.index == index && tick.power == Some(5)));
    assert_eq!((ticks.last().unwrap().position, reading.ticks().count()), (job.position(), 0));

    let mut reading = Job::open(&bytes[..]).unwrap();
    let segments: Vec<_> = reading.segments().collect::<Result<_>>().unwrap();
    assert_eq!(segments.last().unwrap().end, job.position());
    assert_eq!(segments.iter().map(|segment| segment.ticks).sum::<u64>(), job.body().len() as u64);

    let cut = &bytes[..bytes.len() - 9];
    let mut reading = Job::open(cut).unwrap();
    let ends: Vec<_> = reading.ticks().map(|tick| tick.is_err()).collect();
    assert_eq!(ends.iter().filter(|&&failed| failed).count(), 1);
    assert_eq!(ends.last(), Some(&true));
    let mut reading = Job::open(cut).unwrap();
    let mut segments = reading.segments();
    assert!(segments.by_ref().any(|segment| matches!(segment, Err(Error::GzipCut { .. }))));
    assert!(segments.next().is_none());
}

#[test]
fn density_has_a_setting_of_the_app() {
    let table = [
        (1371, 7000, Some(Power::Setting(1.0))),
        (5576, 7000, Some(Power::Setting(100.0))),
        (9965, 10_000, Some(Power::Full)),
        (65, 1000, None),
    ];
    for (fire_ticks, lit_ticks, power) in table {
        assert_eq!(Dose { mm: 1.0, fire_ticks, lit_ticks }.app_power(), power);
    }
    assert_eq!(Dose::default().app_power(), None);
}

/// Finds a firing tick before the first power byte, tick by tick.
fn reference_fire_before_power(body: &[u8]) -> Option<u64> {
    let tick = body.iter().position(|&byte| byte >= 0x80 || byte & 0x10 != 0)?;
    (body[tick] < 0x80).then_some(tick as u64)
}

#[test]
fn fire_before_any_power_byte_is_refused() {
    // Power bytes beside and after the tick that fires, in the same block of ticks and in later ones.
    for before in [0, 1, 63, 64, 100, 70_000] {
        for between in [0, 50, 200] {
            let body = [vec![0x01; before], vec![0x10], vec![0x01; between], vec![0xff, 0x01, 0x10]].concat();
            let measured = measure(&file(&body)[..], Limits::default()).unwrap();
            let (offset, tick) = ((measured.header.len_bytes() + before) as u64, before as u64);
            assert_eq!(measured.check(None), [Refusal::FireBeforePower { offset, tick }]);
            let reason = measured.refusal_reasons(None).unwrap();
            assert!(reason.contains(&format!("fires at byte {offset} (tick {tick})")), "{reason}");
            assert_eq!(refusal_reasons(&file(&body)).unwrap(), Some(reason));
        }
    }
}

#[test]
fn a_power_byte_first_is_accepted() {
    for body in [
        &[0x01, 0xff, 0x10][..],
        // A power byte of 0 is one, and a power byte does not fire whatever its bits.
        &[0x80, 0x10],
        &[0x90, 0x10],
        // The power byte long before the laser fires.
        &[vec![0xff], vec![0; 70_000], vec![0x01; 3000], vec![0x10; 10]].concat(),
    ] {
        let measured = measure(&file(body)[..], Limits::default()).unwrap();
        assert_eq!((measured.check(None), measured.fire_before_power_tick), (vec![], None));
    }
}

#[test]
fn a_dark_job_passes() {
    for body in [&[0x01; 5000][..], &[0; 5000], &[]] {
        assert_eq!(measure(&file(body)[..], Limits::default()).unwrap().check(None), []);
        assert_eq!(refusal_reasons(&file(body)).unwrap(), None);
    }
}

/// Finds extents tick by tick.
fn reference_extents(body: &[u8]) -> Extents {
    let (mut extents, mut at) = (Extents::default(), Position::default());
    for &byte in body {
        let fires = at.advance(byte);
        extents.x.include(at.x);
        extents.y.include(at.y);
        extents.z.include(at.z);
        if fires {
            let fire_box = extents.fire.get_or_insert(FireBox { x: Span::at(at.x), y: Span::at(at.y) });
            fire_box.x.include(at.x);
            fire_box.y.include(at.y);
        }
    }
    extents
}

/// The sums over segments, one segment at a time.
#[derive(Debug, PartialEq)]
struct Sums {
    moving_ticks: u64,
    idle_ticks: u64,
    travelled_mm: f64,
    cut_mm: f64,
    powers: Vec<(Option<u8>, Dose)>,
    densities: [Dose; 8],
    dots: Dots,
}

fn reference_sums(file: &[u8]) -> Sums {
    let mut job = Job::open(file).unwrap();
    let header = job.header().clone();
    let segments: Vec<_> = job.segments().collect::<Result<_>>().unwrap();
    let mm = |segment: &Segment| {
        header.x_mm(segment.end.x - segment.start.x).hypot(header.y_mm(segment.end.y - segment.start.y))
    };
    let dose = |segment: &Segment| Dose { mm: mm(segment), fire_ticks: segment.fire_ticks, lit_ticks: segment.ticks };
    let ticks =
        |of: &dyn Fn(&Segment) -> bool| segments.iter().filter(|segment| of(segment)).map(|it| it.ticks).sum::<u64>();
    let mut powers = std::collections::BTreeMap::<_, Dose>::new();
    for segment in segments.iter().filter(|segment| segment.laser) {
        powers.entry(segment.power.map_or(128, u16::from)).or_default().add(&dose(segment));
    }
    let (mut densities, mut dots) = ([Dose::default(); 8], Dots::default());
    for lit in segments.chunk_by(|one, two| one.laser == two.laser).filter(|run| run[0].laser) {
        let lit_ticks = lit.iter().map(|segment| segment.ticks).sum::<u64>();
        if lit_ticks <= 14 {
            dots.count += 1;
            dots.fire_ticks += lit.iter().map(|segment| segment.fire_ticks).sum::<u64>();
            dots.lit_ticks += lit_ticks;
            continue;
        }
        for segment in lit {
            let sevenths = (14 * segment.fire_ticks + segment.ticks) / (2 * segment.ticks);
            densities[usize::try_from(sevenths).unwrap()].add(&dose(segment));
        }
    }
    Sums {
        moving_ticks: ticks(&|segment| segment.start != segment.end),
        idle_ticks: ticks(&|segment| segment.start == segment.end && !segment.laser),
        travelled_mm: segments.iter().fold(0.0, |sum, segment| sum + mm(segment)),
        cut_mm: segments.iter().filter(|segment| segment.laser).fold(0.0, |sum, segment| sum + mm(segment)),
        powers: powers
            .into_iter()
            .filter(|(_, dose)| dose.fire_ticks > 0)
            .map(|(level, dose)| (u8::try_from(level).ok().filter(|&level| level < 128), dose))
            .collect(),
        densities,
        dots,
    }
}

fn sums(measured: &Measured) -> Sums {
    Sums {
        moving_ticks: measured.moving_ticks,
        idle_ticks: measured.idle_ticks,
        travelled_mm: measured.travelled_mm,
        cut_mm: measured.cut_mm,
        powers: measured.powers.clone(),
        densities: measured.densities,
        dots: measured.dots,
    }
}

/// Runs, in which whole blocks go one way, and noise.
fn runs_and_noise() -> impl Strategy<Value = Vec<u8>> {
    let run = (any::<u8>(), 0..600_usize).prop_map(|(byte, times)| vec![byte; times]);
    let noise = vec(any::<u8>(), 0..600);
    let parts = vec(prop_oneof![run, noise], 0..16).prop_map(|parts| parts.concat());
    (parts, 1..6_usize).prop_map(|(parts, times)| parts.repeat(times))
}

#[test]
fn fire_box_starts_with_the_first_fire() {
    // Fire to the right, a dark move to the left, then fire to the right again from there.
    let body = [vec![0x11; 100], vec![0x03; 8092], vec![0x11; 8192]].concat();
    let measured = measure(&file(&body)[..], Limits::default()).unwrap();
    assert_eq!(measured.extents.fire.unwrap().x, Span { min: 100 - 8092 + 1, max: 200 });
}

/// Measures with little work to save up, so that dense stretches begin early. `pieces` are the lengths in which the body
/// is added; with segments if they are to be collected.
fn measure_dense(body: &[u8], pieces: usize, mut segments: Option<&mut Vec<Segment>>) -> Measured {
    let mut meter = Meter::with_work(Builder::new().header(), 1 << 14);
    for piece in body.chunks(pieces) {
        match &mut segments {
            Some(segments) => meter.add(piece, &mut |segment| segments.push(*segment)),
            None => meter.add_ticks(piece),
        }
    }
    meter.finish(&mut |segment| {
        if let Some(segments) = &mut segments {
            segments.push(*segment);
        }
    })
}

#[test]
fn most_of_a_body_that_turns_at_each_tick_is_dense() {
    for (pair, mm_per_tick) in [
        ([0x01, 0x03], 0.15 / 8.0),
        ([0x15, 0x1a | 0x01], 0.15 / 8.0 * (1.0 + 2_f64.sqrt()) / 2.0),
        // Only the lens reverses.
        ([0x25, 0x65], 0.15 / 8.0 * 2_f64.sqrt()),
    ] {
        let body = pair.repeat(2_000_000);
        let measured = measure(&file(&body)[..], Limits::default()).unwrap();
        let ticks = body.len() as u64;
        assert!(measured.dense_ticks > ticks * 4 / 5, "{} of {ticks}", measured.dense_ticks);
        near(measured.travelled_mm, ticks as f64 * mm_per_tick, 1e-3);
        assert_eq!(measured.counts, reference(&body));
        let info = serde_json::to_value(&measured).unwrap();
        assert_eq!(info["dense_ticks"], measured.dense_ticks);
        assert!(Summary(&measured).to_string().contains("too dense"), "{}", Summary(&measured));
    }
}

#[test]
fn no_job_that_a_machine_can_follow_is_dense() {
    // Holes of 1 mm, as fast as at 700 mm/s2, for three minutes.
    let mut ticks = 0.0_f64;
    let mut at = [0_i64; 2];
    let circles = std::iter::repeat_with(|| {
        let angle = ticks * (700.0_f64 / 0.5).sqrt() / 10_000.0;
        ticks += 1.0;
        let mut byte = if ticks % 7.0 < 3.0 { tick::FIRE } else { 0 };
        let bits = [[tick::X_STEP, tick::X_STEP | tick::X_NEGATIVE], [tick::Y_STEP | tick::Y_POSITIVE, tick::Y_STEP]];
        for ((at, to), bits) in at.iter_mut().zip([angle.cos(), angle.sin()]).zip(bits) {
            #[expect(clippy::cast_possible_truncation, reason = "small")]
            let to = (to * 0.5 * 53.333).round() as i64;
            byte |= match to.cmp(at) {
                std::cmp::Ordering::Greater => bits[0],
                std::cmp::Ordering::Less => bits[1],
                std::cmp::Ordering::Equal => 0,
            };
            *at += (to - *at).signum();
        }
        byte
    });
    let body: Vec<u8> = circles.take(1_800_000).collect();
    let measured = measure(&file(&body)[..], Limits::default()).unwrap();
    assert_eq!(measured.dense_ticks, 0);
    assert!(serde_json::to_value(&measured).unwrap().get("dense_ticks").is_none());
    let exact = measured.travelled_mm;

    // And if it were, most distances would be the same.
    let dense = measure_dense(&body, 1 << 16, None);
    assert!(dense.dense_ticks > 1_000_000, "{}", dense.dense_ticks);
    near(dense.travelled_mm / exact, 1.0, 0.02);
    near(dense.cut_mm / measured.cut_mm, 1.0, 0.02);
}

/// A body of more than a few chunks.
fn long_body() -> Vec<u8> {
    let mut job = Builder::new();
    for i in 0..60 {
        let across = if i % 2 == 0 { 100.0 } else { 0.0 };
        job.cut_to(across, f64::from(i), 30.0, f64::from(i % 7) / 7.0).unwrap();
    }
    let body = job.body().to_vec();
    assert!(body.len() > 1 << 20, "{}", body.len());
    body
}

#[test]
fn a_long_compressed_job_is_measured_like_a_plain_one() {
    let plain = file(&long_body());
    let expected = measure(&plain[..], Limits::default()).unwrap();
    assert_eq!(measure(&gzip(&plain)[..], Limits::default()).unwrap(), expected);
    // In two members, and with a reader that returns little.
    let (start, end) = plain.split_at(plain.len() / 3);
    let members = [gzip(start), gzip(end)].concat();
    let trickle = Trickle { bytes: &members, step: 1000, interrupt: false };
    assert_eq!(measure(trickle, Limits::default()).unwrap(), expected);
}

#[test]
fn a_long_compressed_job_fails_like_a_plain_one() {
    let plain = file(&long_body());
    let compressed = gzip(&plain);
    let cut = measure(&compressed[..compressed.len() - 9], Limits::default()).unwrap_err();
    assert!(matches!(cut, Error::GzipCut { .. }), "{cut}");
    let mut changed = compressed.clone();
    let at = changed.len() - 5;
    changed[at] ^= 1;
    let changed = measure(&changed[..], Limits::default()).unwrap_err();
    assert!(matches!(changed, Error::GzipChecksum { .. }), "{changed}");
    let limits = Limits { body_bytes: Some(1 << 20) };
    for bytes in [&plain, &compressed] {
        let too_large = measure(&bytes[..], limits).unwrap_err();
        assert!(matches!(too_large, Error::TooLarge { limit_bytes: 0x10_0000, .. }), "{too_large}");
    }
}

proptest! {
    #[test]
    fn counts_and_extents_match_a_reference(body in runs_and_noise()) {
        let measured = measure(&file(&body)[..], Limits::default())?;
        prop_assert_eq!(measured.extents, reference_extents(&body));
        prop_assert_eq!(measured.fire_before_power_tick, reference_fire_before_power(&body));
        prop_assert_eq!(measured.counts, reference(&body));
        let bins = measured.timeline.bins();
        prop_assert_eq!(bins.iter().map(|bin| bin.ticks).sum::<u64>(), body.len() as u64);
        prop_assert_eq!(bins.iter().map(|bin| bin.fire_ticks).sum::<u64>(), measured.counts.le);
    }

    #[test]
    fn sums_match_the_segments(body in prop_oneof![runs_and_noise(), vec(any::<u8>(), 0..3000)]) {
        let file = file(&body);
        prop_assert_eq!(sums(&measure(&file[..], Limits::default())?), reference_sums(&file));
    }

    #[test]
    fn dense_stretches_do_not_depend_on_pieces_or_segments(
        body in runs_and_noise(),
        dense in prop_oneof![Just([0x01, 0x03]), Just([0x81, 0x11]), Just([0x20, 0x60]), any::<[u8; 2]>()],
        piece in 1..5000_usize,
    ) {
        let body = [&body[..], &dense.repeat(3000), &body].concat();
        let mut segments = Vec::new();
        let measured = measure_dense(&body, body.len(), Some(&mut segments));
        prop_assert_eq!(&measured, &measure_dense(&body, piece, None));
        prop_assert_eq!(&measured, &measure_dense(&body, piece, Some(&mut Vec::new())));
        super::segments::check(&body, &segments)?;

        prop_assert_eq!(measured.counts, reference(&body));
        prop_assert_eq!(measured.extents, reference_extents(&body));
        let whole = measure(&file(&body)[..], Limits::default())?;
        prop_assert_eq!((measured.ticks, &measured.timeline), (whole.ticks, &whole.timeline));
        let ticks = |measured: &Measured| {
            measured.powers.iter().map(|(level, dose)| (*level, dose.fire_ticks, dose.lit_ticks)).collect::<Vec<_>>()
        };
        prop_assert_eq!(ticks(&measured), ticks(&whole));
        let fired: u64 = measured.densities.iter().map(|dose| dose.fire_ticks).sum();
        prop_assert_eq!(fired + measured.dots.fire_ticks, measured.counts.le);
        if measured.dense_ticks == 0 {
            prop_assert_eq!(measured, whole);
        }
    }

    #[test]
    fn pieces_make_no_difference(body in vec(any::<u8>(), 0..3000), cuts in vec(1..700_usize, 1..20)) {
        let header = Builder::new().header().clone();
        let mut whole = Meter::new(&header);
        whole.add(&body, &mut |_| ());
        let whole = whole.finish(&mut |_| ());

        let mut pieces = Meter::new(&header);
        let mut rest = &body[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, later) = rest.split_at(rest.len().min(*cut));
            pieces.add(piece, &mut |_| ());
            rest = later;
        }
        prop_assert_eq!(&pieces.finish(&mut |_| ()), &whole);
        prop_assert_eq!(whole.counts, reference(&body));
    }
}
