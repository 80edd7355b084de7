//! [`Machines`]: the machines of a fleet and their threads.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::Sender;

use super::gate::Gate;
use super::notice::Notice;
use super::tally::Tally;
use crate::net::retry::{Backoff, RetryReason};
use crate::sync::lock;
use crate::system::{self, Thread};
use crate::{Config, Emulator, Error, Handle, Link, Result, Secrets, Tls};

/// The machines of a fleet. Each has a thread, which runs one emulator after the other.
pub(super) struct Machines {
    slots: Vec<Slot>,
    tls: Tls,
    link: Link,
    secrets: Secrets,
    pub(super) tally: Arc<Tally>,
    threads: Mutex<Vec<(usize, Thread<()>)>>,
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
    pub(super) fn new(configs: Vec<Config>, tls: Tls, link: Link, secrets: Secrets, notices: Sender<Notice>) -> Self {
        let tally = Arc::new(Tally::new(configs.len(), notices));
        let slot = |mut config: Config| {
            // The connector is shared, and the fleet has pauses of its own between attempts.
            config.service.ca_file = None;
            config.service.retry_for = Duration::ZERO;
            Slot { config, control: Mutex::default() }
        };
        Self { slots: configs.into_iter().map(slot).collect(), tls, link, secrets, tally, threads: Mutex::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Starts the thread of a machine.
    pub(super) fn spawn(&self, index: usize, run: impl FnOnce() + Send + 'static) {
        match system::spawn("gf-fleet-machine", run) {
            Ok(thread) => lock(&self.threads).push((index, thread)),
            Err(e) => self.tally.no_thread(index, self.serial(index), format!("its thread cannot be started: {e}")),
        }
    }

    /// Runs a machine until the fleet stops. Runs on its thread.
    pub(super) fn run(&self, index: usize, gate: &Gate) {
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
            self.tally.failed(index, self.serial(index), self.secrets.redact(&error.to_string()));
            gate.pause(system::now() + pause);
        }
        self.tally.stopped(index);
    }

    /// Creates an emulator, connects it and runs it until it is stopped.
    fn run_emulator(&self, index: usize, gate: &Gate, backoff: &mut Backoff) -> Result<()> {
        let slot = &self.slots[index];
        let emulator = Emulator::new(slot.config.clone())?;
        let mut emulator = emulator.with_tls(self.tls.clone()).with_link(&self.link);
        self.secrets.follow(&emulator.secrets());
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

    fn serial(&self, index: usize) -> u32 {
        self.slots[index].config.machine.serial
    }

    /// Replaces the emulators of these machines, and waits until each new one is connected or has failed, or until the
    /// fleet stops. Machines that were not started yet, or pause after a failure, are left alone.
    pub(super) fn restart(&self, machines: Range<usize>, gate: &Gate) {
        if gate.is_stopping() {
            return;
        }
        for index in machines.clone() {
            let handle = lock(&self.slots[index].control).handle.clone();
            if let Some(handle) = handle {
                self.tally.restart(index);
                handle.stop();
            }
        }
        self.tally.wait_settled(machines);
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

    /// Waits for the threads of all machines.
    pub(super) fn join(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        for (index, thread) in threads {
            if thread.join().is_err() {
                self.tally.no_thread(index, self.serial(index), "its thread panicked".into());
            }
        }
    }
}
