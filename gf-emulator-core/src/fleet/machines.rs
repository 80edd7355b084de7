//! [`Machines`]: the machines of a fleet and their threads.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::gate::Gate;
use super::tally::Tally;
use crate::actions::Table;
use crate::net::retry::{Backoff, RetryReason};
use crate::record::Recorder;
use crate::sync::lock;
use crate::system::{self, Thread};
use crate::{Config, Emulator, Error, Handle, Link, Result, Secrets, Tls};

/// The machines of a fleet. Each has a thread, which runs one emulator after the other.
pub(super) struct Machines {
    slots: Vec<Slot>,
    shared: Shared,
    /// Until all machines have stopped.
    recorder: Mutex<Option<Recorder>>,
    pub(super) tally: Arc<Tally>,
    threads: Mutex<Vec<Thread<()>>>,
}

/// What all machines use.
pub(super) struct Shared {
    pub(super) tls: Tls,
    pub(super) table: Arc<Table>,
    pub(super) link: Link,
    pub(super) secrets: Secrets,
}

struct Slot {
    config: Config,
    control: Mutex<SlotControl>,
}

#[derive(Default)]
struct SlotControl {
    /// Stops the emulator that runs.
    handle: Option<Handle>,
    is_stopping: bool,
}

impl Machines {
    pub(super) fn new(configs: Vec<Config>, shared: Shared, recorder: Option<Recorder>) -> Self {
        let tally = Arc::new(Tally::new(configs.len()));
        let slot = |mut config: Config| {
            // Certificates and table are shared, and the fleet has pauses of its own between attempts.
            config.service.ca_file = None;
            config.service.actions_file = None;
            config.service.retry_for = Duration::ZERO;
            if recorder.is_some() {
                config.logging.record_dir = None;
            }
            Slot { config, control: Mutex::default() }
        };
        let slots = configs.into_iter().map(slot).collect();
        Self { slots, shared, recorder: Mutex::new(recorder), tally, threads: Mutex::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Starts the thread of a machine.
    pub(super) fn spawn(&self, index: usize, run: impl FnOnce() + Send + 'static) {
        match system::spawn("gf-fleet-machine", run) {
            Ok(thread) => lock(&self.threads).push(thread),
            Err(e) => self.tally.no_thread(index, self.serial(index), format!("its thread cannot be started: {e}")),
        }
    }

    /// Runs a machine until the fleet stops. Runs on its thread.
    pub(super) fn run(&self, index: usize, gate: &Gate) {
        let _guard = PanicGuard { machines: self, index };
        let mut backoff = Backoff::default();
        while !gate.is_stopping() {
            let ended = self.run_emulator(index, gate, &mut backoff);
            lock(&self.slots[index].control).handle = None;
            self.tally.emulator_ended(index);
            let error = match ended {
                // Stopped by `restart` or `stop`.
                Ok(()) | Err(Error::Interrupted) => continue,
                Err(error) => error,
            };
            let refused = matches!(error, Error::SignInRefused { .. });
            let reason = if refused { RetryReason::Refused } else { RetryReason::Failed };
            let pause = backoff.next_pause(reason, error.retry_after());
            self.tally.failed(index, self.serial(index), self.shared.secrets.redact(&error.to_string()));
            gate.pause(system::now() + pause);
        }
        self.tally.stopped(index);
    }

    /// Creates an emulator, connects it and runs it until it is stopped.
    fn run_emulator(&self, index: usize, gate: &Gate, backoff: &mut Backoff) -> Result<()> {
        let slot = &self.slots[index];
        let emulator = Emulator::new(slot.config.clone())?;
        let Shared { tls, table, link, secrets } = &self.shared;
        let mut emulator = emulator.with_tls(tls.clone()).with_table(Arc::clone(table)).with_link(link);
        secrets.follow(&emulator.secrets());
        let place = u32::try_from(index + 1).unwrap_or(u32::MAX);
        if let Some(recorder) = self.recorder() {
            emulator.record(&recorder.for_machine(place));
        }
        let (tally, number) = (Arc::clone(&self.tally), self.tally.begin(index));
        emulator.on_event(move |event| tally.event(index, number, event));
        {
            let mut control = lock(&slot.control);
            if control.is_stopping {
                return Ok(());
            }
            control.handle = Some(emulator.handle());
        }
        let Some(turn) = gate.enter() else { return Ok(()) };
        let connected = emulator.connect();
        drop(turn);
        connected?;
        backoff.reset();
        emulator.run()
    }

    /// Returns the recorder of all machines, until they have stopped.
    pub(super) fn recorder(&self) -> Option<Recorder> {
        lock(&self.recorder).clone()
    }

    fn serial(&self, index: usize) -> u32 {
        self.slots[index].config.machine.serial
    }

    /// Replaces the emulators of these machines, and waits until each new one is connected or has failed, or until the
    /// fleet stops. Machines that were not started yet, or pause after a failure, are left alone and not waited for.
    pub(super) fn restart(&self, machines: Range<usize>, gate: &Gate) {
        if gate.is_stopping() {
            return;
        }
        let mut restarted = Vec::new();
        for index in machines {
            let handle = {
                let control = lock(&self.slots[index].control);
                // The lock is held: a thread that panics removes its handle first, and changes the state after that.
                control.handle.clone().inspect(|_| self.tally.restart(index))
            };
            if let Some(handle) = handle {
                handle.stop();
                restarted.push(index);
            }
        }
        self.tally.wait_settled(&restarted);
    }

    /// Stops all emulators. Those that are created later stop at once.
    pub(super) fn stop(&self) {
        for slot in &self.slots {
            let handle = {
                let mut control = lock(&slot.control);
                control.is_stopping = true;
                control.handle.take()
            };
            if let Some(handle) = handle {
                handle.stop();
            }
        }
    }

    /// Waits for the threads of all machines, and for their recording.
    pub(super) fn join(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // A panic was counted in the thread.
            let _ = thread.join();
        }
        let recorder = lock(&self.recorder).take();
        // Not under the lock: dropping the last clone waits for the disk.
        drop(recorder);
    }
}

/// Lets nobody wait for a machine whose thread panics.
struct PanicGuard<'a> {
    machines: &'a Machines,
    index: usize,
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let &mut Self { machines, index } = self;
            lock(&machines.slots[index].control).handle = None;
            machines.tally.emulator_ended(index);
            let serial = machines.serial(index);
            log::error!("the thread of machine {serial} panicked");
            machines.tally.no_thread(index, serial, "its thread panicked".into());
        }
    }
}

