//! [`Outbox`]: holds the machine's messages until the operating system has accepted them. Pure: no socket, clock or
//! log.
//!
//! A message is in flight from the moment it is handed to the socket until the operating system has taken all of its
//! bytes. After a lost connection, messages in flight are queued again; those taken whole are not, because they may have
//! arrived.

use std::collections::VecDeque;

use tungstenite::Utf8Bytes;
use tungstenite::protocol::frame::FrameHeader;

use super::queues::Outgoing;

/// Messages are written in batches of this size, so that one write carries what was queued together.
pub(super) const BATCH_BYTES: usize = 4 << 10;

/// How much may be queued. When it is full, the oldest progress report is dropped, or else the oldest event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Default for Limits {
    /// Hours of events: the longest action sends some thirty, of about 200 bytes; a settings report, the longest
    /// message, has about 10,000.
    fn default() -> Self {
        Self { messages: 4096, bytes: 8 << 20 }
    }
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The operating system has taken it whole.
    Sent,
    Dropped(DropReason),
}

/// Why a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DropReason {
    /// The outbox is full.
    Full,
    /// A progress report, and the connection was lost.
    Disconnected,
    /// Stopped while there was no connection.
    StoppedOffline,
    /// Stopped, and the service does not read.
    NotRead,
    /// Queued after the stop.
    Stopped,
    /// The WebSocket thread cannot go on.
    ThreadFailed,
}

impl DropReason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Full => "the outbox is full",
            Self::Disconnected => "the connection is lost",
            Self::StoppedOffline => "stopped without a connection",
            Self::NotRead => "the service does not read",
            Self::Stopped => "stopped",
            Self::ThreadFailed => "the WebSocket thread failed",
        }
    }
}

/// What became of one message: each message is reported once.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) message: Outgoing,
    pub(super) outcome: Outcome,
}

struct InFlight {
    message: Outgoing,
    /// The connection's count of taken bytes once this message is taken whole.
    ends_at: u64,
}

/// A bounded queue of messages, and the messages in flight.
#[derive(Default)]
pub(super) struct Outbox {
    queue: VecDeque<Outgoing>,
    queued_bytes: usize,
    in_flight: VecDeque<InFlight>,
    limits: Limits,
    reports: Vec<Report>,
}

impl Outbox {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Queues a message.
    pub(super) fn push(&mut self, message: Outgoing) {
        self.queued_bytes += message.text().len();
        self.queue.push_back(message);
        self.evict();
    }

    /// Moves a batch of messages to in flight and returns their frames. The caller must write them to a connection
    /// whose buffer is empty and of which the operating system has accepted `taken` bytes of messages so far.
    pub(super) fn next_batch(&mut self, taken: u64) -> Vec<Utf8Bytes> {
        let (mut ends_at, enough) = (taken, taken + BATCH_BYTES as u64);
        let mut frames = Vec::new();
        while ends_at < enough
            && let Some(message) = self.queue.pop_front()
        {
            self.queued_bytes -= message.text().len();
            ends_at += frame_bytes(message.text().len());
            frames.push(message.frame());
            self.in_flight.push_back(InFlight { message, ends_at });
        }
        frames
    }

    /// Reports as sent what the operating system has taken whole.
    pub(super) fn taken(&mut self, bytes: u64) {
        let count = self.in_flight.iter().take_while(|message| message.ends_at <= bytes).count();
        let sent = self.in_flight.drain(..count);
        self.reports.extend(sent.map(|sent| Report { message: sent.message, outcome: Outcome::Sent }));
    }

    /// Queues again, in front, what was in flight when the connection was lost, and drops progress reports: they
    /// describe a moment that has passed.
    pub(super) fn requeue(&mut self) {
        let messages = self.in_flight.drain(..).map(|unsent| unsent.message).chain(self.queue.drain(..));
        let (progress, events): (VecDeque<_>, _) = messages.partition(Outgoing::is_progress);
        self.queue = events;
        self.queued_bytes = self.queue.iter().map(|message| message.text().len()).sum();
        for message in progress {
            self.drop_message(message, DropReason::Disconnected);
        }
        self.evict();
    }

    /// Drops everything.
    pub(super) fn drop_all(&mut self, reason: DropReason) {
        self.queued_bytes = 0;
        let unsent: Vec<_> =
            self.in_flight.drain(..).map(|unsent| unsent.message).chain(self.queue.drain(..)).collect();
        for message in unsent {
            self.drop_message(message, reason);
        }
    }

