//! Records an HTTP exchange while it runs: its entry is written when it ends, however it ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Instant;

use http::HeaderMap;
use serde_json::{Map, Value};
use tungstenite::Bytes;

use super::disk_calls::CountedFile;
use super::entry::Exchange;
use super::recorder::Recorder;
use super::telemetry::Telemetry;
use super::unredacted::{Body, DigestHasher, Unredacted};
use crate::system;

/// Response headers that contain no secrets; no others are recorded.
pub(super) const PUBLIC_HEADERS: [&str; 8] = [
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "etag",
    "retry-after",
    "server",
    "transfer-encoding",
];
/// A longer body is written to a temp file as it arrives. Most jobs are shorter.
const MAX_MEMORY_BYTES: usize = 1 << 20;
/// A longer body is not recorded. Jobs are shorter; only firmware can be longer.
pub(super) const MAX_BODY_BYTES: u64 = 256 << 20;

/// What is known of a request when it is sent.
pub(crate) struct RequestInfo<'a> {
    pub(crate) method: &'static str,
    /// Without the query.
    pub(crate) url: String,
    pub(crate) query: Option<&'a str>,
    pub(crate) user_agent: &'a str,
    pub(crate) content_type: Option<&'a str>,
    /// Whether an `Authorization` header is sent; its value is not recorded.
    pub(crate) has_authorization: bool,
    /// `None` if the method has no body.
    pub(crate) body: Option<&'a Bytes>,
    /// Both bodies are secret as a whole: a sign-in.
    pub(crate) confidential: bool,
}

/// An exchange that is running. Its entry is written on drop.
pub(crate) struct PendingExchange {
    recorder: Recorder,
    started: Instant,
    exchange: Box<Exchange>,
    request: Body,
    response: ResponseBody,
    confidential: bool,
}

/// What has been received of the response body.
enum ResponseBody {
    Memory(Vec<u8>),
    File(CountedFile<File>, DigestHasher),
    NotRecorded,
}

impl PendingExchange {
    /// Registers the query as secret, and starts an entry if there is a recorder.
    pub(crate) fn begin(slot: &Telemetry, request: &RequestInfo<'_>) -> Option<Self> {
        if let Some(query) = request.query {
            slot.secrets().add_query(query);
        }
        let recorder = slot.recorder()?;
        let mut exchange = Box::new(Exchange {
            method: request.method.to_owned(),
            url: request.url.clone(),
            has_query: request.query.is_some(),
            ..Exchange::default()
        });
        let headers = &mut exchange.request.headers;
        headers.insert("user-agent".into(), request.user_agent.into());
        if let Some(content_type) = request.content_type {
            headers.insert("content-type".into(), content_type.into());
        }
        if request.has_authorization {
            headers.insert("authorization".into(), "***".into());
        }
        exchange.request.bytes = request.body.map_or(0, |body| body.len() as u64);
        let confidential = request.confidential;
        let request = match request.body {
            None => Body::None,
            Some(body) if confidential => Body::Confidential(body.clone()),
            Some(body) => Body::Bytes(body.clone()),
        };
        let response = ResponseBody::Memory(Vec::new());
        Some(Self { recorder, started: system::now(), exchange, request, response, confidential })
    }

    pub(crate) fn set_response(&mut self, status: u16, headers: &HeaderMap) {
        self.exchange.status = Some(status);
        self.exchange.response.headers = public_headers(headers);
    }

    pub(crate) fn set_error(&mut self, error: impl std::fmt::Display) {
        self.exchange.error = Some(error.to_string());
    }

    fn append(&mut self, bytes: &[u8]) {
        let total = self.exchange.response.bytes + bytes.len() as u64;
        self.exchange.response.bytes = total;
        if matches!(self.response, ResponseBody::NotRecorded) {
            return;
        }
        let error = match self.try_append(bytes) {
            Err(e) => Some(("failed", e.to_string())),
            Ok(()) if total > MAX_BODY_BYTES => Some(("dropped", format!("it has more than {MAX_BODY_BYTES} bytes"))),
            Ok(()) => None,
        };
        if let Some((state, reason)) = error {
            self.response = ResponseBody::NotRecorded;
            self.recorder.state(state, Some(format!("a response body is not recorded: {reason}")));
        }
    }

    fn try_append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.response {
            ResponseBody::NotRecorded => {}
            ResponseBody::File(file, hasher) => {
                hasher.update(bytes);
                file.write_all(bytes)?;
            }
            ResponseBody::Memory(body) => {
                body.extend_from_slice(bytes);
                if body.len() > MAX_MEMORY_BYTES {
                    let mut file = self.recorder.create_spill_file()?;
                    file.write_all(body)?;
                    let mut hasher = DigestHasher::default();
                    hasher.update(body);
                    self.response = ResponseBody::File(file, hasher);
                }
            }
        }
        Ok(())
    }
}

impl Drop for PendingExchange {
    fn drop(&mut self) {
        self.exchange.duration_s = Some(((system::now() - self.started).as_secs_f64() * 1e6).round() / 1e6);
        let response = match std::mem::replace(&mut self.response, ResponseBody::NotRecorded) {
            ResponseBody::NotRecorded => Body::None,
            ResponseBody::File(file, hasher) => Body::Spilled(file, hasher.finish()),
            ResponseBody::Memory(bytes) if self.confidential => Body::Confidential(bytes.into()),
            ResponseBody::Memory(bytes) => Body::Bytes(bytes.into()),
        };
        let (exchange, request) = (std::mem::take(&mut self.exchange), std::mem::take(&mut self.request));
        self.recorder.record(Unredacted::Http(exchange, request, response));
    }
}

fn public_headers(headers: &HeaderMap) -> Map<String, Value> {
    let public = headers.iter().filter(|(name, _)| PUBLIC_HEADERS.contains(&name.as_str()));
    public.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into())).collect()
}

/// A response body that is recorded as it is read. If it is dropped before its end, the entry says so.
pub(crate) struct RecordedBody<R> {
    body: R,
    exchange: PendingExchange,
    at_end: bool,
}

impl<R> RecordedBody<R> {
    pub(crate) fn new(body: R, exchange: PendingExchange) -> Self {
        Self { body, exchange, at_end: false }
    }
}

impl<R: Read> Read for RecordedBody<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer);
        match &read {
            Ok(n) => {
                self.at_end |= *n == 0 && !buffer.is_empty();
                self.exchange.append(&buffer[..*n]);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => self.exchange.set_error(e),
        }
        read
    }
}

impl<R> Drop for RecordedBody<R> {
    fn drop(&mut self) {
        if !self.at_end && self.exchange.exchange.error.is_none() {
            self.exchange.set_error("the rest of the body was not read");
        }
    }
}
