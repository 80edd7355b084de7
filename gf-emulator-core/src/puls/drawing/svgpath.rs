//! SVG path data: the `d` attribute of a `<path>`, without the rest of the SVG.
//!
//! A unit is a millimetre, and Y points to the front, as it points down in SVG. `M` travels; everything else is cut,
//! each subpath from rest to rest. Curves are flattened to chords within 0.01 mm of them.

use kurbo::{CubicBez, Point, QuadBez, Shape, SvgArc, Vec2};
use svgtypes::{PathParser, PathSegment};

use super::super::{Builder, Error, Laser, Result};
use super::contour::{Contour, chords, cut, flatten};
use super::text_position::{TextPosition, quoted};
use super::{Placement, TOLERANCE_MM, check_length};

/// The largest number in a path, control points and radii included.
const MAX_NUMBER: f64 = 1e6;
/// Arcs are converted to cubic curves with this share of the tolerance, and those to chords with the rest.
const ARC_TOLERANCE_SHARE: f64 = 0.1;
/// An arc with a chord or radius shorter than this, in mm, is drawn as a line.
const MIN_ARC_MM: f64 = 1e-4;

/// How a path is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Where the path is placed.
    pub placement: Placement,
    /// The speed of cuts, in mm/s.
    pub speed_mm_s: f64,
    /// The laser during cuts.
    pub laser: Laser,
}

impl Settings {
    /// Creates settings that place the path's origin at the start of the job.
    #[must_use]
    pub fn new(speed_mm_s: f64, laser: Laser) -> Self {
        Self { placement: Placement::default(), speed_mm_s, laser }
    }
}

/// Adds path data to a job. The head stays where the path ends.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Laser, svgpath};
///
/// let settings = svgpath::Settings::new(50.0, Laser::Constant(3.0 / 7.0));
/// let mut job = Builder::new();
/// svgpath::draw(&mut job, b"M 10,20 h 30 a 5 5 0 0 1 5 5 v 10 z", &settings)?;
/// assert_eq!((job.position().x, job.position().y), (533, 1067));
///
/// let error = svgpath::draw(&mut job, b"M 10,20\nL 5", &settings).unwrap_err();
/// assert_eq!(error.to_string(), "line 2, column 4: the end, expected a number");
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
///
/// # Errors
/// The job is unchanged after an error.
/// - [`Error::Drawing`] if the path is empty, malformed or leaves the machine's range.
/// - [`Error::Make`] if the job gets too long, the text is longer than
///   [`MAX_DRAWING_BYTES`](super::super::MAX_DRAWING_BYTES), or a speed, density or placement is out of range.
pub fn draw(job: &mut Builder, path: &[u8], settings: &Settings) -> Result<()> {
    let Settings { placement, speed_mm_s, laser } = *settings;
    cut(job, &contours(path, placement)?, placement, speed_mm_s, laser)
}

/// Returns the contours of path data, one for each subpath, in mm of the drawing.
///
/// # Errors
/// Those of [`draw`], except for the job, the speed and the density.
pub fn contours(path: &[u8], placement: Placement) -> Result<Vec<Contour>> {
    check_length(path)?;
    let mut reader = PathReader {
        contours: Vec::new(),
        placement,
        at: Point::ORIGIN,
        subpath_start: Point::ORIGIN,
        last_control: LastControl::None,
    };
    // A byte order mark.
    read_segments(&mut reader, path.strip_prefix(b"\xef\xbb\xbf").unwrap_or(path))?;
    Ok(reader.contours)
}

fn read_segments(reader: &mut PathReader, path: &[u8]) -> Result<()> {
    let fault = |offset: usize, expected: &str| {
        let rest = path[offset..].split(u8::is_ascii_whitespace).next().unwrap_or_default();
        let found = if rest.is_empty() { "the end".to_owned() } else { quoted(rest) };
        TextPosition::of(path, offset).error(found, expected)
    };
    let text = str::from_utf8(path).map_err(|error| fault(error.valid_up_to(), "path data, which is ASCII"))?;
    let mut segments = 0;
    for segment in PathParser::from(text) {
        let segment = segment.map_err(|error| match error {
            svgtypes::Error::UnexpectedData(at) if segments == 0 => {
                fault(byte_offset(text, at), "M, which starts every path")
            }
            svgtypes::Error::UnexpectedData(at) => {
                fault(byte_offset(text, at), "one of the commands M L H V C S Q T A Z, or an arc's flag 0 or 1")
            }
            svgtypes::Error::InvalidNumber(at) => fault(byte_offset(text, at), "a number"),
            _ => fault(text.len(), "a number"),
        })?;
        reader.read(segment).map_err(|error| TextPosition::of(path, command_offset(text, segments)).locate(error))?;
        segments += 1;
    }
    if segments == 0 { Err(fault(text.len(), "path data")) } else { Ok(()) }
}

/// Converts the parser's positions, which count characters from 1.
fn byte_offset(text: &str, position: usize) -> usize {
    text.char_indices().nth(position - 1).map_or(text.len(), |(offset, _)| offset)
}

/// Finds the command letter of a segment, which the parser does not tell: the last one with no more segments before it.
fn command_offset(text: &str, segment: usize) -> usize {
    let is_command = |c: char| "MLHVCSQTAZ".contains(c.to_ascii_uppercase());
    let commands: Vec<usize> = text.match_indices(is_command).map(|(offset, _)| offset).collect();
    let after = commands.partition_point(|&offset| PathParser::from(&text[..offset]).count() <= segment);
    commands[after.saturating_sub(1)]
}

