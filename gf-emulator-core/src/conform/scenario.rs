//! Scenarios: read from JSON, and those that are built in.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::judge::Check;
use super::pattern::{Expected, MessagePattern, RequestPattern};
use crate::config::Generation;
use crate::local_service::{Cut, Fault};

/// The id of the `settings` action that ends each scenario and, plus 1, of the one after it.
pub(super) const LAST_ID: i64 = 98;

/// Includes the files of the scenarios, in the order in which they run: those that cut the connection are last, because
/// some machines do not connect again.
macro_rules! built_in {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("scenarios/", $name, ".json")))),*]
    };
}

/// The files by name.
static BUILT_IN: &[(&str, &str)] = &built_in! {
    "settings-first"
    "settings-again"
    "settings-always-full"
    "ping-answered"
    "pings"
    "token-expired"
    "second-401-is-final"
    "presigned-upload-without-token"
    "other-origin-gets-no-token"
    "ids-increase"
    "timestamps-do-not-decrease"
    "quotes-in-values"
    "packed-lines"
    "blank-lines"
    "bad-lines"
    "unknown-actions-and-statuses"
    "cancel-of-an-unknown-id"
    "cancel-after-the-end"
    "cancel-in-the-same-frame"
    "second-job-dropped"
    "duplicate-job-dropped"
    "lid-image"
    "head-image"
    "user-image"
    "lidar-image"
    "picture-to-the-service"
    "hunt"
    "hunt-1-x"
    "motion"
    "print"
    "print-progress"
    "homing-and-a-print"
    "update-check"
    "factory-reset-refused"
    "head-firmware-update-refused"
    "upload-answered-with-500"
    "upload-cut"
    "download-404"
    "download-500"
    "download-cut"
    "download-stall"
    "print-download-404"
    "refused-without-step-frequency"
    "refused-step-frequency-0"
    "refused-without-serial-lock"
    "refused-other-serial-lock"
    "refused-without-format"
    "refused-other-format"
    "refused-microsteps-16"
    "refused-fire-before-power"
    "refused-print"
    "not-a-pulse-file"
    "truncated-header"
    "refused-too-large"
    "picture-cancelled-while-waiting"
    "picture-cancelled-while-uploading"
    "motion-cancelled"
    "hunt-cancelled"
    "print-cancelled-while-downloading"
    "print-cancelled-before-the-button"
    "print-cancelled-in-warm-up"
    "print-cancelled-while-running"
    "print-cancelled-while-paused"
    "print-cancelled-at-rest"
    "print-cancelled-twice"
    "next-job-after-a-cancel"
    "print-paused-and-resumed"
    "lid-reported"
    "lid-opened-while-printing"
    "lid-opened-while-paused"
    "lid-opened-in-warm-up"
    "lid-opened-for-a-moment"
    "lid-opened-while-moving"
    "hunt-under-an-open-lid"
    "lid-image-under-an-open-lid"
    "user-image-under-an-open-lid"
    "motion-under-an-open-lid"
    "print-under-an-open-lid"
    "lid-opened-before-the-button"
    "print-download-progress"
    "settings-while-a-job-runs"
    "update-check-while-a-job-runs"
    "factory-reset-while-a-job-runs"
    "websocket-subprotocol"
    "sign-in-before-each-connection"
    "user-agent"
    "close-answered"
    "reconnects-after-a-cut"
    "sign-in-again-after-503"
    "sign-in-again-after-429"
    "handshake-refused"
    "cut-while-downloading"
    "cut-before-the-button"
    "cut-in-warm-up"
    "cut-while-running"
    "print-cancelled-after-a-cut"
    "closed-while-running"
    "cut-while-paused"
    "cut-at-rest"
    "cut-while-uploading"
    "cut-while-moving"
};

/// What a machine is taken through, and what it must do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    name: String,
    demands: String,
    why: String,
    generation: Generations,
    steps: Vec<Step>,
}

/// The generations that a scenario is for.
#[derive(Debug, Clone, Copy, Deserialize)]
enum Generations {
    #[serde(rename = "1.x")]
    V1,
    #[serde(rename = "2.6")]
    V2,
    #[serde(rename = "both")]
    Both,
}

/// A scenario that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
#[non_exhaustive]
pub struct ScenarioError {
    /// Where in the file, such as `steps[2].send`.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// Something that a person at the machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OperatorTask {
    /// Open the lid.
    OpenLid,
    /// Close the lid.
    CloseLid,
    /// Press the button to start the print.
    StartPrint,
    /// Press the button, to pause or resume the print.
    PressButton,
    /// Leave the button alone: the machine waits for it.
    LeaveButton,
}

impl OperatorTask {
    /// Returns what a person must be there for.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::OpenLid | Self::CloseLid => "open and close the lid",
            Self::StartPrint | Self::PressButton | Self::LeaveButton => "take care of the button",
        }
    }
}

