//! Converts HAR files.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::har_bodies::Bodies;
use super::har_exchange::StoredExchange;
use super::har_secrets::{Known, learn_json, too_many};
use super::new_recording::RemoveOnDrop;
use super::spool::{self, Kind, Spool};
use super::{ImportSummary, MAX_SERIALS, MAX_SESSION_S, UNKNOWN_SERVICE, origin, reported_serials};
use crate::record::entry::{About, Event, Side, UNKNOWN_CLOSE};
use crate::record::file_writer::FileWriter;
use crate::record::folder::NewSession;
use crate::record::har::{self, Entry, ReadError, Sink, WebSocketMessage};
use crate::record::line_writer::LineWriter;
use crate::record::queue::{Reservation, Stamp};
use crate::record::recording::{MAX_SKIPPED, SkippedLine};
use crate::record::redactor::Redactor;
use crate::record::unredacted::Unredacted;
use crate::record::watched_file::{OnProgress, WatchedFile};
use crate::{Error, Result, files, puls};

/// Times must be before the year 10000.
const MAX_TIME_S: f64 = 253_402_300_800.0;
const NOTHING: &str = "the HAR file has no request and no WebSocket message that can be converted";

/// Converts a HAR file; see [`import`](super::import()).
pub(super) fn import(path: &Path, folder: &Path, serial: bool, on_progress: OnProgress) -> Result<ImportSummary> {
    let invalid = |line: u64, reason: String| Error::Recording { path: path.into(), line, reason };
    let mut source = WatchedFile::new(files::open(path)?);
    // The second pass is over the events.
    source.watch(on_progress, 2);
    let mut cleanup = RemoveOnDrop::new(folder);
    let (session, output) = NewSession::create(folder)?;

    let spool = Spool::new(folder).map_err(|e| cleanup.failed(e))?;
    let mut collector = Collector::new(spool, path.parent().unwrap_or(Path::new("")));
    har::read(&mut source, &mut collector).map_err(|error| match error {
        ReadError::Invalid { line, reason } => invalid(line, format!("not a valid HAR file: {reason}")),
        ReadError::Source(source) => Error::File { doing: "read", path: path.into(), source },
        ReadError::Sink(line, source) if source.kind() == io::ErrorKind::InvalidData => {
            invalid(line, source.to_string())
        }
        ReadError::Sink(_, source) => cleanup.failed(source),
    })?;
    let Collector { mut spool, known, mut summary, serials, .. } = collector;
    let events = spool.sorted().map_err(|e| cleanup.failed(e))?;
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        let reason = summary.skipped.first().map_or(NOTHING.into(), |skipped| skipped.reason.clone());
        return Err(invalid(summary.skipped.first().map_or(1, |skipped| skipped.line), reason));
    };
    let began_us = first.at_us;
    if (last.at_us - began_us) as f64 / 1e6 > MAX_SESSION_S {
        let reason =
            format!("more than {MAX_SESSION_S} seconds after the first event, which is in line {}", first.line);
        return Err(invalid(last.line, reason));
    }

    // A machine that has none reports 0.
    let serials: Vec<i64> = known.serials.iter().chain(&serials).copied().filter(|serial| *serial != 0).collect();
    let about = About {
        firmware: known.firmware.clone(),
        serial: serials.first().filter(|_| serial).and_then(|&serial| u32::try_from(serial).ok()),
        service: Some(known.service.clone().unwrap_or_else(|| UNKNOWN_SERVICE.to_owned())),
        ..About::new(Side::Machine)
    };
    let redactor = match (serial, serials.is_empty()) {
        (true, _) => Redactor::default(),
        (false, true) => Redactor::for_unknown_machines(),
        (false, false) => Redactor::new(&serials, []),
    };
    redactor.secrets().follow(&known.secrets);
    let bodies = FileWriter::inline(folder, puls::Limits::default());
    let mut writer = LineWriter::new(output, redactor, Arc::default(), Some(bodies));
    let time = |at_us: i64| UNIX_EPOCH + Duration::from_micros(u64::try_from(at_us).unwrap_or_default());
    writer.write(Stamp { elapsed: Duration::ZERO, at: time(began_us), machine: None }, Event::Session(about));
    let mut on_progress = source.unwatch();
    for (event, done) in events.iter().zip(0_u32..) {
        if let Some(on_progress) = &mut on_progress {
            on_progress(0.5 + f64::from(done) / events.len() as f64 / 2.0);
        }
        let after = Duration::from_micros(u64::try_from(event.at_us - began_us).unwrap_or_default());
        let stamp = Stamp { elapsed: after, at: time(event.at_us), machine: None };
        let data = spool.read(event).map_err(|e| cleanup.failed(e))?;
        let unredacted = unredacted(event, data, writer.redactor()).map_err(|e| cleanup.failed(e))?;
        writer.write_unredacted(stamp, unredacted, Reservation::default());
        for reason in writer.take_failed_files(stamp) {
            skip(&mut summary.skipped, event.line, reason);
        }
        writer.take_written_files().iter().for_each(|name| cleanup.add_file(name));
        writer.flush_if_full().map_err(|e| cleanup.failed(e))?;
    }
    writer.finish().map_err(|e| cleanup.failed(e))?;
    session.publish()?;
    cleanup.keep();
    Ok(summary)
}

