//! A string of a HAR file, which may stand for bytes.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};

/// A string as bytes. Python programs write a byte that is not UTF-8 as a lone surrogate (`\udc80` to `\udcff`): it
/// becomes that byte again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in super::super) struct Text(pub(in super::super) Vec<u8>);

impl Text {
    /// Returns the text; what is not UTF-8 is replaced.
    pub(in super::super) fn into_string(self) -> String {
        String::from_utf8(self.0).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As bytes: serde_json then accepts lone surrogates, and encodes them like other characters (WTF-8).
        deserializer.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Text, E> {
        Ok(Text(unescape_surrogates(bytes)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.as_bytes().to_vec()))
    }
}

/// Replaces lone surrogates in WTF-8, which are three bytes from `ed a0 80` to `ed bf bf`.
fn unescape_surrogates(mut from: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(from.len());
    while let Some(at) = from.windows(3).position(|three| three[0] == 0xed && three[1] >= 0xa0) {
        bytes.extend_from_slice(&from[..at]);
        match from[at + 1..at + 3] {
            // U+DC80 to U+DCFF: the lower eight bits are the byte.
            [high @ (0xb2 | 0xb3), low] => bytes.push((high & 3) << 6 | low & 0x3f),
            _ => bytes.extend_from_slice("\u{fffd}".as_bytes()),
        }
        from = &from[at + 3..];
    }
    bytes.extend_from_slice(from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_stand_for_bytes() {
        for (json, bytes) in [
            (r#""plain \u00e9 \ud83d\ude00""#, "plain é 😀".as_bytes()),
            (r#""\udcff\udc80x\udcd8""#, b"\xff\x80x\xd8"),
            (r#""a\ud800b""#, "a\u{fffd}b".as_bytes()),
            (r#""""#, b""),
        ] {
            let text: Text = serde_json::from_reader(json.as_bytes()).unwrap();
            assert_eq!(text.0, bytes, "{json}");
        }
        assert!(serde_json::from_str::<Text>("7").is_err());
    }
}
