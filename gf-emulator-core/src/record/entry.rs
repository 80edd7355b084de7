//! What a recording is made of: one entry a line.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// No line is longer, its end included: a longer one is not read.
pub(super) const LONGEST_LINE: usize = 1 << 20;

/// One thing that happened, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Which one, counted from 0: the line of the file, less one.
    pub n: u64,
    /// Seconds since the recording began, by a clock that nobody sets.
    pub t: f64,
    /// The time of day, UTC, RFC 3339 to a millisecond.
    pub at: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen between a machine and its service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The first line: what is recorded, and how.
    Session(About),
    /// A request and what came back.
    Http(Box<Exchange>),
    /// A WebSocket was opened.
    Opened {
        /// The service's address, without the token.
        url: String,
    },
    /// A line that the service sent on the WebSocket.
    In(Message),
    /// A message that the machine sent on the WebSocket.
    Out(Message),
    /// The WebSocket is closed.
    Closed {
        /// By whom, or by what.
        reason: String,
    },
    /// Something changed that is not said on the wire.
    State {
        /// What there is now: `stopped`, `failed`, `cancelled`.
        state: String,
        /// The action whose end that is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        action_id: Option<i64>,
        /// In words, where there is more to say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
}

/// The first line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// [`FORMAT_VERSION`] of who wrote it.
    pub format: u32,
    /// Which program, and which version of it.
    pub recorder: String,
    /// Whose side was recorded.
    pub side: Side,
    /// `1.x` or `2.6`; nothing where the service's side cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// The machine's firmware version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// Its serial number, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u32>,
    /// The service's base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// Whose side of a conversation was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The machine's.
    Machine,
    /// The service's: durations and answers are not known there.
    Service,
}

/// An HTTP request with its answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Exchange {
    /// `GET`, `POST` or `PUT`.
    pub method: String,
    /// The URL, without its query.
    pub url: String,
    /// Whether there was a query.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_query: bool,
    /// The answer's status; none where there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was no answer, or not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// From the request's first byte to the answer's last, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// What was sent.
    pub request: Part,
    /// What came back.
    #[serde(default)]
    pub response: Part,
}

/// Headers and body of a request or an answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Part {
    /// Those that are no secret, names in lower case. Of an `authorization` only that there was one: `***`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub headers: Map<String, Value>,
    /// The body's length.
    pub bytes: u64,
    /// The body, where it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// The file beside the recording that has the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// What was said on the WebSocket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its length in bytes as it was sent, line end included.
    pub bytes: u64,
    /// The message, where it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// Its text, where it is not: its first 4096 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Message {
    /// The event's or the action's name: `settings:completed`, `print:progress`, `lid_image`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let json = self.json.as_ref()?;
        ["event", "progress", "action_type"].iter().find_map(|key| json.get(key)?.as_str())
    }

    /// Which action it is, or belongs to.
    #[must_use]
    pub fn action_id(&self) -> Option<i64> {
        let json = self.json.as_ref()?;
        let key = if json.get("action_type").is_some() { "id" } else { "action_id" };
        json.get(key)?.as_i64()
    }
}

/// What a known client of the first generation leaves in the bodies of its events where a number should be.
pub(crate) const PLACEHOLDER: &str = "<MILLI_EPOCH>";

/// Nothing that is nested deeper is taken for JSON: the line that it would be in could not be read again.
const MOST_DEPTH: usize = 100;

/// JSON that can be part of an entry.
pub(super) fn strict_json(bytes: &[u8]) -> Option<Value> {
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
        if depth > MOST_DEPTH {
            return None;
        }
    }
    serde_json::from_slice(bytes).ok()
}

/// JSON, and what would be but for a placeholder that nobody has filled: that is a string then, `"<MILLI_EPOCH>"`.
pub(crate) fn read_json(bytes: &[u8]) -> Option<Value> {
    strict_json(bytes).or_else(|| {
        let text = std::str::from_utf8(bytes).ok()?;
        let quoted = text.contains(PLACEHOLDER).then(|| text.replace(PLACEHOLDER, &format!("\"{PLACEHOLDER}\"")))?;
        strict_json(quoted.as_bytes())
    })
}
