//! From a table's text to a checked [`Table`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::settings;
use super::{Channel, Emit, Laser, Row, Signal, Step, StepKind, Table, Template, Variable};
use crate::config::Generation;
use crate::machine::Camera;
use crate::{Config, Error, Result, files};

const V1: &str = include_str!("1.x.json");
const V2: &str = include_str!("2.6.json");
const LARGEST_TABLE_BYTES: u64 = 4 << 20;
const LONGEST_DELAY_S: f64 = 3600.0;
/// What every action ends with: exactly one of them, exactly once.
const ENDINGS: [&str; 3] = ["completed", "cancelled", "failed"];

type Checked<T> = std::result::Result<T, (String, String)>;

impl Table {
    /// The table that `config` asks for: its `actions_file`, or the built-in one of its generation.
    ///
    /// # Errors
    ///
    /// [`Error::Table`] with the place in the table and what is wrong there; [`Error::File`] and [`Error::TooLarge`] where
    /// the file cannot be read.
    pub(crate) fn load(config: &Config) -> Result<Self> {
        let Some(path) = &config.service.actions_file else {
            let generation = config.generation();
            let text = match generation {
                Generation::V1 => V1,
                Generation::V2 => V2,
            };
            return Self::parse(&generation.to_string(), text, config);
        };
        Self::parse(&path.display().to_string(), &files::read_text(path, LARGEST_TABLE_BYTES)?, config)
    }

    pub(crate) fn parse(name: &str, text: &str, config: &Config) -> Result<Self> {
        let table_error = |(at, reason)| Error::Table { table: name.into(), at, reason };
        let value: Value = serde_json::from_str(text).map_err(|e| {
            table_error((format!("line {}, column {}", e.line(), e.column()), format!("not JSON: {e}")))
        })?;
        Loader { known: settled(config), templates: Map::new() }.table(&value).map_err(table_error)
    }
}

/// What the configuration has values for.
fn settled(config: &Config) -> Vec<(&'static str, Value)> {
    let machine = &config.machine;
    let app_version = machine.app_version.clone().unwrap_or_else(|| settings::default_app_version(config.generation()));
    vec![
        ("MACHINE.FIRMWARE", json!(machine.firmware)),
        ("MACHINE.APP_VERSION", json!(app_version)),
        ("MACHINE.IP_ADDRESS", json!(machine.ip_address)),
        ("MACHINE.SERIAL", json!(machine.serial)),
        ("MACHINE.HOSTNAME", json!(machine.hostname)),
    ]
}

struct Loader {
    known: Vec<(&'static str, Value)>,
    templates: Map<String, Value>,
}

/// Which variables have a value at this point of a row.
#[derive(Clone)]
struct Scope(BTreeSet<Variable>);

impl Scope {
    fn anywhere() -> Self {
        Self(BTreeSet::from([Variable::Id, Variable::Timestamp, Variable::MilliEpoch]))
    }

