//! SVG path data.

#![no_main]

use gf_emulator_core::puls::{Builder, Laser, Limits, MADE_FREQUENCIES_HZ, Placement, cut, measure, order, svgpath};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &[u8]| {
    let mut job = Builder::with_step_frequency(*MADE_FREQUENCIES_HZ.start()).expect("it is in the range");
    let drawn = svgpath::draw(&mut job, path, &svgpath::Settings::new(200.0, Laser::Constant(1.0)));
    assert!(drawn.is_ok() || job.body().is_empty(), "the job is changed after an error");
    let Ok(contours) = svgpath::contours(path, Placement::default()) else {
        assert!(drawn.is_err(), "drawn, but has no contours");
        return;
    };
    let length =
        |contours: &[gf_emulator_core::puls::Contour]| contours.iter().map(|each| each.length_mm()).sum::<f64>();
    let (count, before) = (contours.len(), length(&contours));
    let ordered = order(contours, [0.0, 0.0]);
    assert_eq!(ordered.len(), count);
    // Ends within 0.01 mm are made one: two pieces of each contour change by so much at most.
    let rounding = before * 1e-6 + 0.02 * count as f64 + 1e-6;
    assert!((length(&ordered) - before).abs() <= rounding, "the order changes the lines");
    let mut job = Builder::with_step_frequency(*MADE_FREQUENCIES_HZ.start()).expect("it is in the range");
    if cut(&mut job, &ordered, Placement::default(), 200.0, Laser::Constant(1.0)).is_ok() {
        let measured = measure(job.reader(), Limits::NONE).expect("a job can be read");
        assert_eq!(measured.counts.end(), job.position());
    }
});
