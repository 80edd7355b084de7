//! Tells the kinds of drawings apart.

use super::gcode;

/// A kind of drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DrawingKind {
    /// G-code, for [`gcode::draw`].
    Gcode,
    /// SVG path data, for [`svgpath::draw`](super::svgpath::draw).
    PathData,
    /// A whole SVG file.
    Svg,
    /// A PNG picture.
    Png,
    /// A JPEG picture.
    Jpeg,
}

/// How much of a drawing is looked at for its kind.
const START_BYTES: usize = 64 * 1024;

impl DrawingKind {
    /// Tells the kind from a file name's extension, without the dot, in any case. Returns `None` if it does not tell.
    ///
    /// ```
    /// use gf_emulator_core::puls::DrawingKind;
    ///
    /// assert_eq!(DrawingKind::from_extension("NC"), Some(DrawingKind::Gcode));
    /// assert_eq!(DrawingKind::from_extension("txt"), None);
    /// ```
    #[must_use]
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "gcode" | "gc" | "gco" | "g" | "nc" | "ngc" | "cnc" | "tap" => Some(Self::Gcode),
            "svgpath" => Some(Self::PathData),
            "svg" | "svgz" => Some(Self::Svg),
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            _ => None,
        }
    }

    /// Tells the kind from the start of a drawing, after decompression. Returns `None` if it looks like none of them.
    ///
    /// ```
    /// use gf_emulator_core::puls::DrawingKind;
    ///
    /// assert_eq!(DrawingKind::detect(b"M3 S500\nG1 X10 F600"), Some(DrawingKind::Gcode));
    /// assert_eq!(DrawingKind::detect(b"M3 5 H10"), Some(DrawingKind::PathData));
    /// ```
    #[must_use]
    pub fn detect(drawing: &[u8]) -> Option<Self> {
        if drawing.starts_with(b"\x89PNG\r\n\x1a\n") {
            return Some(Self::Png);
        }
        if drawing.starts_with(b"\xff\xd8\xff") {
            return Some(Self::Jpeg);
        }
        let start = &drawing[..drawing.len().min(START_BYTES)];
        let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
        if text.starts_with(b"<") {
            return text.windows(4).any(|tag| matches!(tag, b"<svg" | b":svg")).then_some(Self::Svg);
        }
        if is_path_data(text) {
            return Some(Self::PathData);
        }
        gcode::looks_like(text).then_some(Self::Gcode)
    }
}

/// Returns whether text starts as every path does: `M` and two numbers. G-code has one after a letter.
fn is_path_data(text: &[u8]) -> bool {
    let (Some(b'M' | b'm'), Some(rest)) = (text.first(), text.get(1..)) else { return false };
    let rest = rest.trim_ascii_start();
    let signed = usize::from(matches!(rest.first(), Some(b'+' | b'-')));
    let digits = rest[signed..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let second = rest[signed + digits..].trim_ascii_start();
    digits > 0 && matches!(second.first(), Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_are_told_by_their_start() {
        for (text, kind) in [
            (&b"M10 10 H50"[..], Some(DrawingKind::PathData)),
            (b"\n m.5,-3l2 2", Some(DrawingKind::PathData)),
            (b"M-1-5 z", Some(DrawingKind::PathData)),
            (b"M3 S500", Some(DrawingKind::Gcode)),
            (b"M5\nG0 X1", Some(DrawingKind::Gcode)),
            (b"\xef\xbb\xbf; LightBurn\n\nG00 G17", Some(DrawingKind::Gcode)),
            (b"%\nO0001\n(x)\nN10 G21", Some(DrawingKind::Gcode)),
            (b"$32=1\n\ng1x5", Some(DrawingKind::Gcode)),
            (b"X10 Y5", Some(DrawingKind::Gcode)),
            (b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg/>", Some(DrawingKind::Svg)),
            (b"<html>", None),
            (b"\x89PNG\r\n\x1a\n\0", Some(DrawingKind::Png)),
            (b"\xff\xd8\xff\xe0", Some(DrawingKind::Jpeg)),
            (b"", None),
            (b"M", None),
            (b"; a comment", None),
            (b"Dear reader, 5 is a number", None),
            (b"x", None),
            (b"G one", None),
        ] {
            assert_eq!(DrawingKind::detect(text), kind, "{}", text.escape_ascii());
        }
    }
}
