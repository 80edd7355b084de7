//! Sorts what was read from a HAR file by time: a temp file holds the events, memory only their times and places.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The most events of one session; about 40 bytes of memory each.
const MAX_EVENTS: usize = 2 << 20;

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text message received by the machine.
    In,
    /// A text message sent by the machine.
    Out,
    /// A binary message; the data is an explanation.
    Binary,
    /// A WebSocket was opened; the data is its URL.
    Opened,
    /// A WebSocket was closed.
    Closed,
    /// A request and its response.
    Exchange,
}

/// An event in the temp file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// Microseconds since 1970.
    pub(super) at_us: i64,
    pub(super) kind: Kind,
    /// The line in the source where it ends.
    pub(super) line: u64,
    offset: u64,
    bytes: u64,
}

/// Events in an unnamed temp file, which disappears if the program is killed.
pub(super) struct Spool {
    file: BufWriter<File>,
    events: Vec<Event>,
    end: u64,
}

impl Spool {
    /// Creates the temp file in `folder`.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(tempfile::tempfile_in(folder)?), events: Vec::new(), end: 0 })
    }

    /// Adds an event with its data.
    pub(super) fn push(&mut self, at_us: i64, kind: Kind, line: u64, data: &[&[u8]]) -> io::Result<()> {
        if self.events.len() == MAX_EVENTS {
            let reason = format!("more than {MAX_EVENTS} requests and messages");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let mut bytes = 0;
        for part in data {
            self.file.write_all(part)?;
            bytes += part.len() as u64;
        }
        self.events.push(Event { at_us, kind, line, offset: self.end, bytes });
        self.end += bytes;
        Ok(())
    }

    /// Returns all events, sorted by time. Those of one time stay in their order, except that a WebSocket is opened before
    /// all others and closed after them.
    pub(super) fn sorted(&mut self) -> io::Result<Vec<Event>> {
        self.file.flush()?;
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|event| {
            let rank = match event.kind {
                Kind::Opened => 0,
                Kind::Closed => 2,
                Kind::In | Kind::Out | Kind::Binary | Kind::Exchange => 1,
            };
            (event.at_us, rank)
        });
        Ok(events)
    }

    /// Reads the data of an event.
    pub(super) fn read(&mut self, event: &Event) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        let file = self.file.get_mut();
        file.seek(SeekFrom::Start(event.offset))?;
        file.take(event.bytes).read_to_end(&mut data)?;
        Ok(data)
    }
}
