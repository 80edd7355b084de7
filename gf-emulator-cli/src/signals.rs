//! Ctrl-C and SIGTERM, and the closing of a console on Windows.
//!
//! The handler is installed before a command begins. Commands without a session (`puls`, `report`, `import`, `check`)
//! exit with 1 at once. A session ([`on_stop`]: `run`, `collect`, `demo`, `serve`, `fleet`, `pipe`) has [`GRACE`] to end cleanly;
//! a second signal exits with 130 at once. Either way, no temp file is left behind.

use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use gf_emulator_core::storage::TempRegistry;

use crate::error::CliError;
use crate::output;

/// How long a clean end may take, unless the session has its own limit. A DNS lookup, for instance, cannot be cancelled.
const GRACE: Duration = Duration::from_millis(1900);
/// Signals closer together than this count as one: a service manager may signal each process of a group twice, and
/// nobody presses Ctrl-C twice so fast.
const SAME_SIGNAL: Duration = Duration::from_millis(200);
/// The usual exit code after Ctrl-C: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Removed before the process exits.
pub(crate) static TEMP_FILES: TempRegistry = TempRegistry::new();
static STATE: Mutex<State> = Mutex::new(State { stop: None, stopped_at: None, grace: GRACE });

struct State {
    /// Stops the session. `None` without one, and once it was called.
    stop: Option<Box<dyn FnMut() + Send>>,
    /// When the session was told to stop.
    stopped_at: Option<Instant>,
    /// How long a clean end may take.
    grace: Duration,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Installs the signal handler.
pub(crate) fn install() -> Result<(), CliError> {
    ctrlc::set_handler(on_signal).map_err(|e| CliError::failed(format_args!("cannot wait for Ctrl-C: {e}")))
}

/// Begins a session: the first signal calls `stop`.
pub(crate) fn on_stop(stop: impl FnMut() + Send + 'static) {
    on_stop_within(GRACE, stop);
}

/// As [`on_stop`], for a session that has this long to end cleanly.
pub(crate) fn on_stop_within(grace: Duration, stop: impl FnMut() + Send + 'static) {
    let mut state = state();
    state.stop = Some(Box::new(stop));
    state.grace = grace;
}

fn on_signal() {
    let now = Instant::now();
    let (stop, stopped_at, grace) = {
        let mut state = state();
        (state.stop.take(), state.stopped_at, state.grace)
    };
    match (stop, stopped_at) {
        (Some(mut stop), _) => {
            let watchdog = thread::Builder::new().name("gf-watchdog".into()).spawn(move || watchdog(now, grace));
            stop();
            // A signal that arrived while `stop` ran is handled after this, and counts as the same.
            state().stopped_at = Some(Instant::now());
            if let Err(e) = watchdog {
                log::warn!("cannot start the thread that limits the time to stop: {e}");
            }
        }
        (None, Some(first)) if is_same(first, now) => {}
        (None, Some(_)) => exit(INTERRUPTED),
        (None, None) => {
            exit_early();
        }
    }
}

fn is_same(first: Instant, now: Instant) -> bool {
    now.saturating_duration_since(first) < SAME_SIGNAL
}

fn watchdog(since: Instant, grace: Duration) -> ! {
    let deadline = since + grace;
    // `park_timeout` may return early.
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
    output::error(format_args!("stopping took longer than {} s: exiting now", grace.as_secs_f64()));
    exit(1)
}

/// Says that the program was stopped before the end, and exits.
pub(crate) fn exit_early() -> ! {
    output::error("stopped before the end");
    exit(1)
}

fn exit(code: i32) -> ! {
    let _lock = TEMP_FILES.remove_all();
    process::exit(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_within_200_ms_count_as_one() {
        let first = Instant::now();
        let after = |ms| is_same(first, first + Duration::from_millis(ms));
        assert!(after(0) && after(1) && after(199) && !after(200) && !after(5000));
        // Two threads may read the clock in the other order.
        assert!(is_same(first + Duration::from_millis(1), first));
    }
}
