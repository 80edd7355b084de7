//! Runs scenarios with a machine, on the caller's thread.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::jobs;
use super::judge::{Found, Judge};
use super::pattern::{Expected, Fact};
use super::report::{Outcome, Verdict};
use super::scenario::{LAST_ID, OperatorTask, Scenario, Step};
use crate::config::Generation;
use crate::local_service::{Builder, Cut, LocalService, LocalServiceError, Seen};
use crate::sync::{lock, wait};

/// Ids of one scenario are this far from those of the next.
const IDS: i64 = 100;
/// How many lines of what was seen a verdict keeps.
const LINES_LIMIT: usize = 100;

/// How the scenarios are run.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Options {
    /// The machine's generation. Scenarios for the other one are skipped. Default: 2.6.
    pub generation: Generation,
    /// How long each step waits. Default: 60 s.
    pub timeout: Duration,
    /// How much longer a step waits for what a person does. Default: 2 minutes.
    pub operator_time: Duration,
    /// Nobody is at the machine: scenarios with an [`OperatorTask`] are skipped. Default: `false`.
    pub unattended: bool,
    /// The machine presses its button itself when a print waits for it: [`OperatorTask::StartPrint`] is left to it, and
    /// scenarios with [`OperatorTask::LeaveButton`] are skipped. Default: `false`.
    pub auto_button: bool,
}

impl Default for Options {
    /// A 2.6 machine with somebody there, who has 2 minutes, and 60 s for each step.
    fn default() -> Self {
        Self {
            generation: Generation::V2,
            timeout: Duration::from_secs(60),
            operator_time: Duration::from_secs(120),
            unattended: false,
            auto_button: false,
        }
    }
}

/// A local service that takes a machine through scenarios.
#[derive(Debug)]
pub struct Conformance {
    service: LocalService,
    watch: Arc<Watch>,
    options: Options,
    /// What is added to the ids of the scenario that runs.
    offset: i64,
    is_lid_open: bool,
}

/// What is seen, shared with the service's threads.
#[derive(Debug)]
struct Watch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    judge: Judge,
    lines: Vec<String>,
    /// How many connections are open: a machine may open the next one before the last one is closed.
    open: usize,
    is_stopped: bool,
    /// A wait has ended because of the stop.
    has_cut_wait: bool,
}

/// Ends a run from another thread.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<Watch>);

impl Stopper {
    /// Ends the wait of the scenario that runs. It and all that follow are [`Outcome::Stopped`].
    pub fn stop(&self) {
        lock(&self.0.state).is_stopped = true;
        self.0.changed.notify_all();
    }
}

impl Watch {
    fn add(&self, seen: &Seen, redact: impl Fn(&str) -> String) {
        let mut state = lock(&self.state);
        match seen {
            Seen::WsOpened { .. } => state.open += 1,
            Seen::WsClosed { .. } => state.open = state.open.saturating_sub(1),
            _ => {}
        }
        if !seen.is_redundant() && state.lines.len() < LINES_LIMIT {
            state.lines.push(seen.to_line(redact));
        }
        for fact in Fact::of(seen) {
            state.judge.add(fact);
        }
        self.changed.notify_all();
    }

    /// Waits until `done` returns a value; `None` on timeout or stop.
    fn wait_for<T>(&self, timeout: Duration, mut done: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        // A timeout that is too long for the clock is none.
        let deadline = Instant::now().checked_add(timeout);
        let mut state = lock(&self.state);
        loop {
            if let Some(found) = done(&mut state) {
                return Some(found);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            if state.is_stopped {
                state.has_cut_wait = true;
                return None;
            }
            state = wait(&self.changed, state, left);
        }
    }
}

impl Conformance {
    /// Starts the service with the pulse files of the scenarios. `builder` has the address and TLS. Give it no script,
    /// behaviour, replay or fault: they would disturb the scenarios. Its observer is replaced, and so are its pulse files
    /// that have the names of the scenarios' own.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start(builder: Builder, options: Options) -> Result<Self, LocalServiceError> {
        let state = State {
            judge: Judge::new(options.generation, 0),
            lines: Vec::new(),
            open: 0,
            is_stopped: false,
            has_cut_wait: false,
        };
        let watch = Arc::new(Watch { state: Mutex::new(state), changed: Condvar::new() });
        let (watching, secrets) = (Arc::clone(&watch), builder.secrets());
        let builder = builder.observer(move |seen| watching.add(seen, |text| secrets.redact(text)));
        let builder = jobs::all().into_iter().fold(builder, |builder, (name, file)| builder.puls_for(name, file));
        Ok(Self { service: builder.start()?, watch, options, offset: 0, is_lid_open: false })
    }

    /// Returns the service: its address and certificate.
    #[must_use]
    pub fn service(&self) -> &LocalService {
        &self.service
    }

