//! SVG path data: what stands in the `d` of a `<path>`, without the rest of the SVG. A unit is a millimetre, Y goes to the
//! front, as it goes down in SVG.
//!
//! All of `M L H V C S Q T A Z` and their relative forms are read. `M` travels, everything else is cut, as one path from
//! rest to rest. Curves are cut as chords that are no farther than 0.01 mm from them.

use kurbo::{CubicBez, ParamCurve as _, ParamCurveExtrema as _, PathEl, Point, QuadBez, Shape, SvgArc, Vec2};

use super::super::{Builder, Error, Laser, Result};
use super::place::{Place, quoted};
use super::{Placement, Route, TOLERANCE_MM, check_length};

/// No number in a path that makes sense is larger.
const MAX_NUMBER: f64 = 1e6;
/// Arcs become curves first and those become chords: of the tolerance, the first step takes this part.
const ARC_PART: f64 = 0.1;
/// What is no longer than this in mm has no direction, and no ellipse is that small.
const SHORTEST_MM: f64 = 1e-4;

/// How a path is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Where it lies.
    pub placement: Placement,
    /// How fast it is cut, in mm/s.
    pub speed_mm_s: f64,
    /// What the laser does where it is cut.
    pub laser: Laser,
}

/// Adds to a job what path data say. The head stays where the path ends.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Laser, Placement, svgpath};
///
/// let laser = Laser::Constant(3.0 / 7.0);
/// let settings = svgpath::Settings { placement: Placement::default(), speed_mm_s: 50.0, laser };
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
/// [`Error::Drawing`] where something is not understood or off the machine, or nothing is there at all, [`Error::Make`]
/// where the job becomes too long, the text is longer than [`MAX_DRAWING_BYTES`](super::super::MAX_DRAWING_BYTES), or
/// the settings have a speed, density or place out of range. The job is unchanged then.
pub fn draw(job: &mut Builder, path: &[u8], settings: &Settings) -> Result<()> {
    check_length(path)?;
    let mut pen = Pen {
        route: Route::new(job, settings.placement)?,
        speed_mm_s: settings.speed_mm_s,
        laser: settings.laser,
        text: Text { path, at: 0 },
        at: Point::ORIGIN,
        begin: Point::ORIGIN,
        before: Before::Other,
    };
    let result = pen.run();
    pen.route.end(result)
}

/// Path data, and how far they have been read.
struct Text<'a> {
    path: &'a [u8],
    at: usize,
}

impl Text<'_> {
    fn rest(&self) -> &[u8] {
        self.path.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn skip(&mut self, is: impl Fn(u8) -> bool) -> usize {
        let skipped = self.rest().iter().take_while(|&&byte| is(byte)).count();
        self.at += skipped;
        skipped
    }

    fn skip_spaces(&mut self) {
        self.skip(|byte| byte.is_ascii_whitespace());
    }

    /// Between two numbers there may be a comma.
    fn skip_comma(&mut self) {
        self.skip_spaces();
        if self.peek() == Some(b',') {
            self.at += 1;
            self.skip_spaces();
        }
    }

    fn begins_number(&self) -> bool {
        self.peek().is_some_and(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte))
    }

    /// Counts lines, so it is for where something is wrong.
    fn place(&self, at: usize) -> Place {
        let before = &self.path[..at];
        let line = before.split(|&byte| byte == b'\n').count() as u64;
        let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() as u64 + 1;
        Place { line, column }
    }

    fn error(&self, at: usize, expected: &str) -> Error {
        let rest = self.path[at..].split(u8::is_ascii_whitespace).next().unwrap_or_default();
        let found = if rest.is_empty() { "the end".to_owned() } else { quoted(rest) };
        self.place(at).error(found, expected)
    }

    fn number(&mut self) -> Result<f64> {
        self.skip_spaces();
        let begin = self.at;
        if let Some(b'+' | b'-') = self.peek() {
            self.at += 1;
        }
        let mut digits = self.skip(|byte| byte.is_ascii_digit());
        if self.peek() == Some(b'.') {
            self.at += 1;
            digits += self.skip(|byte| byte.is_ascii_digit());
        }
        let end = self.at;
        // An exponent, if digits follow.
        if digits > 0 && matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if self.skip(|byte| byte.is_ascii_digit()) == 0 {
                self.at = end;
            }
        }
        let number = str::from_utf8(&self.path[begin..self.at]).ok().and_then(|text| text.parse::<f64>().ok());
        match number.filter(|_| digits > 0) {
            Some(number) if number.abs() <= MAX_NUMBER => {
                self.skip_comma();
                Ok(number)
            }
            Some(_) => Err(self.error(begin, "a number within 1000000")),
            None => Err(self.error(begin, "a number")),
        }
    }

    /// Flags of arcs may stand without anything between them.
    fn flag(&mut self) -> Result<bool> {
        self.skip_spaces();
        let flag = match self.peek() {
            Some(b'0') => false,
            Some(b'1') => true,
            _ => return Err(self.error(self.at, "0 or 1, a flag of an arc")),
        };
        self.at += 1;
        self.skip_comma();
        Ok(flag)
    }
}

/// What was drawn before: a smooth curve takes up its direction.
#[derive(Clone, Copy)]
enum Before {
    Cubic(Point),
    Quadratic(Point),
    Other,
}

/// Draws.
struct Pen<'a> {
    route: Route<'a>,
    speed_mm_s: f64,
    laser: Laser,
    text: Text<'a>,
    at: Point,
    /// Where Z goes.
    begin: Point,
    before: Before,
}

