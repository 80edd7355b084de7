//! The two workers that run actions. The main worker has the machine; the second one takes the actions that do not need it
//! while the main worker is busy.
//!
//! A worker has a thread while there is something to do, and for a short time after that.

use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::free_memory::Awake;
use super::scheduler::WorkerId;
use crate::actions::{Action, Runner, Shared};
use crate::service::Uplink;
use crate::sync::lock;
use crate::system::{self, Thread};
use crate::{Error, Result};

/// What a worker tells the event loop.
#[derive(Clone, Copy)]
pub(crate) enum WorkerEvent {
    /// The action needs the machine, which has been read.
    MachineRead,
    /// The action's ending is decided; its terminal event is about to be sent.
    EndingDecided,
    /// The worker has finished the action.
    Idle,
    /// The worker's thread has panicked.
    Panicked,
}

/// Runs actions, one at a time.
pub(super) struct Worker {
    id: WorkerId,
    shared: Arc<Shared>,
    /// `None`: its actions make no requests.
    uplink: Option<Arc<dyn Uplink>>,
    /// Locked by the thread.
    runner: Arc<Mutex<Runner>>,
    events: Sender<(WorkerId, WorkerEvent)>,
    running: Option<Running>,
}

/// The thread of a worker, and its next action.
struct Running {
    actions: Sender<Action>,
    thread: Thread<()>,
    awake: Awake,
}

impl Worker {
    /// Creates a worker whose actions make their requests through `uplink`.
    pub(super) fn new(
        id: WorkerId,
        runner: Runner,
        uplink: Option<Arc<dyn Uplink>>,
        events: Sender<(WorkerId, WorkerEvent)>,
    ) -> Self {
        let shared = Arc::clone(&runner.shared);
        Self { id, shared, uplink, runner: Arc::new(Mutex::new(runner)), events, running: None }
    }

    /// Starts an action. The worker must be idle. Returns the action, and why, if there can be no thread for it.
    pub(super) fn start(&mut self, action: Action) -> Option<(Action, Error)> {
        self.shared.controls.begin();
        if let Some(uplink) = &self.uplink {
            uplink.reset();
        }
        if self.shared.controls.is_stopped() {
            self.cancel_requests();
        }
        if self.running.is_none() {
            match self.start_thread() {
                Ok(running) => self.running = Some(running),
                Err(e) => return Some((action, e)),
            }
        }
        let Running { actions, .. } = self.running.as_ref()?;
        // The queue has room for the action of an idle worker.
        let unsent = actions.send(action).err()?;
        Some((unsent.0, Error::thread_panicked(self.id.thread_name())))
    }

    fn start_thread(&self) -> Result<Running> {
        let (actions, received) = bounded(1);
        let runner = Arc::clone(&self.runner);
        let events = Events { worker: self.id, sender: self.events.clone() };
        let name = self.id.thread_name();
        let thread = system::spawn(name, move || run(&mut lock(&runner), &received, &events));
        Ok(Running { actions, thread: thread.map_err(|e| Error::no_thread(name, &e))?, awake: Awake::new() })
    }

    /// Ends the thread and closes the idle connections. The worker must be idle, or its thread must have panicked: that
    /// is the error.
    pub(super) fn rest(&mut self) -> Result<()> {
        if let Some(uplink) = &self.uplink {
            uplink.close_idle();
        }
        let Some(Running { actions, thread, awake }) = self.running.take() else { return Ok(()) };
        // Ends the thread.
        drop(actions);
        let ended = thread.join().map_err(|_| Error::thread_panicked(self.id.thread_name()));
        drop(awake);
        ended
    }

    pub(super) fn cancel(&self) {
        self.shared.controls.cancel();
        self.cancel_requests();
    }

    pub(super) fn stop(&self) {
        self.shared.controls.stop();
        self.cancel_requests();
    }

    fn cancel_requests(&self) {
        if let Some(uplink) = &self.uplink {
            uplink.cancel();
        }
    }
}

/// Reports to the event loop, also a panic.
struct Events {
    worker: WorkerId,
    sender: Sender<(WorkerId, WorkerEvent)>,
}

impl Events {
    fn send(&self, event: WorkerEvent) {
        // If the event loop has ended, nothing receives it.
        let _ = self.sender.send((self.worker, event));
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if thread::panicking() {
            self.send(WorkerEvent::Panicked);
        }
    }
}

/// Runs the actions of a thread.
fn run(runner: &mut Runner, actions: &Receiver<Action>, events: &Events) {
    while let Ok(action) = system::recv(actions) {
        log::info!("action {} {}", action.action_type, action.id);
        // An action that needs the machine is always one of the main worker, which has it.
        if runner.table.row(&action.action_type).is_some_and(|row| !row.is_immediate()) {
            runner.readings.read(&mut *runner.machine);
            events.send(WorkerEvent::MachineRead);
        }
        runner.run(&action, &|| events.send(WorkerEvent::EndingDecided));
        events.send(WorkerEvent::Idle);
    }
}
