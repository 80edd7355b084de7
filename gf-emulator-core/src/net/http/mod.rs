//! One HTTP exchange at a time, over this crate's own connections.
//!
//! ureq speaks HTTP; the transport below it is `net/`, so that TLS is set up once for everything and an cancel ends
//! whatever is under way. Knows nothing of sign-in, of who gets a token, or of redirects: that is `session.rs`.
//!
//! # How long an exchange may take
//!
//! | what | limit |
//! |---|---|
//! | connecting: name, TCP and TLS | 10 s |
//! | a read or a write during which nothing moves | 30 s |
//! | all of an exchange whose answer is small, connecting included | 60 s, and 1 s for each 8 KiB of the request's body |
//! | the body of a download, from the end of the answer's head | 60 s, and 1 s for each 8 KiB that has come |
//! | what is left of an answer that nobody needs | 2 s |
//!
//! These are [`Limits`]; [`Line`] enforces them over every read and write of a connection.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER, TRANSFER_ENCODING};
use tungstenite::Bytes;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

use crate::net::url::Url;
use crate::net::{CancelToken, Network, Stream, connection_error, dial};
use crate::record::{PendingExchange, RecordedBody, RecorderSlot, RequestInfo};
use crate::{Error, Result, Secret};

/// How long an exchange may take. See the [module](self) for what each is over.
#[derive(Debug, Clone, Copy)]
struct Limits {
    connect: Duration,
    silence: Duration,
    exchange: Duration,
    rest: Duration,
    /// What a body may take longer for its length. A slow line is faster than this; whoever is slower holds the machine.
    bytes_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            exchange: Duration::from_secs(60),
            rest: Duration::from_secs(2),
            bytes_per_second: 8 << 10,
        }
    }
}

impl Limits {
    /// For an exchange, or a part of one, in which a body of that length moves.
    fn with_body(&self, bytes: u64) -> Duration {
        self.exchange + Duration::from_secs(bytes / u64::from(self.bytes_per_second))
    }
}

/// What an [`Http`] and its connections know of the exchange under way: there is one at a time.
#[derive(Clone)]
struct Current(Arc<Mutex<Exchange>>);

#[derive(Clone, Copy)]
struct Exchange {
    /// When all of it has to be done.
    deadline: Instant,
    /// A connection was opened for it; else it uses one that was kept.
    has_dialled: bool,
    /// Something of the answer has come.
    is_answered: bool,
}

impl Current {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Exchange { deadline: Instant::now(), has_dialled: false, is_answered: false })))
    }

    fn lock(&self) -> MutexGuard<'_, Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which limit it was that a deadline came from: that of the whole exchange, or one of a part of it.
    fn explained(&self, e: io::Error, part: &str, limit: Duration) -> io::Error {
        if e.kind() != io::ErrorKind::TimedOut {
            return e;
        }
        let is_over = Instant::now() >= self.lock().deadline;
        let words = if is_over { "it takes too long".into() } else { format!("{part} {} s", limit.as_secs()) };
        io::Error::new(e.kind(), words)
    }

    fn begin(&self, deadline: Instant) {
        *self.lock() = Exchange { deadline, has_dialled: false, is_answered: false };
    }
}

/// What is read of an answer that is JSON or of no interest.
const SMALL_ANSWER_BYTES: u64 = 1 << 20;

/// The methods the protocol uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Put,
}

impl Method {
    /// Whether doing it twice does the same as doing it once.
    fn is_idempotent(self) -> bool {
        self != Self::Post
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a Url,
    pub(crate) bearer: Option<&'a Secret>,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: &'a Bytes,
    /// Neither this body nor the answer's is anybody else's business: a sign-in.
    pub(crate) confidential: bool,
}

impl<'a> Request<'a> {
    /// Returns what is recorded of this request.
    fn info(&self, user_agent: &'a str) -> RequestInfo<'a> {
        RequestInfo {
            method: self.method.as_str(),
            url: self.url.to_string(),
            query: self.url.query(),
            user_agent,
            content_type: self.content_type,
            has_authorization: self.bearer.is_some(),
            body: (self.method != Method::Get).then_some(self.body),
            confidential: self.confidential,
        }
    }
}

/// What came back.
pub(crate) struct Response {
    pub(crate) status: u16,
    from: Url,
    method: Method,
    inner: http::Response<ureq::Body>,
    exchange: Option<PendingExchange>,
    current: Current,
    limits: Limits,
}

impl Response {
    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    pub(crate) fn location(&self) -> Option<&str> {
        self.header(&LOCATION)
    }

    /// How long the service asks to be left alone: seconds, or until a date.
    fn retry_after(&self) -> Option<Duration> {
        parse_retry_after(self.header(&RETRY_AFTER)?, SystemTime::now())
    }

