//! The events that the service has [`Seen`], and waiting for new ones.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::protocol::EVENT_PATH;
use super::seen::Seen;
use super::wait_error::WaitError;
use crate::sync::{lock, wait};

/// Maximum size of the history, in bytes. The oldest events are dropped first.
const HISTORY_BYTES: usize = 16 << 20;
/// Maximum size if all bodies are kept.
const HISTORY_WITH_BODIES_BYTES: usize = 1 << 30;

/// A callback that gets every event.
pub(super) type Observer = Box<dyn Fn(&Seen) + Send + Sync>;

/// The latest events, in order.
pub(super) struct History {
    state: Mutex<State>,
    keep_bodies: bool,
    grew: Condvar,
    observers: Vec<Observer>,
}

#[derive(Default)]
struct State {
    events: Vec<Seen>,
    bytes: usize,
    dropped: u64,
    stopping: bool,
}

impl History {
    pub(super) fn new(keep_bodies: bool, observers: Vec<Observer>) -> Self {
        Self { state: Mutex::default(), keep_bodies, grew: Condvar::new(), observers }
    }

    pub(super) fn record(&self, mut event: Seen) {
        let mut state = lock(&self.state);
        for observer in &self.observers {
            // Under the lock, so that observers get the events in the order of the history.
            observer(&event);
        }
        if let Seen::Http(request) = &mut event
            && !self.keep_bodies
            && request.path != EVENT_PATH
        {
            request.body = Arc::default();
        }
        state.bytes += event.memory();
        state.events.push(event);
        let limit = if self.keep_bodies { HISTORY_WITH_BODIES_BYTES } else { HISTORY_BYTES };
        if state.bytes > limit {
            state.evict(limit / 2);
        }
        self.grew.notify_all();
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        lock(&self.state).events.clone()
    }

    /// Returns how many events were dropped.
    pub(super) fn dropped(&self) -> u64 {
        lock(&self.state).dropped
    }

    /// Waits until `done` returns true. With `until_stop`, a stop of the service ends the wait.
    fn wait_until(
        &self,
        deadline: Instant,
        until_stop: bool,
        mut done: impl FnMut(&[Seen]) -> bool,
    ) -> Result<(), WaitError> {
        let mut state = lock(&self.state);
        loop {
            if done(&state.events) {
                return Ok(());
            }
            if until_stop && state.stopping {
                return Err(WaitError::Stopped);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(WaitError::TimedOut);
            }
            state = wait(&self.grew, state, Some(left));
        }
    }

    pub(super) fn wait_for(&self, done: impl FnMut(&[Seen]) -> bool, timeout: Duration) -> bool {
        self.wait_until(Instant::now() + timeout, false, done).is_ok()
    }

    /// Waits until `done` returns true; it is called again after each event. A stop of the service ends the wait.
    pub(super) fn wait_or_stop(&self, deadline: Instant, mut done: impl FnMut() -> bool) -> Result<(), WaitError> {
        self.wait_until(deadline, true, |_| done())
    }

    pub(super) fn stop(&self) {
        lock(&self.state).stopping = true;
        self.grew.notify_all();
    }
}

impl State {
    /// Drops the oldest events until the rest has at most `limit` bytes. The newest one always stays.
    fn evict(&mut self, limit: usize) {
        let mut count = 0;
        while self.bytes > limit && count + 1 < self.events.len() {
            self.bytes -= self.events[count].memory();
            count += 1;
        }
        self.events.drain(..count);
        self.dropped += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_events_and_counts_the_dropped_ones() {
        let history = History::new(false, Vec::new());
        let event = |n: usize| Seen::WsSent(format!("{n}{}", "x".repeat(100_000)));
        let count = 10 * HISTORY_BYTES / 100_000;
        for n in 0..count {
            history.record(event(n));
        }
        let events = history.all();
        assert!(events.iter().map(Seen::memory).sum::<usize>() <= HISTORY_BYTES);
        assert_eq!(events.last(), Some(&event(count - 1)));
        assert_eq!(history.dropped() + events.len() as u64, count as u64);

        let large = Seen::WsSent("x".repeat(HISTORY_BYTES + 1));
        history.record(large.clone());
        assert_eq!(history.all(), [large]);
    }
}
