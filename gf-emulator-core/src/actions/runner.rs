//! The one runner that walks any row of any table.
//!
//! It knows what each kind of step means and nothing of what actions there are. However a row ends, exactly one of its
//! three endings is sent.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::Bytes;

use super::{Action, Channel, Emit, Laser, Row, Step, StepKind, Table, Values, Variable};
use crate::actions::messages::{MessageSender, milli_epoch};
use crate::actions::settings;
use crate::machine::{Capture, Controls, End, Event, Halt, Job, Machine, Moment};
use crate::record::RecorderSlot;
use crate::service::{FirmwareOffer, Uplink, Upload, firmware};
use crate::storage::JobStore;
use crate::{Config, Error};

/// How often a transfer says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);

/// How an action came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Completed,
    /// Withdrawn, or refused before it moved.
    Cancelled,
    /// Tried, and it did not happen.
    Failed,
}

/// Why a row's steps were not done to the last.
enum Abort {
    Cancelled(String),
    Failed(Error),
}

impl From<Error> for Abort {
    fn from(e: Error) -> Self {
        match e {
            Error::Interrupted => Self::Cancelled("withdrawn".into()),
            Error::JobRefused { .. } | Error::TooLarge { .. } => Self::Cancelled(e.to_string()),
            Error::Puls(ref puls) if puls.is_refusal() => Self::Cancelled(e.to_string()),
            other => Self::Failed(other),
        }
    }
}

impl From<End> for Abort {
    fn from(end: End) -> Self {
        Self::Cancelled(match end {
            End::Cancelled => "withdrawn".into(),
            End::LidOpened => "the lid was opened".into(),
            End::Stopped => "the emulator stops".into(),
        })
    }
}

fn halted(doing: &'static str) -> impl Fn(Halt) -> Abort {
    move |halt| match halt {
        Halt::Ended(end) => end.into(),
        Halt::Refused(reason) => Abort::Cancelled(reason),
        Halt::Failed(reason) => Abort::Failed(Error::Machine { doing, reason }),
    }
}

/// What outlasts an action: of one machine, for as long as it lives.
#[derive(Debug, Default)]
pub(crate) struct SessionState {
    /// The settings have been reported in full.
    reported: bool,
    /// The type of the action before.
    previous_action: Option<String>,
}

/// All that an action needs while it runs.
pub(crate) struct Runner<'a> {
    pub(crate) config: &'a Config,
    pub(crate) table: &'a Table,
    pub(crate) messages: &'a MessageSender,
    pub(crate) uplink: &'a dyn Uplink,
    pub(crate) jobs: &'a JobStore,
    pub(crate) controls: &'a Controls,
    pub(crate) machine: &'a mut dyn Machine,
    pub(crate) kept: &'a mut SessionState,
    /// Where it is noted why an action has not ended well.
    pub(crate) tap: &'a RecorderSlot,
    /// Told of every job that has come, once its action is over.
    pub(crate) on_job: &'a mut (dyn FnMut(&Job) + Send),
}

/// What an action has gathered on its way.
struct ActionContext<'a> {
    action: &'a Action,
    values: Values,
    pictures: VecDeque<Bytes>,
    job: Option<Job>,
    /// What is left to do before the head is where it started and the service knows; empty where it has not left.
    cleanup: &'a [Step],
}

