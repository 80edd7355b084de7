//! A job as a picture: where the head goes and what the laser does there, seen from above.
//!
//! A [`Plot`] is read from a job in one pass, in bounded memory, and can then be drawn at any size: as SVG, and as PNG,
//! which is the same SVG rendered.

mod bed;
mod caption;
mod colour;
mod dose;
mod legend;
mod marks;
mod page;
mod scale;
mod sketch;
mod strips;

#[cfg(test)]
mod tests;

use std::io::{Read, Write as _};
use std::ops::RangeInclusive;
use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{self, ImageHrefResolver, Options};

use super::{Error, Job, Measured, Meter, Result};
use marks::Marks;
use sketch::Sketch;

/// How wide a picture may be, in pixels: from a small phone's to a poster's (A1 at 300 dpi).
pub const WIDTHS_PX: RangeInclusive<u32> = 240..=10_000;
/// The work area: 495 mm from left to right, 279 mm from back to front.
pub const WORK_AREA_MM: (f64, f64) = (495.0, 279.0);
/// Nothing farther than this from the bed's back left corner is drawn, in mm, on either axis.
pub const FARTHEST_MM: f64 = 2_000.0;
/// A picture is rendered in bands of at most so many pixels: 8 MiB, and some times as much for what the renderer keeps
/// beside it. All of the picture at once would be up to 500 MB, and as much again for each copy.
const BAND_PIXELS: u32 = 2 << 20;

/// How a job is drawn.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sheet {
    /// Stands above the picture; usually the file's name. It may be anything: it is escaped, and cut where it is too long.
    pub title: String,
    /// How wide the picture is, within [`WIDTHS_PX`] (the nearest of these where it is not). How high it is follows from
    /// what is in it. Text and lines get larger with it, from a readable size up.
    pub width_px: u32,
    /// What the picture shows.
    pub view: View,
    /// Where on the bed the job begins, in mm from the back left corner, which is where it begins by default. A pulse file
    /// does not say. Each within [`FARTHEST_MM`] (the nearest of these where it is not, 0 where it is not a number).
    pub start_mm: (f64, f64),
}

/// What a picture of a job shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    /// The whole work area, and what the job reaches outside of it.
    #[default]
    Bed,
    /// As much of it as the job reaches.
    Job,
}

impl Sheet {
    /// The whole bed, 1200 pixels wide, the job beginning at the back left.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), width_px: 1200, view: View::default(), start_mm: (0.0, 0.0) }
    }
}

/// A job, ready to be drawn.
///
/// Travel is thin lines, cuts are lines coloured by fire density, engravings a raster of dose: how often the laser fires
/// in a pixel. Below are speed and laser over time, and the job's numbers.
///
/// Memory is bounded, whatever the job: past 200,000 points further cuts are drawn as dose as well, past 100,000 further
/// travel is left out (and the picture says so); the raster takes up to 16 MiB and gets coarser rather than larger.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Job, Plot, Sheet};
///
/// let mut square = Builder::new();
/// square.move_to(20.0, 20.0)?;
/// for (x_mm, y_mm) in [(120.0, 20.0), (120.0, 120.0), (20.0, 120.0), (20.0, 20.0)] {
///     square.cut_to(x_mm, y_mm, 50.0, 3.0 / 7.0)?;
/// }
/// let file = square.to_gzip();
///
/// let plot = Plot::of(Job::open(&file[..])?)?;
/// let svg = plot.to_svg(&Sheet::new("square.puls"));
/// assert!(svg.starts_with("<svg "));
/// let png = plot.to_png(&Sheet::new("square.puls"))?;
/// assert!(png.starts_with(b"\x89PNG"));
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug)]
pub struct Plot {
    sketch: Sketch,
    measured: Measured,
}

impl Plot {
    /// Reads what is left of a job, all of it for one that has just been opened.
    ///
    /// # Errors
    /// Those of [`Job::next_chunk`].
    pub fn of<R: Read>(job: Job<R>) -> Result<Self> {
        Self::read(job, &mut || true).map(|(plot, _)| plot)
    }

