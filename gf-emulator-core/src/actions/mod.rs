//! Actions tables: what the machine does and sends for each action, as data.
//!
//! The built-in tables are JSON ([`Table::builtin_text`] returns them); `[SERVICE] actions_file` or
//! [`Emulator::with_table`](crate::Emulator::with_table) replaces them. Loading checks that every placeholder of every
//! message has a value and that every action ends with exactly one terminal event. An action type needs no other
//! registration: the emulator accepts every action whose type is in the table.
//!
//! # Format
//!
//! A table is a JSON object. `line_end`, `templates` and `actions` are required; unknown keys are an error.
//!
//! | key | value |
//! |---|---|
//! | `about`, `generation` | ignored |
//! | `line_end` | the end of each WebSocket message: `"\n"` or `"\r\n"` |
//! | `templates` | name → `channel` (`ws`: an event; `progress`: may be dropped; `web`: `POST /api/event`; `status`: `PUT /api/machines/status`) and `message` (an object); both are required |
//! | `start` | steps between signing in and opening the WebSocket, if [`firmware.check`](crate::config::Firmware::check) is on: `send`, `probe_firmware`, `download_firmware` |
//! | `signals` | `button_pressed`, `button_released`, `lid_opened`, `lid_closed` → event steps; a signal that is not listed sends nothing |
//! | `actions` | action type → `steps`, and the endings `completed`, `cancelled` and `failed`: event steps; all four are required |
//!
//! A step is `{"send": template, key: value, ...}` or `{"do": kind, option: value, ...}`. An *event step* is a `send`
//! step whose template has the channel `ws`.
//!
//! Each ending sends the action's terminal event, `<action type>:<ending>` such as `print:failed`, exactly once. Its
//! message must have `"action_id": "<ACTION_ID>"`.
//!
//! Every step may have `delay_s` (0 to 3600: a pause before the step, multiplied by the time scale; only in `steps` and
//! endings) and `optional` (if `true`, a failure is logged and the action continues; later steps cannot use its
//! values).
//!
//! Action types, the `name` and `fields` of `custom`, and the `kind` of `upload` consist of ASCII letters, digits and
//! underscores.
//!
//! All options of `do` are optional except `otherwise`, `camera`, `kind`, `to`, `reason` and `name`:
//!
//! | `do` | effect and options |
//! |---|---|
//! | `require_lid_closed` | ends the action if the lid is open; `otherwise`: how, `failed` or `cancelled`. More below |
//! | `capture` | takes a picture; `camera`: `lid` or `head`; `laser`: `asked` (default: as the action's `HCil`), `on`, `off`; `homing_after`: the type of the previous action after which this picture starts homing |
//! | `upload` | uploads all pictures taken so far; `kind`: the last part of the service's own path; `to`: `endpoint` (if the action has one) or `service`; `progress`: a template of the channel `progress`; `failed`: event steps for a failure |
//! | `download` | downloads the action's pulse file; `progress`: a template of the channel `progress` |
//! | `button` | waits for the button; `stopped`: as for `play`, from here on |
//! | `warm_up` | warms up; from here to the end of `play` an open lid cancels the action, and a press of the button pauses the job as it starts |
//! | `play` | plays the downloaded job; `progress`: a template of the channel `progress`; `paused` (without it the button does not pause the job) and `resumed`: event steps; `stopped`: see below |
//! | `park` | moves the head back; `progress`: a template of the channel `progress` |
//! | `rest` | lets fans and coolant run on |
//! | `report_settings` | sets `<SETTINGS>`; `once`: if `true`, an empty report after the first |
//! | `probe_firmware` | asks the service for the current version; sets `<AVAILABLE_FIRMWARE>` |
//! | `download_firmware` | downloads it if it differs and the configuration allows it |
//! | `refuse` | fails the action; `reason`: for the log |
//! | `custom` | calls [`Machine::custom`](crate::Machine::custom); `name`; `arguments`: any JSON; `fields`: fields of the result to make available |
//!
//! After `require_lid_closed` with `cancelled`, an opening of the lid cancels the action as well, however short it is, until
//! the end of `play`.
//!
//! `stopped` has the steps to do if the action ends early: `park`, `rest` and event steps. Those that the action has already
//! done are skipped, and event steps also if the head has not arrived.
//!
//! An action that has only `send`, `report_settings`, `probe_firmware` and `refuse` steps does not need the machine: it
//! does not wait for an action that does. Its report then has the readings that the machine had when that action began.
//!
//! A machine's [`Refused`](crate::machine::MachineError::Refused) cancels the action, unlike a `refuse` step, and even
//! if the step is `optional`.
//!
//! # Placeholders
//!
//! A string `"<NAME>"` in a message is replaced by the value of that name, of any JSON type; within a longer string, by
//! the value as text. Names consist of ASCII letters, digits, underscores and dots.
//!
//! | placeholder | value |
//! |---|---|
//! | `<key>` | the value of that key in the `send` step, which must have it; keys that the template does not use are ignored |
//! | `<MACHINE.FIRMWARE>`, `<MACHINE.APP_VERSION>`, `<MACHINE.IP_ADDRESS>`, `<MACHINE.SERIAL>`, `<MACHINE.HOSTNAME>` | from the configuration |
//! | `<ID>` | the number of the message |
//! | `<TIMESTAMP>` | hundredths of a second since the start, plus 3800: a machine has run for 38 s when it connects |
//! | `<MILLI_EPOCH>` | Unix time in milliseconds |
//! | `<ACTION>` | the action's type; only in `actions` |
//! | `<ACTION_ID>`, `<MOTION_URL>` | from the action; the URL only if it has a `download` step |
//! | `<SETTINGS>`, `<AVAILABLE_FIRMWARE>` | after `report_settings` or `probe_firmware` |
//! | `<CURRENT>` | bytes downloaded or uploaded, or ticks played; 0 outside `progress` |
//! | `<TOTAL>`, `<X>`, `<Y>`, `<Z>` | in the `progress` of `play` and `park`: ticks of the job or of the move, and the position in microsteps from the start of the job |
//! | `<PLAYED>`, `<RUNNING>` | in the `progress` of `play` and `park`: all ticks played, with those repeated after a pause; 1 while it runs, 0 if it is paused, stopped or at its end |
//! | `<RESULT.name>` | the result of the `custom` step of that name, in later steps and in `completed`, but not in `cancelled` and `failed` |
//! | `<RESULT.name.field>` | that field of the result; `field` must be listed in the step's `fields`, and the step fails if the result lacks it |
//!
//! If several `custom` steps have the same name, the result of the last one counts.
//!
//! # A table with a custom step
//!
//! ```
//! use gf_emulator_core::actions::Table;
//! use gf_emulator_core::machine::{Capture, Controls, CustomStep, Job, Machine, MachineError, PlayUpdate};
//! use gf_emulator_core::{Config, Emulator};
//! use serde_json::{Value, json};
//!
//! struct Thermometer;
//!
//! impl Machine for Thermometer {
//!     fn custom(&mut self, step: &CustomStep<'_>, _: &Controls) -> Result<Value, MachineError> {
//!         match step.name {
//!             "temperature" => Ok(json!({"celsius": 21.5, "sensor": step.arguments["sensor"]})),
//!             other => Err(MachineError::Refused(format!("unknown step {other}"))),
//!         }
//!     }
//! #   fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
//! #       Err(MachineError::Refused("no camera".into()))
//! #   }
//! #   fn play(&mut self, _: &Job, _: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
//! #       Ok(())
//! #   }
//!     // capture and play ...
//! }
//!
//! let text = r#"{
//!     "line_end": "\n",
//!     "templates": {
//!         "event": {"channel": "ws", "message": {"id": "<ID>", "action_id": "<ACTION_ID>", "event": "<event>"}},
//!         "reading": {"channel": "ws", "message": {"id": "<ID>", "celsius": "<RESULT.temperature.celsius>"}}
//!     },
//!     "actions": {"measure": {
//!         "steps": [
//!             {"do": "custom", "name": "temperature", "arguments": {"sensor": "lid"}, "fields": ["celsius"]},
//!             {"send": "reading"}
//!         ],
//!         "completed": [{"send": "event", "event": "measure:completed"}],
//!         "cancelled": [{"send": "event", "event": "measure:cancelled"}],
//!         "failed": [{"send": "event", "event": "measure:failed"}]
//!     }}
//! }"#;
//! let table = Table::from_text("thermometer", text)?;
//! let (emulator, peer) = Emulator::offline(Config::default(), std::env::temp_dir())?;
//! let mut emulator = emulator.with_table(table).with_machine(Thermometer);
//! peer.tx.send(r#"{"id": 1, "action_type": "measure", "status": "ready"}"#.into()).unwrap();
//! drop(peer.tx);
//! emulator.run()?;
//! assert_eq!(peer.rx.recv().unwrap().text(), "{\"id\":32,\"celsius\":21.5}\n");
//! # Ok::<(), gf_emulator_core::Error>(())
//! ```
//!
//! # A built-in table with one more action
//!
//! Both built-in tables have the templates `event` and `notice` (an event with and without `action_id`; key: `event`),
//! `report` (an event with `<SETTINGS>`; key: `event`), `transfer` and `running` (the progress of `download` and
//! `play`). The table of 2.6 also has `upload` (the progress of an upload).
//!
//! ```
//! use gf_emulator_core::actions::Table;
//! use gf_emulator_core::config::Generation;
//! use serde_json::{Value, json};
//!
//! let mut table: Value = serde_json::from_str(Table::builtin_text(Generation::V2)).unwrap();
//! table["actions"]["beep"] = json!({
//!     "steps": [{"do": "custom", "name": "beep"}],
//!     "completed": [{"send": "event", "event": "beep:completed"}],
//!     "cancelled": [{"send": "event", "event": "beep:cancelled"}],
//!     "failed": [{"send": "event", "event": "beep:failed"}]
//! });
//! let table = Table::from_text("with beep", &table.to_string())?;
//! # Ok::<(), gf_emulator_core::Error>(())
//! ```

