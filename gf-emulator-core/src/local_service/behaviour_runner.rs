//! Applies the default behaviour to one machine: waits for its events and for deadlines, and sends actions.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::behaviour::{BehaviourChange, PrintState};
use super::behaviour_state::{BehaviourState, job_name};
use super::core::Core;
use super::machine::{Input, RemoteMachine};
use super::outcomes::{Outcome, RunEnd};
use super::reactions::{Kind, Output, Reactions};
use super::seen::Seen;
use super::wait_error::WaitError;

/// Returns an action with the fields that the cloud sends, and placeholders of scripts.
fn action(id: i64, kind: Kind) -> Value {
    let mut action =
        json!({"id": id, "action_type": kind.action_type(), "status": "ready", "machine_serial": "{serial}"});
    match kind {
        Kind::Settings => action["settings"] = json!({"NRic": 5}),
        Kind::LidImage => {
            action["endpoint"] = format!("{{http}}/up/lid-{id}?X-Goog-Signature=a{id}").into();
            action["settings"] = json!({"LCfl": 1});
        }
        Kind::Hunt | Kind::Motion(_) | Kind::Print(_) => {
            action["motion_url"] = format!("{{http}}/dl/{}.puls", job_name(kind)).into();
        }
    }
    action
}

/// Runs until the service stops or the machine is evicted; with [`Behaviour::once`](super::Behaviour::once), until the
/// machine is homed and its prints have ended.
pub(super) fn run(behaviour: &BehaviourState, core: &Core, machine: &Arc<RemoteMachine>) -> RunEnd {
    let started = Instant::now();
    let gone_after = behaviour.once.then(|| machine.gone_after());
    let mut reactions = Reactions::new(behaviour.prints.len(), behaviour.time_scale);
    let mut failure = None;
    while !(behaviour.once && reactions.is_idle()) {
        let deadline = reactions.deadline().and_then(|at| started.checked_add(at));
        let input = machine.next_input(deadline, gone_after);
        let now = started.elapsed();
        let outputs = match input {
            Ok(Input::Connected) => reactions.connected(),
            Ok(Input::Event(event)) => reactions.event(now, &event),
            Err(WaitError::TimedOut) => reactions.time_passed(now),
            Err(WaitError::Gone) => {
                let away = gone_after.unwrap_or_default();
                let reason = format!("the machine left and did not come back within {away:?}");
                return RunEnd::MachineGone(Outcome::Failed { step: reactions.print_number(), reason });
            }
            Err(WaitError::Stopped | WaitError::EndedWith(_)) => return RunEnd::Stopped,
        };
        for output in outputs {
            match output {
                Output::Send { id, kind } => {
                    // If this fails, it is sent again when the machine has connected again.
                    if let Some(link) = machine.link() {
                        let _ = core.send(machine, &link, action(id, kind));
                    }
                }
                Output::Report(change) => {
                    failure = failure.or_else(|| print_failure(behaviour, &change));
                    let print = match &change {
                        BehaviourChange::Print { number, .. } => Some(behaviour.prints[number - 1].clone()),
                        _ => None,
                    };
                    core.history.record(Seen::Behaviour { serial: machine.serial.clone(), change, print });
                }
            }
        }
    }
    RunEnd::Finished(failure.unwrap_or(Outcome::Done))
}

fn print_failure(behaviour: &BehaviourState, change: &BehaviourChange) -> Option<Outcome> {
    match change {
        BehaviourChange::Print { number, state: state @ (PrintState::Cancelled | PrintState::Failed) } => {
            let reason = format!("the print of {} was not completed: {state}", behaviour.prints[number - 1]);
            Some(Outcome::Failed { step: *number, reason })
        }
        _ => None,
    }
}
