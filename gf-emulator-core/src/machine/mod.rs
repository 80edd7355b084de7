//! The machine's hardware: takes pictures and plays jobs.
//!
//! Implement [`Machine`] for real hardware or a simulation; no protocol code changes. [`CannedMachine`] is the default.
//! Nothing in this module knows about messages, URLs or sockets.

mod canned;
mod controls;
mod last_readings;
mod pictures;
mod playback;

use std::path::PathBuf;

pub use canned::CannedMachine;
pub use controls::{Controls, StopReason, WakeReason};
pub(crate) use last_readings::LastReadings;
use serde::Deserialize;
use serde_json::{Map, Value};
use tungstenite::Bytes;

use crate::puls::Measured;

/// One of the machine's two cameras.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Camera {
    /// In the lid: the whole bed.
    Lid,
    /// In the head: a few centimetres of material.
    Head,
}

/// A request for a picture.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Capture<'a> {
    /// Which camera.
    pub camera: Camera,
    /// Whether to light the measurement laser on the head.
    pub laser: bool,
    /// How bright to make the lid's lamp, 0 (off) to 255. For the lid camera: 0 if the action's settings say so (`LCfl` is 0),
    /// otherwise the lamp's brightness, which is `LLvl` of the settings, of [`Machine::readings`], or the default (132
    /// in 2.6, 101 in 1.x). For the head: 0.
    pub lamp_level: u8,
    /// The action's settings by code (`HCex`, `HCga`, `LCfl` ...), as sent by the service. Only their size is checked:
    /// at most 64 codes of four letters or digits, with numbers, booleans or texts of up to 64 bytes.
    pub settings: &'a Map<String, Value>,
    /// Whether the previous action moved the head, so that this picture starts homing (unless homing is in progress).
    pub begins_homing: bool,
}

impl<'a> Capture<'a> {
    /// Creates a request with the measurement laser and the lamp off that does not start homing.
    #[must_use]
    pub fn new(camera: Camera, settings: &'a Map<String, Value>) -> Self {
        Self { camera, laser: false, lamp_level: 0, settings, begins_homing: false }
    }
}

/// A `custom` step of an [actions table](crate::actions).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CustomStep<'a> {
    /// The step's `name` in the table.
    pub name: &'a str,
    /// The step's `arguments` in the table; `null` if it has none.
    pub arguments: &'a Value,
    /// The action's settings, as in [`Capture::settings`].
    pub settings: &'a Map<String, Value>,
    /// The action's id.
    pub action_id: i64,
    /// The downloaded job, if an earlier step of the action has downloaded one.
    pub job: Option<&'a Job>,
}

impl<'a> CustomStep<'a> {
    /// Creates a step of action 0 without a job.
    #[must_use]
    pub fn new(name: &'a str, arguments: &'a Value, settings: &'a Map<String, Value>) -> Self {
        Self { name, arguments, settings, action_id: 0, job: None }
    }
}

/// A downloaded pulse file. A [`Machine`] only gets jobs that passed [`Measured::check`].
///
/// Not to be confused with [`puls::Job`](crate::puls::Job), which reads such a file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Job {
    /// The id of the action that the file belongs to.
    pub action_id: i64,
    /// The type of that action, such as `hunt`, `motion` or `print`.
    pub action: String,
    /// The file, plain or gzip as downloaded.
    pub path: PathBuf,
    /// Header, length, run time and step counts.
    pub measured: Measured,
}

impl Job {
    /// Creates a job from a measured file.
    #[must_use]
    pub fn new(action_id: i64, action: impl Into<String>, path: impl Into<PathBuf>, measured: Measured) -> Self {
        Self { action_id, action: action.into(), path: path.into(), measured }
    }
}

/// Why a machine did not complete a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The [`Controls`] stopped it: the action is cancelled.
    #[error("stopped: {0}")]
    Stopped(#[from] StopReason),
    /// It refused before anything moved: the action is cancelled, not failed. The text is for the log.
    #[error("refused: {0}")]
    Refused(String),
    /// It tried and failed: the action fails. The text is for the log.
    #[error("{0}")]
    Failed(String),
}

/// What a [`PlayUpdate`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlayEvent {
    /// Progress: at the start, every 30 seconds and at the end.
    Progress,
    /// The button paused the job.
    Paused,
    /// The button resumed the job.
    Resumed,
    /// The job or the way home was stopped before its end: the last update.
    Stopped,
}

/// The state of a job that is playing, or of the way home after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlayUpdate {
    /// Why the update is sent.
    pub event: PlayEvent,
    /// The tick (step byte) that has been reached. A pause moves it back.
    pub tick: u64,
    /// X, Y and Z of the head in microsteps, relative to the start of the job.
    pub position: [i64; 3],
    /// All ticks played so far: those that a pause made the head repeat count again, so it can exceed the job's length.
    /// [`new`](Self::new) sets it to `tick`.
    pub played: u64,
    /// The length in ticks of what is played, if it is not the job: of the way home. [`new`](Self::new) sets `None`.
    pub total: Option<u64>,
    /// After [`Resumed`](PlayEvent::Resumed): for how many ticks from `tick` on the laser stays off, whatever the job
    /// says. The head goes back 2000 ticks in a pause, and the first 1950 of them are played dark (measured on hardware,
    /// firmware 2.6). Fewer if it went back less, but at least 1 (from the open-source clients). Otherwise 0, which is
    /// what [`new`](Self::new) sets.
    pub dark_ticks: u64,
}

