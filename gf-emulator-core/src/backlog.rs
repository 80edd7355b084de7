//! Messages that wait for a socket.
//!
//! Bounded: when it is full, progress goes first and events last, and what goes is logged. Pure but for the log.

use std::collections::VecDeque;

use crate::connection::Outgoing;

/// Hours of events of a machine that is cut off: the longest sequence of an action has some thirty.
const CAPACITY: usize = 4096;

/// Messages in the order in which they were put in the queue.
#[derive(Debug)]
pub(crate) struct Backlog {
    messages: VecDeque<Outgoing>,
    capacity: usize,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { messages: VecDeque::new(), capacity: CAPACITY }
    }
}

impl Backlog {
    pub(crate) fn push(&mut self, message: Outgoing) {
        if self.messages.len() >= self.capacity {
            self.make_room();
        }
        self.messages.push_back(message);
    }

    /// Puts one back that was popped and could not be sent: it is still the first.
    pub(crate) fn put_back(&mut self, message: Outgoing) {
        self.messages.push_front(message);
        if self.messages.len() > self.capacity {
            self.make_room();
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Outgoing> {
        self.messages.pop_front()
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
    }

    /// Lets go of everything.
    pub(crate) fn drop_all(&mut self, why: &str) {
        for message in self.messages.drain(..) {
            log::error!("dropped ({why}): {}", message.label());
        }
    }

    fn make_room(&mut self) {
        let progress = self.messages.iter().position(Outgoing::is_perishable);
        let Some(dropped) = self.messages.remove(progress.unwrap_or(0)) else { return };
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
        assert_eq!(left(&mut backlog), ["1", "3", "5"]);
    }
}
