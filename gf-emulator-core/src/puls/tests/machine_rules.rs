//! Made jobs keep every known rule of the machine. The reader here is independent: it is written from the facts, one byte at
//! a time, and shares no code with the library.

use proptest::prelude::*;

use super::super::*;

/// A header as read byte by byte.
fn read_header(file: &[u8]) -> (Vec<([u8; 4], u32)>, &[u8]) {
    assert_eq!(&file[1..4], b"GF1");
    let length = u32::from_le_bytes([file[4], file[5], file[6], file[7]]) as usize;
    let mut records = Vec::new();
    let mut at = 8;
    while at < length {
        let code = [file[at], file[at + 1], file[at + 2], file[at + 3]];
        records.push((code, u32::from_le_bytes([file[at + 4], file[at + 5], file[at + 6], file[at + 7]])));
        at += 8;
    }
    (records, &file[length..])
}

/// Reads a file and asserts every rule for a made job at 10 kHz.
fn assert_keeps_every_rule(file: &[u8]) {
    let (records, body) = read_header(file);
    assert_eq!(records.len(), 134, "all codes of a captured print");
    let value = |code: &[u8; 4]| {
        let mut with_code = records.iter().filter(|(other, _)| other == code);
        let found = with_code.next().expect("the code").1;
        assert!(with_code.next().is_none(), "{code:?} twice");
        found
    };
    assert_eq!((value(b"STfr"), value(b"MCsn"), value(b"PDfm")), (10_000, 0, 0));
    assert_eq!((value(b"XSmm"), value(b"YSmm"), value(b"ZSmd")), (8, 8, 0));

    let (mut x, mut y, mut z) = (0_i64, 0_i64, 0_i64);
    let (mut z_min, mut z_max) = (0, 0);
    let mut power: Option<usize> = None;
    let mut after_power = false;
    let mut fired = 0;
    let mut window = (0, 0);
    let mut velocity = (0.0, 0.0);
    for (tick, &byte) in body.iter().enumerate() {
        if byte >= 128 {
            assert_eq!(byte, 255, "power 127");
            assert!(!after_power, "two power bytes in a row at {tick}");
            (power, after_power) = (Some(tick), true);
        } else {
            after_power = false;
            if byte & 1 != 0 {
                x += if byte & 2 != 0 { -1 } else { 1 };
            }
            if byte & 4 != 0 {
                y += if byte & 8 != 0 { 1 } else { -1 };
            }
            if byte & 32 != 0 {
                z += if byte & 64 != 0 { 1 } else { -1 };
                assert_eq!(byte & 0b1_0101, 0, "the lens moves alone and dark, at {tick}");
            }
            (z_min, z_max) = (z_min.min(z), z_max.max(z));
            if byte & 16 != 0 {
                fired += 1;
                let set = power.expect("a power byte before fire");
                assert!(tick - set <= 27_000, "no power byte for {} ticks at {tick}", tick - set);
            }
        }
        if tick % 250 == 249 {
            let (now_x, now_y) = ((x - window.0) as f64 * 0.75, (y - window.1) as f64 * 0.75);
            assert!(now_x.hypot(now_y) <= 203.0, "{} mm/s at {tick}", now_x.hypot(now_y));
            let change = (now_x - velocity.0).hypot(now_y - velocity.1);
            assert!(change <= 50.0, "{change} mm/s in 25 ms at {tick}");
            ((window.0, window.1), velocity) = ((x, y), (now_x, now_y));
        }
    }
    assert_eq!(body.last().copied().unwrap_or(0) & 16, 0, "dark at the end");
    assert!(z_max - z_min <= 18, "18 full steps are the travel of the lens");
    assert_eq!(z, 0, "the lens is back");
    let fans = (value(b"AArd"), value(b"EFrd"), value(b"IFrd"), value(b"AArx"));
    let expected = if fired > 0 { (1023, 65_535, 43_278, 64_500) } else { (204, 0, 0, 0) };
    assert_eq!(fans, expected, "the fans of a cut, or of a motion");
    let moves = body.iter().any(|&byte| byte < 128 && byte & 0b101 != 0);
    let thresholds = (value(b"HAar"), value(b"HAxr"), value(b"HAyr"));
    let expected = match (fired > 0, moves) {
        (true, _) => (0, 132, 112),
        (false, true) => (133, 0, 0),
        (false, false) => (0, 0, 0),
    };
    assert_eq!(thresholds, expected, "the accelerometer of a print, a motion or a hunt");
    let coolant = (value(b"CMrn"), value(b"CMrx"));
    assert_eq!(coolant, (5000, 33_000));
}

