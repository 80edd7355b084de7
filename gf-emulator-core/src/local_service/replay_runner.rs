//! Runs a replay with one machine: sends what the recorded service sent, and cuts the connection as it did.
//!
//! The order of events decides, not the clock: each message is sent when the machine has sent and requested as much as
//! at that point of the recording. Timeouts only end the wait for what never comes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::link::{Cut, Link};
use super::machine::RemoteMachine;
use super::outcomes::{Outcome, RunEnd};
use super::plan::ReplayStep;
use super::replay_state::{Counted, ReplayState};
use super::seen::Seen;
use super::urls::rebase_message;
use super::wait_error::WaitError;

/// How long a step waits before the wait is reported.
const SILENT_WAIT: Duration = Duration::from_secs(2);

/// Runs the replay with the machine that has just connected.
pub(super) fn run(replay: &ReplayState, core: &Core, machine: &Arc<RemoteMachine>) -> RunEnd {
    let (expected, given_up) = (HashMap::new(), HashSet::new());
    let mut runner = Runner { replay, core, machine, expected, given_up, failure: None };
    for (index, step) in replay.steps.iter().enumerate() {
        match runner.step(step) {
            Ok(()) => {}
            Err(StepError::TimedOut(reason)) => runner.fail(index, reason),
            Err(StepError::MachineGone(reason)) => {
                runner.fail(index, reason);
                break;
            }
            Err(StepError::Stopped) => return RunEnd::Stopped,
        }
    }
    RunEnd::Finished(runner.failure.unwrap_or(Outcome::Done))
}

/// Why a step failed.
enum StepError {
    /// What it awaited did not arrive.
    TimedOut(String),
    /// The machine left.
    MachineGone(String),
    /// The service stopped.
    Stopped,
}

struct Runner<'a> {
    replay: &'a ReplayState,
    core: &'a Core,
    machine: &'a Arc<RemoteMachine>,
    /// How many of each kind the recording has up to the current step.
    expected: HashMap<Counted, u64>,
    /// Kinds that timed out once and are not awaited again.
    given_up: HashSet<Counted>,
    /// The first failure.
    failure: Option<Outcome>,
}

impl Runner<'_> {
    fn fail(&mut self, index: usize, reason: String) {
        self.core.history.record(Seen::GivenUp { what: reason.clone() });
        self.failure.get_or_insert(Outcome::Failed { step: index + 1, reason });
    }

    fn step(&mut self, step: &ReplayStep) -> Result<(), StepError> {
        match step {
            ReplayStep::Send { text, timeout } => {
                let text = rebase_message(text, &self.core.settings.http_url, &self.machine.serial);
                loop {
                    let link = self.wait_link(*timeout)?;
                    if self.core.send_text(self.machine, &link, &text).is_ok() {
                        return Ok(());
                    }
                }
            }
            ReplayStep::Cut { timeout } => {
                self.wait_link(*timeout)?;
                self.core.cut(self.machine, Cut::Drain);
                Ok(())
            }
            ReplayStep::AwaitMessage { action, event, timeout } => {
                self.await_next(Counted::Messages(*action), *action, event, *timeout)
            }
            ReplayStep::AwaitRequest { action, method, path, timeout } => {
                let counted = Counted::Requests(method.clone(), path.clone());
                self.await_next(counted, *action, &format!("{method} {path}"), *timeout)
            }
        }
    }

    /// Waits for one more message or request of a kind.
    fn await_next(
        &mut self,
        counted: Counted,
        action: Option<i64>,
        name: &str,
        timeout: Duration,
    ) -> Result<(), StepError> {
        let count = self.expected.entry(counted.clone()).or_default();
        *count += 1;
        let count = *count;
        // An action whose messages did not arrive makes no requests either.
        let action_stopped = action.is_some() && self.given_up.contains(&Counted::Messages(action));
        if self.given_up.contains(&counted) || action_stopped {
            return Ok(());
        }
        let what = match &counted {
            Counted::Messages(Some(id)) => format!("{name} (message {count} of action {id} in the recording)"),
            Counted::Messages(None) => format!("{name} (message {count} without an action in the recording)"),
            Counted::Requests(..) => {
                let purpose = action.map(|id| format!(", for action {id}")).unwrap_or_default();
                format!("{name} (request {count} of its kind in the recording{purpose})")
            }
        };
        let replay = self.replay;
        let has_come = || replay.count(&counted) >= count || action.is_some_and(|id| replay.has_ended_otherwise(id));
        let done = self.wait(&what, timeout, |deadline| self.core.history.wait_or_stop(deadline, has_come));
        match done {
            Ok(()) => Ok(()),
            Err(WaitError::TimedOut) => {
                // If the machine is disconnected, it may be about to come back.
                self.wait_link(timeout)?;
                self.given_up.insert(counted);
                Err(StepError::TimedOut(format!("{what} did not arrive within {:.1} s", timeout.as_secs_f64())))
            }
            Err(_) => Err(StepError::Stopped),
        }
    }

    /// Returns the machine's link, waiting if it is disconnected.
    fn wait_link(&self, timeout: Duration) -> Result<Arc<Link>, StepError> {
        let what = "the machine to reconnect";
        match self.wait(what, timeout, |deadline| self.machine.wait_link(deadline, timeout)) {
            Ok(link) => Ok(link),
            Err(WaitError::Stopped) => Err(StepError::Stopped),
            Err(_) => Err(StepError::MachineGone(format!("the machine left and did not come back within {timeout:?}"))),
        }
    }

    /// Waits, and reports the wait if it takes a while.
    fn wait<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut until: impl FnMut(Instant) -> Result<T, WaitError>,
    ) -> Result<T, WaitError> {
        let (now, silent) = (Instant::now(), SILENT_WAIT.min(timeout / 2));
        match until(now + silent) {
            Err(WaitError::TimedOut) => {
                let at_most = timeout.saturating_sub(silent);
                self.core.history.record(Seen::Waiting { what: what.to_owned(), at_most });
                until(now + timeout)
            }
            done => done,
        }
    }
}
