//! SVG files.

#![no_main]

use gf_emulator_core::puls::{Builder, DrawingKind, Layers, Limits, MADE_FREQUENCIES_HZ, Placement, measure, svg};
use libfuzzer_sys::fuzz_target;

/// A panic of the SVG library is an error of the file: only those that nothing catches end the program.
fn allow_caught_panics() {
    drop(std::panic::take_hook());
}

fuzz_target!(init: allow_caught_panics(), |file: &[u8]| {
    let _ = DrawingKind::detect(file);
    let Ok(drawing) = svg::read(file, &svg::Settings::default()) else { return };
    let mut job = Builder::with_step_frequency(*MADE_FREQUENCIES_HZ.start()).expect("it is in the range");
    match Layers::default().draw(&mut job, &drawing, Placement::default()) {
        Ok(_) => {
            let measured = measure(job.reader(), Limits::NONE).expect("a job can be read");
            assert_eq!(measured.counts.end(), job.position());
        }
        Err(_) => assert!(job.body().is_empty(), "the job is changed after an error"),
    }
});