    fn with(&self, more: &[Variable]) -> Self {
        Self(self.0.iter().chain(more).copied().collect())
    }
}

const RUN_PROGRESS: [Variable; 5] = [Variable::Current, Variable::Total, Variable::X, Variable::Y, Variable::Z];

impl Loader {
    fn table(mut self, value: &Value) -> Checked<Table> {
        let top = object(value, "the table")?;
        only_keys(top, "the table", &["about", "generation", "line_end", "templates", "start", "signals", "actions"])?;
        let line_end = text(field(top, "the table", "line_end")?, "line_end")?.to_owned();
        // Anything else behind a message would be a part of it.
        if !line_end.bytes().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return Err(("line_end".into(), "has line ends alone: \"\\n\" or \"\\r\\n\"".into()));
        }
        self.templates.clone_from(object(field(top, "the table", "templates")?, "templates")?);
        let start = match top.get("start") {
            Some(steps) => self.steps(steps, "start", &mut Scope::anywhere())?,
            None => Vec::new(),
        };
        if let Some(n) = start.iter().position(|step| !may_be_at_start(&step.kind)) {
            return Err((format!("start[{n}]"), "here one only sends, probes and downloads firmware".into()));
        }
        let mut signals = Vec::new();
        if let Some(table) = top.get("signals") {
            let table = object(table, "signals")?;
            only_keys(table, "signals", &Signal::ALL.map(|(name, _)| name))?;
            for (name, signal) in Signal::ALL {
                let at = format!("signals.{name}");
                let steps = match table.get(name) {
                    Some(steps) => self.steps(steps, &at, &mut Scope::anywhere())?,
                    None => continue,
                };
                only_events(&steps, &at, false)?;
                signals.push((signal, emits(steps)));
            }
        }
        let mut rows = BTreeMap::new();
        for (name, row) in object(field(top, "the table", "actions")?, "actions")? {
            let at = format!("actions.{name}");
            // It becomes part of a file name.
            if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
                return Err((at, "an action's name has letters, digits and underscores".into()));
            }
            rows.insert(name.clone(), self.row(name, row, &at)?);
        }
        only_endings_end(&start, &signals, &rows)?;
        Ok(Table { line_end, start, signals, rows })
    }

    fn row(&self, name: &str, value: &Value, at: &str) -> Checked<Row> {
        let parts = object(value, at)?;
        only_keys(parts, at, &["steps", "completed", "cancelled", "failed"])?;
        let mut scope = Scope::anywhere().with(&[Variable::ActionId]);
        // Cancelled and failed can come before anything else has happened: they have what is there at the start.
        let at_start = scope.clone();
        let list = field(parts, at, "steps")?;
        let downloads = |step: &Value| step.get("do").and_then(Value::as_str) == Some("download");
        if list.as_array().is_some_and(|steps| steps.iter().any(downloads)) {
            scope = scope.with(&[Variable::MotionUrl, Variable::Current]);
        }
        let steps = self.steps(list, &format!("{at}.steps"), &mut scope)?;
        let ending = |which: &str, scope: &Scope| -> Checked<Vec<Step>> {
            let at = format!("{at}.{which}");
            let steps = self.steps(field(parts, &at, which)?, &at, &mut scope.clone())?;
            only_events(&steps, &at, false)?;
            let terminal = format!("{name}:{which}");
            let terminals: Vec<_> =
                messages(&steps).into_iter().filter(|say| say.message.fixed_text("event") == Some(&terminal)).collect();
            match terminals[..] {
                [say] if say.message.is_variable("action_id", Variable::ActionId) => Ok(steps),
                [_] => Err((at, format!("{terminal:?} needs \"action_id\": \"<ACTION_ID>\" to say what it ends"))),
                _ => Err((at, format!("has {} events {terminal:?} in place of one", terminals.len()))),
            }
        };
        Ok(Row {
            completed: ending("completed", &scope)?,
            cancelled: ending("cancelled", &at_start)?,
            failed: ending("failed", &at_start)?,
            steps,
        })
    }

    fn steps(&self, value: &Value, at: &str, scope: &mut Scope) -> Checked<Vec<Step>> {
        let Value::Array(items) = value else { return Err((at.into(), "should be a list of steps".into())) };
        items.iter().enumerate().map(|(n, item)| self.step(item, &format!("{at}[{n}]"), scope)).collect()
    }

    fn step(&self, value: &Value, at: &str, scope: &mut Scope) -> Checked<Step> {
        let fields = object(value, at)?;
        let delay_s = match fields.get("delay_s") {
            None => 0.0,
            Some(delay) => match delay.as_f64() {
                Some(delay) if (0.0..=LONGEST_DELAY_S).contains(&delay) => delay,
                _ => return Err((format!("{at}.delay_s"), format!("is a number of seconds, 0 to {LONGEST_DELAY_S}"))),
            },
        };
        let optional = flag(fields, at, "optional")?;
        let before = scope.clone();
        let kind = match (fields.get("send"), fields.get("do")) {
            (Some(template), None) => {
                StepKind::Send(self.say(text(template, &format!("{at}.send"))?, fields, at, scope)?)
            }
            (None, Some(what)) => self.step_kind(text(what, &format!("{at}.do"))?, fields, at, scope)?,
            _ => return Err((at.into(), "has either \"send\" or \"do\"".into())),
        };
        if optional {
            // It may fail and the action goes on: nothing that follows can count on its values.
            *scope = before;
        }
        Ok(Step { delay: Duration::from_secs_f64(delay_s), optional, kind })
    }

    fn step_kind(&self, what: &str, fields: &Map<String, Value>, at: &str, scope: &mut Scope) -> Checked<StepKind> {
        let options = |allowed: &[&str]| only_keys(fields, at, &[&["do", "delay_s", "optional"], allowed].concat());
        let inner = |key: &str, scope: &Scope| -> Checked<Vec<Step>> {
            match fields.get(key) {
                Some(steps) => {
                    let at = format!("{at}.{key}");
                    let steps = self.steps(steps, &at, &mut scope.clone())?;
                    only_events(&steps, &at, key == "stopped")?;
                    Ok(steps)
                }
                None => Ok(Vec::new()),
            }
        };
        let progress = |more: &[Variable]| match fields.get("progress") {
            Some(template) => {
                let at = format!("{at}.progress");
                let say = self.say(text(template, &at)?, &Map::new(), &at, &scope.with(more))?;
                if say.channel != Channel::Progress {
                    return Err((at, "wants a template of the channel progress".into()));
                }
                Ok(Some(say))
            }
            None => Ok(None),
        };
        Ok(match what {
            "capture" => {
                options(&["camera", "laser", "homing_after"])?;
                let choose = |key: &str, default: &str| match fields.get(key) {
                    Some(value) => text(value, &format!("{at}.{key}")).map(str::to_owned),
                    None => Ok(default.to_owned()),
                };
                let camera = match choose("camera", "")?.as_str() {
                    "lid" => Camera::Lid,
                    "head" => Camera::Head,
                    _ => return Err((format!("{at}.camera"), "is \"lid\" or \"head\"".into())),
                };
                let laser = match choose("laser", "asked")?.as_str() {
                    "asked" => Laser::AsRequested,
                    "on" => Laser::On,
                    "off" => Laser::Off,
                    _ => return Err((format!("{at}.laser"), "is \"asked\", \"on\" or \"off\"".into())),
                };
                let homing_after = fields.get("homing_after").map(|value| text(value, &format!("{at}.homing_after")));
                StepKind::Capture { camera, laser, homing_after: homing_after.transpose()?.map(str::to_owned) }
            }
            "upload" => {
                options(&["kind", "to", "failed"])?;
                let kind = text(field(fields, at, "kind")?, &format!("{at}.kind"))?;
                if kind.is_empty() || !kind.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
                    return Err((format!("{at}.kind"), "has letters, digits and underscores".into()));
                }
                let to_endpoint = match text(field(fields, at, "to")?, &format!("{at}.to"))? {
                    "endpoint" => true,
                    "service" => false,
                    _ => return Err((format!("{at}.to"), "is \"endpoint\" or \"service\"".into())),
                };
                StepKind::Upload { kind: kind.to_owned(), to_endpoint, failed: inner("failed", scope)? }
            }
            "download" => {
                options(&["progress"])?;
                StepKind::Download { progress: progress(&[Variable::Current])? }
            }
            "play" => {
                options(&["progress", "paused", "resumed", "stopped"])?;
                StepKind::Play {
                    progress: progress(&RUN_PROGRESS)?,
                    paused: inner("paused", scope)?,
                    resumed: inner("resumed", scope)?,
                    stopped: inner("stopped", scope)?,
                }
            }
            "report_settings" => {
                options(&["once"])?;
                *scope = scope.with(&[Variable::Settings]);
                StepKind::ReportSettings { once: flag(fields, at, "once")? }
            }
            "probe_firmware" => {
                options(&[])?;
                *scope = scope.with(&[Variable::AvailableFirmware]);
                StepKind::ProbeFirmware
            }
            "refuse" => {
                options(&["reason"])?;
                StepKind::Refuse { reason: text(field(fields, at, "reason")?, &format!("{at}.reason"))?.to_owned() }
            }
            "button" | "warm_up" | "park" | "rest" | "download_firmware" => {
                options(&[])?;
                match what {
                    "button" => StepKind::Button,
                    "warm_up" => StepKind::WarmUp,
                    "park" => StepKind::Park,
                    "rest" => StepKind::Rest,
                    _ => StepKind::DownloadFirmware,
                }
            }
            other => return Err((format!("{at}.do"), format!("{other:?} is nothing that a machine does"))),
        })
    }

    fn say(&self, template: &str, words: &Map<String, Value>, at: &str, scope: &Scope) -> Checked<Emit> {
        let Some(definition) = self.templates.get(template) else {
            return Err((at.into(), format!("there is no template {template:?}")));
        };
        let of = format!("templates.{template}");
        let definition = object(definition, &of)?;
        only_keys(definition, &of, &["channel", "message"])?;
        let channel = match text(field(definition, &of, "channel")?, &of)? {
            "ws" => Channel::Event,
            "progress" => Channel::Progress,
            "web" => Channel::Web,
            "status" => Channel::Status,
            other => return Err((of, format!("the channel {other:?} is none of ws, progress, web, status"))),
        };
        let known = |name: &str| {
            let word = words.get(name).filter(|_| !["send", "do", "delay_s", "optional"].contains(&name));
            word.cloned()
                .or_else(|| self.known.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()))
        };
        let message = field(definition, &of, "message")?;
        let message = Template::compile(message, &known).map_err(|reason| (at.to_owned(), reason))?;
        if !message.is_object() {
            return Err((at.into(), "its message should be an object".into()));
        }
        // Whether an event ends an action has to be known now.
        if message.varies("event") {
            return Err((at.into(), "the name of an event cannot depend on the action".into()));
        }
        if let Some(missing) = message.variables().into_iter().find(|variable| !scope.0.contains(variable)) {
            let name = Variable::ALL.iter().find(|(_, variable)| *variable == missing).map_or("?", |(name, _)| name);
            return Err((at.into(), format!("<{name}> has no value at this point")));
        }
        Ok(Emit { channel, message })
    }
}

