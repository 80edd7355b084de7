//! The bounded queue between event sources and the writer thread: a slow disk costs entries, never memory or time.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use super::disk_calls::DiskCalls;
use super::unredacted::Unredacted;
use crate::sync::lock;
use crate::system;

/// Limit for text and metadata. Blocking callers use at most half of it; the rest is for callers that must not wait.
const MAX_TEXT_BYTES: usize = 8 << 20;
/// Limit for bodies that are to become files.
const MAX_BODY_BYTES: usize = 16 << 20;
const MAX_EVENTS: usize = 64 << 10;
/// Events that arrive within this time are written together, with one wake-up of the writer thread.
const BATCH_TIME: Duration = Duration::from_millis(10);

/// When something happened, and to which machine.
#[derive(Clone, Copy)]
pub(super) struct Stamp {
    /// Time since the recording began.
    pub(super) elapsed: Duration,
    pub(super) at: SystemTime,
    /// As [`Entry::machine`](super::Entry::machine).
    pub(super) machine: Option<u32>,
}

/// An event waiting to be written.
pub(super) struct QueuedEvent {
    pub(super) stamp: Stamp,
    pub(super) item: QueueItem,
    pub(super) reservation: Reservation,
}

pub(super) enum QueueItem {
    Event(Unredacted),
    /// What was dropped at this point: whole events, and the bodies of other events.
    Dropped {
        events: u64,
        bodies: u64,
    },
}

/// Queue capacity in use; released on drop.
#[derive(Default)]
pub(super) struct Reservation {
    queue: Option<Arc<Queue>>,
    text: usize,
    body: usize,
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Notifies the writer: events were queued, or the queue was closed.
    not_empty: Condvar,
    /// Notifies waiting callers: events were written, or capacity was released.
    progressed: Condvar,
    pub(super) disk_calls: Arc<DiskCalls>,
}

/// Whether it makes sense to wait for capacity.
#[derive(Default, PartialEq, Eq)]
enum Disk {
    #[default]
    Responding,
    /// A caller timed out waiting for capacity, and none has been released since.
    Stalled,
}

#[derive(Default)]
struct State {
    events: VecDeque<QueuedEvent>,
    text_bytes: usize,
    body_bytes: usize,
    dropped_events: u64,
    dropped_bodies: u64,
    /// Events ever queued, handed to the writer, and written.
    queued: u64,
    taken: u64,
    written: u64,
    /// A caller waits for the queued events to be written.
    is_flush_requested: bool,
    /// The writer waits for the first event.
    is_writer_idle: bool,
    /// Callers waiting for capacity or a flush.
    waiting: usize,
    disk: Disk,
    is_closed: bool,
}

impl QueuedEvent {
    fn of_all(stamp: Stamp, item: QueueItem) -> Self {
        Self { stamp: Stamp { machine: None, ..stamp }, item, reservation: Reservation::default() }
    }
}

impl State {
    fn has_capacity(&self, text: usize, body: usize, may_wait: bool) -> bool {
        let max_text = if may_wait { MAX_TEXT_BYTES / 2 } else { MAX_TEXT_BYTES };
        // An item larger than the limit is accepted into an empty queue.
        let fits = |used: usize, more: usize, max: usize| more == 0 || used == 0 || used + more <= max;
        fits(self.text_bytes, text, max_text)
            && fits(self.body_bytes, body, MAX_BODY_BYTES)
            && self.events.len() < MAX_EVENTS
    }

    fn take_dropped(&mut self) -> Option<QueueItem> {
        let (events, bodies) = (std::mem::take(&mut self.dropped_events), std::mem::take(&mut self.dropped_bodies));
        (events + bodies > 0).then_some(QueueItem::Dropped { events, bodies })
    }
}

