//! A machine that has signed in: its WebSocket, and the events it sent that no script step has awaited yet.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::link::Link;
use super::protocol::end_same_action;
use super::wait_error::WaitError;
use crate::sync::{lock, wait};

/// Maximum number of unawaited events and connections. The oldest are dropped first.
const EVENTS_LIMIT: usize = 1000;
/// Maximum length of an event's name, in bytes; events with longer ones cannot be awaited.
const NAME_LIMIT_BYTES: usize = 200;

/// A machine, across all its connections.
pub(super) struct RemoteMachine {
    /// The serial number that it signed in with, including the `S`.
    pub(super) serial: String,
    gone_after: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    link: Option<Arc<Link>>,
    /// What no script step has awaited yet.
    inputs: VecDeque<Input>,
    /// When it last signed in, made a request with its token, or had a WebSocket.
    last_seen: Instant,
    task_started: bool,
    stopping: bool,
}

/// The machine was evicted, or the service stops.
pub(super) struct Stopping;

/// What a machine has done, for the script or behaviour that runs with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// It has opened a WebSocket.
    Connected,
    /// It has sent an event.
    Event(ReceivedEvent),
}

impl Input {
    fn event(&self) -> Option<&ReceivedEvent> {
        if let Self::Event(event) = self { Some(event) } else { None }
    }
}

/// What is kept of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReceivedEvent {
    pub(super) name: String,
    pub(super) action_id: Option<i64>,
    /// It has a settings report that is not empty.
    pub(super) has_values: bool,
}

impl ReceivedEvent {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the event of a message, or `None` if it has none.
    pub(super) fn of(message: &Value) -> Option<Self> {
        let name = message.get("event")?.as_str()?;
        let name = (name.len() <= NAME_LIMIT_BYTES).then(|| name.to_owned())?;
        let has_values = message["settings"].as_object().is_some_and(|report| !report.is_empty());
        Some(Self { name, action_id: message["action_id"].as_i64(), has_values })
    }
}

impl State {
    fn push(&mut self, input: Input) {
        if self.inputs.len() == EVENTS_LIMIT {
            self.inputs.pop_front();
        }
        self.inputs.push_back(input);
    }
}

