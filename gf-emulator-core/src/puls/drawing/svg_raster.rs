//! Rasters of what is engraved.

use std::sync::Arc;

use kurbo::Affine;
use resvg::tiny_skia::{self, FillRule as Rule, Mask, Path, PathBuilder, Pixmap, Transform};
use resvg::usvg::{self, Group, Node, Paint};

use super::super::{Error, Result};
use super::MM_PER_INCH;
use super::contour::Contour;
use super::raster::{MAX_RASTER_PIXELS, Raster};
use super::region::{Area, FillRule};
use super::svg_drawing::{Fill, Layer, Picture};

/// The side of the squares that are drawn one after the other.
const TILE_PX: usize = 2048;
/// The largest picture that is decoded, in pixels.
const MAX_PICTURE_PIXELS: f64 = 100e6;
/// The largest tile of a pattern, in pixels.
const MAX_PATTERN_PIXELS: f32 = 4e6;

impl Layer {
    /// Draws the fills: 0 where nothing is engraved, 255 where all of a pixel is. `None` without fills.
    ///
    /// # Errors
    /// [`Error::Make`] if the resolution is not 1 to 2540 dots per inch, or the raster gets larger than
    /// [`MAX_RASTER_PIXELS`].
    pub fn raster(&self, dots_per_inch: f64) -> Result<Option<Raster>> {
        fills(&self.fills, dots_per_inch)
    }
}

impl Picture {
    /// Draws the picture: 0 where it is white or transparent, 255 where it is black. Others get the grey of their
    /// luminance.
    ///
    /// # Errors
    /// [`Error::Make`] if the resolution is not 1 to 2540 dots per inch, or the raster gets larger than
    /// [`MAX_RASTER_PIXELS`]. [`Error::Picture`] if the picture is damaged or too large to be decoded.
    pub fn raster(&self, dots_per_inch: f64) -> Result<Raster> {
        picture(self, dots_per_inch)
    }
}

/// Draws shapes of one colour.
fn fills(fills: &[Fill], dots_per_inch: f64) -> Result<Option<Raster>> {
    let boxes: Vec<_> = fills.iter().map(|fill| bounds(fill.contours.iter().flat_map(|c| &c.points))).collect();
    let [start_mm, end_mm] = bounds(boxes.iter().flatten());
    if start_mm[0] > end_mm[0] {
        return Ok(None);
    }
    let mut raster = empty(start_mm, end_mm, dots_per_inch)?;
    draw(&mut raster, |tile, to_px| {
        for (fill, [start_mm, end_mm]) in fills.iter().zip(&boxes) {
            let [left, top] = to_px.pixel(*start_mm);
            let [right, bottom] = to_px.pixel(*end_mm).map(|end| (end + 1).min(TILE_PX));
            if left >= right || top >= bottom {
                continue;
            }
            let mut shape = new_mask(right - left, bottom - top)?;
            let to_px = to_px.moved(left, top);
            fill_mask(&mut shape, &fill.contours, fill.rule, to_px);
            clip(&mut shape, &fill.clips, to_px)?;
            for (row, shape) in shape.data().chunks(right - left).enumerate() {
                let start = (top + row) * TILE_PX + left;
                for (sum, &covered) in tile[start..start + shape.len()].iter_mut().zip(shape) {
                    let rest = f32::from(255 - *sum) * (1.0 - f32::from(covered) / 255.0 * fill.opacity);
                    *sum = 255 - to_byte(rest);
                }
            }
        }
        Ok(())
    })?;
    Ok(Some(raster))
}

/// Returns the least and the greatest coordinates.
pub(super) fn bounds<'a>(points: impl Iterator<Item = &'a [f64; 2]>) -> [[f64; 2]; 2] {
    points.fold([[f64::INFINITY; 2], [f64::NEG_INFINITY; 2]], |[low, high], point| {
        [[low[0].min(point[0]), low[1].min(point[1])], [high[0].max(point[0]), high[1].max(point[1])]]
    })
}

