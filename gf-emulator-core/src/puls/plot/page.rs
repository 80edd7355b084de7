//! The sheet of paper: what stands where on it, one thing below the other.

use svg::Document;
use svg::node::element::{Element, Rectangle, Text, Title};

use super::super::Seconds;
use super::scale::grouped;
use super::{Plot, Sheet, WIDTHS_PX, bed, caption, colour, legend, strips};

/// A glyph's mean width, in parts of the font's size; of the wider fonts in the list.
const GLYPH_EM: f64 = 0.6;
const FONTS: &str = "DejaVu Sans, Verdana, Arial, sans-serif";

/// A page being filled from top to bottom.
pub(super) struct Page {
    elements: Vec<Element>,
    pub(super) width: f64,
    /// The size of ordinary text, in pixels; everything else follows from it.
    pub(super) em: f64,
    /// What is left free at both sides.
    pub(super) margin: f64,
    /// How far it is filled.
    pub(super) y: f64,
}

/// The whole picture.
pub(super) fn draw(plot: &Plot, sheet: &Sheet) -> Document {
    let width = f64::from(sheet.width_px.clamp(*WIDTHS_PX.start(), *WIDTHS_PX.end()));
    // Text that can be read on a phone, and that grows with a poster.
    let em = (width / 75.0).max(11.0);
    let margin = if width < 50.0 * em { 0.8 * em } else { 1.6 * em };
    let mut page = Page { elements: Vec::new(), width, em, margin, y: margin };
    page.title(plot, sheet);
    bed::draw(&mut page, plot, sheet);
    legend::draw(&mut page, plot);
    strips::draw(&mut page, plot);
    caption::draw(&mut page, plot);
    page.finish(&sheet.title)
}

impl Page {
    pub(super) fn add(&mut self, element: impl Into<Element>) {
        self.elements.push(element.into());
    }

    /// A line of text that begins at `x` and stands on `y`.
    pub(super) fn text(&mut self, x: f64, y: f64, words: &str) {
        let text = self.label(x, y, words);
        self.add(text);
    }

    /// The same, to be changed before it is added.
    pub(super) fn label(&self, x: f64, y: f64, words: &str) -> Text {
        Text::new(words).set("x", n(x)).set("y", n(y)).set("font-size", n(0.9 * self.em)).set("fill", colour::INK)
    }

    /// About how wide text of that size (in parts of the ordinary one) is at the most.
    pub(super) fn width_of(&self, words: &str, size: f64) -> f64 {
        words.chars().count() as f64 * GLYPH_EM * size * self.em
    }

    fn title(&mut self, plot: &Plot, sheet: &Sheet) {
        const SIZE: f64 = 1.4;
        let measured = plot.measured();
        let title = printable(&sheet.title);
        self.y += SIZE * self.em;
        let room = self.width - 2.0 * self.margin;
        // Bold text is a sixth wider.
        let title = shortened(&title, room / (self.width_of("m", SIZE) * 1.17));
        let heading =
            self.label(self.margin, self.y, &title).set("font-size", n(SIZE * self.em)).set("font-weight", "bold");
        self.add(heading);
        self.y += 1.5 * self.em;
        let ticks = grouped(measured.ticks);
        let line = match (measured.run_time_s, measured.header.step_frequency_hz()) {
            (Some(run_time_s), Some(hz)) => {
                format!("{} ({ticks} ticks, {} a second)", Seconds(run_time_s), grouped(hz.into()))
            }
            _ => format!("{ticks} ticks; the header has no step frequency"),
        };
        let line = self.label(self.margin, self.y, &line).set("fill", colour::FAINT);
        self.add(line);
        self.y += self.em;
    }

    fn finish(self, title: &str) -> Document {
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

/// A length to a hundredth of a pixel, without zeros at its end.
pub(super) fn n(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// At most so many characters, the last one dots where it is cut.
fn shortened(text: &str, chars: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let most = chars as usize;
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Without what must not be in an XML document or would change the line's direction: a name is somebody else's text.
fn printable(text: &str) -> String {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
    };
    text.chars().map(|c| if odd(c) { '\u{fffd}' } else { c }).collect()
}
