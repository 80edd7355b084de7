//! What the service does on its own: steps read from JSON, walked once for each machine.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::Error;
use super::control_socket::Cut;
use super::machines::{Machine, Waited};
use super::server::Core;
use crate::sync::{lock, wait};

/// How long a step waits that does not say it.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);
/// The longest time that a step may ask for: a year.
const LONGEST_S: f64 = 365.0 * 86_400.0;

/// What a `{word}` in a string of an action may be.
const PLACEHOLDERS: [&str; 3] = ["http", "puls", "serial"];

/// Steps that the service takes with every machine, from its first control socket on, across reconnections.
///
/// As JSON it is a list of objects:
///
/// | step | |
/// |---|---|
/// | `{"send": {...}, "timeout_s": 60}` | sends the object as an action, once the machine is connected |
/// | `{"await": "event", "action_id": 7, "timeout_s": 60}` | waits for an event (of that action, if one is named) |
/// | `{"sleep_s": 0.5}` | lets time pass |
/// | `{"drop": true}` | cuts the control socket as [`Cut::Drain`] does; `"hard"` as [`Cut::Hard`] |
/// | `{"close": 1000}` | closes the control socket with a WebSocket Close |
///
/// In any string of an action `{http}` is the service's own base URL, `{puls}` the URL of its pulse file and `{serial}`
/// the machine's serial number as it signed in. An await looks at everything that came and that no await took before,
/// so an event may come before its step. A machine that has no control socket and of which nothing is heard for 30
/// seconds has gone, and its script ends (see [`Builder::gone_after`](super::Builder::gone_after)).
///
/// An action has an `action_type`, and no other word in braces than these three: both are mistakes as a rule. An action
/// that is wrong on purpose is made in code ([`Step::Send`]).
///
/// The default is what the cloud does with a machine that has just connected: settings, homing, a hunt, pictures of
/// head and bed, a print.
///
/// ```
/// use gf_emulator_core::local_service::Script;
///
/// let script = Script::from_json(r#"[{"send": {"id": 1, "action_type": "hunt", "status": "ready"}}]"#)?;
/// assert_eq!(script.steps().len(), 1);
/// let wrong = Script::from_json(r#"[{"sleep_s": 1}, {"snd": {}}]"#).unwrap_err();
/// assert_eq!(wrong.to_string(), "step 2 of the script: unknown key \"snd\"");
/// # Ok::<(), gf_emulator_core::local_service::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    steps: Vec<Step>,
}

/// One step of a [`Script`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// Send an action.
    Send {
        /// The action, with its placeholders.
        action: Map<String, Value>,
        /// How long to wait for a machine to be connected.
        timeout: Duration,
    },
    /// Wait for an event.
    Await {
        /// The event's name.
        event: String,
        /// The action it must belong to; any, where there is none.
        action_id: Option<i64>,
        /// How long to wait.
        timeout: Duration,
    },
    /// Let time pass.
    Sleep(Duration),
    /// Cut the control socket.
    Drop(Cut),
    /// Close the control socket with this code.
    Close(u16),
}

/// How a script ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every step was taken and everything awaited came.
    Done,
    /// A step could not be done.
    Failed {
        /// Which one, counted from 1.
        step: usize,
        /// What it was and why not.
        reason: String,
    },
}

impl Default for Script {
    fn default() -> Self {
        Self::from_json(include_str!("default_script.json")).expect("a test reads the built-in script")
    }
}

impl Script {
    /// These steps.
    #[must_use]
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps }
    }

    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Reads a script.
    ///
    /// # Errors
    /// [`Error::Script`] where the text is no JSON list, or a step has an unknown key, lacks one, or has a value that
    /// cannot be; it names the step, counted from 1.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        if text.trim().is_empty() {
            return Err(Error::ScriptText { reason: "it is empty".to_owned() });
        }
        let list: Vec<Value> = serde_json::from_str(text).map_err(|e| Error::ScriptText { reason: e.to_string() })?;
        let step = |(index, value): (usize, &Value)| {
            read_step(value).map_err(|reason| Error::Script { step: index + 1, reason })
        };
        Ok(Self { steps: list.iter().enumerate().map(step).collect::<Result<_, _>>()? })
    }
}