impl RemoteMachine {
    pub(super) fn new(serial: &str, gone_after: Duration) -> Self {
        let last_seen = Instant::now();
        let state = State { link: None, inputs: VecDeque::new(), last_seen, task_started: false, stopping: false };
        Self { serial: serial.to_owned(), gone_after, state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn touch(&self) {
        lock(&self.state).last_seen = Instant::now();
    }

    /// Returns the order in which machines are evicted: least recently seen first, those without a WebSocket before the
    /// others.
    pub(super) fn eviction_order(&self) -> (bool, Instant) {
        let state = lock(&self.state);
        (state.link.is_some(), state.last_seen)
    }

    /// Ends all waits for this machine. Returns its link.
    pub(super) fn stop(&self) -> Option<Arc<Link>> {
        let mut state = lock(&self.state);
        state.stopping = true;
        self.changed.notify_all();
        state.link.clone()
    }

    /// Returns true on the first call only.
    pub(super) fn start_task_once(&self) -> bool {
        !std::mem::replace(&mut lock(&self.state).task_started, true)
    }

    /// Returns how long the machine may be disconnected and silent before it counts as gone.
    pub(super) fn gone_after(&self) -> Duration {
        self.gone_after
    }

    /// Replaces the link. Returns the previous one. Fails if the machine was stopped.
    pub(super) fn attach(&self, link: &Arc<Link>) -> Result<Option<Arc<Link>>, Stopping> {
        let mut state = lock(&self.state);
        if state.stopping {
            return Err(Stopping);
        }
        state.last_seen = Instant::now();
        let previous = state.link.replace(Arc::clone(link));
        state.push(Input::Connected);
        drop(state);
        self.changed.notify_all();
        Ok(previous)
    }

    /// Removes the link, if it is still this one.
    pub(super) fn detach(&self, link: &Arc<Link>) {
        let mut state = lock(&self.state);
        if state.link.take_if(|held| Arc::ptr_eq(held, link)).is_some() {
            state.last_seen = Instant::now();
            // Waiting threads have to compute when the machine counts as gone.
            self.changed.notify_all();
        }
    }

    /// Keeps an event for the script or behaviour that awaits it.
    pub(super) fn push_event(&self, event: ReceivedEvent) {
        let mut state = lock(&self.state);
        state.push(Input::Event(event));
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until `take` returns a value, or until the machine has been gone for `gone_after`; `None` is for ever.
    fn wait_until<T>(
        &self,
        deadline: Option<Instant>,
        gone_after: Option<Duration>,
        mut take: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, WaitError> {
        let mut state = lock(&self.state);
        loop {
            if state.stopping {
                return Err(WaitError::Stopped);
            }
            if let Some(found) = take(&mut state) {
                return Ok(found);
            }
            let now = Instant::now();
            if deadline.is_some_and(|at| at <= now) {
                return Err(WaitError::TimedOut);
            }
            let gone_after = gone_after.filter(|_| state.link.is_none());
            let gone_at = gone_after.and_then(|after| state.last_seen.checked_add(after));
            if gone_at.is_some_and(|at| at <= now) {
                return Err(WaitError::Gone);
            }
            let until = [deadline, gone_at].into_iter().flatten().min();
            state = wait(&self.changed, state, until.map(|at| at - now));
        }
    }

    /// Waits until the machine has a link.
    pub(super) fn wait_link(&self, deadline: Instant, gone_after: Duration) -> Result<Arc<Link>, WaitError> {
        self.wait_until(Some(deadline), Some(gone_after), |state| state.link.clone())
    }

    /// Removes the oldest input, waiting for one if necessary.
    pub(super) fn next_input(
        &self,
        deadline: Option<Instant>,
        gone_after: Option<Duration>,
    ) -> Result<Input, WaitError> {
        self.wait_until(deadline, gone_after, |state| state.inputs.pop_front())
    }

    /// Returns the current link, if any.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        lock(&self.state).link.clone()
    }

    /// Removes the first matching event, waiting for it if necessary.
    pub(super) fn wait_event(&self, name: &str, action_id: Option<i64>, deadline: Instant) -> Result<(), WaitError> {
        let of_action = |event: &ReceivedEvent| action_id.is_none() || event.action_id == action_id;
        let ended_otherwise = |event: &ReceivedEvent| {
            action_id.is_some()
                && event.action_id == action_id
                && event.name != name
                && end_same_action(&event.name, name)
        };
        let is_awaited = |event: &ReceivedEvent| event.name == name && of_action(event);
        self.wait_until(Some(deadline), Some(self.gone_after), |state| {
            if let Some(index) = state.inputs.iter().position(|input| input.event().is_some_and(is_awaited)) {
                state.inputs.remove(index);
                return Some(Ok(()));
            }
            let other = state.inputs.iter().filter_map(Input::event).find(|event| ended_otherwise(event))?;
            Some(Err(WaitError::EndedWith(other.name.clone())))
        })?
    }

    /// Sleeps until `until`, or until the service stops or the machine is gone.
    pub(super) fn sleep(&self, until: Instant) -> Result<(), WaitError> {
        match self.wait_until::<()>(Some(until), Some(self.gone_after), |_| None) {
            Err(WaitError::TimedOut) => Ok(()),
            other => other,
        }
    }

    /// Returns the names of the last unawaited events, for an error message.
    pub(super) fn unawaited_events(&self) -> String {
        let state = lock(&self.state);
        let events = state.inputs.iter().rev().filter_map(Input::event);
        let names: Vec<_> = events.take(5).map(|event| event.name.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}
