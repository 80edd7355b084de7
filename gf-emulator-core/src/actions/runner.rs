//! Runs the row of any action of any table.
//!
//! The runner knows the kinds of steps, not the actions. However a row ends, it sends exactly one of the row's endings.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::Bytes;

use super::progress::{TransferProgress, send_play_progress};
use super::steps::{current_firmware, download_firmware, probe_firmware, send, send_all};
use super::{Action, Destination, Emit, Laser, OpenLid, Row, Step, StepKind, Table, Values, Variable, Word};
use crate::actions::messages::{MessageSender, milli_epoch};
use crate::actions::settings;
use crate::events::{EmulatorEvent, Ending};
use crate::machine::{
    Capture, Controls, CustomStep, Job, LastReadings, Machine, MachineError, PlayEvent, PlayUpdate, StopReason,
};
use crate::record::Telemetry;
use crate::service::{Uplink, Upload};
use crate::storage::JobStore;
use crate::sync::lock;
use crate::{Config, Error};

/// Why the steps of a row were not completed.
enum Abort {
    Cancelled(String),
    /// A request was cancelled. [`Controls`] say why.
    Interrupted,
    Failed(Error),
}

impl From<Error> for Abort {
    fn from(e: Error) -> Self {
        match e {
            Error::Interrupted => Self::Interrupted,
            Error::JobRefused { .. } | Error::TooLarge { .. } => Self::Cancelled(e.to_string()),
            Error::Puls(ref puls) if puls.is_refusal() => Self::Cancelled(e.to_string()),
            other => Self::Failed(other),
        }
    }
}

impl From<StopReason> for Abort {
    fn from(reason: StopReason) -> Self {
        Self::Cancelled(describe_stop(reason).to_owned())
    }
}

fn describe_stop(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Cancelled => "cancelled by the service",
        StopReason::LidOpened => "the lid was opened",
        StopReason::Shutdown => "the emulator is shutting down",
    }
}

/// Converts the machine's errors.
fn aborted(doing: &'static str) -> impl Fn(MachineError) -> Abort {
    move |e| match e {
        MachineError::Stopped(reason) => reason.into(),
        MachineError::Refused(reason) => Abort::Cancelled(reason),
        MachineError::Failed(reason) => Abort::Failed(Error::Machine { doing, reason }),
    }
}

/// State kept between actions.
#[derive(Debug, Default)]
pub(crate) struct SessionState {
    /// The settings have been reported in full.
    settings_reported: Arc<AtomicBool>,
    previous_action: Option<String>,
}

impl SessionState {
    /// Returns the state for a worker. Each has a previous action of its own.
    pub(crate) fn of_worker(&self) -> Self {
        Self { settings_reported: Arc::clone(&self.settings_reported), previous_action: None }
    }
}

/// What all parts of one emulator share.
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) messages: Arc<MessageSender>,
    pub(crate) controls: Controls,
    pub(crate) telemetry: Telemetry,
}

impl Shared {
    /// Returns the same with controls of its own, for a second worker: they cancel its actions only.
    pub(crate) fn second(&self) -> Self {
        let (messages, telemetry) = (Arc::clone(&self.messages), self.telemetry.clone());
        Self { config: Arc::clone(&self.config), messages, controls: Controls::default(), telemetry }
    }

    /// Reports that an action has ended and its terminal event is queued.
    pub(crate) fn action_ended(&self, action: &Action, ending: Ending, reason: Option<String>) {
        self.telemetry.emit(|| EmulatorEvent::ActionEnded {
            action_id: action.id,
            action: action.action_type.clone(),
            ending,
            reason: reason.map(|reason| self.telemetry.secrets().redact(&reason)),
        });
    }
}

/// Runs actions, one at a time.
pub(crate) struct Runner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) table: Arc<Table>,
    pub(crate) uplink: Arc<dyn Uplink>,
    pub(crate) jobs: Arc<JobStore>,
    pub(crate) machine: Box<dyn Machine>,
    /// The machine's readings before an action that needs it.
    pub(crate) readings: Arc<LastReadings>,
    pub(crate) session: SessionState,
}