impl fmt::Display for OperatorTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenLid => "open the lid",
            Self::CloseLid => "close the lid",
            Self::StartPrint => "press the button when it flashes, to start the print",
            Self::PressButton => "press the button",
            Self::LeaveButton => "do not press the button, even if it flashes",
        })
    }
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// ```
    /// use gf_emulator_core::conform::Scenario;
    ///
    /// let json = r#"{"name": "a", "demands": "b", "why": "c", "generation": "both", "steps": ["expect_pong", "pingg"]}"#;
    /// let error = Scenario::from_json(json).unwrap_err();
    /// assert!(error.to_string().starts_with("steps[1]: unknown variant `pingg`"), "{error}");
    /// ```
    ///
    /// # Errors
    /// [`ScenarioError`] with the place and the reason.
    pub fn from_json(text: &str) -> Result<Self, ScenarioError> {
        let mut json = serde_json::Deserializer::from_str(text);
        let scenario: Self = serde_path_to_error::deserialize(&mut json).map_err(|e| match e.path().to_string() {
            // The text is no JSON object, or one of something else.
            path if path == "." || path.starts_with('[') => ScenarioError {
                path: "the whole text".to_owned(),
                reason: format!("expected a JSON object with name, demands, why, generation and steps: {}", e.inner()),
            },
            path => ScenarioError { path, reason: e.inner().to_string() },
        })?;
        json.end().map_err(|e| ScenarioError { path: "at the end".to_owned(), reason: e.to_string() })?;
        for (number, step) in scenario.steps.iter().enumerate() {
            if let Some(id) = step.ids().into_iter().find(|id| !(1..LAST_ID).contains(id)) {
                let reason = format!("the id {id} is not a number from 1 to {}", LAST_ID - 1);
                return Err(ScenarioError { path: format!("steps[{number}]"), reason });
            }
        }
        Ok(scenario)
    }

    /// Returns the built-in scenarios, in the order in which they should run.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "they are part of the program, and a test reads them all")]
    pub fn built_in() -> Vec<Self> {
        let read = |(name, text): &(&str, &str)| Self::from_json(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        BUILT_IN.iter().map(read).collect()
    }

    /// Returns its name, such as `print-cancelled-while-running`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what it demands of a machine, in a sentence.
    #[must_use]
    pub fn demands(&self) -> &str {
        &self.demands
    }

    /// Returns why, with a heading of `PROTOCOL.md`.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Returns whether it is for machines of a generation.
    #[must_use]
    pub fn is_for(&self, generation: Generation) -> bool {
        match self.generation {
            Generations::Both => true,
            Generations::V1 => generation == Generation::V1,
            Generations::V2 => generation == Generation::V2,
        }
    }

    /// Returns what a person has to do, in order.
    pub fn operator_tasks(&self) -> impl Iterator<Item = OperatorTask> {
        self.steps.iter().filter_map(|step| if let Step::Operator(task) = step { Some(*task) } else { None })
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns whether a step sends this text.
    pub(super) fn uses(&self, placeholder: &str) -> bool {
        let actions = self.steps.iter().flat_map(Step::actions);
        actions.flat_map(Map::values).any(|value| value.to_string().contains(placeholder))
    }
}

/// One step of a scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    Send(Map<String, Value>),
    Frame(Vec<Value>),
    ExpectEvent(MessagePattern),
    ExpectProgress(MessagePattern),
    ExpectRequest(RequestPattern),
    ExpectHeld(String),
    ExpectSignIn,
    ExpectConnection(ConnectionFields),
    ExpectClosed(ClosedFields),
    ExpectPing,
    ExpectPong,
    Never(MessagePattern),
    NeverRequest(RequestPattern),
    Check(Check),
    Drop(Cut),
    Close(u16),
    Ping,
    Fault(Fault),
    Release,
    ExpireTokens,
    Operator(OperatorTask),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectionFields {
    subprotocol: Option<bool>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClosedFields {
    code: u16,
}

impl Step {
    /// Returns the actions that the step sends.
    pub(super) fn actions(&self) -> Vec<&Map<String, Value>> {
        match self {
            Self::Send(action) => vec![action],
            Self::Frame(lines) => lines.iter().filter_map(Value::as_object).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the ids in the step. An action may have one that is no whole number, to see what a machine does with it.
    fn ids(&self) -> Vec<i64> {
        let of_pattern = match self {
            Self::ExpectEvent(pattern) | Self::ExpectProgress(pattern) | Self::Never(pattern) => pattern.id,
            _ => None,
        };
        self.actions().into_iter().filter_map(|action| action.get("id")?.as_i64()).chain(of_pattern).collect()
    }

    /// Returns what the step waits for, if it waits.
    pub(super) fn expected(&self) -> Option<Expected> {
        Some(match self {
            Self::ExpectEvent(pattern) => Expected::Event(pattern.clone()),
            Self::ExpectProgress(pattern) => Expected::Progress(pattern.clone()),
            Self::ExpectRequest(pattern) => Expected::Request(pattern.clone()),
            Self::ExpectHeld(path) => Expected::Held(path.clone()),
            Self::ExpectSignIn => Expected::SignIn,
            Self::ExpectConnection(fields) => Expected::Connection { subprotocol: fields.subprotocol },
            Self::ExpectClosed(fields) => Expected::Closed { code: fields.code },
            Self::ExpectPing => Expected::Ping,
            Self::ExpectPong => Expected::Pong,
            _ => return None,
        })
    }

    /// Returns how long the machine may take even if the timeout is shorter: it pings every 30 s, and gives up a
    /// transfer after 30 s without data.
    pub(super) fn least_timeout(&self) -> Duration {
        match self {
            Self::ExpectPing => Duration::from_secs(45),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::conform::jobs;

    #[test]
    fn every_file_is_listed_once_and_has_its_own_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conform/scenarios");
        let files: BTreeSet<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        let listed: BTreeSet<_> = BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(files, listed);
        assert_eq!(BUILT_IN.len(), listed.len());
        for ((name, _), scenario) in BUILT_IN.iter().zip(Scenario::built_in()) {
            assert_eq!(*name, scenario.name);
        }
        assert!(listed.len() >= 40, "{}", listed.len());
    }

    #[test]
    fn every_reason_names_a_heading_of_the_protocol() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        // A package of this crate does not have it.
        let Ok(protocol) = std::fs::read_to_string(root.join("PROTOCOL.md")) else { return };
        let headings: Vec<_> =
            protocol.lines().filter(|l| l.starts_with('#')).map(|l| l.trim_start_matches('#').trim()).collect();
        for scenario in Scenario::built_in() {
            let named = scenario.why.strip_prefix("PROTOCOL.md, ").and_then(|rest| Some(rest.split_once(": ")?.0));
            assert!(named.is_some_and(|heading| headings.contains(&heading)), "{}: {}", scenario.name, scenario.why);
            assert!(scenario.demands.ends_with('.') && scenario.why.ends_with('.'), "{}", scenario.name);
        }
    }

    #[test]
    fn every_job_that_is_sent_exists_and_every_action_has_an_id() {
        let jobs: Vec<_> = jobs::all().into_iter().map(|(name, _)| format!("{{http}}/dl/{name}.puls")).collect();
        for scenario in Scenario::built_in() {
            for action in scenario.steps.iter().flat_map(Step::actions) {
                if let Some(url) = action.get("motion_url").and_then(Value::as_str) {
                    let url = url.replace("{foreign}", "{http}");
                    assert!(jobs.contains(&url), "{}: {url}", scenario.name);
                }
                assert!(action["id"].is_i64(), "{}", scenario.name);
            }
        }
    }

    #[test]
    fn an_error_names_its_place() {
        let with_step = |step: &str| {
            let json =
                format!(r#"{{"name": "a", "demands": "b", "why": "c", "generation": "both", "steps": [{step}]}}"#);
            Scenario::from_json(&json).unwrap_err().to_string()
        };
        for (step, path) in [
            (r#"{"send": 1}"#, "steps[0].send: "),
            (r#""expect_pings""#, "steps[0]: "),
            (r#"{"expect_event": {"nam": "a"}}"#, "steps[0].expect_event.nam: unknown field"),
            (r#"{"fault": {"status": 503, "on": "PUT"}}"#, "steps[0].fault: on: "),
            (r#"{"fault": {"status": "melt"}}"#, "steps[0].fault.status: "),
            (r#"{"drop": "softly"}"#, "steps[0].drop: must be true"),
            (r#"{"send": {"id": 98}}"#, "steps[0]: the id 98 is not a number from 1 to 97"),
            (r#"{"frame": ["", {"id": -9223372036854775808}]}"#, "steps[0]: the id -9223372036854775808"),
            (r#"{"never": {"name": "*", "id": 9223372036854775807}}"#, "steps[0]: the id 9223372036854775807"),
            (r#"{"operator": "open_window"}"#, "steps[0].operator: "),
        ] {
            assert!(with_step(step).starts_with(path), "{step}: {}", with_step(step));
        }
        assert!(Scenario::from_json("{}").unwrap_err().to_string().contains("missing field"));
        for other in [r#"[{"send": {}}]"#, "[GENERAL]", "", "5"] {
            let error = Scenario::from_json(other).unwrap_err().to_string();
            assert!(error.starts_with("the whole text: expected a JSON object with name, demands"), "{other}: {error}");
        }
    }
}
