//! Running until enough jobs have arrived.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded, unbounded};

use super::Emulator;
use crate::Result;
use crate::events::EmulatorEvent;

impl Emulator {
    /// Connects and runs until `jobs` jobs have arrived, `timeout` has passed, or the handle stops it. `timeout` includes
    /// connecting; `None` is no limit. 0 jobs count as 1.
    ///
    /// Returns the pulse files that arrived, and how the run ended. The files may be fewer or more than `jobs`; those of
    /// jobs that the machine refused are among them. With [`motion.keep`](crate::config::Motion::keep) off, they are
    /// deleted by then. As after [`run`](Self::run), the emulator cannot be used again.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect), which is [`Error::Interrupted`](crate::Error::Interrupted) if `timeout` has
    /// passed before it is connected, and of [`run`](Self::run). A timeout after that is no error.
    pub fn collect(&mut self, jobs: usize, timeout: Option<Duration>) -> (Vec<PathBuf>, Result<()>) {
        let (sender, collected) = unbounded();
        let handle = self.handle();
        self.on_event(move |event| {
            if let EmulatorEvent::JobCollected(job) = event {
                let _ = sender.send(job.path.clone());
                if sender.len() >= jobs {
                    handle.stop();
                }
            }
        });
        let handle = self.handle();
        let (running, ended) = bounded::<()>(0);
        let outcome = thread::scope(|scope| {
            if let Some(timeout) = timeout {
                scope.spawn(move || {
                    if ended.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout) {
                        handle.stop();
                    }
                });
            }
            let outcome = self.connect().and_then(|()| self.run());
            drop(running);
            outcome
        });
        (collected.try_iter().collect(), outcome)
    }
}