mod action;
mod load;
pub(crate) mod messages;
mod progress;
mod runner;
mod settings;
mod steps;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use action::{Action, Status, printable};
pub(crate) use runner::{Runner, SessionState, Shared, initial_values, send_ending};
use serde::Deserialize;
use serde_json::Value;
pub(crate) use steps::run_start_steps;
pub(crate) use template::{Template, Values, Variable};

use crate::machine::Camera;

/// Where a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Channel {
    /// An event on the WebSocket.
    #[serde(rename = "ws")]
    Event,
    /// Progress on the WebSocket, which may be dropped.
    Progress,
    /// `POST /api/event`.
    Web,
    /// `PUT /api/machines/status`.
    Status,
}

/// A message template and its channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Emit {
    pub(crate) channel: Channel,
    pub(crate) message: Template,
}

/// A step of an action.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) delay: Duration,
    pub(crate) optional: bool,
    pub(crate) kind: StepKind,
}

/// Whether the measurement laser is lit for a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Laser {
    /// As the action's `HCil` says.
    #[default]
    #[serde(rename = "asked")]
    AsRequested,
    On,
    Off,
}

/// Where pictures are uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Destination {
    /// The action's `endpoint`, if it has one.
    Endpoint,
    Service,
}

/// How an action ends if the lid is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OpenLid {
    Failed,
    /// Also if the lid is opened later, up to the end of `play`.
    Cancelled,
}