/// Every message that these steps can send, whatever happens: those of nested steps and of progress included.
fn messages(steps: &[Step]) -> Vec<&Emit> {
    let mut found = Vec::new();
    for step in steps {
        match &step.kind {
            StepKind::Send(say) => found.push(say),
            StepKind::Upload { failed, .. } => found.extend(messages(failed)),
            StepKind::Download { progress } => found.extend(progress),
            StepKind::Play { progress, paused, resumed, stopped } => {
                found.extend(progress);
                found.extend([paused, resumed, stopped].into_iter().flat_map(|steps| messages(steps)));
            }
            StepKind::Capture { .. }
            | StepKind::Button
            | StepKind::WarmUp
            | StepKind::Park
            | StepKind::Rest
            | StepKind::ReportSettings { .. }
            | StepKind::ProbeFirmware
            | StepKind::DownloadFirmware
            | StepKind::Refuse { .. } => {}
        }
    }
    found
}

/// Checks that an event that ends an action is sent by the ending of that name in the action's own row, and by nothing
/// else in the table.
fn only_endings_end(start: &[Step], signals: &[(Signal, Vec<Emit>)], rows: &BTreeMap<String, Row>) -> Checked<()> {
    let is_ending = |event: &str| {
        let parts = event.split_once(':');
        parts.is_some_and(|(action, which)| ENDINGS.contains(&which) && rows.contains_key(action))
    };
    let check = |at: &str, says: &[&Emit], own: &str| {
        let mut events = says.iter().filter_map(|say| say.message.fixed_text("event"));
        match events.find(|event| is_ending(event) && *event != own) {
            Some(event) => Err((at.to_owned(), format!("{event:?} would end the action a second time"))),
            None => Ok(()),
        }
    };
    check("start", &messages(start), "")?;
    for (signal, says) in signals {
        let name = Signal::ALL.iter().find(|(_, known)| known == signal).map_or("?", |(name, _)| name);
        check(&format!("signals.{name}"), &says.iter().collect::<Vec<_>>(), "")?;
    }
    for (name, row) in rows {
        for (part, steps) in [
            ("steps", &row.steps),
            ("completed", &row.completed),
            ("cancelled", &row.cancelled),
            ("failed", &row.failed),
        ] {
            // How often an ending has its own event has been counted.
            check(&format!("actions.{name}.{part}"), &messages(steps), &format!("{name}:{part}"))?;
        }
    }
    Ok(())
}

