//! What `check` finds: each rule of the header and of the body, with its place.

use super::super::*;

/// Finds rules in a body of a given header.
fn rules(header: &Header, body: &[u8], options: &CheckOptions) -> Vec<(&'static str, Severity, Option<u64>)> {
    let file = [&header.encode()[..], body].concat();
    let found = check(Job::open(&file[..]).unwrap(), options).unwrap();
    found.findings.iter().map(|finding| (finding.rule, finding.severity, finding.tick)).collect()
}

#[test]
fn every_rule_of_the_body_has_its_place() {
    use Severity::{Error, Remark};
    let header = Builder::new().cut_to(1.0, 0.0, 10.0, 1.0).unwrap().header().clone();
    let any = CheckOptions::default();
    let right = |count: usize| [[tick::X_STEP, 0, 0, 0].repeat(count), vec![0; 100]].concat();
    let lens = |count: usize| [vec![0; 1249], vec![tick::Z_STEP]].concat().repeat(count);
    let power = tick::POWER | 127;
    let swings = |steps: usize| {
        let swing = [vec![0x11; steps], vec![0x13; steps]].concat();
        [vec![power], vec![0; 249], swing.repeat(12_500 / steps), vec![0; 100]].concat()
    };
    let table: Vec<(Vec<u8>, &[_])> = vec![
        (vec![0; 10], &[]),
        (vec![], &[("empty", Remark, None)]),
        (vec![0, power, tick::FIRE, 0], &[]),
        (vec![0, tick::FIRE, power, 0], &[("fire-before-power", Error, Some(1))]),
        (vec![power, 0, power, power, power, 0], &[("power-in-a-row", Remark, Some(3))]),
        (vec![power, tick::FIRE], &[("dark-end", Remark, Some(1))]),
        (right(26_000), &[]),
        (right(26_500), &[("off-bed", Error, Some(105_749))]),
        (lens(18), &[]),
        (lens(19), &[("lens-travel", Error, Some(23_749))]),
        ([vec![0; 99], vec![tick::Z_STEP]].concat().repeat(3), &[("lens-speed", Error, Some(199))]),
        // One step a tick from rest.
        (vec![tick::X_STEP; 1000], &[("acceleration", Error, Some(0)), ("moving-end", Remark, Some(999))]),
        // Back and forth, so that every 25 ms end where they began.
        (swings(125), &[("acceleration", Error, Some(375))]),
        (swings(1), &[("acceleration", Error, Some(258))]),
    ];
    for (body, expected) in table {
        assert_eq!(rules(&header, &body, &any), expected, "{} ticks", body.len());
    }
    let mut whole = Builder::new();
    whole.move_to(150.0, 0.0).unwrap();
    assert_eq!(rules(&header, whole.body(), &any), []);
    for end in [5000, 5001, 5100, 5249] {
        let found = rules(&header, &whole.body()[..end], &any);
        assert!(matches!(found[..], [("acceleration", Error, Some(_))]), "{end}: {found:?}");
        let file = [&header.encode()[..], &whole.body()[..end]].concat();
        let text = check(Job::open(&file[..]).unwrap(), &any).unwrap().findings[0].to_string();
        assert!(text.contains("the job ends while the head moves at ") && text.contains("cut short"), "{text}");
    }
    let mut slow = Builder::new();
    slow.cut_to(50.0, 0.0, 30.0, 1.0).unwrap();
    let last = slow.body().len() as u64 - 1;
    assert_eq!(rules(slow.header(), slow.body(), &any), [("dark-end", Remark, Some(last))]);
    for end in (2_000..slow.body().len() - 2_000).step_by(997) {
        let found = rules(slow.header(), &slow.body()[..end], &any);
        assert!(found.contains(&("moving-end", Remark, Some(end as u64 - 1))), "{end}: {found:?}");
        assert!(found.iter().all(|&(_, severity, _)| severity == Remark), "{end}: {found:?}");
    }
    // A stop at 2000 mm/s2, with the last step at any time before it.
    for part in [0.0, 0.3, 0.6, 0.9, 0.99] {
        let steps_left = |ticks: u32| (1_000.0 * (f64::from(ticks) / 10_000.0).powi(2) / header.x_mm(1) + part).floor();
        let has_step = |ticks: u32| steps_left(ticks + 1) - steps_left(ticks) > 0.5;
        let body: Vec<_> = (0..600).rev().map(|ticks| if has_step(ticks) { tick::X_STEP } else { 0 }).collect();
        let found = rules(&header, &body, &any);
        assert!(found.iter().all(|&(rule, _, _)| rule != "moving-end"), "{part}: {found:?}");
    }
    let fast = Builder::with_step_frequency(28_160).unwrap().header().clone();
    let found = rules(&fast, &[tick::X_STEP; 5000], &any);
    assert_eq!(
        found,
        [("speed", Error, Some(0)), ("acceleration", Error, Some(0)), ("moving-end", Remark, Some(4_999))]
    );
    let at_right = CheckOptions { start_mm: Some([490.0, 0.0]), ..any };
    let found = rules(&header, &right(1000), &at_right);
    assert_eq!(found, [("off-bed", Error, Some(1249))]);
}

