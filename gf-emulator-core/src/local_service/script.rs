//! Scripts: what the service does with each machine, read from JSON.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::LocalServiceError;
use super::fault::Fault;
use super::link::{Cut, can_be_sent};

/// The default timeout of a step.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest time in a script: a year, in seconds.
const LONGEST_S: f64 = 365.0 * 86_400.0;
/// The placeholders in the strings of an action.
const PLACEHOLDERS: [&str; 3] = ["http", "puls", "serial"];

/// Steps that the service runs with every machine, starting when it first opens its WebSocket and continuing across
/// reconnections.
///
/// As JSON it is a list of objects:
///
/// | step | |
/// |---|---|
/// | `{"send": {...}, "timeout_s": 60}` | sends the object as an action; waits for the machine to be connected |
/// | `{"await": "event", "action_id": 7, "timeout_s": 60}` | waits for an event (of that action, if given) |
/// | `{"sleep_s": 0.5}` | waits that long |
/// | `{"drop": true}` | cuts the WebSocket as [`Cut::Drain`] does; `"hard"` as [`Cut::Hard`], `"reset"` as [`Cut::Reset`] |
/// | `{"close": 1000}` | closes the WebSocket with a Close frame |
/// | `{"fault": {"status": 503, "times": 2}}` | from now on, this [`Fault`] happens to the script's machine |
///
/// `timeout_s` and `action_id` are optional; the default timeout is 60 s.
///
/// In the strings of an action, `{http}` is the service's base URL, `{puls}` the URL of its pulse file and `{serial}`
/// the machine's serial number as it signed in (`S12345`).
///
/// An `await` also finds an event that came before the step, unless an earlier step found it. With `action_id`, an
/// `await` of a terminal event fails at once if the action ends otherwise: `print:failed` instead of `print:completed`.
/// A machine that has no WebSocket and is silent for 30 seconds is gone, and its script ends (see
/// [`Builder::gone_after`](super::Builder::gone_after)).
///
/// An action must have an `action_type` and no other placeholders. To send an invalid action on purpose, build a
/// [`ScriptStep::Send`] in code.
///
/// `Script::default()` is for 1.x machines, and for tests of every kind of action: settings, homing, a hunt, pictures of
/// head and bed, a print. For a 2.6 machine, [`Behaviour`](super::Behaviour) is what the cloud does.
///
/// ```
/// use gf_emulator_core::local_service::Script;
///
/// let script = Script::from_json(r#"[{"send": {"id": 1, "action_type": "hunt", "status": "ready"}}]"#)?;
/// assert_eq!(script.steps().len(), 1);
/// let wrong = Script::from_json(r#"[{"sleep_s": 1}, {"snd": {}}]"#).unwrap_err();
/// assert!(wrong.to_string().starts_with("step 2 of the script: unknown field `snd`"));
/// # Ok::<(), gf_emulator_core::local_service::LocalServiceError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    steps: Vec<ScriptStep>,
}

/// One step of a [`Script`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ScriptStep {
    /// Sends an action.
    Send {
        /// The action, with its placeholders.
        action: Map<String, Value>,
        /// How long to wait for a machine to be connected.
        timeout: Duration,
    },
    /// Waits for an event.
    Await {
        /// The event's name.
        event: String,
        /// The action that it must belong to; `None` for any.
        action_id: Option<i64>,
        /// How long to wait.
        timeout: Duration,
    },
    /// Waits that long.
    Sleep(Duration),
    /// Cuts the WebSocket.
    Drop(Cut),
    /// Closes the WebSocket with this code.
    Close(u16),
    /// Adds a fault of the script's machine.
    Fault(Fault),
}

impl Default for Script {
    fn default() -> Self {
        Self::from_json(include_str!("default_script.json")).expect("a test reads the built-in script")
    }
}

impl Script {
    /// Creates a script of these steps.
    #[must_use]
    pub fn new(steps: Vec<ScriptStep>) -> Self {
        Self { steps }
    }

    /// Returns the steps.
    #[must_use]
    pub fn steps(&self) -> &[ScriptStep] {
        &self.steps
    }