    pub(super) fn drop_message(&mut self, message: Outgoing, reason: DropReason) {
        self.reports.push(Report { message, outcome: Outcome::Dropped(reason) });
    }

    /// Returns what became of messages since the last call.
    pub(super) fn reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// Drops messages until the limits hold. The newest event stays even if it is too large.
    fn evict(&mut self) {
        while self.queue.len() > 1 && (self.queue.len() > self.limits.messages || self.queued_bytes > self.limits.bytes)
        {
            let progress = self.queue.iter().position(Outgoing::is_progress);
            let Some(message) = self.queue.remove(progress.unwrap_or(0)) else { return };
            self.queued_bytes -= message.text().len();
            self.drop_message(message, DropReason::Full);
        }
    }
}

/// The length of a client's frame.
pub(super) fn frame_bytes(payload: usize) -> u64 {
    let header = FrameHeader { mask: Some([0; 4]), ..FrameHeader::default() };
    (header.len(payload as u64) + payload) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(n: usize) -> Outgoing {
        Outgoing::progress(n.to_string())
    }

    fn event(n: usize) -> Outgoing {
        Outgoing::event(n.to_string())
    }

    fn push(outbox: &mut Outbox, messages: impl IntoIterator<Item = Outgoing>) {
        messages.into_iter().for_each(|message| outbox.push(message));
    }

    fn queued(outbox: &Outbox) -> Vec<&str> {
        outbox.queue.iter().map(Outgoing::text).collect()
    }

    fn dropped(outbox: &mut Outbox) -> Vec<String> {
        let all = outbox.reports().into_iter();
        all.filter(|report| report.outcome != Outcome::Sent).map(|report| report.message.text().to_owned()).collect()
    }

    #[test]
    fn drops_progress_before_events_and_the_oldest_first() {
        let mut outbox = Outbox::new(Limits { messages: 4, ..Limits::default() });
        let messages = [event(0), progress(1), event(2), progress(3), event(4), event(5), event(6), progress(7)];
        push(&mut outbox, messages);
        assert_eq!(queued(&outbox), ["2", "4", "5", "6"]);
        assert_eq!(dropped(&mut outbox), ["1", "3", "0", "7"]);
    }

    #[test]
    fn holds_4096_messages() {
        let mut outbox = Outbox::default();
        (0..5000).for_each(|n| outbox.push(event(n)));
        assert_eq!((outbox.queue.len(), queued(&outbox)[0]), (4096, "904"));
    }

    #[test]
    fn limits_bytes_but_keeps_the_newest_event() {
        let event = |length: usize| Outgoing::event("x".repeat(length));
        let lengths = |outbox: &Outbox| outbox.queue.iter().map(|m| m.text().len()).collect::<Vec<_>>();
        let mut outbox = Outbox::new(Limits { bytes: 100, ..Limits::default() });
        push(&mut outbox, [event(20), Outgoing::progress("x".repeat(30)), event(50)]);
        assert_eq!(lengths(&outbox), [20, 30, 50]);
        outbox.push(event(25));
        assert_eq!(lengths(&outbox), [20, 50, 25]);
        outbox.push(event(60));
        assert_eq!(lengths(&outbox), [25, 60]);
        outbox.push(event(1000));
        assert_eq!((lengths(&outbox), outbox.queued_bytes), (vec![1000], 1000));
        outbox.drop_all(DropReason::NotRead);
        assert_eq!(outbox.queued_bytes, 0);
    }

    #[test]
    fn requeues_what_was_not_taken_whole_and_drops_progress() {
        let mut outbox = Outbox::new(Limits { messages: 3, ..Limits::default() });
        push(&mut outbox, [event(0), event(1), progress(2)]);
        assert_eq!(outbox.next_batch(10), ["0", "1", "2"]);
        push(&mut outbox, [event(3), progress(4), event(5)]);
        outbox.taken(10 + 2 * frame_bytes(1) - 1);
        outbox.requeue();
        assert_eq!(queued(&outbox), ["1", "3", "5"]);
        assert_eq!(outbox.queued_bytes, 3);
        assert_eq!(dropped(&mut outbox), ["2", "4"]);
    }
}
