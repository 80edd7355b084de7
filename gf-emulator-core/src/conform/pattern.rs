//! What a step expects, and whether something seen is that.

use std::fmt;

use serde::Deserialize;

use crate::local_service::{Bearer, Request, Seen};
use crate::words::prefix;

/// Maximum length of a kept name or path, in bytes; longer ones are cut. The machine chooses them.
const NAME_BYTES: usize = 200;

/// The part of a [`Seen`] that decides about scenarios.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fact {
    /// An event or a progress message, over the WebSocket or posted.
    Message(Message),
    /// A line that is no JSON object.
    NotJson,
    Request {
        method: String,
        path: String,
        status: u16,
        bearer: Bearer,
        has_user_agent: bool,
    },
    Held {
        path: String,
    },
    SignIn {
        ok: bool,
    },
    Opened {
        subprotocol: bool,
    },
    Closed {
        code: Option<u16>,
    },
    Ping,
    Pong,
}

/// A message of the machine.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Message {
    pub(super) name: String,
    pub(super) is_progress: bool,
    pub(super) action_id: Option<i64>,
    pub(super) id: Option<i64>,
    pub(super) timestamp: Option<i64>,
    /// Whether there is a settings report, and whether it is empty.
    pub(super) report: Option<Report>,
}

/// The size of a settings report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    Full,
    Empty,
}

impl Fact {
    /// Returns the facts of something seen; most things have one, and some none.
    pub(super) fn of(seen: &Seen) -> Vec<Self> {
        let one = match seen {
            Seen::WsMessage { message, .. } => match Message::of(message) {
                Some(message) => Self::Message(message),
                None if message.is_object() => return Vec::new(),
                None => Self::NotJson,
            },
            Seen::Http(request) => return Self::of_request(request),
            Seen::Held { path, .. } => Self::Held { path: cut(path) },
            Seen::SignIn { ok, .. } => Self::SignIn { ok: *ok },
            Seen::WsOpened { subprotocol } => Self::Opened { subprotocol: *subprotocol },
            Seen::WsClosed { code } => Self::Closed { code: *code },
            Seen::WsPing => Self::Ping,
            Seen::WsPong => Self::Pong,
            _ => return Vec::new(),
        };
        vec![one]
    }

    fn of_request(request: &Request) -> Vec<Self> {
        let itself = Self::Request {
            method: cut(&request.method),
            path: cut(&request.path),
            status: request.status,
            bearer: request.bearer,
            has_user_agent: request.header("user-agent").is_some_and(|agent| !agent.trim().is_empty()),
        };
        // A 1.x machine also posts events.
        let is_event = Seen::Http(request.clone()).event().is_some();
        let event = if is_event { request.json().and_then(|json| Message::of(&json)) } else { None };
        [Some(itself), event.map(Self::Message)].into_iter().flatten().collect()
    }
}

impl Message {
    fn of(json: &serde_json::Value) -> Option<Self> {
        let is_progress = json["event"].as_str().is_none();
        let name = json["event"].as_str().or(json["progress"].as_str())?;
        let report = json.get("settings").map(|settings| {
            let is_empty = settings.as_object().is_some_and(serde_json::Map::is_empty);
            if is_empty { Report::Empty } else { Report::Full }
        });
        Some(Self {
            name: cut(name),
            is_progress,
            action_id: json["action_id"].as_i64(),
            id: json["id"].as_i64(),
            timestamp: json["timestamp"].as_i64(),
            report,
        })
    }
}

fn cut(text: &str) -> String {
    prefix(text, NAME_BYTES).to_owned()
}

/// An event or a progress message that is expected.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessagePattern {
    pub(super) name: NamePattern,
    pub(super) id: Option<i64>,
    settings: Option<Report>,
}

impl MessagePattern {
    /// Returns whether a message is the one; `offset` is added to the small id of the file.
    fn matches(&self, message: &Message, is_progress: bool, offset: i64) -> bool {
        message.is_progress == is_progress
            && self.id.is_none_or(|id| message.action_id == Some(id + offset))
            && self.settings.is_none_or(|report| message.report == Some(report))
            && self.name.matches(&message.name)
    }
}

/// Alternatives, separated by `|`; each can end in `*`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct NamePattern(String);

