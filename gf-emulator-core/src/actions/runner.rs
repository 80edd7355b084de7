//! The one runner that walks any row of any table.
//!
//! It knows what each kind of step means and nothing of what actions there are. However a row ends, exactly one of its
//! three endings is sent.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::Bytes;

use super::{Act, Action, Channel, Laser, Row, Say, Step, Table, Values, Variable};
use crate::collection::Collection;
use crate::machine::{Capture, Controls, End, Event, Halt, Job, Machine, Moment};
use crate::record::Tap;
use crate::settings;
use crate::uplink::{Uplink, Upload};
use crate::voice::{Voice, milli_epoch};
use crate::{Config, Error, firmware};

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
enum Stop {
    Cancelled(String),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        match e {
            Error::Interrupted => Self::Cancelled("withdrawn".into()),
            Error::JobRefused { .. } | Error::TooLarge { .. } => Self::Cancelled(e.to_string()),
            Error::Puls(ref puls) if puls.is_refusal() => Self::Cancelled(e.to_string()),
            other => Self::Failed(other),
        }
    }
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::Cancelled(match end {
            End::Cancelled => "withdrawn".into(),
            End::LidOpened => "the lid was opened".into(),
            End::Stopped => "the emulator stops".into(),
        })
    }
}

fn halted(doing: &'static str) -> impl Fn(Halt) -> Stop {
    move |halt| match halt {
        Halt::Ended(end) => end.into(),
        Halt::Refused(reason) => Stop::Cancelled(reason),
        Halt::Failed(reason) => Stop::Failed(Error::Machine { doing, reason }),
    }
}

/// What outlasts an action: of one machine, for as long as it lives.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The settings have been reported in full.
    reported: bool,
    /// The type of the action before.
    previous_action: Option<String>,
}

/// All that an action needs while it runs.
pub(crate) struct Runner<'a> {
    pub(crate) config: &'a Config,
    pub(crate) table: &'a Table,
    pub(crate) voice: &'a Voice,
    pub(crate) uplink: &'a dyn Uplink,
    pub(crate) collection: &'a Collection,
    pub(crate) controls: &'a Controls,
    pub(crate) machine: &'a mut dyn Machine,
    pub(crate) kept: &'a mut Kept,
    /// Where it is noted why an action has not ended well.
    pub(crate) tap: &'a Tap,
    /// Told of every job that has come, once its action is over.
    pub(crate) on_job: &'a mut (dyn FnMut(&Job) + Send),
}

/// What an action has gathered on its way.
struct Course<'a> {
    action: &'a Action,
    values: Values,
    pictures: VecDeque<Bytes>,
    job: Option<Job>,
    /// What is left to do before the head is where it started and the service knows; empty where it has not left.
    way_home: &'a [Step],
}

