//! Paths of several moves: speeds, corners, and the laser in the right place.

use proptest::prelude::*;

use super::super::*;
use super::reference;

const STEP_MM: f64 = 0.018_75;

fn made(moves: &[Move]) -> Builder {
    let mut job = Builder::new();
    job.path(moves).unwrap();
    job
}

/// Returns the velocity in mm/s in consecutive windows of that many ticks.
fn velocities(body: &[u8], window: usize) -> Vec<[f64; 2]> {
    let mm_s = |steps: i64| steps as f64 * STEP_MM / (window as f64 / 1e4);
    let ends = body.chunks_exact(window).map(|ticks| reference(ticks).end());
    ends.map(|end| [mm_s(end.x), mm_s(end.y)]).collect()
}

fn speeds(body: &[u8], window: usize) -> Vec<f64> {
    velocities(body, window).iter().map(|[x, y]| x.hypot(*y)).collect()
}

/// Returns the position after each firing tick.
fn fired(body: &[u8]) -> Vec<Position> {
    let mut at = Position::default();
    body.iter().filter_map(|&byte| at.advance(byte).then_some(at)).collect()
}

#[test]
fn laser_switches_do_not_slow_a_sweep_down() {
    let on = Laser::Constant(1.0);
    let sweep = [(10.0, Laser::Off), (20.0, on), (30.0, Laser::Off), (40.0, on), (50.0, Laser::Off)];
    let mut job = Builder::new();
    // Sets the power, which takes a tick.
    let before = job.fire(0.01, 1.0).unwrap().body().len();
    job.path(&sweep.map(|(x_mm, laser)| Move::new(x_mm, 0.0, 100.0, laser))).unwrap();
    let body = &job.body()[before..];
    let plain = made(&[Move::new(50.0, 0.0, 100.0, Laser::Off)]);
    assert!(
        body.iter().map(|byte| byte & !tick::FIRE).eq(plain.body().iter().copied()),
        "the laser changes how it moves"
    );
    // Between the ramps, which are 7.14 mm and 143 ms long, the speed is constant.
    for speed in &speeds(body, 100)[15..45] {
        assert!((speed - 100.0).abs() <= 2.0, "{speed}");
    }
    // Every tick between the switches fires and no other, exact to one step.
    let switches = [10.0, 20.0, 30.0, 40.0].map(|mm: f64| mm / STEP_MM);
    let positions: Vec<_> = fired(body).iter().map(|at| at.x as f64).collect();
    let (first, second): (Vec<f64>, Vec<f64>) = positions.iter().copied().partition(|x| *x < 25.0 / STEP_MM);
    for (strokes, from, to) in [(&first, switches[0], switches[1]), (&second, switches[2], switches[3])] {
        assert!((strokes[0] - from).abs() <= 1.0 && (strokes[strokes.len() - 1] - to).abs() <= 1.0, "{from} {to}");
        assert!((strokes.len() as f64 - 1000.0).abs() <= 1.0, "{}", strokes.len());
    }
}

#[test]
fn slows_down_for_corners_only() {
    let turned =
        |x_mm, y_mm| made(&[Move::new(40.0, 0.0, 100.0, Laser::Off), Move::new(x_mm, y_mm, 100.0, Laser::Off)]);
    let slowest = |job: &Builder| {
        let speeds = speeds(job.body(), 100);
        speeds[20..speeds.len() - 20].iter().copied().fold(f64::INFINITY, f64::min)
    };
    let (ahead, right, back) = (slowest(&turned(80.0, 0.0)), slowest(&turned(40.0, 40.0)), slowest(&turned(0.0, 0.0)));
    assert!(ahead > 97.0 && (3.0..15.0).contains(&right) && back < 5.0, "{ahead} {right} {back}");
    let slight = slowest(&turned(80.0, 1.0));
    assert!(slight > 70.0, "{slight}");
    let (four, one) = (turned(80.0, 0.0).body().len(), turned(0.0, 0.0).body().len());
    assert!(four + 1000 < one, "a stop takes time: {four} {one}");
}

