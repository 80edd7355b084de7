//! An entry as it stands in the recording, for who wants to see it: JSON, indented, and no more of it than is bearable.

use std::io::{self, Write};

use maud::{Markup, html};

use super::said::Said;
use crate::record::{Entry, SESSION_FILE};

/// The JSON of one entry: most have a few hundred bytes, a settings report twelve thousand.
pub(super) const MOST_BYTES: usize = 128 << 10;

/// The entry's JSON, at most so much of it; `is_shortened` says that the entry itself is not whole.
pub(super) fn json(entry: &Entry, is_shortened: bool, most_bytes: usize) -> Markup {
    let mut to = Bounded { text: Vec::new(), most_bytes };
    let whole = serde_json::to_writer_pretty(&mut to, entry).is_ok();
    let text = String::from_utf8_lossy(&to.text);
    // A character that was cut in two says nothing.
    let text = if whole { &text } else { text.trim_end_matches('\u{fffd}') };
    html! {
        pre { (Said(text)) }
        @if !whole || is_shortened {
            p.note { "This is not all of it: line " (entry.n.saturating_add(1)) " of " (SESSION_FILE) " is." }
        }
    }
}

/// Takes so many bytes and no more. Indented, a line of brackets is a hundred times as long as it was.
struct Bounded {
    text: Vec<u8>,
    most_bytes: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.most_bytes - self.text.len();
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