impl Queue {
    /// Queues an event, waiting up to `timeout` for capacity. If there is none, drops the event's bodies, or else the
    /// whole event, and counts what was dropped.
    ///
    /// `stamp` returns the event's time. It is called under the lock, which keeps times in order.
    pub(super) fn push(self: &Arc<Self>, mut event: Unredacted, timeout: Duration, stamp: impl FnOnce() -> Stamp) {
        let (text, mut body) = event.size();
        let may_wait = !timeout.is_zero();
        let mut state = self.lock();
        if may_wait && state.disk == Disk::Responding && !state.has_capacity(text, body, may_wait) {
            state.waiting += 1;
            let is_full = |state: &mut State| !state.has_capacity(text, body, may_wait) && !state.is_closed;
            state = self.wait_while(&self.progressed, state, Some(system::now() + timeout), is_full);
            state.waiting -= 1;
            if is_full(&mut state) {
                state.disk = Disk::Stalled;
            }
        }
        if state.is_closed {
            return;
        }
        if !state.has_capacity(text, 0, may_wait) {
            state.dropped_events += 1;
            return;
        }
        let stamp = stamp();
        if let Some(item) = state.take_dropped() {
            state.events.push_back(QueuedEvent::of_all(stamp, item));
        }
        if !state.has_capacity(text, body, may_wait) {
            event.drop_bodies();
            body = 0;
            // Reported after this event, together with whatever is dropped next.
            state.dropped_bodies += 1;
        }
        state.text_bytes += text;
        state.body_bytes += body;
        let reservation = Reservation { queue: Some(Arc::clone(self)), text, body };
        state.events.push_back(QueuedEvent { stamp, item: QueueItem::Event(event), reservation });
        state.queued += 1;
        if state.is_writer_idle || state.text_bytes > MAX_TEXT_BYTES / 2 {
            state.is_writer_idle = false;
            self.not_empty.notify_one();
        }
    }

    /// Waits for events and returns them as a batch, or `None` once the queue is closed and empty.
    pub(super) fn take(&self, stamp: impl FnOnce() -> Stamp) -> Option<VecDeque<QueuedEvent>> {
        let mut state = self.lock();
        state = self.wait_while(&self.not_empty, state, None, |state| {
            let is_idle =
                state.events.is_empty() && state.dropped_events + state.dropped_bodies == 0 && !state.is_closed;
            state.is_writer_idle = is_idle;
            is_idle
        });
        state = self.wait_while(&self.not_empty, state, Some(system::now() + BATCH_TIME), |state| {
            !state.is_closed && !state.is_flush_requested && state.text_bytes <= MAX_TEXT_BYTES / 2
        });
        let mut events = std::mem::take(&mut state.events);
        (state.taken, state.is_flush_requested) = (state.queued, false);
        if let Some(item) = state.take_dropped() {
            events.push_back(QueuedEvent::of_all(stamp(), item));
        }
        (!events.is_empty()).then_some(events)
    }

    /// Marks everything taken so far as written.
    pub(super) fn mark_written(&self) {
        let mut state = self.lock();
        state.written = state.taken;
        if state.waiting > 0 {
            self.progressed.notify_all();
        }
    }

    /// Waits until everything queued so far has been written, or until the writer waits for the disk for `timeout`.
    pub(super) fn wait_until_written(&self, timeout: Duration) {
        let mut state = self.lock();
        let target = state.queued;
        let is_waiting = |state: &mut State| {
            let is_waiting = state.written < target;
            if is_waiting {
                state.is_flush_requested = true;
                self.not_empty.notify_one();
            }
            is_waiting
        };
        state.waiting += 1;
        drop(state);
        self.disk_calls.wait(|| {
            let state = self.wait_while(&self.progressed, self.lock(), Some(system::now() + timeout), is_waiting);
            (state.written >= target).then_some(())
        });
        self.lock().waiting -= 1;
    }

    /// Closes the queue: later events are ignored.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        self.not_empty.notify_all();
        self.progressed.notify_all();
    }

    /// Ends all waiting: the writer has ended, also by a panic.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        (state.is_closed, state.written) = (true, state.queued);
        let unwritten = std::mem::take(&mut state.events);
        self.progressed.notify_all();
        drop(state);
        // Their capacity is released under the lock.
        drop(unwritten);
    }

    fn wait_while<'a>(
        &'a self,
        condvar: &Condvar,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
        is_waiting: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'a, State> {
        system::wait_while(&self.state, condvar, state, deadline, is_waiting)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Reservation {
    /// Releases everything but the capacity for bodies.
    pub(super) fn into_bodies(mut self) -> Self {
        let body = std::mem::take(&mut self.body);
        Self { queue: self.queue.clone(), text: 0, body }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take().filter(|_| self.text + self.body > 0) else { return };
        let mut state = queue.lock();
        state.text_bytes -= self.text;
        state.body_bytes -= self.body;
        state.disk = Disk::Responding;
        if state.waiting > 0 {
            queue.progressed.notify_all();
        }
    }
}