impl Runner<'_> {
    /// Does an action from beginning to end. Whatever happens, a panic of the machine included, one ending is sent.
    ///
    /// `over` is called once the ending is settled and before any of it is said: whoever answers to what is said finds
    /// the action over.
    pub(crate) fn run(&mut self, action: &Action, over: &dyn Fn()) {
        let table = self.table;
        let Some(row) = table.row(&action.action_type) else { return over() };
        let mut context =
            ActionContext { action, values: values_of(action), pictures: VecDeque::new(), job: None, cleanup: &[] };
        let outcome = catch_unwind(AssertUnwindSafe(|| self.walk(row, &mut context)));
        // What an cancel breaks off may look like a failure of the network: the reason is what counts.
        let withdrawn = self.controls.end();
        self.controls.set_interlock(false);
        self.controls.heed_button(false);
        let what = format!("{} {}", action.action_type, action.id);
        let (ending, reason) = match outcome {
            Ok(Ok(())) => (Ending::Completed, None),
            Ok(Err(Abort::Cancelled(reason))) => {
                log::warn!("{what} cancelled: {reason}");
                (Ending::Cancelled, Some(reason))
            }
            Ok(Err(Abort::Failed(e))) if withdrawn.is_some() => {
                log::warn!("{what} cancelled while it was under way ({e})");
                (Ending::Cancelled, Some(format!("while it was under way ({e})")))
            }
            Ok(Err(Abort::Failed(e))) => {
                log::error!("{what} failed: {e}");
                (Ending::Failed, Some(e.to_string()))
            }
            Err(_) => {
                log::error!("{what} failed: the machine panicked");
                (Ending::Failed, Some("the machine panicked".to_owned()))
            }
        };
        // Before the ending is said: a recording has the reason first.
        if let (Some(reason), Some(recorder)) = (reason, self.tap.recorder()) {
            let state = if ending == Ending::Failed { "failed" } else { "cancelled" };
            recorder.record_ending(action.id, state, reason);
        }
        over();
        end(row, ending, self.messages, &context.values, &mut |delay| self.delay(delay));
        if let Some(job) = &context.job {
            // The actions that wait have their endings to come, whatever whoever hears of jobs does.
            if catch_unwind(AssertUnwindSafe(|| (self.on_job)(job))).is_err() {
                log::error!("{what}: what was to be called with its job panicked");
            }
            self.jobs.delete_unless_kept(job);
        }
        self.kept.previous_action = Some(action.action_type.clone());
    }

    fn walk<'a>(&mut self, row: &'a Row, context: &mut ActionContext<'a>) -> Result<(), Abort> {
        if row.needs_motion_url() {
            let url = motion_url(context.action)?;
            context.values.insert(Variable::MotionUrl, json!(url));
        }
        let walked = self.steps(&row.steps, context);
        if walked.is_err() {
            self.run_cleanup(context);
        }
        walked
    }

    fn steps<'a>(&mut self, steps: &'a [Step], context: &mut ActionContext<'a>) -> Result<(), Abort> {
        for step in steps {
            if let Some(end) = self.controls.end() {
                return Err(end.into());
            }
            self.delay(step.delay)?;
            match self.step(step, context) {
                Err(Abort::Failed(e)) if step.optional => log::warn!("{}: {e}", context.action.action_type),
                other => other?,
            }
            // A row that goes home by itself has gone that part of the way.
            if let Some((next, rest)) = context.cleanup.split_first()
                && next.kind == step.kind
            {
                context.cleanup = rest;
            }
        }
        Ok(())
    }

    fn delay(&self, delay: Duration) -> Result<(), End> {
        match Duration::try_from_secs_f64(delay.as_secs_f64() * self.config.emulator.time_scale) {
            Ok(Duration::ZERO) | Err(_) => Ok(()),
            Ok(delay) => self.controls.pause(delay),
        }
    }

    fn step<'a>(&mut self, step: &'a Step, context: &mut ActionContext<'a>) -> Result<(), Abort> {
        match &step.kind {
            StepKind::Send(say) => Ok(send(say, &context.values, self.messages, self.uplink)?),
            StepKind::Capture { camera, laser, homing_after } => {
                let laser = match laser {
                    Laser::AsRequested => {
                        context.action.settings.get("HCil").and_then(Value::as_f64).is_some_and(|v| v > 0.0)
                    }
                    Laser::On => true,
                    Laser::Off => false,
                };
                let request = Capture {
                    camera: *camera,
                    laser,
                    settings: &context.action.settings,
                    begins_homing: homing_after.is_some() && *homing_after == self.kept.previous_action,
                };
                let picture = self.machine.capture(&request).map_err(halted("take a picture"))?;
                context.pictures.push_back(picture.into());
                Ok(())
            }
            StepKind::Upload { kind, to_endpoint, failed } => {
                let uploaded = self.upload(kind, *to_endpoint, context);
                if let Err(Abort::Failed(_)) = uploaded {
                    send_all(failed, self.messages, &context.values);
                }
                uploaded
            }
            StepKind::Download { progress } => self.download(progress.as_ref(), context),
            StepKind::Button => {
                let job = context.job.as_ref().ok_or_else(|| lacks(context.action, "job"))?;
                Ok(self.machine.wait_for_button(job, self.controls).map_err(halted("wait for the button"))?)
            }
            StepKind::WarmUp => {
                let job = context.job.as_ref().ok_or_else(|| lacks(context.action, "job"))?;
                self.controls.set_interlock(true);
                Ok(self.machine.warm_up(job, self.controls).map_err(halted("warm up"))?)
            }
            StepKind::Play { progress, paused, resumed, stopped } => {
                context.cleanup = stopped;
                // Nothing would say that the machine waits for another press.
                if paused.is_empty() {
                    self.controls.heed_button(false);
                }
                let played = self.play(progress.as_ref(), paused, resumed, context);
                self.controls.set_interlock(false);
                self.controls.heed_button(false);
                played
            }
            StepKind::Park => Ok(self.machine.park(self.controls).map_err(|halt| {
                // There is no other way, and nothing to be told.
                context.cleanup = &[];
                halted("park")(halt)
            })?),
            StepKind::Rest => Ok(self.machine.rest(self.controls).map_err(halted("come to rest"))?),
            StepKind::ReportSettings { once } => {
                let settings = self.report(*once, context.action.id);
                context.values.insert(Variable::Settings, settings);
                Ok(())
            }
            StepKind::ProbeFirmware => {
                let offer = probe(self.config, self.uplink)?;
                context.values.insert(Variable::AvailableFirmware, json!(offer.version));
                Ok(())
            }
            StepKind::DownloadFirmware => {
                let offer = self.uplink.firmware()?;
                Ok(download_firmware(self.config, self.uplink, &offer)?)
            }
            StepKind::Refuse { reason } => Err(Abort::Failed(cannot(context.action, reason.clone()))),
        }
    }

    fn upload(&mut self, kind: &str, to_endpoint: bool, context: &mut ActionContext<'_>) -> Result<(), Abort> {
        let action = context.action;
        while let Some(picture) = context.pictures.pop_front() {
            let endpoint = if to_endpoint {
                action.endpoint.get().map_err(|flaw| cannot(action, format!("its endpoint {flaw}")))?
            } else {
                None
            };
            self.uplink.upload(&Upload::new(action.id, kind, endpoint, &picture))?;
            self.jobs.save_picture(&action.action_type, action.id, &picture);
        }
        Ok(())
    }

    fn download(&mut self, progress: Option<&Emit>, context: &mut ActionContext<'_>) -> Result<(), Abort> {
        let action = context.action;
        let url = motion_url(action)?;
        let (messages, mut values) = (self.messages, context.values.clone());
        let mut next = Instant::now() + PROGRESS_EVERY;
        let mut tell = |bytes: u64| {
            if let Some(progress) = progress.filter(|_| Instant::now() >= next) {
                next += PROGRESS_EVERY;
                values.insert(Variable::Current, json!(bytes));
                messages.say(progress, &values);
            }
            Ok(())
        };
        let job = self.jobs.collect(self.uplink.download(url)?, &action.action_type, action.id, &mut tell)?;
        // Refused or not, it has come.
        let job = &*context.job.insert(job);
        self.jobs.check(job)?;
        // Whoever presses the button on hearing what comes next is heard, and nobody who did before.
        self.controls.heed_button(true);
        self.machine.load(job).map_err(halted("load the job"))
    }

    fn play(
        &mut self,
        progress: Option<&Emit>,
        paused: &[Step],
        resumed: &[Step],
        context: &ActionContext<'_>,
    ) -> Result<(), Abort> {
        let job = context.job.as_ref().ok_or_else(|| lacks(context.action, "job"))?;
        let (messages, mut values) = (self.messages, context.values.clone());
        values.insert(Variable::Total, json!(job.measured.ticks));
        let mut watch = |moment: Moment| {
            match moment.event {
                Event::Paused => send_all(paused, messages, &values),
                Event::Resumed => send_all(resumed, messages, &values),
                Event::Progress => {}
            }
            if let Some(progress) = progress {
                values.insert(Variable::Current, json!(moment.tick));
                for (variable, value) in [Variable::X, Variable::Y, Variable::Z].into_iter().zip(moment.position) {
                    values.insert(variable, json!(value));
                }
                messages.say(progress, &values);
            }
        };
        self.machine.play(job, self.controls, &mut watch).map_err(halted("play the job"))
    }

    /// What is left of the way home where an action ends before its row has gone it, in whatever phase that is. It is
    /// over already: whatever fails here is logged and no more.
    fn run_cleanup(&mut self, context: &ActionContext<'_>) {
        for step in context.cleanup {
            let done = match &step.kind {
                StepKind::Park => self.machine.park(self.controls).map_err(halted("park")),
                StepKind::Send(say) => send(say, &context.values, self.messages, self.uplink).map_err(Abort::from),
                _ => Ok(()),
            };
            match done {
                Ok(()) => {}
                Err(Abort::Failed(e)) => return log::error!("on the way home: {e}"),
                Err(Abort::Cancelled(reason)) => return log::warn!("on the way home: {reason}"),
            }
        }
    }

    fn report(&mut self, once: bool, action_id: i64) -> Value {
        let already = self.kept.reported || self.config.emulator.bypass_homing;
        self.kept.reported = true;
        if once && already {
            // The service takes empty settings for a machine that has been homed before, and skips homing.
            return json!({});
        }
        let readings = self.machine.readings();
        let epoch_s = milli_epoch().as_i64().unwrap_or_default() / 1000;
        json!({ "values": settings::report(self.config, &readings, action_id, epoch_s) })
    }
}

