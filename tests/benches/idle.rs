//! An idle machine: its context switches and processor time between two pings.

// Sleeps to check that nothing happens meanwhile.
#![allow(clippy::disallowed_methods)]

mod support;

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use crossbeam_channel::unbounded;
use gf_emulator_core::local_service::Seen;
use support::process::{Machine, run_as_machine, switches, ticks};
use support::{LIMIT, Report};

/// The first ping is sent 30 s after connecting: the measurement ends well before.
/// A machine ends the threads of its workers 2 s after their last action.
const SETTLE: Duration = Duration::from_secs(6);
const WATCH: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    if let Some(ended) = run_as_machine() {
        return ended;
    }
    if !support::is_bench_run() {
        return ExitCode::SUCCESS;
    }
    let (seen_tx, seen) = unbounded();
    let observer = move |seen: &Seen| {
        if seen.is_event("print:completed", None) {
            let _ = seen_tx.send(());
        }
    };
    // After a cycle, so that everything that a machine starts is running.
    let service = support::service(true, observer).script(support::cycle()).start().expect("the service starts");
    let folder = support::folder();
    let machine = Machine::spawn(&support::config_file(folder.path(), &service, 1));
    seen.recv_timeout(LIMIT).expect("the cycle ends");
    thread::sleep(SETTLE);
    let usage = || switches(machine.id()).zip(ticks(machine.id()));
    let before = usage();
    thread::sleep(WATCH);
    let after = usage();
    let mut report = Report::default();
    match before.zip(after) {
        Some(((switches_before, ticks_before), (switches, ticks))) => {
            let (switches, ticks) = (switches - switches_before, ticks - ticks_before);
            report.check("wake-ups of all threads in 10 s", &switches.to_string(), "none", switches == 0);
            report.check("processor time in 10 s, ticks", &ticks.to_string(), "none", ticks == 0);
        }
        None => println!("skipped: there is no /proc"),
    }
    let threads = support::process::status(&machine.id().to_string(), "Threads");
    if let Some(threads) = threads {
        report.info("threads (one of them the benchmark's own)", &threads.to_string());
    }
    machine.stop();
    report.finish()
}
