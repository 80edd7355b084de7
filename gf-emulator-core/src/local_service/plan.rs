//! What a recorded session's service said and answered, as plain data. It is read from a recording elsewhere.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// What a service says and answers, as it was recorded. One machine is taken through it: the first that connects.
///
/// Every URL in what it says leads to the service that says it now, whatever host was recorded; a recorded query, which
/// no recording has, becomes `?replay`.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// What happened, in order.
    pub cues: Vec<Cue>,
    /// Answers by method and path, each used once in this order; the last one is for all that come after it. Where there
    /// is none, the service answers as it always does.
    pub answers: HashMap<(String, String), VecDeque<Reply>>,
}

/// One thing that happened in a recorded session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cue {
    /// The service said this: it says it again.
    Say {
        /// A frame's text.
        text: String,
        /// How long to wait for a machine to be connected.
        timeout: Duration,
    },
    /// The connection ended: it is cut again.
    Cut {
        /// How long to wait for a machine to be connected.
        timeout: Duration,
    },
    /// The machine said something on the control socket: what follows waits until it has said one message more of that
    /// action, or, without one, of its own accord. Progress does not count.
    Message {
        /// The action.
        action: Option<i64>,
        /// The event, for whoever reads that it did not come.
        event: String,
        /// How long to wait.
        timeout: Duration,
    },
    /// The machine made a request: what follows waits until it has made one more like it. Sign-ins do not count.
    Request {
        /// The action that it was made for, where that is known.
        action: Option<i64>,
        /// The HTTP method.
        method: String,
        /// The path, without a query.
        path: String,
        /// How long to wait.
        timeout: Duration,
    },
}

/// How a request was answered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reply {
    /// The HTTP status; 200 where it is not known.
    pub status: Option<u16>,
    /// When the machine may ask again, as the service had said it.
    pub retry_after: Option<String>,
    /// What came with it.
    pub body: ReplyBody,
    /// How it ended.
    pub end: ReplyEnd,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyEnd {
    /// Whole.
    #[default]
    Whole,
    /// The connection ends before it does.
    Broken,
    /// It does not: the machine ends it, because what it is for is withdrawn.
    Open,
}

/// What comes with a [`Reply`].
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ReplyBody {
    /// Nothing.
    #[default]
    Empty,
    /// JSON, in which URLs lead here.
    Json(Value),
    /// What is in this file.
    File(PathBuf),
    /// The service's own pulse file: what was sent is not known.
    Job,
    /// The service's own firmware.
    Firmware,
}