#[test]
fn every_rule_of_the_header_is_found() {
    use Severity::{Error, Remark};
    let cut = Builder::new().cut_to(1.0, 0.0, 10.0, 1.0).unwrap().header().clone();
    let fires = [tick::POWER | 127, tick::FIRE, 0];
    for (code, value, expected) in [
        (b"AArd", 204, &[("fans", Error)][..]),
        (b"AArd", 205, &[("fans", Error)]),
        (b"AArd", 511, &[("fans", Error)]),
        (b"AArd", 512, &[("fans", Remark)]),
        (b"AArd", 900, &[("fans", Remark)]),
        (b"EFrd", 0, &[("fans", Error)]),
        (b"EFrd", 1, &[("fans", Error)]),
        (b"IFrd", 1, &[("fans", Error)]),
        (b"IFrd", 40_000, &[("fans", Remark)]),
        (b"CMrx", 34_000, &[("limits", Remark)]),
        (b"CMrx", 32_000, &[]),
        (b"CMrx", u32::MAX, &[]),
        (b"CMwx", 31_001, &[("limits", Remark)]),
        (b"CMix", 50_001, &[("limits", Remark)]),
        (b"CMrn", 4999, &[("limits", Remark)]),
        (b"CMrn", 5001, &[]),
        (b"CMwn", 1 << 31, &[("limits", Remark)]),
        (b"BTcx", 12_801, &[("limits", Remark)]),
        (b"ITwx", u32::MAX / 2, &[("limits", Remark)]),
        (b"LTrx", 9000, &[]),
        (b"AArx", 0, &[("limits", Remark)]),
        (b"AArx", u32::MAX, &[("limits", Remark)]),
        (b"AArx", 60_000, &[]),
        (b"HAxr", 0, &[("limits", Remark)]),
        (b"HAyr", 113, &[("limits", Remark)]),
        (b"HAyr", 100, &[]),
        (b"HAzr", 90, &[]),
        (b"HAsr", 8, &[("limits", Remark)]),
        (b"HIrx", u32::MAX, &[("limits", Remark)]),
        (b"IRwc", 687, &[("limits", Remark)]),
        (b"CCbp", 1, &[("report-only-code", Error)]),
        (b"STfr", 999, &[("step-frequency", Error)]),
        (b"STfr", 100_001, &[("step-frequency", Remark)]),
        (b"STfr", 165_001, &[("step-frequency", Error)]),
        (b"STfr", 0, &[("step-frequency", Error)]),
        (b"XSmm", 16, &[("microsteps", Error)]),
        (b"MCsn", 5, &[("serial-lock", Error)]),
        (b"PDfm", 1, &[("data-format", Error)]),
    ] {
        let mut header = cut.clone();
        header.set(Code(*code), value).unwrap();
        let options = CheckOptions { serial: Some(4), ..CheckOptions::default() };
        let found: Vec<_> =
            rules(&header, &fires, &options).iter().map(|&(rule, severity, _)| (rule, severity)).collect();
        assert_eq!(found, expected, "{} {value}", Code(*code));
        let dark = rules(&header, &[0, 0], &options);
        let is_of_a_cut = expected.first().is_none_or(|(rule, _)| ["fans", "limits"].contains(rule));
        assert_eq!(dark.is_empty(), is_of_a_cut, "{} {value}", Code(*code));
    }
    let short = Header::decode(b"\x80GF1\x20\0\0\0STfr\x10\x27\0\0MCsn\0\0\0\0PDfm\0\0\0\0").unwrap();
    let found: Vec<_> = rules(&short, &[0], &CheckOptions::default()).iter().map(|(rule, ..)| *rule).collect();
    assert_eq!(found, ["mandatory-codes"]);
}

