//! How the script, behaviour or replay ended, over all machines.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::sync::{lock, wait};

/// How a script, behaviour or replay ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every step was done, and everything awaited arrived; or every print was completed.
    Done,
    /// A step or a print failed.
    Failed {
        /// Its number, counted from 1.
        step: usize,
        /// What it was and why it failed.
        reason: String,
    },
}

/// How a run with one machine ended.
pub(super) enum RunEnd {
    Finished(Outcome),
    /// The machine disconnected and did not come back; with the failure that this is.
    MachineGone(Outcome),
    /// The service stopped, or the machine was evicted.
    Stopped,
}

/// The runs of all machines.
#[derive(Default)]
pub(super) struct Runs {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    active: usize,
    outcome: Option<Outcome>,
    /// The outcome of the first machine that left, which counts if there is no other.
    gone: Option<Outcome>,
    stopped: bool,
}

impl Runs {
    pub(super) fn begin(&self) {
        lock(&self.state).active += 1;
    }

    pub(super) fn end(&self, end: RunEnd) {
        let mut state = lock(&self.state);
        state.active -= 1;
        match end {
            // The first failure is kept.
            RunEnd::Finished(outcome) if !matches!(state.outcome, Some(Outcome::Failed { .. })) => {
                state.outcome = Some(outcome);
            }
            RunEnd::MachineGone(outcome) => {
                state.gone.get_or_insert(outcome);
            }
            RunEnd::Finished(_) | RunEnd::Stopped => {}
        }
        self.ended.notify_all();
    }

    pub(super) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.ended.notify_all();
    }

    /// Waits until no run is active. Returns the first failure, if there was one. Machines that left count only if no
    /// other machine finished.
    pub(super) fn outcome(&self, timeout: Duration) -> Option<Outcome> {
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state);
        loop {
            let outcome = state.outcome.as_ref().or(state.gone.as_ref()).filter(|_| state.active == 0);
            if let Some(outcome) = outcome {
                return Some(outcome.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.stopped {
                return None;
            }
            state = wait(&self.ended, state, Some(left));
        }
    }
}
