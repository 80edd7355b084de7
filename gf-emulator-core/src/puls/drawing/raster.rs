//! Rows of pixels to engrave, and how they become jobs.
//!
//! Each row is one pass along X, alternately to the right and to the left. Before the first pixel that is not white and
//! after the last one, the head speeds up and slows down with the laser off. White rows are skipped.

use serde::Deserialize;

use super::super::limit::limit;
use super::super::make::dither::Dither;
use super::super::{Builder, Error, Laser, Move, Result, WORK_AREA_MM};
use super::{MM_PER_INCH, Placement, STEP_MM, check_coordinate};

/// The largest raster: more than the bed of the machine at 1270 dots per inch.
pub const MAX_RASTER_PIXELS: usize = limit(400_000_000);
/// The valid resolutions of engravings, in rows per inch. A row is at least one microstep high.
pub const ENGRAVING_DPI: std::ops::RangeInclusive<f64> = 10.0..=1_354.0;

pub(super) fn check_dpi(dpi: f64) -> Result<()> {
    if ENGRAVING_DPI.contains(&dpi) {
        return Ok(());
    }
    Err(Error::Make { what: "a resolution of", value: dpi, expected: "10 to 1354 rows per inch" })
}

/// What is engraved, pixel by pixel.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Raster {
    /// The left and back edge, in mm of the drawing.
    pub position_mm: [f64; 2],
    /// The side of a pixel in mm.
    pub pixel_mm: f64,
    /// The number of pixels in a row.
    pub width: usize,
    /// The rows, one after the other, from the back one on: 0 is nothing, 255 is black.
    pub pixels: Vec<u8>,
}

/// How the darkness of a pixel becomes dose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Shading {
    /// The fire density is proportional to the darkness. Tubes do not mark below a density of about 0.1 (measured on one
    /// machine).
    #[default]
    Density,
    /// Each pixel is black or white, and its error is spread to its neighbours (Floyd-Steinberg).
    Diffusion,
    /// Each pixel is black or white, by a pattern of 8 x 8 thresholds (Bayer).
    Ordered,
}

/// How a raster is engraved.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Engraving {
    /// Where the drawing's origin is placed.
    pub placement: Placement,
    /// The speed of a row, in mm/s. Slower where the head speeds up and slows down; the dose per millimetre stays the same.
    pub speed_mm_s: f64,
    /// The fire density of black, 0 to 1.
    pub density: f64,
    /// How grey is engraved.
    pub shading: Shading,
}

impl Engraving {
    /// Creates settings that engrave at the start of the job, with grey as density.
    #[must_use]
    pub fn new(speed_mm_s: f64, density: f64) -> Self {
        Self { placement: Placement::default(), speed_mm_s, density, shading: Shading::default() }
    }
}

impl Raster {
    /// Creates a raster at the drawing's origin from rows of pixels, with the same meaning as [`Raster::pixels`].
    ///
    /// # Errors
    /// [`Error::Make`] if it has no pixels or more than [`MAX_RASTER_PIXELS`], their number is no multiple of `width`, or a
    /// pixel is smaller than a microstep.
    pub fn new(width: usize, pixels: Vec<u8>, pixel_mm: f64) -> Result<Self> {
        let count = pixels.len();
        if width == 0 || count == 0 || count > MAX_RASTER_PIXELS || !count.is_multiple_of(width) {
            let expected = "1 to 400000000, in rows of one length";
            return Err(Error::Make { what: "a number of pixels of", value: count as f64, expected });
        }
        if !(STEP_MM..=MM_PER_INCH).contains(&pixel_mm) {
            return Err(Error::Make {
                what: "pixels with a size in mm of",
                value: pixel_mm,
                expected: "0.01875 to 25.4",
            });
        }
        Ok(Self { position_mm: [0.0; 2], pixel_mm, width, pixels })
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.pixels.len() / self.width.max(1)
    }

    /// Returns whether nothing of it is engraved.
    pub(super) fn is_white(&self) -> bool {
        self.pixels.iter().all(|&pixel| pixel == 0)
    }

    /// Engraves the raster. The head stays where the last row ends.
    ///
    /// ```
    /// use gf_emulator_core::puls::{Builder, Engraving, Power, Raster};
    ///
    /// let black_and_grey = [vec![255; 40], vec![128; 40]].concat();
    /// let raster = Raster::new(40, black_and_grey, 0.25)?;
    /// let mut job = Builder::new();
    /// job.move_to(20.0, 20.0)?;
    /// let mut engraving = Engraving::new(100.0, Power::setting(30.0)?.density());
    /// (engraving.placement.x_mm, engraving.placement.y_mm) = (20.0, 20.0);
    /// raster.engrave(&mut job, &engraving)?;
    /// job.home()?;
    /// # Ok::<(), gf_emulator_core::puls::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Make`] if speed, density or placement are out of range, or the job gets too long. The job is unchanged then.
    pub fn engrave(&self, job: &mut Builder, engraving: &Engraving) -> Result<()> {
        let before = job.checkpoint();
        let result = self.engrave_rows(job, engraving);
        if result.is_err() {
            job.restore(before);
        }
        result
    }