#[cfg(feature = "drawing")]
#[test]
fn circle_takes_the_time_of_its_circumference() {
    let settings = svgpath::Settings::new(50.0, Laser::Constant(3.0 / 7.0));
    let mut job = Builder::new();
    svgpath::draw(&mut job, b"M0 10A10 10 0 0 1 20 10A10 10 0 0 1 0 10", &settings).unwrap();
    // The head reverses, and so stops, between the travel and the circle.
    let travel = Builder::new().move_to(0.0, 10.0).unwrap().body().len();
    let circle = &job.body()[travel..];
    // Plus half of each of two ramps of 50/590 s.
    let expected_s = 62.83 / 50.0 + 50.0 / 590.0;
    let took_s = circle.len() as f64 / 1e4;
    assert!((took_s - expected_s).abs() < 0.01, "{took_s} {expected_s}");
    let speeds = speeds(circle, 100);
    for speed in &speeds[9..speeds.len() - 9] {
        // A window has 27 steps, with up to 1.4 steps of rounding.
        assert!((speed - 50.0).abs() < 6.0, "{speed}");
    }
    let density = reference(circle).le as f64 / circle.len() as f64;
    assert!((density - 3.0 / 7.0).abs() < 0.001, "{density}");
    let at = fired(job.body());
    for at in at {
        let radius = (at.x as f64 * STEP_MM - 10.0).hypot(at.y as f64 * STEP_MM - 10.0);
        assert!((radius - 10.0).abs() < 0.01 + STEP_MM, "{radius}");
    }
}

#[test]
fn dynamic_laser_has_a_constant_dose_per_millimetre() {
    let dose = |laser| {
        // Only ramps: 35 mm, up to 156 mm/s and down again.
        let job = made(&[Move::new(35.0, 0.0, 200.0, laser)]);
        let mut by_mm = [0_u32; 36];
        for at in fired(job.body()) {
            by_mm[usize::try_from(at.x).unwrap() * 3 / 160] += 1;
        }
        by_mm
    };
    let dynamic = dose(Laser::Dynamic(1.0));
    for (mm, ticks) in dynamic.iter().enumerate().take(35) {
        // 200 mm/s are 50 ticks per mm; the dither may shift up to 7 of them.
        assert!(ticks.abs_diff(50) <= 9, "{mm}: {ticks} of {dynamic:?}");
    }
    let constant = dose(Laser::Constant(1.0));
    assert!(constant[0] > 400 && constant[17] < 80, "{constant:?}");
}

#[test]
fn density_changes_with_each_move() {
    let moves = [(10.0, 1.0 / 7.0), (20.0, 5.0 / 7.0), (30.0, 0.0), (40.0, 1.0)];
    let job = made(&moves.map(|(x_mm, density)| Move::new(x_mm, 0.0, 40.0, Laser::Constant(density))));
    // 10 mm at 40 mm/s take 250 ms; half of a ramp of 57 ms is added to the first and the last move.
    let mut by_move = [0_u32; 4];
    let cuts = [10.0, 20.0, 30.0].map(|mm: f64| mm / STEP_MM);
    for at in fired(job.body()) {
        by_move[cuts.iter().filter(|&&cut| at.x as f64 > cut).count()] += 1;
    }
    for (ticks, expected) in by_move.iter().zip([2786 / 7, 2500 * 5 / 7, 0, 2786]) {
        assert!(ticks.abs_diff(expected) <= 8, "{by_move:?}");
    }
}

#[test]
fn rejected_paths_change_nothing() {
    let mut job = made(&[Move::new(1.0, 2.0, 100.0, Laser::Off)]);
    let (before, at) = (job.to_bytes(), job.position());
    let good = Move::new(5.0, 5.0, 50.0, Laser::Constant(0.5));
    for bad in [
        Move::new(f64::NAN, 0.0, 50.0, Laser::Off),
        Move::new(0.0, 10_000.1, 50.0, Laser::Off),
        Move::new(0.0, 0.0, 0.0, Laser::Off),
        Move::new(0.0, 0.0, f64::INFINITY, Laser::Off),
        Move::new(0.0, 0.0, 1e-6, Laser::Off),
        Move::new(0.0, 0.0, 50.0, Laser::Constant(1.1)),
        Move::new(0.0, 0.0, 50.0, Laser::Dynamic(f64::NAN)),
    ] {
        assert!(job.path(&[good, bad]).is_err(), "{bad:?}");
        assert!(job.path(&[good, bad, good]).is_err(), "{bad:?}");
    }
    for seconds in [f64::NAN, -1.0, 1e6] {
        assert!(job.fire(seconds, 0.5).is_err(), "{seconds}");
    }
    assert!(job.fire(1.0, 1.5).is_err() && job.lens_to(50.1).is_err() && job.lens_to(f64::NAN).is_err());
    for mm_s2 in [0.9, 100_001.0, f64::NAN] {
        assert!(job.acceleration(mm_s2, 590.0).is_err() && job.acceleration(700.0, mm_s2).is_err(), "{mm_s2}");
    }
    for mm_s in [0.0, 10_001.0, f64::NAN] {
        assert!(job.travel_speed(mm_s).is_err(), "{mm_s}");
    }
    assert_eq!((job.to_bytes(), job.position()), (before, at));
    // Rejected values have no effect later either.
    let same = made(&[Move::new(1.0, 2.0, 100.0, Laser::Off)]).path(&[good]).unwrap().to_bytes();
    assert_eq!(job.path(&[good]).unwrap().to_bytes(), same);
}

