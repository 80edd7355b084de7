//! What the service got, in order, and how to wait for it.
//!
//! No password and no token is kept: of those it says only whether they were good.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::lock;
use super::machines::Waited;

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
        /// The line as JSON; `Null` where it is none.
        message: Value,
        /// The line as it came, its line end included.
        text: String,
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
    /// Names in lower case in the order in which they came. Values that may be secret are `***`.
    pub headers: Vec<(String, String)>,
    /// Whether a bearer token came along, and whether it was good.
    pub bearer: Bearer,
    /// The body; empty for a sign-in, and for all where the service was told not to keep bodies.
    pub body: Arc<[u8]>,
    /// The body's length in bytes.
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
    (name.clone(), if known { value.clone() } else { "***".to_owned() })
}

pub(super) type Observer = Box<dyn Fn(&Seen) + Send + Sync>;

/// Everything seen so far.
#[derive(Default)]
pub(super) struct Log {
    seen: Mutex<Vec<Seen>>,
    stopping: AtomicBool,
    grew: Condvar,
    observer: Option<Observer>,
}

impl Log {
    pub(super) fn new(observer: Option<Observer>) -> Self {
        Self { observer, ..Self::default() }
    }

    pub(super) fn record(&self, event: Seen) {
        let mut seen = lock(&self.seen);
        if let Some(observer) = &self.observer {
            // Under the lock, so that what is observed is in the order of the record.
            observer(&event);
        }
        seen.push(event);
        self.grew.notify_all();
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    pub(super) fn wait_for(&self, mut done: impl FnMut(&[Seen]) -> bool, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut seen = lock(&self.seen);
        loop {
            if done(&seen) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            seen = super::wait(&self.grew, seen, Some(left));
        }
    }

    /// The same for the service's own threads: it ends with the service.
    pub(super) fn follow(&self, deadline: Instant, mut done: impl FnMut(&[Seen]) -> bool) -> Result<(), Waited> {
        let mut seen = lock(&self.seen);
        loop {
            if done(&seen) {
                return Ok(());
            }
            if self.stopping.load(Ordering::SeqCst) {
                return Err(Waited::Stopped);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Waited::TooLong);
            }
            seen = super::wait(&self.grew, seen, Some(left));
        }
    }

    pub(super) fn stop(&self) {
        // Under the lock, so that nobody misses it between looking and waiting.
        let _seen = lock(&self.seen);
        self.stopping.store(true, Ordering::SeqCst);
        self.grew.notify_all();
    }
}