impl Runner<'_> {
    /// Does an action from beginning to end. Whatever happens, a panic of the machine included, one ending is sent.
    ///
    /// `over` is called once the ending is settled and before any of it is said: whoever answers to what is said finds
    /// the action over.
    pub(crate) fn run(&mut self, action: &Action, over: &dyn Fn()) {
        let table = self.table;
        let Some(row) = table.row(&action.action_type) else { return over() };
        let mut course =
            Course { action, values: values_of(action), pictures: VecDeque::new(), job: None, way_home: &[] };
        let outcome = catch_unwind(AssertUnwindSafe(|| self.walk(row, &mut course)));
        // What an interrupt breaks off may look like a failure of the network: the reason is what counts.
        let withdrawn = self.controls.end();
        self.controls.set_interlock(false);
        self.controls.heed_button(false);
        let what = format!("{} {}", action.action_type, action.id);
        let (ending, reason) = match outcome {
            Ok(Ok(())) => (Ending::Completed, None),
            Ok(Err(Stop::Cancelled(reason))) => {
                log::warn!("{what} cancelled: {reason}");
                (Ending::Cancelled, Some(reason))
            }
            Ok(Err(Stop::Failed(e))) if withdrawn.is_some() => {
                log::warn!("{what} cancelled while it was under way ({e})");
                (Ending::Cancelled, Some(format!("while it was under way ({e})")))
            }
            Ok(Err(Stop::Failed(e))) => {
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
            recorder.ended(action.id, state, reason);
        }
        over();
        end(row, ending, self.voice, &course.values, &mut |delay| self.delay(delay));
        if let Some(job) = &course.job {
            // The actions that wait have their endings to come, whatever whoever hears of jobs does.
            if catch_unwind(AssertUnwindSafe(|| (self.on_job)(job))).is_err() {
                log::error!("{what}: what was to be called with its job panicked");
            }
            self.collection.dismiss(job);
        }
        self.kept.previous_action = Some(action.action_type.clone());
    }

    fn walk<'a>(&mut self, row: &'a Row, course: &mut Course<'a>) -> Result<(), Stop> {
        if row.needs_motion_url() {
            let url = motion_url(course.action)?;
            course.values.insert(Variable::MotionUrl, json!(url));
        }
        let walked = self.steps(&row.steps, course);
        if walked.is_err() {
            self.come_home(course);
        }
        walked
    }

    fn steps<'a>(&mut self, steps: &'a [Step], course: &mut Course<'a>) -> Result<(), Stop> {
        for step in steps {
            if let Some(end) = self.controls.end() {
                return Err(end.into());
            }
            self.delay(step.delay)?;
            match self.step(step, course) {
                Err(Stop::Failed(e)) if step.optional => log::warn!("{}: {e}", course.action.action_type),
                other => other?,
            }
            // A row that goes home by itself has gone that part of the way.
            if let Some((next, rest)) = course.way_home.split_first()
                && next.act == step.act
            {
                course.way_home = rest;
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

    fn step<'a>(&mut self, step: &'a Step, course: &mut Course<'a>) -> Result<(), Stop> {
        match &step.act {
            Act::Send(say) => Ok(send(say, &course.values, self.voice, self.uplink)?),
            Act::Capture { camera, laser, homing_after } => {
                let laser = match laser {
                    Laser::Asked => course.action.settings.get("HCil").and_then(Value::as_f64).is_some_and(|v| v > 0.0),
                    Laser::On => true,
                    Laser::Off => false,
                };
                let request = Capture {
                    camera: *camera,
                    laser,
                    settings: &course.action.settings,
                    begins_homing: homing_after.is_some() && *homing_after == self.kept.previous_action,
                };
                let picture = self.machine.capture(&request).map_err(halted("take a picture"))?;
                course.pictures.push_back(picture.into());
                Ok(())
            }
            Act::Upload { kind, to_endpoint, failed } => {
                let uploaded = self.upload(kind, *to_endpoint, course);
                if let Err(Stop::Failed(_)) = uploaded {
                    say_all(failed, self.voice, &course.values);
                }
                uploaded
            }
            Act::Download { progress } => self.download(progress.as_ref(), course),
            Act::Button => {
                let job = course.job.as_ref().ok_or_else(|| lacks(course.action, "job"))?;
                Ok(self.machine.wait_for_button(job, self.controls).map_err(halted("wait for the button"))?)
            }
            Act::WarmUp => {
                let job = course.job.as_ref().ok_or_else(|| lacks(course.action, "job"))?;
                self.controls.set_interlock(true);
                Ok(self.machine.warm_up(job, self.controls).map_err(halted("warm up"))?)
            }
            Act::Play { progress, paused, resumed, stopped } => {
                course.way_home = stopped;
                // Nothing would say that the machine waits for another press.
                if paused.is_empty() {
                    self.controls.heed_button(false);
                }
                let played = self.play(progress.as_ref(), paused, resumed, course);
                self.controls.set_interlock(false);
                self.controls.heed_button(false);
                played
            }
            Act::Park => Ok(self.machine.park(self.controls).map_err(|halt| {
                // There is no other way, and nothing to be told.
                course.way_home = &[];
                halted("park")(halt)
            })?),
            Act::Rest => Ok(self.machine.rest(self.controls).map_err(halted("come to rest"))?),
            Act::ReportSettings { once } => {
                let settings = self.report(*once, course.action.id);
                course.values.insert(Variable::Settings, settings);
                Ok(())
            }
            Act::ProbeFirmware => {
                let offer = probe(self.config, self.uplink)?;
                course.values.insert(Variable::AvailableFirmware, json!(offer.version));
                Ok(())
            }
            Act::DownloadFirmware => {
                let offer = self.uplink.firmware()?;
                Ok(download_firmware(self.config, self.uplink, &offer)?)
            }
            Act::Refuse { reason } => Err(Stop::Failed(cannot(course.action, reason.clone()))),
        }
    }

    fn upload(&mut self, kind: &str, to_endpoint: bool, course: &mut Course<'_>) -> Result<(), Stop> {
        let action = course.action;
        while let Some(picture) = course.pictures.pop_front() {
            let endpoint = if to_endpoint {
                action.endpoint.get().map_err(|flaw| cannot(action, format!("its endpoint {flaw}")))?
            } else {
                None
            };
            self.uplink.upload(&Upload { action_id: action.id, kind, endpoint, picture: &picture })?;
            self.collection.keep_picture(action, &picture);
        }
        Ok(())
    }

    fn download(&mut self, progress: Option<&Say>, course: &mut Course<'_>) -> Result<(), Stop> {
        let action = course.action;
        let url = motion_url(action)?;
        let (voice, mut values) = (self.voice, course.values.clone());
        let mut next = Instant::now() + PROGRESS_EVERY;
        let mut tell = |bytes: u64| {
            if let Some(progress) = progress.filter(|_| Instant::now() >= next) {
                next += PROGRESS_EVERY;
                values.insert(Variable::Current, json!(bytes));
                voice.say(progress, &values);
            }
            Ok(())
        };
        let job = self.collection.collect(self.uplink, action, url, &mut tell)?;
        // Refused or not, it has come.
        let job = &*course.job.insert(job);
        self.collection.check(job)?;
        // Whoever presses the button on hearing what comes next is heard, and nobody who did before.
        self.controls.heed_button(true);
        self.machine.load(job).map_err(halted("load the job"))
    }

    fn play(
        &mut self,
        progress: Option<&Say>,
        paused: &[Step],
        resumed: &[Step],
        course: &Course<'_>,
    ) -> Result<(), Stop> {
        let job = course.job.as_ref().ok_or_else(|| lacks(course.action, "job"))?;
        let (voice, mut values) = (self.voice, course.values.clone());
        values.insert(Variable::Total, json!(job.measured.ticks));
        let mut watch = |moment: Moment| {
            match moment.event {
                Event::Paused => say_all(paused, voice, &values),
                Event::Resumed => say_all(resumed, voice, &values),
                Event::Progress => {}
            }
            if let Some(progress) = progress {
                values.insert(Variable::Current, json!(moment.tick));
                for (variable, value) in [Variable::X, Variable::Y, Variable::Z].into_iter().zip(moment.position) {
                    values.insert(variable, json!(value));
                }
                voice.say(progress, &values);
            }
        };
        self.machine.play(job, self.controls, &mut watch).map_err(halted("play the job"))
    }

    /// What is left of the way home where an action ends before its row has gone it, in whatever phase that is. It is
    /// over already: whatever fails here is logged and no more.
    fn come_home(&mut self, course: &Course<'_>) {
        for step in course.way_home {
            let done = match &step.act {
                Act::Park => self.machine.park(self.controls).map_err(halted("park")),
                Act::Send(say) => send(say, &course.values, self.voice, self.uplink).map_err(Stop::from),
                _ => Ok(()),
            };
            match done {
                Ok(()) => {}
                Err(Stop::Failed(e)) => return log::error!("on the way home: {e}"),
                Err(Stop::Cancelled(reason)) => return log::warn!("on the way home: {reason}"),
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
    voice: &Voice,
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
        if let Act::Send(say) = &step.act {
            voice.say(say, values);
        }
    }
}

/// What is done once signed in, before the WebSocket opens. No failure here keeps a machine from going online.
pub(crate) fn start(config: &Config, table: &Table, voice: &Voice, uplink: &dyn Uplink) -> Result<(), Error> {
    let mut values = Values::new();
    let mut offer = None;
    for step in &table.start {
        let done = match &step.act {
            Act::Send(say) => send(say, &values, voice, uplink),
            Act::ProbeFirmware => probe(config, uplink).map(|found| {
                values.insert(Variable::AvailableFirmware, json!(found.version));
                offer = Some(found);
            }),
            Act::DownloadFirmware => match &offer {
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

fn send(say: &Say, values: &Values, voice: &Voice, uplink: &dyn Uplink) -> crate::Result<()> {
    let body = || {
        let now = Values::from([(Variable::MilliEpoch, milli_epoch())]);
        say.message.fill(&[&now, values])
    };
    match say.channel {
        Channel::Event | Channel::Progress => {
            voice.say(say, values);
            Ok(())
        }
        Channel::Web => uplink.post_event(&body()),
        Channel::Status => uplink.put_status(&body()),
    }
}

fn say_all(steps: &[Step], voice: &Voice, values: &Values) {
    for step in steps {
        if let Act::Send(say) = &step.act {
            voice.say(say, values);
        }
    }
}

fn probe(config: &Config, uplink: &dyn Uplink) -> crate::Result<firmware::Offer> {
    let offer = uplink.firmware()?;
    let ours = &config.machine.firmware;
    if offer.version == *ours {
        log::info!("firmware {ours} is current");
    } else {
        log::info!("firmware {} is available, {ours} is configured", super::request::shown(&offer.version));
    }
    Ok(offer)
}

fn download_firmware(config: &Config, uplink: &dyn Uplink, offer: &firmware::Offer) -> crate::Result<()> {
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
