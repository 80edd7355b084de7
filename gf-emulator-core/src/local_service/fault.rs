//! Faults: what goes wrong on purpose, for which requests, frames or connections, and how often. Plain data.

use std::fmt;
use std::time::Duration;

use super::link::WsEnd;

/// The longest time that something is late or waits.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Something that goes wrong on purpose: a failure, what it happens to, and how often.
///
/// In code, a fault is built with the methods below and given to [`Builder::fault`](super::Builder::fault) or
/// [`LocalService::fault`](super::LocalService::fault). As text (`serve --fault`) it is a list of `field=value`,
/// separated by spaces; in a [`Script`](super::Script), a JSON object with the same fields:
///
/// ```
/// use gf_emulator_core::local_service::{Failure, Fault};
///
/// // The next two uploads are told to retry after a second.
/// let busy = Fault::status(503).header("Retry-After", "1").on("PUT", "/up/").times(2);
/// assert_eq!("status=503 retry_after_s=1 on=PUT:/up/ times=2".parse(), Ok(busy));
/// // The next download of the pulse file is cut in the middle.
/// let cut = Fault::new(Failure::CutAnswer).on("GET", "/dl/job.puls");
/// let json = r#"{"response": "cut", "on": "GET:/dl/job.puls", "times": 1}"#;
/// assert_eq!(serde_json::from_str::<Fault>(json).unwrap(), cut);
/// ```
///
/// # Failures
///
/// A fault has exactly one of these:
///
/// | field | what happens | further fields |
/// |---|---|---|
/// | `status=503` | the response has this status, and the request has no effect | `retry_after_s=1` |
/// | `request=cut` | the connection is cut after half of the request's body (all of a sign-in's) | |
/// | `response=cut` | the connection is cut after half of the response's body | |
/// | `response=short` | the connection is closed 1000 bytes before the length that was announced | |
/// | `response=stall` | the same, but the connection stays open, for 30 s | |
/// | `response=endless` | the body does not end | |
/// | `response=hold` | the response is held back until [`LocalService::release`](super::LocalService::release) or the service stops | |
/// | `tokens=expired` | the machine's tokens expire before a request that has one is answered | |
/// | `delay_s=0.2` | a response, and each frame to the machine, is late by this many seconds. `0.1..0.5`: uniformly distributed; `lognormal:0.1,0.5`: log-normally, with this median in seconds and this standard deviation of the logarithm. Frames stay in order: a frame that is held back holds back those after it | |
/// | `bytes_per_s=50000` | bodies and frames take as long as on a line with this bandwidth | |
/// | `frame=double` | a frame to the machine is sent twice | |
/// | `frame=reorder` | a frame is sent after the next one | `wait_s=1`: how long it waits for that |
/// | `frame=split` | a frame is fragmented | `parts=2` |
/// | `frame=pack` | several frames are sent as lines of one | `parts=2`, `wait_s=1` |
/// | `cut=rst` | the WebSocket's TCP connection is reset | when: see below |
/// | `cut=fin` | the same, but it is closed in order, without a Close frame | |
/// | `cut=close` | the WebSocket is closed with a Close frame | `code=1000` |
///
/// A cut happens in place of the next frame to the machine, or when one of these is given: `after_messages=5`, the
/// machine has sent this many messages on this connection; `after_bytes=10000`, this many bytes of messages;
/// `after_s=3600`, the connection has been open for this many seconds; `event=print:running`, the machine has sent this event.
///
/// # What it happens to, and how often
///
/// | field | |
/// |---|---|
/// | `on=PUT:/up/` | only requests with this method and a path that starts with this; `on=/up/`: with any method. `on=ws`: only frames, not requests |
/// | `machine=2` | only the second machine that has signed in; `machine=S12345`: the one with this serial number |
/// | `p=0.2` | the probability, each time; without it 1 |
/// | `skip=3` | not the first three times, for each machine |
/// | `times=2` | at most this many times, for each machine; without it always (in code, the default is once) |
///
/// The path of a WebSocket handshake is always the text `/<ws_token>`. Of several faults that could happen to the same
/// request or frame, the one that was added first happens; a delay, a bandwidth and expired tokens can be combined with
/// one other. Faults of a body (`response`) are not slowed by a bandwidth.
///
/// # Several machines, and the seed
///
/// Each machine has its own counts and its own random numbers. These depend only on the seed
/// ([`Builder::seed`](super::Builder::seed)), the machine (its number in the order of the first sign-ins), the fault (its
/// number in the order of adding), and how often that fault could have happened to that machine before, counted
/// separately for sign-ins and handshakes, for other requests, for frames, and for messages. So how threads happen to
/// interleave, and what other machines do, changes nothing. But `skip` and `times` count all
/// of these together: use `on` to limit such a fault to one of them.
///
/// A request belongs to the machine whose token it has. Presigned URLs have none: those that the service sends to the
/// second and later machines end with `machine=<number>`. A request without either belongs to the first machine. The
/// 1000th machine and all later ones share a state.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub(super) failure: Failure,
    pub(super) on: Scope,
    pub(super) machine: Option<Target>,
    pub(super) probability: f64,
    pub(super) skip: u64,
    /// `None`: always.
    pub(super) times: Option<u64>,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Failure {
    /// The response has this status and these headers, and the request has no effect.
    Status {
        /// The HTTP status.
        status: u16,
        /// Headers to send with it, such as `Retry-After` or `Location`.
        headers: Vec<(String, String)>,
    },
    /// The connection is cut after half of the request's body (all of it, if it is a sign-in), without a response.
    CutRequest,
    /// The connection is cut after half of the response's body; before the response, if its body is empty.
    CutAnswer,
    /// `Content-Length` is 1000 bytes too large, and the connection is closed after the body.
    ShortBody,
    /// `Content-Length` is 1000 bytes too large, and the connection stays open after the body, for 30 seconds.
    Stall,
    /// The response's body continues with zeros for as long as the machine reads.
    EndlessBody,
    /// The response is held back until [`LocalService::release`](super::LocalService::release) or the service stops.
    Hold,
    /// The machine's tokens expire before a request that has one of them is answered.
    ExpireTokens,
    /// A response, and each frame to the machine, is late.
    Delay(Latency),
    /// Bodies of requests and responses, and frames to the machine, take as long as on a line with this bandwidth.
    Bandwidth {
        /// In bytes per second; at least 1.
        bytes_per_s: u64,
    },
    /// A frame to the machine is not sent as it should be.
    Frame(FrameFault),
    /// The machine's WebSocket ends.
    EndWebSocket {
        /// How.
        how: WsEnd,
        /// When.
        when: Moment,
    },
}