fn skip(skipped: &mut Vec<SkippedLine>, line: u64, reason: String) {
    if skipped.len() < MAX_SKIPPED {
        skipped.push(SkippedLine { line, reason });
    }
}

/// Returns an event as a recorder gets it.
fn unredacted(event: &spool::Event, data: Vec<u8>, redactor: &Redactor) -> io::Result<Unredacted> {
    let text = |data| String::from_utf8(data).map_err(io::Error::other);
    Ok(match event.kind {
        Kind::In => Unredacted::In(text(data)?),
        Kind::Out => Unredacted::Out(text(data)?.into()),
        Kind::Binary => {
            Unredacted::Event(Event::State { state: "binary".into(), action_id: None, detail: Some(text(data)?) })
        }
        Kind::Opened => Unredacted::Event(Event::Opened { url: text(data)? }),
        Kind::Closed => Unredacted::Event(Event::Closed { reason: UNKNOWN_CLOSE.into() }),
        Kind::Exchange => StoredExchange::load(&data)?.into_unredacted(redactor.secrets()),
    })
}

/// Collects what is read from the file.
struct Collector<'a> {
    /// The folder of the HAR file.
    folder: &'a Path,
    spool: Spool,
    summary: ImportSummary,
    /// What the requests reveal.
    known: Known,
    /// The serial numbers in settings reports.
    serials: BTreeSet<i64>,
    /// The times of the first and last message of the entry that is being read.
    messages: Option<(i64, i64)>,
}

impl<'a> Collector<'a> {
    fn new(spool: Spool, folder: &'a Path) -> Self {
        let summary = ImportSummary::default();
        Self { folder, spool, summary, known: Known::default(), serials: BTreeSet::new(), messages: None }
    }

    fn skip(&mut self, line: u64, what: &str, reason: &str) {
        skip(&mut self.summary.skipped, line, format!("{what}: {reason}"));
    }

    /// Adds a message, or returns why it is skipped.
    fn add_message(&mut self, message: WebSocketMessage, line: u64) -> io::Result<std::result::Result<(), String>> {
        let WebSocketMessage { direction, time, opcode, data } = message;
        let Some(at_us) = time.and_then(micros) else {
            return Ok(Err("time is not a number of seconds since 1970".into()));
        };
        let direction = direction.unwrap_or_default().into_string();
        let (kind, sender) = match direction.as_str() {
            "send" => (Kind::Out, "machine"),
            "receive" => (Kind::In, "service"),
            _ => return Ok(Err("type is neither \"send\" nor \"receive\"".into())),
        };
        let Some(data) = data else { return Ok(Err("data is missing".into())) };
        if data.0.len() > har::MAX_STRING_BYTES {
            return Ok(Err(format!("data is longer than {} bytes", har::MAX_STRING_BYTES)));
        }
        match opcode.unwrap_or(1.0) {
            1.0 => {
                let text = data.into_string();
                learn_json(&self.known.secrets, text.as_bytes());
                if kind == Kind::Out {
                    self.serials.extend(reported_serials(&text));
                    if self.serials.len() > MAX_SERIALS {
                        return Err(too_many("serial numbers", MAX_SERIALS));
                    }
                }
                self.spool.push(at_us, kind, line, &[text.as_bytes()])?;
            }
            2.0 => {
                let bytes = data.0.iter().filter(|&&c| c != b'=').count() / 4 * 3;
                let detail = format!("a binary frame of about {bytes} bytes from the {sender}");
                self.spool.push(at_us, Kind::Binary, line, &[detail.as_bytes()])?;
            }
            _ => return Ok(Err("opcode is neither 1 (text) nor 2 (binary)".into())),
        }
        self.summary.messages += 1;
        let (first, last) = self.messages.unwrap_or((at_us, at_us));
        self.messages = Some((first.min(at_us), last.max(at_us)));
        Ok(Ok(()))
    }