impl Pen<'_> {
    fn run(&mut self) -> Result<()> {
        self.text.skip_spaces();
        let mut command = None;
        while let Some(next) = self.text.peek() {
            let begin = self.text.at;
            let now = match command {
                // More of the same; of M, lines.
                Some(last) if self.text.begins_number() => match last {
                    b'M' => b'L',
                    b'm' => b'l',
                    b'Z' | b'z' => return Err(self.text.error(begin, "a command behind Z")),
                    other => other,
                },
                None if !b"Mm".contains(&next) => return Err(self.text.error(begin, "M, which a path begins with")),
                _ if b"MLHVCSQTAZ".contains(&next.to_ascii_uppercase()) => {
                    self.text.at += 1;
                    next
                }
                _ => return Err(self.text.error(begin, "one of the commands M L H V C S Q T A Z")),
            };
            command = Some(now);
            self.draw(now, begin)?;
            self.text.skip_spaces();
        }
        if command.is_none() { Err(self.text.error(self.text.at, "path data")) } else { Ok(()) }
    }

    fn draw(&mut self, command: u8, begin: usize) -> Result<()> {
        let is_relative = command.is_ascii_lowercase();
        let origin = if is_relative { self.at } else { Point::ORIGIN };
        let mut before = Before::Other;
        match command.to_ascii_uppercase() {
            b'M' => {
                self.at = self.point(origin)?;
                self.begin = self.at;
                let result = self.route.travel_to([self.at.x, self.at.y]);
                result.map_err(|error| self.text.place(begin).of(error))?;
            }
            b'L' => {
                let to = self.point(origin)?;
                self.line_to(to, begin)?;
            }
            b'H' => {
                let x = origin.x + self.text.number()?;
                self.line_to(Point::new(x, self.at.y), begin)?;
            }
            b'V' => {
                let y = origin.y + self.text.number()?;
                self.line_to(Point::new(self.at.x, y), begin)?;
            }
            b'Z' => self.line_to(self.begin, begin)?,
            curve @ (b'C' | b'S') => {
                let first = match (curve, self.before) {
                    (b'C', _) => self.point(origin)?,
                    (_, Before::Cubic(control)) => self.at + (self.at - control),
                    _ => self.at,
                };
                let (second, to) = (self.point(origin)?, self.point(origin)?);
                self.bends(&CubicBez::new(self.at, first, second, to), begin)?;
                before = Before::Cubic(second);
            }
            curve @ (b'Q' | b'T') => {
                let control = match (curve, self.before) {
                    (b'Q', _) => self.point(origin)?,
                    (_, Before::Quadratic(control)) => self.at + (self.at - control),
                    _ => self.at,
                };
                let to = self.point(origin)?;
                self.bends(&QuadBez::new(self.at, control, to).raise(), begin)?;
                before = Before::Quadratic(control);
            }
            _ => self.arc(origin, begin)?,
        }
        self.before = before;
        Ok(())
    }

    fn arc(&mut self, origin: Point, begin: usize) -> Result<()> {
        let radii = Vec2::new(self.text.number()?.abs(), self.text.number()?.abs());
        let x_rotation = self.text.number()?.to_radians();
        let (large_arc, sweep) = (self.text.flag()?, self.text.flag()?);
        let to = self.point(origin)?;
        let is_straight = radii.x.min(radii.y) < SHORTEST_MM || (to - self.at).hypot() < SHORTEST_MM;
        let arc = SvgArc { from: self.at, to, radii, x_rotation, large_arc, sweep };
        if let Some(arc) = (!is_straight).then(|| kurbo::Arc::from_svg_arc(&arc)).flatten() {
            let curves = arc.path_elements(TOLERANCE_MM * ARC_PART);
            self.curve(curves, TOLERANCE_MM * (1.0 - ARC_PART), begin)?;
        }
        // The arc ends where rounding has it.
        self.line_to(to, begin)
    }

    /// Cuts along a curve from one turning point to the next: one whose control points lie on a line turns back on itself,
    /// and flattened as a whole it would be cut short.
    fn bends(&mut self, curve: &CubicBez, begin: usize) -> Result<()> {
        for range in curve.extrema_ranges() {
            let CubicBez { p0, p1, p2, p3 } = curve.subsegment(range);
            self.curve([PathEl::MoveTo(p0), PathEl::CurveTo(p1, p2, p3)], TOLERANCE_MM, begin)?;
        }
        // The last bit of rounding.
        self.line_to(curve.p3, begin)
    }

    /// Cuts along a curve, and is at its end.
    fn curve(&mut self, curve: impl IntoIterator<Item = PathEl>, tolerance: f64, begin: usize) -> Result<()> {
        let mut result = Ok(());
        kurbo::flatten(curve, tolerance, |element| {
            if let PathEl::LineTo(to) = element
                && result.is_ok()
            {
                result = self.line_to(to, begin);
            }
        });
        result
    }

    fn line_to(&mut self, to: Point, begin: usize) -> Result<()> {
        self.at = to;
        let result = self.route.line_to([to.x, to.y], self.speed_mm_s, self.laser);
        result.map_err(|error| self.text.place(begin).of(error))
    }

    fn point(&mut self, origin: Point) -> Result<Point> {
        Ok(origin + Vec2::new(self.text.number()?, self.text.number()?))
    }
}
