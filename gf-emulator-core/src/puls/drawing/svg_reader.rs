//! Reads the tree that usvg makes of an SVG file.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kurbo::{Affine, CubicBez, Point, QuadBez};
use resvg::tiny_skia::{PathSegment, PathStroker, Transform};
use resvg::usvg::{self, Group, ImageHrefResolver, ImageKind, Node, Options, Paint, Stop, Tree, roxmltree};
use svgtypes::{Length, LengthUnit};

use super::super::limit::limit;
use super::super::svg_options::svg_options;
use super::super::{Error, Result};
use super::contour::{Contour, chords};
use super::region::{Area, AreaPart, Budget, FillRule, Region, clip};
use super::svg_drawing::{CLIP_BUDGET, Drawing, Fill, Layer, Picture, Scale, too_many_crossings};
use super::svg_limits;
use super::svg_page::OutsidePage;
use super::svg_pictures::is_drawn;
use super::svg_raster::{bounds, transform};
use super::text_position::TextPosition;
use super::{MM_PER_PX, STEP_MM};

/// The farthest coordinate, control points included.
const MAX_MM: f64 = 1e6;
const MAX_POINTS: usize = limit(4_000_000);
/// Filters and masks are ignored.
const WITHOUT_EFFECTS: &str = "* { filter: none !important; mask: none !important }";
/// Hides strokes but keeps their colours, which markers may refer to.
const WITHOUT_STROKES: &str = "* { filter: none !important; mask: none !important; stroke-opacity: 0 !important }";
/// Shows lines that are filled, as is the default, but have no inside and no stroke.
const WITH_STROKES: &str = "* { filter: none !important; mask: none !important } \
                            path, line, polyline { stroke: #000 } \
                            [fill=\"none\"], [stroke=\"none\"] { stroke: none }";

pub(super) fn read(bytes: &[u8], scale: Scale) -> Result<Drawing> {
    let text = svg_limits::text(bytes)?;
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        nodes_limit: svg_limits::MAX_NODES,
        ..roxmltree::ParsingOptions::default()
    };
    let document = roxmltree::Document::parse_with_options(&text, options).map_err(|error| no_xml(&error))?;
    let [has_filters, has_masks] = svg_limits::check(&document)?;
    let unread = AtomicUsize::new(0);
    let mut options = svg_options();
    options.image_href_resolver = resolver(&unread);
    options.style_sheet = Some(WITHOUT_EFFECTS.to_owned());
    let tree = tree_of(&document, &options)?;
    let mm_per_px = mm_per_px(scale, f64::from(tree.size().width()))?;
    let mut reader = Reader::new(mm_per_px, &tree);
    reader.read(&tree)?;
    if reader.drawing.layers.is_empty() && reader.drawing.pictures.is_empty() {
        options.style_sheet = Some(WITH_STROKES.to_owned());
        let mut lines = Reader::new(mm_per_px, &tree);
        lines.read(&tree_of(&document, &options)?)?;
        if !lines.drawing.layers.is_empty() {
            reader = lines;
            reader.remark("nothing in the file is visible: its lines are cut as if they had a black stroke");
        }
    }
    if reader.has_shades_with_strokes {
        options.style_sheet = Some(WITHOUT_STROKES.to_owned());
        let mut pictures = Reader::new(mm_per_px, &tree);
        pictures.read(&tree_of(&document, &options)?)?;
        reader.drawing.pictures = pictures.drawing.pictures;
    }
    if scale == Scale::Units && !has_unit(&document) {
        reader.remark(
            "the file gives no size in mm, inch or the like: a pixel is taken as 1/96 inch; see --scale and --width",
        );
    }
    if has_masks {
        reader.remark("masks are ignored: what they hide is drawn");
    }
    if has_filters {
        reader.remark("filters are ignored: shapes are drawn without them");
    }
    if unread.load(Ordering::Relaxed) > 0 {
        reader.remark(
            "pictures that are damaged, in files of their own, other than PNG and JPEG, or 1000 times longer than wide \
             are not drawn: embed them as PNG",
        );
    }
    Ok(reader.finish())
}

