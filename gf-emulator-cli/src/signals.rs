//! Ctrl-C and SIGTERM (on Windows also the console's closing).
//!
//! Every command hears them, from its first moment on. What has nobody to say goodbye to (`puls`, `report`, `import`,
//! `check`, and whatever comes before a session) ends at once with 1. A session ([`on_stop`]: `run`, `collect`, `demo`,
//! `serve`, `pipe`) has [`PATIENCE`] for a clean end, and ends at once at the second signal. Whichever way, no
//! [`Temporary`] file is left.

use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::output::tell;

/// How long the clean end may take. What cannot be ended, such as the system looking up a name, is not waited for.
const PATIENCE: Duration = Duration::from_millis(1900);
/// Signals that are closer together are one: whoever ends a whole group of processes may send each of them two, and
/// nobody presses Ctrl-C twice in so short a time.
const ONE_SIGNAL: Duration = Duration::from_millis(200);
/// What a shell reports of a program that Ctrl-C has ended.
const ENDED_BY_CTRL_C: i32 = 130;

/// What to do at a signal.
static STATE: Mutex<State> = Mutex::new(State { stop: None, first: None, temporary: Vec::new() });

struct State {
    /// Ends a session; nothing where there is none.
    stop: Option<Box<dyn FnMut() + Send>>,
    /// When a session was told to end.
    first: Option<Instant>,
    /// What must not be left behind.
    temporary: Vec<PathBuf>,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears signals from now on.
pub(crate) fn hear() -> Result<(), Failure> {
    ctrlc::set_handler(heard).map_err(|e| Failure::failed(format_args!("cannot wait for Ctrl-C: {e}")))
}

/// From now on there is a session: calls `stop` at the first signal, and ends the program at the second, or when the end
/// takes too long.
pub(crate) fn on_stop(stop: impl FnMut() + Send + 'static) {
    state().stop = Some(Box::new(stop));
}

/// A file or folder that is removed where the program ends before this is dropped. Whoever drops it removes it, or gives
/// it another name.
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    /// `make` makes it, `path` says where it is. No signal is acted on in between.
    pub(crate) fn made<T, E>(
        make: impl FnOnce() -> Result<T, E>,
        path: impl FnOnce(&T) -> PathBuf,
    ) -> Result<(T, Self), E> {
        let mut state = state();
        let thing = make()?;
        let path = path(&thing);
        state.temporary.push(path.clone());
        Ok((thing, Self(path)))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        state().temporary.retain(|path| *path != self.0);
    }
}

fn heard() {
    let now = Instant::now();
    let (stop, first) = {
        let mut state = state();
        (state.stop.take(), state.first)
    };
    match (stop, first) {
        (Some(mut stop), _) => {
            let watchdog = thread::Builder::new().name("gf-watchdog".into()).spawn(move || watch_over(now + PATIENCE));
            stop();
            // What has come meanwhile is heard after this.
            state().first = Some(Instant::now());
            if let Err(e) = watchdog {
                log::warn!("nothing watches over the end: {e}");
            }
        }
        (None, Some(first)) if is_the_same(first, now) => {}
        (None, Some(_)) => end_now(&state(), ENDED_BY_CTRL_C),
        (None, None) => {
            tell("gf-machine-emulator: stopped before the end");
            end_now(&state(), 1);
        }
    }
}

/// Whether signals at these times are one.
fn is_the_same(first: Instant, now: Instant) -> bool {
    now.saturating_duration_since(first) < ONE_SIGNAL
}

/// The program's end ends this too.
fn watch_over(until: Instant) -> ! {
    // A park may end for no reason, hence the loop.
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
    tell(format_args!("gf-machine-emulator: the end takes more than {} s: not waiting for it", PATIENCE.as_secs_f64()));
    end_now(&state(), 1)
}

/// Ends the program without waiting for anybody. Nothing temporary is made while the state is held.
fn end_now(state: &State, code: i32) -> ! {
    // What is still being written may come into a folder while that is removed.
    const TRIES: usize = 5;
    for path in &state.temporary {
        let _ =
            (0..TRIES).any(|_| fs::remove_file(path).or_else(|_| fs::remove_dir_all(path)).is_ok() || !path.exists());
    }
    process::exit(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_nobody_can_press_one_after_the_other_are_one() {
        let first = Instant::now();
        let after = |ms| is_the_same(first, first + Duration::from_millis(ms));
        assert!(after(0) && after(1) && after(199) && !after(200) && !after(5000));
        // A clock that two threads read may be a little behind for one of them.
        assert!(is_the_same(first + Duration::from_millis(1), first));
    }

    #[test]
    fn what_is_temporary_is_known_for_as_long_as_it_is_there() {
        let path = PathBuf::from("no-such-file");
        let knows = || state().temporary.contains(&path);
        let (made, temporary) = Temporary::made(|| Ok::<_, ()>(7), |_| path.clone()).unwrap();
        assert!(made == 7 && knows());
        drop(temporary);
        assert!(!knows());
        assert!(Temporary::made(|| Err::<(), _>("no"), |()| path.clone()).is_err() && !knows());
    }
}