#[cfg(test)]
impl Shared {
    pub(super) fn for_test() -> Self {
        let table = Table::load(&Config::default()).expect("the built-in table");
        Self { tls: Tls::new(None).expect("certificates"), table, link: Link::default(), secrets: Secrets::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::super::status::MachineState;
    use super::*;

    fn machines(count: usize) -> Machines {
        let configs = vec![Config::default(); count];
        Machines::new(configs, Shared::for_test(), None)
    }

    /// Gives a machine an emulator that can be stopped, and does not run.
    fn give_handle(machines: &Machines, index: usize) {
        let (emulator, _peer) = Emulator::offline(Config::default(), std::env::temp_dir()).unwrap();
        lock(&machines.slots[index].control).handle = Some(emulator.handle());
    }

    #[test]
    fn a_restart_does_not_wait_for_machines_that_were_not_started() {
        let machines = machines(3);
        machines.restart(0..3, &Gate::new(NonZeroU32::MIN));
        assert_eq!(machines.tally.status().in_state(MachineState::Starting), 3);
    }

    #[test]
    fn a_restart_does_not_wait_for_a_machine_whose_thread_panics() {
        let machines = machines(2);
        give_handle(&machines, 1);
        std::thread::scope(|scope| {
            let restart = scope.spawn(|| machines.restart(0..2, &Gate::new(NonZeroU32::MIN)));
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let _guard = PanicGuard { machines: &machines, index: 1 };
                std::panic::resume_unwind(Box::new(()));
            }));
            assert!(panicked.is_err());
            restart.join().unwrap();
        });
        let status = machines.tally.status();
        assert_eq!((status.without_thread, status.in_state(MachineState::Failed)), (1, 1));
        assert_eq!(status.in_state(MachineState::Starting), 1);
    }
}
