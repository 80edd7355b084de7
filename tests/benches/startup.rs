//! A process with one machine: the time from its start until the service receives its sign-in, and its memory in a whole
//! session.

mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use gf_emulator_core::local_service::Seen;
use support::process::{Machine, run_as_machine, status};
use support::{LIMIT, Report, Samples, ms};

const STARTS: u32 = 20;
const RESIDENT_KIB: u64 = 12 << 10;
const PRIVATE_KIB: u64 = 3 << 10;

fn main() -> ExitCode {
    if let Some(ended) = run_as_machine() {
        return ended;
    }
    if !support::is_bench_run() {
        return ExitCode::SUCCESS;
    }
    let mut report = Report::default();
    measure(false, Duration::from_millis(10), &mut report);
    measure(true, Duration::from_millis(80), &mut report);
    report.finish()
}

fn measure(tls: bool, target: Duration, report: &mut Report) {
    let (seen_tx, seen) = unbounded();
    let observer = move |seen: &Seen| {
        if matches!(seen, Seen::SignIn { .. } | Seen::WsClosed { .. }) || seen.is_event("print:completed", None) {
            let _ = seen_tx.send(Instant::now());
        }
    };
    let service = support::service(tls, observer).script(support::cycle()).start().expect("the service starts");
    let folder = support::folder();
    let mut starts = Samples::default();
    let [mut resident_kib, mut private_kib] = [const { Vec::new() }; 2];
    for serial in 1..=STARTS {
        let config = support::config_file(folder.path(), &service, serial);
        let before = Instant::now();
        let machine = Machine::spawn(&config);
        starts.add(seen.recv_timeout(LIMIT).expect("the machine signs in") - before);
        seen.recv_timeout(LIMIT).expect("the cycle ends");
        private_kib.extend(status(&machine.id().to_string(), "RssAnon"));
        resident_kib.extend(machine.stop());
        seen.recv_timeout(LIMIT).expect("the machine disconnects");
    }
    let transport = if tls { "over TLS" } else { "plain" };
    let (median, slowest) = (starts.median(), starts.max());
    let figure = format!("{:.1} ms (max {:.1})", ms(median), ms(slowest));
    let target_text = format!("under {} ms", target.as_millis());
    report.check(&format!("start to sign-in, {transport}, median of {STARTS}"), &figure, &target_text, median < target);
    let memory = [
        ("peak resident memory", resident_kib, RESIDENT_KIB, "under 12 MiB"),
        ("private memory after a cycle (RssAnon)", private_kib, PRIVATE_KIB, "under 3 MiB"),
    ];
    for (what, kib, limit, target) in memory {
        match kib.iter().max() {
            Some(&kib) => {
                let figure = format!("{:.1} MiB", kib as f64 / 1024.0);
                report.check(&format!("{what}, {transport}"), &figure, target, kib < limit);
            }
            None => println!("{what}: skipped, there is no /proc"),
        }
    }
}
