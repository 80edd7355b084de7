//! Contours: lines that are cut without a stop, and curves as chords.

use kurbo::{CubicBez, ParamCurve as _, ParamCurveExtrema as _, PathEl, Point};

use super::super::{Builder, Laser, Result};
use super::{MoveQueue, Placement, TOLERANCE_MM};

/// A line of straight pieces, in mm of the drawing: X to the right, Y to the front.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Contour {
    /// The points, in the order in which they are reached. A closed contour does not repeat its first point.
    pub points: Vec<[f64; 2]>,
    /// Whether the line returns to its first point.
    pub is_closed: bool,
}

impl Contour {
    /// Creates a contour.
    #[must_use]
    pub fn new(points: Vec<[f64; 2]>, is_closed: bool) -> Self {
        Self { points, is_closed }
    }

    /// Returns the length in mm.
    #[must_use]
    pub fn length_mm(&self) -> f64 {
        self.pieces().map(|[from, to]| distance(from, to)).sum()
    }

    /// Returns the straight pieces, with the one that closes the contour.
    pub(super) fn pieces(&self) -> impl Iterator<Item = [[f64; 2]; 2]> + '_ {
        let next = self.points.iter().skip(1).chain(self.points.first().filter(|_| self.is_closed));
        self.points.iter().zip(next).map(|(&from, &to)| [from, to])
    }

    /// Makes a line that ends where it starts a closed contour, if it has more than two points. Programs round
    /// coordinates, and many write no `Z`: ends within [`TOLERANCE_MM`] are the same one.
    pub(super) fn close_if_ends_meet(&mut self) {
        if let [first, _, .., last] = self.points[..]
            && distance(first, last) <= TOLERANCE_MM
        {
            self.is_closed = true;
            self.points.pop();
        }
    }

    /// Returns whether there is something to fill: a point beside the line through the first two, by more than rounding.
    pub(super) fn has_inside(&self) -> bool {
        let [[ax, ay], [bx, by], ..] = self.points[..] else { return false };
        let (dx, dy) = (bx - ax, by - ay);
        self.points.iter().any(|[x, y]| ((x - ax) * dy - (y - ay) * dx).abs() > 1e-4 * dx.hypot(dy))
    }

    /// Returns the first and the last point of a cut: the same one of a closed contour.
    pub(super) fn ends(&self) -> Option<[[f64; 2]; 2]> {
        let first = *self.points.first()?;
        Some([first, if self.is_closed { first } else { *self.points.last()? }])
    }
}

/// Adds contours to a job in the given order, each from rest to rest, with travel between them. The head stays where
/// the last one ends.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Contour, Laser, Placement, cut};
///
/// let square = Contour::new(vec![[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]], true);
/// let mut job = Builder::new();
/// cut(&mut job, &[square], Placement::at(20.0, 30.0), 50.0, Laser::Constant(0.4))?;
/// assert_eq!((job.position().x, job.position().y), (1067, 1600));
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
///
/// # Errors
/// [`Error::Make`](super::super::Error::Make) if a coordinate leaves the machine's range, a speed, density or placement
/// is out of range, or the job gets too long. The job is unchanged then.
pub fn cut(job: &mut Builder, contours: &[Contour], placement: Placement, speed_mm_s: f64, laser: Laser) -> Result<()> {
    let mut queue = MoveQueue::new(job, placement)?;
    let result = contours.iter().try_for_each(|contour| {
        if let Some(&first) = contour.points.first() {
            queue.travel_to(first)?;
        }
        contour.pieces().try_for_each(|[_, to]| queue.line_to(to, speed_mm_s, laser))
    });
    queue.finish(result)
}

pub(super) fn distance([ax, ay]: [f64; 2], [bx, by]: [f64; 2]) -> f64 {
    (bx - ax).hypot(by - ay)
}

/// Returns whether two points are the same one.
pub(super) fn is_same(a: [f64; 2], b: [f64; 2]) -> bool {
    distance(a, b) == 0.0
}

/// Returns the ends of the chords of a curve. It is split at its extrema: as a whole, a curve that doubles back on itself
/// would be cut short.
pub(super) fn chords(curve: &CubicBez) -> Vec<Point> {
    let mut ends = Vec::new();
    for range in curve.extrema_ranges() {
        let CubicBez { p0, p1, p2, p3 } = curve.subsegment(range);
        flatten([PathEl::MoveTo(p0), PathEl::CurveTo(p1, p2, p3)], TOLERANCE_MM, &mut ends);
    }
    // Corrects the rounding of the last part's end.
    ends.push(curve.p3);
    ends
}

/// Adds the ends of the chords of a path without jumps.
pub(super) fn flatten(path: impl IntoIterator<Item = PathEl>, tolerance_mm: f64, ends: &mut Vec<Point>) {
    kurbo::flatten(path, tolerance_mm, |element| {
        if let PathEl::LineTo(to) = element {
            ends.push(to);
        }
    });
}
