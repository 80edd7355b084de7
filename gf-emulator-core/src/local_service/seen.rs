//! What the service sees: requests, messages and connections. Passwords and tokens are not kept, only whether they were
//! valid.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::behaviour::BehaviourChange;
use super::protocol::EVENT_PATH;
use crate::secrets::{MASK, PUBLIC_REQUEST_HEADERS, redact_named, redact_urls};
use crate::words::prefix;

/// Maximum length of a kept header name or value, in bytes; longer ones are cut.
const HEADER_VALUE_BYTES: usize = 512;
/// One thing that happened between a machine and the service.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Seen {
    /// A request; its response is about to be sent.
    Http(Request),
    /// A request whose response is held back (see [`Failure::Hold`](super::Failure::Hold)). Its [`Seen::Http`] follows.
    Held {
        /// The HTTP method.
        method: String,
        /// The path, as in [`Request::path`].
        path: String,
    },
    /// A machine tried to sign in; its [`Seen::Http`] follows.
    SignIn {
        /// Whether serial number and password were accepted.
        ok: bool,
        /// Whether they came as JSON rather than form-encoded.
        json: bool,
    },
    /// A machine opened its WebSocket.
    WsOpened {
        /// Whether it requested the subprotocol `glowforge`.
        subprotocol: bool,
    },
    /// A line of a text frame that a machine sent.
    WsMessage {
        /// The line as JSON; `Null` if it is not JSON or is longer than 64 KiB.
        message: Value,
        /// The line as received, including its line end.
        text: String,
    },
    /// Lines of a text frame that were dropped: at most 100 of a frame are read.
    WsLeftOut {
        /// How many.
        lines: usize,
    },
    /// A replay has been waiting for a while.
    Waiting {
        /// What it waits for.
        what: String,
        /// How much longer it waits.
        at_most: Duration,
    },
    /// A replay stopped waiting for something and continues without it.
    GivenUp {
        /// What did not arrive, and how long the replay waited for it.
        what: String,
    },
    /// What the service does with a machine by its [`Behaviour`](super::Behaviour) has changed.
    Behaviour {
        /// The machine's serial number as it signed in (`S12345`).
        serial: String,
        /// What has changed.
        change: BehaviourChange,
        /// The name of the print, if the change is of one.
        print: Option<String>,
    },
    /// A machine sent a binary frame of this many bytes.
    WsBinary(usize),
    /// A machine sent a ping, which was answered.
    WsPing,
    /// A machine sent a pong: the answer to [`LocalService::ping`](super::LocalService::ping).
    WsPong,
    /// The service sent this text frame.
    WsSent(String),
    /// A [`Fault`](super::Fault) happens to a request, a frame or a connection. Delays and bandwidths are not reported.
    Fault {
        /// The number of the machine, counted from 1 in the order of the first sign-ins.
        machine: u64,
        /// What happens.
        what: String,
    },
    /// A machine's WebSocket closed.
    WsClosed {
        /// The code of the machine's Close frame, if it sent one.
        code: Option<u16>,
    },
}

/// Texts of peers are without queries of URLs and without what can be recognized as a secret by its name.
impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clean = |text: &str| redact_named(&redact_urls(text));
        match self {
            Self::Http(request) => f.debug_tuple("Http").field(request).finish(),
            Self::Held { method, path } => f.debug_struct("Held").field("method", method).field("path", path).finish(),
            Self::SignIn { ok, json } => f.debug_struct("SignIn").field("ok", ok).field("json", json).finish(),
            Self::WsOpened { subprotocol } => f.debug_struct("WsOpened").field("subprotocol", subprotocol).finish(),
            Self::WsMessage { text, .. } => f.debug_tuple("WsMessage").field(&clean(text)).finish(),
            Self::WsLeftOut { lines } => f.debug_tuple("WsLeftOut").field(lines).finish(),
            Self::Waiting { what, at_most } => f.debug_tuple("Waiting").field(&clean(what)).field(at_most).finish(),
            Self::GivenUp { what } => f.debug_tuple("GivenUp").field(&clean(what)).finish(),
            Self::Behaviour { serial, change, print } => {
                f.debug_tuple("Behaviour").field(serial).field(change).field(print).finish()
            }
            Self::WsBinary(bytes) => f.debug_tuple("WsBinary").field(bytes).finish(),
            Self::WsPing => f.write_str("WsPing"),
            Self::WsPong => f.write_str("WsPong"),
            Self::WsSent(text) => f.debug_tuple("WsSent").field(&clean(text)).finish(),
            Self::Fault { machine, what } => f.debug_tuple("Fault").field(machine).field(&clean(what)).finish(),
            Self::WsClosed { code } => f.debug_struct("WsClosed").field("code", code).finish(),
        }
    }
}

