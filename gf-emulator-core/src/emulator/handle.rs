//! The [`Handle`]: an emulator's button, lid and stop, from any thread.

use std::sync::{Arc, Mutex, PoisonError};

use crate::actions::Signal;
use crate::actions::messages::MessageSender;
use crate::machine::Controls;
use crate::net::CancelToken;
use crate::websocket::queues::Stopper;

/// What reaches an emulator from outside: clone it, and send it to whatever thread has something to say.
///
/// ```no_run
/// use gf_emulator_core::Emulator;
///
/// let mut emulator = Emulator::from_file("gf-machine-emulator.cfg")?;
/// let handle = emulator.handle();
/// std::thread::spawn(move || {
///     let _ = std::io::stdin().read_line(&mut String::new());
///     handle.press_button();
/// });
/// emulator.connect()?;
/// emulator.run()?;
/// # Ok::<(), gf_emulator_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Handle {
    pub(crate) controls: Controls,
    pub(crate) stopper: Stopper,
    pub(crate) cancels: Vec<CancelToken>,
    pub(crate) messages: Arc<MessageSender>,
    /// Held while button or lid change: their messages are in the order of the changes.
    pub(crate) hand: Arc<Mutex<()>>,
}

impl Handle {
    /// Stops the emulator: [`run`](crate::Emulator::run) withdraws what is under way and returns, and a
    /// [`connect`](crate::Emulator::connect) that is under way fails with [`Error::Interrupted`](crate::Error::Interrupted).
    pub fn stop(&self) {
        self.controls.stop();
        for cancel in &self.cancels {
            cancel.cancel();
        }
        self.stopper.stop();
    }

    /// Presses the button and lets go of it: a print that waits begins, one that warms up pauses as soon as it runs, one
    /// that runs pauses, one that pauses goes on. Hunts and motions do not mind it.
    ///
    /// Takes effect at once. Where nobody reads what the machine says, it then waits for room to say it, as do
    /// [`open_lid`](Self::open_lid) and [`close_lid`](Self::close_lid).
    pub fn press_button(&self) {
        self.touch(&[Signal::ButtonPressed, Signal::ButtonReleased], |_| true, Controls::press_button);
    }

    /// Opens the lid: whatever runs stops, parks and is cancelled. Nothing happens where it is open.
    pub fn open_lid(&self) {
        self.touch(&[Signal::LidOpened], |controls| !controls.lid_is_open(), Controls::open_lid);
    }

    /// Closes the lid. Nothing happens where it is closed.
    pub fn close_lid(&self) {
        self.touch(&[Signal::LidClosed], Controls::lid_is_open, Controls::close_lid);
    }

    /// Changes the controls where that makes a difference, and tells the service. The change never waits for the service,
    /// and whatever the machine says because of it is said after this.
    fn touch(&self, signals: &[Signal], makes_a_difference: fn(&Controls) -> bool, change: fn(&Controls)) {
        {
            let _hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
            if !makes_a_difference(&self.controls) {
                return;
            }
            for signal in signals {
                self.messages.signal(*signal);
            }
            change(&self.controls);
        }
        self.messages.flush();
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("controls", &self.controls).finish_non_exhaustive()
    }
}
