//! Rasters of what is engraved.

use std::sync::Arc;

use kurbo::Affine;
use resvg::tiny_skia::{self, FillRule as Rule, Mask, Path, PathBuilder, Pixmap, Transform};
use resvg::usvg::{self, Group, Node, Paint};

use super::super::{Error, Result};
use super::MM_PER_INCH;
use super::contour::Contour;
use super::picture::MAX_PICTURE_PIXELS;
use super::raster::{MAX_RASTER_PIXELS, Raster, check_dpi};
use super::region::{Area, Budget, FillRule};
use super::resample::to_byte;
use super::svg_drawing::{Fill, Layer, Picture};

/// The largest side of the tiles that are drawn one after the other.
const TILE_PX: usize = 2048;
/// The pixels that are drawn for all rasters of a drawing, again for each shape: up to a minute.
pub(super) const PIXEL_BUDGET: u64 = 1 << 33;
/// How much longer it takes to draw a pixel of a picture, gradient or pattern than one of a colour.
const PICTURE_COST: usize = 16;
/// The largest tile of a pattern, in pixels.
const MAX_PATTERN_PIXELS: f32 = 4e6;

impl Layer {
    /// Draws the fills: 0 where nothing is engraved, 255 where all of a pixel is. `None` without fills.
    ///
    /// # Errors
    /// [`Error::Make`] if the resolution is out of range ([`ENGRAVING_DPI`](super::super::ENGRAVING_DPI)), or the raster gets
    /// larger than [`MAX_RASTER_PIXELS`]. [`Error::Svg`] if too many shapes or clip paths lie on each other.
    pub fn raster(&self, dots_per_inch: f64) -> Result<Option<Raster>> {
        self.raster_within(dots_per_inch, &mut Budget(PIXEL_BUDGET))
    }

    /// Takes what is drawn from a budget of pixels.
    pub(super) fn raster_within(&self, dots_per_inch: f64, budget: &mut Budget) -> Result<Option<Raster>> {
        fills(&self.fills, dots_per_inch, budget)
    }
}

impl Picture {
    /// Draws the picture: 0 where it is white or transparent, 255 where it is black. Others get the grey of their
    /// luminance.
    ///
    /// # Errors
    /// [`Error::Make`] if the resolution is out of range ([`ENGRAVING_DPI`](super::super::ENGRAVING_DPI)), or the raster gets
    /// larger than [`MAX_RASTER_PIXELS`]. [`Error::Svg`] if too many shapes or clip paths lie on each other.
    /// [`Error::Picture`] if the picture is damaged or too large to be decoded.
    pub fn raster(&self, dots_per_inch: f64) -> Result<Raster> {
        self.raster_within(dots_per_inch, &mut Budget(PIXEL_BUDGET))
    }

    /// Takes what is drawn from a budget of pixels.
    pub(super) fn raster_within(&self, dots_per_inch: f64, budget: &mut Budget) -> Result<Raster> {
        picture(self, dots_per_inch, budget)
    }
}

