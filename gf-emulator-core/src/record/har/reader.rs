//! Reads a HAR file entry by entry, and the messages of a WebSocket one by one.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

use super::guard::{Guard, Progress};
use super::model::{Entry, WebSocketMessage};
use super::text::Text;

/// Longer strings are cut off after this many bytes. Enough for a body of 64 MiB in base64.
pub(in super::super) const MAX_STRING_BYTES: usize = (64 << 20) / 3 * 4 + 64;
/// The most bytes of an entry without the messages of its WebSocket, and of a message.
const MAX_ENTRY_BYTES: u64 = 256 << 20;

/// Receives what is read.
pub(in super::super) trait Sink {
    /// Takes a message. Those of a WebSocket come before its entry. `line` is where it ends.
    ///
    /// # Errors
    ///
    /// Ends the reading.
    fn message(&mut self, message: WebSocketMessage, line: u64) -> io::Result<()>;

    /// Takes an entry.
    ///
    /// # Errors
    ///
    /// Ends the reading.
    fn entry(&mut self, entry: Entry, line: u64) -> io::Result<()>;
}

/// Why a file cannot be read.
#[derive(Debug)]
pub(in super::super) enum ReadError {
    /// It is not a valid HAR file.
    Invalid {
        /// Counted from 1.
        line: u64,
        reason: String,
    },
    /// The file cannot be read.
    Source(io::Error),
    /// The sink has failed in this line.
    Sink(u64, io::Error),
}

/// Reads a whole file.
pub(in super::super) fn read(file: impl Read, sink: &mut dyn Sink) -> Result<(), ReadError> {
    let guard = Guard::new(BufReader::new(file), MAX_STRING_BYTES, MAX_ENTRY_BYTES).map_err(ReadError::Source)?;
    let mut reading = Reading { progress: guard.progress(), sink, failure: None, has_entries: false };
    let mut json = serde_json::Deserializer::from_reader(guard);
    let result = Place { part: Part::File, reading: &mut reading }.deserialize(&mut json).and_then(|()| json.end());
    let line = reading.progress.line.get();
    let invalid = |reason: String| Err(ReadError::Invalid { line, reason });
    match (result, reading.failure) {
        (Ok(()), _) if reading.has_entries => Ok(()),
        (Ok(()), _) => invalid("there is no list \"entries\" in \"log\"".into()),
        (Err(_), Some(failure)) => Err(ReadError::Sink(line, failure)),
        (Err(e), None) => match e.io_error_kind() {
            None | Some(io::ErrorKind::InvalidData) => {
                let place = format!(" at line {} column {}", e.line(), e.column());
                invalid(without_value(&e.to_string()).replace(&place, ""))
            }
            Some(_) => Err(ReadError::Source(e.into())),
        },
    }
}

/// Removes the string that the parser quotes if the type is wrong: it can be a secret, and very long.
fn without_value(reason: &str) -> String {
    const BEFORE: &str = "invalid type: string";
    match (reason.starts_with(BEFORE), reason.rsplit_once("\", expected ")) {
        (true, Some((_, expected))) => format!("{BEFORE}, expected {expected}"),
        _ => reason.to_owned(),
    }
}

struct Reading<'a> {
    progress: Rc<Progress>,
    sink: &'a mut dyn Sink,
    /// The error of the sink.
    failure: Option<io::Error>,
    has_entries: bool,
}

impl Reading<'_> {
    /// Calls the sink.
    fn pass<E: Error>(&mut self, to: impl FnOnce(&mut dyn Sink, u64) -> io::Result<()>) -> Result<(), E> {
        to(self.sink, self.progress.line.get()).map_err(|e| {
            self.failure = Some(e);
            E::custom("the import has failed")
        })
    }
}

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    File,
    Log,
    Entries,
    Entry,
    Messages,
}

/// Reads a part of the file, and passes on what is in it.
struct Place<'a, 'b> {
    part: Part,
    reading: &'a mut Reading<'b>,
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.part {
            Part::File => "an object with \"log\"",
            Part::Log => "an object with \"entries\"",
            Part::Entries => "a list of entries",
            Part::Entry => "an entry, which is an object",
            Part::Messages => "a list of WebSocket messages",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.part == Part::Messages { Ok(()) } else { Err(E::invalid_type(Unexpected::Unit, &self)) }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { part, reading } = self;
        if matches!(part, Part::Entries | Part::Messages) {
            return Err(A::Error::invalid_type(Unexpected::Map, &Place { part, reading }));
        }
        let mut entry = Entry::default();
        while let Some(name) = map.next_key::<Text>()? {
            let inner = match (part, name.0.as_slice()) {
                (Part::File, b"log") => Part::Log,
                (Part::Log, b"entries") => Part::Entries,
                (Part::Entry, b"_webSocketMessages") => {
                    entry.has_messages = true;
                    Part::Messages
                }
                (Part::Entry, name) => {
                    read_member(&mut entry, name, &mut map)?;
                    continue;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            map.next_value_seed(Place { part: inner, reading })?;
        }
        if part == Part::Entry { reading.pass(|sink, line| sink.entry(entry, line)) } else { Ok(()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { part, reading } = self;
        match part {
            Part::Entries => {
                reading.has_entries = true;
                reading.progress.bytes.set(0);
                while list.next_element_seed(Place { part: Part::Entry, reading })?.is_some() {
                    reading.progress.bytes.set(0);
                }
                Ok(())
            }
            Part::Messages => {
                // What the entry has so far still counts.
                let before = reading.progress.bytes.get();
                while let Some(message) = list.next_element()? {
                    reading.pass(|sink, line| sink.message(message, line))?;
                    reading.progress.bytes.set(before);
                }
                Ok(())
            }
            _ => Err(A::Error::invalid_type(Unexpected::Seq, &Place { part, reading })),
        }
    }
}

/// Reads a member of an entry.
fn read_member<'de, A: MapAccess<'de>>(entry: &mut Entry, name: &[u8], map: &mut A) -> Result<(), A::Error> {
    match name {
        b"startedDateTime" => entry.started = map.next_value()?,
        b"time" => entry.time = map.next_value()?,
        b"request" => entry.request = map.next_value()?,
        b"response" => entry.response = map.next_value()?,
        b"_resourceType" => entry.resource_type = map.next_value()?,
        _ => {
            map.next_value::<IgnoredAny>()?;
        }
    }
    Ok(())
}
