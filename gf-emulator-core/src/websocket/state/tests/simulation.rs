//! A model of socket, service and outbox that drives a [`ClientState`] and checks what it does.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tungstenite::Message;

use super::super::super::outbox::{DropReason, Limits, Outcome, Report, frame_bytes};
use super::super::super::queues::Outgoing;
use super::super::{ClientState, Command};
use super::Step;
use crate::net::poll::Interest;
use crate::net::retry::{Backoff, RetryReason};

pub(super) const LIMITS: Limits = Limits { messages: 6, bytes: 9000 };
/// How long a read takes while the service floods the connection.
const FLOODED_READ: Duration = Duration::from_millis(400);

/// A frame in the socket's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Message(usize),
    Ping,
    Pong,
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Incoming {
    Ping,
    Pong,
    Text,
    Close,
    /// The connection is cut.
    End,
}

/// The socket, the network and the service of one connection.
struct Connected {
    opened: Instant,
    taken: u64,
    /// Frames that are not taken whole, with the bytes that are left of each.
    buffer: VecDeque<(Frame, u64)>,
    inbox: VecDeque<Incoming>,
    breaks: bool,
    write_failed: bool,
    cut: bool,
    last_ping: Instant,
    unanswered_ping: Option<Instant>,
    close_received: Option<Instant>,
    close_sent: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Queued {
    id: usize,
    is_progress: bool,
    bytes: usize,
}

/// Carries out the commands, as the driver does, and checks each against the rules.
pub(super) struct Simulation {
    state: ClientState,
    now: Instant,
    connection: Option<Connected>,
    wake_at: Option<Instant>,
    room: u64,
    answers: bool,
    flooded_reads: u32,
    refusals: VecDeque<(RetryReason, Option<Duration>)>,
    connect_delay: Duration,
    /// When the attempt to connect that is under way has its result.
    connects_at: Option<Instant>,
    next_attempt: Option<Instant>,
    /// The base of the next pause.
    backoff: Duration,
    /// Queued or in flight.
    outstanding: Vec<Queued>,
    next_id: usize,
    delivered: Vec<usize>,
    reported_sent: Vec<usize>,
    /// When, and the first message that came too late.
    stopped: Option<(Instant, usize)>,
    pub(super) exited: bool,
}

impl Simulation {
    pub(super) fn new(seed: u64) -> Self {
        let mut this = Self {
            state: ClientState::new(LIMITS, Backoff::seeded(seed)),
            now: Instant::now(),
            connection: None,
            wake_at: None,
            room: u64::MAX,
            answers: true,
            flooded_reads: 0,
            refusals: VecDeque::new(),
            connect_delay: Duration::ZERO,
            connects_at: None,
            next_attempt: None,
            backoff: Duration::from_millis(500),
            outstanding: Vec::new(),
            next_id: 0,
            delivered: Vec::new(),
            reported_sent: Vec::new(),
            stopped: None,
            exited: false,
        };
        this.connected();
        this.run();
        this
    }

    pub(super) fn step(&mut self, step: &Step) {
        let incoming = match *step {
            Step::Event(length) => return self.push(length, false),
            Step::Progress(length) => return self.push(length, true),
            Step::Advance(milliseconds) => return self.advance(Duration::from_millis(milliseconds)),
            Step::Stop => return self.stop(),
            Step::Room(bytes) => {
                self.room = bytes;
                return self.run();
            }
            Step::Answers(answers) => return self.answers = answers,
            Step::Flood(reads) => return self.flooded_reads = reads,
            Step::Refuse(reason, asked) => {
                return self.refusals.push_back((reason, asked.map(Duration::from_secs)));
            }
            Step::ConnectDelay(milliseconds) => return self.connect_delay = Duration::from_millis(milliseconds),
            Step::BreakWrites => {
                if let Some(connection) = &mut self.connection {
                    connection.breaks = true;
                }
                return;
            }
            Step::Ping => Incoming::Ping,
            Step::Text => Incoming::Text,
            Step::Close => Incoming::Close,
            Step::Cut => Incoming::End,
        };
        if let Some(connection) = &mut self.connection {
            connection.inbox.push_back(incoming);
            self.run();
        }
    }