#[derive(Debug, Clone)]
enum Part {
    Path(Vec<(f64, f64)>, f64, Laser),
    Travel(f64, f64),
    Fire(f64, f64),
    Focus(f64),
}

fn part() -> impl Strategy<Value = Part> {
    let at = || (0.0..400.0_f64, 0.0..270.0_f64);
    let laser = prop_oneof![
        (0.0..=1.0).prop_map(Laser::Constant),
        (0.0..=1.0).prop_map(Laser::Dynamic),
        (1.0..=100.0).prop_map(|setting| Laser::Print(Power::Setting(setting).density())),
        Just(Laser::Print(Power::Full.density())),
        Just(Laser::Off),
    ];
    prop_oneof![
        (prop::collection::vec(at(), 1..8), 5.0..400.0_f64, laser)
            .prop_map(|(to, speed, laser)| Part::Path(to, speed, laser)),
        at().prop_map(|(x, y)| Part::Travel(x, y)),
        (0.0..4.0_f64, 0.0..=1.0_f64).prop_map(|(seconds, density)| Part::Fire(seconds, density)),
        (0.0..=12.7_f64).prop_map(Part::Focus),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_made_job_keeps_every_rule(parts in prop::collection::vec(part(), 0..6)) {
        let mut job = Builder::new();
        for part in parts {
            match part {
                Part::Path(to, speed, laser) => {
                    let moves: Vec<_> = to.into_iter().map(|(x, y)| Move::new(x, y, speed, laser)).collect();
                    job.path(&moves)?;
                }
                Part::Travel(x, y) => {
                    job.move_to(x, y)?;
                }
                Part::Fire(seconds, density) => {
                    job.fire(seconds, density)?;
                }
                Part::Focus(mm) => {
                    job.focus(mm)?;
                }
            }
        }
        job.home()?;
        let file = job.to_bytes();
        assert_keeps_every_rule(&file);
        let options = CheckOptions { start_mm: Some([0.0, 0.0]), ..CheckOptions::default() };
        let found = check(Job::open(&job.to_gzip()[..])?, &options)?;
        prop_assert!(found.findings.iter().all(|finding| finding.rule == "empty"), "{found:?}");
    }
}

/// Returns whether a job made at the back left of the bed keeps every rule.
#[cfg(feature = "drawing")]
fn assert_drawing_keeps_every_rule(job: &mut Builder) {
    job.home().unwrap();
    assert_keeps_every_rule(&job.to_bytes());
    let options = CheckOptions { start_mm: Some([0.0, 0.0]), ..CheckOptions::default() };
    let found = check(Job::open(&job.to_gzip()[..]).unwrap(), &options).unwrap();
    // The lower stop of some heads is where that of others is not.
    let is_lens = |finding: &Finding| finding.rule == "lens-travel" && finding.severity == Severity::Remark;
    assert!(found.findings.iter().all(|finding| finding.rule == "empty" || is_lens(finding)), "{found:?}");
}

#[cfg(feature = "drawing")]
fn svg_shape() -> impl Strategy<Value = String> {
    let x = || 20..460_i32;
    let y = || 5..250_i32;
    let paint = prop::sample::select(vec![
        "stroke='red' fill='none'",
        "stroke='blue' fill='none' stroke-dasharray='3 2'",
        "fill='black'",
        "fill='#888' stroke='red'",
    ]);
    let shape = prop_oneof![
        (x(), y(), 1..30_i32, 1..20_i32)
            .prop_map(|(x, y, w, h)| format!("<rect x='{x}' y='{y}' width='{w}' height='{h}'")),
        (x(), 15..250_i32, 1..15_i32).prop_map(|(x, y, r)| format!("<circle cx='{x}' cy='{y}' r='{r}'")),
        (x(), y(), x(), y(), x(), y()).prop_map(|(a, b, c, d, e, f)| format!("<path d='M{a} {b}Q{c} {d} {e} {f}'")),
        (x(), y(), x(), y()).prop_map(|(a, b, c, d)| format!("<path d='M{a} {b}L{c} {d}Z'")),
    ];
    (shape, paint).prop_map(|(shape, paint)| format!("{shape} {paint}/>"))
}

#[cfg(feature = "drawing")]
fn gcode_line() -> impl Strategy<Value = String> {
    let x = || 0..495_i32;
    let y = || 0..279_i32;
    prop_oneof![
        (x(), y()).prop_map(|(x, y)| format!("G0 X{x} Y{y}")),
        // 20 lines at 5 mm/s still fit in the machine's memory.
        (x(), y(), 300..20_000_i32).prop_map(|(x, y, f)| format!("G1 X{x} Y{y} F{f}")),
        (0..1100_i32, 3..6_i32).prop_map(|(s, m)| format!("M{m} S{s}")),
        (0..4000_i32).prop_map(|ms| format!("G4 P{:.3}", f64::from(ms) / 1000.0)),
        (-10..20_i32).prop_map(|z| format!("G0 Z{z}")),
        Just("G1".to_owned()),
    ]
}

#[cfg(feature = "drawing")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_svg_file_makes_a_job_that_keeps_every_rule(
        shapes in prop::collection::vec(svg_shape(), 1..8),
        focus in 0.0..12.7_f64,
        keep_order: bool,
    ) {
        let head = "<svg xmlns='http://www.w3.org/2000/svg' width='495mm' height='279mm' viewBox='0 0 495 279'>";
        let file = format!("{head}{}</svg>", shapes.concat());
        let mut layers = Layers::default();
        layers.keep_order = keep_order;
        (layers.base.dpi, layers.base.power) = (Some(25.0), Some(Power::Full));
        let mut job = Builder::new();
        job.focus(focus)?;
        if let Ok(drawing) = svg::read(file.as_bytes(), &svg::Settings::default()) {
            layers.draw(&mut job, &drawing, Placement::default())?;
        }
        assert_drawing_keeps_every_rule(&mut job);
    }

    #[test]
    fn any_gcode_makes_a_job_that_keeps_every_rule(lines in prop::collection::vec(gcode_line(), 1..20)) {
        let mut job = Builder::new();
        let text = format!("F600\n{}", lines.join("\n"));
        gcode::draw(&mut job, text.as_bytes(), &gcode::Settings::default())?;
        assert_drawing_keeps_every_rule(&mut job);
    }
}

