//! Writing a recording's lines: the thread that turns events into entries.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crossbeam_channel::Sender;
use serde::Serialize;
use serde_json::Value;

use super::attachments::{Attachment, Attachments, Kind, Known, SPILLED_JSON_BYTES, START_BYTES};
use super::entry::{Event, Exchange, LONGEST_LINE, Message, Part, read_json, strict_json};
use super::queue::{Noted, Queue, Room, What};
use super::recorder::{Body, Raw};
use super::redactor::Redactor;

/// Who hears of every line as it is written. Held while lines are written, so that what is heard follows what is in the
/// file.
pub(super) type Subscribers = Arc<Mutex<Vec<Sender<Arc<str>>>>>;

/// What is kept of a message that is no JSON, of an error, and of a header's value.
const LONGEST_TEXT: usize = 4096;
/// A body of JSON that is longer becomes a file.
const LONGEST_JSON: usize = 256 << 10;
/// Lines of one frame that become entries.
const MOST_LINES: usize = 256;
/// So much is collected before it is written.
const WRITE_BYTES: usize = 256 << 10;

/// Makes lines of events.
pub(super) struct Writer {
    file: Box<dyn Write + Send>,
    redactor: Redactor,
    subscribers: Subscribers,
    /// The number of the next entry.
    next: u64,
    /// Lines that are not written yet.
    lines: Vec<u8>,
    /// None where bodies do not become files.
    attachments: Option<Attachments>,
    files: Known,
    /// Why nothing more is written.
    failure: Option<String>,
    has_told_of_files: bool,
}

impl Writer {
    pub(super) fn new(
        file: Box<dyn Write + Send>,
        redactor: Redactor,
        subscribers: Subscribers,
        attachments: Option<Attachments>,
    ) -> Self {
        let (lines, files) = (Vec::new(), Known::default());
        Self {
            file,
            redactor,
            subscribers,
            next: 0,
            lines,
            attachments,
            files,
            failure: None,
            has_told_of_files: false,
        }
    }

    /// Writes what is queued until the queue is closed and empty; less where there is no time left.
    pub(super) fn run(
        mut self,
        queue: &Queue,
        folder: &Path,
        clock: &dyn Fn() -> (Duration, SystemTime),
        abandoned: &AtomicBool,
    ) {
        let mut events_left_out = 0;
        while let Some(noted) = queue.take(clock) {
            for Noted { after, at, what, room } in noted {
                if abandoned.load(Ordering::Relaxed) {
                    events_left_out += match what {
                        What::Raw(_) => 1,
                        What::LeftOut { events, .. } => events,
                    };
                    continue;
                }
                match what {
                    What::Raw(raw) => self.take(after, at, raw, room),
                    What::LeftOut { events, bodies } => {
                        let left_out = [(events, "events"), (bodies, "bodies")].map(|(count, what)| match count {
                            0 => None,
                            count => Some(format!("{count} {what}")),
                        });
                        let left_out: Vec<_> = left_out.into_iter().flatten().collect();
                        let detail = format!("{}: the disk is too slow", left_out.join(" and "));
                        log::warn!("the recording in {} lacks {detail}", folder.display());
                        self.state(after, at, "dropped", detail);
                    }
                }
                self.tell_of_files(folder, after, at);
                if self.lines.len() >= WRITE_BYTES {
                    self.flush();
                }
            }
            self.flush();
            queue.has_written();
            if let Some(why) = self.failure.take() {
                log::error!("the recording in {} ends here: {why}", folder.display());
            }
        }
        // Whatever it was, the files are whole or absent now.
        if let Some(attachments) = &mut self.attachments {
            attachments.finish();
        }
        let (after, at) = clock();
        self.tell_of_files(folder, after, at);
        if events_left_out > 0 {
            let detail = format!("{events_left_out} events: the program ended before the disk had taken them");
            log::error!("the recording in {} lacks {detail}", folder.display());
            self.state(after, at, "dropped", detail);
        }
        self.flush();
    }

    /// Tells of files that are not there after all.
    fn tell_of_files(&mut self, folder: &Path, after: Duration, at: SystemTime) {
        while let Some((name, why)) = self.attachments.as_ref().and_then(Attachments::failure) {
            if !std::mem::replace(&mut self.has_told_of_files, true) {
                log::error!("the recording in {} lacks {name}, and maybe more: {why}", folder.display());
            }
            self.files.forget(&name);
            self.state(after, at, "dropped", format!("{name}: {why}"));
        }
    }