    fn push(&mut self, length: usize, is_progress: bool) {
        let text = format!("{} {}", self.next_id, "x".repeat(length));
        self.outstanding.push(Queued { id: self.next_id, is_progress, bytes: text.len() });
        self.next_id += 1;
        self.state.push(if is_progress { Outgoing::progress(text) } else { Outgoing::event(text) });
        self.run();
    }

    fn stop(&mut self) {
        self.stopped.get_or_insert((self.now, self.next_id));
        self.state.stop(self.now);
        self.run();
    }

    /// Lets time pass, and wakes the client whenever it asked for it.
    fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        while !self.exited {
            let wake_at = [self.wake_at, self.connects_at].into_iter().flatten().min();
            let Some(wake_at) = wake_at.filter(|wake_at| *wake_at <= until) else { break };
            self.now = self.now.max(wake_at);
            if self.connects_at.is_some_and(|at| at <= self.now) {
                self.connects_at = None;
                self.attempt_ended();
            }
            self.run();
        }
        self.now = self.now.max(until);
    }

    /// Everything works again, for long enough; then the client is stopped.
    pub(super) fn recover_and_stop(&mut self) {
        (self.answers, self.room, self.flooded_reads) = (true, u64::MAX, 0);
        self.refusals.clear();
        self.run();
        self.advance(Duration::from_secs(25 * 60));
        if self.stopped.is_none() {
            assert!(self.outstanding.is_empty(), "never sent: {:?}", self.outstanding);
            assert!(self.connection.is_some());
        }
        self.stop();
        self.advance(Duration::from_secs(2));
        assert!(self.exited, "does not exit");
        assert!(self.outstanding.is_empty(), "not accounted for: {:?}", self.outstanding);
        assert!(matches!(self.state.next(self.now), Command::Exit));
    }

    /// Carries out commands until the client waits for something that has not happened.
    fn run(&mut self) {
        for _ in 0..10_000 {
            self.check_reports();
            match self.state.next(self.now) {
                Command::Exit => return self.exit(),
                Command::Wait { interest, until } => {
                    self.check_wait(until);
                    let readable = self.connection.as_ref().is_some_and(|c| !c.inbox.is_empty());
                    let is_ready = match interest {
                        Interest::Readable => readable,
                        Interest::Writable => self.room > 0,
                        Interest::Both => readable || self.room > 0,
                    };
                    if !(is_ready && self.connection.is_some()) {
                        self.wake_at = until;
                        return;
                    }
                }
                Command::Read => self.read(),
                Command::Write(messages) => self.write(messages),
                Command::Flush => self.flush(),
                Command::Connect => self.connect(),
                Command::Disconnect { retry_in, .. } => self.disconnect(retry_in),
            }
        }
        panic!("runs without end");
    }

    fn read(&mut self) {
        if self.connection().buffer.iter().any(|(frame, _)| *frame == Frame::Pong) {
            // tungstenite flushes pongs as it reads.
            self.take_bytes();
        }
        if self.flooded_reads > 0 {
            self.flooded_reads -= 1;
            self.now += FLOODED_READ;
            return self.state.read_done(false);
        }
        let now = self.now;
        while let Some(incoming) = self.connection().inbox.pop_front() {
            let closing = self.state.is_closing();
            match incoming {
                Incoming::End => {
                    self.connection().cut = true;
                    return self.state.connection_lost("cut".into());
                }
                Incoming::Text => {}
                _ if closing => {}
                Incoming::Ping => {
                    self.connection().buffer.push_back((Frame::Pong, 6));
                    self.state.ping_received();
                }
                Incoming::Pong => {
                    self.connection().unanswered_ping = None;
                    self.state.pong_received();
                }
                Incoming::Close => {
                    self.connection().close_received = Some(now);
                    self.connection().buffer.push_back((Frame::Close, 8));
                    return self.state.close_received(now);
                }
            }
        }
        self.state.read_done(true);
    }

