//! Runs a script with one machine.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};

use super::core::Core;
use super::machine::RemoteMachine;
use super::outcomes::{Outcome, RunEnd};
use super::script::{Script, ScriptStep};
use super::wait_error::WaitError;

/// Runs the script with a machine that has just connected.
pub(super) fn run(script: &Script, core: &Core, machine: &Arc<RemoteMachine>) -> RunEnd {
    for (index, step) in script.steps().iter().enumerate() {
        let (done, timed_out) = match step {
            ScriptStep::Send { action, timeout } => {
                (send(core, machine, action, Instant::now() + *timeout), "no machine was connected".to_owned())
            }
            ScriptStep::Await { event, action_id, timeout } => {
                let done = machine.wait_event(event, *action_id, Instant::now() + *timeout);
                let of = action_id.map(|id| format!(" of action {id}")).unwrap_or_default();
                (done, format!("{event}{of} did not arrive within {timeout:?}"))
            }
            ScriptStep::Sleep(time) => (machine.sleep(Instant::now() + *time), String::new()),
            ScriptStep::Drop(how) => {
                core.cut(machine, *how);
                (Ok(()), String::new())
            }
            ScriptStep::Close(close_code) => {
                core.close(machine, *close_code);
                (Ok(()), String::new())
            }
            ScriptStep::Fault(fault) => {
                core.faults.add_for(&machine.serial, fault.clone());
                (Ok(()), String::new())
            }
        };
        let failed = |reason: String| Outcome::Failed { step: index + 1, reason };
        let unawaited = || format!("(last events that no step awaited: {})", machine.unawaited_events());
        match done {
            Ok(()) => {}
            Err(WaitError::Stopped) => return RunEnd::Stopped,
            Err(WaitError::EndedWith(event)) => {
                return RunEnd::Finished(failed(format!("the action ended with {event}")));
            }
            Err(WaitError::Gone) => {
                let away = machine.gone_after();
                let reason = format!("the machine left and did not come back within {away:?} {}", unawaited());
                return RunEnd::MachineGone(failed(reason));
            }
            Err(WaitError::TimedOut) => {
                let outcome = failed(format!("{timed_out} {}", unawaited()));
                let is_connected = machine.link().is_some();
                return if is_connected { RunEnd::Finished(outcome) } else { RunEnd::MachineGone(outcome) };
            }
        }
    }
    RunEnd::Finished(Outcome::Done)
}

/// Sends an action, again after a reconnection if the connection broke.
fn send(
    core: &Core,
    machine: &Arc<RemoteMachine>,
    action: &Map<String, Value>,
    deadline: Instant,
) -> Result<(), WaitError> {
    let action = Value::Object(action.clone());
    loop {
        let link = machine.wait_link(deadline, machine.gone_after())?;
        if core.send(machine, &link, action.clone()).is_ok() {
            return Ok(());
        }
    }
}
