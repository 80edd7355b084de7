//! [`Behaviour`]: a service that reacts to machines, as its users configure and observe it.

use std::fmt;
use std::path::Path;

/// A service that reacts to each machine: it homes it as the cloud does with a machine of firmware 2.6, prints the files of
/// a queue, and reacts to the lid. This is what `serve` does; set it with [`Builder::behaviour`](super::Builder::behaviour).
///
/// | when | the service sends |
/// |---|---|
/// | a machine connects | `settings`; with an empty report on the first connection (`bypass_homing`) no homing |
/// | the report has values | a hunt, a lid picture, and three motions, with a lid picture after each |
/// | a motion or lid picture ends with `cancelled` or `failed`, or `lid:opened` comes | nothing but a hunt until `lid:closed` |
/// | `lid:closed` | a lid picture 0.29 s later; homing continues with it |
/// | homing is over | the prints, one after the other |
/// | a print ends, in any way | a hunt 0.44 s later |
/// | a machine reconnects with an empty report | the action that it has not begun, again with the same `id`; otherwise it goes on where it was |
/// | a machine reconnects with a full report, so it was restarted | as for the first time, with the prints that are left |
///
/// The service never presses the button. Each machine has its own state and prints the whole queue.
///
/// If a connection is lost together with the last event of an action, which a machine does not send again, the service
/// waits for that event until the machine is restarted.
///
/// A 1.x machine reports its settings in full each time and would be homed after every reconnection: use the default
/// [`Script`](super::Script) for it.
///
/// ```
/// use gf_emulator_core::local_service::{Behaviour, LocalService};
/// use gf_emulator_core::puls::Builder;
///
/// let job = Builder::new().move_to(10.0, 0.0)?.to_bytes();
/// let behaviour = Behaviour::new().print("job.puls", job);
/// let service = LocalService::builder().tls(false).behaviour(behaviour).start()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Behaviour {
    pub(super) prints: Vec<Print>,
    pub(super) time_scale: f64,
    pub(super) once: bool,
}

/// A file to print.
#[derive(Clone)]
pub(super) struct Print {
    pub(super) name: String,
    pub(super) file: Vec<u8>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { prints: Vec::new(), time_scale: 1.0, once: false }
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.prints.iter().map(|print| &print.name).collect();
        f.debug_struct("Behaviour")
            .field("prints", &names)
            .field("time_scale", &self.time_scale)
            .field("once", &self.once)
            .finish()
    }
}

impl Behaviour {
    /// Homes each machine and prints nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pulse file to the queue of prints. `name` is shown with its state. The file is not checked (see
    /// [`refusal_reasons`](crate::puls::refusal_reasons)).
    #[must_use]
    pub fn print(mut self, name: impl Into<String>, file: impl Into<Vec<u8>>) -> Self {
        self.prints.push(Print { name: name.into(), file: file.into() });
        self
    }

    /// As [`print`](Self::print), with the file name of `path` as the name.
    #[must_use]
    pub fn print_file(self, path: &Path, file: impl Into<Vec<u8>>) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        self.print(name, file)
    }

    /// Multiplies the delays before lid pictures and hunts: 0 is none, 1 (the default) those of the cloud. Values
    /// outside 0 to 1000 are limited to this range.
    #[must_use]
    pub fn time_scale(mut self, factor: f64) -> Self {
        self.time_scale = if factor.is_nan() { 0.0 } else { factor.clamp(0.0, 1000.0) };
        self
    }

    /// Ends with each machine once it is homed and its prints have ended: see
    /// [`LocalService::outcome`](super::LocalService::outcome). By default it goes on until the service
    /// stops.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }
}

/// A change of what the service does with a machine by its [`Behaviour`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BehaviourChange {
    /// Homing has started.
    HomingStarted,
    /// The first settings report was empty, so there is no homing.
    HomingSkipped,
    /// Homing is over.
    Homed,
    /// An action ended as it does under an open lid: the service waits for `lid:closed`.
    WaitingForLid,
    /// A print has a new state.
    Print {
        /// Its number in the queue, counted from 1.
        number: usize,
        /// The new state.
        state: PrintState,
    },
}

/// Where a print of a [`Behaviour`] stands with one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrintState {
    /// Not sent yet.
    Queued,
    /// Sent; the machine has not downloaded it yet.
    Sent,
    /// The machine waits for its button.
    WaitingForButton,
    /// The machine warms up, runs or rests.
    Running,
    /// The machine's button has paused it.
    Paused,
    /// Done.
    Completed,
    /// Cancelled: by the machine's lid or button, or because the machine refuses the file.
    Cancelled,
    /// Tried, but failed; or the machine was restarted.
    Failed,
}

impl PrintState {
    /// Returns the state that begins with the event `print:<phase>`.
    pub(super) fn of_phase(phase: &str) -> Option<Self> {
        Some(match phase {
            "download:completed" | "waiting" => Self::WaitingForButton,
            "warmup:starting" | "running" | "running:starting" | "resumed" => Self::Running,
            "paused" => Self::Paused,
            "completed" => Self::Completed,
            "cancelled" => Self::Cancelled,
            "failed" => Self::Failed,
            _ => return None,
        })
    }
}

impl fmt::Display for PrintState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::WaitingForButton => "waiting for the button",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        })
    }
}
