//! A process that is one machine: how long from its start until the service has its sign-in, and how much memory a whole
//! session takes at the most.

mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use gf_emulator_core::local_service::Seen;
use support::process::{Machine, be_a_machine};
use support::{Figures, LIMIT, Report, ms};

const STARTS: u32 = 20;
const TARGET_KIB: u64 = 12 << 10;

fn main() -> ExitCode {
    if let Some(ended) = be_a_machine() {
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
    let (tell, seen) = unbounded();
    let observer = move |seen: &Seen| {
        if matches!(seen, Seen::SignIn { .. } | Seen::WsClosed { .. }) || seen.is_event("print:completed", None) {
            let _ = tell.send(Instant::now());
        }
    };
    let service = support::service(tls, observer).script(support::cycle()).start().expect("the service starts");
    let folder = support::folder();
    let mut starts = Figures::default();
    let mut resident_kib = Vec::new();
    for serial in 1..=STARTS {
        let config = support::config_file(folder.path(), &service, serial);
        let before = Instant::now();
        let machine = Machine::spawn(&config);
        starts.add(seen.recv_timeout(LIMIT).expect("it signs in") - before);
        seen.recv_timeout(LIMIT).expect("it prints");
        resident_kib.extend(machine.stop());
        seen.recv_timeout(LIMIT).expect("it leaves");
    }
    let how = if tls { "over TLS" } else { "plain" };
    let (median, slowest) = (starts.median(), starts.max());
    let figure = format!("{:.1} ms (max {:.1})", ms(median), ms(slowest));
    let wanted = format!("under {} ms", target.as_millis());
    report.judge(&format!("start to sign-in, {how}, median of {STARTS}"), &figure, &wanted, median < target);
    match resident_kib.iter().max() {
        Some(&kib) => {
            let figure = format!("{:.1} MiB", kib as f64 / 1024.0);
            report.judge(&format!("resident at most, {how}"), &figure, "under 12 MiB", kib < TARGET_KIB);
        }
        None => println!("resident memory: skipped, there is no /proc here"),
    }
}
