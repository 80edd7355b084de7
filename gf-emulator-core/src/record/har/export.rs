//! Writes a recording as a HAR file.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::body::{BodyFile, BodyText};
use crate::Error;
use crate::record::entry::{Event, Exchange, Message, Part};
use crate::record::recording::{MAX_SKIPPED, Recording, SkippedLine, file_beside};
use crate::secrets::MASK;

/// The URL of a WebSocket whose opening is not in the recording.
const UNKNOWN_WEB_SOCKET: &str = "ws://recorded.invalid";
/// Recordings do not say.
const HTTP_VERSION: &str = "HTTP/1.1";
/// About three years. Later times are those of a broken recording.
const MAX_TIME_S: f64 = 1e8;

/// Where a HAR file has the bodies that a recording has in files of their own. JSON bodies are always in the HAR file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Bodies {
    /// In the HAR file: text as it is. Binary bodies of responses are base64. Those of requests, for which HAR 1.2 has
    /// no encoding, have a character for each byte (Latin-1), as mitmproxy writes and reads them.
    #[default]
    Embedded,
    /// Only their names are in the HAR file, as `_file`.
    Referenced,
}

/// What an export has written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExportSummary {
    /// The number of requests, without the handshakes of WebSockets.
    pub requests: u64,
    /// The number of WebSockets.
    pub web_sockets: u64,
    /// The number of WebSocket messages.
    pub messages: u64,
    /// The files of bodies that the recording names but that cannot be read: the first 1000, with the reasons.
    pub missing: Vec<String>,
    /// The lines of the recording that could not be read.
    pub skipped: Vec<SkippedLine>,
}

/// Why an export has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HarError {
    /// The recording cannot be read.
    #[error(transparent)]
    Read(#[from] Error),
    /// The output cannot be written.
    #[error("cannot write the HAR file: {0}")]
    Write(#[from] io::Error),
}

/// Writes the remaining entries of a recording as a HAR 1.2 file, one entry per line.
///
/// Each request is an entry, and each WebSocket, whose `_webSocketMessages` are the recorded messages in the form of
/// Chrome's developer tools and mitmproxy. Entries are in the order in which they ended. States, which are not visible
/// on the wire, are left out. The file has no secrets that the recording does not have: the query of a URL is `***`.
///
/// Holds one entry of the recording in memory; the messages of an open WebSocket wait in a temp file.
///
/// ```
/// use gf_emulator_core::Config;
/// use gf_emulator_core::record::{Bodies, Recorder, Recording, export_har};
///
/// let folder = tempfile::tempdir().unwrap();
/// drop(Recorder::of_machine(folder.path(), &Config::default())?);
/// let mut har = Vec::new();
/// let written = export_har(Recording::open(folder.path())?, Bodies::Embedded, &mut har).unwrap();
/// assert_eq!(written.messages, 0);
/// # Ok::<(), gf_emulator_core::Error>(())
/// ```
///
/// # Errors
///
/// [`HarError::Read`] if the recording cannot be read, [`HarError::Write`] if `out` or a temp file cannot be written to.
pub fn export_har(
    recording: Recording,
    bodies: Bodies,
    out: &mut dyn Write,
) -> std::result::Result<ExportSummary, HarError> {
    let mut recording = recording.of_machine(None)?;
    let about = recording.about();
    let parts = [Some(about.recorder.clone()), about.firmware.clone().map(|firmware| format!("firmware {firmware}"))];
    let comment = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let creator = json!({"name": "gf-machine-emulator", "version": env!("CARGO_PKG_VERSION")});
    write!(out, "{{\"log\":{{\"version\":\"1.2\",\"creator\":{creator},\"comment\":{},", Value::from(comment))?;
    write!(out, "\"entries\":[")?;
    let folder = recording.folder().to_owned();
    let summary = ExportSummary::default();
    let mut export =
        Export { out, folder: &folder, bodies, begun: None, clock_us: 0, web_socket: None, replaced: 0, summary };
    for entry in recording.by_ref() {
        let entry = entry?;
        export.set_clock(entry.t, &entry.at);
        export.add(entry.event)?;
    }
    export.end_web_socket()?;
    let Export { mut summary, .. } = export;
    writeln!(out, "\n]}}}}")?;
    summary.skipped = recording.skipped().to_vec();
    Ok(summary)
}

/// A WebSocket that is open.
struct WebSocket {
    url: String,
    opened_us: i64,
    /// Its messages as JSON.
    messages: BufWriter<File>,
    count: u64,
}

struct Export<'a> {
    out: &'a mut dyn Write,
    folder: &'a Path,
    bodies: Bodies,
    /// The wall-clock time when the recording began.
    begun: Option<Timestamp>,
    /// The time of the current entry in microseconds since the recording began.
    clock_us: i64,
    web_socket: Option<WebSocket>,
    /// WebSockets that another one has replaced; that they are closed is recorded later.
    replaced: usize,
    summary: ExportSummary,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HarEntry<'a> {
    started_date_time: String,
    /// Milliseconds.
    time: f64,
    request: HarRequest<'a>,
    response: HarResponse<'a>,
    cache: Map<String, Value>,
    timings: Value,
    #[serde(rename = "_resourceType", skip_serializing_if = "Option::is_none")]
    resource_type: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HarRequest<'a> {
    method: &'a str,
    url: String,
    http_version: &'static str,
    cookies: [Value; 0],
    headers: Vec<Value>,
    query_string: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    post_data: Option<HarBody<'a>>,
    headers_size: i64,
    body_size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HarResponse<'a> {
    status: u16,
    status_text: &'static str,
    http_version: &'static str,
    cookies: [Value; 0],
    headers: Vec<Value>,
    content: HarBody<'a>,
    #[serde(rename = "redirectURL")]
    redirect_url: &'static str,
    headers_size: i64,
    body_size: i64,
    #[serde(rename = "_error", skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// A body: `postData` or `content`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HarBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    mime_type: &'a str,
    /// mitmproxy expects it in every `postData`.
    #[serde(skip_serializing_if = "BodyText::is_absent")]
    text: BodyText,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    #[serde(rename = "_file", skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
}

