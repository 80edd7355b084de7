//! What a story is made of: actions, which way something went, and what went wrong.

use std::collections::VecDeque;

use crate::record::{Event, Exchange, LineSpan, SkippedLine};

/// Steps of an action that are shown, from its beginning and from its end.
const FIRST_STEPS: usize = 400;
const LAST_STEPS: usize = 100;

/// How many there are of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) actions: usize,
    pub(super) completed: usize,
    pub(super) failed: usize,
    pub(super) cancelled: usize,
    /// Those of the WebSocket, both ways.
    pub(super) messages: usize,
    pub(super) requests: usize,
    pub(super) troubles: usize,
}

/// An entry, and where it belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) place: LineSpan,
    pub(super) action: Option<usize>,
    pub(super) channel: Channel,
}

/// What a machine was asked for, or told of having been asked.
#[derive(Debug, Clone)]
pub(super) struct Action {
    pub(super) id: i64,
    /// Its type, as the service calls it.
    pub(super) kind: String,
    /// What belongs to it, the request first: the beginning and the end of it where that is much.
    pub(super) steps: Vec<LineSpan>,
    pub(super) last_steps: VecDeque<LineSpan>,
    /// Steps between these.
    pub(super) left_out: usize,
    /// Its first and its last entry.
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) outcome: Option<Outcome>,
    /// Why it has not ended well.
    pub(super) reason: Option<String>,
    /// The settings reports among these, each with the one before it.
    pub(super) reports: Vec<(LineSpan, Option<LineSpan>)>,
    pub(super) reports_left_out: usize,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Completed,
    Failed,
    Cancelled,
}

/// Which way something went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// HTTP with the service itself.
    Service,
    /// The WebSocket.
    Status,
    /// HTTP with whatever host the service named.
    Storage,
    /// None: something that is not said on the wire.
    Machine,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Trouble {
    /// An action failed, was cancelled, or has no end here.
    Action { number: usize, id: i64, kind: String, outcome: Option<Outcome>, reason: Option<String> },
    /// An entry says so: its number and time, what it is, and the markup of its line.
    Entry { n: u64, t: f64, what: &'static str, line: String },
    /// A line of the recording is no entry.
    Line(SkippedLine),
}

impl Outcome {
    pub(super) const ALL: [Self; 3] = [Self::Completed, Self::Failed, Self::Cancelled];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Channel {
    pub(super) const ALL: [Self; 4] = [Self::Service, Self::Status, Self::Storage, Self::Machine];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Status => "status",
            Self::Storage => "storage",
            Self::Machine => "machine",
        }
    }

    /// As far as an entry tells by itself. Storage has its authority in the URL, the service gets a token.
    pub(super) fn of(event: &Event) -> Self {
        match event {
            Event::Http(http) => {
                let to_service = http.request.headers.contains_key("authorization") || is_sign_in(http);
                if to_service { Self::Service } else { Self::Storage }
            }
            Event::Opened { .. } | Event::Closed { .. } | Event::In(_) | Event::Out(_) => Self::Status,
            _ => Self::Machine,
        }
    }
}

impl Counts {
    pub(super) fn ended(&self, outcome: Option<Outcome>) -> usize {
        match outcome {
            Some(Outcome::Completed) => self.completed,
            Some(Outcome::Failed) => self.failed,
            Some(Outcome::Cancelled) => self.cancelled,
            None => self.actions - self.completed - self.failed - self.cancelled,
        }
    }
}

impl Action {
    /// A step more.
    pub(super) fn add(&mut self, place: LineSpan, at: u64) {
        self.last = at;
        if self.steps.len() < FIRST_STEPS {
            self.steps.push(place);
            return;
        }
        if self.last_steps.len() == LAST_STEPS {
            self.last_steps.pop_front();
            self.left_out += 1;
        }
        self.last_steps.push_back(place);
    }

    /// How many steps it has.
    pub(super) fn steps_count(&self) -> usize {
        self.steps.len() + self.left_out + self.last_steps.len()
    }
}

pub(super) fn is_sign_in(http: &Exchange) -> bool {
    http.url.ends_with("/machines/sign_in")
}