    /// How long the body is, where the sender says so. A body that ends before is an error; nothing is sized by it.
    pub(crate) fn length(&self) -> Option<u64> {
        // Beside a Transfer-Encoding a length says nothing (RFC 9112, 6.3).
        let is_coded = self.inner.headers().contains_key(TRANSFER_ENCODING);
        if is_coded { None } else { self.header(&CONTENT_LENGTH)?.parse().ok() }
    }

    /// Whether the body ends with a last chunk. One that ends before is an error.
    pub(crate) fn is_chunked(&self) -> bool {
        // As ureq-proto decides it.
        let codings = self.inner.headers().get_all(TRANSFER_ENCODING).iter().filter_map(|value| value.to_str().ok());
        self.inner.version() != http::Version::HTTP_10
            && codings.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
    }

    /// This answer as the error that it is.
    pub(crate) fn into_error(self) -> Error {
        let retry_after = self.retry_after();
        Error::Status { method: self.method.as_str(), url: self.from.to_string(), status: self.status, retry_after }
    }

    /// The body, which must be JSON of the expected shape.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(self) -> Result<T> {
        let from = self.from.to_string();
        let mut text = Vec::new();
        self.reader().take(SMALL_ANSWER_BYTES).read_to_end(&mut text).map_err(|e| unreachable_at(&from, &e))?;
        // serde's message would quote what was read, tokens included: only where, not what.
        serde_json::from_slice(&text).map_err(|e| Error::Answer {
            from,
            what: format!("not the JSON it should be (line {}, column {})", e.line(), e.column()),
        })
    }

    /// The body as it arrives, before the deadline of the exchange.
    fn reader(self) -> Box<dyn Read + Send> {
        let body = self.inner.into_body().into_with_config().limit(u64::MAX).reader();
        match self.exchange {
            Some(exchange) => Box::new(RecordedBody { body, exchange }),
            None => Box::new(body),
        }
    }

    /// The body as it arrives, with more time the more has come.
    pub(crate) fn download(self) -> Box<dyn Read + Send> {
        let (current, limits, since) = (self.current.clone(), self.limits, Instant::now());
        current.lock().deadline = since + limits.with_body(0);
        Box::new(Download { body: self.reader(), current, limits, since, bytes: 0 })
    }

    /// Reads a short rest of the body, so that the connection can be used again.
    pub(crate) fn finish(self) {
        {
            let mut current = self.current.lock();
            current.deadline = current.deadline.min(Instant::now() + self.limits.rest);
        }
        // Whether it succeeds decides only whether the connection is kept.
        let _ = io::copy(&mut self.reader().take(SMALL_ANSWER_BYTES), &mut io::sink());
    }
}

/// A body whose deadline moves with the bytes that come.
struct Download {
    body: Box<dyn Read + Send>,
    current: Current,
    limits: Limits,
    since: Instant,
    bytes: u64,
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        self.bytes += read as u64;
        self.current.lock().deadline = self.since + self.limits.with_body(self.bytes);
        Ok(read)
    }
}

pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    Some(SystemTime::from(date).duration_since(now).unwrap_or_default())
}

/// An HTTP client whose calls come one after the other, under one cancel.
pub(crate) struct Http {
    agent: ureq::Agent,
    cancel: CancelToken,
    user_agent: String,
    tap: RecorderSlot,
    current: Current,
    limits: Limits,
}

impl Http {
    pub(crate) fn new(network: Network, user_agent: &str, cancel: CancelToken, tap: RecorderSlot) -> Self {
        Self::with_limits(network, user_agent, cancel, tap, Limits::default())
    }

    fn with_limits(network: Network, user_agent: &str, cancel: CancelToken, tap: RecorderSlot, limits: Limits) -> Self {
        let config = ureq::Agent::config_builder()
            .user_agent(user_agent)
            // Redirects are followed in session.rs, which knows where a token may go.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            .max_response_header_size(32 << 10)
            .input_buffer_size(32 << 10)
            .output_buffer_size(32 << 10)
            .max_idle_connections(2)
            .max_idle_connections_per_host(1)
            .build();
        let current = Current::new();
        let dialer = Dialer { network, cancel: cancel.clone(), current: current.clone(), limits };
        let agent = ureq::Agent::with_parts(config, dialer, NoResolver);
        Self { agent, cancel, user_agent: user_agent.to_owned(), tap, current, limits }
    }

    pub(crate) fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Where requests are recorded, if they are.
    pub(crate) fn tap(&self) -> &RecorderSlot {
        &self.tap
    }

    /// When an exchange that begins now and sends this body has to be over.
    pub(crate) fn deadline(&self, body: &Bytes) -> Instant {
        Instant::now() + self.limits.with_body(body.len() as u64)
    }

    /// Sends `request` and takes the head of the answer, whatever its status.
    pub(crate) fn send(&self, request: Request<'_>) -> Result<Response> {
        self.send_before(self.deadline(request.body), request)
    }

