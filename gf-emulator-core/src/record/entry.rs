//! The entries of a recording, one per line.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The format version that this library writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 2;

/// The maximum length of a line, including its line feed. Longer lines are skipped by readers.
pub(super) const MAX_LINE_BYTES: usize = 1 << 20;

/// An event with its number and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// Its number, counted from 0: the line number minus one.
    pub n: u64,
    /// Seconds since the recording began, by a monotonic clock.
    pub t: f64,
    /// The wall-clock time in UTC, RFC 3339 with milliseconds.
    pub at: String,
    /// In a recording of several machines, the number of the one that it happened to, counted from 1. `None` if it
    /// happened to all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<u32>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// An event between a machine and its service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The first line: the session's metadata.
    Session(About),
    /// A request and its response.
    Http(Box<Exchange>),
    /// The WebSocket was opened.
    Opened {
        /// The service's WebSocket address without the token.
        url: String,
    },
    /// A line received by the machine over the WebSocket.
    In(Message),
    /// A message sent by the machine over the WebSocket.
    Out(Message),
    /// The WebSocket was closed.
    Closed {
        /// Who or what closed it.
        reason: String,
    },
    /// A change of state that is not visible on the wire.
    State {
        /// The new state, such as `stopped`, `failed`, `cancelled` or `dropped`.
        state: String,
        /// The action that ended, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        action_id: Option<i64>,
        /// An explanation for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
}

/// The metadata of a session: the first line of its recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct About {
    /// The [`FORMAT_VERSION`] of the writer.
    pub format: u32,
    /// The writer's name and version.
    pub recorder: String,
    /// Which side was recorded.
    pub side: Side,
    /// `1.x` or `2.6`; `None` if the service's side was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// The machine's firmware version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// The machine's serial number, if the configuration includes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u32>,
    /// The service's base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How many machines were recorded together; `None` if it was one, or the service's side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<u32>,
}

/// The side of a conversation that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Side {
    /// The machine.
    Machine,
    /// The service. It records no durations and no response bodies.
    Service,
}

/// An HTTP request with its response.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exchange {
    /// `GET`, `POST` or `PUT`.
    pub method: String,
    /// The URL without its query.
    pub url: String,
    /// Whether the URL had a query.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_query: bool,
    /// The response's status; `None` if there was no response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was no response, or not a complete one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Seconds from the first byte of the request to the last of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// The request.
    pub request: Part,
    /// The response.
    #[serde(default)]
    pub response: Part,
}

/// Headers and body of a request or a response.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Part {
    /// Headers that contain no secrets, with names in lower case. The value of `authorization` is `***`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub headers: Map<String, Value>,
    /// The body's length in bytes.
    pub bytes: u64,
    /// The body, if it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// The name of the file next to the recording that holds the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// A message on the WebSocket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// Its length in bytes on the wire, including the line ending.
    pub bytes: u64,
    /// The message, if it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// Its first 4096 characters, if it is not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl About {
    pub(super) fn new(side: Side) -> Self {
        Self {
            format: FORMAT_VERSION,
            recorder: concat!("gf-emulator-core ", env!("CARGO_PKG_VERSION")).to_owned(),
            side,
            generation: None,
            firmware: None,
            serial: None,
            service: None,
            machines: None,
        }
    }
}

impl Message {
    /// Returns the name of the event or action: `settings:completed`, `print:progress`, `lid_image`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let json = self.json.as_ref()?;
        ["event", "progress", "action_type"].iter().find_map(|key| json.get(key)?.as_str())
    }

    /// Returns the id of the action that the message is or belongs to.
    #[must_use]
    pub fn action_id(&self) -> Option<i64> {
        let json = self.json.as_ref()?;
        let key = if json.get("action_type").is_some() { "id" } else { "action_id" };
        json.get(key)?.as_i64()
    }
}

/// The reason of a close in a recording that was imported from a HAR file, which does not say why.
pub(crate) const UNKNOWN_CLOSE: &str = "closed";

/// What the 1.x Python client sends in place of a number in event bodies: a template placeholder it never fills in.
pub(crate) const PLACEHOLDER: &str = "<MILLI_EPOCH>";

/// Deeper JSON is recorded as text: `serde_json` could not read the line that contains it.
const MAX_DEPTH: usize = 100;

/// Parses JSON that may become part of an entry.
pub(super) fn parse_json(bytes: &[u8]) -> Option<Value> {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    for &byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return None;
        }
    }
    serde_json::from_slice(bytes).ok()
}

/// Parses JSON in which numbers may be [`PLACEHOLDER`]s; these become strings.
pub(crate) fn read_json(bytes: &[u8]) -> Option<Value> {
    parse_json(bytes).or_else(|| {
        let text = std::str::from_utf8(bytes).ok()?;
        let quoted = text.contains(PLACEHOLDER).then(|| text.replace(PLACEHOLDER, &format!("\"{PLACEHOLDER}\"")))?;
        parse_json(quoted.as_bytes())
    })
}
