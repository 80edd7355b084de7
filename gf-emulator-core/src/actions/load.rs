//! Loads a table: JSON into serde types, then the checks that a type cannot express.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use serde_path_to_error::Segment;

use super::{Channel, Emit, Row, Signal, Step, StepKind, Table, Template, Variable, Word};
use crate::config::Generation;
use crate::{Config, Error, Result, files};

const MAX_TABLE_BYTES: u64 = 4 << 20;
const MAX_DELAY_S: f64 = 3600.0;
const RUN_PROGRESS: [Variable; 6] =
    [Variable::Total, Variable::Played, Variable::Running, Variable::X, Variable::Y, Variable::Z];

/// A table as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an actions table")]
struct TableText {
    #[serde(default, rename = "about")]
    _about: IgnoredAny,
    #[serde(default, rename = "generation")]
    _generation: IgnoredAny,
    line_end: String,
    templates: BTreeMap<String, TemplateText>,
    #[serde(default)]
    start: Vec<StepText>,
    #[serde(default)]
    signals: BTreeMap<Signal, Vec<StepText>>,
    actions: BTreeMap<Word, RowText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a template with \"channel\" and \"message\"")]
struct TemplateText {
    channel: Channel,
    message: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an action with steps and endings")]
struct RowText {
    steps: Vec<StepText>,
    completed: Vec<StepText>,
    cancelled: Vec<StepText>,
    failed: Vec<StepText>,
}

#[derive(Deserialize)]
#[serde(expecting = "a step")]
pub(super) struct StepText {
    #[serde(default, deserialize_with = "delay")]
    delay_s: Duration,
    #[serde(default)]
    optional: bool,
    send: Option<String>,
    r#do: Option<String>,
    /// The values for the template of `send`, or the options of `do`.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn delay<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    if (0.0..=MAX_DELAY_S).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(D::Error::custom(format!("must be 0 to {MAX_DELAY_S} seconds")))
    }
}

/// What is wrong with a table.
struct Problem {
    at: String,
    reason: String,
}

type Checked<T> = std::result::Result<T, Problem>;

fn problem<T>(at: impl Into<String>, reason: impl Into<String>) -> Checked<T> {
    Err(Problem { at: at.into(), reason: reason.into() })
}

