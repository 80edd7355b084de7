//! HTTP requests and responses.

use std::fmt;
use std::io::{self, Read};
use std::time::{Duration, Instant, SystemTime};

use http::header::{CONTENT_LENGTH, HeaderName, LOCATION, RETRY_AFTER, TRANSFER_ENCODING};
use tungstenite::Bytes;

use super::limits::{CurrentExchange, Limits};
use crate::error::advised;
use crate::net::url::Url;
use crate::record::{PendingExchange, RecordedBody, RequestInfo};
use crate::system;
use crate::{Error, Result, Secret};

/// How much is read of a body that is JSON or is discarded.
const MAX_SMALL_BODY_BYTES: u64 = 1 << 20;

/// The methods the protocol uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Put,
}

impl Method {
    pub(super) fn is_idempotent(self) -> bool {
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

/// Is told how many bytes of a body have been sent so far.
pub(crate) type OnSent<'a> = &'a (dyn Fn(u64) + Sync);

/// An HTTP request.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a Url,
    pub(crate) bearer: Option<&'a Secret>,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: &'a Bytes,
    pub(crate) on_sent: Option<OnSent<'a>>,
    /// Keeps the bodies of request and response out of recordings, because they contain credentials.
    pub(crate) confidential: bool,
}

impl<'a> Request<'a> {
    /// Returns what is recorded of this request.
    pub(super) fn info(&self, user_agent: &'a str) -> RequestInfo<'a> {
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

/// Reads the body of a request, and tells how much of it has been read.
pub(super) struct ReportedBody<'a> {
    unsent: &'a [u8],
    sent: u64,
    on_sent: Option<OnSent<'a>>,
}

impl<'a> ReportedBody<'a> {
    pub(super) fn new(request: &Request<'a>) -> Self {
        Self { unsent: request.body, sent: 0, on_sent: request.on_sent }
    }
}

impl Read for ReportedBody<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // All bytes before these have been passed to the connection.
        if let Some(on_sent) = self.on_sent {
            on_sent(self.sent);
        }
        let read = self.unsent.read(buffer)?;
        self.sent += read as u64;
        Ok(read)
    }
}

/// An HTTP response whose body has not been read yet.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(super) url: Url,
    pub(super) method: Method,
    pub(super) inner: http::Response<ureq::Body>,
    pub(super) recording: Option<PendingExchange>,
    pub(super) current: CurrentExchange,
    pub(super) limits: Limits,
}

impl Response {
    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    pub(crate) fn location(&self) -> Option<&str> {
        self.header(&LOCATION)
    }

    /// Returns the body's length, if the sender states one. A body that ends early is an error. Do not allocate by it.
    pub(crate) fn content_length(&self) -> Option<u64> {
        // Transfer-Encoding overrides Content-Length (RFC 9112, section 6.3).
        let has_coding = self.inner.headers().contains_key(TRANSFER_ENCODING);
        if has_coding { None } else { self.header(&CONTENT_LENGTH)?.parse().ok() }
    }

    /// Returns whether the body is chunked. A body that ends before its last chunk is an error.
    pub(crate) fn is_chunked(&self) -> bool {
        // The same rule as in ureq-proto, which decodes the body.
        let codings = self.inner.headers().get_all(TRANSFER_ENCODING).iter().filter_map(|value| value.to_str().ok());
        self.inner.version() != http::Version::HTTP_10
            && codings.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
    }

    /// Converts a response with an unexpected status into an error.
    pub(crate) fn into_error(self) -> Error {
        let retry_after = self.header(&RETRY_AFTER).and_then(|value| parse_retry_after(value, system::wall_clock()));
        Error::Status { method: self.method.as_str(), url: self.url.to_string(), status: self.status, retry_after }
    }

    /// Reads the body and deserializes it from JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(self) -> Result<T> {
        let from = self.url.to_string();
        let mut text = Vec::new();
        self.reader().take(MAX_SMALL_BODY_BYTES).read_to_end(&mut text).map_err(|e| unreachable_error(&from, &e))?;
        // Only the position: serde's message would quote the text, which can contain tokens.
        serde_json::from_slice(&text).map_err(|e| Error::Answer {
            from,
            what: format!("not the expected JSON (line {}, column {})", e.line(), e.column()),
        })
    }

    /// Returns a reader of the body, under the deadline of the exchange.
    fn reader(self) -> Box<dyn Read + Send> {
        let body = self.inner.into_body().into_with_config().limit(u64::MAX).reader();
        match self.recording {
            Some(exchange) => Box::new(RecordedBody::new(body, exchange)),
            None => Box::new(body),
        }
    }

    /// Returns a reader of a body of any length, whose deadline moves with the bytes received.
    pub(crate) fn download(self) -> Box<dyn Read + Send> {
        let (current, limits, start) = (self.current.clone(), self.limits, system::now());
        current.lock().deadline = start + limits.with_body(0);
        Box::new(DownloadBody { body: self.reader(), current, limits, start, bytes: 0 })
    }

    /// Reads and discards the rest of a short body, so that the connection can be reused.
    pub(crate) fn drain(self) {
        {
            let mut current = self.current.lock();
            current.deadline = current.deadline.min(system::now() + self.limits.drain);
        }
        // If this fails, the connection is closed instead.
        let _ = io::copy(&mut self.reader().take(MAX_SMALL_BODY_BYTES), &mut io::sink());
    }
}

struct DownloadBody {
    body: Box<dyn Read + Send>,
    current: CurrentExchange,
    limits: Limits,
    start: Instant,
    bytes: u64,
}

impl Read for DownloadBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        self.bytes += count as u64;
        self.current.lock().deadline = self.start + self.limits.with_body(self.bytes);
        Ok(count)
    }
}

/// Parses a `Retry-After` header: seconds, or a date. A date in the past is zero.
pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    Some(SystemTime::from(date).duration_since(now).unwrap_or_default())
}

/// The messages of ureq and io errors name hosts and causes, never a query or a header.
pub(super) fn unreachable_error(url: &impl fmt::Display, reason: &impl fmt::Display) -> Error {
    Error::Unreachable { host: url.to_string(), reason: advised(reason) }
}
