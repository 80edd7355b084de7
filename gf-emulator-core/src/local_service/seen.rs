//! What the service got, in order, and how to wait for it.
//!
//! No password and no token is kept: of those it says only whether they were good.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::machines::Waited;
use crate::sync::lock;

/// How much is kept of what was seen, in bytes: the oldest goes first.
const HISTORY_BYTES: usize = 16 << 20;
/// The same where bodies are kept.
const HISTORY_WITH_BODIES_BYTES: usize = 1 << 30;
/// Longest value of a header that is kept whole, in bytes.
const HEADER_VALUE_BYTES: usize = 512;
/// Headers whose values are kept; of any other, only the name.
const SHOWN_HEADERS: [&str; 13] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "origin",
    "range",
    "sec-websocket-protocol",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// One thing that happened between a machine and the service.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Seen {
    /// A request came and is about to be answered.
    Http(Request),
    /// A request came whose answer is held back (see [`Failure::Hold`](super::Failure::Hold)).
    Held {
        /// The HTTP method.
        method: String,
        /// The path, as in [`Request::path`].
        path: String,
    },
    /// A machine tried to sign in; its [`Seen::Http`] follows.
    SignIn {
        /// Whether serial and password were good.
        ok: bool,
        /// Whether they came as JSON; if not, form-encoded.
        json: bool,
    },
    /// A machine's control socket is open.
    WsOpened {
        /// Whether it asked for the subprotocol `glowforge`.
        subprotocol: bool,
    },
    /// A line of a text frame that a machine sent.
    WsMessage {
        /// The line as JSON; `Null` where it is none, or longer than 64 KiB.
        message: Value,
        /// The line as it came, its line end included.
        text: String,
    },
    /// So many more lines of the same text frame were left out: a frame has 100 at most.
    WsLeftOut {
        /// How many.
        lines: usize,
    },
    /// A replay waits for something and has waited for a while.
    Waiting {
        /// What it waits for.
        what: String,
        /// For how much longer.
        at_most: Duration,
    },
    /// A replay has waited in vain, and goes on without it.
    GivenUp {
        /// What did not come, and how long it was waited for.
        what: String,
    },
    /// A machine sent a binary frame of so many bytes.
    WsBinary(usize),
    /// A machine pinged and was answered.
    WsPing,
    /// The service sent this text frame.
    WsSent(String),
    /// A machine's control socket is closed.
    WsClosed {
        /// The code of the machine's Close, where one came.
        code: Option<u16>,
    },
}

impl Seen {
    /// The name of the event that a machine sent, over the control socket or posted to `/api/event`.
    #[must_use]
    pub fn event(&self) -> Option<String> {
        match self {
            Self::WsMessage { message, .. } => Some(message.get("event")?.as_str()?.to_owned()),
            Self::Http(request) if request.path == "/api/event" => {
                Some(request.json()?.get("event")?.as_str()?.to_owned())
            }
            _ => None,
        }
    }

    /// Whether this is the event `name`; with an `action_id`, whether it is that action's.
    #[must_use]
    pub fn is_event(&self, name: &str, action_id: Option<i64>) -> bool {
        let same_action = |message: &Value| action_id.is_none_or(|id| message["action_id"].as_i64() == Some(id));
        match self {
            Self::WsMessage { message, .. } => message["event"].as_str() == Some(name) && same_action(message),
            Self::Http(request) if request.path == "/api/event" => {
                request.json().is_some_and(|message| message["event"].as_str() == Some(name) && same_action(&message))
            }
            _ => false,
        }
    }
}

/// A request as the service got it.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// The path without its query; `/<ws_token>` for the opening of a control socket.
    pub path: String,
    /// Whether there was a query.
    pub has_query: bool,
    /// Names in lower case in the order in which they came. Values that may be secret are `***`, and long ones are cut.
    pub headers: Vec<(String, String)>,
    /// Whether a bearer token came along, and whether it was good.
    pub bearer: Bearer,
    /// The body, where it was kept (see [`Builder::keep_bodies`](super::Builder::keep_bodies)); empty for a sign-in.
    pub body: Arc<[u8]>,
    /// The body's length in bytes, as far as it was read.
    pub body_len: usize,
    /// The status it is answered with; 0 where it is cut off without an answer.
    pub status: u16,
}

impl Request {
    /// The value of the first header of that (lower case) name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON, where it is that.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as text, whatever it is.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Pictures and jobs are no use in a failed assertion.
        write!(f, "{} {} -> {}", self.method, self.path, self.status)?;
        write!(f, " (bearer {:?}, query {}, {} bytes)", self.bearer, self.has_query, self.body_len)
    }
}

/// What a request's `Authorization` header was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer {
    /// There was none.
    Absent,
    /// A token that the service gave and that still holds.
    Good,
    /// Anything else.
    Bad,
}

/// A header as it may be kept.
pub(super) fn shown((name, value): &(String, String)) -> (String, String) {
    let known = SHOWN_HEADERS.contains(&name.as_str());
    let cut = |text: &str| text[..text.floor_char_boundary(HEADER_VALUE_BYTES)].to_owned();
    (cut(name), if known { cut(value) } else { "***".to_owned() })
}

