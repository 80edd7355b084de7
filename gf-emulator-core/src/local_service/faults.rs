//! The faults of a running service: its [`FaultPlan`] behind a lock, the frames that wait, and waits that a stop ends.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::fault::{Fault, FrameFault};
use super::fault_plan::{FaultPlan, FrameDecision, RequestTreatment};
use super::frame_queue::{Frame, FrameQueue, FrameTreatment, Next};
use super::link::WsEnd;
use crate::sync::{lock, wait};

/// Maximum number of frames to one machine that wait. Whoever sends another one waits as well.
const FRAMES_LIMIT: usize = 1000;

/// The faults, and what they hold back.
pub(super) struct Faults {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    plan: FaultPlan,
    /// The frames that wait, by the serial number of the machine. Each queue has a thread that sends its frames and
    /// removes it when it is empty; until then, all frames go through it, or they would overtake others.
    frames: HashMap<String, FrameQueue>,
    held: usize,
    released: usize,
    stopping: bool,
}

/// How a frame is sent.
pub(super) enum FrameRoute {
    /// At once, as it is.
    Direct,
    /// It waits.
    Queued {
        /// A thread has to be started that sends it.
        needs_thread: bool,
    },
    /// Not at all: the WebSocket ends.
    End(WsEnd),
    /// Not at all: the service stops.
    Stopped,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        let state = State { plan: FaultPlan::new(seed), frames: HashMap::new(), held: 0, released: 0, stopping: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn seed(&self) -> u64 {
        lock(&self.state).plan.seed()
    }

    /// Adds a fault of all machines.
    pub(super) fn add(&self, fault: Fault) {
        lock(&self.state).plan.add(fault);
    }

    /// Adds a fault of one machine.
    pub(super) fn add_for(&self, serial: &str, fault: Fault) {
        let mut state = lock(&self.state);
        let number = state.plan.number_of(serial);
        state.plan.add_for(number, fault);
    }

    /// Removes all faults, and ends all holds.
    pub(super) fn clear(&self) {
        lock(&self.state).plan.clear();
        self.release();
    }

    /// Returns the number of a machine, counted from 1 in the order of the first calls.
    pub(super) fn number_of(&self, serial: &str) -> u64 {
        lock(&self.state).plan.number_of(serial)
    }

    /// Returns whether a machine has this number.
    pub(super) fn has_machine(&self, number: u64) -> bool {
        lock(&self.state).plan.has_machine(number)
    }

    pub(super) fn request(&self, machine: u64, method: &str, path: &str, has_token: bool) -> RequestTreatment {
        lock(&self.state).plan.request(machine, method, path, has_token)
    }

    pub(super) fn opened(&self, machine: u64) -> Option<(Duration, WsEnd)> {
        lock(&self.state).plan.opened(machine)
    }

    pub(super) fn message(&self, machine: u64, bytes: usize, event: Option<&str>) -> Option<WsEnd> {
        lock(&self.state).plan.message(machine, bytes, event)
    }

    pub(super) fn posted_event(&self, machine: u64, event: &str) -> Option<WsEnd> {
        lock(&self.state).plan.posted_event(machine, event)
    }

    /// Decides about a frame to the machine with this number and serial number. Waits while too many others wait.
    /// `report` is called if a fault changes the frame.
    pub(super) fn frame(&self, number: u64, serial: &str, text: &str, report: impl FnOnce(FrameFault)) -> FrameRoute {
        let mut state = lock(&self.state);
        while state.frames.get(serial).is_some_and(|queue| queue.len() >= FRAMES_LIMIT) && !state.stopping {
            state = wait(&self.changed, state, None);
        }
        if state.stopping {
            return FrameRoute::Stopped;
        }
        let State { plan, frames, .. } = &mut *state;
        let joins = frames.get(serial).is_some_and(FrameQueue::is_gathering);
        let treatment = match plan.frame(number, joins) {
            FrameDecision::End(how) => return FrameRoute::End(how),
            FrameDecision::Send(treatment) => treatment,
        };
        let needs_thread = !frames.contains_key(serial);
        if treatment == FrameTreatment::default() && needs_thread {
            return FrameRoute::Direct;
        }
        if let Some(fault) = treatment.fault {
            report(fault);
        }
        frames.entry(serial.to_owned()).or_default().push(text.to_owned(), treatment, Instant::now());
        self.changed.notify_all();
        FrameRoute::Queued { needs_thread }
    }

    /// Waits for the next frame that is due. Returns `None` if there are no more or the service stops: then the thread
    /// that called must not send any more.
    pub(super) fn next_frame(&self, serial: &str) -> Option<Frame> {
        let mut state = lock(&self.state);
        loop {
            let now = Instant::now();
            let stopping = state.stopping;
            match state.frames.get_mut(serial).filter(|_| !stopping).map_or(Next::Empty, |queue| queue.next(now)) {
                Next::Send(frame) => {
                    self.changed.notify_all();
                    return Some(frame);
                }
                Next::WaitUntil(until) => state = wait(&self.changed, state, Some(until - now)),
                Next::Empty => {
                    state.frames.remove(serial);
                    return None;
                }
            }
        }
    }

    /// Drops all frames to a machine that wait.
    pub(super) fn drop_frames(&self, serial: &str) {
        lock(&self.state).frames.remove(serial);
        self.changed.notify_all();
    }

    /// Waits for so long, or until the service stops.
    pub(super) fn pause(&self, time: Duration) {
        self.pause_until(Instant::now() + time);
    }

    /// Waits until then, or until the service stops.
    pub(super) fn pause_until(&self, until: Instant) {
        let mut state = lock(&self.state);
        while !state.stopping {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = wait(&self.changed, state, Some(left));
        }
    }

    /// Waits for the next release. `on_held` is called once a release would end the wait.
    pub(super) fn hold(&self, on_held: impl FnOnce()) {
        let mut state = lock(&self.state);
        state.held += 1;
        let ticket = state.held;
        on_held();
        while state.released < ticket && !state.stopping {
            state = wait(&self.changed, state, None);
        }
    }

    pub(super) fn release(&self) {
        let mut state = lock(&self.state);
        state.released = state.held;
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        lock(&self.state).stopping = true;
        self.changed.notify_all();
    }
}