/// The state of the running action.
struct ActionContext<'a> {
    action: &'a Action,
    values: Values,
    pictures: VecDeque<Bytes>,
    job: Option<Job>,
    /// The remaining cleanup steps: the `stopped` of the last step that had some.
    cleanup: &'a [Step],
    /// The head has not arrived where it parks.
    not_home: bool,
}

impl Runner {
    /// Runs an action and sends one ending, even if the machine panics.
    ///
    /// Calls `on_ending_decided` before the ending is sent, so that the service's answer to it finds the action over.
    pub(crate) fn run(&mut self, action: &Action, on_ending_decided: &dyn Fn()) {
        let table = Arc::clone(&self.table);
        let Some(row) = table.row(&action.action_type) else { return on_ending_decided() };
        let mut context = ActionContext {
            action,
            values: initial_values(action),
            pictures: VecDeque::new(),
            job: None,
            cleanup: &[],
            not_home: false,
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run_row(row, &mut context)));
        self.shared.controls.set_interlock(false);
        self.shared.controls.enable_button(false);
        let (ending, reason) = match outcome {
            Ok(Ok(())) => (Ending::Completed, None),
            Ok(Err((ending, reason))) => (ending, Some(reason)),
            Err(_) => (Ending::Failed, Some("the machine panicked".to_owned())),
        };
        let what = format!("{} {}", action.action_type, action.id);
        if let Some(reason) = &reason {
            let level = if ending == Ending::Failed { log::Level::Error } else { log::Level::Warn };
            log::log!(level, "{what} {ending}: {reason}");
            // Recorded before the ending, so that the reason comes first.
            if let Some(recorder) = self.shared.telemetry.recorder() {
                recorder.record_ending(action.id, &ending.to_string(), reason.clone());
            }
        }
        on_ending_decided();
        send_ending(row, ending, &self.shared.messages, &context.values, &mut |delay| self.delay(delay));
        self.shared.action_ended(action, ending, reason);
        if let Some(job) = &context.job {
            self.shared.telemetry.emit(|| EmulatorEvent::JobCollected(Box::new(job.clone())));
            self.jobs.delete_unless_kept(job);
        }
        self.session.previous_action = Some(action.action_type.clone());
    }

    /// Runs the steps, and the cleanup if they were not completed. The error is the ending and its reason.
    fn run_row<'a>(&mut self, row: &'a Row, context: &mut ActionContext<'a>) -> Result<(), (Ending, String)> {
        let url = if row.needs_motion_url() { motion_url(context.action).map(Some) } else { Ok(None) };
        let outcome = url.map_err(Abort::from).and_then(|url| {
            context.values.extend(url.map(|url| (Variable::MotionUrl, json!(url))));
            self.steps(&row.steps, context)
        });
        let Err(abort) = outcome else { return Ok(()) };
        // A cancelled request can look like a network failure: the stop reason decides.
        let stop_reason = self.shared.controls.stop_reason();
        let ended = match abort {
            Abort::Cancelled(reason) => (Ending::Cancelled, reason),
            Abort::Interrupted => (Ending::Cancelled, stop_reason.map_or("cancelled", describe_stop).to_owned()),
            Abort::Failed(e) if stop_reason.is_some() => (Ending::Cancelled, format!("while running ({e})")),
            Abort::Failed(e) => (Ending::Failed, e.to_string()),
        };
        self.shared.controls.set_interlock(false);
        self.run_cleanup(context);
        Err(ended)
    }

    fn steps<'a>(&mut self, steps: &'a [Step], context: &mut ActionContext<'a>) -> Result<(), Abort> {
        for step in steps {
            // Before the check, so that only what has been sent decides how the service sees the action end.
            if let Some(stopped) = step.kind.stopped() {
                context.cleanup = stopped;
            }
            if let Some(reason) = self.shared.controls.stop_reason() {
                return Err(reason.into());
            }
            self.delay(step.delay)?;
            let outcome = self.step(step, context);
            // The row has done this cleanup step itself. Resting is not repeated if it ends early.
            if let Some((next, rest)) = context.cleanup.split_first()
                && next.kind == step.kind
                && (outcome.is_ok() || step.kind == StepKind::Rest {})
            {
                context.cleanup = rest;
            }
            match outcome {
                Err(Abort::Failed(e)) if step.optional => log::warn!("{}: {e}", context.action.action_type),
                other => other?,
            }
        }
        Ok(())
    }

    fn delay(&self, delay: Duration) -> Result<(), StopReason> {
        match Duration::try_from_secs_f64(delay.as_secs_f64() * self.shared.config.emulator.time_scale) {
            Ok(Duration::ZERO) | Err(_) => Ok(()),
            Ok(delay) => self.shared.controls.sleep(delay),
        }
    }

    fn step<'a>(&mut self, step: &'a Step, context: &mut ActionContext<'a>) -> Result<(), Abort> {
        match &step.kind {
            StepKind::Send(emit) => Ok(send(emit, &context.values, &self.shared.messages, &*self.uplink)?),
            StepKind::RequireLidClosed { otherwise: OpenLid::Failed } if self.shared.controls.lid_is_open() => {
                Err(Abort::Failed(action_error(context.action, "the lid is open".to_owned())))
            }
            StepKind::RequireLidClosed { otherwise: OpenLid::Failed } => Ok(()),
            StepKind::RequireLidClosed { otherwise: OpenLid::Cancelled } => {
                self.shared.controls.set_interlock(true);
                self.shared.controls.stop_reason().map_or(Ok(()), |reason| Err(reason.into()))
            }
            StepKind::Capture { camera, laser, homing_after } => {
                let settings = &context.action.settings;
                let generation = self.shared.config.generation();
                let request = Capture {
                    camera: *camera,
                    lamp_level: settings::lamp_level(*camera, settings, generation, || self.readings.get()),
                    laser: match laser {
                        Laser::AsRequested => settings.get("HCil").and_then(Value::as_f64).is_some_and(|v| v > 0.0),
                        Laser::On => true,
                        Laser::Off => false,
                    },
                    settings,
                    begins_homing: homing_after.is_some() && *homing_after == self.session.previous_action,
                };
                let picture = self.machine.capture_shared(&request).map_err(aborted("take a picture"))?;
                context.pictures.push_back(picture);
                Ok(())
            }
            StepKind::Upload { kind, to, progress, failed } => {
                let uploaded = self.upload(kind, *to, progress.as_ref(), context);
                if let Err(Abort::Failed(_)) = uploaded {
                    send_all(failed, &self.shared.messages, &context.values);
                }
                uploaded
            }
            StepKind::Download { progress } => self.download(progress.as_ref(), context),
            StepKind::Button { .. } => {
                let job = context.job()?;
                self.machine.wait_for_button(job, &self.shared.controls).map_err(aborted("wait for the button"))
            }
            StepKind::WarmUp {} => {
                let job = context.job()?;
                self.shared.controls.set_interlock(true);
                self.machine.warm_up(job, &self.shared.controls).map_err(aborted("warm up"))
            }
            StepKind::Play { progress, paused, resumed, .. } => {
                // Without a `paused` event, the service would not learn of the pause.
                if paused.is_empty() {
                    self.shared.controls.enable_button(false);
                }
                let played = self.play(progress.as_ref(), paused, resumed, context);
                self.shared.controls.set_interlock(false);
                self.shared.controls.enable_button(false);
                played
            }
            StepKind::Park { progress } => self.park(progress.as_ref(), context),
            StepKind::Rest {} => {
                self.machine.rest(&self.shared.controls).map_err(aborted("come to rest"))?;
                // A machine may rest to the end after it was cancelled.
                self.shared.controls.stop_reason().map_or(Ok(()), |reason| Err(reason.into()))
            }
            StepKind::Custom { name, arguments, fields } => self.custom(name, arguments, fields, context),
            StepKind::ReportSettings { once } => {
                let settings = self.settings_report(*once, context.action.id);
                context.values.insert(Variable::Settings, settings);
                Ok(())
            }
            StepKind::ProbeFirmware {} => {
                let offer = probe_firmware(&self.shared.config, &*self.uplink, self.shared.telemetry.secrets())?;
                context.values.insert(Variable::AvailableFirmware, json!(offer.version));
                Ok(())
            }
            StepKind::DownloadFirmware {} => {
                let offer = current_firmware(&*self.uplink, self.shared.telemetry.secrets())?;
                Ok(download_firmware(&self.shared.config, &*self.uplink, &offer)?)
            }
            StepKind::Refuse { reason } => Err(Abort::Failed(action_error(context.action, reason.clone()))),
        }
    }

    fn upload(
        &mut self,
        kind: &str,
        to: Destination,
        progress: Option<&Emit>,
        context: &mut ActionContext<'_>,
    ) -> Result<(), Abort> {
        let action = context.action;
        while let Some(picture) = context.pictures.pop_front() {
            let endpoint = match to {
                Destination::Endpoint => {
                    action.endpoint.get().map_err(|reason| action_error(action, format!("its endpoint {reason}")))?
                }
                Destination::Service => None,
            };
            let progress = Mutex::new(TransferProgress::new(&self.shared.messages, progress, &context.values));
            let on_sent = |bytes| lock(&progress).report(bytes);
            self.uplink.upload(&Upload::new(action.id, kind, endpoint, &picture).reporting(&on_sent))?;
            self.jobs.save_picture(&action.action_type, action.id, &picture);
            self.shared.telemetry.emit(|| EmulatorEvent::PictureSent {
                action_id: action.id,
                action: action.action_type.clone(),
                bytes: picture.len(),
            });
        }
        Ok(())
    }

    fn download(&mut self, progress: Option<&Emit>, context: &mut ActionContext<'_>) -> Result<(), Abort> {
        let action = context.action;
        let url = motion_url(action)?;
        let Shared { messages, controls, .. } = &*self.shared;
        let mut progress = TransferProgress::new(messages, progress, &context.values);
        let mut on_bytes = |bytes: u64| {
            progress.report(bytes);
            // Opening the lid does not end the request: it is noticed here.
            if controls.stop_reason().is_some() { Err(Error::Interrupted) } else { Ok(()) }
        };
        let job = self.jobs.collect(self.uplink.download(url)?, &action.action_type, action.id, &mut on_bytes)?;
        // Set before the check: refused jobs are collected as well.
        let job = &*context.job.insert(job);
        self.jobs.check(job)?;
        // Presses count from here on: the next event asks for one.
        self.shared.controls.enable_button(true);
        self.machine.load(job).map_err(aborted("load the job"))
    }

    fn play(
        &mut self,
        progress: Option<&Emit>,
        paused: &[Step],
        resumed: &[Step],
        context: &ActionContext<'_>,
    ) -> Result<(), Abort> {
        let job = context.job()?;
        let (messages, mut values) = (&self.shared.messages, context.values.clone());
        let mut on_update = |update: PlayUpdate| {
            match update.event {
                PlayEvent::Paused => send_all(paused, messages, &values),
                PlayEvent::Resumed => send_all(resumed, messages, &values),
                PlayEvent::Progress | PlayEvent::Stopped => {}
            }
            send_play_progress(messages, progress, &update, job.measured.ticks, &mut values);
        };
        self.machine.play(job, &self.shared.controls, &mut on_update).map_err(aborted("play the job"))
    }

    fn park(&mut self, progress: Option<&Emit>, context: &mut ActionContext<'_>) -> Result<(), Abort> {
        let (messages, mut values) = (&self.shared.messages, context.values.clone());
        let mut on_update =
            |update: PlayUpdate| send_play_progress(messages, progress, &update, update.tick, &mut values);
        let parked = self.machine.park(&self.shared.controls, &mut on_update).map_err(aborted("park"));
        context.not_home = parked.is_err();
        parked
    }

    fn custom(
        &mut self,
        name: &str,
        arguments: &Value,
        fields: &[Word],
        context: &mut ActionContext<'_>,
    ) -> Result<(), Abort> {
        let ActionContext { action, job, .. } = &*context;
        let step = CustomStep { name, arguments, settings: &action.settings, action_id: action.id, job: job.as_ref() };
        let result = self.machine.custom(&step, &self.shared.controls).map_err(aborted("do a custom step"))?;
        let field = |field: &Word| match result.get(&**field) {
            Some(value) => Ok((Variable::result(name, Some(field)), value.clone())),
            None => Err(action_error(action, format!("the result of the custom step {name:?} has no {:?}", &**field))),
        };
        let values = fields.iter().map(field).collect::<crate::Result<Vec<_>>>()?;
        context.values.extend(values);
        context.values.insert(Variable::result(name, None), result);
        Ok(())
    }

    /// Runs the rest of the cleanup of an action that has ended early. Errors are logged: the ending is decided.
    ///
    /// If the head has not arrived, parking is not repeated, and nothing is sent that would report its arrival.
    fn run_cleanup(&mut self, context: &mut ActionContext<'_>) {
        for step in context.cleanup {
            let outcome = match &step.kind {
                StepKind::Park { progress } if !context.not_home => self.park(progress.as_ref(), context),
                StepKind::Send(emit) if !context.not_home => {
                    send(emit, &context.values, &self.shared.messages, &*self.uplink).map_err(Abort::from)
                }
                StepKind::Rest {} => self.machine.rest(&self.shared.controls).map_err(aborted("come to rest")),
                _ => Ok(()),
            };
            match outcome {
                Ok(()) => {}
                Err(Abort::Failed(e)) => log::error!("cleanup failed: {e}"),
                Err(Abort::Cancelled(reason)) => log::warn!("cleanup cancelled: {reason}"),
                Err(Abort::Interrupted) => log::warn!("cleanup cancelled"),
            }
        }
    }

    fn settings_report(&mut self, once: bool, action_id: i64) -> Value {
        let reported = self.session.settings_reported.swap(true, Ordering::AcqRel);
        if once && (reported || self.shared.config.emulator.bypass_homing) {
            // The service takes empty settings for a machine that has been homed before, and skips homing.
            return json!({});
        }
        let readings = self.machine.readings();
        json!({ "values": settings::report(&self.shared.config, &readings, action_id, milli_epoch() / 1000) })
    }
}