pub(super) type Observer = Box<dyn Fn(&Seen) + Send + Sync>;

/// What was seen, as far as it is kept.
pub(super) struct Log {
    history: Mutex<History>,
    keep_bodies: bool,
    grew: Condvar,
    observers: Vec<Observer>,
}

#[derive(Default)]
struct History {
    seen: Vec<Seen>,
    bytes: usize,
    left_out: u64,
    stopping: bool,
}

impl Log {
    pub(super) fn new(keep_bodies: bool, observers: Vec<Observer>) -> Self {
        Self { history: Mutex::default(), keep_bodies, grew: Condvar::new(), observers }
    }

    pub(super) fn record(&self, mut event: Seen) {
        let mut history = lock(&self.history);
        for observer in &self.observers {
            // Under the lock, so that what is observed is in the order of the record.
            observer(&event);
        }
        if let Seen::Http(request) = &mut event
            && !self.keep_bodies
            && request.path != "/api/event"
        {
            request.body = Arc::default();
        }
        history.bytes += memory_of(&event);
        history.seen.push(event);
        let limit = if self.keep_bodies { HISTORY_WITH_BODIES_BYTES } else { HISTORY_BYTES };
        if history.bytes > limit {
            history.forget(limit / 2);
        }
        self.grew.notify_all();
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        lock(&self.history).seen.clone()
    }

    pub(super) fn left_out(&self) -> u64 {
        lock(&self.history).left_out
    }

    /// Waits until `done` says so. Where `for_service`, it ends with the service.
    fn wait_until(
        &self,
        deadline: Instant,
        for_service: bool,
        mut done: impl FnMut(&[Seen]) -> bool,
    ) -> Result<(), Waited> {
        let mut history = lock(&self.history);
        loop {
            if done(&history.seen) {
                return Ok(());
            }
            if for_service && history.stopping {
                return Err(Waited::Stopped);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Waited::TooLong);
            }
            history = crate::sync::wait(&self.grew, history, Some(left));
        }
    }

    pub(super) fn wait_for(&self, done: impl FnMut(&[Seen]) -> bool, timeout: Duration) -> bool {
        self.wait_until(Instant::now() + timeout, false, done).is_ok()
    }

    /// Waits for something to be seen after which `done` says so, for the service's own threads: it ends with the service.
    pub(super) fn follow(&self, deadline: Instant, mut done: impl FnMut() -> bool) -> Result<(), Waited> {
        self.wait_until(deadline, true, |_| done())
    }

    pub(super) fn stop(&self) {
        lock(&self.history).stopping = true;
        self.grew.notify_all();
    }
}

impl History {
    /// Lets the oldest go until the rest is no larger than that; what came last stays, however large it is.
    fn forget(&mut self, limit: usize) {
        let mut count = 0;
        while self.bytes > limit && count + 1 < self.seen.len() {
            self.bytes -= memory_of(&self.seen[count]);
            count += 1;
        }
        self.seen.drain(..count);
        self.left_out += count as u64;
    }
}

/// About how much memory this takes, in bytes.
fn memory_of(seen: &Seen) -> usize {
    let more = match seen {
        Seen::Http(request) => {
            let headers = request.headers.iter().map(|(name, value)| name.len() + value.len() + 64);
            request.method.len() + request.path.len() + request.body.len() + headers.sum::<usize>()
        }
        Seen::Held { method, path } => method.len() + path.len(),
        Seen::WsMessage { message, text } => text.len() + memory_of_json(message),
        Seen::WsSent(text) => text.len(),
        Seen::Waiting { what, .. } | Seen::GivenUp { what } => what.len(),
        Seen::SignIn { .. }
        | Seen::WsOpened { .. }
        | Seen::WsLeftOut { .. }
        | Seen::WsBinary(_)
        | Seen::WsPing
        | Seen::WsClosed { .. } => 0,
    };
    size_of::<Seen>() + more
}

fn memory_of_json(value: &Value) -> usize {
    let inside = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(memory_of_json).sum(),
        Value::Object(fields) => fields.iter().map(|(name, field)| name.len() + 64 + memory_of_json(field)).sum(),
        _ => 0,
    };
    size_of::<Value>() + inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_keeps_what_is_new_and_counts_what_it_left_out() {
        let log = Log::new(false, Vec::new());
        let line = |n: usize| Seen::WsSent(format!("{n}{}", "x".repeat(100_000)));
        let count = 10 * HISTORY_BYTES / 100_000;
        for n in 0..count {
            log.record(line(n));
        }
        let seen = log.all();
        assert!(seen.iter().map(memory_of).sum::<usize>() <= HISTORY_BYTES);
        assert_eq!(seen.last(), Some(&line(count - 1)));
        assert_eq!(log.left_out() + seen.len() as u64, count as u64);

        let large = Seen::WsSent("x".repeat(HISTORY_BYTES + 1));
        log.record(large.clone());
        assert_eq!(log.all(), [large]);
    }
}