/// What a step does. `Message` and `NestedStep` are `String` and `StepText` while a table is being loaded.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[serde(bound = "Message: Deserialize<'de>, NestedStep: Deserialize<'de>")]
pub(crate) enum StepKind<Message = Emit, NestedStep = Step> {
    #[serde(skip)]
    Send(Message),
    RequireLidClosed {
        otherwise: OpenLid,
    },
    Capture {
        camera: Camera,
        #[serde(default)]
        laser: Laser,
        homing_after: Option<String>,
    },
    Upload {
        kind: Word,
        to: Destination,
        progress: Option<Message>,
        #[serde(default = "Vec::new")]
        failed: Vec<NestedStep>,
    },
    Download {
        progress: Option<Message>,
    },
    Button {
        #[serde(default = "Vec::new")]
        stopped: Vec<NestedStep>,
    },
    WarmUp {},
    Play {
        progress: Option<Message>,
        #[serde(default = "Vec::new")]
        paused: Vec<NestedStep>,
        #[serde(default = "Vec::new")]
        resumed: Vec<NestedStep>,
        #[serde(default = "Vec::new")]
        stopped: Vec<NestedStep>,
    },
    Park {
        progress: Option<Message>,
    },
    Rest {},
    ReportSettings {
        #[serde(default)]
        once: bool,
    },
    ProbeFirmware {},
    DownloadFirmware {},
    Refuse {
        reason: String,
    },
    Custom {
        name: Word,
        #[serde(default)]
        arguments: Value,
        /// Fields of the result that templates use.
        #[serde(default)]
        fields: Vec<Word>,
    },
}

