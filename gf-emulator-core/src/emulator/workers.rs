//! The two threads that run actions. The main worker has the machine; the second one takes the actions that do not need it
//! while the main worker is busy.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender};
use serde_json::Value;

use super::scheduler::WorkerId;
use crate::actions::{Action, Runner};
use crate::machine::{Capture, Controls, Job, Machine, MachineError, PlayUpdate};
use crate::sync::lock;

/// What a worker tells the event loop.
#[derive(Clone, Copy)]
pub(crate) enum WorkerEvent {
    /// The action's ending is decided; its terminal event is about to be sent.
    EndingDecided,
    /// The worker has finished the action.
    Idle,
}

/// Runs all actions of the main worker. Keeps the machine's readings in `readings` before each action that needs it.
pub(super) fn run_main(
    mut runner: Runner<'_>,
    actions: Receiver<Action>,
    events: &Sender<(WorkerId, WorkerEvent)>,
    readings: &LastReadings,
) {
    for action in actions {
        if runner.table.row(&action.action_type).is_some_and(|row| !row.is_immediate()) {
            readings.read(runner.machine);
        }
        run(&mut runner, &action, WorkerId::Main, events);
    }
}

/// Runs all actions of the second worker.
pub(super) fn run_second(mut runner: Runner<'_>, actions: Receiver<Action>, events: &Sender<(WorkerId, WorkerEvent)>) {
    for action in actions {
        run(&mut runner, &action, WorkerId::Second, events);
    }
}

fn run(runner: &mut Runner<'_>, action: &Action, worker: WorkerId, events: &Sender<(WorkerId, WorkerEvent)>) {
    log::info!("action {} {}", action.action_type, action.id);
    // If the event loop has ended, nothing receives the events, and no action follows.
    runner.run(action, &|| _ = events.send((worker, WorkerEvent::EndingDecided)));
    _ = events.send((worker, WorkerEvent::Idle));
}

/// What the machine last measured: all of it that the second worker has.
#[derive(Default)]
pub(super) struct LastReadings(Mutex<Vec<(String, Value)>>);

impl LastReadings {
    fn read(&self, machine: &mut dyn Machine) {
        match catch_unwind(AssertUnwindSafe(|| machine.readings())) {
            Ok(readings) => *lock(&self.0) = readings,
            Err(_) => log::error!("the machine panicked while it was read"),
        }
    }
}

impl Machine for &LastReadings {
    fn readings(&mut self) -> Vec<(String, Value)> {
        lock(&self.0).clone()
    }

    // No immediate action has a step that gets here.
    fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        Err(MachineError::Failed("the machine is busy".into()))
    }

    fn play(&mut self, _: &Job, _: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        Err(MachineError::Failed("the machine is busy".into()))
    }
}
