//! One HTTP exchange at a time, over this crate's own connections.
//!
//! ureq speaks HTTP; the transport below it is `net/`, so that TLS is set up once for everything and an interrupt ends
//! whatever is under way. Knows nothing of sign-in, of who gets a token, or of redirects: that is `session.rs`.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant, SystemTime};

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use tungstenite::Bytes;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, time as ureq_time,
};

use crate::net::{Interrupt, Stream, Tls, connection_error, dial};
use crate::record::{Pending, Recorded, Tap};
use crate::url::Url;
use crate::{Error, Result, Secret};

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// For the head of an answer, and for each piece of a body: a long transfer may take its time, a silent one may not.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
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

/// What came back.
pub(crate) struct Response {
    pub(crate) status: u16,
    from: Url,
    method: Method,
    inner: http::Response<ureq::Body>,
    exchange: Option<Pending>,
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

    /// What the sender says of the body's length: for progress alone, never for a limit.
    pub(crate) fn claimed_length(&self) -> Option<u64> {
        self.header(&CONTENT_LENGTH)?.parse().ok()
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

    /// The body as it arrives. A body shorter than announced ends in an error.
    pub(crate) fn reader(self) -> Box<dyn Read + Send> {
        let body = self.inner.into_body().into_with_config().limit(u64::MAX).reader();
        match self.exchange {
            Some(exchange) => Box::new(Recorded { body, exchange }),
            None => Box::new(body),
        }
    }

    /// Reads a short rest of the body, so that the connection can be used again.
    pub(crate) fn finish(self) {
        // Whether it succeeds decides only whether the connection is kept.
        let _ = io::copy(&mut self.reader().take(SMALL_ANSWER_BYTES), &mut io::sink());
    }
}

pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    Some(SystemTime::from(date).duration_since(now).unwrap_or_default())
}

/// An HTTP client whose calls come one after the other, under one interrupt.
pub(crate) struct Http {
    agent: ureq::Agent,
    interrupt: Interrupt,
    user_agent: String,
    tap: Tap,
}

impl Http {
    pub(crate) fn new(tls: Tls, user_agent: &str, interrupt: Interrupt, tap: Tap) -> Self {
        let config = ureq::Agent::config_builder()
            .user_agent(user_agent)
            // Redirects are followed in session.rs, which knows where a token may go.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(CONNECT_WITHIN))
            .timeout_recv_response(Some(SILENCE_LIMIT))
            .timeout_per_read(Some(SILENCE_LIMIT))
            .timeout_per_write(Some(SILENCE_LIMIT))
            .max_response_header_size(32 << 10)
            .input_buffer_size(32 << 10)
            .output_buffer_size(32 << 10)
            .max_idle_connections(2)
            .max_idle_connections_per_host(1)
            .build();
        let dialer = Dialer { tls, interrupt: interrupt.clone() };
        let agent = ureq::Agent::with_parts(config, dialer, NoResolver);
        Self { agent, interrupt, user_agent: user_agent.to_owned(), tap }
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Where requests are recorded, if they are.
    pub(crate) fn tap(&self) -> &Tap {
        &self.tap
    }

    /// Sends `request` and takes the head of the answer, whatever its status.
    pub(crate) fn send(&self, request: Request<'_>) -> Result<Response> {
        if self.interrupt.is_raised() {
            return Err(Error::Interrupted);
        }
        let mut exchange = Pending::begin(&self.tap, &request, &self.user_agent);
        let result = self.exchange(request);
        match (&mut exchange, &result) {
            (Some(exchange), Ok(answer)) => exchange.answered(answer.status().as_u16(), answer.headers()),
            (Some(exchange), Err(error)) => exchange.failed(error),
            (None, _) => {}
        }
        let Request { method, url, .. } = request;
        let inner = result?;
        Ok(Response { status: inner.status().as_u16(), from: url.clone(), method, inner, exchange })
    }

    fn exchange(&self, request: Request<'_>) -> Result<http::Response<ureq::Body>> {
        let Request { method, url, bearer, content_type, body, .. } = request;
        log::debug!("{} {}", method.as_str(), self.tap.secrets().hide(&url.to_string()));
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
        sent.map_err(|_| Error::Url { url: url.to_string(), reason: "it does not make a request" })?.map_err(
            |e| match e {
                ureq::Error::Io(e) => connection_error(url, &e, &self.interrupt),
                _ if self.interrupt.is_raised() => Error::Interrupted,
                other => unreachable_at(url, &other),
            },
        )
    }
}

/// ureq's and io's messages name hosts and reasons; neither ever has a query or a header in it.
fn unreachable_at(url: &impl fmt::Display, reason: &impl fmt::Display) -> Error {
    Error::Unreachable { host: url.to_string(), reason: reason.to_string() }
}

struct Dialer {
    tls: Tls,
    interrupt: Interrupt,
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
        let stream = dial(url.origin(), &self.tls, Instant::now() + CONNECT_WITHIN, &self.interrupt)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Line { stream, buffers }))
    }
}

/// A connection as ureq wants it.
struct Line {
    stream: Stream,
    buffers: LazyBuffers,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Line {
    fn set_timeout(&mut self, timeout: NextTimeout) {
        self.stream.set_deadline(match timeout.after {
            ureq_time::Duration::Exact(after) => Some(Instant::now() + after),
            ureq_time::Duration::NotHappening => None,
        });
    }
}

fn as_ureq(e: io::Error, timeout: NextTimeout) -> ureq::Error {
    if e.kind() == io::ErrorKind::TimedOut { ureq::Error::Timeout(timeout.reason) } else { e.into() }
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> std::result::Result<(), ureq::Error> {
        let timeout = timeout.for_write();
        self.set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount]).map_err(|e| as_ureq(e, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> std::result::Result<bool, ureq::Error> {
        let timeout = timeout.for_read();
        self.set_timeout(timeout);
        let amount = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|e| as_ureq(e, timeout))?,
            }
        };
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
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn reads_both_forms_of_retry_after() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(parse_retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:48:37 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("soon", now), None);
        assert_eq!(parse_retry_after("-1", now), None);
    }
}