/// The last control point of the previous segment, which a smooth curve of the same kind reflects.
#[derive(Clone, Copy)]
enum LastControl {
    Cubic(Point),
    Quadratic(Point),
    None,
}

struct PathReader {
    contours: Vec<Contour>,
    placement: Placement,
    at: Point,
    subpath_start: Point,
    last_control: LastControl,
}

impl PathReader {
    fn read(&mut self, segment: PathSegment) -> Result<()> {
        let origin = if segment.is_abs() { Point::ORIGIN } else { self.at };
        let mut control = LastControl::None;
        match segment {
            PathSegment::MoveTo { x, y, .. } => {
                self.at = point(origin, x, y)?;
                self.subpath_start = self.at;
                self.begin()?;
            }
            PathSegment::LineTo { x, y, .. } => self.line_to(point(origin, x, y)?)?,
            PathSegment::HorizontalLineTo { x, .. } => self.line_to(Point::new(point(origin, x, 0.0)?.x, self.at.y))?,
            PathSegment::VerticalLineTo { y, .. } => self.line_to(Point::new(self.at.x, point(origin, 0.0, y)?.y))?,
            PathSegment::ClosePath { .. } => {
                self.at = self.subpath_start;
                if let Some(contour) = self.contours.last_mut() {
                    contour.is_closed = true;
                }
            }
            PathSegment::CurveTo { x1, y1, x2, y2, x, y, .. } => {
                let (first, second) = (point(origin, x1, y1)?, point(origin, x2, y2)?);
                self.curve_to(&CubicBez::new(self.at, first, second, point(origin, x, y)?))?;
                control = LastControl::Cubic(second);
            }
            PathSegment::SmoothCurveTo { x2, y2, x, y, .. } => {
                let first = match self.last_control {
                    LastControl::Cubic(last) => self.at + (self.at - last),
                    _ => self.at,
                };
                let second = point(origin, x2, y2)?;
                self.curve_to(&CubicBez::new(self.at, first, second, point(origin, x, y)?))?;
                control = LastControl::Cubic(second);
            }
            PathSegment::Quadratic { x1, y1, x, y, .. } => {
                let middle = point(origin, x1, y1)?;
                self.curve_to(&QuadBez::new(self.at, middle, point(origin, x, y)?).raise())?;
                control = LastControl::Quadratic(middle);
            }
            PathSegment::SmoothQuadratic { x, y, .. } => {
                let middle = match self.last_control {
                    LastControl::Quadratic(last) => self.at + (self.at - last),
                    _ => self.at,
                };
                self.curve_to(&QuadBez::new(self.at, middle, point(origin, x, y)?).raise())?;
                control = LastControl::Quadratic(middle);
            }
            PathSegment::EllipticalArc { rx, ry, x_axis_rotation, large_arc, sweep, x, y, .. } => {
                let to = point(origin, x, y)?;
                let radii = point(Point::ORIGIN, rx.abs(), ry.abs())?.to_vec2();
                let x_rotation = x_axis_rotation.to_radians();
                self.arc_to(&SvgArc { from: self.at, to, radii, x_rotation, large_arc, sweep })?;
            }
        }
        self.last_control = control;
        Ok(())
    }

    fn arc_to(&mut self, arc: &SvgArc) -> Result<()> {
        let is_straight = arc.radii.x.min(arc.radii.y) < MIN_ARC_MM || (arc.to - arc.from).hypot() < MIN_ARC_MM;
        let mut ends = Vec::new();
        if let Some(curves) = (!is_straight).then(|| kurbo::Arc::from_svg_arc(arc)).flatten() {
            let curves = curves.path_elements(TOLERANCE_MM * ARC_TOLERANCE_SHARE);
            flatten(curves, TOLERANCE_MM * (1.0 - ARC_TOLERANCE_SHARE), &mut ends);
        }
        // Corrects the rounding of the arc's end.
        ends.push(arc.to);
        ends.into_iter().try_for_each(|to| self.line_to(to))
    }

    fn curve_to(&mut self, curve: &CubicBez) -> Result<()> {
        chords(curve).into_iter().try_for_each(|to| self.line_to(to))
    }

    /// Begins a contour at the current position.
    fn begin(&mut self) -> Result<()> {
        let at = [self.at.x, self.at.y];
        self.placement.place(at)?;
        self.contours.push(Contour::new(vec![at], false));
        Ok(())
    }

    fn line_to(&mut self, to: Point) -> Result<()> {
        // Z ends a contour, and M is not needed to begin the next one.
        if self.contours.last().is_none_or(|contour| contour.is_closed) {
            self.begin()?;
        }
        self.at = to;
        let at = [to.x, to.y];
        self.placement.place(at)?;
        if let Some(contour) = self.contours.last_mut() {
            contour.points.push(at);
        }
        Ok(())
    }
}

fn point(origin: Point, x: f64, y: f64) -> Result<Point> {
    for value in [x, y] {
        if value.abs() > MAX_NUMBER {
            return Err(Error::Make { what: "number", value, expected: "a number from -1000000 to 1000000" });
        }
    }
    Ok(origin + Vec2::new(x, y))
}
