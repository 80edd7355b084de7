//! Event latency over TLS on loopback: the time from just before a message is queued until the service has read it.

// Sleeps to send at a fixed rate.
#![allow(clippy::disallowed_methods)]

mod support;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use gf_emulator_core::local_service::Seen;
use gf_emulator_core::{Emulator, Handle};
use support::{LIMIT, Report, Samples, us};

const SINGLES: usize = 4000;
const BURSTS: usize = 600;
const BURST_EVERY: Duration = Duration::from_millis(6);
const TARGET: Duration = Duration::from_micros(250);

fn main() -> ExitCode {
    if !support::is_bench_run() {
        return ExitCode::SUCCESS;
    }
    let (seen_tx, seen) = unbounded();
    let observer = move |seen: &Seen| match seen {
        Seen::WsMessage { .. } | Seen::WsOpened { .. } => {
            let _ = seen_tx.send(Instant::now());
        }
        _ => {}
    };
    let service = support::service(true, observer).start().expect("the service starts");
    let folder = support::folder();
    let config = support::config(folder.path(), &service, 1);
    let mut emulator = Emulator::new(config).expect("a valid configuration");
    let handle = emulator.handle();
    let machine = thread::spawn(move || emulator.connect().and_then(|()| emulator.run()));
    seen.recv_timeout(LIMIT).expect("the machine connects");

    let mut report = Report::default();
    // The lid sends one event at a time, the button two.
    one_per_millisecond(&handle, &seen, SINGLES / 10);
    let singles = one_per_millisecond(&handle, &seen, SINGLES);
    check(&mut report, "one per millisecond", &singles);
    let bursts = in_bursts(&handle, &seen);
    check(&mut report, "in bursts of six", &bursts);

    handle.stop();
    machine.join().expect("the emulator does not panic").expect("the emulator stops without an error");
    report.finish()
}

fn check(report: &mut Report, what: &str, samples: &Samples) {
    let p99 = samples.percentile(0.99);
    report.info(
        &format!("{what}, n {}", samples.count()),
        &format!("p50 {:.0} us, max {:.0} us", us(samples.median()), us(samples.max())),
    );
    report.check(&format!("{what}, p99"), &format!("{:.0} us", us(p99)), "under 250 us", p99 < TARGET);
}

fn one_per_millisecond(handle: &Handle, seen: &Receiver<Instant>, count: usize) -> Samples {
    let mut queued = Vec::with_capacity(count);
    let mut next = Instant::now();
    for n in 0..count {
        next += Duration::from_millis(1);
        sleep_until(next);
        queued.push(Instant::now());
        if n % 2 == 0 { handle.open_lid() } else { handle.close_lid() }
    }
    latencies(queued, seen)
}

fn in_bursts(handle: &Handle, seen: &Receiver<Instant>) -> Samples {
    let mut queued = Vec::with_capacity(BURSTS * 6);
    let mut next = Instant::now();
    for _ in 0..BURSTS {
        next += BURST_EVERY;
        sleep_until(next);
        for _ in 0..3 {
            let now = Instant::now();
            queued.extend([now, now]);
            handle.press_button();
        }
    }
    latencies(queued, seen)
}

/// Returns the latencies. Messages arrive in the order in which they were queued.
fn latencies(queued: Vec<Instant>, seen: &Receiver<Instant>) -> Samples {
    let arrived = |queued: Instant| seen.recv_timeout(LIMIT).expect("every message arrives") - queued;
    queued.into_iter().map(arrived).collect()
}

/// Sleeps instead of spinning, so that the other threads have the processor.
fn sleep_until(then: Instant) {
    let left = then.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        thread::sleep(left);
    }
}