/// How long something is late: a day at most.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Latency {
    /// Always this long.
    Fixed(Duration),
    /// Uniformly distributed between two times.
    Uniform {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// Log-normally distributed: mostly short, sometimes very long.
    LogNormal {
        /// Half of all are shorter.
        median: Duration,
        /// The standard deviation of the natural logarithm.
        sigma: f64,
    },
}

/// What happens to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameFault {
    /// It is sent twice.
    Double,
    /// It is sent after the next one.
    Reorder {
        /// How long it waits for the next one, a day at most; then it is sent alone.
        wait: Duration,
    },
    /// It is sent as this many fragments (RFC 6455, section 5.4).
    Split {
        /// From 2; no more than the frame has bytes.
        parts: usize,
    },
    /// It is sent as one frame with the next ones, a line each.
    Pack {
        /// How many lines the frame has, from 2.
        parts: usize,
        /// How long it waits for them, a day at most; then it is sent with fewer.
        wait: Duration,
    },
}

/// When a WebSocket ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Moment {
    /// When the service sends a frame, in place of the frame.
    Frame,
    /// When the machine has sent so many messages on this connection.
    Messages(u64),
    /// When the machine has sent so many bytes of messages on this connection.
    Bytes(u64),
    /// When the connection has been open for so long.
    Open(Duration),
    /// When the machine has sent this event, on the WebSocket or as a request.
    Event(String),
}

/// What a fault can happen to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    Any,
    Requests {
        /// `None` for any.
        method: Option<String>,
        path_prefix: String,
    },
    Frames,
}

/// The only machine that a fault happens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Counted from 1.
    Number(u64),
    /// With its `S`.
    Serial(String),
}

impl Fault {
    /// Creates a fault that happens once, to the next request or frame, of any machine.
    #[must_use]
    pub fn new(failure: Failure) -> Self {
        Self { failure, on: Scope::Any, machine: None, probability: 1.0, skip: 0, times: Some(1) }
    }

