//! PNG and JPEG pictures, as rasters to engrave.

use std::io::Cursor;

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader, Limits, metadata::Orientation};

use super::super::{Error, Result};
use super::raster::{ENGRAVING_DPI, MAX_RASTER_PIXELS, Raster};
use super::{MM_PER_INCH, MM_PER_PX, check_length};

/// The most memory that decoding a picture may take, in bytes.
const MAX_DECODED_BYTES: u64 = 1 << 30;

/// A picture in shades of grey.
#[derive(Debug, Clone)]
pub struct Picture {
    grey: GrayImage,
}

impl Picture {
    /// Decodes a PNG or JPEG file. Colours become grey by their luminance, and what is transparent becomes white. A JPEG is
    /// turned as its EXIF data say.
    ///
    /// # Errors
    /// [`Error::Decode`] if the file is damaged, of another kind, or larger than 1 GiB when decoded; [`Error::Make`] if it is
    /// longer than [`MAX_DRAWING_BYTES`](super::super::MAX_DRAWING_BYTES).
    pub fn decode(file: &[u8]) -> Result<Self> {
        check_length(file)?;
        let failed = |problem: &dyn std::fmt::Display| Error::Decode { problem: problem.to_string() };
        let mut reader = ImageReader::new(Cursor::new(file)).with_guessed_format().map_err(|e| failed(&e))?;
        if reader.format().is_none() {
            return Err(failed(&"it is neither PNG nor JPEG"));
        }
        let mut limits = Limits::default();
        limits.max_alloc = Some(MAX_DECODED_BYTES);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(|e| failed(&e))?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| failed(&e))?;
        picture.apply_orientation(orientation);
        Ok(Self { grey: grey(picture) })
    }

    /// Returns the size in pixels.
    #[must_use]
    pub fn size_px(&self) -> (u32, u32) {
        self.grey.dimensions()
    }

    /// Resamples the picture to engrave it with a width in mm, and a height in proportion. Without a width, a pixel has 1/96
    /// inch, as in SVG.
    ///
    /// ```
    /// use gf_emulator_core::puls::Picture;
    ///
    /// # let file = &gf_emulator_core::puls::Plot::from_job(gf_emulator_core::puls::Job::open(
    /// #     &gf_emulator_core::puls::Builder::new().to_bytes()[..])?)?
    /// #     .to_png(&gf_emulator_core::puls::PlotOptions::new(""))?;
    /// let picture = Picture::decode(file)?;
    /// let raster = picture.raster(Some(50.8), 100.0)?;
    /// assert_eq!((raster.width, raster.pixel_mm), (200, 0.254));
    /// # Ok::<(), gf_emulator_core::puls::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Make`] if the width is not above 0, `dpi` is out of range ([`ENGRAVING_DPI`]), or the result has more than
    /// [`MAX_RASTER_PIXELS`] pixels.
    pub fn raster(&self, width_mm: Option<f64>, dpi: f64) -> Result<Raster> {
        if !ENGRAVING_DPI.contains(&dpi) {
            return Err(Error::Make { what: "a resolution of", value: dpi, expected: "10 to 1354 rows per inch" });
        }
        let (width_px, height_px) = self.grey.dimensions();
        let width_mm = width_mm.unwrap_or(f64::from(width_px) * MM_PER_PX);
        let px_mm = MM_PER_INCH / dpi;
        let size =
            [width_mm, width_mm * f64::from(height_px) / f64::from(width_px)].map(|mm| (mm / px_mm).round().max(1.0));
        if !(width_mm > 0.0 && size[0] * size[1] <= MAX_RASTER_PIXELS as f64) {
            let expected = "above 0, and at most 400000000 pixels at this resolution";
            return Err(Error::Make { what: "a width in mm of", value: width_mm, expected });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most MAX_RASTER_PIXELS, at least 1"
        )]
        let [width, height] = size.map(|px| px as u32);
        let mut darkness = if (width, height) == (width_px, height_px) {
            self.grey.clone().into_raw()
        } else {
            imageops::resize(&self.grey, width, height, FilterType::Triangle).into_raw()
        };
        for pixel in &mut darkness {
            *pixel = 255 - *pixel;
        }
        Raster::new(width as usize, darkness, px_mm)
    }
}

/// Converts a picture to grey on white.
fn grey(picture: DynamicImage) -> GrayImage {
    if !picture.color().has_alpha() {
        return picture.into_luma8();
    }
    let with_alpha = picture.into_luma_alpha8();
    let on_white = |grey: u8, alpha: u8| {
        let [grey, alpha] = [grey, alpha].map(u32::from);
        u8::try_from((grey * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
    };
    let pixels = with_alpha.as_raw().chunks_exact(2).map(|pixel| on_white(pixel[0], pixel[1])).collect();
    GrayImage::from_raw(with_alpha.width(), with_alpha.height(), pixels).unwrap_or_default()
}
