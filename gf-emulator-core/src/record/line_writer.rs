//! Turns events into the lines of a recording: the writer thread's work.

use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crossbeam_channel::Sender;
use serde_json::Value;

use super::entry::{Event, Exchange, MAX_LINE_BYTES, Message, Part, parse_json, read_json};
use super::file_writer::{BodyCache, BodyKind, FileJob, FileWriter};
use super::queue::{Queue, QueueItem, QueuedEvent, Reservation, Stamp};
use super::redactor::Redactor;
use super::unredacted::{Body, Unredacted};
use crate::sync::lock;

/// Receivers of every line. Locked while lines are written, so that a new subscriber misses none.
pub(super) type Subscribers = Arc<Mutex<Vec<Sender<Arc<str>>>>>;

/// Longer texts (messages that are not JSON, errors, header values) are truncated.
const MAX_TEXT_CHARS: usize = 4096;
/// A longer JSON body becomes a file.
const MAX_JSON_BYTES: usize = 256 << 10;
/// A longer body is not parsed as JSON.
const MAX_PARSED_BYTES: usize = 1 << 20;
/// Lines recorded of one frame.
const MAX_FRAME_LINES: usize = 256;
const BUFFER_BYTES: usize = 256 << 10;
/// How much of a body is examined to find out what it is.
const START_BYTES: usize = 64;

/// Redacts events and writes them as lines.
pub(super) struct LineWriter {
    file: Box<dyn Write + Send>,
    redactor: Redactor,
    subscribers: Subscribers,
    /// The number of the next entry; `u64::MAX` once writing has failed.
    next: u64,
    /// Lines not written yet.
    buffer: Vec<u8>,
    /// `None` if bodies are not recorded.
    file_writer: Option<FileWriter>,
    bodies: BodyCache,
    /// The first write error, until it is reported.
    failure: Option<String>,
    has_reported_files: bool,
}

impl LineWriter {
    pub(super) fn new(
        file: Box<dyn Write + Send>,
        redactor: Redactor,
        subscribers: Subscribers,
        file_writer: Option<FileWriter>,
    ) -> Self {
        Self {
            file,
            redactor,
            subscribers,
            next: 0,
            buffer: Vec::new(),
            file_writer,
            bodies: BodyCache::default(),
            failure: None,
            has_reported_files: false,
        }
    }

    /// Writes events until the queue is closed and empty. Once its disk calls are abandoned, the remaining events are
    /// dropped.
    pub(super) fn run(mut self, queue: &Queue, folder: &Path, stamp_of_now: &dyn Fn() -> Stamp) {
        let mut abandoned_events = 0;
        while let Some(batch) = queue.take(stamp_of_now) {
            for QueuedEvent { stamp, item, reservation } in batch {
                if queue.disk_calls.is_abandoned() {
                    abandoned_events += match item {
                        QueueItem::Event(_) => 1,
                        QueueItem::Dropped { events, .. } => events,
                    };
                    continue;
                }
                match item {
                    QueueItem::Event(event) => self.write_unredacted(stamp, event, reservation),
                    QueueItem::Dropped { events, bodies } => {
                        let dropped = [(events, "events"), (bodies, "bodies")];
                        let dropped = dropped.iter().filter(|(count, _)| *count > 0);
                        let dropped: Vec<_> = dropped.map(|(count, what)| format!("{count} {what}")).collect();
                        let detail = format!("{}: the disk is too slow", dropped.join(" and "));
                        log::warn!("the recording in {} lacks {detail}", folder.display());
                        self.write_dropped(stamp, detail);
                    }
                }
                self.report_failed_files(folder, stamp);
                if self.buffer.len() >= BUFFER_BYTES {
                    self.flush();
                }
            }
            self.flush();
            queue.mark_written();
            if let Some(reason) = self.failure.take() {
                log::error!("the recording in {} ends here: {reason}", folder.display());
            }
        }
        if let Some(file_writer) = &mut self.file_writer {
            file_writer.finish();
        }
        let stamp = stamp_of_now();
        self.report_failed_files(folder, stamp);
        if abandoned_events > 0 {
            let detail = format!("{abandoned_events} events: the program ended before they were written");
            log::error!("the recording in {} lacks {detail}", folder.display());
            self.write_dropped(stamp, detail);
        }
        self.flush();
    }

    /// Writes an entry for each file that could not be written, and returns their names with the reasons.
    pub(super) fn take_failed_files(&mut self, stamp: Stamp) -> Vec<String> {
        let mut failed = Vec::new();
        while let Some((name, reason)) = self.file_writer.as_ref().and_then(FileWriter::next_failure) {
            self.bodies.remove(&name);
            failed.push(format!("{name}: {reason}"));
            self.write_dropped(stamp, format!("{name}: {reason}"));
        }
        failed
    }

