//! The drawing surface: SVG elements, placed from top to bottom.

use svg::Document;
use svg::node::element::{Element, Rectangle, Text, Title};

use super::colour;

/// The mean width of a glyph in the widest of [`FONTS`], relative to the font size.
const GLYPH_EM: f64 = 0.6;
const FONTS: &str = "DejaVu Sans, Verdana, Arial, sans-serif";

/// An SVG document that is filled from top to bottom.
pub(super) struct Canvas {
    elements: Vec<Element>,
    pub(super) width: f64,
    /// The base font size in pixels, to which all other sizes are relative.
    pub(super) em: f64,
    /// The margin on both sides.
    pub(super) margin: f64,
    /// The bottom of what has been drawn.
    pub(super) y: f64,
}

impl Canvas {
    pub(super) fn new(width: f64) -> Self {
        // Readable on a phone, and larger on a poster.
        let em = (width / 75.0).max(11.0);
        let margin = if width < 50.0 * em { 0.8 * em } else { 1.6 * em };
        Self { elements: Vec::new(), width, em, margin, y: margin }
    }

    pub(super) fn add(&mut self, element: impl Into<Element>) {
        self.elements.push(element.into());
    }

    /// Draws a line of text that starts at `x` with its baseline at `y`.
    pub(super) fn text(&mut self, x: f64, y: f64, words: &str) {
        let text = self.label(x, y, words);
        self.add(text);
    }

    /// Creates a line of text, to be styled and added.
    pub(super) fn label(&self, x: f64, y: f64, words: &str) -> Text {
        Text::new(words).set("x", n(x)).set("y", n(y)).set("font-size", n(0.9 * self.em)).set("fill", colour::INK)
    }

    /// Estimates the width of text, at most, for a font size relative to the base size.
    pub(super) fn text_width(&self, words: &str, size: f64) -> f64 {
        words.chars().count() as f64 * GLYPH_EM * size * self.em
    }

    pub(super) fn finish(self, title: &str) -> Document {
        let height = (self.y + self.margin).ceil();
        let paper = Rectangle::new().set("width", n(self.width)).set("height", n(height)).set("fill", colour::PAPER);
        let document = Document::new().add(Title::new(printable(title))).add(paper);
        self.elements
            .into_iter()
            .fold(document, Document::add)
            .set("width", n(self.width))
            .set("height", n(height))
            .set("viewBox", format!("0 0 {} {}", n(self.width), n(height)))
            .set("font-family", FONTS)
            .set("role", "img")
    }
}

/// Formats a length with up to two decimals.
pub(super) fn n(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Replaces characters that are invalid in XML or change the text direction: titles are untrusted.
pub(super) fn printable(text: &str) -> String {
    let is_unsafe = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
    };
    text.chars().map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect()
}