/// Returns whether the page has a width or height in units of length.
fn has_unit(document: &roxmltree::Document<'_>) -> bool {
    let page = document.root_element();
    let sizes = ["width", "height"].into_iter().filter_map(|name| page.attribute(name)?.parse::<Length>().ok());
    sizes.into_iter().any(|size| {
        matches!(size.unit, LengthUnit::Mm | LengthUnit::Cm | LengthUnit::In | LengthUnit::Pt | LengthUnit::Pc)
    })
}

/// Converts a document. usvg 0.49 panics on some numbers, such as a picture too far away: that is an error here.
fn tree_of(document: &roxmltree::Document<'_>, options: &usvg::Options<'_>) -> Result<Tree> {
    let converted = catch_unwind(AssertUnwindSafe(|| Tree::from_xmltree(document, options)));
    let converted = converted.map_err(|_| Error::Svg {
        found: "numbers that cannot be drawn".to_owned(),
        expected: "positions and sizes near those of the page".to_owned(),
    })?;
    converted.map_err(|error| no_svg(&error))
}

fn no_xml(error: &roxmltree::Error) -> Error {
    let place = error.pos();
    TextPosition { line: place.row.into(), column: place.col.into() }
        .error(error.to_string().split(" at ").next().unwrap_or_default(), "SVG, which is well-formed XML")
}

fn no_svg(error: &usvg::Error) -> Error {
    match error {
        usvg::Error::ParsingFailed(roxmltree::Error::NoRootNode) => Error::Svg {
            found: "no <svg> as its first element".to_owned(),
            expected: "<svg xmlns=\"http://www.w3.org/2000/svg\">".to_owned(),
        },
        usvg::Error::InvalidSize => Error::Svg {
            found: "no size".to_owned(),
            expected: "a width and a height above 0, or a viewBox".to_owned(),
        },
        other => Error::Svg { found: format!("a fault: {other}"), expected: "a drawing: simplify it".to_owned() },
    }
}

fn mm_per_px(scale: Scale, width_px: f64) -> Result<f64> {
    let (what, value, mm_per_px) = match scale {
        Scale::Units => return Ok(MM_PER_PX),
        Scale::Factor(factor) => ("a scale of", factor, factor * MM_PER_PX),
        Scale::WidthMm(width) => ("a width in mm of", width, width / width_px),
    };
    if value > 0.0 && (1e-9..=1e9).contains(&mm_per_px) {
        return Ok(mm_per_px);
    }
    Err(Error::Make { what, value, expected: "a number above 0" })
}

/// Accepts embedded PNG and JPEG files, and counts the others.
fn resolver(unread: &AtomicUsize) -> ImageHrefResolver<'_> {
    let count = || {
        unread.fetch_add(1, Ordering::Relaxed);
        None
    };
    ImageHrefResolver {
        resolve_data: Box::new(move |_, data: Arc<Vec<u8>>, _: &Options| match &data[..] {
            file if !is_drawn(file) => count(),
            [0xff, ..] => Some(ImageKind::JPEG(data)),
            _ => Some(ImageKind::PNG(data)),
        }),
        resolve_string: Box::new(move |_, _| count()),
    }
}

/// What an element inherits from the groups around it.
#[derive(Clone)]
struct Context {
    to_mm: Affine,
    opacity: f32,
    clips: Vec<Arc<Area>>,
}

struct Reader {
    drawing: Drawing,
    mm_per_px: f64,
    layers: HashMap<[u8; 3], usize>,
    points: usize,
    budget: Budget,
    outside: OutsidePage,
    has_shades_with_strokes: bool,
}

impl Reader {
    fn new(mm_per_px: f64, tree: &Tree) -> Self {
        let [width_mm, height_mm] = [tree.size().width(), tree.size().height()].map(|px| f64::from(px) * mm_per_px);
        Self {
            drawing: Drawing { width_mm, height_mm, layers: Vec::new(), pictures: Vec::new(), remarks: Vec::new() },
            mm_per_px,
            layers: HashMap::new(),
            points: 0,
            budget: Budget(CLIP_BUDGET),
            outside: OutsidePage::new([width_mm, height_mm]),
            has_shades_with_strokes: false,
        }
    }

