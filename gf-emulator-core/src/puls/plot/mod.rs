//! Plots of jobs, seen from above, as SVG or PNG.
//!
//! A [`Plot`] is read in one pass and bounded memory, and can be drawn at any size. A PNG is the rendered SVG.

mod bed;
mod canvas;
mod caption;
mod charts;
mod colour;
mod diff;
mod dose_raster;
mod fire_spots;
mod layers;
mod legend;
mod moment;
mod page;
mod scale;
mod viewport;

#[cfg(test)]
mod tests;

use std::io::{Read, Write as _};
use std::ops::RangeInclusive;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg;

use super::svg_options::svg_options;
use super::{Error, Job, Measured, Meter, Result};
use layers::Layers;
use moment::{Moment, Parts};

/// The valid widths of a plot in pixels: from a small phone to a poster (A1 at 300 dpi).
pub const WIDTHS_PX: RangeInclusive<u32> = 240..=10_000;
/// The greatest distance from the bed's back left corner that is drawn, in mm, on either axis.
pub const MAX_DISTANCE_MM: f64 = 2_000.0;
/// The maximum size of the bands that a PNG is rendered in: 8 MiB, plus a few times as much in the renderer. A whole
/// plot could take 500 MB, plus as much for each copy.
const BAND_PIXELS: u32 = 2 << 20;

/// How a job is drawn.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlotOptions {
    /// The title, usually the file name. It may be any text; it is escaped, and truncated if too long.
    pub title: String,
    /// The width, clamped to [`WIDTHS_PX`]. The height depends on the content. Text and lines scale with the width, but
    /// stay readable.
    pub width_px: u32,
    /// What is shown.
    pub view: View,
    /// Where on the bed the job starts, in mm from the back left corner, which a pulse file does not tell. The default
    /// is that corner. Clamped to [`MAX_DISTANCE_MM`]; NaN counts as 0.
    pub start_mm: [f64; 2],
}

/// What a plot shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum View {
    /// The whole work area, and what is outside it.
    #[default]
    Bed,
    /// The extents of the job.
    Job,
}

impl PlotOptions {
    /// Creates options for the whole bed, 1200 pixels wide, with the start of the job at the back left.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), width_px: 1200, view: View::default(), start_mm: [0.0; 2] }
    }
}

/// A job, prepared for drawing.
///
/// Travel is drawn as thin lines, cuts as lines coloured by fire density, engravings as a raster of firing ticks. Below
/// are charts of speed, laser and lens over time, and the measurements.
///
/// Memory is bounded: after 200,000 points, further cuts are added to the raster, and after 100,000 points, further
/// travel is dropped, each with a remark in the plot. The raster takes up to 16 MiB, with a lower resolution for larger
/// jobs.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Job, Plot, PlotOptions};
///
/// let mut square = Builder::new();
/// square.move_to(20.0, 20.0)?;
/// for (x_mm, y_mm) in [(120.0, 20.0), (120.0, 120.0), (20.0, 120.0), (20.0, 20.0)] {
///     square.cut_to(x_mm, y_mm, 50.0, 3.0 / 7.0)?;
/// }
/// let file = square.to_gzip();
///
/// let plot = Plot::from_job(Job::open(&file[..])?)?;
/// let options = PlotOptions::new("square.puls");
/// let svg = plot.to_svg(&options);
/// assert!(svg.starts_with("<svg "));
/// let png = plot.to_png(&options)?;
/// assert!(png.starts_with(b"\x89PNG"));
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug)]
pub struct Plot {
    layers: Layers,
    /// What comes after the moment.
    rest: Option<Layers>,
    moment: Option<Moment>,
    measured: Measured,
}

impl Plot {
    /// Reads the part of a job that has not been read yet.
    ///
    /// # Errors
    /// Those of [`Job::next_chunk`].
    pub fn from_job<R: Read>(job: Job<R>) -> Result<Self> {
        Self::read(job, None, &mut || true).map(|(plot, _)| plot)
    }

    /// Reads a job as [`from_job`](Self::from_job) does, as long as `keep_going` returns `true`, which is called for
    /// every 64 KiB of the body. Returns `None` if it was stopped.
    ///
    /// # Errors
    /// Those of [`Job::next_chunk`].
    pub fn from_job_while<R: Read>(job: Job<R>, mut keep_going: impl FnMut() -> bool) -> Result<Option<Self>> {
        Self::read(job, None, &mut keep_going).map(|(plot, is_complete)| is_complete.then_some(plot))
    }

    /// Reads a job as [`from_job`](Self::from_job) does, and marks a moment: what comes after that many ticks is drawn
    /// faint, and the head's place is marked, in the charts as well. A moment after the end is the end.
    ///
    /// The measurements are those of the whole job. The raster takes up to twice as much memory.
    ///
    /// ```
    /// use gf_emulator_core::puls::{Builder, Job, Plot, PlotOptions};
    ///
    /// let file = Builder::new().move_to(20.0, 0.0)?.cut_to(20.0, 30.0, 50.0, 0.5)?.to_bytes();
    /// let job = Job::open(&file[..])?;
    /// let half_a_second = u64::from(job.header().step_frequency_hz().unwrap()) / 2;
    /// let svg = Plot::from_job_at(job, half_a_second)?.to_svg(&PlotOptions::new("line.puls"));
    /// assert!(svg.contains("At 0.50 s of "));
    /// # Ok::<(), gf_emulator_core::puls::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Job::next_chunk`].
    pub fn from_job_at<R: Read>(job: Job<R>, tick: u64) -> Result<Self> {
        Self::read(job, Some(tick), &mut || true).map(|(plot, _)| plot)
    }

    /// Returns the plot, and whether all of the job was read.
    fn read<R: Read>(
        mut job: Job<R>,
        at_tick: Option<u64>,
        keep_going: &mut dyn FnMut() -> bool,
    ) -> Result<(Self, bool)> {
        let mut meter = Meter::new(job.header());
        let mut parts = Parts::new(job.header(), at_tick);
        let mut is_complete = true;
        while let Some(chunk) = job.next_chunk()? {
            is_complete = keep_going();
            if !is_complete {
                break;
            }
            // Ticks first: a segment is complete after its last tick.
            parts.add_ticks(chunk);
            meter.add(chunk, &mut |segment| parts.add(segment));
        }
        let measured = meter.finish(&mut |segment| parts.add(segment));
        parts.finish();
        let Parts { layers, rest, moment, .. } = parts;
        Ok((Self { layers, rest, moment, measured }, is_complete))
    }

    /// Returns the measurements of the job.
    #[must_use]
    pub fn measured(&self) -> &Measured {
        &self.measured
    }

    /// Draws the plot as an SVG document with a size and a `viewBox`. It has no external references, no ids and no
    /// scripts, so that it can be embedded in a page.
    #[must_use]
    pub fn to_svg(&self, options: &PlotOptions) -> String {
        page::draw(self, options).to_string()
    }

    /// Draws the plot as a PNG file. Memory hardly depends on its size.
    ///
    /// # Errors
    /// [`Error::Picture`] if it cannot be rendered, for example for lack of memory.
    pub fn to_png(&self, options: &PlotOptions) -> Result<Vec<u8>> {
        render(&self.to_svg(options), BAND_PIXELS)
    }
}

/// Renders an SVG document as PNG, in bands of at most `band_pixels` or one row.
fn render(svg: &str, band_pixels: u32) -> Result<Vec<u8>> {
    let failed = |problem: &dyn std::fmt::Display| Error::Picture { problem: problem.to_string() };
    let tree = usvg::Tree::from_str(svg, &svg_options()).map_err(|e| failed(&e))?;
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