    /// Writes an entry for each file that could not be written; logs the first.
    fn report_failed_files(&mut self, folder: &Path, stamp: Stamp) {
        let failed = self.take_failed_files(stamp);
        if let Some(first) = failed.first()
            && !std::mem::replace(&mut self.has_reported_files, true)
        {
            log::error!("the recording in {} lacks a file, and possibly more: {first}", folder.display());
        }
    }

    pub(super) fn write_dropped(&mut self, stamp: Stamp, detail: String) {
        let event = Event::State { state: "dropped".to_owned(), action_id: None, detail: Some(detail) };
        self.write(stamp, event);
    }

    /// Redacts an event and writes its entries; passes its bodies on to the file writer.
    pub(super) fn write_unredacted(&mut self, stamp: Stamp, event: Unredacted, reservation: Reservation) {
        match event {
            Unredacted::Event(event) => self.write(stamp, event),
            Unredacted::Out(text) => {
                // A foreign machine may use several lines for a message, or send several messages in a frame.
                match self.json_message(&text) {
                    Some(message) => self.write(stamp, Event::Out(message)),
                    None => self.write_frame(stamp, &text, Event::Out),
                }
            }
            Unredacted::In(frame) => self.write_frame(stamp, &frame, Event::In),
            Unredacted::Http(mut exchange, request, response) => {
                // Bodies come first: a sign-in has secrets that the headers may repeat.
                let Exchange { request: sent, response: received, error, .. } = &mut *exchange;
                let (mut jobs, mut lost) = (Vec::new(), Vec::new());
                for (body, role, part) in [(request, "request", &mut *sent), (response, "response", &mut *received)] {
                    match self.add_body(body, role, part) {
                        Ok(job) => jobs.extend(job),
                        Err(e) => lost.push(format!("{}: cannot read the temp file: {e}", self.file_stem(role))),
                    }
                }
                if let Some(error) = error {
                    *error = self.redacted_text(error);
                }
                for value in sent.headers.values_mut().chain(received.headers.values_mut()) {
                    if let Value::String(text) = value {
                        *text = self.redacted_text(text);
                    }
                }
                self.write(stamp, Event::Http(exchange));
                let reservation = Arc::new(reservation.into_bodies());
                for job in jobs {
                    if let Some(file_writer) = &mut self.file_writer {
                        file_writer.push(FileJob { reservation: Some(Arc::clone(&reservation)), ..job });
                    }
                }
                for detail in lost {
                    self.write_dropped(stamp, detail);
                }
            }
        }
    }

    fn write_frame(&mut self, stamp: Stamp, frame: &str, event: impl Fn(Message) -> Event) {
        let mut lines = frame.split_inclusive('\n').filter(|line| !line.trim().is_empty());
        for line in lines.by_ref().take(MAX_FRAME_LINES) {
            let message = self.json_message(line).unwrap_or_else(|| {
                let text = self.redacted_text(line);
                Message { bytes: line.len() as u64, json: None, text: Some(text) }
            });
            self.write(stamp, event(message));
        }
        let more = lines.count();
        if more > 0 {
            self.write_dropped(stamp, format!("{more} more lines of one frame"));
        }
    }

    fn json_message(&self, text: &str) -> Option<Message> {
        let json = if text.len() < MAX_LINE_BYTES / 2 { parse_json(text.trim().as_bytes())? } else { return None };
        self.redactor.learn_from(&json);
        Some(Message { bytes: text.len() as u64, json: Some(json), text: None })
    }

    /// Returns `text` redacted and truncated.
    fn redacted_text(&self, text: &str) -> String {
        let text = self.redactor.redact_text(text);
        match text.char_indices().nth(MAX_TEXT_CHARS) {
            Some((end, _)) => text[..end].to_owned(),
            None => text,
        }
    }

    /// Adds a body to the next entry: as JSON, or as the name of a file. Returns the job if the file must be written.
    fn add_body(&mut self, body: Body, role: &str, part: &mut Part) -> io::Result<Option<FileJob>> {
        let (start, mut body) = match body {
            Body::None => return Ok(None),
            Body::Confidential(bytes) => {
                part.json = Some(self.redactor.redact_sign_in(&bytes));
                return Ok(None);
            }
            Body::Bytes(bytes) => {
                (bytes.get(..bytes.len().min(START_BYTES)).unwrap_or_default().to_vec(), Body::Bytes(bytes))
            }
            Body::Spilled(mut file, digest) => {
                let mut start = Vec::new();
                file.rewind()?;
                (&mut file).take(START_BYTES as u64).read_to_end(&mut start)?;
                (start, Body::Spilled(file, digest))
            }
        };
        if let Some(mut json) = json_of(&start, &mut body)? {
            self.redactor.redact_json(&mut json);
            let text = json.to_string();
            if text.len() <= MAX_JSON_BYTES {
                part.json = Some(json);
                return Ok(None);
            }
            body = Body::Bytes(text.into_bytes().into());
        }
        if start.is_empty() || self.file_writer.is_none() {
            return Ok(None);
        }
        let kind = BodyKind::of(&start);
        let name = format!("{}.{}", self.file_stem(role), kind.extension());
        if let Some(known) = self.bodies.find_or_insert(&body, &name) {
            part.file = Some(known.to_owned());
            return Ok(None);
        }
        part.file = Some(name.clone());
        let (secrets, serials) = (self.redactor.secrets().clone(), self.redactor.serials());
        Ok(Some(FileJob { body, name, kind, secrets, serials, reservation: None }))
    }