impl Table {
    /// Returns the text of a built-in table: a starting point for a table of your own.
    #[must_use]
    pub fn builtin_text(generation: Generation) -> &'static str {
        match generation {
            Generation::V1 => include_str!("1.x.json"),
            Generation::V2 => include_str!("2.6.json"),
        }
    }

    /// Loads a built-in table.
    ///
    /// # Errors
    ///
    /// [`Error::Table`], which would be a bug: tests load both tables.
    pub fn builtin(generation: Generation) -> Result<Self> {
        Self::from_text(&generation.to_string(), Self::builtin_text(generation))
    }

    /// Loads a table from its text. `name` is for error messages.
    ///
    /// # Errors
    ///
    /// [`Error::Table`] with the place in the table and what is wrong there.
    pub fn from_text(name: &str, text: &str) -> Result<Self> {
        load(text).map_err(|Problem { at, reason }| Error::Table { table: name.into(), at, reason })
    }

    /// Loads a table of up to 4 MiB from a reader. Otherwise as [`from_text`](Self::from_text).
    ///
    /// # Errors
    ///
    /// As [`from_text`](Self::from_text); [`Error::File`] if reading fails or the table is not UTF-8; [`Error::TooLarge`].
    pub fn from_reader(name: &str, reader: impl Read) -> Result<Self> {
        let failed = |source| Error::File { doing: "read", path: name.into(), source };
        let mut text = Vec::new();
        reader.take(MAX_TABLE_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_TABLE_BYTES {
            return Err(Error::TooLarge { what: name.into(), limit_bytes: MAX_TABLE_BYTES });
        }
        let text = String::from_utf8(text)
            .map_err(|_| failed(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text")))?;
        Self::from_text(name, &text)
    }

    /// Returns the table that `config` selects: `actions_file`, or the built-in table of its generation, which all
    /// emulators of this process share.
    pub(crate) fn load(config: &Config) -> Result<Arc<Self>> {
        static BUILTIN: [OnceLock<Arc<Table>>; 2] = [const { OnceLock::new() }; 2];
        if let Some(path) = &config.service.actions_file {
            let table = files::open(path).and_then(|file| Self::from_reader(&path.display().to_string(), file));
            return table.map(Arc::new).map_err(|e| e.of_setting("read the actions_file"));
        }
        let shared = match config.generation() {
            Generation::V1 => &BUILTIN[0],
            Generation::V2 => &BUILTIN[1],
        };
        match shared.get() {
            Some(table) => Ok(Arc::clone(table)),
            None => Self::builtin(config.generation()).map(|table| Arc::clone(shared.get_or_init(|| Arc::new(table)))),
        }
    }
}

/// Deserializes the part of a table at `at`. A problem names the place within it.
fn parse<'de, T, D>(deserializer: D, at: &str) -> Checked<T>
where
    D: Deserializer<'de, Error = serde_json::Error>,
    T: Deserialize<'de>,
{
    serde_path_to_error::deserialize(deserializer).map_err(|e| {
        let mut at = at.to_owned();
        for segment in e.path() {
            match segment {
                Segment::Seq { index } => at.extend(["[", &index.to_string(), "]"]),
                Segment::Map { key } if at.is_empty() => at.push_str(key),
                Segment::Map { key } => at.extend([".", key]),
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        let at = if at.is_empty() { "top level".into() } else { at };
        Problem { at, reason: e.into_inner().to_string() }
    })
}

fn load(json: &str) -> Checked<Table> {
    let mut json = serde_json::Deserializer::from_str(json);
    let text: TableText = parse(&mut json, "")?;
    json.end().or_else(|e| problem("top level", e.to_string()))?;
    // Anything else would become part of the message.
    if !text.line_end.bytes().all(|byte| matches!(byte, b'\r' | b'\n')) {
        return problem("line_end", r#"must be a line end: "\n" or "\r\n""#);
    }
    let action_types = text.actions.keys().cloned().collect();
    let loader = Loader { templates: text.templates, action_types };
    let own = [Variable::Id, Variable::Timestamp, Variable::MilliEpoch];
    let scope = Scope {
        variables: own.into_iter().chain(Variable::OF_MACHINE).collect(),
        terminal_event: None,
        action_type: None,
    };
    let start = loader.steps(text.start, "start", &mut scope.clone())?;
    only(&start, "start", "send, probe_firmware and download_firmware", |kind| {
        matches!(kind, StepKind::Send(_) | StepKind::ProbeFirmware {} | StepKind::DownloadFirmware {})
    })?;
    let mut signals = BTreeMap::new();
    for (signal, steps) in text.signals {
        let steps = loader.events(steps, &format!("signals.{}", signal.name()), &scope)?;
        signals.insert(signal, steps.iter().filter_map(|step| step.kind.emit()).cloned().collect());
    }
    let mut rows = BTreeMap::new();
    for (Word(name), row) in text.actions {
        let row = loader.row(&name, row, scope.clone())?;
        rows.insert(name, row);
    }
    Ok(Table { line_end: text.line_end, start, signals, rows })
}

/// What may be used and sent at this point of a table.
#[derive(Clone)]
struct Scope {
    /// The variables that have a value.
    variables: BTreeSet<Variable>,
    /// The only terminal event that may be sent.
    terminal_event: Option<String>,
    /// The value of `<ACTION>`.
    action_type: Option<String>,
}

struct Loader {
    templates: BTreeMap<String, TemplateText>,
    action_types: BTreeSet<Word>,
}

impl Loader {
    fn row(&self, name: &str, text: RowText, mut scope: Scope) -> Checked<Row> {
        scope.variables.extend([Variable::ActionId, Variable::Current]);
        scope.action_type = Some(name.to_owned());
        // An action can be cancelled or fail before its first step.
        let initial = scope.clone();
        if text.steps.iter().any(|step| step.r#do.as_deref() == Some("download")) {
            scope.variables.insert(Variable::MotionUrl);
        }
        let steps = self.steps(text.steps, &format!("actions.{name}.steps"), &mut scope)?;
        let ending = |which: &str, steps, scope: &Scope| -> Checked<Vec<Step>> {
            let (at, terminal) = (format!("actions.{name}.{which}"), format!("{name}:{which}"));
            let steps = self.events(steps, &at, &Scope { terminal_event: Some(terminal.clone()), ..scope.clone() })?;
            let is_terminal = |emit: &&Emit| emit.message.fixed_text("event") == Some(&terminal);
            let terminals: Vec<_> = steps.iter().filter_map(|step| step.kind.emit()).filter(is_terminal).collect();
            match terminals[..] {
                [emit] if emit.message.is_variable("action_id", &Variable::ActionId) => Ok(steps),
                [_] => problem(at, format!("{terminal:?} must have \"action_id\": \"<ACTION_ID>\"")),
                _ => problem(at, format!("must send {terminal:?} once, not {} times", terminals.len())),
            }
        };
        Ok(Row {
            completed: ending("completed", text.completed, &scope)?,
            cancelled: ending("cancelled", text.cancelled, &initial)?,
            failed: ending("failed", text.failed, &initial)?,
            steps,
        })
    }

    fn steps(&self, steps: Vec<StepText>, at: &str, scope: &mut Scope) -> Checked<Vec<Step>> {
        steps.into_iter().enumerate().map(|(n, step)| self.step(step, &format!("{at}[{n}]"), scope)).collect()
    }

    /// Loads steps that run when nothing may fail any more: they can only send to the WebSocket, which is queued.
    fn events(&self, steps: Vec<StepText>, at: &str, scope: &Scope) -> Checked<Vec<Step>> {
        let steps = self.steps(steps, at, &mut scope.clone())?;
        only(&steps, at, "send to the channel ws", is_event)?;
        Ok(steps)
    }

    /// Loads the `stopped` steps of the step at `at`.
    fn cleanup(&self, steps: Vec<StepText>, at: &str, scope: &Scope) -> Checked<Vec<Step>> {
        let at = format!("{at}.stopped");
        let steps = self.steps(steps, &at, &mut scope.clone())?;
        only(&steps, &at, "park, rest, and send to the channel ws", |kind| {
            is_event(kind) || matches!(kind, StepKind::Park { .. } | StepKind::Rest {})
        })?;
        Ok(steps)
    }

    fn step(&self, text: StepText, at: &str, scope: &mut Scope) -> Checked<Step> {
        let StepText { delay_s, optional, send, r#do, rest } = text;
        let before = scope.clone();
        let kind = match (send, r#do) {
            (Some(template), None) => StepKind::Send(self.emit(&template, &rest, at, scope)?),
            (None, Some(kind)) => self.step_kind(parse(json!({ kind: rest }), at)?, at, scope)?,
            _ => return problem(at, r#"must have either "send" or "do""#),
        };
        if optional {
            // It may fail: later steps cannot use its values.
            *scope = before;
        }
        Ok(Step { delay: delay_s, optional, kind })
    }

    fn step_kind(&self, text: StepKind<String, StepText>, at: &str, scope: &mut Scope) -> Checked<StepKind> {
        let events = |key: &str, steps| self.events(steps, &format!("{at}.{key}"), scope);
        let progress = |template: Option<String>, variables: &[Variable]| -> Checked<Option<Emit>> {
            let Some(template) = template else { return Ok(None) };
            let (at, mut scope) = (format!("{at}.progress"), scope.clone());
            scope.variables.extend(variables.iter().cloned());
            match self.emit(&template, &Map::new(), &at, &scope)? {
                emit @ Emit { channel: Channel::Progress, .. } => Ok(Some(emit)),
                _ => problem(at, "must be a template of the channel progress"),
            }
        };
        Ok(match text {
            StepKind::Send(_) => unreachable!("`send` is not a `do`"),
            StepKind::Capture { camera, laser, homing_after } => StepKind::Capture { camera, laser, homing_after },
            StepKind::Upload { kind, to, progress: template, failed } => {
                StepKind::Upload { kind, to, progress: progress(template, &[])?, failed: events("failed", failed)? }
            }
            StepKind::Download { progress: template } => StepKind::Download { progress: progress(template, &[])? },
            StepKind::RequireLidClosed { otherwise } => StepKind::RequireLidClosed { otherwise },
            StepKind::Button { stopped } => StepKind::Button { stopped: self.cleanup(stopped, at, scope)? },
            StepKind::WarmUp {} => StepKind::WarmUp {},
            StepKind::Play { progress: template, paused, resumed, stopped } => {
                let progress = progress(template, &RUN_PROGRESS)?;
                let (paused, resumed) = (events("paused", paused)?, events("resumed", resumed)?);
                let stopped = self.cleanup(stopped, at, scope)?;
                StepKind::Play { progress, paused, resumed, stopped }
            }
            StepKind::Park { progress: template } => StepKind::Park { progress: progress(template, &RUN_PROGRESS)? },
            StepKind::Rest {} => StepKind::Rest {},
            StepKind::ReportSettings { once } => {
                scope.variables.insert(Variable::Settings);
                StepKind::ReportSettings { once }
            }
            StepKind::ProbeFirmware {} => {
                scope.variables.insert(Variable::AvailableFirmware);
                StepKind::ProbeFirmware {}
            }
            StepKind::DownloadFirmware {} => StepKind::DownloadFirmware {},
            StepKind::Refuse { reason } => StepKind::Refuse { reason },
            StepKind::Custom { name, arguments, fields } => {
                scope.variables.insert(Variable::result(&name, None));
                scope.variables.extend(fields.iter().map(|field| Variable::result(&name, Some(field))));
                StepKind::Custom { name, arguments, fields }
            }
        })
    }

    fn emit(&self, template: &str, words: &Map<String, Value>, at: &str, scope: &Scope) -> Checked<Emit> {
        let Some(TemplateText { channel, message }) = self.templates.get(template) else {
            return problem(at, format!("there is no template {template:?}"));
        };
        let action_type = |key: &str| scope.action_type.as_ref().filter(|_| key == "ACTION").map(|name| json!(name));
        let known = |key: &str| words.get(key).cloned().or_else(|| action_type(key));
        let message = Template::compile(message, &known).or_else(|reason| problem(at, reason))?;
        if let Some(missing) = message.variables().into_iter().find(|variable| !scope.variables.contains(variable)) {
            return problem(at, format!("{missing} has no value at this point"));
        }
        // Whether an event is terminal must be known now.
        if message.varies("event") {
            return problem(at, "the name of an event cannot depend on the action");
        }
        match message.fixed_text("event") {
            Some(event) if self.is_terminal(event) && scope.terminal_event.as_deref() != Some(event) => {
                problem(at, format!("the terminal event {event:?} is only allowed in the ending of its own action"))
            }
            _ => Ok(Emit { channel: *channel, message }),
        }
    }

    /// Returns whether `event` is a terminal event of any action: each must be sent exactly once.
    fn is_terminal(&self, event: &str) -> bool {
        event.split_once(':').is_some_and(|(action, ending)| {
            ["completed", "cancelled", "failed"].contains(&ending)
                && self.action_types.iter().any(|name| **name == *action)
        })
    }
}

/// Checks that all steps are of an allowed kind.
fn only(steps: &[Step], at: &str, allowed: &str, is_allowed: impl Fn(&StepKind) -> bool) -> Checked<()> {
    match steps.iter().position(|step| !is_allowed(&step.kind)) {
        Some(n) => problem(format!("{at}[{n}]"), format!("not allowed here; allowed: {allowed}")),
        None => Ok(()),
    }
}

fn is_event(kind: &StepKind) -> bool {
    matches!(kind, StepKind::Send(Emit { channel: Channel::Event, .. }))
}