    fn state(&mut self, after: Duration, at: SystemTime, state: &str, detail: String) {
        self.write(after, at, Event::State { state: state.to_owned(), action_id: None, detail: Some(detail) });
    }

    /// Makes entries of what happened, and hands on the bodies that are to become files.
    pub(super) fn take(&mut self, t: Duration, at: SystemTime, raw: Raw, room: Room) {
        match raw {
            Raw::Event(event) => self.write(t, at, event),
            Raw::Out(text) => {
                // A machine that is somebody else's may have line ends in a message, or several messages in a frame.
                match self.json_message(&text) {
                    Some(message) => self.write(t, at, Event::Out(message)),
                    None => self.write_lines(t, at, &text, Event::Out),
                }
            }
            Raw::In(frame) => self.write_lines(t, at, &frame, Event::In),
            Raw::Http(mut exchange, request, response) => {
                // What it says of itself is known before its headers are looked at.
                let Exchange { request: sent, response: came, error, .. } = &mut *exchange;
                let (mut attachments, mut lost) = (Vec::new(), Vec::new());
                for (body, of, part) in [(request, "request", &mut *sent), (response, "response", &mut *came)] {
                    match self.body(body, of, part) {
                        Ok(attachment) => attachments.extend(attachment),
                        Err(e) => lost.push(format!("{}: it cannot be read back: {e}", self.name_of(of))),
                    }
                }
                if let Some(error) = error {
                    *error = self.text(error);
                }
                for value in sent.headers.values_mut().chain(came.headers.values_mut()) {
                    if let Value::String(text) = value {
                        *text = self.text(text);
                    }
                }
                self.write(t, at, Event::Http(exchange));
                let room = Arc::new(room.of_bodies());
                for attachment in attachments {
                    if let Some(attachments) = &mut self.attachments {
                        attachments.hand_over(Attachment { room: Some(Arc::clone(&room)), ..attachment });
                    }
                }
                for detail in lost {
                    self.state(t, at, "dropped", detail);
                }
            }
        }
    }

    fn write_lines(&mut self, t: Duration, at: SystemTime, frame: &str, event: impl Fn(Message) -> Event) {
        let mut lines = frame.split_inclusive('\n').filter(|line| !line.trim().is_empty());
        for line in lines.by_ref().take(MOST_LINES) {
            let message = self.message(line);
            self.write(t, at, event(message));
        }
        let more = lines.count();
        if more > 0 {
            self.state(t, at, "dropped", format!("{more} more lines of one frame"));
        }
    }

    fn message(&self, line: &str) -> Message {
        self.json_message(line).unwrap_or_else(|| {
            let text = self.text(line);
            Message { bytes: line.len() as u64, json: None, text: Some(text) }
        })
    }

    fn json_message(&self, text: &str) -> Option<Message> {
        let json = if text.len() < LONGEST_LINE / 2 { strict_json(text.trim().as_bytes())? } else { return None };
        self.redactor.learn_from(&json);
        Some(Message { bytes: text.len() as u64, json: Some(json), text: None })
    }

    /// What is shown of a text: no secret, and not all of something long.
    fn text(&self, text: &str) -> String {
        let text = self.redactor.text(text);
        match text.char_indices().nth(LONGEST_TEXT) {
            Some((end, _)) => text[..end].to_owned(),
            None => text,
        }
    }

    /// What a body is in a recording: JSON in the line, or a file beside it.
    fn body(&mut self, body: Body, of: &str, part: &mut Part) -> io::Result<Option<Attachment>> {
        let (start, mut body) = match body {
            Body::None => return Ok(None),
            Body::Confidential(bytes) => {
                part.json = Some(self.redactor.confidential(&bytes));
                return Ok(None);
            }
            Body::Bytes(bytes) => {
                (bytes.get(..bytes.len().min(START_BYTES)).unwrap_or_default().to_vec(), Body::Bytes(bytes))
            }
            Body::Spilled(mut file, digest) => {
                let mut start = Vec::new();
                file.rewind().and_then(|()| (&file).take(START_BYTES as u64).read_to_end(&mut start))?;
                (start, Body::Spilled(file, digest))
            }
        };
        if let Some(mut json) = json_of(&start, &body)? {
            self.redactor.json(&mut json);
            let text = json.to_string();
            if text.len() <= LONGEST_JSON {
                part.json = Some(json);
                return Ok(None);
            }
            body = Body::Bytes(text.into_bytes().into());
        }
        if start.is_empty() || self.attachments.is_none() {
            return Ok(None);
        }
        let kind = Kind::of(&start);
        let name = format!("{}.{}", self.name_of(of), kind.ending());
        if let Some(known) = self.files.name_of(&body, &name) {
            part.file = Some(known.to_owned());
            return Ok(None);
        }
        part.file = Some(name.clone());
        let (secrets, serials) = (self.redactor.secrets().clone(), self.redactor.serials().to_vec());
        Ok(Some(Attachment { body, name, kind, secrets, serials, room: None }))
    }