/// What there is a meaning for before the WebSocket opens.
fn may_be_at_start(kind: &StepKind) -> bool {
    matches!(kind, StepKind::Send(_) | StepKind::ProbeFirmware | StepKind::DownloadFirmware)
}

/// What is said when nothing more may go wrong goes over the WebSocket, where it is queued.
fn only_events(steps: &[Step], at: &str, may_park: bool) -> Checked<()> {
    let fits = |step: &Step| match &step.kind {
        StepKind::Send(say) => say.channel == Channel::Event,
        StepKind::Park => may_park,
        _ => false,
    };
    match steps.iter().position(|step| !fits(step)) {
        Some(n) if may_park => Err((format!("{at}[{n}]"), "here one only parks and sends to ws".into())),
        Some(n) => Err((format!("{at}[{n}]"), "here one only sends to ws".into())),
        None => Ok(()),
    }
}

fn emits(steps: Vec<Step>) -> Vec<Emit> {
    let say = |step: Step| match step.kind {
        StepKind::Send(say) => Some(say),
        _ => None,
    };
    steps.into_iter().filter_map(say).collect()
}

fn object<'a>(value: &'a Value, at: &str) -> Checked<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| (at.to_owned(), "should be an object".to_owned()))
}

fn text<'a>(value: &'a Value, at: &str) -> Checked<&'a str> {
    value.as_str().ok_or_else(|| (at.to_owned(), "should be a text".to_owned()))
}

fn field<'a>(fields: &'a Map<String, Value>, at: &str, key: &str) -> Checked<&'a Value> {
    fields.get(key).ok_or_else(|| (at.to_owned(), format!("lacks {key:?}")))
}

fn flag(fields: &Map<String, Value>, at: &str, key: &str) -> Checked<bool> {
    match fields.get(key) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err((format!("{at}.{key}"), "is true or false".into())),
    }
}

fn only_keys(fields: &Map<String, Value>, at: &str, allowed: &[&str]) -> Checked<()> {
    match fields.keys().find(|key| !allowed.contains(&key.as_str())) {
        Some(key) => Err((at.into(), format!("{key:?} is not known here (there are: {})", allowed.join(", ")))),
        None => Ok(()),
    }
}
