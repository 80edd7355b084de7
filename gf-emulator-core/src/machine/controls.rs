//! What reaches a machine while it is busy: the button, the lid, a cancel, the end of the program.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why whatever a machine does has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The service has withdrawn the action.
    Cancelled,
    /// The lid was opened.
    LidOpened,
    /// The emulator stops.
    Stopped,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The time has come.
    Time,
    /// The button was pressed.
    Button,
    /// The lid was closed.
    LidClosed,
}

// Each is a fact of its own that somebody sets and somebody else clears: no state machine hides in them.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Default)]
struct State {
    cancelled: bool,
    stopped: bool,
    lid_open: bool,
    /// The lid was opened since the action began.
    lid_was_opened: bool,
    /// Whether an open lid ends what goes on: while a job warms up or runs.
    interlock: bool,
    /// Nothing that goes on has a use for the button.
    button_ignored: bool,
    presses: u32,
    closings: u32,
}

impl State {
    fn end(&self) -> Option<End> {
        if self.stopped {
            Some(End::Stopped)
        } else if self.cancelled {
            Some(End::Cancelled)
        } else if self.interlock && (self.lid_open || self.lid_was_opened) {
            Some(End::LidOpened)
        } else {
            None
        }
    }
}

/// The machine's button, lid and reasons to end, shared between the threads that set them and the one that heeds them.
#[derive(Debug, Clone, Default)]
pub struct Controls(Arc<(Mutex<State>, Condvar)>);

impl Controls {
    /// Whether, and why, whatever goes on has to end.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.lock().end()
    }

    /// Whether the lid is open now.
    #[must_use]
    pub fn lid_is_open(&self) -> bool {
        self.lock().lid_open
    }

    /// Lets `duration` pass. A press of the button meanwhile is left for the next [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// The reason to end before it is over.
    pub fn pause(&self, duration: Duration) -> Result<(), End> {
        let waited = self.0.1.wait_timeout_while(self.lock(), duration, |state| state.end().is_none());
        match waited.unwrap_or_else(PoisonError::into_inner).0.end() {
            Some(end) => Err(end),
            None => Ok(()),
        }
    }

    /// Sleeps until `until` (for ever, where there is none) or until something happens. A press is heard once; one that
    /// came before [`forget_presses`](Self::forget_presses) is not heard at all, and neither is one while a job plays that
    /// the button cannot pause: a hunt or a motion.
    ///
    /// # Errors
    ///
    /// The reason to end, at once where there is one already.
    pub fn wait(&self, until: Option<Instant>) -> Result<Signal, End> {
        let mut state = self.lock();
        loop {
            if let Some(end) = state.end() {
                return Err(end);
            }
            if state.presses > 0 {
                state.presses -= 1;
                return Ok(Signal::Button);
            }
            if state.closings > 0 {
                state.closings -= 1;
                return Ok(Signal::LidClosed);
            }
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Ok(Signal::Time),
                Some(left) => self.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Lets `duration` pass whatever is withdrawn or opened; false where the emulator stops meanwhile.
    pub fn pause_unless_stopped(&self, duration: Duration) -> bool {
        let waited = self.0.1.wait_timeout_while(self.lock(), duration, |state| !state.stopped);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopped
    }

    /// A press before now does not count: the machine was not waiting for one.
    pub fn forget_presses(&self) {
        let mut state = self.lock();
        state.presses = 0;
        state.closings = 0;
    }

    pub(crate) fn press_button(&self) {
        self.change(|state| {
            if !state.button_ignored {
                state.presses = state.presses.saturating_add(1);
            }
        });
    }

    pub(crate) fn open_lid(&self) {
        self.change(|state| {
            state.lid_open = true;
            state.lid_was_opened = true;
        });
    }

    pub(crate) fn close_lid(&self) {
        self.change(|state| {
            state.lid_open = false;
            state.closings = state.closings.saturating_add(1);
        });
    }

    pub(crate) fn cancel(&self) {
        self.change(|state| state.cancelled = true);
    }

    pub(crate) fn stop(&self) {
        self.change(|state| state.stopped = true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// A new action: what was withdrawn is over.
    pub(crate) fn begin(&self) {
        self.change(|state| {
            state.cancelled = false;
            state.interlock = false;
        });
    }

    /// From here on an open lid ends what goes on, or no longer does.
    pub(crate) fn set_interlock(&self, on: bool) {
        self.change(|state| {
            if on && !state.interlock {
                state.lid_was_opened = false;
            }
            state.interlock = on;
        });
    }

    /// From here on presses count, or do not. One from before never does.
    pub(crate) fn heed_button(&self, on: bool) {
        self.change(|state| {
            state.button_ignored = !on;
            state.presses = 0;
            state.closings = 0;
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.0.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn hears_a_press_once_and_not_one_from_before() {
        let controls = Controls::default();
        controls.press_button();
        controls.forget_presses();
        controls.press_button();
        assert_eq!(controls.wait(None), Ok(Signal::Button));
        assert_eq!(controls.wait(Some(Instant::now())), Ok(Signal::Time));
    }

    #[test]
    fn a_press_outlasts_a_pause_and_counts_only_where_the_button_does() {
        let controls = Controls::default();
        controls.press_button();
        assert_eq!(controls.pause(Duration::from_millis(1)), Ok(()));
        assert_eq!(controls.wait(None), Ok(Signal::Button));
        controls.press_button();
        controls.heed_button(false);
        controls.press_button();
        controls.heed_button(true);
        assert_eq!(controls.wait(Some(Instant::now())), Ok(Signal::Time));
        controls.press_button();
        assert_eq!(controls.wait(None), Ok(Signal::Button));
    }

    #[test]
    fn a_cancel_wakes_who_waits_and_ends_with_the_action() {
        let controls = Controls::default();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| controls.wait(None));
            controls.cancel();
            assert_eq!(waiting.join().unwrap(), Err(End::Cancelled));
        });
        assert_eq!(controls.end(), Some(End::Cancelled));
        controls.begin();
        assert_eq!(controls.end(), None);
    }

    #[test]
    fn the_lid_ends_only_what_runs_and_stopping_everything() {
        let controls = Controls::default();
        controls.open_lid();
        assert_eq!(controls.end(), None);
        controls.set_interlock(true);
        assert_eq!(controls.end(), Some(End::LidOpened));
        controls.close_lid();
        assert_eq!(controls.end(), None, "it was opened before the job ran, and is closed");
        controls.open_lid();
        controls.close_lid();
        assert_eq!(controls.end(), Some(End::LidOpened), "opened while it ran");
        controls.stop();
        assert_eq!(controls.end(), Some(End::Stopped));
        controls.begin();
        assert_eq!(controls.pause(Duration::from_secs(60)), Err(End::Stopped));
        assert!(!controls.pause_unless_stopped(Duration::from_secs(60)));
    }
}
