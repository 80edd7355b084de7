//! What stands behind the protocol: a machine that takes pictures and plays jobs.
//!
//! [`Machine`] is the seam. The emulator's own is the [`CannedMachine`]; real hardware, or a simulation, is another
//! implementation, and no line of protocol code changes for it. Nothing here knows of messages, URLs or sockets.

mod canned;
mod controls;

use std::path::PathBuf;

pub use canned::CannedMachine;
pub use controls::{Controls, End, Signal};
use serde_json::{Map, Value};

use crate::puls::Measured;

/// One of the machine's two cameras.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Camera {
    /// In the lid, over the whole bed.
    Lid,
    /// In the head, over a few centimetres of material.
    Head,
}

/// A picture that the service asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Capture<'a> {
    /// Which camera.
    pub camera: Camera,
    /// Whether the measure laser on the head is to be lit.
    pub laser: bool,
    /// What else was asked: `HCex`, `HCga`, `LCfl` and so on, by their codes. From the service, unchecked but for its
    /// size: codes of four letters or digits, with numbers, booleans and texts of 64 bytes at most, and the first 64 of
    /// them.
    pub settings: &'a Map<String, Value>,
    /// The head has just been moved by the service, which looks where it is: the beginning of homing, unless that is
    /// under way already.
    pub begins_homing: bool,
}

/// A pulse file that has arrived whole. One that this machine refuses never gets to a [`Machine`].
#[derive(Debug, Clone)]
pub struct Job {
    /// The action that asks for it.
    pub action_id: i64,
    /// Its type: `hunt`, `motion` or `print`.
    pub action: String,
    /// The file, compressed or not as it came.
    pub path: PathBuf,
    /// Its header, length, run time and step counts.
    pub measured: Measured,
}

/// Why a machine did not finish what it was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    /// It was told to end.
    Ended(End),
    /// It will not do this, and nothing has moved: the action is cancelled.
    Refused(String),
    /// It could not: the action fails. The text is for the log.
    Failed(String),
}

impl From<End> for Halt {
    fn from(end: End) -> Self {
        Self::Ended(end)
    }
}

/// What happened while a job plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Time to say how far it is: at the beginning, at the end, and every 30 seconds between.
    Progress,
    /// The button has paused it.
    Paused,
    /// The button has resumed it.
    Resumed,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What makes it worth telling.
    pub event: Event,
    /// The number of ticks (step bytes) played so far.
    pub tick: u64,
    /// Where the head is, in microsteps from where the job began: X, Y, Z.
    pub position: [i64; 3],
}

/// A machine behind the protocol.
///
/// All calls come one after the other from one thread, which the emulator owns, and each may take as long as it takes.
/// Whatever waits or moves has [`Controls`], and ends when they say so. What the hardware's own button and lid do is
/// told to the emulator through its [`Handle`](crate::Handle), from whatever thread watches them.
///
/// ```
/// use gf_emulator_core::machine::{Capture, Controls, Halt, Job, Machine, Moment};
///
/// struct Blinking;
///
/// impl Machine for Blinking {
///     fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, Halt> {
///         Err(Halt::Failed("there is no camera".into()))
///     }
///     fn play(&mut self, job: &Job, controls: &Controls, _: &mut dyn FnMut(Moment)) -> Result<(), Halt> {
///         println!("{} ticks", job.measured.ticks);
///         Ok(controls.pause(std::time::Duration::from_millis(1))?)
///     }
/// }
/// ```
pub trait Machine: Send {
    /// Setting codes whose values are measured rather than configured, for the settings report. A code that the
    /// generation's report does not have, or a value of another type than its own, is left out.
    fn readings(&mut self) -> Vec<(String, Value)> {
        Vec::new()
    }

    /// Takes a picture: JPEG.
    ///
    /// # Errors
    ///
    /// [`Halt`] where there is none; the action fails, or is cancelled.
    fn capture(&mut self, request: &Capture<'_>) -> Result<Vec<u8>, Halt>;

    /// Makes ready for a job, before the button is asked for: the last moment to refuse it.
    ///
    /// # Errors
    ///
    /// [`Halt::Refused`] cancels the action.
    fn load(&mut self, _job: &Job) -> Result<(), Halt> {
        Ok(())
    }

    /// Waits for the button. The default takes it as pressed.
    ///
    /// # Errors
    ///
    /// [`Halt::Ended`] where the controls end the wait.
    fn wait_for_button(&mut self, _job: &Job, _controls: &Controls) -> Result<(), Halt> {
        Ok(())
    }

    /// Fans, pumps, laser: what a print needs before it runs.
    ///
    /// # Errors
    ///
    /// [`Halt`]; nothing has moved yet.
    fn warm_up(&mut self, _job: &Job, _controls: &Controls) -> Result<(), Halt> {
        Ok(())
    }

    /// Plays the job, and tells `watch` how it goes.
    ///
    /// # Errors
    ///
    /// [`Halt`] where it did not come to its end. The machine has stopped by then; [`park`](Self::park) follows.
    fn play(&mut self, job: &Job, controls: &Controls, watch: &mut dyn FnMut(Moment)) -> Result<(), Halt>;

    /// Takes the head back to where it started. Comes after a job that was cancelled, too: only
    /// [`End::Stopped`] is a reason to leave it.
    ///
    /// # Errors
    ///
    /// [`Halt::Failed`].
    fn park(&mut self, _controls: &Controls) -> Result<(), Halt> {
        Ok(())
    }

    /// Comes to rest after a print: lets fans and coolant run out.
    ///
    /// # Errors
    ///
    /// [`Halt`].
    fn rest(&mut self, _controls: &Controls) -> Result<(), Halt> {
        Ok(())
    }
}