impl NamePattern {
    fn matches(&self, name: &str) -> bool {
        self.0.split('|').any(|one| match one.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == one,
        })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.replace('|', " or "))
    }
}

/// A request that is expected.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestPattern {
    method: String,
    path: String,
    status: Option<u16>,
    bearer: Option<Token>,
    #[serde(default)]
    user_agent: bool,
}

/// The bearer token of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Token {
    Absent,
    Good,
    Bad,
}

/// One thing that a step waits for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expected {
    Event(MessagePattern),
    Progress(MessagePattern),
    Request(RequestPattern),
    Held(String),
    SignIn,
    Connection { subprotocol: Option<bool> },
    Closed { code: u16 },
    Ping,
    Pong,
}

/// Order is demanded within a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// The messages of an action.
    Action(i64),
    /// The messages that belong to no action, or to any.
    Messages,
    Requests,
    Connections,
    Pings,
}

impl Expected {
    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::Event(pattern) | Self::Progress(pattern) => pattern.id.map_or(Lane::Messages, Lane::Action),
            Self::Request(_) | Self::Held(_) | Self::SignIn => Lane::Requests,
            Self::Connection { .. } | Self::Closed { .. } => Lane::Connections,
            Self::Ping | Self::Pong => Lane::Pings,
        }
    }

    pub(super) fn matches(&self, fact: &Fact, offset: i64) -> bool {
        match (self, fact) {
            (Self::Event(pattern), Fact::Message(message)) => pattern.matches(message, false, offset),
            (Self::Progress(pattern), Fact::Message(message)) => pattern.matches(message, true, offset),
            (Self::Request(pattern), Fact::Request { .. }) => pattern.matches(fact),
            (Self::Held(prefix), Fact::Held { path }) => path.starts_with(prefix),
            (Self::SignIn, Fact::SignIn { ok }) => *ok,
            (Self::Connection { subprotocol: wanted }, Fact::Opened { subprotocol }) => {
                wanted.is_none_or(|wanted| wanted == *subprotocol)
            }
            (Self::Closed { code: wanted }, Fact::Closed { code }) => *code == Some(*wanted),
            (Self::Ping, Fact::Ping) | (Self::Pong, Fact::Pong) => true,
            _ => false,
        }
    }
}

impl RequestPattern {
    fn matches(&self, fact: &Fact) -> bool {
        let Fact::Request { method, path, status, bearer, has_user_agent } = fact else { return false };
        let token = match bearer {
            Bearer::Absent => Token::Absent,
            Bearer::Good => Token::Good,
            _ => Token::Bad,
        };
        *method == self.method
            && path.starts_with(&self.path)
            && self.status.is_none_or(|wanted| wanted == *status)
            && self.bearer.is_none_or(|wanted| wanted == token)
            && (*has_user_agent || !self.user_agent)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(pattern) => write!(f, "{pattern}"),
            Self::Progress(pattern) => write!(f, "the progress message {pattern}"),
            Self::Request(pattern) => write!(f, "{pattern}"),
            Self::Held(path) => write!(f, "a request for {path}"),
            Self::SignIn => f.write_str("a sign-in"),
            Self::Connection { subprotocol: Some(true) } => f.write_str("a WebSocket with the subprotocol glowforge"),
            Self::Connection { .. } => f.write_str("a WebSocket"),
            Self::Closed { code } => write!(f, "a Close frame with the code {code}"),
            Self::Ping => f.write_str("a ping"),
            Self::Pong => f.write_str("a pong"),
        }
    }
}

impl fmt::Display for MessagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match self.settings {
            Some(Report::Full) => f.write_str(" with a full report")?,
            Some(Report::Empty) => f.write_str(" with an empty report")?,
            None => {}
        }
        self.id.map_or(Ok(()), |id| write!(f, " of action {id}"))
    }
}

impl fmt::Display for RequestPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        if let Some(status) = self.status {
            write!(f, " (status {status})")?;
        }
        match self.bearer {
            Some(Token::Absent) => f.write_str(" without a token")?,
            Some(Token::Good) => f.write_str(" with a valid token")?,
            Some(Token::Bad) => f.write_str(" with an expired token")?,
            None => {}
        }
        if self.user_agent { f.write_str(" with a User-Agent") } else { Ok(()) }
    }
}
