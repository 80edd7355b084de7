//! From the queue to the wire, over TLS on loopback: how long a message takes from just before it is queued until the
//! service has read it.

// Its pace is a matter of time, not of events.
#![allow(clippy::disallowed_methods)]

mod support;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use gf_emulator_core::local_service::Seen;
use gf_emulator_core::{Emulator, Handle};
use support::{Figures, LIMIT, Report, us};

const SINGLES: usize = 4000;
const BURSTS: usize = 600;
const BURST_EVERY: Duration = Duration::from_millis(6);
const TARGET: Duration = Duration::from_micros(250);

fn main() -> ExitCode {
    if !support::is_bench_run() {
        return ExitCode::SUCCESS;
    }
    let (tell, seen) = unbounded();
    let observer = move |seen: &Seen| match seen {
        Seen::WsMessage { .. } | Seen::WsOpened { .. } => {
            let _ = tell.send(Instant::now());
        }
        _ => {}
    };
    let service = support::service(true, observer).start().expect("the service starts");
    let folder = support::folder();
    let config = support::config(folder.path(), &service, 1);
    let mut emulator = Emulator::new(config).expect("the configuration is good");
    let handle = emulator.handle();
    let machine = thread::spawn(move || emulator.connect().and_then(|()| emulator.run()));
    seen.recv_timeout(LIMIT).expect("it connects");

    let mut report = Report::default();
    // The lid says one thing at a time, the button two.
    one_a_millisecond(&handle, &seen, SINGLES / 10);
    let singles = one_a_millisecond(&handle, &seen, SINGLES);
    judge(&mut report, "one a millisecond", &singles);
    let bursts = in_bursts(&handle, &seen);
    judge(&mut report, "in bursts of six", &bursts);

    handle.stop();
    machine.join().expect("the emulator does not panic").expect("the emulator ends well");
    report.finish()
}

fn judge(report: &mut Report, what: &str, figures: &Figures) {
    let p99 = figures.percentile(0.99);
    report.tell(
        &format!("{what}, n {}", figures.count()),
        &format!("p50 {:.0} us, max {:.0} us", us(figures.median()), us(figures.max())),
    );
    report.judge(&format!("{what}, p99"), &format!("{:.0} us", us(p99)), "under 250 us", p99 < TARGET);
}

fn one_a_millisecond(handle: &Handle, seen: &Receiver<Instant>, count: usize) -> Figures {
    let mut queued = Vec::with_capacity(count);
    let mut next = Instant::now();
    for n in 0..count {
        next += Duration::from_millis(1);
        sleep_until(next);
        queued.push(Instant::now());
        if n % 2 == 0 { handle.open_lid() } else { handle.close_lid() }
    }
    arrivals(queued, seen)
}

fn in_bursts(handle: &Handle, seen: &Receiver<Instant>) -> Figures {
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
    arrivals(queued, seen)
}

/// Messages arrive in the order in which they were queued.
fn arrivals(queued: Vec<Instant>, seen: &Receiver<Instant>) -> Figures {
    let arrived = |queued: Instant| seen.recv_timeout(LIMIT).expect("every message arrives") - queued;
    queued.into_iter().map(arrived).collect()
}

/// Leaves the processor to the others, as whoever queues messages in earnest would.
fn sleep_until(then: Instant) {
    let left = then.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        thread::sleep(left);
    }
}
