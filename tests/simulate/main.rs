//! `simulate`: runs the emulator in simulated time, against a service, a network, a disk and a machine that fail, and
//! checks its promises after each session.

mod frames;
mod json;
mod log_capture;
mod machine;
mod memory;
mod model;
mod network;
mod scenario;
mod service;
mod session;
mod world;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::world::Trace;

/// Simulates sessions of the emulator, one for each seed, and checks what it promises.
///
/// A session takes milliseconds, whatever its simulated time. The same seed gives the same session.
#[derive(Debug, Parser)]
#[command(
    after_help = "Exit codes: 0 all promises were kept; 1 a promise was broken, or a session did not end; 2 wrong usage."
)]
struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 1000, value_name = "COUNT")]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    first: u64,
    /// Run this seed only
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Simulate days with a cut every hour, and compare the memory of the emulator at their ends
    #[arg(long)]
    day: bool,
    /// Print everything that happens in the session of the seed, to standard error
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run each seed of this many a second time, and compare
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    twice_every: u64,
    /// End at the first seed that breaks a promise
    #[arg(long)]
    until_broken: bool,
}

/// A session takes milliseconds, and a simulated day seconds: one that takes this long waits for a lock for ever, or loops.
const SESSION_LIMIT: Duration = Duration::from_secs(300);

/// What the threads have found so far.
#[derive(Default)]
struct Totals {
    /// The seeds that run, with their start.
    running: Mutex<Vec<(u64, Instant)>>,
    done: AtomicU64,
    simulated_ms: AtomicU64,
    broken: Mutex<Vec<(u64, Vec<String>)>>,
    growth_bytes: AtomicI64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let _ = log::set_logger(&log_capture::ThreadLogger);
    log::set_max_level(log::LevelFilter::Debug);
    let print_panic = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let is_simulated = info.to_string().contains(machine::PANIC);
        if !is_simulated {
            print_panic(info);
        }
    }));
    let (first, count) = match arguments.seed {
        Some(seed) => (seed, 1),
        None => (arguments.first, arguments.seeds),
    };
    let (start, totals, next) = (Instant::now(), Arc::<Totals>::default(), Arc::new(AtomicU64::new(0)));
    let threads = if count == 1 { 1 } else { thread::available_parallelism().map_or(1, usize::from) };
    let (ended, ends) = mpsc::channel();
    thread::scope(|scope| {
        for ended in vec![ended; threads] {
            let (next, totals, arguments) = (&next, &totals, &arguments);
            scope.spawn(move || {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let is_enough = arguments.until_broken && !lock(&totals.broken).is_empty();
                    if n >= count || is_enough {
                        return;
                    }
                    lock(&totals.running).push((first + n, Instant::now()));
                    run_seed(first + n, arguments, totals);
                    lock(&totals.running).retain(|(seed, _)| *seed != first + n);
                    let _ = ended.send(());
                    report_progress(totals, count, start);
                }
            });
        }
        // Somebody may read a trace page by page.
        let limit = if arguments.trace { Duration::MAX } else { SESSION_LIMIT };
        while ends.recv_timeout(limit) != Err(RecvTimeoutError::Disconnected) {
            if let Some((seed, _)) = lock(&totals.running).iter().find(|(_, start)| start.elapsed() >= limit) {
                lock(&totals.broken).push((*seed, vec!["the session does not end".to_owned()]));
                print_result(&totals, &arguments, start);
                // Its thread cannot be ended.
                std::process::exit(1);
            }
        }
    });
    if print_result(&totals, &arguments, start) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints which promises were broken. Returns whether all were kept.
fn print_result(totals: &Totals, arguments: &Arguments, start: Instant) -> bool {
    let mut broken = std::mem::take(&mut *lock(&totals.broken));
    broken.sort();
    for (seed, failures) in broken.iter().take(20) {
        println!("seed {seed} breaks a promise:");
        for failure in failures {
            println!("    {failure}");
        }
        println!("    simulate --seed {seed} --trace shows it");
    }
    let (done, hours) = (totals.done.load(Ordering::Relaxed), totals.simulated_ms.load(Ordering::Relaxed) / 3_600_000);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{done} sessions, {hours} simulated hours, in {seconds:.0} s ({:.0} a second): {} broke a promise",
        done as f64 / seconds,
        broken.len()
    );
    if arguments.day {
        let growth = totals.growth_bytes.load(Ordering::Relaxed);
        println!("at the end of a day, an emulator needs at most {growth} bytes more than at its beginning");
    }
    broken.is_empty()
}

fn run_seed(seed: u64, arguments: &Arguments, totals: &Totals) {
    let runs_twice = seed.is_multiple_of(arguments.twice_every.max(1));
    let trace = match (arguments.trace, runs_twice) {
        (true, _) => Trace::Printed,
        (false, true) => Trace::Kept,
        (false, false) => Trace::Off,
    };
    let outcome = session::run(seed, arguments.day, trace);
    totals.growth_bytes.fetch_max(outcome.growth_bytes, Ordering::Relaxed);
    let mut failures = outcome.failures;
    if runs_twice {
        let again = session::run(seed, arguments.day, Trace::Kept);
        if again.trace != outcome.trace {
            let same = outcome.trace.lines().zip(again.trace.lines()).take_while(|(first, second)| first == second);
            failures.push(format!("a second run differs after line {}", same.count()));
        }
    }
    let simulated = u64::try_from(outcome.simulated.as_millis()).unwrap_or(u64::MAX);
    totals.simulated_ms.fetch_add(simulated, Ordering::Relaxed);
    totals.done.fetch_add(1, Ordering::Relaxed);
    if !failures.is_empty() {
        lock(&totals.broken).push((seed, failures));
    }
}

/// Prints how far it is, on a terminal.
fn report_progress(totals: &Totals, count: u64, start: Instant) {
    let done = totals.done.load(Ordering::Relaxed);
    if done.is_multiple_of(500) && std::io::stderr().is_terminal() {
        let left = start.elapsed().as_secs_f64() / done as f64 * (count - done) as f64;
        eprint!("\r{done} of {count} sessions, {left:.0} s left ");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
