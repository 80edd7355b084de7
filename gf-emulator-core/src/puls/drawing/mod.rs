//! Drawings from other programs, as moves of a job.
//!
//! One module per kind of drawing. G-code becomes moves while it is read; path data and [`svg`] files become contours, to be
//! put in [`order`](order()) and [`cut`], and rasters.

mod contour;
pub mod gcode;
mod kind;
mod layer_jobs;
mod layer_settings;
mod layers;
mod nesting;
mod order;
pub(super) mod picture;
pub(super) mod raster;
mod region;
mod resample;
pub mod svg;
mod svg_drawing;
mod svg_element;
mod svg_limits;
mod svg_page;
mod svg_pictures;
mod svg_raster;
mod svg_reader;
pub mod svgpath;
mod text_position;
mod tour;

pub use contour::{Contour, cut};
pub use layer_settings::{LayerSettings, Treatment};
pub use layers::Layers;
pub use order::{order, travel_mm};
pub use region::FillRule;

use std::io::Read;

use super::make::{Checkpoint, check_coordinate};
use super::source::DecodingReader;
use super::{Builder, Error, Laser, Move, Result};
pub use kind::DrawingKind;

/// The longest drawing that is read, in bytes.
pub const MAX_DRAWING_BYTES: usize = 64 << 20;

/// The greatest distance between a chord and its curve: half a microstep.
const TOLERANCE_MM: f64 = 0.01;
const MM_PER_INCH: f64 = 25.4;
/// A microstep of X and Y.
const STEP_MM: f64 = 0.018_75;
/// The size of a pixel in SVG and CSS, and of a picture without another size.
const MM_PER_PX: f64 = MM_PER_INCH / 96.0;
/// The slowest and the fastest speed that settings may ask for.
const MIN_SPEED_MM_S: f64 = 0.1;
const MAX_SPEED_MM_S: f64 = 10_000.0;
/// The longest queue. The head comes to rest when it is flushed.
const MAX_QUEUED_MOVES: usize = 1 << 18;

/// Where on the bed a drawing is placed. G-code starts at its origin: the head travels there first.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Placement {
    /// The drawing's origin, in mm to the right of the start of the job.
    pub x_mm: f64,
    /// The drawing's origin, in mm to the front of the start of the job.
    pub y_mm: f64,
    /// Whether the drawing's Y axis points to the back, as in most G-code. That of the machine, and of SVG, points to
    /// the front.
    pub flip_y: bool,
}

impl Placement {
    /// Places a drawing's origin, without flipping its Y axis.
    #[must_use]
    pub fn at(x_mm: f64, y_mm: f64) -> Self {
        Self { x_mm, y_mm, flip_y: false }
    }

    /// Returns where a position in the drawing is, in mm from the start of the job.
    fn place(self, [x, y]: [f64; 2]) -> Result<[f64; 2]> {
        let placed = [self.x_mm + x, if self.flip_y { self.y_mm - y } else { self.y_mm + y }];
        placed.into_iter().try_for_each(check_coordinate)?;
        Ok(placed)
    }

    /// Returns the position in the drawing of a place in mm from the start of the job.
    fn find(self, [x_mm, y_mm]: [f64; 2]) -> [f64; 2] {
        [x_mm - self.x_mm, if self.flip_y { self.y_mm - y_mm } else { y_mm - self.y_mm }]
    }
}

/// Queues the moves of a drawing until the head has to stop, and then adds them to the job as one path.
struct MoveQueue<'a> {
    job: &'a mut Builder,
    before: Checkpoint,
    placement: Placement,
    moves: Vec<Move>,
}

impl<'a> MoveQueue<'a> {
    fn new(job: &'a mut Builder, placement: Placement) -> Result<Self> {
        for value in [placement.x_mm, placement.y_mm] {
            check_coordinate(value)?;
        }
        let before = job.checkpoint();
        Ok(Self { job, before, placement, moves: Vec::new() })
    }

    /// Queues a straight move to a position in the drawing, in mm.
    fn line_to(&mut self, [x, y]: [f64; 2], speed_mm_s: f64, laser: Laser) -> Result<()> {
        let [x_mm, y_mm] = self.placement.place([x, y])?;
        self.moves.push(Move { x_mm, y_mm, speed_mm_s, laser });
        if self.moves.len() < MAX_QUEUED_MOVES { Ok(()) } else { self.flush() }
    }

    fn travel_to(&mut self, to: [f64; 2]) -> Result<()> {
        self.line_to(to, self.job.travel_speed_mm_s(), Laser::Off)
    }

    /// Adds the queued moves to the job. The head comes to rest.
    fn flush(&mut self) -> Result<()> {
        self.job.path(&self.moves)?;
        self.moves.clear();
        Ok(())
    }

    /// Flushes the queue after a drawing, or restores the job if the drawing has failed.
    fn finish(mut self, result: Result<()>) -> Result<()> {
        let result = result.and_then(|()| self.flush());
        if result.is_err() {
            self.job.restore(self.before);
        }
        result
    }
}

/// Reads a drawing, and decompresses it if it is gzip-compressed. Takes no more memory than the longest drawing.
///
/// # Errors
/// - [`Error::Make`] if it is longer than [`MAX_DRAWING_BYTES`] after decompression.
/// - [`Error::Io`] if the reader fails, and the `Gzip` variants for damaged compressed data.
pub fn read_drawing(reader: impl Read) -> Result<Vec<u8>> {
    let mut reader = DecodingReader::new(reader, Some(MAX_DRAWING_BYTES as u64))?;
    let (mut drawing, mut chunk) = (Vec::new(), vec![0; 32 * 1024]);
    loop {
        match reader.read(&mut chunk)? {
            0 => return Ok(drawing),
            bytes => drawing.extend_from_slice(&chunk[..bytes]),
        }
        check_length(&drawing)?;
    }
}

fn check_length(drawing: &[u8]) -> Result<()> {
    if drawing.len() <= MAX_DRAWING_BYTES {
        return Ok(());
    }
    Err(Error::Make { what: "a drawing in bytes of", value: drawing.len() as f64, expected: "at most 67108864" })
}