fn read_step(value: &Value) -> Result<Step, String> {
    const KINDS: [&str; 5] = ["send", "await", "sleep_s", "drop", "close"];
    let object = value.as_object().ok_or("is not an object")?;
    let mut kinds = object.keys().filter(|key| KINDS.contains(&key.as_str()));
    let kind = kinds.next().map(String::as_str);
    if let Some(other) = kinds.next() {
        return Err(format!("has both {:?} and {other:?}", kind.unwrap_or_default()));
    }
    let allowed: &[&str] = match kind {
        Some("send") => &["send", "timeout_s"],
        Some("await") => &["await", "action_id", "timeout_s"],
        Some(other) => &[other],
        None => &[],
    };
    if let Some(key) = object.keys().find(|key| !allowed.contains(&key.as_str())) {
        return Err(format!("unknown key {key:?}"));
    }
    let kind = kind.ok_or_else(|| format!("has none of {}", KINDS.join(", ")))?;
    let value = &object[kind];
    let timeout = || object.get("timeout_s").map_or(Ok(DEFAULT_TIMEOUT), |value| seconds("timeout_s", value));
    match kind {
        "send" => {
            let action = value.as_object().ok_or("\"send\" wants an object")?.clone();
            if !action.get("action_type").is_some_and(Value::is_string) {
                return Err("the action has no \"action_type\", such as \"motion\"".to_owned());
            }
            check_placeholders("send", &Value::Object(action.clone()))?;
            Ok(Step::Send { action, timeout: timeout()? })
        }
        "await" => {
            let event = value.as_str().ok_or("\"await\" wants an event's name")?.to_owned();
            let id = |id: &Value| id.as_i64().ok_or("\"action_id\" wants a whole number");
            let action_id = object.get("action_id").map(id).transpose()?;
            Ok(Step::Await { event, action_id, timeout: timeout()? })
        }
        "sleep_s" => seconds("sleep_s", value).map(Step::Sleep),
        "drop" => match value {
            Value::Bool(true) => Ok(Step::Drop(Cut::Drain)),
            Value::String(how) if how == "hard" => Ok(Step::Drop(Cut::Hard)),
            _ => Err("\"drop\" wants true or \"hard\"".to_owned()),
        },
        _ => {
            // 1005, 1006 and 1015 stand for the absence of a code and never go over the wire.
            let sendable = |code: &u16| (1000..=4999).contains(code) && ![1004, 1005, 1006, 1015].contains(code);
            let code = value.as_u64().and_then(|code| u16::try_from(code).ok()).filter(sendable);
            code.map(Step::Close).ok_or_else(|| "\"close\" wants a WebSocket close code, such as 1000".to_owned())
        }
    }
}

fn seconds(key: &str, value: &Value) -> Result<Duration, String> {
    let number = value.as_f64().filter(|seconds| (0.0..=LONGEST_S).contains(seconds));
    number
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("{key:?} wants a number of seconds from 0 to {LONGEST_S}"))
}

/// Refuses every `{word}` in a string that is not one of the placeholders; `at` is where the value is.
fn check_placeholders(at: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => {
            let mut words = text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
            let is_word =
                |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            match words.find(|word| is_word(word) && !PLACEHOLDERS.contains(word)) {
                Some(word) => {
                    Err(format!("{at}: unknown placeholder {{{word}}}; there are {{http}}, {{puls}} and {{serial}}"))
                }
                None => Ok(()),
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| check_placeholders(&format!("{at}[{index}]"), item))
        }
        Value::Object(fields) => {
            fields.iter().try_for_each(|(name, field)| check_placeholders(&format!("{at}.{name}"), field))
        }
        _ => Ok(()),
    }
}

/// What the placeholders of an action stand for.
pub(super) struct Places<'a> {
    pub(super) http: &'a str,
    pub(super) puls: &'a str,
    pub(super) serial: &'a str,
}

