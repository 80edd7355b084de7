//! Pictures that are embedded in SVG files: which of them are drawn.

use std::io::Cursor;

use image::{ImageFormat, ImageReader};
use resvg::usvg::roxmltree::Node;
use svgtypes::{Length, LengthUnit, ViewBox};

use super::super::{Error, Result};
use super::picture::is_whole;

/// How many times longer than the other a side of a picture may be.
const MAX_RATIO: f64 = 1000.0;
/// The smallest side of a picture, in user units.
const MIN_SIDE: f64 = 1e-6;
/// usvg calculates in 32 bits. A picture that is smaller than this part of its distance from the origin gets no size, at
/// which usvg 0.49 panics.
const MIN_PART: f64 = 1.0 / 4_194_304.0;

/// Returns whether a file is a PNG or JPEG picture that can be drawn.
pub(super) fn is_drawn(file: &[u8]) -> bool {
    if !is_whole(file) {
        return false;
    }
    let format = match file {
        [0x89, b'P', b'N', b'G', ..] => ImageFormat::Png,
        [0xff, 0xd8, 0xff, ..] => ImageFormat::Jpeg,
        _ => return false,
    };
    let size = ImageReader::with_format(Cursor::new(file), format).into_dimensions();
    let [width, height] = size.map_or([0.0; 2], |(width, height)| [width, height].map(f64::from));
    width > 0.0 && height > 0.0 && (1.0 / MAX_RATIO..=MAX_RATIO).contains(&(width / height))
}

/// Refuses an `image` element that is very small, or very far away for its size.
pub(super) fn check(image: Node<'_, '_>) -> Result<()> {
    let length = |name: &str| Some(user_units(image, name, image.attribute(name)?.parse().ok()?));
    let [x, y, width, height] = ["x", "y", "width", "height"].map(length);
    let sides: Vec<f64> = width.into_iter().chain(height).collect();
    if sides.iter().any(|side| *side <= 0.0) {
        // It is not drawn.
        return Ok(());
    }
    // With both sides missing, it has at least one pixel. One of them may make it longer than the other.
    let least = sides.iter().copied().reduce(f64::min).map_or(1.0, |least| least / MAX_RATIO);
    let farthest = sides.into_iter().chain(x.map(f64::abs)).chain(y.map(f64::abs)).fold(0.0, f64::max);
    if least >= MIN_SIDE / MAX_RATIO && least >= farthest * MIN_PART {
        return Ok(());
    }
    Err(Error::Svg {
        found: "a picture that is very small, or very far away for its size".to_owned(),
        expected: "pictures near the page: move it, or delete it".to_owned(),
    })
}

/// Converts a length, approximately where it depends on the font.
fn user_units(image: Node<'_, '_>, name: &str, length: Length) -> f64 {
    let unit = match length.unit {
        LengthUnit::None | LengthUnit::Px => 1.0,
        LengthUnit::Ex => 8.0,
        LengthUnit::In => 96.0,
        LengthUnit::Cm => 96.0 / 2.54,
        LengthUnit::Mm => 96.0 / 25.4,
        LengthUnit::Pt => 96.0 / 72.0,
        LengthUnit::Em | LengthUnit::Pc => 16.0,
        LengthUnit::Percent => page_side(image, matches!(name, "x" | "width")) / 100.0,
    };
    length.number * unit
}

/// Returns the width or height of the page, or the part of it, in which an element is.
fn page_side(image: Node<'_, '_>, is_width: bool) -> f64 {
    let boxes = image.ancestors().filter_map(|around| around.attribute("viewBox")?.parse::<ViewBox>().ok());
    let name = if is_width { "width" } else { "height" };
    let page = || image.document().root_element().attribute(name)?.parse::<Length>().ok();
    let in_box = boxes.map(|around| if is_width { around.w } else { around.h }).next();
    let in_units = || page().filter(|it| it.unit != LengthUnit::Percent).map(|it| user_units(image, name, it));
    in_box.or_else(in_units).unwrap_or(100.0)
}