    /// Creates a fault that answers the next request with this status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::new(Failure::Status { status, headers: Vec::new() })
    }

    /// Adds a header to a [`Failure::Status`]; has no effect on others.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Failure::Status { headers, .. } = &mut self.failure {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Limits the fault to requests with this method and a path that starts with `path_prefix`. The path of a WebSocket
    /// handshake is always the text `/<ws_token>`.
    #[must_use]
    pub fn on(mut self, method: &str, path_prefix: &str) -> Self {
        self.on = Scope::Requests { method: Some(method.to_owned()), path_prefix: path_prefix.to_owned() };
        self
    }

    /// Limits the fault to frames.
    #[must_use]
    pub fn on_frames(mut self) -> Self {
        self.on = Scope::Frames;
        self
    }

    /// Limits the fault to one machine: its number, counted from 1 in the order of the first sign-ins.
    #[must_use]
    pub fn machine(mut self, number: u64) -> Self {
        self.machine = Some(Target::Number(number));
        self
    }

    /// Sets the probability that the fault happens each time that it could: from 0 to 1. The default is 1.
    #[must_use]
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    /// Sets how many times the fault does not happen to a machine at first. The default is 0.
    #[must_use]
    pub fn skip(mut self, times: u64) -> Self {
        self.skip = times;
        self
    }

    /// Sets how many times the fault happens to a machine. The default is 1.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Lets the fault happen every time.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// Multiplies all its times by `factor`, which must be positive: delays, waits, and after what time it happens.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        let scale = |time: &mut Duration| {
            *time = Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(Duration::MAX);
        };
        match &mut self.failure {
            Failure::Delay(Latency::Fixed(time) | Latency::LogNormal { median: time, .. })
            | Failure::Frame(FrameFault::Reorder { wait: time } | FrameFault::Pack { wait: time, .. })
            | Failure::EndWebSocket { when: Moment::Open(time), .. } => scale(time),
            Failure::Delay(Latency::Uniform { min, max }) => [min, max].into_iter().for_each(scale),
            _ => {}
        }
        self
    }

    /// Returns whether the fault can happen to a request.
    pub(super) fn matches_request(&self, method: &str, path: &str) -> bool {
        match &self.on {
            Scope::Any => true,
            Scope::Frames => false,
            Scope::Requests { method: wanted, path_prefix } => {
                wanted.as_deref().is_none_or(|wanted| wanted == method) && path.starts_with(path_prefix.as_str())
            }
        }
    }

    /// Returns whether the fault can happen to a frame or a WebSocket.
    pub(super) fn matches_websocket(&self) -> bool {
        matches!(self.on, Scope::Any | Scope::Frames)
    }
}

impl Failure {
    /// Returns whether this replaces or breaks the response to a request.
    pub(super) fn is_of_request(&self) -> bool {
        use Failure as F;
        matches!(
            self,
            F::Status { .. } | F::CutRequest | F::CutAnswer | F::ShortBody | F::Stall | F::EndlessBody | F::Hold
        )
    }
}

/// What happens, in a few words.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status, .. } => write!(f, "status {status}"),
            Self::CutRequest => f.write_str("cut in the request"),
            Self::CutAnswer => f.write_str("cut in the response"),
            Self::ShortBody => f.write_str("a response that is too short"),
            Self::Stall => f.write_str("a response that stalls"),
            Self::EndlessBody => f.write_str("a response without an end"),
            Self::Hold => f.write_str("the response is held back"),
            Self::ExpireTokens => f.write_str("the tokens have expired"),
            Self::Delay(_) => f.write_str("late"),
            Self::Bandwidth { bytes_per_s } => write!(f, "{bytes_per_s} bytes/s"),
            Self::Frame(FrameFault::Double) => f.write_str("sent twice"),
            Self::Frame(FrameFault::Reorder { .. }) => f.write_str("sent after the next one"),
            Self::Frame(FrameFault::Split { parts }) => write!(f, "split into {parts} fragments"),
            Self::Frame(FrameFault::Pack { parts, .. }) => write!(f, "packed, {parts} lines a frame"),
            Self::EndWebSocket { how, .. } => write!(f, "the WebSocket is {how}"),
        }
    }
}