    /// Adds an entry, or returns why it is skipped.
    fn add_entry(&mut self, entry: Entry, line: u64) -> io::Result<std::result::Result<(), String>> {
        let messages = self.messages.take();
        let started = entry.started.map(har::Text::into_string).unwrap_or_default();
        let started_us = started.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond);
        let started_us = started_us.filter(|us| *us >= 0).or(messages.map(|(first, _)| first));
        let Some(started_us) = started_us else {
            return Ok(Err("startedDateTime is not a time with a time zone, such as 2026-01-02T03:04:05.678Z".into()));
        };
        let time_ms = entry.time.filter(|ms| (0.0..MAX_SESSION_S * 1e3).contains(ms));
        #[expect(clippy::cast_possible_truncation, reason = "it is less than MAX_SESSION_S")]
        let ended_us = started_us + (time_ms.unwrap_or_default() * 1e3).round() as i64;
        let Some(request) = entry.request else { return Ok(Err("request is missing".into())) };
        let url = request.url.as_ref().map(|url| url.clone().into_string()).unwrap_or_default();
        let Some(base) = origin(&url).map(str::to_owned) else {
            return Ok(Err("the request's url is not a URL of http, https, ws or wss".into()));
        };
        let response = entry.response.unwrap_or_default();
        let is_web_socket = entry.has_messages
            || response.status == Some(101.0)
            || url.starts_with("ws")
            || entry.resource_type.is_some_and(|kind| kind.0 == b"websocket");
        if is_web_socket {
            self.known.learn_web_socket(&url, request.headers);
            if response.status.is_none_or(|status| (status - 101.0).abs() < 0.5) || messages.is_some() {
                let opened = if base.starts_with("http") { base.replacen("http", "ws", 1) } else { base };
                let (first, last) = messages.unwrap_or((started_us, started_us));
                self.spool.push(started_us.min(first), Kind::Opened, line, &[opened.as_bytes()])?;
                self.spool.push(ended_us.max(last), Kind::Closed, line, &[])?;
            }
            return Ok(Ok(()));
        }
        let mut lost = Vec::new();
        let bodies = Bodies { folder: self.folder, lost: &mut lost };
        let exchange = StoredExchange::new(&url, request, response, time_ms, bodies, &mut self.known)?;
        exchange.store(&mut self.spool, ended_us, line)?;
        self.summary.requests += 1;
        for reason in lost {
            self.skip(line, "a body", &reason);
        }
        Ok(Ok(()))
    }
}

impl Sink for Collector<'_> {
    fn message(&mut self, message: WebSocketMessage, line: u64) -> io::Result<()> {
        if let Err(reason) = self.add_message(message, line)? {
            self.skip(line, "a WebSocket message", &reason);
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry, line: u64) -> io::Result<()> {
        if let Err(reason) = self.add_entry(entry, line)? {
            self.skip(line, "an entry", &reason);
        }
        Ok(())
    }
}