/// What every message about an action can hold.
pub(crate) fn values_of(action: &Action) -> Values {
    Values::from([(Variable::ActionId, json!(action.id)), (Variable::Current, json!(0))])
}

/// Sends what ends an action. For one that never ran, too.
pub(crate) fn end(
    row: &Row,
    ending: Ending,
    messages: &MessageSender,
    values: &Values,
    delay: &mut dyn FnMut(Duration) -> Result<(), End>,
) {
    let steps = match ending {
        Ending::Completed => &row.completed,
        Ending::Cancelled => &row.cancelled,
        Ending::Failed => &row.failed,
    };
    for step in steps {
        // It is over: a cancel or a stop only hastens what is left to say.
        let _ = delay(step.delay);
        if let StepKind::Send(say) = &step.kind {
            messages.say(say, values);
        }
    }
}

/// What is done once signed in, before the WebSocket opens. No failure here keeps a machine from going online.
pub(crate) fn start(
    config: &Config,
    table: &Table,
    messages: &MessageSender,
    uplink: &dyn Uplink,
) -> Result<(), Error> {
    let mut values = Values::new();
    let mut offer = None;
    for step in &table.start {
        let done = match &step.kind {
            StepKind::Send(say) => send(say, &values, messages, uplink),
            StepKind::ProbeFirmware => probe(config, uplink).map(|found| {
                values.insert(Variable::AvailableFirmware, json!(found.version));
                offer = Some(found);
            }),
            StepKind::DownloadFirmware => match &offer {
                Some(offer) => download_firmware(config, uplink, offer),
                None => Ok(()),
            },
            _ => Ok(()),
        };
        match done {
            Ok(()) => {}
            Err(e @ (Error::Interrupted | Error::SignInRefused { .. })) => return Err(e),
            Err(e) if step.optional => log::warn!("firmware check: {e}"),
            Err(e) => {
                log::warn!("firmware check: {e}");
                return Ok(());
            }
        }
    }
    Ok(())
}