    /// Returns what ends a run.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.watch))
    }

    /// Waits for a machine to connect. Returns whether one has.
    pub fn wait_for_machine(&self, timeout: Duration) -> bool {
        self.watch.wait_for(timeout, |state| (state.open > 0).then_some(())).is_some()
    }

    /// Runs a scenario, and brings the machine back to rest. `ask` is called with what a person has to do, and need not
    /// wait until it is done.
    pub fn run(&mut self, scenario: &Scenario, ask: &mut dyn FnMut(OperatorTask)) -> Verdict {
        if lock(&self.watch.state).is_stopped {
            return Verdict::new(scenario, Outcome::Stopped, Vec::new(), Duration::ZERO);
        }
        if let Some(reason) = self.reason_to_skip(scenario) {
            return Verdict::new(scenario, Outcome::Skipped { reason }, Vec::new(), Duration::ZERO);
        }
        self.offset += IDS;
        {
            let mut state = lock(&self.watch.state);
            state.judge = Judge::new(self.options.generation, self.offset);
            state.lines.clear();
        }
        let started = Instant::now();
        let mut sent = Vec::new();
        let mut outcome = Outcome::Passed;
        if !self.wait_for_machine(self.options.timeout) {
            outcome = Outcome::Failed { step: None, reason: "the machine is not connected".to_owned() };
        } else if let Err((step, reason)) = self.run_steps(scenario, &mut sent, ask) {
            // The machine chooses the names in it.
            let reason = self.service.secrets().redact(&reason);
            outcome = Outcome::Failed { step, reason };
        }
        // What a stop has cut short says nothing about the machine.
        if outcome != Outcome::Passed && lock(&self.watch.state).has_cut_wait {
            outcome = Outcome::Stopped;
        }
        let lines = lock(&self.watch.state).lines.clone();
        let time = started.elapsed();
        self.reset(&sent, ask);
        Verdict::new(scenario, outcome, lines, time)
    }

    fn reason_to_skip(&self, scenario: &Scenario) -> Option<String> {
        let Options { generation, unattended, auto_button, .. } = self.options;
        if !scenario.is_for(generation) {
            return Some(format!("not for {generation} machines"));
        }
        if auto_button && scenario.operator_tasks().any(|task| task == OperatorTask::LeaveButton) {
            return Some("the machine presses its button itself".to_owned());
        }
        let is_asked = |task| !(auto_button && task == OperatorTask::StartPrint);
        if let Some(task) = scenario.operator_tasks().find(|task| unattended && is_asked(*task)) {
            return Some(format!("nobody is there to {}", task.verb()));
        }
        (scenario.uses("{foreign}") && self.foreign_url().is_none()).then(|| "the service has only one name".to_owned())
    }

    /// Returns the base URL of the service with another name for the same host, thus of another origin.
    fn foreign_url(&self) -> Option<String> {
        let (http, ip) = (self.service.http_url(), self.service.addr().ip());
        let numeric = if ip.is_ipv6() { "[::1]" } else { "127.0.0.1" };
        let has_both = http.contains("//localhost:") && (ip.is_loopback() || ip.is_unspecified());
        has_both.then(|| http.replacen("localhost", numeric, 1))
    }

    /// Runs all steps; then the machine must still answer. On failure returns the number of the step and the reason.
    fn run_steps(
        &mut self,
        scenario: &Scenario,
        sent: &mut Vec<Map<String, Value>>,
        ask: &mut dyn FnMut(OperatorTask),
    ) -> Result<(), (Option<usize>, String)> {
        let mut is_operated = false;
        for (number, step) in (1..).zip(scenario.steps()) {
            let extra = if is_operated { self.options.operator_time } else { Duration::ZERO };
            self.run_step(scenario, step, extra, sent, ask).map_err(|reason| (Some(number), reason))?;
            is_operated = match step {
                Step::Operator(_) => true,
                _ => is_operated && step.expected().is_none(),
            };
        }
        self.ask_settings(LAST_ID).map_err(|reason| (None, reason))
    }

    fn run_step(
        &mut self,
        scenario: &Scenario,
        step: &Step,
        extra: Duration,
        sent: &mut Vec<Map<String, Value>>,
        ask: &mut dyn FnMut(OperatorTask),
    ) -> Result<(), String> {
        if let Some(expected) = step.expected() {
            return self.expect(&expected, self.options.timeout.max(step.least_timeout()).saturating_add(extra));
        }
        let gone = |error: LocalServiceError| error.to_string();
        sent.extend(step.actions().into_iter().cloned());
        match step {
            Step::Send(action) => {
                self.service.send_text(&self.line(scenario.name(), action)).map_err(gone)?;
            }
            Step::Frame(lines) => {
                let mut frame = String::new();
                for line in lines {
                    match line {
                        Value::Object(action) => frame.push_str(&self.line(scenario.name(), action)),
                        Value::String(text) => frame.push_str(text),
                        other => frame.push_str(&other.to_string()),
                    }
                    frame.push('\n');
                }
                self.service.send_text(&frame).map_err(gone)?;
            }
            Step::Never(pattern) => lock(&self.watch.state).judge.never(Expected::Event(pattern.clone())),
            Step::NeverRequest(pattern) => lock(&self.watch.state).judge.never(Expected::Request(pattern.clone())),
            Step::Check(check) => {
                let wrong = lock(&self.watch.state).judge.check(*check);
                wrong.map_or(Ok(()), Err)?;
            }
            Step::Drop(cut) => {
                lock(&self.watch.state).judge.skip_connections();
                self.service.drop_connection(*cut);
            }
            Step::Close(code) => {
                lock(&self.watch.state).judge.skip_connections();
                self.service.close(*code);
            }
            Step::Ping => self.service.ping().map_err(gone)?,
            Step::Fault(fault) => self.service.fault(fault.clone()),
            Step::Release => self.service.release(),
            Step::ExpireTokens => self.service.expire_tokens(),
            Step::Operator(task) => self.operate(*task, ask),
            // `expected` returns what all others wait for.
            _ => {}
        }
        Ok(())
    }

    fn operate(&mut self, task: OperatorTask, ask: &mut dyn FnMut(OperatorTask)) {
        match task {
            OperatorTask::OpenLid => self.is_lid_open = true,
            OperatorTask::CloseLid => self.is_lid_open = false,
            OperatorTask::StartPrint if self.options.auto_button => return,
            _ => {}
        }
        ask(task);
    }

    /// Waits until something is seen.
    fn expect(&self, expected: &Expected, timeout: Duration) -> Result<(), String> {
        let found = self.watch.wait_for(timeout, |state| match state.judge.find(expected) {
            Found::Yes => Some(Ok(())),
            Found::NotYet => None,
            Found::Wrong(reason) => Some(Err(reason)),
        });
        found.unwrap_or_else(|| Err(format!("{expected} did not come within {} s", timeout.as_secs_f64())))
    }

    /// Asks for the settings and waits for the answer: what the machine has sent before has arrived then.
    fn ask_settings(&self, id: i64) -> Result<(), String> {
        let action = json!({"id": id + self.offset, "action_type": "settings", "status": "ready"});
        self.service.send_text(&action.to_string()).map_err(|error| error.to_string())?;
        let is_over = |state: &mut State| match state.judge.violation() {
            Some(violation) => Some(Err(violation)),
            None => state.judge.has_ended(id).then_some(Ok(())),
        };
        let silent = || Err("the machine does not answer the settings action that ends a scenario".to_owned());
        self.watch.wait_for(self.options.timeout, is_over).unwrap_or_else(silent)
    }

    /// Returns an action as a line, with its placeholders filled in.
    fn line(&self, scenario: &str, action: &Map<String, Value>) -> String {
        let mut action = action.clone();
        if let Some(id) = action.get_mut("id").filter(|id| id.is_i64()) {
            *id = json!(id.as_i64().unwrap_or_default() + self.offset);
        }
        let http = self.service.http_url();
        // None of these texts has a character that JSON escapes.
        Value::from(action)
            .to_string()
            .replace("{upload}", &format!("{http}/up/{scenario}?X-Amz-Signature=conform"))
            .replace("{foreign}", &self.foreign_url().unwrap_or_default())
            .replace("{http}", http)
    }

    /// Ends what a scenario has left: faults, an open lid, actions that run. If the machine does not answer afterwards,
    /// its connection is cut, so that it begins anew.
    fn reset(&mut self, sent: &[Map<String, Value>], ask: &mut dyn FnMut(OperatorTask)) {
        self.service.clear_faults();
        if self.is_lid_open {
            self.operate(OperatorTask::CloseLid, ask);
        }
        for action in sent {
            let Some(id) = action.get("id").and_then(Value::as_i64) else { continue };
            let is_left = {
                let judge = &lock(&self.watch.state).judge;
                judge.has_begun(id) && !judge.has_ended(id)
            };
            if !is_left || !self.wait_for_machine(self.options.timeout) {
                continue;
            }
            let cancel =
                json!({"id": id + self.offset, "action_type": action.get("action_type"), "status": "cancelled"});
            if self.service.send_text(&cancel.to_string()).is_ok() {
                let ended = |state: &mut State| state.judge.has_ended(id).then_some(());
                self.watch.wait_for(self.options.timeout, ended);
            }
        }
        let answers = |state: &mut State| state.judge.has_ended(LAST_ID).then_some(());
        if self.watch.wait_for(Duration::ZERO, answers).is_some() {
            return;
        }
        // The scenario has failed, so its violation no longer matters: only whether the machine answers.
        let action = json!({"id": LAST_ID + 1 + self.offset, "action_type": "settings", "status": "ready"});
        let answers = self.wait_for_machine(self.options.timeout)
            && self.service.send_text(&action.to_string()).is_ok()
            && self
                .watch
                .wait_for(self.options.timeout, |state| state.judge.has_ended(LAST_ID + 1).then_some(()))
                .is_some();
        if !answers {
            self.service.drop_connection(Cut::Drain);
        }
    }
}