    /// As [`send`](Self::send), for one of several exchanges that have a deadline together.
    pub(crate) fn send_before(&self, deadline: Instant, request: Request<'_>) -> Result<Response> {
        if self.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        self.current.begin(deadline);
        let mut exchange = PendingExchange::begin(&self.tap, &request.info(&self.user_agent));
        let result = self.exchange(request);
        match (&mut exchange, &result) {
            (Some(exchange), Ok(answer)) => exchange.set_response(answer.status().as_u16(), answer.headers()),
            (Some(exchange), Err(error)) => exchange.set_error(error),
            (None, _) => {}
        }
        let Request { method, url, .. } = request;
        let inner = result?;
        Ok(Response {
            status: inner.status().as_u16(),
            from: url.clone(),
            method,
            inner,
            exchange,
            current: self.current.clone(),
            limits: self.limits,
        })
    }

    fn exchange(&self, request: Request<'_>) -> Result<http::Response<ureq::Body>> {
        let Request { method, url, .. } = request;
        let shown = self.tap.secrets().redact(&url.to_string());
        log::debug!("{} {shown}", method.as_str());
        let mut sent = self.run(request)?;
        if let Err(ureq::Error::Io(e)) = &sent
            && method.is_idempotent()
            && self.is_lost_with_a_kept_connection(e)
        {
            log::debug!("{} {shown}: once more, for the kept connection was closed ({e})", method.as_str());
            sent = self.run(request)?;
        }
        sent.map_err(|e| match e {
            ureq::Error::Io(e) => connection_error(url, &e, &self.cancel),
            _ if self.cancel.is_cancelled() => Error::Interrupted,
            other => unreachable_at(url, &other),
        })
    }

    /// Whether a request failed because the service had closed the connection since the one before.
    fn is_lost_with_a_kept_connection(&self, e: &io::Error) -> bool {
        let Exchange { has_dialled, is_answered, .. } = *self.current.lock();
        !has_dialled && !is_answered && e.kind() != io::ErrorKind::TimedOut && !self.cancel.is_cancelled()
    }

    fn run(&self, request: Request<'_>) -> Result<std::result::Result<http::Response<ureq::Body>, ureq::Error>> {
        let Request { method, url, bearer, content_type, body, .. } = request;
        let mut builder = http::Request::builder().method(method.as_str()).uri(url.whole());
        if let Some(bearer) = bearer {
            builder = builder.header(AUTHORIZATION, format!("Bearer {}", bearer.reveal()));
        }
        if let Some(content_type) = content_type {
            builder = builder.header(CONTENT_TYPE, content_type);
        }
        let sent = match method {
            Method::Get => builder.body(()).map(|request| self.agent.run(request)),
            Method::Post | Method::Put => builder.body(&body[..]).map(|request| self.agent.run(request)),
        };
        sent.map_err(|_| Error::Url { url: url.to_string(), reason: "it does not make a request" })
    }
}

/// ureq's and io's messages name hosts and reasons; neither ever has a query or a header in it.
fn unreachable_at(url: &impl fmt::Display, reason: &impl fmt::Display) -> Error {
    Error::Unreachable { host: url.to_string(), reason: reason.to_string() }
}

struct Dialer {
    network: Network,
    cancel: CancelToken,
    current: Current,
    limits: Limits,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl Connector for Dialer {
    type Out = Line;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> std::result::Result<Option<Line>, ureq::Error> {
        let url = Url::parse(&details.uri.to_string()).map_err(|e| ureq::Error::Other(Box::new(e)))?;
        let deadline = {
            let mut current = self.current.lock();
            current.has_dialled = true;
            current.deadline.min(Instant::now() + self.limits.connect)
        };
        let stream = dial(url.origin(), &self.network, deadline, &self.cancel)
            .map_err(|e| self.current.explained(e, "no connection within", self.limits.connect))?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Line { stream, buffers, current: self.current.clone(), limits: self.limits }))
    }
}

/// A connection as ureq wants it. ureq's own time-outs are not set: the deadlines are those of the current exchange.
struct Line {
    stream: Stream,
    buffers: LazyBuffers,
    current: Current,
    limits: Limits,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Line {
    fn set_deadline(&mut self) {
        let deadline = self.current.lock().deadline.min(Instant::now() + self.limits.silence);
        self.stream.set_deadline(Some(deadline));
    }

    fn explained(&self, e: io::Error) -> io::Error {
        self.current.explained(e, "nothing has moved for", self.limits.silence)
    }
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> std::result::Result<(), ureq::Error> {
        self.set_deadline();
        let written = self.stream.write_all(&self.buffers.output()[..amount]);
        written.map_err(|e| self.explained(e).into())
    }

    fn await_input(&mut self, _: NextTimeout) -> std::result::Result<bool, ureq::Error> {
        self.set_deadline();
        let amount = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|e| self.explained(e))?,
            }
        };
        if amount > 0 {
            self.current.lock().is_answered = true;
        }
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.is_idle()
    }

    fn is_tls(&self) -> bool {
        self.stream.is_encrypted()
    }
}

/// Names are resolved where the connection is made, in `net/`.
#[derive(Debug)]
struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        _: &http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

#[cfg(test)]
mod tests;
