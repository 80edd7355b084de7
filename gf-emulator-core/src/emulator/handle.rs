//! [`Handle`]: an emulator's button, lid and stop, from any thread.

use std::sync::{Arc, Mutex};

use crate::actions::{Shared, Signal};
use crate::machine::Controls;
use crate::sync::lock;
use crate::websocket::queues::Stopper;

pub(super) type Cancel = Arc<dyn Fn() + Send + Sync>;

/// Controls an emulator from outside: stops it, presses its button, moves its lid. Clones share the emulator.
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
    pub(super) shared: Arc<Shared>,
    pub(super) stopper: Stopper,
    /// Cancel what blocks the emulator: requests, an attempt to connect, a custom uplink.
    pub(super) cancels: Arc<Mutex<Vec<Cancel>>>,
    /// Serialises button and lid calls with their messages.
    pub(super) signal_lock: Arc<Mutex<()>>,
}

impl Handle {
    /// Stops the emulator: [`run`](crate::Emulator::run) cancels all actions and returns, and a
    /// [`connect`](crate::Emulator::connect) in progress fails with [`Error::Interrupted`](crate::Error::Interrupted).
    pub fn stop(&self) {
        self.shared.controls.stop();
        let cancels = lock(&self.cancels).clone();
        for cancel in cancels {
            cancel();
        }
        self.stopper.stop();
    }

    /// Presses and releases the button: a print that waits for it starts, a print that warms up pauses as soon as it
    /// runs, a running print pauses, a paused print resumes. Hunts and motions ignore it, and so does a machine with an
    /// open lid.
    ///
    /// The effect is immediate. Then, like [`open_lid`](Self::open_lid) and [`close_lid`](Self::close_lid), it blocks
    /// while the queue of outgoing messages is full.
    pub fn press_button(&self) {
        self.signal(&[Signal::ButtonPressed, Signal::ButtonReleased], |_| true, Controls::press_button);
    }

    /// Opens the lid. Does nothing if it is open.
    ///
    /// In 2.6 a motion or a print that has not come to the end of its run stops and is cancelled. A print that has
    /// downloaded its job first goes back to where it began, and cools down. New motions and prints are cancelled and lid
    /// pictures fail until the lid is closed. It does not stop a hunt, nor a print that goes back or cools down.
    ///
    /// In 1.x it stops a print that warms up or runs, and a print that waits for the button goes on once the lid is closed.
    pub fn open_lid(&self) {
        self.signal(&[Signal::LidOpened], |controls| !controls.lid_is_open(), Controls::open_lid);
    }

    /// Closes the lid. Does nothing if it is closed.
    pub fn close_lid(&self) {
        self.signal(&[Signal::LidClosed], Controls::lid_is_open, Controls::close_lid);
    }

    /// Returns whether the lid is open.
    #[must_use]
    pub fn lid_is_open(&self) -> bool {
        self.shared.controls.lid_is_open()
    }

    /// Changes the controls if `is_change` says so, and sends the messages of `signals`.
    ///
    /// The messages are put in front of the queue before the change, so they come before everything that the change
    /// causes; the change itself does not wait for room in the queue.
    fn signal(&self, signals: &[Signal], is_change: fn(&Controls) -> bool, change: fn(&Controls)) {
        {
            let _guard = lock(&self.signal_lock);
            if !is_change(&self.shared.controls) {
                return;
            }
            for signal in signals {
                self.shared.messages.signal(*signal);
            }
            change(&self.shared.controls);
        }
        self.shared.messages.flush();
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("controls", &self.shared.controls).finish_non_exhaustive()
    }
}