#[test]
fn moves_without_a_step_take_no_time() {
    let mut job = made(&[Move::new(1.0, 2.0, 100.0, Laser::Off)]);
    let before = job.body().len();
    job.path(&[]).unwrap().move_to(1.0, 2.0).unwrap().cut_to(1.001, 2.0, 10.0, 1.0).unwrap();
    assert_eq!(job.body().len(), before);
    // A move without length does not fire at the end of another move.
    job.path(&[Move::new(9.0, 2.0, 50.0, Laser::Off), Move::new(9.0, 2.0, 50.0, Laser::Constant(1.0))]).unwrap();
    assert_eq!(reference(job.body()).le, 0);
}

#[test]
fn respects_acceleration_and_travel_speed() {
    let ticks = |acceleration: f64, speed: f64| {
        let mut job = Builder::new();
        job.acceleration(acceleration, 1.0).unwrap().travel_speed(speed).unwrap();
        job.move_to(100.0, 0.0).unwrap().body().len()
    };
    for (acceleration, speed) in [(700.0, 100.0), (350.0, 100.0), (700.0, 50.0)] {
        let expected = (100.0 / speed + speed / acceleration) * 1e4;
        assert!((ticks(acceleration, speed) as f64 - expected).abs() <= 2.0, "{acceleration} {speed}");
    }
}

#[test]
fn lens_moves_alone_at_constant_speed() {
    let mut job = Builder::new();
    job.lens_to(8.0 * 0.684).unwrap();
    assert_eq!((job.position().z, job.body().len()), (8, 10_000));
    job.lens_to(-0.684).unwrap().lens_to(-0.8).unwrap();
    let counts = reference(job.body());
    assert_eq!((counts.zp, counts.zn, counts.le, counts.xp + counts.yp), (8, 9, 0, 0));
    let segments: Vec<_> = Job::open(&job.to_bytes()[..]).unwrap().segments().collect::<Result<_>>().unwrap();
    let heights: Vec<_> = segments.iter().filter(|segment| !segment.is_rest()).map(|moved| moved.end.z).collect();
    assert_eq!(heights, [8, -1]);
}

#[test]
fn lens_moves_in_the_mode_of_the_header() {
    let down_mm = 3.0 * 12.32 / 18.0;
    for (mode, steps) in [(None, 3), (Some(1), 6), (Some(0), 3)] {
        let mut job = Builder::new();
        if let Some(mode) = mode {
            job.set(code::Z_MODE, mode).unwrap();
        }
        job.lens_to(-down_mm).unwrap();
        // The speed in mm is the same.
        assert_eq!((job.position().z, job.body().len()), (-steps, 3750), "{mode:?}");
        let measured = measure(&job.to_bytes()[..], Limits::default()).unwrap();
        assert!((measured.z_end_mm() + down_mm).abs() < 1e-9, "{mode:?}: {}", measured.z_end_mm());
        let info = serde_json::to_value(&measured).unwrap();
        let (low, end) = (info["extents"]["z_mm"][0].as_f64().unwrap(), info["stats"]["ZMM"].as_f64().unwrap());
        assert!((low + down_mm).abs() < 1e-9 && (end + down_mm).abs() < 1e-9, "{mode:?}: {info}");
        assert!(Summary(&measured).to_string().contains("Z -2.05 to 0.00 mm"), "{mode:?}");
        let mut csv = Vec::new();
        export(Job::open(&job.to_bytes()[..]).unwrap(), Format::Csv, "job.puls", &mut csv).unwrap();
        assert!(String::from_utf8(csv).unwrap().contains(",-2.05333,"), "{mode:?}");
    }
}

