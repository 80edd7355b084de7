//! G-code: a job that was made can be read, is as the machine demands, and its export can be made again.

#![no_main]

use gf_emulator_core::puls::{Builder, DrawingKind, Format, Job, MADE_FREQUENCIES_HZ, export, gcode, measure};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|program: &[u8]| {
    let _ = DrawingKind::detect(program);
    let settings = gcode::Settings::default();
    let mut job = Builder::with_step_frequency(*MADE_FREQUENCIES_HZ.start()).expect("it is in the range");
    let remarks = match gcode::draw(&mut job, program, &settings) {
        Ok(remarks) => remarks,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(job.body().is_empty(), "the job is changed after an error");
            return;
        }
    };
    remarks.iter().for_each(|remark| assert!(!remark.to_string().is_empty()));
    let measured = measure(job.reader(), gf_emulator_core::puls::Limits::NONE).expect("a job can be read");
    assert_eq!(measured.counts.end(), job.position());
    if job.body().len() > 10_000 {
        return;
    }
    let mut exported = Vec::new();
    export(Job::open(job.reader()).expect("a job can be read"), Format::Gcode, "x", &mut exported)
        .expect("it is in memory");
    let mut again = Builder::with_step_frequency(*MADE_FREQUENCIES_HZ.start()).expect("it is in the range");
    if let Err(error) = gcode::draw(&mut again, &exported, &settings) {
        panic!("{error} in {}", String::from_utf8_lossy(&exported));
    }
});