    fn read(&mut self, tree: &Tree) -> Result<()> {
        let context = Context { to_mm: Affine::scale(self.mm_per_px), opacity: 1.0, clips: Vec::new() };
        self.group(tree.root(), &context)
    }

    fn finish(mut self) -> Drawing {
        if self.outside.is_found() {
            self.remark("a part of the drawing is outside its page");
        }
        if self.drawing.pictures.iter().any(|picture| picture.file.is_none()) {
            self.remark(
                "shapes filled with gradients or patterns are engraved as pictures, in the grey of their luminance",
            );
        }
        self.drawing
    }

    fn remark(&mut self, remark: &str) {
        if !self.drawing.remarks.iter().any(|other| other == remark) {
            self.drawing.remarks.push(remark.to_owned());
        }
    }

    fn group(&mut self, group: &Group, around: &Context) -> Result<()> {
        let mut context = around.clone();
        context.to_mm *= affine(group.transform());
        context.opacity *= group.opacity().get();
        if context.opacity <= 0.0 {
            return Ok(());
        }
        let mut clip_path = group.clip_path();
        while let Some(path) = clip_path {
            context.clips.push(Arc::new(self.area(path.root(), context.to_mm * affine(path.transform()))?));
            clip_path = path.clip_path();
        }
        for node in group.children() {
            match node {
                Node::Group(group) => self.group(group, &context)?,
                Node::Text(text) => {
                    self.remark("text is drawn in the font DejaVu Sans: convert it to paths to keep another font");
                    self.group(text.flattened(), &context)?;
                }
                Node::Path(path) if path.is_visible() => self.path(node, path, &context)?,
                Node::Image(image) if image.is_visible() => {
                    let file = match image.kind() {
                        ImageKind::PNG(file) | ImageKind::JPEG(file) => Some(file.clone()),
                        _ => None,
                    };
                    let [width, height] = [image.size().width(), image.size().height()].map(f64::from);
                    self.picture(node, [0.0, 0.0, width, height], file, &context)?;
                }
                Node::Path(_) | Node::Image(_) => {}
            }
        }
        Ok(())
    }

    /// Returns what a clip path shows.
    fn area(&mut self, group: &Group, to_mm: Affine) -> Result<Area> {
        let mut area = Area::default();
        for node in group.children() {
            match node {
                Node::Path(path) if path.is_visible() => {
                    let Some(fill) = path.fill() else { continue };
                    let contours = self.contours(path.data(), to_mm, true)?;
                    let region = Region::new(&contours, rule(fill.rule()));
                    area.parts.push(AreaPart { contours, region, within: Vec::new() });
                }
                Node::Group(group) => self.add_group(group, to_mm, &mut area)?,
                Node::Text(text) => self.add_group(text.flattened(), to_mm, &mut area)?,
                Node::Path(_) | Node::Image(_) => {}
            }
        }
        Ok(area)
    }

    fn add_group(&mut self, group: &Group, to_mm: Affine, area: &mut Area) -> Result<()> {
        let to_mm = to_mm * affine(group.transform());
        let mut inner = self.area(group, to_mm)?;
        let mut clip_path = group.clip_path();
        while let Some(path) = clip_path {
            let within = Arc::new(self.area(path.root(), to_mm * affine(path.transform()))?);
            inner.parts.iter_mut().for_each(|part| part.within.push(within.clone()));
            clip_path = path.clip_path();
        }
        area.parts.append(&mut inner.parts);
        Ok(())
    }