impl Places<'_> {
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

/// How a walk with one machine ended.
pub(super) enum Ended {
    /// Like this.
    With(Outcome),
    /// Like this, because the machine has left.
    Left(Outcome),
    /// The service stopped, or the machine had to make room for another one.
    Stopped,
}

/// Walks the script with one machine that has just connected.
pub(super) fn run(script: &Script, core: &Core, machine: &Arc<Machine>) -> Ended {
    for (index, step) in script.steps.iter().enumerate() {
        let (done, what) = match step {
            Step::Send { action, timeout } => {
                (send(core, machine, action, Instant::now() + *timeout), "no machine was connected".to_owned())
            }
            Step::Await { event, action_id, timeout } => {
                let done = machine.wait_event(event, *action_id, Instant::now() + *timeout);
                let of = action_id.map(|id| format!(" of action {id}")).unwrap_or_default();
                (done, format!("{event}{of} did not come within {timeout:?}"))
            }
            Step::Sleep(time) => (machine.sleep(Instant::now() + *time), String::new()),
            Step::Drop(how) => {
                core.cut(machine, *how);
                (Ok(()), String::new())
            }
            Step::Close(close_code) => {
                core.close(machine, *close_code);
                (Ok(()), String::new())
            }
        };
        let failed = |reason: String| Outcome::Failed { step: index + 1, reason };
        let unawaited = || format!("(the last events that nothing awaited: {})", machine.unawaited());
        match done {
            Ok(()) => {}
            Err(Waited::Stopped) => return Ended::Stopped,
            Err(Waited::Ended(event)) => {
                return Ended::With(failed(format!("the action ended with {event}")));
            }
            Err(Waited::Gone) => {
                let away = machine.gone_after();
                let reason = format!("the machine has left and did not come back within {away:?} {}", unawaited());
                return Ended::Left(failed(reason));
            }
            Err(Waited::TooLong) => {
                let outcome = failed(format!("{what} {}", unawaited()));
                return if machine.link_now().is_none() { Ended::Left(outcome) } else { Ended::With(outcome) };
            }
        }
    }
    Ended::With(Outcome::Done)
}

fn send(core: &Core, machine: &Arc<Machine>, action: &Map<String, Value>, deadline: Instant) -> Result<(), Waited> {
    let action = Value::Object(action.clone());
    loop {
        let link = machine.wait_link(deadline, machine.gone_after())?;
        if core.send(&link, action.clone()).is_ok() {
            return Ok(());
        }
    }
}

/// How the walks of all machines stand.
#[derive(Default)]
pub(super) struct Walks {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    under_way: usize,
    outcome: Option<Outcome>,
    /// What became of the first machine that left: it counts where nothing else does.
    left: Option<Outcome>,
    stopped: bool,
}

impl Walks {
    pub(super) fn began(&self) {
        lock(&self.state).under_way += 1;
    }

    pub(super) fn ended(&self, how: Ended) {
        let mut state = lock(&self.state);
        state.under_way -= 1;
        match how {
            // One failure counts more than any number that went well.
            Ended::With(outcome) if !matches!(state.outcome, Some(Outcome::Failed { .. })) => {
                state.outcome = Some(outcome);
            }
            Ended::Left(outcome) => {
                state.left.get_or_insert(outcome);
            }
            Ended::With(_) | Ended::Stopped => {}
        }
        self.ended.notify_all();
    }

    pub(super) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.ended.notify_all();
    }

    /// The outcome once no walk is under way: the first failure, if there was any. Machines that have left count only
    /// where no other has come to an end.
    pub(super) fn outcome(&self, timeout: Duration) -> Option<Outcome> {
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state);
        loop {
            let outcome = state.outcome.as_ref().or(state.left.as_ref()).filter(|_| state.under_way == 0);
            if let Some(outcome) = outcome {
                return Some(outcome.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.stopped {
                return None;
            }
            state = wait(&self.ended, state, Some(left));
        }
    }
}
