//! The actions registry: for each action its steps in order, and what ends it, read from a table.
//!
//! `1.x.json` and `2.6.json` beside this file are the built-in tables; `[SERVICE] actions_file` names another of the
//! same form. A table is checked whole when it is loaded, nested steps included: whatever it could send has a value for
//! every placeholder, and every action ends with exactly one terminal event. `runner.rs` walks the rows.
//!
//! # The form of a table
//!
//! | key | what |
//! |---|---|
//! | `generation` | a name, for messages |
//! | `line_end` | what ends a WebSocket message |
//! | `templates` | name → `channel` (`ws`; `progress`, which may be dropped; `web`; `status`) and `message` |
//! | `start` | steps to do once signed in, before the WebSocket opens |
//! | `signals` | `button_pressed`, `button_released`, `lid_opened`, `lid_closed`: steps that send |
//! | `actions` | action type → `steps`, and `completed`, `cancelled`, `failed`: what ends it |
//!
//! A step is `{"send": template, word: value, ...}` or `{"do": what, ...}`; either may have `delay_s` (before it, at
//! time scale 1) and `optional` (its failure is logged and the action goes on; what follows cannot use its values). What
//! there is to do:
//!
//! | `do` | options |
//! |---|---|
//! | `capture` | `camera`: `lid` or `head`; `laser`: `asked` (by the action's `HCil`), `on`, `off`; `homing_after`: the action right after which a picture begins homing |
//! | `upload` | everything captured; `kind`: the service's own path; `to`: `endpoint` (where the action has one) or `service`; `failed`: steps |
//! | `download` | the action's pulse file; `progress`: a template |
//! | `button` | wait for it |
//! | `warm_up` | from here to the end of `play` an open lid ends the action; a press of the button pauses the run as it begins |
//! | `park`, `rest` | |
//! | `play` | the downloaded job; `progress`; `paused` (without it, the button does not pause the job), `resumed`; `stopped`: the way home, of which is done what the row has not done itself when it ends early |
//! | `report_settings` | makes `<SETTINGS>`; `once`: values the first time only |
//! | `probe_firmware`, `download_firmware` | |
//! | `refuse` | `reason` |
//!
//! Placeholders in a message are `<word>` from the step, `<MACHINE.FIRMWARE>`, `<MACHINE.APP_VERSION>`,
//! `<MACHINE.IP_ADDRESS>`, `<MACHINE.SERIAL>`, `<MACHINE.HOSTNAME>` from the configuration, and `<ID>`, `<TIMESTAMP>`,
//! `<ACTION_ID>`, `<MILLI_EPOCH>`, `<MOTION_URL>`, `<SETTINGS>`, `<AVAILABLE_FIRMWARE>`, `<CURRENT>`, `<TOTAL>`, `<X>`,
//! `<Y>`, `<Z>` from the action as it runs.

mod load;
pub(crate) mod messages;
mod request;
mod runner;
mod settings;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use request::{Action, Status, shown};
pub(crate) use runner::{Ending, Runner, SessionState, end, start, values_of};
pub(crate) use template::{Template, Values, Variable};

use crate::machine::Camera;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// The WebSocket: an event.
    Event,
    /// The WebSocket: progress, which may be dropped.
    Progress,
    /// `POST /api/event`.
    Web,
    /// `PUT /api/machines/status`.
    Status,
}

/// A message and its way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Emit {
    pub(crate) channel: Channel,
    pub(crate) message: Template,
}

/// One thing that an action does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) delay: Duration,
    pub(crate) optional: bool,
    pub(crate) kind: StepKind,
}

/// Whether the measure laser is lit for a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Laser {
    /// As the action's `HCil` says.
    AsRequested,
    On,
    Off,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StepKind {
    Send(Emit),
    Capture { camera: Camera, laser: Laser, homing_after: Option<String> },
    Upload { kind: String, to_endpoint: bool, failed: Vec<Step> },
    Download { progress: Option<Emit> },
    Button,
    WarmUp,
    Play { progress: Option<Emit>, paused: Vec<Step>, resumed: Vec<Step>, stopped: Vec<Step> },
    Park,
    Rest,
    ReportSettings { once: bool },
    ProbeFirmware,
    DownloadFirmware,
    Refuse { reason: String },
}

/// One action: what it does, and how it ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) steps: Vec<Step>,
    pub(crate) completed: Vec<Step>,
    pub(crate) cancelled: Vec<Step>,
    pub(crate) failed: Vec<Step>,
}

impl Row {
    /// Whether a pulse file is part of it: of those there is one at a time.
    pub(crate) fn is_job(&self) -> bool {
        self.needs_motion_url() || self.steps.iter().any(|step| matches!(step.kind, StepKind::Play { .. }))
    }

    /// Whether it cannot be done for an action without a `motion_url`.
    pub(crate) fn needs_motion_url(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.kind, StepKind::Download { .. }))
    }
}

/// What reaches a machine from people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    ButtonPressed,
    ButtonReleased,
    LidOpened,
    LidClosed,
}

impl Signal {
    const ALL: [(&'static str, Self); 4] = [
        ("button_pressed", Self::ButtonPressed),
        ("button_released", Self::ButtonReleased),
        ("lid_opened", Self::LidOpened),
        ("lid_closed", Self::LidClosed),
    ];
}

/// A loaded and checked actions table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) line_end: String,
    pub(crate) start: Vec<Step>,
    signals: Vec<(Signal, Vec<Emit>)>,
    rows: BTreeMap<String, Row>,
}

impl Table {
    /// The row of an action type; none where it is unknown.
    pub(crate) fn row(&self, action_type: &str) -> Option<&Row> {
        self.rows.get(action_type)
    }

    /// What is said when `signal` comes.
    pub(crate) fn signal(&self, signal: Signal) -> &[Emit] {
        self.signals.iter().find(|(known, _)| *known == signal).map_or(&[], |(_, says)| says)
    }
}