    fn write(&mut self, messages: Vec<Message>) {
        let now = self.now;
        let outstanding = self.outstanding.clone();
        let connection = self.connection();
        assert!(connection.close_sent.is_none() && connection.close_received.is_none(), "writes after a Close");
        let mut unsent = outstanding.iter();
        for message in messages {
            let frame = match message {
                Message::Text(text) => {
                    let queued = unsent.next().expect("writes what is not queued");
                    assert!(text.starts_with(&format!("{} ", queued.id)), "out of order: {text:.9}, not {queued:?}");
                    assert!(
                        connection.buffer.iter().all(|(frame, _)| matches!(frame, Frame::Message(_))),
                        "a batch must go into an empty buffer"
                    );
                    (Frame::Message(queued.id), frame_bytes(text.len()))
                }
                Message::Ping(_) => {
                    connection.last_ping = now;
                    connection.unanswered_ping.get_or_insert(now);
                    (Frame::Ping, 6)
                }
                Message::Close(_) => {
                    assert!(outstanding.is_empty() && connection.buffer.is_empty(), "closes before all is sent");
                    connection.close_sent = Some(now);
                    (Frame::Close, 8)
                }
                other => panic!("writes {other:?}"),
            };
            connection.buffer.push_back(frame);
        }
    }

    fn flush(&mut self) {
        self.take_bytes();
        let connection = self.connection();
        let complete = connection.buffer.is_empty();
        let failed = !complete && connection.breaks;
        connection.write_failed |= failed;
        self.state.flushed(complete);
        if failed {
            self.state.write_failed("broken".into());
        }
    }

    /// The operating system takes what it has room for, up to any byte of a frame.
    fn take_bytes(&mut self) {
        let answers = self.answers;
        let Some(connection) = &mut self.connection else { return };
        while let Some((frame, left)) = connection.buffer.front_mut()
            && self.room > 0
            && !connection.breaks
        {
            let count = self.room.min(*left);
            *left -= count;
            if matches!(frame, Frame::Message(_)) {
                connection.taken += count;
            }
            if self.room != u64::MAX {
                self.room -= count;
            }
            if *left > 0 {
                break;
            }
            match *frame {
                Frame::Message(id) => self.delivered.push(id),
                Frame::Ping if answers => connection.inbox.push_back(Incoming::Pong),
                Frame::Close if answers && connection.close_sent.is_some() => {
                    connection.inbox.extend([Incoming::Close, Incoming::End]);
                }
                _ => {}
            }
            connection.buffer.pop_front();
        }
        let taken = connection.taken;
        self.state.taken(taken);
    }

    fn connect(&mut self) {
        assert_eq!(self.next_attempt.take(), Some(self.now), "connects at another time than it said");
        assert!(self.stopped.is_none() && self.connection.is_none() && self.connects_at.is_none());
        if self.connect_delay.is_zero() {
            self.attempt_ended();
        } else {
            self.connects_at = Some(self.now + self.connect_delay);
        }
    }

    fn attempt_ended(&mut self) {
        match self.refusals.pop_front() {
            Some((reason, asked)) => {
                let pause = self.state.connect_failed(self.now, reason, asked);
                self.check_pause(reason, asked, pause);
            }
            None => self.connected(),
        }
    }

    fn connected(&mut self) {
        self.connection = Some(Connected {
            opened: self.now,
            taken: 0,
            buffer: VecDeque::new(),
            inbox: VecDeque::new(),
            breaks: false,
            write_failed: false,
            cut: false,
            last_ping: self.now,
            unanswered_ping: None,
            close_received: None,
            close_sent: None,
        });
        self.state.connected(self.now);
    }

    fn disconnect(&mut self, retry_in: Duration) {
        let connection = self.connection.take().expect("disconnects only what is connected");
        let now = self.now;
        let everything_read = connection.inbox.is_empty() && self.flooded_reads == 0;
        let overdue = connection.unanswered_ping.is_some_and(|sent| now >= sent + Duration::from_secs(10));
        let is_answered = connection.close_received.is_some_and(|received| {
            connection.buffer.is_empty() || connection.write_failed || now >= received + Duration::from_millis(500)
        });
        assert!(
            connection.cut || connection.write_failed && everything_read || overdue || is_answered,
            "gives up a good connection"
        );
        if now - connection.opened >= Duration::from_secs(10) {
            self.backoff = Duration::from_millis(500);
        }
        self.check_pause(RetryReason::Lost, None, retry_in);
    }

    fn check_pause(&mut self, reason: RetryReason, asked: Option<Duration>, pause: Duration) {
        let longest = match reason {
            RetryReason::Lost => 15,
            RetryReason::Failed => 60,
            RetryReason::Refused => 300,
        };
        let full = self.backoff.min(Duration::from_secs(longest));
        let asked = asked.unwrap_or_default();
        assert!(pause >= asked && pause >= full / 2 && pause <= full.max(asked), "{reason:?}: {pause:?} of {full:?}");
        self.backoff = full * 2;
        self.next_attempt = Some(self.now + pause);
    }

