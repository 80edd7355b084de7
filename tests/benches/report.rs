//! Reports: reads a recording of 10,000 messages with 50 jobs and renders it as a page.
//!
//! `cargo bench -p gf-emulator-tests --bench report`.

mod support;

use std::process::ExitCode;
use std::time::Instant;

use gf_emulator_core::record::Recording;
use gf_emulator_core::report::Report as Page;
use gf_emulator_tests::recordings;
use support::{Report, Samples, ms};

const MESSAGES: u64 = 10_000;
const JOBS: u64 = 50;
const ROUNDS: usize = 7;

fn main() -> ExitCode {
    if !support::is_bench_run() {
        return ExitCode::SUCCESS;
    }
    let folder = tempfile::tempdir().expect("a temp folder");
    recordings::long(folder.path(), MESSAGES, JOBS);

    let (mut reading, mut total) = (Samples::default(), Samples::default());
    let mut page = Vec::new();
    let mut counts = (0, 0);
    for _ in 0..ROUNDS {
        page.clear();
        let since = Instant::now();
        let report =
            Page::read(Recording::open(folder.path()).expect("the recording exists")).expect("a valid recording");
        reading.add(since.elapsed());
        report.write(&mut page).expect("written to memory");
        total.add(since.elapsed());
        counts = (report.messages(), report.actions());
    }

    let mut report = Report::default();
    report.info("messages, actions, jobs", &format!("{}, {}, {JOBS}", counts.0, counts.1));
    report.info("page", &format!("{:.1} MB", page.len() as f64 / 1e6));
    report.info("reading the recording, median", &format!("{:.0} ms", ms(reading.median())));
    let figure = format!("{:.0} ms, max {:.0}", ms(total.median()), ms(total.max()));
    report.check("reading it and rendering the page, median", &figure, "under 2 s", ms(total.median()) < 2000.0);
    report.finish()
}
