//! [`Gate`]: what the threads of machines wait for: their turn to connect, the end of a pause, the stop.

use std::num::NonZeroU32;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use crate::sync::lock;
use crate::system;

/// Limits how many machines connect at the same time, and ends all waits when the fleet stops.
pub(super) struct Gate {
    state: Mutex<State>,
    has_room: Condvar,
    stopping: Condvar,
}

struct State {
    /// How many more may connect.
    room: u32,
    is_stopping: bool,
}

/// The turn of a machine that connects. Dropping it gives the turn to the next.
pub(super) struct Turn<'a>(&'a Gate);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).room += 1;
        self.0.has_room.notify_one();
    }
}

impl Gate {
    pub(super) fn new(room: NonZeroU32) -> Self {
        let state = Mutex::new(State { room: room.get(), is_stopping: false });
        Self { state, has_room: Condvar::new(), stopping: Condvar::new() }
    }

    pub(super) fn stop(&self) {
        lock(&self.state).is_stopping = true;
        self.has_room.notify_all();
        self.stopping.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        lock(&self.state).is_stopping
    }

    /// Waits for a turn. Returns `None` if the fleet stops.
    pub(super) fn enter(&self) -> Option<Turn<'_>> {
        let is_waiting = |state: &mut State| state.room == 0 && !state.is_stopping;
        let mut state = system::wait_while(&self.state, &self.has_room, lock(&self.state), None, is_waiting);
        if state.is_stopping {
            return None;
        }
        state.room -= 1;
        Some(Turn(self))
    }

    /// Waits until `until`. Returns false if the fleet stops before.
    pub(super) fn pause(&self, until: Instant) -> bool {
        let is_waiting = |state: &mut State| !state.is_stopping;
        !system::wait_while(&self.state, &self.stopping, lock(&self.state), Some(until), is_waiting).is_stopping
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn only_as_many_as_there_is_room_for_have_a_turn() {
        let gate = Gate::new(NonZeroU32::MIN);
        let first = gate.enter().unwrap();
        thread::scope(|scope| {
            let second = scope.spawn(|| gate.enter().is_some());
            drop(first);
            assert!(second.join().unwrap());
        });
    }

    #[test]
    fn a_stop_ends_every_wait() {
        let gate = Gate::new(NonZeroU32::MIN);
        let _turn = gate.enter().unwrap();
        thread::scope(|scope| {
            let waits = [scope.spawn(|| gate.enter().is_none()), {
                let far = Instant::now() + std::time::Duration::from_secs(3600);
                let gate = &gate;
                scope.spawn(move || !gate.pause(far))
            }];
            gate.stop();
            assert!(waits.into_iter().all(|wait| wait.join().unwrap()));
        });
        assert!(gate.is_stopping() && gate.enter().is_none());
    }
}