    fn exit(&mut self) {
        let (stopped, _) = self.stopped.expect("exits only when it is stopped");
        if let Some(connection) = self.connection.take() {
            let late = match connection.close_sent {
                Some(sent) => {
                    connection.cut || connection.write_failed || self.now >= sent + Duration::from_millis(500)
                }
                None => self.now >= stopped + Duration::from_secs(1),
            };
            let overdue = connection.unanswered_ping.is_some_and(|sent| self.now >= sent + Duration::from_secs(10));
            assert!(late || overdue, "exits before everything is sent and the Close is answered");
        }
        self.exited = true;
        self.check_reports();
    }

    fn check_wait(&self, until: Option<Instant>) {
        assert!(until.is_none_or(|until| until > self.now), "waits for a time that has passed");
        assert!(
            self.outstanding.iter().all(|message| self.stopped.is_none_or(|(_, late)| message.id < late)),
            "keeps a message that came after the stop"
        );
        let queued = self.queued();
        let bytes: usize = queued.iter().map(|message| message.bytes).sum();
        assert!(queued.len() <= LIMITS.messages && (bytes <= LIMITS.bytes || queued.len() == 1), "{queued:?}");
        if let Some((at, _)) = self.stopped {
            assert!(self.connection.is_some(), "waits for a connection after a stop");
            assert!(until.is_some_and(|until| until <= at + Duration::from_millis(1500)), "stops too late");
        }
        let Some(connection) = &self.connection else {
            return assert_eq!(until, self.next_attempt, "wakes at another time than the next attempt");
        };
        let until = until.expect("an open connection always has a timer");
        if connection.close_sent.or(connection.close_received).is_none() {
            assert!(until <= connection.last_ping + Duration::from_secs(30), "sleeps through a ping");
            let pong_due = connection.unanswered_ping.map(|sent| sent + Duration::from_secs(10));
            assert!(pong_due.is_none_or(|due| until <= due && self.now < due), "waits too long for a pong");
            let can_write = self.room > 0 && !connection.breaks;
            assert!(!can_write || self.outstanding.is_empty(), "waits with something to send");
        }
    }

    /// What is outstanding and not in the socket's buffer.
    fn queued(&self) -> Vec<Queued> {
        let in_flight = |id| {
            let mut frames = self.connection.iter().flat_map(|connection| &connection.buffer);
            frames.any(|(frame, _)| *frame == Frame::Message(id))
        };
        self.outstanding.iter().filter(|message| !in_flight(message.id)).copied().collect()
    }

    /// Each message is either sent or dropped for a reason that holds, once.
    fn check_reports(&mut self) {
        for Report { message, outcome } in self.state.reports() {
            let id: usize = message.text().split(' ').next().unwrap().parse().unwrap();
            let queued = self.queued();
            let index = self.outstanding.iter().position(|other| other.id == id);
            let removed = self.outstanding.remove(index.expect("reported twice"));
            let Outcome::Dropped(reason) = outcome else {
                self.reported_sent.push(id);
                continue;
            };
            let may_drop = match reason {
                DropReason::Full => {
                    let bytes: usize = queued.iter().map(|message| message.bytes).sum();
                    let is_full = queued.len() > LIMITS.messages || (bytes > LIMITS.bytes && queued.len() > 1);
                    let victim = queued.iter().find(|message| message.is_progress).unwrap_or(&queued[0]);
                    is_full && victim.id == id
                }
                DropReason::Disconnected => removed.is_progress && self.connection.is_none(),
                DropReason::StoppedOffline => self.stopped.is_some() && self.connection.is_none(),
                DropReason::NotRead => self.stopped.is_some() && self.exited,
                DropReason::ThreadFailed => false,
                DropReason::Stopped => self.stopped.is_some_and(|(_, late)| id >= late),
            };
            assert!(may_drop, "dropped without need: {removed:?} ({reason:?}); queued: {queued:?}");
        }
        assert_eq!(self.reported_sent, self.delivered, "reports something else than was sent");
        assert!(self.delivered.windows(2).all(|pair| pair[0] < pair[1]), "twice or out of order: {:?}", self.delivered);
    }

    fn connection(&mut self) -> &mut Connected {
        self.connection.as_mut().expect("there is a connection")
    }
}
