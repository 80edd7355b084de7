//! Ctrl-C and SIGTERM, and the closing of a console on Windows.
//!
//! The handler is installed before a command begins. Commands without a session (`puls`, `report`, `import`, `check`)
//! exit with 1 at once. A session ([`on_stop`]: `run`, `collect`, `demo`, `serve`, `pipe`) has [`GRACE`] to end cleanly;
//! a second signal exits with 130 at once. Either way, no temp file is left behind.

use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::CliError;
use crate::output::notice;

/// How long a clean end may take. A DNS lookup, for instance, cannot be cancelled.
const GRACE: Duration = Duration::from_millis(1900);
/// Signals closer together than this count as one: whatever ends a process group may signal each process twice, and
/// nobody presses Ctrl-C twice so fast.
const SAME_SIGNAL: Duration = Duration::from_millis(200);
/// The usual exit code after Ctrl-C: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

static STATE: Mutex<State> = Mutex::new(State { stop: None, stopped_at: None, temp_files: Vec::new() });

struct State {
    /// Stops the session. `None` without one, and once it was called.
    stop: Option<Box<dyn FnMut() + Send>>,
    /// When the session was told to stop.
    stopped_at: Option<Instant>,
    /// Removed before the process exits.
    temp_files: Vec<PathBuf>,
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
    state().stop = Some(Box::new(stop));
}

/// Registers a temp file or folder until dropped. Its owner renames or removes it before that.
pub(crate) struct TempGuard(Option<PathBuf>);

/// Creates something that may have a temp file or folder, and registers that. No signal is handled in between.
pub(crate) fn create_temp<T, E>(
    create: impl FnOnce() -> Result<T, E>,
    path: impl FnOnce(&T) -> Option<PathBuf>,
) -> Result<(T, TempGuard), E> {
    let mut state = state();
    let created = create()?;
    let path = path(&created);
    state.temp_files.extend(path.clone());
    Ok((created, TempGuard(path)))
}

impl Drop for TempGuard {
    fn drop(&mut self) {
        state().temp_files.retain(|path| Some(path) != self.0.as_ref());
    }
}

fn on_signal() {
    let now = Instant::now();
    let (stop, stopped_at) = {
        let mut state = state();
        (state.stop.take(), state.stopped_at)
    };
    match (stop, stopped_at) {
        (Some(mut stop), _) => {
            let watchdog = thread::Builder::new().name("gf-watchdog".into()).spawn(move || watchdog(now + GRACE));
            stop();
            // A signal that arrived while `stop` ran is handled after this, and counts as the same.
            state().stopped_at = Some(Instant::now());
            if let Err(e) = watchdog {
                log::warn!("cannot start the thread that limits the time to stop: {e}");
            }
        }
        (None, Some(first)) if is_same(first, now) => {}
        (None, Some(_)) => exit(&state(), INTERRUPTED),
        (None, None) => {
            notice("stopped before the end");
            exit(&state(), 1);
        }
    }
}

fn is_same(first: Instant, now: Instant) -> bool {
    now.saturating_duration_since(first) < SAME_SIGNAL
}

fn watchdog(deadline: Instant) -> ! {
    // `park_timeout` may return early.
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
    notice(format_args!("stopping took longer than {} s: exiting now", GRACE.as_secs_f64()));
    exit(&state(), 1)
}

/// Removes temp files and exits. The lock that the caller holds keeps others from being created.
fn exit(state: &State, code: i32) -> ! {
    // Another thread may still write into a folder while it is removed.
    const TRIES: usize = 5;
    for path in &state.temp_files {
        let _ =
            (0..TRIES).any(|_| fs::remove_file(path).or_else(|_| fs::remove_dir_all(path)).is_ok() || !path.exists());
    }
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

    #[test]
    fn a_temp_file_is_registered_until_its_guard_is_dropped() {
        let path = PathBuf::from("no-such-file");
        let is_registered = || state().temp_files.contains(&path);
        let (created, guard) = create_temp(|| Ok::<_, ()>(7), |_| Some(path.clone())).unwrap();
        assert!(created == 7 && is_registered());
        drop(guard);
        assert!(!is_registered());
        assert!(create_temp(|| Err::<(), _>("no"), |()| Some(path.clone())).is_err() && !is_registered());
    }
}