impl Seen {
    /// Returns the name of the event that a machine sent over the WebSocket or posted to `/api/event`.
    #[must_use]
    pub fn event(&self) -> Option<String> {
        match self {
            Self::WsMessage { message, .. } => Some(message.get("event")?.as_str()?.to_owned()),
            Self::Http(request) if request.path == EVENT_PATH => {
                Some(request.json()?.get("event")?.as_str()?.to_owned())
            }
            _ => None,
        }
    }

    /// Returns whether this is the event `name` and, if `action_id` is given, belongs to that action.
    #[must_use]
    pub fn is_event(&self, name: &str, action_id: Option<i64>) -> bool {
        let same_action = |message: &Value| action_id.is_none_or(|id| message["action_id"].as_i64() == Some(id));
        match self {
            Self::WsMessage { message, .. } => message["event"].as_str() == Some(name) && same_action(message),
            Self::Http(request) if request.path == EVENT_PATH => {
                request.json().is_some_and(|message| message["event"].as_str() == Some(name) && same_action(&message))
            }
            _ => false,
        }
    }
}

/// A request as the service received it.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// The path without its query; `/<ws_token>` for a WebSocket handshake.
    pub path: String,
    /// Whether there was a query.
    pub has_query: bool,
    /// Names in lower case, in the order of the request. Values that may be secret are `***`, and long ones are cut.
    pub headers: Vec<(String, String)>,
    /// Whether there was a bearer token, and whether it was valid.
    pub bearer: Bearer,
    /// The body, if it was kept (see [`Builder::keep_bodies`](super::Builder::keep_bodies)); empty for a sign-in.
    pub body: Arc<[u8]>,
    /// How many bytes of the body were read.
    pub body_len: usize,
    /// The status of the response; 0 if the connection is cut without one.
    pub status: u16,
}

impl Request {
    /// Returns the first header with this lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// Returns the body as JSON, or `None` if it is not JSON.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Returns the body as text, lossily.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns whether the body is a picture.
    #[must_use]
    pub fn is_picture(&self) -> bool {
        self.header("content-type") == Some("image/jpeg")
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the body: pictures and jobs are useless in a failed assertion.
        write!(f, "{} {} -> {}", self.method, self.path, self.status)?;
        write!(f, " (bearer {:?}, query {}, {} bytes)", self.bearer, self.has_query, self.body_len)
    }
}

/// The `Authorization` header of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bearer {
    /// None.
    Absent,
    /// A valid token of this service.
    Good,
    /// Anything else.
    Bad,
}

/// Returns a header as it may be kept.
pub(super) fn redacted_header((name, value): &(String, String)) -> (String, String) {
    let known = PUBLIC_REQUEST_HEADERS.contains(&name.as_str());
    let cut = |text: &str| prefix(text, HEADER_VALUE_BYTES).to_owned();
    (cut(name), if known { cut(value) } else { MASK.to_owned() })
}

impl Seen {
    /// Returns about how much memory this takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        let heap = match self {
            Self::Http(request) => {
                let headers = request.headers.iter().map(|(name, value)| name.len() + value.len() + 64);
                request.method.len() + request.path.len() + request.body.len() + headers.sum::<usize>()
            }
            Self::Held { method, path } => method.len() + path.len(),
            Self::WsMessage { message, text } => text.len() + memory_of_json(message),
            Self::WsSent(text) => text.len(),
            Self::Behaviour { serial, print, .. } => serial.len() + print.as_ref().map_or(0, String::len),
            Self::Waiting { what, .. } | Self::GivenUp { what } | Self::Fault { what, .. } => what.len(),
            Self::SignIn { .. }
            | Self::WsOpened { .. }
            | Self::WsLeftOut { .. }
            | Self::WsBinary(_)
            | Self::WsPing
            | Self::WsPong
            | Self::WsClosed { .. } => 0,
        };
        size_of::<Self>() + heap
    }
}

fn memory_of_json(value: &Value) -> usize {
    let heap = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(memory_of_json).sum(),
        Value::Object(fields) => fields.iter().map(|(name, field)| name.len() + 64 + memory_of_json(field)).sum(),
        _ => 0,
    };
    size_of::<Value>() + heap
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn debug_output_has_no_queries_and_no_tokens() {
        let message = json!({"ws_token": "a-token", "see": "https://host/job?X-Sig=abc"});
        let text = message.to_string();
        for seen in [
            Seen::WsSent(text.clone()),
            Seen::GivenUp { what: text.clone() },
            Seen::Fault { machine: 1, what: text.clone() },
            Seen::WsMessage { message, text },
        ] {
            let shown = format!("{seen:?}");
            assert!(shown.contains("host/job?***"), "{shown}");
            assert!(!shown.contains("abc") && !shown.contains("a-token"), "{shown}");
        }
    }
}
