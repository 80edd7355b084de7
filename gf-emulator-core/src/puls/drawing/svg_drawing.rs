//! The content of an SVG file.

use std::collections::HashSet;
use std::sync::Arc;

use resvg::usvg;
use svgtypes::Color;

use super::super::{Error, Result};
use super::contour::Contour;
use super::region::{Area, Budget, FillRule, clip};

/// How large a drawing is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Scale {
    /// The size that the file has: a pixel is 1/96 inch.
    #[default]
    Units,
    /// That size times a factor above 0, for example 96/72 for files whose pixels are points.
    Factor(f64),
    /// The width of the page in mm.
    WidthMm(f64),
}

/// The content of a file, in mm from the page's upper left corner: X to the right, Y down the page.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Drawing {
    /// The width of the page in mm.
    pub width_mm: f64,
    /// The height of the page in mm.
    pub height_mm: f64,
    /// One layer for each colour, in the order in which they first appear.
    pub layers: Vec<Layer>,
    /// What is engraved in shades of grey, in the order of the file.
    pub pictures: Vec<Picture>,
    /// What is not drawn, or not as in the file: one line each.
    pub remarks: Vec<String>,
}

impl Drawing {
    /// Returns the layer with a colour, as SVG and CSS write them: `red`, `#f00`, `rgb(255, 0, 0)`.
    #[must_use]
    pub fn layer(&self, colour: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.is_named(colour))
    }
}

/// All that has one colour.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Layer {
    /// Red, green, blue.
    pub colour: [u8; 3],
    /// The lines, in the order of the file. See [`order`](super::super::order()).
    pub strokes: Vec<Contour>,
    /// The filled shapes, in the order of the file.
    pub fills: Vec<Fill>,
}

impl Layer {
    pub(super) fn new(colour: [u8; 3]) -> Self {
        Self { colour, strokes: Vec::new(), fills: Vec::new() }
    }

    /// Returns the outlines of the fills, without what clip paths hide and those that are strokes of this layer as well.
    pub(super) fn outlines(&self) -> Result<Vec<Contour>> {
        let bits = |contour: &Contour| -> Vec<u64> { contour.points.iter().flatten().map(|mm| mm.to_bits()).collect() };
        let strokes: HashSet<Vec<u64>> = self.strokes.iter().map(bits).collect();
        let mut budget = Budget(CLIP_BUDGET);
        let mut outlines = Vec::new();
        for fill in &self.fills {
            for contour in fill.contours.iter().filter(|contour| !strokes.contains(&bits(contour))) {
                outlines.extend(clip(contour, &fill.clips, &mut budget).ok_or_else(too_many_crossings)?);
            }
        }
        Ok(outlines)
    }

    /// Returns the colour for people, such as `#ff0000`.
    #[must_use]
    pub fn name(&self) -> String {
        let [red, green, blue] = self.colour;
        format!("#{red:02x}{green:02x}{blue:02x}")
    }

    /// Returns whether a text such as `red`, `#f00` or `rgb(255, 0, 0)` means this layer's colour.
    #[must_use]
    pub fn is_named(&self, colour: &str) -> bool {
        colour.trim().parse::<Color>().is_ok_and(|colour| [colour.red, colour.green, colour.blue] == self.colour)
    }
}

/// A shape that is filled with one colour.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Fill {
    /// The outlines, all of them closed. A clip path may hide a part of what is inside: see [`Layer::raster`].
    pub contours: Vec<Contour>,
    /// What is inside the outlines.
    pub rule: FillRule,
    /// How much of it is engraved, above 0 and up to 1: the opacity.
    pub opacity: f32,
    pub(super) clips: Vec<Arc<Area>>,
}

/// An embedded picture, or a shape that is filled with a gradient or a pattern.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Picture {
    /// The left and upper edge of the box around it, in mm.
    pub position_mm: [f64; 2],
    /// The width and height of that box, in mm.
    pub size_mm: [f64; 2],
    /// The PNG or JPEG file, if it is one.
    pub file: Option<Arc<Vec<u8>>>,
    pub(super) node: usvg::Node,
    /// From the node's user units to mm: its horizontal and vertical axis and its origin.
    pub(super) transform: [f64; 6],
    pub(super) opacity: f32,
    pub(super) clips: Vec<Arc<Area>>,
}

/// The lines of clip paths that are looked at: a few seconds.
pub(super) const CLIP_BUDGET: u64 = 1 << 28;

pub(super) fn too_many_crossings() -> Error {
    Error::Svg {
        found: "clip paths that cross too many lines".to_owned(),
        expected: "fewer: release the clip paths, and cut the shapes in the drawing program".to_owned(),
    }
}
