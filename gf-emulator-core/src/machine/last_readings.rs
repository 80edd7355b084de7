//! [`LastReadings`]: a machine's readings while an action uses it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{Capture, Controls, Job, Machine, MachineError, PlayUpdate};
use crate::sync::lock;

/// The readings of a machine from the start of the action that uses it, or used it last. As a [`Machine`], it has these
/// readings and fails at everything else: it is for actions that do not need the machine while another one uses it.
#[derive(Debug, Default)]
pub(crate) struct LastReadings(Mutex<Vec<(String, Value)>>);

impl LastReadings {
    /// Reads the machine. Keeps the earlier readings if it panics.
    pub(crate) fn read(&self, machine: &mut dyn Machine) {
        match catch_unwind(AssertUnwindSafe(|| machine.readings())) {
            Ok(readings) => *lock(&self.0) = readings,
            Err(_) => log::error!("the machine panicked while it was read"),
        }
    }

    pub(crate) fn get(&self) -> Vec<(String, Value)> {
        lock(&self.0).clone()
    }
}

impl Machine for Arc<LastReadings> {
    fn readings(&mut self) -> Vec<(String, Value)> {
        self.get()
    }

    // No action that does not need the machine has a step that gets here.
    fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        Err(MachineError::Failed("the machine is busy".into()))
    }

    fn play(&mut self, _: &Job, _: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        Err(MachineError::Failed("the machine is busy".into()))
    }
}