    /// Parses a script.
    ///
    /// # Errors
    /// [`LocalServiceError::ScriptSyntax`] if the text is not a JSON list; [`LocalServiceError::ScriptStep`] if a step
    /// is invalid.
    pub fn from_json(text: &str) -> Result<Self, LocalServiceError> {
        if text.trim().is_empty() {
            return Err(LocalServiceError::ScriptSyntax { reason: "it is empty".to_owned() });
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let fields: Vec<StepFields> = serde_path_to_error::deserialize(&mut json).map_err(|e| locate(&e))?;
        json.end().map_err(|e| LocalServiceError::ScriptSyntax { reason: e.to_string() })?;
        let steps = (1..).zip(fields);
        let steps = steps
            .map(|(step, fields)| fields.into_step().map_err(|reason| LocalServiceError::ScriptStep { step, reason }));
        Ok(Self { steps: steps.collect::<Result<_, _>>()? })
    }
}

/// Turns the path of an error, such as `[1].timeout_s`, into the number of the step and the key.
fn locate(error: &serde_path_to_error::Error<serde_json::Error>) -> LocalServiceError {
    let reason = error.inner().to_string();
    let mut path = error.path().iter();
    match path.next() {
        Some(Segment::Seq { index }) if error.inner().is_data() => {
            let key = path.next().filter(|_| !reason.starts_with("unknown field"));
            let key = key.map(|key| format!("{key}: ")).unwrap_or_default();
            LocalServiceError::ScriptStep { step: index + 1, reason: format!("{key}{reason}") }
        }
        _ => LocalServiceError::ScriptSyntax { reason },
    }
}

/// A step as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {\"await\": \"hunt:completed\"}")]
struct StepFields {
    #[serde(default, deserialize_with = "present")]
    send: Option<Map<String, Value>>,
    #[serde(default, deserialize_with = "present")]
    r#await: Option<String>,
    #[serde(default, deserialize_with = "present")]
    sleep_s: Option<Seconds>,
    #[serde(default, deserialize_with = "present")]
    drop: Option<Cut>,
    #[serde(default, deserialize_with = "present")]
    close: Option<CloseCode>,
    #[serde(default, deserialize_with = "present")]
    fault: Option<Fault>,
    #[serde(default, deserialize_with = "present")]
    action_id: Option<i64>,
    #[serde(default, deserialize_with = "present")]
    timeout_s: Option<Seconds>,
}

/// Reads a field that is present. Unlike serde's own `Option`, refuses `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl StepFields {
    fn into_step(self) -> Result<ScriptStep, String> {
        let Self { send, r#await, sleep_s, drop, close, fault, action_id, timeout_s } = self;
        if action_id.is_some() && r#await.is_none() {
            return Err("\"action_id\" belongs to \"await\" only".to_owned());
        }
        if timeout_s.is_some() && send.is_none() && r#await.is_none() {
            return Err("\"timeout_s\" belongs to \"send\" and \"await\" only".to_owned());
        }
        let timeout = timeout_s.map_or(DEFAULT_TIMEOUT, |seconds| seconds.0);
        let steps = [
            send.map(|action| ("send", ScriptStep::Send { action, timeout })),
            r#await.map(|event| ("await", ScriptStep::Await { event, action_id, timeout })),
            sleep_s.map(|seconds| ("sleep_s", ScriptStep::Sleep(seconds.0))),
            drop.map(|kind| ("drop", ScriptStep::Drop(kind))),
            close.map(|code| ("close", ScriptStep::Close(code.0))),
            fault.map(|fault| ("fault", ScriptStep::Fault(fault))),
        ];
        let mut steps = steps.into_iter().flatten();
        let (name, step) = steps.next().ok_or("has none of send, await, sleep_s, drop, close, fault")?;
        if let Some((other, _)) = steps.next() {
            return Err(format!("has both {name:?} and {other:?}"));
        }
        if let ScriptStep::Send { action, .. } = &step {
            if !action.get("action_type").is_some_and(Value::is_string) {
                return Err("the action has no \"action_type\", such as \"motion\"".to_owned());
            }
            action.iter().try_for_each(|(name, field)| check_placeholders(&format!("send.{name}"), field))?;
        }
        Ok(step)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "f64")]
struct Seconds(Duration);

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        let is_valid = (0.0..=LONGEST_S).contains(&seconds);
        is_valid
            .then(|| Self(Duration::from_secs_f64(seconds)))
            .ok_or_else(|| format!("{seconds} is not a number of seconds from 0 to {LONGEST_S}"))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "u64")]
struct CloseCode(u16);

impl TryFrom<u64> for CloseCode {
    type Error = String;

    fn try_from(code: u64) -> Result<Self, String> {
        let sent = u16::try_from(code).ok().filter(|code| can_be_sent(*code));
        sent.map(Self).ok_or_else(|| format!("{code} is not a WebSocket close code that can be sent, such as 1000"))
    }
}

/// Refuses a `{word}` in a string that is not a placeholder. `path` is the path of `value`, for the error.
fn check_placeholders(path: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => {
            let mut words = text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
            let is_word =
                |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            match words.find(|word| is_word(word) && !PLACEHOLDERS.contains(word)) {
                Some(word) => Err(format!(
                    "{path}: unknown placeholder {{{word}}}; the placeholders are {{http}}, {{puls}} and {{serial}}"
                )),
                None => Ok(()),
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| check_placeholders(&format!("{path}[{index}]"), item))
        }
        Value::Object(fields) => {
            fields.iter().try_for_each(|(name, field)| check_placeholders(&format!("{path}.{name}"), field))
        }
        _ => Ok(()),
    }
}

/// The values of the placeholders.
pub(super) struct Placeholders<'a> {
    pub(super) http: &'a str,
    pub(super) puls: &'a str,
    pub(super) serial: &'a str,
}

impl Placeholders<'_> {
    /// Replaces the placeholders in all strings of `value`.
    pub(super) fn fill(&self, value: &mut Value) {
        match value {
            Value::String(text) if text.contains('{') => {
                *text = text.replace("{http}", self.http).replace("{puls}", self.puls).replace("{serial}", self.serial);
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.fill(field)),
            _ => {}
        }
    }
}