    /// Returns the file name, without extension, of a body of the next entry.
    fn file_stem(&self, role: &str) -> String {
        format!("{:06}_{role}", self.next)
    }

    /// Redacts an event and appends its line to the buffer.
    pub(super) fn write(&mut self, stamp: Stamp, mut event: Event) {
        if self.failure.is_some() || self.next == u64::MAX {
            return;
        }
        self.redactor.redact_names(&mut event);
        let json = |event: &Event| serde_json::to_string(event).ok();
        let start = self.start_of_line(stamp);
        let mut text = json(&event);
        // The start of the line may equal a serial number by chance. That reveals nothing.
        let has_secret = |text: &Option<String>| text.as_ref().is_some_and(|text| self.redactor.has_values(text));
        let mut is_secret = has_secret(&text);
        if is_secret {
            self.redactor.redact_values(&mut event);
            text = json(&event);
            is_secret = has_secret(&text);
        }
        // A match outside of texts, such as a length that equals a serial number: better no entry than a secret.
        if is_secret || text.as_ref().is_none_or(|text| start.len() + text.len() >= MAX_LINE_BYTES) {
            let detail = "an event that is too long, or cannot be written without revealing a secret".to_owned();
            text = json(&Event::State { state: "dropped".into(), action_id: None, detail: Some(detail) });
        }
        // An event is an object with at least its kind.
        if let Some(fields) = text.as_ref().and_then(|text| text.strip_prefix('{')) {
            self.buffer.extend_from_slice(start.as_bytes());
            self.buffer.extend_from_slice(fields.as_bytes());
            self.buffer.push(b'\n');
            self.next += 1;
        }
    }

    /// Returns the fields of an entry before its event.
    fn start_of_line(&self, stamp: Stamp) -> String {
        let Stamp { elapsed, at, machine } = stamp;
        let t = (elapsed.as_secs_f64() * 1e6).round() / 1e6;
        let at = jiff::Timestamp::try_from(at).unwrap_or_default();
        let machine = machine.map(|number| format!("\"machine\":{number},")).unwrap_or_default();
        format!("{{\"n\":{},\"t\":{t:?},\"at\":\"{at:.3}\",{machine}", self.next)
    }

    pub(super) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Returns the names of the files written since the last call, if they are written at once.
    pub(super) fn take_written_files(&mut self) -> Vec<String> {
        self.file_writer.as_mut().map(FileWriter::take_written).unwrap_or_default()
    }

    /// Writes the buffer if it is full. Returns the first write error.
    pub(super) fn flush_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
        self.failure.take().map_or(Ok(()), |reason| Err(io::Error::other(reason)))
    }

    /// Writes the buffer. Returns the first write error.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.flush();
        self.flush_if_full()
    }

    /// Writes the buffer to the file and sends the lines to subscribers.
    pub(super) fn flush(&mut self) {
        if self.buffer.is_empty() || self.next == u64::MAX {
            return;
        }
        let mut subscribers = lock(&self.subscribers);
        // A single write, so that a crash leaves at most one partial line.
        if let Err(e) = self.file.write_all(&self.buffer) {
            self.failure = Some(e.to_string());
            self.next = u64::MAX;
        } else if !subscribers.is_empty() {
            for line in String::from_utf8_lossy(&self.buffer).split_inclusive('\n') {
                let line: Arc<str> = line.into();
                subscribers.retain(|subscriber| subscriber.send(Arc::clone(&line)).is_ok());
            }
        }
        self.buffer.clear();
    }
}

/// Parses a body as JSON, if it looks like an object or array and is not too long.
fn json_of(start: &[u8], body: &mut Body) -> io::Result<Option<Value>> {
    if !matches!(start.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return Ok(None);
    }
    Ok(match body {
        Body::Bytes(bytes) if bytes.len() > MAX_PARSED_BYTES => None,
        Body::Bytes(bytes) => read_json(bytes),
        Body::Spilled(file, _) => {
            let length = file.seek(io::SeekFrom::End(0))?;
            let mut bytes = Vec::new();
            file.rewind()?;
            if length <= MAX_PARSED_BYTES as u64 {
                file.read_to_end(&mut bytes)?;
            }
            read_json(&bytes)
        }
        Body::None | Body::Confidential(_) => None,
    })
}
