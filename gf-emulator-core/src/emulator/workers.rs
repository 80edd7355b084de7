//! The two threads that run actions. The main worker has the machine; the second one takes the actions that do not need it
//! while the main worker is busy.

use crossbeam_channel::{Receiver, Sender};

use super::scheduler::WorkerId;
use crate::actions::{Action, Runner};
use crate::system;

/// What a worker tells the event loop.
#[derive(Clone, Copy)]
pub(crate) enum WorkerEvent {
    /// The action needs the machine, which has been read.
    MachineRead,
    /// The action's ending is decided; its terminal event is about to be sent.
    EndingDecided,
    /// The worker has finished the action.
    Idle,
}

/// Runs all actions of a worker.
pub(super) fn run(
    worker: WorkerId,
    mut runner: Runner,
    actions: &Receiver<Action>,
    events: &Sender<(WorkerId, WorkerEvent)>,
) {
    // If the event loop has ended, nothing receives the events, and no action follows.
    let report = |event| _ = events.send((worker, event));
    while let Ok(action) = system::recv(actions) {
        log::info!("action {} {}", action.action_type, action.id);
        // An action that needs the machine is always one of the main worker, which has it.
        if runner.table.row(&action.action_type).is_some_and(|row| !row.is_immediate()) {
            runner.readings.read(&mut *runner.machine);
            report(WorkerEvent::MachineRead);
        }
        runner.run(&action, &|| report(WorkerEvent::EndingDecided));
        report(WorkerEvent::Idle);
    }
}