    fn path(&mut self, node: &Node, path: &usvg::Path, context: &Context) -> Result<()> {
        let bounds = path.data().bounds();
        let stroke = path.stroke().filter(|stroke| stroke.opacity().get() > 0.0);
        // A line has nothing to fill.
        let has_area = bounds.width() > 0.0 && bounds.height() > 0.0;
        if let Some(fill) = path.fill().filter(|fill| has_area && fill.opacity().get() > 0.0) {
            if let Paint::Color(colour) = fill.paint() {
                let mut contours = self.contours(path.data(), context.to_mm, true)?;
                contours.retain(Contour::has_inside);
                if !contours.is_empty() {
                    self.outside.note_fill(&contours, rule(fill.rule()), &context.clips);
                    let opacity = context.opacity * fill.opacity().get();
                    let fill = Fill { contours, rule: rule(fill.rule()), opacity, clips: context.clips.clone() };
                    self.layer(*colour).fills.push(fill);
                }
            } else {
                self.has_shades_with_strokes |= stroke.is_some();
                let edges = [bounds.left(), bounds.top(), bounds.right(), bounds.bottom()].map(f64::from);
                self.picture(node, edges, None, context)?;
            }
        }
        let Some(stroke) = stroke else { return Ok(()) };
        let contours = match stroke.dasharray() {
            Some(lengths) => self.dashes(path.data(), stroke, lengths, context.to_mm)?,
            None => self.contours(path.data(), context.to_mm, false)?,
        };
        if contours.is_empty() && stroke.dasharray().is_none() {
            self.remark("lines without a length are not cut");
        }
        let mut strokes = Vec::new();
        for contour in contours {
            if context.clips.is_empty() {
                strokes.push(contour);
                continue;
            }
            let parts = clip(&contour, &context.clips, &mut self.budget).ok_or_else(too_many_crossings)?;
            self.count(parts.iter().map(|part| part.points.len()).sum())?;
            strokes.extend(parts);
        }
        if strokes.is_empty() {
            return Ok(());
        }
        let colour = match stroke.paint() {
            Paint::Color(colour) => Some(*colour),
            Paint::LinearGradient(gradient) => gradient.stops().first().map(Stop::color),
            Paint::RadialGradient(gradient) => gradient.stops().first().map(Stop::color),
            Paint::Pattern(_) => None,
        };
        if !matches!(stroke.paint(), Paint::Color(_)) {
            self.remark("lines with a gradient are cut in its first colour, those with a pattern in black");
        }
        self.outside.note(&strokes);
        self.layer(colour.unwrap_or_else(usvg::Color::black)).strokes.append(&mut strokes);
        Ok(())
    }

    /// Returns the dashes of a path: of the lengths of dashes and gaps, in turn, in user units.
    fn dashes(
        &mut self,
        path: &resvg::tiny_skia::Path,
        stroke: &usvg::Stroke,
        lengths: &[f32],
        to_mm: Affine,
    ) -> Result<Vec<Contour>> {
        check_bounds(path, to_mm)?;
        let scale = PathStroker::compute_resolution_scale(&transform(to_mm));
        let least_mm = f64::from(lengths.iter().step_by(2).copied().fold(f32::INFINITY, f32::min) * scale);
        let most_mm = f64::from(lengths.iter().step_by(2).copied().fold(0.0, f32::max) * scale);
        if least_mm < STEP_MM {
            self.remark("dashes shorter than 0.01875 mm, a step of the machine, are not cut, nor are dots");
        }
        if most_mm < STEP_MM {
            return Ok(Vec::new());
        }
        let Some(dashes) = stroke.to_tiny_skia().dash.and_then(|dash| path.dash(&dash, scale)) else {
            let whole_mm: f64 = self.contours(path, to_mm, false)?.iter().map(Contour::length_mm).sum();
            let pattern_mm = f64::from(lengths.iter().sum::<f32>() * scale);
            // All of a short line may be in a gap.
            if whole_mm / pattern_mm * lengths.len() as f64 > 1e6 {
                return Err(Error::Svg {
                    found: "a line with more than 1000000 dashes".to_owned(),
                    expected: "longer dashes, or a line without them".to_owned(),
                });
            }
            return Ok(Vec::new());
        };
        let mut contours = self.contours(&dashes, to_mm, false)?;
        if least_mm < STEP_MM {
            contours.retain(|contour| contour.length_mm() >= STEP_MM);
        }
        Ok(contours)
    }