fn send(say: &Emit, values: &Values, messages: &MessageSender, uplink: &dyn Uplink) -> crate::Result<()> {
    let body = || {
        let now = Values::from([(Variable::MilliEpoch, milli_epoch())]);
        say.message.fill(&[&now, values])
    };
    match say.channel {
        Channel::Event | Channel::Progress => {
            messages.say(say, values);
            Ok(())
        }
        Channel::Web => uplink.post_event(&body()),
        Channel::Status => uplink.put_status(&body()),
    }
}

fn send_all(steps: &[Step], messages: &MessageSender, values: &Values) {
    for step in steps {
        if let StepKind::Send(say) = &step.kind {
            messages.say(say, values);
        }
    }
}

fn probe(config: &Config, uplink: &dyn Uplink) -> crate::Result<FirmwareOffer> {
    let offer = uplink.firmware()?;
    let ours = &config.machine.firmware;
    if offer.version == *ours {
        log::info!("firmware {ours} is current");
    } else {
        log::info!("firmware {} is available, {ours} is configured", super::request::shown(&offer.version));
    }
    Ok(offer)
}

fn download_firmware(config: &Config, uplink: &dyn Uplink, offer: &FirmwareOffer) -> crate::Result<()> {
    if offer.version == config.machine.firmware || !config.downloads_firmware() {
        return Ok(());
    }
    firmware::download(uplink, offer, &config.firmware.dir).map(|_| ())
}

fn motion_url(action: &Action) -> crate::Result<&str> {
    let url = action.motion_url.get().map_err(|flaw| cannot(action, format!("its motion_url {flaw}")))?;
    url.ok_or_else(|| lacks(action, "motion_url"))
}

fn lacks(action: &Action, what: &str) -> Error {
    cannot(action, format!("the service has sent no {what} with it"))
}

fn cannot(action: &Action, reason: String) -> Error {
    Error::Action { action_id: action.id, action: action.action_type.clone(), reason }
}