#[test]
fn a_cut_has_the_lens_between_its_stops() {
    use Severity::{Error, Remark};
    let header = Builder::new().cut_to(1.0, 0.0, 10.0, 1.0).unwrap().header().clone();
    let step = |byte: u8, count: usize| [vec![0; 1249], vec![byte]].concat().repeat(count);
    let (up, down) = (tick::Z_STEP | tick::Z_POSITIVE, tick::Z_STEP);
    let fire = [tick::POWER | 127, tick::FIRE, 0];
    for (mode, direction, steps, expected) in [
        (1, up, 30, None),
        (1, up, 31, Some((Remark, 38_749))),
        (1, up, 32, Some((Error, 39_999))),
        (1, down, 5, None),
        (1, down, 6, Some((Remark, 7499))),
        (1, down, 10, Some((Remark, 7499))),
        (1, down, 11, Some((Error, 13_749))),
        (0, up, 15, None),
        (0, up, 16, Some((Error, 19_999))),
        (0, down, 2, None),
        (0, down, 3, Some((Remark, 3749))),
        (0, down, 6, Some((Error, 7499))),
    ] {
        let mut header = header.clone();
        header.set(code::Z_MODE, mode).unwrap();
        let lens = step(direction, steps);
        let found = rules(&header, &[&lens[..], &fire].concat(), &CheckOptions::default());
        let expected: Vec<_> = expected.iter().map(|&(severity, tick)| ("lens-travel", severity, Some(tick))).collect();
        assert_eq!(found, expected, "mode {mode}, {steps} steps of {direction:#x}");
        // A hunt may start anywhere.
        assert_eq!(rules(&header, &lens, &CheckOptions::default()), [], "mode {mode}, {steps} steps of {direction:#x}");
    }
}

#[test]
fn a_cut_is_told_from_which_start_it_fits() {
    let mut job = Builder::new();
    job.cut_to(-20.0, 30.0, 50.0, 1.0).unwrap();
    let found = |options: &CheckOptions| check(Job::open(&job.to_bytes()[..]).unwrap(), options).unwrap();
    let from_corner = "started at 0,0 the job leaves the bed, which is 495 x 279 mm: it reaches X -20.0 to 0.0, \
                       Y 0.0 to 30.0 mm; it fits from X 20.0 to 495.0, Y 0.0 to 249.0";
    let [finding] = &found(&CheckOptions::default()).findings[..] else { panic!("{job:?}") };
    assert_eq!((finding.rule, finding.severity, finding.tick), ("off-bed", Severity::Remark, None));
    assert_eq!(finding.to_string(), from_corner);
    let start = |x, y| CheckOptions { start_mm: Some([x, y]), ..CheckOptions::default() };
    assert_eq!(found(&start(20.0, 0.0)).findings, []);
    let [finding] = &found(&start(0.0, 0.0)).findings[..] else { panic!("{job:?}") };
    assert_eq!((finding.severity, &finding.message[..]), (Severity::Error, from_corner));
    // The message can be followed.
    assert_eq!(found(&start(495.0, 249.0)).findings, []);
    job.move_to(500.0, 0.0).unwrap();
    let found = check(Job::open(&job.to_bytes()[..]).unwrap(), &start(0.0, 0.0)).unwrap();
    assert!(found.findings.len() == 1 && !found.findings[0].message.contains("it fits"), "{found:?}");
}

#[test]
fn odd_headers_do_no_harm() {
    let mut cut = Builder::new();
    cut.cut_to(1.0, 0.0, 10.0, 1.0).unwrap();
    let (header, body) = (cut.header().clone(), cut.body());
    for code in [b"STfr", b"XSmm", b"YSmm", b"ZSmd"] {
        for value in [0, 1, 39, 41, u32::MAX] {
            let mut header = header.clone();
            header.set(Code(*code), value).unwrap();
            let file = [&header.encode()[..], body, &[0x7f; 500]].concat();
            let found = check(Job::open(&file[..]).unwrap(), &CheckOptions::default()).unwrap();
            let texts: Vec<_> = found.findings.iter().map(ToString::to_string).collect();
            let text = texts.join("\n");
            assert!(!text.contains("NaN") && !text.contains("inf "), "{} {value}: {text}", Code(*code));
        }
    }
}

#[test]
fn findings_read_well_and_have_no_serial_number() {
    let mut job = Builder::new();
    job.set(code::SERIAL_LOCK, 98_765_432).unwrap().move_to(600.0, 0.0).unwrap();
    let options = CheckOptions { serial: Some(12_345_678), ..CheckOptions::default() };
    let found = check(Job::open(&job.to_bytes()[..]).unwrap(), &options).unwrap();
    let texts: Vec<_> = found.findings.iter().map(ToString::to_string).collect();
    assert_eq!(texts[0], "the job is for another machine (MCsn)");
    assert!(texts[1].starts_with("tick 2") && texts[1].contains(" s): the job does not fit on the bed"), "{texts:?}");
    let json = serde_json::to_string(&found.findings).unwrap();
    assert!(
        !json.contains("98765432") && !json.contains("12345678") && json.contains("\"severity\":\"error\""),
        "{json}"
    );
}

#[test]
#[ignore = "needs real pulse files: GF_PULS_DIR"]
fn the_captured_samples_are_good() {
    let folder = std::env::var_os("GF_PULS_DIR").expect("GF_PULS_DIR is set");
    for name in ["hunt.puls", "motion.puls"] {
        let file = std::fs::read(std::path::Path::new(&folder).join(name)).unwrap();
        let found = check(Job::open(&file[..]).unwrap(), &CheckOptions::default()).unwrap();
        assert_eq!(found.findings, [], "{name}");
    }
}
