//! Whole SVG files: lines to cut, shapes and pictures to engrave.
//!
//! | in the file | in the drawing |
//! |---|---|
//! | strokes, whatever their width | [`Layer::strokes`], by colour; dashes are cut as dashes, without those shorter than a step of the machine |
//! | fills of one colour | [`Layer::fills`], by colour, with all of their opacity |
//! | gradients and patterns as fills; embedded PNG and JPEG files | [`Drawing::pictures`] |
//! | gradients and patterns as strokes | strokes of the gradient's first colour, or black |
//! | text | its outlines, in `DejaVu Sans`, whichever font the file asks for |
//! | clip paths, nested SVG and symbols | what they hide is neither cut nor engraved; what is on their border is cut |
//! | masks, filters | ignored, with a remark |
//! | pictures in other files or other formats, or 1000 times longer than wide | not drawn, with a remark |
//! | what is invisible, has opacity 0 or is not displayed | not drawn |
//!
//! Colours do not hide each other: a white shape does not erase what it covers, it is a layer. What is outside the page is
//! in the drawing, with a remark. Units are those of the file; a number without a unit is a pixel, which is 1/96 inch, with a
//! remark if the size of the page has no unit.
//! Curves are flattened to chords within 0.01 mm of them. Y points to the front, as it points down in SVG.
//!
//! A file is not trusted. No other file is read. Time and memory are bounded: at most 1,000,000 elements with all that
//! they use, 96 within each other, and 4,000,000 points of lines.

use super::super::{Error, Result};
pub use super::svg_drawing::{Drawing, Fill, Layer, Picture, Scale};
use super::svg_reader;

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Settings {
    /// The size of the drawing.
    pub scale: Scale,
}

impl Settings {
    /// Creates settings with a scale.
    #[must_use]
    pub fn scaled(scale: Scale) -> Self {
        Self { scale }
    }
}

/// Reads an SVG file, which may be compressed (`.svgz`).
///
/// ```
/// use gf_emulator_core::puls::svg::{self, Settings};
///
/// let file = br##"<svg xmlns="http://www.w3.org/2000/svg" width="50mm" height="20mm" viewBox="0 0 50 20">
///   <rect x="10" y="5" width="30" height="10" fill="none" stroke="red"/>
///   <circle cx="25" cy="10" r="2" fill="#0000ff"/>
/// </svg>"##;
/// let drawing = svg::read(file, &Settings::default())?;
/// assert_eq!((drawing.width_mm.round(), drawing.height_mm.round()), (50.0, 20.0));
/// let cuts = &drawing.layer("#ff0000").expect("a red layer").strokes;
/// assert!((cuts[0].length_mm() - 80.0).abs() < 0.001);
/// let engraved = drawing.layer("blue").expect("a blue layer").raster(254.0)?.expect("a fill");
/// assert_eq!(engraved.width, 40); // 4 mm
///
/// let error = svg::read(b"<svg>\n<rect></svg>", &Settings::default()).unwrap_err();
/// assert!(error.to_string().starts_with("line 2, column 7: "), "{error}");
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
///
/// # Errors
/// - [`Error::Drawing`] if the text is not UTF-8 or not XML.
/// - [`Error::Svg`] if it is not SVG, has nothing to draw, or exceeds a limit.
/// - [`Error::Make`] if it is longer than [`MAX_DRAWING_BYTES`](super::super::MAX_DRAWING_BYTES), or the scale or a
///   coordinate is out of range: 1,000,000 mm.
/// - The `Gzip` variants if a compressed file is damaged.
pub fn read(bytes: &[u8], settings: &Settings) -> Result<Drawing> {
    let drawing = svg_reader::read(bytes, settings.scale)?;
    if drawing.layers.is_empty() && drawing.pictures.is_empty() {
        let found = drawing.remarks.iter().fold("nothing to draw".to_owned(), |found, remark| found + "; " + remark);
        return Err(Error::Svg { found, expected: "a visible line, shape, text or embedded picture".to_owned() });
    }
    Ok(drawing)
}
