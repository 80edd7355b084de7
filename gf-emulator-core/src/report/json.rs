//! An entry's JSON, indented and truncated.

use std::io::{self, Write};

use maud::{Markup, html};

use super::escape::Escaped;
use crate::record::{Entry, SESSION_FILE};

/// The most JSON shown of one entry. Most entries have a few hundred bytes, a settings report has twelve thousand.
pub(super) const MAX_BYTES: usize = 128 << 10;

/// Renders at most `max_bytes` of the entry's JSON. `is_shortened` says that values are missing from `entry` itself.
pub(super) fn json(entry: &Entry, is_shortened: bool, max_bytes: usize) -> Markup {
    let mut to = BoundedBuffer { bytes: Vec::new(), max_bytes };
    let is_whole = serde_json::to_writer_pretty(&mut to, entry).is_ok();
    let text = String::from_utf8_lossy(&to.bytes);
    // Without the half of a character that was cut in two.
    let text = if is_whole { &text } else { text.trim_end_matches('\u{fffd}') };
    html! {
        pre { (Escaped(text)) }
        @if !is_whole || is_shortened {
            p.note { "Truncated. The full entry is line " (entry.n.saturating_add(1)) " of " (SESSION_FILE) "." }
        }
    }
}

/// A buffer that fails when it is full. Indentation can make deeply nested JSON a hundred times longer.
struct BoundedBuffer {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl Write for BoundedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.max_bytes - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_deeply_nested_json_between_characters() {
        let deep = (0..100).fold(serde_json::json!(["ä"]), |inner, _| serde_json::json!([inner]));
        let entry = serde_json::json!({"n": 4, "t": 0.4, "at": "", "kind": "in", "bytes": 1, "json": deep});
        let entry: Entry = serde_json::from_value(entry).unwrap();
        let full = serde_json::to_string_pretty(&entry).unwrap();
        let at = full.find('ä').unwrap();
        for max_bytes in [0, at - 1, at, at + 1, at + 2, full.len() - 1, full.len()] {
            let shown = json(&entry, false, max_bytes).into_string();
            assert!(!shown.contains('\u{fffd}'), "{max_bytes}");
            assert_eq!(shown.contains('ä'), max_bytes >= at + 'ä'.len_utf8(), "{max_bytes}");
            assert_eq!(shown.contains("line 5 of session.jsonl"), max_bytes < full.len(), "{max_bytes}");
        }
    }
}