    fn picture(
        &mut self,
        node: &Node,
        [left, top, right, bottom]: [f64; 4],
        file: Option<Arc<Vec<u8>>>,
        context: &Context,
    ) -> Result<()> {
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom)];
        let corners = corners.map(|corner| context.to_mm * Point::from(corner));
        check_range(&corners)?;
        let outline = Contour::new(corners.map(|corner| [corner.x, corner.y]).to_vec(), true);
        self.outside.note_fill(std::slice::from_ref(&outline), FillRule::NonZero, &context.clips);
        let [position_mm, end_mm] = bounds(outline.points.iter());
        self.drawing.pictures.push(Picture {
            position_mm,
            size_mm: [end_mm[0] - position_mm[0], end_mm[1] - position_mm[1]],
            file,
            node: node.clone(),
            transform: context.to_mm.as_coeffs(),
            opacity: context.opacity,
            clips: context.clips.clone(),
        });
        Ok(())
    }

    fn layer(&mut self, colour: usvg::Color) -> &mut Layer {
        let colour = [colour.red, colour.green, colour.blue];
        let layers = &mut self.drawing.layers;
        let index = *self.layers.entry(colour).or_insert_with(|| {
            layers.push(Layer::new(colour));
            layers.len() - 1
        });
        &mut layers[index]
    }

    fn count(&mut self, points: usize) -> Result<()> {
        self.points += points;
        if self.points <= MAX_POINTS {
            return Ok(());
        }
        Err(Error::Svg {
            found: "too many points".to_owned(),
            expected: format!("at most {MAX_POINTS} after curves are flattened: simplify the paths"),
        })
    }

    /// Flattens a path. Parts of one point are left out. Those that are filled are closed.
    fn contours(&mut self, path: &resvg::tiny_skia::Path, to_mm: Affine, is_filled: bool) -> Result<Vec<Contour>> {
        check_bounds(path, to_mm)?;
        let point = |point: resvg::tiny_skia::Point| to_mm * Point::new(point.x.into(), point.y.into());
        let mut contours = Vec::new();
        let mut contour = Contour::default();
        let mut at = Point::ORIGIN;
        let mut start = Point::ORIGIN;
        for segment in path.segments() {
            let ends = match segment {
                PathSegment::MoveTo(to) => {
                    start = point(to);
                    finish(std::mem::take(&mut contour), is_filled, &mut contours);
                    vec![start]
                }
                PathSegment::LineTo(to) => vec![point(to)],
                PathSegment::QuadTo(control, to) => chords(&QuadBez::new(at, point(control), point(to)).raise()),
                PathSegment::CubicTo(first, second, to) => {
                    chords(&CubicBez::new(at, point(first), point(second), point(to)))
                }
                PathSegment::Close => {
                    contour.is_closed = true;
                    finish(std::mem::take(&mut contour), is_filled, &mut contours);
                    vec![start]
                }
            };
            self.count(ends.len())?;
            at = ends.last().copied().unwrap_or(at);
            for end in ends.into_iter().map(|end| [end.x, end.y]) {
                if contour.points.last() != Some(&end) {
                    contour.points.push(end);
                }
            }
        }
        finish(contour, is_filled, &mut contours);
        Ok(contours)
    }
}

/// Adds a contour that has a length.
fn finish(mut contour: Contour, is_filled: bool, contours: &mut Vec<Contour>) {
    contour.is_closed |= is_filled;
    contour.close_if_ends_meet();
    if contour.points.len() > 1 {
        contours.push(contour);
    }
}

fn check_bounds(path: &resvg::tiny_skia::Path, to_mm: Affine) -> Result<()> {
    let bounds = path.bounds();
    let edges = [bounds.left(), bounds.top(), bounds.right(), bounds.bottom()].map(f64::from);
    check_range(&[(0, 1), (2, 1), (2, 3), (0, 3)].map(|(x, y)| to_mm * Point::new(edges[x], edges[y])))
}

fn check_range(points: &[Point]) -> Result<()> {
    for value in points.iter().flat_map(|point| [point.x, point.y]) {
        if value.is_nan() || value.abs() > MAX_MM {
            return Err(Error::Make { what: "coordinate in mm", value, expected: "-1000000 to 1000000" });
        }
    }
    Ok(())
}

fn rule(rule: usvg::FillRule) -> FillRule {
    match rule {
        usvg::FillRule::NonZero => FillRule::NonZero,
        usvg::FillRule::EvenOdd => FillRule::EvenOdd,
    }
}

fn affine(transform: Transform) -> Affine {
    let Transform { sx, ky, kx, sy, tx, ty } = transform;
    Affine::new([sx, ky, kx, sy, tx, ty].map(f64::from))
}
