//! [`Telemetry`]: where the parts of one emulator report what happens.

use std::sync::{Arc, Mutex};

use super::recorder::Recorder;
use super::unredacted::Unredacted;
use crate::Secrets;
use crate::events::{EmulatorEvent, Observers};
use crate::sync::lock;

/// The recorder of one emulator once one is set, its observers, and its secrets. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Telemetry(Arc<Shared>);

#[derive(Default)]
struct Shared {
    recorder: Mutex<Option<Recorder>>,
    observers: Observers,
    secrets: Secrets,
}

impl Telemetry {
    /// Starts recording. The recorder also redacts this emulator's secrets.
    pub(crate) fn set_recorder(&self, recorder: &Recorder) {
        let mut slot = lock(&self.0.recorder);
        recorder.add_secrets(&self.0.secrets);
        *slot = Some(recorder.clone());
    }

    /// Lets go of the recorder and the observers, which may hold a handle of the emulator.
    pub(crate) fn clear(&self) {
        let recorder = lock(&self.0.recorder).take();
        self.0.observers.clear();
        // Not under the lock: dropping the last clone waits for the disk.
        drop(recorder);
    }

    pub(crate) fn recorder(&self) -> Option<Recorder> {
        lock(&self.0.recorder).clone()
    }

    pub(crate) fn observers(&self) -> &Observers {
        &self.0.observers
    }

    /// Returns the secrets that must not appear in logs, errors, events and recordings.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.0.secrets
    }

    /// Records something if there is a recorder. Never blocks.
    pub(crate) fn record(&self, event: impl FnOnce() -> Unredacted) {
        if let Some(recorder) = self.recorder() {
            recorder.try_record(event());
        }
    }

    /// Calls the observers.
    pub(crate) fn emit(&self, event: impl FnOnce() -> EmulatorEvent) {
        self.0.observers.emit(event);
    }
}
