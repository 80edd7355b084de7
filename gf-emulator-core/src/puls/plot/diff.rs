//! The picture of what differs between two jobs: where the laser fires in one of them, or in both.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use svg::node::element::{Image, Rectangle};

use super::super::diff::Kind;
use super::super::{Difference, Measured, Result};
use super::canvas::{Canvas, n};
use super::viewport::Viewport;
use super::{BAND_PIXELS, PlotOptions, WIDTHS_PX, bed, caption, colour, legend, page, render};

/// The colours of what is only in the first job, only in the second, and in both, in the order of [`Kind`].
const COLOURS: [(&str, &str); 3] =
    [(colour::LASER, "only in A"), (colour::ONLY_B, "only in B"), (colour::TRAVEL, "in both")];
/// The maximum width and height of the image, in pixels.
const MAX_PIXELS: i64 = 6_000;

impl Difference {
    /// Draws where the lasers fire, on one bed: only in the first job (A) in one colour, only in the second (B) in
    /// another, in both grey, on a grid of 0.1 mm. Below are the numbers.
    #[must_use]
    pub fn to_svg(&self, options: &PlotOptions) -> String {
        let mut canvas = Canvas::new(f64::from(options.width_px.clamp(*WIDTHS_PX.start(), *WIDTHS_PX.end())));
        page::draw_heading(&mut canvas, &options.title);
        canvas.y += canvas.em;
        let viewport = Viewport::new(&canvas, reach_mm(&self.a, &self.b), options);
        let image = image(self, &viewport);
        viewport.draw(&mut canvas, |inside| image.into_iter().fold(inside, svg::node::element::SVG::add));
        let em = canvas.em;
        if let Some(start) = viewport.on_canvas((0.0, 0.0)) {
            canvas.add(bed::marker(false, start, em));
        }
        let sample = |colour: &str| {
            let sample = Rectangle::new().set("width", n(2.4 * em)).set("height", n(0.6 * em)).set("y", n(-0.3 * em));
            vec![sample.set("fill", colour).into()]
        };
        let items = COLOURS.iter().map(|&(colour, words)| (words.to_owned(), sample(colour)));
        let start = ("start".to_owned(), vec![bed::marker(false, (1.2 * em, 0.0), em)]);
        legend::draw_items(&mut canvas, std::iter::once(start).chain(items).collect());
        let mut rows = self.rows();
        let codes: Vec<_> = self.codes.iter().map(|found| found.code.to_string()).collect();
        rows.push(("header", if codes.is_empty() { "no difference".to_owned() } else { codes.join(", ") }));
        caption::draw_rows(&mut canvas, &rows);
        canvas.finish(&options.title).to_string()
    }

    /// Draws the picture as a PNG file.
    ///
    /// # Errors
    /// [`Error::Picture`](super::super::Error::Picture) if it cannot be rendered, for example for lack of memory.
    pub fn to_png(&self, options: &PlotOptions) -> Result<Vec<u8>> {
        render(&self.to_svg(options), BAND_PIXELS)
    }
}

/// Returns how far the two jobs reach from their start, in mm.
fn reach_mm(a: &Measured, b: &Measured) -> [[f64; 2]; 2] {
    let of = |job: &Measured| {
        let (header, extents) = (&job.header, &job.extents);
        [
            [header.x_mm(extents.x.min), header.x_mm(extents.x.max)],
            [header.y_mm(extents.y.min), header.y_mm(extents.y.max)],
        ]
    };
    let (a, b) = (of(a), of(b));
    [0, 1].map(|axis| [a[axis][0].min(b[axis][0]), a[axis][1].max(b[axis][1])])
}

/// Draws the cells. If they are smaller than a pixel, some are one; a difference is seen above all.
fn image(found: &Difference, viewport: &Viewport) -> Option<Image> {
    let pitch_mm = found.marks.pitch_mm();
    // Lines of two pixels at least.
    #[expect(clippy::cast_possible_truncation, reason = "a small positive number")]
    let factor = (1.2 / (pitch_mm * viewport.px_per_mm)).ceil().clamp(1.0, 1e6) as i32;
    let pixel_mm = pitch_mm * f64::from(factor);
    let grows = pixel_mm * viewport.px_per_mm < 2.4;
    let mut pixels: HashMap<(i32, i32), Kind> = HashMap::new();
    for (column, row, kind) in found.marks.kinds() {
        let mm = (f64::from(column) * pitch_mm, f64::from(row) * pitch_mm);
        let (x, y) = viewport.px(mm);
        if x < -1.0 || y < -1.0 || x > viewport.width() || y > viewport.height() {
            continue;
        }
        let at = (column.div_euclid(factor), row.div_euclid(factor));
        for (across, down) in [(0, 0), (1, 0), (0, 1), (1, 1)].into_iter().take(if grows { 4 } else { 1 }) {
            let pixel = pixels.entry((at.0 + across, at.1 + down)).or_insert(kind);
            if *pixel == Kind::Both {
                *pixel = kind;
            }
        }
    }
    let left = pixels.keys().map(|at| at.0).min()?;
    let right = pixels.keys().map(|at| at.0).max()?;
    let top = pixels.keys().map(|at| at.1).min()?;
    let bottom = pixels.keys().map(|at| at.1).max()?;
    let size = |from: i32, to: i32| u32::try_from((i64::from(to) - i64::from(from) + 1).min(2 * MAX_PIXELS)).ok();
    let (width, height) = (size(left, right)?, size(top, bottom)?);
    let mut indices = vec![0; width as usize * height as usize];
    for ((column, row), kind) in pixels {
        let i = i64::from(row - top) * i64::from(width) + i64::from(column - left);
        if let Some(index) = usize::try_from(i).ok().and_then(|i| indices.get_mut(i)) {
            *index = kind as u8 + 1;
        }
    }
    let png = encode(width, height, &indices)?;
    let (x, y) = viewport.px((f64::from(left) * pixel_mm, f64::from(top) * pixel_mm));
    let px = |pixels: u32| n(f64::from(pixels) * pixel_mm * viewport.px_per_mm);
    let image = Image::new().set("x", n(x)).set("y", n(y)).set("width", px(width)).set("height", px(height));
    let href = format!("data:image/png;base64,{}", BASE64.encode(png));
    Some(image.set("preserveAspectRatio", "none").set("href", href))
}

fn encode(width: u32, height: u32, indices: &[u8]) -> Option<Vec<u8>> {
    let rgb = |colour: &str| [1, 3, 5].map(|at| u8::from_str_radix(&colour[at..at + 2], 16).unwrap_or_default());
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    let palette: Vec<u8> = COLOURS.iter().flat_map(|(colour, _)| rgb(colour)).collect();
    encoder.set_palette([&[255; 3][..], &palette].concat());
    encoder.set_trns(vec![0, 255, 255, 255]);
    // Writing to memory does not fail.
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(indices).ok()?;
    writer.finish().ok()?;
    Some(bytes)
}