    /// The same, for as long as `go_on` says so: it is asked once in 64 KiB of the body. Nothing where it was ended.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_while<R: Read>(job: Job<R>, mut go_on: impl FnMut() -> bool) -> Result<Option<Self>> {
        Self::read(job, &mut go_on).map(|(plot, is_whole)| is_whole.then_some(plot))
    }

    /// Reads a job, and says whether that was all of it.
    fn read<R: Read>(mut job: Job<R>, go_on: &mut dyn FnMut() -> bool) -> Result<(Self, bool)> {
        let mut meter = Meter::new(job.header());
        let mut sketch = Sketch::new(job.header());
        let mut marks = Marks::default();
        let mut is_whole = true;
        while let Some(chunk) = job.next_chunk()? {
            is_whole = go_on();
            if !is_whole {
                break;
            }
            // A segment is handed over behind its ticks, never before.
            marks.add(chunk);
            meter.add(chunk, &mut |segment| sketch.add(segment, &mut marks));
        }
        let measured = meter.finish(&mut |segment| sketch.add(segment, &mut marks));
        sketch.finish();
        Ok((Self { sketch, measured }, is_whole))
    }

    /// What was measured on the way.
    #[must_use]
    pub fn measured(&self) -> &Measured {
        &self.measured
    }

    /// The picture as an SVG document. It has a size, and a `viewBox` for those who want another one. Nothing in it refers
    /// to anything outside, no element has an id, and no script is in it: it can stand inside a page.
    #[must_use]
    pub fn to_svg(&self, sheet: &Sheet) -> String {
        page::draw(self, sheet).to_string()
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// [`Error::Picture`] where it cannot be rendered: there is no known reason for that but want of memory. It is rendered
    /// in bands, so that memory hardly grows with its size.
    pub fn to_png(&self, sheet: &Sheet) -> Result<Vec<u8>> {
        render(&self.to_svg(sheet), BAND_PIXELS)
    }
}

/// Renders an SVG document as PNG, at most so many pixels at a time, and a row at least.
fn render(svg: &str, band_pixels: u32) -> Result<Vec<u8>> {
    let failed = |problem: &dyn std::fmt::Display| Error::Picture { problem: problem.to_string() };
    let tree = usvg::Tree::from_str(svg, &options()).map_err(|e| failed(&e))?;
    let (width, height) = (tree.size().to_int_size().width(), tree.size().to_int_size().height());
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(|e| failed(&e))?;
    let mut pixels = writer.stream_writer().map_err(|e| failed(&e))?;
    let rows = (band_pixels / width).max(1);
    for top in (0..height).step_by(rows as usize) {
        let mut band =
            Pixmap::new(width, rows.min(height - top)).ok_or_else(|| failed(&"a row has too many pixels"))?;
        resvg::render(&tree, Transform::from_translate(0.0, -(top as f32)), &mut band.as_mut());
        pixels.write_all(&band.take_demultiplied()).map_err(|e| failed(&e))?;
    }
    pixels.finish().and_then(|()| writer.finish()).map_err(|e| failed(&e))?;
    Ok(bytes)
}

/// Fonts come with the library, so that a picture is the same everywhere; a picture refers to no file.
fn options() -> Options<'static> {
    const FAMILY: &str = "DejaVu Sans";
    let mut options = Options { font_family: FAMILY.to_owned(), ..Options::default() };
    let fonts = options.fontdb_mut();
    for font in [dejavu::sans::regular(), dejavu::sans::bold()] {
        fonts.load_font_source(usvg::fontdb::Source::Binary(Arc::new(font)));
    }
    fonts.set_sans_serif_family(FAMILY);
    options.image_href_resolver =
        ImageHrefResolver { resolve_string: Box::new(|_, _| None), ..ImageHrefResolver::default() };
    options
}