/// Returns the share of ticks that fire.
fn density(body: &[u8]) -> f64 {
    body.iter().filter(|&&byte| byte & 0x90 == 0x10).count() as f64 / body.len() as f64
}

#[test]
fn settings_of_the_app_have_their_measured_densities() {
    for (power, expected, tolerance) in [
        (Power::Setting(1.0), 0.195, 0.005),
        (Power::Setting(10.0), 0.250, 0.002),
        (Power::Setting(50.0), 0.492, 0.002),
        (Power::Setting(100.0), 0.795, 0.005),
        (Power::Full, 0.9965, 0.001),
    ] {
        let mut job = Builder::new();
        job.cut_to(200.0, 0.0, 50.0, power.density()).unwrap();
        let found = density(job.body());
        assert!((found - expected).abs() < tolerance, "{power}: {found}");
        // Periods of 7 ticks with one of two neighbouring counts, the remainder carried.
        let counts: Vec<_> = job.body()[7..].chunks_exact(7).map(|period| (density(period) * 7.0).round()).collect();
        let low = (expected * 7.0_f64).floor();
        let odd = counts.iter().filter(|&&count| !(-0.1..1.1).contains(&(count - low))).count();
        // A power byte takes a tick of its period.
        assert!(odd <= 4, "{power}: {odd} of {} periods", counts.len());
    }
    for setting in [0.9, 100.1, f64::NAN] {
        assert!(Power::setting(setting).is_err(), "{setting}");
    }
}