    fn engrave_rows(&self, job: &mut Builder, engraving: &Engraving) -> Result<()> {
        let Engraving { placement: Placement { x_mm, y_mm, flip_y }, speed_mm_s, density, shading } = *engraving;
        let left = x_mm + self.position_mm[0];
        let row_y_mm = |row: f64| {
            let y = self.position_mm[1] + row * self.pixel_mm;
            if flip_y { y_mm - y } else { y_mm + y }
        };
        for mm in [left, left + self.width as f64 * self.pixel_mm, row_y_mm(0.0), row_y_mm(self.height() as f64)] {
            check_coordinate(mm)?;
        }
        let shaded = self.shaded(shading);
        let rows = shaded.as_ref().map_or(&self.pixels[..], |shaded| shaded).chunks_exact(self.width);
        let speed_mm_s = speed_mm_s.min(job.axis_mm_s());
        let overscan_mm = speed_mm_s * speed_mm_s / (2.0 * job.acceleration_x()) + OVERSCAN_MARGIN_MM;
        let mut moves = Vec::new();
        let mut to_the_right = true;
        // Its remainder goes from row to row: a thin line may fire less than once in each.
        let mut dither = Dither::default();
        for (row, n) in rows.zip(0_u32..) {
            let Some(first) = row.iter().position(|&pixel| pixel > 0) else { continue };
            let last = row.iter().rposition(|&pixel| pixel > 0).unwrap_or(first);
            let y_mm = row_y_mm(f64::from(n) + 0.5);
            let edge = |pixel: usize| left + pixel as f64 * self.pixel_mm;
            let (from, to) = (overscan(edge(first), -overscan_mm), overscan(edge(last + 1), overscan_mm));
            moves.clear();
            let travel_mm_s = job.travel_speed_mm_s();
            let mut add = |x_mm, speed_mm_s, laser| moves.push(Move::new(x_mm, y_mm, speed_mm_s, laser));
            let laser = |pixel: u8| match pixel {
                0 => Laser::Off,
                _ => Laser::Dynamic(density * f64::from(pixel) / 255.0),
            };
            let runs = row[first..=last].chunk_by(|one, other| one == other);
            if to_the_right {
                add(from, travel_mm_s, Laser::Off);
                add(edge(first), speed_mm_s, Laser::Off);
                let mut end = first;
                for run in runs {
                    end += run.len();
                    add(edge(end), speed_mm_s, laser(run[0]));
                }
                add(to, speed_mm_s, Laser::Off);
            } else {
                add(to, travel_mm_s, Laser::Off);
                add(edge(last + 1), speed_mm_s, Laser::Off);
                let mut start = last + 1;
                for run in runs.rev() {
                    start -= run.len();
                    add(edge(start), speed_mm_s, laser(run[0]));
                }
                add(from, speed_mm_s, Laser::Off);
            }
            job.path_with(&moves, &mut dither)?;
            to_the_right = !to_the_right;
        }
        Ok(())
    }

    /// Returns the pixels in black and white; `None` if they stay grey.
    fn shaded(&self, shading: Shading) -> Option<Vec<u8>> {
        match shading {
            Shading::Density => None,
            Shading::Diffusion => Some(diffuse(&self.pixels, self.width)),
            Shading::Ordered => {
                let threshold = |n: usize| u32::from(BAYER[n / self.width % 8][n % self.width % 8]);
                let is_black = |n: usize, pixel: u8| u32::from(pixel) * 64 > threshold(n) * 255 + 127;
                let pixels = self.pixels.iter().enumerate();
                Some(pixels.map(|(n, &pixel)| if is_black(n, pixel) { 255 } else { 0 }).collect())
            }
        }
    }
}

/// Beside what the acceleration takes, so that the speed is constant where the first pixel begins.
const OVERSCAN_MARGIN_MM: f64 = 0.5;

/// Returns where a row begins or ends: so far outside its pixels, but not off the bed, on which the job starts at the back
/// left, if the pixels are on it.
fn overscan(edge: f64, overscan_mm: f64) -> f64 {
    let bed = 0.0..=WORK_AREA_MM.0;
    let end = edge + overscan_mm;
    if bed.contains(&edge) { end.clamp(*bed.start(), *bed.end()) } else { end }
}

/// Thresholds of an ordered dither, 0 to 63 (Bayer).
const BAYER: [[u8; 8]; 8] = [
    [0, 32, 8, 40, 2, 34, 10, 42],
    [48, 16, 56, 24, 50, 18, 58, 26],
    [12, 44, 4, 36, 14, 46, 6, 38],
    [60, 28, 52, 20, 62, 30, 54, 22],
    [3, 35, 11, 43, 1, 33, 9, 41],
    [51, 19, 59, 27, 49, 17, 57, 25],
    [15, 47, 7, 39, 13, 45, 5, 37],
    [63, 31, 55, 23, 61, 29, 53, 21],
];

/// Floyd-Steinberg error diffusion, with two rows of errors: in eight bits, errors that do not fit would be lost.
fn diffuse(darkness: &[u8], width: usize) -> Vec<u8> {
    let mut black_and_white = Vec::with_capacity(darkness.len());
    // In 1/16, with a pixel of padding at both ends.
    let (mut this, mut next) = (vec![0_i32; width + 2], vec![0_i32; width + 2]);
    for row in darkness.chunks_exact(width) {
        for (n, &pixel) in row.iter().enumerate() {
            let wanted = i32::from(pixel) * 16 + this[n + 1];
            let black = wanted > 255 * 8;
            let error = (wanted - if black { 255 * 16 } else { 0 }) / 16;
            this[n + 2] += error * 7;
            next[n] += error * 3;
            next[n + 1] += error * 5;
            next[n + 2] += error;
            black_and_white.push(if black { 255 } else { 0 });
        }
        this.fill(0);
        std::mem::swap(&mut this, &mut next);
    }
    black_and_white
}