/// Draws shapes of one colour.
fn fills(fills: &[Fill], dots_per_inch: f64, budget: &mut Budget) -> Result<Option<Raster>> {
    let boxes: Vec<_> = fills.iter().map(|fill| bounds(fill.contours.iter().flat_map(|c| &c.points))).collect();
    let [start_mm, end_mm] = bounds(boxes.iter().flatten());
    if start_mm[0] > end_mm[0] {
        return Ok(None);
    }
    let mut raster = empty(start_mm, end_mm, dots_per_inch)?;
    draw(&mut raster, |tile, pixels| {
        for (fill, [start_mm, end_mm]) in fills.iter().zip(&boxes) {
            let [left, top] = tile.pixel(*start_mm);
            let [right, bottom] = [0, 1].map(|axis| (tile.pixel(*end_mm)[axis] + 1).min(tile.size[axis]));
            if left >= right || top >= bottom {
                continue;
            }
            let part = tile.part([left, top], [right - left, bottom - top]);
            budget.take(points_of(&fill.contours)).ok_or_else(too_many_pixels)?;
            let mut shape = part.mask(budget)?;
            fill_mask(&mut shape, &fill.contours, fill.rule, part);
            clip(&mut shape, &fill.clips, part, budget)?;
            for (row, shape) in shape.data().chunks(part.size[0]).enumerate() {
                let start = (top + row) * tile.size[0] + left;
                for (sum, &covered) in pixels[start..start + shape.len()].iter_mut().zip(shape) {
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
fn picture(picture: &Picture, dots_per_inch: f64, budget: &mut Budget) -> Result<Raster> {
    let [left, top] = picture.position_mm;
    let end_mm = [left + picture.size_mm[0], top + picture.size_mm[1]];
    let mut raster = empty(picture.position_mm, end_mm, dots_per_inch)?;
    let [sx, ky, kx, sy, tx, ty] = picture.transform;
    let scale = 1.0 / raster.pixel_mm;
    let cost = check_size(&picture.node, [sx, ky, kx, sy].map(|value| value * scale))?;
    let failed = || Error::Picture { problem: "it is damaged".to_owned() };
    draw(&mut raster, |tile, pixels| {
        // For each tile, the picture is decoded or the pattern drawn again.
        let own = tile.size[0] * tile.size[1] * PICTURE_COST;
        budget.take(cost.saturating_add(own)).ok_or_else(too_many_pixels)?;
        let [x, y] = tile.origin_mm;
        let transform = transform(Affine::new([sx, ky, kx, sy, tx - x, ty - y].map(|value| value * scale)));
        let mut shape = tile.mask(budget)?;
        let mut pixmap = Pixmap::new(shape.width(), shape.height()).ok_or_else(no_memory)?;
        // Rendering a node moves its box to the origin.
        let bounds = picture.node.abs_layer_bounding_box().ok_or_else(failed)?;
        let transform = transform.pre_translate(bounds.x(), bounds.y());
        resvg::render_node(&picture.node, transform, &mut pixmap.as_mut()).ok_or_else(failed)?;
        for (grey, pixel) in shape.data_mut().iter_mut().zip(pixmap.pixels()) {
            // Colours are premultiplied: on white, this is how much light is missing.
            let light =
                0.2126 * f32::from(pixel.red()) + 0.7152 * f32::from(pixel.green()) + 0.0722 * f32::from(pixel.blue());
            *grey = to_byte((f32::from(pixel.alpha()) - light) * picture.opacity);
        }
        clip(&mut shape, &picture.clips, tile, budget)?;
        pixels.copy_from_slice(shape.data());
        Ok(())
    })?;
    Ok(raster)
}

/// Refuses pictures that take too much memory. Returns how many pixels are drawn for each tile, besides its own.
fn check_size(node: &Node, [sx, ky, kx, sy]: [f64; 4]) -> Result<usize> {
    let too_large = |what: &str| Error::Picture { problem: format!("{what} has too many pixels: make it smaller") };
    match node {
        Node::Image(image) => {
            let pixels = f64::from(image.size().width()) * f64::from(image.size().height());
            if pixels > MAX_PICTURE_PIXELS as f64 { Err(too_large("it")) } else { Ok(whole(pixels)) }
        }
        Node::Path(path) => {
            let Some(Paint::Pattern(pattern)) = path.fill().map(usvg::Fill::paint) else { return Ok(0) };
            let (sx, sy) =
                transform(Affine::new([sx, ky, kx, sy, 0.0, 0.0])).pre_concat(pattern.transform()).get_scale();
            let pixels = pattern.rect().width() * sx * pattern.rect().height() * sy;
            if pixels.is_nan() || pixels > MAX_PATTERN_PIXELS {
                return Err(too_large("a pattern"));
            }
            let shapes = plain_shapes(pattern.root()).ok_or_else(|| Error::Picture {
                problem: "a pattern in it has groups with effects, patterns or pictures: convert it to shapes"
                    .to_owned(),
            })?;
            Ok(whole(pixels.into()).saturating_mul(shapes))
        }
        _ => Ok(0),
    }
}

/// Returns the number of shapes in a group, or `None` if drawing them takes memory of its own.
fn plain_shapes(group: &Group) -> Option<usize> {
    let is_plain = |paint: Option<&Paint>| !matches!(paint, Some(Paint::Pattern(_)));
    group.children().iter().try_fold(0, |shapes, node| {
        Some(match node {
            Node::Group(group) if !group.should_isolate() => shapes + plain_shapes(group)?,
            Node::Text(text) => shapes + plain_shapes(text.flattened())?,
            Node::Path(path)
                if is_plain(path.fill().map(usvg::Fill::paint)) && is_plain(path.stroke().map(usvg::Stroke::paint)) =>
            {
                shapes + 1
            }
            _ => return None,
        })
    })
}

/// A part of a raster.
#[derive(Clone, Copy)]
struct Tile {
    /// Its left and upper edge, in mm.
    origin_mm: [f64; 2],
    pixel_mm: f64,
    /// Its width and height, in pixels.
    size: [usize; 2],
}

impl Tile {
    /// Returns the pixel at a position, or the nearest one.
    fn pixel(self, position_mm: [f64; 2]) -> [usize; 2] {
        [0, 1].map(|axis| whole((position_mm[axis] - self.origin_mm[axis]) / self.pixel_mm).min(self.size[axis]))
    }

    fn part(self, [right, down]: [usize; 2], size: [usize; 2]) -> Self {
        let [x, y] = self.origin_mm;
        Self { origin_mm: [x + right as f64 * self.pixel_mm, y + down as f64 * self.pixel_mm], size, ..self }
    }

    /// Creates an empty mask, and takes its pixels from the budget.
    fn mask(self, budget: &mut Budget) -> Result<Mask> {
        budget.take(self.size[0] * self.size[1]).ok_or_else(too_many_pixels)?;
        let [width, height] = self.size.map(u32::try_from);
        Mask::new(width.unwrap_or(0), height.unwrap_or(0)).ok_or_else(no_memory)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(value: f64) -> usize {
    value as usize
}

fn too_many_pixels() -> Error {
    Error::Svg {
        found: "shapes, clip paths or pictures with too many pixels in all".to_owned(),
        expected: "a lower resolution, or fewer of them: unite the shapes, and release the clip paths".to_owned(),
    }
}

fn empty(position_mm: [f64; 2], end_mm: [f64; 2], dots_per_inch: f64) -> Result<Raster> {
    check_dpi(dots_per_inch)?;
    let pixel_mm = MM_PER_INCH / dots_per_inch;
    // Without a pixel for rounding errors.
    let [width, height] = [0, 1].map(|axis| ((end_mm[axis] - position_mm[axis]) / pixel_mm - 1e-3).ceil().max(1.0));
    if width * height > MAX_RASTER_PIXELS as f64 {
        let expected = "at most 400000000 pixels: choose a lower resolution";
        return Err(Error::Make { what: "a raster in pixels of", value: width * height, expected });
    }
    let [width, height] = [width, height].map(whole);
    Ok(Raster { position_mm, pixel_mm, width, pixels: vec![0; width * height] })
}

/// Draws a raster in tiles.
fn draw(raster: &mut Raster, mut draw_tile: impl FnMut(Tile, &mut [u8]) -> Result<()>) -> Result<()> {
    let size = [raster.width, raster.height()];
    let whole = Tile { origin_mm: raster.position_mm, pixel_mm: raster.pixel_mm, size };
    for top in (0..size[1]).step_by(TILE_PX) {
        for left in (0..size[0]).step_by(TILE_PX) {
            let [width, height] = [size[0] - left, size[1] - top].map(|rest| rest.min(TILE_PX));
            let mut pixels = vec![0; width * height];
            draw_tile(whole.part([left, top], [width, height]), &mut pixels)?;
            for (row, pixels) in (top..).zip(pixels.chunks(width)) {
                let start = row * size[0] + left;
                raster.pixels[start..start + width].copy_from_slice(pixels);
            }
        }
    }
    Ok(())
}

fn no_memory() -> Error {
    Error::Picture { problem: "out of memory".to_owned() }
}

/// Adds what is inside contours.
fn fill_mask(mask: &mut Mask, contours: &[Contour], rule: FillRule, tile: Tile) {
    let rule = match rule {
        FillRule::NonZero => Rule::Winding,
        FillRule::EvenOdd => Rule::EvenOdd,
    };
    if let Some(path) = path(contours, tile) {
        mask.fill_path(&path, rule, true, Transform::identity());
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the renderer's own precision")]
fn path(contours: &[Contour], tile: Tile) -> Option<Path> {
    let [x, y] = tile.origin_mm;
    let mut path = PathBuilder::new();
    for contour in contours {
        let mut points = contour.points.iter().map(|point| tiny_skia::Point {
            x: ((point[0] - x) / tile.pixel_mm) as f32,
            y: ((point[1] - y) / tile.pixel_mm) as f32,
        });
        let Some(first) = points.next() else { continue };
        path.move_to(first.x, first.y);
        points.for_each(|point| path.line_to(point.x, point.y));
        path.close();
    }
    path.finish()
}

fn points_of(contours: &[Contour]) -> usize {
    contours.iter().map(|contour| contour.points.len()).sum()
}

/// Hides what is outside any of the areas.
fn clip(mask: &mut Mask, areas: &[Arc<Area>], tile: Tile, budget: &mut Budget) -> Result<()> {
    areas.iter().try_for_each(|area| multiply(mask, area, tile, budget))
}

fn multiply(mask: &mut Mask, area: &Area, tile: Tile, budget: &mut Budget) -> Result<()> {
    let mut shown = tile.mask(budget)?;
    for part in &area.parts {
        budget.take(points_of(&part.contours)).ok_or_else(too_many_pixels)?;
        let mut shape = tile.mask(budget)?;
        fill_mask(&mut shape, &part.contours, part.region.rule, tile);
        clip(&mut shape, &part.within, tile, budget)?;
        for (sum, &shape) in shown.data_mut().iter_mut().zip(shape.data()) {
            *sum = (*sum).max(shape);
        }
    }
    for (value, &shown) in mask.data_mut().iter_mut().zip(shown.data()) {
        *value = to_byte(f32::from(*value) * f32::from(shown) / 255.0);
    }
    Ok(())
}

/// Converts to the precision of usvg and tiny-skia.
#[expect(clippy::cast_possible_truncation, reason = "the renderer's own precision")]
pub(super) fn transform(affine: Affine) -> Transform {
    let [sx, ky, kx, sy, tx, ty] = affine.as_coeffs().map(|value| value as f32);
    Transform::from_row(sx, ky, kx, sy, tx, ty)
}

#[cfg(test)]
mod tests {
    use super::super::svg;
    use super::*;

    #[test]
    fn what_lies_on_each_other_is_bounded() {
        let page = |elements: &str| {
            let text = format!(
                "<svg xmlns='http://www.w3.org/2000/svg' width='100mm' height='100mm' viewBox='0 0 100 100'>{elements}</svg>"
            );
            svg::read(text.as_bytes(), &svg::Settings::default()).unwrap()
        };
        let shape = "<path d='M0 0H100V100H0z'/>";
        let shapes = page(&shape.repeat(50));
        let clipped = page(&format!(
            "<clipPath id='c'>{}</clipPath><g clip-path='url(#c)'>{shape}</g>",
            "<path d='M0 0H100V100z'/>".repeat(50)
        ));
        let gradient = "<linearGradient id='g'><stop/><stop offset='1' stop-color='red'/></linearGradient>";
        let pictures = page(&format!("{gradient}<g fill='url(#g)'>{}</g>", shape.repeat(50)));
        // Each of them has 1.1 million pixels.
        for budget in [40_000_000, 1_200_000_000] {
            let fits = budget > 60_000_000;
            let made = |result: Result<()>| match result {
                Ok(()) => assert!(fits),
                Err(error) => assert!(!fits && error.to_string().contains("expected a lower resolution"), "{error}"),
            };
            made(shapes.layers[0].raster_within(270.0, &mut Budget(budget)).map(drop));
            made(clipped.layers[0].raster_within(270.0, &mut Budget(budget)).map(drop));
            let mut budget = Budget(budget);
            made(pictures.pictures.iter().try_for_each(|one| one.raster_within(270.0, &mut budget).map(drop)));
        }
    }
}