/// Converts seconds since 1970.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn micros(seconds: f64) -> Option<i64> {
    (0.0..MAX_TIME_S).contains(&seconds).then(|| (seconds * 1e6).round() as i64)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use crate::record::{Recording, import};

    const HAR: &str = r#"{"log":{"version":"1.2","pages":[],"entries":[
{"startedDateTime":"2026-01-01T00:00:00.000+00:00","time":12.5,"request":{"method":"POST","url":"https://h/machines/sign_in?q=1",
"headers":[{"name":"User-Agent","value":"OpenGlow/2.6.0-2228"},{"name":"Cookie","value":"a=b"}],"bodySize":33,
"postData":{"mimeType":"x","text":"{\"serial\":\"S1234567\",\"password\":\"secret\"}"}},
"response":{"status":200,"headers":[],"content":{"size":4,"text":"/9j/2Q==","encoding":"base64"},"_error":null}},
{"startedDateTime":"2026-01-01T00:00:01Z","time":-1,"request":{"method":"PUT","url":"https://h/up","headers":[],"bodySize":4,
"postData":{"text":"ÿØÿÙ","_file":"000001_request.jpg"}},"response":{"status":0,"content":{}}},
{"_resourceType":"websocket","startedDateTime":"2026-01-01T00:00:02Z","time":1,"request":{"url":"wss://h/token-0123456789"},
"_webSocketMessages":[{"type":"receive","time":1767225602.25,"opcode":1,"data":"{\"id\":1,\"action_type\":\"x\"}"},
{"type":"send","time":1767225602.5,"opcode":1,"data":"{\"event\":\"x\",\"settings\":{\"values\":{\"MCsn\":7654321}}}\n\udcff"},
{"type":"send","time":1767225602.75,"opcode":2,"data":"AAEC"}]}]}}"#;

    #[test]
    fn the_sample_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.har"), HAR).unwrap();
        let imported = import(folder.path().join("x.har"), folder.path().join("r"), false).unwrap();
        assert_eq!((imported.skipped, imported.requests, imported.messages), (vec![], 2, 3));
        let mut recording = Recording::open(folder.path().join("r")).unwrap();
        // A frame with two lines is two messages.
        assert_eq!(recording.by_ref().count(), 8, "with the opening, the end and the binary message");
        assert_eq!(recording.skipped(), []);
        let text = fs::read_to_string(folder.path().join("r/session.jsonl")).unwrap();
        for secret in ["1234567", "7654321", "secret", "token-0123456789", "q=1"] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        assert_eq!(fs::read(folder.path().join("r/000002_request.jpg")).unwrap(), b"\xff\xd8\xff\xd9");
    }

    #[derive(Debug, Clone)]
    enum Edit {
        Cut(usize),
        Remove(usize, usize),
        Insert(usize, Vec<u8>),
    }

    fn edits() -> impl Strategy<Value = Vec<Edit>> {
        let part = prop_oneof![
            proptest::sample::select(vec![
                "null", "-1", "1e999", "1e308", "{}", "[]", "[[[", "\"", "\\ud800", "\\", "9", ",", ":", "\u{0}",
                "true", "\"\"",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            proptest::collection::vec(any::<u8>(), 1..4),
        ];
        let edit = prop_oneof![
            1 => any::<proptest::sample::Index>().prop_map(|at| Edit::Cut(at.index(HAR.len()))),
            4 => (any::<proptest::sample::Index>(), 1..40_usize).prop_map(|(at, n)| Edit::Remove(at.index(HAR.len()), n)),
            8 => (any::<proptest::sample::Index>(), part).prop_map(|(at, part)| Edit::Insert(at.index(HAR.len()), part)),
        ];
        proptest::collection::vec(edit, 1..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
        #[test]
        fn a_changed_file_is_imported_or_refused_and_leaves_nothing(edits in edits()) {
            let mut har = HAR.as_bytes().to_vec();
            for edit in edits {
                match edit {
                    Edit::Cut(at) => har.truncate(at),
                    Edit::Remove(at, n) => drop(har.drain(at.min(har.len())..(at + n).min(har.len()))),
                    Edit::Insert(at, part) => drop(har.splice(at.min(har.len())..at.min(har.len()), part)),
                }
            }
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("x.har"), &har).unwrap();
            let new = folder.path().join("r");
            match import(folder.path().join("x.har"), &new, false) {
                Ok(_) => {
                    let mut recording = Recording::open(&new).unwrap();
                    prop_assert!(recording.by_ref().all(|entry| entry.is_ok()));
                    prop_assert_eq!(recording.skipped(), []);
                }
                Err(error) => {
                    prop_assert!(error.to_string().contains(", line "), "{}", error);
                    prop_assert!(!new.exists());
                }
            }
        }
    }
}