impl PlayUpdate {
    /// Creates an update.
    #[must_use]
    pub fn new(event: PlayEvent, tick: u64, position: [i64; 3]) -> Self {
        Self { event, tick, position, played: tick, total: None, dark_ticks: 0 }
    }
}

/// The hardware that an [`Emulator`](crate::Emulator) controls.
///
/// Calls come one at a time, from a worker thread, and may block. The thread ends when the machine has had nothing to do
/// for a while, and another one makes the next call: keep nothing that is bound to a thread. Calls that wait or move get
/// the [`Controls`] and must return when these report a [`StopReason`]. Report the hardware's own button and lid through
/// the emulator's [`Handle`](crate::Handle), from any thread. To press the button in a test, use the handle of an
/// [offline emulator](crate::Emulator::offline).
///
/// ```
/// use gf_emulator_core::machine::{Capture, Controls, Job, Machine, MachineError, PlayUpdate};
///
/// struct Blinking;
///
/// impl Machine for Blinking {
///     fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
///         Err(MachineError::Failed("there is no camera".into()))
///     }
///     fn play(
///         &mut self,
///         job: &Job,
///         controls: &Controls,
///         _: &mut dyn FnMut(PlayUpdate),
///     ) -> Result<(), MachineError> {
///         println!("{} ticks", job.measured.ticks);
///         Ok(controls.sleep(std::time::Duration::from_millis(1))?)
///     }
/// }
/// ```
pub trait Machine: Send {
    /// Returns measured values by setting code, for the settings report. Codes that the generation does not report and
    /// values of the wrong type are ignored.
    ///
    /// Called for a report, and before each action that needs the machine, because a report can be asked for while that
    /// runs. It should not take long.
    fn readings(&mut self) -> Vec<(String, Value)> {
        Vec::new()
    }

    /// Takes a picture and returns it as JPEG.
    ///
    /// # Errors
    ///
    /// [`MachineError`] if there is no picture.
    fn capture(&mut self, request: &Capture<'_>) -> Result<Vec<u8>, MachineError>;

    /// As [`capture`](Self::capture), which it calls: for pictures whose memory several machines share.
    ///
    /// # Errors
    ///
    /// As [`capture`](Self::capture).
    #[doc(hidden)]
    fn capture_shared(&mut self, request: &Capture<'_>) -> Result<Bytes, MachineError> {
        self.capture(request).map(Bytes::from)
    }

    /// Prepares for a job, right after its download. Called for every job: hunt, motion and print.
    ///
    /// # Errors
    ///
    /// [`MachineError::Refused`] cancels the action.
    fn load(&mut self, _job: &Job) -> Result<(), MachineError> {
        Ok(())
    }

    /// Waits for a press of the button. By default returns at once.
    ///
    /// # Errors
    ///
    /// [`MachineError::Stopped`] if the controls stop the wait, [`MachineError::Refused`] if the print is given up: both
    /// cancel the action.
    fn wait_for_button(&mut self, _job: &Job, _controls: &Controls) -> Result<(), MachineError> {
        Ok(())
    }

    /// Warms up for a print: fans, pumps, laser.
    ///
    /// # Errors
    ///
    /// [`MachineError`] if it did not complete. Nothing has moved yet.
    fn warm_up(&mut self, _job: &Job, _controls: &Controls) -> Result<(), MachineError> {
        Ok(())
    }

    /// Plays the job and calls `on_update` for each [`PlayEvent`]. The button pauses prints only: while another job
    /// plays, [`Controls::wait`] returns no presses.
    ///
    /// # Errors
    ///
    /// [`MachineError`] if the job was not played to its end. The head must be at rest by then;
    /// [`park`](Self::park) may follow.
    fn play(
        &mut self,
        job: &Job,
        controls: &Controls,
        on_update: &mut dyn FnMut(PlayUpdate),
    ) -> Result<(), MachineError>;

    /// Moves the head back to where the job started. Also called after a cancelled job, even if that has not moved the
    /// head, so only [`StopReason::Shutdown`] should interrupt it. Calls `on_update` at the start and at the end of a
    /// move, with its length as [`total`](PlayUpdate::total).
    ///
    /// # Errors
    ///
    /// [`MachineError`] if the head has not arrived.
    fn park(&mut self, _controls: &Controls, _on_update: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        Ok(())
    }

    /// Comes to rest after a print: lets fans and coolant run on. In 2.6 also called after a cancelled print, so only
    /// [`StopReason::Shutdown`] should interrupt it.
    ///
    /// # Errors
    ///
    /// [`MachineError`] if it did not complete.
    fn rest(&mut self, _controls: &Controls) -> Result<(), MachineError> {
        Ok(())
    }

    /// Does a `custom` step of an [actions table](crate::actions) and returns its result for the templates of later
    /// steps.
    ///
    /// # Errors
    ///
    /// [`MachineError::Refused`], which cancels the action, if the step is unknown: the default does this for all
    /// steps. [`MachineError::Failed`], which fails the action, if the step was not completed.
    fn custom(&mut self, step: &CustomStep<'_>, _controls: &Controls) -> Result<Value, MachineError> {
        Err(MachineError::Refused(format!("this machine has no custom step {:?}", step.name)))
    }
}
