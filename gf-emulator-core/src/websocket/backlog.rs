//! Messages that wait for a socket.
//!
//! Bounded: when it is full, progress goes first and events last, and what goes is logged. Pure but for the log.

use std::collections::VecDeque;

use crate::websocket::queues::Outgoing;

/// Hours of events of a machine that is cut off: the longest sequence of an action has some thirty.
const CAPACITY: usize = 4096;
/// A message has some 200 bytes; a settings report, the longest, some 10,000.
const CAPACITY_BYTES: usize = 8 << 20;

/// Messages in the order in which they were put in the queue.
#[derive(Debug)]
pub(crate) struct Backlog {
    messages: VecDeque<Outgoing>,
    bytes: usize,
    capacity: usize,
    capacity_bytes: usize,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { messages: VecDeque::new(), bytes: 0, capacity: CAPACITY, capacity_bytes: CAPACITY_BYTES }
    }
}

impl Backlog {
    pub(crate) fn push(&mut self, message: Outgoing) {
        while !self.messages.is_empty()
            && (self.messages.len() >= self.capacity || self.bytes + message.text().len() > self.capacity_bytes)
        {
            self.make_room();
        }
        self.bytes += message.text().len();
        self.messages.push_back(message);
    }

    /// Puts one back that was popped and could not be sent: it is still the first.
    pub(crate) fn put_back(&mut self, message: Outgoing) {
        self.bytes += message.text().len();
        self.messages.push_front(message);
        while self.messages.len() > 1 && (self.messages.len() > self.capacity || self.bytes > self.capacity_bytes) {
            self.make_room();
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Outgoing> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.text().len();
        Some(message)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Lets go of all progress: it is about a moment that has passed.
    pub(crate) fn drop_perishable(&mut self) {
        self.messages.retain(|message| {
            if message.is_perishable() {
                log::info!("dropped (no connection): {}", message.label());
            }
            !message.is_perishable()
        });
        self.bytes = self.messages.iter().map(|message| message.text().len()).sum();
    }

    /// Lets go of everything.
    pub(crate) fn drop_all(&mut self, why: &str) {
        self.bytes = 0;
        for message in self.messages.drain(..) {
            log::error!("dropped ({why}): {}", message.label());
        }
    }

    fn make_room(&mut self) {
        let progress = self.messages.iter().position(Outgoing::is_perishable);
        let Some(dropped) = self.messages.remove(progress.unwrap_or(0)) else { return };
        self.bytes -= dropped.text().len();
        if dropped.is_perishable() {
            log::info!("dropped (the queue is full): {}", dropped.label());
        } else {
            log::error!("dropped (the queue is full of events): {}", dropped.label());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: usize, perishable: bool) -> Outgoing {
        Outgoing::new(n.to_string(), n.to_string(), perishable)
    }

    fn left(backlog: &mut Backlog) -> Vec<String> {
        std::iter::from_fn(|| backlog.pop()).map(|m| m.text().to_owned()).collect()
    }

    #[test]
    fn progress_goes_first_and_events_last() {
        let mut backlog = Backlog { capacity: 4, ..Backlog::default() };
        for (n, perishable) in [(0, false), (1, true), (2, false), (3, true), (4, false), (5, false), (6, false)] {
            backlog.push(message(n, perishable));
        }
        assert_eq!(left(&mut backlog), ["2", "4", "5", "6"]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn holds_as_many_as_it_says_in_order() {
        let mut backlog = Backlog::default();
        (0..CAPACITY + 10).for_each(|n| backlog.push(message(n, false)));
        let left = left(&mut backlog);
        assert_eq!(left.len(), CAPACITY);
        assert_eq!(left[0], "10");
    }

    #[test]
    fn holds_no_more_bytes_than_it_says_and_the_newest_whatever_its_length() {
        let of = |length: usize, perishable| Outgoing::new("x".repeat(length), String::new(), perishable);
        let lengths = |backlog: &Backlog| backlog.messages.iter().map(|m| m.text().len()).collect::<Vec<_>>();
        let mut backlog = Backlog { capacity_bytes: 100, ..Backlog::default() };
        for (length, perishable) in [(20, false), (30, true), (50, false)] {
            backlog.push(of(length, perishable));
        }
        assert_eq!(lengths(&backlog), [20, 30, 50]);
        backlog.push(of(25, false));
        assert_eq!(lengths(&backlog), [20, 50, 25], "progress goes first");
        backlog.push(of(60, false));
        assert_eq!(lengths(&backlog), [25, 60], "then the oldest events");
        let first = backlog.pop().unwrap();
        backlog.push(of(40, false));
        backlog.put_back(first);
        assert_eq!(lengths(&backlog), [60, 40]);
        backlog.push(of(1000, false));
        assert_eq!((lengths(&backlog), backlog.bytes), (vec![1000], 1000));
        backlog.drop_all("a test");
        assert_eq!(backlog.bytes, 0);
    }

    #[test]
    fn what_is_put_back_comes_first_and_counts() {
        let mut backlog = Backlog { capacity: 3, ..Backlog::default() };
        (2..5).for_each(|n| backlog.push(message(n, n == 3)));
        backlog.put_back(message(1, false));
        assert_eq!(left(&mut backlog), ["1", "2", "4"]);
    }

    #[test]
    fn lets_go_of_progress_alone_when_the_connection_is_lost() {
        let mut backlog = Backlog::default();
        (0..6).for_each(|n| backlog.push(message(n, n % 2 == 0)));
        backlog.drop_perishable();
        assert_eq!(backlog.bytes, 3);
        assert_eq!(left(&mut backlog), ["1", "3", "5"]);
    }
}