    /// What a body of the next entry is called, but for its ending.
    fn name_of(&self, of: &str) -> String {
        format!("{:06}_{of}", self.next)
    }

    /// Makes a line of an event, without any secret.
    pub(super) fn write(&mut self, t: Duration, at: SystemTime, mut event: Event) {
        if self.failure.is_some() || self.next == u64::MAX {
            return;
        }
        self.redactor.hide_named(&mut event);
        let mut line = self.line(t, at, &event);
        let finds_values = |line: &Option<String>| line.as_ref().is_some_and(|line| self.redactor.finds_values(line));
        let mut has_values = finds_values(&line);
        if has_values {
            self.redactor.hide_values(&mut event);
            line = self.line(t, at, &event);
            has_values = finds_values(&line);
        }
        // Something that is no text, such as a length, or what only looks like a value: better no line than a secret.
        if has_values || line.as_ref().is_none_or(|line| line.len() >= LONGEST_LINE) {
            let detail = "an event: it cannot be written without a secret, or is too long".to_owned();
            line = self.line(t, at, &Event::State { state: "dropped".into(), action_id: None, detail: Some(detail) });
        }
        if let Some(line) = line {
            self.lines.extend_from_slice(line.as_bytes());
            self.lines.push(b'\n');
            self.next += 1;
        }
    }

    fn line(&self, t: Duration, at: SystemTime, event: &Event) -> Option<String> {
        let t = (t.as_secs_f64() * 1e6).round() / 1e6;
        let at = format!("{:.3}", jiff::Timestamp::try_from(at).unwrap_or_default());
        serde_json::to_string(&Line { n: self.next, t, at, event }).ok()
    }

    /// What knows the secrets.
    pub(super) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Writes what has been collected, once it is enough.
    pub(super) fn flush_some(&mut self) -> io::Result<()> {
        if self.lines.len() >= WRITE_BYTES {
            self.flush();
        }
        self.failure.take().map_or(Ok(()), |why| Err(io::Error::other(why)))
    }

    /// Writes all that has been collected.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.flush();
        self.flush_some()
    }

    /// Hands all lines to the system, and then to whoever listens.
    pub(super) fn flush(&mut self) {
        if self.lines.is_empty() || self.next == u64::MAX {
            return;
        }
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        // In one go, so that there is never more than one half line.
        if let Err(e) = self.file.write_all(&self.lines) {
            self.failure = Some(e.to_string());
            self.next = u64::MAX;
        } else if !subscribers.is_empty() {
            for line in String::from_utf8_lossy(&self.lines).split_inclusive('\n') {
                let line: Arc<str> = line.into();
                subscribers.retain(|subscriber| subscriber.send(Arc::clone(&line)).is_ok());
            }
        }
        self.lines.clear();
    }
}

/// A body as JSON, where it is that and short enough to be taken apart.
fn json_of(start: &[u8], body: &Body) -> io::Result<Option<Value>> {
    // Nothing else that is sent begins so.
    if !matches!(start.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return Ok(None);
    }
    Ok(match body {
        Body::Bytes(bytes) if bytes.len() > SPILLED_JSON_BYTES => None,
        Body::Bytes(bytes) => read_json(bytes),
        Body::Spilled(file, _) => {
            let mut file: &File = file;
            let length = file.metadata()?.len();
            let mut bytes = Vec::new();
            file.rewind()?;
            if length <= SPILLED_JSON_BYTES as u64 {
                file.read_to_end(&mut bytes)?;
            }
            read_json(&bytes)
        }
        Body::None | Body::Confidential(_) => None,
    })
}

/// An [`Entry`](super::Entry) being written.
#[derive(Serialize)]
struct Line<'a> {
    n: u64,
    t: f64,
    at: String,
    #[serde(flatten)]
    event: &'a Event,
}