impl StepKind {
    fn emit(&self) -> Option<&Emit> {
        match self {
            Self::Send(emit) => Some(emit),
            _ => None,
        }
    }

    /// Returns the cleanup if the action ends early from this step on, unless that of an earlier step remains.
    fn stopped(&self) -> Option<&[Step]> {
        match self {
            Self::Button { stopped } => Some(stopped),
            Self::Play { stopped, .. } if !stopped.is_empty() => Some(stopped),
            _ => None,
        }
    }
}

/// A name of letters, digits and underscores: safe in file names and URLs, and usable in placeholders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Word(String);

impl TryFrom<String> for Word {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            Ok(Self(text))
        } else {
            Err("a name must consist of letters, digits and underscores")
        }
    }
}

impl std::ops::Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// An action of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) steps: Vec<Step>,
    pub(crate) completed: Vec<Step>,
    pub(crate) cancelled: Vec<Step>,
    pub(crate) failed: Vec<Step>,
}

impl Row {
    /// Returns whether the action downloads or plays a pulse file: only one such action is accepted at a time.
    pub(crate) fn is_job(&self) -> bool {
        self.needs_motion_url() || self.steps.iter().any(|step| matches!(step.kind, StepKind::Play { .. }))
    }

    /// Returns whether the action does not need the machine, so that it can run while another action does.
    pub(crate) fn is_immediate(&self) -> bool {
        self.steps.iter().all(|step| match step.kind {
            StepKind::Send(_)
            | StepKind::ReportSettings { .. }
            | StepKind::ProbeFirmware {}
            | StepKind::Refuse { .. } => true,
            StepKind::Capture { .. }
            | StepKind::Upload { .. }
            | StepKind::Download { .. }
            | StepKind::Button { .. }
            | StepKind::RequireLidClosed { .. }
            | StepKind::WarmUp {}
            | StepKind::Play { .. }
            | StepKind::Park { .. }
            | StepKind::Rest {}
            | StepKind::DownloadFirmware {}
            | StepKind::Custom { .. } => false,
        })
    }

    /// Returns whether an [immediate](Self::is_immediate) action sends requests to the service.
    pub(crate) fn makes_requests(&self) -> bool {
        self.steps.iter().any(|step| match &step.kind {
            StepKind::ProbeFirmware {} => true,
            StepKind::Send(emit) => matches!(emit.channel, Channel::Web | Channel::Status),
            _ => false,
        })
    }

    /// Returns whether the action needs a `motion_url`.
    pub(crate) fn needs_motion_url(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.kind, StepKind::Download { .. }))
    }
}

/// A change of button or lid that is reported to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Signal {
    ButtonPressed,
    ButtonReleased,
    LidOpened,
    LidClosed,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::ButtonPressed => "button_pressed",
            Self::ButtonReleased => "button_released",
            Self::LidOpened => "lid_opened",
            Self::LidClosed => "lid_closed",
        }
    }
}

/// A loaded and checked actions table. See the [module](self) for its format.
#[derive(Debug)]
pub struct Table {
    line_end: String,
    start: Vec<Step>,
    signals: BTreeMap<Signal, Vec<Emit>>,
    rows: BTreeMap<String, Row>,
}

impl Table {
    /// Returns the row of an action type.
    pub(crate) fn row(&self, action_type: &str) -> Option<&Row> {
        self.rows.get(action_type)
    }

    /// Returns the messages to send on a signal.
    pub(crate) fn signal(&self, signal: Signal) -> &[Emit] {
        self.signals.get(&signal).map_or(&[], Vec::as_slice)
    }
}
