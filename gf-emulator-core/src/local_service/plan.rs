//! What the service of a recorded session sent and answered, as plain data. Made from a recording by
//! [`Session::plan`](crate::replay::Session::plan).

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// A recorded session to replay with the first machine that connects.
///
/// Every URL that the service sends points to the local service, whatever host was recorded. The query of a recorded
/// URL (recordings hide it) becomes `?replay`.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ReplayPlan {
    /// What happened, in order.
    pub steps: Vec<ReplayStep>,
    /// Responses by method and path, used in this order; the last one is repeated. Other requests get the service's
    /// usual responses.
    pub responses: HashMap<(String, String), VecDeque<RecordedResponse>>,
}

/// One thing that happened in a recorded session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayStep {
    /// The service sent this; it is sent again.
    Send {
        /// The text of the frame.
        text: String,
        /// How long to wait for a machine to be connected.
        timeout: Duration,
    },
    /// The WebSocket was cut; it is cut again.
    Cut {
        /// How long to wait for a machine to be connected.
        timeout: Duration,
    },
    /// The machine sent a message: the replay waits until it has sent one more of that action or, if `action` is
    /// `None`, one more that belongs to no action. Progress messages do not count.
    AwaitMessage {
        /// The action.
        action: Option<i64>,
        /// The event, named if it does not come.
        event: String,
        /// How long to wait.
        timeout: Duration,
    },
    /// The machine made a request: the replay waits until it has made one more with this method and path. Sign-ins do
    /// not count.
    AwaitRequest {
        /// The action it was made for, if known.
        action: Option<i64>,
        /// The HTTP method.
        method: String,
        /// The path, without a query.
        path: String,
        /// How long to wait.
        timeout: Duration,
    },
}

/// A recorded HTTP response.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct RecordedResponse {
    /// The HTTP status; 200 if it is not known.
    pub status: Option<u16>,
    /// The `Retry-After` header.
    pub retry_after: Option<String>,
    /// The body.
    pub body: RecordedBody,
    /// How the response ended.
    pub end: ResponseEnd,
}

/// How a [`RecordedResponse`] ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ResponseEnd {
    /// Complete.
    #[default]
    Complete,
    /// The connection is cut before the end of the response.
    Cut,
    /// The response does not end: the machine disconnects, because the action was cancelled.
    Stalled,
}

/// The body of a [`RecordedResponse`].
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum RecordedBody {
    /// None.
    #[default]
    Empty,
    /// JSON. Its URLs are pointed to the local service.
    Json(Value),
    /// The contents of this file.
    File(PathBuf),
    /// The service's own pulse file, if the recorded one is not available.
    Job,
    /// The service's own firmware.
    Firmware,
}