#[derive(Serialize)]
struct HarMessage<'a> {
    #[serde(rename = "type")]
    direction: &'static str,
    time: f64,
    opcode: u8,
    data: &'a str,
}

impl Export<'_> {
    /// Sets the time of the entries that follow.
    fn set_clock(&mut self, t: f64, at: &str) {
        if (0.0..MAX_TIME_S).contains(&t) {
            #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
            let us = (t * 1e6).round() as i64;
            self.clock_us = us;
        }
        if self.begun.is_none()
            && let Ok(at) = at.parse::<Timestamp>()
        {
            self.begun = at.checked_sub(SignedDuration::from_micros(self.clock_us)).ok();
        }
    }

    /// Returns the wall-clock time of a time since the recording began, in microseconds since 1970.
    fn wall_clock_us(&self, us: i64) -> i64 {
        self.begun.unwrap_or_default().as_microsecond().saturating_add(us)
    }

    fn add(&mut self, event: Event) -> std::result::Result<(), HarError> {
        match event {
            Event::Http(exchange) => self.write_exchange(&exchange),
            Event::Opened { url } => {
                let is_known = |open: &WebSocket| open.url != UNKNOWN_WEB_SOCKET;
                self.replaced += usize::from(self.web_socket.as_ref().is_some_and(is_known));
                self.end_web_socket()?;
                self.open_web_socket(url)
            }
            Event::Closed { .. } if self.replaced > 0 => {
                self.replaced -= 1;
                Ok(())
            }
            Event::In(message) => self.add_message("receive", &message),
            Event::Out(message) => self.add_message("send", &message),
            Event::Closed { .. } => self.end_web_socket(),
            Event::Session(_) | Event::State { .. } => Ok(()),
        }
    }

    fn open_web_socket(&mut self, url: String) -> std::result::Result<(), HarError> {
        let messages = BufWriter::new(tempfile::tempfile()?);
        self.web_socket = Some(WebSocket { url, opened_us: self.clock_us, messages, count: 0 });
        Ok(())
    }

    fn add_message(&mut self, direction: &'static str, message: &Message) -> std::result::Result<(), HarError> {
        if self.web_socket.is_none() {
            self.open_web_socket(UNKNOWN_WEB_SOCKET.to_owned())?;
        }
        let time = self.wall_clock_us(self.clock_us) as f64 / 1e6;
        let json = message.json.as_ref().map(Value::to_string);
        let data = json.as_deref().or(message.text.as_deref()).unwrap_or_default();
        if let Some(open) = &mut self.web_socket {
            if open.count > 0 {
                open.messages.write_all(b",")?;
            }
            serde_json::to_writer(&mut open.messages, &HarMessage { direction, time, opcode: 1, data })
                .map_err(io::Error::from)?;
            open.count += 1;
            self.summary.messages += 1;
        }
        Ok(())
    }

    /// Writes the entry of the open WebSocket, if any.
    fn end_web_socket(&mut self) -> std::result::Result<(), HarError> {
        let Some(open) = self.web_socket.take() else { return Ok(()) };
        let headers = [("connection", "upgrade"), ("upgrade", "websocket")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect();
        let part = Part { headers, ..Part::default() };
        let exchange = Exchange {
            method: "GET".into(),
            url: open.url,
            status: Some(101),
            duration_s: Some((self.clock_us - open.opened_us).max(0) as f64 / 1e6),
            request: part.clone(),
            response: part,
            ..Exchange::default()
        };
        let mut entry = self.entry(&exchange, open.opened_us);
        entry.resource_type = Some("websocket");
        let text = serde_json::to_string(&entry).map_err(io::Error::from)?;
        self.begin_entry()?;
        self.out.write_all(text.strip_suffix('}').unwrap_or(&text).as_bytes())?;
        self.out.write_all(b",\"_webSocketMessages\":[")?;
        let mut messages = open.messages.into_inner().map_err(io::IntoInnerError::into_error)?;
        messages.rewind()?;
        io::copy(&mut messages, self.out)?;
        self.out.write_all(b"]}")?;
        self.summary.web_sockets += 1;
        Ok(())
    }

    /// Writes a request and its response.
    fn write_exchange(&mut self, exchange: &Exchange) -> std::result::Result<(), HarError> {
        #[expect(clippy::cast_possible_truncation, reason = "MAX_TIME_S bounds it")]
        let took_us = (duration_ms(exchange) * 1e3).round() as i64;
        let mut entry = self.entry(exchange, self.clock_us - took_us);
        entry.request.post_data = self.body(&exchange.request, BodyText::Latin1);
        if let Some(body) = self.body(&exchange.response, BodyText::Base64) {
            entry.response.content = body;
        }
        entry.response.content.size = Some(exchange.response.bytes);
        self.begin_entry()?;
        serde_json::to_writer(&mut *self.out, &entry).map_err(io::Error::from)?;
        self.summary.requests += 1;
        let parts = [
            (&exchange.request, entry.request.post_data.as_ref()),
            (&exchange.response, Some(&entry.response.content)),
        ];
        for (part, body) in parts {
            if let Some(source) = body.and_then(|body| body.text.take_failure()) {
                let path = self.folder.join(part.file.as_deref().unwrap_or_default());
                return Err(Error::File { doing: "read", path, source }.into());
            }
        }
        Ok(())
    }

    fn begin_entry(&mut self) -> io::Result<()> {
        let is_first = self.summary.requests + self.summary.web_sockets == 0;
        self.out.write_all(if is_first { b"\n" } else { b",\n" })
    }

    /// Returns an entry without bodies.
    fn entry<'a>(&self, exchange: &'a Exchange, began_us: i64) -> HarEntry<'a> {
        let Exchange { method, url, has_query, status, error, request, response, .. } = exchange;
        let started = Timestamp::from_microsecond(self.wall_clock_us(began_us)).unwrap_or_default();
        let time = duration_ms(exchange);
        HarEntry {
            started_date_time: format!("{started:.6}"),
            time,
            request: HarRequest {
                method,
                url: if *has_query { format!("{url}?{MASK}") } else { url.clone() },
                http_version: HTTP_VERSION,
                cookies: [],
                headers: headers(request),
                query_string: has_query.then(|| json!({"name": MASK, "value": ""})).into_iter().collect(),
                post_data: None,
                headers_size: -1,
                body_size: request.bytes,
            },
            response: HarResponse {
                status: status.unwrap_or(0),
                status_text: status.and_then(reason_of).unwrap_or_default(),
                http_version: HTTP_VERSION,
                cookies: [],
                headers: headers(response),
                content: HarBody {
                    size: Some(response.bytes),
                    mime_type: content_type(response).unwrap_or("x-unknown"),
                    text: BodyText::Absent,
                    encoding: None,
                    file: None,
                },
                redirect_url: "",
                headers_size: -1,
                body_size: status.map_or(-1, |_| i64::try_from(response.bytes).unwrap_or(i64::MAX)),
                error: error.as_deref(),
            },
            cache: Map::new(),
            timings: json!({"send": 0, "wait": time, "receive": 0}),
            resource_type: None,
        }
    }

    /// Returns a recorded body. `binary` is how it is written if it is neither JSON nor text.
    fn body<'a>(&mut self, part: &'a Part, binary: fn(BodyFile) -> BodyText) -> Option<HarBody<'a>> {
        let mut body = HarBody {
            size: None,
            mime_type: content_type(part).unwrap_or("x-unknown"),
            text: BodyText::Text(String::new()),
            encoding: None,
            file: None,
        };
        if let Some(json) = &part.json {
            body.mime_type = content_type(part).unwrap_or("application/json");
            body.text = BodyText::Text(json.to_string());
            return Some(body);
        }
        let name = part.file.as_deref()?;
        if self.bodies == Bodies::Referenced {
            body.file = Some(name);
            return Some(body);
        }
        match file_beside(self.folder, name).map(|path| BodyText::open(&path, binary)) {
            Some(Ok(text)) => body.text = text,
            Some(Err(e)) => self.note_missing(format!("{name}: {e}")),
            None => self.note_missing("a body: its file does not have a plain name".to_owned()),
        }
        body.encoding = matches!(body.text, BodyText::Base64(_)).then_some("base64");
        Some(body)
    }

    fn note_missing(&mut self, reason: String) {
        if self.summary.missing.len() < MAX_SKIPPED {
            self.summary.missing.push(reason);
        }
    }
}

/// Returns how long an exchange took, in milliseconds; 0 if that is not known.
fn duration_ms(exchange: &Exchange) -> f64 {
    let seconds = exchange.duration_s.filter(|seconds| (0.0..MAX_TIME_S).contains(seconds)).unwrap_or_default();
    (seconds * 1e6).round() / 1e3
}

fn headers(part: &Part) -> Vec<Value> {
    let texts = part.headers.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
    texts.map(|(name, value)| json!({"name": name, "value": value})).collect()
}

fn content_type(part: &Part) -> Option<&str> {
    part.headers.get("content-type")?.as_str()
}

/// Returns the usual reason phrase of a status.
fn reason_of(status: u16) -> Option<&'static str> {
    http::StatusCode::from_u16(status).ok()?.canonical_reason()
}
