//! What reaches a machine while it is busy: button, lid, cancellation and shutdown.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::sync::lock;
use crate::system;

/// Why a machine must stop what it is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// The service cancelled the action.
    #[error("the service cancelled the action")]
    Cancelled,
    /// The lid was opened.
    #[error("the lid was opened")]
    LidOpened,
    /// The emulator is shutting down.
    #[error("the emulator is shutting down")]
    Shutdown,
}

/// Why [`Controls::wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WakeReason {
    /// The deadline has passed.
    Timeout,
    /// The button was pressed.
    ButtonPressed,
    /// The lid was closed.
    LidClosed,
}

// Independent flags, set and cleared by different threads: not a state machine.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Default)]
struct State {
    cancelled: bool,
    stopped: bool,
    lid_open: bool,
    /// The lid was opened since the interlock was switched on.
    lid_was_opened: bool,
    /// Whether an open lid stops the machine: while a job warms up or plays.
    interlock: bool,
    button_disabled: bool,
    presses: u32,
    lid_closings: u32,
}

impl State {
    fn stop_reason(&self) -> Option<StopReason> {
        if self.stopped {
            Some(StopReason::Shutdown)
        } else if self.cancelled {
            Some(StopReason::Cancelled)
        } else if self.interlock && (self.lid_open || self.lid_was_opened) {
            Some(StopReason::LidOpened)
        } else {
            None
        }
    }

    fn clear_presses(&mut self) {
        self.presses = 0;
        self.lid_closings = 0;
    }
}

/// Button, lid and stop requests, shared between the threads that set them and the machine. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Controls(Arc<(Mutex<State>, Condvar)>);

impl Controls {
    /// Returns why the machine must stop, if it must.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.lock().stop_reason()
    }

    /// Returns whether the lid is open.
    #[must_use]
    pub fn lid_is_open(&self) -> bool {
        self.lock().lid_open
    }

    /// Blocks for `duration`. Does not consume presses of the button: the next [`wait`](Self::wait) returns them.
    ///
    /// # Errors
    ///
    /// The [`StopReason`], as soon as there is one.
    pub fn sleep(&self, duration: Duration) -> Result<(), StopReason> {
        let state = self.wait_while(system::now().checked_add(duration), |state| state.stop_reason().is_none());
        state.stop_reason().map_or(Ok(()), Err)
    }

    /// Blocks until the button is pressed, the lid is closed or `deadline` has passed; `None` never times out.
    ///
    /// Each press is returned once. Presses are lost if they come before [`clear_presses`](Self::clear_presses), under an
    /// open lid, or while a job plays that the button cannot pause (a hunt or a motion).
    ///
    /// # Errors
    ///
    /// The [`StopReason`], as soon as there is one.
    pub fn wait(&self, deadline: Option<Instant>) -> Result<WakeReason, StopReason> {
        let is_quiet =
            |state: &mut State| state.stop_reason().is_none() && state.presses == 0 && state.lid_closings == 0;
        let mut state = self.wait_while(deadline, is_quiet);
        if let Some(reason) = state.stop_reason() {
            Err(reason)
        } else if state.presses > 0 {
            state.presses -= 1;
            Ok(WakeReason::ButtonPressed)
        } else if state.lid_closings > 0 {
            state.lid_closings -= 1;
            Ok(WakeReason::LidClosed)
        } else {
            Ok(WakeReason::Timeout)
        }
    }

    /// Blocks for `duration`, ignoring cancellation and lid. Returns false if the emulator shuts down meanwhile.
    #[must_use]
    pub fn sleep_unless_shutdown(&self, duration: Duration) -> bool {
        !self.wait_while(system::now().checked_add(duration), |state| !state.stopped).stopped
    }

    /// Discards presses and lid closings that [`wait`](Self::wait) has not returned yet.
    pub fn clear_presses(&self) {
        self.change(State::clear_presses);
    }

    pub(crate) fn press_button(&self) {
        self.change(|state| {
            if !state.button_disabled && !state.lid_open {
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
            state.lid_closings = state.lid_closings.saturating_add(1);
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

    /// Clears cancellation and interlock for a new action.
    pub(crate) fn begin(&self) {
        self.change(|state| {
            state.cancelled = false;
            state.interlock = false;
        });
    }

    /// Sets whether an open lid stops the machine.
    pub(crate) fn set_interlock(&self, on: bool) {
        self.change(|state| {
            if on && !state.interlock {
                state.lid_was_opened = false;
            }
            state.interlock = on;
        });
    }

    /// Enables or disables the button, and discards earlier presses.
    pub(crate) fn enable_button(&self, on: bool) {
        self.change(|state| {
            state.button_disabled = !on;
            state.clear_presses();
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.0.1.notify_all();
    }

    fn wait_while(
        &self,
        deadline: Option<Instant>,
        is_waiting: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'_, State> {
        system::wait_while(&self.0.0, &self.0.1, self.lock(), deadline, is_waiting)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0.0)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn wait_returns_each_press_once_and_none_before_clear() {
        let controls = Controls::default();
        controls.press_button();
        controls.clear_presses();
        controls.press_button();
        assert_eq!(controls.wait(None), Ok(WakeReason::ButtonPressed));
        assert_eq!(controls.wait(Some(Instant::now())), Ok(WakeReason::Timeout));
    }

    #[test]
    fn sleep_keeps_presses_and_a_disabled_button_loses_them() {
        let controls = Controls::default();
        controls.press_button();
        assert_eq!(controls.sleep(Duration::from_millis(1)), Ok(()));
        assert_eq!(controls.wait(None), Ok(WakeReason::ButtonPressed));
        controls.press_button();
        controls.enable_button(false);
        controls.press_button();
        controls.enable_button(true);
        assert_eq!(controls.wait(Some(Instant::now())), Ok(WakeReason::Timeout));
        controls.press_button();
        assert_eq!(controls.wait(None), Ok(WakeReason::ButtonPressed));
    }

    #[test]
    fn a_press_under_an_open_lid_is_lost() {
        let controls = Controls::default();
        controls.open_lid();
        controls.press_button();
        controls.close_lid();
        assert_eq!(controls.wait(None), Ok(WakeReason::LidClosed));
        assert_eq!(controls.wait(Some(Instant::now())), Ok(WakeReason::Timeout));
    }

    #[test]
    fn cancel_wakes_a_waiting_machine_until_the_next_action_begins() {
        let controls = Controls::default();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| controls.wait(None));
            controls.cancel();
            assert_eq!(waiting.join().unwrap(), Err(StopReason::Cancelled));
        });
        assert_eq!(controls.stop_reason(), Some(StopReason::Cancelled));
        controls.begin();
        assert_eq!(controls.stop_reason(), None);
    }

    #[test]
    fn lid_stops_only_under_the_interlock_and_shutdown_stops_everything() {
        let controls = Controls::default();
        controls.open_lid();
        assert_eq!(controls.stop_reason(), None);
        controls.set_interlock(true);
        assert_eq!(controls.stop_reason(), Some(StopReason::LidOpened));
        controls.close_lid();
        assert_eq!(controls.stop_reason(), None, "opened before the interlock was on, closed now");
        controls.open_lid();
        controls.close_lid();
        assert_eq!(controls.stop_reason(), Some(StopReason::LidOpened), "opened while the interlock was on");
        controls.stop();
        assert_eq!(controls.stop_reason(), Some(StopReason::Shutdown));
        controls.begin();
        assert_eq!(controls.sleep(Duration::from_secs(60)), Err(StopReason::Shutdown));
        assert!(!controls.sleep_unless_shutdown(Duration::from_secs(60)));
    }
}
