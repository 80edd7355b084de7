//! A request on its way into a recording: noted once it is over, however it ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Instant;

use http::HeaderMap;
use serde_json::{Map, Value};

use super::attachments::Digester;
use super::entry::Exchange;
use super::recorder::{Body, Raw, Recorder, Tap};
use crate::net::http::{Method, Request};

/// Headers whose values say nothing secret.
const SHOWN: [&str; 8] = [
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "etag",
    "retry-after",
    "server",
    "transfer-encoding",
];
/// A body up to this length stays in memory; a longer one goes to a file as it comes, and its digest is made as it comes.
/// Both take the time of whoever reads the body. Most jobs are shorter.
const MEMORY_BYTES: usize = 1 << 20;
/// No more of a body is kept than of a job: what is longer is firmware.
const MOST_BYTES: u64 = 256 << 20;

/// An exchange under way. It is noted when it is dropped.
pub(crate) struct Pending {
    recorder: Recorder,
    since: Instant,
    exchange: Box<Exchange>,
    request: Body,
    response: Collected,
    confidential: bool,
}

/// What has come of an answer's body.
enum Collected {
    Memory(Vec<u8>),
    File(File, Digester),
    /// It is not kept.
    Nothing,
}

impl Pending {
    /// Begins, where anybody records.
    pub(crate) fn begin(tap: &Tap, request: &Request<'_>, user_agent: &str) -> Option<Self> {
        if let Some(query) = request.url.query() {
            tap.secrets().learn_query(query);
        }
        let recorder = tap.recorder()?;
        let &Request { method, url, bearer, content_type, body, confidential } = request;
        let mut exchange = Box::new(Exchange {
            method: method.as_str().to_owned(),
            url: url.to_string(),
            has_query: url.has_query(),
            ..Exchange::default()
        });
        let headers = &mut exchange.request.headers;
        headers.insert("user-agent".into(), user_agent.into());
        if let Some(content_type) = content_type {
            headers.insert("content-type".into(), content_type.into());
        }
        if bearer.is_some() {
            headers.insert("authorization".into(), "***".into());
        }
        exchange.request.bytes = body.len() as u64;
        let request = match method {
            Method::Get => Body::None,
            _ if confidential => Body::Confidential(body.clone()),
            _ => Body::Bytes(body.clone()),
        };
        let response = Collected::Memory(Vec::new());
        Some(Self { recorder, since: Instant::now(), exchange, request, response, confidential })
    }

    pub(crate) fn answered(&mut self, status: u16, headers: &HeaderMap) {
        self.exchange.status = Some(status);
        self.exchange.response.headers = shown(headers);
    }

    pub(crate) fn failed(&mut self, why: impl std::fmt::Display) {
        self.exchange.error = Some(why.to_string());
    }

    fn took(&mut self, bytes: &[u8]) {
        let total = self.exchange.response.bytes + bytes.len() as u64;
        self.exchange.response.bytes = total;
        let result = match &mut self.response {
            Collected::Nothing => Ok(()),
            Collected::Memory(kept) => {
                kept.extend_from_slice(bytes);
                Ok(())
            }
            Collected::File(file, digester) => {
                digester.update(bytes);
                file.write_all(bytes)
            }
        };
        let result = result.and_then(|()| self.spill());
        let result = result.map_err(|e| ("failed", e.to_string())).and_then(|()| {
            let is_kept = !matches!(self.response, Collected::Nothing);
            if is_kept && total > MOST_BYTES {
                Err(("dropped", format!("it has more than {MOST_BYTES} bytes")))
            } else {
                Ok(())
            }
        });
        if let Err((state, why)) = result {
            self.response = Collected::Nothing;
            self.recorder.state(state, Some(format!("an answer's body is not kept: {why}")));
        }
    }

    /// Puts what is too long for memory into a file.
    fn spill(&mut self) -> io::Result<()> {
        if let Collected::Memory(kept) = &self.response
            && kept.len() > MEMORY_BYTES
        {
            let mut file = self.recorder.spill()?;
            file.write_all(kept)?;
            let mut digester = Digester::default();
            digester.update(kept);
            self.response = Collected::File(file, digester);
        }
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.exchange.duration_s = Some((self.since.elapsed().as_secs_f64() * 1e6).round() / 1e6);
        let response = match std::mem::replace(&mut self.response, Collected::Nothing) {
            Collected::Nothing => Body::None,
            Collected::File(file, digester) => Body::Spilled(file, digester.finish()),
            Collected::Memory(bytes) if self.confidential => Body::Confidential(bytes.into()),
            Collected::Memory(bytes) => Body::Bytes(bytes.into()),
        };
        let (exchange, request) = (std::mem::take(&mut self.exchange), std::mem::take(&mut self.request));
        self.recorder.note(Raw::Http(exchange, request, response));
    }
}

fn shown(headers: &HeaderMap) -> Map<String, Value> {
    let known = headers.iter().filter(|(name, _)| SHOWN.contains(&name.as_str()));
    known.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into())).collect()
}

/// An answer's body that is noted as it is read.
pub(crate) struct Recorded<R> {
    pub(crate) body: R,
    pub(crate) exchange: Pending,
}

impl<R: Read> Read for Recorded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer);
        match &read {
            Ok(n) => self.exchange.took(&buffer[..*n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => self.exchange.failed(e),
        }
        read
    }
}
