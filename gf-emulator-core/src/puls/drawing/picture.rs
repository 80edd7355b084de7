//! PNG and JPEG pictures, as rasters to engrave.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, metadata::Orientation};

use super::super::limit::limit;
use super::super::{Error, Result};
use super::raster::{MAX_RASTER_PIXELS, Raster, check_dpi};
use super::resample::resample;
use super::{MM_PER_INCH, MM_PER_PX, check_length};

/// The largest picture that is decoded, in pixels: more than six times the bed at 270 dots per inch.
pub(super) const MAX_PICTURE_PIXELS: u64 = limit(100_000_000) as u64;
/// The most memory that decoding a picture may take, in bytes.
const MAX_DECODED_BYTES: u64 = 1 << 29;
/// The widest engraving: four times the width of the bed.
const MAX_WIDTH_MM: f64 = 2000.0;

/// A picture in shades of grey.
#[derive(Debug, Clone)]
pub struct Picture {
    grey: GrayImage,
}

/// Returns whether a PNG or JPEG file has its end. Where it is missing, the decoder of JPEG makes the rest grey, and resvg
/// does not draw a PNG.
pub(super) fn is_whole(file: &[u8]) -> bool {
    if file.starts_with(b"\x89PNG") { has_end_of_png(file) } else { has_end_of_jpeg(file) }
}

fn has_end_of_png(file: &[u8]) -> bool {
    // After the signature: chunks of a length, a type, that many bytes, and a checksum.
    let mut rest = file.get(8..);
    while let Some([a, b, c, d, chunk @ ..]) = rest {
        if chunk.starts_with(b"IEND") {
            return true;
        }
        let length = u32::from_be_bytes([*a, *b, *c, *d]);
        rest = usize::try_from(length).ok().and_then(|length| chunk.get(length.checked_add(8)?..));
    }
    false
}

/// Thumbnails in segments, and data after the end, may have the same markers.
fn has_end_of_jpeg(file: &[u8]) -> bool {
    // In the data of a scan, which follow its segment, 0xff is followed by 0 or a restart marker.
    let is_marker = |bytes: &[u8]| bytes[0] == 0xff && !matches!(bytes[1], 0x00 | 0x01 | 0xd0..=0xd7 | 0xff);
    let mut rest = file.get(2..);
    while let Some(at) = rest.and_then(|rest| rest.windows(2).position(is_marker)) {
        match rest.map(|rest| &rest[at..]) {
            Some([_, 0xd9, ..]) => return true,
            Some([_, _, segment @ ..]) => {
                let length = segment.first_chunk().map_or(0, |length| u16::from_be_bytes(*length));
                rest = segment.get(usize::from(length)..);
            }
            _ => return false,
        }
    }
    false
}

impl Picture {
    /// Decodes a PNG or JPEG file. Colours become grey by their luminance, and what is transparent becomes white. A JPEG is
    /// turned as its EXIF data say.
    ///
    /// # Errors
    /// [`Error::Picture`] if the file is damaged, of another kind, has more than 100,000,000 pixels, or takes more than
    /// 512 MiB when decoded; [`Error::Make`] if it is longer than [`MAX_DRAWING_BYTES`](super::super::MAX_DRAWING_BYTES).
    pub fn decode(file: &[u8]) -> Result<Self> {
        check_length(file)?;
        let failed =
            |problem: &dyn std::fmt::Display| Error::Picture { problem: problem.to_string().trim_end().to_owned() };
        let mut reader = ImageReader::new(Cursor::new(file)).with_guessed_format().map_err(|e| failed(&e))?;
        if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
            return Err(failed(&"it is neither PNG nor JPEG"));
        }
        if !is_whole(file) {
            return Err(failed(&"the file is incomplete: its end is missing"));
        }
        let mut limits = Limits::default();
        limits.max_alloc = Some(MAX_DECODED_BYTES);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(|e| failed(&e))?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > MAX_PICTURE_PIXELS {
            return Err(failed(&format_args!(
                "it has {width} x {height} pixels, at most {MAX_PICTURE_PIXELS} are expected: make it smaller"
            )));
        }
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut picture = DynamicImage::from(grey(DynamicImage::from_decoder(decoder).map_err(|e| failed(&e))?));
        picture.apply_orientation(orientation);
        Ok(Self { grey: picture.into_luma8() })
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
    /// [`Error::Make`] if the width is not above 0 and up to 2000 mm, `dpi` is out of range
    /// ([`ENGRAVING_DPI`](super::super::ENGRAVING_DPI)), or the result has more than [`MAX_RASTER_PIXELS`] pixels.
    pub fn raster(&self, width_mm: Option<f64>, dpi: f64) -> Result<Raster> {
        check_dpi(dpi)?;
        let (width_px, height_px) = self.grey.dimensions();
        let width_mm = width_mm.unwrap_or(f64::from(width_px) * MM_PER_PX);
        let px_mm = MM_PER_INCH / dpi;
        let size =
            [width_mm, width_mm * f64::from(height_px) / f64::from(width_px)].map(|mm| (mm / px_mm).round().max(1.0));
        if !(width_mm > 0.0 && width_mm <= MAX_WIDTH_MM && size[0] * size[1] <= MAX_RASTER_PIXELS as f64) {
            let expected = "above 0 and up to 2000, and at most 400000000 pixels at this resolution";
            return Err(Error::Make { what: "a width in mm of", value: width_mm, expected });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most MAX_RASTER_PIXELS, at least 1"
        )]
        let [width, height] = size.map(|px| px as usize);
        let mut darkness = resample(&self.grey, width_px as usize, [width, height]);
        for pixel in &mut darkness {
            *pixel = 255 - *pixel;
        }
        Raster::new(width, darkness, px_mm)
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
