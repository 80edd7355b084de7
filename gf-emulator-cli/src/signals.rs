//! Ctrl-C and SIGTERM (on Windows also the console's closing): a clean end, then a quick one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::output::tell;

/// How long the clean end may take. What cannot be ended, such as the system looking up a name, is not waited for.
const PATIENCE: Duration = Duration::from_millis(1900);
/// What a shell reports of a program that Ctrl-C has ended.
const ENDED_BY_CTRL_C: i32 = 130;

/// Calls `stop` at the first signal, and ends the program at the second, or when the end takes too long.
pub(crate) fn on_stop(stop: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    on_stop_removing(None, stop)
}

/// The same; a quick end removes this temporary folder, which a clean end removes by itself.
pub(crate) fn on_stop_removing(
    folder: Option<PathBuf>,
    mut stop: impl FnMut() + Send + 'static,
) -> Result<(), Failure> {
    let mut told = false;
    let handler = move || {
        if told {
            end_now(folder.as_deref(), ENDED_BY_CTRL_C);
        }
        told = true;
        let folder = folder.clone();
        let watchdog = thread::Builder::new().name("gf-watchdog".into()).spawn(move || {
            let until = Instant::now() + PATIENCE;
            // The program's end ends this too. A park may end for no reason, hence the loop.
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                thread::park_timeout(left);
            }
            tell(format_args!(
                "gf-machine-emulator: the end takes more than {} s: not waiting for it",
                PATIENCE.as_secs_f64()
            ));
            end_now(folder.as_deref(), 1);
        });
        stop();
        if let Err(e) = watchdog {
            log::warn!("nothing watches over the end: {e}");
        }
    };
    ctrlc::set_handler(handler).map_err(|e| Failure::failed(format_args!("cannot wait for Ctrl-C: {e}")))
}

/// Ends the program without waiting for anybody.
fn end_now(folder: Option<&Path>, code: i32) -> ! {
    // What is still being written may come into it while it is removed.
    const TRIES: usize = 5;
    if let Some(folder) = folder {
        let _ = (0..TRIES).any(|_| fs::remove_dir_all(folder).is_ok() || !folder.exists());
    }
    process::exit(code)
}
