//! Starts the script, behaviour or replay with a machine, on a thread of its own.

use std::sync::Arc;

use super::core::{Core, Task};
use super::machine::RemoteMachine;
use super::outcomes::{Outcome, RunEnd};
use super::{behaviour_runner, replay_runner, script_runner};

/// Starts the task with a machine that is connected, unless it was started before.
pub(super) fn start(core: &Core, machine: &Arc<RemoteMachine>) {
    if core.task.is_none() || !machine.start_task_once() {
        return;
    }
    core.runs.begin();
    let machine = Arc::clone(machine);
    let started = core.spawn("gf-service-script", move |core| {
        core.runs.end(match &core.task {
            None => RunEnd::Stopped,
            Some(Task::Script(script)) => script_runner::run(script, core, &machine),
            Some(Task::Behaviour(behaviour)) => behaviour_runner::run(behaviour, core, &machine),
            Some(Task::Replay(replay)) => replay_runner::run(replay, core, &machine),
        });
    });
    if let Err(error) = started {
        let reason = format!("cannot start its thread: {error}");
        core.runs.end(RunEnd::Finished(Outcome::Failed { step: 1, reason }));
    }
}
