//! A machine at rest: what wakes it between two pings.

// What it watches is that nothing happens for a time.
#![allow(clippy::disallowed_methods)]

mod support;

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use crossbeam_channel::unbounded;
use gf_emulator_core::local_service::Seen;
use support::process::{Machine, be_a_machine, switches, ticks};
use support::{LIMIT, Report};

/// Pings are 30 s apart, the first 30 s after the connection: this ends well before.
const SETTLE: Duration = Duration::from_secs(2);
const WATCH: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    if let Some(ended) = be_a_machine() {
        return ended;
    }
    if !support::is_bench_run() {
        return ExitCode::SUCCESS;
    }
    let (tell, seen) = unbounded();
    let observer = move |seen: &Seen| {
        if seen.is_event("print:completed", None) {
            let _ = tell.send(());
        }
    };
    // After a cycle, so that whatever a machine has is there.
    let service = support::service(true, observer).script(support::cycle()).start().expect("the service starts");
    let folder = support::folder();
    let machine = Machine::spawn(&support::config_file(folder.path(), &service, 1));
    seen.recv_timeout(LIMIT).expect("it prints");
    thread::sleep(SETTLE);
    let look = || switches(machine.id()).zip(ticks(machine.id()));
    let before = look();
    thread::sleep(WATCH);
    let after = look();
    let mut report = Report::default();
    match before.zip(after) {
        Some(((switches_before, ticks_before), (switches, ticks))) => {
            let (switches, ticks) = (switches - switches_before, ticks - ticks_before);
            report.judge("wake-ups of all threads in 10 s", &switches.to_string(), "none", switches == 0);
            report.judge("processor time in 10 s, ticks", &ticks.to_string(), "none", ticks == 0);
        }
        None => println!("skipped: there is no /proc here"),
    }
    let threads = support::process::status(&machine.id().to_string(), "Threads");
    if let Some(threads) = threads {
        report.tell("threads (one of them the bench's own)", &threads.to_string());
    }
    machine.stop();
    report.finish()
}
