//! What has been noted and is not written yet: bounded, so that a slow disk costs entries and never memory or time.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::recorder::Raw;

/// Text of entries, and everything else that is small. Whoever may wait for room takes half of it at most, and leaves the
/// rest to those who may not.
const MOST_TEXT_BYTES: usize = 8 << 20;
/// Bodies on their way to a file.
const MOST_BODY_BYTES: usize = 16 << 20;
const MOST_ENTRIES: usize = 64 << 10;
/// Entries that come within this time are written together: the thread that writes is woken once for all of them.
const GATHER: Duration = Duration::from_millis(10);

/// An event that waits to be written.
pub(super) struct Noted {
    /// Since the recording began.
    pub(super) after: Duration,
    pub(super) at: SystemTime,
    pub(super) what: What,
    pub(super) room: Room,
}

pub(super) enum What {
    Raw(Raw),
    /// So many events were left out here, and so many bodies of events that were not.
    LeftOut {
        events: u64,
        bodies: u64,
    },
}

/// Room that is taken in the queue, for as long as this lives.
#[derive(Default)]
pub(super) struct Room {
    queue: Option<Arc<Queue>>,
    text: usize,
    body: usize,
}

#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// There is something to write, or there never will be again.
    more: Condvar,
    /// Something has been written.
    less: Condvar,
}

/// Whether it makes sense to wait for room.
#[derive(Default, PartialEq, Eq)]
enum Disk {
    #[default]
    Takes,
    /// Somebody has waited for room in vain, and none has come since.
    Stalled,
}

#[derive(Default)]
struct Inner {
    noted: VecDeque<Noted>,
    text_bytes: usize,
    body_bytes: usize,
    events_left_out: u64,
    bodies_left_out: u64,
    /// Events that were ever queued, handed to whoever writes, and written.
    queued: u64,
    taken: u64,
    written: u64,
    /// Somebody waits for what is queued to be written.
    is_urgent: bool,
    /// Whether the writing thread waits for the first entry.
    is_idle: bool,
    /// How many wait for room.
    waiting: usize,
    disk: Disk,
    is_closed: bool,
}

impl Inner {
    fn has_room(&self, text: usize, body: usize, may_wait: bool) -> bool {
        let most_text = if may_wait { MOST_TEXT_BYTES / 2 } else { MOST_TEXT_BYTES };
        // Whatever is larger than all the room there is has it alone.
        let fits = |taken: usize, more: usize, most: usize| more == 0 || taken == 0 || taken + more <= most;
        fits(self.text_bytes, text, most_text)
            && fits(self.body_bytes, body, MOST_BODY_BYTES)
            && self.noted.len() < MOST_ENTRIES
    }

    fn left_out(&mut self) -> Option<What> {
        let (events, bodies) = (std::mem::take(&mut self.events_left_out), std::mem::take(&mut self.bodies_left_out));
        (events + bodies > 0).then_some(What::LeftOut { events, bodies })
    }
}

impl Queue {
    /// Queues an event; waits for up to `patience` where there is no room for it. Without room its bodies are left out,
    /// and if that is not enough it is left out itself: how many were is noted in its place.
    ///
    /// `clock` gives the time of the event. It is called under the lock, so that times are in order.
    pub(super) fn note(
        self: &Arc<Self>,
        mut raw: Raw,
        patience: Duration,
        clock: impl FnOnce() -> (Duration, SystemTime),
    ) {
        let (text, mut body) = raw.size();
        let may_wait = !patience.is_zero();
        let mut inner = self.inner();
        if may_wait && inner.disk == Disk::Takes && !inner.has_room(text, body, may_wait) {
            let until = Instant::now() + patience;
            inner.waiting += 1;
            while !inner.has_room(text, body, may_wait) && !inner.is_closed {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    inner.disk = Disk::Stalled;
                    break;
                }
                inner = self.less.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            inner.waiting -= 1;
        }
        if inner.is_closed {
            return;
        }
        if !inner.has_room(text, 0, may_wait) {
            inner.events_left_out += 1;
            return;
        }
        let (after, at) = clock();
        if let Some(what) = inner.left_out() {
            inner.noted.push_back(Noted { after, at, what, room: Room::default() });
        }
        if !inner.has_room(text, body, may_wait) {
            raw.drop_bodies();
            body = 0;
            // Said behind the entry, with what is left out next.
            inner.bodies_left_out += 1;
        }
        inner.text_bytes += text;
        inner.body_bytes += body;
        let room = Room { queue: Some(Arc::clone(self)), text, body };
        inner.noted.push_back(Noted { after, at, what: What::Raw(raw), room });
        inner.queued += 1;
        if inner.is_idle || (inner.text_bytes > MOST_TEXT_BYTES / 2) {
            inner.is_idle = false;
            self.more.notify_one();
        }
    }

    /// Everything that has been noted, once there is something and a moment has passed; nothing once the queue is closed
    /// and empty.
    pub(super) fn take(&self, clock: impl FnOnce() -> (Duration, SystemTime)) -> Option<VecDeque<Noted>> {
        let mut inner = self.inner();
        while inner.noted.is_empty() && inner.events_left_out + inner.bodies_left_out == 0 && !inner.is_closed {
            inner.is_idle = true;
            inner = self.more.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.is_idle = false;
        let waits_for_more =
            |inner: &mut Inner| !inner.is_closed && !inner.is_urgent && inner.text_bytes <= MOST_TEXT_BYTES / 2;
        inner = self.more.wait_timeout_while(inner, GATHER, waits_for_more).unwrap_or_else(PoisonError::into_inner).0;
        let mut noted = std::mem::take(&mut inner.noted);
        (inner.taken, inner.is_urgent) = (inner.queued, false);
        if let Some(what) = inner.left_out() {
            let (after, at) = clock();
            noted.push_back(Noted { after, at, what, room: Room::default() });
        }
        (!noted.is_empty()).then_some(noted)
    }

    /// Everything that was taken has been written.
    pub(super) fn has_written(&self) {
        let mut inner = self.inner();
        inner.written = inner.taken;
        if inner.waiting > 0 {
            self.less.notify_all();
        }
    }

    /// Waits until everything that is queued has been written, and not for longer than this.
    pub(super) fn wait_until_written(&self, patience: Duration) {
        let mut inner = self.inner();
        let (wanted, until) = (inner.queued, Instant::now() + patience);
        inner.waiting += 1;
        while inner.written < wanted {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inner.is_urgent = true;
            self.more.notify_one();
            inner = self.less.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.waiting -= 1;
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        let mut inner = self.inner();
        inner.is_closed = true;
        self.more.notify_all();
        self.less.notify_all();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Gives back the room of everything but the bodies.
    pub(super) fn of_bodies(mut self) -> Self {
        let body = std::mem::take(&mut self.body);
        Self { queue: self.queue.clone(), text: 0, body }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take().filter(|_| self.text + self.body > 0) else { return };
        let mut inner = queue.inner();
        inner.text_bytes -= self.text;
        inner.body_bytes -= self.body;
        inner.disk = Disk::Takes;
        if inner.waiting > 0 {
            queue.less.notify_all();
        }
    }
}
