//! Event latency over TLS on loopback: the time from just before a message is queued until the service has read it.
//!
//! A bare client that writes the bursts to its WebSocket in the same thread takes turns with the emulator.

// Sleeps to send at a fixed rate.
#![allow(clippy::disallowed_methods)]

mod support;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use gf_emulator_core::local_service::Seen;
use gf_emulator_core::{Emulator, Handle};
use support::bare::Connector;
use support::{LIMIT, Report, Samples, us};
use tungstenite::Message;

const SINGLES: usize = 4000;
const BURSTS: usize = 600;
const BURST_EVERY: Duration = Duration::from_millis(6);
const TARGET: Duration = Duration::from_micros(250);
/// The bursts are sent in this many turns.
const TURNS: usize = 6;
/// The size of the messages of a burst.
const MESSAGE: &str =
    r#"{"id":1234,"timestamp":3901,"type":"event","version":1,"level":"INFO","event":"button:pressed"}"#;

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
    let connector = Connector::new(&service);
    let token = connector.sign_in(2).ws_token;
    let mut socket = connector.open_websocket(&token);
    seen.recv_timeout(LIMIT).expect("the bare client connects");
    let [mut bursts, mut bare] = [(); 2].map(|()| Samples::default());
    for _ in 0..TURNS {
        bursts.extend(in_bursts(&seen, || handle.press_button()));
        bare.extend(in_bursts(&seen, || (0..2).for_each(|_| socket.send(Message::text(MESSAGE)).expect("it is sent"))));
    }
    let [p99, bare_p99] = [&bursts, &bare].map(|samples| samples.percentile(0.99));
    check(&mut report, "in bursts of six", &bursts);
    report.info(
        "the same from a bare client, p50 and p99",
        &format!("{:.0} and {:.0} us", us(bare.median()), us(bare_p99)),
    );
    let ratio = p99.as_secs_f64() / bare_p99.as_secs_f64();
    report.check("in bursts of six, p99 / bare client", &format!("{ratio:.1}"), "at most 2", ratio <= 2.0);

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

/// Sends a turn's bursts. `send_two` sends two messages.
fn in_bursts(seen: &Receiver<Instant>, mut send_two: impl FnMut()) -> Samples {
    let bursts = BURSTS / TURNS;
    let mut queued = Vec::with_capacity(bursts * 6);
    let mut next = Instant::now();
    for _ in 0..bursts {
        next += BURST_EVERY;
        sleep_until(next);
        for _ in 0..3 {
            let now = Instant::now();
            queued.extend([now, now]);
            send_two();
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