/// Draws a picture in grey.
fn picture(picture: &Picture, dots_per_inch: f64) -> Result<Raster> {
    let [left, top] = picture.position_mm;
    let end_mm = [left + picture.size_mm[0], top + picture.size_mm[1]];
    let mut raster = empty(picture.position_mm, end_mm, dots_per_inch)?;
    let [sx, ky, kx, sy, tx, ty] = picture.transform;
    let scale = 1.0 / raster.pixel_mm;
    check_size(&picture.node, [sx, ky, kx, sy].map(|value| value * scale))?;
    let failed = || Error::Picture { problem: "it is damaged".to_owned() };
    draw(&mut raster, |tile, to_px| {
        let [x, y] = to_px.origin_mm;
        let transform = transform(Affine::new([sx, ky, kx, sy, tx - x, ty - y].map(|value| value * scale)));
        let mut pixmap = new_pixmap()?;
        // Rendering a node moves its box to the origin.
        let bounds = picture.node.abs_layer_bounding_box().ok_or_else(failed)?;
        let transform = transform.pre_translate(bounds.x(), bounds.y());
        resvg::render_node(&picture.node, transform, &mut pixmap.as_mut()).ok_or_else(failed)?;
        let mut shape = new_mask(TILE_PX, TILE_PX)?;
        for (grey, pixel) in shape.data_mut().iter_mut().zip(pixmap.pixels()) {
            // Colours are premultiplied: on white, this is how much light is missing.
            let light =
                0.2126 * f32::from(pixel.red()) + 0.7152 * f32::from(pixel.green()) + 0.0722 * f32::from(pixel.blue());
            *grey = to_byte((f32::from(pixel.alpha()) - light) * picture.opacity);
        }
        clip(&mut shape, &picture.clips, to_px)?;
        tile.copy_from_slice(shape.data());
        Ok(())
    })?;
    Ok(raster)
}