#[test]
fn the_density_in_corners_is_as_measured() {
    for power in [Power::Setting(1.0), Power::Setting(50.0), Power::Setting(100.0), Power::Full] {
        let laser = Laser::Print(power.density());
        let mut job = Builder::new();
        let corners = [(40.0, 0.0), (40.0, 40.0), (0.0, 40.0), (0.0, 0.0)];
        job.path(&corners.map(|(x, y)| Move::new(x, y, 100.0, laser))).unwrap();
        // Windows of 10 ms: those slower than a third of the requested speed, and those near it.
        let (mut slow, mut cruise) = (Vec::new(), Vec::new());
        for window in job.body().chunks_exact(98) {
            let mut at = Position::default();
            for &byte in window {
                at.advance(byte);
            }
            let speed = (at.x as f64).hypot(at.y as f64) / 53.333 / 0.0098;
            if speed < 33.0 {
                slow.extend_from_slice(window);
            } else if speed > 97.0 {
                cruise.extend_from_slice(window);
            }
        }
        assert!(slow.len() > 2000 && cruise.len() > 5000, "{} {}", slow.len(), cruise.len());
        let ratio = density(&slow) / density(&cruise);
        assert!((0.38..=0.41).contains(&ratio), "{power}: {ratio}");
    }
}

#[test]
fn focus_follows_the_measured_heights() {
    // Full steps for a material of that thickness, in mm: 0.1 and 0.5 inches as captured.
    for (material, steps) in [(0.0, 1), (2.54, 4), (3.0, 5), (6.35, 9), (12.7, 15)] {
        let mut job = Builder::new();
        job.focus(material).unwrap();
        assert_eq!(job.position().z, steps, "{material}");
        job.set(code::Z_MODE, 0).unwrap();
        let mut half = Builder::new();
        half.set(code::Z_MODE, 1).unwrap().focus(material).unwrap();
        assert_eq!(half.position().z, 2 * steps, "{material} in half steps");
    }
    for material in [-0.1, 12.8, f64::NAN] {
        assert!(Builder::new().focus(material).is_err(), "{material}");
    }
    let mut job = Builder::new();
    job.lens_to(-3.0).unwrap();
    let error = job.lens_to(10.0).expect_err("farther than the travel").to_string();
    assert!(error.starts_with("cannot make a job with lens height 10: "), "{error}");
}

#[test]
fn what_is_set_stays_when_the_laser_fires() {
    let mut job = Builder::new();
    job.set(Code(*b"AArd"), 500).unwrap().set(Code(*b"ZZzz"), 7).unwrap();
    assert_eq!(job.header().get(Code(*b"EFrd")), Some(0));
    job.cut_to(1.0, 0.0, 10.0, 1.0).unwrap();
    let get = |code: &[u8; 4]| job.header().get(Code(*code));
    assert_eq!((get(b"AArd"), get(b"ZZzz"), get(b"EFrd")), (Some(500), Some(7), Some(65_535)));
}

#[test]
fn a_power_byte_comes_with_a_new_level_and_before_fire_alone() {
    let mut job = Builder::new();
    job.power_level(64).unwrap().move_to(5.0, 0.0).unwrap();
    assert!(job.body().iter().all(|&byte| byte < 0x80), "nothing fires yet");
    job.power_level(10).unwrap().power_level(0x14).unwrap().cut_to(10.0, 0.0, 20.0, 1.0).unwrap();
    job.power_level(127).unwrap().fire(6.0, 1.0).unwrap();
    let levels: Vec<_> = job.body().iter().enumerate().filter(|(_, byte)| **byte >= 0x80).collect();
    let [(_, first), (at, second), (again, third), ..] = levels[..] else { panic!("{levels:?}") };
    assert_eq!((*first, *second, *third, again - at, levels.len()), (tick::POWER | 0x14, 0xff, 0xff, 27_000, 4));
}