#[test]
fn the_lens_stays_between_its_stops() {
    for (mode, low, high) in [(0, -5, 15), (1, -10, 30)] {
        for (z_mm, expected) in [(MIN_LENS_MM, low), (MAX_LENS_MM, high)] {
            let mut job = Builder::new();
            job.set(code::Z_MODE, mode).unwrap().lens_to(z_mm).unwrap();
            assert_eq!(job.position().z, expected);
            for beyond_mm in [z_mm + z_mm.signum() * 0.5, z_mm.signum() * f64::MAX, z_mm.signum() * f64::INFINITY] {
                assert!(Builder::new().set(code::Z_MODE, mode).unwrap().lens_to(beyond_mm).is_err(), "{beyond_mm}");
            }
        }
    }
}

#[test]
fn lens_mode_cannot_change_after_a_lens_move() {
    let mut job = Builder::new();
    job.move_to(1.0, 0.0).unwrap().power_level(0x7f).unwrap().set(code::Z_MODE, 0).unwrap();
    job.lens_to(1.0).unwrap().set(code::Z_MODE, 0).unwrap();
    let before = job.to_bytes();
    let error = job.set(code::Z_MODE, 1).expect_err("the steps would have another length");
    let message = "cannot make a job with lens mode 1: expected the mode that the lens has moved in";
    assert_eq!(error.to_string(), message);
    assert_eq!(job.to_bytes(), before);
}

#[test]
fn fire_at_rest_has_its_density() {
    let mut job = Builder::new();
    job.fire(0.7, 2.0 / 7.0).unwrap();
    let counts = reference(job.body());
    assert_eq!((job.body().len(), counts.le, counts.x_end()), (7000, 2000, 0));
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let coordinate = || prop_oneof![-60.0..60.0_f64, -0.2..0.2_f64];
    let laser =
        prop_oneof![Just(Laser::Off), (0.0..=1.0).prop_map(Laser::Constant), (0.0..=1.0).prop_map(Laser::Dynamic)];
    prop::collection::vec((coordinate(), coordinate(), 5.0..300.0_f64, laser), 1..12).prop_map(|moves| {
        // Every other move is a short one from the end of the previous one.
        let (mut x, mut y) = (0.0, 0.0);
        moves
            .into_iter()
            .enumerate()
            .map(|(n, (dx, dy, speed, laser))| {
                let near = n % 2 == 1;
                (x, y) = if near { (x + dx / 100.0, y + dy / 100.0) } else { (dx, dy) };
                Move::new(x, y, speed, laser)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_path_reaches_its_targets_within_its_limits(moves in moves()) {
        const WINDOW: usize = 200;
        let job = made(&moves);
        let steps = |mm: f64| (mm / STEP_MM).round();
        let last = moves[moves.len() - 1];
        let end = reference(job.body()).end();
        prop_assert_eq!((end.x as f64, end.y as f64, end), (steps(last.x_mm), steps(last.y_mm), job.position()));

        // Reaches every target in order, exact to one step, since a corner may fall within a tick.
        let mut at = Position::default();
        let mut ahead = moves.iter().peekable();
        let near = |at: Position, to: &Move| {
            (at.x as f64 - to.x_mm / STEP_MM).abs() <= 1.6 && (at.y as f64 - to.y_mm / STEP_MM).abs() <= 1.6
        };
        for &byte in [0].iter().chain(job.body()) {
            at.advance(byte);
            while ahead.next_if(|to| near(at, to)).is_some() {}
        }
        prop_assert!(ahead.next().is_none(), "{:?} was not reached", ahead.next());

        // No window is faster than the fastest move, and speed changes by no more than tangential plus centripetal
        // acceleration, a corner of up to 8.6 mm/s each way, and two steps of rounding.
        let window_s = WINDOW as f64 / 1e4;
        let rounding = 2.0 * STEP_MM / window_s;
        let fastest = moves.iter().map(|to| to.speed_mm_s).fold(0.0, f64::max);
        let velocities = velocities(job.body(), WINDOW);
        for velocity in &velocities {
            prop_assert!(velocity[0].hypot(velocity[1]) <= fastest + 2.0 * rounding, "{velocity:?} {fastest}");
        }
        for pair in velocities.windows(2) {
            for (axis, acceleration) in [(0, 700.0), (1, 590.0)] {
                let change = (pair[1][axis] - pair[0][axis]).abs();
                let allowed = acceleration * window_s * 2.0_f64.sqrt() + 2.0 * 8.6 + rounding;
                prop_assert!(change <= allowed, "{pair:?}: {change} of {allowed}");
            }
        }
        prop_assert_eq!(measure(&job.to_bytes()[..], Limits::default())?.counts, reference(job.body()));
    }
}