/// Refuses pictures that take too much memory.
fn check_size(node: &Node, [sx, ky, kx, sy]: [f64; 4]) -> Result<()> {
    let too_large = |what: &str| Error::Picture { problem: format!("{what} has too many pixels: make it smaller") };
    match node {
        Node::Image(image)
            if f64::from(image.size().width()) * f64::from(image.size().height()) > MAX_PICTURE_PIXELS =>
        {
            Err(too_large("it"))
        }
        Node::Path(path) => {
            let Some(Paint::Pattern(pattern)) = path.fill().map(usvg::Fill::paint) else { return Ok(()) };
            let (sx, sy) =
                transform(Affine::new([sx, ky, kx, sy, 0.0, 0.0])).pre_concat(pattern.transform()).get_scale();
            let pixels = pattern.rect().width() * sx * pattern.rect().height() * sy;
            if pixels.is_nan() || pixels > MAX_PATTERN_PIXELS {
                return Err(too_large("a pattern"));
            }
            if !is_plain(pattern.root()) {
                let problem = "a pattern in it has groups with effects, patterns or pictures: convert it to shapes";
                return Err(Error::Picture { problem: problem.to_owned() });
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Returns whether drawing a group takes no memory of its own.
fn is_plain(group: &Group) -> bool {
    let is_plain_paint = |paint: Option<&Paint>| !matches!(paint, Some(Paint::Pattern(_)));
    group.children().iter().all(|node| match node {
        Node::Group(group) => !group.should_isolate() && is_plain(group),
        Node::Text(text) => is_plain(text.flattened()),
        Node::Path(path) => {
            is_plain_paint(path.fill().map(usvg::Fill::paint)) && is_plain_paint(path.stroke().map(usvg::Stroke::paint))
        }
        Node::Image(_) => false,
    })
}

/// Where a tile is, and how large its pixels are.
#[derive(Clone, Copy)]
struct ToPixels {
    origin_mm: [f64; 2],
    pixel_mm: f64,
}

impl ToPixels {
    /// Returns the pixel of the tile at a position, or the nearest one.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    fn pixel(self, position_mm: [f64; 2]) -> [usize; 2] {
        [0, 1].map(|axis| (((position_mm[axis] - self.origin_mm[axis]) / self.pixel_mm) as usize).min(TILE_PX))
    }

    fn moved(self, right: usize, down: usize) -> Self {
        let [x, y] = self.origin_mm;
        Self { origin_mm: [x + right as f64 * self.pixel_mm, y + down as f64 * self.pixel_mm], ..self }
    }
}

fn empty(position_mm: [f64; 2], end_mm: [f64; 2], dots_per_inch: f64) -> Result<Raster> {
    if !(1.0..=2540.0).contains(&dots_per_inch) {
        return Err(Error::Make { what: "a resolution of", value: dots_per_inch, expected: "1 to 2540 dots per inch" });
    }
    let pixel_mm = MM_PER_INCH / dots_per_inch;
    // Without a pixel for rounding errors.
    let [width, height] = [0, 1].map(|axis| ((end_mm[axis] - position_mm[axis]) / pixel_mm - 1e-3).ceil().max(1.0));
    if width * height > MAX_RASTER_PIXELS as f64 {
        let expected = "at most 400000000 pixels: choose a lower resolution";
        return Err(Error::Make { what: "a raster in pixels of", value: width * height, expected });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let [width, height] = [width as usize, height as usize];
    Ok(Raster { position_mm, pixel_mm, width, pixels: vec![0; width * height] })
}

/// Draws a raster in tiles.
fn draw(raster: &mut Raster, mut tile: impl FnMut(&mut [u8], ToPixels) -> Result<()>) -> Result<()> {
    let height = raster.pixels.len() / raster.width;
    let mut pixels = vec![0; TILE_PX * TILE_PX];
    for top in (0..height).step_by(TILE_PX) {
        for left in (0..raster.width).step_by(TILE_PX) {
            pixels.fill(0);
            let to_px = ToPixels { origin_mm: raster.position_mm, pixel_mm: raster.pixel_mm };
            tile(&mut pixels, to_px.moved(left, top))?;
            let width = TILE_PX.min(raster.width - left);
            for (row, tile) in (top..height).zip(pixels.chunks(TILE_PX)) {
                let start = row * raster.width + left;
                raster.pixels[start..start + width].copy_from_slice(&tile[..width]);
            }
        }
    }
    Ok(())
}

fn no_memory() -> Error {
    Error::Picture { problem: "out of memory".to_owned() }
}

#[expect(clippy::cast_possible_truncation, reason = "at most the side of a tile")]
fn new_mask(width: usize, height: usize) -> Result<Mask> {
    Mask::new(width as u32, height as u32).ok_or_else(no_memory)
}

#[expect(clippy::cast_possible_truncation, reason = "the side of a tile")]
fn new_pixmap() -> Result<Pixmap> {
    Pixmap::new(TILE_PX as u32, TILE_PX as u32).ok_or_else(no_memory)
}

/// Adds what is inside contours.
fn fill_mask(mask: &mut Mask, contours: &[Contour], rule: FillRule, to_px: ToPixels) {
    let rule = match rule {
        FillRule::NonZero => Rule::Winding,
        FillRule::EvenOdd => Rule::EvenOdd,
    };
    if let Some(path) = path(contours, to_px) {
        mask.fill_path(&path, rule, true, Transform::identity());
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the renderer's own precision")]
fn path(contours: &[Contour], to_px: ToPixels) -> Option<Path> {
    let [x, y] = to_px.origin_mm;
    let mut path = PathBuilder::new();
    for contour in contours {
        let mut points = contour.points.iter().map(|point| tiny_skia::Point {
            x: ((point[0] - x) / to_px.pixel_mm) as f32,
            y: ((point[1] - y) / to_px.pixel_mm) as f32,
        });
        let Some(first) = points.next() else { continue };
        path.move_to(first.x, first.y);
        points.for_each(|point| path.line_to(point.x, point.y));
        path.close();
    }
    path.finish()
}

/// Hides what is outside any of the areas.
fn clip(mask: &mut Mask, areas: &[Arc<Area>], to_px: ToPixels) -> Result<()> {
    areas.iter().try_for_each(|area| multiply(mask, area, to_px))
}

fn multiply(mask: &mut Mask, area: &Area, to_px: ToPixels) -> Result<()> {
    let [width, height] = [mask.width() as usize, mask.height() as usize];
    let mut shown = new_mask(width, height)?;
    for part in &area.parts {
        let mut shape = new_mask(width, height)?;
        fill_mask(&mut shape, &part.contours, part.region.rule, to_px);
        part.within.iter().try_for_each(|area| multiply(&mut shape, area, to_px))?;
        for (sum, &shape) in shown.data_mut().iter_mut().zip(shape.data()) {
            *sum = (*sum).max(shape);
        }
    }
    for (value, &shown) in mask.data_mut().iter_mut().zip(shown.data()) {
        *value = to_byte(f32::from(*value) * f32::from(shown) / 255.0);
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn to_byte(value: f32) -> u8 {
    value.round() as u8
}

/// Converts to the precision of usvg and tiny-skia.
#[expect(clippy::cast_possible_truncation, reason = "the renderer's own precision")]
pub(super) fn transform(affine: Affine) -> Transform {
    let [sx, ky, kx, sy, tx, ty] = affine.as_coeffs().map(|value| value as f32);
    Transform::from_row(sx, ky, kx, sy, tx, ty)
}