impl ActionContext<'_> {
    fn job(&self) -> crate::Result<&Job> {
        self.job.as_ref().ok_or_else(|| missing(self.action, "job"))
    }
}

/// Returns the values that every message of an action can use.
pub(crate) fn initial_values(action: &Action) -> Values {
    Values::from([(Variable::ActionId, json!(action.id)), (Variable::Current, json!(0))])
}

/// Sends an ending of an action, which need not have run.
pub(crate) fn send_ending(
    row: &Row,
    ending: Ending,
    messages: &MessageSender,
    values: &Values,
    delay: &mut dyn FnMut(Duration) -> Result<(), StopReason>,
) {
    let steps = match ending {
        Ending::Completed => &row.completed,
        Ending::Cancelled => &row.cancelled,
        Ending::Failed => &row.failed,
    };
    for step in steps {
        // A stop request only shortens the delays.
        let _ = delay(step.delay);
        if let Some(emit) = step.kind.emit() {
            messages.send(emit, values);
        }
    }
}

fn motion_url(action: &Action) -> crate::Result<&str> {
    let url = action.motion_url.get().map_err(|reason| action_error(action, format!("its motion_url {reason}")))?;
    url.ok_or_else(|| missing(action, "motion_url"))
}

fn missing(action: &Action, what: &str) -> Error {
    action_error(action, format!("it has no {what}"))
}

fn action_error(action: &Action, reason: String) -> Error {
    Error::Action { action_id: action.id, action: action.action_type.clone(), reason }
}
